"""What each unit may spend at a source in a day: who pays for a call, who is refused, and what costs nothing."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_sources import (
    LOOK,
    Books,
    SourceFiles,
    eventually,
    facts,
    gateway_over,
    record,
    registers_of,
    source,
)
from redis_server import Redis, redis_server
from service import BANK, BUREAU, CLEAN, DEFAULTER, ENFORCED, PENALISED, Client
from test_cli import assert_refused, config_of, ready, run
from test_cli import running as running_process
from test_kept import _until_heard
from test_live_sources import accepted, refusal, until_told
from test_serve import Workers

from connectors.answers import Ask, CountAsk, Ground, SourceAnswer, SourceFaultError
from connectors.budget import UnitBudgets
from connectors.fetch import SourceFileError, Sources
from connectors.rate import Rate
from connectors.sandbox.server import Sandbox
from connectors.shared_cache import SharedCache
from gateway.payer import payer_of
from policies.caller import Caller, Identity
from policies.identifiers import SubjectKey
from policies.registers import Reference, Register
from policies.vocabulary import Dimension, SubjectKind

EVERYTHING = (1 << 64) - 1
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)  # in the province
HALF, THIRD = Fraction(1, 2), Fraction(1, 3)

# --- the money alone

units = st.sampled_from("abcd")


@given(
    calls=st.lists(st.tuples(st.lists(units, min_size=1, max_size=9), st.booleans()), max_size=30),
    charge=st.fractions(Fraction(1, 100), 5),
    budget=st.fractions(5, 20),
)
def test_every_call_is_paid_in_full_and_nobody_pays_beyond_the_call_that_crosses_the_line(
    calls: list[tuple[list[str], bool]], charge: Fraction, budget: Fraction
) -> None:
    budgets = UnitBudgets(charge, budget)
    paid = Fraction()
    for payers, reached in calls:
        if not budgets.has_money(payers):
            assert all(budgets._spent[payer] >= budget for payer in payers)
            continue
        parts = budgets.book(payers)
        assert sum(parts.values()) == charge
        if reached:
            paid += charge
        else:
            budgets.give_back(parts)
    assert sum(budgets._spent.values()) == paid
    assert all(0 < spent < budget + charge for spent in budgets._spent.values())


def test_a_call_is_divided_by_seats_among_those_who_have_money() -> None:
    budgets = UnitBudgets(Fraction(1), Fraction(1))
    assert budgets.book("aab") == {"a": 2 * THIRD, "b": THIRD}
    assert budgets.book("a") == {"a": 1}
    assert budgets.book("aab") == {"b": 1}, "who has nothing left rides along"
    assert not budgets.has_money("ab")
    assert budgets.book("ab") == {"a": HALF, "b": HALF}, "a further page of a call that is under way"


def test_the_count_is_bounded_and_no_other_unit_begins_to_spend() -> None:
    budgets = UnitBudgets(Fraction(1), Fraction(9), most_units=2)
    budgets.book("a")
    budgets.book("b")
    assert budgets.has_money("b")
    assert not budgets.has_money("c")
    assert budgets.book("bc") == {"b": 1}
    assert len(budgets) == 2
    budgets.begin_day()
    assert budgets.has_money("c")


async def test_what_was_spent_yesterday_is_given_back_to_nobody_today() -> None:
    rate = Rate(None, None, charge=1, budget_per_unit_per_day=2)
    yesterday = await rate.turn(1e9, MIDNIGHT - timedelta(seconds=1), lambda: "a")
    await rate.turn(1e9, MIDNIGHT, lambda: "a")
    rate.not_reached(MIDNIGHT - timedelta(seconds=1), yesterday)
    assert rate.has_money("a", MIDNIGHT)
    await rate.turn(1e9, MIDNIGHT, lambda: "a")
    assert not rate.has_money("a", MIDNIGHT)


async def test_who_gives_up_before_the_turn_has_paid_nothing() -> None:
    rate = Rate(1.0, None, charge=1, budget_per_unit_per_day=1)
    until = asyncio.get_running_loop().time() + 60
    await rate.turn(until, NOW, lambda: "a")
    waiting = asyncio.ensure_future(rate.turn(until, NOW, lambda: "b"))
    await asyncio.sleep(0)
    assert not rate.has_money("b", NOW)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert rate.has_money("b", NOW)
    assert rate.charged == 1


async def test_a_new_price_counts_on_in_money() -> None:
    before = Rate(None, None, charge=1, budget_per_day=10, budget_per_unit_per_day=10)
    for _ in range(9):
        await before.turn(1e9, NOW, lambda: "a")
    after = Rate(None, None, charge=0.1, budget_per_day=10, budget_per_unit_per_day=10)
    after.follow_on(before)
    for _ in range(10):
        assert after.has_money("a", NOW)
        await after.turn(1e9, NOW, lambda: "a")
    assert not after.has_money("a", NOW)


# --- a source made by hand


FILE = """
id = "{id}"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
url = "http://{id}.invalid:1"
{top}

[breaker]
failures = 50

[rate]
{rate}

[envelope]
records = "data"
total = "total"

[[lookup]]
category = "PENALTY"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/records"
idempotent = true
subject = "key"
{lookup}
fields = {{ record_id = "id", facts = "facts", decided_on = "day" }}

{more}
"""
ALONE = 'json = { key = "{subject.value}" }'
BATCH = 'json = { key = "{subjects.value}" }\nbatch = 10'
PRICE = "charge = 1\ncurrency = 'CNY'\nbudget_per_unit_per_day = 2"
LOST = httpx.ConnectError("no connection")


class Wire(httpx.AsyncBaseTransport):
    """Sources that answer well as soon as `open` is set, but for the first answers, which the list gives."""

    def __init__(self, *first: Exception | httpx.Response) -> None:
        self.first = list(first)
        self.requests: list[httpx.Request] = []
        self.open = asyncio.Event()
        self.open.set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        await self.open.wait()
        step = self.first.pop(0) if self.first else rows(*self.keys(request))
        if isinstance(step, Exception):
            raise step
        return step

    @staticmethod
    def keys(request: httpx.Request) -> list[str]:
        keys = json.loads(request.content)["key"]
        return [keys] if isinstance(keys, str) else list(keys)

    def asked(self, host: str = "demo") -> list[list[str]]:
        """The subjects of each request to a source."""
        return [self.keys(each) for each in self.requests if each.url.host.startswith(host)]


def rows(*keys: str, total: int | None = None) -> httpx.Response:
    data = [{"id": f"R-{key}", "key": key, "facts": "f", "day": "2026-01-02"} for key in keys]
    return httpx.Response(200, json={"data": data, "total": len(data) if total is None else total})


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def write(
    directory: Path,
    name: str = "demo",
    *,
    rate: str = PRICE,
    lookup: str = ALONE,
    top: str = "",
    more: str = "",
) -> None:
    text = FILE.format(id=name, rate=rate, lookup=lookup, top=top, more=more)
    (directory / f"{name}.toml").write_text(text, "utf-8")


@asynccontextmanager
async def opened(
    directory: Path,
    wire: httpx.AsyncBaseTransport,
    clock: Callable[[], datetime] = lambda: NOW,
    **options: Any,
) -> AsyncIterator[Sources]:
    sources = Sources.load(directory, transport=wire, clock=clock, **options)
    try:
        yield sources
    finally:
        await sources.aclose()


def unit(number: int) -> str:
    return f"91990100FAKE{number:05}D"


def ask(number: int, *, may_cache: bool = False) -> Ask:
    subject = SubjectKey(SubjectKind.ORG, "credit_code", unit(number))
    return Ask(subject, "PENALTY", EVERYTHING, Ground("LOAN_PRECHECK"), may_cache)


async def got(
    sources: Sources, payer: str, *numbers: int, deadline: float = 30, may_cache: bool = False
) -> list[SourceAnswer]:
    """The answers to a request of one unit about these subjects."""
    asks = [ask(number, may_cache=may_cache) for number in numbers]
    return [answer for (answer,) in await sources.fetch(asks, deadline=deadline, payer=payer)]


async def codes(sources: Sources, payer: str, *numbers: int, **options: Any) -> list[str | None]:
    answers = await got(sources, payer, *numbers, **options)
    return [answer.fault.code.value if answer.fault else None for answer in answers]


def spent(sources: Sources, name: str = "demo") -> dict[str, Any]:
    """What each unit has spent at a source."""
    [found] = [each for each in sources._sources if each.file.id == name]
    assert found._rate._units is not None
    return dict(found._rate._units._spent)


async def together(*requests: Awaitable[Sequence[str | None]]) -> list[list[str | None]]:
    return [list(each) for each in await asyncio.gather(*requests)]


async def begun(wire: Wire, requests: int) -> None:
    """Wait until so many requests have begun, and let everything run that can run without an answer."""
    while len(wire.requests) < requests:
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(wire.requests) == requests


async def test_a_unit_without_money_is_not_asked_for_and_the_others_are(tmp_path: Path) -> None:
    write(tmp_path)
    wire, clock = Wire(), Clock()
    async with opened(tmp_path, wire, clock) as sources:
        for number in range(2):
            assert await codes(sources, "a", number) == [None]
        assert await codes(sources, "a", 2) == ["BUDGET"]
        assert await codes(sources, "b", 3) == [None]
        assert (len(wire.requests), spent(sources)) == (3, {"a": 2, "b": 1})
        health = sources.health()["demo"]
        assert (health.faults, health.charge, health.state) == ({"BUDGET": 1}, 3.0, "CLOSED")
        clock.now = MIDNIGHT
        assert await codes(sources, "a", 4) == [None]
        assert spent(sources) == {"a": 1}


async def test_those_who_wait_for_a_call_pay_it_by_their_seats(tmp_path: Path) -> None:
    write(tmp_path, lookup=BATCH)
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        answers = await together(codes(sources, "a", 1, 2), codes(sources, "b", 3), codes(sources, "c", 1))
        assert answers == [[None, None], [None], [None]]
        assert wire.asked() == [[unit(1), unit(2), unit(3)]]
        assert spent(sources) == {"a": HALF, "b": HALF / 2, "c": HALF / 2}


async def test_a_neighbour_without_money_is_left_out_of_the_call_and_pays_nothing(tmp_path: Path) -> None:
    write(tmp_path, lookup=BATCH)
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        for number in range(2):
            await codes(sources, "a", number)
        answers = await together(codes(sources, "a", 5, 6), codes(sources, "b", 6, 7))
        assert answers == [["BUDGET", None], [None, None]]
        assert wire.asked()[2:] == [[unit(6), unit(7)]]
        assert spent(sources) == {"a": 2, "b": 1}


async def test_a_call_that_is_crossed_by_the_line_is_paid_and_the_last(tmp_path: Path) -> None:
    write(tmp_path, lookup=BATCH, rate="charge = 1\nbudget_per_unit_per_day = 1.2")
    async with opened(tmp_path, Wire()) as sources:
        await together(codes(sources, "a", 1), codes(sources, "b", 2))
        assert await codes(sources, "a", 3) == [None]
        assert await codes(sources, "a", 4) == ["BUDGET"]
        assert spent(sources) == {"a": 3 * HALF, "b": HALF}


@pytest.mark.parametrize("subjects", [[*range(100)], [*range(50), *range(50)]])
async def test_many_asks_at_once_spend_no_more_than_there_is(tmp_path: Path, subjects: list[int]) -> None:
    write(tmp_path, rate="charge = 0.1\nbudget_per_unit_per_day = 0.7", top="concurrency = 16")
    wire = Wire()
    wire.open.clear()
    async with opened(tmp_path, wire) as sources:
        request = asyncio.ensure_future(together(*(codes(sources, "a", number) for number in subjects)))
        await begun(wire, 7)
        wire.open.set()
        found = [code for (code,) in await request]
        assert (len(wire.requests), spent(sources)) == (7, {"a": Fraction(7, 10)})
        assert set(found) == {None, "BUDGET"}


async def test_who_has_no_money_says_nothing_of_the_source(tmp_path: Path) -> None:
    """Its breaker opens in spite of refusals between failures, and no refusal closes it."""
    write(tmp_path, rate="charge = 1\nbudget_per_unit_per_day = 1")
    text = (tmp_path / "demo.toml").read_text("utf-8")
    (tmp_path / "demo.toml").write_text(
        text.replace("failures = 50", "failures = 2\nseconds = 0.01"), "utf-8"
    )
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        assert await codes(sources, "a", 1) == [None]
        wire.first = [LOST, LOST]
        assert await codes(sources, "b", 2) == ["DOWN"]
        assert await codes(sources, "a", 3) == ["BUDGET"]
        assert await codes(sources, "b", 4) == ["DOWN"]
        assert sources.health()["demo"].state == "OPEN"
        await asyncio.sleep(0.03)
        assert await codes(sources, "a", 5) == ["BUDGET"]
        assert sources.health()["demo"].state == "OPEN"
        assert await codes(sources, "b", 6) == [None]
        assert sources.health()["demo"].state == "CLOSED"


async def test_pages_and_tries_are_paid_like_the_first_request(tmp_path: Path) -> None:
    pages = 'json = { key = "{subject.value}", page = "{page.number}" }\npaging = { size = 1 }'
    write(tmp_path, lookup=pages, top="retries = 2", rate="charge = 1\nbudget_per_unit_per_day = 1")
    mine = unit(1)
    wire = Wire(rows(mine, total=2), httpx.Response(503, json={}), rows(mine, total=2))
    async with opened(tmp_path, wire) as sources:
        assert await codes(sources, "a", 1) == [None]
        assert (len(wire.requests), spent(sources)) == (3, {"a": 3})
        assert await codes(sources, "a", 2) == ["BUDGET"]


async def test_what_did_not_reach_the_source_costs_nobody_anything(tmp_path: Path) -> None:
    write(tmp_path, lookup=BATCH, top="retries = 1")
    wire = Wire(LOST, LOST)
    async with opened(tmp_path, wire) as sources:
        answers = await together(codes(sources, "a", 1), codes(sources, "b", 2))
        assert answers == [["DOWN"], ["DOWN"]]
        assert (len(wire.requests), spent(sources), sources.health()["demo"].charge) == (2, {}, 0)


async def test_who_has_left_pays_for_no_further_page(tmp_path: Path) -> None:
    pages = 'json = { key = "{subject.value}", page = "{page.number}" }\npaging = { size = 1 }'
    write(tmp_path, lookup=pages)
    wire = Wire(rows(unit(1), total=2), rows(unit(1), total=2))
    wire.open.clear()
    async with opened(tmp_path, wire) as sources:
        stays, leaves = (asyncio.ensure_future(codes(sources, payer, 1)) for payer in "ab")
        await begun(wire, 1)
        leaves.cancel()
        await asyncio.wait([leaves])
        wire.open.set()
        assert await stays == [None]
        assert spent(sources) == {"a": 3 * HALF, "b": HALF}


async def test_who_joins_what_is_under_way_and_what_is_kept_pay_nothing(tmp_path: Path) -> None:
    write(tmp_path, lookup=f"{ALONE}\ncache_seconds = 600", rate="charge = 1\nbudget_per_unit_per_day = 1")
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        assert await codes(sources, "b", 9) == [None]
        wire.open.clear()
        first = asyncio.ensure_future(codes(sources, "a", 1, may_cache=True))
        await begun(wire, 2)
        second = asyncio.ensure_future(codes(sources, "b", 1, may_cache=True))
        await asyncio.sleep(0)
        wire.open.set()
        assert [await first, await second] == [[None], [None]]
        assert await codes(sources, "b", 1, may_cache=True) == [None]
        assert await codes(sources, "b", 2, may_cache=True) == ["BUDGET"]
        assert spent(sources) == {"a": 1, "b": 1}


async def test_a_source_that_was_left_in_peace_stands_in_for_who_has_no_money(tmp_path: Path) -> None:
    write(tmp_path, lookup=BATCH, top='fallback = "spare"')
    write(tmp_path, "spare", rate="charge = 3\nbudget_per_unit_per_day = 3")
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        for number in range(2):
            await codes(sources, "a", number)
        [[mine], [other]] = await asyncio.gather(got(sources, "a", 5), got(sources, "b", 6))
        assert (mine.source, mine.instead_of, mine.fault) == ("spare", "demo", None)
        assert (other.source, other.fault) == ("demo", None)
        assert wire.asked("spare") == [[unit(5)]]
        assert (spent(sources), spent(sources, "spare")) == ({"a": 2, "b": 1}, {"a": 3})
        assert await codes(sources, "a", 7) == ["BUDGET"]
        assert len(wire.asked("spare")) == 1


async def test_nobody_waits_for_what_stands_in_for_another(tmp_path: Path) -> None:
    write(tmp_path, lookup=BATCH, top='fallback = "spare"')
    write(tmp_path, "spare")

    class SlowSpare(Wire):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.host.startswith("spare"):
                await asyncio.Event().wait()
            return await super().handle_async_request(request)

    async with opened(tmp_path, SlowSpare()) as sources:
        for number in range(2):
            await codes(sources, "a", number)
        poor = asyncio.ensure_future(codes(sources, "a", 5))
        assert await codes(sources, "b", 6) == [None]
        assert not poor.done()
        poor.cancel()
        await asyncio.wait([poor])


async def test_all_who_want_what_a_source_could_not_answer_pay_the_one_that_can(tmp_path: Path) -> None:
    write(tmp_path, lookup=BATCH, top='fallback = "spare"')
    write(tmp_path, "spare")
    wire = Wire(LOST)
    async with opened(tmp_path, wire) as sources:
        await together(codes(sources, "a", 1, 2), codes(sources, "b", 2))
        assert sorted(wire.asked("spare")) == [[unit(1)], [unit(2)]]
        assert (spent(sources), spent(sources, "spare")) == ({}, {"a": 3 * HALF, "b": HALF})


async def test_the_last_answer_stands_in_for_who_has_no_money(tmp_path: Path) -> None:
    kept = f"{ALONE}\ncache_seconds = 0.01\nstale_if_error_seconds = 600"
    write(tmp_path, lookup=kept, rate="charge = 1\nbudget_per_unit_per_day = 1")
    async with opened(tmp_path, Wire()) as sources:
        await got(sources, "a", 1, may_cache=True)
        await asyncio.sleep(0.02)
        [answer] = await got(sources, "a", 1, may_cache=True)
        assert (answer.stale, len(answer.records)) == (True, 1)
        assert spent(sources) == {"a": 1}


async def test_what_another_replica_keeps_is_free_for_who_has_no_money(tmp_path: Path) -> None:
    write(tmp_path, lookup=f"{BATCH}\ncache_seconds = 600")
    secret = hashlib.sha256(b"of this test").digest()
    wire = Wire()
    with redis_server(tmp_path) as server:
        async with (
            replica(tmp_path, wire, server, secret) as here,
            replica(tmp_path, wire, server, secret) as there,
        ):
            await codes(here, "c", 1, may_cache=True)
            shared = here._store.shared
            assert shared is not None
            await eventually(lambda: shared._writing is None)
            for number in (8, 9):
                await codes(there, "a", number, may_cache=True)
            answers = await together(
                codes(there, "a", 1, 5, may_cache=True), codes(there, "b", 6, may_cache=True)
            )
            assert answers == [[None, "BUDGET"], [None]]
            assert wire.asked()[3:] == [[unit(6)]]
            assert (spent(here), spent(there)) == ({"c": 1}, {"a": 2, "b": 1})


@asynccontextmanager
async def replica(directory: Path, wire: Wire, server: Redis, secret: bytes) -> AsyncIterator[Sources]:
    shared = SharedCache(server.url, secret, seconds=2.0)
    try:
        async with opened(directory, wire, shared=shared) as sources:
            following = asyncio.create_task(sources.follow())
            try:
                await _until_heard(sources)
                yield sources
            finally:
                following.cancel()
                await asyncio.wait([following])
    finally:
        await shared.aclose()


async def test_the_sources_own_budget_comes_first(tmp_path: Path) -> None:
    write(tmp_path, rate="charge = 1\nbudget_per_day = 3\nbudget_per_unit_per_day = 2")
    async with opened(tmp_path, Wire()) as sources:
        assert await codes(sources, "a", 1) == [None]
        assert await codes(sources, "a", 2) == [None]
        assert await codes(sources, "b", 3) == [None]
        assert await codes(sources, "b", 4) == ["QUOTA"]
        assert spent(sources) == {"a": 2, "b": 1}


async def test_new_files_count_on(tmp_path: Path) -> None:
    write(tmp_path)
    async with opened(tmp_path, Wire()) as before:
        await codes(before, "a", 1)
        async with opened(tmp_path, Wire()) as after:
            after.follow_on(before)
            await codes(before, "a", 2)  # begun before, paid after
            assert await codes(after, "a", 3) == ["BUDGET"]
            assert await codes(after, "b", 3) == [None]


async def test_searches_counts_and_registers_are_paid_too(tmp_path: Path) -> None:
    more = """
[search]
path = "/search"
json = { key = "{search.name}" }
page_size = 20
fields = { name = "facts", credit_code = "key" }

[[statistics]]
category = "PENALTY"
kinds = { ORG = "legal" }
path = "/counts"
json = { key = [], of = "{statistics.kind}", by = "{statistics.by}", on = "{statistics.day}" }
dimensions = { CITY = "town" }
count = "n"

[[register]]
names = ["cases"]
method = "POST"
path = "/cases"
json = { key = [], number = "{register.number}" }
fields = { number = "id", open = { from = "day", table = { 2026-01-02 = true } } }
"""
    write(tmp_path, more=more, rate="charge = 1\nbudget_per_unit_per_day = 3")
    wire = Wire()
    ground = Ground("SUPERVISION")

    async def each(sources: Sources, payer: str) -> list[str | None]:
        hits = await sources.search("x", first=5, offset=0, ground=ground, deadline=30, payer=payer)
        by = CountAsk("PENALTY", SubjectKind.ORG, (Dimension.CITY,), NOW.date())
        [count] = await sources.statistics(by, ground=ground, deadline=30, payer=payer)
        reference = Reference(Register.CASES, "N-1")
        [entry] = await sources.look_up([reference], ground=ground, deadline=30, payer=payer)
        return [found.fault.code.value if found.fault else None for found in (hits, count, entry)]

    async with opened(tmp_path, wire) as sources:
        assert await each(sources, "a") == [None] * 3
        assert (len(wire.requests), spent(sources)) == (3, {"a": 3})
        assert await each(sources, "a") == ["BUDGET"] * 3
        assert await codes(sources, "a", 1) == ["BUDGET"]
        assert len(wire.requests) == 3
        assert await each(sources, "b") == [None] * 3


@pytest.mark.parametrize(
    ("rate", "reason"),
    [
        ("budget_per_unit_per_day = 5", "there is no charge"),
        ("charge = 1\nbudget_per_unit_per_day = 0", "it is no positive amount"),
        ("charge = 1\nbudget_per_unit_per_day = inf", "it is no positive amount"),
        ("charge = 1\nbudget_per_unit_per_day = 0.5", "it is below the charge of one call"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(tmp_path: Path, rate: str, reason: str) -> None:
    write(tmp_path, rate=rate)
    with pytest.raises(SourceFileError) as caught:
        Sources.load(tmp_path, transport=Wire())
    assert (caught.value.key, caught.value.reason) == ("rate.budget_per_unit_per_day", reason)
    assert caught.value.line is not None
    assert caught.value.remedy


# --- several processes, each with its part


async def test_each_process_has_its_part(tmp_path: Path) -> None:
    rate = "per_day = 7\ncharge = 1\nbudget_per_day = 100\nbudget_per_unit_per_day = 4"
    write(tmp_path, rate=rate, top="concurrency = 5")
    wire = Wire()
    wire.open.clear()
    async with opened(tmp_path, wire, workers=2) as sources:
        asked = [asyncio.ensure_future(codes(sources, "abc"[number % 3], number)) for number in range(9)]
        await begun(wire, 2)  # half of the places
        wire.open.set()
        found = [(await each)[0] for each in asked]
        assert found.count(None) == 3, "half of the day's calls"
        assert found.count("QUOTA") == 6
    (tmp_path / "demo.toml").unlink()
    write(tmp_path, rate="charge = 1\nbudget_per_day = 9\nbudget_per_unit_per_day = 5", top="concurrency = 1")
    async with opened(tmp_path, Wire(), workers=2) as sources:
        assert await codes(sources, "a", 1, 2, 3, 4) == [None] * 3 + ["BUDGET"]
        assert await codes(sources, "b", 1, 2) == [None, "QUOTA"]


async def test_each_process_has_its_part_of_a_second() -> None:
    rate = Rate(100.0, None, workers=4)
    now = asyncio.get_running_loop().time()
    turns = await asyncio.gather(*(rate.turn(now, NOW) for _ in range(100)), return_exceptions=True)
    refused = [turn for turn in turns if isinstance(turn, SourceFaultError)]
    assert 75 <= len(refused) < 100
    assert rate.asked_today == 100 - len(refused)


@pytest.mark.parametrize(
    ("rate", "key", "reason"),
    [
        ("per_second = 3.5", "rate.per_second", "it leaves less than a call for each of 4 processes"),
        ("per_day = 3", "rate.per_day", "it leaves less than a call for each of 4 processes"),
        (
            "charge = 0.1\nbudget_per_day = 0.3",
            "rate.budget_per_day",
            "it leaves less than the charge of a call for each of 4 processes",
        ),
        (
            "charge = 1\nbudget_per_unit_per_day = 2",
            "rate.budget_per_unit_per_day",
            "it leaves less than the charge of a call for each of 4 processes",
        ),
    ],
)
async def test_what_cannot_be_divided_is_refused(tmp_path: Path, rate: str, key: str, reason: str) -> None:
    write(tmp_path, rate=rate)
    with pytest.raises(SourceFileError) as caught:
        Sources.load(tmp_path, transport=Wire(), workers=4)
    assert (caught.value.key, caught.value.reason) == (key, reason)
    assert "demo.toml:" in str(caught.value)
    async with opened(tmp_path, Wire()) as sources:
        assert await codes(sources, "a", 1) == [None]


def test_what_can_just_be_divided_is_taken(tmp_path: Path) -> None:
    rate = "per_second = 3\nper_day = 3\ncharge = 0.1\nbudget_per_day = 0.3\nbudget_per_unit_per_day = 0.3"
    write(tmp_path, rate=rate)
    assert Sources.load(tmp_path, transport=Wire(), workers=3).titles()


# --- who pays


def caller(unit: str, identity: Identity | None = None) -> Caller:
    return Caller(
        unit=unit,
        unit_name="示例单位",
        type="SUBJECT" if identity else "BANK",
        level=None,
        division=None,
        purposes=frozenset({"SELF"}),
        categories=None,
        officer=None,
        identity=identity,
        synthetic_only=False,
        client="client",
        token_id="t-1",
        expires=2_000_000_000,
    )


def test_a_subject_pays_under_a_name_that_tells_nobody_who_it_is() -> None:
    number = DEFAULTER["number"]
    person = Identity(resident_number=number, name=DEFAULTER["name"])
    payer = payer_of(caller(number, person))
    assert payer == payer_of(caller(number, person))
    assert payer != payer_of(caller(CLEAN, Identity(credit_code=CLEAN)))
    assert number not in payer
    assert len(payer) == 32
    assert payer_of(caller(CLEAN)) == CLEAN


# --- through the running gateway, over sockets


@pytest.fixture
async def books() -> AsyncIterator[Books]:
    async with Books().listening() as books:
        yield books


@pytest.fixture
def files(tmp_path: Path) -> SourceFiles:
    return SourceFiles(tmp_path / "sources")


BILLED = "[rate]\ncharge = 1.5\ncurrency = 'CNY'\nbudget_per_unit_per_day = 3"
PUBLIC = """query($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $id) { ... on OperatingSubject {
  penalties { state reason { code message } sources { id fault } } } } } }"""
MANY = """query($of: [SubjectRef!]!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-REGISTERED"}) {
  subjects(of: $of) { ... on OperatingSubject { penalties { state sources { id fault } } } } } }"""
OWN = """query($id: SubjectId!) { inquiry(purpose: SELF) { subject(id: $id) {
  ... on NaturalPerson { penalties { state sources { id fault } } } } } }"""


async def test_units_share_a_call_and_who_has_no_money_left_is_told(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    files.put("books", books.url, tables=BILLED, top="concurrency = 1\ntimeout_seconds = 20")
    async with gateway_over(sandbox, tmp_path, files, deadline=20) as running:
        sources = running.app.state.reload._sources.now
        bureau, bank = "11990105FAKE90012G", "91990100FAKE90020T"

        async def public(client: str, code: str = CLEAN) -> dict[str, Any]:
            body = await running.client.ask(client, PUBLIC, {"id": {"creditCode": code}})
            found: dict[str, Any] = body["data"]["inquiry"]["subject"]["penalties"]
            return found

        await running.client.token(BANK)
        books.go_on.clear()
        before = asyncio.create_task(public(BUREAU, PENALISED))
        while books.asked < 1:
            await asyncio.sleep(0.01)
        # The source has no place free: two units wait for the same.
        asked = [asyncio.create_task(public(client)) for client in (BUREAU, BANK)]
        while sum(len(lookup._batches) for lookup in sources._lookups) < 2 or not shared_by(sources, 2):
            await asyncio.sleep(0.01)
        books.go_on.set()
        for task in (before, *asked):
            assert source(await task)["fault"] is None
        assert books.asked == 2
        assert spent(sources, "books") == {bureau: Fraction("2.25"), bank: Fraction("0.75")}
        assert source(await public(BUREAU, ENFORCED))["fault"] is None
        refused = await public(BUREAU)
        assert (refused["state"], source(refused)["fault"]) == ("UNKNOWN", "BUDGET")
        assert refused["reason"] == {
            "code": "UNKNOWN_SOURCE_DOWN",
            "message": "The money that your unit may spend at the source in a day is used up.",
        }
        assert books.asked == 3
        assert source(await public(BANK))["fault"] is None
        figures = await running.figures()
        told = f"{sources.health()}{figures}{caplog.text}"
    assert 'credit_gateway_source_charge_total{currency="CNY",source="books"} 6.0' in figures.splitlines()
    assert 'credit_gateway_source_faults_total{fault="BUDGET",source="books"} 1.0' in figures.splitlines()
    for name in (bureau, bank, CLEAN):
        assert name not in told


def shared_by(sources: Sources, requests: int) -> bool:
    """Whether some ask is waited for by so many requests."""
    held = (each for lookup in sources._lookups for each in lookup._batches._open.values())
    return any(len(wanted.seats) == requests for wanted in held)


async def test_a_list_of_subjects_spends_no_more_than_there_is(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, tables=BILLED)
    registered = [code for code in sandbox.population.records.registrations if code.startswith("91")][:100]
    assert len(registered) == 100
    of = [{"id": {"creditCode": code}} for code in registered]
    async with gateway_over(sandbox, tmp_path, files) as running:
        body = await running.client.ask(BUREAU, MANY, {"of": of})
    faults = [source(each["penalties"])["fault"] for each in body["data"]["inquiry"]["subjects"]]
    assert (faults.count(None), faults.count("BUDGET")) == (2, 98)
    assert books.asked == 2


async def test_a_person_pays_and_is_named_nowhere(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    files.put("books", books.url, tables=BILLED)
    async with gateway_over(sandbox, tmp_path, files) as running:
        sources = running.app.state.reload._sources.now
        found = []
        for _ in range(3):
            body = await running.client.ask(
                "subject-portal", OWN, {"id": {"resident": DEFAULTER}}, persona="natural-person"
            )
            found.append(source(body["data"]["inquiry"]["subject"]["penalties"])["fault"])
        assert found == [None, None, "BUDGET"]
        [(payer, money)] = spent(sources, "books").items()
        assert (len(payer), money) == (32, 3)
        told = f"{payer}{sources.health()}{await running.figures()}{caplog.text}"
    for secret in DEFAULTER.values():
        assert secret not in told


async def test_kept_answers_are_free_and_new_files_count_on(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, tables=BILLED, lookup="cache_seconds = 600")
    async with gateway_over(sandbox, tmp_path, files) as running:
        for _ in range(5):
            assert facts(await running.penalties()) == ["first"]
        assert facts(await running.penalties(PENALISED)) == ["first"]
        assert source(await running.penalties(ENFORCED))["fault"] == "BUDGET"
        assert facts(await running.penalties()) == ["first"]
        assert books.asked == 2
        books.rows = [record(facts="changed")]
        files.put("books", books.url, tables=BILLED.replace("= 3", "= 4.5"), lookup="cache_seconds = 600")
        running.app.state.reload.ask()
        await until_told(running, "changed")
        assert source(await running.penalties(PENALISED))["fault"] == "BUDGET"
        assert books.asked == 3


# --- several workers, one source


def config_over(sandbox: Sandbox, folder: Path, files: SourceFiles) -> Path:
    """A settings file of a gateway over these source files."""
    config = config_of(sandbox, folder)
    urls = "\n".join(f'{name} = "{url}"' for name, url in registers_of(sandbox).items())
    before, _, _ = config.read_text("utf-8").partition("[sources.urls]")
    config.write_text(f"{before}[sources]\ndirectory = '{files.path}'\n[sources.urls]\n{urls}\n", "utf-8")
    return config


async def test_workers_together_keep_to_what_a_source_allows(
    sandbox: Sandbox, client: Client, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, tables="[rate]\nper_day = 5")
    config = config_over(sandbox, tmp_path, files)
    async with running_process("serve", "--config", config, "--workers", "2") as process:
        served = Workers(process, str((await ready(process))["url"]), client)

        async def faults(times: int) -> list[str | None]:
            answers = await asyncio.gather(
                *(served.ask(LOOK, id={"creditCode": CLEAN}) for _ in range(times))
            )
            subjects = [answer.json()["data"]["inquiry"]["subject"] for answer in answers]
            return [source(subject["penalties"])["fault"] for subject in subjects]

        async with asyncio.timeout(60):
            while books.asked < 4:  # until both of them have made their calls
                await faults(4)
        assert await faults(12) == ["QUOTA"] * 12
        assert books.asked == 4
        await served.end()


async def test_what_cannot_be_divided_stops_the_start(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, tables="[rate]\nper_day = 3")
    config = config_over(sandbox, tmp_path, files)
    done = await run("serve", "--config", config, "--workers", "4")
    said = "rate.per_day: it leaves less than a call for each of 4 processes; serve with fewer"
    assert_refused(done, "books.toml:", said)
    assert done.err.count("Error: ") == 1
    assert books.connections == 0


# --- files that mean what they did


async def test_a_reload_for_the_policy_alone_leaves_the_sources_as_they_are(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    files.put("books", books.url, lookup="cache_seconds = 600")
    async with Books().listening() as dead, gateway_over(sandbox, tmp_path, files) as running:
        dead.dead = True
        files.put("dead", dead.url, "LICENCE", tables="[breaker]\nfailures = 1\nseconds = 600")
        running.app.state.reload.ask()
        await eventually(lambda: "dead" in running.app.state.reload._sources.now.titles())
        sections = await running.sections()
        assert (facts(sections["penalties"]), sections["licences"]["state"]) == (["first"], "UNKNOWN")
        asked, connections = books.asked, dead.connections
        sources = running.app.state.reload._sources.now
        files.write("books", "# Another remark.\n" + files.read("books"))
        with caplog.at_level(logging.INFO, "gateway"):
            running.app.state.reload.ask()
            await eventually(lambda: "sources are as they were" in caplog.text)
        assert running.app.state.reload._sources.now is sources
        sections = await running.sections()
        assert (facts(sections["penalties"]), sections["licences"]["state"]) == (["first"], "UNKNOWN")
        assert books.asked == asked, "the answer is kept still"
        assert books.connections == books.open, "its connection is open still"
        assert dead.connections == connections, "the breaker is open still"


async def test_a_mistake_that_is_taken_back_leaves_the_sources_as_they_are(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, lookup="cache_seconds = 600")
    good = files.read("books")
    async with gateway_over(sandbox, tmp_path, files) as running:
        sources = running.app.state.reload._sources.now
        files.write("books", good.replace("category", "categry"))
        assert "categry" in await refusal(running)
        files.write("books", good)
        await accepted(running)
        assert running.app.state.reload._sources.now is sources


@pytest.mark.parametrize("changed", ["the secret", "its successor", "the address", "a number"])
async def test_whatever_a_source_is_made_of_makes_it_anew(tmp_path: Path, changed: str) -> None:
    secret, successor = tmp_path / "secret", tmp_path / "next"
    secret.write_text("one", "utf-8")
    successor.write_text("two", "utf-8")
    places = f"key = {{ file = '{secret}', next = {{ file = '{successor}' }} }}"

    def load(**options: Any) -> Sources:
        return Sources.load(tmp_path, transport=Wire(), **options)

    write(tmp_path, more=f"[secrets]\n{places}")
    before = load()
    assert load().same_as(before)
    url = {}
    match changed:
        case "the secret":
            secret.write_text("three", "utf-8")
        case "its successor":
            successor.write_text("three", "utf-8")
        case "the address":
            url = {"demo": "http://other.invalid:1"}
        case _:
            write(tmp_path, more=f"[secrets]\n{places}", rate=PRICE.replace("= 2", "= 3"))
    assert not load(urls=url).same_as(before)
    assert load(urls=url).same_as(load(urls=url))
