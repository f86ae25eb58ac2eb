"""Pace, breaker, retries and fallback of a source: whatever it does, answers come in time."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import Ask, Ground, SourceAnswer, SourceFaultError
from connectors.breaker import Breaker, BreakerState
from connectors.fetch import Sources
from connectors.rate import Rate
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

EVERYTHING = (1 << 64) - 1
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
HEAD = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
url = "http://demo.invalid:1"
timeout_seconds = {timeout}
{keys}

[envelope]
records = "data"
{tables}

[[lookup]]
category = "PENALTY"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/penalties"
json = {{ key = "{{subject.value}}" }}
subject = "key"
{lookup}
fields = {{ record_id = "id", facts = "facts" }}
"""
READ = "idempotent = true"
LOST = httpx.ConnectError("no connection")

Answer = Callable[[httpx.Request], httpx.Response]


class Wire(httpx.AsyncBaseTransport):
    """A source made by hand: it answers as the list says, then well; remembers when it was asked."""

    def __init__(self, *first: Exception | httpx.Response | float) -> None:
        self.first = list(first)
        self.asked: list[float] = []
        self.headers: list[Mapping[str, str]] = []
        self.under_way = 0
        self.most = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(asyncio.get_running_loop().time())
        self.headers.append(request.headers)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            step = self.first.pop(0) if self.first else 0.0
            if isinstance(step, Exception):
                raise step
            if isinstance(step, httpx.Response):
                return step
            await asyncio.sleep(step)
        finally:
            self.under_way -= 1
        key = json.loads(request.content)["key"]
        return httpx.Response(200, json={"data": [{"id": f"R-{key}", "key": key, "facts": "f"}]})


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def open_sources(
    directory: Path,
    wire: httpx.AsyncBaseTransport,
    *,
    timeout: float = 5,
    keys: str = "",
    tables: str = "",
    lookup: str = "",
    clock: Callable[[], datetime] = lambda: NOW,
) -> Sources:
    (directory / "demo.toml").write_text(
        HEAD.format(timeout=timeout, keys=keys, tables=tables, lookup=lookup)
    )
    return Sources.load(directory, transport=wire, clock=clock)


def ask(number: int = 1) -> Ask:
    subject = SubjectKey(SubjectKind.ORG, "credit_code", f"91990100FAKE{number:05}D")
    return Ask(subject, "PENALTY", EVERYTHING, Ground("LOAN_PRECHECK"), may_cache=False)


async def one(sources: Sources, number: int = 1, deadline: float = 30) -> SourceAnswer:
    [[answer]] = await sources.fetch([ask(number)], deadline=deadline)
    return answer


def code(answer: SourceAnswer) -> str | None:
    return answer.fault.code.value if answer.fault else None


async def codes(sources: Sources, times: int) -> list[str | None]:
    return [code(await one(sources, number)) for number in range(times)]


def busy(**headers: str) -> httpx.Response:
    return httpx.Response(503, headers=headers, json={})


# --- the breaker alone


def opened(breaker: Breaker, now: float) -> Breaker:
    while breaker.state is not BreakerState.OPEN:
        ticket = breaker.admit(now)
        assert ticket is not None
        breaker.failed(ticket, now)
    return breaker


def test_a_breaker_opens_after_failures_in_a_row_alone() -> None:
    breaker = Breaker(3, 10, chance=lambda: 0.0)
    for failed in (True, True, False, True, True, True):
        ticket = breaker.admit(0.0)
        assert ticket is not None
        if failed:
            breaker.failed(ticket, 0.0)
        else:
            breaker.succeeded(ticket)
    assert (breaker.state, breaker.admit(9.9)) == (BreakerState.OPEN, None)


def test_a_source_that_fails_every_second_time_is_left_alone_too() -> None:
    breaker = Breaker(5, 10)
    calls = 0
    while breaker.state is BreakerState.CLOSED:
        ticket = breaker.admit(0.0)
        assert ticket is not None
        if calls % 2:
            breaker.failed(ticket, 0.0)
        else:
            breaker.succeeded(ticket)
        calls += 1
    assert calls == 32


def test_time_lost_opens_before_the_number_does_and_never_by_one_call() -> None:
    breaker = Breaker(5, 10)
    for number, lost in enumerate((30.0, 0.1)):
        assert breaker.state is BreakerState.CLOSED, number
        ticket = breaker.admit(0.0)
        assert ticket is not None
        breaker.failed(ticket, 0.0, lost=lost)
    assert breaker.state is BreakerState.OPEN


def test_after_the_pause_one_probe_at_a_time() -> None:
    breaker = opened(Breaker(1, 10, chance=lambda: 0.0), 0.0)
    assert [breaker.admit(now) for now in (0.0, 9.99)] == [None, None]
    probe = breaker.admit(10.0)
    assert probe is not None
    assert [breaker.admit(now) for now in (10.0, 99.0)] == [None, None]
    breaker.failed(probe, 10.0)
    assert [breaker.admit(now) for now in (10.0, 19.9)] == [None, None]
    probe = breaker.admit(20.0)
    assert probe is not None
    breaker.succeeded(probe)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.admit(20.0) is not None


def test_the_pause_differs_from_replica_to_replica_and_is_never_shorter() -> None:
    ends = []
    for chance in (0.0, 0.5, 1.0):
        breaker = opened(Breaker(1, 10, chance=lambda chance=chance: chance), 0.0)  # type: ignore[misc]
        ends.append(next(tenth / 10 for tenth in range(1000) if not breaker.refuses(tenth / 10)))
    assert ends == [10.0, 12.0, 14.0]


def test_a_probe_that_nobody_waits_for_leaves_its_place() -> None:
    breaker = opened(Breaker(1, 10, chance=lambda: 0.0), 0.0)
    first = breaker.admit(10.0)
    assert first is not None
    breaker.abandoned(first, 10.5)
    second = breaker.admit(10.5)
    assert second not in (None, first)


def test_a_late_result_of_an_earlier_state_counts_for_nothing() -> None:
    breaker = Breaker(1, 10, chance=lambda: 0.0)
    early, late = breaker.admit(0.0), breaker.admit(0.0)
    assert early is not None
    assert late is not None
    breaker.failed(early, 0.0)
    breaker.succeeded(late)
    assert breaker.refuses(9.0)
    probe = breaker.admit(10.0)
    breaker.failed(late, 10.0)
    breaker.abandoned(late, 10.0)
    assert breaker.admit(99.0) is None
    assert probe is not None
    breaker.succeeded(probe)
    assert breaker.admit(10.0) is not None


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "gone", "hold"]), st.floats(0, 5)), max_size=80))
def test_a_breaker_never_lets_two_probes_out_and_always_comes_back(
    steps: list[tuple[str, float]],
) -> None:
    breaker, now, held = Breaker(3, 10), 0.0, 0
    for result, passed in steps:
        now += passed
        before = breaker.state
        ticket = breaker.admit(now)
        if before is BreakerState.HALF_OPEN:
            assert ticket is None
        if ticket is None:
            continue
        if result == "ok":
            breaker.succeeded(ticket)
            assert breaker.state is BreakerState.CLOSED
        elif result == "fail":
            breaker.failed(ticket, now)
        elif result == "gone":
            breaker.abandoned(ticket, now)
        elif breaker.state is BreakerState.HALF_OPEN:
            held = ticket
            break
    if held:
        breaker.abandoned(held, now)
    assert breaker.admit(now + 100) is not None


# --- the pace alone


async def test_a_seconds_worth_goes_at_once_and_the_rest_evenly() -> None:
    rate = Rate(100.0, None)
    now = asyncio.get_running_loop().time
    begun = now()
    await asyncio.gather(*(rate.turn(begun + 60, NOW) for _ in range(100)))
    early = now() - begun
    await asyncio.gather(*(rate.turn(begun + 60, NOW) for _ in range(20)))
    assert now() - begun >= 0.19
    assert early < now() - begun


async def test_a_turn_that_cannot_come_in_time_is_refused_at_once_and_costs_nobody_a_turn() -> None:
    rate = Rate(1.0, None)
    now = asyncio.get_running_loop().time()
    await rate.turn(now + 60, NOW)
    for _ in range(50):
        with pytest.raises(SourceFaultError, match="TIMEOUT: no turn in time"):
            await rate.turn(now + 0.5, NOW)
    await rate.turn(now + 1.5, NOW)


async def test_a_day_in_the_province_has_so_many_calls() -> None:
    rate = Rate(None, 2)
    late = datetime(2026, 11, 20, 15, 59, tzinfo=UTC)  # 23:59 in the province
    for _ in range(2):
        await rate.turn(1e9, late)
    with pytest.raises(SourceFaultError, match="QUOTA"):
        await rate.turn(1e9, late)
    await rate.turn(1e9, late + timedelta(minutes=1))
    assert rate.asked_today == 1


# --- a source with a breaker


async def test_a_dead_source_is_not_asked_any_more(tmp_path: Path) -> None:
    wire = Wire(*[LOST] * 50)
    sources = open_sources(tmp_path, wire, tables="[breaker]\nfailures = 3\nseconds = 60")
    answers = [await one(sources, number) for number in range(20)]
    assert {code(answer) for answer in answers} == {"DOWN"}
    assert len(wire.asked) == 3
    assert answers[-1].fault is not None
    assert answers[-1].fault.detail == "not asked: it failed before"
    health = sources.health()["demo"]
    assert (health.state, health.calls, health.not_asked) == (BreakerState.OPEN, 3, 17)
    assert health.faults == {"DOWN": 3}
    await sources.aclose()


async def test_a_silent_source_costs_about_a_second_and_then_nothing(tmp_path: Path) -> None:
    wire = Wire(*[600.0] * 50)
    sources = open_sources(tmp_path, wire, timeout=0.3, tables="[breaker]\nfailures = 50\nseconds = 60")
    assert await codes(sources, 10) == ["TIMEOUT"] * 4 + ["DOWN"] * 6
    assert len(wire.asked) == 4
    await sources.aclose()


async def test_a_source_that_was_given_no_time_is_not_blamed(tmp_path: Path) -> None:
    wire = Wire(*[600.0] * 8)
    sources = open_sources(tmp_path, wire, timeout=30, tables="[breaker]\nfailures = 2\nseconds = 60")
    for number in range(8):
        assert code(await one(sources, number, deadline=0.02)) == "TIMEOUT"
    assert code(await one(sources)) is None
    await sources.aclose()


async def test_the_budget_of_the_request_blames_a_source_that_had_its_time(tmp_path: Path) -> None:
    wire = Wire(*[600.0] * 8)
    sources = open_sources(tmp_path, wire, timeout=0.1, tables="[breaker]\nfailures = 2\nseconds = 60")
    found = [code(await one(sources, number, deadline=0.08)) for number in range(4)]
    assert found == ["TIMEOUT", "TIMEOUT", "DOWN", "DOWN"]
    assert sources.health()["demo"].faults == {"TIMEOUT": 2}
    await sources.aclose()


async def test_a_source_that_is_back_is_asked_again(tmp_path: Path) -> None:
    wire = Wire(LOST, LOST)
    sources = open_sources(tmp_path, wire, tables="[breaker]\nfailures = 2\nseconds = 0.05")
    assert await codes(sources, 3) == ["DOWN", "DOWN", "DOWN"]
    while code(await one(sources)) is not None:
        await asyncio.sleep(0.01)
    assert sources.health()["demo"].state is BreakerState.CLOSED
    assert await codes(sources, 3) == [None, None, None]
    await sources.aclose()


async def test_of_many_that_come_after_the_pause_one_probes(tmp_path: Path) -> None:
    wire = Wire(LOST, 0.1)
    sources = open_sources(tmp_path, wire, tables="[breaker]\nfailures = 1\nseconds = 0.05")
    assert code(await one(sources)) == "DOWN"
    while sources.health()["demo"].state is BreakerState.OPEN and len(wire.asked) == 1:
        await asyncio.sleep(0.08)
        answers = await asyncio.gather(*(one(sources, number) for number in range(20)))
    assert sorted(str(code(answer)) for answer in answers) == ["DOWN"] * 19 + ["None"]
    assert len(wire.asked) == 2
    await sources.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(403, json={}),
        httpx.Response(500, json={}),
        httpx.Response(200, json={"data": [{"id": "R", "key": "91990100FAKE99999D"}]}),
    ],
    ids=["garbage", "refused", "failure", "wrong subject"],
)
async def test_what_one_subject_can_cause_does_not_close_a_source_for_all(
    tmp_path: Path, answer: httpx.Response
) -> None:
    wire = Wire(*[answer] * 10)
    sources = open_sources(tmp_path, wire, tables="[breaker]\nfailures = 2\nseconds = 60")
    found = await codes(sources, 10)
    assert None not in found
    assert "DOWN" not in found
    assert await codes(sources, 1) == [None]
    await sources.aclose()


async def test_a_busy_source_is_left_alone(tmp_path: Path) -> None:
    wire = Wire(*(httpx.Response(status, json={}) for status in (429, 502, 503, 504)))
    sources = open_sources(tmp_path, wire, tables="[breaker]\nfailures = 4\nseconds = 60")
    assert await codes(sources, 6) == ["ERROR"] * 4 + ["DOWN"] * 2
    await sources.aclose()


@pytest.mark.parametrize("wish", ["30", "Fri, 20 Nov 2026 04:00:30 GMT"])
async def test_a_source_that_asks_for_a_pause_gets_it(tmp_path: Path, wish: str) -> None:
    wire = Wire(busy(**{"retry-after": wish}))
    sources = open_sources(tmp_path, wire, keys="retries = 3", lookup=READ)
    assert await codes(sources, 3) == ["ERROR", "DOWN", "DOWN"]
    assert len(wire.asked) == 1
    await sources.aclose()


@pytest.mark.parametrize("wish", ["soon", "-1", "3.5", "Fri, 99 Nov 2026 04:00:30 GMT"])
async def test_a_pause_that_cannot_be_read_is_none(tmp_path: Path, wish: str) -> None:
    wire = Wire(busy(**{"retry-after": wish}))
    sources = open_sources(tmp_path, wire)
    assert await codes(sources, 2) == ["ERROR", None]
    await sources.aclose()


async def test_a_probe_that_ends_in_an_error_of_our_own_leaves_its_place(tmp_path: Path) -> None:
    wire = Wire(LOST, ZeroDivisionError())
    sources = open_sources(tmp_path, wire, tables="[breaker]\nfailures = 1\nseconds = 0.02")
    assert code(await one(sources)) == "DOWN"
    await asyncio.sleep(0.05)
    with pytest.raises(ZeroDivisionError):
        await one(sources)
    assert code(await one(sources)) is None
    await sources.aclose()


# --- retries


async def test_a_read_is_tried_again_as_often_as_the_file_says(tmp_path: Path) -> None:
    for first, calls, found in (([LOST, busy()], 3, None), ([LOST] * 3, 3, "DOWN")):
        wire = Wire(*first)
        sources = open_sources(tmp_path, wire, keys="retries = 2", lookup=READ)
        assert (code(await one(sources)), len(wire.asked)) == (found, calls)
        await sources.aclose()


async def test_retries_wait_longer_each_time_and_not_all_alike(tmp_path: Path) -> None:
    pauses = []
    for _ in range(4):
        wire = Wire(LOST, LOST)
        sources = open_sources(tmp_path, wire, keys="retries = 2", lookup=READ)
        await one(sources)
        pauses.append((wire.asked[1] - wire.asked[0], wire.asked[2] - wire.asked[1]))
        await sources.aclose()
    assert all(first >= 0.025 and second >= 0.05 for first, second in pauses)
    assert len({round(first, 4) for first, _ in pauses}) > 1


@pytest.mark.parametrize(
    ("lookup", "first"),
    [("", LOST), (READ, httpx.Response(500, json={})), (READ, httpx.Response(200, text="<html>"))],
    ids=["no read", "failure", "garbage"],
)
async def test_what_may_not_or_need_not_be_tried_again_is_not(
    tmp_path: Path, lookup: str, first: Exception | httpx.Response
) -> None:
    wire = Wire(first)
    sources = open_sources(tmp_path, wire, keys="retries = 5", lookup=lookup)
    assert code(await one(sources)) is not None
    assert len(wire.asked) == 1
    await sources.aclose()


async def test_a_retry_that_would_come_too_late_is_not_waited_for(tmp_path: Path) -> None:
    wire = Wire(LOST)
    sources = open_sources(tmp_path, wire, keys="retries = 5", lookup=READ)
    assert code(await one(sources, deadline=0.02)) == "DOWN"
    assert len(wire.asked) == 1
    await sources.aclose()


async def test_no_retry_while_the_breaker_is_open(tmp_path: Path) -> None:
    wire = Wire(*[LOST] * 90)
    sources = open_sources(
        tmp_path, wire, keys="retries = 5", lookup=READ, tables="[breaker]\nfailures = 1\nseconds = 60"
    )
    slow = asyncio.ensure_future(one(sources, 1))
    while not wire.asked:
        await asyncio.sleep(0)
    wire.first.clear()
    wire.first.extend([LOST] * 90)
    assert code(await slow) == "DOWN"
    before = len(wire.asked)
    assert await codes(sources, 5) == ["DOWN"] * 5
    assert len(wire.asked) == before
    await sources.aclose()


# --- pace, quota, places and the deadline


async def test_the_rate_holds_calls_back_and_never_beyond_the_deadline(tmp_path: Path) -> None:
    wire = Wire()
    sources = open_sources(tmp_path, wire, tables="[rate]\nper_second = 10")
    answers = await asyncio.gather(*(one(sources, number, deadline=0.45) for number in range(30)))
    found = [code(answer) for answer in answers]
    assert set(found) == {None, "TIMEOUT"}
    assert len(wire.asked) == found.count(None) <= 15
    assert sources.health()["demo"].state is BreakerState.CLOSED
    await sources.aclose()


async def test_a_used_up_quota_is_said_and_nothing_is_asked(tmp_path: Path) -> None:
    wire, clock = Wire(), Clock()
    sources = open_sources(tmp_path, wire, tables="[rate]\nper_day = 3", clock=clock)
    assert await codes(sources, 5) == [None, None, None, "QUOTA", "QUOTA"]
    assert (len(wire.asked), sources.health()["demo"].today) == (3, 3)
    clock.now += timedelta(days=1)
    assert await codes(sources, 1) == [None]
    await sources.aclose()


async def test_who_waits_for_a_place_in_vain_blames_nobody(tmp_path: Path) -> None:
    wire = Wire(0.5)
    sources = open_sources(
        tmp_path, wire, keys="concurrency = 1", tables="[breaker]\nfailures = 1\nseconds = 60"
    )
    slow = asyncio.ensure_future(one(sources, 1))
    while not wire.asked:
        await asyncio.sleep(0)
    assert code(await one(sources, 2, deadline=0.05)) == "TIMEOUT"
    assert code(await slow) is None
    assert (wire.most, sources.health()["demo"].state) == (1, BreakerState.CLOSED)
    await sources.aclose()


async def test_the_source_is_told_how_long_it_has(tmp_path: Path) -> None:
    wire = Wire()
    sources = open_sources(tmp_path, wire, keys='deadline_header = "X-Time-Left-Ms"')
    await one(sources, 1, deadline=2)
    await one(sources, 2, deadline=60)
    left = [int(headers["x-time-left-ms"]) for headers in wire.headers]
    assert 1000 < left[0] <= 2000
    assert left[1] == 5000
    await sources.aclose()


async def test_health_tells_what_was_seen(tmp_path: Path) -> None:
    wire = Wire(0.03, httpx.Response(403, json={}), 0.0)
    sources = open_sources(tmp_path, wire)
    before = sources.health()["demo"]
    assert (before.calls, before.latency, before.last_fault, before.answered_at) == (0, None, None, None)
    await codes(sources, 3)
    health = sources.health()["demo"]
    assert (health.calls, health.faults, health.last_fault) == (3, {"REFUSED": 1}, "REFUSED")
    assert (health.as_of, health.under_way) == (NOW, 0)
    assert health.answered_at is not None
    assert health.answered_at.tzinfo is UTC
    assert health.latency is not None
    assert sum(health.latencies) == 2
    assert health.latencies[:3] != (2, 0, 0)
    assert health.latency_sum >= 0.03
    assert "FAKE" not in repr(health)
    await sources.aclose()
