"""The synthetic population: a fixed cast at its head, the rest drawn from a seed.

The same seed, size and day give the same subjects and records, in every process. Of the drawn subjects
about 62 % are organisations, 15 % individual businesses, 3 % government bodies and 20 % natural persons,
a few of them under eighteen.
"""

import random
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from connectors.sandbox import dossiers
from connectors.sandbox.cast import CAST, Member, file_cast
from connectors.sandbox.facts import Degree, Dispute, Outcome, Records, Registration, Subject
from connectors.sandbox.filing import Filing
from connectors.sandbox.identifiers import credit_code, registration_number, resident_number

__all__ = ["CAST", "Member", "Population", "populate"]

_DIVISIONS = ("990100", "990105", "990106", "990200", "990205", "990300", "990321")
_FORMS = (
    ("91", 48, "有限公司", "有限责任公司"),
    ("93", 6, "专业合作社", "农民专业合作社"),
    ("12", 3, "服务中心", "事业单位"),
    ("51", 2, "协会", "社会团体"),
    ("52", 2, "学校", "民办非企业单位"),
    ("53", 1, "基金会", "基金会"),
    ("92", 15, "店", "个体工商户"),
    ("11", 3, "局", "机关"),
)
_PERSONS = 20
_WORDS = ("示例", "样本", "虚拟", "模拟", "假想", "演示", "例证", "拟定")
_TRADES = ("建设", "商贸", "科技", "农业", "餐饮", "物流", "环保", "医药", "文化", "机械")
_CAPITALS = ("{}万元人民币", "{}(万)", "{}万人民币", "{}万美元", "N/A")
_SURNAMES = "虚例仿拟"
_GIVEN = "甲乙丙丁戊己庚辛壬癸子丑寅卯"
_DISPUTES = tuple(Dispute)


@dataclass(frozen=True, slots=True)
class Population:
    """Subjects and their records on one day.

    `subjects` holds the synthetic ones, the cast first; registrations loaded from a file are records of
    the platform alone and never appear there.
    """

    today: date
    subjects: tuple[Subject, ...]
    records: Records

    def registered_by(self, codes: str, authority: str) -> dict[str, list[Registration]]:
        """The synthetic registrations whose credit code begins so, as that authority keeps them."""
        return {
            subject.key: [
                replace(filed, provider=authority, registrar=authority)
                for filed in self.records.registrations[subject.key]
            ]
            for subject in self.subjects
            if subject.key.startswith(codes) and subject.key in self.records.registrations
        }

    def with_registrations(self, loaded: list[Registration]) -> "Population":
        """The same population, with more registrations at the provincial platform."""
        registrations = dict(self.records.registrations)
        for registration in loaded:
            registrations[registration.credit_code] = [registration]
        return replace(self, records=replace(self.records, registrations=registrations))


def populate(*, subjects: int, seed: int, today: date) -> Population:
    """Make a population of that many subjects; the cast alone when fewer are asked than it has."""
    filing = Filing(today)
    file_cast(filing)
    everyone = [Subject(kind=member.kind, key=member.key, name=member.name) for member in CAST.values()]
    draw = _Draw(filing, random.Random(seed))
    drawn = [draw.subject(serial) for serial in range(1, subjects - len(everyone) + 1)]
    everyone.extend(drawn)
    # A generator of its own: what the first one draws stays the same.
    further = _Dossiers(filing, random.Random(seed + 1))
    for subject in drawn:
        further.of(subject)
    return Population(today, tuple(everyone), filing.records)


class _Draw:
    """Draws one subject after another from one generator."""

    def __init__(self, filing: Filing, rng: random.Random) -> None:
        self._filing = filing
        self._rng = rng
        self._residents = {member.key for member in CAST.values()}
        self._weights = [weight for _, weight, _, _ in _FORMS] + [_PERSONS]

    def subject(self, serial: int) -> Subject:
        """The next subject, with its records filed."""
        (form,) = self._rng.choices((*_FORMS, None), self._weights)
        return self._person() if form is None else self._organisation(serial, form)

    def _organisation(self, serial: int, form: tuple[str, int, str, str]) -> Subject:
        code, _, ending, legal_form = form
        rng = self._rng
        division = rng.choice(_DIVISIONS)
        key = credit_code(code, division, f"F{serial:07d}")
        name = f"虚构省{rng.choice(_WORDS)}{rng.choice(_TRADES)}{serial:06d}{ending}"
        self._filing.registration(
            key,
            name,
            registration_number=registration_number(f"{division}{10_000_000 + serial:08d}"),
            legal_form=legal_form,
            capital=rng.choice(_CAPITALS).format(rng.choice((3, 10, 50, 200, 1000))),
            status=rng.choices(("存续（在营、开业、在册）", "注销", "吊销，未注销"), (92, 5, 3))[0],
            age_days=rng.randint(100, 7000),
            representative=self._name(),
        )
        kind = {"92": "IND", "11": "GOV"}.get(code, "ORG")
        if kind != "GOV":
            self._history(key, rng.randint(1, 300))
            self._operations(key)
        return Subject(kind=kind, key=key, name=name)

    def _person(self) -> Subject:
        key = self._resident()
        while key in self._residents:
            key = self._resident()
        self._residents.add(key)
        self._history(key, 1)
        if self._rng.random() < 0.3:
            self._filing.person_statement(
                key,
                "近一年按期履约（示例）",
                stated=self._rng.randint(10, 300),
                score=self._rng.randint(350, 850),
            )
        return Subject(kind="NP", key=key, name=self._name())

    def _resident(self) -> str:
        rng = self._rng
        today = self._filing.today
        years = rng.randint(6, 16) if rng.random() < 0.03 else rng.randint(19, 75)
        born = date(today.year - years, 1, 1) + timedelta(days=rng.randint(0, 364))
        return resident_number(f"{rng.choice(_DIVISIONS)}{born:%Y%m%d}{rng.randint(1, 999):03d}")

    def _name(self) -> str:
        rng = self._rng
        return rng.choice(_SURNAMES) + rng.choice(_GIVEN) + rng.choice(_GIVEN)

    def _history(self, key: str, headcount: int) -> None:
        """What organisations, individual businesses and persons have in common."""
        rng, filing = self._rng, self._filing
        while rng.random() < 0.25:
            self._penalty(key)
        if rng.random() < 0.03:
            filing.serious(
                key,
                listed=rng.randint(400, 900),
                removed=self._maybe(0.4, 10, 390),
                situation=rng.randint(1, 4),
            )
        if rng.random() < 0.03:
            filing.enforcement(key, listed=rng.randint(400, 900), removed=self._maybe(0.4, 10, 390))
        if rng.random() < 0.08:
            filing.incentive(key, listed=rng.randint(200, 1500), removed=self._maybe(0.2, 10, 190))
        if rng.random() < 0.2:
            filing.commitment(key, self._outcome(), committed=rng.randint(90, 500), due=rng.randint(-90, 80))
        if rng.random() < 0.15:
            filing.hall_commitment(
                key,
                self._outcome(),
                committed=rng.randint(90, 500),
                due=rng.randint(-90, 80),
                kind=rng.choice(("PROOF", "APPROVAL", "SUPPLEMENT")),
            )
        if rng.random() < 0.1:
            filing.honour(key, awarded=rng.randint(30, 3000), rank=rng.randint(1, 4))
        if rng.random() < 0.04:
            filing.tax_arrears(
                key,
                self._amount(200_000),
                decided=rng.randint(20, 1500),
                kind=rng.choice(("TAX", "FEE", "FUND")),
            )
        if rng.random() < 0.3:
            filing.market_licence(
                key,
                rng.choice(("食品经营许可", "特种设备使用登记", "健康证明")),
                decided=rng.randint(10, 2500),
                valid_days=rng.choice((365, 1825, None)),
                withdrawn=self._maybe(0.03, 1, 9),
            )
        if rng.random() < 0.6:
            filing.tax_payments(
                key, [self._amount(90_000) for _ in range(12)], kind=rng.choice(("VAT", "CIT", "IIT"))
            )
        if rng.random() < 0.5:
            filing.insurance_payments(key, headcount)
        if rng.random() < 0.03:
            filing.insurance_arrears(key, self._amount(80_000), decided=rng.randint(20, 1500))
        if rng.random() < 0.35:
            filing.fund_payments(key, headcount, status=rng.choice(("NORMAL", "DEFERRED", "STOPPED")))

    def _operations(self, key: str) -> None:
        """What only organisations and individual businesses have."""
        rng, filing = self._rng, self._filing
        if rng.random() < 0.08:
            filing.abnormal(key, listed=rng.randint(400, 900), removed=self._maybe(0.6, 5, 390))
        if rng.random() < 0.7:
            filing.evaluation(key, rng.choice("ABBCCD"), evaluated=rng.randint(1, 500))
        if rng.random() < 0.1:
            filing.ecology_evaluation(key, rng.choice("1222345"), evaluated=rng.randint(1, 500))
        if rng.random() < 0.1:
            filing.builder_evaluation(
                key, rng.choice(("AAA", "AA", "A", "B", "C")), evaluated=rng.randint(1, 500)
            )
        if rng.random() < 0.06:
            filing.resource_licence(
                key,
                rng.choice(("MINING", "LAND", "PLANNING")),
                decided=rng.randint(100, 3000),
                valid_days=rng.choice((1095, 3650, None)),
            )
        if rng.random() < 0.4:
            filing.market_a(key, rng.choice(("AAA", "AA", "A", "BBB", "BB")), stated=rng.randint(5, 300))
        if rng.random() < 0.3:
            filing.market_b(key, rng.choice(("低风险", "中风险", "高风险", None)), stated=rng.randint(5, 300))
        if rng.random() < 0.08:
            filing.self_discipline(key, commends=rng.random() < 0.6, decided=rng.randint(10, 600))

    def _penalty(self, key: str) -> None:
        rng = self._rng
        degree = rng.choices(tuple(Degree), (30, 55, 15))[0]
        decided = rng.randint(120, 2200)
        self._filing.penalty(
            key,
            degree,
            decided=decided,
            conduct_ended=decided + rng.randint(1, 90),
            disputes=(rng.choice(_DISPUTES),) if rng.random() < 0.1 else (),
            repaired=self._maybe(0.25, 1, 25),
            withdrawn=self._maybe(0.05, 1, 90),
        )

    def _outcome(self) -> Outcome:
        return self._rng.choices(tuple(Outcome), (30, 55, 15))[0]

    def _amount(self, most: int) -> Decimal:
        return Decimal(self._rng.randint(100, most * 100)) / 100

    def _maybe(self, chance: float, least: int, most: int) -> int | None:
        """A number of days with that chance, else nothing; draws alike in both cases."""
        drawn, days = self._rng.random(), self._rng.randint(least, most)
        return days if drawn < chance else None


class _Dossiers:
    """Draws what `dossiers` files of a drawn subject."""

    def __init__(self, filing: Filing, rng: random.Random) -> None:
        self._filing = filing
        self._rng = rng

    def of(self, subject: Subject) -> None:
        """File what this kind of subject has; a body of government has contracts and its own dishonesty."""
        key = subject.key
        if subject.kind == "GOV":
            self._contract(key, "采购人")
            self._official_dishonesty(key)
            return
        self._acts(key)
        self._adverse(key)
        self._goods(key)
        if subject.kind == "NP":
            self._person(key)
        else:
            self._operations(key)
        if subject.kind == "ORG" and self._happens(0.05):
            dossiers.charity(self._filing, key, "慈善捐赠", done=self._days(2000))

    def _happens(self, chance: float) -> bool:
        return self._rng.random() < chance

    def _days(self, most: int, least: int = 20) -> int:
        return self._rng.randint(least, most)

    def _acts(self, key: str) -> None:
        if self._happens(0.3):
            kind = self._rng.choice(("行政检查", "行政确认", "行政给付", "行政征收"))
            dossiers.act(self._filing, key, kind, decided=self._days(2200))
        if self._happens(0.06):
            dossiers.reward(self._filing, key, awarded=self._days(2000))
        for level in ("city", "county"):
            if self._happens(0.05):
                dossiers.act(self._filing, key, "行政检查", decided=self._days(900), table=f"{level}_acts")
            if self._happens(0.03):
                dossiers.reward(self._filing, key, awarded=self._days(900), table=f"{level}_rewards")

    def _adverse(self, key: str) -> None:
        filing = self._filing
        if self._happens(0.04):
            kind = self._rng.choice(("行政强制措施", "行政强制执行"))
            dossiers.compulsion(filing, key, kind, decided=self._days(1500))
        if self._happens(0.06):
            dossiers.judgment(filing, key, self._rng.choice(tuple(Outcome)), decided=self._days(1500, 30))
        if self._happens(0.03):
            dossiers.false_statement(filing, key, "提供虚假材料", decided=self._days(1500))
        if self._happens(0.02) and not key.startswith("92"):
            dossiers.crime(filing, key, decided=self._days(2000, 400), term_ends=self._days(390, -300))
        for about in filing.records.penalties.get(key, []):
            if about.repaired is not None:
                dossiers.right(filing, key, "信用修复", about, "PENALTY", filed=40, table="repairs")
            elif about.disputes or about.withdrawn is not None:
                kind = "异议" if about.disputes else "撤销"
                dossiers.right(filing, key, kind, about, "PENALTY", filed=100)

    def _goods(self, key: str) -> None:
        filing = self._filing
        if self._happens(0.1):
            kind = self._rng.choice(("专利", "商标", "软件著作权", "地理标志"))
            dossiers.intellectual_property(
                filing, key, kind, registered=self._days(3000), pledged=self._happens(0.2)
            )
        if self._happens(0.05):
            outcome = self._rng.choice(tuple(Outcome))
            dossiers.portal_commitment(
                filing, key, outcome, committed=self._days(500, 90), due=self._days(80)
            )
        if self._happens(0.08):
            dossiers.voluntary(filing, key, declared=self._days(600), declared_open=self._happens(0.5))
        if self._happens(0.3):
            dossiers.credit_report(
                filing, key, accounts=self._rng.randint(1, 9), overdue=self._rng.choice((0, 0, 1))
            )

    def _operations(self, key: str) -> None:
        filing = self._filing
        tables = (
            "compliance",
            "city_compliance",
            "county_compliance",
            "annual_reports",
            "customs_compliance",
        )
        for table in tables:
            if self._happens(0.05):
                dossiers.compliance(filing, key, decided=self._days(1800), table=table)
        if key.startswith("12"):
            if self._happens(0.5):
                dossiers.compliance(filing, key, decided=self._days(700), table="institution_reports")
            if self._happens(0.4):
                dossiers.abnormal(filing, key, listed=self._days(900), table="abnormal_institutions")
        if key.startswith("5") and self._happens(0.3):
            dossiers.abnormal(filing, key, listed=self._days(900, 400), removed=self._days(300))
        if key.startswith("91") and self._happens(0.05):
            dossiers.customs_grade(filing, key, evaluated=self._days(900))
        if self._happens(0.1):
            self._contract(key, "供应商")
        if self._happens(0.03):
            dossiers.contract(filing, key, Outcome.PENDING, signed=100, due=-100, table="published_contracts")
        if self._happens(0.3):
            kind = self._rng.choice(("自来水", "电力", "燃气", "供热"))
            dossiers.utilities(filing, key, kind, months=3)
        if self._happens(0.05):
            dossiers.utilities(filing, key, "电力", months=2, table="shared_utilities")

    def _person(self, key: str) -> None:
        filing = self._filing
        if self._happens(0.3):
            dossiers.title(filing, key, awarded=self._days(4000), valid_days=self._rng.choice((1095, None)))
        if self._happens(0.15):
            dossiers.charity(filing, key, "志愿服务", done=self._days(1500))
        if self._happens(0.02):
            self._official_dishonesty(key)

    def _contract(self, key: str, role: str) -> None:
        signed = self._days(1200, 200)
        outcome = self._rng.choice(tuple(Outcome))
        dossiers.contract(self._filing, key, outcome, signed=signed, due=signed - self._days(190), role=role)

    def _official_dishonesty(self, key: str) -> None:
        origin = self._rng.choice(("司法裁判", "行政处罚", "处分", "问责处理"))
        dossiers.official_dishonesty(self._filing, key, decided=self._days(1500), origin=origin)
