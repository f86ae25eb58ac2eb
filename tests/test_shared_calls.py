"""Callers share the calls to the sources and what is kept of them, and nothing else; a warm answer waits for little."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from issuing import serving_app
from service import CLEAN, PENALISED, Clock, serving, settings_for
from test_reload import RULES, Directory
from warm_world import STEPS, World, by_code, world_over

from connectors.sandbox.server import Sandbox
from gateway.app import create_app, utc_now
from gateway.endpoint import Reply
from gateway.live_sources import LiveSources
from gateway.river import PROVINCE_TIME
from gateway.settings import PolicySettings, SourceSettings


@pytest_asyncio.fixture(scope="module")
async def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world_over(sandbox, tmp_path_factory.mktemp("world")) as found:
        yield found


# --- callers that share a call share nothing else

REGISTRY = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "MARKET_REGULATION"
kind = "EXTERNAL"
url = "http://127.0.0.1:1"
sandbox = true
timeout_seconds = 20
concurrency = 1

[envelope]
records = "data"

[[lookup]]
category = "REG_ORG"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/registrations"
json = { keys = "{subjects.value}" }
subject = "key"
batch = 10
idempotent = true
fields = { record_id = "key", name = "name", credit_code = "key" }
"""
TOLD = REGISTRY.replace('"{subjects.value}"', '"{subjects.value}", why = "{ground.matter}"')
NAME = """query Look($id: SubjectId!, $purpose: Purpose!, $evidence: Evidence) {
  inquiry(purpose: $purpose, evidence: $evidence) { subject(id: $id) {
  ... on Organisation { registration { state reason { code } record { name } } } } } }"""


def numbered(number: int) -> str:
    return f"91990100FAKE{number:05}D"


class Registry:
    """A source on a real socket that answers a call when it is let through."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.spoils: str | None = None
        """The subject with which a call fails."""
        self.mistakes: str | None = None
        """The subject in whose place it answers for a stranger."""
        self.until = "2099-12-30"
        self._passes = asyncio.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        content, more = b"", True
        while more:
            message = await receive()
            content, more = content + message.get("body", b""), message.get("more_body", False)
        asked = orjson.loads(content)
        self.calls.append(asked)
        await self._passes.acquire()
        keys = ["91990100FAKE77777D" if key == self.mistakes else key for key in asked["keys"]]
        status = 500 if self.spoils in keys else 200
        rows = [{"key": key, "name": f"name of {key}", "until": self.until} for key in keys]
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps({"data": rows})})

    def let_through(self, calls: int = 100) -> None:
        for _ in range(calls):
            self._passes.release()

    async def called(self, times: int) -> None:
        async with asyncio.timeout(30):
            while len(self.calls) < times:
                await asyncio.sleep(0.001)


@dataclass
class Registering:
    """A gateway whose one source is the registry, which answers one call after another."""

    world: World
    registry: Registry
    url: str
    http: httpx.AsyncClient
    sources: LiveSources

    def body(self, code: str, purpose: str, matter: str | None = None) -> dict[str, Any]:
        evidence = None if matter is None else {"applicationNumber": matter}
        return {"query": NAME, "variables": {"id": by_code(code), "purpose": purpose, "evidence": evidence}}

    async def registration(
        self, who: str, code: str, purpose: str = "PUBLIC_VIEW", matter: str | None = None
    ) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.world.token(who, 0)}"}
        body = self.body(code, purpose, matter)
        answer = await self.http.post(f"{self.url}/graphql", json=body, headers=headers)
        found: dict[str, Any] = answer.json()["data"]["inquiry"]["subject"]["registration"]
        return found

    def asks(
        self, who: str, code: str, purpose: str = "PUBLIC_VIEW", matter: str | None = None
    ) -> asyncio.Task[dict[str, Any]]:
        return asyncio.create_task(self.registration(who, code, purpose, matter))

    async def waiting(self, asks: int) -> None:
        """Return when so many asks of the source are not answered yet."""
        async with asyncio.timeout(30):
            while sum(len(lookup._batches) for lookup in self.sources.now._lookups) != asks:
                await asyncio.sleep(0.001)

    async def occupied(self) -> asyncio.Task[dict[str, Any]]:
        """Keep the source busy with one call, so that what is asked from now on gathers in the next."""
        first = self.asks("public", numbered(0))
        await self.registry.called(1)
        return first


@asynccontextmanager
async def registering(
    world: World,
    folder: Path,
    text: str = REGISTRY,
    deadline: float = 20.0,
    bundle: str = "example",
    clock: Callable[[], datetime] = utc_now,
) -> AsyncIterator[Registering]:
    registry = Registry()
    (folder / "sources").mkdir()
    (folder / "sources" / "demo.toml").write_text(text)
    async with serving_app(lambda _url: registry) as source:
        settings = settings_for(
            world.sandbox,
            folder,
            identity=world.identity,
            sources=SourceSettings(
                directory=str(folder / "sources"), urls={"demo": source}, deadline=deadline
            ),
            policy=PolicySettings(bundle=bundle, check_on_load=False),
        )
        app = create_app(settings, environment={}, clock=clock)
        async with serving(app) as url, httpx.AsyncClient(timeout=60, trust_env=False) as http:
            try:
                yield Registering(world, registry, url, http, app.state.reload._river._sources)
            finally:
                registry.let_through()


def _named(code: str) -> dict[str, Any]:
    return {"state": "HAS", "reason": None, "record": {"name": f"name of {code}"}}


async def test_inquiries_that_differ_in_what_they_select_share_an_answer(
    world: World, tmp_path: Path
) -> None:
    kept = REGISTRY.replace("[[lookup]]", "[[lookup]]\ncache_seconds = 600")
    async with registering(world, tmp_path, kept) as gateway:
        gateway.registry.let_through()
        assert await gateway.registration("public", numbered(1)) == _named(numbered(1))
        answer = await gateway.http.post(
            f"{gateway.url}/graphql",
            json=gateway.body(numbered(1), "PUBLIC_VIEW")
            | {"query": NAME.replace("{ name }", "{ creditCode }")},
            headers={"authorization": f"Bearer {world.token('public', 0)}"},
        )
        registration = answer.json()["data"]["inquiry"]["subject"]["registration"]
        assert registration["record"] == {"creditCode": numbered(1)}
    assert len(gateway.registry.calls) == 1


async def test_a_caller_that_hangs_up_ends_no_call_of_others(world: World, tmp_path: Path) -> None:
    async with registering(world, tmp_path) as gateway:
        await gateway.occupied()
        body = orjson.dumps(gateway.body(numbered(1), "PUBLIC_VIEW"))
        _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        head = f"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += f"Authorization: Bearer {world.token('public', 0)}\r\n\r\n"
        writer.write(head.encode() + body)
        await gateway.waiting(2)
        other = gateway.asks("public", numbered(2))
        await gateway.waiting(3)
        gateway.registry.let_through(1)
        await gateway.registry.called(2)
        assert sorted(gateway.registry.calls[1]["keys"]) == [numbered(1), numbered(2)]
        writer.transport.abort()
        gateway.registry.let_through()
        assert await other == _named(numbered(2))
        assert len(gateway.registry.calls) == 2


async def test_the_deadline_of_one_caller_is_not_that_of_another(world: World, tmp_path: Path) -> None:
    async with registering(world, tmp_path, deadline=3.0) as gateway:
        early = gateway.asks("public", numbered(1))
        await gateway.registry.called(1)
        await asyncio.sleep(1.5)
        late = gateway.asks("public", numbered(1))
        assert (await early)["state"] == "UNKNOWN"
        gateway.registry.let_through()
        assert await late == _named(numbered(1))


async def test_one_bad_subject_in_a_call_of_several_callers(world: World, tmp_path: Path) -> None:
    async with registering(world, tmp_path) as gateway:
        await gateway.occupied()
        gateway.registry.spoils = numbered(3)
        asked = [gateway.asks("public", numbered(number)) for number in range(1, 6)]
        await gateway.waiting(6)
        gateway.registry.let_through()
        answers = await asyncio.gather(*asked)
        assert len(gateway.registry.calls[1]["keys"]) == 5
    states = [answer["state"] for answer in answers]
    assert states == ["HAS", "HAS", "UNKNOWN", "HAS", "HAS"]
    assert answers[3] == _named(numbered(4))


async def test_an_answer_for_a_stranger_is_nobodys(world: World, tmp_path: Path) -> None:
    async with registering(world, tmp_path) as gateway:
        await gateway.occupied()
        gateway.registry.mistakes = numbered(2)
        asked = [gateway.asks("public", numbered(number)) for number in range(1, 4)]
        await gateway.waiting(4)
        gateway.registry.let_through()
        answers = await asyncio.gather(*asked)
    assert [answer["state"] for answer in answers] == ["HAS", "UNKNOWN", "HAS"]
    assert [answer["record"] for answer in answers][::2] == [
        _named(numbered(number))["record"] for number in (1, 3)
    ]
    assert answers[1]["record"] is None


async def test_only_what_is_granted_is_asked_in_a_call_of_several_callers(
    world: World, tmp_path: Path
) -> None:
    """Who may not ask adds no subject to the call of those who may, and does not wait for it either."""
    async with registering(world, tmp_path) as gateway:
        await gateway.occupied()
        granted = [gateway.asks("public", numbered(number)) for number in (1, 2)]
        await gateway.waiting(3)
        for who, code, purpose in (
            ("bank", numbered(3), "SUPERVISION"),
            ("clean", numbered(1), "SELF"),
            ("foreign-bureau", numbered(1), "PUBLIC_VIEW"),
            ("its-public-token", numbered(4), "SUPERVISION"),
        ):
            refused = await gateway.registration(who, code, purpose)
            assert (refused["state"], refused["record"]) == ("DENIED", None)
        gateway.registry.let_through()
        assert await asyncio.gather(*granted) == [_named(numbered(1)), _named(numbered(2))]
        asked = [sorted(call["keys"]) for call in gateway.registry.calls]
        assert asked == [[numbered(0)], [numbered(1), numbered(2)]]


@pytest.mark.parametrize("told", [False, True])
async def test_a_call_is_shared_only_where_its_source_is_not_told_the_ground(
    world: World, tmp_path: Path, told: bool
) -> None:
    async with registering(world, tmp_path, TOLD if told else REGISTRY) as gateway:
        await gateway.occupied()
        both = [gateway.asks("clean", CLEAN, matter=matter) for matter in ("A-1", "A-2")]
        await gateway.waiting(3 if told else 2)
        gateway.registry.let_through()
        assert await asyncio.gather(*both) == [_named(CLEAN)] * 2
        asked = gateway.registry.calls[1:]
    assert [call["keys"] for call in asked] == [[CLEAN]] * (2 if told else 1)
    assert {call.get("why") for call in asked} == ({"A-1", "A-2"} if told else {None})


LICENCES = REGISTRY.replace('"REG_ORG"', '"LICENCE"').replace(
    'name = "name", credit_code = "key"', 'kind = "name", valid_until = "until"'
)
LICENCES = LICENCES.replace("batch = 10", "batch = 10\ncache_seconds = 600")
LICENSED = """query Look($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $id) {
  ... on Organisation { licences { state reason { code } records { nodes { kind } } } } } } }"""


@pytest.mark.parametrize("ends", ["record", "rule"])
@pytest.mark.parametrize("mornings_first", [False, True])
async def test_midnight_ends_what_a_warm_gateway_gave(
    world: World, tmp_path: Path, ends: str, mornings_first: bool
) -> None:
    """The same caller, token, document and kept answer: the day alone is another, in the time of the province."""
    local = world.start.astimezone(PROVINCE_TIME)
    midnight = datetime.combine(local.date() + timedelta(days=1), datetime.min.time(), PROVINCE_TIME)
    directory = Directory(tmp_path / "province")
    if ends == "rule":
        over = f'id = "R080"\nvalid_to = {local.date()}\n'
        directory.edit(RULES, lambda text: text.replace('id = "R080"\n', over))
    clock = Clock(midnight)
    async with registering(world, tmp_path, LICENCES, bundle=str(directory.path), clock=clock) as gateway:
        gateway.registry.let_through()
        gateway.registry.until = str(local.date() if ends == "record" else local.date() + timedelta(days=9))
        evening, morning = midnight - timedelta(seconds=1), midnight
        order = [morning, evening] if mornings_first else [evening, morning]
        states: dict[datetime, set[str]] = {evening: set(), morning: set()}
        for clock.now in order * 3:
            headers = {"authorization": f"Bearer {world.token('public', 0)}"}
            body = {"query": LICENSED, "variables": {"id": by_code(PENALISED)}}
            answer = await gateway.http.post(f"{gateway.url}/graphql", json=body, headers=headers)
            states[clock.now].add(answer.json()["data"]["inquiry"]["subject"]["licences"]["state"])
    assert states == {evening: {"HAS"}, morning: {"NONE" if ends == "record" else "DENIED"}}
    assert len(gateway.registry.calls) == 1


# --- rounds to the sources


class Rounds(httpx.AsyncBaseTransport):
    """The network to the sources, where each exchange takes a while; knows when each was under way."""

    def __init__(self) -> None:
        self._network = httpx.AsyncHTTPTransport(verify=False)
        self.exchanges: list[tuple[float, float]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(0.1)
        response = await self._network.handle_async_request(request)
        content = b"".join([part async for part in response.stream])  # type: ignore[union-attr]  # an async one
        await response.aclose()
        self.exchanges.append((begun, asyncio.get_running_loop().time()))
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    async def aclose(self) -> None:
        await self._network.aclose()

    def taken(self) -> tuple[int, int]:
        """Exchanges, and the longest chain of them in which each began after the one before had ended."""
        exchanges, self.exchanges = self.exchanges, []
        rounds, over = 0, float("-inf")
        for begun, ended in sorted(exchanges, key=lambda exchange: exchange[1]):
            if begun >= over:
                rounds, over = rounds + 1, ended
        return len(exchanges), rounds


@pytest.mark.parametrize(
    ("name", "rounds"),
    [("10 public PUBLIC_VIEW one", 1), ("11 penalised SELF one", 1), ("0 bureau SUPERVISION one", 2),
     ("14 bank LOAN_PRECHECK one", 2), ("bureau list", 2), ("bank list", 2), ("penalised aliases", 1)],
)  # fmt: skip
async def test_registers_cost_one_round_and_the_sources_another(world: World, name: str, rounds: int) -> None:
    """All sources are asked at once, whatever a subject has; so are the registers before them, where there are any."""
    network = Rounds()
    async with world.gateway(transport=network) as gateway:
        answer = await gateway.ask(STEPS[name])
        assert (answer.status, answer.row["outcome"]) == (200, "ANSWERED")
        exchanges, taken = network.taken()
    assert b"UNKNOWN" not in answer.body
    assert taken == rounds
    assert exchanges > rounds
    assert bool(answer.row["registers"]) is (rounds == 2)


# --- a warm answer waits for nothing but the ledger


class Counted:
    """Awaits a coroutine, and counts how often it waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Reply]) -> None:
        self.waits = 0
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, None, Reply]:
        while True:
            try:
                waits_for = self._coroutine.send(None)
            except StopIteration as done:
                reply: Reply = done.value
                return reply
            self.waits += 1
            yield waits_for


async def test_a_warm_answer_waits_once_and_starts_no_task(world: World) -> None:
    step = STEPS["10 public PUBLIC_VIEW one"]
    body = orjson.dumps({"query": step.text, "variables": step.variables, "operationName": "Look"})
    headers = [
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {world.token('public', 0)}".encode()),
    ]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    loop = asyncio.get_running_loop()
    begun = 0

    def begin(_loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        nonlocal begun
        begun += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    async with world.gateway() as warm:
        assert await warm.ask(step) == await warm.ask(step)
        loop.set_task_factory(begin)
        try:
            counted = Counted(warm.endpoint.reply("POST", headers, b"", receive))
            reply = await counted
        finally:
            loop.set_task_factory(None)
    assert (reply.status, counted.waits, begun) == (200, 1, 0)
    assert b'"state":"HAS"' in reply.body
