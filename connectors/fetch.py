"""The public face of the sources: fetch sections of subjects, search organisations, see who is up.

One round: the identifiers are in the arguments, so every lookup starts at once, and one slow or dead source
costs the others nothing.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Self
from urllib.parse import urlsplit

import httpx

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
from connectors.cache import AnswerCache
from connectors.loader import check_url, read_sources
from connectors.lookup import Lookup
from connectors.problems import SourceFileError, SourceKeyError
from connectors.registers import RegisterLookup
from connectors.search import Search
from connectors.source import SourceFile
from connectors.statistics import Statistics
from connectors.transport import certificates, open_transport, silence_wire_logs
from connectors.upstream import Clock, Source
from policies.registers import Reference, Register
from policies.vocabulary import SubjectKind

__all__ = [
    "Ask",
    "Fault",
    "FaultCode",
    "Ground",
    "Hit",
    "RegisterAnswer",
    "SearchAnswer",
    "SourceAnswer",
    "SourceFileError",
    "SourceInfo",
    "Sources",
]

_PROBE_SECONDS = 1.0


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
        cache: AnswerCache,
    ) -> None:
        self._sources = sources
        self._titles = MappingProxyType({source.file.id: _info(source.file) for source in sources})
        self._search = search
        self._statistics = tuple(statistics)
        self._registers = dict(registers)
        self._cache = cache
        self._serving: dict[tuple[str, SubjectKind], dict[str, dict[str, Lookup]]] = {}
        for lookup in lookups:
            for kind in lookup.file.kinds:
                of_source = self._serving.setdefault((lookup.file.category, kind), {}).setdefault(
                    lookup.source_id, {}
                )
                of_source.update((scheme, lookup) for scheme in lookup.file.keys)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        urls: Mapping[str, str] = MappingProxyType({}),
        secrets: Mapping[str, str] = MappingProxyType({}),
        transport: httpx.AsyncBaseTransport | None = None,
        cache_entries: int = 10_000,
        clock: Clock = utc_now,
    ) -> Self:
        """The sources of a directory's files, all or none; raises SourceFileError.

        `urls` replaces base addresses by source id, `secrets` is the environment that `[secrets]` refers to,
        `cache_entries` bounds the answers kept in memory (0 keeps none).
        """
        files = read_sources(directory)
        for unknown in sorted(urls.keys() - files.keys()):
            raise SourceFileError(
                directory.name, f"urls.{unknown}", "there is no such source", "correct the id"
            )
        silence_wire_logs()
        trusted = certificates()
        cache = AnswerCache(cache_entries)
        sources: list[Source] = []
        lookups: list[Lookup] = []
        searches: list[Search] = []
        statistics: list[Statistics] = []
        registers: dict[Register, RegisterLookup] = {}
        for file in files.values():
            wire = transport or open_transport(file.concurrency, trusted)
            try:
                url = urls.get(file.id, file.url)
                check_url(url, "url")
                source = Source(file, url, _secrets(file, secrets), wire, clock)
                sources.append(source)
                lookups.extend(Lookup(source, place, cache) for place in range(len(file.lookup)))
                if file.search is not None:
                    searches.append(Search(source, file.search))
                statistics.extend(Statistics(source, place) for place in range(len(file.statistics)))
                for place, served in enumerate(file.register):
                    lookup = RegisterLookup(source, place)
                    for name in served.names:
                        if name in registers:
                            raise SourceKeyError(
                                f"register[{place}].names", f"{name} is served twice", "keep one of them"
                            )
                        registers[name] = lookup
            except SourceKeyError as problem:
                raise SourceFileError(
                    f"{file.id}.toml", problem.key, problem.reason, problem.remedy
                ) from None
        if len(searches) > 1:
            raise SourceFileError(directory.name, "search", "two sources offer it", "keep one [search]")
        return cls(sources, lookups, searches[0] if searches else None, statistics, registers, cache)

    def titles(self) -> Mapping[str, SourceInfo]:
        """Who the sources are, by id."""
        return self._titles

    async def fetch(self, asks: Sequence[Ask], *, deadline: float) -> list[tuple[SourceAnswer, ...]]:
        """For each ask, one answer of every source that serves its category and kind of subject.

        `deadline` is the budget in seconds from now. A source's fault is in its answer, never raised.
        """
        until = asyncio.get_running_loop().time() + deadline
        answers: list[dict[str, SourceAnswer]] = [{} for _ in asks]
        orders: dict[Lookup, list[int]] = {}
        for place, ask in enumerate(asks):
            for source_id, by_scheme in self._serving.get((ask.category, ask.subject.kind), {}).items():
                lookup = by_scheme.get(ask.subject.scheme)
                if lookup is None:
                    answers[place][source_id] = SourceAnswer(source_id, fault=_NOT_TAKEN)
                else:
                    answers[place][source_id] = _PENDING
                    orders.setdefault(lookup, []).append(place)
        await asyncio.gather(
            *(_fill(lookup, places, asks, answers, until) for lookup, places in orders.items()),
        )
        return [tuple(of_sources.values()) for of_sources in answers]

    async def search(
        self, name: str, *, first: int, offset: int, ground: Ground, deadline: float
    ) -> SearchAnswer:
        """Organisations whose name holds `name`: `first` hits after the first `offset`."""
        if self._search is None:
            return SearchAnswer(fault=Fault(FaultCode.DOWN, "no source offers a search"))
        until = asyncio.get_running_loop().time() + deadline
        return await self._search.find(name, first=first, offset=offset, ground=ground, until=until)

    async def statistics(self, ask: CountAsk, *, ground: Ground, deadline: float) -> tuple[CountAnswer, ...]:
        """What every source that counts this category of this kind of subject counts; `deadline` in seconds."""
        until = asyncio.get_running_loop().time() + deadline
        counting = (each for each in self._statistics if each.counts(ask))
        return tuple(await asyncio.gather(*(each.ask(ask, ground, until) for each in counting)))

    @property
    def registers(self) -> frozenset[Register]:
        """The registers of evidence that some source serves."""
        return frozenset(self._registers)

    async def look_up(
        self, references: Sequence[Reference], *, ground: Ground, deadline: float
    ) -> list[RegisterAnswer]:
        """What the registers say of these numbers, all asked at once; `deadline` in seconds from now.

        A register's fault is in its answer, never raised; nothing of an answer is kept.
        """
        until = asyncio.get_running_loop().time() + deadline
        return await asyncio.gather(*(self._look_up(each, ground, until) for each in references))

    async def _look_up(self, reference: Reference, ground: Ground, until: float) -> RegisterAnswer:
        lookup = self._registers.get(reference.register)
        if lookup is None:
            return RegisterAnswer(None, fault=Fault(FaultCode.DOWN, "no source serves the register"))
        return await lookup.ask(reference, ground, until)

    async def probe(self) -> Mapping[str, bool]:
        """Which sources accept a connection; nothing is asked of them."""
        up = await asyncio.gather(*(_accepts(source.url) for source in self._sources))
        return {source.file.id: answer for source, answer in zip(self._sources, up, strict=True)}

    async def aclose(self) -> None:
        """Close every connection and forget what is kept."""
        await self._cache.clear()
        for source in self._sources:
            await source.transport.aclose()


_NOT_TAKEN = Fault(FaultCode.IDENTIFIER_NOT_TAKEN, "the source knows no subject by this kind of identifier")
_PENDING = SourceAnswer("")  # keeps the sources in the order of their ids until the answer is there


async def _fill(
    lookup: Lookup,
    places: Sequence[int],
    asks: Sequence[Ask],
    answers: Sequence[dict[str, SourceAnswer]],
    until: float,
) -> None:
    found = await lookup.ask([asks[place] for place in places], until)
    for place, answer in zip(places, found, strict=True):
        answers[place][lookup.source_id] = answer


def _secrets(file: SourceFile, environment: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, reference in file.secrets.items():
        value = environment.get(reference.env) or reference.default
        if value is None:
            raise SourceKeyError(
                f"secrets.{name}", f"{reference.env} is not set", "set it in the gateway's environment"
            )
        found[name] = value
    return found


def _info(file: SourceFile) -> SourceInfo:
    served = (
        *(lookup.category for lookup in file.lookup),
        *(counted.category for counted in file.statistics),
    )
    categories = tuple(dict.fromkeys(served))
    return SourceInfo(file.title, file.chinese, file.owner, file.kind.value, categories)


async def _accepts(url: str) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
