"""Rows and obligations become the answer; and the question becomes what the sources are asked.

Nothing here decides: grants come in, sections go out, each with its state, its sources and what is withheld.
"""

from collections.abc import Mapping, Sequence

import msgspec
from strawberry.utils.str_converters import to_camel_case

from connectors.answers import Ask, Fault, FaultCode, Ground, SourceAnswer, SourceInfo
from gateway.bind import BoundLookup, Call
from gateway.judge import Judgement
from policies.access_log import CATEGORY
from policies.bundle import Bundle
from policies.catalogue import SECTION_OF, Record, Registration, fields_of
from policies.decision import Granted, Question
from policies.evidence import Evidence
from policies.identifiers import REGISTRATION_NUMBER, IdentifierError, SubjectKey, credit_code
from policies.obligations import Handlers, Setting, Shaped, shape
from policies.outcomes import Denied, Outcome
from policies.vocabulary import SectionState, SubjectKind
from resolvers.answers import Reason, SectionAnswer, SourceState, SubjectAnswer, Withheld, cited


class ShapedSection(msgspec.Struct, frozen=True):
    """A section as it is answered, and what its shaping hid (for the ledger alone).

    `failed` is set for one that was granted and is not given, because an obligation of it could not be kept.
    `known_as` is the subject by its credit code, where it was asked for by another identifier.
    """

    answer: SectionAnswer
    hidden: Mapping[str, int]
    failed: Denied | None = None
    known_as: SubjectKey | None = None


def ask_for(question: Question, granted: Granted, bundle: Bundle) -> Ask:
    """What the sources are asked for one granted section."""
    subject, category = question.subject, bundle.categories[granted.cell.category]
    kept_nowhere = (
        "NO_CACHE" in granted.obligations or category.never_stored or subject.kind is SubjectKind.NP
    )
    return Ask(
        subject=subject,
        category=category.code,
        fields=granted.fields | _identifying(subject, category.code),
        ground=_ground(question, granted),
        may_cache=not kept_nowhere,
    )


def _identifying(subject: SubjectKey, category: str) -> int:
    """What the ledger must learn to name a subject by its credit code; it is shown only where it is granted."""
    return _CREDIT_CODE if subject.scheme == REGISTRATION_NUMBER and category == "REG_ORG" else 0


_CREDIT_CODE = sum(
    1 << bit for bit, field in enumerate(fields_of(Registration)) if field.name == "credit_code"
)


def _known_as(subject: SubjectKey, answers: Sequence[SourceAnswer]) -> SubjectKey | None:
    if subject.scheme != REGISTRATION_NUMBER:
        return None
    records = (record for answer in answers for record in answer.records)
    codes = (record.credit_code for record in records if isinstance(record, Registration))
    try:
        return next((credit_code(code) for code in codes if code is not None), None)
    except IdentifierError:
        return None


def _ground(question: Question, granted: Granted) -> Ground:
    consents = [
        p.by.removeprefix("authorization ") for p in granted.proven if p.by.startswith("authorization ")
    ]
    return Ground(
        purpose=question.purpose,
        matter=matter_of(question.evidence),
        authorization_id=consents[0] if consents else None,
        reason_code=question.evidence.query_reason_code,
    )


def matter_of(evidence: Evidence) -> str | None:
    """The number of the matter that a source is told, the most specific first."""
    numbers = (
        evidence.matter_code,
        evidence.case_number,
        evidence.project_number,
        evidence.inspection_plan_number,
        evidence.programme_number,
        evidence.application_number,
        evidence.contract_id,
    )
    return next((number for number in numbers if number is not None), None)


def shape_section(
    setting: Setting,
    answers: Sequence[SourceAnswer],
    sources: Mapping[str, SourceInfo],
    handlers: Handlers,
) -> ShapedSection:
    """One granted section from what its sources answered; raises whatever a handler of its obligations raises."""
    section = SECTION_OF[(setting.category.code, setting.question.subject.kind)]
    per_source = [(answer, shape(answer.records, section, setting, handlers)) for answer in answers]
    states = tuple(_source_state(answer, shaped, sources[answer.source]) for answer, shaped in per_source)
    records = tuple(record for _, shaped in per_source for record in shaped.records)
    silent = [state for state in states if state.state is SectionState.UNKNOWN]
    withheld = per_source[0][1].withheld if per_source else {}
    hidden: dict[str, int] = {}
    for _, shaped in per_source:
        for outcome, count in shaped.hidden.items():
            hidden[outcome] = hidden.get(outcome, 0) + count
    return ShapedSection(
        SectionAnswer(
            section=section,
            state=_state(records, silent, states),
            level=setting.granted.cell.level,
            reason=_why_silent(silent, states),
            sources=states,
            as_of=min((state.as_of for state in states if state.as_of), default=None),
            complete=bool(states) and not silent,
            withheld=tuple(Withheld(to_camel_case(name), code.value) for name, code in withheld.items()),
            records=records,
        ),
        hidden,
        known_as=_known_as(setting.question.subject, answers),
    )


def _state(records: Sequence[Record], silent: Sequence[object], states: Sequence[object]) -> SectionState:
    if records:
        return SectionState.HAS
    # A source that did not answer may hold what the others do not: only all of them together make NONE.
    return SectionState.UNKNOWN if silent or not states else SectionState.NONE


def _why_silent(silent: Sequence[SourceState], states: Sequence[SourceState]) -> Reason | None:
    if silent:
        return silent[0].reason
    return None if states else Reason("UNKNOWN_NO_SOURCE", "No source of this category is connected.")


def _source_state(answer: SourceAnswer, shaped: Shaped, info: SourceInfo) -> SourceState:
    if answer.fault is not None:
        state, reason = SectionState.UNKNOWN, why(answer.fault)
    else:
        state, reason = (SectionState.HAS if shaped.records else SectionState.NONE), None
    return SourceState(answer.source, info.title, info.chinese, state, answer.as_of, reason)


_FAULTS = {
    FaultCode.TIMEOUT: "The source did not answer in time.",
    FaultCode.DOWN: "The source cannot be reached.",
    FaultCode.ERROR: "The source answered with a failure of its own.",
    FaultCode.GARBAGE: "The source's answer could not be read.",
    FaultCode.REFUSED: "The source refused the gateway.",
    FaultCode.WRONG_SUBJECT: "The source answered for another subject; its answer was thrown away.",
    FaultCode.IDENTIFIER_NOT_TAKEN: "The source does not take this kind of identifier.",
    FaultCode.DIMENSION_NOT_TAKEN: "The source does not count by one of these dimensions.",
}


def why(fault: Fault) -> Reason:
    """A source's fault as the client reads it."""
    code = "UNKNOWN_IDENTIFIER" if fault.code is FaultCode.IDENTIFIER_NOT_TAKEN else "UNKNOWN_SOURCE_DOWN"
    remedy = (
        "Ask by the unified social credit code."
        if code == "UNKNOWN_IDENTIFIER"
        else "Ask again later; do not read this as a clean record."
    )
    return Reason(code, _FAULTS[fault.code], (), remedy)


def denied_section(category: str, kind: SubjectKind, denied: Denied, bundle: Bundle) -> ShapedSection:
    """A section that is not given, with the reason in it."""
    answer = SectionAnswer(
        section=SECTION_OF[(category, kind)],
        state=SectionState.DENIED,
        reason=reason_of(denied, bundle),
        complete=False,
    )
    return ShapedSection(answer, {})


def undischarged_section(setting: Setting) -> ShapedSection:
    """A granted section whose obligations could not be kept: nothing of its records is in it."""
    rule = setting.granted.cell.rule
    denied = Denied(
        code=Outcome.DENY_OBLIGATION,
        basis=rule.basis,
        remedy="The fault is the gateway's own and its operator has been told: ask again later.",
        rule=rule.id,
    )
    section = denied_section(setting.category.code, setting.question.subject.kind, denied, setting.bundle)
    return msgspec.structs.replace(section, failed=denied)


def after_shaping(judgement: Judgement, sections: Sequence[Mapping[str, ShapedSection]]) -> Judgement:
    """The judgement, in which the sections that failed in shaping are denied like any other."""
    decisions = tuple(
        {category: mine[category].failed or decision for category, decision in decided.items()}
        for decided, mine in zip(judgement.decisions, sections, strict=True)
    )
    return msgspec.structs.replace(judgement, decisions=decisions)


def reason_of(denied: Denied, bundle: Bundle) -> Reason:
    """A denial as the client reads it."""
    return Reason(denied.code.value, denied.message, cited(bundle, denied.basis), denied.remedy)


def subject_answer(question: Question, sections: Mapping[str, ShapedSection]) -> SubjectAnswer:
    """A subject's sections by their field names."""
    by_name = {shaped.answer.section.name: shaped.answer for shaped in sections.values()}
    return SubjectAnswer(question.subject.kind, question.subject.warnings, by_name)


def denials(call: Call, judgement: Judgement, bundle: Bundle) -> list[dict[str, object]]:
    """`extensions.denials`: every denial of the inquiry, with the place it concerns."""
    found = []
    decisions = iter(judgement.decisions)
    for lookup in call.lookups:
        for index, _ in enumerate(lookup.questions):
            found += [
                _denial(lookup, index, category, decision, bundle)
                for category, decision in next(decisions).items()
                if isinstance(decision, Denied)
            ]
        denied = judgement.searches.get(lookup.plan.key)
        if denied is not None:
            found.append(_denial(lookup, 0, "REG_ORG", denied, bundle))
        overview = judgement.counts.get(lookup.plan.key) or judgement.logs.get(lookup.plan.key)
        if isinstance(overview, Denied):
            category = lookup.counts.category if lookup.counts else CATEGORY
            found.append(_denial(lookup, 0, category, overview, bundle))
    return found


def _denial(
    lookup: BoundLookup, index: int, category: str, denied: Denied, bundle: Bundle
) -> dict[str, object]:
    path: list[str | int] = [lookup.plan.key]
    if lookup.plan.field == "subjects":
        path.append(index)
    return {
        "path": path,
        "category": category,
        "code": denied.code.value,
        "message": denied.message,
        "basis": [basis.citation for basis in cited(bundle, denied.basis)],
        "remedy": denied.remedy,
        "rule": denied.rule,
        "condition": denied.condition,
    }


def outcome_of(shaped: ShapedSection) -> Outcome:
    """The outcome of a granted section, for the ledger."""
    answer = shaped.answer
    codes = {withheld.code for withheld in answer.withheld}
    if Outcome.PERMIT_REDUCED in codes:
        return Outcome.PERMIT_REDUCED
    if Outcome.PERMIT_MASKED in codes:
        return Outcome.PERMIT_MASKED
    marked = any(record.marks for record in answer.records)
    return Outcome.PERMIT_MARKED if marked else Outcome.PERMIT
