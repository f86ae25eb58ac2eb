"""What is true of the synthetic subjects, before any source writes it in its own words.

Amounts are in yuan. Days are local to the province (UTC+8). `ENDLESS` stands for a day that never comes;
each source has its own word for it.
"""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

ENDLESS = date.max


class Dispute(StrEnum):
    """How a record is contested."""

    OBJECTION = "OBJECTION"
    APPEAL = "APPEAL"
    SUIT = "SUIT"


class Degree(StrEnum):
    """How grave dishonest conduct is."""

    MINOR = "MINOR"
    GENERAL = "GENERAL"
    SERIOUS = "SERIOUS"


class Basis(StrEnum):
    """On which document an adverse record rests."""

    JUDICIAL = "JUDICIAL"
    ADMINISTRATIVE = "ADMINISTRATIVE"
    OTHER = "OTHER"


class Outcome(StrEnum):
    """How far a promise was kept."""

    PENDING = "PENDING"
    PERFORMED = "PERFORMED"
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A synthetic subject: `kind` is ORG, IND, GOV or NP; `key` its credit code or resident number."""

    kind: str
    key: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What every record has: its number at the source, who provided it, and what became of it."""

    number: str
    provider: str
    disputes: tuple[Dispute, ...] = ()
    published: date | None = None
    published_until: date | None = None
    repaired: date | None = None
    withdrawn: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adverse(Fact):
    """A record of dishonest conduct."""

    decided: date
    conduct_ended: date
    degree: Degree
    basis: Basis = Basis.ADMINISTRATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Fact):
    """An entry of a list."""

    list_name: str
    listed: date
    removed: date | None = None
    reason: str
    document: str
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(Fact):
    """A registration; `None` stands where nothing was filed."""

    name: str
    credit_code: str
    registration_number: str | None = None
    legal_form: str | None = None
    status: str | None = None
    representative: str | None = None
    representative_number: str | None = None
    registered: date
    capital: str
    business_scope: str
    address: str
    province: str
    city: str
    registrar: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty(Adverse):
    """An administrative penalty."""

    document: str
    kind: str
    authority: str
    facts: str
    legal_basis: str
    content: str
    fine: Decimal
    confiscated: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrears(Adverse):
    """A refused payment: `kind` is TAX, FEE, FUND or INSURANCE."""

    kind: str
    period: str
    amount: Decimal
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence(Fact):
    """An administrative licence: `kind` is MINING, LAND, PLANNING or, at market regulation, its own name."""

    licence_number: str
    document: str
    kind: str
    content: str
    decided: date
    valid_from: date
    valid_until: date
    authority: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Abnormal(Listing):
    """An entry of the list of abnormal operations."""

    removal_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serious(Listing):
    """An entry of a list of seriously dishonest subjects; `situation` is 1 to 4."""

    situation: int
    domain: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incentive(Listing):
    """An entry of a list of trustworthy subjects."""

    valid_until: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement(Listing):
    """A dishonest person subject to enforcement."""

    case: str
    court: str
    basis_document: str
    obligation: str
    performance: str
    conduct: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment(Fact):
    """A credit commitment: `kind` is PROOF, APPROVAL or SUPPLEMENT."""

    commitment_number: str
    kind: str
    matter: str
    content: str
    committed: date
    due: date
    outcome: Outcome
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Fact):
    """A credit evaluation; `grade` in the words or codes of its own scheme."""

    evaluator: str
    scheme: str
    grade: str
    domain: str
    evaluated: date
    valid_until: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Honour(Fact):
    """A commendation; `rank` is 1 (national) to 4 (county)."""

    title: str
    rank: int
    awarded: date
    authority: str
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxPayment(Fact):
    """Tax paid for a period (first day of its month); `kind` is VAT, CIT or IIT."""

    period: date
    kind: str
    amount: Decimal
    paid: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution(Fact):
    """Social insurance or housing fund of a month; `status` is NORMAL, DEFERRED or STOPPED."""

    period: date
    headcount: int
    amount: Decimal
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketStatement(Fact):
    """What a market provider says of an organisation."""

    kind: str
    rating: str | None
    stated: date
    method: str
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonStatement(Fact):
    """What a market provider says of a person: a fact, beside a score that must never travel on."""

    kind: str
    stated: date
    statement: str
    score: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfDiscipline(Fact):
    """A record of an industry association."""

    association: str
    commends: bool
    title: str
    decided: date
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Act(Fact):
    """A confirmation, levy, payment, adjudication, compensation or inspection."""

    kind: str
    document: str
    matter: str
    decided: date
    authority: str
    result: str
    content: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward(Fact):
    """An administrative reward."""

    title: str
    document: str
    awarded: date
    authority: str
    content: str
    facts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compulsion(Adverse):
    """A compulsory measure or a forced execution."""

    kind: str
    document: str
    authority: str
    manner: str
    facts: str
    legal_basis: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment(Adverse):
    """An effective judgment, ruling, conciliation or award."""

    kind: str
    case: str
    court: str
    cause: str
    effective: date
    outcome: Outcome
    result: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Crime(Adverse):
    """A crime found in an effective judgment."""

    case: str
    court: str
    charge: str
    effective: date
    sentence: str
    term_ends: date


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseStatement(Adverse):
    """False material, or facts concealed."""

    kind: str
    document: str
    matter: str
    authority: str
    facts: str
    consequence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract(Fact):
    """A contract and its performance."""

    contract: str
    kind: str
    project: str
    role: str
    signed: date
    due: date
    outcome: Outcome
    authority: str
    conduct: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Charity(Fact):
    """A donation, voluntary service or brave act."""

    kind: str
    title: str
    done: date
    authority: str
    document: str
    hours: int
    content: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Title(Fact):
    """A professional title or vocational qualification of a person."""

    kind: str
    title: str
    level: str
    subject_field: str
    certificate: str
    awarded: date
    valid_until: date
    authority: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Property(Fact):
    """A registered right of intellectual property."""

    kind: str
    registration: str
    title: str
    registered: date
    valid_until: date
    authority: str
    status: str
    pledge: str | None

    @property
    def pledged(self) -> bool:
        """Whether a pledge is registered."""
        return self.pledge is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compliance(Fact):
    """What a department found on the keeping of a law."""

    domain: str
    period: str
    law: str
    result: str
    decided: date
    authority: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Voluntary(Fact):
    """What a subject says of itself."""

    kind: str
    title: str
    declared: date
    declared_open: bool
    verified: bool
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialDishonesty(Adverse):
    """Dishonesty of a government body or of its staff; `excuse` is the reason it gave for a breach."""

    origin: str
    document: str
    authority: str
    domain: str
    excuse: str
    facts: str
    content: str
    responsible: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Utility(Fact):
    """Water, electricity, gas or heat of a month."""

    kind: str
    period: str
    status: str
    address: str
    amount: Decimal
    paid: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditReport(Fact):
    """A report of the financial credit database, beside a score that must never travel on."""

    report: str
    reported: date
    reason: str
    accounts: int
    overdue: int
    statement: str
    score: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights(Fact):
    """An objection, repair or withdrawal: `number`, provider and lifecycle are those of the record it is about."""

    kind: str
    category: str
    case: str
    stage: str
    filed: date
    settled: date | None
    authority: str
    outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Every record of every subject, by the subject's key."""

    registrations: dict[str, list[Registration]] = field(default_factory=dict)
    penalties: dict[str, list[Penalty]] = field(default_factory=dict)
    serious: dict[str, list[Serious]] = field(default_factory=dict)
    incentives: dict[str, list[Incentive]] = field(default_factory=dict)
    commitments: dict[str, list[Commitment]] = field(default_factory=dict)
    honours: dict[str, list[Honour]] = field(default_factory=dict)
    evaluations: dict[str, list[Evaluation]] = field(default_factory=dict)
    insurance_payments: dict[str, list[Contribution]] = field(default_factory=dict)
    insurance_arrears: dict[str, list[Arrears]] = field(default_factory=dict)
    resource_licences: dict[str, list[Licence]] = field(default_factory=dict)
    abnormal: dict[str, list[Abnormal]] = field(default_factory=dict)
    market_licences: dict[str, list[Licence]] = field(default_factory=dict)
    ecology_evaluations: dict[str, list[Evaluation]] = field(default_factory=dict)
    fund_payments: dict[str, list[Contribution]] = field(default_factory=dict)
    builder_evaluations: dict[str, list[Evaluation]] = field(default_factory=dict)
    hall_commitments: dict[str, list[Commitment]] = field(default_factory=dict)
    tax_payments: dict[str, list[TaxPayment]] = field(default_factory=dict)
    tax_arrears: dict[str, list[Arrears]] = field(default_factory=dict)
    enforcement: dict[str, list[Enforcement]] = field(default_factory=dict)
    market_a: dict[str, list[MarketStatement]] = field(default_factory=dict)
    market_a_persons: dict[str, list[PersonStatement]] = field(default_factory=dict)
    market_b: dict[str, list[MarketStatement]] = field(default_factory=dict)
    self_discipline: dict[str, list[SelfDiscipline]] = field(default_factory=dict)
    acts: dict[str, list[Act]] = field(default_factory=dict)
    rewards: dict[str, list[Reward]] = field(default_factory=dict)
    compulsions: dict[str, list[Compulsion]] = field(default_factory=dict)
    false_statements: dict[str, list[FalseStatement]] = field(default_factory=dict)
    compliance: dict[str, list[Compliance]] = field(default_factory=dict)
    official_dishonesty: dict[str, list[OfficialDishonesty]] = field(default_factory=dict)
    rights: dict[str, list[Rights]] = field(default_factory=dict)
    repairs: dict[str, list[Rights]] = field(default_factory=dict)
    judgments: dict[str, list[Judgment]] = field(default_factory=dict)
    crimes: dict[str, list[Crime]] = field(default_factory=dict)
    titles: dict[str, list[Title]] = field(default_factory=dict)
    contracts: dict[str, list[Contract]] = field(default_factory=dict)
    published_contracts: dict[str, list[Contract]] = field(default_factory=dict)
    annual_reports: dict[str, list[Compliance]] = field(default_factory=dict)
    institution_reports: dict[str, list[Compliance]] = field(default_factory=dict)
    customs_compliance: dict[str, list[Compliance]] = field(default_factory=dict)
    charity: dict[str, list[Charity]] = field(default_factory=dict)
    properties: dict[str, list[Property]] = field(default_factory=dict)
    voluntary: dict[str, list[Voluntary]] = field(default_factory=dict)
    utilities: dict[str, list[Utility]] = field(default_factory=dict)
    shared_utilities: dict[str, list[Utility]] = field(default_factory=dict)
    credit_reports: dict[str, list[CreditReport]] = field(default_factory=dict)
    city_acts: dict[str, list[Act]] = field(default_factory=dict)
    city_rewards: dict[str, list[Reward]] = field(default_factory=dict)
    city_compliance: dict[str, list[Compliance]] = field(default_factory=dict)
    county_acts: dict[str, list[Act]] = field(default_factory=dict)
    county_rewards: dict[str, list[Reward]] = field(default_factory=dict)
    county_compliance: dict[str, list[Compliance]] = field(default_factory=dict)
    abnormal_activities: dict[str, list[Abnormal]] = field(default_factory=dict)
    abnormal_institutions: dict[str, list[Abnormal]] = field(default_factory=dict)
    portal_commitments: dict[str, list[Commitment]] = field(default_factory=dict)
    customs_grades: dict[str, list[Evaluation]] = field(default_factory=dict)
