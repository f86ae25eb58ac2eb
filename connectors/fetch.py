"""The public face of the sources: fetch sections of subjects, search organisations, see who is up.

One round: the identifiers are in the arguments, so every lookup starts at once, and one slow or dead source
costs the others nothing.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Self, get_args

import httpx
import msgspec

from connectors.answers import (
    Ask,
    CountAnswer,
    CountAsk,
    Fault,
    FaultCode,
    Ground,
    Hit,
    RegisterAnswer,
    SearchAnswer,
    SourceAnswer,
    SourceInfo,
)
from connectors.batch import Waiting
from connectors.cache import Entry
from connectors.checks import check_url, mistakes_of_division
from connectors.credentials import Secrets
from connectors.health import SourceHealth
from connectors.kept import Store
from connectors.loader import file_error, read_sources
from connectors.lookup import PENDING, Lookup
from connectors.notices import SECRET, Notices
from connectors.problems import SourceFileError, SourceKeyError
from connectors.registers import RegisterLookup
from connectors.search import Search
from connectors.shared_cache import SharedCache
from connectors.source import Scheme, SourceFile
from connectors.statistics import Statistics
from connectors.transport import certificates, silence_wire_logs
from connectors.upstream import Clock, Source
from connectors.wire import open_wire
from policies.identifiers import SubjectKey
from policies.registers import Reference, Register
from policies.vocabulary import SubjectKind

__all__ = [
    "Ask",
    "Fault",
    "FaultCode",
    "Ground",
    "Held",
    "Hit",
    "RegisterAnswer",
    "SearchAnswer",
    "SourceAnswer",
    "SourceFileError",
    "SourceInfo",
    "Sources",
]


Held = tuple[Entry, ...]
"""What was kept of the sources at some time."""


def utc_now() -> datetime:
    """The only clock of this package: signs requests and dates answers."""
    return datetime.now(UTC)


class Sources:
    """All sources of a directory."""

    def __init__(
        self,
        sources: Sequence[Source],
        lookups: Sequence[Lookup],
        search: Search | None,
        statistics: Sequence[Statistics],
        registers: Mapping[Register, RegisterLookup],
        store: Store,
        notice_secrets: Mapping[str, Secrets],
        made_of: bytes,
    ) -> None:
        self._sources = sources
        self._made_of = made_of
        self._titles = MappingProxyType({source.file.id: _info(source.file) for source in sources})
        self._observed = {source.file.id: source.observed for source in sources}
        self._search = search
        self._statistics = tuple(statistics)
        self._registers = dict(registers)
        self._store = store
        self.notices = Notices(notice_secrets, store.changes, store.shared)
        """What takes the change notices of the sources whose files name a secret for them."""
        self._lookups = tuple(lookups)
        _link(sources, lookups)
        self._serving = _serving(lookups)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        urls: Mapping[str, str] = MappingProxyType({}),
        secrets: Mapping[str, str] = MappingProxyType({}),
        transport: httpx.AsyncBaseTransport | None = None,
        cache_entries: int = 10_000,
        shared: SharedCache | None = None,
        clock: Clock = utc_now,
        workers: int = 1,
    ) -> Self:
        """The sources of a directory's files, all or none; raises SourceFileError.

        `urls` replaces base addresses by source id, `secrets` is the environment that `[secrets]` refers to,
        `cache_entries` bounds the answers kept in memory (0 keeps none), `shared` is the cache of all replicas; who
        opened it closes it. `workers` is how many processes serve beside each other, this one among them: each
        has its part of what the files allow.
        """
        files = read_sources(directory)
        for unknown in sorted(urls.keys() - files.keys()):
            raise SourceFileError(
                directory.name, f"urls.{unknown}", "there is no such source", "correct the id"
            )
        silence_wire_logs()
        trusted = certificates()
        store = Store(cache_entries, shared)
        notice_secrets: dict[str, Secrets] = {}
        sources: list[Source] = []
        lookups: list[Lookup] = []
        search: Search | None = None
        statistics: list[Statistics] = []
        registers: dict[Register, RegisterLookup] = {}
        made_of = hashlib.sha256()
        for file in files.values():
            if undivided := [*mistakes_of_division(file, workers)]:
                raise file_error(directory / f"{file.id}.toml", *undivided)
            try:
                url = urls.get(file.id, file.url)
                if file.database is None:
                    check_url(url, "url")
                wire = open_wire(
                    file, url=url, environment=secrets, transport=transport, trusted=trusted, clock=clock
                )
                made_of.update(_parts(file, url, secrets))
                source = Source(file, wire, clock, workers)
                sources.append(source)
                lookups.extend(Lookup(source, place, store) for place in range(len(file.lookup)))
                if SECRET in file.secrets:
                    notice_secrets[file.id] = Secrets({SECRET: file.secrets[SECRET]}, secrets)
                if file.search is not None:
                    search = Search(source, file.search)
                statistics.extend(Statistics(source, place) for place in range(len(file.statistics)))
                for place, served in enumerate(file.register):
                    lookup = RegisterLookup(source, place)
                    registers.update(dict.fromkeys(served.names, lookup))
            except SourceKeyError as problem:
                raise file_error(directory / f"{file.id}.toml", problem) from None
        return cls(sources, lookups, search, statistics, registers, store, notice_secrets, made_of.digest())

    def same_as(self, other: "Sources") -> bool:
        """Whether both were made of files that mean the same, with the same addresses and secrets."""
        return self._made_of == other._made_of

    def follow_on(self, before: "Sources") -> None:
        """Take the place of the sources before: what was asked today still counts, and notices are taken once."""
        earlier = {source.file.id: source for source in before._sources}
        for source in self._sources:
            if source.file.id in earlier:
                source.follow_on(earlier[source.file.id])
        self.notices.follow_on(before.notices)

    def titles(self) -> Mapping[str, SourceInfo]:
        """Who the sources are, by id."""
        return self._titles

    async def fetch(
        self, asks: Sequence[Ask], *, deadline: float, payer: str = ""
    ) -> list[tuple[SourceAnswer, ...]]:
        """For each ask, one answer of every source that serves its category and kind of subject.

        `deadline` is the budget in seconds from now. `payer` is the unit that asks, in words that are compared and
        shown nowhere: where a source's file gives each unit a budget, it pays its part of the calls that it waits for.
        A source's fault is in its answer, never raised.
        """
        until = asyncio.get_running_loop().time() + deadline
        waiting = Waiting(until)
        found: list[list[SourceAnswer]] = []
        for ask in asks:
            row: list[SourceAnswer] = []
            for server in self._servers(ask):
                if isinstance(server, SourceAnswer):
                    row.append(server)
                else:
                    server.want(ask, waiting, row, payer)
            found.append(row)
        if waiting:
            await waiting.all()
            if waiting:
                self._give_up(asks, found)
        return [tuple(row) for row in found]

    def peek(self, asks: Sequence[Ask]) -> list[tuple[SourceAnswer, ...]] | None:
        """What `fetch` would give, at once, when all of it is kept; else None.

        A kept answer is the same object each time.
        """
        found: list[tuple[SourceAnswer, ...]] = []
        kept = 0
        for ask in asks:
            row: list[SourceAnswer] = []
            for server in self._servers(ask):
                if isinstance(server, SourceAnswer):
                    row.append(server)
                    continue
                answer = server.kept(ask)
                if answer is None:
                    return None
                kept += 1
                row.append(answer)
            found.append(tuple(row))
        self._store.memory.hits += kept
        return found

    def held(self, asks: Sequence[Ask]) -> Held | None:
        """What is kept for these asks; None unless it is all of them."""
        held = []
        for ask in asks:
            for server in self._servers(ask):
                kept = None if isinstance(server, SourceAnswer) else server.held(ask)
                if kept is None:
                    return None
                held.append(kept)
        return tuple(held)

    def holds(self, held: Held) -> bool:
        """Whether these very answers are kept still."""
        memory = self._store.memory
        if not memory.holds(held):
            return False
        memory.hits += len(held)
        return True

    def _servers(self, ask: Ask) -> "_Row":
        subject = ask.subject
        servers = self._serving.get((ask.category, subject.kind, subject.scheme))
        if servers is None:
            return ()
        return servers.of(subject) if servers.divided else servers.all

    def _give_up(self, asks: Sequence[Ask], found: Sequence[list[SourceAnswer]]) -> None:
        """Say of every answer that did not come in time that it did not."""
        for ask, row in zip(asks, found, strict=True):
            for place, server in enumerate(self._servers(ask)):
                if row[place] is PENDING and isinstance(server, Lookup):
                    row[place] = server.late(ask)

    async def search(
        self, name: str, *, first: int, offset: int, ground: Ground, deadline: float, payer: str = ""
    ) -> SearchAnswer:
        """Organisations whose name holds `name`: `first` hits after the first `offset`. `payer` as for `fetch`."""
        if self._search is None:
            return SearchAnswer(fault=Fault(FaultCode.DOWN, "no source offers a search"))
        until = asyncio.get_running_loop().time() + deadline
        return await self._search.find(
            name, first=first, offset=offset, ground=ground, until=until, payer=payer
        )

    async def statistics(
        self, ask: CountAsk, *, ground: Ground, deadline: float, payer: str = ""
    ) -> tuple[CountAnswer, ...]:
        """What every source that counts this category of this kind of subject counts; `deadline` in seconds.

        `payer` as for `fetch`.
        """
        until = asyncio.get_running_loop().time() + deadline
        counting = (each for each in self._statistics if each.counts(ask))
        return tuple(await asyncio.gather(*(each.ask(ask, ground, until, payer) for each in counting)))

    @property
    def registers(self) -> frozenset[Register]:
        """The registers of evidence that some source serves."""
        return frozenset(self._registers)

    async def look_up(
        self, references: Sequence[Reference], *, ground: Ground, deadline: float, payer: str = ""
    ) -> list[RegisterAnswer]:
        """What the registers say of these numbers, all asked at once; `deadline` in seconds from now.

        `payer` as for `fetch`. A register's fault is in its answer, never raised; nothing of an answer is kept.
        """
        until = asyncio.get_running_loop().time() + deadline
        if len(references) == 1:
            return [await self._look_up(references[0], ground, until, payer)]
        return await asyncio.gather(*(self._look_up(each, ground, until, payer) for each in references))

    async def _look_up(
        self, reference: Reference, ground: Ground, until: float, payer: str
    ) -> RegisterAnswer:
        lookup = self._registers.get(reference.register)
        if lookup is None:
            return RegisterAnswer(None, fault=Fault(FaultCode.DOWN, "no source serves the register"))
        return await lookup.ask(reference, ground, until, payer)

    async def probe(self) -> Mapping[str, bool]:
        """Which sources accept a connection; nothing is asked of them."""
        up = await asyncio.gather(*(source.wire.accepts() for source in self._sources))
        return {source.file.id: answer for source, answer in zip(self._sources, up, strict=True)}

    def latency_ms(self, source_id: str) -> float | None:
        """How long the source takes to answer, a moving average to a tenth of a millisecond; None: it has not answered."""
        return self._observed[source_id].latency_ms

    def health(self) -> Mapping[str, SourceHealth]:
        """How each source is doing, by id, as its calls so far have shown."""
        return {source.file.id: source.health() for source in self._sources}

    def cache_counts(self) -> Mapping[str, int]:
        """How many answers that might have been kept in memory were (`hits`) and were not (`misses`), and `entries`."""
        memory = self._store.memory
        return {"hits": memory.hits, "misses": memory.misses, "entries": len(memory)}

    async def follow(self) -> None:
        """Hear what other replicas are told has changed, until cancelled; nothing to do without a shared cache."""
        if self._store.shared is not None:
            await self._store.shared.follow(self._store.changes)

    async def aclose(self) -> None:
        """Close every connection and forget what is kept."""
        for lookup in self._lookups:
            await lookup.aclose()
        self._store.clear()
        for source in self._sources:
            await source.wire.aclose()


_Row = tuple[Lookup | SourceAnswer, ...]


class _Servers:
    """What serves a category, kind and scheme: of each source a lookup, or the answer that it gives to all."""

    def __init__(self, servers: Iterable[Lookup | SourceAnswer]) -> None:
        self.all = tuple(servers)
        self.divided = any(isinstance(each, Lookup) and each.keeps_some for each in self.all)
        """Whether it depends on the subject which of them are asked."""
        self._of_place: dict[str, _Row] = {}

    def of(self, subject: SubjectKey) -> _Row:
        """Those that keep this subject."""
        # Registrar and division stand in the first eight characters of every identifier.
        place = subject.value[:8]
        servers = self._of_place.get(place)
        if servers is None:
            servers = tuple(
                each for each in self.all if isinstance(each, SourceAnswer) or each.keeps(subject)
            )
            if len(self._of_place) >= _MOST_PLACES:
                self._of_place.clear()
            self._of_place[place] = servers
        return servers


_MOST_PLACES = 4096
_NOT_TAKEN = Fault(FaultCode.IDENTIFIER_NOT_TAKEN, "the source knows no subject by this kind of identifier")


def _link(sources: Sequence[Source], lookups: Sequence[Lookup]) -> None:
    """Tell each lookup which one is asked when its own source cannot answer."""
    fallbacks = {source.file.id: source.file.fallback for source in sources if source.file.fallback}
    for lookup in lookups:
        other = fallbacks.get(lookup.source_id)
        candidates = (each for each in lookups if each.source_id == other and each.can_replace(lookup))
        lookup.instead = next(candidates, None)


def _serving(
    lookups: Sequence[Lookup],
) -> Mapping[tuple[str, SubjectKind, str], _Servers]:
    """What serves a category, kind and scheme: of each source a lookup, or the answer that it takes no such identifier.

    A lookup that stands by for another is not asked beside it.
    """
    schemes: tuple[str, ...] = get_args(Scheme)
    by_source: dict[tuple[str, SubjectKind], dict[str, dict[str, Lookup]]] = {}
    for lookup in lookups:
        for kind in lookup.file.kinds:
            of_source = by_source.setdefault((lookup.file.category, kind), {})
            of_source.setdefault(lookup.source_id, {}).update((scheme, lookup) for scheme in lookup.file.keys)
    standing_by = {
        (lookup.instead, kind, scheme)
        for lookup in lookups
        for kind in lookup.file.kinds
        for scheme in lookup.file.keys
    }
    return {
        (category, kind, scheme): _Servers(
            by_scheme.get(scheme, SourceAnswer(source_id, fault=_NOT_TAKEN))
            for source_id, by_scheme in of_source.items()
            if (
                (by_scheme[scheme], kind, scheme) not in standing_by
                if scheme in by_scheme
                # Whose registrar the identifier does not tell is not asked for at all.
                else not any(each.file.registrars for each in by_scheme.values())
            )
        )
        for (category, kind), of_source in by_source.items()
        for scheme in schemes
    }


def _parts(file: SourceFile, url: str, environment: Mapping[str, str]) -> bytes:
    """All that a source is made of."""
    secrets = Secrets(file.secrets, environment)
    return msgspec.json.encode((file, url, {name: secrets.all(name) for name in file.secrets}))


def _info(file: SourceFile) -> SourceInfo:
    served = (
        *(lookup.category for lookup in file.lookup),
        *(counted.category for counted in file.statistics),
    )
    categories = tuple(dict.fromkeys(served))
    return SourceInfo(file.title, file.chinese, file.owner, file.kind.value, categories, file.precedence)
