"""Files records of subjects the way departments would: numbered, dated, published for a period.

Days are given as "days ago", counted back from one `today`, so that a population ages with the calendar.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeVar

from connectors.sandbox.facts import (
    ENDLESS,
    Abnormal,
    Arrears,
    Basis,
    Commitment,
    Contribution,
    Degree,
    Dispute,
    Enforcement,
    Evaluation,
    Fact,
    Honour,
    Incentive,
    Licence,
    MarketStatement,
    Outcome,
    Penalty,
    PersonStatement,
    Records,
    Registration,
    SelfDiscipline,
    Serious,
    TaxPayment,
)

F = TypeVar("F", bound=Fact)

PROVINCE = "虚构"
CITIES = {"9900": "省本级", "9901": "示例", "9902": "样本", "9903": "模拟"}
"""City names by the first four digits of a division; all invented."""

_PUBLISHED_DAYS = {Degree.MINOR: 90, Degree.GENERAL: 365, Degree.SERIOUS: 1095}
_SANCTIONS = {
    Degree.MINOR: ("警告", "予以警告", Decimal(0)),
    Degree.GENERAL: ("罚款", "罚款人民币5000元", Decimal(5000)),
    Degree.SERIOUS: ("罚款、吊销许可证件", "罚款人民币200000元，吊销许可证", Decimal(200_000)),
}
_LICENCE_CONTENT = {
    "MINING": "露天开采建筑用砂（示例）",
    "LAND": "工业用地十亩（示例）",
    "PLANNING": "厂房一座（示例）",
    "食品经营许可": "预包装食品销售（示例）",
    "特种设备使用登记": "承压锅炉一台（示例）",
    "健康证明": "食品从业人员（示例）",
}


@dataclass(frozen=True, slots=True)
class Filing:
    """Everything filed so far, relative to one day."""

    today: date
    records: Records = field(default_factory=Records)
    numbers: Counter[str] = field(default_factory=Counter)

    def ago(self, days: int) -> date:
        """The day that many days before today; negative counts forward."""
        return self.today - timedelta(days=days)

    def months(self, count: int) -> list[date]:
        """The first days of the last whole months, newest first."""
        newest = self.today.year * 12 + self.today.month - 2
        return [date(month // 12, month % 12 + 1, 1) for month in range(newest, newest - count, -1)]

    def number(self, prefix: str) -> str:
        """The next record number of a table."""
        self.numbers[prefix] += 1
        return f"{prefix}{self.numbers[prefix]:07d}"

    def registration(
        self,
        key: str,
        name: str,
        *,
        registration_number: str,
        legal_form: str,
        capital: str,
        status: str = "存续（在营、开业、在册）",
        age_days: int = 2000,
        representative: str = "虚示例",
    ) -> None:
        """File the registration of an organisation, individual business or government body."""
        division = key[2:8]
        city = CITIES[division[:4]]
        fact = Registration(
            number=self.number("DJ"),
            provider="虚构省市场监督管理局",
            published=self.ago(age_days),
            published_until=ENDLESS,
            name=name,
            credit_code=key,
            registration_number=registration_number,
            legal_form=legal_form,
            status=status,
            representative=representative,
            representative_number="990106199003082042",
            registered=self.ago(age_days),
            capital=capital,
            business_scope="示例产品的销售；示例技术服务（依法须经批准的项目，经相关部门批准后方可开展经营活动）",
            address=f"虚构省{city}市示例区{division}号",
            province=PROVINCE,
            city=city,
            registrar=f"{city}市市场监督管理局",
        )
        _file(self.records.registrations, key, fact)

    def penalty(
        self,
        key: str,
        degree: Degree,
        *,
        decided: int,
        conduct_ended: int | None = None,
        disputes: tuple[Dispute, ...] = (),
        repaired: int | None = None,
        withdrawn: int | None = None,
        confiscated: Decimal = Decimal(0),
        basis: Basis = Basis.ADMINISTRATIVE,
    ) -> None:
        """File a penalty; published for 90 days, one year or three years from its decision, by degree."""
        kind, content, fine = _SANCTIONS[degree]
        number = self.number("CF")
        fact = Penalty(
            number=number,
            provider="示例市市场监督管理局",
            disputes=disputes,
            published=self.ago(decided - 2),
            published_until=self.ago(decided - _PUBLISHED_DAYS[degree]),
            repaired=_day(self, repaired),
            withdrawn=_day(self, withdrawn),
            decided=self.ago(decided),
            conduct_ended=self.ago(decided + 30 if conduct_ended is None else conduct_ended),
            degree=degree,
            basis=basis,
            document=f"虚市监罚〔{self.ago(decided).year}〕{number[-4:]}号",
            kind=kind,
            authority="示例市市场监督管理局",
            facts="销售标签不合格的示例产品",
            legal_basis="《示例法》第一条",
            content=content,
            fine=fine,
            confiscated=confiscated,
        )
        _file(self.records.penalties, key, fact)

    def serious(
        self,
        key: str,
        *,
        listed: int,
        removed: int | None = None,
        situation: int = 1,
        withdrawn: int | None = None,
    ) -> None:
        """File an entry of a list of seriously dishonest subjects."""
        number = self.number("YZ")
        fact = Serious(
            number=number,
            provider="虚构省市场监督管理局",
            published=self.ago(listed),
            published_until=self.ago(listed - 1095),
            withdrawn=_day(self, withdrawn),
            list_name="市场监督管理严重违法失信名单",
            listed=self.ago(listed),
            removed=_day(self, removed),
            reason="示例产品危害人体健康",
            document=f"虚市监列〔{self.ago(listed).year}〕{number[-4:]}号",
            authority="虚构省市场监督管理局",
            situation=situation,
            domain="市场监管",
            remedy="满一年并履行义务后可申请提前移出",
        )
        _file(self.records.serious, key, fact)

    def incentive(self, key: str, *, listed: int, removed: int | None = None, valid_days: int = 1095) -> None:
        """File an entry of a list of trustworthy subjects."""
        number = self.number("JL")
        fact = Incentive(
            number=number,
            provider="虚构省发展和改革委员会",
            published=self.ago(listed),
            published_until=self.ago(listed - valid_days),
            list_name="守信激励对象名单",
            listed=self.ago(listed),
            removed=_day(self, removed),
            reason="连续三年守信",
            document=f"虚发改信〔{self.ago(listed).year}〕{number[-4:]}号",
            authority="虚构省发展和改革委员会",
            valid_until=self.ago(listed - valid_days),
        )
        _file(self.records.incentives, key, fact)

    def commitment(self, key: str, outcome: Outcome, *, committed: int, due: int) -> None:
        """File a commitment with the platform."""
        _file(self.records.commitments, key, self._commitment("CN", "APPROVAL", outcome, committed, due))

    def hall_commitment(
        self, key: str, outcome: Outcome, *, committed: int, due: int, kind: str = "PROOF"
    ) -> None:
        """File a commitment with the one-window hall; `kind` is PROOF, APPROVAL or SUPPLEMENT."""
        _file(self.records.hall_commitments, key, self._commitment("DT", kind, outcome, committed, due))

    def _commitment(self, prefix: str, kind: str, outcome: Outcome, committed: int, due: int) -> Commitment:
        number = self.number(prefix)
        return Commitment(
            number=number,
            provider="示例市行政审批服务管理局",
            published=self.ago(committed),
            published_until=self.ago(due - 1095),
            commitment_number=f"CNS{prefix}{number[-6:]}",
            kind=kind,
            matter="000131002000",
            content="所提交材料真实，并在期限内达到示例条件",
            committed=self.ago(committed),
            due=self.ago(due),
            outcome=outcome,
            authority="示例市行政审批服务管理局",
        )

    def honour(self, key: str, *, awarded: int, rank: int = 3) -> None:
        """File a commendation."""
        number = self.number("RY")
        fact = Honour(
            number=number,
            provider="示例市人民政府",
            published=self.ago(awarded),
            published_until=ENDLESS,
            title="诚信示范（示例）",
            rank=rank,
            awarded=self.ago(awarded),
            authority="示例市人民政府",
            document=f"示政发〔{self.ago(awarded).year}〕{number[-3:]}号",
        )
        _file(self.records.honours, key, fact)

    def evaluation(self, key: str, grade: str, *, evaluated: int = 120) -> None:
        """File a comprehensive evaluation of the credit authority."""
        fact = self._evaluation(
            "PJ", "虚构省发展和改革委员会", "虚构省公共信用综合评价规范（示例）", grade, "综合", evaluated
        )
        _file(self.records.evaluations, key, fact)

    def ecology_evaluation(self, key: str, colour: str, *, evaluated: int = 200) -> None:
        """File a grade of ecology; `colour` is 1 (green) to 5 (black)."""
        fact = self._evaluation(
            "HB", "虚构省生态环境厅", "企业环境信用评价办法（示例）", colour, "生态环境", evaluated
        )
        _file(self.records.ecology_evaluations, key, fact)

    def builder_evaluation(self, key: str, grade: str, *, evaluated: int = 90) -> None:
        """File a grade of a builder."""
        fact = self._evaluation(
            "ZJ", "虚构省住房和城乡建设厅", "建筑市场信用评价标准（示例）", grade, "建筑市场", evaluated
        )
        _file(self.records.builder_evaluations, key, fact)

    def _evaluation(
        self, prefix: str, evaluator: str, scheme: str, grade: str, domain: str, evaluated: int
    ) -> Evaluation:
        return Evaluation(
            number=self.number(prefix),
            provider=evaluator,
            published=self.ago(evaluated),
            published_until=self.ago(evaluated - 365),
            evaluator=evaluator,
            scheme=scheme,
            grade=grade,
            domain=domain,
            evaluated=self.ago(evaluated),
            valid_until=self.ago(evaluated - 365),
        )

    def resource_licence(self, key: str, kind: str, *, decided: int, valid_days: int | None) -> None:
        """File a licence of natural resources: MINING, LAND or PLANNING; `None` days: without end."""
        fact = self._licence("ZR", "示例市自然资源局", kind, decided, valid_days)
        _file(self.records.resource_licences, key, fact)

    def market_licence(
        self, key: str, kind: str, *, decided: int, valid_days: int | None, withdrawn: int | None = None
    ) -> None:
        """File a licence of market regulation under its own name; `None` days: without end."""
        fact = self._licence("XK", "示例市市场监督管理局", kind, decided, valid_days, withdrawn)
        _file(self.records.market_licences, key, fact)

    def _licence(
        self,
        prefix: str,
        authority: str,
        kind: str,
        decided: int,
        valid_days: int | None,
        withdrawn: int | None = None,
    ) -> Licence:
        number = self.number(prefix)
        until = ENDLESS if valid_days is None else self.ago(decided - valid_days)
        status = "撤销" if withdrawn is not None else "有效" if until >= self.today else "失效"
        return Licence(
            number=number,
            provider=authority,
            published=self.ago(decided - 7),
            published_until=until,
            withdrawn=_day(self, withdrawn),
            licence_number=f"JY99{number[-7:]}",
            document=f"示许准〔{self.ago(decided).year}〕{number[-4:]}号",
            kind=kind,
            content=_LICENCE_CONTENT[kind],
            decided=self.ago(decided),
            valid_from=self.ago(decided),
            valid_until=until,
            authority=authority,
            status=status,
        )

    def abnormal(self, key: str, *, listed: int, removed: int | None = None) -> None:
        """File an entry of the list of abnormal operations."""
        number = self.number("YC")
        fact = Abnormal(
            number=number,
            provider="示例市市场监督管理局",
            published=self.ago(listed),
            published_until=_day(self, removed),
            list_name="经营异常名录",
            listed=self.ago(listed),
            removed=_day(self, removed),
            reason="未按规定期限公示年度报告",
            document=f"示市监异〔{self.ago(listed).year}〕{number[-4:]}号",
            authority="示例市市场监督管理局",
            removal_reason=None if removed is None else "补报年度报告并公示",
        )
        _file(self.records.abnormal, key, fact)

    def enforcement(
        self, key: str, *, listed: int, removed: int | None = None, disputes: tuple[Dispute, ...] = ()
    ) -> None:
        """File an entry of the court's list of dishonest persons subject to enforcement."""
        number = self.number("SX")
        year = self.ago(listed).year
        fact = Enforcement(
            number=number,
            provider="示例市中级人民法院",
            disputes=disputes,
            published=self.ago(listed),
            published_until=_day(self, removed),
            list_name="失信被执行人名单",
            listed=self.ago(listed),
            removed=_day(self, removed),
            reason="有履行能力而拒不履行生效法律文书确定义务",
            document=f"（{year}）虚99执{number[-4:]}号之一",
            authority="示例市中级人民法院",
            case=f"（{year}）虚99执{number[-4:]}号",
            court="示例市中级人民法院",
            basis_document=f"（{year - 1}）虚99民初{number[-4:]}号",
            obligation="给付示例款项人民币十万元",
            performance="全部未履行" if removed is None else "全部已履行",
            conduct="违反财产报告制度",
        )
        _file(self.records.enforcement, key, fact)

    def tax_payments(self, key: str, amounts: Sequence[Decimal], *, kind: str = "VAT") -> None:
        """File tax paid month by month, newest first; a negative amount is a refund."""
        for period, amount in zip(self.months(len(amounts)), amounts, strict=True):
            fact = TaxPayment(
                number=self.number("SP"),
                provider="国家税务总局虚构省税务局",
                period=period,
                kind=kind,
                amount=amount,
                paid=period + timedelta(days=42),
            )
            _file(self.records.tax_payments, key, fact)

    def tax_arrears(self, key: str, amount: Decimal, *, decided: int, kind: str = "TAX") -> None:
        """File tax (or FEE or FUND) owed."""
        fact = self._arrears("QS", "国家税务总局示例市税务局", kind, amount, decided)
        _file(self.records.tax_arrears, key, fact)

    def insurance_arrears(self, key: str, amount: Decimal, *, decided: int) -> None:
        """File social insurance owed."""
        fact = self._arrears("QB", "示例市社会保险事业管理中心", "INSURANCE", amount, decided)
        _file(self.records.insurance_arrears, key, fact)

    def _arrears(self, prefix: str, authority: str, kind: str, amount: Decimal, decided: int) -> Arrears:
        ended = self.ago(decided + 60)
        return Arrears(
            number=self.number(prefix),
            provider=authority,
            published=self.ago(decided - 7),
            published_until=self.ago(decided - 365),
            decided=self.ago(decided),
            conduct_ended=ended,
            degree=Degree.GENERAL,
            kind=kind,
            period=f"{ended:%Y-%m}",
            amount=amount,
            authority=authority,
        )

    def insurance_payments(
        self, key: str, headcount: int, *, months: int = 12, status: str = "NORMAL"
    ) -> None:
        """File social insurance contributions of the last months."""
        for period in self.months(months):
            fact = Contribution(
                number=self.number("SB"),
                provider="虚构省社会保险局",
                period=period,
                headcount=headcount,
                amount=Decimal("1356.50") * headcount,
                status=status,
            )
            _file(self.records.insurance_payments, key, fact)

    def fund_payments(self, key: str, headcount: int, *, months: int = 12, status: str = "NORMAL") -> None:
        """File housing fund contributions of the last months."""
        for period in self.months(months):
            fact = Contribution(
                number=self.number("GJ"),
                provider="示例市住房公积金管理中心",
                period=period,
                headcount=headcount,
                amount=Decimal(960) * headcount,
                status=status,
            )
            _file(self.records.fund_payments, key, fact)

    def market_a(
        self, key: str, rating: str, *, stated: int = 45, disputes: tuple[Dispute, ...] = ()
    ) -> None:
        """File what the first market provider says of an organisation."""
        fact = MarketStatement(
            number=self.number("MA"),
            provider="示例征信甲公司",
            disputes=disputes,
            kind="企业信用评级",
            rating=rating,
            stated=self.ago(stated),
            method="https://market-a.example/method",
            statement="履约记录良好（示例）" if rating.startswith("A") else "存在逾期付款（示例）",
        )
        _file(self.records.market_a, key, fact)

    def market_b(self, key: str, rating: str | None, *, stated: int = 30) -> None:
        """File what the second market provider says of an organisation."""
        fact = MarketStatement(
            number=self.number("MB"),
            provider="示例数据乙公司",
            kind="经营风险信息",
            rating=rating,
            stated=self.ago(stated),
            method="https://market-b.example/docs/grades",
            statement="近一年无新增诉讼（示例）",
        )
        _file(self.records.market_b, key, fact)

    def person_statement(self, key: str, statement: str, *, stated: int = 60, score: int = 600) -> None:
        """File what the first market provider says of a person."""
        fact = PersonStatement(
            number=self.number("MP"),
            provider="示例征信甲公司",
            kind="履约信息",
            stated=self.ago(stated),
            statement=statement,
            score=score,
        )
        _file(self.records.market_a_persons, key, fact)

    def self_discipline(self, key: str, *, commends: bool, decided: int) -> None:
        """File a commendation or a discipline of the association."""
        fact = SelfDiscipline(
            number=self.number("XH"),
            provider="虚构省示例行业协会",
            published=self.ago(decided),
            published_until=ENDLESS if commends else self.ago(decided - 365),
            association="虚构省示例行业协会",
            commends=commends,
            title="诚信会员（示例）" if commends else "行业内通报批评（示例）",
            decided=self.ago(decided),
            content="年度诚信考核优秀" if commends else "违反行业自律公约",
        )
        _file(self.records.self_discipline, key, fact)


def _day(filing: Filing, days: int | None) -> date | None:
    return None if days is None else filing.ago(days)


def _file(table: dict[str, list[F]], key: str, fact: F) -> None:
    table.setdefault(key, []).append(fact)
