"""The files of a bundle as a lawyer writes them: their names, their tables and what each entry holds.

They are made to be reviewed in a diff. An entry that is loaded just as it is written is a type of
`policies.bundle`; of the others the types stand here: in them bases are texts, and groups stand for their members.
"""

from datetime import date
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from policies.bundle import (
    CallerType,
    Category,
    CeilingException,
    Code,
    Codes,
    Condition,
    Instrument,
    Kinds,
    MaskRule,
    MeasureKind,
    Period,
    Phase,
    RuleStatus,
    Text,
)
from policies.vocabulary import Level, SubjectKind


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a bundle says about itself, before the first table of `bundle.toml`."""

    name: Text
    title: Text
    chinese: Text
    province: Annotated[str, Meta(pattern=r"\A[0-9]{6}\Z")]
    version: Text
    note: str = ""
    declared_is_enough: tuple[str, ...] = ()


class WrittenQuota(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many distinct subjects a unit may ask about in a day."""

    callers: Codes
    purposes: Codes
    subjects_per_day: Annotated[int, Meta(ge=1)]


class CallerGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A name for several caller types, with an `@` before it."""

    code: Annotated[str, Meta(pattern=r"\A@[A-Z][A-Z0-9_-]*\Z")]
    english: Text
    members: Codes


class CategoryGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A name for several categories of these subject kinds, with a `*` before it."""

    code: Annotated[str, Meta(pattern=r"\A\*[A-Z0-9_-]*\Z")]
    english: Text
    kinds: Kinds
    members: Codes


class WrittenPurpose(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A `Purpose` as written."""

    code: Code
    english: Text
    chinese: Text
    case: Text
    evidence: Text
    phase: Phase
    basis: Codes
    obliges: dict[SubjectKind, Codes] = {}


class WrittenRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A `Rule` as written: the conditions and obligations in one list."""

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


class WrittenMeasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A `Measure` as written."""

    code: Code
    english: Text
    chinese: Text
    kind: MeasureKind
    requires: Codes
    basis: Codes


class WrittenRedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A `RedLine` as written: `*` stands for all that the bundle has."""

    id: Code
    sentence: Text
    kinds: Kinds
    categories: Codes
    callers: Codes
    purposes: Codes
    basis: Codes
    valid_from: date | None = None
    valid_to: date | None = None


class Table(NamedTuple):
    """One kind of entry: its file, the name of its tables ("": the file itself) and what an entry holds.

    `optional`: there may be none; a file whose tables are all optional may be missing.
    """

    file: str
    name: str
    entry: type[msgspec.Struct]
    optional: bool = False


NATIONAL = "national/"
"""How the names of the files of the national layer begin."""
NATIONAL_INSTRUMENTS = Table(f"{NATIONAL}instruments.toml", "instrument", Instrument)
NATIONAL_RED_LINES = Table(f"{NATIONAL}red_lines.toml", "red_line", WrittenRedLine)
HEAD = Table("bundle.toml", "", Head)
CEILING_EXCEPTIONS = Table("bundle.toml", "ceiling_exception", CeilingException, optional=True)
INSTRUMENTS = Table("instruments.toml", "instrument", Instrument)
CALLERS = Table("callers.toml", "caller", CallerType)
CALLER_GROUPS = Table("callers.toml", "group", CallerGroup, optional=True)
PURPOSES = Table("purposes.toml", "purpose", WrittenPurpose)
CATEGORIES = Table("categories.toml", "category", Category)
CATEGORY_GROUPS = Table("categories.toml", "group", CategoryGroup, optional=True)
CONDITIONS = Table("conditions.toml", "condition", Condition)
RULES = Table("rules.toml", "rule", WrittenRule)
MEASURES = Table("measures.toml", "measure", WrittenMeasure)
PERIODS = Table("periods.toml", "period", Period)
MASKS = Table("masks.toml", "mask", MaskRule)
RED_LINES = Table("red_lines.toml", "red_line", WrittenRedLine, optional=True)
QUOTAS = Table("quotas.toml", "quota", WrittenQuota, optional=True)
TABLES = (
    NATIONAL_INSTRUMENTS,
    NATIONAL_RED_LINES,
    HEAD,
    CEILING_EXCEPTIONS,
    INSTRUMENTS,
    CALLERS,
    CALLER_GROUPS,
    PURPOSES,
    CATEGORIES,
    CATEGORY_GROUPS,
    CONDITIONS,
    RULES,
    MEASURES,
    PERIODS,
    MASKS,
    RED_LINES,
    QUOTAS,
)
FILES = tuple(dict.fromkeys(table.file for table in TABLES))
NEEDED_FILES = tuple(dict.fromkeys(table.file for table in TABLES if not table.optional))
