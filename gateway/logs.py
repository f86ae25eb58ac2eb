"""Structured logs without identifiers: one JSON object a line on standard error."""

import json
import logging
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

from gateway.errors import safe_text

_QUIET = ("httpx", "httpcore", "strawberry.execution", "uvicorn.access")
"""Loggers whose lines hold addresses or values; the gateway writes its own lines instead."""

_DIGITS_OF_AN_IDENTIFIER = 15
_SPACED_NUMBER = re.compile(r"(?:[0-9] ?){14,}[0-9Xx]")


class JsonLines(logging.Formatter):
    """A record as one JSON object; whatever is shaped like an identifier is blotted out."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message, and the fields given as `extra={"fields": {...}}`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _safe(_message(record)),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # The text of an exception may hold values; its type may not.
            line["exception"] = record.exc_info[0].__qualname__
        fields = {
            _safe(str(name)): _safe_value(value) for name, value in getattr(record, "fields", {}).items()
        }
        return json.dumps(fields | line, ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001
        # A formatter that raises makes the logging module print the arguments themselves.
        return f"{record.msg} (its arguments do not fit)"


def _safe(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text)  # full-width letters and digits become plain ones
    return safe_text(_SPACED_NUMBER.sub("…", folded))


def _safe_value(value: object) -> object:
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if len(str(abs(value))) < _DIGITS_OF_AN_IDENTIFIER else "…"
        case dict():
            return {_safe(str(name)): _safe_value(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_safe_value(inner) for inner in value]
        case _:
            return _safe(str(value))


def configure_logs(level: str) -> None:
    """Send every log line through `JsonLines`; quiet the loggers that quote addresses or values."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logger = logging.getLogger(name)
        # Without a handler of its own, a logger falls back to standard error.
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
