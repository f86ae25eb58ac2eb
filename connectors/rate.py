"""How often a source may be asked: so many calls a second, so many a day, for so much money a day."""

import asyncio
from collections.abc import Iterable
from datetime import date, datetime
from fractions import Fraction

from connectors.answers import FaultCode, SourceFaultError
from connectors.budget import NO_PARTS, Parts, Payers, UnitBudgets, nobody
from connectors.conversions import PROVINCE_TIME


class Rate:
    """The pace of one source; None: no bound. `charge` is the price of a call, the budgets are of the same currency.

    A second's worth of calls may go at once, then they follow evenly. The day's count belongs to this process and
    starts anew with it: of `workers` processes each has its part of every bound.
    """

    def __init__(
        self,
        per_second: float | None,
        per_day: int | None,
        *,
        charge: float | None = None,
        budget_per_day: float | None = None,
        budget_per_unit_per_day: float | None = None,
        workers: int = 1,
    ) -> None:
        self._gap = workers / per_second if per_second else 0.0
        self._burst = max(1.0 - self._gap, 0.0)
        self._free_at = 0.0
        self._per_day = None if per_day is None else per_day // workers
        self._charge = _money(charge)
        self._budget = _part(budget_per_day, workers)
        per_unit = _part(budget_per_unit_per_day, workers)
        self._units = None if per_unit is None else UnitBudgets(self._charge, per_unit)
        self._day = date.min
        self._is_used_up = False
        self.asked_today = 0
        self._spent_today = Fraction()
        self._charged: Fraction | None = None if charge is None else Fraction()
        self.bounded = per_second is not None or per_day is not None or charge is not None

    def follow_on(self, before: "Rate") -> None:
        """Count on from what was asked and spent today before."""
        self._day, self.asked_today = before._day, before.asked_today
        self._spent_today, self._is_used_up = before._spent_today, before._is_used_up
        if self._units is not None and before._units is not None:
            self._units.follow_on(before._units)
        self.bounded = self.bounded or self._is_used_up

    @property
    def charged(self) -> float | None:
        """What the calls cost since the file was read; None: they cost nothing."""
        return None if self._charged is None else float(self._charged)

    @property
    def is_paid_by_units(self) -> bool:
        """Whether each unit has a budget of its own."""
        return self._units is not None

    def has_money(self, payers: Iterable[str], at: datetime) -> bool:
        """Whether one of these may spend money on a call at that time."""
        self._begin_day(at)
        return self._units is None or self._units.has_money(payers)

    def used_up(self, at: datetime) -> None:
        """The source said, to a call at that time, that its calls are used up: there are no more on that day."""
        if self._begin_day(at):
            self._is_used_up = self.bounded = True

    def not_reached(self, at: datetime, parts: Parts = NO_PARTS) -> None:
        """The call that had a turn at that time did not reach the source: it costs nothing, and its parts go back."""
        if self._charged is None:
            return
        self._charged -= self._charge
        if self._begin_day(at):
            self._spent_today -= self._charge
            if self._units is not None:
                self._units.give_back(parts)

    async def turn(self, until: float, at: datetime, payers: Payers = nobody) -> Parts:
        """Wait for a turn, and say who paid what; raises SourceFaultError when there is none before `until`, in the loop's time.

        `at` is the time of the call: its day in the province is the day of the quota. A turn that cannot come in time
        is not waited for, and not taken from those who can. It is counted and paid before anything is waited for.
        """
        if not self._gap:
            return self._count(at, payers)
        now = asyncio.get_running_loop().time()
        turn = max(self._free_at, now - self._burst)
        if turn >= until:
            raise SourceFaultError(
                FaultCode.TIMEOUT, "no turn in time: the source's rate is used up", asked=False
            )
        parts = self._count(at, payers)
        self._free_at = turn + self._gap
        if turn > now:
            try:
                await asyncio.sleep(turn - now)
            except asyncio.CancelledError:
                self.not_reached(at, parts)
                raise
        return parts

    def _count(self, at: datetime, payers: Payers) -> Parts:
        self._begin_day(at)
        if self._is_used_up:
            raise _used_up("not asked: the source said that its calls are used up")
        if self._per_day is not None and self.asked_today >= self._per_day:
            raise _used_up("the calls that the source allows a day are used up")
        if self._budget is not None and self._spent_today + self._charge > self._budget:
            raise _used_up("the money for the source's calls of a day is used up")
        self.asked_today += 1
        if self._charged is None:
            return NO_PARTS
        self._spent_today += self._charge
        self._charged += self._charge
        return NO_PARTS if self._units is None else self._units.book(payers())

    def _begin_day(self, at: datetime) -> bool:
        """Whether that time is of the day that is counted; the first time of a later day begins a new count."""
        day = at.astimezone(PROVINCE_TIME).date()
        if day > self._day:
            self._day, self._is_used_up = day, False
            self.asked_today, self._spent_today = 0, Fraction()
            if self._units is not None:
                self._units.begin_day()
        return day == self._day


def _used_up(detail: str) -> SourceFaultError:
    return SourceFaultError(FaultCode.QUOTA, detail, asked=False)


def _money(amount: float | None) -> Fraction:
    """An amount as the file writes it: 0.3 pays for three calls of 0.1, which it does not in binary."""
    return Fraction() if amount is None else Fraction(str(amount))


def _part(amount: float | None, workers: int) -> Fraction | None:
    return None if amount is None else _money(amount) / workers
