"""Rows and obligations become the answer; and the question becomes what the sources are asked.

Nothing here decides: grants come in, sections go out, each with its state, its sources and what is withheld.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache

import msgspec
from strawberry.utils.str_converters import to_camel_case

from connectors.answers import Ask, Fault, FaultCode, Ground, SourceAnswer, SourceInfo
from connectors.precedence import ADVERSE, believed, telling_mask
from gateway.access import LOG_TITLES
from gateway.alarms import Alarms
from gateway.bind import BoundLookup, Call
from gateway.judge import Judgement
from gateway.recent import Recent, Seen
from policies.access_log import CATEGORY
from policies.bundle import Bundle
from policies.caller import Caller
from policies.catalogue import LIFECYCLE, SECTION_OF, Record, Registration, Section, fields_of
from policies.decision import Decided, Granted, Question
from policies.evidence import Evidence
from policies.identifiers import REGISTRATION_NUMBER, IdentifierError, SubjectKey, credit_code
from policies.obligations import Cut, Handlers, Hides, Setting, cut_of, filters_of, shape
from policies.outcomes import Denied, Outcome
from policies.vocabulary import SectionState, SubjectKind
from resolvers.answers import Reason, SectionAnswer, SourceState, SubjectAnswer, Withheld, cited

_LOG = logging.getLogger("gateway")


class ShapedSection(msgspec.Struct, frozen=True):
    """A section as it is answered, and what its shaping hid (for the ledger alone).

    `failed` is set for one that was granted and is not given, because an obligation of it could not be kept.
    `known_as` is the subject by its credit code, where it was asked for by another identifier.
    """

    answer: SectionAnswer
    hidden: Mapping[str, int]
    failed: Denied | None = None
    known_as: SubjectKey | None = None


class Shaping(msgspec.Struct, frozen=True, kw_only=True):
    """What is cut out of the records of a section, with the fields withheld as they are answered."""

    cut: Cut
    withheld: tuple[Withheld, ...]
    bundle: Bundle


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a grant for every subject alike: what sources are asked, and how their records are shaped.

    `held` is the mask of the fields that the records of sources that are asked so can hold at all. `hiding` are the
    filters of the grant. `shaping` is an error where an obligation has no handler, or one that cannot be made ready:
    its section is then not given.
    """

    setting: Setting
    section: Section
    scheme: str
    fields: int
    held: int
    ground: Ground
    may_cache: bool
    hiding: tuple[Hides, ...]
    shaping: Shaping | Exception

    def ask(self, subject: SubjectKey) -> Ask:
        """What the sources are asked of one subject."""
        return Ask(subject, self.setting.category.code, self.fields, self.ground, self.may_cache)


class Outline(msgspec.Struct, frozen=True):
    """What a decision makes of every subject alike: by category what to ask and how to shape it, or the denied section.

    `granted` are those that sources are asked for; `inputs` the objects by whose identity it is remembered.
    """

    sections: dict[str, Ready | ShapedSection]
    granted: tuple[Ready, ...]
    inputs: tuple[object, ...]


class ShapedSubject(msgspec.Struct, frozen=True):
    """A subject's sections by category, and the subject as it is answered.

    `answers` to what was `granted` are named where sources' caches gave all of them. `kept`: the same object comes again,
    as long as these are kept.
    """

    sections: dict[str, ShapedSection]
    answer: SubjectAnswer
    kept: bool = False
    granted: tuple[Ready, ...] = ()
    answers: tuple[SourceAnswer, ...] = ()


Latency = Callable[[str], float | None]
"""How long a source takes to answer, in milliseconds to a tenth, by its id."""


def _no_latency(_source: str) -> float | None:
    return None


class Shaper:
    """Makes sections of what sources answered, with their obligations kept. It remembers what it made last, by the
    identity of everything that it was made from: decision, evidence, day and answers.
    """

    def __init__(self, handlers: Handlers, alarms: Alarms, size: int = 4_000) -> None:
        self._handlers = handlers
        self._alarms = alarms
        self.baseless: dict[str, int] = {}
        """Adverse records that were left out because they name none of the three bases, by source."""
        self._outlines: Recent[tuple[object, ...], Outline] = Recent(2000)
        self._shapings: Recent[tuple[object, ...], Shaping] = Recent(4000)
        self._subjects: Recent[tuple[object, ...], _Made] = Recent(size)
        self._came = Seen(4 * size)

    def outline(
        self, question: Question, decided: Decided, caller: Caller, bundle: Bundle, today: date
    ) -> Outline:
        """What the decision on a question makes of its subject, and of every other that is decided alike."""
        subject, evidence = question.subject, question.evidence
        key = (id(decided), id(evidence), id(bundle), subject.scheme, today)
        outline = self._outlines.get(key)
        if outline is None:
            sections = {
                category: self._make_ready(question, decision, caller, bundle, today)
                if isinstance(decision, Granted)
                else denied_section(category, subject.kind, decision, bundle)
                for category, decision in decided.items()
            }
            granted = tuple(each for each in sections.values() if isinstance(each, Ready))
            outline = self._outlines.put(key, Outline(sections, granted, (decided, evidence, bundle)))
        return outline

    def _make_ready(
        self, question: Question, granted: Granted, caller: Caller, bundle: Bundle, today: date
    ) -> Ready:
        subject, category = question.subject, bundle.categories[granted.cell.category]
        section = SECTION_OF[(category.code, subject.kind)]
        setting = Setting(
            bundle=bundle,
            caller=caller,
            kind=subject.kind,
            evidence=question.evidence,
            granted=granted,
            category=category,
            today=today,
        )
        kept_nowhere = (
            "NO_CACHE" in granted.obligations or category.never_stored or subject.kind is SubjectKind.NP
        )
        # All that the grant gives, whatever was asked of it: a source sends no less for fewer fields, and inquiries that
        # differ in what they select share its answer.
        given = granted.cell.fields
        fields = given | _identifying(subject, category.code) | telling_mask(section.record)
        hiding: tuple[Hides, ...] = ()
        try:
            hiding = filters_of(setting, self._handlers)
            shaping: Shaping | Exception = self._shaping(section, setting)
        except Exception as error:  # noqa: BLE001  # whatever it is, its section alone is not given
            shaping = error
        return Ready(
            setting=setting,
            section=section,
            scheme=subject.scheme,
            fields=fields,
            held=fields | _always_held(section.record),
            ground=_ground(question, granted),
            may_cache=not kept_nowhere,
            hiding=hiding,
            shaping=shaping,
        )

    def _shaping(self, section: Section, setting: Setting) -> Shaping:
        """What is cut out of the records of the section: the same for all evidence. Raises what a handler raises."""
        granted, bundle = setting.granted, setting.bundle
        key = (
            id(bundle),
            section.type_name,
            setting.kind,
            setting.caller.type,
            granted.asked,
            granted.fields,
            granted.obligations,
        )
        known = self._shapings.get(key)
        if known is None:
            cut = cut_of(section, setting, self._handlers)
            withheld = tuple(Withheld(to_camel_case(name), code) for name, code in cut.withheld.items())
            known = self._shapings.put(key, Shaping(cut=cut, withheld=withheld, bundle=bundle))
        return known

    def subject(
        self,
        key: SubjectKey,
        outline: Outline,
        answers: Sequence[tuple[SourceAnswer, ...]],
        sources: Mapping[str, SourceInfo],
        latency: Latency = _no_latency,
        *,
        merged: bool = False,
    ) -> ShapedSubject:
        """The subject, with the obligations of each section kept; one where that fails is denied, and an alarm raised.

        `answers` stand in the order of `outline.granted`. `merged`: they may hold what another question asked for.
        """
        place = (id(outline), merged, *[id(answer) for each in answers for answer in each])
        made = self._subjects.get(place)
        if made is not None:
            return made.subject
        # Only what a cache gave comes again as the same objects; and to keep what comes once costs more than it saves.
        cached = bool(answers) and all(each and all(a.cached for a in each) for each in answers)
        kept = cached and self._came.before(place)
        given = iter(answers)
        sections = {
            category: self._section(each, next(given), sources, latency, merged=merged)
            if isinstance(each, Ready)
            else each
            for category, each in outline.sections.items()
        }
        by_name = {shaped.answer.section.name: shaped.answer for shaped in sections.values()}
        answer = SubjectAnswer(key.kind, key.warnings, by_name, {} if kept else None)
        if not cached or any(shaped.failed for shaped in sections.values()):
            return ShapedSubject(sections, answer)
        made_from = tuple(answer for each in answers for answer in each)
        subject = ShapedSubject(sections, answer, kept, outline.granted, made_from)
        if kept:
            self._subjects.put(place, _Made(outline, subject))
        return subject

    def _section(
        self,
        ready: Ready,
        answers: tuple[SourceAnswer, ...],
        sources: Mapping[str, SourceInfo],
        latency: Latency,
        *,
        merged: bool,
    ) -> ShapedSection:
        if ready.setting.category.code == CATEGORY:
            sources, latency, held = LOG_TITLES, _no_latency, ANY
        else:
            held = ANY if merged else ready.held
            if len(answers) > 1 or issubclass(ready.section.record, ADVERSE):
                answers = self._believed(answers, sources)
        try:
            return _shape(ready, answers, sources, latency, held)
        except Exception as error:  # noqa: BLE001  # whatever a handler raises, its section alone is not given
            code = ready.setting.category.code
            self._alarms.sound(f"an obligation of {code} could not be discharged", error)
            return _undischarged(ready)

    def _believed(
        self, answers: tuple[SourceAnswer, ...], sources: Mapping[str, SourceInfo]
    ) -> tuple[SourceAnswer, ...]:
        """The answers with each record once, of the source whose is believed, and none that rests on no document."""
        several = len(answers) > 1
        precedence = {each.source: sources[each.source].precedence for each in answers} if several else {}
        told = believed(answers, precedence)
        for answer in told:
            if answer.baseless:
                self.baseless[answer.source] = self.baseless.get(answer.source, 0) + answer.baseless
                _LOG.warning(
                    "records without a basis were left out",
                    extra={"fields": {"source": answer.source, "records": answer.baseless}},
                )
        return told


ANY = -1
"""The mask of all fields that any record can hold."""


@cache
def _always_held(record: type[Record]) -> int:
    """The fields that sources are read for whatever was asked."""
    names = LIFECYCLE | {"record_id", "provider"}
    return sum(1 << bit for bit, field in enumerate(fields_of(record)) if field.name in names)


class _Made(msgspec.Struct, frozen=True):
    """A subject, which holds the answers that it was made from, with the outline."""

    outline: Outline
    subject: ShapedSubject


def _identifying(subject: SubjectKey, category: str) -> int:
    """What the ledger must learn to name a subject by its credit code; it is shown only where it is granted."""
    return _CREDIT_CODE if subject.scheme == REGISTRATION_NUMBER and category == "REG_ORG" else 0


_CREDIT_CODE = sum(
    1 << bit for bit, field in enumerate(fields_of(Registration)) if field.name == "credit_code"
)


def _known_as(scheme: str, answers: Sequence[SourceAnswer]) -> SubjectKey | None:
    if scheme != REGISTRATION_NUMBER:
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
    if any(proven.condition == "AUTH_PBOC" for proven in granted.proven):
        consents = [question.evidence.pboc_consent_id or ""]
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


def _shape(
    ready: Ready,
    answers: Sequence[SourceAnswer],
    sources: Mapping[str, SourceInfo],
    latency: Latency,
    held: int,
) -> ShapedSection:
    """One granted section from what its sources answered; raises whatever a handler of its obligations raises."""
    if isinstance(ready.shaping, Exception):
        raise ready.shaping
    shaping = ready.shaping
    if len(answers) == 1 and answers[0].fault is None:
        return _shape_of_one(ready, shaping, answers[0], sources, latency, held)
    records: list[Record] = []
    states: list[SourceState] = []
    hidden: dict[str, int] = {}
    as_of: datetime | None = None
    for answer in answers:
        shaped = shape(answer.records, ready.setting, ready.hiding, shaping.cut, held)
        records += shaped.records
        states.append(_source_state(answer, bool(shaped.records), sources[answer.source], latency))
        for outcome, count in shaped.hidden.items():
            hidden[outcome] = hidden.get(outcome, 0) + count
        if answer.as_of is not None and (as_of is None or answer.as_of < as_of):
            as_of = answer.as_of
    # What such a source has is shown of another. Where something is hidden that may be it, and nothing is told.
    if records and not hidden and any(answer.elsewhere for answer in answers):
        states = [
            msgspec.structs.replace(state, state=SectionState.HAS) if answer.elsewhere else state
            for state, answer in zip(states, answers, strict=True)
        ]
    silent = [state for state in states if state.state is SectionState.UNKNOWN]
    return ShapedSection(
        SectionAnswer(
            section=ready.section,
            state=_state(records, silent, states),
            level=ready.setting.granted.cell.level,
            reason=_why_silent(silent, states),
            sources=tuple(states),
            as_of=as_of,
            complete=bool(states) and not silent,
            withheld=shaping.withheld,
            records=tuple(records),
        ),
        hidden,
        known_as=_known_as(ready.scheme, answers),
    )


def _shape_of_one(
    ready: Ready,
    shaping: Shaping,
    answer: SourceAnswer,
    sources: Mapping[str, SourceInfo],
    latency: Latency,
    held: int,
) -> ShapedSection:
    """The usual case: a section that one source answered."""
    shaped = shape(answer.records, ready.setting, ready.hiding, shaping.cut, held)
    state = _source_state(answer, bool(shaped.records), sources[answer.source], latency)
    section = SectionAnswer(
        section=ready.section,
        state=state.state,
        level=ready.setting.granted.cell.level,
        sources=(state,),
        as_of=answer.as_of,
        withheld=shaping.withheld,
        records=shaped.records,
    )
    if ready.scheme != REGISTRATION_NUMBER:
        return ShapedSection(section, shaped.hidden)
    return ShapedSection(section, shaped.hidden, known_as=_known_as(ready.scheme, (answer,)))


def _state(records: Sequence[Record], silent: Sequence[object], states: Sequence[object]) -> SectionState:
    if records:
        return SectionState.HAS
    # A source that did not answer may hold what the others do not: only all of them together make NONE.
    return SectionState.UNKNOWN if silent or not states else SectionState.NONE


def _why_silent(silent: Sequence[SourceState], states: Sequence[SourceState]) -> Reason | None:
    if silent:
        return silent[0].reason
    return None if states else Reason("UNKNOWN_NO_SOURCE", "No source of this category is connected.")


def _source_state(answer: SourceAnswer, has: bool, info: SourceInfo, latency: Latency) -> SourceState:
    if answer.fault is not None:
        return SourceState(
            answer.source,
            info.title,
            info.chinese,
            SectionState.UNKNOWN,
            answer.as_of,
            why(answer.fault),
            fault=answer.fault.code,
        )
    return SourceState(
        answer.source,
        info.title,
        info.chinese,
        SectionState.HAS if has else SectionState.NONE,
        answer.as_of,
        None,
        answer.stale,
        answer.instead_of,
        None if answer.cached else latency(answer.source),
    )


_FAULTS = {
    FaultCode.TIMEOUT: "The source did not answer in time.",
    FaultCode.DOWN: "The source cannot be reached.",
    FaultCode.ERROR: "The source answered with a failure of its own.",
    FaultCode.GARBAGE: "The source's answer could not be read.",
    FaultCode.REFUSED: "The source refused the gateway.",
    FaultCode.WRONG_SUBJECT: "The source answered for another subject; its answer was thrown away.",
    FaultCode.IDENTIFIER_NOT_TAKEN: "The source does not take this kind of identifier.",
    FaultCode.DIMENSION_NOT_TAKEN: "The source does not count by one of these dimensions.",
    FaultCode.QUOTA: "The calls that the gateway has at the source in a day are used up.",
    FaultCode.BUDGET: "The money that your unit may spend at the source in a day is used up.",
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


def _undischarged(ready: Ready) -> ShapedSection:
    """A granted section whose obligations could not be kept: nothing of its records is in it."""
    setting = ready.setting
    rule = setting.granted.cell.rule
    denied = Denied(
        code=Outcome.DENY_OBLIGATION,
        basis=rule.basis,
        remedy="The fault is the gateway's own and its operator has been told: ask again later.",
        rule=rule.id,
    )
    section = denied_section(setting.category.code, setting.kind, denied, setting.bundle)
    return msgspec.structs.replace(section, failed=denied)


def after_shaping(judgement: Judgement, subjects: Sequence[ShapedSubject]) -> Judgement:
    """The judgement, in which the sections that failed in shaping are denied like any other."""
    if not any(shaped.failed for subject in subjects for shaped in subject.sections.values()):
        return judgement
    decisions = tuple(
        {category: subject.sections[category].failed or decision for category, decision in decided.items()}
        for decided, subject in zip(judgement.decisions, subjects, strict=True)
    )
    return msgspec.structs.replace(judgement, decisions=decisions)


def reason_of(denied: Denied, bundle: Bundle) -> Reason:
    """A denial as the client reads it."""
    return Reason(denied.code.value, denied.message, cited(bundle, denied.basis), denied.remedy)


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
    if answer.withheld:
        # One that is reduced stands before those that are masked.
        return Outcome(answer.withheld[0].code)
    for record in answer.records:
        if record.marks:
            return Outcome.PERMIT_MARKED
    return Outcome.PERMIT
