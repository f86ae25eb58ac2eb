"""The decision: may this caller, for this purpose, on this evidence, learn this category of this subject?

Two pure steps. `decide` finds what is possible from the table, the token, the form of the evidence and the
request, and names the conditions that stay open. `close` settles those with what was verified meanwhile
(signed artefacts first, then entries of registers). Effective right = table ∩ token ∩ authorization ∩ request: each step can
only take away. Time is an argument.
"""

from collections.abc import Mapping

import msgspec

from policies.authorization import Authorization, Consent, check
from policies.bundle import Basis, Bundle, Condition, Proof, RedLine
from policies.caller import Caller
from policies.catalogue import Registration, fields_of
from policies.evidence import Evidence, Stage, camel_case
from policies.identifiers import CREDIT_CODE, RESIDENT, SubjectKey
from policies.outcomes import Denied, Outcome
from policies.proofs import CHECKS, NOTHING_FOUND, TRADING, Claim, Findings
from policies.registers import Reference, Register
from policies.table import Cell, Table
from policies.vocabulary import Level, SubjectKind

CONSENT_OF = {
    "authorization": Consent.WRITTEN,
    "separate_consent": Consent.SEPARATE,
    "mandate": Consent.MANDATE,
}
"""Evidence fields that hold a signed artefact, and the kind of consent each must be."""

_STAGES = {"TENDER": TRADING, "WINDOW": TRADING, "STAGE_FINAL": frozenset({Stage.FINAL})}
"""Conditions that hold at certain stages only, so that the stage declared can contradict them."""

_DISCHARGED_BY_SEARCH = frozenset({"VISIBLE", "NO_CACHE", "ONE_BY_ONE"})
"""Obligations that a search keeps: it shows filed registrations, keeps nothing and names no subject."""

_ROWS = (Level.MATCH, Level.HIT, Level.PUBLIC, Level.SUMMARY, Level.PASS_THROUGH, Level.FULL)
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
    """A condition of the rule and what proved it: token, identifier, catalogue, authorization, register or declared."""

    condition: str
    by: str


class Possible(msgspec.Struct, frozen=True, kw_only=True):
    """A section that the rules could give, once its open conditions are closed.

    `open` pairs a condition with the evidence field whose artefact must prove it, `references` one with a
    number whose entry in a register must.
    """

    cell: Cell
    asked: int
    proven: tuple[Proven, ...]
    open: tuple[tuple[str, str], ...]
    references: tuple[tuple[str, Reference], ...] = ()


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
    decided: dict[str, Possible | Denied] = {}
    # One rule gives several categories on the same conditions: they are looked at once.
    looked_at: dict[str, _Looked | Denied] = {}
    for category, asked in question.sections.items():
        cell = foresee(table, caller, question.purpose, question.subject.kind, category)
        if isinstance(cell, Denied):
            decided[category] = cell
            continue
        found = looked_at.get(cell.rule.id)
        if found is None:
            found = looked_at[cell.rule.id] = _look_at_conditions(table, caller, question, cell)
        decided[category] = (
            found
            if isinstance(found, Denied)
            else Possible(
                cell=cell, asked=asked, proven=found.proven, open=found.open, references=found.references
            )
        )
    return decided


def foresee(table: Table, caller: Caller, purpose: str, kind: SubjectKind, category: str) -> Cell | Denied:
    """What division, token and table say, whoever the subject and whatever the evidence."""
    cell = _by_caller_and_table(table, caller, purpose, kind, category)
    # (4) levels that are another shape of answer hold no records of a subject
    if isinstance(cell, Cell) and cell.level not in _ROWS:
        return Denied(
            code=Outcome.DENY_PURPOSE,
            basis=cell.rule.basis,
            remedy=f"This purpose answers at level {cell.level}, which shows no records of a subject.",
            rule=cell.rule.id,
        )
    return cell


def _by_caller_and_table(
    table: Table, caller: Caller, purpose: str, kind: SubjectKind, category: str
) -> Cell | Denied:
    bundle = table.bundle
    basis = bundle.purposes[purpose].basis
    # (1) the province: its rules give nothing to the departments of another one
    if outside_jurisdiction(bundle, caller):
        return Denied(
            code=Outcome.DENY_JURISDICTION,
            basis=basis,
            remedy="Ask through the gateway of the unit's own province, or through the national platform.",
        )
    # (2) the token
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
    # (3) the table: default deny
    cell = table.cell(caller.type, purpose, kind, category)
    if isinstance(cell, RedLine):
        return Denied(
            code=Outcome.DENY_PROHIBITED, basis=cell.basis, remedy="Nothing makes this lawful.", rule=cell.id
        )
    if cell is None:
        return _no_rule(table, caller, purpose, kind, category, basis)
    return cell


_CENTRAL = "000000"
"""Division of the units of the central government."""


def outside_jurisdiction(bundle: Bundle, caller: Caller) -> bool:
    """Whether the caller is a department of another province than the bundle's, by the first two digits of its
    division (GB/T 2260). Central units, units without a division and callers that are no department have none.
    """
    own = bundle.callers.get(caller.type)
    if own is None or not own.department or caller.division in (None, _CENTRAL):
        return False
    return caller.division[:2] != bundle.province[:2]


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


class _Looked(msgspec.Struct, frozen=True):
    """The conditions of a rule that nothing denies: what is proven, and what is open."""

    proven: tuple[Proven, ...]
    open: tuple[tuple[str, str], ...]
    references: tuple[tuple[str, Reference], ...]


def _look_at_conditions(table: Table, caller: Caller, question: Question, cell: Cell) -> _Looked | Denied:
    """What the subject and the evidence say of a rule; the same for all of its cells about this kind of subject."""
    subject = question.subject
    # (5) a token for synthetic subjects reaches no other
    if caller.synthetic_only and not subject.synthetic:
        return _denied(
            cell, Outcome.DENY_PURPOSE, "This token reaches synthetic subjects (division 99) only."
        )
    # (6) obligations that concern the whole operation
    if "ONE_BY_ONE" in cell.rule.obligations and question.subjects_in_operation > 1:
        return _denied(cell, Outcome.DENY_BULK, "Ask about one subject in an operation.", "ONE_BY_ONE")
    # (7) the rule's conditions
    proven: list[Proven] = []
    still_open: list[tuple[str, str]] = []
    references: list[tuple[str, Reference]] = []
    for code in cell.rule.conditions:
        condition = table.bundle.conditions[code]
        found = _look_at(table, condition, cell, caller, subject, question.evidence)
        if isinstance(found, Denied):
            return found
        if isinstance(found, Proven):
            proven.append(found)
        else:
            still_open += [(code, field) for field in found.artefacts]
            references += [(code, reference) for reference in found.references]
    return _Looked(tuple(proven), tuple(still_open), tuple(references))


class _Open(msgspec.Struct, frozen=True):
    """What must prove a condition: the artefacts in these evidence fields, the entries of these numbers."""

    artefacts: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()


def _look_at(
    table: Table,
    condition: Condition,
    cell: Cell,
    caller: Caller,
    subject: SubjectKey | None,
    evidence: Evidence,
) -> Proven | _Open | Denied:
    """One condition: proven, open or denied."""
    match condition.proof:
        case Proof.TOKEN:
            if subject is not None and is_self(caller, subject):
                return Proven(condition.code, "token")
            if caller.type == "AGENT" and evidence.mandate is not None:
                return _Open(artefacts=("mandate",))
            return _unmet(cell, condition, Outcome.DENY_NO_AUTHORISATION)
        case Proof.IDENTIFIER:
            if subject is not None and subject.synthetic:
                return Proven(condition.code, "identifier")
            return _unmet(cell, condition, Outcome.DENY_PURPOSE)
        case Proof.AUTHORIZATION:
            fields = _given(condition, evidence)
            if fields and CONSENT_OF.keys() >= set(fields):
                return _Open(artefacts=fields)
            return _unmet(cell, condition, Outcome.DENY_NO_AUTHORISATION)
        case Proof.CATALOGUE:
            if _given(condition, evidence) and _listed(table, evidence, condition):
                return Proven(condition.code, "catalogue")
            law = "instrument" in _wanted(condition)
            return _unmet(cell, condition, Outcome.DENY_LAW_NAMED if law else Outcome.DENY_EVIDENCE)
        case Proof.REGISTER if condition.code not in table.bundle.declared_is_enough:
            references = CHECKS[condition.code].references(evidence)
            if references and _given(condition, evidence) and _at_its_stage(condition, evidence):
                return _Open(references=references)
            return _unmet(cell, condition, Outcome.DENY_EVIDENCE)
        case _:
            if _given(condition, evidence) and _at_its_stage(condition, evidence):
                return Proven(condition.code, "declared")
            return _unmet(cell, condition, Outcome.DENY_EVIDENCE)


def is_self(caller: Caller, subject: SubjectKey) -> bool:
    """Whether the caller is the subject itself: its number and, of a person, the name are those of the token."""
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


def check_all_proven(bundle: Bundle) -> None:
    """Refuse to start with a register's condition that nothing proves: `ValueError` names it."""
    for condition in bundle.conditions.values():
        if (
            condition.proof is Proof.REGISTER
            and condition.code not in CHECKS.keys() | bundle.declared_is_enough
        ):
            raise ValueError(f"no check proves the condition {condition.code} of the bundle {bundle.name}")


def verify(
    table: Table, caller: Caller, question: Question, possible: Possible, artefacts: Artefacts, now: int
) -> Possible | Denied:
    """Settle what the verified artefacts must prove; `now` in seconds since 1970.

    Of what stays possible the references are still to be looked up: every authorization's own among them,
    because it may have been withdrawn.
    """
    proven = list(possible.proven)
    references = list(possible.references)
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
        references.append((code, Reference(Register.AUTHORIZATIONS, artefact.authorization_id)))
    return msgspec.structs.replace(possible, proven=tuple(proven), open=(), references=tuple(references))


def close(
    table: Table,
    caller: Caller,
    question: Question,
    possible: Possible,
    artefacts: Artefacts,
    now: int,
    findings: Findings = NOTHING_FOUND,
) -> Granted | Denied:
    """Settle all that is open of a possible section: with the verified artefacts, then with the registers' entries."""
    verified = verify(table, caller, question, possible, artefacts, now) if possible.open else possible
    if isinstance(verified, Denied):
        return verified
    cell, subject = verified.cell, question.subject.hash_input
    proven = list(verified.proven)
    for code, reference in verified.references:
        unmet = _unmet_by_register(table, cell, caller, subject, question.evidence, code, reference, findings)
        if unmet is not None:
            return unmet
        if reference.register is not Register.AUTHORIZATIONS:
            proven.append(Proven(code, f"register {reference.register}"))
    return _granted(possible, tuple(proven))


def _granted(possible: Possible, proven: tuple[Proven, ...]) -> Granted:
    return Granted(
        cell=possible.cell,
        asked=possible.asked,
        fields=possible.asked & possible.cell.fields,
        obligations=possible.cell.rule.obligations,
        proven=proven,
    )


def close_all(
    table: Table,
    caller: Caller,
    question: Question,
    parts: Mapping[str, Possible | Denied],
    now: int,
    findings: Findings,
) -> dict[str, Granted | Denied]:
    """Close every section of a question whose artefacts are verified. What one rule hangs on is looked at once."""
    closed: dict[str, Granted | Denied] = {}
    # By identity: the sections of one rule share what `decide` found of its conditions.
    looked_at: dict[int, tuple[Possible, Granted | Denied]] = {}
    for category, part in parts.items():
        if isinstance(part, Denied):
            closed[category] = part
            continue
        known = looked_at.get(id(part.references))
        if known is None or known[0].cell.rule is not part.cell.rule:
            known = part, close(table, caller, question, part, {}, now, findings)
            looked_at[id(part.references)] = known
        decision = known[1]
        if isinstance(decision, Granted) and known[0] is not part:
            decision = _granted(part, decision.proven)
        closed[category] = decision
    return closed


def _unmet_by_register(
    table: Table,
    cell: Cell,
    caller: Caller,
    subject: str | None,
    evidence: Evidence,
    code: str,
    reference: Reference,
    findings: Findings,
) -> Denied | None:
    """Why what a register says of a number does not prove the condition; None when it does."""
    condition = table.bundle.conditions[code]
    # Where no source keeps withdrawals, an authorization holds until it expires; all else must have been asked.
    unasked = None if reference.register is Register.AUTHORIZATIONS else "it was not asked"
    found = findings.entries.get(reference, unasked)
    if isinstance(found, str):
        remedy = f"{condition.remedy} The register that proves it gave no answer: {found}."
        return _denied(cell, Outcome.DENY_EVIDENCE, remedy, code)
    if reference.register is Register.AUTHORIZATIONS:
        # One that its register does not hold was not withdrawn.
        withdrawn = found is not None and not found.open
        return _unmet(cell, condition, Outcome.DENY_NO_AUTHORISATION_REVOKED) if withdrawn else None
    claim = Claim(
        unit=caller.unit, officer=caller.officer, subject=subject, evidence=evidence, today=findings.today
    )
    unmet = CHECKS[code].unmet(found, claim)
    if unmet is None:
        return None
    outcome = Outcome.DENY_NOT_DEPARTMENT_MATTER if unmet.foreign else Outcome.DENY_EVIDENCE
    remedy = f"{condition.remedy} What was given does not show it: {unmet.reason}."
    return _denied(cell, outcome, remedy, code)


def decide_search(
    table: Table, caller: Caller, purpose: str, evidence: Evidence, findings: Findings = NOTHING_FOUND
) -> Denied | None:
    """Whether the caller may find organisations by name: a read of the published part of their registration.

    A search is about no subject, so a rule that ties the subject to the matter gives none.
    """
    cell = foresee(table, caller, purpose, SubjectKind.ORG, "REG_ORG")
    if isinstance(cell, Denied):
        return cell
    if cell.fields & _FOUND != _FOUND:
        return _denied(cell, Outcome.DENY_CATEGORY, "Search under a purpose that shows name and credit code.")
    remedy = (
        "A search is about no subject: search under another purpose, then ask for the subject by its code."
    )
    unmet = _unmet_without_subject(table, cell, caller, evidence, remedy, findings)
    if unmet is not None:
        return unmet
    for code in cell.rule.obligations:
        if code not in _DISCHARGED_BY_SEARCH:
            return _denied(
                cell,
                Outcome.DENY_OBLIGATION,
                "Ask for the subject by its code: a search cannot keep it.",
                code,
            )
    return None


def rule_of_search(table: Table, caller: Caller, purpose: str) -> str | None:
    """The rule by which `decide_search` decides; None where there is none."""
    cell = foresee(table, caller, purpose, SubjectKind.ORG, "REG_ORG")
    return cell.rule.id if isinstance(cell, Cell) else None


def decide_without_subject(
    table: Table,
    caller: Caller,
    purpose: str,
    kind: SubjectKind,
    category: str,
    evidence: Evidence,
    *,
    levels: frozenset[Level],
    findings: Findings = NOTHING_FOUND,
) -> Cell | Denied:
    """Whether the caller may learn of a category what is about no one subject: counts, the log of inquiries.

    `levels` are those at which the rule has to answer; whether its obligations can be kept is the caller's to see.
    """
    cell = _by_caller_and_table(table, caller, purpose, kind, category)
    if isinstance(cell, Denied):
        return cell
    if cell.level not in levels:
        remedy = f"This purpose answers at level {cell.level}: ask for a subject by its identifier."
        return _denied(cell, Outcome.DENY_PURPOSE, remedy)
    remedy = "This is about no subject: ask under another purpose, or for a subject by its identifier."
    return _unmet_without_subject(table, cell, caller, evidence, remedy, findings) or cell


def references_of_search(
    table: Table, caller: Caller, purpose: str, evidence: Evidence
) -> tuple[Reference, ...]:
    """What the registers have to be asked before `decide_search` can allow; nothing, where it denies anyway."""
    cell = foresee(table, caller, purpose, SubjectKind.ORG, "REG_ORG")
    if isinstance(cell, Denied) or cell.fields & _FOUND != _FOUND:
        return ()
    if not _DISCHARGED_BY_SEARCH.issuperset(cell.rule.obligations):
        return ()
    return references_without_subject(table, caller, purpose, SubjectKind.ORG, "REG_ORG", evidence)


def references_without_subject(
    table: Table, caller: Caller, purpose: str, kind: SubjectKind, category: str, evidence: Evidence
) -> tuple[Reference, ...]:
    """What the registers have to be asked before `decide_without_subject` can give anything; nothing, where it
    denies anyway.
    """
    cell = _by_caller_and_table(table, caller, purpose, kind, category)
    if isinstance(cell, Denied):
        return ()
    references: list[Reference] = []
    for code in cell.rule.conditions:
        condition = table.bundle.conditions[code]
        found = _look_at(table, condition, cell, caller, None, evidence)
        if (
            condition.about_subject
            or isinstance(found, Denied)
            or (isinstance(found, _Open) and found.artefacts)
        ):
            return ()
        if isinstance(found, _Open):
            references += found.references
    return tuple(references)


def _unmet_without_subject(
    table: Table, cell: Cell, caller: Caller, evidence: Evidence, remedy: str, findings: Findings
) -> Denied | None:
    """The first condition that does not hold where no subject is named; `remedy` for one that needs a subject."""
    for code in cell.rule.conditions:
        condition = table.bundle.conditions[code]
        if condition.about_subject:
            return _denied(cell, Outcome.DENY_EVIDENCE, remedy, code)
        found = _look_at(table, condition, cell, caller, None, evidence)
        if isinstance(found, Denied):
            return found
        if isinstance(found, _Open):
            if found.artefacts:
                return _unmet(cell, condition, Outcome.DENY_NO_AUTHORISATION)
            for reference in found.references:
                unmet = _unmet_by_register(table, cell, caller, None, evidence, code, reference, findings)
                if unmet is not None:
                    return unmet
    return None


_FOUND = sum(
    1 << bit
    for bit, field in enumerate(fields_of(Registration))
    if field.name in ("name", "credit_code", "status", "city")
)
