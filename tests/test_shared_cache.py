"""The cache that replicas share: a real Redis that learns nothing, may be slow, away or forged."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from redis_server import Redis, redis_server, until

from connectors.answers import SourceAnswer
from connectors.changes import Change, Changes
from connectors.shared_cache import Entry, SharedCache, SharedCacheAwayError
from policies.catalogue import Penalty
from policies.identifiers import SubjectKey
from policies.vocabulary import BasisKind, Mark, SubjectKind

SECRET = b"a secret of thirty-two bytes....."
CODE = "91990100FAKE00013D"
FORMER = SubjectKey(SubjectKind.ORG, "registration_number", "990100000000013")
ENTRY = Entry("court", "v1", "PENALTY", SubjectKey(SubjectKind.ORG, "credit_code", CODE), (7, "LOAN"))
PENALTY = Penalty(
    record_id="R-1",
    facts="超标排放" * 200,
    fine=Decimal("1234.50"),
    decided_on=date(2026, 1, 2),
    basis_kind=BasisKind.ADMINISTRATIVE_DECISION,
    marks=(Mark.UNDER_OBJECTION,),
)
ANSWER = SourceAnswer("court", (PENALTY,), datetime(2026, 11, 20, 4, tzinfo=UTC), dropped=3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def raw(server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port) as client:
        client.flushall()
        yield client


@asynccontextmanager
async def opened(server: Redis, secret: bytes = SECRET, **options: float) -> AsyncIterator[SharedCache]:
    cache = SharedCache(server.url, secret, **{"seconds": 2.0, **options})  # type: ignore[arg-type]
    try:
        yield cache
    finally:
        await cache.aclose()


async def written(cache: SharedCache) -> None:
    """Wait until nothing is being written any more."""
    await until(lambda: cache._writing is None)


async def kept(cache: SharedCache, entry: Entry = ENTRY) -> SourceAnswer | None:
    [found] = await cache.look([entry], Penalty)
    return None if found is None else found.answer


class Memory:
    """What one replica forgets."""

    def __init__(self) -> None:
        self.forgotten: list[Change] = []
        self.emptied = 0
        self.changes = Changes(self.forgotten.append, self._empty)

    def _empty(self) -> None:
        self.emptied += 1


@asynccontextmanager
async def following(cache: SharedCache) -> AsyncIterator[Memory]:
    memory = Memory()
    task = asyncio.create_task(cache.follow(memory.changes))
    await until(lambda: memory.emptied)
    try:
        yield memory
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_one_replica_keeps_another_finds(server: Redis, raw: redis.Redis) -> None:
    async with opened(server) as one, opened(server) as other:
        assert await kept(other) is None
        one.keep(ENTRY, ANSWER, 60, number=0)
        await written(one)
        [found] = await other.look([ENTRY], Penalty)
    assert found is not None
    assert found.answer == msgspec.structs.replace(ANSWER, cached=True)
    assert 50 < found.seconds <= 60


DIFFERENT = {
    "subject": msgspec.structs.replace(ENTRY, subject=FORMER),
    "category": msgspec.structs.replace(ENTRY, category="ARREARS"),
    "source": msgspec.structs.replace(ENTRY, source="hrss"),
    "version of the file": msgspec.structs.replace(ENTRY, version="v2"),
    "inputs": msgspec.structs.replace(ENTRY, inputs=(7, "OTHER")),
}


@pytest.mark.parametrize("what", DIFFERENT)
async def test_nothing_kept_for_one_input_answers_another(server: Redis, raw: redis.Redis, what: str) -> None:
    async with opened(server) as cache:
        cache.keep(ENTRY, ANSWER, 60, number=0)
        await written(cache)
        first, second = await cache.look([ENTRY, DIFFERENT[what]], Penalty)
    assert (first is not None, second) == (True, None)


async def test_another_secret_sees_nothing(server: Redis, raw: redis.Redis) -> None:
    async with opened(server) as cache, opened(server, b"x" * 32) as foreign:
        cache.keep(ENTRY, ANSWER, 60, number=0)
        await written(cache)
        assert await kept(foreign) is None
        assert await kept(cache) is not None


async def test_redis_learns_neither_subject_nor_content_and_keeps_little(
    server: Redis, raw: redis.Redis
) -> None:
    async with opened(server) as cache:
        cache.keep(ENTRY, ANSWER, 60, number=0)
        await written(cache)
        await cache.announce("N-1", Change("court", "PENALTY", frozenset({CODE})), 60)
    names: Any = raw.keys()
    values: list[Any] = [raw.get(name) for name in names if raw.type(name) == b"string"]
    everything = b"".join(names) + b"".join(values)
    everything += repr(raw.xrange("credit-gateway:changes")).encode()
    for secret in (CODE, "FAKE", "court", "PENALTY", "R-1", "1234.50", "N-1"):
        assert secret.encode() not in everything
    assert "超标".encode() not in everything
    [entry] = [value for value in values if len(value) > 100]
    assert len(entry) < 400  # of two and a half thousand bytes of text


@pytest.mark.parametrize("forgery", ["changed", "moved", "short", "text"])
async def test_what_was_tampered_with_is_not_an_answer(
    server: Redis, raw: redis.Redis, forgery: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = DIFFERENT["subject"]
    async with opened(server) as cache:
        cache.keep(ENTRY, ANSWER, 60, number=0)
        await written(cache)
        name, moved = cache._name(ENTRY), cache._name(other)
        value = raw.get(name)
        assert isinstance(value, bytes)
        if forgery == "moved":
            raw.set(moved, value)
        else:
            forged = {
                "changed": value[:-1] + bytes([value[-1] ^ 1]),
                "short": value[:9],
                "text": b"hello" * 9,
            }
            raw.set(name, forged[forgery])
        assert await kept(cache, other if forgery == "moved" else ENTRY) is None
    assert "cannot be read" in caplog.text
    assert "FAKE" not in caplog.text


async def test_an_entry_ends_with_its_time(server: Redis, raw: redis.Redis) -> None:
    async with opened(server) as cache:
        cache.keep(ENTRY, ANSWER, 0.05, number=0)
        cache.keep(DIFFERENT["source"], ANSWER, 0, number=0)
        await written(cache)
        await asyncio.sleep(0.1)
        assert await kept(cache) is None
        assert raw.dbsize() == 0


async def test_an_entry_whose_replica_has_a_late_clock_is_over_too(server: Redis, raw: redis.Redis) -> None:
    late = SharedCache(server.url, SECRET, seconds=2.0, clock=lambda: 0.0)
    async with opened(server) as cache:
        late.keep(ENTRY, ANSWER, 60, number=0)
        await written(late)
        assert await kept(cache) is None
    await late.aclose()


# --- changes


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (Change("court", "PENALTY", frozenset({CODE})), True),
        (Change("court", None, frozenset({CODE})), True),
        (Change("court", "PENALTY", None), True),
        (Change("court", None, None), True),
        (Change("court", "PENALTY", frozenset({"91990100FAKE00021D"})), False),
        (Change("court", "ARREARS", None), False),
        (Change("hrss", None, None), False),
    ],
)
async def test_a_change_ends_the_entries_it_concerns_and_no_other(
    server: Redis, raw: redis.Redis, change: Change, gone: bool
) -> None:
    async with opened(server) as one, opened(server) as other:
        one.keep(ENTRY, ANSWER, 60, number=0)
        await written(one)
        assert await other.announce("N-1", change, 60) is not None
        assert (await kept(one) is None) is gone


async def test_who_was_asked_for_by_another_identifier_may_be_meant(server: Redis, raw: redis.Redis) -> None:
    entry = DIFFERENT["subject"]
    async with opened(server) as cache:
        cache.keep(entry, ANSWER, 60, number=0)
        await written(cache)
        await cache.announce("N-1", Change("court", "PENALTY", frozenset({CODE})), 60)
        assert await kept(cache, entry) is None


async def test_a_call_that_began_before_a_change_does_not_bring_the_old_answer_back(
    server: Redis, raw: redis.Redis
) -> None:
    async with opened(server) as one, opened(server) as other, following(one) as memory:
        began = memory.changes.number
        await other.announce("N-1", Change("court", "PENALTY", frozenset({CODE})), 60)
        await until(lambda: memory.forgotten)
        one.keep(ENTRY, ANSWER, 60, number=began)
        await written(one)
        assert await kept(other) is None
        one.keep(ENTRY, ANSWER, 60, number=memory.changes.number)
        await written(one)
        assert await kept(other) is not None


async def test_every_replica_hears_of_a_change_within_a_second(server: Redis, raw: redis.Redis) -> None:
    change = Change("court", "PENALTY", frozenset({CODE}))
    async with (
        opened(server) as one,
        opened(server) as other,
        following(one) as here,
        following(other) as there,
    ):
        await one.announce("N-1", change, 60)
        await until(lambda: here.forgotten and there.forgotten, seconds=1.0)
    assert here.forgotten == there.forgotten == [change]
    assert here.changes.since("court", 0)
    assert not here.changes.since("hrss", 0)


async def test_a_replica_that_starts_later_can_keep_again_what_changed(
    server: Redis, raw: redis.Redis
) -> None:
    async with opened(server) as one, opened(server) as late:
        await one.announce("N-1", Change("court", None, None), 60)
        async with following(late) as memory:
            late.keep(ENTRY, ANSWER, 60, number=memory.changes.number)
            await written(late)
            assert await kept(one) is not None
            assert memory.forgotten == []


async def test_an_id_is_announced_once(server: Redis, raw: redis.Redis) -> None:
    change = Change("court", None, None)
    async with opened(server) as one, opened(server) as other, following(one) as memory:
        assert await one.announce("N-1", change, 60) is not None
        assert await other.announce("N-1", change, 60) is None
        assert await other.announce("N-1", Change("hrss", None, None), 60) is not None
        await until(lambda: len(memory.forgotten) == 2)
    assert raw.xlen("credit-gateway:changes") == 2


async def test_following_ends_whenever_it_is_cancelled(server: Redis, raw: redis.Redis) -> None:
    for number in range(20):
        async with opened(server) as cache:
            memory = Memory()
            task = asyncio.create_task(cache.follow(memory.changes))
            await until(lambda memory=memory: memory.emptied)
            await cache.announce(f"N-{number}", Change("court", None, None), 60)
            while not memory.forgotten:
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=10)
            assert done


async def test_a_forged_announcement_is_not_heard(
    server: Redis, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server) as cache, following(cache) as memory:
        raw.xadd("credit-gateway:changes", {"change": b"forged" * 9})
        raw.xadd("credit-gateway:changes", {"other": b"x"})
        await cache.announce("N-1", Change("court", None, None), 60)
        await until(lambda: memory.forgotten)
    assert memory.forgotten == [Change("court", None, None)]
    assert "cannot be read" in caplog.text


# --- a Redis that is slow or away


@asynccontextmanager
async def stopped(server: Redis) -> AsyncIterator[None]:
    os.kill(server.process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process, signal.SIGCONT)


async def test_a_hanging_redis_is_asked_thrice_and_then_left_alone(server: Redis, raw: redis.Redis) -> None:
    async with opened(server, seconds=0.1) as cache:
        cache.keep(ENTRY, ANSWER, 60, number=0)
        await until(lambda: cache._writing is None)
        now = asyncio.get_running_loop().time
        async with stopped(server):
            begun = now()
            for _ in range(3):
                assert await kept(cache) is None
            waited = now() - begun
            for _ in range(200):
                assert await kept(cache) is None
            cache.keep(ENTRY, ANSWER, 60, number=0)
            assert cache._writing is None
            assert now() - begun < 2 * waited + 1
        while await kept(cache) is None:
            await asyncio.sleep(0.05)


async def test_an_answer_that_came_too_late_is_never_another_looks_answer(
    server: Redis, raw: redis.Redis
) -> None:
    entries = [msgspec.structs.replace(ENTRY, inputs=(number,)) for number in range(20)]
    async with opened(server, seconds=0.1) as cache:
        for number, entry in enumerate(entries):
            cache.keep(entry, msgspec.structs.replace(ANSWER, dropped=number), 60, number=0)
        await written(cache)
        async with stopped(server):
            await asyncio.gather(*(kept(cache, entry) for entry in entries))
        found: list[SourceAnswer | None] = [None]
        while None in found:
            await asyncio.sleep(0.05)
            found = [await kept(cache, entry) for entry in entries]
    assert [answer.dropped for answer in found if answer] == list(range(20))


async def test_without_redis_nothing_is_kept_and_nothing_breaks(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        cache = SharedCache(server.url, SECRET, seconds=0.5)
        cache.keep(ENTRY, ANSWER, 60, number=0)
        await written(cache)
        memory = Memory()
        task = asyncio.create_task(cache.follow(memory.changes))
        await until(lambda: memory.emptied == 1)
    for _ in range(5):
        assert await kept(cache) is None
    with pytest.raises(SharedCacheAwayError):
        await cache.announce("N-1", Change("court", None, None), 60)
    await until(lambda: memory.emptied >= 3)  # changes cannot be heard: memory is not trusted for long
    with redis_server(tmp_path, server.port):
        assert await _announced(cache)
        await until(lambda: memory.forgotten)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await cache.aclose()


async def _announced(cache: SharedCache) -> bool:
    while True:
        try:
            return await cache.announce("N-2", Change("court", None, None), 60) is not None
        except SharedCacheAwayError:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/0", "redis://", "redis://127.0.0.1:1/x", "localhost"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="the address of the shared cache"):
        SharedCache(url, SECRET)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        SharedCache("redis://127.0.0.1:1/0", b"short")
