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
    records. PASS_THROUGH is whatever the source gives. SCHEMA_ONLY and AGGREGATE are other shapes of answer.
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


class AdministrativeActKind(StrEnum):
    """Kinds of administrative act that have no category of their own 行政行为类别."""

    CONFIRMATION = "CONFIRMATION"
    """行政确认."""
    LEVY = "LEVY"
    """行政征收."""
    PAYMENT = "PAYMENT"
    """行政给付."""
    ADJUDICATION = "ADJUDICATION"
    """行政裁决."""
    COMPENSATION = "COMPENSATION"
    """行政补偿."""
    INSPECTION = "INSPECTION"
    """行政检查."""


class CompulsionKind(StrEnum):
    """The two forms of administrative compulsion 行政强制."""

    MEASURE = "MEASURE"
    """Compulsory measure 行政强制措施."""
    EXECUTION = "EXECUTION"
    """Forced execution 行政强制执行."""


class JudicialDocumentKind(StrEnum):
    """Kinds of effective judicial or arbitral document 裁判文书类型."""

    JUDGMENT = "JUDGMENT"
    RULING = "RULING"
    CONCILIATION = "CONCILIATION"
    ARBITRAL_AWARD = "ARBITRAL_AWARD"


class FalseStatementKind(StrEnum):
    """How an administration was deceived."""

    FALSE_MATERIAL = "FALSE_MATERIAL"
    """False material 提供虚假材料."""
    CONCEALMENT = "CONCEALMENT"
    """The real situation concealed 隐瞒真实情况."""


class CharityKind(StrEnum):
    """Good deeds that are recorded unless the subject declines 公益慈善类别."""

    DONATION = "DONATION"
    VOLUNTARY_SERVICE = "VOLUNTARY_SERVICE"
    BRAVE_ACT = "BRAVE_ACT"


class TitleKind(StrEnum):
    """What a person's certificate attests 职称和职业信息类别."""

    PROFESSIONAL_TITLE = "PROFESSIONAL_TITLE"
    """Professional title 职称."""
    QUALIFICATION = "QUALIFICATION"
    """Vocational qualification 职业资格."""


class IntellectualPropertyKind(StrEnum):
    """Kinds of registered intellectual property 知识产权类别."""

    PATENT = "PATENT"
    TRADEMARK = "TRADEMARK"
    SOFTWARE_COPYRIGHT = "SOFTWARE_COPYRIGHT"
    GEOGRAPHICAL_INDICATION = "GEOGRAPHICAL_INDICATION"


class GovernmentDishonestyOrigin(StrEnum):
    """What finds dishonesty in government affairs (Hunan 2022, Art. 7)."""

    JUDICIAL_DECISION = "JUDICIAL_DECISION"
    ADMINISTRATIVE_PENALTY = "ADMINISTRATIVE_PENALTY"
    DISCIPLINARY_ACTION = "DISCIPLINARY_ACTION"
    ACCOUNTABILITY = "ACCOUNTABILITY"


class BreachExcuse(StrEnum):
    """Excuses on which a government body may not break its word (Hunan 2022, Art. 7)."""

    DIVISION_CHANGE = "DIVISION_CHANGE"
    """Change of administrative divisions 行政区划调整."""
    GOVERNMENT_CHANGE = "GOVERNMENT_CHANGE"
    """Change of government 政府换届."""
    FUNCTION_CHANGE = "FUNCTION_CHANGE"
    """Change of institutions or functions 机构或者职能调整."""
    PERSON_CHANGE = "PERSON_CHANGE"
    """Change of the responsible person 相关责任人更替."""
    OTHER = "OTHER"


class UtilityKind(StrEnum):
    """What a public utility supplies 公用事业类别."""

    WATER = "WATER"
    ELECTRICITY = "ELECTRICITY"
    GAS = "GAS"
    HEAT = "HEAT"


class RightsKind(StrEnum):
    """What is exercised about a record, or was done to it 权利类别."""

    OBJECTION = "OBJECTION"
    APPEAL = "APPEAL"
    SUIT = "SUIT"
    REPAIR = "REPAIR"
    WITHDRAWAL = "WITHDRAWAL"


class RightsStage(StrEnum):
    """Where an objection, repair or withdrawal stands 办理状态."""

    PENDING = "PENDING"
    GRANTED = "GRANTED"
    REFUSED = "REFUSED"


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
