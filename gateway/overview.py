"""What is about no one subject: counts from the sources that keep the records, and the log of inquiries."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence

from connectors.answers import CountAnswer, CountAsk, Ground
from connectors.fetch import Sources
from gateway.access import AccessLog, log_result
from gateway.bind import BoundLookup, Call, CountQuestion, LogQuestion
from gateway.judge import Judgement
from gateway.payer import payer_of
from gateway.shape import matter_of, reason_of, why
from policies.access_log import CATEGORY
from policies.bundle import Bundle
from policies.caller import Caller
from policies.identifiers import SubjectKey
from policies.outcomes import Denied
from policies.statistics import Allowed, Count, release
from policies.vocabulary import SectionState
from resolvers.answers import (
    GroupValue,
    LogResult,
    Reason,
    SourceState,
    StatisticsCell,
    StatisticsResult,
)

Overviews = Mapping[str, StatisticsResult | LogResult]
"""By response key of the inquiry's field."""


async def fetch_overviews(
    call: Call,
    judgement: Judgement,
    caller: Caller,
    bundle: Bundle,
    sources: Sources,
    log: AccessLog,
    deadline: float,
) -> Overviews:
    """The counts and logs of the call; `deadline` in seconds from now."""

    async def logged(lookup: BoundLookup, question: LogQuestion) -> LogResult:
        denied = denial_of_log(lookup, call, judgement)
        if denied is not None:
            return LogResult(state=SectionState.DENIED, reason=reason_of(denied, bundle))
        subject = lookup.questions[0].subject if lookup.questions else None
        return await _read(question, subject, caller, log, deadline)

    wanted: dict[str, Awaitable[StatisticsResult | LogResult]] = {}
    for lookup in call.lookups:
        key = lookup.plan.key
        if lookup.counts is not None:
            wanted[key] = _counted(
                lookup.counts, judgement.counts[key], call, caller, bundle, sources, deadline
            )
        elif lookup.log is not None:
            wanted[key] = logged(lookup, lookup.log)
    return dict(zip(wanted, await asyncio.gather(*wanted.values()), strict=True))


async def _counted(
    question: CountQuestion,
    allowed: Allowed | Denied,
    call: Call,
    caller: Caller,
    bundle: Bundle,
    sources: Sources,
    deadline: float,
) -> StatisticsResult:
    if isinstance(allowed, Denied):
        return StatisticsResult(state=SectionState.DENIED, reason=reason_of(allowed, bundle))
    ask = CountAsk(question.category, question.kind, question.by, call.today)
    # A study is no matter of a unit, but the number by which a source can tell why it is asked.
    ground = Ground(call.purpose, matter_of(call.evidence) or call.evidence.study_number)
    answers = await sources.statistics(ask, ground=ground, deadline=deadline, payer=payer_of(caller))
    return _statistics(question, allowed, answers, sources)


def _statistics(
    question: CountQuestion, allowed: Allowed, answers: Sequence[CountAnswer], sources: Sources
) -> StatisticsResult:
    states = tuple(_state(answer, sources) for answer in answers)
    silent = next((state for state in states if state.reason is not None), None)
    if silent is not None or not states:
        # What some source did not count would read as less than there is.
        missing = Reason("UNKNOWN_NO_SOURCE", "No source that counts this category is connected.")
        return StatisticsResult(
            state=SectionState.UNKNOWN,
            reason=silent.reason if silent else missing,
            sources=states,
            smallest_cell=allowed.smallest_cell,
        )
    counts = (Count(values, number) for answer in answers for values, number in answer.counts)
    released = release(counts, allowed.smallest_cell)
    return StatisticsResult(
        state=SectionState.HAS if released.cells else SectionState.NONE,
        sources=states,
        smallest_cell=released.smallest_cell,
        total=released.total,
        cells=tuple(
            StatisticsCell(tuple(map(GroupValue, question.by, cell.values)), cell.count)
            for cell in released.cells
        ),
    )


def _state(answer: CountAnswer, sources: Sources) -> SourceState:
    info = sources.titles()[answer.source]
    reason = why(answer.fault) if answer.fault else None
    # Whether it counted anything is not told: that would tell an empty cell from a small one.
    state = SectionState.UNKNOWN if reason else SectionState.HAS
    return SourceState(answer.source, info.title, info.chinese, state, answer.as_of, reason)


async def _read(
    question: LogQuestion, subject: SubjectKey | None, caller: Caller, log: AccessLog, deadline: float
) -> LogResult:
    wanted = None if subject is None else log.hash_of(subject)
    past = await log.inquiries(question.first_day, question.last_day, wanted, deadline)
    return log_result(past, question.by, subject=wanted, synthetic_only=caller.synthetic_only)


def denial_of_log(lookup: BoundLookup, call: Call, judgement: Judgement) -> Denied | None:
    """Why the log is not given: of a named subject by its own question, else of all of them."""
    if not lookup.questions:
        found = judgement.logs[lookup.plan.key]
        return found if isinstance(found, Denied) else None
    place = call.questions.index(lookup.questions[0])
    decision = judgement.decisions[place][CATEGORY]
    return decision if isinstance(decision, Denied) else None
