"""Answers kept for a while, in memory and bounded."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from aiocache import SimpleMemoryCache

from connectors.answers import SourceAnswer

Key = tuple[Any, ...]


_GONE = -math.inf


class Entry:
    """An answer that is kept: until `ends` by the clock of its cache, unless it goes before."""

    __slots__ = ("answer", "ends", "key", "moved")

    def __init__(self, key: Key, answer: SourceAnswer, ends: float, moved: int) -> None:
        self.key = key
        self.answer = answer
        self.ends = ends
        self.moved = moved


class AnswerCache(SimpleMemoryCache):  # type: ignore[misc]  # aiocache has no types
    """At most `entries` answers; what was not used for the longest time goes first.

    aiocache's memory cache knows no bound, keeps a timer for each entry, and is asked by awaiting. Here an entry
    carries the end of its time, and `look` and `keep` answer at once; aiocache's own calls see the same entries.
    `clock` counts seconds and never goes back. Looking moves an entry to the end only when an eighth of the
    entries came in since it was last there: nearly all looks move nothing.

    `hits` and `misses` are counted by those who look, once for each answer that might have been kept.
    """

    def __init__(self, entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(timeout=None)
        self.hits = 0
        self.misses = 0
        self._entries = entries
        self._clock = clock
        self._kept = 0
        """How many answers ever came in."""
        self._cache: OrderedDict[Key, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._cache)

    def held(self) -> tuple[Key, ...]:
        """What answers are kept under."""
        return tuple(self._cache)

    def look(self, key: Key) -> SourceAnswer | None:
        """The answer under a key, the same object each time; None when there is none or its time is over."""
        entry = self.entry(key)
        return None if entry is None else entry.answer

    def entry(self, key: Key) -> Entry | None:
        """The entry under a key; None when there is none or its time is over."""
        entry = self._cache.get(key)
        if entry is None:
            return None
        if entry.ends <= self._clock():
            del self._cache[key]
            return None
        if self._kept - entry.moved > self._entries // 8:
            self._move(entry)
        return entry

    def holds(self, entries: Iterable[Entry]) -> bool:
        """Whether all of these are kept still, with the answers that they had."""
        now, moved = self._clock(), self._kept - self._entries // 8
        for entry in entries:
            if entry.ends <= now:
                return False
            if entry.moved < moved:
                self._move(entry)
        return True

    def _move(self, entry: Entry) -> None:
        entry.moved = self._kept
        self._cache.move_to_end(entry.key)

    def keep(self, key: Key, answer: SourceAnswer, seconds: float) -> None:
        """Keep an answer for `seconds`."""
        self.forget(key)
        self._kept += 1
        self._cache[key] = Entry(key, answer, self._clock() + seconds, self._kept)
        while len(self._cache) > self._entries:
            _, oldest = self._cache.popitem(last=False)
            oldest.ends = _GONE

    def forget(self, key: Key) -> None:
        """Keep the answer under a key no longer."""
        entry = self._cache.pop(key, None)
        if entry is not None:
            entry.ends = _GONE

    def forget_all(self) -> None:
        """Keep nothing any longer."""
        for entry in self._cache.values():
            entry.ends = _GONE
        self._cache.clear()

    async def _delete(self, key: Key, _conn: object = None) -> int:
        there = key in self._cache
        self.forget(key)
        return int(there)

    async def _clear(self, namespace: str | None = None, _conn: object = None) -> bool:
        if namespace is None:  # no key is in one
            self.forget_all()
        return True
