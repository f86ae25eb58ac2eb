"""Finished values for an operation, drawn at random: what the river would hand over, and what it never should.

Everything follows from the seed. `faults` is the share of values that are not what their place wants: null where
there is none, another type, a stranger to an enum, an exception, a record or a section of another kind.
"""

import random
import types
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from gateway.plan import LookupPlan, Plan
from policies.caller import Caller
from policies.catalogue import SECTION_OF, Record, Section, fields_of
from policies.vocabulary import Dimension, SectionState, SubjectKind
from resolvers import answers
from resolvers.overview import LogDimension
from resolvers.schema import Context


class Stray(StrEnum):
    """Members that no GraphQL enum knows, and one that many do."""

    HAS = "HAS"
    NOBODY = "NOBODY"


class Odd:
    """A value of a class that no type knows, though it has a text."""

    def __str__(self) -> str:
        return "odd"


STRANGE: tuple[Any, ...] = (
    None,
    None,
    "",
    "HAS",
    "2026-01-02",
    7,
    2**40,
    -1,
    True,
    1.5,
    float("nan"),
    3.0,
    b"bytes",
    [],
    ["a", None],
    ("a",),
    {},
    {"id": "1"},
    Decimal("1E+3"),
    Decimal("NaN"),
    date(7, 1, 2),
    datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001  # a source may forget the zone
    datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=8, seconds=30))),
    Stray.HAS,
    Stray.NOBODY,
    SectionState.HAS,
    SubjectKind.NP,
    ValueError("a value that is an exception"),
    Odd(),
    msgspec.UNSET,
    set(),
    range(2),
)
TEXTS = ("", "罚款", "示例市市场监督管理局", 'a "quoted" \\ text', "\u2028</script>", "x" * 50, "\x00\x1f")


@cache
def _hints(wanted: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(wanted, include_extras=True)


class Drawing:
    """Draws values by their Python types."""

    def __init__(self, chosen: random.Random, faults: float) -> None:
        self._chosen = chosen
        self._faults = faults

    def chance(self, share: float) -> bool:
        return self._chosen.random() < share

    def pick(self, values: Sequence[Any]) -> Any:
        return self._chosen.choice(values)

    def stray(self) -> bool:
        """Whether the next value is a fault."""
        return self.chance(self._faults)

    def of(self, wanted: Any) -> Any:
        if self.stray():
            return self.pick(STRANGE)
        if get_origin(wanted) is Annotated:
            return self.of(get_args(wanted)[0])
        if get_origin(wanted) in (Union, types.UnionType):
            return self.of(self.pick(get_args(wanted)))
        if get_origin(wanted) is tuple:
            return tuple(self.of(get_args(wanted)[0]) for _ in range(self.pick((0, 0, 1, 3))))
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            return self.struct(wanted)
        return self._plain(wanted)

    def _plain(self, wanted: Any) -> Any:
        if wanted in (None, type(None)):
            return None
        if isinstance(wanted, type) and issubclass(wanted, Enum):
            return self.pick(list(wanted) or [None])
        plain: dict[Any, Callable[[], Any]] = {
            str: lambda: self.pick(TEXTS),
            bool: lambda: self.chance(0.5),
            int: lambda: self._chosen.randrange(-3, 3000),
            float: lambda: self._chosen.random(),
            date: lambda: date(self._chosen.randrange(1990, 2030), 2, 3),
            datetime: lambda: datetime(
                2026, 1, 2, 3, 4, 5, self.pick((0, 120)), tzinfo=self.pick((UTC, _EAST))
            ),
            Decimal: lambda: Decimal(self.pick(("0", "1234.50", "1E+2", "-7"))),
        }
        return plain[wanted]()

    def struct(self, wanted: type[msgspec.Struct], **given: Any) -> Any:
        hints = _hints(wanted)
        drawn = {name: self.of(hints[name]) for name in wanted.__struct_fields__ if name not in given}
        return wanted(**drawn, **given)


_EAST = timezone(timedelta(hours=8))
RECORDS = (0, 1, 1, 2, 4)


class Answers(Drawing):
    """Draws the answers of a plan's lookups."""

    def __init__(self, seed: int, *, faults: float = 0.0, keeping: bool = False) -> None:
        super().__init__(random.Random(seed), faults)
        self.kind = self.pick(
            (SubjectKind.ORG, SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP, SubjectKind.GOV)
        )
        self._keeping = keeping

    def context(self, plan: Plan) -> Context:
        lookups: Any = {lookup.key: self._lookup(lookup) for lookup in plan.lookups}
        if lookups and self.stray():
            lookups.popitem()
        inquiry = answers.InquiryAnswer(self.struct(answers.Receipt), lookups)
        permissions = [self._permission() for _ in range(3)]
        return Context(
            caller=self._caller(),
            inquiry=None if self.stray() else inquiry,
            permissions=lambda _purpose, _kind: permissions,
            application=None if self.stray() else self.struct(answers.ApplicationReceipt),
        )

    def _lookup(self, lookup: LookupPlan) -> Any:
        match lookup.field:
            case "subject":
                return answers.Lookup(subject=self.subject(self.kind, lookup))
            case "subjects":
                kinds = (SubjectKind.ORG, SubjectKind.IND, SubjectKind.GOV)
                return answers.Lookup(
                    subjects=tuple(self.subject(self.pick(kinds), lookup) for _ in range(self.pick(RECORDS)))
                )
            case "search":
                return answers.Lookup(search=self.struct(answers.SearchResult))
            case "statistics":
                return answers.Lookup(statistics=self._counted(answers.StatisticsResult, Dimension))
            case _:
                return answers.Lookup(log=self._counted(answers.LogResult, LogDimension))

    def _counted(self, wanted: type[msgspec.Struct], dimension: type[StrEnum]) -> Any:
        cell = answers.StatisticsCell if wanted is answers.StatisticsResult else answers.LogCell

        def values() -> Any:
            return tuple(
                answers.GroupValue(self.of(dimension), self.of(str | None)) for _ in range(self.pick(RECORDS))
            )

        cells = tuple(self.struct(cell, values=values()) for _ in range(self.pick(RECORDS)))
        whole = {"whole": self.struct(cell, values=values())} if wanted is answers.LogResult else {}
        return self.struct(wanted, cells=cells, **whole)

    def subject(self, kind: SubjectKind, lookup: LookupPlan) -> Any:
        if self.stray():
            return self.pick(STRANGE)
        asked = [SECTION_OF[(category, kind)] for category in lookup.sections[kind]]
        sections = {section.name: self.section(section) for section in asked if not self.stray()}
        kept: dict[object, bytes] | None = {} if self._keeping else None
        return answers.SubjectAnswer(kind, self.of(tuple[str, ...]), sections, kept)

    def section(self, section: Section) -> Any:
        if self.stray():
            return self.pick(STRANGE)
        if self.stray():
            section = self.pick(list(SECTION_OF.values()))
        state = self.pick(list(SectionState))
        records = (
            tuple(self.record(section) for _ in range(self.pick(RECORDS)))
            if state is SectionState.HAS
            else ()
        )
        return self.struct(
            answers.SectionAnswer,
            section=section,
            state=self.pick(STRANGE) if self.stray() else state,
            records=records,
        )

    def record(self, section: Section) -> Any:
        if self.stray():
            return self.pick((*STRANGE, Record(record_id="1")))
        return section.record(**{field.name: self.of(field.type) for field in fields_of(section.record)})

    def _permission(self) -> Any:
        return answers.PermissionAnswer(
            category=self.of(str),
            possible=self.of(bool),
            level=self.of(get_type_hints(answers.PermissionAnswer)["level"]),
            needs=(),
            reason=self.of(answers.Reason | None),
            basis=self.of(tuple[answers.Basis, ...]),
            rule=self.of(str | None),
            fields=self.of(tuple[str, ...]),
        )

    def _caller(self) -> Caller:
        return Caller(
            unit=self.of(str),
            unit_name=self.of(str),
            type="BANK",
            level=self.of(str | None),
            division=None,
            purposes=frozenset({"LICENSING", "AUDIT"}),
            categories=None if self.chance(0.5) else frozenset({"PENALTY"}),
            officer=None,
            identity=None,
            synthetic_only=True,
            client="c",
            token_id="t",
            expires=0,
        )
