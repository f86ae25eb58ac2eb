"""Asks of concurrent requests joined into calls: who shares one, who does not, and who pays for whose fault."""

import asyncio
import gc
import inspect
import json
import weakref
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_fetch import (
    BATCH,
    CACHED,
    CODES,
    HEAD,
    LOAN,
    SINGLE,
    TOLD,
    Wire,
    ask,
    code,
    echo,
    one,
    open_sources,
    organisation,
    person,
)

from connectors.answers import SourceAnswer
from connectors.batch import Batches, Call, Waiting, Wanted
from connectors.cache import AnswerCache
from connectors.fetch import Ask, Ground, Sources


class Gate(Wire):
    """A source that answers nothing before the gate is opened; knows how many calls are under way."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response] = echo) -> None:
        super().__init__(answer)
        self.open = asyncio.Event()
        self.under_way = 0
        self.most = 0
        self.cancelled = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        return self._answer(request)

    async def asked(self, calls: int) -> None:
        """Return when so many calls have begun."""
        while len(self.requests) < calls:
            await asyncio.sleep(0.001)

    @property
    def sizes(self) -> list[int]:
        return [len(body["key"]) for body in self.bodies]


async def together(sources: Sources, asks: Sequence[Ask], deadline: float = 30) -> list[SourceAnswer]:
    """Each ask by a request of its own, all at once."""
    return await asyncio.gather(*(one(sources, of, deadline) for of in asks))


def begun(work: Coroutine[Any, Any, SourceAnswer]) -> asyncio.Task[SourceAnswer]:
    return asyncio.get_running_loop().create_task(work)


async def settled() -> None:
    """Let everything run that can run without an answer of the source."""
    for _ in range(20):
        await asyncio.sleep(0)


def left_of(sources: Sources) -> list[int]:
    """Asks that the lookups still hold."""
    return [len(lookup._batches) for lookup in sources._lookups]


def batch_of(size: int, **head: Any) -> str:
    text = HEAD + BATCH.replace("batch = 10", f"batch = {size}")
    for name, value in head.items():
        text = text.replace("timeout_seconds = 5", f"timeout_seconds = 5\n{name} = {value}")
    return text


# --- who shares a call


async def test_the_asks_of_concurrent_requests_are_one_call(tmp_path: Path) -> None:
    wire = Gate()
    wire.open.set()
    sources = open_sources(tmp_path, batch_of(50), wire)
    asks = [ask(organisation(number)) for number in range(32)]
    answers = await together(sources, asks)
    assert wire.sizes == [32]
    assert [answer.records[0].record_id for answer in answers] == [f"R-{of.subject.value}" for of in asks]


async def test_a_lone_request_waits_for_nobody(tmp_path: Path) -> None:
    """The call is on the wire after a few turns of the loop, without any time going by."""
    wire = Gate()
    sources = open_sources(tmp_path, batch_of(50), wire)
    request = begun(one(sources, ask(organisation(1))))
    await settled()
    assert wire.sizes == [1]
    wire.open.set()
    assert code(await request) is None


async def test_no_call_is_larger_than_the_batch(tmp_path: Path) -> None:
    wire = Gate()
    wire.open.set()
    sources = open_sources(tmp_path, batch_of(8), wire)
    await together(sources, [ask(organisation(number)) for number in range(20)])
    assert wire.sizes == [8, 8, 4]


async def test_a_lookup_without_batch_asks_for_one_subject_a_call(tmp_path: Path) -> None:
    wire = Gate()
    wire.open.set()
    sources = open_sources(tmp_path, HEAD + SINGLE, wire)
    await together(sources, [ask(organisation(number)) for number in (1, 2, 1)])
    assert [body["key"] for body in wire.bodies] == [organisation(1).value, organisation(2).value]


@pytest.mark.parametrize(
    "other",
    [
        ask(organisation(2), fields=1),
        ask(organisation(2), ground=Ground("LOAN_POSTMGMT", authorization_id="A-1")),
        ask(organisation(2), ground=Ground("LOAN_PRECHECK", authorization_id="A-2")),
        ask(organisation(2), ground=Ground("LOAN_PRECHECK")),
        ask(person()),
    ],
    ids=["fields", "purpose", "consent", "no consent", "scheme"],
)
async def test_requests_that_differ_in_more_than_the_subject_share_no_call(
    tmp_path: Path, other: Ask
) -> None:
    wire = Gate()
    wire.open.set()
    sources = open_sources(tmp_path, HEAD + CODES + TOLD, wire)
    await together(sources, [ask(organisation(1)), other])
    assert wire.sizes == [1, 1]


async def test_nobody_is_given_more_fields_than_it_asked_for(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, batch_of(50), Wire(echo))
    full, bare = await together(sources, [ask(organisation(1)), ask(organisation(1), fields=0)])
    assert (full.records[0].facts, bare.records[0].facts) == ("f", None)  # type: ignore[attr-defined]


# --- one flight for equal asks


@pytest.mark.parametrize("text", [HEAD + SINGLE, HEAD + BATCH])
async def test_equal_asks_of_many_requests_are_one_flight(tmp_path: Path, text: str) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, text, wire)
    first = begun(one(sources, ask(organisation(1))))
    await wire.asked(1)
    second = begun(one(sources, ask(organisation(1), ground=Ground("OTHER"))))  # the source is told no ground
    await settled()
    wire.open.set()
    assert (await first).records == (await second).records != ()
    assert len(wire.requests) == 1


async def test_a_flight_that_has_landed_takes_nobody_along(tmp_path: Path) -> None:
    wire = Gate()
    wire.open.set()
    sources = open_sources(tmp_path, batch_of(10), wire)
    for _ in range(2):
        await one(sources, ask(organisation(1)))
    assert len(wire.requests) == 2


@pytest.mark.parametrize(
    "other",
    [ask(organisation(1), fields=1), ask(organisation(1), ground=Ground("LOAN_PRECHECK"))],
    ids=["fields", "ground"],
)
async def test_a_flight_on_another_ground_is_not_joined(tmp_path: Path, other: Ask) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, HEAD + CODES + TOLD, wire)
    requests = [begun(one(sources, of)) for of in (ask(organisation(1)), other)]
    await wire.asked(2)
    wire.open.set()
    assert [code(await request) for request in requests] == [None, None]


# --- while the source is busy


async def test_asks_gather_while_the_source_has_no_place_free(tmp_path: Path) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, batch_of(10, concurrency=1), wire)
    requests = [begun(one(sources, ask(organisation(0))))]
    await wire.asked(1)
    for number in range(1, 26):  # each in a turn of its own
        requests.append(begun(one(sources, ask(organisation(number)))))
        await settled()
    assert wire.sizes == [1]
    wire.open.set()
    assert [code(await request) for request in requests] == [None] * 26
    assert wire.sizes == [1, 10, 10, 5]
    assert wire.most == 1


async def test_who_leaves_before_the_call_starts_is_not_asked_for(tmp_path: Path) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, batch_of(10, concurrency=1), wire)
    first, leaving, staying = (begun(one(sources, ask(organisation(number)))) for number in range(3))
    await wire.asked(1)
    assert wire.sizes == [3]
    late = [begun(one(sources, ask(organisation(number)))) for number in (3, 4)]
    await settled()
    late[0].cancel()
    await settled()
    wire.open.set()
    await asyncio.gather(first, leaving, staying, late[1])
    assert wire.bodies[1]["key"] == [organisation(4).value]


# --- who leaves


async def test_one_caller_that_goes_away_does_not_end_the_call_of_others(tmp_path: Path) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, batch_of(10), wire)
    leaving, equal, neighbour = (begun(one(sources, ask(organisation(number)))) for number in (1, 1, 2))
    await wire.asked(1)
    leaving.cancel()
    await settled()
    wire.open.set()
    assert [code(await request) for request in (equal, neighbour)] == [None, None]
    assert (len(wire.requests), wire.cancelled, leaving.cancelled()) == (1, 0, True)


async def test_the_last_caller_that_goes_away_ends_the_call(tmp_path: Path) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, batch_of(10), wire)
    requests = [begun(one(sources, ask(organisation(number)))) for number in (1, 1, 2)]
    await wire.asked(1)
    for request in requests:
        assert wire.cancelled == 0
        request.cancel()
        await settled()
    assert (wire.cancelled, wire.under_way, left_of(sources)) == (1, 0, [0])


async def test_a_call_that_was_ended_is_not_joined(tmp_path: Path) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, batch_of(10), wire)
    gone = begun(one(sources, ask(organisation(1))))
    await wire.asked(1)
    gone.cancel()
    again = begun(one(sources, ask(organisation(1))))
    await wire.asked(2)
    wire.open.set()
    assert code(await again) is None


async def test_the_deadline_of_one_is_not_that_of_the_others(tmp_path: Path) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, batch_of(10), wire)
    long = begun(one(sources, ask(organisation(1)), 30))
    short = [begun(one(sources, ask(organisation(number)), 0.02)) for number in (1, 2)]
    assert [code(await request) for request in short] == ["TIMEOUT", "TIMEOUT"]
    wire.open.set()
    assert code(await long) is None
    assert len(wire.requests) == 1


async def test_who_joins_a_call_with_more_time_than_it_has_is_asked_for_again(tmp_path: Path) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, batch_of(10), wire)
    short = begun(one(sources, ask(organisation(1)), 0.05))
    await wire.asked(1)
    long = begun(one(sources, ask(organisation(1)), 30))
    assert code(await short) == "TIMEOUT"
    await wire.asked(2)
    wire.open.set()
    assert code(await long) is None


async def test_part_of_a_request_may_be_late(tmp_path: Path) -> None:
    """What is there in time is given; the rest says that it was not."""

    class Half(Gate):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if organisation(2).value in request.content.decode():
                return await super().handle_async_request(request)
            return echo(request)

    sources = open_sources(tmp_path, HEAD + SINGLE, Half())
    answers = await sources.fetch([ask(organisation(1)), ask(organisation(2))], deadline=0.05)
    assert [code(answer) for [answer] in answers] == [None, "TIMEOUT"]
    await settled()
    assert left_of(sources) == [0]


# --- one bad subject


def spoilt(*bad: int, status: int = 500, rows: list[Any] | None = None) -> Callable[[httpx.Request], Any]:
    """A source that fails for a whole batch when one of these organisations is in it."""
    values = {organisation(number).value for number in bad}

    def answer(request: httpx.Request) -> httpx.Response:
        if values & set(json.loads(request.content)["key"]):
            return httpx.Response(status, json={"data": rows})
        return echo(request)

    return answer


OTHERS = [{"id": "R1", "key": organisation(99).value}]


@pytest.mark.parametrize(
    ("status", "rows", "fault"),
    [(500, None, "ERROR"), (200, None, "GARBAGE"), (200, OTHERS, "WRONG_SUBJECT")],
)
async def test_one_bad_subject_does_not_spoil_its_neighbours(
    tmp_path: Path, status: int, rows: list[Any] | None, fault: str
) -> None:
    wire = Wire(spoilt(13, status=status, rows=rows))
    sources = open_sources(tmp_path, batch_of(32), wire)
    answers = await together(sources, [ask(organisation(number)) for number in range(32)])
    assert [number for number, answer in enumerate(answers) if code(answer)] == [13]
    assert code(answers[13]) == fault
    assert len(wire.requests) <= 1 + 2 * 5


async def test_a_source_that_fails_for_all_is_not_asked_for_each(tmp_path: Path) -> None:
    wire = Wire(lambda _: httpx.Response(500))
    sources = open_sources(tmp_path, batch_of(32), wire)
    answers = await together(sources, [ask(organisation(number)) for number in range(32)])
    assert {code(answer) for answer in answers} == {"ERROR"}
    assert len(wire.requests) == 1 + 2 * 5


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda _: httpx.Response(403), "REFUSED"),
        (lambda _: httpx.Response(429), "ERROR"),
        (Wire(echo)._answer, None),
    ],
    ids=["refused", "busy", "well"],
)
async def test_what_no_single_subject_can_cause_splits_nothing(
    tmp_path: Path, answer: Callable[[httpx.Request], httpx.Response], fault: str | None
) -> None:
    wire = Wire(answer)
    sources = open_sources(tmp_path, batch_of(32), wire)
    answers = await together(sources, [ask(organisation(number)) for number in range(8)])
    assert {code(each) for each in answers} == {fault}
    assert len(wire.requests) == 1


async def test_a_lost_connection_and_a_timeout_split_nothing(tmp_path: Path) -> None:
    def refused(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("")

    wire = Wire(refused)
    asks = [ask(organisation(number)) for number in range(8)]
    sources = open_sources(tmp_path, batch_of(32), wire)
    assert {code(answer) for answer in await together(sources, asks)} == {"DOWN"}
    assert len(wire.requests) == 1
    slow = Gate()
    late = open_sources(tmp_path, batch_of(32).replace("timeout_seconds = 5", "timeout_seconds = 0.02"), slow)
    assert {code(answer) for answer in await together(late, asks)} == {"TIMEOUT"}
    assert len(slow.requests) == 1


async def test_a_record_of_nobody_asked_for_reaches_nobody(tmp_path: Path) -> None:
    """Two requests, and a source that answers each with the other's record."""

    def crossed(request: httpx.Request) -> httpx.Response:
        keys = json.loads(request.content)["key"]
        other = {organisation(1).value: organisation(2).value, organisation(2).value: organisation(1).value}
        rows = [{"id": "R", "key": other[key]} for key in keys]
        return httpx.Response(200, json={"data": rows if len(keys) == 1 else [*rows, *OTHERS]})

    sources = open_sources(tmp_path, batch_of(10), Wire(crossed))
    answers = await together(sources, [ask(organisation(1)), ask(organisation(2))])
    assert [(code(answer), answer.records) for answer in answers] == [("WRONG_SUBJECT", ())] * 2


async def test_who_left_a_call_that_is_split_may_come_back(tmp_path: Path) -> None:
    wire = Gate(spoilt(1))
    sources = open_sources(tmp_path, batch_of(10), wire)
    bad, good, leaving = (begun(one(sources, ask(organisation(number)))) for number in (1, 2, 3))
    await wire.asked(1)
    leaving.cancel()
    await settled()
    wire.open.set()
    wire.open = asyncio.Event()
    await wire.asked(3)
    assert wire.sizes == [3, 1, 1]
    back = begun(one(sources, ask(organisation(3))))
    await wire.asked(4)
    wire.open.set()
    assert [code(await request) for request in (bad, good, back)] == ["ERROR", None, None]


# --- nothing stays behind


async def test_nothing_stays_behind(tmp_path: Path) -> None:
    """After answers, faults, late ones and callers gone: no task, no ask, and no answer is held."""
    before = asyncio.all_tasks()
    wire = Gate(spoilt(3))
    sources = open_sources(tmp_path, batch_of(10, concurrency=2), wire)
    requests = [begun(one(sources, ask(organisation(number)))) for number in range(30)]
    late = [begun(one(sources, ask(organisation(number)), 0.01)) for number in range(40, 50)]
    await asyncio.gather(*late)
    for request in requests[::3]:
        request.cancel()
    await settled()
    wire.open.set()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    kept = [weakref.ref(request) for request in requests]
    answer = next(each for each in answers if isinstance(each, SourceAnswer))
    assert code(answer) is None
    await settled()
    assert (asyncio.all_tasks() - before, left_of(sources)) == (set(), [0])
    [lookup] = sources._lookups
    assert (lookup._batches._gathering, lookup._batches._tasks) == ({}, set())
    del requests, request
    gc.collect()
    assert [ref() for ref in kept if ref() is not None] == []


async def test_what_was_asked_is_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, batch_of(10), Wire(echo))
    gc.collect()
    gc.disable()
    try:
        await together(sources, [ask(organisation(number)) for number in range(10)])
        await settled()
        assert not [each for each in gc.get_objects() if isinstance(each, Wanted | Call)]
    finally:
        gc.enable()


async def test_who_still_waits_at_the_end_is_told_so(tmp_path: Path) -> None:
    wire = Gate()
    sources = open_sources(tmp_path, batch_of(10), wire)
    requests = [begun(one(sources, ask(organisation(number)))) for number in (1, 2)]
    await wire.asked(1)
    await sources.aclose()
    assert [code(await request) for request in requests] == ["DOWN", "DOWN"]
    assert wire.under_way == 0


async def test_a_fault_of_our_own_is_raised_to_everyone_who_waits() -> None:
    """Neither swallowed nor left to the deadline: an error that no source is to blame for."""

    async def broken(take: Any, until: float) -> list[SourceAnswer]:
        take()
        raise ZeroDivisionError

    batches = Batches(10, broken, lambda error: SourceAnswer("demo", fault=error.fault), lambda _ask: None)

    async def waits(number: int) -> None:
        waiting = Waiting(asyncio.get_running_loop().time() + 30)
        of = ask(organisation(number))
        batches.join((number,), (), of, waiting, [SourceAnswer("")], 0, "unit")
        await waiting.all()

    results = await asyncio.gather(waits(1), waits(2), return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError, ZeroDivisionError]
    assert len(batches) == 0


# --- what is kept


async def test_a_peek_gives_what_is_kept_and_asks_nobody(tmp_path: Path) -> None:
    wire = Wire(echo)
    sources = open_sources(tmp_path, HEAD + CACHED, wire)
    first, second = (ask(organisation(number), may_cache=True) for number in (1, 2))
    assert sources.peek([first]) is None
    await sources.fetch([first], deadline=30)
    assert sources.peek([first, second]) is None
    assert sources.peek([]) == []
    [[answer]] = sources.peek([first]) or []
    assert (answer.cached, answer.records[0].record_id) == (True, f"R-{first.subject.value}")
    assert len(wire.requests) == 1


async def test_a_kept_answer_is_the_same_object_each_time(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + CACHED, Wire(echo))
    of = ask(organisation(1), may_cache=True)
    await one(sources, of)
    [[first]] = sources.peek([of]) or []
    [[second]] = sources.peek([of]) or []
    assert first is second is await one(sources, of)


@pytest.mark.parametrize(
    "other",
    [
        ask(organisation(1), fields=1, may_cache=True),
        ask(organisation(1), ground=Ground("LOAN_POSTMGMT", authorization_id="A-1"), may_cache=True),
        ask(organisation(1), ground=Ground("LOAN_PRECHECK", authorization_id="A-2"), may_cache=True),
        ask(organisation(2), may_cache=True),
        ask(organisation(1)),
    ],
    ids=["fields", "purpose", "consent", "subject", "no leave"],
)
async def test_a_peek_gives_nothing_fetched_for_another_input(tmp_path: Path, other: Ask) -> None:
    sources = open_sources(tmp_path, HEAD + CODES + TOLD, Wire(echo))
    await one(sources, ask(organisation(1), may_cache=True))
    assert sources.peek([other]) is None
    assert sources.peek([ask(organisation(1), ground=LOAN, may_cache=True)]) is not None


async def test_an_identifier_that_no_source_takes_is_answered_by_a_peek(tmp_path: Path) -> None:
    from policies.identifiers import SubjectKey
    from policies.vocabulary import SubjectKind

    sources = open_sources(tmp_path, HEAD + CACHED, Wire(echo))
    former = SubjectKey(SubjectKind.ORG, "registration_number", "990100000000013")
    [[answer]] = sources.peek([ask(former)]) or []
    assert code(answer) == "IDENTIFIER_NOT_TAKEN"


def test_a_kept_answer_is_gone_when_its_time_is_over() -> None:
    now = [100.0]
    cache = AnswerCache(10, lambda: now[0])
    cache.keep(("a",), SourceAnswer("demo"), 60)
    now[0] = 159.9
    assert cache.look(("a",)) is not None
    now[0] = 160.0
    assert (cache.look(("a",)), len(cache)) == (None, 0)


@pytest.mark.parametrize(
    "end",
    [
        lambda cache: cache.forget(("a",)),
        lambda cache: cache.forget_all(),
        lambda cache: cache.delete(("a",)),
        lambda cache: cache.clear(),
        lambda cache: cache.keep(("a",), SourceAnswer("demo"), 60),
        lambda cache: [cache.keep((number,), SourceAnswer("demo"), 60) for number in range(10)],
        None,
    ],
    ids=["forgotten", "all forgotten", "deleted", "cleared", "kept anew", "no room", "time"],
)
async def test_an_entry_is_held_until_its_answer_goes(end: Callable[[AnswerCache], Any] | None) -> None:
    now = [100.0]
    cache = AnswerCache(10, lambda: now[0])
    for key in ("a", "b"):
        cache.keep((key,), SourceAnswer("demo"), 60)
    entries = [entry for entry in (cache.entry(("a",)), cache.entry(("b",))) if entry is not None]
    assert len(entries) == 2
    assert cache.holds(entries)
    if end is None:
        now[0] += 60
    elif inspect.isawaitable(ended := end(cache)):
        await ended
    assert not cache.holds(entries)
    assert cache.holds([])


def test_what_is_held_is_used() -> None:
    cache = AnswerCache(16)
    cache.keep(("held",), SourceAnswer("demo"), 60)
    entry = cache.entry(("held",))
    assert entry is not None
    for number in range(200):
        cache.keep((number,), SourceAnswer("demo"), 60)
        assert cache.holds([entry])
    assert (len(cache), cache.look(("held",)) is entry.answer) == (16, True)


def test_what_is_kept_again_has_its_time_anew() -> None:
    now = [100.0]
    cache = AnswerCache(10, lambda: now[0])
    older, newer = SourceAnswer("demo"), SourceAnswer("demo", dropped=1)
    for answer in (older, newer):
        cache.keep(("a",), answer, 60)
        now[0] += 50
    assert cache.look(("a",)) is newer
