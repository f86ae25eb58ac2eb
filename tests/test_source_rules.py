"""What a source's file says of used-up calls, of what calls cost, and of several records where one can be."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.registry import CollectorRegistry

from connectors.answers import Ask, Ground, SourceAnswer
from connectors.fetch import SourceFileError, Sources
from connectors.rate import Rate
from gateway.metrics import GatewayCollector, RequestCounts
from policies.catalogue import Registration
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

EVERYTHING = (1 << 64) - 1
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)  # in the province
FILE = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
url = "http://demo.invalid:1"

[breaker]
failures = 50

[rate]
{rate}

[envelope]
records = "data"
{envelope}

[[lookup]]
category = "REG_ORG"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/units"
json = {{ key = "{{subject.value}}" }}
{lookup}

[lookup.fields]
record_id = "id"
name = "name"
registered_on = "day"
"""
LOST = httpx.ConnectError("no connection")
Step = Exception | httpx.Response


class Wire(httpx.AsyncBaseTransport):
    """A source made by hand: it answers as the list says, then well."""

    def __init__(self, *first: Step) -> None:
        self.first = list(first)
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked += 1
        step = self.first.pop(0) if self.first else said(code=0, data=[unit("R-1")])
        if isinstance(step, Exception):
            raise step
        return step


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def said(status: int = 200, **body: Any) -> httpx.Response:
    return httpx.Response(status, json=body)


def unit(record_id: str, day: str | None = None) -> dict[str, Any]:
    return {"id": record_id, "name": f"Unit {record_id}", "day": day}


def load(
    directory: Path,
    wire: httpx.AsyncBaseTransport | None = None,
    *,
    rate: str = "",
    envelope: str = "",
    lookup: str = "",
    clock: Callable[[], datetime] = lambda: NOW,
    **options: Any,
) -> Sources:
    text = FILE.format(rate=rate, envelope=envelope, lookup=lookup)
    (directory / "demo.toml").write_text(text, "utf-8")
    return Sources.load(directory, transport=wire, clock=clock, **options)


@asynccontextmanager
async def opened(
    directory: Path, wire: httpx.AsyncBaseTransport | None, **parts: Any
) -> AsyncIterator[Sources]:
    sources = load(directory, wire, **parts)
    try:
        yield sources
    finally:
        await sources.aclose()


async def one(sources: Sources, number: int = 1, deadline: float = 30) -> SourceAnswer:
    subject = SubjectKey(SubjectKind.ORG, "credit_code", f"91990100FAKE{number:05}D")
    ask = Ask(subject, "REG_ORG", EVERYTHING, Ground("LOAN_PRECHECK"), may_cache=False)
    [[answer]] = await sources.fetch([ask], deadline=deadline)
    return answer


def code(answer: SourceAnswer) -> str | None:
    return answer.fault.code.value if answer.fault else None


async def codes(sources: Sources, times: int) -> list[str | None]:
    return [code(await one(sources, number)) for number in range(times)]


def refusal(directory: Path, **parts: Any) -> SourceFileError:
    with pytest.raises(SourceFileError) as caught:
        load(directory, **parts)
    return caught.value


# --- the source says that its calls are used up


USED_UP = {
    "code": ("codes = [{ at = 'code', ok = [0], quota = [9] }]", said(code=9)),
    "message": (
        "codes = [{ at = 'code', ok = [0], message = 'text', messages = { over = 'quota' } }]",
        said(code=1, text="over"),
    ),
    "status": ("http = { 429 = 'quota' }", said(429)),
    "fault": (
        "format = 'soap'\nfaults = { Used = 'quota' }",
        httpx.Response(
            500,
            text='<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault>'
            "<faultcode>e:Used</faultcode></e:Fault></e:Body></e:Envelope>",
            headers={"content-type": "text/xml"},
        ),
    ),
}


@pytest.mark.parametrize("where", USED_UP)
async def test_used_up_calls_are_told_apart_and_the_source_is_asked_no_more(
    tmp_path: Path, where: str
) -> None:
    envelope, answer = USED_UP[where]
    wire = Wire(answer)
    async with opened(tmp_path, wire, envelope=envelope) as sources:
        assert await codes(sources, 5) == ["QUOTA"] * 5
    assert wire.asked == 1


async def test_the_next_day_of_the_province_brings_new_calls(tmp_path: Path) -> None:
    wire, clock = Wire(said(429)), Clock(MIDNIGHT - timedelta(minutes=1))
    async with opened(tmp_path, wire, envelope="http = { 429 = 'quota' }", clock=clock) as sources:
        assert await codes(sources, 2) == ["QUOTA"] * 2
        clock.now = MIDNIGHT
        assert await codes(sources, 2) == [None] * 2
    assert wire.asked == 3


async def test_an_answer_of_yesterday_closes_no_new_day() -> None:
    rate = Rate(None, 5)
    await rate.turn(1e9, MIDNIGHT)
    rate.used_up(MIDNIGHT - timedelta(seconds=1))
    await rate.turn(1e9, MIDNIGHT)
    assert rate.asked_today == 2


async def test_used_up_calls_stay_used_up_when_the_file_is_read_anew(tmp_path: Path) -> None:
    envelope = "http = { 429 = 'quota' }"
    async with opened(tmp_path, Wire(said(429)), envelope=envelope) as before:
        assert await codes(before, 1) == ["QUOTA"]
        wire = Wire()
        async with opened(tmp_path, wire, envelope=envelope) as after:
            after.follow_on(before)
            assert await codes(after, 2) == ["QUOTA"] * 2
    assert wire.asked == 0


def test_codes_of_xml_are_texts(tmp_path: Path) -> None:
    codes_of_xml = "format = 'xml'\ncodes = [{ at = 'a.code', ok = ['0'], quota = [9] }]"
    error = refusal(tmp_path, envelope=codes_of_xml)
    assert (error.key, error.reason) == ("envelope.codes[0].quota", "XML knows texts alone")


# --- what calls cost


async def test_a_call_that_found_no_source_costs_nothing_and_every_other_does(tmp_path: Path) -> None:
    wire = Wire(LOST, said(500), said(code=0, data=[unit("R-1")]), LOST, httpx.ReadTimeout("late"))
    async with opened(tmp_path, wire, rate="charge = 0.25\ncurrency = 'CNY'") as sources:
        assert await codes(sources, 5) == ["DOWN", "ERROR", None, "DOWN", "TIMEOUT"]
        health = sources.health()["demo"]
        assert (health.calls, health.charge, health.currency) == (5, 0.75, "CNY")


async def test_over_a_socket_a_refused_connection_costs_nothing(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"data": [unit("R-1")]}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    rate = "charge = 2\nbudget_per_day = 4"
    async with opened(tmp_path, None, rate=rate, urls={"demo": address}) as sources:
        assert await codes(sources, 1) == [None]
        server.close()
        await server.wait_closed()
        assert await codes(sources, 2) == ["DOWN"] * 2
        assert sources.health()["demo"].charge == 2.0


async def test_a_source_without_charge_has_none(tmp_path: Path) -> None:
    async with opened(tmp_path, Wire(), rate="per_day = 9") as sources:
        assert await codes(sources, 1) == [None]
        assert sources.health()["demo"].charge is None


async def test_a_days_budget_pays_for_so_many_calls(tmp_path: Path) -> None:
    wire, clock = Wire(LOST), Clock()
    rate = "charge = 0.1\nbudget_per_day = 0.3"
    async with opened(tmp_path, wire, rate=rate, clock=clock) as sources:
        assert await codes(sources, 6) == ["DOWN", None, None, None, "QUOTA", "QUOTA"]
        assert wire.asked == 4
        clock.now = MIDNIGHT
        assert await codes(sources, 4) == [None, None, None, "QUOTA"]
        assert sources.health()["demo"].charge == pytest.approx(0.6)


async def test_calls_at_once_do_not_overdraw_the_budget(tmp_path: Path) -> None:
    wire = Wire()
    async with opened(tmp_path, wire, rate="charge = 1\nbudget_per_day = 4.5") as sources:
        answers = await asyncio.gather(*(one(sources, number) for number in range(20)))
    assert sorted(str(code(answer)) for answer in answers) == ["None"] * 4 + ["QUOTA"] * 16
    assert wire.asked == 4


async def test_the_budget_counts_on_when_the_file_is_read_anew(tmp_path: Path) -> None:
    rate = "charge = 1\nbudget_per_day = 2"
    async with opened(tmp_path, Wire(), rate=rate) as before:
        assert await codes(before, 1) == [None]
        async with opened(tmp_path, Wire(), rate=rate) as after:
            after.follow_on(before)
            assert await codes(after, 2) == [None, "QUOTA"]


async def test_who_gives_up_before_the_turn_has_cost_nothing() -> None:
    rate = Rate(1.0, None, charge=1, budget_per_day=2)
    until = asyncio.get_running_loop().time() + 60
    await rate.turn(until, NOW)
    waiting = asyncio.ensure_future(rate.turn(until, NOW))
    await asyncio.sleep(0)
    assert rate.charged == 2
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert rate.charged == 1


class Book:
    """A ledger's figures."""

    rows, batches, failures, healthy = 0, 0, 0, True


async def test_the_charge_is_a_figure_of_the_source(tmp_path: Path) -> None:
    async with opened(tmp_path, Wire(), rate="charge = 0.5\ncurrency = 'CNY'") as sources:
        assert await codes(sources, 3) == [None] * 3
        registry = CollectorRegistry()
        registry.register(GatewayCollector(RequestCounts(), Book(), sources.health, dict, dict))
        labels = {"source": "demo", "currency": "CNY"}
        assert registry.get_sample_value("credit_gateway_source_charge_total", labels) == 1.5


@pytest.mark.parametrize(
    ("rate", "key", "reason"),
    [
        ("charge = 0", "rate.charge", "it is no positive amount"),
        ("charge = inf", "rate.charge", "it is no positive amount"),
        ("charge = nan", "rate.charge", "it is no positive amount"),
        ("currency = 'CNY'", "rate.currency", "there is no charge"),
        ("charge = 1\ncurrency = 'yuan'", "rate.currency", "it is no currency"),
        ("budget_per_day = 5", "rate.budget_per_day", "there is no charge"),
        ("charge = 1\nbudget_per_day = -1", "rate.budget_per_day", "it is no positive amount"),
        ("charge = 1\nbudget_per_day = 0.5", "rate.budget_per_day", "it is below the charge of one call"),
    ],
)
def test_a_charge_that_cannot_be_is_refused(tmp_path: Path, rate: str, key: str, reason: str) -> None:
    error = refusal(tmp_path, rate=rate)
    assert (error.key, error.reason) == (key, reason)
    assert error.remedy


# --- several records where one can be


OLD, NEW, UNDATED = unit("R-1", "2020-01-01"), unit("R-2", "2024-05-06"), unit("R-3")
NEWEST = "several = 'newest'\nnewest_by = 'registered_on'"


async def found(directory: Path, lookup: str, *units: dict[str, Any]) -> tuple[list[str], str | None]:
    """The identifiers of the records, and the detail of the fault."""
    async with opened(directory, Wire(said(data=list(units))), lookup=lookup) as sources:
        answer = await one(sources)
    records = [record for record in answer.records if isinstance(record, Registration)]
    return [record.record_id for record in records], answer.fault.detail if answer.fault else None


@pytest.mark.parametrize(
    ("lookup", "units", "records"),
    [
        ("", [OLD, NEW, UNDATED], ["R-1", "R-2", "R-3"]),
        ("several = 'refuse'", [OLD], ["R-1"]),
        ("several = 'refuse'", [], []),
        (NEWEST, [OLD, NEW], ["R-2"]),
        (NEWEST, [NEW, OLD, OLD], ["R-2"]),
        (NEWEST, [UNDATED], ["R-3"]),
    ],
)
async def test_which_of_several_records_counts(
    tmp_path: Path, lookup: str, units: list[dict[str, Any]], records: list[str]
) -> None:
    assert await found(tmp_path, lookup, *units) == (records, None)


@pytest.mark.parametrize(
    ("lookup", "units", "detail"),
    [
        ("several = 'refuse'", [OLD, NEW], "several records match one subject"),
        (NEWEST, [NEW, NEW], "several records match one subject, and registered_on names no newest"),
        (NEWEST, [NEW, UNDATED], "several records match one subject, and registered_on names no newest"),
        (NEWEST, [UNDATED, UNDATED], "several records match one subject, and registered_on names no newest"),
    ],
)
async def test_what_cannot_be_told_is_a_fault(
    tmp_path: Path, lookup: str, units: list[dict[str, Any]], detail: str
) -> None:
    assert await found(tmp_path, lookup, *units) == ([], detail)


async def test_the_date_decides_though_nobody_asked_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path, Wire(said(data=[OLD, NEW])), lookup=NEWEST) as sources:
        subject = SubjectKey(SubjectKind.ORG, "credit_code", "91990100FAKE00001D")
        ask = Ask(subject, "REG_ORG", 0, Ground("LOAN_PRECHECK"), may_cache=False)
        [[answer]] = await sources.fetch([ask], deadline=30)
    assert [record.record_id for record in answer.records] == ["R-2"]


@pytest.mark.parametrize(
    ("lookup", "key", "reason"),
    [
        ("several = 'newest'", "lookup[0].newest_by", "it is missing"),
        ("newest_by = 'registered_on'", "lookup[0].newest_by", 'it goes with several = "newest"'),
        (
            "several = 'refuse'\nnewest_by = 'registered_on'",
            "lookup[0].newest_by",
            'it goes with several = "newest"',
        ),
        (
            "several = 'newest'\nnewest_by = 'name'",
            "lookup[0].newest_by",
            "it is no date that the lookup maps",
        ),
        (
            "several = 'newest'\nnewest_by = 'withdrawn_on'",
            "lookup[0].newest_by",
            "it is no date that the lookup maps",
        ),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(tmp_path: Path, lookup: str, key: str, reason: str) -> None:
    error = refusal(tmp_path, lookup=lookup)
    assert (error.key, error.reason) == (key, reason)
    assert error.remedy


def test_no_record_of_a_list_is_left_out_by_a_rule(tmp_path: Path) -> None:
    text = FILE.format(rate="", envelope="", lookup="several = 'refuse'")
    text = (
        text.replace("REG_ORG", "PENALTY").replace('registered_on = "day"', "").replace('name = "name"', "")
    )
    (tmp_path / "demo.toml").write_text(text, "utf-8")
    with pytest.raises(SourceFileError) as caught:
        Sources.load(tmp_path)
    assert (caught.value.key, caught.value.reason) == (
        "lookup[0].several",
        "PENALTY may have several records",
    )
