"""Structured logs without identifiers: one JSON object a line on standard error."""

import json
import logging
from datetime import UTC, datetime

from gateway.errors import safe_text

_QUIET = ("httpx", "httpcore", "strawberry.execution", "uvicorn.access")
"""Loggers whose lines hold addresses or values; the gateway writes its own lines instead."""


class JsonLines(logging.Formatter):
    """A record as one JSON object; whatever is shaped like an identifier is blotted out."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message, and the fields given as `extra={"fields": {...}}`."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": safe_text(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # The text of an exception may hold values; its type may not.
            line["exception"] = record.exc_info[0].__qualname__
        return json.dumps(line, ensure_ascii=False)


def configure_logs(level: str) -> None:
    """Send every log line through `JsonLines`; quiet the loggers that quote addresses or values."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
