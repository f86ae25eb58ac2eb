"""What an inquiry answers, complete before any executor sees it.

Resolvers only read these values: what is denied or withheld is already gone, so no executor can show it.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

import policies.bundle
from connectors.answers import FaultCode
from policies.bundle import Bundle, Condition
from policies.catalogue import Record, Section
from policies.vocabulary import Level, SectionState, SubjectKind


class Basis(msgspec.Struct, frozen=True):
    """An article: text as cited ("SH 28(1)"), the instrument's English and Chinese titles."""

    citation: str
    title: str
    chinese: str


def cited(bundle: Bundle, basis: Sequence[policies.bundle.Basis]) -> tuple[Basis, ...]:
    """Bases of the bundle as answers show them."""
    return tuple(Basis(b.text, b.title, bundle.instruments[b.instrument].chinese) for b in basis)


class Reason(msgspec.Struct, frozen=True):
    """Why a section is as it is: a stable code, a sentence, the legal basis, and what would mend it."""

    code: str
    message: str
    basis: tuple[Basis, ...] = ()
    remedy: str | None = None


class Withheld(msgspec.Struct, frozen=True):
    """A field that was asked for and is not shown: its GraphQL name and the reason's code."""

    field: str
    code: str


class SourceState(msgspec.Struct, frozen=True):
    """How one source answered for one section.

    `stale`: it failed, and this is its last answer. `instead_of` is the source that it was asked in place of.
    `latency_ms` is how long it takes to answer, as a moving average; None for an answer that was kept. `fault` is the
    class of its failure.
    """

    id: str
    title: str
    chinese: str
    state: SectionState
    as_of: datetime | None = None
    reason: Reason | None = None
    stale: bool = False
    instead_of: str | None = None
    latency_ms: float | None = None
    fault: FaultCode | None = None


class SectionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One category of one subject. `records` are shaped: filtered, cut to the level, masked, marked.

    `complete` is false when some source of the section did not answer, so that HAS is not read as all.
    """

    section: Section
    state: SectionState
    level: Level | None = None
    reason: Reason | None = None
    sources: tuple[SourceState, ...] = ()
    as_of: datetime | None = None
    complete: bool = True
    withheld: tuple[Withheld, ...] = ()
    records: tuple[Record, ...] = ()


class SubjectAnswer(msgspec.Struct, frozen=True):
    """A subject as asked: its kind follows from the identifier, whether it exists is in no field of it.

    `rendered` keeps its JSON by what was selected of it, for an answer that is given again; None: nothing is kept.
    """

    kind: SubjectKind
    warnings: tuple[str, ...]
    sections: dict[str, SectionAnswer]
    rendered: dict[object, bytes] | None = None


class OrganisationHit(msgspec.Struct, frozen=True):
    """An organisation found by name: the published part of its registration."""

    name: str
    credit_code: str
    status: str | None
    city: str | None


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """Organisations found by name; the state tells an empty answer from a denied and an unknown one."""

    state: SectionState
    reason: Reason | None = None
    source: SourceState | None = None
    hits: tuple[OrganisationHit, ...] = ()
    total: int = 0
    offset: int = 0


class GroupValue(msgspec.Struct, frozen=True):
    """One value of a group: what is broken down by, and the value (None: there is none)."""

    dimension: StrEnum
    value: str | None


class StatisticsCell(msgspec.Struct, frozen=True):
    """A cell of a statistic, as it may leave."""

    values: tuple[GroupValue, ...]
    count: int


class StatisticsResult(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a category; `total` is that of the cells shown."""

    state: SectionState
    reason: Reason | None = None
    sources: tuple[SourceState, ...] = ()
    smallest_cell: int | None = None
    total: int | None = None
    cells: tuple[StatisticsCell, ...] = ()


class LogCell(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of inquiries and of the decisions in them; `denied` counts the decisions that denied, `applied` the
    inquiries that a measure was recorded on.
    """

    values: tuple[GroupValue, ...]
    inquiries: int
    refused: int
    sections: int
    denied: int
    applied: int

    @property
    def denial_rate(self) -> float | None:
        """Share of the decisions that denied; None when none was made."""
        return round(self.denied / self.sections, 4) if self.sections else None


class LoggedInquiry(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger, as audit sees it; `subjects` are keyed hashes."""

    receipt: str
    time: datetime
    unit: str
    unit_name: str | None
    caller_type: str
    purpose: str
    outcome: str
    rules: tuple[str, ...]
    denials: tuple[str, ...]
    subjects: tuple[str, ...]
    applied: bool


class LogResult(msgspec.Struct, frozen=True, kw_only=True):
    """The log of some days; `rows` are newest first."""

    state: SectionState
    reason: Reason | None = None
    whole: LogCell | None = None
    cells: tuple[LogCell, ...] = ()
    rows: tuple[LoggedInquiry, ...] = ()


class ApplicationReceipt(msgspec.Struct, frozen=True):
    """Proof that a measure was recorded, by the inquiry it rests on and the bundle that decided."""

    id: str
    time: datetime
    inquiry: str
    measure: str
    policy_version: str


class Receipt(msgspec.Struct, frozen=True):
    """Proof that the inquiry was recorded: its id and time, and the hash of the policy bundle that decided."""

    id: str
    time: datetime
    policy_version: str
    purpose: str


class Lookup(msgspec.Struct, frozen=True):
    """What one field of the inquiry (one response key) answers: exactly one of these is set."""

    subject: SubjectAnswer | None = None
    subjects: tuple[SubjectAnswer, ...] | None = None
    search: SearchResult | None = None
    statistics: StatisticsResult | None = None
    log: LogResult | None = None


class InquiryAnswer(msgspec.Struct, frozen=True):
    """The whole answer of an inquiry, by response key of its fields (the receipt aside)."""

    receipt: Receipt
    lookups: dict[str, Lookup]


class PermissionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller would get of a category for a purpose: the dry run of a decision."""

    category: str
    possible: bool
    level: Level | None
    needs: tuple[Condition, ...]
    reason: Reason | None
    basis: tuple[Basis, ...]
    rule: str | None
    fields: tuple[str, ...]
