"""Decide and verify: what of a call may be answered, and why the rest may not.

Only what the rules could give is verified: an artefact is read when some section hangs on it.
"""

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from gateway.artefacts import Artefacts, BadArtefact
from gateway.bind import Call
from gateway.keysets import KeysUnavailableError
from policies.authorization import Authorization
from policies.caller import Caller
from policies.decision import Decided, Granted, Possible, Question, close, decide, decide_search
from policies.identifiers import is_minor
from policies.outcomes import Denied
from policies.table import Table
from resolvers.schema import OnDenied


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The decisions on a call: by position of the question and by response key of the search.

    `artefacts` maps each artefact that was read to what it proves, or to why it proves nothing.
    """

    decisions: tuple[Decided, ...]
    searches: Mapping[str, Denied | None]
    artefacts: Mapping[str, Authorization | str]
    minor: bool

    def denied(self) -> bool:
        """Whether any part of the call is denied."""
        parts = (part for decided in self.decisions for part in decided.values())
        return any(isinstance(part, Denied) for part in parts) or any(self.searches.values())

    def refuses(self, call: Call) -> bool:
        """Whether the call is refused whole: about a minor, or denied in part where that was not wanted."""
        return self.minor or (call.on_denied is OnDenied.REJECT and self.denied())


async def judge(table: Table, caller: Caller, call: Call, artefacts: Artefacts) -> Judgement:
    """The decisions on a call, at its own time."""
    possible = [decide(table, caller, question) for question in call.questions]
    read = await _read(_artefacts_that_count(call.questions, possible), artefacts)
    now = int(call.now.timestamp())
    decisions = tuple(
        {
            category: _closed(table, caller, question, part, read, now)
            if isinstance(part, Possible)
            else part
            for category, part in parts.items()
        }
        for question, parts in zip(call.questions, possible, strict=True)
    )
    return Judgement(
        decisions=decisions,
        searches={
            lookup.plan.key: decide_search(table, caller, call.purpose, call.evidence)
            for lookup in call.lookups
            if lookup.search is not None
        },
        artefacts=read,
        minor=any(is_minor(question.subject, call.today) for question in call.questions),
    )


def _artefacts_that_count(
    questions: Iterable[Question], possible: Iterable[Mapping[str, Possible | Denied]]
) -> list[str]:
    texts: dict[str, None] = {}
    for question, parts in zip(questions, possible, strict=True):
        for part in parts.values():
            for _, field in part.open if isinstance(part, Possible) else ():
                texts[getattr(question.evidence, field)] = None
    return list(texts)


async def _read(texts: list[str], artefacts: Artefacts) -> dict[str, Authorization | str]:
    return dict(
        zip(texts, await asyncio.gather(*(_read_one(text, artefacts) for text in texts)), strict=True)
    )


async def _read_one(text: str, artefacts: Artefacts) -> Authorization | str:
    try:
        return await artefacts.read(text)
    except BadArtefact as error:
        return error.reason
    except KeysUnavailableError:
        # Fail closed: an artefact that nobody can verify proves nothing.
        return "the keys of its issuer cannot be had at the moment"


def _closed(
    table: Table,
    caller: Caller,
    question: Question,
    possible: Possible,
    read: Mapping[str, Authorization | str],
    now: int,
) -> Granted | Denied:
    mine = {field: read[getattr(question.evidence, field)] for _, field in possible.open}
    return close(table, caller, question, possible, mine, now)
