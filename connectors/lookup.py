"""Asking one source for one category: batches, pages, cache."""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from connectors.answers import Ask, FaultCode, SourceAnswer, SourceFaultError
from connectors.cache import AnswerCache
from connectors.conversions import UnreadableError, text_of
from connectors.envelope import MISSING, Row, Rows, path_of, value_at
from connectors.mapping import RecordMap
from connectors.request import RequestTemplate, variables_of
from connectors.source import LookupFile, Scheme
from connectors.upstream import Source
from policies.vocabulary import SubjectKind

_log = logging.getLogger(__name__)


class Lookup:
    """One category at one source. `ask` is the only way in: what joins asks into calls belongs there."""

    def __init__(self, source: Source, place: int, cache: AnswerCache) -> None:
        self.file: LookupFile = source.file.lookup[place]
        self.source_id = source.file.id
        key = f"lookup[{place}]"
        self._source = source
        self._place = place
        self._cache = cache
        self._cache_secret = secrets.token_bytes(32)
        self._template = RequestTemplate(source.file, self.file, key, url=source.url, secrets=source.secrets)
        self._records = RecordMap(source.file, self.file, key)
        self._subject_paths = _subject_paths(self.file)
        self._subject_keys = frozenset(path[0] for path in self._subject_paths.values())
        self._told = sorted(self._template.ground)
        idempotent = self.file.idempotent
        self._idempotent = self.file.method == "GET" if idempotent is None else idempotent

    async def ask(self, asks: Sequence[Ask], until: float) -> list[SourceAnswer]:
        """One answer for each ask, in order. Equal asks are asked once, like asks in one call.

        Asks are alike when every input of the request but the subject is the same: the kind of identifier,
        the field set, and the parts of the ground that the source is told.
        """
        keys = [self._key(ask) for ask in asks]
        answers: dict[bytes, SourceAnswer] = {}
        wanted: dict[bytes, Ask] = {}
        for key, ask in zip(keys, asks, strict=True):
            kept = await self._cache.get(key) if self._caches(ask) else None
            if kept is None:
                wanted[key] = ask
            else:
                answers[key] = kept
        for found in await asyncio.gather(*(self._call(call, until) for call in self._calls(wanted))):
            answers.update(found)
        return [answers[key] for key in keys]

    def _calls(self, wanted: Mapping[bytes, Ask]) -> list[dict[bytes, Ask]]:
        """Like asks together, at most a batch in each call."""
        alike: dict[tuple[Any, ...], list[tuple[bytes, Ask]]] = {}
        for key, ask in wanted.items():
            alike.setdefault((ask.subject.scheme, *self._inputs(ask)), []).append((key, ask))
        size = self.file.batch or 1
        return [
            dict(group[start : start + size])
            for group in alike.values()
            for start in range(0, len(group), size)
        ]

    def _inputs(self, ask: Ask) -> tuple[Any, ...]:
        return (ask.fields, *(getattr(ask.ground, name) for name in self._told))

    def _key(self, ask: Ask) -> bytes:
        """Every input of the request; a keyed digest, so that no identifier is kept in clear."""
        subject = ask.subject
        inputs = (
            self.source_id, self._place, subject.kind, subject.scheme, subject.value, subject.name,
            ask.may_cache, *self._inputs(ask),
        )  # fmt: skip
        return hmac.digest(self._cache_secret, msgspec.json.encode(inputs), hashlib.sha256)

    def _caches(self, ask: Ask) -> bool:
        return ask.may_cache and self.file.cache_seconds > 0 and ask.subject.kind is not SubjectKind.NP

    async def _call(self, call: Mapping[bytes, Ask], until: float) -> dict[bytes, SourceAnswer]:
        """The answers to at most a batch of like asks, by one call of the source."""
        asks = list(call.values())
        try:
            rows = await self._source.within(until, lambda: self._rows(asks))
            owned = self._owned(rows.rows, asks)
        except SourceFaultError as error:
            return dict.fromkeys(call, self._faulty(error))
        answers = {
            key: self._answer(ask, owned[_canonical(ask.subject.value)], rows.as_of)
            for key, ask in call.items()
        }
        for key, answer in answers.items():
            if self._caches(call[key]) and answer.fault is None:
                kept = msgspec.structs.replace(answer, cached=True)
                await self._cache.put(key, kept, self.file.cache_seconds)
        return answers

    async def _rows(self, asks: Sequence[Ask]) -> Rows:
        asked = variables_of([ask.subject for ask in asks], batch=self.file.batch is not None)
        ground = asks[0].ground
        if self.file.paging is None:
            rows = await self._source.rows(self._template, asked, ground, idempotent=self._idempotent)
            return _complete(rows)
        size, most = self.file.paging.size, self.file.paging.most
        gathered: list[Row] = []
        for number in range(1, most + 1):
            page_asked = {**asked, "page.number": number, "page.size": size}
            page = await self._source.rows(self._template, page_asked, ground, idempotent=self._idempotent)
            gathered.extend(page.rows)
            whole = Rows(gathered, page.total, page.as_of)
            if len(page.rows) < size or len(gathered) == page.total:
                return _complete(whole)
        raise SourceFaultError(FaultCode.GARBAGE, f"more than {most} pages")

    def _owned(self, rows: Sequence[Row], asks: Sequence[Ask]) -> dict[str, list[Row]]:
        """The rows of each subject asked for; raises SourceFaultError when one is another's."""
        owned: dict[str, list[Row]] = {_canonical(ask.subject.value): [] for ask in asks}
        path = self._subject_paths.get(asks[0].subject.scheme)
        for row in rows:
            owner = _canonical(asks[0].subject.value) if path is None else _owner(row, path)
            if owner not in owned:
                raise SourceFaultError(
                    FaultCode.WRONG_SUBJECT, "a record of a subject that was not asked for"
                )
            owned[owner].append(row)
        return owned

    def _answer(self, ask: Ask, rows: Sequence[Row], as_of: datetime | None) -> SourceAnswer:
        try:
            records = tuple(self._records.record(row, ask.fields) for row in rows)
        except SourceFaultError as error:
            return self._faulty(error)
        dropped = sum(self._records.unmapped(row, self._subject_keys) for row in rows)
        return SourceAnswer(self.source_id, records, as_of, dropped=dropped)

    def _faulty(self, error: SourceFaultError) -> SourceAnswer:
        _log.info("source %s, %s: %s", self.source_id, self.file.category, error)
        return SourceAnswer(self.source_id, fault=error.fault)


def _complete(rows: Rows) -> Rows:
    if rows.total is not None and len(rows.rows) < rows.total:
        raise SourceFaultError(FaultCode.GARBAGE, "the answer holds fewer records than it says")
    return rows


def _subject_paths(file: LookupFile) -> dict[Scheme | str, tuple[str, ...]]:
    if file.subject is None:
        return {}
    if isinstance(file.subject, str):
        return dict.fromkeys(file.keys, path_of(file.subject))
    return {scheme: path_of(path) for scheme, path in file.subject.items()}


def _owner(row: Row, path: tuple[str, ...]) -> str:
    key = value_at(row, path)
    try:
        return _canonical(text_of(None if key is MISSING else key))
    except UnreadableError:
        raise SourceFaultError(FaultCode.GARBAGE, "a record does not say whose it is") from None


def _canonical(identifier: str) -> str:
    return identifier.strip().upper()
