"""Reading source files, strictly: a mistake refuses the file with its name, the line, the key and a remedy.

What a file holds is described in `connectors.source`, what its types cannot say is in `connectors.checks`, what
no file may hold in `connectors.forbidden`; whether its templates and field maps can work is seen where they are
compiled (`connectors.request`, `connectors.mapping`).
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from connectors.checks import mistakes_between, mistakes_of_source
from connectors.forbidden import mistakes_of_text, mistakes_of_values
from connectors.lines import line_of
from connectors.problems import SourceFileError, SourceKeyError
from connectors.source import (
    About,
    Auth,
    Breaker,
    CodeLevel,
    CodeTable,
    Database,
    Envelope,
    FieldMap,
    LookupFile,
    Rate,
    RegisterFile,
    Sealing,
    SearchFile,
    SecretRef,
    SourceFile,
    StatisticsFile,
    Step,
    Tls,
    TokenFile,
    Values,
)


def read_sources(directory: Path) -> dict[str, SourceFile]:
    """All source files of a directory by id, or none: raises SourceFileError."""
    files: dict[str, SourceFile] = {}
    for path in sorted(directory.glob("*.toml")):
        source = read_source(path)
        if source.id != path.stem:
            raise file_error(path, SourceKeyError(
                "id", "it differs from the file's name", f"write id = {path.stem!r} or rename the file"
            ))  # fmt: skip
        files[source.id] = source
    for name, mistake in mistakes_between(files):
        raise file_error(directory / f"{name}.toml", mistake)
    if not files:
        raise SourceFileError(
            directory.name, "*.toml", "the directory holds no source file", "name another directory"
        )
    return files


def read_source(path: Path) -> SourceFile:
    """The source that a file describes; raises SourceFileError for the first mistake, with the others."""
    try:
        text = path.read_bytes().decode()
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        raise SourceFileError(
            path.name,
            "TOML",
            str(error),
            "correct the syntax at that place",
            line=int(found[1]) if found else text.count("\n") + 1,
        ) from None
    except UnicodeDecodeError:
        raise SourceFileError(path.name, "TOML", "it is not UTF-8", "save the file as UTF-8") from None
    except (ValueError, RecursionError):
        # What Python itself refuses to read: a number of thousands of digits, or tables as deep.
        raise SourceFileError(
            path.name, "TOML", "a number is too long or a value too deep", "make it shorter"
        ) from None
    reading = _Reading()
    mistakes = [*mistakes_of_values(raw), *mistakes_of_text(text)]
    source = reading.source(raw)
    mistakes += reading.mistakes
    if source is not None:
        mistakes += mistakes_of_source(source)
    if source is None or mistakes:
        raise file_error(path, *mistakes)
    return source


def file_error(path: Path, first: SourceKeyError, *others: SourceKeyError) -> SourceFileError:
    """Mistakes of keys as mistakes of the file, with their lines."""
    text = path.read_text("utf-8")

    def at(problem: SourceKeyError, others: tuple[SourceFileError, ...] = ()) -> SourceFileError:
        line = line_of(text, problem.key) if problem.line is None else problem.line
        return SourceFileError(
            path.name, problem.key, problem.reason, problem.remedy, line=line, others=others
        )

    return at(first, tuple(at(other) for other in others))


# --- from TOML to typed values, part by part, so that every mistake is named with its whole key path

T = TypeVar("T", bound=msgspec.Struct)

_TABLES: Mapping[str, type[Any]] = {
    "about": About,
    "envelope": Envelope,
    "values": Values,
    "search": SearchFile,
    "rate": Rate,
    "breaker": Breaker,
    "tls": Tls,
    "sealing": Sealing,
    "database": Database,
}


class _Reading:
    """Reads the parts of one file and collects what is wrong with them."""

    def __init__(self) -> None:
        self.mistakes: list[SourceKeyError] = []

    def source(self, raw: Mapping[str, Any]) -> SourceFile | None:
        """The whole file, or None if any part of it is wrong."""
        parts = dict(raw)
        parts["secrets"] = self._each(raw, "secrets", SecretRef)
        parts["codes"] = self._each(raw, "codes", CodeTable)
        for name, part in (("auth", Auth), ("token", TokenFile)):
            if isinstance(table := raw.get(name), dict):
                steps = self._items(table, "steps", Step, f"{name}.steps")
                parts[name] = self._typed({**table, "steps": steps}, part, name)
        if isinstance(envelope := raw.get("envelope"), dict):
            codes = self._items(envelope, "codes", CodeLevel, "envelope.codes")
            parts["envelope"] = {**envelope, "codes": codes}
        for name, part in _TABLES.items():
            if name in raw:
                parts[name] = self._typed(parts[name], part, name)
        if "statistics" in raw:
            parts["statistics"] = self._items(raw, "statistics", StatisticsFile, "statistics")
        for name, mapped in (("lookup", LookupFile), ("register", RegisterFile)):
            if name in raw:
                parts[name] = [
                    self._mapped(each, mapped, f"{name}[{place}]")
                    for place, each in enumerate(self._list(raw, name, name))
                ]
        if self.mistakes:
            return None
        return self._typed(parts, SourceFile, "")

    def _mapped(self, raw: Any, part: type[T], key: str) -> T | None:
        """A part with a field map."""
        fields = raw.get("fields") if isinstance(raw, dict) else None
        if not isinstance(fields, dict):
            return self._typed(raw, part, key)
        maps = {
            name: FieldMap(source=value)
            if isinstance(value, str)
            else self._typed(value, FieldMap, f"{key}.fields.{name}")
            for name, value in fields.items()
        }
        return None if None in maps.values() else self._typed({**raw, "fields": maps}, part, key)

    def _list(self, raw: Mapping[str, Any], name: str, key: str) -> list[Any]:
        value = raw.get(name, [])
        if isinstance(value, list):
            return value
        self.mistakes.append(
            SourceKeyError(key, "it is not a list", "write a list, or [[…]] for a list of tables")
        )
        return []

    def _items(self, raw: Mapping[str, Any], name: str, part: type[T], key: str) -> list[T | None]:
        return [
            self._typed(value, part, f"{key}[{place}]")
            for place, value in enumerate(self._list(raw, name, key))
        ]

    def _each(self, raw: Mapping[str, Any], name: str, part: type[T]) -> dict[str, T | None]:
        table = raw.get(name, {})
        if not isinstance(table, dict):
            self.mistakes.append(SourceKeyError(name, "it is not a table", f"write [{name}]"))
            return {}
        return {member: self._typed(value, part, f"{name}.{member}") for member, value in table.items()}

    def _typed(self, value: Any, part: type[T], key: str) -> T | None:
        if isinstance(value, dict) and any(_is_lost(member) for member in value.values()):
            return None
        try:
            return msgspec.convert(value, part)
        except msgspec.ValidationError as error:
            self.mistakes.append(_key_problem(str(error), part, key))
            return None


def _is_lost(value: Any) -> bool:
    """Whether a part could not be read before: TOML has no null."""
    return value is None or (isinstance(value, list) and None in value)


_AT = re.compile(r" - at `\$(?P<path>.*)`$")
_QUOTED = re.compile(r"field `(?P<name>[^`]+)`")


def _key_problem(message: str, part: type[Any], key: str) -> SourceKeyError:
    """The problem that msgspec describes in English, with the key path from the top of the file."""
    found = _AT.search(message)
    reason = message[: found.start()] if found else message
    path = (key + (found["path"] if found else "")).lstrip(".")
    quoted = _QUOTED.search(reason)
    if not quoted:
        return SourceKeyError(path or "file", reason, "write a value of that type")
    path = f"{path}.{quoted['name']}".lstrip(".")
    if "missing required" in reason:
        return SourceKeyError(path, "it is missing", "add it")
    known = ", ".join(field.encode_name for field in msgspec.structs.fields(part))
    return SourceKeyError(
        path, "there is no such key", f"correct its spelling or remove it; known here: {known}"
    )
