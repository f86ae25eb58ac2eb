"""Files what other departments, courts, registers and utilities hold of subjects, beside `filing`.

Days are given as "days ago", as there. `table` names the records of one system where several keep such facts.
"""

from datetime import date
from decimal import Decimal
from typing import Any, Literal, TypedDict

from connectors.sandbox.facts import (
    ENDLESS,
    Abnormal,
    Act,
    Basis,
    Charity,
    Commitment,
    Compliance,
    Compulsion,
    Contract,
    CreditReport,
    Crime,
    Degree,
    Dispute,
    Evaluation,
    Fact,
    FalseStatement,
    Judgment,
    OfficialDishonesty,
    Outcome,
    Property,
    Reward,
    Rights,
    Title,
    Utility,
    Voluntary,
)
from connectors.sandbox.filing import Filing

_CITY = "示例市发展和改革委员会"
_DISTRICT = "示例区发展和改革局"
_KEEPERS = {"acts": "虚构省财政厅", "city_acts": "示例市财政局", "county_acts": "示例区财政局"} | {
    "rewards": "虚构省科学技术厅",
    "city_rewards": "示例市科学技术局",
    "county_rewards": "示例区科学技术局",
    "compliance": "虚构省发展和改革委员会",
    "city_compliance": _CITY,
    "county_compliance": _DISTRICT,
    "annual_reports": "虚构省市场监督管理局",
    "institution_reports": "虚构省事业单位登记管理局",
    "customs_compliance": "虚构海关",
}


class _Publication(TypedDict):
    published: date
    published_until: date


class _End(TypedDict):
    repaired: date | None
    withdrawn: date | None


def _put(filing: Filing, table: str, key: str, fact: Fact) -> None:
    records: dict[str, list[Any]] = getattr(filing.records, table)
    records.setdefault(key, []).append(fact)


def _published(filing: Filing, since: int, days: int | None = 365) -> _Publication:
    """First and last day of publication; `days` None: without end."""
    until = ENDLESS if days is None else filing.ago(since - days)
    return {"published": filing.ago(since), "published_until": until}


def _ended(filing: Filing, repaired: int | None, withdrawn: int | None) -> _End:
    return {
        "repaired": None if repaired is None else filing.ago(repaired),
        "withdrawn": None if withdrawn is None else filing.ago(withdrawn),
    }


def act(
    filing: Filing,
    key: str,
    kind: str,
    *,
    decided: int,
    table: str = "acts",
    number: str | None = None,
    amount: Decimal = Decimal("12000.00"),
    disputes: tuple[Dispute, ...] = (),
    withdrawn: int | None = None,
) -> str:
    """File an administrative act such as 行政检查; returns its record number, which another level may repeat."""
    number = number or filing.number("XW")
    keeper = _KEEPERS[table]
    fact = Act(
        number=number,
        provider=keeper,
        disputes=disputes,
        **_published(filing, decided),
        **_ended(filing, None, withdrawn),
        kind=kind,
        document=f"虚行〔{filing.ago(decided).year}〕{number[-4:]}号",
        matter="示例事项",
        decided=filing.ago(decided),
        authority=keeper,
        result="已办结",
        content="示例行政行为的内容",
        amount=amount,
    )
    _put(filing, table, key, fact)
    return number


def reward(
    filing: Filing, key: str, *, awarded: int, table: str = "rewards", number: str | None = None
) -> str:
    """File an administrative reward; returns its record number."""
    number = number or filing.number("XJ")
    keeper = _KEEPERS[table]
    fact = Reward(
        number=number,
        provider=keeper,
        **_published(filing, awarded, None),
        title="科技创新奖励（示例）",
        document=f"虚奖〔{filing.ago(awarded).year}〕{number[-4:]}号",
        awarded=filing.ago(awarded),
        authority=keeper,
        content="奖励人民币一万元（示例）",
        facts="示例技术推广成效突出",
    )
    _put(filing, table, key, fact)
    return number


def compliance(
    filing: Filing,
    key: str,
    *,
    decided: int,
    table: str = "compliance",
    number: str | None = None,
    result: str = "遵守",
    domain: str = "税收、社会保险、环境保护",
) -> str:
    """File a finding on the keeping of a law; returns its record number."""
    number = number or filing.number("HG")
    keeper = _KEEPERS[table]
    fact = Compliance(
        number=number,
        provider=keeper,
        **_published(filing, decided),
        domain=domain,
        period=f"{filing.ago(decided + 60).year}",
        law="《示例法》",
        result=result,
        decided=filing.ago(decided),
        authority=keeper,
        content="经核查，未发现违反示例法律法规的情况" if result == "遵守" else "存在示例问题，已责令改正",
    )
    _put(filing, table, key, fact)
    return number


def compulsion(
    filing: Filing,
    key: str,
    kind: str,
    *,
    decided: int,
    repaired: int | None = None,
    disputes: tuple[Dispute, ...] = (),
) -> None:
    """File a compulsory measure 行政强制措施 or forced execution 行政强制执行."""
    number = filing.number("QZ")
    fact = Compulsion(
        number=number,
        provider="示例市市场监督管理局",
        disputes=disputes,
        **_published(filing, decided),
        **_ended(filing, repaired, None),
        decided=filing.ago(decided),
        conduct_ended=filing.ago(decided - 10),
        degree=Degree.GENERAL,
        kind=kind,
        document=f"虚市监强〔{filing.ago(decided).year}〕{number[-4:]}号",
        authority="示例市市场监督管理局",
        manner="查封" if kind == "行政强制措施" else "加处罚款",
        facts="拒不停止销售不合格的示例产品",
        legal_basis="《示例强制法》第九条",
        content="查封示例产品一批",
    )
    _put(filing, "compulsions", key, fact)


def judgment(
    filing: Filing,
    key: str,
    outcome: Outcome,
    *,
    decided: int,
    amount: Decimal = Decimal("230000.00"),
    disputes: tuple[Dispute, ...] = (),
) -> None:
    """File an effective judgment that orders a payment."""
    number = filing.number("PW")
    fact = Judgment(
        number=number,
        provider="示例市中级人民法院",
        disputes=disputes,
        **_published(filing, decided),
        decided=filing.ago(decided),
        conduct_ended=filing.ago(decided + 100),
        degree=Degree.GENERAL,
        basis=Basis.JUDICIAL,
        kind="判决书",
        case=f"（{filing.ago(decided).year}）虚99民终{number[-4:]}号",
        court="示例市中级人民法院",
        cause="买卖合同纠纷（示例）",
        effective=filing.ago(decided - 15),
        outcome=outcome,
        result="判令给付示例货款",
        amount=amount,
    )
    _put(filing, "judgments", key, fact)


def crime(filing: Filing, key: str, *, decided: int, term_ends: int) -> None:
    """File a crime found in an effective judgment; `term_ends` in days ago, negative while the term runs."""
    number = filing.number("XS")
    fact = Crime(
        number=number,
        provider="示例市中级人民法院",
        **_published(filing, decided),
        decided=filing.ago(decided),
        conduct_ended=filing.ago(decided + 400),
        degree=Degree.SERIOUS,
        basis=Basis.JUDICIAL,
        case=f"（{filing.ago(decided).year}）虚99刑终{number[-4:]}号",
        court="示例市中级人民法院",
        charge="生产、销售伪劣产品罪（示例）",
        effective=filing.ago(decided - 10),
        sentence="判处罚金（示例）",
        term_ends=filing.ago(term_ends),
    )
    _put(filing, "crimes", key, fact)


def false_statement(
    filing: Filing,
    key: str,
    kind: Literal["提供虚假材料", "隐瞒真实情况"],
    *,
    decided: int,
    withdrawn: int | None = None,
) -> None:
    """File false material or a concealment."""
    number = filing.number("XC")
    fact = FalseStatement(
        number=number,
        provider="示例市行政审批服务管理局",
        **_published(filing, decided),
        **_ended(filing, None, withdrawn),
        decided=filing.ago(decided),
        conduct_ended=filing.ago(decided + 20),
        degree=Degree.GENERAL,
        kind=kind,
        document=f"示审认〔{filing.ago(decided).year}〕{number[-4:]}号",
        matter="食品经营许可",
        authority="示例市行政审批服务管理局",
        facts="所交场地证明与实际不符（示例）",
        consequence="撤销示例许可",
    )
    _put(filing, "false_statements", key, fact)


def official_dishonesty(
    filing: Filing, key: str, *, decided: int, origin: str = "司法裁判", repaired: int | None = None
) -> None:
    """File dishonesty of a government body or of one of its staff."""
    number = filing.number("ZW")
    fact = OfficialDishonesty(
        number=number,
        provider="虚构省发展和改革委员会",
        **_published(filing, decided),
        **_ended(filing, repaired, None),
        decided=filing.ago(decided),
        conduct_ended=filing.ago(decided + 30),
        degree=Degree.GENERAL,
        basis=Basis.JUDICIAL if origin == "司法裁判" else Basis.OTHER,
        origin=origin,
        document=f"（{filing.ago(decided).year}）虚99行终{number[-4:]}号",
        authority="虚构省高级人民法院",
        domain="合同履约",
        excuse="相关责任人更替",
        facts="以责任人更替为由不付示例工程款",
        content="责令限期付款",
        responsible="虚负责",
    )
    _put(filing, "official_dishonesty", key, fact)


def right(
    filing: Filing,
    key: str,
    kind: str,
    about: Fact,
    category: str,
    *,
    filed: int,
    table: Literal["rights", "repairs"] = "rights",
) -> None:
    """File what is exercised about a record (异议, 复议, 诉讼, 信用修复, 撤销), settled where the record is gone."""
    settled = about.repaired or about.withdrawn
    number = filing.number("YX")
    fact = Rights(
        number=about.number,
        provider=about.provider,
        repaired=about.repaired,
        withdrawn=about.withdrawn,
        kind=kind,
        category=category,
        case=f"示信〔{filing.ago(filed).year}〕{number[-4:]}号",
        stage="办理中" if settled is None else "同意",
        filed=filing.ago(filed),
        settled=settled,
        authority="虚构省公共信用信息中心" if table == "rights" else "信用中国（虚构）",
        outcome=None if settled is None else "已停止公示、共享和使用（示例）",
    )
    _put(filing, table, key, fact)


def contract(
    filing: Filing,
    key: str,
    outcome: Outcome,
    *,
    signed: int,
    due: int,
    role: str = "供应商",
    table: Literal["contracts", "published_contracts"] = "contracts",
    disputes: tuple[Dispute, ...] = (),
) -> None:
    """File a contract; `outcome` says how it was performed."""
    number = filing.number("HT")
    conduct = {Outcome.PENDING: "正在履行", Outcome.PERFORMED: "按期履约", Outcome.BROKEN: "逾期未交付"}
    fact = Contract(
        number=number,
        provider="虚构省公共资源交易中心" if table == "contracts" else "虚构省市场监督管理局",
        disputes=disputes,
        **_published(filing, signed, None),
        contract=f"HT-{filing.ago(signed).year}-{number[-4:]}",
        kind="货物采购",
        project=f"P-{filing.ago(signed).year}-{number[-4:]}",
        role=role,
        signed=filing.ago(signed),
        due=filing.ago(due),
        outcome=outcome,
        authority="示例市公共资源交易监督管理局",
        conduct=conduct[outcome],
        amount=Decimal("480000.00"),
    )
    _put(filing, table, key, fact)


def charity(
    filing: Filing, key: str, kind: Literal["慈善捐赠", "志愿服务", "见义勇为"], *, done: int
) -> None:
    """File a donation, voluntary service or brave act."""
    number = filing.number("CS")
    fact = Charity(
        number=number,
        provider="虚构省民政厅",
        **_published(filing, done, None),
        kind=kind,
        title=f"示例{kind}项目",
        done=filing.ago(done),
        authority="虚构省民政厅",
        document=f"虚民善〔{filing.ago(done).year}〕{number[-4:]}号",
        hours=36 if kind == "志愿服务" else 0,
        content="资助示例小学图书一批",
        amount=Decimal("20000.00") if kind == "慈善捐赠" else Decimal(0),
    )
    _put(filing, "charity", key, fact)


def title(
    filing: Filing,
    key: str,
    kind: Literal["职称", "职业资格"] = "职称",
    *,
    awarded: int,
    valid_days: int | None = None,
) -> None:
    """File a professional title or vocational qualification of a person; `valid_days` None: without end."""
    number = filing.number("ZC")
    until = ENDLESS if valid_days is None else filing.ago(awarded - valid_days)
    fact = Title(
        number=number,
        provider="虚构省人力资源和社会保障厅",
        **_published(filing, awarded, None),
        kind=kind,
        title="工程师（示例）" if kind == "职称" else "注册建造师（示例）",
        level="中级" if kind == "职称" else "一级",
        subject_field="建筑工程",
        certificate=f"ZS99{number[-7:]}",
        awarded=filing.ago(awarded),
        valid_until=until,
        authority="虚构省人力资源和社会保障厅",
        status="有效" if until >= filing.today else "失效",
    )
    _put(filing, "titles", key, fact)


def intellectual_property(
    filing: Filing,
    key: str,
    kind: str,
    *,
    registered: int,
    pledged: bool = False,
) -> None:
    """File a registered right (专利, 商标, 软件著作权, 地理标志), with or without a pledge on it."""
    number = filing.number("ZL")
    fact = Property(
        number=number,
        provider="虚构省知识产权局",
        **_published(filing, registered, None),
        kind=kind,
        registration=f"ZL99{number[-7:]}",
        title=f"一种示例装置（{kind}）",
        registered=filing.ago(registered),
        valid_until=filing.ago(registered - 7300),
        authority="虚构省知识产权局",
        status="有效",
        pledge=f"Y99{number[-7:]}" if pledged else None,
    )
    _put(filing, "properties", key, fact)


def voluntary(filing: Filing, key: str, *, declared: int, declared_open: bool = True) -> None:
    """File what a subject says of itself."""
    fact = Voluntary(
        number=filing.number("ZY"),
        provider="信用门户（虚构）",
        **_published(filing, declared, None),
        kind="经营业绩",
        title="年度履约情况声明（示例）",
        declared=filing.ago(declared),
        declared_open=declared_open,
        verified=False,
        content="本年度示例合同全部按期履行",
    )
    _put(filing, "voluntary", key, fact)


def utilities(
    filing: Filing,
    key: str,
    kind: str,
    *,
    months: int = 6,
    status: str = "正常缴费",
    table: Literal["utilities", "shared_utilities"] = "utilities",
) -> None:
    """File what was paid for 自来水, 电力, 燃气 or 供热 in the last months."""
    for period in filing.months(months):
        fact = Utility(
            number=filing.number("GY"),
            provider="示例市公用事业集团" if table == "utilities" else "虚构省融资信用服务平台",
            kind=kind,
            period=f"{period:%Y-%m}",
            status=status,
            address="虚构省示例市示例区示例路99号",
            amount=Decimal("1834.20"),
            paid=period.replace(day=25),
        )
        _put(filing, table, key, fact)


def credit_report(
    filing: Filing, key: str, *, reported: int = 3, accounts: int = 4, overdue: int = 0
) -> None:
    """File what the financial credit database reports of a subject."""
    number = filing.number("ZX")
    fact = CreditReport(
        number=number,
        provider="金融信用信息基础数据库（示例）",
        report=f"2026{number[-7:]}",
        reported=filing.ago(reported),
        reason="02",
        accounts=accounts,
        overdue=overdue,
        statement="信贷账户状态正常（示例）" if not overdue else "存在逾期账户（示例）",
        score=612,
    )
    _put(filing, "credit_reports", key, fact)


def abnormal(
    filing: Filing,
    key: str,
    *,
    listed: int,
    removed: int | None = None,
    table: Literal["abnormal_activities", "abnormal_institutions"] = "abnormal_activities",
) -> None:
    """File an entry of the list of social organisations, or of public institutions, with abnormal activities."""
    number = filing.number("YD")
    social = table == "abnormal_activities"
    authority = "虚构省民政厅" if social else "虚构省事业单位登记管理局"
    fact = Abnormal(
        number=number,
        provider=authority,
        published=filing.ago(listed),
        published_until=None if removed is None else filing.ago(removed),
        list_name="社会组织活动异常名录" if social else "事业单位异常名录",
        listed=filing.ago(listed),
        removed=None if removed is None else filing.ago(removed),
        reason="未按规定报送年度工作报告",
        document=f"虚异〔{filing.ago(listed).year}〕{number[-4:]}号",
        authority=authority,
        removal_reason=None if removed is None else "已补报年度工作报告",
    )
    _put(filing, table, key, fact)


def portal_commitment(filing: Filing, key: str, outcome: Outcome, *, committed: int, due: int) -> None:
    """File a commitment that a subject makes of its own accord on a portal."""
    number = filing.number("MH")
    fact = Commitment(
        number=number,
        provider="信用门户（虚构）",
        **_published(filing, committed, None),
        commitment_number=f"CNM{number[-6:]}",
        kind="主动型承诺",
        matter="000131002000",
        content="诚信经营，按期公示示例信息",
        committed=filing.ago(committed),
        due=filing.ago(due),
        outcome=outcome,
        authority="信用门户（虚构）",
    )
    _put(filing, "portal_commitments", key, fact)


def customs_grade(filing: Filing, key: str, *, evaluated: int, grade: str = "高级认证企业") -> None:
    """File the grade that customs give an enterprise (AEO)."""
    fact = Evaluation(
        number=filing.number("HY"),
        provider="虚构海关",
        **_published(filing, evaluated),
        evaluator="虚构海关",
        scheme="海关企业信用管理办法（示例）",
        grade=grade,
        domain="海关监管",
        evaluated=filing.ago(evaluated),
        valid_until=filing.ago(evaluated - 1095),
    )
    _put(filing, "customs_grades", key, fact)
