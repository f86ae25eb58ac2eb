"""Short-lived tokens of a source: fetched once for all who wait, kept, and renewed before they end."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from connectors.answers import FaultCode, SourceFaultError
from connectors.conversions import UnreadableError, instant
from connectors.credentials import Held
from connectors.documents import read_document
from connectors.envelope import MISSING, path_of, value_at
from connectors.message import Reply
from connectors.source import TokenFile

_MOST_KEPT = 2
"""Tokens of the secrets of today and of the next."""


_YOUNG = timedelta(seconds=10)
"""A token that is refused sooner is not to blame: the source refuses what it is asked."""


class Token(msgspec.Struct, frozen=True):
    """A token, when it was fetched, when it is renewed and when it ends."""

    value: str
    fetched_at: datetime
    renewed_at: datetime
    ends_at: datetime

    def __repr__(self) -> str:
        return "Token()"


class Tokens:
    """The tokens of one source. `fetch` asks for one with the secrets it is given."""

    def __init__(
        self, file: TokenFile, fetch: Callable[[Held], Awaitable[Reply]], clock: Callable[[], datetime]
    ) -> None:
        self._file = file
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[frozenset[tuple[str, str]], Token] = {}
        self._fetching: dict[frozenset[tuple[str, str]], asyncio.Task[Token]] = {}

    async def current(self, held: Held) -> Token:
        """A token for these secrets; raises SourceFaultError."""
        key = frozenset(held.items())
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept.renewed_at:
            return kept
        try:
            return await self._renewed(key, held)
        except SourceFaultError:
            if kept is not None and self._clock() < kept.ends_at:
                return kept
            raise

    def refused(self, held: Held, token: Token) -> bool:
        """Learn that a token was refused; whether another may help, which `current` then gives."""
        key = frozenset(held.items())
        if self._kept.get(key) is not token:
            return True
        if self._clock() - token.fetched_at < _YOUNG:
            return False
        del self._kept[key]
        return True

    async def aclose(self) -> None:
        """End what is under way and forget every token."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._kept.clear()

    async def _renewed(self, key: frozenset[tuple[str, str]], held: Held) -> Token:
        task = self._fetching.get(key)
        if task is None:
            task = self._fetching[key] = asyncio.create_task(self._fetched(key, held))
            task.add_done_callback(lambda _task: self._fetching.pop(key, None))
        # Whoever stops waiting does not end it for the others.
        return await asyncio.shield(task)

    async def _fetched(self, key: frozenset[tuple[str, str]], held: Held) -> Token:
        asked_at = self._clock()
        token = self._token(await self._fetch(held), asked_at)
        self._kept.pop(key, None)
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = token
        return token

    def _token(self, reply: Reply, asked_at: datetime) -> Token:
        if reply.status in (400, 401, 403):
            raise SourceFaultError(FaultCode.REFUSED, "the source refuses to give a token")
        if not 200 <= reply.status < 300:
            raise SourceFaultError(FaultCode.ERROR, f"no token: HTTP status {reply.status}")
        answer = read_document(reply.body, "json", reply.headers.get("content-type", ""))
        value = value_at(answer, path_of(self._file.at))
        if not isinstance(value, str) or not value.isprintable() or not value:
            raise SourceFaultError(FaultCode.ERROR, f"no token at {self._file.at}")
        ends_at = self._end(answer, asked_at)
        return Token(value, asked_at, ends_at - timedelta(seconds=self._file.early_seconds), ends_at)

    def _end(self, answer: Any, asked_at: datetime) -> datetime:
        if self._file.ends is not None:
            try:
                return instant(value_at(answer, path_of(self._file.ends.at or "")), self._file.ends.formats)
            except UnreadableError:
                raise SourceFaultError(FaultCode.ERROR, "the end of a token cannot be read") from None
        stated = value_at(answer, path_of(self._file.expires_in))
        if stated is MISSING or stated is None:
            return asked_at + timedelta(seconds=self._file.seconds)
        text = str(stated)
        if isinstance(stated, bool) or not text.isascii() or not text.isdigit() or len(text) > 9:
            raise SourceFaultError(FaultCode.ERROR, "the end of a token cannot be read")
        return asked_at + timedelta(seconds=int(text))
