"""Fetch: everything that was granted, in one round; what was not granted is not asked.

The same section of the same subject on the same ground is asked once, however many aliases want it; each is
then shaped for its own question.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from connectors.answers import Ask, Ground, SearchAnswer, SourceAnswer
from connectors.fetch import Sources
from gateway.access import AccessLog
from gateway.bind import Call, NameSearch
from gateway.judge import Judgement
from gateway.payer import payer_of
from gateway.shape import ShapedSubject, Shaper, matter_of, reason_of, why
from policies.access_log import CATEGORY
from policies.bundle import Bundle
from policies.caller import Caller
from policies.identifiers import IdentifierError, credit_code
from policies.outcomes import Denied
from policies.vocabulary import SectionState
from resolvers.answers import OrganisationHit, SearchResult, SourceState

Subjects = tuple[ShapedSubject, ...]
"""By position of the question."""


async def fetch_subjects(
    call: Call,
    judgement: Judgement,
    caller: Caller,
    bundle: Bundle,
    sources: Sources,
    log: AccessLog,
    shaper: Shaper,
    deadline: float,
) -> Subjects:
    """Every subject of the call, granted sections with what their sources hold; `deadline` in seconds from now.

    The ledger is the source of one category, the log of inquiries.
    """
    questions = call.questions
    outlines = [
        shaper.outline(question, decided, caller, bundle, call.today)
        for question, decided in zip(questions, judgement.decisions, strict=True)
    ]
    asks = [
        ready.ask(question.subject)
        for question, outline in zip(questions, outlines, strict=True)
        for ready in outline.granted
    ]
    repeated = bool(questions) and questions[0].subjects_in_operation < len(questions)
    if repeated:
        merged = _merged(asks)
        found = await _found_in_sources(list(merged.values()), call, caller, sources, log, deadline)
        by_ask = dict(zip(merged, found, strict=True))
        answers = iter([by_ask[_alike(ask)] for ask in asks])
    else:
        answers = iter(await _found_in_sources(asks, call, caller, sources, log, deadline))
    titles = sources.titles()
    return tuple(
        shaper.subject(
            question.subject,
            outline,
            [next(answers) for _ in outline.granted],
            titles,
            sources.latency_ms,
            merged=repeated,
        )
        for question, outline in zip(questions, outlines, strict=True)
    )


def _alike(ask: Ask) -> Ask:
    return msgspec.structs.replace(ask, fields=0)


def _merged(asks: Sequence[Ask]) -> dict[Ask, Ask]:
    """Asks that differ in their fields alone, as one for all of these fields."""
    merged: dict[Ask, int] = {}
    for ask in asks:
        key = _alike(ask)
        merged[key] = merged.get(key, 0) | ask.fields
    return {key: msgspec.structs.replace(key, fields=fields) for key, fields in merged.items()}


async def _found_in_sources(
    asks: Sequence[Ask], call: Call, caller: Caller, sources: Sources, log: AccessLog, deadline: float
) -> Sequence[tuple[SourceAnswer, ...]]:
    """The answers in the order of the asks; nothing is awaited where the cache has all of them."""
    logged = [ask for ask in asks if ask.category == CATEGORY]
    if not logged:
        return sources.peek(asks) or await sources.fetch(asks, deadline=deadline, payer=payer_of(caller))
    others = [ask for ask in asks if ask.category != CATEGORY]
    held, answers = await asyncio.gather(
        asyncio.gather(*(log.answer(ask.subject, call.now, call.today, deadline) for ask in logged)),
        sources.fetch(others, deadline=deadline, payer=payer_of(caller)),
    )
    from_log, from_sources = iter(held), iter(answers)
    return [tuple(next(from_log)) if ask.category == CATEGORY else next(from_sources) for ask in asks]


async def search_names(
    call: Call, judgement: Judgement, caller: Caller, bundle: Bundle, sources: Sources, deadline: float
) -> dict[str, SearchResult]:
    """The searches of the call by response key, all at once."""
    searches = {lookup.plan.key: lookup.search for lookup in call.lookups if lookup.search is not None}
    ground = Ground(call.purpose, matter_of(call.evidence), None, call.evidence.query_reason_code)
    results = await asyncio.gather(
        *(
            _search(search, judgement.searches[key], ground, caller, bundle, sources, deadline)
            for key, search in searches.items()
        )
    )
    return dict(zip(searches, results, strict=True))


async def _search(
    search: NameSearch,
    denied: Denied | None,
    ground: Ground,
    caller: Caller,
    bundle: Bundle,
    sources: Sources,
    deadline: float,
) -> SearchResult:
    if denied is not None:
        return SearchResult(state=SectionState.DENIED, reason=reason_of(denied, bundle))
    answer = await sources.search(
        search.name,
        first=search.first,
        offset=search.offset,
        ground=ground,
        deadline=deadline,
        payer=payer_of(caller),
    )
    return _found(search, answer, sources, synthetic_only=caller.synthetic_only)


def _found(
    search: NameSearch, answer: SearchAnswer, sources: Sources, *, synthetic_only: bool
) -> SearchResult:
    hits = tuple(
        OrganisationHit(hit.name, hit.credit_code, hit.status, hit.city)
        for hit in answer.hits
        if not synthetic_only or _synthetic(hit.credit_code)
    )
    reason = why(answer.fault) if answer.fault else None
    state = SectionState.UNKNOWN if reason else SectionState.HAS if hits else SectionState.NONE
    source = None
    if answer.source is not None:
        info = sources.titles()[answer.source]
        source = SourceState(answer.source, info.title, info.chinese, state, answer.as_of, reason)
    return SearchResult(
        state=state,
        reason=reason,
        source=source,
        hits=hits,
        # The source counts what a synthetic token may not see: then the page alone is counted.
        total=search.offset + len(hits) if synthetic_only else answer.total,
        offset=search.offset,
    )


def _synthetic(code: str) -> bool:
    try:
        return credit_code(code).synthetic
    except IdentifierError:
        return False
