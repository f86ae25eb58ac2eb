"""The words that every layer shares: subject kinds, answer levels, masks, marks, states.

Codes are those of the catalogue and of the policy data; the GraphQL schema shows them unchanged.
"""

from enum import StrEnum


class SubjectKind(StrEnum):
    """What a credit subject is; it follows from the identifier alone, before anything is fetched."""

    ORG = "ORG"
    """Legal person or unincorporated organisation 法人、非法人组织."""
    IND = "IND"
    """Individual business 个体工商户."""
    NP = "NP"
    """Natural person 自然人."""
    GOV = "GOV"
    """Government body 政府机关."""
    NONE = "NONE"
    """No subject: schema and catalogue only."""


class Level(StrEnum):
    """How much of a category a rule shows: named field sets, least to most.

    MATCH, HIT, SUMMARY and FULL are nested. PUBLIC is another set: the published fields of the published
    records. SCHEMA_ONLY, AGGREGATE and PASS_THROUGH are other shapes of answer, not sets of fields.
    """

    SCHEMA_ONLY = "SCHEMA_ONLY"
    MATCH = "MATCH"
    HIT = "HIT"
    AGGREGATE = "AGGREGATE"
    PUBLIC = "PUBLIC"
    SUMMARY = "SUMMARY"
    PASS_THROUGH = "PASS_THROUGH"  # noqa: S105  # the catalogue's word; not a password
    FULL = "FULL"


class Mask(StrEnum):
    """What a masked field holds; how it is masked, and for whom, is policy data."""

    PERSON_NAME = "PERSON_NAME"
    """Name of a natural person in a record."""
    ADDRESS = "ADDRESS"
    """Address that may be a person's home."""
    AMOUNT = "AMOUNT"
    """Exact amount of money paid or owed; the band beside it is never masked."""


class Mark(StrEnum):
    """Contested state of a record; a mark leaves with the record, whatever the level."""

    UNDER_OBJECTION = "UNDER_OBJECTION"
    UNDER_APPEAL = "UNDER_APPEAL"
    UNDER_SUIT = "UNDER_SUIT"


class Severity(StrEnum):
    """Degree of an adverse record; it sets the publication period (`periods` of the bundle)."""

    MINOR = "MINOR"
    GENERAL = "GENERAL"
    SERIOUS = "SERIOUS"


class BasisKind(StrEnum):
    """The three documents on which an adverse record may rest."""

    JUDICIAL_DOCUMENT = "JUDICIAL_DOCUMENT"
    """Effective judicial or arbitral document."""
    ADMINISTRATIVE_DECISION = "ADMINISTRATIVE_DECISION"
    """Decision of an administrative act."""
    OTHER_LAWFUL_DOCUMENT = "OTHER_LAWFUL_DOCUMENT"
    """Other document that law, regulation or state rules allow."""


class AmountBand(StrEnum):
    """Band of an amount in yuan: the lower bound is included, the upper is not."""

    ZERO = "ZERO"
    UNDER_10K = "UNDER_10K"
    FROM_10K_TO_100K = "FROM_10K_TO_100K"
    FROM_100K_TO_1M = "FROM_100K_TO_1M"
    FROM_1M_TO_10M = "FROM_1M_TO_10M"
    OVER_10M = "OVER_10M"


class ArrearsKind(StrEnum):
    """What is owed."""

    TAX = "TAX"
    SOCIAL_INSURANCE = "SOCIAL_INSURANCE"
    HOUSING_FUND = "HOUSING_FUND"
    FEE = "FEE"
    GOVERNMENT_FUND = "GOVERNMENT_FUND"


class Performance(StrEnum):
    """Whether an obligation was performed."""

    PENDING = "PENDING"
    PERFORMED = "PERFORMED"
    BROKEN = "BROKEN"


class EvaluationKind(StrEnum):
    """Who evaluated: the credit authority over all fields, or a department in its own."""

    COMPREHENSIVE = "COMPREHENSIVE"
    INDUSTRY = "INDUSTRY"


class ContributionScheme(StrEnum):
    """Where contributions are paid to."""

    SOCIAL_INSURANCE = "SOCIAL_INSURANCE"
    HOUSING_FUND = "HOUSING_FUND"


class SectionState(StrEnum):
    """Absent, denied and unknown are three answers."""

    HAS = "HAS"
    NONE = "NONE"
    DENIED = "DENIED"
    UNKNOWN = "UNKNOWN"


class Dimension(StrEnum):
    """What the counts of a statistic may be broken down by."""

    CITY = "CITY"
    """City of the subject 市."""
    FIELD = "FIELD"
    """Field of the list, or of the evaluation 领域."""
    QUARTER = "QUARTER"
    """Quarter in which the record was decided, listed, awarded or registered 季度: 2026Q3."""
    YEAR = "YEAR"
    """Year of the same day 年度."""
    SEVERITY = "SEVERITY"
    """Degree of an adverse record 失信程度."""
    STATE = "STATE"
    """State of the record: of a registration, of a commitment 状态."""
