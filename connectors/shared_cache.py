"""Answers that the replicas of a gateway share, in Redis.

Redis learns nothing of what it keeps: names are keyed digests, values are compressed, encrypted and
authenticated under their names (AES-GCM). It may be slow, empty, forged or away: then the sources are asked, and
no answer is later than `seconds` for it.
"""

import asyncio
import hashlib
import hmac
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any, Generic, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import redis.asyncio
from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from redis.exceptions import RedisError

from connectors.answers import SourceAnswer
from connectors.breaker import Breaker
from connectors.changes import OTHER_SCHEMES, Change, Changes
from policies.catalogue import Record
from policies.identifiers import SubjectKey

LONGEST_SECONDS = 7 * 86_400
"""How long an answer is shared at most."""

_log = logging.getLogger(__name__)

_KEY_BYTES = 32
_NONCE_BYTES = 12
_MOST_BYTES = 16 * 1024 * 1024
_CHANGES = "credit-gateway:changes"
_POLL_SECONDS = 0.5
_AWAY = (RedisError, OSError, TimeoutError)

R = TypeVar("R", bound=Record)


class SharedCacheAwayError(Exception):
    """Redis did not take what all replicas must know."""


class Entry(msgspec.Struct, frozen=True):
    """What an answer is kept under: every input of its request.

    `version` is the digest of the source's file, `inputs` all that the request depends on beside the subject.
    """

    source: str
    version: str
    category: str
    subject: SubjectKey
    inputs: tuple[Any, ...]


class Found(msgspec.Struct, frozen=True):
    """An answer from the shared cache, and for how many seconds it still holds."""

    answer: SourceAnswer
    seconds: float


class _Sealed(msgspec.Struct, Generic[R], frozen=True, array_like=True):
    """An answer as it is written: `number` is the last change that was known when its call began."""

    number: int
    until: float
    records: tuple[R, ...]
    as_of: datetime | None
    dropped: int


class SharedCache:
    """Answers in the Redis at `url` (redis:// or rediss://), under a secret of at least 32 bytes.

    Another secret or another version of a source's file sees other entries. `clock` gives the seconds since
    1970, `seconds` bounds every look. Redis is to be set to `noeviction`: what a source said has changed is
    marked there, and an answer whose mark was evicted would hold again until its time is over.
    """

    def __init__(
        self, url: str, secret: bytes, *, seconds: float = 0.05, clock: Callable[[], float] = time.time
    ) -> None:
        if len(secret) < _KEY_BYTES:
            raise ValueError(f"the secret of the shared cache: at least {_KEY_BYTES} bytes are expected")
        self._name_key = _derived(secret, b"names")
        self._box = AESGCM(_derived(secret, b"values"))
        self._store = _store(url, seconds)
        self._clock = clock
        self._breaker = Breaker(failures=3, seconds=1.0)
        self._unwritten: list[tuple[float, str, bytes]] = []
        self._writing: asyncio.Task[None] | None = None

    async def look(self, entries: Sequence[Entry], record: type[Record]) -> list[Found | None]:
        """What is kept under each of the entries; None: nothing, or nothing that still holds."""
        marks = {entry: self._marks(entry) for entry in entries}
        names = [self._name(entry) for entry in entries]
        asked = list(dict.fromkeys([*names, *(mark for mine in marks.values() for mark in mine)]))
        values = await self._asked(lambda: self._store.multi_get(asked))
        if values is None:
            return [None] * len(entries)
        found = dict(zip(asked, values, strict=True))
        return [
            self._kept(entry.source, name, found[name], [found[mark] for mark in marks[entry]], record)
            for entry, name in zip(entries, names, strict=True)
        ]

    def keep(self, entry: Entry, answer: SourceAnswer, seconds: float, *, number: int) -> None:
        """Share an answer for `seconds`; written in the background, and given up where Redis is away or slow.

        `number` is the last change that was known when the call of the answer began.
        """
        now = asyncio.get_running_loop().time()
        if seconds <= 0 or self._breaker.refuses(now) or len(self._unwritten) >= _MOST_UNWRITTEN:
            return
        seconds = min(seconds, LONGEST_SECONDS)
        sealed = _Sealed(number, self._clock() + seconds, answer.records, answer.as_of, answer.dropped)
        name = self._name(entry)
        self._unwritten.append((seconds, name, self._seal(name, msgspec.msgpack.encode(sealed))))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Write what was kept until now, and what comes in meanwhile: all of one lifetime in one go."""
        try:
            while self._unwritten:
                by_seconds: dict[float, list[tuple[str, bytes]]] = {}
                for seconds, name, value in self._unwritten:
                    by_seconds.setdefault(float(seconds), []).append((name, value))
                self._unwritten.clear()
                for seconds, pairs in by_seconds.items():
                    await self._asked(partial(self._store.multi_set, pairs, ttl=seconds))
        finally:
            self._writing = None

    async def announce(self, notice: str, change: Change, remembered: int) -> int | None:
        """Tell all replicas of a change: its number, or None if a notice of this id was announced already.

        The id is remembered for so many seconds. Raises SharedCacheAwayError: then nothing was announced.
        """
        marks = list(self._marks_of(change))
        payload = self._seal(_CHANGES, msgspec.json.encode(change))
        seen = self._digest("notice", change.source, notice)
        keys = [seen, _CHANGES, *marks]
        try:
            async with asyncio.timeout(_ANNOUNCE_SECONDS):
                number = await self._store.client.eval(
                    _ANNOUNCE, len(keys), *keys, remembered, payload, LONGEST_SECONDS + 1
                )
        except _AWAY as error:
            raise SharedCacheAwayError(type(error).__name__) from None
        return None if number is None else _number(number)

    async def follow(self, changes: Changes) -> None:
        """Hear every change that any replica announces, until cancelled.

        While Redis is away changes cannot be heard: then memory is emptied again and again, so that nothing
        in it outlives this by more than about a second.
        """
        last: bytes | None = None
        task = asyncio.current_task()
        # The client may take a cancellation for the end of a time limit of its own; the task knows better.
        while task is not None and not task.cancelling():
            try:
                async with asyncio.timeout(_POLL_SECONDS * 2):
                    if last is None:
                        newest = await self._store.client.xrevrange(_CHANGES, count=1)
                        last = newest[0][0] if newest else b"0-0"
                        changes.joined(_number(last))
                    read = await self._store.client.xread({_CHANGES: last}, block=int(_POLL_SECONDS * 1000))
            except _AWAY:
                changes.deaf()
                await asyncio.sleep(_POLL_SECONDS)
                continue
            for last, change in self._opened(read):
                if change is not None:
                    changes.heard(change, _number(last))

    async def aclose(self) -> None:
        """Finish what is being written, and close the connections."""
        if self._writing is not None:
            await self._writing
        await self._store.client.aclose()

    async def _asked(self, ask: Callable[[], Any]) -> Any:
        """What Redis answers, or None where it is away, slow, or was so a moment ago."""
        now = asyncio.get_running_loop().time
        ticket = self._breaker.admit(now())
        if ticket is None:
            return None
        try:
            answer = await ask()
        except _AWAY as error:
            self._breaker.failed(ticket, now())
            _log.warning("the shared cache is away: %s", type(error).__name__)
            return None
        except BaseException:
            self._breaker.abandoned(ticket, now())
            raise
        self._breaker.succeeded(ticket)
        return answer

    def _kept(
        self, source: str, name: str, value: Any, marks: Sequence[Any], record: type[Record]
    ) -> Found | None:
        if value is None:
            return None
        try:
            sealed = _decoder(record).decode(self._open(name, value))
            changed = max((_number(mark) for mark in marks if mark is not None), default=0)
        except (InvalidTag, zlib.error, msgspec.DecodeError, ValueError):
            _log.warning("source %s: an entry of the shared cache cannot be read", source)
            return None
        left = sealed.until - self._clock()
        if left <= 0 or changed > sealed.number:
            return None
        answer = SourceAnswer(source, sealed.records, sealed.as_of, cached=True, dropped=sealed.dropped)
        return Found(answer, left)

    def _opened(self, read: Any) -> Iterator[tuple[bytes, Change | None]]:
        """Position and change of each announcement; None: it is none of this gateway's."""
        for _stream, announcements in read or ():
            for position, fields in announcements:
                try:
                    yield position, msgspec.json.decode(self._open(_CHANGES, fields[b"change"]), type=Change)
                except (InvalidTag, KeyError, zlib.error, msgspec.DecodeError, ValueError):
                    _log.warning("an announcement in the shared cache cannot be read")
                    yield position, None

    def _name(self, entry: Entry) -> str:
        return self._digest("answer", entry)

    def _marks(self, entry: Entry) -> tuple[str, ...]:
        """Where the changes that concern an entry are marked."""
        subject = entry.subject.value if entry.subject.scheme == "credit_code" else OTHER_SCHEMES
        return tuple(
            self._digest("changed", entry.source, category, whom)
            for category in (None, entry.category)
            for whom in (None, subject)
        )

    def _marks_of(self, change: Change) -> Iterator[str]:
        whom = (None,) if change.subjects is None else (*sorted(change.subjects), OTHER_SCHEMES)
        yield from (self._digest("changed", change.source, change.category, each) for each in whom)

    def _digest(self, *parts: Any) -> str:
        digest = hmac.digest(self._name_key, msgspec.msgpack.encode(parts), hashlib.sha256)
        return f"credit-gateway:{digest[:20].hex()}"

    def _seal(self, name: str, plain: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._box.encrypt(nonce, zlib.compress(plain, 1), name.encode())

    def _open(self, name: str, sealed: bytes) -> bytes:
        packed = self._box.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        return zlib.decompressobj().decompress(packed, _MOST_BYTES)


_MOST_UNWRITTEN = 1000
_ANNOUNCE_SECONDS = 1.0

_ANNOUNCE = """
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then return nil end
local number = redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, '*', 'change', ARGV[2])
for place = 3, #KEYS do redis.call('SET', KEYS[place], number, 'EX', ARGV[3]) end
return number
"""


def _number(position: bytes) -> int:
    """A place in the stream of changes, as a number that grows with time."""
    milliseconds, _, sequence = position.partition(b"-")
    return int(milliseconds) << 20 | int(sequence)


@cache
def _decoder(record: type[Record]) -> Any:
    return msgspec.msgpack.Decoder(_Sealed[record])  # type: ignore[valid-type]


def _derived(secret: bytes, use: bytes) -> bytes:
    info = b"credit-gateway shared cache 1 " + use
    return HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(secret)


def _store(url: str, seconds: float) -> RedisCache:
    parts = urlsplit(url)
    database = parts.path.strip("/") or "0"
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not database.isdigit():
        raise ValueError("the address of the shared cache: redis://host:port/number is expected")
    options: dict[str, Any] = {"protocol": 2}  # the shape of answers differs from one to the other
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.scheme == "rediss":
        options["connection_class"] = redis.asyncio.SSLConnection
    return RedisCache(
        serializer=NullSerializer(encoding=None),
        endpoint=parts.hostname,
        port=parts.port or 6379,
        db=int(database),
        password=unquote(parts.password) if parts.password else None,
        timeout=seconds,
        pool_max_size=32,
        create_connection_timeout=_ANNOUNCE_SECONDS,
        connection_pool_class=partial(redis.asyncio.BlockingConnectionPool, timeout=seconds),
        connection_pool_kwargs=options,
    )
