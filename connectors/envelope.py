"""A source's answer opened: what the HTTP status and the source's own codes mean, and where its records are.

No data is not an error. What cannot be read is a fault of the source, never an empty answer.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from connectors.answers import FaultCode, SourceFaultError
from connectors.conversions import UnreadableError, instant
from connectors.source import CodeLevel, Envelope, Meaning
from connectors.transport import Reply

Row = Mapping[str, Any]


MISSING = object()
"""What stands at a path that the answer does not have."""


def path_of(text: str) -> tuple[str, ...]:
    """A dotted path of a source file, as names."""
    return tuple(text.split("."))


def value_at(value: Any, path: tuple[str, ...]) -> Any:
    """What stands at a path, or MISSING."""
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


class Rows(msgspec.Struct, frozen=True):
    """The source's own records; `total` is how many there are in all, where the source says so."""

    rows: Sequence[Row]
    total: int | None
    as_of: datetime | None


_json = msgspec.json.Decoder(float_hook=Decimal)


def open_envelope(reply: Reply, envelope: Envelope, asked_at: datetime) -> Rows:
    """The records of an answer, or none where the source says "no data"; raises SourceFaultError."""
    meaning = _status_meaning(reply.status, envelope)
    if meaning == "no_data":
        return Rows((), 0, asked_at)
    body = _decode(reply.body)
    as_of = _as_of(reply, body, envelope, asked_at)
    for level in envelope.codes:
        if _code_meaning(body, level) == "no_data":
            return Rows((), 0, as_of)
    found = value_at(body, path_of(envelope.records))
    if found is None and envelope.null_records:
        return Rows((), 0, as_of)
    rows = [found] if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SourceFaultError(FaultCode.GARBAGE, f"no records at {envelope.records}")
    return Rows(rows, _total(body, envelope), as_of)


def _status_meaning(status: int, envelope: Envelope) -> Meaning:
    meaning: Meaning | None = envelope.http.get(str(status))
    if meaning is None and status in (401, 403):
        meaning = "refused"
    if meaning is None and 200 <= status < 300:
        meaning = "ok"
    return _usable(meaning, f"HTTP status {status}")


def _code_meaning(body: Any, level: CodeLevel) -> Meaning:
    code = value_at(body, path_of(level.at))
    if isinstance(code, bool) or not isinstance(code, str | int):
        raise SourceFaultError(FaultCode.GARBAGE, f"no code at {level.at}")
    for meaning in ("ok", "no_data", "refused", "busy"):
        if code in getattr(level, meaning):
            return _usable(meaning, f"{level.at} {code}")
    message = value_at(body, path_of(level.message)) if level.message else None
    # An unknown code is the source's own text and may hold anything, so it is not repeated.
    return _usable(level.messages.get(message) if isinstance(message, str) else None, f"code at {level.at}")


def _usable(meaning: Meaning | None, what: str) -> Meaning:
    if meaning == "refused":
        raise SourceFaultError(FaultCode.REFUSED, f"the source refuses: {what}")
    if meaning == "busy":
        raise SourceFaultError(FaultCode.ERROR, f"the source is busy: {what}")
    if meaning is None:
        raise SourceFaultError(FaultCode.ERROR, f"the source reports a failure: {what}")
    return meaning


def _decode(body: bytes) -> Any:
    try:
        return _json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SourceFaultError(FaultCode.GARBAGE, "the answer is not JSON") from None


def _total(body: Any, envelope: Envelope) -> int | None:
    if envelope.total is None:
        return None
    total = value_at(body, path_of(envelope.total))
    if isinstance(total, str) and total.isascii() and total.isdigit() and len(total) < 10:
        return int(total)
    if isinstance(total, bool) or not isinstance(total, int) or total < 0:
        raise SourceFaultError(FaultCode.GARBAGE, f"no number of records at {envelope.total}")
    return total


def _as_of(reply: Reply, body: Any, envelope: Envelope, asked_at: datetime) -> datetime | None:
    updated = envelope.updated
    if updated is None:
        return asked_at
    stated = (
        reply.headers.get(updated.header) if updated.header else value_at(body, path_of(updated.at or ""))
    )
    if stated is None or stated is MISSING:
        return asked_at
    try:
        return instant(stated, updated.formats)
    except UnreadableError:
        return None
