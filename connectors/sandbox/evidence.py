"""The evidence: what the sandbox's registers say of fixed numbers, the same under every seed.

Demonstrations and tests bring these numbers; all others are unknown. Days are before today, negative ones to
come. `all` stands for the whole cast.

==================================================  ==========================================================
number                                              what the register says
==================================================  ==========================================================
projects of the district's market regulation bureau, supervised by the credit authority
P-1, P-2026-0117, SANDBOX-2026-0117                 under review, award to come in 30 days; bidders: clean,
                                                    bidder-2 to bidder-5, individual; clean-person manages it
P-AWARDED                                           the same bidders, awarded 7 days ago
P-ELSEWHERE                                         the same bidders, bought by another district's bureau
P-STOPPED                                           the same bidders, terminated
matters, cases and plans of that bureau
M-1, 000131002000                                   power matters; M-ELSEWHERE is another district's
C-1                                                 open case in M-1 and 000131002000; parties: all
C-2                                                 the same, closed
C-ELSEWHERE                                         open case in M-ELSEWHERE of the other district's bureau
J-1                                                 open case of the court; parties: all
I-1                                                 inspection plan: all, and one code that is not registered
I-2                                                 the same, over since 10 days
I-3                                                 plan that begins in 10 days
I-4                                                 plan that draws clean and bidder-2 alone
I-ELSEWHERE                                         plan of the other district's bureau
I-REGISTERED                                        plan of everything that is registered
other registers of departments
G-1                                                 programme of the credit authority; applicants: clean, bidder-2
W-1                                                 award of the bureau and the credit authority; candidates: all;
                                                    clean-person was told 5 days ago
Z-1, Z-2                                            recruitments of the bureau, Z-1 final, Z-2 before; candidate
                                                    clean-person, told 5 days ago
L-1                                                 clean-person's entry among practitioners; L-2 is expired
D-1                                                 administrative decision about bidder-2 and defaulter
E-1, E-2                                            comprehensive method of the credit authority, industry method of
                                                    the other bureau; cycle 2026
O-1                                                 objection of bidder-5, its disputed penalty
R-1                                                 repair of bidder-3, its repaired penalty and X-1
AO-1, S-1, B-1                                      audit order, study and batch of the credit authority
AO-2                                                audit order of the credit authority that names subjects: all
V-1, V-2                                            approvals of C-1, J-1 and Z-1: by another officer, by the asking
clean's credit code                                 clean-person is its legal representative 法定代表人
registers of the bank
A-1, SANDBOX-LOAN-42                                live applications: clean, bidder-2, individual, adults
A-2                                                 application that was refused
A-ELSEWHERE                                         live application at another bank
K-1, K-2                                            contracts with clean: in force, ended
PB-1                                                consent of clean and clean-person under central bank rules
==================================================  ==========================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from connectors.sandbox.facts import Dispute
from connectors.sandbox.issuer import PERSONAS
from connectors.sandbox.population import CAST, Population

UNREGISTERED = "91990100FAKE09999U"
"""A code that is drawn in a plan and registered nowhere."""

_BUREAU = PERSONAS["market-regulation-bureau"].unit
_BANK = PERSONAS["first-bank"].unit
_COURT = PERSONAS["court"].unit
_AUTHORITY = PERSONAS["credit-authority"].unit
_OTHER_BUREAU = "11990200FAKE90063M"
_OTHER_BANK = "91990100FAKE900713"

_OFFICER = PERSONAS["market-regulation-bureau"].officer
_SECOND_OFFICER = "officer-0002"

_EVERYBODY = tuple(member.key for member in CAST.values())
_NUMBERS = tuple(member.registration_number for member in CAST.values() if member.registration_number)
_BIDDERS = tuple(
    CAST[role].key for role in ("clean", "bidder-2", "bidder-3", "bidder-4", "bidder-5", "individual")
)
_BORROWERS = tuple(
    CAST[role].key for role in ("clean", "bidder-2", "individual", "clean-person", "defaulter")
)
_PERSON = CAST["clean-person"].key


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a register says of a number; `subjects` are keys of any scheme, `roles` pair a person with a role."""

    register: str
    number: str
    begins: date
    ends: date
    units: tuple[str, ...]
    supervisors: tuple[str, ...] = ()
    open: bool = True
    stage: str | None = None
    kind: str | None = None
    approver: str | None = None
    subjects: tuple[str, ...] = ()
    roles: tuple[tuple[str, str], ...] = ()
    covers: tuple[str, ...] = ()

    @property
    def organisations(self) -> list[str]:
        """The credit codes among the subjects."""
        return [key for key in self.subjects if key not in _PERSONS and len(key) == 18]

    @property
    def persons(self) -> list[str]:
        """The resident numbers among the subjects."""
        return [key for key in self.subjects if key in _PERSONS]

    @property
    def registration_numbers(self) -> list[str]:
        """The former registration numbers among the subjects."""
        return [key for key in self.subjects if len(key) == 15]


_PERSONS = frozenset(member.key for member in CAST.values() if member.scheme == "resident")


def entries(population: Population) -> dict[str, dict[str, Entry]]:
    """Every entry, by register and number."""
    found: dict[str, dict[str, Entry]] = {}
    for entry in _Registrar(population).entries():
        found.setdefault(entry.register, {})[entry.number] = entry
    return found


class _Registrar:
    """Writes the entries, as of the day of a population."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._begins = population.today - timedelta(days=20)
        self._ends = population.today + timedelta(days=30)

    def entries(self) -> Iterator[Entry]:
        yield from self._projects()
        yield from self._matters()
        yield from self._plans()
        yield from self._selections()
        yield from self._documents()
        yield from self._rights()
        yield from self._orders()
        yield from self._bank()

    def _in_days(self, days: int) -> date:
        return self._population.today + timedelta(days=days)

    def _entry(
        self,
        register: str,
        number: str,
        *units: str,
        subjects: tuple[str, ...] = (),
        covers: tuple[str, ...] = (),
    ) -> Entry:
        return Entry(
            register=register,
            number=number,
            begins=self._begins,
            ends=self._ends,
            units=units,
            subjects=subjects,
            covers=covers,
        )

    def _projects(self) -> Iterator[Entry]:
        under_review = replace(
            self._entry("projects", "P-1", _BUREAU, subjects=_BIDDERS),
            supervisors=(_AUTHORITY,),
            stage="REVIEW",
            roles=((_PERSON, "项目负责人"),),
        )
        yield under_review
        for number in ("P-2026-0117", "SANDBOX-2026-0117"):
            yield replace(under_review, number=number)
        yield replace(under_review, number="P-AWARDED", stage="AWARD", ends=self._in_days(-7))
        yield replace(under_review, number="P-ELSEWHERE", units=(_OTHER_BUREAU,), supervisors=())
        yield replace(under_review, number="P-STOPPED", open=False)

    def _matters(self) -> Iterator[Entry]:
        for matter in ("M-1", "000131002000"):
            yield self._entry("matters", matter, _BUREAU)
        yield self._entry("matters", "M-ELSEWHERE", _OTHER_BUREAU)
        case = self._entry("cases", "C-1", _BUREAU, subjects=_EVERYBODY, covers=("M-1", "000131002000"))
        yield case
        yield replace(case, number="C-2", open=False)
        yield replace(case, number="C-ELSEWHERE", units=(_OTHER_BUREAU,), covers=("M-ELSEWHERE",))
        yield replace(case, number="J-1", units=(_COURT,), covers=())

    def _plans(self) -> Iterator[Entry]:
        drawn = (*_EVERYBODY, *_NUMBERS, UNREGISTERED)
        plan = self._entry("plans", "I-1", _BUREAU, subjects=drawn)
        yield plan
        yield replace(plan, number="I-2", ends=self._in_days(-10))
        yield replace(plan, number="I-3", begins=self._in_days(10))
        yield replace(plan, number="I-4", subjects=_BIDDERS[:2])
        yield replace(plan, number="I-ELSEWHERE", units=(_OTHER_BUREAU,))
        registered = tuple(self._population.records.registrations)
        yield replace(plan, number="I-REGISTERED", subjects=registered)

    def _selections(self) -> Iterator[Entry]:
        told = ((_PERSON, self._in_days(-5).isoformat()),)
        yield self._entry("programmes", "G-1", _AUTHORITY, subjects=_BIDDERS[:2])
        award = self._entry("awards", "W-1", _BUREAU, _AUTHORITY, subjects=_EVERYBODY)
        yield replace(award, roles=told)
        recruitment = self._entry("recruitments", "Z-1", _BUREAU, subjects=(_PERSON,))
        yield replace(recruitment, stage="FINAL", roles=told)
        yield replace(recruitment, number="Z-2", stage="REVIEW", roles=told)
        practitioner = self._entry("practitioners", "L-1", _BUREAU, subjects=(_PERSON,))
        yield practitioner
        yield replace(practitioner, number="L-2", ends=self._in_days(-1))
        organisation = self._entry("organisations", CAST["clean"].key)
        yield replace(organisation, roles=((_PERSON, "法定代表人"),))

    def _documents(self) -> Iterator[Entry]:
        subjects = (CAST["bidder-2"].key, CAST["defaulter"].key)
        yield replace(self._entry("documents", "D-1", _BUREAU, subjects=subjects), kind="行政处罚决定书")
        method = self._entry("methods", "E-1", _AUTHORITY, covers=("2026",))
        yield replace(method, kind="COMPREHENSIVE")
        yield replace(method, number="E-2", units=(_OTHER_BUREAU,), kind="INDUSTRY")

    def _rights(self) -> Iterator[Entry]:
        units = (_BUREAU, _COURT, _AUTHORITY)
        penalties = self._population.records.penalties
        objector, repaired = CAST["bidder-5"].key, CAST["bidder-3"].key
        disputed = tuple(fact.number for fact in penalties[objector] if Dispute.OBJECTION in fact.disputes)
        yield self._entry("objections", "O-1", *units, subjects=(objector,), covers=disputed)
        at_issue = (*(fact.number for fact in penalties[repaired]), "X-1")
        yield self._entry("repairs", "R-1", *units, subjects=(repaired,), covers=at_issue)

    def _orders(self) -> Iterator[Entry]:
        for register, number in (("audit-orders", "AO-1"), ("studies", "S-1"), ("batches", "B-1")):
            yield self._entry(register, number, _AUTHORITY)
        yield self._entry("audit-orders", "AO-2", _AUTHORITY, subjects=_EVERYBODY)
        approval = self._entry("approvals", "V-1", _BUREAU, _COURT, covers=("C-1", "J-1", "Z-1"))
        yield replace(approval, approver=_SECOND_OFFICER)
        yield replace(approval, number="V-2", approver=_OFFICER)

    def _bank(self) -> Iterator[Entry]:
        application = self._entry("applications", "A-1", _BANK, subjects=_BORROWERS)
        yield application
        yield replace(application, number="SANDBOX-LOAN-42")
        yield replace(application, number="A-2", open=False)
        yield replace(application, number="A-ELSEWHERE", units=(_OTHER_BANK,))
        contract = self._entry("contracts", "K-1", _BANK, subjects=_BIDDERS[:1])
        yield contract
        yield replace(contract, number="K-2", ends=self._in_days(-1))
        consenting = (CAST["clean"].key, _PERSON)
        yield self._entry("pboc-consents", "PB-1", _BANK, subjects=consenting)
