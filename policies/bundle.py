"""The policy bundle: who may learn what about whom, for which purpose, by which article.

A bundle is a directory of TOML files that a lawyer reviews in a diff. Loading is strict: whatever the files
leave open, misspell or contradict is a `BundleError` that names file, line and remedy.
"""

from collections.abc import Mapping
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

EVIDENCE_FIELDS = frozenset(
    """
    matter_code case_number commitment_number inspection_plan_number project_number stage programme_number
    award_notice_number recruitment_notice_number notified_on notice_form document_type document_number method_id
    cycle objection_number repair_number record_ids batch_number authorization separate_consent pboc_consent_id
    application_number query_reason_code contract_id audit_order_number study_number minimum_cell instrument article
    measure_id mandate approval_id role organisation_code register_number
    """.split()
)
"""Fields of evidence that a call can carry; a condition names those it needs."""


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


class Basis(msgspec.Struct, frozen=True):
    """A place in an instrument: its code and title, and the article ("" for the whole)."""

    instrument: str
    article: str
    title: str

    @property
    def text(self) -> str:
        """Short form, such as ``SH 28(1)``."""
        return f"{self.instrument} {self.article}".rstrip()


class Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A type of department or of other caller."""

    code: Code
    english: Text
    chinese: Text
    department: bool
    audience: Audience


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """What an inquiry may be for; `evidence` only describes, the rules' conditions decide."""

    code: str
    english: str
    chinese: str
    case: str
    evidence: str
    phase: Phase
    basis: tuple[Basis, ...]


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


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a rule can demand, of the call (condition) or of the answer (obligation).

    `evidence`: alternatives, each a set of evidence fields that must all be present; empty: none needed.
    `register` says in words what would prove it; `remedy` is one sentence: what would make the call lawful.
    """

    code: Code
    english: Text
    kinds: Annotated[tuple[ConditionKind, ...], Meta(min_length=1)]
    register: str = ""
    proof: Proof
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
        return (
            self.status is RuleStatus.ACTIVE
            and self.valid_from <= day
            and (self.valid_to is None or day <= self.valid_to)
        )


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A measure of the list of incentives and punishments."""

    code: str
    english: str
    chinese: str
    kind: MeasureKind
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
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day <= self.valid_to
        )


class MaskRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a masked field of records about these subject kinds is shown to each audience."""

    code: Mask
    kinds: Kinds
    treatments: dict[Audience, Treatment]


class RedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A prohibition that overrides every rule; wildcards expanded."""

    id: str
    sentence: str
    kinds: tuple[SubjectKind, ...]
    categories: tuple[str, ...]
    callers: tuple[str, ...]
    purposes: tuple[str, ...]
    basis: tuple[Basis, ...]


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A whole bundle, loaded and checked. Dictionaries are by code, in the order of the files.

    `declared_is_enough` names the conditions whose register is not asked: the evidence as declared counts.
    `hash` is the SHA-256 of the meaning of the files, in hex: comments and spacing do not count.
    """

    name: str
    title: str
    chinese: str
    province: str
    version: str
    note: str
    declared_is_enough: frozenset[str]
    instruments: dict[str, Instrument]
    callers: dict[str, Caller]
    purposes: dict[str, Purpose]
    categories: dict[str, Category]
    conditions: dict[str, Condition]
    rules: dict[str, Rule]
    measures: dict[str, Measure]
    periods: tuple[Period, ...]
    masks: dict[tuple[Mask, SubjectKind], MaskRule]
    red_lines: dict[str, RedLine]
    hash: str

    def period(self, severity: Severity | None, day: date) -> Period:
        """The period of a degree (None: list entries) in the regime of that day; loading proves there is one."""
        return next(p for p in self.periods if p.severity is severity and p.holds_on(day))


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

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
        self.file, self.line = problems[0].file, problems[0].line
        self.reason, self.remedy = problems[0].reason, problems[0].remedy
