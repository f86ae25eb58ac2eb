"""The generic client: one round, batches, faults, cache, and nothing of a subject in logs."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

import connectors
from connectors.answers import SourceAnswer
from connectors.cache import AnswerCache
from connectors.fetch import Ask, Ground, Sources
from connectors.sandbox.population import CAST
from connectors.sandbox.server import Sandbox, SandboxOptions, running
from policies.catalogue import Penalty, fields_of
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

SOURCES = Path(connectors.__file__).parent / "sources"
EVERYTHING = (1 << 64) - 1
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
LOAN = Ground("LOAN_PRECHECK", matter="M-1", authorization_id="A-1")

HEAD = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
url = "http://demo.invalid:1/base/"
timeout_seconds = 5
max_body_bytes = 100000

[secrets]
key = { env = "DEMO_KEY", default = "sandbox-key" }

[envelope]
records = "data"
"""
SINGLE = """
[[lookup]]
category = "PENALTY"
kinds = ["ORG", "NP"]
keys = ["credit_code", "resident"]
method = "POST"
path = "/penalties"
json = { key = "{subject.value}" }
subject = "key"
fields = { record_id = "id", facts = "facts", fine = "fine" }
"""
BATCH = SINGLE.replace("{subject.value}", "{subjects.value}").replace(
    'subject = "key"', 'subject = "key"\nbatch = 10'
)
CACHED = BATCH.replace("batch = 10", "batch = 10\ncache_seconds = 60")
TOLD = CACHED.replace(
    'key = "{subjects.value}"',
    'key = "{subjects.value}", why = "{codes.why}", leave = "{ground.authorization_id}"',
)
CODES = '[codes.why]\nof = "{ground.purpose}"\ntable = { LOAN_PRECHECK = "02", LOAN_POSTMGMT = "01" }\n'

Answer = Callable[[httpx.Request], httpx.Response]


class Wire(httpx.AsyncBaseTransport):
    """A source made by hand that remembers what it was sent."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return self._answer(request)

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]


def echo(request: httpx.Request) -> httpx.Response:
    """One record for each key that was asked for."""
    keys = json.loads(request.content)["key"]
    rows = [
        {"id": f"R-{key}", "key": key, "facts": "f", "fine": "5"}
        for key in ([keys] if isinstance(keys, str) else keys)
    ]
    return httpx.Response(200, json={"data": rows})


def open_sources(directory: Path, text: str, wire: httpx.AsyncBaseTransport, **options: Any) -> Sources:
    (directory / "demo.toml").write_text(text)
    return Sources.load(directory, transport=wire, clock=lambda: NOW, **options)


def organisation(number: int) -> SubjectKey:
    return SubjectKey(SubjectKind.ORG, "credit_code", f"91990100FAKE{number:05}D")


def person(number: int = 1) -> SubjectKey:
    return SubjectKey(SubjectKind.NP, "resident", f"99010519991231{number:04}", "例甲")


def ask(
    subject: SubjectKey, *, fields: int = EVERYTHING, ground: Ground = LOAN, may_cache: bool = False
) -> Ask:
    return Ask(subject, "PENALTY", fields, ground, may_cache)


async def one(sources: Sources, of: Ask, deadline: float = 30) -> SourceAnswer:
    [[answer]] = await sources.fetch([of], deadline=deadline)
    return answer


def code(answer: SourceAnswer) -> str | None:
    return answer.fault.code.value if answer.fault else None


# --- requests


async def test_the_request_is_built_and_signed_as_the_file_says(tmp_path: Path) -> None:
    auth = """
[auth]
steps = [
    { set = "time", now = "ms" },
    { set = "day", now = "%Y%m%d" },
    { set = "plain", join = ["a", "{steps.time}", "{secrets.key}"] },
    { set = "mac", hmac = "sha256", key = "{secrets.key}", of = "{steps.plain}", encode = "base64" },
    { set = "md5", hash = "md5", of = "{steps.plain}", case = "upper" },
    { set = "basic", of = "{secrets.key}:", encode = "base64" },
]
headers = { X-Mac = "{steps.mac}", Authorization = "Basic {steps.basic}" }
query = { md5 = "{steps.md5}", day = "{steps.day}" }
json = { time = "{steps.time}" }
"""
    wire = Wire(lambda _: httpx.Response(200, json={"data": []}))
    text = (
        HEAD
        + auth
        + CODES
        + SINGLE.replace(
            'key = "{subject.value}"',
            'key = "{subject.value}", name = "{subject.name}", why = "{codes.why}", m = "{ground.matter|ground.purpose}", n = 1, braces = "{{}}"',
        )
    )
    sources = open_sources(tmp_path, text, wire, secrets={"DEMO_KEY": "k"})
    await sources.fetch([ask(organisation(1)), ask(person(), ground=Ground("OTHER"))], deadline=30)
    first, second = wire.requests
    assert first.url.path == "/base/penalties"
    assert parse_qs(first.url.query.decode()) == {
        "md5": ["1918720FD25868E5CCAD656B6E1B54C9"],
        "day": ["20261120"],
    }
    assert first.headers["x-mac"] == "ZcBl6dFFCEAkt3ULeJp+dwfV1Qnnfy9bc+od0tHqfXk="
    assert first.headers["authorization"] == "Basic azo="
    assert first.headers["accept-encoding"] == "identity"
    time = "1795147200000"
    assert wire.bodies[0] == {
        "key": "91990100FAKE00001D",
        "why": "02",
        "m": "M-1",
        "n": 1,
        "braces": "{}",
        "time": time,
    }
    assert wire.bodies[1] == {
        "key": "990105199912310001",
        "name": "例甲",
        "m": "OTHER",
        "n": 1,
        "braces": "{}",
        "time": time,
    }
    assert second.headers["content-type"] == "application/json"


async def test_a_path_and_query_are_escaped(tmp_path: Path) -> None:
    text = HEAD + SINGLE.replace('"POST"', '"GET"').replace(
        '"/penalties"', '"/p/{ground.matter}/{subject.credit_code}"'
    ).replace(
        'json = { key = "{subject.value}" }', 'query = { why = "{ground.purpose} {ground.matter}" }'
    ).replace(', "NP"', "").replace(', "resident"', "")
    wire = Wire(lambda _: httpx.Response(200, json={"data": []}))
    sources = open_sources(tmp_path, text, wire)
    assert (await one(sources, ask(organisation(1), ground=Ground("P", matter="a/b?c&d")))).fault is None
    [request] = wire.requests
    assert request.url.raw_path == b"/base/p/a%2Fb%3Fc%26d/91990100FAKE00001D?why=P+a%2Fb%3Fc%26d"
    assert (request.method, request.content) == ("GET", b"")


async def test_a_form_is_sent_as_a_form(tmp_path: Path) -> None:
    wire = Wire(lambda _: httpx.Response(200, json={"data": []}))
    sources = open_sources(tmp_path, HEAD + BATCH.replace("json =", "form ="), wire)
    await sources.fetch([ask(organisation(1)), ask(organisation(2))], deadline=30)
    [request] = wire.requests
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(request.content.decode()) == {"key": ["91990100FAKE00001D,91990100FAKE00002D"]}


# --- batches


async def test_like_asks_share_a_call_up_to_the_batch_size(tmp_path: Path) -> None:
    wire = Wire(echo)
    sources = open_sources(tmp_path, HEAD + BATCH, wire)
    asks = [ask(organisation(number)) for number in range(25)]
    answers = await sources.fetch(asks, deadline=30)
    assert [len(body["key"]) for body in wire.bodies] == [10, 10, 5]
    assert [answer.records[0].record_id for [answer] in answers] == [f"R-{of.subject.value}" for of in asks]


async def test_equal_asks_are_asked_once(tmp_path: Path) -> None:
    wire = Wire(echo)
    sources = open_sources(tmp_path, HEAD + BATCH, wire)
    answers = await sources.fetch(
        [ask(organisation(1)), ask(organisation(2)), ask(organisation(1))], deadline=30
    )
    assert [len(body["key"]) for body in wire.bodies] == [2]
    assert answers[0] == answers[2] != answers[1]


async def test_asks_that_differ_in_more_than_the_subject_share_no_call(tmp_path: Path) -> None:
    wire = Wire(echo)
    sources = open_sources(tmp_path, HEAD + CODES + TOLD, wire)
    asks = [
        ask(organisation(1)),
        ask(organisation(2)),
        ask(organisation(3), fields=1),
        ask(organisation(4), ground=Ground("LOAN_POSTMGMT", authorization_id="A-1")),
        ask(organisation(5), ground=Ground("LOAN_PRECHECK", authorization_id="A-2")),
        ask(person()),
    ]
    answers = await sources.fetch(asks, deadline=30)
    assert sorted(len(body["key"]) for body in wire.bodies) == [1, 1, 1, 1, 2]
    assert all(answer.records for [answer] in answers)


async def test_what_the_source_is_not_told_does_not_split_a_batch(tmp_path: Path) -> None:
    wire = Wire(echo)
    sources = open_sources(tmp_path, HEAD + BATCH, wire)
    await sources.fetch([ask(organisation(1)), ask(organisation(2), ground=Ground("OTHER"))], deadline=30)
    assert len(wire.requests) == 1


async def test_only_the_fields_asked_for_are_kept(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + BATCH, Wire(echo))
    fine = next(1 << place for place, field in enumerate(fields_of(Penalty)) if field.name == "fine")
    [record] = (await one(sources, ask(organisation(1), fields=fine))).records
    assert isinstance(record, Penalty)
    assert (str(record.fine), record.facts, record.record_id) == ("5", None, "R-91990100FAKE00001D")


async def test_a_bad_record_spoils_its_own_subject_alone(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        rows = [
            {"id": "R" if key.endswith("1D") else "", "key": key}
            for key in json.loads(request.content)["key"]
        ]
        return httpx.Response(200, json={"data": rows})

    sources = open_sources(tmp_path, HEAD + BATCH, Wire(answer))
    answers = await sources.fetch([ask(organisation(1)), ask(organisation(2))], deadline=30)
    assert [code(answer) for [answer] in answers] == [None, "GARBAGE"]


# --- the wrong subject


@pytest.mark.parametrize("text", [SINGLE, BATCH])
async def test_an_answer_for_another_subject_is_never_data(tmp_path: Path, text: str) -> None:
    other = {"data": [{"id": "R1", "key": organisation(1).value}, {"id": "R2", "key": organisation(2).value}]}
    sources = open_sources(tmp_path, HEAD + text, Wire(lambda _: httpx.Response(200, json=other)))
    answer = await one(sources, ask(organisation(1)))
    assert (code(answer), answer.records) == ("WRONG_SUBJECT", ())


@pytest.mark.parametrize("row", [{"id": "R1"}, {"id": "R1", "key": None}, {"id": "R1", "key": ["x"]}])
async def test_an_answer_that_does_not_say_whose_it_is_is_garbage(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    sources = open_sources(tmp_path, HEAD + BATCH, Wire(lambda _: httpx.Response(200, json={"data": [row]})))
    assert code(await one(sources, ask(organisation(1)))) == "GARBAGE"


async def test_the_case_of_a_code_does_not_matter(tmp_path: Path) -> None:
    row = {"id": "R1", "key": organisation(1).value.lower()}
    sources = open_sources(tmp_path, HEAD + BATCH, Wire(lambda _: httpx.Response(200, json={"data": [row]})))
    assert len((await one(sources, ask(organisation(1)))).records) == 1


# --- pages

PAGED = SINGLE.replace(
    '"{subject.value}" }',
    '"{subject.value}", page = "{page.number}", rows = "{page.size}" }\npaging = { size = 2, most = 4 }',
)


def paged(held: int, said: int) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        start = (asked["page"] - 1) * asked["rows"]
        rows = [{"id": f"R{number}", "key": asked["key"]} for number in range(held)][
            start : start + asked["rows"]
        ]
        return httpx.Response(200, json={"data": rows, "total": said})

    return answer


@pytest.mark.parametrize(
    ("held", "said", "calls", "fault"),
    [
        (0, 0, 1, None),
        (2, 2, 1, None),
        (5, 5, 3, None),
        (5, 9, 3, "GARBAGE"),
        (99, 99, 4, "GARBAGE"),
        (2, 3, 2, "GARBAGE"),
    ],
)
async def test_pages_are_asked_until_all_records_are_there(
    tmp_path: Path, held: int, said: int, calls: int, fault: str | None
) -> None:
    wire = Wire(paged(held, said))
    text = HEAD.replace('records = "data"', 'records = "data"\ntotal = "total"') + PAGED
    answer = await one(open_sources(tmp_path, text, wire), ask(organisation(1)))
    assert (code(answer), len(wire.requests)) == (fault, calls)
    assert len(answer.records) == (0 if fault else held)


async def test_an_answer_with_fewer_records_than_it_says_is_garbage(tmp_path: Path) -> None:
    text = HEAD.replace('records = "data"', 'records = "data"\ntotal = "total"') + SINGLE
    body = {"data": [{"id": "R1", "key": organisation(1).value}], "total": 2}
    sources = open_sources(tmp_path, text, Wire(lambda _: httpx.Response(200, json=body)))
    assert code(await one(sources, ask(organisation(1)))) == "GARBAGE"


# --- the wire


def failing(*errors: Exception) -> Answer:
    left = list(errors)

    def answer(request: httpx.Request) -> httpx.Response:
        if left:
            raise left.pop(0)
        return echo(request)

    return answer


LOST = httpx.RemoteProtocolError("http://demo.invalid/91990100FAKE00001D")
REFUSED = httpx.ConnectError("http://demo.invalid/91990100FAKE00001D")


@pytest.mark.parametrize(
    ("idempotent", "errors", "fault", "calls"),
    [
        (True, [LOST], None, 2),
        (True, [httpx.ReadError("")], None, 2),
        (True, [LOST, LOST], "DOWN", 2),
        (False, [LOST], "DOWN", 1),
        (True, [REFUSED], "DOWN", 1),
        (True, [httpx.ConnectTimeout("")], "TIMEOUT", 1),
        (True, [LOST, REFUSED], "DOWN", 2),
    ],
)
async def test_a_lost_connection_is_tried_again_once_and_only_for_reads(
    tmp_path: Path, idempotent: bool, errors: list[Exception], fault: str | None, calls: int
) -> None:
    wire = Wire(failing(*errors))
    text = HEAD + BATCH.replace("batch = 10", f"batch = 10\nidempotent = {str(idempotent).lower()}")
    answer = await one(open_sources(tmp_path, text, wire), ask(organisation(1)))
    assert (code(answer), len(wire.requests)) == (fault, calls)
    assert "FAKE" not in str(answer.fault)


async def test_a_large_body_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    sent = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield b" " * 10_000

    wire = Wire(lambda _: httpx.Response(200, stream=Endless()))
    assert code(await one(open_sources(tmp_path, HEAD + BATCH, wire), ask(organisation(1)))) == "GARBAGE"
    assert sent == 11


async def test_a_body_that_breaks_off_is_garbage(tmp_path: Path) -> None:
    class Broken(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b'{"data": ['
            raise LOST

    wire = Wire(lambda _: httpx.Response(200, stream=Broken()))
    assert code(await one(open_sources(tmp_path, HEAD + BATCH, wire), ask(organisation(1)))) == "GARBAGE"


class Stuck(httpx.AsyncBaseTransport):
    """A source that never answers; counts who waits for it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.asked = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        raise AssertionError("nobody sets the event")


@pytest.mark.parametrize(("own", "deadline"), [(0.05, 30.0), (30.0, 0.05), (30.0, 0.0), (30.0, -1.0)])
async def test_a_source_that_does_not_answer_times_out_by_its_own_time_or_the_budget(
    tmp_path: Path, own: float, deadline: float
) -> None:
    wire = Stuck()
    text = HEAD.replace("timeout_seconds = 5", f"timeout_seconds = {own}") + BATCH
    assert code(await one(open_sources(tmp_path, text, wire), ask(organisation(1)), deadline)) == "TIMEOUT"
    await asyncio.sleep(0)  # a call that nobody waits for ends in the loop's next turn
    assert wire.waiting == 0


async def test_a_source_is_never_asked_more_at_once_than_it_allows(tmp_path: Path) -> None:
    wire = Stuck()
    text = HEAD.replace("timeout_seconds = 5", "timeout_seconds = 30\nconcurrency = 3") + SINGLE
    sources = open_sources(tmp_path, text, wire)
    answers = await sources.fetch([ask(organisation(number)) for number in range(9)], deadline=0.2)
    assert {code(answer) for [answer] in answers} == {"TIMEOUT"}
    assert wire.most == 3


async def test_a_caller_that_goes_away_ends_its_calls(tmp_path: Path) -> None:
    wire = Stuck()
    sources = open_sources(tmp_path, HEAD + SINGLE, wire)
    task = asyncio.ensure_future(sources.fetch([ask(organisation(1))], deadline=30))
    await wire.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert wire.waiting == 0


async def test_a_category_without_source_has_no_answer(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + SINGLE, Wire(echo))
    of = Ask(organisation(1), "HONOUR", EVERYTHING, LOAN, may_cache=False)
    assert await sources.fetch([of], deadline=30) == [()]


async def test_an_identifier_that_is_not_taken_is_not_asked(tmp_path: Path) -> None:
    wire = Wire(echo)
    sources = open_sources(tmp_path, HEAD + SINGLE, wire)
    former = SubjectKey(SubjectKind.ORG, "registration_number", "990100000000013")
    assert code(await one(sources, ask(former))) == "IDENTIFIER_NOT_TAKEN"
    assert wire.requests == []


async def test_without_a_source_that_searches_the_search_is_a_fault(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + SINGLE, Wire(echo))
    found = await sources.search("示例", first=5, offset=0, ground=LOAN, deadline=30)
    assert (found.hits, found.fault is not None) == ((), True)


@pytest.mark.parametrize(
    ("row", "fault"),
    [({"n": "x", "c": "y"}, None), ({"n": "x"}, "GARBAGE"), ({"n": None, "c": "y"}, "GARBAGE")],
)
async def test_a_hit_needs_name_and_code(tmp_path: Path, row: dict[str, Any], fault: str | None) -> None:
    search = '[search]\npath = "/s"\njson = { n = "{search.name}" }\npage_size = 20\nfields = { name = "n", credit_code = "c", city = "t" }\n'
    text = HEAD.replace('records = "data"', 'records = "data"\ntotal = "total"') + search + SINGLE
    wire = Wire(lambda _: httpx.Response(200, json={"data": [row], "total": 1}))
    found = await open_sources(tmp_path, text, wire).search(
        "示例", first=5, offset=0, ground=LOAN, deadline=30
    )
    assert (found.fault.code.value if found.fault else None, len(found.hits)) == (fault, 0 if fault else 1)


# --- cache


async def asked_twice(sources: Sources, first: Ask, second: Ask) -> list[bool]:
    return [(await one(sources, of)).cached for of in (first, second)]


async def test_an_answer_is_kept_with_its_time(tmp_path: Path) -> None:
    wire = Wire(echo)
    times = iter([NOW, NOW, datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)])
    (tmp_path / "demo.toml").write_text(HEAD + CACHED)
    sources = Sources.load(tmp_path, transport=wire, clock=lambda: next(times))
    first, second = [await one(sources, ask(organisation(1), may_cache=True)) for _ in range(2)]
    assert (first.cached, second.cached, len(wire.requests)) == (False, True, 1)
    assert (second.records, second.as_of) == (first.records, NOW)
    await sources.aclose()


async def test_that_there_is_nothing_is_kept_too(tmp_path: Path) -> None:
    wire = Wire(lambda _: httpx.Response(200, json={"data": []}))
    sources = open_sources(tmp_path, HEAD + CACHED, wire)
    of = ask(organisation(1), may_cache=True)
    assert await asked_twice(sources, of, of) == [False, True]
    await sources.aclose()


DIFFERENT = {
    "subject": ask(organisation(2), may_cache=True),
    "field set": ask(organisation(1), fields=1, may_cache=True),
    "purpose": ask(organisation(1), ground=Ground("LOAN_POSTMGMT", authorization_id="A-1"), may_cache=True),
    "consent": ask(organisation(1), ground=Ground("LOAN_PRECHECK", authorization_id="A-2"), may_cache=True),
    "no consent": ask(organisation(1), ground=Ground("LOAN_PRECHECK"), may_cache=True),
    "no leave to cache": ask(organisation(1)),
}


@pytest.mark.parametrize("what", DIFFERENT)
async def test_nothing_fetched_for_one_input_answers_another(tmp_path: Path, what: str) -> None:
    wire = Wire(echo)
    sources = open_sources(tmp_path, HEAD + CODES + TOLD, wire)
    assert await asked_twice(sources, ask(organisation(1), may_cache=True), DIFFERENT[what]) == [False, False]
    assert len(wire.requests) == 2
    await sources.aclose()


async def test_what_the_source_is_not_told_does_not_split_the_cache(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + CACHED, Wire(echo))
    other = ask(organisation(1), ground=Ground("OTHER"), may_cache=True)
    assert await asked_twice(sources, ask(organisation(1), may_cache=True), other) == [False, True]
    await sources.aclose()


@pytest.mark.parametrize(
    "of", [ask(person(), may_cache=True), ask(organisation(1))], ids=["person", "no leave"]
)
async def test_what_may_not_be_kept_is_not(tmp_path: Path, of: Ask) -> None:
    wire = Wire(echo)
    sources = open_sources(tmp_path, HEAD + CACHED, wire)
    assert await asked_twice(sources, of, of) == [False, False]
    assert len(wire.requests) == 2
    await sources.aclose()


async def test_without_leave_nothing_is_written_either(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + CACHED, Wire(echo))
    assert await asked_twice(sources, ask(organisation(1)), ask(organisation(1), may_cache=True)) == [
        False,
        False,
    ]
    await sources.aclose()


async def test_without_leave_a_kept_answer_beside_it_is_not_used(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + CACHED, Wire(echo))
    with_leave, without = ask(organisation(1), may_cache=True), ask(organisation(1))
    await one(sources, with_leave)
    for asks in ([with_leave, without], [without, with_leave]):
        answers = await sources.fetch(asks, deadline=30)
        assert [answer.cached for [answer] in answers] == [of.may_cache for of in asks]
    await sources.aclose()


async def test_a_lookup_without_cache_seconds_keeps_nothing(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + BATCH, Wire(echo))
    of = ask(organisation(1), may_cache=True)
    assert await asked_twice(sources, of, of) == [False, False]


async def test_a_fault_is_not_kept(tmp_path: Path) -> None:
    wire = Wire(failing(REFUSED))
    sources = open_sources(tmp_path, HEAD + CACHED, wire)
    of = ask(organisation(1), may_cache=True)
    assert [code(await one(sources, of)) for _ in range(2)] == ["DOWN", None]
    await sources.aclose()


async def test_an_answer_that_is_garbage_for_one_subject_is_not_kept(tmp_path: Path) -> None:
    rows = [{"id": "", "key": organisation(1).value}, {"id": "R2", "key": organisation(2).value}]
    sources = open_sources(tmp_path, HEAD + CACHED, Wire(lambda _: httpx.Response(200, json={"data": rows})))
    asks = [ask(organisation(number), may_cache=True) for number in (1, 2)]
    await sources.fetch(asks, deadline=30)
    assert [answer.cached for [answer] in await sources.fetch(asks[1:], deadline=30)] == [True]
    [[again], _] = await sources.fetch(asks, deadline=30)
    assert (again.cached, code(again)) == (False, "WRONG_SUBJECT")  # asked anew, and alone
    await sources.aclose()


async def test_a_batch_asks_only_for_what_is_not_kept(tmp_path: Path) -> None:
    wire = Wire(echo)
    sources = open_sources(tmp_path, HEAD + CACHED, wire)
    await one(sources, ask(organisation(1), may_cache=True))
    answers = await sources.fetch(
        [ask(organisation(number), may_cache=True) for number in (1, 2, 3)], deadline=30
    )
    assert [answer.cached for [answer] in answers] == [True, False, False]
    assert [len(body["key"]) for body in wire.bodies] == [1, 2]
    await sources.aclose()


async def test_an_answer_is_kept_for_its_time_only(tmp_path: Path) -> None:
    wire = Wire(echo)
    sources = open_sources(
        tmp_path, HEAD + CACHED.replace("cache_seconds = 60", "cache_seconds = 0.05"), wire
    )
    while len(wire.requests) < 2:
        await one(sources, ask(organisation(1), may_cache=True))
        await asyncio.sleep(0.01)
    await sources.aclose()


async def test_the_cache_is_bounded_and_forgets_the_longest_unused(tmp_path: Path) -> None:
    cache = AnswerCache(2)
    first, second, third = ("1",), ("2",), ("3",)
    for key in (first, second):
        cache.keep(key, SourceAnswer("demo"), 60)
    assert cache.look(first)
    cache.keep(third, SourceAnswer("demo"), 60)
    assert len(cache) == 2
    assert [cache.look(key) is not None for key in (first, second, third)] == [True, False, True]
    cache.forget(first)
    assert [cache.look(key) is not None for key in (first, third)] == [False, True]
    cache.forget_all()
    assert (len(cache), cache.look(third)) == (0, None)


def test_what_is_used_stays_however_much_comes_in() -> None:
    """Looks move nothing as long as little came in; what is looked at is never near the end that goes first."""
    cache = AnswerCache(16)
    cache.keep(("used",), SourceAnswer("demo"), 60)
    for number in range(200):
        cache.keep((number,), SourceAnswer("demo"), 60)
        assert cache.look(("used",)) is not None
    assert (len(cache), cache.look((100,))) == (16, None)


async def test_each_answer_that_might_be_kept_is_counted_once(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + CACHED, Wire(echo))
    asks = [ask(organisation(number), may_cache=True) for number in (1, 2)]
    assert sources.peek(asks) is None
    await sources.fetch(asks, deadline=30)
    assert sources.cache_counts() == {"hits": 0, "misses": 2, "entries": 2}
    assert sources.peek([*asks, asks[0]]) is not None
    await sources.fetch([asks[0], ask(organisation(3), may_cache=True)], deadline=30)
    assert sources.cache_counts() == {"hits": 4, "misses": 3, "entries": 3}
    never_kept = [ask(organisation(1)), ask(person(), may_cache=True)]
    assert sources.peek(never_kept) is None
    await sources.fetch(never_kept, deadline=30)
    assert sources.cache_counts() == {"hits": 4, "misses": 3, "entries": 3}
    await sources.aclose()


async def test_a_cache_of_no_entries_keeps_nothing(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, HEAD + CACHED, Wire(echo), cache_entries=0)
    of = ask(organisation(1), may_cache=True)
    assert await asked_twice(sources, of, of) == [False, False]


# --- against the sandbox


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running(SandboxOptions(subjects=120, base_port=0)) as sandbox:
        yield sandbox


@asynccontextmanager
async def admin(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sandbox.admin_url, trust_env=False) as client:
        await client.post("/counts/reset")
        yield client
        await client.delete("/faults")


def sandbox_sources(sandbox: Sandbox) -> Sources:
    urls = {name: url for name, url in sandbox.urls.items() if name not in ("admin", "issuer")}
    return Sources.load(SOURCES, urls=urls)


def cast(role: str) -> SubjectKey:
    member = CAST[role]
    kind = SubjectKind(member.kind)
    return SubjectKey(kind, member.scheme, member.key, member.name if kind is SubjectKind.NP else None)


def organisations(sandbox: Sandbox, number: int) -> list[SubjectKey]:
    keys = [subject.key for subject in sandbox.population.subjects if subject.kind == "ORG"][:number]
    assert len(keys) == number
    return [SubjectKey(SubjectKind.ORG, "credit_code", key) for key in keys]


async def test_twenty_five_organisations_are_one_call_where_the_source_takes_them(sandbox: Sandbox) -> None:
    sources = sandbox_sources(sandbox)
    subjects = organisations(sandbox, 25)
    async with admin(sandbox) as control:
        for category in ("PENALTY", "ENFORCE_DEFAULT", "ABNORMAL"):
            asks = [Ask(subject, category, EVERYTHING, LOAN, may_cache=False) for subject in subjects]
            for answers in await sources.fetch(asks, deadline=30):
                assert {answer.fault for answer in answers} == {None}
        counts = (await control.get("/counts")).json()
    await sources.aclose()
    asked = {name: counts[name]["requests"] for name in ("provincial-platform", "market-regulation", "court")}
    # The court takes 20 at once.
    assert asked == {"provincial-platform": 1, "market-regulation": 1, "court": 2}


async def test_only_the_sources_of_the_category_are_asked(sandbox: Sandbox) -> None:
    sources = sandbox_sources(sandbox)
    async with admin(sandbox) as control:
        of = Ask(cast("clean"), "HONOUR", EVERYTHING, LOAN, may_cache=False)
        [answers] = await sources.fetch([of], deadline=30)
        counts = (await control.get("/counts")).json()
    serving = {name for name, info in sources.titles().items() if "HONOUR" in info.categories}
    await sources.aclose()
    asked = {name for name, count in counts.items() if count["requests"]}
    assert "provincial-platform" in asked <= serving
    assert asked == {answer.source for answer in answers}


FAULTS: list[tuple[dict[str, Any], set[str]]] = [
    ({"fault": "delay", "seconds": 20}, {"TIMEOUT"}),
    ({"fault": "error"}, {"ERROR"}),
    ({"fault": "garbage"}, {"GARBAGE"}),
    ({"fault": "truncated"}, {"GARBAGE"}),
    ({"fault": "down"}, {"DOWN"}),
]
ALL_OF_CLEAN = [
    "REG_ORG", "LICENCE", "ABNORMAL", "ENFORCE_DEFAULT", "EVALUATION", "COMMITMENT", "TAX_PAYMENT", "SI_HF_PAYMENT",
    "MARKET", "ASSOC",
]  # fmt: skip


@pytest.mark.parametrize(("fault", "codes"), FAULTS, ids=[str(fault["fault"]) for fault, _ in FAULTS])
async def test_a_fault_of_one_source_is_its_own(
    sandbox: Sandbox, fault: dict[str, Any], codes: set[str]
) -> None:
    """Each source in turn has the fault; it says so, and every other answers in full."""
    sources = sandbox_sources(sandbox)
    asks = [Ask(cast("clean"), category, EVERYTHING, LOAN, may_cache=False) for category in ALL_OF_CLEAN]
    asks.append(Ask(cast("clean-person"), "REG_NP", EVERYTHING, LOAN, may_cache=False))
    async with admin(sandbox) as control:
        for name in sources.titles() if fault["fault"] != "delay" else ("court", "hrss"):
            assert (await control.put(f"/faults/{name}", json=fault)).is_success
            for answers in await sources.fetch(asks, deadline=30):
                for answer in answers:
                    assert code(answer) in (codes if answer.source == name else {None}), (name, answer.source)
            await control.delete("/faults")
    await sources.aclose()


async def test_a_source_that_is_down_comes_back(sandbox: Sandbox) -> None:
    sources = sandbox_sources(sandbox)
    of = Ask(cast("bidder-4"), "ENFORCE_DEFAULT", EVERYTHING, LOAN, may_cache=False)
    async with admin(sandbox) as control:
        assert (await one(sources, of)).records
        await control.put("/faults/court", json={"fault": "down"})
        assert code(await one(sources, of)) == "DOWN"
        assert (await sources.probe())["court"] is False
        await control.delete("/faults")
        assert (await one(sources, of)).records
    await sources.aclose()


async def test_a_probe_asks_nothing(sandbox: Sandbox) -> None:
    sources = sandbox_sources(sandbox)
    async with admin(sandbox) as control:
        assert set((await sources.probe()).values()) == {True}
        counts = (await control.get("/counts")).json()
    assert sum(count["requests"] for count in counts.values()) == 0
    await sources.aclose()


# --- redaction


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize("fault", ["off", "error", "garbage", "truncated", "down"])
async def test_no_identifier_is_logged_or_kept_in_a_fault(
    sandbox: Sandbox, everything_logged: pytest.LogCaptureFixture, fault: str
) -> None:
    logging.getLogger("demo").debug("the log is read")
    sources = sandbox_sources(sandbox)
    people, firms = cast("defaulter"), cast("clean")
    asks = [Ask(firms, category, EVERYTHING, LOAN, may_cache=True) for category in ALL_OF_CLEAN]
    asks += [
        Ask(people, category, EVERYTHING, LOAN, may_cache=True)
        for category in ("REG_NP", "ENFORCE_DEFAULT", "MARKET")
    ]
    async with admin(sandbox) as control:
        for name in ("market-a", "court", "public-security", "provincial-platform"):
            await control.put(f"/faults/{name}", json={"fault": fault})
        answers = await sources.fetch(asks, deadline=30)
        found = await sources.search("虚构省示例", first=5, offset=0, ground=LOAN, deadline=30)
    await sources.aclose()
    faults = [str(answer.fault) for of_ask in answers for answer in of_ask] + [str(found.fault)]
    logged = [record.getMessage() for record in everything_logged.records] + [everything_logged.text]
    assert "the log is read" in logged
    assert not [record.name for record in everything_logged.records if record.name.startswith("http")]
    for text in (*faults, *logged, repr(asks)):
        for secret in (
            people.value,
            people.name or "",
            firms.value,
            "虚构省示例",
            "127.0.0.1:" + str(sandbox.ports["court"]),
        ):
            assert secret not in text
