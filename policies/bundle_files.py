"""Reading the files of a bundle: bytes, then text, then TOML, then entries that know the line they stand in.

Strict: whatever is not plain UTF-8, not TOML, misspelt or of another type than `policies.bundle_format` says is a
`Problem` that names file, line, reason and remedy.
"""

import os
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from enum import StrEnum
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec

from policies.bundle_format import FILES, HEAD, NATIONAL, NEEDED_FILES, TABLES, Table

MAX_FILE = 4 * 1024 * 1024
"""Largest file of a bundle, in bytes."""


class Problem(msgspec.Struct, frozen=True):
    """One fault of a bundle: where it is, what it is, what to do."""

    file: str
    line: int
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}; {self.remedy}"


class BundleError(ValueError):
    """A bundle that cannot be used: its problems, and file, line, reason and remedy of the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))
        super().__init__("\n".join(map(str, self.problems)))
        first = self.problems[0]
        self.file, self.line, self.reason, self.remedy = first.file, first.line, first.reason, first.remedy


_ANY_HEADER = re.compile(r"\s*\[\[?[\w.\s-]+\]\]?\s*(#.*)?")


class Place(NamedTuple):
    """Where an entry stands: the file, its lines, the table and the entry's number among its kind."""

    file: str
    lines: list[str]
    table: str
    number: int

    def problem(self, key: str, reason: str, remedy: str) -> Problem:
        """A problem with one key of the entry ("": with the entry)."""
        return Problem(self.file, self.line(key), reason, remedy)

    def line(self, key: str = "") -> int:
        """The line of the key, counted from 1; of the entry where the key is not written."""
        start = self._header()
        for at in range(start, len(self.lines)):
            if at > start and _ANY_HEADER.fullmatch(self.lines[at]):
                break
            if key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", self.lines[at]):
                return at + 1
        return start + 1

    def _header(self) -> int:
        header = re.compile(rf"\s*\[\[?\s*[\"']?{re.escape(self.table)}[\"']?\s*\]\]?\s*(#.*)?")
        numbers = [number for number, line in enumerate(self.lines) if header.fullmatch(line)]
        return numbers[self.number] if self.number < len(numbers) else 0


def read_texts(directory: Traversable | Path) -> dict[str, str]:
    """The `*.toml` files of a directory by name; raises BundleError with all that cannot be read as text."""
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            try:
                texts[entry.name] = _text(entry, directory)
            except BundleError as error:
                problems.extend(error.problems)
    if problems:
        raise BundleError(problems)
    return texts


def _text(entry: Traversable, directory: Traversable | Path) -> str:
    # Links inside the directory are how orchestrators mount files.
    if (
        isinstance(entry, Path)
        and isinstance(directory, Path)
        and not Path(os.path.realpath(entry)).is_relative_to(os.path.realpath(directory))
    ):
        problem = Problem(entry.name, 1, "links to a file outside the bundle", "put the file itself there")
        raise BundleError([problem])
    # Opening a pipe would wait for ever.
    if not entry.is_file():
        raise BundleError([Problem(entry.name, 1, "no plain file", "put a text file there or rename it")])
    with entry.open("rb") as file:
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        reason = f"larger than {MAX_FILE // 1024 // 1024} MiB"
        raise BundleError([Problem(entry.name, 1, reason, "remove what is no rule; no bundle is that large")])
    return _utf8(entry.name, content)


def _utf8(file: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BundleError([Problem(file, line, "not UTF-8", "save the file as UTF-8")]) from None


def read_documents(files: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The content of each file that can be read, and the problems of the others."""
    problems = [
        Problem(file, 1, "the file is missing", f"a bundle has the files {_files_beside(file)}")
        for file in NEEDED_FILES
        if file not in files
    ]
    documents = {}
    for file, text in files.items():
        if file not in FILES:
            remedy = f"move its entries to one of {_files_beside(file)}"
            problems.append(Problem(file, 1, "no file of a bundle", remedy))
            continue
        try:
            documents[file] = _toml(file, text)
        except BundleError as error:
            problems.extend(error.problems)
    return documents, problems


def _files_beside(file: str) -> str:
    """The files of the layer that the file belongs to."""
    national = file.startswith(NATIONAL)
    return ", ".join(name for name in FILES if name.startswith(NATIONAL) == national)


def _toml(file: str, text: str) -> dict[str, Any]:
    if text.startswith("\ufeff"):
        problem = Problem(file, 1, "begins with a byte order mark", "save the file as UTF-8 without one")
        raise BundleError([problem])
    _refuse_invisible(file, text)
    try:
        return tomllib.loads(text)
    except RecursionError:
        problem = Problem(file, 1, "not TOML: nested too deeply", "write lists of plain codes")
        raise BundleError([problem]) from None
    except ValueError as error:  # of tomllib, or of Python for a number of thousands of digits
        reason, _, position = str(error).partition(" (at ")
        at = re.match(r"line (\d+)", position)
        line = int(at[1]) if at else text.count("\n") + 1
        problem = Problem(
            file,
            line,
            f"not TOML: {reason}",
            "correct the syntax; days are written 2022-10-01, no key or table is given twice",
        )
        raise BundleError([problem]) from None


def _refuse_invisible(file: str, text: str) -> None:
    """Characters that no reader sees could make a line read otherwise than it is loaded (Unicode TR 36)."""
    for at, character in enumerate(text):
        if unicodedata.category(character) == "Cf":
            line = text.count("\n", 0, at) + 1
            reason = f"holds the invisible character U+{ord(character):04X}"
            raise BundleError([Problem(file, line, reason, "delete it and type the line anew")])


Entries = dict[Table, list[tuple[Place, Any]]]
"""For each table the entries, of its type, and where they stand."""


def read_entries(
    files: Mapping[str, str], documents: Mapping[str, dict[str, Any]], problems: Iterable[Problem]
) -> Entries:
    """The entries of all files, each well formed by itself; raises BundleError with these problems and its own."""
    entries: Entries = {}
    faults = [*problems, *_unknown_tables(files, documents)]
    for table in (table for table in TABLES if table.file in documents):
        entries[table] = []
        lines = files[table.file].split("\n")
        content = _blocks(documents[table.file], table)
        if not content and not (table.optional and table.name not in documents[table.file]):
            remedy = f"begin each entry with [[{table.name}]]; at least one is needed"
            place = Place(table.file, lines, table.name, 0)
            faults.append(place.problem(table.name, f"no entry [[{table.name}]]", remedy))
        for number, block in enumerate(content):
            place = Place(table.file, lines, table.name, number)
            try:
                entries[table].append(
                    (place, msgspec.convert(block, table.entry, builtin_types=(date, datetime, time)))
                )
            except msgspec.ValidationError as error:
                faults.append(_malformed(place, table.entry, str(error)))
    if faults:
        raise BundleError(faults)
    return entries


def _unknown_tables(files: Mapping[str, str], documents: Mapping[str, dict[str, Any]]) -> Iterator[Problem]:
    for file in documents:
        known = [table.name for table in TABLES if table.file == file]
        for key in documents[file]:
            if key not in known and file != HEAD.file:
                remedy = f"correct its spelling or remove it; known: {', '.join(known)}"
                line = Place(file, files[file].split("\n"), key, 0).line(key)
                yield Problem(file, line, f"unknown table {key!a}", remedy)


def _blocks(document: dict[str, Any], table: Table) -> list[Any]:
    if not table.name:
        others = {other.name for other in TABLES if other.file == table.file}
        return [{key: value for key, value in document.items() if key not in others}]
    blocks = document.get(table.name)
    return blocks if isinstance(blocks, list) else []


_REMEDIES = (
    ("Expected `date`", "write the day without quotes, as in 2022-10-01"),
    ("Expected `array` of length", "name at least one"),
    ("Expected `str` of length", "write the text"),
    ("matching regex", "use capitals A to Z, digits, _ and - as the other codes do"),
)


def _malformed(place: Place, entry: type[msgspec.Struct], message: str) -> Problem:
    """The problem behind a message of msgspec, such as "Expected `str`, got `int` - at `$.code`"."""
    fault, _, path = message.partition(" - at ")
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(entry)}
    named = re.search(r"field `(.*)`", fault, re.DOTALL)
    if named and "unknown field" in fault:
        remedy = f"correct its spelling or remove it; known: {', '.join(fields)}"
        return place.problem(named[1], f"unknown key {named[1]!a}", remedy)
    if named:
        return place.problem("", f"the key {named[1]!r} is missing", "add it")
    at = re.search(r"\$\.(\w+)", path)
    key = at[1] if at else ""
    words = _words(fields.get(key))
    remedy = f"use one of {', '.join(words)}" if words else "write a value of the kind expected"
    remedy = next((text for start, text in _REMEDIES if start in fault), remedy)
    return place.problem(key, f"{key or 'entry'}: {fault}", remedy)


def _words(kind: Any) -> list[str]:
    """The words that a type of key allows, where it is a vocabulary."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return list(kind)
    return [word for part in get_args(kind) for word in _words(part)]
