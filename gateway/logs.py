"""Structured logs without identifiers: one JSON object a line on standard error."""

import asyncio
import json
import logging
import re
import time
import unicodedata
from collections.abc import Callable
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
        """Time, level, logger, message, and the fields given as `extra={"fields": {...}}`.

        A record of `RequestLines` brings its lines with it.
        """
        ready: list[str] | None = getattr(record, "lines", None)
        if ready is not None:
            return "\n".join(ready)
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


class RequestLines:
    """A line for each answered request, at INFO: status and milliseconds, nothing of what was asked.

    The logging module takes longer for a line than the rest of the gateway's front for a request, so lines are made
    here and logged in bunches: when there are `bunch` of them, or `seconds` after the first. `clock` counts seconds
    since 1970 UTC.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        bunch: int = 64,
        seconds: float = 0.2,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._logger = logger
        self._bunch = bunch
        self._seconds = seconds
        self._clock = clock
        self._lines: list[str] = []
        self._second = 0
        self._time = ""
        self._due: asyncio.TimerHandle | None = None

    def add(self, status: int, milliseconds: float) -> None:
        """Note one answered request; call it in the event loop."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second, self._time = second, datetime.fromtimestamp(second, UTC).isoformat()[:-6]
        lines = self._lines
        lines.append(
            f'{{"status": {status}, "ms": {milliseconds:.2f}, "time": "{self._time}.{int(now % 1 * 1000):03d}+00:00",'
            f' "level": "INFO", "logger": "{self._logger.name}", "message": "request"}}'
        )
        if len(lines) == 1:
            self._due = asyncio.get_running_loop().call_later(self._seconds, self.flush)
        elif len(lines) >= self._bunch:
            self.flush()

    def flush(self) -> None:
        """Log the lines that wait."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        lines, self._lines = self._lines, []
        if lines:
            self._logger.info("request", extra={"lines": lines})


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
