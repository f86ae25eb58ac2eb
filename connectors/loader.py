"""Reading source files, strictly: a mistake refuses the file with its name, the key and a remedy.

What a file holds is described in `connectors.source`; whether its templates and field maps can work is
checked where they are compiled (`connectors.request`, `connectors.mapping`).
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from connectors.problems import SourceFileError, SourceKeyError
from connectors.source import (
    Auth,
    CodeLevel,
    CodeTable,
    Envelope,
    FieldMap,
    LookupFile,
    RegisterFile,
    SearchFile,
    SecretRef,
    SourceFile,
    StatisticsFile,
    Step,
    Values,
)
from policies.catalogue import SECTION_OF
from policies.vocabulary import SubjectKind


def read_sources(directory: Path) -> dict[str, SourceFile]:
    """All source files of a directory by id, or none: raises SourceFileError for the first mistake."""
    files: dict[str, SourceFile] = {}
    for path in sorted(directory.glob("*.toml")):
        source = read_source(path)
        if source.id != path.stem:
            raise SourceFileError(
                path.name,
                "id",
                "it differs from the file's name",
                f"write id = {path.stem!r} or rename the file",
            )
        files[source.id] = source
    if not files:
        raise SourceFileError(
            directory.name, "*.toml", "the directory holds no source file", "name another directory"
        )
    return files


def read_source(path: Path) -> SourceFile:
    """The source that a file describes; raises SourceFileError."""
    try:
        raw = tomllib.loads(path.read_bytes().decode())
    except tomllib.TOMLDecodeError as error:
        raise SourceFileError(path.name, "TOML", str(error), "correct the syntax at that place") from None
    except UnicodeDecodeError:
        raise SourceFileError(path.name, "TOML", "it is not UTF-8", "save the file as UTF-8") from None
    try:
        _refuse_literal_secrets(raw)
        source = _source(raw)
        _check(source)
    except SourceKeyError as problem:
        raise SourceFileError(path.name, problem.key, problem.reason, problem.remedy) from None
    return source


def check_url(url: str, key: str) -> None:
    """Refuse a base address that is not plain http(s)://host[:port][/path]; raises SourceKeyError."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or parts.query or parts.fragment or parts.username is not None:
        raise SourceKeyError(
            key, "it is no base address", "write http(s)://host:port without user, query or fragment"
        )


# --- from TOML to typed values, part by part, so that a mistake is named with its whole key path

T = TypeVar("T")


def _source(raw: Mapping[str, Any]) -> SourceFile:
    parts = dict(raw)
    parts["secrets"] = _each(raw, "secrets", SecretRef)
    parts["codes"] = _each(raw, "codes", CodeTable)
    if isinstance(auth := raw.get("auth"), dict):
        parts["auth"] = _typed({**auth, "steps": _items(auth, "steps", Step, "auth.steps")}, Auth, "auth")
    if isinstance(envelope := raw.get("envelope"), dict):
        codes = _items(envelope, "codes", CodeLevel, "envelope.codes")
        parts["envelope"] = _typed({**envelope, "codes": codes}, Envelope, "envelope")
    for name, part in (("values", Values), ("search", SearchFile)):
        if name in raw:
            parts[name] = _typed(raw[name], part, name)
    if "statistics" in raw:
        parts["statistics"] = _items(raw, "statistics", StatisticsFile, "statistics")
    for name, mapped in (("lookup", LookupFile), ("register", RegisterFile)):
        if name in raw:
            parts[name] = [
                _mapped(each, mapped, f"{name}[{place}]") for place, each in enumerate(_list(raw, name))
            ]
    return _typed(parts, SourceFile, "")


def _mapped(raw: Any, part: type[T], key: str) -> T:
    """A part with a field map."""
    if not isinstance(raw, dict):
        raise SourceKeyError(key, "it is not a table", f"write [[{key.partition('[')[0]}]]")
    fields = raw.get("fields")
    if not isinstance(fields, dict):
        return _typed(raw, part, key)
    maps = {
        name: FieldMap(source=value)
        if isinstance(value, str)
        else _typed(value, FieldMap, f"{key}.fields.{name}")
        for name, value in fields.items()
    }
    return _typed({**raw, "fields": maps}, part, key)


def _list(raw: Mapping[str, Any], name: str, key: str | None = None) -> list[Any]:
    value = raw.get(name, [])
    if not isinstance(value, list):
        raise SourceKeyError(key or name, "it is not a list", "write a list, or [[…]] for a list of tables")
    return value


def _items(raw: Mapping[str, Any], name: str, part: type[T], key: str) -> list[T]:
    return [_typed(value, part, f"{key}[{place}]") for place, value in enumerate(_list(raw, name, key))]


def _each(raw: Mapping[str, Any], name: str, part: type[T]) -> dict[str, T]:
    table = raw.get(name, {})
    if not isinstance(table, dict):
        raise SourceKeyError(name, "it is not a table", f"write [{name}]")
    return {member: _typed(value, part, f"{name}.{member}") for member, value in table.items()}


_AT = re.compile(r" - at `\$(?P<path>.*)`$")
_QUOTED = re.compile(r"field `(?P<name>[^`]+)`")


def _typed(value: Any, part: type[T], key: str) -> T:
    try:
        return msgspec.convert(value, part)
    except msgspec.ValidationError as error:
        raise _key_problem(str(error), part, key) from None


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


# --- what the types cannot say


def _check(source: SourceFile) -> None:
    _demand(
        re.fullmatch(r"[a-z][a-z0-9-]*", source.id),
        "id",
        "it is no id",
        "write lower-case letters, digits, -",
    )
    _demand(
        re.fullmatch(r"[A-Z][A-Z0-9_]*", source.owner),
        "owner",
        "it is no unit code",
        "write a code such as COURT",
    )
    check_url(source.url, "url")
    _demand(source.timeout_seconds > 0, "timeout_seconds", "it is not positive", "write seconds, such as 2.0")
    _demand(
        source.concurrency > 0, "concurrency", "it is not positive", "write how many calls may run at once"
    )
    _demand(source.max_body_bytes > 0, "max_body_bytes", "it is not positive", "write a number of bytes")
    for status in source.envelope.http:
        _demand(
            re.fullmatch(r"[1-5][0-9]{2}", status),
            f"envelope.http.{status}",
            "it is no HTTP status",
            "write 404",
        )
    if (updated := source.envelope.updated) is not None:
        one = (updated.at is None) != (updated.header is None)
        _demand(one, "envelope.updated", "it needs one of at and header", "say where the time stands")
    serves = source.lookup or source.search or source.register
    _demand(serves, "lookup", "the source serves nothing", "add a [[lookup]] or [[register]]")
    served: set[tuple[str, SubjectKind, str]] = set()
    for place, lookup in enumerate(source.lookup):
        _check_lookup(lookup, f"lookup[{place}]", served)
    if source.search is not None:
        _demand(source.search.page_size > 0, "search.page_size", "it is not positive", "write hits per page")
        for name in ("name", "credit_code"):
            _demand(name in source.search.fields, f"search.fields.{name}", "it is missing", "map it")
    counted: set[tuple[str, SubjectKind]] = set()
    for place, statistics in enumerate(source.statistics):
        _check_statistics(statistics, f"statistics[{place}]", counted)


def _check_statistics(statistics: StatisticsFile, key: str, counted: set[tuple[str, SubjectKind]]) -> None:
    _demand(statistics.kinds, f"{key}.kinds", "it is empty", "give the source's word for each subject kind")
    known = ", ".join(sorted({category for category, _ in SECTION_OF}))
    for kind in statistics.kinds:
        fits = (statistics.category, kind) in SECTION_OF
        _demand(fits, f"{key}.kinds", f"{statistics.category} is not kept of {kind.value}",
                f"remove that kind, or correct the category; known: {known}")  # fmt: skip
        once = (statistics.category, kind) not in counted
        _demand(once, key, f"{statistics.category} of {kind.value} is counted twice", "keep one table")
        counted.add((statistics.category, kind))
    for dimension in statistics.tables:
        mapped = dimension in statistics.dimensions
        _demand(
            mapped, f"{key}.tables.{dimension}", "there is no such dimension here", "map it, or remove it"
        )


def _check_lookup(lookup: LookupFile, key: str, served: set[tuple[str, SubjectKind, str]]) -> None:
    _demand(lookup.kinds, f"{key}.kinds", "it is empty", "name the subject kinds")
    _demand(lookup.keys, f"{key}.keys", "it is empty", "name the identifiers that the source takes")
    categories = {category for category, _ in SECTION_OF}
    known = ", ".join(sorted(categories))
    _demand(
        lookup.category in categories, f"{key}.category", "there is no such category", f"write one of {known}"
    )
    for kind in lookup.kinds:
        fits = (lookup.category, kind) in SECTION_OF
        _demand(fits, f"{key}.kinds", f"{lookup.category} is not kept of {kind.value}", "remove that kind")
        for scheme in lookup.keys:
            once = (lookup.category, kind, scheme) not in served
            _demand(
                once, key, f"{lookup.category} of {kind.value} by {scheme} is served twice", "keep one lookup"
            )
            served.add((lookup.category, kind, scheme))
    records = {SECTION_OF[lookup.category, kind].record for kind in lookup.kinds}
    _demand(
        len(records) == 1, f"{key}.kinds", "these kinds have different records", "write a lookup for each"
    )
    persons = {kind is SubjectKind.NP for kind in lookup.kinds}
    residents = {scheme == "resident" for scheme in lookup.keys}
    _demand(persons == residents or persons == {True, False}, f"{key}.keys", "they do not fit the kinds",
            "resident goes with NP, the others with organisations")  # fmt: skip
    _demand(
        lookup.batch is None or lookup.batch > 1, f"{key}.batch", "it is below 2", "remove it or write a size"
    )
    _demand(
        lookup.batch is None or lookup.subject,
        f"{key}.subject",
        "it is missing",
        "a batch needs the key that says whose a record is",
    )
    _demand(lookup.cache_seconds >= 0, f"{key}.cache_seconds", "it is negative", "write 0 to keep nothing")
    if isinstance(lookup.subject, dict):
        for scheme in lookup.keys:
            _demand(scheme in lookup.subject, f"{key}.subject.{scheme}", "it is missing", "add it")


def _demand(holds: object, key: str, reason: str, remedy: str) -> None:
    if not holds:
        raise SourceKeyError(key, reason, remedy)


# --- secrets stand in the environment, never in a file

_SECRET_NAME = re.compile(
    r"(?i)secret|passw|pwd|token|app_?key|api_?key|access_?key|authorization|credential"
)
_SECRET_LOOK = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+=_-]{16,}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_OUR_WORDS = re.compile(
    r"(id|title|chinese|owner|lookup\[\d+\]\.fields|register\[\d+\]\.(names|fields|subjects|roles)|search\.fields|statistics\[\d+\]\.(dimensions|tables)|envelope|values|codes|secrets)\b"
)


def _refuse_literal_secrets(raw: Mapping[str, Any]) -> None:
    """Refuse what is, or looks like, a secret written out; raises SourceKeyError without repeating it."""
    remedy = 'write { env = "NAME" } under [secrets] and use {secrets.NAME}'
    for key, text in _texts(raw, ""):
        name = key.rpartition(".")[2]
        if key.startswith("secrets.") and name == "default" and not text.startswith("sandbox-"):
            raise SourceKeyError(key, "a default secret that is not the sandbox's", "remove the default")
        if _OUR_WORDS.match(key):
            continue
        if re.match(r"auth\.(headers|query|form|json)\b", key) and "{" not in text:
            raise SourceKeyError(key, "a literal value is placed for authentication", remedy)
        if _SECRET_NAME.search(name) and text and "{" not in text:
            raise SourceKeyError(key, "a literal secret", remedy)
        if any(_SECRET_LOOK.fullmatch(word) for word in re.split(r"[\s/:,;.]+", _PLACEHOLDER.sub(" ", text))):
            raise SourceKeyError(key, "it looks like a literal secret or identifier", remedy)


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _texts(value, f"{key}[{place}]")
