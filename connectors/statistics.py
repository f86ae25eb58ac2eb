"""Counting at a source that keeps the records: groups and numbers come back, never a record."""

import logging

from connectors.answers import CountAnswer, CountAsk, Fault, FaultCode, Ground, SourceFaultError
from connectors.conversions import UnreadableError, text_of
from connectors.envelope import MISSING, Row, path_of, value_at
from connectors.upstream import Source
from policies.vocabulary import Dimension

MOST_GROUPS = 5000
"""Groups that one answer may hold; more are an answer that cannot be used."""

_log = logging.getLogger(__name__)


class Statistics:
    """The counts of one category at one source."""

    def __init__(self, source: Source, place: int) -> None:
        self.file = source.file.statistics[place]
        self._source = source
        self._null = frozenset(source.file.values.null)
        self._count = path_of(self.file.count)
        self._paths = {dimension: path_of(column) for dimension, column in self.file.dimensions.items()}
        self._question = source.wire.question(self.file, f"statistics[{place}]")

    def counts(self, ask: CountAsk) -> bool:
        """Whether this is where the category is counted."""
        return ask.category == self.file.category and ask.kind in self.file.kinds

    async def ask(self, ask: CountAsk, ground: Ground, until: float, payer: str) -> CountAnswer:
        """The counts; a fault is in the answer. `until` is the time of the loop."""
        source = self._source.file.id
        if not self._paths.keys() >= set(ask.by):
            return CountAnswer(source, fault=_NOT_TAKEN)
        asked = {
            "statistics.kind": self.file.kinds[ask.kind],
            "statistics.by": [self.file.dimensions[dimension] for dimension in ask.by],
            "statistics.day": ask.day.isoformat(),
        }
        try:
            rows = await self._source.paid_within(self._question, asked, ground, until=until, payer=payer)
            if len(rows.rows) > MOST_GROUPS:
                raise SourceFaultError(FaultCode.GARBAGE, f"more than {MOST_GROUPS} groups")
            if rows.total is not None and len(rows.rows) < rows.total:
                raise SourceFaultError(FaultCode.GARBAGE, "the answer holds fewer groups than it says")
            counts = tuple((self._values(row, ask), self._number(row)) for row in rows.rows)
        except SourceFaultError as error:
            _log.info("source %s, counts of %s: %s", source, self.file.category, error)
            return CountAnswer(source, fault=error.fault)
        return CountAnswer(source, counts, rows.as_of)

    def _values(self, row: Row, ask: CountAsk) -> tuple[str | None, ...]:
        return tuple(self._word(row, dimension) for dimension in ask.by)

    def _word(self, row: Row, dimension: Dimension) -> str | None:
        text, table = self._text(row, self._paths[dimension]), self.file.tables.get(dimension)
        if text is None or table is None:
            return text
        if text not in table:
            raise SourceFaultError(FaultCode.GARBAGE, f"an unknown word of {dimension}")
        return table[text]

    def _text(self, row: Row, path: tuple[str, ...]) -> str | None:
        value = value_at(row, path)
        if value is None or value is MISSING:
            return None
        try:
            text = text_of(value).strip()
        except UnreadableError:
            raise SourceFaultError(FaultCode.GARBAGE, "the values of a group cannot be read") from None
        return None if not text or text in self._null else text

    def _number(self, row: Row) -> int:
        number = value_at(row, self._count)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise SourceFaultError(FaultCode.GARBAGE, "the number of a group cannot be read")
        return number


_NOT_TAKEN = Fault(FaultCode.DIMENSION_NOT_TAKEN, "the source does not count by one of the dimensions")
