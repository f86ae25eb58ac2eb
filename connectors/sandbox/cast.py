"""The cast: subjects with fixed identifiers and a known history, the same under every seed.

Demonstrations and tests name them. Ages are in days before today; what each one shows:

=======================  ==================  ===========================================================
role                     key                 history
=======================  ==================  ===========================================================
clean                    91990100FAKE00013D  every source that fits it has data of it, nothing adverse
bidder-2                 91990105FAKE00128U  one GENERAL penalty, decided 60 days ago, visible
bidder-3                 91990105FAKE00136N  one GENERAL penalty, decided 200 days ago, repaired 20 days ago, and the
                                             repair at Credit China
bidder-4                 91990106FAKE001440  court enforcement entry and serious-dishonesty entry, both current;
                                             judgment not performed, under objection
bidder-5                 91990200FAKE001529  three GENERAL penalties: one under objection (100 days), one past its
                                             publication but inside five years (1,200 days), one whose conduct
                                             ended more than five years ago (decided 1,870, ended 1,900 days)
individual               92990105FAKE00021D  MINOR penalty (30 days), expired licence, broken commitment,
                                             abnormal entry removed; one act filed at county, city and province;
                                             compulsion, judgment performed, concealment
cooperative              93990105FAKE0003X2  SERIOUS penalty under suit (150 days), withdrawn penalty, serious entry
                                             removed, abnormal entry current, tax and insurance arrears,
                                             mining licence, pending commitment; compulsion under suit and one
                                             repaired, judgment, false material, concealment withdrawn, broken
                                             contract, acts past five years and withdrawn, crimes whose terms
                                             ended 400 and 1,900 days ago
government               11990000FAKE000483  registration, contract as purchaser, dishonesty of a body: one visible,
                                             one repaired
institution              12990100FAKE000560  incentive entry removed, honour, land licence without end, annual report,
                                             abnormal state, and one removed
social-group             51990000FAKE00064L  penalty under appeal, discipline of the association, abnormal activity
                                             removed
private-non-enterprise   52990100FAKE00072H  withdrawn licence, broken commitment at the hall, tax refund
foundation               53990000FAKE000804  honour; disputed market statement; abnormal activity current; commitment
                                             of its own accord
bad-check-digit          91990100FAKE009967  registered under a wrong check digit (2 would be right); one visible
                                             GENERAL penalty (40 days)
defaulter                990105199912319987  adult; court enforcement entry, GENERAL penalty, market facts; adverse
                                             records of every kind, crime with its term running
clean-person             99010519850607123X  adult; licence, commitment, honour, incentive, payments, market facts,
                                             titles (one expired), volunteering and a brave act, credit report
minor                    990105201506010116  born 2015-06-01; a licence record that a gateway must not ask for
=======================  ==================  ===========================================================
"""

from dataclasses import dataclass
from decimal import Decimal

from connectors.sandbox import dossiers
from connectors.sandbox.facts import Degree, Dispute, Outcome
from connectors.sandbox.filing import Filing


@dataclass(frozen=True, slots=True)
class Member:
    """One of the cast; `scheme` is credit_code or resident."""

    role: str
    kind: str
    scheme: str
    key: str
    name: str
    registration_number: str | None
    about: str


def _organisation(role: str, kind: str, key: str, number: str, name: str, about: str) -> Member:
    return Member(role, kind, "credit_code", key, name, number, about)


def _person(role: str, key: str, name: str, about: str) -> Member:
    return Member(role, "NP", "resident", key, name, None, about)


_MEMBERS = (
    _organisation(
        "clean",
        "ORG",
        "91990100FAKE00013D",
        "990100000000013",
        "虚构省示例清白科技有限公司",
        "data everywhere, nothing adverse",
    ),
    _organisation(
        "bidder-2",
        "ORG",
        "91990105FAKE00128U",
        "990105000000129",
        "虚构省示例二号建设有限公司",
        "visible general penalty",
    ),
    _organisation(
        "bidder-3",
        "ORG",
        "91990105FAKE00136N",
        "990105000000137",
        "虚构省示例三号建设有限公司",
        "only a repaired penalty",
    ),
    _organisation(
        "bidder-4",
        "ORG",
        "91990106FAKE001440",
        "990106000000141",
        "虚构省示例四号建设有限公司",
        "court enforcement and serious dishonesty",
    ),
    _organisation(
        "bidder-5",
        "ORG",
        "91990200FAKE001529",
        "990200000000159",
        "虚构省样本五号建设有限公司",
        "penalties: under objection, past publication, past five years",
    ),
    _organisation(
        "individual",
        "IND",
        "92990105FAKE00021D",
        "990105000000024",
        "示例区虚构小吃店",
        "minor penalty, expired licence, broken commitment, abnormal entry removed",
    ),
    _organisation(
        "cooperative",
        "ORG",
        "93990105FAKE0003X2",
        "990105000000032",
        "示例区虚构种植专业合作社",
        "serious penalty under suit, withdrawn penalty, removed and current entries, arrears",
    ),
    _organisation(
        "government",
        "GOV",
        "11990000FAKE000483",
        "990000000000040",
        "虚构省示例事务局",
        "contract as purchaser, government dishonesty",
    ),
    _organisation(
        "institution",
        "ORG",
        "12990100FAKE000560",
        "990100000000056",
        "虚构省示例检测所",
        "incentive entry removed, honour, licence without end",
    ),
    _organisation(
        "social-group",
        "ORG",
        "51990000FAKE00064L",
        "990000000000066",
        "虚构省示例学会",
        "penalty under appeal, discipline of the association",
    ),
    _organisation(
        "private-non-enterprise",
        "ORG",
        "52990100FAKE00072H",
        "990100000000072",
        "示例市虚构培训学校",
        "withdrawn licence, broken commitment, tax refund",
    ),
    _organisation(
        "foundation",
        "ORG",
        "53990000FAKE000804",
        "990000000000082",
        "虚构省示例公益基金会",
        "honour, disputed market statement",
    ),
    _organisation(
        "bad-check-digit",
        "ORG",
        "91990100FAKE009967",
        "990100000000992",
        "虚构省示例错码贸易有限公司",
        "registered under a wrong check digit",
    ),
    _person("defaulter", "990105199912319987", "例失信", "court enforcement entry, penalty, market facts"),
    _person("clean-person", "99010519850607123X", "例守信", "data everywhere, nothing adverse"),
    _person("minor", "990105201506010116", "例年少", "under eighteen"),
)

CAST: dict[str, Member] = {member.role: member for member in _MEMBERS}
"""The cast by role."""

_FORMS = {
    "91": ("有限责任公司", "500万元人民币"),
    "92": ("个体工商户", "10(万)"),
    "93": ("农民专业合作社", "100万元人民币"),
    "11": ("机关", "N/A"),
    "12": ("事业单位", "80万元人民币"),
    "51": ("社会团体", "3万元人民币"),
    "52": ("民办非企业单位", "50万元人民币"),
    "53": ("基金会", "200万元人民币"),
}


def file_cast(filing: Filing) -> None:
    """File the registrations and the history of the whole cast."""
    for member in _MEMBERS:
        if member.registration_number is not None:
            form, capital = _FORMS[member.key[:2]]
            filing.registration(
                member.key,
                member.name,
                registration_number=member.registration_number,
                legal_form=form,
                capital=capital,
            )
    _file_clean(filing, CAST["clean"].key)
    _file_bidders(filing)
    _file_individual(filing, CAST["individual"].key)
    _file_cooperative(filing, CAST["cooperative"].key)
    _file_others(filing)
    _file_persons(filing)
    _file_good_dossiers(filing)
    _file_adverse_dossiers(filing)
    _file_registers(filing)
    _file_rights(filing)


def _file_clean(filing: Filing, key: str) -> None:
    filing.incentive(key, listed=300)
    filing.commitment(key, Outcome.PERFORMED, committed=400, due=300)
    filing.hall_commitment(key, Outcome.PERFORMED, committed=350, due=320)
    filing.honour(key, awarded=500)
    filing.evaluation(key, "A")
    filing.ecology_evaluation(key, "1")
    filing.builder_evaluation(key, "AAA")
    filing.resource_licence(key, "LAND", decided=900, valid_days=None)
    filing.market_licence(key, "食品经营许可", decided=200, valid_days=1825)
    filing.tax_payments(key, [Decimal(12_000) + month * Decimal("731.25") for month in range(12)])
    filing.tax_payments(key, [Decimal("86500.40")], kind="CIT")
    filing.insurance_payments(key, 25)
    filing.fund_payments(key, 25)
    filing.market_a(key, "AA")
    filing.market_b(key, "低风险")
    filing.self_discipline(key, commends=True, decided=250)


def _file_bidders(filing: Filing) -> None:
    filing.penalty(CAST["bidder-2"].key, Degree.GENERAL, decided=60)
    filing.penalty(CAST["bidder-3"].key, Degree.GENERAL, decided=200, repaired=20)
    filing.enforcement(CAST["bidder-4"].key, listed=180)
    filing.serious(CAST["bidder-4"].key, listed=150, situation=2)
    disputed = CAST["bidder-5"].key
    filing.penalty(disputed, Degree.GENERAL, decided=100, disputes=(Dispute.OBJECTION,))
    filing.penalty(disputed, Degree.GENERAL, decided=1200)
    filing.penalty(disputed, Degree.GENERAL, decided=1870, conduct_ended=1900)
    for role, grade in (("bidder-2", "B"), ("bidder-3", "B"), ("bidder-4", "D"), ("bidder-5", "C")):
        filing.evaluation(CAST[role].key, grade)
        filing.market_licence(CAST[role].key, "特种设备使用登记", decided=400, valid_days=1460)
        filing.insurance_payments(CAST[role].key, 8)
        filing.tax_payments(CAST[role].key, [Decimal("4321.00")] * 6)


def _file_individual(filing: Filing, key: str) -> None:
    filing.penalty(key, Degree.MINOR, decided=30)
    filing.market_licence(key, "食品经营许可", decided=2000, valid_days=1825)
    filing.commitment(key, Outcome.BROKEN, committed=200, due=100)
    filing.hall_commitment(key, Outcome.PENDING, committed=20, due=-40)
    filing.abnormal(key, listed=600, removed=400)
    filing.evaluation(key, "C")
    filing.tax_payments(key, [Decimal("318.00")] * 12)
    filing.insurance_payments(key, 2)
    filing.market_a(key, "BBB")


def _file_cooperative(filing: Filing, key: str) -> None:
    filing.penalty(
        key, Degree.SERIOUS, decided=150, disputes=(Dispute.SUIT,), confiscated=Decimal("12000.00")
    )
    filing.penalty(key, Degree.GENERAL, decided=300, withdrawn=90)
    filing.serious(key, listed=900, removed=500, situation=1)
    filing.abnormal(key, listed=70)
    filing.commitment(key, Outcome.PENDING, committed=30, due=-60)
    filing.resource_licence(key, "MINING", decided=1000, valid_days=3650)
    filing.tax_arrears(key, Decimal("23456.78"), decided=80)
    filing.insurance_arrears(key, Decimal("9800.00"), decided=75)
    filing.ecology_evaluation(key, "4")
    filing.insurance_payments(key, 6, status="DEFERRED")
    filing.fund_payments(key, 6, status="DEFERRED")
    filing.market_b(key, None)


def _file_others(filing: Filing) -> None:
    filing.incentive(CAST["institution"].key, listed=800, removed=100)
    filing.honour(CAST["institution"].key, awarded=1500, rank=2)
    filing.resource_licence(CAST["institution"].key, "LAND", decided=1500, valid_days=None)
    filing.penalty(CAST["social-group"].key, Degree.GENERAL, decided=120, disputes=(Dispute.APPEAL,))
    filing.self_discipline(CAST["social-group"].key, commends=False, decided=110)
    filing.market_licence(
        CAST["private-non-enterprise"].key, "食品经营许可", decided=500, valid_days=1825, withdrawn=60
    )
    filing.hall_commitment(CAST["private-non-enterprise"].key, Outcome.BROKEN, committed=300, due=210)
    filing.tax_payments(CAST["private-non-enterprise"].key, [Decimal("-1500.00"), Decimal("15800.00")])
    filing.honour(CAST["foundation"].key, awarded=700, rank=1)
    filing.market_a(CAST["foundation"].key, "A", disputes=(Dispute.OBJECTION, Dispute.SUIT))
    filing.penalty(CAST["bad-check-digit"].key, Degree.GENERAL, decided=40)


def _file_persons(filing: Filing) -> None:
    defaulter = CAST["defaulter"].key
    filing.enforcement(defaulter, listed=120)
    filing.serious(defaulter, listed=110, situation=3)
    filing.penalty(defaulter, Degree.GENERAL, decided=50)
    filing.tax_arrears(defaulter, Decimal("3200.00"), decided=90)
    filing.tax_payments(defaulter, [Decimal("85.20")] * 3, kind="IIT")
    filing.insurance_payments(defaulter, 1, months=6, status="STOPPED")
    filing.person_statement(defaulter, "近一年有两次逾期付款（示例）", score=420)
    clean = CAST["clean-person"].key
    filing.market_licence(clean, "健康证明", decided=100, valid_days=365)
    filing.commitment(clean, Outcome.PERFORMED, committed=300, due=250)
    filing.hall_commitment(clean, Outcome.PERFORMED, committed=300, due=270, kind="SUPPLEMENT")
    filing.honour(clean, awarded=400, rank=4)
    filing.incentive(clean, listed=200)
    filing.tax_payments(clean, [Decimal("612.00")] * 12, kind="IIT")
    filing.insurance_payments(clean, 1)
    filing.fund_payments(clean, 1)
    filing.person_statement(clean, "近三年全部按期履约（示例）", score=780)
    filing.market_licence(CAST["minor"].key, "健康证明", decided=50, valid_days=365)


def _file_good_dossiers(filing: Filing) -> None:
    clean, individual = CAST["clean"].key, CAST["individual"].key
    for key in (clean, individual):
        dossiers.act(filing, key, "行政检查", decided=90)
        dossiers.reward(filing, key, awarded=240)
        dossiers.compliance(filing, key, decided=100)
        dossiers.contract(filing, key, Outcome.PERFORMED, signed=500, due=200)
        dossiers.intellectual_property(filing, key, "商标", registered=800)
        dossiers.voluntary(filing, key, declared=60)
        dossiers.utilities(filing, key, "电力")
        dossiers.credit_report(filing, key)
    dossiers.contract(filing, clean, Outcome.PENDING, signed=40, due=-200, table="published_contracts")
    dossiers.intellectual_property(filing, clean, "专利", registered=1200, pledged=True)
    dossiers.utilities(filing, clean, "燃气", months=3, table="shared_utilities")
    dossiers.charity(filing, clean, "慈善捐赠", done=300)
    dossiers.compliance(filing, clean, decided=80, table="annual_reports", domain="年度报告公示")
    dossiers.compliance(filing, clean, decided=70, table="customs_compliance", domain="海关监管")
    dossiers.compliance(
        filing, CAST["institution"].key, decided=130, table="institution_reports", domain="年度报告公示"
    )
    # The same record at three levels: it is filed in the district and handed up.
    number = dossiers.act(filing, individual, "行政给付", decided=50, table="county_acts")
    for table in ("city_acts", "acts"):
        dossiers.act(filing, individual, "行政给付", decided=50, table=table, number=number)
    dossiers.act(filing, clean, "行政确认", decided=45, table="city_acts")
    dossiers.reward(filing, clean, awarded=150, table="city_rewards")
    dossiers.compliance(filing, clean, decided=65, table="city_compliance")
    number = dossiers.reward(filing, individual, awarded=160, table="county_rewards")
    dossiers.reward(filing, individual, awarded=160, table="city_rewards", number=number)
    dossiers.compliance(filing, individual, decided=55, table="county_compliance")
    dossiers.contract(
        filing,
        CAST["government"].key,
        Outcome.PENDING,
        signed=100,
        due=-100,
        role="采购人",
        table="contracts",
    )
    for role in ("clean-person", "defaulter"):
        key = CAST[role].key
        dossiers.act(filing, key, "行政给付", decided=90)
        dossiers.reward(filing, key, awarded=240)
        dossiers.title(filing, key, awarded=900)
        dossiers.title(filing, key, "职业资格", awarded=1200, valid_days=1095)
        dossiers.intellectual_property(filing, key, "软件著作权", registered=700)
        dossiers.voluntary(filing, key, declared=30, declared_open=False)
        dossiers.charity(filing, key, "志愿服务", done=200)
    dossiers.charity(filing, CAST["clean-person"].key, "见义勇为", done=1000)
    dossiers.credit_report(filing, CAST["clean-person"].key, accounts=2)
    dossiers.credit_report(filing, CAST["defaulter"].key, accounts=5, overdue=1)


def _file_adverse_dossiers(filing: Filing) -> None:
    cooperative, enforced = CAST["cooperative"].key, CAST["bidder-4"].key
    individual, defaulter = CAST["individual"].key, CAST["defaulter"].key
    dossiers.act(filing, cooperative, "行政征收", decided=210, disputes=(Dispute.APPEAL,))
    # Over five years old: outside the inquiry limit.
    dossiers.act(filing, cooperative, "行政裁决", decided=1900)
    dossiers.act(filing, cooperative, "行政补偿", decided=400, withdrawn=30)
    dossiers.compliance(filing, cooperative, decided=180, result="责令改正")
    dossiers.compulsion(filing, cooperative, "行政强制措施", decided=140, disputes=(Dispute.SUIT,))
    dossiers.compulsion(filing, cooperative, "行政强制执行", decided=260, repaired=15)
    dossiers.judgment(filing, cooperative, Outcome.PENDING, decided=220)
    dossiers.judgment(filing, enforced, Outcome.BROKEN, decided=330, disputes=(Dispute.OBJECTION,))
    # The first term is over for more than five years, the second is not.
    dossiers.crime(filing, cooperative, decided=3000, term_ends=1900)
    dossiers.crime(filing, cooperative, decided=2500, term_ends=400)
    dossiers.false_statement(filing, cooperative, "提供虚假材料", decided=160)
    dossiers.false_statement(filing, cooperative, "隐瞒真实情况", decided=170, withdrawn=20)
    dossiers.contract(filing, cooperative, Outcome.BROKEN, signed=600, due=150)
    dossiers.compulsion(filing, individual, "行政强制措施", decided=100)
    dossiers.judgment(filing, individual, Outcome.PERFORMED, decided=300, amount=Decimal("8000.00"))
    dossiers.false_statement(filing, individual, "隐瞒真实情况", decided=190)
    dossiers.compulsion(filing, defaulter, "行政强制执行", decided=110)
    dossiers.judgment(filing, defaulter, Outcome.BROKEN, decided=310, amount=Decimal("45000.00"))
    dossiers.crime(filing, defaulter, decided=900, term_ends=-100)
    dossiers.false_statement(filing, defaulter, "提供虚假材料", decided=130)
    dossiers.official_dishonesty(filing, defaulter, decided=140, origin="问责处理")
    dossiers.official_dishonesty(filing, CAST["government"].key, decided=120)
    dossiers.official_dishonesty(filing, CAST["government"].key, decided=700, repaired=60)


def _file_registers(filing: Filing) -> None:
    dossiers.abnormal(filing, CAST["foundation"].key, listed=200)
    dossiers.abnormal(filing, CAST["social-group"].key, listed=700, removed=300)
    institution = CAST["institution"].key
    dossiers.abnormal(filing, institution, listed=300, table="abnormal_institutions")
    dossiers.abnormal(filing, institution, listed=900, removed=500, table="abnormal_institutions")
    for role in ("foundation", "defaulter"):
        dossiers.portal_commitment(filing, CAST[role].key, Outcome.PENDING, committed=50, due=-300)
    dossiers.customs_grade(filing, CAST["cooperative"].key, evaluated=250)


def _file_rights(filing: Filing) -> None:
    records = filing.records
    disputed = records.penalties[CAST["bidder-5"].key][0]
    dossiers.right(filing, CAST["bidder-5"].key, "异议", disputed, "PENALTY", filed=10)
    repaired = records.penalties[CAST["bidder-3"].key][0]
    dossiers.right(filing, CAST["bidder-3"].key, "信用修复", repaired, "PENALTY", filed=35, table="repairs")
    cooperative = CAST["cooperative"].key
    for kind, about, category in (
        ("诉讼", records.penalties[cooperative][0], "PENALTY"),
        ("撤销", records.penalties[cooperative][1], "PENALTY"),
    ):
        dossiers.right(filing, cooperative, kind, about, category, filed=95)
    own = (
        ("individual", records.penalties, "PENALTY"),
        ("defaulter", records.penalties, "PENALTY"),
        ("government", records.official_dishonesty, "GOV_DISHONESTY"),
    )
    for role, table, category in own:
        key = CAST[role].key
        dossiers.right(filing, key, "信用修复", table[key][-1], category, filed=70, table="repairs")
