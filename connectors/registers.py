"""Asking the registers of evidence: a number out, the register's entry back, never kept."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from connectors.answers import FaultCode, Ground, RegisterAnswer, SourceFaultError
from connectors.conversions import Converter, UnreadableError, converter, text_of
from connectors.envelope import MISSING, Row, path_of, value_at
from connectors.problems import SourceKeyError
from connectors.source import FieldMap, RegisterFile, Scheme, SourceFile
from connectors.upstream import Source
from policies.catalogue import FieldOf, Shown
from policies.registers import Entry, Reference
from policies.vocabulary import Level

_log = logging.getLogger(__name__)


class RegisterLookup:
    """The registers of one form at one source."""

    def __init__(self, source: Source, place: int) -> None:
        file = source.file.register[place]
        key = f"register[{place}]"
        self._source = source
        self._question = source.wire.question(file, key)
        self._entries = EntryMap(source.file, file, key)

    async def ask(self, reference: Reference, ground: Ground, until: float, payer: str) -> RegisterAnswer:
        """The entry of a number, or that there is none; a fault is in the answer. `until` is the time of the loop."""
        source = self._source.file.id
        asked = {"register.name": reference.register.value, "register.number": reference.number}
        try:
            rows = await self._source.paid_within(self._question, asked, ground, until=until, payer=payer)
            if len(rows.rows) > 1:
                raise SourceFaultError(FaultCode.GARBAGE, "more than one entry")
            entries = [self._entries.entry(row, reference) for row in rows.rows]
        except SourceFaultError as error:
            _log.info("source %s, register %s: %s", source, reference.register, error)
            return RegisterAnswer(source, fault=error.fault)
        return RegisterAnswer(source, entries[0] if entries else None)


_SCALARS: Mapping[str, Any] = {
    name: hint
    for name, hint in Entry.__annotations__.items()
    if name in ("open", "valid_from", "valid_until", "stage", "kind", "approver")
}
_SETS = ("units", "supervisors", "covers")
_MAPPED = ("number", *_SCALARS, *_SETS)


class EntryMap:
    """How the entries of registers of one form are read. What is mapped must be readable: else the answer is garbage."""

    def __init__(self, source: SourceFile, file: RegisterFile, key: str) -> None:
        for name in file.fields:
            if name not in _MAPPED:
                raise SourceKeyError(
                    f"{key}.fields.{name}", "an entry has no such field", f"map one of {', '.join(_MAPPED)}"
                )
        for name in ("number", "open"):
            if name not in file.fields:
                raise SourceKeyError(f"{key}.fields.{name}", "it is missing", "map it")
        self._roles_map = file.roles
        self._subject_paths = {
            scheme: (path_of(at), None) if isinstance(at, str) else (path_of(at.source), at.split)
            for scheme, at in file.subjects.items()
        }
        self._number = _path(file.fields["number"], f"{key}.fields.number")
        self._scalars = {
            name: (
                _path(rule, f"{key}.fields.{name}"),
                converter(_field(name), rule, source.values, f"{key}.fields.{name}"),
                rule.optional,
            )
            for name, rule in file.fields.items()
            if name in _SCALARS
        }
        self._sets = {
            name: (_path(rule, f"{key}.fields.{name}"), rule.split)
            for name, rule in file.fields.items()
            if name in _SETS
        }

    def entry(self, row: Row, reference: Reference) -> Entry:
        """The entry; raises SourceFaultError."""
        if _text(value_at(row, self._number)) != reference.number:
            raise SourceFaultError(FaultCode.WRONG_SUBJECT, "an entry of a number that was not asked for")
        values: dict[str, Any] = {
            name: _read(row, name, path, read, optional=optional)
            for name, (path, read, optional) in self._scalars.items()
        }
        if values["open"] is None:
            raise SourceFaultError(FaultCode.GARBAGE, "an entry does not say whether it is open")
        for name, (path, split) in self._sets.items():
            values[name] = frozenset(_words(row, path, split))
        return Entry(
            reference=reference,
            subjects=frozenset(self._subjects(row)),
            roles=frozenset(self._roles(row)),
            **values,
        )

    def _subjects(self, row: Row) -> Iterator[str]:
        for scheme, (path, split) in self._subject_paths.items():
            yield from (_subject(scheme, text) for text in _words(row, path, split))

    def _roles(self, row: Row) -> Iterator[tuple[str, str]]:
        rule = self._roles_map
        if rule is None:
            return
        people = value_at(row, path_of(rule.source))
        if people is None:
            return
        if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
            raise SourceFaultError(FaultCode.GARBAGE, f"no list at {rule.source}")
        for person in people:
            identifier = _text(value_at(person, path_of(rule.subject)))
            yield _subject(rule.scheme, identifier), _text(value_at(person, path_of(rule.role)))


def _field(name: str) -> FieldOf:
    # A converter asks for the type alone; nothing of an entry is ever shown.
    return FieldOf(name, _SCALARS[name], Shown("", "", Level.FULL))


def _path(rule: FieldMap, key: str) -> tuple[str, ...]:
    if rule.source is None:
        raise SourceKeyError(key, "it needs from", 'write { from = "…" }')
    return path_of(rule.source)


def _subject(scheme: Scheme, identifier: str) -> str:
    return f"{scheme}:{identifier.upper()}"


def _read(row: Row, name: str, path: tuple[str, ...], read: Converter, *, optional: bool) -> Any:
    raw = value_at(row, path)
    if raw is MISSING:
        if not optional:
            raise SourceFaultError(FaultCode.GARBAGE, f"an entry lacks {'.'.join(path)} ({name})")
        raw = None
    try:
        return read(raw)
    except UnreadableError:
        raise SourceFaultError(FaultCode.GARBAGE, f"{'.'.join(path)} ({name}) cannot be read") from None


def _words(row: Any, path: tuple[str, ...], split: str | None) -> Iterator[str]:
    """The texts at a path, through every list on the way; null stands for none."""
    if row is None:
        return
    if isinstance(row, list):
        for item in row:
            yield from _words(item, path, split)
    elif path:
        name, *rest = path
        if not isinstance(row, dict) or name not in row:
            raise SourceFaultError(FaultCode.GARBAGE, f"an entry lacks {name}")
        yield from _words(row[name], tuple(rest), split)
    else:
        text = _text(row)
        yield from (word.strip() for word in text.split(split) if word.strip()) if split else (text,)


def _text(value: Any) -> str:
    try:
        return text_of(None if value is MISSING else value).strip()
    except UnreadableError:
        raise SourceFaultError(FaultCode.GARBAGE, "an entry holds something else than text") from None
