"""Answers kept for a while, in memory and bounded."""

from collections import OrderedDict

from aiocache import SimpleMemoryCache

from connectors.answers import SourceAnswer


class AnswerCache:
    """At most `entries` answers; the one used longest ago goes first.

    The memory cache of aiocache expires its entries but knows no bound, so the order of use is kept here.
    """

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._order: OrderedDict[bytes, None] = OrderedDict()
        self._store = SimpleMemoryCache(timeout=None)

    def __len__(self) -> int:
        return len(self._order)

    async def get(self, key: bytes) -> SourceAnswer | None:
        """The answer under a key, or None when there is none or its time is over."""
        if key not in self._order:
            return None
        answer: SourceAnswer | None = await self._store.get(key)
        if answer is None:
            del self._order[key]
        else:
            self._order.move_to_end(key)
        return answer

    async def put(self, key: bytes, answer: SourceAnswer, seconds: float) -> None:
        """Keep an answer for `seconds`."""
        if not self._entries:
            return
        await self._store.set(key, answer, ttl=seconds)
        self._order[key] = None
        self._order.move_to_end(key)
        while len(self._order) > self._entries:
            oldest, _ = self._order.popitem(last=False)
            await self._store.delete(oldest)

    async def clear(self) -> None:
        """Forget everything, and the timers with it."""
        for key in self._order:
            await self._store.delete(key)
        self._order.clear()
