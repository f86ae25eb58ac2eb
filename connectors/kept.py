"""What is kept of the sources' answers: in memory, and shared with the other replicas.

Which answers may be kept, and for how long, is decided here and nowhere else: never without leave, never about a
natural person, and never one that was asked for before its source said that something had changed.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from connectors.answers import Ask, SourceAnswer
from connectors.cache import AnswerCache, Key
from connectors.changes import Change, Changes
from connectors.shared_cache import Entry, SharedCache
from connectors.source import SourceFile
from policies.catalogue import SECTION_OF, fields_of
from policies.vocabulary import SubjectKind


class Store:
    """All that is kept: at most `entries` answers in memory, and as many that stand in while a source fails.

    `shared` is the cache of all replicas, if there is one.
    """

    def __init__(self, entries: int, shared: SharedCache | None = None) -> None:
        self.memory = AnswerCache(entries)
        self.last = AnswerCache(entries)
        self.shared = shared
        self.changes = Changes(self._forget, self.memory.forget_all)
        self.categories: dict[str, tuple[str, str]] = {}
        """Source and category of what the first member of a key names."""

    def _forget(self, change: Change) -> None:
        for cache in (self.memory, self.last):
            for key in cache.held():
                if change.concerns(*self.categories[key[0]], scheme=key[SCHEME], value=key[VALUE]):
                    cache.forget(key)

    def clear(self) -> None:
        """Keep nothing in memory any longer."""
        self.memory.forget_all()
        self.last.forget_all()


VALUE, INPUTS, SCHEME = 2, 4, 5
"""Where a key holds the identifier, where the inputs that are not the subject's own begin, and the scheme."""


class Kept:
    """What is kept of one lookup. The members of a key: `id`, the subject's kind, value and name, and all other inputs."""

    def __init__(self, file: SourceFile, place: int, store: Store) -> None:
        self.id = f"{file.id}/{place}"
        self._source = file.id
        self._lookup = file.lookup[place]
        self._record = SECTION_OF[self._lookup.category, self._lookup.kinds[0]].record
        fields = [field.name for field in fields_of(self._record)]  # what the bits of a field set mean
        self._version = hashlib.sha256(msgspec.json.encode((file, fields))).hexdigest()
        self._store = store
        self.keeps = self._lookup.cache_seconds > 0
        """Whether any answer is kept."""
        store.categories[self.id] = self._source, self._lookup.category

    @property
    def number(self) -> int:
        """The last change that is known now: to be handed back with an answer whose call begins now."""
        return self._store.changes.number

    @property
    def shares(self) -> bool:
        """Whether other replicas may have what this one has not."""
        return self._store.shared is not None and self.keeps

    async def look_elsewhere(self, asks: Sequence[Ask], keys: Sequence[Key]) -> list[SourceAnswer | None]:
        """What other replicas have kept for each of the asks; memory has it from now on, too."""
        number = self.number
        entries = [self._entry(ask, key) for ask, key in zip(asks, keys, strict=True) if self.may_keep(ask)]
        if self._store.shared is None or not entries:
            return [None] * len(asks)
        found = iter(await self._store.shared.look(entries, self._record))
        answers: list[SourceAnswer | None] = []
        for ask, key in zip(asks, keys, strict=True):
            kept = next(found) if self.may_keep(ask) else None
            if kept is not None and not self._store.changes.since(self._source, number):
                self._store.memory.keep(key, kept.answer, kept.seconds)
            answers.append(None if kept is None else kept.answer)
        return answers

    def keep(self, ask: Ask, key: Key, answer: SourceAnswer, number: int) -> None:
        """Keep an answer for its time, if it may be kept; `number` was known when its call began."""
        if answer.fault is not None or not self.may_keep(ask):
            return
        if self._store.changes.since(self._source, number):
            return
        lookup = self._lookup
        seconds = lookup.cache_seconds
        if not answer.records and lookup.negative_cache_seconds is not None:
            seconds = lookup.negative_cache_seconds
        kept = msgspec.structs.replace(answer, cached=True)
        if seconds > 0:
            self._store.memory.keep(key, kept, seconds)
        if lookup.stale_if_error_seconds > 0:
            stale = msgspec.structs.replace(kept, stale=True)
            self._store.last.keep(key, stale, seconds + lookup.stale_if_error_seconds)
        if self._store.shared is not None:
            self._store.shared.keep(self._entry(ask, key), answer, seconds, number=number)

    def stand_in(self, ask: Ask, key: Key) -> SourceAnswer | None:
        """The last answer, marked as stale, while the source fails."""
        if self._lookup.stale_if_error_seconds <= 0 or not self.may_keep(ask):
            return None
        return self._store.last.look(key)

    def may_keep(self, ask: Ask) -> bool:
        """Whether the answer to such an ask may be kept, if it is one that can be."""
        return ask.may_cache and self.keeps and ask.subject.kind is not SubjectKind.NP

    def _entry(self, ask: Ask, key: Key) -> Entry:
        return Entry(self._source, self._version, self._lookup.category, ask.subject, key[INPUTS:])
