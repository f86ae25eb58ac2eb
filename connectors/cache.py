"""Answers kept for a while, in memory and bounded."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from aiocache import SimpleMemoryCache

from connectors.answers import SourceAnswer

Key = tuple[Any, ...]


class _Entry:
    __slots__ = ("answer", "ends", "moved")

    def __init__(self, answer: SourceAnswer, ends: float, moved: int) -> None:
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
        self._cache: OrderedDict[Key, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._cache)

    def held(self) -> tuple[Key, ...]:
        """What answers are kept under."""
        return tuple(self._cache)

    def look(self, key: Key) -> SourceAnswer | None:
        """The answer under a key, the same object each time; None when there is none or its time is over."""
        entry = self._cache.get(key)
        if entry is None:
            return None
        if entry.ends <= self._clock():
            del self._cache[key]
            return None
        if self._kept - entry.moved > self._entries // 8:
            entry.moved = self._kept
            self._cache.move_to_end(key)
        return entry.answer

    def keep(self, key: Key, answer: SourceAnswer, seconds: float) -> None:
        """Keep an answer for `seconds`."""
        self._kept += 1
        self._cache[key] = _Entry(answer, self._clock() + seconds, self._kept)
        self._cache.move_to_end(key)
        while len(self._cache) > self._entries:
            self._cache.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Keep the answer under a key no longer."""
        self._cache.pop(key, None)

    def forget_all(self) -> None:
        """Keep nothing any longer."""
        self._cache.clear()
