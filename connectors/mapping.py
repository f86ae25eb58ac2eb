"""From a source's answer to records of the catalogue.

First the envelope: what the HTTP status and the source's own codes mean; no data is not an error. Then the
records, field by field. What the file does not map is dropped here, unread and unlogged. What decides
whether a record may be shown at all must be readable: otherwise the whole answer is garbage.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from connectors.answers import FaultCode, SourceFaultError
from connectors.conversions import Converter, UnreadableError, converter, instant
from connectors.problems import SourceKeyError
from connectors.source import CodeLevel, Envelope, LookupFile, Meaning, SourceFile
from connectors.transport import Reply
from policies.catalogue import LIFECYCLE, SECTION_OF, Record, fields_of

Row = Mapping[str, Any]

_ALWAYS = LIFECYCLE | {"record_id", "provider"}


# --- paths

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


# --- the envelope


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


# --- the records


class _Field(msgspec.Struct, frozen=True):
    """How one field of a record is read; `bit` is its place in field masks."""

    name: str
    bit: int
    path: tuple[str, ...] | None
    read: Converter
    vital: bool
    """UnreadableError, or missing without leave, makes the whole answer garbage."""
    optional: bool
    always: bool


class RecordMap:
    """The field map of a lookup, ready to read records."""

    def __init__(self, source: SourceFile, lookup: LookupFile, key: str) -> None:
        self._record: type[Record] = SECTION_OF[lookup.category, lookup.kinds[0]].record
        places = {field.name: place for place, field in enumerate(fields_of(self._record))}
        for name in lookup.fields:
            if name not in places:
                raise SourceKeyError(
                    f"{key}.fields.{name}",
                    f"{self._record.__name__} has no such field",
                    f"map one of {', '.join(places)}",
                )
        if "record_id" not in lookup.fields:
            raise SourceKeyError(f"{key}.fields.record_id", "it is missing", "map what identifies a record")
        self._fields = [
            self._field(name, place, source, lookup, f"{key}.fields.{name}")
            for name, place in places.items()
            if name in lookup.fields
        ]
        self._mapped = frozenset(field.path[0] for field in self._fields if field.path)

    def _field(self, name: str, place: int, source: SourceFile, lookup: LookupFile, key: str) -> _Field:
        rule = lookup.fields[name]
        if (rule.source is None) == (rule.constant is None):
            raise SourceKeyError(key, "it needs one of from and is", 'write { from = "…" } or { is = "…" }')
        return _Field(
            name=name,
            bit=1 << place,
            path=None if rule.source is None else path_of(rule.source),
            read=converter(fields_of(self._record)[place], rule, source.values, key),
            vital=name in LIFECYCLE or name == "record_id",
            optional=rule.optional,
            always=name in _ALWAYS,
        )

    def unmapped(self, row: Row, subject_keys: frozenset[str]) -> int:
        """How many members of a source's record the file does not map."""
        return len(row.keys() - self._mapped - subject_keys)

    def record(self, row: Row, mask: int) -> Record:
        """The record with the fields of `mask` and those that are always needed; raises SourceFaultError."""
        values: dict[str, Any] = {}
        for field in self._fields:
            if field.always or field.bit & mask:
                values[field.name] = _value(field, row)
        if not values["record_id"]:
            raise SourceFaultError(FaultCode.GARBAGE, "a record without identifier")
        return self._record(**values)


def _value(field: _Field, row: Row) -> Any:
    if field.path is None:
        return field.read(None)
    raw = value_at(row, field.path)
    if raw is MISSING:
        if field.vital and not field.optional:
            raise SourceFaultError(FaultCode.GARBAGE, f"a record lacks {'.'.join(field.path)} ({field.name})")
        raw = None
    try:
        return field.read(raw)
    except UnreadableError:
        if field.vital:
            raise SourceFaultError(
                FaultCode.GARBAGE, f"{'.'.join(field.path)} ({field.name}) cannot be read"
            ) from None
        return None
