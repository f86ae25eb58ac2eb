"""The rules of a bundle, compiled: one cell per caller type, purpose, subject kind and category.

A rule is found without a search: the table is an array of cell numbers, and a cell holds its rule and its field
mask as an integer. A table holds for a day, because rules and laws have validity; `Tables` keeps the table of each
interval between two changes of the law.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import product

import msgspec

from policies.bundle import Bundle, Instrument, Layer, RedLine, Rule
from policies.catalogue import SECTION_OF, fields_at
from policies.vocabulary import Level, SubjectKind

KINDS = tuple(SubjectKind)


class Cell(msgspec.Struct, frozen=True):
    """What one rule gives of one category to one kind of subject.

    `fields` is a mask over the record's fields (0 where the category has no section or the level is another
    shape of answer).
    """

    rule: Rule
    category: str
    kind: SubjectKind
    level: Level
    fields: int


class Table(msgspec.Struct, frozen=True):
    """The dense table of a bundle on a day. Position 0 of `cells` is "no rule"."""

    bundle: Bundle
    callers: dict[str, int]
    purposes: dict[str, int]
    categories: dict[str, int]
    index: "array[int]"  # Python 3.11 cannot subscript it at run time
    cells: tuple[Cell | RedLine | None, ...]
    reach: dict[tuple[str, str], frozenset[SubjectKind]]
    """Caller type and purpose to the subject kinds that some rule reaches."""
    laws: frozenset[str]
    """The instruments in force, the product's own decisions aside: what LAW_NAMED may name."""

    def cell(self, caller: str, purpose: str, kind: SubjectKind, category: str) -> Cell | RedLine | None:
        """The cell; a red line stands in place of every rule it overrides. Unknown codes have no cell."""
        try:
            row = self.callers[caller] * len(self.purposes) + self.purposes[purpose]
            column = KINDS.index(kind) * len(self.categories) + self.categories[category]
        except KeyError:
            return None
        return self.cells[self.index[row * len(KINDS) * len(self.categories) + column]]

    def purposes_giving(self, caller: str, kind: SubjectKind, category: str) -> tuple[str, ...]:
        """The purposes for which some rule gives this caller type the category."""
        return tuple(
            purpose
            for purpose in self.purposes
            if isinstance(self.cell(caller, purpose, kind, category), Cell)
        )

    def purposes_of(self, caller: str) -> tuple[str, ...]:
        """The purposes for which some rule gives this caller type anything."""
        return tuple(purpose for purpose in self.purposes if (caller, purpose) in self.reach)


def compile_table(bundle: Bundle, day: date) -> Table:
    """The table of the rules in force on that day; the bundle's loader has proven that no two meet on a cell."""
    table = Table(
        bundle=bundle,
        callers=_positions(bundle.callers),
        purposes=_positions(bundle.purposes),
        categories=_positions(bundle.categories),
        index=array(
            "H", bytes(2 * len(bundle.callers) * len(bundle.purposes) * len(KINDS) * len(bundle.categories))
        ),
        cells=(),
        reach={},
        laws=frozenset(code for code, law in bundle.instruments.items() if _in_force(law, day)),
    )
    cells: list[Cell | RedLine | None] = [None]
    reach: dict[tuple[str, str], set[SubjectKind]] = {}
    for rule in bundle.rules.values():
        if not rule.grants_on(day):
            continue
        for kind, categories in rule.categories.items():
            for caller in rule.callers:
                reach.setdefault((caller, rule.purpose), set()).add(kind)
            for category in categories:
                cells.append(_cell(rule, kind, category))
                for caller in rule.callers:
                    _put(table, caller, rule.purpose, kind, category, len(cells) - 1)
    for line in bundle.red_lines.values():
        if not line.holds_on(day):
            continue
        cells.append(line)
        for caller, purpose, kind, category in _covered(line):
            _put(table, caller, purpose, kind, category, len(cells) - 1)
    return msgspec.structs.replace(
        table, cells=tuple(cells), reach={key: frozenset(kinds) for key, kinds in reach.items()}
    )


def _in_force(instrument: Instrument, day: date) -> bool:
    """Whether it is law on that day; a date that is not confirmed does not count against it."""
    return instrument.layer is not Layer.PRODUCT and instrument.in_force_on(day)


def _positions(codes: Iterable[str]) -> dict[str, int]:
    return {code: position for position, code in enumerate(codes)}


def _cell(rule: Rule, kind: SubjectKind, category: str) -> Cell:
    section = SECTION_OF.get((category, kind))
    return Cell(
        rule=rule,
        category=category,
        kind=kind,
        level=rule.level,
        fields=fields_at(section.record, rule.level) if section else 0,
    )


def _put(table: Table, caller: str, purpose: str, kind: SubjectKind, category: str, cell: int) -> None:
    row = table.callers[caller] * len(table.purposes) + table.purposes[purpose]
    column = KINDS.index(kind) * len(table.categories) + table.categories[category]
    table.index[row * len(KINDS) * len(table.categories) + column] = cell


def _covered(line: RedLine) -> Iterator[tuple[str, str, SubjectKind, str]]:
    return product(line.callers, line.purposes, line.kinds, line.categories)


class Tables:
    """The tables of a bundle, one for each interval in which the same rules, red lines and laws are in force."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        valid: list[Rule | Instrument | RedLine] = [
            *bundle.rules.values(),
            *bundle.instruments.values(),
            *bundle.red_lines.values(),
        ]
        changes = {entry.valid_from for entry in valid if entry.valid_from}
        changes |= {entry.valid_to + timedelta(days=1) for entry in valid if entry.valid_to}
        self._changes = sorted(changes)
        self._tables: dict[int, Table] = {}
        self._last: tuple[date, Table] | None = None

    def on(self, day: date) -> Table:
        """The table in force on that day, compiled when the interval is first asked for."""
        if self._last is not None and self._last[0] == day:
            return self._last[1]
        interval = bisect_right(self._changes, day)
        if interval not in self._tables:
            self._tables[interval] = compile_table(self.bundle, day)
        self._last = day, self._tables[interval]
        return self._tables[interval]
