"""The decision: may this caller, for this purpose, on this evidence, learn this category of this subject?

Two pure steps. `decide` finds what is possible from the table, the token, the form of the evidence and the
request, and names the conditions that stay open. `close` settles those with what was verified meanwhile
(signed artefacts; registers later). Effective right = table ∩ token ∩ authorization ∩ request: each step can
only take away. Time is an argument.
"""

from collections.abc import Mapping

import msgspec

from policies.authorization import Authorization, Consent, check
from policies.bundle import Basis, Condition, Proof, RedLine
from policies.caller import Caller
from policies.catalogue import Registration, fields_of
from policies.evidence import Evidence, Stage, camel_case
from policies.identifiers import CREDIT_CODE, RESIDENT, SubjectKey
from policies.outcomes import Denied, Outcome
from policies.table import Cell, Table
from policies.vocabulary import Level, SubjectKind

CONSENT_OF = {
    "authorization": Consent.WRITTEN,
    "separate_consent": Consent.SEPARATE,
    "mandate": Consent.MANDATE,
}
"""Evidence fields that hold a signed artefact, and the kind of consent each must be."""

_TRADING = frozenset({Stage.NOTICE, Stage.BIDDING, Stage.REVIEW, Stage.AWARD})
_STAGES = {"TENDER": _TRADING, "WINDOW": _TRADING, "STAGE_FINAL": frozenset({Stage.FINAL})}
"""Conditions that hold at certain stages only, so that the stage declared can contradict them."""

_DISCHARGED_BY_SEARCH = frozenset({"VISIBLE", "NO_CACHE", "ONE_BY_ONE"})
"""Obligations that a search keeps: it shows filed registrations, keeps nothing and names no subject."""

_ROWS = (Level.MATCH, Level.HIT, Level.PUBLIC, Level.SUMMARY, Level.FULL)
"""Levels that answer with a subject's records."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One subject of an inquiry: what is asked of it and on what evidence.

    `sections` maps a category to the mask of the record fields asked. `subjects_in_operation` counts the
    distinct subjects of the whole operation, aliases included.
    """

    purpose: str
    subject: SubjectKey
    evidence: Evidence
    sections: Mapping[str, int]
    subjects_in_operation: int


class Proven(msgspec.Struct, frozen=True):
    """A condition of the rule and what proved it: token, identifier, catalogue, authorization or declared."""

    condition: str
    by: str


class Possible(msgspec.Struct, frozen=True, kw_only=True):
    """A section that the rules could give, once its open conditions are closed.

    `open` pairs a condition with the evidence field whose artefact must prove it.
    """

    cell: Cell
    asked: int
    proven: tuple[Proven, ...]
    open: tuple[tuple[str, str], ...]


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """A section that is given: the fields both asked and granted, and the obligations that bind the answer."""

    cell: Cell
    asked: int
    fields: int
    obligations: tuple[str, ...]
    proven: tuple[Proven, ...]


Decided = Mapping[str, Granted | Denied]
"""Category to its decision, for one question."""

Artefacts = Mapping[str, Authorization | str]
"""By evidence field: the verified artefact, or why it is not a genuine one."""


def decide(table: Table, caller: Caller, question: Question) -> dict[str, Possible | Denied]:
    """What is possible of each category asked, before anything is verified or fetched."""
    return {
        category: _decide_category(table, caller, question, category, asked)
        for category, asked in question.sections.items()
    }


def foresee(table: Table, caller: Caller, purpose: str, kind: SubjectKind, category: str) -> Cell | Denied:
    """What table and token say, whoever the subject and whatever the evidence."""
    bundle = table.bundle
    basis = bundle.purposes[purpose].basis
    # (1) the token
    if purpose not in caller.purposes:
        return Denied(
            code=Outcome.DENY_PURPOSE,
            basis=basis,
            remedy="Ask the issuer for a token that allows this purpose.",
        )
    if caller.categories is not None and category not in caller.categories:
        return Denied(
            code=Outcome.DENY_CATEGORY,
            basis=basis,
            remedy="Ask the issuer for a token that allows this category.",
        )
    # (2) the table: default deny
    cell = table.cell(caller.type, purpose, kind, category)
    if isinstance(cell, RedLine):
        return Denied(
            code=Outcome.DENY_PROHIBITED, basis=cell.basis, remedy="Nothing makes this lawful.", rule=cell.id
        )
    if cell is None:
        return _no_rule(table, caller, purpose, kind, category, basis)
    # (3) levels that are another shape of answer hold no records of a subject
    if cell.level not in _ROWS:
        return Denied(
            code=Outcome.DENY_PURPOSE,
            basis=cell.rule.basis,
            remedy=f"This purpose answers at level {cell.level}, which shows no records of a subject.",
            rule=cell.rule.id,
        )
    return cell


def _no_rule(
    table: Table, caller: Caller, purpose: str, kind: SubjectKind, category: str, basis: tuple[Basis, ...]
) -> Denied:
    kinds = table.reach.get((caller.type, purpose))
    if kinds is None:
        open_to = ", ".join(table.purposes_of(caller.type)) or "none"
        return Denied(
            code=Outcome.DENY_PURPOSE, basis=basis, remedy=f"Purposes open to a {caller.type}: {open_to}."
        )
    giving = table.purposes_giving(caller.type, kind, category)
    remedy = (
        f"For this kind of subject a {caller.type} gets {category} only for: {', '.join(giving)}."
        if giving
        else f"No purpose gives a {caller.type} {category} of this kind of subject."
    )
    code = Outcome.DENY_CATEGORY if kind in kinds else Outcome.DENY_SUBJECT_KIND
    return Denied(code=code, basis=basis, remedy=remedy)


def _decide_category(
    table: Table, caller: Caller, question: Question, category: str, asked: int
) -> Possible | Denied:
    subject = question.subject
    cell = foresee(table, caller, question.purpose, subject.kind, category)
    if isinstance(cell, Denied):
        return cell
    # (4) a token for synthetic subjects reaches no other
    if caller.synthetic_only and not subject.synthetic:
        return _denied(
            cell, Outcome.DENY_PURPOSE, "This token reaches synthetic subjects (division 99) only."
        )
    # (5) obligations that concern the whole operation
    if "ONE_BY_ONE" in cell.rule.obligations and question.subjects_in_operation > 1:
        return _denied(cell, Outcome.DENY_BULK, "Ask about one subject in an operation.", "ONE_BY_ONE")
    # (6) the rule's conditions
    proven: list[Proven] = []
    still_open: list[tuple[str, str]] = []
    for code in cell.rule.conditions:
        condition = table.bundle.conditions[code]
        found = _look_at(table, condition, cell, caller, subject, question.evidence)
        if isinstance(found, Denied):
            return found
        if isinstance(found, Proven):
            proven.append(found)
        else:
            still_open += [(code, field) for field in found]
    return Possible(cell=cell, asked=asked, proven=tuple(proven), open=tuple(still_open))


def _look_at(
    table: Table,
    condition: Condition,
    cell: Cell,
    caller: Caller,
    subject: SubjectKey | None,
    evidence: Evidence,
) -> Proven | tuple[str, ...] | Denied:
    """One condition: proven, open (the evidence fields whose artefacts must prove it), or denied."""
    match condition.proof:
        case Proof.TOKEN:
            if subject is not None and _is_self(caller, subject):
                return Proven(condition.code, "token")
            if caller.type == "AGENT" and evidence.mandate is not None:
                return ("mandate",)
            return _unmet(cell, condition, Outcome.DENY_NO_AUTHORISATION)
        case Proof.IDENTIFIER:
            if subject is not None and subject.synthetic:
                return Proven(condition.code, "identifier")
            return _unmet(cell, condition, Outcome.DENY_PURPOSE)
        case Proof.AUTHORIZATION:
            fields = _given(condition, evidence)
            if fields and CONSENT_OF.keys() >= set(fields):
                return fields
            return _unmet(cell, condition, Outcome.DENY_NO_AUTHORISATION)
        case Proof.CATALOGUE:
            if _given(condition, evidence) and _listed(table, evidence, condition):
                return Proven(condition.code, "catalogue")
            law = "instrument" in _wanted(condition)
            return _unmet(cell, condition, Outcome.DENY_LAW_NAMED if law else Outcome.DENY_EVIDENCE)
        case Proof.REGISTER if condition.code not in table.bundle.declared_is_enough:
            return _denied(
                cell, Outcome.DENY_EVIDENCE, "The register that proves this is not connected.", condition.code
            )
        case _:
            if _given(condition, evidence) and _at_its_stage(condition, evidence):
                return Proven(condition.code, "declared")
            return _unmet(cell, condition, Outcome.DENY_EVIDENCE)


def _is_self(caller: Caller, subject: SubjectKey) -> bool:
    identity = caller.identity
    if identity is None:
        return False
    if subject.scheme == CREDIT_CODE:
        return identity.credit_code == subject.value
    return (
        subject.scheme == RESIDENT
        and identity.resident_number == subject.value
        and identity.name == subject.name
    )


def _given(condition: Condition, evidence: Evidence) -> tuple[str, ...]:
    """The first alternative of the condition's evidence that is there in full; empty: nothing shows it."""
    complete = (
        fields
        for fields in condition.evidence
        if all(getattr(evidence, field) is not None for field in fields)
    )
    return next(complete, ())


def _at_its_stage(condition: Condition, evidence: Evidence) -> bool:
    return condition.code not in _STAGES or evidence.stage in _STAGES[condition.code]


def _wanted(condition: Condition) -> set[str]:
    return {field for fields in condition.evidence for field in fields}


def _listed(table: Table, evidence: Evidence, condition: Condition) -> bool:
    """Whether the bundle itself lists what the evidence names: a law in force, a measure."""
    wanted = _wanted(condition)
    if "instrument" in wanted:
        return evidence.instrument in table.laws
    return "measure_id" in wanted and evidence.measure_id in table.bundle.measures


def _unmet(cell: Cell, condition: Condition, code: Outcome) -> Denied:
    needed = " or ".join(" and ".join(map(camel_case, fields)) for fields in condition.evidence)
    remedy = f"{condition.remedy} Evidence: {needed}." if needed else condition.remedy
    return _denied(cell, code, remedy, condition.code)


def _denied(cell: Cell, code: Outcome, remedy: str, condition: str | None = None) -> Denied:
    return Denied(code=code, basis=cell.rule.basis, remedy=remedy, rule=cell.rule.id, condition=condition)


def close(
    table: Table, caller: Caller, question: Question, possible: Possible, artefacts: Artefacts, now: int
) -> Granted | Denied:
    """Settle the open conditions of a possible section with the verified artefacts; `now` in seconds since 1970."""
    proven = list(possible.proven)
    cell = possible.cell
    for code, field in possible.open:
        condition = table.bundle.conditions[code]
        artefact = artefacts[field]
        if isinstance(artefact, str):
            remedy = f"{condition.remedy} What came is not one: {artefact}."
            return _denied(cell, Outcome.DENY_NO_AUTHORISATION, remedy, condition.code)
        refusal = check(
            artefact,
            consent=CONSENT_OF[field],
            grantee=caller.unit,
            subject_key=(question.subject.scheme, question.subject.value),
            purpose=question.purpose,
            category=cell.category,
            now=now,
        )
        # Another person's number under this name: nothing is told of the authorization's period either.
        if refusal != "DENY_NO_AUTHORISATION" and artefact.subject_name != question.subject.name:
            refusal = "DENY_NO_AUTHORISATION_SCOPE"
        if refusal is not None:
            return _unmet(cell, condition, Outcome(refusal))
        proven.append(Proven(code, f"authorization {artefact.authorization_id}"))
    return Granted(
        cell=cell,
        asked=possible.asked,
        fields=possible.asked & cell.fields,
        obligations=cell.rule.obligations,
        proven=tuple(proven),
    )


def decide_search(table: Table, caller: Caller, purpose: str, evidence: Evidence) -> Denied | None:
    """Whether the caller may find organisations by name: a read of the published part of their registration.

    A search is about no subject, so a rule that ties the subject to the matter gives none.
    """
    cell = foresee(table, caller, purpose, SubjectKind.ORG, "REG_ORG")
    if isinstance(cell, Denied):
        return cell
    if cell.fields & _FOUND != _FOUND:
        return _denied(cell, Outcome.DENY_CATEGORY, "Search under a purpose that shows name and credit code.")
    for code in cell.rule.conditions:
        condition = table.bundle.conditions[code]
        if condition.about_subject:
            remedy = "A search is about no subject: search under another purpose, then ask for the subject by its code."
            return _denied(cell, Outcome.DENY_EVIDENCE, remedy, code)
        found = _look_at(table, condition, cell, caller, None, evidence)
        if isinstance(found, Denied):
            return found
        if not isinstance(found, Proven):
            return _unmet(cell, condition, Outcome.DENY_NO_AUTHORISATION)
    for code in cell.rule.obligations:
        if code not in _DISCHARGED_BY_SEARCH:
            return _denied(
                cell,
                Outcome.DENY_OBLIGATION,
                "Ask for the subject by its code: a search cannot keep it.",
                code,
            )
    return None


_FOUND = sum(
    1 << bit
    for bit, field in enumerate(fields_of(Registration))
    if field.name in ("name", "credit_code", "status", "city")
)
