"""Counts over the platform's tables: records that are visible on a day, by groups."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from connectors.sandbox.facts import (
    Adverse,
    Commitment,
    Degree,
    Evaluation,
    Fact,
    Honour,
    Listing,
    Outcome,
    Registration,
    Serious,
)
from connectors.sandbox.filing import CITIES
from connectors.sandbox.population import Population

_INQUIRY_DAYS = 5 * 365
_DEGREES = {Degree.MINOR: "1", Degree.GENERAL: "2", Degree.SERIOUS: "3"}
_OUTCOMES = {Outcome.PENDING: "0", Outcome.PERFORMED: "1", Outcome.BROKEN: "2"}


class Counting:
    """Counts over one population. Subject types are 1 organisation, 2 individual business, 3 person, 4 organ."""

    def __init__(self, population: Population) -> None:
        records = population.records
        self._registrations = records.registrations
        self.tables: Mapping[str, Mapping[str, Sequence[Fact]]] = {
            "registration": records.registrations,
            "penalty": records.penalties,
            "serious-list": records.serious,
            "commitment": records.commitments,
            "honour": records.honours,
            "evaluation": records.evaluations,
        }

    def groups(
        self, table: str, subject_type: str, columns: Sequence[str], day: date
    ) -> list[dict[str, Any]]:
        """The number of visible records of each group that has any, as `num` beside the group's values."""
        counted = Counter(
            tuple(COLUMNS[column](self, key, fact) for column in columns)
            for key, fact in self._visible(table, subject_type, day)
        )
        return [dict(zip(columns, group, strict=True)) | {"num": number} for group, number in counted.items()]

    def _visible(self, table: str, subject_type: str, day: date) -> Iterator[tuple[str, Fact]]:
        for key, facts in self.tables[table].items():
            if self._type(key) == subject_type:
                yield from ((key, fact) for fact in facts if _is_visible(fact, day))

    def _type(self, key: str) -> str:
        if key not in self._registrations:
            return "3"
        return {"92": "2", "11": "4"}.get(key[:2], "1")

    def city(self, key: str, _fact: Fact) -> str | None:
        """The city of registration; of a person that of the number's division."""
        filed = self._registrations.get(key)
        return filed[0].city if filed else CITIES.get(key[:4])


def _is_visible(fact: Fact, day: date) -> bool:
    if any(ended is not None and ended <= day for ended in (fact.repaired, fact.withdrawn)):
        return False
    if isinstance(fact, Listing):
        return fact.listed <= day and (fact.removed is None or fact.removed > day)
    if isinstance(fact, Adverse):
        return fact.decided <= day <= fact.conduct_ended + timedelta(days=_INQUIRY_DAYS)
    if isinstance(fact, Evaluation):
        return day <= fact.valid_until
    return True


def _day(fact: Fact) -> date | None:
    """The day by which a record is put into a quarter or year."""
    match fact:
        case Listing():
            return fact.listed
        case Adverse():
            return fact.decided
        case Registration():
            return fact.registered
        case Commitment():
            return fact.committed
        case Honour():
            return fact.awarded
        case Evaluation():
            return fact.evaluated
        case _:
            return None


def _quarter(_counting: Counting, _key: str, fact: Fact) -> str | None:
    day = _day(fact)
    return None if day is None else f"{day.year}Q{(day.month + 2) // 3}"


def _year(_counting: Counting, _key: str, fact: Fact) -> str | None:
    day = _day(fact)
    return None if day is None else str(day.year)


def _domain(_counting: Counting, _key: str, fact: Fact) -> str | None:
    return fact.domain if isinstance(fact, Serious | Evaluation) else None


def _degree(_counting: Counting, _key: str, fact: Fact) -> str | None:
    return _DEGREES[fact.degree] if isinstance(fact, Adverse) else None


def _state(_counting: Counting, _key: str, fact: Fact) -> str | None:
    if isinstance(fact, Registration):
        return fact.status
    return _OUTCOMES[fact.outcome] if isinstance(fact, Commitment) else None


COLUMNS: Mapping[str, Callable[[Counting, str, Any], str | None]] = {
    "city": Counting.city,
    "domain": _domain,
    "quarter": _quarter,
    "year": _year,
    "degree": _degree,
    "state": _state,
}
"""What counts can be grouped by."""
