"""Applying: may this measure be taken on what that inquiry gave?

The second half of the matter, pure. A measure must stand on the list, be within the powers of the unit that
asked, rest on what its own inquiry gave about that very subject, and not go beyond the degree of the records.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from policies.bundle import Basis, Bundle, Measure
from policies.caller import Caller
from policies.identifiers import SubjectKey
from policies.outcomes import Denied, Outcome
from policies.vocabulary import SectionState, SubjectKind

_DEPARTMENTS_CASES = re.compile(r"S[0-9]|M")
"""Cases in which departments inquire and apply: the statutory ones, and lists and measures."""


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What an inquiry gave of one category: its outcome and state, and the conditions that were proven."""

    category: str
    outcome: str
    state: str | None = None
    proven: tuple[str, ...] = ()

    @property
    def holds_records(self) -> bool:
        """Whether the caller was given records of it."""
        return self.outcome.startswith(Outcome.PERMIT) and self.state == SectionState.HAS


class PastInquiry(msgspec.Struct, frozen=True, kw_only=True):
    """An inquiry as the ledger holds it; `given` is by the subject's keyed hash, then by category."""

    unit: str
    purpose: str
    given: Mapping[str, Mapping[str, Given]]


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """A measure that is to be recorded: `category` is the one whose records it rests on, `subject_hash` the subject
    as the ledger knows it.
    """

    subject: SubjectKey
    subject_hash: str
    measure: str
    category: str


def past_inquiry(row: Mapping[str, Any]) -> PastInquiry:
    """The inquiry of a row of the ledger. A subject that was asked twice was given what either asking gave."""
    given: dict[str, dict[str, Given]] = {}
    for subject in row["subjects"]:
        of_subject = given.setdefault(subject["subject"], {})
        for section in subject["sections"]:
            found = Given(
                category=section["category"],
                outcome=section["outcome"],
                state=section.get("state"),
                proven=tuple(proven["condition"] for proven in section.get("proven", ())),
            )
            kept = of_subject.get(found.category)
            if kept is None or not kept.holds_records:
                of_subject[found.category] = found
    return PastInquiry(unit=row["caller"]["unit"], purpose=row["purpose"], given=given)


def refuse_application(
    bundle: Bundle, caller: Caller, application: Application, inquiry: PastInquiry | None, *, repeated: bool
) -> Denied | None:
    """Why the measure may not be recorded; None when it may.

    `inquiry` is None when the ledger holds none with that receipt; `repeated`: it is recorded already.
    """
    measure = bundle.measures.get(application.measure)
    # (1) the list
    if measure is None:
        return _refused(Outcome.DENY_MEASURE, (), "Take a measure of the list only: `measures` shows it.")
    # (2) the powers of the unit
    if not bundle.callers[caller.type].department:
        return _refused(Outcome.DENY_MEASURE, measure.basis, "Only departments take measures of the list.")
    if caller.synthetic_only and not application.subject.synthetic:
        remedy = "This token reaches synthetic subjects (division 99) only."
        return _refused(Outcome.DENY_PURPOSE, measure.basis, remedy)
    # (3) its own inquiry; another unit's looks like none
    if inquiry is None or inquiry.unit != caller.unit:
        remedy = "Name the receipt of an inquiry that your unit made."
        return _refused(Outcome.DENY_EVIDENCE, measure.basis, remedy)
    purpose = bundle.purposes.get(inquiry.purpose)
    if purpose is None or not _DEPARTMENTS_CASES.fullmatch(purpose.case):
        remedy = (
            "Inquire for a statutory purpose, or to check the measure: no measure follows from another one."
        )
        return _refused(Outcome.DENY_PURPOSE, measure.basis, remedy)
    if inquiry.purpose not in caller.purposes:
        remedy = "Ask the issuer for a token that allows the purpose of the inquiry."
        return _refused(Outcome.DENY_PURPOSE, purpose.basis, remedy)
    # (4) what it gave, and how grave that is
    return _beyond(bundle, application, measure, inquiry) or (
        _refused(Outcome.DENY_REPEATED, measure.basis, "Nothing is to be done: the first application stands.")
        if repeated
        else None
    )


def _beyond(
    bundle: Bundle, application: Application, measure: Measure, inquiry: PastInquiry
) -> Denied | None:
    needed = ", ".join(measure.requires)
    if application.category not in measure.requires:
        remedy = f"This measure rests on a record of {needed} only."
        return _refused(Outcome.DENY_DEGREE, measure.basis, remedy)
    given = inquiry.given.get(application.subject_hash, {}).get(application.category)
    if given is None or not given.holds_records:
        remedy = f"Inquire about this subject first: the inquiry has to give a record of {needed}."
        return _refused(Outcome.DENY_EVIDENCE, measure.basis, remedy)
    if application.subject.kind is SubjectKind.NP and "LAW_NAMED" not in given.proven:
        condition = bundle.conditions.get("LAW_NAMED")
        remedy = (
            condition.remedy if condition else "No measure is taken against a person without a named law."
        )
        return _refused(Outcome.DENY_LAW_NAMED, measure.basis, remedy)
    return None


def _refused(code: Outcome, basis: tuple[Basis, ...], remedy: str) -> Denied:
    return Denied(code=code, basis=basis, remedy=remedy)
