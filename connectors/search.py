"""Finding organisations by name at the source that offers it."""

from collections.abc import Mapping
from typing import Any

from connectors.answers import FaultCode, Ground, Hit, SearchAnswer, SourceFaultError
from connectors.conversions import UnreadableError, text_of
from connectors.envelope import Row, Rows, path_of, value_at
from connectors.source import SearchFile
from connectors.upstream import Source


class Search:
    """The search of one source."""

    def __init__(self, source: Source, file: SearchFile) -> None:
        self._source = source
        self._most = file.page_size
        self._null = frozenset(source.file.values.null)
        self._paths = {name: path_of(path) for name, path in file.fields.items()}
        self._question = source.wire.question(file, "search")

    async def find(
        self, name: str, *, first: int, offset: int, ground: Ground, until: float, payer: str
    ) -> SearchAnswer:
        """`first` hits after the first `offset`, in the source's order; a fault is in the answer."""
        try:
            rows = await self._source.within(
                until, lambda: self._rows(name, first, offset, ground, until, payer)
            )
            hits = tuple(self._hit(row) for row in rows.rows)
        except SourceFaultError as error:
            return SearchAnswer(fault=error.fault, source=self._source.file.id)
        return SearchAnswer(hits, rows.total or 0, rows.as_of, source=self._source.file.id)

    async def _rows(
        self, name: str, first: int, offset: int, ground: Ground, until: float, payer: str
    ) -> Rows:
        """The rows of the window, from as many pages as it touches."""
        self._source.require_money((payer,))
        size = first if 0 < first <= self._most and offset % first == 0 else self._most
        skipped = offset // size
        pages = [
            await self._page(name, number, size, ground, until, payer)
            for number in range(skipped + 1, (offset + max(first, 1) - 1) // size + 2)
        ]
        start = offset - skipped * size
        rows = [row for page in pages for row in page.rows][start : start + first]
        return Rows(rows, pages[0].total, pages[0].as_of)

    async def _page(
        self, name: str, number: int, size: int, ground: Ground, until: float, payer: str
    ) -> Rows:
        asked: Mapping[str, Any] = {"search.name": name, "page.number": number, "page.size": size}
        return await self._source.rows(
            self._question, asked, ground, idempotent=True, until=until, payers=lambda: (payer,)
        )

    def _hit(self, row: Row) -> Hit:
        name, credit_code = self._text(row, "name"), self._text(row, "credit_code")
        if name is None or credit_code is None:
            raise SourceFaultError(FaultCode.GARBAGE, "a hit without name or credit code")
        return Hit(name, credit_code, self._text(row, "status"), self._text(row, "city"))

    def _text(self, row: Row, name: str) -> str | None:
        try:
            text = text_of(value_at(row, self._paths[name])) if name in self._paths else None
        except UnreadableError:
            return None
        return None if text is None or text.strip() in self._null else text
