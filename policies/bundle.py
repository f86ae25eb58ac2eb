"""The policy bundle: who may learn what about whom, for which purpose, by which article.

A bundle is a directory of TOML files that a lawyer reviews in a diff. It is read together with the national
layer, whose instruments and red lines a province can neither remove nor change. Loading is strict: whatever the
files leave open, misspell or contradict is a `BundleError` that names file, line and remedy.
"""

import difflib
import hashlib
import json
import os
import re
import tomllib
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, time
from enum import StrEnum
from functools import cache
from importlib.resources import files as resources
from importlib.resources.abc import Traversable
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast, get_args

import msgspec
from msgspec import Meta

from policies.evidence import Evidence
from policies.vocabulary import Level, Mask, Severity, SubjectKind

Code = Annotated[str, Meta(pattern=r"\A[A-Z][A-Z0-9_-]*\Z")]
"""Code of an entry: plain capitals, digits, `_` and `-`, so that no lookalike letter hides in it."""
Text = Annotated[str, Meta(min_length=1)]
Codes = Annotated[tuple[str, ...], Meta(min_length=1)]
Kinds = Annotated[tuple[SubjectKind, ...], Meta(min_length=1)]
Months = Annotated[int, Meta(ge=0)]


class Layer(StrEnum):
    """Who made an instrument."""

    NATIONAL = "NATIONAL"
    PROVINCIAL = "PROVINCIAL"
    MUNICIPAL = "MUNICIPAL"
    PRODUCT = "PRODUCT"
    """A design decision of this product: no legal source."""


class Audience(StrEnum):
    """Whom masks tell apart."""

    DEPARTMENT = "DEPARTMENT"
    FINANCE = "FINANCE"
    SUBJECT = "SUBJECT"
    PUBLIC = "PUBLIC"


class Phase(StrEnum):
    """When, relative to the decision it serves, an inquiry is made."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"
    ANY = "any"


class CategoryClass(StrEnum):
    """What a record of a category says about its subject."""

    BASIC = "BASIC"
    EXCELLENT = "EXCELLENT"
    UNTRUSTWORTHY = "UNTRUSTWORTHY"


class Openness(StrEnum):
    """How open a category is; the ceiling of what rules may grant."""

    OPEN = "OPEN"
    SHARED = "SHARED"
    RESTRICTED = "RESTRICTED"
    CONSENT = "CONSENT"
    CONSENT_SEPARATE = "CONSENT_SEPARATE"
    HIT = "HIT"
    MATCH_ONLY = "MATCH_ONLY"
    SUBJECT = "SUBJECT"
    FOLLOWS_RECORD = "FOLLOWS_RECORD"
    PROHIBITED = "PROHIBITED"


class Publication(StrEnum):
    """How long the records of a category are published."""

    LONG_TERM = "LONG_TERM"
    SEVERITY = "SEVERITY"
    """By the degree of the record: `periods`."""
    LISTED = "LISTED"
    """Until removed from the list."""
    TERM = "TERM"
    """For the term of the record."""
    UNTIL_PERFORMED = "UNTIL_PERFORMED"
    NONE = "NONE"
    """Never published."""


class Proof(StrEnum):
    """What proves that a condition is met."""

    REGISTER = "register"
    AUTHORIZATION = "authorization"
    """A signed authorisation of the subject."""
    TOKEN = "token"  # noqa: S105  # a kind of proof; not a password
    """The caller's token says it."""
    IDENTIFIER = "identifier"
    """The subject's identifier says it."""
    CATALOGUE = "catalogue"
    """The bundle itself lists it."""
    NONE = "none"


class ConditionKind(StrEnum):
    """Whether a code must be met before an answer, binds the answer, or both."""

    CONDITION = "condition"
    OBLIGATION = "obligation"


class RuleStatus(StrEnum):
    """A draft is checked like an active rule but grants nothing."""

    ACTIVE = "ACTIVE"
    DRAFT = "DRAFT"


class MeasureKind(StrEnum):
    """What a measure does to its subject."""

    INCENTIVE = "INCENTIVE"
    DISCIPLINE = "DISCIPLINE"
    SERIOUS = "SERIOUS"


class Treatment(StrEnum):
    """What a mask does to a value."""

    KEEP = "KEEP"
    SURNAME = "SURNAME"
    """Family name and an asterisk."""
    SURNAME_UNLESS_PUBLISHED = "SURNAME_UNLESS_PUBLISHED"
    DROP_UNLESS_PUBLISHED = "DROP_UNLESS_PUBLISHED"
    COUNTY = "COUNTY"
    """Address down to the county."""
    DROP = "DROP"


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A law, regulation or decision that bases cite; `valid_from` absent: the date is not confirmed."""

    code: Code
    title: Text
    chinese: Text
    layer: Layer
    valid_from: date | None = None
    valid_to: date | None = None
    note: str = ""

    def in_force_on(self, day: date) -> bool:
        """Whether it is in force on that day; a date that is not confirmed does not count against it."""
        return _holds_on(self, day)


class Basis(msgspec.Struct, frozen=True):
    """A place in an instrument: its code and title, and the article ("" for the whole)."""

    instrument: str
    article: str
    title: str

    @property
    def text(self) -> str:
        """Short form, such as ``SH 28(1)``."""
        return f"{self.instrument} {self.article}".rstrip()


class CallerType(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A type of department or of other caller."""

    code: Code
    english: Text
    chinese: Text
    department: bool
    audience: Audience


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """What an inquiry may be for; `evidence` only describes, the rules' conditions decide.

    `obliges` is the floor: by subject kind the categories that every caller with this purpose must get, because
    the law obliges it to look them up.
    """

    code: str
    english: str
    chinese: str
    case: str
    evidence: str
    phase: Phase
    basis: tuple[Basis, ...]
    obliges: dict[SubjectKind, tuple[str, ...]] = {}


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A category of the catalogue.

    `national` is its number in the national basic catalogue (2024) or None; `open_org` and `open_person` are
    None where the category does not exist for them; `inquiry_months` is None where no limit is set. The notes
    keep the sources' words.
    """

    code: Code
    english: Text
    chinese: Text
    category_class: CategoryClass = msgspec.field(name="class")
    national: Annotated[int, Meta(ge=1, le=13)] | None = None
    open_org: Openness | None = None
    open_person: Openness | None = None
    subjects: Kinds
    publication: Publication
    inquiry_months: Months | None = None
    never_stored: bool = False
    publication_note: str = ""
    retention_note: str = ""
    source_note: str = ""
    openness_note: str = ""

    def fits(self, kind: SubjectKind) -> bool:
        """Whether subjects of that kind have this category; without a subject all are browsed."""
        return kind is SubjectKind.NONE or kind in self.subjects

    def openness(self, kind: SubjectKind) -> Openness | None:
        """How open it is for subjects of that kind; None without a subject, or where the bundle does not say."""
        if kind is SubjectKind.NONE:
            return None
        return self.open_person if kind is SubjectKind.NP else self.open_org


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a rule can demand, of the call (condition) or of the answer (obligation).

    `evidence`: alternatives, each a set of evidence fields that must all be present; empty: none needed.
    `register` says in words what would prove it; `remedy` is one sentence: what would make the call lawful;
    `about_subject` says that it ties the subject to the matter, so that no search by name can meet it.
    """

    code: Code
    english: Text
    kinds: Annotated[tuple[ConditionKind, ...], Meta(min_length=1)]
    register: str = ""
    proof: Proof
    about_subject: bool = False
    evidence: tuple[Codes, ...] = ()
    remedy: Text


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence with its legal bases, groups expanded.

    `categories` gives for each kind the categories that fit it. `conditions` must hold before anything is
    fetched; `obligations` bind the answer; a code of both natures stands in both. `valid_to` is the last day.
    """

    id: str
    case: str
    purpose: str
    callers: tuple[str, ...]
    categories: dict[SubjectKind, tuple[str, ...]]
    level: Level
    conditions: tuple[str, ...]
    obligations: tuple[str, ...]
    basis: tuple[Basis, ...]
    valid_from: date
    valid_to: date | None
    status: RuleStatus

    def grants_on(self, day: date) -> bool:
        """Whether the rule is active and in force on that day."""
        return self.status is RuleStatus.ACTIVE and _holds_on(self, day)


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A measure of the list of incentives and punishments; `requires`: a record of one of these categories."""

    code: str
    english: str
    chinese: str
    kind: MeasureKind
    requires: tuple[str, ...]
    basis: tuple[Basis, ...]


class Period(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long records of a degree are published and answered, in months; one regime.

    `severity` None: entries of lists. The regime holds from `valid_from` to `valid_to`, both included, absent:
    open. A publication limit that is absent follows the list; the inquiry limit counts from `counts_from`.
    """

    regime: Text
    severity: Severity | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    publication_minimum_months: Months | None = None
    publication_maximum_months: Months | None = None
    inquiry_months: Months
    counts_from: Text
    note: str = ""

    def holds_on(self, day: date) -> bool:
        """Whether the regime is in force on that day."""
        return _holds_on(self, day)


class MaskRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a masked field of records about these subject kinds is shown to each audience."""

    code: Mask
    kinds: Kinds
    treatments: dict[Audience, Treatment]


class RedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A prohibition that overrides every rule; wildcards expanded. Days absent: open; `valid_to` is the last day."""

    id: str
    sentence: str
    kinds: tuple[SubjectKind, ...]
    categories: tuple[str, ...]
    callers: tuple[str, ...]
    purposes: tuple[str, ...]
    basis: tuple[Basis, ...]
    valid_from: date | None = None
    valid_to: date | None = None

    def holds_on(self, day: date) -> bool:
        """Whether the prohibition is in force on that day."""
        return _holds_on(self, day)


class CeilingException(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Categories that a rule gives above the ceiling of their openness, and why the steward accepts it.

    It holds up to `level`, and while the rule demands all of `conditions`, obligations included.
    """

    rule: Text
    categories: Codes
    level: Level
    conditions: Codes
    reason: Text


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A whole bundle, loaded and checked. Dictionaries are by code, in the order of the files.

    `declared_is_enough` names the conditions whose register is not asked: the evidence as declared counts.
    `quotas` gives by caller type and purpose how many distinct subjects a unit may ask about in a day; a pair
    that is absent has no quota. National red lines stand last. `unused_groups` are groups that no rule or red
    line names. `hash` is the SHA-256 of the meaning of the files, the national ones too, in hex: comments and
    spacing do not count.
    """

    name: str
    title: str
    chinese: str
    province: str
    version: str
    note: str
    declared_is_enough: frozenset[str]
    instruments: dict[str, Instrument]
    callers: dict[str, CallerType]
    purposes: dict[str, Purpose]
    categories: dict[str, Category]
    conditions: dict[str, Condition]
    rules: dict[str, Rule]
    measures: dict[str, Measure]
    periods: tuple[Period, ...]
    masks: dict[tuple[Mask, SubjectKind], MaskRule]
    red_lines: dict[str, RedLine]
    hash: str
    quotas: dict[tuple[str, str], int] = {}
    ceiling_exceptions: tuple[CeilingException, ...] = ()
    unused_groups: tuple[str, ...] = ()

    def period(self, severity: Severity | None, day: date) -> Period:
        """The period of a degree (None: list entries) in the regime of that day; loading proves there is one."""
        for period in self.periods:
            if period.severity is severity and period.holds_on(day):
                return period
        raise LookupError(f"no period of {severity} on {day}")


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


def _holds_on(entry: Instrument | Rule | Period | RedLine, day: date) -> bool:
    return (entry.valid_from is None or entry.valid_from <= day) and (
        entry.valid_to is None or day <= entry.valid_to
    )


MAX_FILE = 4 * 1024 * 1024
"""Largest file of a bundle, in bytes."""


def load(directory: Traversable | Path, national: Traversable | Path | None = None) -> Bundle:
    """The bundle of a directory with the national layer: their `*.toml` files, in UTF-8.

    `national` absent: the national layer that ships with the product. Raises BundleError, and OSError if a
    directory is unreadable.
    """
    return parse(_texts(directory), None if national is None else _texts(national))


def parse(files: Mapping[str, str], national: Mapping[str, str] | None = None) -> Bundle:
    """The bundle of these texts by file name, with those of the national layer (absent: the shipped one).

    Raises BundleError: with every file that is not TOML and every entry that is malformed, or else with all
    that does not fit together. Files of the national layer are named `national/...`.
    """
    layer = _shipped_national() if national is None else national
    both = {**files, **{f"{_NATIONAL}{name}": text for name, text in layer.items()}}
    documents, problems = _documents(both)
    entries = _entries(both, documents, problems)
    return _Assembly(entries).bundle(_meaning_hash(documents))


@cache
def _shipped_national() -> Mapping[str, str]:
    return _texts(resources("policies") / "bundles" / "national")


def _texts(directory: Traversable | Path) -> dict[str, str]:
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


# Entries as written, where that differs from what is loaded: bases are texts, groups stand for their members.


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Text
    title: Text
    chinese: Text
    province: Annotated[str, Meta(pattern=r"\A[0-9]{6}\Z")]
    version: Text
    note: str = ""
    declared_is_enough: tuple[str, ...] = ()


class _WrittenQuota(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    callers: Codes
    purposes: Codes
    subjects_per_day: Annotated[int, Meta(ge=1)]


class _CallerGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    code: Annotated[str, Meta(pattern=r"\A@[A-Z][A-Z0-9_-]*\Z")]
    english: Text
    members: Codes


class _CategoryGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    code: Annotated[str, Meta(pattern=r"\A\*[A-Z0-9_-]*\Z")]
    english: Text
    kinds: Kinds
    members: Codes


class _WrittenPurpose(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    code: Code
    english: Text
    chinese: Text
    case: Text
    evidence: Text
    phase: Phase
    basis: Codes
    obliges: dict[SubjectKind, Codes] = {}


class _WrittenRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: Code
    case: Text
    purpose: str
    callers: Codes
    kinds: Kinds
    categories: Codes
    level: Level
    conditions: Codes
    basis: Codes
    valid_from: date
    valid_to: date | None = None
    status: RuleStatus


class _WrittenMeasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    code: Code
    english: Text
    chinese: Text
    kind: MeasureKind
    requires: Codes
    basis: Codes


class _WrittenRedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: Code
    sentence: Text
    kinds: Kinds
    categories: Codes
    callers: Codes
    purposes: Codes
    basis: Codes
    valid_from: date | None = None
    valid_to: date | None = None


class _Table(NamedTuple):
    """One kind of entry: its file, the name of its tables ("": the file itself) and what an entry holds.

    `optional`: there may be none; a file whose tables are all optional may be missing.
    """

    file: str
    name: str
    entry: type[msgspec.Struct]
    optional: bool = False


_NATIONAL = "national/"
_NATIONAL_INSTRUMENTS = _Table(f"{_NATIONAL}instruments.toml", "instrument", Instrument)
_NATIONAL_RED_LINES = _Table(f"{_NATIONAL}red_lines.toml", "red_line", _WrittenRedLine)
_HEAD = _Table("bundle.toml", "", _Head)
_CEILING_EXCEPTIONS = _Table("bundle.toml", "ceiling_exception", CeilingException, optional=True)
_INSTRUMENTS = _Table("instruments.toml", "instrument", Instrument)
_CALLERS = _Table("callers.toml", "caller", CallerType)
_CALLER_GROUPS = _Table("callers.toml", "group", _CallerGroup, optional=True)
_PURPOSES = _Table("purposes.toml", "purpose", _WrittenPurpose)
_CATEGORIES = _Table("categories.toml", "category", Category)
_CATEGORY_GROUPS = _Table("categories.toml", "group", _CategoryGroup, optional=True)
_CONDITIONS = _Table("conditions.toml", "condition", Condition)
_RULES = _Table("rules.toml", "rule", _WrittenRule)
_MEASURES = _Table("measures.toml", "measure", _WrittenMeasure)
_PERIODS = _Table("periods.toml", "period", Period)
_MASKS = _Table("masks.toml", "mask", MaskRule)
_RED_LINES = _Table("red_lines.toml", "red_line", _WrittenRedLine, optional=True)
_QUOTAS = _Table("quotas.toml", "quota", _WrittenQuota, optional=True)
_TABLES = (
    _NATIONAL_INSTRUMENTS,
    _NATIONAL_RED_LINES,
    _HEAD,
    _CEILING_EXCEPTIONS,
    _INSTRUMENTS,
    _CALLERS,
    _CALLER_GROUPS,
    _PURPOSES,
    _CATEGORIES,
    _CATEGORY_GROUPS,
    _CONDITIONS,
    _RULES,
    _MEASURES,
    _PERIODS,
    _MASKS,
    _RED_LINES,
    _QUOTAS,
)
_FILES = tuple(dict.fromkeys(table.file for table in _TABLES))
_NEEDED_FILES = tuple(dict.fromkeys(table.file for table in _TABLES if not table.optional))

_ANY_HEADER = re.compile(r"\s*\[\[?[\w.\s-]+\]\]?\s*(#.*)?")


class _Place(NamedTuple):
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


def _utf8(file: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BundleError([Problem(file, line, "not UTF-8", "save the file as UTF-8")]) from None


def _documents(files: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The content of each file that can be read, and the problems of the others."""
    problems = [
        Problem(file, 1, "the file is missing", f"a bundle has the files {_files_beside(file)}")
        for file in _NEEDED_FILES
        if file not in files
    ]
    documents = {}
    for file, text in files.items():
        if file not in _FILES:
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
    national = file.startswith(_NATIONAL)
    return _listed(name for name in _FILES if name.startswith(_NATIONAL) == national)


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


def _meaning_hash(documents: Mapping[str, Any]) -> str:
    """SHA-256 of the contents with sorted keys: comments, spacing and line ends do not count."""
    canonical = json.dumps(
        documents, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=date.isoformat
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


_Entries = dict[_Table, list[tuple[_Place, Any]]]
"""For each table the entries, of its type, and where they stand."""


def _entries(
    files: Mapping[str, str], documents: Mapping[str, dict[str, Any]], problems: Iterable[Problem]
) -> _Entries:
    """The entries of all files, each well formed by itself; raises BundleError with these problems and its own."""
    entries: _Entries = {}
    faults = [*problems, *_unknown_tables(files, documents)]
    for table in (table for table in _TABLES if table.file in documents):
        entries[table] = []
        lines = files[table.file].split("\n")
        content = _blocks(documents[table.file], table)
        if not content and not (table.optional and table.name not in documents[table.file]):
            remedy = f"begin each entry with [[{table.name}]]; at least one is needed"
            place = _Place(table.file, lines, table.name, 0)
            faults.append(place.problem(table.name, f"no entry [[{table.name}]]", remedy))
        for number, block in enumerate(content):
            place = _Place(table.file, lines, table.name, number)
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
        known = [table.name for table in _TABLES if table.file == file]
        for key in documents[file]:
            if key not in known and file != _HEAD.file:
                remedy = f"correct its spelling or remove it; known: {_listed(known)}"
                line = _Place(file, files[file].split("\n"), key, 0).line(key)
                yield Problem(file, line, f"unknown table {key!a}", remedy)


def _blocks(document: dict[str, Any], table: _Table) -> list[Any]:
    if not table.name:
        others = {other.name for other in _TABLES if other.file == table.file}
        return [{key: value for key, value in document.items() if key not in others}]
    blocks = document.get(table.name)
    return blocks if isinstance(blocks, list) else []


_REMEDIES = (
    ("Expected `date`", "write the day without quotes, as in 2022-10-01"),
    ("Expected `array` of length", "name at least one"),
    ("Expected `str` of length", "write the text"),
    ("matching regex", "use capitals A to Z, digits, _ and - as the other codes do"),
)


def _malformed(place: _Place, entry: type[msgspec.Struct], message: str) -> Problem:
    """The problem behind a message of msgspec, such as "Expected `str`, got `int` - at `$.code`"."""
    fault, _, path = message.partition(" - at ")
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(entry)}
    named = re.search(r"field `(.*)`", fault, re.DOTALL)
    if named and "unknown field" in fault:
        remedy = f"correct its spelling or remove it; known: {_listed(fields)}"
        return place.problem(named[1], f"unknown key {named[1]!a}", remedy)
    if named:
        return place.problem("", f"the key {named[1]!r} is missing", "add it")
    at = re.search(r"\$\.(\w+)", path)
    key = at[1] if at else ""
    words = _words(fields.get(key))
    remedy = f"use one of {_listed(words)}" if words else "write a value of the kind expected"
    remedy = next((text for start, text in _REMEDIES if start in fault), remedy)
    return place.problem(key, f"{key or 'entry'}: {fault}", remedy)


def _words(kind: Any) -> list[str]:
    """The words that a type of key allows, where it is a vocabulary."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return list(kind)
    return [word for part in get_args(kind) for word in _words(part)]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


_ARTICLE = re.compile(r"(?:[0-9]+(?:-[0-9]+)?(?:\([0-9]+\))?)?")


class _Assembly:
    """The entries of all files put together; what does not fit is collected in `problems`."""

    def __init__(self, entries: _Entries) -> None:
        self.problems: list[Problem] = []
        self._entries = entries
        self._used_groups: set[str] = set()
        self._national = self._unique((_NATIONAL_INSTRUMENTS,), "code", self._national_instrument)
        self._instruments = self._unique((_NATIONAL_INSTRUMENTS, _INSTRUMENTS), "code", self._instrument)
        self._callers = self._unique((_CALLERS,), "code", self._as_written)
        self._caller_groups = self._unique((_CALLER_GROUPS,), "code", self._members_of_caller_group)
        self._categories = self._unique((_CATEGORIES,), "code", self._as_written)
        self._category_groups = self._groups_of_categories()
        self._conditions = self._unique((_CONDITIONS,), "code", self._condition)
        self._purposes = self._unique((_PURPOSES,), "code", self._purpose)

    def bundle(self, meaning_hash: str) -> Bundle:
        """The bundle; raises BundleError when anything does not fit."""
        head = self._head()
        bundle = Bundle(
            name=head.name,
            title=head.title,
            chinese=head.chinese,
            province=head.province,
            version=head.version,
            note=head.note,
            declared_is_enough=frozenset(head.declared_is_enough),
            instruments=self._instruments,
            callers=self._callers,
            purposes=self._purposes,
            categories=self._categories,
            conditions=self._conditions,
            rules=self._rules(),
            measures=self._unique((_MEASURES,), "code", self._measure),
            periods=self._periods(),
            masks=self._masks(),
            red_lines=self._red_lines(),
            quotas=self._quotas(),
            ceiling_exceptions=self._ceiling_exceptions(),
            hash=meaning_hash,
        )
        bundle = msgspec.structs.replace(bundle, unused_groups=self._unused_groups())
        if self.problems:
            raise BundleError(self.problems)
        return bundle

    def _complain(self, place: _Place, key: str, reason: str, remedy: str) -> None:
        self.problems.append(place.problem(key, reason, remedy))

    def _entries_of(self, *tables: _Table) -> list[tuple[_Place, Any]]:
        return [entry for table in tables for entry in self._entries.get(table, [])]

    def _unique(
        self, tables: tuple[_Table, ...], key: str, build: Callable[[_Place, Any], Any]
    ) -> dict[str, Any]:
        """The entries of the tables by their key, each built; complains of a key given twice."""
        built: dict[str, Any] = {}
        first: dict[str, _Place] = {}
        for place, entry in self._entries_of(*tables):
            code = getattr(entry, key)
            if code not in built:
                first[code], built[code] = place, build(place, entry)
            elif first[code].file != place.file:
                reason = f"{place.table} {code} is national: {first[code].file}, line {first[code].line(key)}"
                remedy = (
                    "remove it here, or give the provincial one another code; nothing replaces a national one"
                )
                self._complain(place, key, reason, remedy)
            else:
                reason = f"{place.table} {code} is already defined in line {first[code].line(key)}"
                self._complain(place, key, reason, "give it another code or remove one of the two")
        return built

    def _known(self, place: _Place, key: str, words: Iterable[str], known: Collection[str]) -> list[str]:
        """The words that are known; complains of the others and of repetition."""
        found: list[str] = []
        for word in words:
            if word in found:
                self._complain(place, key, f"{key} names {word!a} twice", "name it once")
            elif word in known:
                found.append(word)
            else:
                near = difflib.get_close_matches(word, known, n=3)
                hint = f" (near: {_listed(near)})" if near else ""
                self._complain(
                    place, key, f"{key}: {word!a} is not defined", f"define it or correct its spelling{hint}"
                )
        return found

    def _expanded(
        self,
        place: _Place,
        key: str,
        words: Iterable[str],
        known: Collection[str],
        groups: Mapping[str, Iterable[str]],
    ) -> tuple[str, ...]:
        """The words, groups replaced by their members, each once."""
        named = self._known(place, key, words, {*known, *groups})
        self._used_groups.update(word for word in named if word in self._caller_groups)
        return tuple(dict.fromkeys(code for word in named for code in groups.get(word, (word,))))

    def _basis(self, place: _Place, texts: Iterable[str]) -> tuple[Basis, ...]:
        """The bases: the longest code of an instrument that begins the text, then the article.

        What is national cites national instruments alone: no provincial code can be read into its bases.
        """
        citable = self._national if place.file.startswith(_NATIONAL) else self._instruments
        bases = []
        for text in texts:
            code = max((code for code in citable if text.startswith(code)), key=len, default="")
            article = text.removeprefix(code)
            if code and _ARTICLE.fullmatch(article):
                bases.append(Basis(code, article, self._instruments[code].title))
            else:
                remedy = "write the code of an instrument and the article, as in SH28(1), SZ63-64 or SX"
                self._complain(place, "basis", f"basis: {text!a} cites no instrument it may cite", remedy)
        return tuple(bases)

    def _check_order(self, place: _Place, valid_from: date | None, valid_to: date | None) -> None:
        if valid_from and valid_to and valid_to < valid_from:
            reason = f"valid_to {valid_to} is before valid_from {valid_from}"
            self._complain(place, "valid_to", reason, "correct one of the two; valid_to is the last day")

    @staticmethod
    def _as_written(_place: _Place, entry: Any) -> Any:
        return entry

    def _head(self) -> _Head:
        place, head = self._entries[_HEAD][0]
        for code in self._known(place, "declared_is_enough", head.declared_is_enough, self._conditions):
            if self._conditions[code].proof is not Proof.REGISTER:
                reason = f"declared_is_enough: {code} is not proved by a register"
                self._complain(
                    place, "declared_is_enough", reason, "remove it: its proof is always asked for"
                )
        return cast("_Head", head)

    def _instrument(self, place: _Place, instrument: Instrument) -> Instrument:
        self._check_order(place, instrument.valid_from, instrument.valid_to)
        return instrument

    def _national_instrument(self, place: _Place, instrument: Instrument) -> Instrument:
        if instrument.layer is not Layer.NATIONAL:
            reason = f"layer: {instrument.code} is {instrument.layer}, but stands in the national layer"
            self._complain(place, "layer", reason, "move it to a provincial bundle, or correct the layer")
        return instrument

    def _members_of_caller_group(self, place: _Place, group: _CallerGroup) -> list[str]:
        return self._known(place, "members", group.members, self._callers)

    def _groups_of_categories(self) -> dict[tuple[str, SubjectKind], list[str]]:
        """The categories of each group and subject kind that fit the kind."""
        groups: dict[tuple[str, SubjectKind], list[str]] = {}
        for place, group in self._entries[_CATEGORY_GROUPS]:
            members = self._known(place, "members", group.members, self._categories)
            for kind in group.kinds:
                if (group.code, kind) in groups:
                    reason = f"group {group.code} is already defined for {kind}"
                    self._complain(place, "kinds", reason, "name each kind in one group of that code")
                groups[group.code, kind] = [c for c in members if self._categories[c].fits(kind)]
        return groups

    def _condition(self, place: _Place, condition: Condition) -> Condition:
        for alternative in condition.evidence:
            self._known(place, "evidence", alternative, Evidence.__struct_fields__)
        return condition

    def _purpose(self, place: _Place, written: _WrittenPurpose) -> Purpose:
        return Purpose(
            code=written.code,
            english=written.english,
            chinese=written.chinese,
            case=written.case,
            evidence=written.evidence,
            phase=written.phase,
            basis=self._basis(place, written.basis),
            obliges={kind: self._floor(place, kind, codes) for kind, codes in written.obliges.items()},
        )

    def _floor(self, place: _Place, kind: SubjectKind, codes: Iterable[str]) -> tuple[str, ...]:
        known = self._known(place, "obliges", codes, self._categories)
        for code in known:
            if not self._categories[code].fits(kind):
                reason = f"obliges: {kind} has no category {code}"
                self._complain(place, "obliges", reason, "remove it, or correct the kind")
        return tuple(known)

    def _measure(self, place: _Place, written: _WrittenMeasure) -> Measure:
        requires = self._known(place, "requires", written.requires, self._categories)
        incentive = written.kind is MeasureKind.INCENTIVE
        fitting = CategoryClass.EXCELLENT if incentive else CategoryClass.UNTRUSTWORTHY
        for code in requires:
            if self._categories[code].category_class is not fitting:
                reason = f"requires: {code} is no category of class {fitting}, on which a measure of kind {written.kind} rests"
                self._complain(place, "requires", reason, "name categories of that class")
        return Measure(
            code=written.code,
            english=written.english,
            chinese=written.chinese,
            kind=written.kind,
            requires=tuple(requires),
            basis=self._basis(place, written.basis),
        )

    def _red_lines(self) -> dict[str, RedLine]:
        """The red lines, national ones last."""
        lines = self._unique((_NATIONAL_RED_LINES, _RED_LINES), "id", self._red_line)
        national = {entry.id for _, entry in self._entries_of(_NATIONAL_RED_LINES)}
        return {code: lines[code] for code in sorted(lines, key=lambda code: code in national)}

    def _red_line(self, place: _Place, written: _WrittenRedLine) -> RedLine:
        self._check_order(place, written.valid_from, written.valid_to)
        callers, categories, purposes = self._callers, self._categories, self._purposes
        groups = {"*": callers, **self._caller_groups}
        return RedLine(
            id=written.id,
            sentence=written.sentence,
            kinds=written.kinds,
            categories=self._drawn_over(
                place, "categories", written.categories, categories, {"*": categories}
            ),
            callers=self._drawn_over(place, "callers", written.callers, callers, groups),
            purposes=self._drawn_over(place, "purposes", written.purposes, purposes, {"*": purposes}),
            basis=self._basis(place, written.basis),
            valid_from=written.valid_from,
            valid_to=written.valid_to,
        )

    def _drawn_over(
        self,
        place: _Place,
        key: str,
        words: Iterable[str],
        known: Collection[str],
        groups: Mapping[str, Iterable[str]],
    ) -> tuple[str, ...]:
        """The words, groups replaced; a national line reaches what the province has, and the rest is switched off."""
        if place.file.startswith(_NATIONAL):
            words = [word for word in words if word in known or word == "*"]
        return self._expanded(place, key, words, known, groups)

    def _quotas(self) -> dict[tuple[str, str], int]:
        quotas: dict[tuple[str, str], int] = {}
        for place, quota in self._entries_of(_QUOTAS):
            callers = self._expanded(place, "callers", quota.callers, self._callers, self._caller_groups)
            purposes = self._known(place, "purposes", quota.purposes, self._purposes)
            for pair in product(callers, purposes):
                if pair in quotas:
                    reason = f"{pair[0]} has a quota for {pair[1]} already"
                    self._complain(place, "callers", reason, "name each caller type once for a purpose")
                quotas[pair] = quota.subjects_per_day
        return quotas

    def _ceiling_exceptions(self) -> tuple[CeilingException, ...]:
        rules = {entry.id for _, entry in self._entries[_RULES]}
        for place, exception in self._entries_of(_CEILING_EXCEPTIONS):
            self._known(place, "rule", [exception.rule], rules)
            self._known(place, "categories", exception.categories, self._categories)
            self._known(place, "conditions", exception.conditions, self._conditions)
        return tuple(exception for _, exception in self._entries_of(_CEILING_EXCEPTIONS))

    def _unused_groups(self) -> tuple[str, ...]:
        groups = dict.fromkeys([*self._caller_groups, *(code for code, _ in self._category_groups)])
        return tuple(code for code in groups if code not in self._used_groups)

    def _rules(self) -> dict[str, Rule]:
        rules = self._unique((_RULES,), "id", self._rule)
        self._check_cells(rules)
        return rules

    def _rule(self, place: _Place, written: _WrittenRule) -> Rule:
        self._check_order(place, written.valid_from, written.valid_to)
        self._known(place, "kinds", written.kinds, list(SubjectKind))
        for code in self._known(place, "purpose", [written.purpose], self._purposes):
            if written.case != self._purposes[code].case:
                reason = f"case {written.case!a} is not that of {code}, {self._purposes[code].case}"
                self._complain(place, "case", reason, "correct the case or the purpose")
        named = self._known(place, "conditions", written.conditions, self._conditions)
        return Rule(
            id=written.id,
            case=written.case,
            purpose=written.purpose,
            callers=self._expanded(place, "callers", written.callers, self._callers, self._caller_groups),
            categories=self._categories_of(place, written),
            level=written.level,
            conditions=self._of_kind(ConditionKind.CONDITION, named),
            obligations=self._of_kind(ConditionKind.OBLIGATION, named),
            basis=self._basis(place, written.basis),
            valid_from=written.valid_from,
            valid_to=written.valid_to,
            status=written.status,
        )

    def _of_kind(self, kind: ConditionKind, codes: Iterable[str]) -> tuple[str, ...]:
        return tuple(code for code in codes if kind in self._conditions[code].kinds)

    def _categories_of(self, place: _Place, written: _WrittenRule) -> dict[SubjectKind, tuple[str, ...]]:
        """For each kind of the rule the categories that fit it; each must fit one, each kind must have one."""
        groups = {code for code, _ in self._category_groups}
        found: dict[SubjectKind, dict[str, None]] = {kind: {} for kind in written.kinds}
        known_problems = len(self.problems)
        for word in self._known(place, "categories", written.categories, {*self._categories, *groups}):
            fitting = [kind for kind in found if self._fits(word, kind)]
            if not fitting or (word in groups and len(fitting) < len(found)):
                reason = f"categories: {word} does not fit the subject kinds {_listed(found)}"
                self._complain(place, "categories", reason, "remove it, or correct the kinds")
            for kind in fitting:
                found[kind].update(dict.fromkeys(self._category_groups.get((word, kind), (word,))))
            self._used_groups.update({word} & groups)
        bare = [kind for kind, categories in found.items() if not categories]
        if bare and len(self.problems) == known_problems:
            reason = f"kinds: no category of the rule fits {_listed(bare)}"
            self._complain(place, "kinds", reason, "remove the kind, or name a category that it has")
        return {kind: tuple(categories) for kind, categories in found.items()}

    def _fits(self, word: str, kind: SubjectKind) -> bool:
        if word in self._categories:
            return bool(self._categories[word].fits(kind))
        return (word, kind) in self._category_groups

    def _check_cells(self, rules: Mapping[str, Rule]) -> None:
        """Two rules, drafts included, may not hold for one cell on one day."""
        places = {entry.id: place for place, entry in self._entries[_RULES]}
        for one, other, cell in conflicts(rules.values()):
            self._complain(
                places[other.id],
                "id",
                f"rules {one.id} and {other.id} both decide {' '.join(cell)}",
                "take the cell out of one of them, or part their days of validity",
            )

    def _periods(self) -> tuple[Period, ...]:
        for place, period in self._entries[_PERIODS]:
            self._check_order(place, period.valid_from, period.valid_to)
            least, most = period.publication_minimum_months, period.publication_maximum_months
            if least is not None and most is not None and most < least:
                reason = f"publication_maximum_months {most} is less than the minimum {least}"
                self._complain(place, "publication_maximum_months", reason, "correct one of the two")
        for severity in (*Severity, None):
            self._check_regimes(severity)
        return tuple(period for _, period in self._entries[_PERIODS])

    def _check_regimes(self, severity: Severity | None) -> None:
        """The regimes of a degree must follow each other without gap or overlap, from ever to open end."""
        of_degree = [entry for entry in self._entries[_PERIODS] if entry[1].severity is severity]
        of_degree.sort(key=lambda entry: entry[1].valid_from or date.min)
        degree = severity or "lists"
        remedy = "give every day one regime: the first without valid_from, the last without valid_to"
        last = self._entries[_PERIODS][-1][0]
        next_start: int | None = date.min.toordinal()
        for place, period in of_degree:
            last = place
            if (period.valid_from or date.min).toordinal() != next_start:
                reason = f"the regimes of {degree} leave a gap or overlap before this one"
                self._complain(place, "valid_from", reason, remedy)
            next_start = period.valid_to.toordinal() + 1 if period.valid_to else None
        if next_start is not None:
            self._complain(last, "valid_to", f"no regime of {degree} holds in the end", remedy)

    def _masks(self) -> dict[tuple[Mask, SubjectKind], MaskRule]:
        masks: dict[tuple[Mask, SubjectKind], MaskRule] = {}
        for place, mask in self._entries[_MASKS]:
            missing = [audience for audience in Audience if audience not in mask.treatments]
            if missing:
                reason = f"treatments: none for {_listed(missing)}"
                self._complain(place, "treatments", reason, "give one for each audience")
            for kind in mask.kinds:
                if (mask.code, kind) in masks:
                    reason = f"mask {mask.code} is already defined for {kind}"
                    self._complain(place, "kinds", reason, "name each kind in one entry of that mask")
                masks[mask.code, kind] = mask
        return masks


def conflicts(rules: Iterable[Rule]) -> Iterator[tuple[Rule, Rule, tuple[str, str, SubjectKind, str]]]:
    """Each two rules that both decide a cell (caller type, purpose, kind, category) on one day, with their first."""
    cells: dict[tuple[str, str, SubjectKind, str], list[Rule]] = {}
    reported: set[tuple[str, str]] = set()
    for rule in rules:
        for cell in _cells(rule):
            others = cells.setdefault(cell, [])
            for other in others:
                if (other.id, rule.id) not in reported and _overlap(rule, other):
                    reported.add((other.id, rule.id))
                    yield other, rule, cell
            others.append(rule)


def _cells(rule: Rule) -> Iterator[tuple[str, str, SubjectKind, str]]:
    for kind, categories in rule.categories.items():
        for category in categories:
            for caller in rule.callers:
                yield caller, rule.purpose, kind, category


def _overlap(one: Rule, other: Rule) -> bool:
    return one.valid_from <= (other.valid_to or date.max) and other.valid_from <= (one.valid_to or date.max)
