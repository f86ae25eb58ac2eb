"""Fetch: everything that was granted, in one round; what was not granted is not asked.

The same section of the same subject on the same ground is asked once, however many aliases want it; each is
then shaped for its own question.
"""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from connectors.answers import Ask, Ground, SearchAnswer, SourceAnswer, SourceInfo
from connectors.fetch import Sources
from gateway.access import LEDGER, LEDGER_INFO, AccessLog
from gateway.alarms import Alarms
from gateway.bind import Call, NameSearch
from gateway.judge import Judgement
from gateway.shape import (
    ShapedSection,
    ask_for,
    denied_section,
    matter_of,
    reason_of,
    shape_section,
    undischarged_section,
    why,
)
from policies.access_log import CATEGORY
from policies.bundle import Bundle
from policies.caller import Caller
from policies.decision import Granted
from policies.identifiers import IdentifierError, credit_code
from policies.obligations import Handlers, Setting
from policies.vocabulary import SectionState
from resolvers.answers import OrganisationHit, SearchResult, SourceState

Sections = tuple[Mapping[str, ShapedSection], ...]
"""By position of the question, category to section."""


class Obligations(msgspec.Struct, frozen=True):
    """What discharges the obligations of sections, and whom to tell where it fails."""

    handlers: Handlers
    alarms: Alarms

    def kept(
        self, setting: Setting, answers: Sequence[SourceAnswer], sources: Mapping[str, SourceInfo]
    ) -> ShapedSection:
        """The section with its obligations kept; denied, and an alarm raised, where that fails."""
        try:
            return shape_section(setting, answers, sources, self.handlers)
        except Exception as error:  # noqa: BLE001  # whatever a handler raises, its section alone is not given
            self.alarms.sound(f"an obligation of {setting.category.code} could not be discharged", error)
            return undischarged_section(setting)


async def fetch_sections(
    call: Call,
    judgement: Judgement,
    caller: Caller,
    bundle: Bundle,
    sources: Sources,
    log: AccessLog,
    obligations: Obligations,
    deadline: float,
) -> Sections:
    """Every section of the call, granted ones with what their sources hold; `deadline` in seconds from now.

    The ledger is the source of one category, the log of inquiries.
    """
    asks: list[list[tuple[str, Ask]]] = []
    merged: dict[Ask, int] = {}
    for question, decided in zip(call.questions, judgement.decisions, strict=True):
        mine = []
        for category, decision in decided.items():
            if isinstance(decision, Granted):
                ask = ask_for(question, decision, bundle)
                key = msgspec.structs.replace(ask, fields=0)
                merged[key] = merged.get(key, 0) | ask.fields
                mine.append((category, key))
        asks.append(mine)
    wanted = [msgspec.structs.replace(key, fields=fields) for key, fields in merged.items()]
    logged = [ask for ask in wanted if ask.category == CATEGORY]
    asked = [ask for ask in wanted if ask.category != CATEGORY]
    held, answers = await asyncio.gather(
        asyncio.gather(*(log.answer(ask.subject, call.now, call.today, deadline) for ask in logged)),
        sources.fetch(asked, deadline=deadline),
    )
    found = dict(zip([*logged, *asked], [*held, *answers], strict=True))
    fetched = {key: tuple(found[ask]) for key, ask in zip(merged, wanted, strict=True)}
    return tuple(
        _sections(
            index,
            call,
            judgement,
            caller,
            bundle,
            sources,
            {category: fetched[key] for category, key in asks[index]},
            obligations,
        )
        for index in range(len(call.questions))
    )


def _sections(
    index: int,
    call: Call,
    judgement: Judgement,
    caller: Caller,
    bundle: Bundle,
    sources: Sources,
    fetched: Mapping[str, tuple[SourceAnswer, ...]],
    obligations: Obligations,
) -> dict[str, ShapedSection]:
    question = call.questions[index]
    sections = {}
    for category, decision in judgement.decisions[index].items():
        if isinstance(decision, Granted):
            setting = Setting(
                bundle=bundle,
                caller=caller,
                question=question,
                granted=decision,
                category=bundle.categories[category],
                today=call.today,
            )
            titles = {**sources.titles(), LEDGER: LEDGER_INFO}
            sections[category] = obligations.kept(setting, fetched[category], titles)
        else:
            sections[category] = denied_section(category, question.subject.kind, decision, bundle)
    return sections


async def search_names(
    call: Call, judgement: Judgement, caller: Caller, bundle: Bundle, sources: Sources, deadline: float
) -> dict[str, SearchResult]:
    """The searches of the call by response key, all at once."""
    searches = {lookup.plan.key: lookup.search for lookup in call.lookups if lookup.search is not None}
    ground = Ground(call.purpose, matter_of(call.evidence), None, call.evidence.query_reason_code)

    async def one(key: str, search: NameSearch) -> SearchResult:
        denied = judgement.searches[key]
        if denied is not None:
            return SearchResult(state=SectionState.DENIED, reason=reason_of(denied, bundle))
        answer = await sources.search(
            search.name, first=search.first, offset=search.offset, ground=ground, deadline=deadline
        )
        return _found(search, answer, sources, synthetic_only=caller.synthetic_only)

    results = await asyncio.gather(*(one(key, search) for key, search in searches.items()))
    return dict(zip(searches, results, strict=True))


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
