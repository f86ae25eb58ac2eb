"""The catalogue's records, each described once.

A field of a record says what it is called in the standards, from which level on it is shown, whether it is
published, and which mask it carries. The GraphQL types are made from these classes, source files map to
their field names, and the obligations read their marks and dates; nothing else describes a record.
A value that a source does not give is ``None``. Amounts are in yuan, dates without a time are local to
the province (UTC+8).
"""

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

import msgspec

from policies.vocabulary import (
    AdministrativeActKind,
    AmountBand,
    ArrearsKind,
    BasisKind,
    BreachExcuse,
    CharityKind,
    CompulsionKind,
    ContributionScheme,
    EvaluationKind,
    FalseStatementKind,
    GovernmentDishonestyOrigin,
    IntellectualPropertyKind,
    JudicialDocumentKind,
    Level,
    Mark,
    Mask,
    Performance,
    RightsKind,
    RightsStage,
    Severity,
    SubjectKind,
    TitleKind,
    UtilityKind,
)


class Shown(msgspec.Struct, frozen=True):
    """How a field of a record may be shown.

    `at` is the lowest of MATCH, HIT, SUMMARY, FULL at which the field is shown; `published` says whether
    PUBLIC shows it; `mask` names the mask that the bundle may put on it; `identifies` marks what names the
    subject or a person in the record.
    """

    chinese: str
    english: str
    at: Level
    published: bool = False
    mask: Mask | None = None
    identifies: bool = False


def _match(chinese: str, english: str) -> Shown:
    return Shown(chinese, english, Level.MATCH)


def _always(chinese: str, english: str) -> Shown:
    return Shown(chinese, english, Level.MATCH, published=True)


def _hit(chinese: str, english: str, *, published: bool = True, identifies: bool = False) -> Shown:
    return Shown(chinese, english, Level.HIT, published=published, identifies=identifies)


def _summary(
    chinese: str, english: str, *, published: bool = True, mask: Mask | None = None, identifies: bool = False
) -> Shown:
    return Shown(chinese, english, Level.SUMMARY, published=published, mask=mask, identifies=identifies)


def _full(
    chinese: str, english: str, *, published: bool = False, mask: Mask | None = None, identifies: bool = False
) -> Shown:
    return Shown(chinese, english, Level.FULL, published=published, mask=mask, identifies=identifies)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every credit record carries, whatever its category.

    `COUNTED_FROM` names the dates from which an inquiry limit counts: the first that the record has. Records
    without such a date, entries of lists among them, have no limit of their own.
    """

    COUNTED_FROM: ClassVar[tuple[str, ...]] = ()

    record_id: Annotated[str, _always("记录标识", "Identifier of the record at its source")]
    provider: Annotated[str | None, _always("信息提供单位", "Unit that provided the record")] = None
    marks: Annotated[tuple[Mark, ...], _always("标注", "Contested state: objection, appeal, suit")] = ()
    public_from: Annotated[date | None, _full("公示起始日期", "First day of publication")] = None
    public_until: Annotated[
        date | None, _summary("公示截止日期", "Last day of publication, as the source states it")
    ] = None
    repaired_on: Annotated[date | None, _full("信用修复日期", "Day of credit repair")] = None
    withdrawn_on: Annotated[date | None, _full("撤销日期", "Day on which the record was withdrawn")] = None


class AdverseRecord(Record, frozen=True, kw_only=True):
    """A record of dishonest conduct, with the document it rests on."""

    COUNTED_FROM: ClassVar[tuple[str, ...]] = ("conduct_ended_on", "decided_on")

    decided_on: Annotated[date | None, _summary("决定日期", "Day of the document that finds the conduct")] = (
        None
    )
    conduct_ended_on: Annotated[date | None, _full("行为终止日期", "Day on which the conduct ended")] = None
    severity: Annotated[Severity | None, _summary("失信程度", "Degree of the conduct")] = None
    basis_kind: Annotated[BasisKind | None, _summary("认定依据类别", "Which document finds the conduct")] = (
        None
    )


class ListRecord(Record, frozen=True, kw_only=True):
    """An entry of a list: shown while listed, gone when removed."""

    list_name: Annotated[str | None, _hit("名单名称", "Name of the list")] = None
    listed_on: Annotated[date | None, _hit("列入日期", "Day of entry")] = None
    removed_on: Annotated[date | None, _full("移出日期", "Day of removal")] = None
    reason: Annotated[str | None, _summary("列入事由", "Why the subject was entered")] = None
    document_number: Annotated[str | None, _summary("决定文书号", "Number of the decision")] = None
    authority: Annotated[str | None, _hit("列入机关", "Authority that decided the entry")] = None


class AdverseListing(ListRecord, frozen=True, kw_only=True):
    """An entry of a list of dishonest subjects; it is answered while listed, whatever its degree."""

    basis_kind: Annotated[BasisKind | None, _summary("认定依据类别", "Which document finds the conduct")] = (
        None
    )


class Registration(Record, frozen=True, kw_only=True):
    """Registration of an organisation or individual business, as filed."""

    name: Annotated[str | None, _hit("名称", "Registered name", identifies=True)] = None
    credit_code: Annotated[
        str | None, _hit("统一社会信用代码", "Unified social credit code, GB 32100", identifies=True)
    ] = None
    registration_number: Annotated[
        str | None, _summary("注册号", "Former registration number, 15 digits", identifies=True)
    ] = None
    legal_form: Annotated[str | None, _hit("类型", "Legal form, as filed")] = None
    status: Annotated[str | None, _hit("登记状态", "Registration status, as filed")] = None
    legal_representative: Annotated[
        str | None,
        _summary(
            "法定代表人", "Legal representative, head or operator", mask=Mask.PERSON_NAME, identifies=True
        ),
    ] = None
    registered_on: Annotated[date | None, _summary("成立日期", "Day of registration")] = None
    capital: Annotated[str | None, _summary("注册资本", "Registered capital, text as filed")] = None
    capital_amount: Annotated[
        Decimal | None, _summary("注册资本数额", "Registered capital in units of its currency, parsed")
    ] = None
    capital_currency: Annotated[
        str | None, _summary("注册资本币种", "Currency of the capital, ISO 4217, parsed")
    ] = None
    business_scope: Annotated[str | None, _summary("经营范围", "Business scope, text as filed")] = None
    address: Annotated[str | None, _summary("住所", "Registered address", mask=Mask.ADDRESS)] = None
    province: Annotated[str | None, _hit("省", "Province of registration")] = None
    city: Annotated[str | None, _hit("市", "City of registration")] = None
    registrar: Annotated[str | None, _summary("登记机关", "Registering authority")] = None


class IdentityMatch(Record, frozen=True, kw_only=True):
    """Whether name and resident number belong together, as public security answers it."""

    matched: Annotated[bool | None, _match("是否一致", "Name and number agree")] = None
    checked_on: Annotated[date | None, _match("核验日期", "Day of the check")] = None


class Licence(Record, frozen=True, kw_only=True):
    """An administrative licence."""

    licence_number: Annotated[str | None, _summary("许可证编号", "Number of the licence")] = None
    document_number: Annotated[str | None, _summary("许可决定文书号", "Number of the decision")] = None
    kind: Annotated[str | None, _hit("许可类别", "Kind of licence")] = None
    content: Annotated[str | None, _full("许可内容", "What is licensed", published=True)] = None
    decided_on: Annotated[date | None, _summary("许可决定日期", "Day of the decision")] = None
    valid_from: Annotated[date | None, _hit("有效期自", "First day of validity")] = None
    valid_until: Annotated[date | None, _hit("有效期至", "Last day of validity; null: without end")] = None
    authority: Annotated[str | None, _hit("许可机关", "Licensing authority")] = None
    status: Annotated[str | None, _hit("状态", "Status, as filed")] = None


class Penalty(AdverseRecord, frozen=True, kw_only=True):
    """An administrative penalty."""

    document_number: Annotated[str | None, _hit("行政处罚决定书文号", "Number of the decision")] = None
    kind: Annotated[str | None, _summary("处罚类别", "Kind of penalty")] = None
    authority: Annotated[str | None, _hit("处罚机关", "Authority that decided")] = None
    facts: Annotated[str | None, _full("违法事实", "Facts found")] = None
    legal_basis: Annotated[str | None, _full("处罚依据", "Legal basis of the penalty", published=True)] = None
    content: Annotated[str | None, _full("处罚内容", "Penalty imposed", published=True)] = None
    fine: Annotated[Decimal | None, _full("罚款金额", "Fine in yuan", published=True)] = None
    confiscated: Annotated[Decimal | None, _full("没收金额", "Confiscated in yuan", published=True)] = None


class Arrears(AdverseRecord, frozen=True, kw_only=True):
    """A refused payment of tax, insurance, housing fund, fee or government fund."""

    kind: Annotated[ArrearsKind | None, _hit("欠缴类别", "What is owed")] = None
    period: Annotated[str | None, _summary("所属期", "Period owed for, YYYY-MM or YYYY")] = None
    amount: Annotated[Decimal | None, _full("欠缴金额", "Amount owed in yuan", mask=Mask.AMOUNT)] = None
    amount_band: Annotated[AmountBand | None, _summary("欠缴金额区间", "Band of the amount owed")] = None
    authority: Annotated[str | None, _hit("征收机关", "Collecting authority")] = None


class AbnormalOperation(AdverseListing, frozen=True, kw_only=True):
    """An entry in the list of abnormal operations."""

    removal_reason: Annotated[str | None, _full("移出事由", "Why the entry was removed")] = None


class SeriousDishonesty(AdverseListing, frozen=True, kw_only=True):
    """An entry in a list of seriously dishonest subjects."""

    situation: Annotated[str | None, _summary("严重失信情形", "Which statutory situation")] = None
    field: Annotated[str | None, _summary("领域", "Field of the list")] = None
    remedy: Annotated[str | None, _full("救济途径", "How to leave the list", published=True)] = None


class Incentive(ListRecord, frozen=True, kw_only=True):
    """An entry in a list of trustworthy subjects."""

    valid_until: Annotated[date | None, _summary("有效期至", "Last day of the listing")] = None


class EnforcementDefault(AdverseListing, frozen=True, kw_only=True):
    """A dishonest person subject to enforcement 失信被执行人."""

    case_number: Annotated[str | None, _summary("案号", "Number of the enforcement case")] = None
    court: Annotated[str | None, _hit("执行法院", "Enforcing court")] = None
    basis_document: Annotated[str | None, _full("执行依据文号", "Document enforced", published=True)] = None
    obligation: Annotated[
        str | None, _full("生效法律文书确定的义务", "Obligation of the effective document", published=True)
    ] = None
    performance: Annotated[str | None, _summary("履行情况", "How far it was performed")] = None
    conduct: Annotated[str | None, _full("失信行为具体情形", "Conduct found", published=True)] = None


class Commitment(Record, frozen=True, kw_only=True):
    """A credit commitment and its performance."""

    COUNTED_FROM: ClassVar[tuple[str, ...]] = ("due_on", "committed_on")

    commitment_number: Annotated[str | None, _summary("承诺编号", "Number of the commitment")] = None
    kind: Annotated[str | None, _hit("承诺类型", "Kind of commitment")] = None
    matter_code: Annotated[str | None, _summary("事项编码", "Matter in which it was given")] = None
    content: Annotated[str | None, _full("承诺内容", "What was promised", published=True)] = None
    committed_on: Annotated[date | None, _hit("承诺日期", "Day of the commitment")] = None
    due_on: Annotated[date | None, _summary("履行期限", "Day by which it is due")] = None
    performance: Annotated[Performance | None, _hit("履行状态", "Performed, pending or broken")] = None
    authority: Annotated[str | None, _hit("受理单位", "Unit to which it was given")] = None


class Evaluation(Record, frozen=True, kw_only=True):
    """A credit evaluation of an organisation; grades of different schemes are never converted."""

    kind: Annotated[EvaluationKind | None, _hit("评价类别", "Comprehensive or industry")] = None
    evaluator: Annotated[str | None, _hit("评价机构", "Unit that evaluated")] = None
    scheme: Annotated[str | None, _summary("评价标准", "Scheme of the grades")] = None
    grade: Annotated[str | None, _summary("评价等级", "Grade in that scheme")] = None
    field: Annotated[str | None, _summary("评价领域", "Field of the evaluation")] = None
    evaluated_on: Annotated[date | None, _summary("评价日期", "Day of the evaluation")] = None
    valid_until: Annotated[date | None, _summary("有效期至", "Last day of the cycle")] = None


class Honour(Record, frozen=True, kw_only=True):
    """A commendation or honour."""

    title: Annotated[str | None, _hit("荣誉名称", "Title of the honour")] = None
    rank: Annotated[str | None, _summary("荣誉级别", "Rank: national, provincial, city, county")] = None
    awarded_on: Annotated[date | None, _hit("授予日期", "Day of the award")] = None
    authority: Annotated[str | None, _hit("授予机关", "Authority that awarded it")] = None
    document_number: Annotated[str | None, _summary("文书号", "Number of the decision")] = None


class TaxPayment(Record, frozen=True, kw_only=True):
    """Tax paid in a period."""

    period: Annotated[str | None, _summary("所属期", "Period, YYYY-MM", published=False)] = None
    tax_kind: Annotated[str | None, _summary("税种", "Kind of tax", published=False)] = None
    amount_band: Annotated[
        AmountBand | None, _summary("纳税额区间", "Band of the tax paid", published=False)
    ] = None
    amount: Annotated[Decimal | None, _full("纳税额", "Tax paid in yuan", mask=Mask.AMOUNT)] = None
    paid_on: Annotated[date | None, _full("入库日期", "Day of payment")] = None


class ContributionPayment(Record, frozen=True, kw_only=True):
    """Social insurance or housing fund contributions of a period."""

    scheme: Annotated[
        ContributionScheme | None, _summary("缴存类别", "Social insurance or housing fund", published=False)
    ] = None
    period: Annotated[str | None, _summary("所属期", "Period, YYYY-MM", published=False)] = None
    headcount: Annotated[int | None, _summary("参保人数", "Number of persons paid for", published=False)] = (
        None
    )
    amount_band: Annotated[
        AmountBand | None, _summary("缴存额区间", "Band of the amount paid", published=False)
    ] = None
    amount: Annotated[Decimal | None, _full("缴存额", "Amount paid in yuan", mask=Mask.AMOUNT)] = None
    status: Annotated[str | None, _summary("缴存状态", "Status, as filed", published=False)] = None


class MarketCredit(Record, frozen=True, kw_only=True):
    """What one market provider says of an organisation; providers are never merged into one figure."""

    kind: Annotated[str | None, _summary("信息类别", "Kind of information", published=False)] = None
    rating: Annotated[str | None, _summary("评级", "The provider's own rating", published=False)] = None
    rated_on: Annotated[date | None, _summary("日期", "Day of the statement", published=False)] = None
    method: Annotated[str | None, _summary("方法说明", "Where the method is published", published=False)] = (
        None
    )
    statement: Annotated[str | None, _full("内容", "The provider's statement")] = None


class PersonMarketCredit(Record, frozen=True, kw_only=True):
    """What one market provider says of a natural person: facts; no score, rating or grade exists here."""

    kind: Annotated[str | None, _summary("信息类别", "Kind of information", published=False)] = None
    stated_on: Annotated[date | None, _summary("日期", "Day of the statement", published=False)] = None
    statement: Annotated[str | None, _full("内容", "The provider's statement")] = None


class AssociationRecord(Record, frozen=True, kw_only=True):
    """A self-discipline record of an industry association: not a government fact."""

    association: Annotated[str | None, _summary("协会", "Association", published=False)] = None
    kind: Annotated[str | None, _summary("类别", "Commendation or discipline", published=False)] = None
    title: Annotated[str | None, _summary("标题", "Title", published=False)] = None
    decided_on: Annotated[date | None, _summary("决定日期", "Day of the decision", published=False)] = None
    content: Annotated[str | None, _full("内容", "Content")] = None


class AdministrativeAct(Record, frozen=True, kw_only=True):
    """A confirmation, levy, payment, adjudication, compensation or inspection by an administration."""

    COUNTED_FROM: ClassVar[tuple[str, ...]] = ("decided_on",)

    kind: Annotated[
        AdministrativeActKind | None, _hit("行政行为类别", "Kind of administrative act", published=False)
    ] = None
    document_number: Annotated[str | None, _summary("文书号", "Number of the document", published=False)] = (
        None
    )
    matter: Annotated[str | None, _summary("事项名称", "Matter in which it was done", published=False)] = None
    decided_on: Annotated[date | None, _hit("作出日期", "Day of the act", published=False)] = None
    authority: Annotated[str | None, _hit("作出机关", "Authority that acted", published=False)] = None
    result: Annotated[str | None, _summary("结果", "Result, as filed", published=False)] = None
    content: Annotated[str | None, _full("内容", "Content of the act")] = None
    amount_band: Annotated[
        AmountBand | None, _summary("金额区间", "Band of the amount levied or paid", published=False)
    ] = None
    amount: Annotated[Decimal | None, _full("金额", "Amount levied or paid in yuan", mask=Mask.AMOUNT)] = None


class AdministrativeReward(Record, frozen=True, kw_only=True):
    """An administrative reward."""

    title: Annotated[str | None, _hit("奖励名称", "Title of the reward")] = None
    document_number: Annotated[str | None, _summary("奖励决定文书号", "Number of the decision")] = None
    awarded_on: Annotated[date | None, _hit("奖励决定日期", "Day of the decision")] = None
    authority: Annotated[str | None, _hit("奖励机关", "Authority that rewarded")] = None
    content: Annotated[str | None, _full("奖励内容", "What was given", published=True)] = None
    facts: Annotated[str | None, _full("奖励事由", "For what it was given", published=True)] = None


class Compulsion(AdverseRecord, frozen=True, kw_only=True):
    """An administrative compulsory measure or forced execution."""

    kind: Annotated[CompulsionKind | None, _hit("强制类别", "Measure or execution", published=False)] = None
    document_number: Annotated[
        str | None, _summary("行政强制决定书文号", "Number of the decision", published=False)
    ] = None
    authority: Annotated[str | None, _hit("强制机关", "Authority that decided", published=False)] = None
    manner: Annotated[str | None, _summary("强制方式", "Manner of the compulsion", published=False)] = None
    facts: Annotated[str | None, _full("事实", "Facts found")] = None
    legal_basis: Annotated[str | None, _full("强制依据", "Legal basis of the compulsion")] = None
    content: Annotated[str | None, _full("强制内容", "What was done")] = None


class Judgment(AdverseRecord, frozen=True, kw_only=True):
    """An effective judgment or arbitral award."""

    kind: Annotated[JudicialDocumentKind | None, _hit("文书类型", "Kind of document", published=False)] = None
    case_number: Annotated[str | None, _summary("案号", "Number of the case", published=False)] = None
    court: Annotated[
        str | None, _hit("审理法院或仲裁机构", "Court or arbitral institution", published=False)
    ] = None
    cause: Annotated[str | None, _summary("案由", "Cause of action", published=False)] = None
    effective_on: Annotated[
        date | None, _summary("生效日期", "Day on which it took effect", published=False)
    ] = None
    performance: Annotated[
        Performance | None, _summary("履行状态", "Performed, pending or broken", published=False)
    ] = None
    result: Annotated[str | None, _full("裁判结果", "What was ruled")] = None
    amount_band: Annotated[
        AmountBand | None, _summary("给付金额区间", "Band of the amount to be paid", published=False)
    ] = None
    amount: Annotated[Decimal | None, _full("给付金额", "Amount to be paid in yuan", mask=Mask.AMOUNT)] = None


class Crime(AdverseRecord, frozen=True, kw_only=True):
    """A crime found in an effective judgment; the inquiry limit counts from the end of the term."""

    COUNTED_FROM: ClassVar[tuple[str, ...]] = ("term_ends_on", "conduct_ended_on", "decided_on")

    case_number: Annotated[str | None, _summary("案号", "Number of the case", published=False)] = None
    court: Annotated[str | None, _hit("审理法院", "Court that judged", published=False)] = None
    charge: Annotated[str | None, _summary("罪名", "Crime found", published=False)] = None
    effective_on: Annotated[
        date | None, _summary("生效日期", "Day on which the judgment took effect", published=False)
    ] = None
    sentence: Annotated[str | None, _full("判处刑罚", "Sentence")] = None
    term_ends_on: Annotated[date | None, _full("刑罚执行期满日期", "Day on which the term ends")] = None


class FalseStatement(AdverseRecord, frozen=True, kw_only=True):
    """False material given to, or facts concealed from, an administration."""

    kind: Annotated[
        FalseStatementKind | None, _hit("行为类别", "False material or concealment", published=False)
    ] = None
    document_number: Annotated[
        str | None, _summary("认定文书号", "Number of the document that finds it", published=False)
    ] = None
    matter: Annotated[str | None, _summary("办理事项", "Matter in which it was done", published=False)] = None
    authority: Annotated[str | None, _hit("认定机关", "Authority that found it", published=False)] = None
    facts: Annotated[str | None, _full("事实", "Facts found")] = None
    consequence: Annotated[str | None, _full("处理结果", "What followed")] = None


class Contract(Record, frozen=True, kw_only=True):
    """A contract of public resource trading or with a government body, and its performance."""

    COUNTED_FROM: ClassVar[tuple[str, ...]] = ("due_on", "signed_on")

    contract_number: Annotated[
        str | None, _summary("合同编号", "Number of the contract", published=False)
    ] = None
    kind: Annotated[str | None, _hit("合同类别", "Kind of contract", published=False)] = None
    project_number: Annotated[str | None, _summary("项目编号", "Number of the project", published=False)] = (
        None
    )
    role: Annotated[str | None, _summary("合同角色", "Part of the subject in it", published=False)] = None
    signed_on: Annotated[date | None, _hit("签订日期", "Day of signature", published=False)] = None
    due_on: Annotated[date | None, _summary("履约期限", "Day by which it is due", published=False)] = None
    performance: Annotated[
        Performance | None, _hit("履约状态", "Performed, pending or broken", published=False)
    ] = None
    authority: Annotated[str | None, _hit("监督单位", "Supervising unit", published=False)] = None
    conduct: Annotated[str | None, _full("履约情况", "How it was performed, as filed")] = None
    amount_band: Annotated[
        AmountBand | None, _summary("合同金额区间", "Band of the contract's amount", published=False)
    ] = None
    amount: Annotated[
        Decimal | None, _full("合同金额", "Amount of the contract in yuan", mask=Mask.AMOUNT)
    ] = None


class CharitableAct(Record, frozen=True, kw_only=True):
    """A donation, voluntary service or brave act."""

    kind: Annotated[CharityKind | None, _hit("类别", "Donation, voluntary service or brave act")] = None
    title: Annotated[str | None, _hit("名称", "Name of the act or project")] = None
    done_on: Annotated[date | None, _hit("发生日期", "Day of the act")] = None
    authority: Annotated[str | None, _hit("认定单位", "Unit that recognised it")] = None
    document_number: Annotated[str | None, _summary("认定文书号", "Number of the recognition")] = None
    hours: Annotated[int | None, _summary("志愿服务时长", "Hours of voluntary service")] = None
    content: Annotated[str | None, _full("内容", "What was done", published=True)] = None
    amount_band: Annotated[
        AmountBand | None, _summary("捐赠金额区间", "Band of the donation", published=False)
    ] = None
    amount: Annotated[Decimal | None, _full("捐赠金额", "Donation in yuan", mask=Mask.AMOUNT)] = None


class Title(Record, frozen=True, kw_only=True):
    """A professional title or vocational qualification of a natural person."""

    kind: Annotated[
        TitleKind | None, _hit("类别", "Professional title or vocational qualification", published=False)
    ] = None
    title: Annotated[str | None, _hit("名称", "Name of the title", published=False)] = None
    level: Annotated[str | None, _summary("级别", "Level of the title, as filed", published=False)] = None
    field: Annotated[str | None, _summary("专业", "Field of the title", published=False)] = None
    certificate_number: Annotated[
        str | None, _summary("证书编号", "Number of the certificate", published=False, identifies=True)
    ] = None
    awarded_on: Annotated[date | None, _summary("取得日期", "Day of the award", published=False)] = None
    valid_until: Annotated[
        date | None, _hit("有效期至", "Last day of validity; null: without end", published=False)
    ] = None
    authority: Annotated[str | None, _hit("授予单位", "Unit that awarded it", published=False)] = None
    status: Annotated[str | None, _hit("状态", "Status, as filed", published=False)] = None


class IntellectualProperty(Record, frozen=True, kw_only=True):
    """A registered patent, trademark, software copyright or geographical indication, and its pledge."""

    kind: Annotated[IntellectualPropertyKind | None, _hit("类别", "Kind of right")] = None
    registration_number: Annotated[str | None, _hit("登记号", "Number in the register", identifies=True)] = (
        None
    )
    title: Annotated[str | None, _hit("名称", "Title of the right")] = None
    registered_on: Annotated[date | None, _summary("登记日期", "Day of registration")] = None
    valid_until: Annotated[
        date | None, _summary("权利期限届满日期", "Last day of the right; null: without end")
    ] = None
    status: Annotated[str | None, _hit("法律状态", "Legal status, as filed")] = None
    pledged: Annotated[bool | None, _summary("是否质押", "Whether it is pledged")] = None
    pledge_number: Annotated[
        str | None, _full("质权登记号", "Number of the pledge's registration", published=True)
    ] = None
    authority: Annotated[str | None, _hit("登记机关", "Registering authority")] = None


class Compliance(Record, frozen=True, kw_only=True):
    """How far a law was complied with, as a department found it in a period."""

    COUNTED_FROM: ClassVar[tuple[str, ...]] = ("decided_on",)

    field: Annotated[str | None, _hit("领域", "Field of the law", published=False)] = None
    period: Annotated[str | None, _summary("所属期", "Period, YYYY-MM or YYYY", published=False)] = None
    law: Annotated[str | None, _summary("法律法规名称", "Law or regulation", published=False)] = None
    result: Annotated[str | None, _hit("遵守情况", "Result, as filed", published=False)] = None
    decided_on: Annotated[date | None, _summary("认定日期", "Day of the finding", published=False)] = None
    authority: Annotated[str | None, _hit("认定机关", "Department that found it", published=False)] = None
    content: Annotated[str | None, _full("内容", "What was found")] = None


class VoluntaryStatement(Record, frozen=True, kw_only=True):
    """What a subject says of itself: self-declared, not a finding of anybody."""

    kind: Annotated[str | None, _hit("类别", "Kind of information", published=False)] = None
    title: Annotated[str | None, _hit("标题", "Title", published=False)] = None
    declared_on: Annotated[date | None, _summary("提供日期", "Day of the declaration", published=False)] = (
        None
    )
    declared_open: Annotated[
        bool | None, _summary("同意公开", "Declared open by the subject", published=False)
    ] = None
    verified: Annotated[
        bool | None, _summary("是否核实", "Verified by the portal that took it", published=False)
    ] = None
    content: Annotated[str | None, _full("内容", "What is declared")] = None


class GovernmentDishonesty(AdverseRecord, frozen=True, kw_only=True):
    """Dishonesty of a government body in its affairs, or of its staff."""

    origin: Annotated[GovernmentDishonestyOrigin | None, _hit("认定来源", "What found the dishonesty")] = None
    document_number: Annotated[str | None, _hit("认定文书号", "Number of the document")] = None
    authority: Annotated[str | None, _hit("认定机关", "Authority that found it")] = None
    field: Annotated[str | None, _summary("领域", "Field: policy commitment, contract, payment, bidding")] = (
        None
    )
    excuse: Annotated[
        BreachExcuse | None, _summary("违约理由", "Excuse that was made and does not count")
    ] = None
    facts: Annotated[str | None, _full("失信事实", "Facts found")] = None
    content: Annotated[str | None, _full("处理内容", "What followed", published=True)] = None
    responsible_person: Annotated[
        str | None,
        _full("主要负责人", "Main person in charge", mask=Mask.PERSON_NAME, identifies=True),
    ] = None


class UtilityPayment(Record, frozen=True, kw_only=True):
    """Water, electricity, gas or heat paid for in a period."""

    utility: Annotated[UtilityKind | None, _summary("公用事业类别", "What was supplied", published=False)] = (
        None
    )
    period: Annotated[str | None, _summary("所属期", "Period, YYYY-MM", published=False)] = None
    status: Annotated[str | None, _summary("缴费状态", "Status, as filed", published=False)] = None
    supply_address: Annotated[
        str | None, _summary("用户地址", "Address supplied", published=False, mask=Mask.ADDRESS)
    ] = None
    amount_band: Annotated[
        AmountBand | None, _summary("缴费金额区间", "Band of the amount paid", published=False)
    ] = None
    amount: Annotated[Decimal | None, _full("缴费金额", "Amount paid in yuan", mask=Mask.AMOUNT)] = None
    paid_on: Annotated[date | None, _full("缴费日期", "Day of payment")] = None


class FinancialReport(Record, frozen=True, kw_only=True):
    """A report of the financial credit information basic database, passed through as its centre gives it.

    Its own consent and the centre's own rules decide what it holds; no part of it is ever stored.
    """

    report_number: Annotated[str | None, _summary("报告编号", "Number of the report", published=False)] = None
    reported_on: Annotated[date | None, _summary("报告日期", "Day of the report", published=False)] = None
    query_reason: Annotated[
        str | None, _summary("查询原因", "Query reason, as the centre recorded it", published=False)
    ] = None
    accounts: Annotated[int | None, _summary("信贷账户数", "Number of credit accounts", published=False)] = (
        None
    )
    overdue_accounts: Annotated[
        int | None, _summary("逾期账户数", "Number of accounts overdue", published=False)
    ] = None
    statement: Annotated[str | None, _full("报告内容", "Text of the report")] = None


class RightsState(Record, frozen=True, kw_only=True):
    """An objection, appeal, suit, repair or withdrawal about a record.

    `record_id`, provider and the days of repair and withdrawal are those of the record that it is about, so
    that it is shown where that record is shown and nowhere else.
    """

    kind: Annotated[RightsKind | None, _hit("权利类别", "What is exercised", published=False)] = None
    category: Annotated[
        str | None, _hit("信息类别", "Category of the record, code of the catalogue", published=False)
    ] = None
    case_number: Annotated[str | None, _summary("受理编号", "Number of the case", published=False)] = None
    stage: Annotated[RightsStage | None, _hit("办理状态", "Where it stands", published=False)] = None
    filed_on: Annotated[date | None, _summary("申请日期", "Day of the application", published=False)] = None
    settled_on: Annotated[
        date | None, _summary("办结日期", "Day on which it was settled", published=False)
    ] = None
    authority: Annotated[str | None, _hit("受理单位", "Unit that handles it", published=False)] = None
    outcome: Annotated[str | None, _full("办理结果", "Result, as filed")] = None


class AccessLogEntry(Record, frozen=True, kw_only=True):
    """An inquiry about the subject, as the ledger holds it: who asked, for what, and what was given."""

    inquired_at: Annotated[datetime | None, _summary("查询时间", "Time of the inquiry", published=False)] = (
        None
    )
    unit: Annotated[str | None, _summary("查询单位代码", "Code of the unit that asked", published=False)] = (
        None
    )
    unit_name: Annotated[str | None, _summary("查询单位", "Unit that asked", published=False)] = None
    caller_type: Annotated[
        str | None, _summary("单位类型", "Type of the unit that asked", published=False)
    ] = None
    by_subject: Annotated[bool | None, _summary("本人查询", "The subject itself asked", published=False)] = (
        None
    )
    purpose: Annotated[str | None, _summary("查询目的", "Declared purpose", published=False)] = None
    matter: Annotated[str | None, _summary("事项或案件", "Number of the matter or case", published=False)] = (
        None
    )
    outcome: Annotated[
        str | None, _summary("查询结果", "ANSWERED, or the code of the refusal", published=False)
    ] = None
    given: Annotated[
        tuple[str, ...], _summary("已提供类别", "Categories that were given", published=False)
    ] = ()
    denied: Annotated[
        tuple[str, ...], _summary("被拒绝类别", "Categories that were denied", published=False)
    ] = ()
    rules: Annotated[tuple[str, ...], _full("适用规则", "Rules that decided")] = ()


LIFECYCLE = frozenset(
    {
        "marks",
        "public_from",
        "public_until",
        "repaired_on",
        "withdrawn_on",
        "decided_on",
        "conduct_ended_on",
        "severity",
        "listed_on",
        "removed_on",
        "valid_until",
        "committed_on",
        "due_on",
        "performance",
        "signed_on",
        "term_ends_on",
    }
)
"""Fields on which it depends whether, and how, a record may be shown: always read, whatever was asked."""


class FieldOf(msgspec.Struct, frozen=True):
    """One field of a record class: its name, Python type and how it may be shown."""

    name: str
    type: Any
    shown: Shown


@cache
def fields_of(record: type[Record]) -> tuple[FieldOf, ...]:
    """The fields of a record class in order; their positions are the bits of every field mask."""
    return tuple(_fields(record))


def _fields(record: type[Record]) -> Iterator[FieldOf]:
    hints = get_type_hints(record, include_extras=True)
    for name in record.__struct_fields__:
        python_type, shown = get_args(hints[name])
        yield FieldOf(name, python_type, shown)


class Section(msgspec.Struct, frozen=True):
    """A category as the schema shows it: field name on a subject, type name, record class, subject kinds.

    `single` sections hold at most one record a subject (from the first source that has it).
    """

    category: str
    name: str
    type_name: str
    record: type[Record]
    kinds: tuple[SubjectKind, ...]
    single: bool = False


_OPERATING = (SubjectKind.ORG, SubjectKind.IND)
_ALL_BUT_GOV = (SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP)
_ALL = (*_ALL_BUT_GOV, SubjectKind.GOV)

SECTIONS: tuple[Section, ...] = (
    Section(
        "REG_ORG", "registration", "Registration", Registration, (*_OPERATING, SubjectKind.GOV), single=True
    ),
    Section("REG_NP", "identity_match", "IdentityMatch", IdentityMatch, (SubjectKind.NP,), single=True),
    Section("LICENCE", "licences", "Licence", Licence, _ALL_BUT_GOV),
    Section("ADMIN_OTHER", "administrative_acts", "AdministrativeAct", AdministrativeAct, _ALL_BUT_GOV),
    Section(
        "REWARD_ADMIN", "administrative_rewards", "AdministrativeReward", AdministrativeReward, _ALL_BUT_GOV
    ),
    Section("PENALTY", "penalties", "Penalty", Penalty, _ALL_BUT_GOV),
    Section("COMPULSION", "compulsions", "Compulsion", Compulsion, _ALL_BUT_GOV),
    Section("JUDGMENT", "judgments", "Judgment", Judgment, _ALL_BUT_GOV),
    Section("CRIMINAL", "crimes", "Crime", Crime, (SubjectKind.ORG, SubjectKind.NP)),
    Section("ARREARS", "arrears", "Arrears", Arrears, _ALL_BUT_GOV),
    Section("FALSE_STATEMENT", "false_statements", "FalseStatement", FalseStatement, _ALL_BUT_GOV),
    Section("ABNORMAL", "abnormal_operations", "AbnormalOperation", AbnormalOperation, _OPERATING),
    Section("SERIOUS_LIST", "serious_dishonesty", "SeriousDishonesty", SeriousDishonesty, _ALL_BUT_GOV),
    Section("TRUST_LIST", "incentives", "Incentive", Incentive, _ALL_BUT_GOV),
    Section("ENFORCE_DEFAULT", "enforcement", "EnforcementDefault", EnforcementDefault, _ALL_BUT_GOV),
    Section("COMMITMENT", "commitments", "Commitment", Commitment, _ALL_BUT_GOV),
    Section("CONTRACT", "contracts", "Contract", Contract, (*_OPERATING, SubjectKind.GOV)),
    Section("EVALUATION", "evaluations", "Evaluation", Evaluation, _OPERATING),
    Section("HONOUR", "honours", "Honour", Honour, _ALL_BUT_GOV),
    Section("CHARITY", "charitable_acts", "CharitableAct", CharitableAct, (SubjectKind.ORG, SubjectKind.NP)),
    Section("TITLE", "titles", "Title", Title, (SubjectKind.NP,)),
    Section("IP", "intellectual_property", "IntellectualProperty", IntellectualProperty, _ALL_BUT_GOV),
    Section("COMPLIANCE", "compliance", "Compliance", Compliance, _OPERATING),
    Section("VOLUNTARY", "voluntary_statements", "VoluntaryStatement", VoluntaryStatement, _ALL_BUT_GOV),
    Section(
        "GOV_DISHONESTY",
        "government_dishonesty",
        "GovernmentDishonesty",
        GovernmentDishonesty,
        (SubjectKind.GOV, SubjectKind.NP),
    ),
    Section("TAX_PAYMENT", "tax_payments", "TaxPayment", TaxPayment, _ALL_BUT_GOV),
    Section(
        "SI_HF_PAYMENT", "contribution_payments", "ContributionPayment", ContributionPayment, _ALL_BUT_GOV
    ),
    Section("UTILITY", "utility_payments", "UtilityPayment", UtilityPayment, _OPERATING),
    Section("MARKET", "market_credit", "MarketCredit", MarketCredit, _OPERATING),
    Section("MARKET", "market_credit", "PersonMarketCredit", PersonMarketCredit, (SubjectKind.NP,)),
    Section("ASSOC", "association_records", "AssociationRecord", AssociationRecord, _OPERATING),
    Section(
        "FINANCIAL_DB", "financial_report", "FinancialReport", FinancialReport, _ALL_BUT_GOV, single=True
    ),
    Section("RIGHTS_STATE", "rights_states", "RightsState", RightsState, _ALL),
    Section("ACCESS_LOG", "access_log", "AccessLogEntry", AccessLogEntry, _ALL),
)

SECTION_OF: dict[tuple[str, SubjectKind], Section] = {
    (section.category, kind): section for section in SECTIONS for kind in section.kinds
}

_CHAIN = (Level.MATCH, Level.HIT, Level.SUMMARY, Level.FULL)


@cache
def fields_at(record: type[Record], level: Level) -> int:
    """The field mask of a level: bit i is set when the i-th field of the record is shown at it.

    PASS_THROUGH hides none of the fields: the source decides what stands in them. Levels that are another shape
    of answer show no field.
    """
    if level is Level.PUBLIC:
        return _mask(field.shown.published for field in fields_of(record))
    if level is Level.PASS_THROUGH:
        return _mask(True for _ in fields_of(record))
    if level not in _CHAIN:
        return 0
    reach = _CHAIN.index(level)
    return _mask(_CHAIN.index(field.shown.at) <= reach for field in fields_of(record))


def _mask(flags: Iterator[bool]) -> int:
    return sum(1 << position for position, flag in enumerate(flags) if flag)


_BANDS = (
    (Decimal(10_000), AmountBand.UNDER_10K),
    (Decimal(100_000), AmountBand.FROM_10K_TO_100K),
    (Decimal(1_000_000), AmountBand.FROM_100K_TO_1M),
    (Decimal(10_000_000), AmountBand.FROM_1M_TO_10M),
)


def band_of(amount: Decimal) -> AmountBand:
    """The band of an amount in yuan; a negative amount (a refund) counts as its size."""
    size = abs(amount)
    if not size:
        return AmountBand.ZERO
    return next((band for upper, band in _BANDS if size < upper), AmountBand.OVER_10M)
