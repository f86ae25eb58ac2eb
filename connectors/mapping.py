"""From the rows of a source to records of the catalogue, field by field.

What the file does not map is dropped here, unread and unlogged. What decides whether a record may be shown
at all must be readable: otherwise the whole answer is garbage.
"""

from typing import Any

import msgspec

from connectors.answers import FaultCode, SourceFaultError
from connectors.conversions import Converter, UnreadableError, converter
from connectors.envelope import MISSING, Row, path_of, value_at
from connectors.problems import SourceKeyError
from connectors.source import LookupFile, SourceFile
from policies.catalogue import LIFECYCLE, SECTION_OF, Record, fields_of

_ALWAYS = LIFECYCLE | {"record_id", "provider"}


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
