"""Asking one source for one category: what is kept, what a call asks for, and whose its records are."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec

from connectors.answers import Ask, FaultCode, Ground, SourceAnswer, SourceFaultError
from connectors.batch import Batches, Take, UnpaidError, Waiting, Wanted, may_be_of_one
from connectors.budget import Payers, nobody
from connectors.cache import Entry, Key
from connectors.conversions import UnreadableError, text_of
from connectors.envelope import MISSING, Row, Rows, value_at
from connectors.kept import Kept, Store
from connectors.mapping import RecordMap, subject_paths
from connectors.request import variables_of
from connectors.source import LookupFile
from connectors.upstream import Source
from policies.identifiers import SubjectKey

_log = logging.getLogger(__name__)

PENDING = SourceAnswer("")
"""Stands where an answer is still waited for."""

_SUBJECT = 5
"""How many members of a key are the lookup's and the subject's own."""


class Lookup:
    """One category at one source."""

    def __init__(self, source: Source, place: int, store: Store) -> None:
        self.file: LookupFile = source.file.lookup[place]
        self.source_id = source.file.id
        key = f"lookup[{place}]"
        self._source = source
        self.instead: Lookup | None = None
        """What is asked when the source cannot answer."""
        self._divisions = source.file.divisions
        self._kept = Kept(source.file, place, store)
        self._question = source.wire.question(self.file, key)
        self._records = RecordMap(source.file, self.file, key)
        self._subject_paths = subject_paths(self.file)
        self._id = self._kept.id
        self._keeps = self._kept.keeps
        self._memory = store.memory
        self._told = _picked(sorted(self._question.ground))
        idempotent = self.file.idempotent
        self._idempotent = self.file.method != "POST" if idempotent is None else idempotent
        self._batches = Batches(self.file.batch or 1, self._call, self._faulty, self._stand_in)

    def kept(self, ask: Ask) -> SourceAnswer | None:
        """The answer that is kept for such an ask; the same object each time."""
        return self._memory.look(self._key(ask)) if self._keeps and ask.may_cache else None

    def held(self, ask: Ask) -> Entry | None:
        """What is kept for such an ask."""
        return self._memory.entry(self._key(ask)) if self._keeps and ask.may_cache else None

    def want(self, ask: Ask, waiting: Waiting, row: list[SourceAnswer], payer: str | Wanted) -> None:
        """Put the answer at the end of `row`: the one kept, or what comes instead of `PENDING` in time.

        Asks share a call when every input of the request but the subject is the same: the kind of identifier,
        the field set, and the parts of the ground that the source is told. A fault is in the answer. `payer` pays its
        part of what the source charges, or those do who want what another source could not answer.
        """
        key = self._key(ask)
        if self._kept.may_keep(ask):
            kept = self._memory.look(key)
            if kept is not None:
                self._memory.hits += 1
                row.append(kept)
                return
            self._memory.misses += 1
        self._batches.join(key, key[_SUBJECT:], ask, waiting, row, len(row), payer)
        row.append(PENDING)

    def late(self, ask: Ask) -> SourceAnswer:
        """What stands in for the answer that did not come in time."""
        fault = self._faulty(SourceFaultError(FaultCode.TIMEOUT, "no answer in time"))
        return self._stand_in(ask) or fault

    @property
    def keeps_some(self) -> bool:
        """Whether `keeps` depends on the subject."""
        return bool(self.file.registrars or self._divisions)

    def keeps(self, subject: SubjectKey) -> bool:
        """Whether the source's file says that it keeps such a subject: by its division, by who registers it."""
        registered = not self.file.registrars or subject.value.startswith(self.file.registrars)
        return registered and (not self._divisions or subject.division.startswith(self._divisions))

    def can_replace(self, other: "Lookup") -> bool:
        """Whether all that the other can be asked can be asked here."""
        return self.file.can_replace(other.file)

    async def aclose(self) -> None:
        """End every call that is under way."""
        await self._batches.aclose()

    def _key(self, ask: Ask) -> Key:
        """Every input of the request, those of the subject first."""
        subject = ask.subject
        key: Key = (
            self._id, subject.kind, subject.value, subject.name, ask.may_cache, subject.scheme, ask.fields
        )  # fmt: skip
        return key if self._told is None else key + self._told(ask.ground)

    async def _call(self, take: Take, until: float) -> list[SourceAnswer]:
        """The answers to the asks of one call, in order; raises SourceFaultError."""
        if not self._kept.shares:
            return await self._ask_one_of_two(take, until)
        wanted = take()
        asks, keys = [each.ask for each in wanted], [each.key for each in wanted]
        answers = await self._kept.look_elsewhere(asks, keys)
        missing = [each for each, answer in zip(wanted, answers, strict=True) if answer is None]
        fetched = iter(await self._ask_one_of_two(lambda: missing, until) if missing else ())
        return [next(fetched) if answer is None else answer for answer in answers]

    async def _ask_one_of_two(self, take: Take, until: float) -> list[SourceAnswer]:
        """The answers of the source or, where it cannot answer in half of the time, of the one that stands in for it."""
        if self.instead is None:
            return await self._ask(take, until)
        now = asyncio.get_running_loop().time()
        try:
            return await self._ask(take, now + (until - now) / 2)
        except SourceFaultError as error:
            wanted = take()
            if len(wanted) > 1 and may_be_of_one(error):
                raise
            fault = self._faulty(error)
            waiting, row = Waiting(until), list[SourceAnswer]()
            for each in wanted:
                self.instead.want(each.ask, waiting, row, each)
            if waiting:
                await waiting.all()
            if all(answer is PENDING or answer.fault is not None for answer in row):
                raise
            return [
                fault
                if answer is PENDING or answer.fault is not None
                else msgspec.structs.replace(answer, instead_of=self.source_id)
                for answer in row
            ]

    async def _ask(self, take: Take, until: float) -> list[SourceAnswer]:
        """The source's own answers to the asks of one call."""
        asking = _Asking(take, until)
        found = await self._source.within(until, partial(self._rows_of, asking))
        answers = [
            self._answer(ask, rows, found.as_of) for ask, rows in zip(asking.asks, asking.owned, strict=True)
        ]
        if self._keeps:
            for each, answer in zip(asking.wanted, answers, strict=True):
                self._kept.keep(each.ask, each.key, answer, asking.number)
        return answers

    async def _rows_of(self, asking: "_Asking") -> Rows:
        """What a call that may start now brings; the call is closed, and learns whose each row is."""
        wanted, asking.number = asking.take(), self._kept.number
        asks = [each.ask for each in wanted]
        asking.wanted, asking.asks = wanted, asks
        payers: Payers = nobody
        if self._source.is_paid_by_units:
            self._require_money(wanted)
            payers = partial(_payers, wanted)
        found = await self._rows(asks, asking.until, payers)
        asking.owned = self._owned(found.rows, asks)
        return found

    def _require_money(self, wanted: Sequence[Wanted]) -> None:
        """Raise UnpaidError where some of what is wanted is not paid for, SourceFaultError where none of it is."""
        unpaid = [each for each in wanted if each.seats and not self._source.has_money(each.payers())]
        if unpaid and len(unpaid) < len(wanted):
            raise UnpaidError(unpaid)
        self._source.require_money(_payers(wanted))

    def _stand_in(self, ask: Ask) -> SourceAnswer | None:
        return self._kept.stand_in(ask, self._key(ask))

    async def _rows(self, asks: Sequence[Ask], until: float, payers: Payers) -> Rows:
        asked = variables_of([ask.subject for ask in asks], batch=self.file.batch is not None)
        ground = asks[0].ground
        if self.file.paging is None:
            return _complete(await self._page(asked, ground, until, payers))
        size, most, path = self.file.paging.size, self.file.paging.most, self.file.paging.cursor
        gathered: list[Row] = []
        cursor: str | None = None
        for number in range(1, most + 1):
            page_asked = {**asked, "page.number": number, "page.size": size, "page.cursor": cursor}
            page = await self._page(page_asked, ground, until, payers)
            gathered.extend(page.rows)
            whole = Rows(gathered, page.total, page.as_of)
            if path is not None:
                cursor = page.next_page(path)
            is_last = len(page.rows) < size or len(gathered) == page.total if path is None else cursor is None
            if is_last:
                return _complete(whole)
        raise SourceFaultError(FaultCode.GARBAGE, f"more than {most} pages")

    async def _page(self, asked: Mapping[str, Any], ground: Ground, until: float, payers: Payers) -> Rows:
        return await self._source.rows(
            self._question, asked, ground, idempotent=self._idempotent, until=until, payers=payers
        )

    def _owned(self, rows: Sequence[Row], asks: Sequence[Ask]) -> list[Sequence[Row]]:
        """The rows of the subject of each ask; raises SourceFaultError when one is another's."""
        path = self._subject_paths.get(asks[0].subject.scheme)
        if path is None:
            (_,) = {ask.subject.value for ask in asks}
            return [rows] * len(asks)
        owned: dict[str, list[Row]] = {}
        found: list[Sequence[Row]] = [owned.setdefault(_canonical(ask.subject.value), []) for ask in asks]
        name = path[0] if len(path) == 1 else None
        for row in rows:
            key = row.get(name) if name is not None else None
            whose = owned.get(key) if type(key) is str else None
            if whose is None:
                whose = owned.get(_owner(row, path))
                if whose is None:
                    raise SourceFaultError(
                        FaultCode.WRONG_SUBJECT, "a record of a subject that was not asked for"
                    )
            whose.append(row)
        return found

    def _answer(self, ask: Ask, rows: Sequence[Row], as_of: datetime | None) -> SourceAnswer:
        try:
            rows = self._records.fitting(rows)
            records = self._records.records(rows, ask.fields)
        except SourceFaultError as error:
            return self._faulty(error)
        return SourceAnswer(self.source_id, records, as_of, dropped=self._records.unmapped(rows))

    def _faulty(self, error: SourceFaultError) -> SourceAnswer:
        _log.info("source %s, %s: %s", self.source_id, self.file.category, error)
        return SourceAnswer(self.source_id, fault=error.fault)


class _Asking:
    """A call from its start on: what it asks for, and the rows of each ask. `number` is of the last change before it."""

    __slots__ = ("asks", "number", "owned", "take", "until", "wanted")

    wanted: Sequence[Wanted]
    asks: Sequence[Ask]
    owned: Sequence[Sequence[Row]]
    number: int

    def __init__(self, take: Take, until: float) -> None:
        self.take = take
        self.until = until


def _picked(names: Sequence[str]) -> Callable[[Ground], tuple[str | None, ...]] | None:
    """What takes these parts of a ground, as a tuple; None for none."""
    if not names:
        return None
    if len(names) == 1:
        (name,) = names
        return lambda ground: (getattr(ground, name),)
    return attrgetter(*names)


def _payers(wanted: Sequence[Wanted]) -> Iterator[str]:
    """Who waits for any of these at this moment, once for each seat."""
    for each in wanted:
        yield from each.payers()


def _complete(rows: Rows) -> Rows:
    if rows.total is not None and len(rows.rows) < rows.total:
        raise SourceFaultError(FaultCode.GARBAGE, "the answer holds fewer records than it says")
    return rows


def _owner(row: Row, path: tuple[str, ...]) -> str:
    key = value_at(row, path)
    try:
        return _canonical(text_of(None if key is MISSING else key))
    except UnreadableError:
        raise SourceFaultError(FaultCode.GARBAGE, "a record does not say whose it is") from None


def _canonical(identifier: str) -> str:
    return identifier.strip().upper()
