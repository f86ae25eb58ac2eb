"""What is kept, for how long, what stands in for a source that fails, and what a change notice makes of it all."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from redis_server import Redis, redis_server, until

from connectors.answers import Ask, Ground, SourceAnswer
from connectors.fetch import Sources
from connectors.problems import SourceFileError
from connectors.shared_cache import SharedCache
from policies.catalogue import Penalty
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

EVERYTHING = (1 << 64) - 1
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
LOST = httpx.ConnectError("no connection")
CODE = "91990100FAKE00013D"
FILE = """
id = "{id}"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "PLATFORM"
url = "http://{id}.invalid:1"
timeout_seconds = 5
{keys}

[secrets]
notices = {{ env = "NOTICES" }}

[envelope]
records = "data"

[breaker]
failures = 1000
seconds = 60

[[lookup]]
category = "PENALTY"
kinds = ["ORG", "NP"]
keys = ["credit_code", "resident"]
method = "POST"
path = "/penalties"
json = {{ key = "{{subjects.value}}" }}
subject = "key"
batch = 10
{lookup}
fields = {{ record_id = "id", facts = "facts", decided_on = {{ from = "day", optional = true }} }}
"""
SECRET = "the secret of notices"


class Wire(httpx.AsyncBaseTransport):
    """All sources at once: what each answers is set by hand; remembers who was asked for whom."""

    def __init__(self) -> None:
        self.facts = "first"
        self.broken: dict[str, Exception | httpx.Response] = {}
        self.hold: asyncio.Event | None = None
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.nothing = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        keys = tuple(json.loads(request.content)["key"])
        source = request.url.host.removesuffix(".invalid")
        self.asked.append((source, keys))
        rows = [{"id": f"{source}-{key}", "key": key, "facts": self.facts} for key in keys]
        if self.hold is not None:
            await self.hold.wait()
        match self.broken.get(source):
            case Exception() as error:
                raise error
            case httpx.Response() as response:
                return response
        return httpx.Response(200, json={"data": [] if self.nothing else rows})

    @property
    def calls(self) -> int:
        return len(self.asked)


def write(folder: Path, name: str = "demo", *, keys: str = "", lookup: str = "") -> None:
    (folder / f"{name}.toml").write_text(FILE.format(id=name, keys=keys, lookup=lookup))


@asynccontextmanager
async def opened(folder: Path, wire: Wire, shared: SharedCache | None = None) -> AsyncIterator[Sources]:
    sources = Sources.load(
        folder, transport=wire, clock=lambda: NOW, secrets={"NOTICES": SECRET}, shared=shared
    )
    try:
        yield sources
    finally:
        await sources.aclose()


def ask(code: str = CODE, *, may_cache: bool = True) -> Ask:
    subject = SubjectKey(SubjectKind.ORG, "credit_code", code)
    return Ask(subject, "PENALTY", EVERYTHING, Ground("LOAN_PRECHECK"), may_cache=may_cache)


PERSON = SubjectKey(SubjectKind.NP, "resident", "990105199912310001", "例甲")


async def one(sources: Sources, of: Ask | None = None, deadline: float = 20) -> SourceAnswer:
    [[answer]] = await sources.fetch([of or ask()], deadline=deadline)
    return answer


def code(answer: SourceAnswer) -> str | None:
    return answer.fault.code.value if answer.fault else None


def facts(answer: SourceAnswer) -> list[str | None]:
    return [record.facts for record in answer.records if isinstance(record, Penalty)]


async def notify(sources: Sources, number: int = 1, **changes: Any) -> None:
    body = json.dumps(
        {"id": f"N-{number}", "time": "2026-11-20T12:00:00+08:00", "subjects": [CODE], **changes}
    ).encode()
    sent = str(int(NOW.timestamp()))
    digest = hmac.new(SECRET.encode(), sent.encode() + b"." + body, hashlib.sha256).hexdigest()
    await sources.notices.take("demo", sent, f"sha256={digest}", body, NOW)


CACHED = "cache_seconds = 60"


# --- how long


@pytest.mark.parametrize(("seconds", "nothing", "calls"), [("0", True, 2), ("60", True, 1), ("0", False, 1)])
async def test_that_there_is_nothing_is_kept_for_its_own_time(
    tmp_path: Path, seconds: str, nothing: bool, calls: int
) -> None:
    write(tmp_path, lookup=f"{CACHED}\nnegative_cache_seconds = {seconds}")
    wire = Wire()
    wire.nothing = nothing
    async with opened(tmp_path, wire) as sources:
        for _ in range(2):
            assert len((await one(sources)).records) == (0 if nothing else 1)
    assert wire.calls == calls


STALE = "cache_seconds = 0.05\nstale_if_error_seconds = 60"


async def test_the_last_answer_stands_in_while_a_source_fails_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, lookup=STALE)
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        first = await one(sources)
        await asyncio.sleep(0.1)
        for broken in (LOST, httpx.Response(500, json={}), httpx.Response(200, text="<html>")):
            wire.broken = {"demo": broken}
            answer = await one(sources)
            assert (code(answer), answer.stale, answer.as_of) == (None, True, first.as_of)
            assert answer.records == first.records
        wire.broken, wire.facts = {}, "second"
        again = await one(sources)
    assert (first.stale, again.stale, facts(again)) == (False, False, ["second"])


async def test_it_stands_in_for_a_source_that_is_late_too(tmp_path: Path) -> None:
    write(tmp_path, lookup=STALE)
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        await one(sources)
        await asyncio.sleep(0.1)
        wire.hold = asyncio.Event()
        answer = await one(sources, deadline=0.1)
    assert (code(answer), answer.stale) == (None, True)


@pytest.mark.parametrize(
    ("lookup", "of"),
    [
        ("cache_seconds = 0.05", ask()),
        ("cache_seconds = 0.05\nstale_if_error_seconds = 0.01", ask()),
        (STALE, ask(may_cache=False)),
        (STALE, Ask(PERSON, "PENALTY", EVERYTHING, Ground("LOAN_PRECHECK"), may_cache=True)),
    ],
    ids=["not allowed", "too old", "no leave", "a person"],
)
async def test_what_may_not_stand_in_does_not(tmp_path: Path, lookup: str, of: Ask) -> None:
    write(tmp_path, lookup=lookup)
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        assert len((await one(sources, of)).records) == 1
        await asyncio.sleep(0.1)
        wire.broken = {"demo": LOST}
        answer = await one(sources, of)
    assert (code(answer), answer.records) == ("DOWN", ())


# --- a source that stands by


def write_pair(folder: Path, **options: str) -> None:
    write(folder, "demo", keys='fallback = "spare"\n' + options.get("keys", ""))
    write(folder, "spare", lookup=options.get("lookup", ""))


async def test_a_source_that_stands_by_is_asked_only_when_the_first_cannot_answer(tmp_path: Path) -> None:
    write_pair(tmp_path)
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        first = await one(sources)
        wire.broken = {"demo": LOST}
        second = await one(sources)
    assert (first.source, first.instead_of) == ("demo", None)
    assert (second.source, second.instead_of, code(second)) == ("spare", "demo", None)
    assert [record.record_id for record in second.records] == [f"spare-{CODE}"]
    assert [source for source, _ in wire.asked] == ["demo", "demo", "spare"]


async def test_a_first_source_that_hangs_leaves_the_other_its_time(tmp_path: Path) -> None:
    write_pair(tmp_path)
    wire = Wire()

    class Hanging(Wire):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.host == "demo.invalid":
                await asyncio.Event().wait()
            return await wire.handle_async_request(request)

    async with opened(tmp_path, Hanging()) as sources:
        answer = await one(sources, deadline=0.5)
    assert (answer.source, code(answer)) == ("spare", None)


async def test_when_neither_can_answer_the_first_ones_fault_is_told(tmp_path: Path) -> None:
    write_pair(tmp_path)
    wire = Wire()
    wire.broken = {"demo": LOST, "spare": httpx.Response(403, json={})}
    async with opened(tmp_path, wire) as sources:
        answer = await one(sources)
    assert (answer.source, code(answer), answer.instead_of) == ("demo", "DOWN", None)


async def test_a_batch_goes_over_as_a_batch(tmp_path: Path) -> None:
    write_pair(tmp_path)
    wire = Wire()
    wire.broken = {"demo": LOST}
    asks = [ask(f"91990100FAKE{number:05}D") for number in range(10)]
    async with opened(tmp_path, wire) as sources:
        answers = await sources.fetch(asks, deadline=20)
    assert {answer.instead_of for [answer] in answers} == {"demo"}
    assert [(source, len(keys)) for source, keys in wire.asked] == [("demo", 10), ("spare", 10)]


def test_who_stands_by_has_nobody_standing_by(tmp_path: Path) -> None:
    write(tmp_path, "demo", keys='fallback = "spare"')
    write(tmp_path, "spare", keys='fallback = "demo"')
    with pytest.raises(SourceFileError, match="fallback: that source has a fallback itself"):
        Sources.load(tmp_path, transport=Wire(), secrets={"NOTICES": SECRET})


# --- platforms of divisions


async def test_a_platform_is_asked_for_subjects_of_its_divisions_alone(tmp_path: Path) -> None:
    write(tmp_path, "county", keys='divisions = ["990105"]\nprecedence = 10')
    write(tmp_path, "city", keys='divisions = ["9901"]\nprecedence = 20')
    write(tmp_path, "province", keys="precedence = 30")
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        found = {
            place: [answer.source for answer in (await sources.fetch([ask(place)], deadline=20))[0]]
            for place in ("91990105FAKE00128U", "91990100FAKE00013D", "91990200FAKE001529")
        }
        assert sources.peek([ask("91990200FAKE001529")]) is None
    assert found == {
        "91990105FAKE00128U": ["city", "county", "province"],
        "91990100FAKE00013D": ["city", "province"],
        "91990200FAKE001529": ["province"],
    }
    assert len(wire.asked) == 6


async def test_what_is_remembered_of_places_is_bounded(tmp_path: Path) -> None:
    write(tmp_path, "city", keys='divisions = ["9901"]')
    async with opened(tmp_path, Wire()) as sources:
        for number in range(5000):
            assert sources.peek([ask(f"91{number:06}FAKE00013D")]) == [()]
        assert sources.peek([ask("91990105FAKE00128U")]) is None
        held = [len(servers._of_place) for servers in sources._serving.values()]
    assert 0 < max(held) <= 4096


# --- change notices


async def test_what_a_notice_concerns_is_asked_anew_at_once(tmp_path: Path) -> None:
    write(tmp_path, lookup=f"{CACHED}\nstale_if_error_seconds = 60")
    wire = Wire()
    async with opened(tmp_path, wire) as sources:
        other = ask("91990100FAKE00021D")
        await sources.fetch([ask(), other], deadline=20)
        wire.facts = "second"
        await notify(sources)
        assert sources.peek([ask()]) is None
        assert sources.peek([other]) is not None
        assert facts(await one(sources)) == ["second"]
        wire.broken = {"demo": LOST}
        await notify(sources, 2)
        answer = await one(sources)
    assert (code(answer), answer.stale) == ("DOWN", False), "what changed does not stand in either"


@pytest.mark.parametrize(
    ("changes", "gone"),
    [({"category": "PENALTY"}, True), ({"category": "LICENCE"}, False), ({"subjects": "all"}, True)],
)
async def test_a_notice_may_name_a_category_or_all(
    tmp_path: Path, changes: Mapping[str, Any], gone: bool
) -> None:
    write(tmp_path, lookup=CACHED)
    async with opened(tmp_path, Wire()) as sources:
        await one(sources)
        await notify(sources, **changes)
        assert (sources.peek([ask()]) is None) is gone


async def test_a_call_under_way_does_not_bring_back_what_changed(tmp_path: Path) -> None:
    write(tmp_path, lookup=CACHED)
    wire = Wire()
    wire.hold = asyncio.Event()
    async with opened(tmp_path, wire) as sources:
        asking = asyncio.ensure_future(one(sources))
        await until(lambda: wire.asked)
        wire.facts = "second"
        await notify(sources)
        wire.hold.set()
        assert facts(await asking) == ["first"]
        assert facts(await one(sources)) == ["second"]
        assert facts(await one(sources)) == ["second"]
    assert wire.calls == 2


async def test_a_source_that_sends_no_notices_needs_no_secret_for_them(tmp_path: Path) -> None:
    text = FILE.format(id="demo", keys="", lookup=CACHED)
    (tmp_path / "demo.toml").write_text(text.replace('notices = { env = "NOTICES" }', ""))
    sources = Sources.load(tmp_path, transport=Wire(), secrets={})
    with pytest.raises(Exception, match="401"):
        await notify(sources)
    await sources.aclose()


# --- replicas


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


class Replica(msgspec.Struct, frozen=True):
    """A gateway's sources, with the shared cache and an ear for changes."""

    sources: Sources
    wire: Wire


@asynccontextmanager
async def closing(shared: SharedCache) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await shared.aclose()


@asynccontextmanager
async def replica(folder: Path, server: Redis, secret: bytes) -> AsyncIterator[Replica]:
    wire, shared = Wire(), SharedCache(server.url, secret, seconds=2.0)
    async with closing(shared), opened(folder, wire, shared) as sources:
        following = asyncio.create_task(sources.follow())
        await _until_heard(sources)
        try:
            yield Replica(sources, wire)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _until_heard(sources: Sources) -> None:
    """Wait until the replica hears: then it has emptied its memory once."""
    store = sources._store
    heard = store.changes.joined
    joined: list[int] = []
    store.changes.joined = lambda number: (joined.append(number), heard(number))[1]  # type: ignore[method-assign,func-returns-value]
    await until(lambda: joined)


@pytest.fixture
def secret(request: pytest.FixtureRequest) -> bytes:
    """Each test has a cache of its own in the one server."""
    return hashlib.sha256(request.node.nodeid.encode()).digest()


async def test_what_one_replica_fetched_the_other_need_not(
    tmp_path: Path, server: Redis, secret: bytes
) -> None:
    write(tmp_path, lookup=CACHED)
    async with replica(tmp_path, server, secret) as here, replica(tmp_path, server, secret) as there:
        first = await one(here.sources)
        await _until_shared(here.sources)
        second = await one(there.sources)
        assert (first.cached, second.cached, second.records) == (False, True, first.records)
        assert (second.as_of, there.wire.calls) == (first.as_of, 0)
        assert there.sources.peek([ask()]) is not None, "memory has it now"


async def _until_shared(sources: Sources) -> None:
    shared = sources._store.shared
    assert shared is not None
    await until(lambda: shared._writing is None)


async def test_a_batch_asks_only_for_what_no_replica_has(
    tmp_path: Path, server: Redis, secret: bytes
) -> None:
    write(tmp_path, lookup=CACHED)
    codes = [f"91990100FAKE{number:05}D" for number in range(4)]
    async with replica(tmp_path, server, secret) as here, replica(tmp_path, server, secret) as there:
        await here.sources.fetch([ask(each) for each in codes[:2]], deadline=20)
        await _until_shared(here.sources)
        asks = [*(ask(each) for each in codes), ask(codes[3], may_cache=False)]
        answers = await there.sources.fetch(asks, deadline=20)
        assert [answer.cached for [answer] in answers] == [True, True, False, False, False]
        assert [record.record_id for [answer] in answers for record in answer.records] == [
            f"demo-{each}" for each in (*codes, codes[3])
        ]
        assert [len(keys) for _, keys in there.wire.asked] == [2]


@pytest.mark.parametrize(
    "of",
    [ask(may_cache=False), Ask(PERSON, "PENALTY", EVERYTHING, Ground("X"), may_cache=True)],
    ids=["no leave", "a person"],
)
async def test_what_may_not_be_kept_is_not_shared(
    tmp_path: Path, server: Redis, secret: bytes, of: Ask
) -> None:
    write(tmp_path, lookup=CACHED)
    async with replica(tmp_path, server, secret) as here, replica(tmp_path, server, secret) as there:
        await one(here.sources, of)
        await _until_shared(here.sources)
        assert (await one(there.sources, of)).cached is False


async def test_another_version_of_the_file_shares_nothing(
    tmp_path: Path, server: Redis, secret: bytes
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, facts_from in ((old, "facts"), (new, "key")):
        folder.mkdir()
        write(folder, lookup=CACHED)
        file = folder / "demo.toml"
        file.write_text(file.read_text().replace('facts = "facts"', f'facts = "{facts_from}"'))
    async with replica(old, server, secret) as here, replica(new, server, secret) as there:
        await one(here.sources)
        await _until_shared(here.sources)
        assert facts(await one(there.sources)) == [CODE]


async def test_a_notice_to_one_replica_is_heard_by_all_within_a_second(
    tmp_path: Path, server: Redis, secret: bytes
) -> None:
    write(tmp_path, lookup=CACHED)
    async with replica(tmp_path, server, secret) as here, replica(tmp_path, server, secret) as there:
        for each in (here, there):
            await one(each.sources)
        await _until_shared(here.sources)
        await _until_shared(there.sources)
        here.wire.facts = there.wire.facts = "second"
        await notify(here.sources)
        assert facts(await one(here.sources)) == ["second"]
        await until(lambda: there.sources.peek([ask()]) is None, seconds=1.0)
        assert facts(await one(there.sources)) == ["second"]


async def test_a_call_under_way_on_another_replica_does_not_bring_back_what_changed(
    tmp_path: Path, server: Redis, secret: bytes
) -> None:
    write(tmp_path, lookup=CACHED)
    async with replica(tmp_path, server, secret) as here, replica(tmp_path, server, secret) as there:
        there.wire.hold = asyncio.Event()
        asking = asyncio.ensure_future(one(there.sources))
        await until(lambda: there.wire.asked)
        await notify(here.sources)
        here.wire.facts = there.wire.facts = "second"
        there.wire.hold.set()
        assert facts(await asking) == ["first"]
        await _until_shared(there.sources)
        assert facts(await one(here.sources)) == ["second"]
        await until(lambda: there.sources._store.changes.number)
        assert facts(await one(there.sources)) == ["second"]


async def test_a_redis_that_is_away_changes_no_answer(tmp_path: Path, secret: bytes) -> None:
    write(tmp_path, lookup=CACHED)
    with redis_server(tmp_path) as gone:
        shared = SharedCache(gone.url, secret)
    wire = Wire()
    async with closing(shared), opened(tmp_path, wire, shared) as sources:
        answers = [await one(sources, ask(f"91990100FAKE{number:05}D")) for number in range(20)]
        assert [code(answer) for answer in answers] == [None] * 20
        assert wire.calls == 20
