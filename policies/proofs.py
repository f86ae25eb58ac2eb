"""What proves the conditions whose proof is a register: where each is looked up, and what its entry must say.

Every number that a condition accepts and the caller gave is looked up, and every entry must hold: nothing
that a caller adds can widen an answer.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from types import MappingProxyType

import msgspec

from policies.evidence import Evidence, Stage
from policies.registers import Entry, Reference, Register

TRADING = frozenset({Stage.NOTICE, Stage.BIDDING, Stage.REVIEW, Stage.AWARD})
"""The stages of a project between its notice and its award."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry is compared with: the caller's unit and officer, the subject, the evidence, the day.

    `subject` is a subject as `SubjectKey.hash_input` writes it; None in a search, which is about none.
    """

    unit: str
    officer: str | None
    subject: str | None
    evidence: Evidence
    today: date


class Findings(msgspec.Struct, frozen=True):
    """What registers said, as it counts on a day of the province: an entry, None for an unknown number, or a
    text: why there was no answer.
    """

    today: date
    entries: Mapping[Reference, Entry | str | None]


NOTHING_FOUND = Findings(date.min, MappingProxyType({}))
"""No register was asked: what hangs on one is denied."""


class Unmet(msgspec.Struct, frozen=True):
    """Why an entry does not prove a condition; `foreign`: the matter or subject is another unit's."""

    reason: str
    foreign: bool = False


Demand = Callable[[Entry, Claim], Unmet | None]


class Check(msgspec.Struct, frozen=True):
    """How a condition is proven: the evidence fields with their registers, and all that each entry must meet."""

    numbers: Mapping[str, Register]
    demands: tuple[Demand, ...]

    def references(self, evidence: Evidence) -> tuple[Reference, ...]:
        """What has to be looked up for the evidence as given."""
        return tuple(self._references(evidence))

    def _references(self, evidence: Evidence) -> Iterator[Reference]:
        for field, register in self.numbers.items():
            number = getattr(evidence, field)
            if number is not None:
                yield Reference(register, number)

    def unmet(self, entry: Entry | None, claim: Claim) -> Unmet | None:
        """Why the entry of a number does not prove the condition; None when it does."""
        if entry is None:
            return Unmet("the register does not hold the number")
        found = (demand(entry, claim) for demand in self.demands)
        return next(filter(None, found), None)


def _own(entry: Entry, claim: Claim) -> Unmet | None:
    if claim.unit in entry.units:
        return None
    return Unmet("it is another unit's", foreign=entry.reference.register in _UNITS_OWN)


_UNITS_OWN = frozenset({Register.MATTERS, Register.CASES, Register.METHODS})
"""Registers of what belongs to a unit's field."""


def _own_or_supervised(entry: Entry, claim: Claim) -> Unmet | None:
    if claim.unit in entry.units | entry.supervisors:
        return None
    return Unmet("the unit neither owns nor supervises it")


def _open(entry: Entry, _claim: Claim) -> Unmet | None:
    return None if entry.open else Unmet("it is closed")


def _in_force(entry: Entry, claim: Claim) -> Unmet | None:
    if not entry.open:
        return Unmet("it is closed")
    if entry.valid_from is not None and claim.today < entry.valid_from:
        return Unmet("it has not begun")
    if entry.valid_until is not None and claim.today > entry.valid_until:
        return Unmet("its time is over")
    return None


def _names_subject(entry: Entry, claim: Claim) -> Unmet | None:
    # A search is about no subject, nor is the log of all of them; the decision gives these none of the conditions
    # that tie one to the matter.
    if claim.subject is None or claim.subject in entry.subjects:
        return None
    return Unmet("it does not name the subject")


def _supervises_subject(entry: Entry, claim: Claim) -> Unmet | None:
    unmet = _names_subject(entry, claim)
    return unmet and Unmet("the subject is not among those that the unit supervises there", foreign=True)


def _role_agrees(entry: Entry, claim: Claim) -> Unmet | None:
    if (claim.subject, claim.evidence.role) in entry.roles:
        return None
    return Unmet("the subject has no such role there")


def _was_told(entry: Entry, claim: Claim) -> Unmet | None:
    told = claim.evidence.notified_on
    if told is not None and (claim.subject, told.isoformat()) in entry.roles:
        return None
    return Unmet("no notice to the subject on that day is registered")


def _matter_of_case(entry: Entry, claim: Claim) -> Unmet | None:
    if entry.reference.register is not Register.CASES or claim.evidence.matter_code in entry.covers:
        return None
    return Unmet("the case is not one of that matter")


def _stage_agrees(entry: Entry, claim: Claim) -> Unmet | None:
    return None if entry.stage == claim.evidence.stage else Unmet("it is at another stage")


def _trading(entry: Entry, _claim: Claim) -> Unmet | None:
    return None if entry.stage in TRADING else Unmet("it is not between notice and award")


def _final(entry: Entry, _claim: Claim) -> Unmet | None:
    return None if entry.stage == Stage.FINAL else Unmet("the final stage is not reached")


def _document_type(entry: Entry, claim: Claim) -> Unmet | None:
    return None if entry.kind == claim.evidence.document_type else Unmet("it is a document of another type")


def _in_cycle(entry: Entry, claim: Claim) -> Unmet | None:
    return None if claim.evidence.cycle in entry.covers else Unmet("the method has no such cycle")


def _comprehensive_or_own(entry: Entry, claim: Claim) -> Unmet | None:
    return None if entry.kind == "COMPREHENSIVE" else _own(entry, claim)


def _records_at_issue(entry: Entry, claim: Claim) -> Unmet | None:
    named = claim.evidence.record_ids
    if named and entry.covers.issuperset(named):
        return None
    return Unmet("it does not concern all of the records named")


def _second_officer(entry: Entry, claim: Claim) -> Unmet | None:
    if claim.officer is None:
        return Unmet("the token names no officer whom another could approve")
    if entry.approver is None or entry.approver == claim.officer:
        return Unmet("no second officer has approved")
    return None


def _approves_the_matter(entry: Entry, claim: Claim) -> Unmet | None:
    evidence = claim.evidence
    given = {evidence.case_number, evidence.recruitment_notice_number, evidence.award_notice_number} - {None}
    if given and entry.covers.issuperset(given):
        return None
    return Unmet("it approves another matter")


_CASE = {"case_number": Register.CASES}
_MATTER = {"matter_code": Register.MATTERS}
_PLAN = {"inspection_plan_number": Register.PLANS}
_PROJECT = {"project_number": Register.PROJECTS}
_PROGRAMME = {"programme_number": Register.PROGRAMMES}
_AWARD = {"award_notice_number": Register.AWARDS}
_RECRUITMENT = {"recruitment_notice_number": Register.RECRUITMENTS}
_METHOD = {"method_id": Register.METHODS}
_ISSUE = {"objection_number": Register.OBJECTIONS, "repair_number": Register.REPAIRS}

CHECKS: Mapping[str, Check] = {
    "MATTER": Check(_MATTER | _CASE, (_own, _in_force, _matter_of_case)),
    "APPLICANT": Check(_CASE | _PROGRAMME, (_in_force, _names_subject)),
    "OWN_FIELD": Check(_MATTER | _CASE, (_own,)),
    "OWN_FIELD_IF_INDUSTRY": Check(_METHOD, (_comprehensive_or_own,)),
    "PLAN": Check(_PLAN | _CASE, (_own, _in_force)),
    "OWN_SUBJECTS": Check(_PLAN | _CASE, (_supervises_subject,)),
    "CASE": Check(_CASE, (_own, _in_force)),
    # The unit is asked for here too: some rules about persons have no other tie between it and the project.
    "TENDER": Check(_PROJECT, (_own_or_supervised, _open, _stage_agrees)),
    "BIDDER": Check(_PROJECT, (_names_subject,)),
    "WINDOW": Check(_PROJECT, (_in_force, _trading)),
    "PURCHASER_OR_SUPERVISOR": Check(_PROJECT, (_own_or_supervised,)),
    "ROLE_IN_BID": Check(_PROJECT, (_role_agrees,)),
    "ROLE_IN_ORG": Check({"organisation_code": Register.ORGANISATIONS}, (_in_force, _role_agrees)),
    "PROGRAMME": Check(_PROGRAMME, (_own_or_supervised, _in_force)),
    "AWARD": Check(_AWARD, (_own_or_supervised, _in_force)),
    "CANDIDATE": Check(_RECRUITMENT | _AWARD, (_own_or_supervised, _in_force, _names_subject)),
    "STAGE_FINAL": Check(_RECRUITMENT, (_final, _stage_agrees)),
    "NOTICE": Check(_RECRUITMENT | _AWARD, (_was_told,)),
    "KEY_OCCUPATION": Check({"register_number": Register.PRACTITIONERS}, (_in_force, _names_subject)),
    "BASIS_DOC": Check({"document_number": Register.DOCUMENTS}, (_in_force, _document_type, _names_subject)),
    "METHOD": Check(_METHOD, (_in_force, _in_cycle)),
    "RECORD_AT_ISSUE": Check(_ISSUE, (_own_or_supervised, _in_force, _names_subject, _records_at_issue)),
    "OWN_RECORD": Check(_ISSUE, (_own, _records_at_issue)),
    "AUTH_PBOC": Check({"pboc_consent_id": Register.PBOC_CONSENTS}, (_own, _in_force, _names_subject)),
    "APPLICATION": Check({"application_number": Register.APPLICATIONS}, (_own, _in_force, _names_subject)),
    "CONTRACT_LIVE": Check({"contract_id": Register.CONTRACTS}, (_own, _in_force, _names_subject)),
    "ORDER": Check({"audit_order_number": Register.AUDIT_ORDERS}, (_own, _in_force, _names_subject)),
    "STUDY": Check({"study_number": Register.STUDIES}, (_own, _in_force)),
    "BATCH": Check({"batch_number": Register.BATCHES}, (_own, _in_force)),
    "DUAL": Check(
        {"approval_id": Register.APPROVALS}, (_own, _in_force, _second_officer, _approves_the_matter)
    ),
}
"""By condition code: every condition of a bundle that a register proves has its check here."""
