"""From the rows of a source to records of the catalogue, field by field.

What the file does not map is dropped here, unread and unlogged. What decides whether a record may be shown
at all must be readable: otherwise the whole answer is garbage. `RecordMap.records` reads each record in one sweep,
by a function written for the fields that are asked; at anything unusual it leaves the record to `_careful`, which
says what that means.
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import msgspec

from connectors.answers import FaultCode, SourceFaultError
from connectors.conversions import Converter, Known, PlainText, UnreadableError, converter
from connectors.envelope import MISSING, Row, path_of, value_at
from connectors.problems import SourceKeyError
from connectors.source import LookupFile, Scheme, SourceFile
from policies.catalogue import LIFECYCLE, SECTION_OF, Record, fields_of

_MOST_PLANS = 64
_MOST_SHAPES = 64
_MOST_MEMBERS = 200
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


class _Plan(msgspec.Struct, frozen=True):
    """How records are read for one field mask: at a glance, and field by field.

    `quick` raises for whatever is unusual.
    """

    fields: tuple[_Field, ...]
    quick: Callable[[Row], Record]


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
        self._several = lookup.several
        self._newest_by = self._date_field(lookup.newest_by, f"{key}.newest_by")
        self._plans: dict[int, _Plan] = {}
        self._mapped = frozenset(
            path[0]
            for path in (*(field.path for field in self._fields), *subject_paths(lookup).values())
            if path
        )
        self._shapes: dict[tuple[str, ...], int] = {}
        """How many members the file does not map, by the names of a record's members."""

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

    def _date_field(self, name: str | None, key: str) -> _Field | None:
        if name is None:
            return None
        dates = {
            field.name: field
            for field in self._fields
            if fields_of(self._record)[field.bit.bit_length() - 1].type in (date, date | None)
        }
        if name not in dates:
            known = ", ".join(dates) or "none yet"
            raise SourceKeyError(key, "it is no date that the lookup maps", f"write one of: {known}")
        return dates[name]

    def fitting(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows of one subject that count, as `several` says; raises SourceFaultError when that cannot be told."""
        if self._several is None or len(rows) < 2:
            return rows
        field = self._newest_by
        if field is None:
            raise SourceFaultError(FaultCode.GARBAGE, "several records match one subject")
        days = [_value(field, row) for row in rows]
        if None in days or days.count(newest := max(days)) > 1:
            raise SourceFaultError(
                FaultCode.GARBAGE, f"several records match one subject, and {field.name} names no newest"
            )
        return (rows[days.index(newest)],)

    def unmapped(self, rows: Sequence[Row]) -> int:
        """How many members of a source's records the file does not map."""
        count = 0
        for row in rows:
            names = tuple(row)
            known = self._shapes.get(names)
            count += self._unmapped(names) if known is None else known
        return count

    def _unmapped(self, names: tuple[str, ...]) -> int:
        count = len({*names} - self._mapped)
        if len(names) <= _MOST_MEMBERS:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            self._shapes[names] = count
        return count

    def records(self, rows: Sequence[Row], mask: int) -> tuple[Record, ...]:
        """The records with the fields of `mask` and those that are always needed; raises SourceFaultError."""
        plan = self._plans.get(mask) or self._plan(mask)
        quick = plan.quick
        made = []
        for row in rows:
            try:
                record = quick(row)
                made.append(record if record.record_id else self._careful(row, plan))
            except (KeyError, TypeError, UnreadableError):
                made.append(self._careful(row, plan))
        return tuple(made)

    def record(self, row: Row, mask: int) -> Record:
        """One record."""
        (record,) = self.records((row,), mask)
        return record

    def _careful(self, row: Row, plan: _Plan) -> Record:
        """The same, field by field, so that each value is judged on its own: what a fault means is said here."""
        values = {field.name: _value(field, row) for field in plan.fields}
        if not values["record_id"]:
            raise SourceFaultError(FaultCode.GARBAGE, "a record without identifier")
        return self._record(**values)

    def _plan(self, mask: int) -> _Plan:
        fields = [field for field in self._fields if field.always or field.bit & mask]
        plan = _Plan(tuple(fields), _quick(self._record, fields))
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        self._plans[mask] = plan
        return plan


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


def subject_paths(lookup: LookupFile) -> dict[Scheme | str, tuple[str, ...]]:
    """Where a record says whose it is, by the scheme of the identifier."""
    if lookup.subject is None:
        return {}
    if isinstance(lookup.subject, str):
        return dict.fromkeys(lookup.keys, path_of(lookup.subject))
    return {scheme: path_of(path) for scheme, path in lookup.subject.items()}


# --- the quick walk: source made from the fields


def _quick(record: type[Record], fields: Sequence[_Field]) -> Callable[[Row], Record]:
    """A function that makes a record of a row in one expression; raises for whatever it does not expect.

    Its source holds names of catalogue fields, numbers, and names of members as Python literals.
    """
    names: dict[str, Any] = {"__builtins__": {"type": type, "str": str}, "make": record, "at": _at}
    members = []
    for number, field in enumerate(fields):
        names[f"r{number}"] = field.read if field.path is not None else field.read(None)
        if isinstance(field.read, PlainText):
            names[f"n{number}"] = field.read.null
        members.append(f"{field.name}={_expression(field, number)}")
    text = f"def quick(row):\n    get = row.get\n    return make({', '.join(members)})"
    exec(compile(text, "<record>", "exec"), names)  # noqa: S102  # its text is the catalogue's and ours
    quick: Callable[[Row], Record] = names["quick"]
    return quick


def _expression(field: _Field, number: int) -> str:
    """What reads one field: `r` is its converter, `n` the words that mean nothing."""
    if field.path is None:
        return f"r{number}"
    needed = field.vital and not field.optional
    if len(field.path) > 1:
        value = f"at(row, {field.path!r}, {needed})"
    else:
        value = f"row[{field.path[0]!r}]" if needed else f"get({field.path[0]!r})"
    if isinstance(field.read, Known):
        return f"r{number}[{value}]"
    if isinstance(field.read, PlainText):
        text = f"type(v := {value}) is str" + (f" and v.strip() not in n{number}" if field.read.null else "")
        return f"v if {text} else r{number}(v)"
    return f"r{number}({value})"


def _at(row: Row, path: tuple[str, ...], needed: bool) -> Any:
    value = value_at(row, path)
    if value is not MISSING:
        return value
    if needed:
        raise UnreadableError
    return None
