"""The policy bundle: who may learn what about whom, for which purpose, by which article.

A bundle holds its own entries and those of the national layer, whose instruments and red lines a province can
neither remove nor change. `policies.bundle_loading` reads one from its files.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

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


def _holds_on(entry: Instrument | Rule | Period | RedLine, day: date) -> bool:
    return (entry.valid_from is None or entry.valid_from <= day) and (
        entry.valid_to is None or day <= entry.valid_to
    )
