"""Decide and verify: what of a call may be answered, and why the rest may not.

Only what the rules could give is verified: an artefact is read when some section hangs on it, and registers
are asked for what is still possible then, each number once, all at the same time.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from connectors.answers import Ground, RegisterAnswer
from connectors.fetch import Sources
from gateway.artefacts import Artefacts, BadArtefact
from gateway.bind import Call
from gateway.decisions import Decisions
from gateway.keysets import KeysUnavailableError
from gateway.payer import payer_of
from gateway.quota import Quotas
from policies.access_log import decide_log, references_of_log
from policies.authorization import Authorization
from policies.caller import Caller
from policies.decision import (
    Decided,
    Possible,
    Question,
    close_all,
    decide_search,
    references_of_search,
    references_without_subject,
    rule_of_search,
    verify,
)
from policies.identifiers import is_minor
from policies.outcomes import Denied
from policies.proofs import Findings
from policies.registers import Entry, Reference, Register
from policies.statistics import Allowed, decide_statistics
from policies.table import Cell, Table
from resolvers.schema import OnDenied


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The decisions on a call: by position of the question and by response key of the search, the counts, the log.

    `artefacts` maps each artefact that was read to what it proves, or to why it proves nothing. `registers` maps
    each number that was looked up to its entry, to None where there is none, or to why there was no answer;
    `seconds` is how long that took. `quota` is how many subjects the unit may ask about in the day, `over_quota` the
    hash inputs of those beyond it. `search_rule` is the rule that searches by name are decided by. `withdrawals`:
    whether some source keeps those of authorizations. `final`: the same call is decided alike for the rest of the
    day, as nothing of it had to be proven, and a quota that let its subjects in counts each of them once a day.
    """

    decisions: tuple[Decided, ...]
    searches: Mapping[str, Denied | None]
    artefacts: Mapping[str, Authorization | str]
    registers: Mapping[Reference, Entry | str | None]
    seconds: float
    minor: bool
    counts: Mapping[str, Allowed | Denied] = {}
    logs: Mapping[str, tuple[Cell, ...] | Denied] = {}
    quota: int | None = None
    over_quota: frozenset[str] = frozenset()
    search_rule: str | None = None
    withdrawals: bool = True
    final: bool = False

    def denied(self) -> bool:
        """Whether any part of the call is denied."""
        parts = (part for decided in self.decisions for part in decided.values())
        overviews = (*self.counts.values(), *self.logs.values())
        return any(isinstance(part, Denied) for part in (*parts, *overviews)) or any(self.searches.values())

    def refuses(self, call: Call) -> bool:
        """Whether the call is refused whole: about a minor, or denied in part where that was not wanted."""
        return self.minor or (call.on_denied is OnDenied.REJECT and self.denied())


REGISTERS_SHARE = 0.5
"""How much of the deadline registers may take, so that a silent one leaves time for what does not hang on it."""


async def judge(
    table: Table,
    caller: Caller,
    call: Call,
    decisions: Decisions,
    artefacts: Artefacts,
    sources: Sources,
    quotas: Quotas,
    deadline: float,
) -> Judgement:
    """The decisions on a call, at its own time; `deadline` is the budget of all sources, in seconds."""
    questions = call.questions
    quota = table.bundle.quotas.get((caller.type, call.purpose))
    over = {} if quota is None else await quotas.refusals(table.bundle, caller, call)
    minor = any(is_minor(question.subject, call.today) for question in questions)
    settled = [decisions.on(table, caller, question) for question in questions]
    decided = [each.decided for each in settled if each.decided is not None]
    proofs = NO_PROOFS
    settled_alone = len(decided) == len(questions) and call.of_subjects_alone
    if over or not settled_alone:
        possible = [
            _within_quota(each.possible, over.get(question.subject.hash_input))
            for question, each in zip(questions, settled, strict=True)
        ]
        proofs = await _prove(table, caller, call, possible, minor, artefacts, sources, deadline)
        closed = _close(table, caller, call, proofs)
        decided = [each.same(now) for each, now in zip(settled, closed, strict=True)]
    judgement = Judgement(
        decisions=tuple(decided),
        searches={},
        artefacts=proofs.artefacts,
        registers=proofs.registers,
        seconds=proofs.seconds,
        minor=minor,
        quota=quota,
        over_quota=frozenset(over),
        withdrawals=Register.AUTHORIZATIONS in sources.registers,
        final=settled_alone and not over,
    )
    return judgement if call.of_subjects_alone else _with_overviews(judgement, table, caller, call)


def _with_overviews(judgement: Judgement, table: Table, caller: Caller, call: Call) -> Judgement:
    """The judgement with its searches, counts and looks into the log."""
    findings = Findings(call.today, judgement.registers)
    return msgspec.structs.replace(
        judgement,
        searches={
            lookup.plan.key: decide_search(table, caller, call.purpose, call.evidence, findings)
            for lookup in call.lookups
            if lookup.search is not None
        },
        counts={
            lookup.plan.key: decide_statistics(
                table,
                caller,
                call.purpose,
                lookup.counts.kind,
                lookup.counts.category,
                call.evidence,
                findings,
            )
            for lookup in call.lookups
            if lookup.counts is not None
        },
        logs={
            lookup.plan.key: decide_log(table, caller, call.purpose, call.evidence, findings)
            for lookup in call.lookups
            if lookup.log is not None and not lookup.questions
        },
        search_rule=rule_of_search(table, caller, call.purpose),
    )


class _Proofs(msgspec.Struct, frozen=True):
    """What was read and looked up for a call, what it left possible, and how many seconds that took."""

    verified: Sequence[Mapping[str, Possible | Denied]] = ()
    artefacts: Mapping[str, Authorization | str] = MappingProxyType({})
    registers: Mapping[Reference, Entry | str | None] = MappingProxyType({})
    seconds: float = 0.0


NO_PROOFS = _Proofs()
"""Of a call that needs none."""


async def _prove(
    table: Table,
    caller: Caller,
    call: Call,
    possible: Sequence[Mapping[str, Possible | Denied]],
    minor: bool,
    artefacts: Artefacts,
    sources: Sources,
    deadline: float,
) -> _Proofs:
    """Read the artefacts that count, then look up what is still possible; of a call that is refused whole, nothing."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    read = await _read(_artefacts_that_count(call.questions, possible), artefacts)
    now = int(call.now.timestamp())
    verified = [
        {
            category: verify(table, caller, question, part, _mine(question, part, read), now)
            if isinstance(part, Possible) and part.open
            else part
            for category, part in parts.items()
        }
        for question, parts in zip(call.questions, possible, strict=True)
    ]
    references = () if minor else dict.fromkeys(_references(table, caller, call, verified))
    registers = await _look_up(references, call, caller, sources, deadline * REGISTERS_SHARE)
    return _Proofs(verified, read, registers, clock() - begun)


def _close(table: Table, caller: Caller, call: Call, proofs: _Proofs) -> list[Decided]:
    """The final decisions: what artefacts had to prove is settled, only references are left."""
    findings, now = Findings(call.today, proofs.registers), int(call.now.timestamp())
    return [
        close_all(table, caller, question, parts, now, findings)
        for question, parts in zip(call.questions, proofs.verified, strict=True)
    ]


def _within_quota(
    parts: Mapping[str, Possible | Denied], refusal: Denied | None
) -> Mapping[str, Possible | Denied]:
    """The parts, refused where they were possible but for the quota: what no quota would open keeps its own reason."""
    if refusal is None:
        return parts
    return {category: refusal if isinstance(part, Possible) else part for category, part in parts.items()}


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
    if not texts:
        return {}  # or it would cost a turn of the loop
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


def _mine(
    question: Question, possible: Possible, read: Mapping[str, Authorization | str]
) -> dict[str, Authorization | str]:
    return {field: read[getattr(question.evidence, field)] for _, field in possible.open}


def _references(
    table: Table,
    caller: Caller,
    call: Call,
    verified: Iterable[Mapping[str, Possible | Denied]],
) -> Iterator[Reference]:
    """What the sections, searches, counts and logs that are still possible hang on."""
    for parts in verified:
        for part in parts.values():
            if isinstance(part, Possible):
                yield from (reference for _, reference in part.references)
    if any(lookup.search is not None for lookup in call.lookups):
        yield from references_of_search(table, caller, call.purpose, call.evidence)
    if any(lookup.log is not None and not lookup.questions for lookup in call.lookups):
        yield from references_of_log(table, caller, call.purpose, call.evidence)
    for counts in (lookup.counts for lookup in call.lookups if lookup.counts is not None):
        yield from references_without_subject(
            table, caller, call.purpose, counts.kind, counts.category, call.evidence
        )


async def _look_up(
    references: Iterable[Reference], call: Call, caller: Caller, sources: Sources, deadline: float
) -> dict[Reference, Entry | str | None]:
    asked = [
        reference
        for reference in references
        if reference.register is not Register.AUTHORIZATIONS or reference.register in sources.registers
    ]
    if not asked:
        return {}
    answers = await sources.look_up(
        asked, ground=Ground(call.purpose), deadline=deadline, payer=payer_of(caller)
    )
    return {reference: _found(answer) for reference, answer in zip(asked, answers, strict=True)}


def _found(answer: RegisterAnswer) -> Entry | str | None:
    if answer.source is None:
        return "no source serves it"
    return answer.entry if answer.fault is None else "it cannot be asked at the moment"
