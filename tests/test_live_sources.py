"""Source files and change notices while the gateway serves: what is new counts at once, what is wrong changes nothing."""

import asyncio
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from gateway_process import gateway_process
from raw_sources import (
    ENVIRONMENT,
    NOTICES,
    Books,
    Running,
    SourceFiles,
    eventually,
    facts,
    gateway_over,
    record,
    registers_of,
    source,
)
from redis_server import Redis, redis_server
from service import CLEAN, PENALISED
from test_faults import ask

from connectors.fetch import Sources
from connectors.notices import MOST_BYTES, WINDOW_SECONDS
from connectors.sandbox.server import Sandbox
from gateway.live_sources import LiveSources
from gateway.settings import PolicySettings, ServerSettings, SharedCacheSettings

CACHED = "cache_seconds = 600"


@asynccontextmanager
async def two_books() -> AsyncIterator[tuple[Books, Books]]:
    first, second = Books([record(facts="first")]), Books([record(facts="second")])
    async with first.listening(), second.listening():
        yield first, second


@pytest.fixture
async def books() -> AsyncIterator[tuple[Books, Books]]:
    async with two_books() as books:
        yield books


@pytest.fixture
def files(tmp_path: Path) -> SourceFiles:
    return SourceFiles(tmp_path / "sources")


async def until_ready(running: Running, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while not holds(body := await running.readiness()):
            await asyncio.sleep(0.02)
    return body


async def until_told(running: Running, *told: str) -> None:
    """Wait until the penalties are these."""
    async with asyncio.timeout(30):
        while facts(await running.penalties()) != [*told]:
            await asyncio.sleep(0.02)


async def refusal(running: Running) -> str:
    """Load what stands in the directory, and what is said of it."""
    running.app.state.reload.ask()
    return str((await until_ready(running, lambda body: "sources_refused" in body))["sources_refused"])


async def accepted(running: Running) -> None:
    running.app.state.reload.ask()
    await until_ready(running, lambda body: "sources_refused" not in body)


# --- files that change


async def test_a_changed_file_counts_when_asked_for(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    first, second = books
    files.put("books", first.url, lookup=CACHED)
    async with gateway_over(sandbox, tmp_path, files) as running:
        assert facts(await running.penalties()) == ["first"]
        files.put("books", second.url, lookup=CACHED)
        assert facts(await running.penalties()) == ["first"], "nobody asked for the new files"
        running.app.state.reload.ask()
        await until_told(running, "second")
        assert source(await running.penalties())["state"] == "HAS"


async def test_changed_files_are_watched(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    first, second = books
    files.put("books", first.url)
    policy = PolicySettings(watch_seconds=0.02)
    async with gateway_over(sandbox, tmp_path, files, policy=policy) as running:
        await until_told(running, "first")
        files.put("books", second.url)
        await until_told(running, "second")
        files.write("books", "[lookup")
        await until_ready(running, lambda body: "books.toml:1: " in body.get("sources_refused", ""))
        await until_told(running, "second")
        files.put("books", first.url)
        await until_told(running, "first")
        assert "sources_refused" not in await running.readiness()


async def test_a_source_may_come_and_go(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    first, second = books
    second.rows = [record(facts="second", doc="D-2", id="R-2")]
    files.put("books", first.url)
    async with gateway_over(sandbox, tmp_path, files) as running:
        assert [each["id"] for each in (await running.penalties())["sources"]] == ["books"]
        files.put("ledger-of-fines", second.url)
        running.app.state.reload.ask()
        await until_told(running, "first", "second")
        (files.path / "books.toml").unlink()
        running.app.state.reload.ask()
        await until_told(running, "second")
        assert 'source="books"' not in await running.figures()


def no_table(text: str) -> bytes:
    return text.replace("[envelope]", "[envelope", 1).encode()


MISTAKES: dict[str, tuple[Callable[[str], bytes], str]] = {
    "syntax": (no_table, "books.toml:12: TOML: "),
    "a wrong spelling": (
        lambda text: text.replace("category", "categry").encode(),
        "books.toml:16: lookup[0].categry: ",
    ),
    "an unknown category": (lambda text: text.replace("PENALTY", "PENALTIES").encode(), "lookup[0].category"),
    "an unknown field": (lambda text: text.replace("facts =", "fact =").encode(), "lookup[0].fields.fact"),
    "a literal secret": (
        lambda text: text.replace("[envelope]", '[auth]\nheaders = { X = "abc" }\n[envelope]').encode(),
        "books.toml:13: auth.headers",
    ),
    "a secret that is nowhere": (
        lambda text: text.replace(
            "[envelope]", '[secrets]\nkey = { env = "CREDIT_SOURCE_TEST_NOWHERE" }\n[envelope]'
        ).encode(),
        "secrets.key",
    ),
    "another name": (lambda text: text.replace('id = "books"', 'id = "book"').encode(), "books.toml:2: id: "),
    "no such fallback": (lambda text: text.replace("[env", 'fallback = "x"\n[env').encode(), "fallback"),
    "no UTF-8": (lambda _: b"\xff\xfe", "books.toml: TOML: "),
    "a number without end": (
        lambda text: text.replace("[env", f"precedence = {'9' * 5000}\n[env").encode(),
        "books.toml",
    ),
    "tables without end": (lambda _: b"a = " + b"[" * 3000 + b"]" * 3000, "books.toml"),
    "an identifier": (
        lambda text: text.replace('kind = "EXTERNAL"', 'kind = "990105199912319987"').encode(),
        "books.toml",
    ),
    "an expression that is none": (
        lambda text: text.replace('facts = "facts"', 'facts = { from = "facts", pattern = "(" }').encode(),
        "lookup[0].fields.facts",
    ),
    "a certificate that is none": (
        lambda text: text.replace(
            "[envelope]",
            '[secrets]\nca = { env = "CREDIT_SOURCE_TEST_NOTICES" }\n[tls]\nca = "ca"\n[envelope]',
        ).encode(),
        "tls.ca",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
async def test_a_mistake_in_one_file_keeps_all_the_old_ones(
    sandbox: Sandbox,
    tmp_path: Path,
    files: SourceFiles,
    books: tuple[Books, Books],
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    change, said = MISTAKES[what]
    first, second = books
    files.put("books", first.url)
    files.put("neighbour", first.url, "LICENCE")
    good = files.read("books")
    async with gateway_over(sandbox, tmp_path, files) as running:
        files.put("neighbour", second.url, "LICENCE")
        (files.path / "books.toml").write_bytes(change(good))
        with caplog.at_level(logging.INFO, "gateway"):
            refused = await refusal(running)
        assert said in refused
        assert refused.startswith("books.toml")
        assert "; " in refused, "the remedy"
        for secret in (str(tmp_path), "990105199912319987"):
            assert secret not in refused
            assert secret not in str([entry.__dict__ for entry in caplog.records])
        [logged] = [entry for entry in caplog.records if entry.getMessage().startswith("sources refused")]
        assert logged.__dict__["fields"]["reason"] == refused.splitlines()
        sections = await running.sections()
        assert facts(sections["penalties"]) == ["first"]
        assert [node["content"] for node in sections["licences"]["records"]["nodes"]] == ["first"]
        files.put("books", second.url)
        await accepted(running)
        await until_told(running, "second")


@pytest.mark.parametrize("what", ["the directory is gone", "a directory for a file", "nothing is left"])
async def test_files_that_cannot_be_read_change_nothing(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books], what: str
) -> None:
    files.put("books", books[0].url)
    async with gateway_over(sandbox, tmp_path, files) as running:
        if what == "a directory for a file":
            (files.path / "more.toml").mkdir()
        else:
            shutil.rmtree(files.path)
            if what == "nothing is left":
                files.path.mkdir()
        refused = await refusal(running)
        assert str(tmp_path) not in refused
        assert refused.startswith("more.toml" if what == "a directory for a file" else "sources")
        assert facts(await running.penalties()) == ["first"]


async def test_what_began_with_the_old_files_ends_with_them(
    sandbox: Sandbox,
    tmp_path: Path,
    files: SourceFiles,
    books: tuple[Books, Books],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = books
    caplog.set_level(logging.INFO, "gateway")
    files.put("books", first.url, top="timeout_seconds = 20")
    async with gateway_over(sandbox, tmp_path, files, deadline=20) as running:
        first.go_on.clear()
        begun = asyncio.create_task(running.penalties())
        await eventually(lambda: first.asked == 1)
        files.put("books", second.url)
        running.app.state.reload.ask()
        await eventually(lambda: "sources loaded" in caplog.text)
        assert facts(await running.penalties()) == ["second"]
        assert not begun.done()
        first.go_on.set()
        penalties = await begun
        assert facts(penalties) == ["first"]
        assert penalties["complete"] is True


async def test_what_is_kept_of_old_files_is_not_given(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    first, _ = books
    files.put("books", first.url, lookup=CACHED)
    async with gateway_over(sandbox, tmp_path, files) as running:
        for _ in range(2):
            assert facts(await running.penalties()) == ["first"]
        assert first.asked == 1
        files.put(
            "books",
            first.url,
            lookup=CACHED,
            fields='basis_kind = { is = "JUDICIAL_DOCUMENT" }, facts = "doc", decided_on = "day"',
        )
        running.app.state.reload.ask()
        await until_told(running, "D-1")


async def test_old_sources_are_let_go(files: SourceFiles, books: tuple[Books, Books], tmp_path: Path) -> None:
    first, second = books

    def load() -> Sources:
        return Sources.load(files.path, secrets=ENVIRONMENT)

    files.put("books", first.url)
    tasks = len(asyncio.all_tasks())
    live = LiveSources(load, linger=0.05)
    live.follow()
    for turn in range(10):
        files.put("books", (first, second)[turn % 2].url)
        await live.reload()
        [[answer]] = await live.now.fetch([ask("PENALTY")], deadline=10)
        assert answer.fault is None
    await eventually(lambda: first.open + second.open <= 1)
    # What is left: the ear of the newest sources, if any.
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 1 + first.open + second.open)
    await live.aclose()
    await eventually(lambda: first.open + second.open == 0)
    assert first.connections + second.connections == 10


async def test_a_stop_in_the_middle_of_a_reload_closes_the_old_ones_too(
    files: SourceFiles, books: tuple[Books, Books], tmp_path: Path
) -> None:
    files.put("books", books[0].url)
    live = LiveSources(lambda: Sources.load(files.path, secrets=ENVIRONMENT), linger=60)
    live.follow()
    await live.now.fetch([ask("PENALTY")], deadline=10)
    assert books[0].open == 1
    files.put("books", books[1].url)
    await live.reload()
    await live.now.fetch([ask("PENALTY")], deadline=10)
    assert (books[0].open, books[1].open) == (1, 1)
    await live.aclose()
    await eventually(lambda: books[0].open + books[1].open == 0)


def with_files(
    sandbox: Sandbox, files: SourceFiles, monkeypatch: pytest.MonkeyPatch, **environment: str
) -> Sandbox:
    """The sandbox as a process is told of it that has these source files."""
    for name, value in {
        **ENVIRONMENT,
        "CREDIT_GATEWAY_SOURCES__DIRECTORY": str(files.path),
        **environment,
    }.items():
        monkeypatch.setenv(name, value)
    urls = {name: sandbox.urls[name] for name in ("admin", "issuer")} | registers_of(sandbox)
    return replace(sandbox, urls=urls)


async def test_a_process_takes_new_files_on_sighup_and_leaks_nothing(
    sandbox: Sandbox,
    tmp_path: Path,
    files: SourceFiles,
    books: tuple[Books, Books],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = books
    files.put("books", first.url)
    mine = with_files(sandbox, files, monkeypatch)
    async with gateway_process(mine, tmp_path, deadline=0.5) as process:
        running = Running(None, process.client)  # type: ignore[arg-type]  # its application is elsewhere

        def descriptors() -> int:
            return len(list(Path(f"/proc/{process.process.pid}/fd").iterdir()))

        assert facts(await running.penalties()) == ["first"]
        before = descriptors()
        for turn in range(10):
            files.put("books", (first, second)[turn % 2 == 0].url)
            process.process.send_signal(signal.SIGHUP)
            await until_told(running, ("first", "second")[turn % 2 == 0])
        files.write("books", files.read("books").replace("[envelope]", "[envelop]"))
        process.process.send_signal(signal.SIGHUP)
        body = await until_ready(running, lambda body: "sources_refused" in body)
        assert body["sources_refused"].startswith("books.toml:")
        assert body["ready"] is True
        assert facts(await running.penalties()) == ["first"]
        await eventually(lambda: descriptors() <= before + 1)
        await eventually(lambda: first.open + second.open <= 1)
        assert await process.stop() == 0
    lines = [json.loads(line) for line in (tmp_path / "gateway.log").read_text().splitlines()]
    assert sum(line["message"] == "sources loaded" for line in lines) == 10
    [refused] = [line for line in lines if line["message"].startswith("sources refused")]
    assert refused["reason"][0].startswith("books.toml:")
    assert not [line for line in lines if line["level"] in ("ERROR", "CRITICAL") and line is not refused]


# --- notices


async def test_a_notice_ends_what_is_kept(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    first, _ = books
    files.put("books", first.url, tables=NOTICES, lookup=CACHED + "\nstale_if_error_seconds = 600")
    async with gateway_over(sandbox, tmp_path, files) as running:
        assert facts(await running.penalties()) == ["first"]
        first.rows = [record(facts="changed")]
        assert facts(await running.penalties()) == ["first"]
        assert first.asked == 1
        answer = await running.notify("books", {"category": "PENALTY", "subjects": [CLEAN]})
        assert (answer.status_code, answer.content) == (204, b"")
        assert facts(await running.penalties()) == ["changed"]
        assert first.asked == 2
        # Nor does the old answer stand in for a source that fails from then on.
        assert (await running.notify("books", {"id": "N-2"})).status_code == 204
        first.dead = True
        penalties = await running.penalties()
        assert (penalties["state"], facts(penalties)) == ("UNKNOWN", [])


async def test_a_notice_about_others_changes_nothing(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    first, _ = books
    files.put("books", first.url, tables=NOTICES, lookup=CACHED)
    files.put("others", first.url, "LICENCE", tables=NOTICES)
    async with gateway_over(sandbox, tmp_path, files) as running:
        await running.penalties()
        notices: list[tuple[str, dict[str, Any]]] = [
            ("books", {"subjects": [PENALISED]}),
            ("books", {"category": "LICENCE", "subjects": [CLEAN]}),
            ("others", {"subjects": "all"}),
        ]
        for number, (to, notice) in enumerate(notices):
            assert (await running.notify(to, {"id": f"N-{number}", **notice})).status_code == 204
        first.rows = []
        assert facts(await running.penalties()) == ["first"]


REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "a wrong secret": ({"secret": "guess"}, 401),
    "an old time": ({"sent": str(int(time.time()) - WINDOW_SECONDS - 60)}, 401),
    "a time beyond all clocks": ({"sent": "9" * 400}, 401),
    "no such category": ({"notice": {"category": "PENALTIES"}}, 400),
    "a source that is not there": ({"source": "nobody"}, 401),
    "a source that sends none": ({"source": "silent"}, 401),
    "too large": ({"notice": {"id": "N" * (MOST_BYTES + 1)}}, 413),
    "no identifier": ({"notice": {"subjects": [CLEAN + "7"]}}, 400),
    "a member of its own": ({"notice": {CLEAN: 1}}, 400),
}


async def test_notices_that_are_refused_change_nothing_and_name_nobody(
    sandbox: Sandbox,
    tmp_path: Path,
    files: SourceFiles,
    books: tuple[Books, Books],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, _ = books
    files.put("books", first.url, tables=NOTICES, lookup=CACHED)
    files.put("silent", first.url, "LICENCE", lookup=CACHED)
    caplog.set_level(logging.DEBUG)
    async with gateway_over(sandbox, tmp_path, files) as running:
        await running.sections()
        caplog.clear()
        for what, (options, status) in REFUSED.items():
            options = dict(options)
            name, notice = options.pop("source", "books"), options.pop("notice", {})
            answer = await running.notify(name, notice, **options)
            assert answer.status_code == status, what
            assert isinstance(answer.json()["error"], str)
            assert CLEAN not in answer.text
        assert (await running.client.http.get(f"{running.client.url}/notices/books")).status_code == 405
        assert CLEAN not in str([entry.__dict__ for entry in caplog.records])
        first.rows = []
        assert facts(await running.penalties()) == ["first"]
        assert (await running.notify("books", {})).status_code == 204
        assert facts(await running.penalties()) == []


async def test_a_notice_is_taken_once_even_by_sources_that_were_loaded_anew(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    files.put("books", books[0].url, tables=NOTICES, lookup=CACHED)
    async with gateway_over(sandbox, tmp_path, files) as running:
        sent = str(int(time.time()))
        assert (await running.notify("books", {}, sent=sent)).status_code == 204
        assert (await running.notify("books", {}, sent=sent)).status_code == 409
        files.put("books", books[1].url, tables=NOTICES, lookup=CACHED)
        running.app.state.reload.ask()
        await until_told(running, "second")
        assert (await running.notify("books", {}, sent=sent)).status_code == 409


async def test_a_notice_that_comes_while_a_source_is_asked_counts(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    first, _ = books
    files.put("books", first.url, tables=NOTICES, lookup=CACHED, top="timeout_seconds = 20")
    async with gateway_over(sandbox, tmp_path, files, deadline=20) as running:
        first.go_on.clear()
        begun = asyncio.create_task(running.penalties())
        await eventually(lambda: first.asked == 1)
        assert (await running.notify("books", {})).status_code == 204
        first.go_on.set()
        assert facts(await begun) == ["first"]
        first.rows = [record(facts="changed")]
        assert facts(await running.penalties()) == ["changed"]


# --- replicas with one Redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@asynccontextmanager
async def replicas(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, url: str
) -> AsyncIterator[tuple[Running, Running]]:
    secret = tmp_path / "shared.key"
    secret.write_bytes(os.urandom(32))
    shared = SharedCacheSettings(url=url, secret_file=str(secret))
    async with AsyncExitStack() as stack:
        opened = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            opened.append(
                await stack.enter_async_context(gateway_over(sandbox, tmp_path / name, files, shared=shared))
            )
        yield opened[0], opened[1]


async def test_what_one_replica_was_told_all_of_them_ask_anew(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books], server: Redis
) -> None:
    first, _ = books
    files.put("books", first.url, tables=NOTICES, lookup=CACHED)
    async with replicas(sandbox, tmp_path, files, server.url) as (one, two):
        async with asyncio.timeout(30):
            # Until both hear of changes, what they keep is forgotten again.
            while first.asked == 0 or not await shared_entries(server):
                assert facts(await one.penalties()) == ["first"]
                await asyncio.sleep(0.05)
        asked = first.asked
        assert facts(await two.penalties()) == ["first"]
        assert first.asked == asked, "the other replica had it"
        first.rows = [record(facts="changed")]
        assert (await one.notify("books", {"subjects": [CLEAN]})).status_code == 204
        assert (await two.notify("books", {"subjects": [CLEAN]})).status_code == 409, (
            "taken once by all of them"
        )
        async with asyncio.timeout(1):
            while facts(await two.penalties()) != ["changed"]:
                await asyncio.sleep(0.02)
        assert facts(await one.penalties()) == ["changed"]


async def shared_entries(server: Redis) -> dict[Any, Any]:
    """All that Redis holds as texts: names and values."""
    client = redis.asyncio.Redis.from_url(server.url)
    try:
        names = [name async for name in client.scan_iter()]
        texts = [name for name in names if await client.type(name) == b"string"]
        values = await client.mget(texts) if texts else []
        return {name: value for name, value in zip(texts, values, strict=True) if value is not None}
    finally:
        await client.aclose()


async def test_redis_learns_nothing_of_what_was_asked(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books], server: Redis
) -> None:
    first, _ = books
    first.rows = [record(facts="示例违法事实", doc="D-1234567")]
    files.put("books", first.url, tables=NOTICES, lookup=CACHED)
    known = len(await shared_entries(server))
    async with replicas(sandbox, tmp_path, files, server.url) as (one, _two):
        await one.penalties()
        async with asyncio.timeout(30):
            while len(held := await shared_entries(server)) == known:
                await asyncio.sleep(0.02)
        assert (await one.notify("books", {"id": "N-of-this-test", "subjects": [CLEAN]})).status_code == 204
        client = redis.asyncio.Redis.from_url(server.url)
        announced = await client.xrange("credit-gateway:changes")
        await client.aclose()
    everything = repr((held, await shared_entries(server), announced))
    for text in (CLEAN, "示例违法事实", "D-1234567", "R-1", "books", "PENALTY", "N-of-this-test", "BUREAU"):
        assert repr(text.encode())[2:-1] not in everything, text
        assert text not in everything


async def test_a_dead_redis_changes_no_answer_and_is_hardly_asked(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    first, _ = books
    files.put("books", first.url, lookup="cache_seconds = 0.001")
    async with Books().listening() as hanging:  # it takes connections and says nothing that Redis would say
        hanging.go_on.clear()
        address = hanging.url.replace("http", "redis") + "/0"
        secret = tmp_path / "shared.key"
        secret.write_bytes(os.urandom(32))
        shared = SharedCacheSettings(url=address, secret_file=str(secret))
        async with gateway_over(sandbox, tmp_path, files, shared=shared) as one:
            for _ in range(100):
                penalties = await one.penalties()
                assert (penalties["state"], penalties["complete"]) == ("HAS", True)
            assert first.asked >= 50, "the source itself was asked"
            # Each answer would be looked for and written, if nobody remembered that Redis is away.
            assert hanging.connections < 100
            answer = await one.notify("books", {}, secret="any")
            assert answer.status_code == 401


async def test_two_processes_forget_together(
    sandbox: Sandbox,
    tmp_path: Path,
    files: SourceFiles,
    books: tuple[Books, Books],
    server: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, _ = books
    files.put("books", first.url, tables=NOTICES, lookup=CACHED)
    secret = tmp_path / "shared.key"
    secret.write_bytes(os.urandom(32))
    mine = with_files(
        sandbox,
        files,
        monkeypatch,
        CREDIT_GATEWAY_SOURCES__SHARED__URL=server.url,
        CREDIT_GATEWAY_SOURCES__SHARED__SECRET_FILE=str(secret),
    )
    async with AsyncExitStack() as stack:
        gateways = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            process = await stack.enter_async_context(gateway_process(mine, tmp_path / name))
            gateways.append(Running(None, process.client))  # type: ignore[arg-type]
        one, two = gateways
        for each in gateways:
            assert facts(await each.penalties()) == ["first"]
        first.rows = [record(facts="changed")]
        assert (await two.notify("books", {"subjects": [CLEAN]})).status_code == 204
        async with asyncio.timeout(1):
            while facts(await one.penalties()) != ["changed"]:
                await asyncio.sleep(0.02)
        assert facts(await two.penalties()) == ["changed"]


async def test_a_replica_with_new_files_still_hears_of_changes(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books], server: Redis
) -> None:
    first, second = books
    files.put("books", first.url, tables=NOTICES, lookup=CACHED)
    async with replicas(sandbox, tmp_path, files, server.url) as (one, two):
        assert facts(await one.penalties()) == ["first"]
        files.put("books", second.url, tables=NOTICES, lookup=CACHED)
        one.app.state.reload.ask()
        await until_told(one, "second")
        second.rows = [record(facts="changed")]
        assert (await two.notify("books", {"id": "N-of-the-other", "subjects": [CLEAN]})).status_code == 204
        async with asyncio.timeout(1):
            while facts(await one.penalties()) != ["changed"]:
                await asyncio.sleep(0.02)


async def test_several_workers_that_are_sent_notices_share_a_cache(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: tuple[Books, Books]
) -> None:
    several = ServerSettings(workers=2)
    files.put("books", books[0].url)
    async with gateway_over(sandbox, tmp_path, files, server=several) as running:
        files.put("books", books[1].url, tables=NOTICES)
        assert (await refusal(running)).startswith("sources.shared.url: needed")
        assert facts(await running.penalties()) == ["first"]
    with pytest.raises(ValueError, match=r"sources\.shared\.url: needed .*: books"):
        async with gateway_over(sandbox, tmp_path, files, server=several):
            pass


class SlowEars:
    """Stands for sources whose ear for changes takes its time to close."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()

    async def follow(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.closing.set()
            await asyncio.sleep(0.2)

    def same_as(self, before: "SlowEars") -> bool:
        return self is before

    def follow_on(self, before: "SlowEars") -> None:
        """Nothing is carried over."""

    def titles(self) -> dict[str, Any]:
        return {}

    async def aclose(self) -> None:
        """There is nothing to close."""


async def test_a_reload_that_is_told_to_stop_stops() -> None:
    opened: list[SlowEars] = []

    def load() -> Any:
        opened.append(SlowEars())
        return opened[-1]

    live = LiveSources(load, linger=60)
    live.follow()
    await asyncio.sleep(0)
    reloading = asyncio.create_task(live.reload())
    await asyncio.wait_for(opened[0].closing.wait(), 10)
    reloading.cancel()
    await asyncio.wait([reloading])
    assert reloading.cancelled()
    await live.aclose()
