"""How often a source may be asked: so many calls a second, so many a day, for so much money a day."""

import asyncio
from datetime import date, datetime
from fractions import Fraction

from connectors.answers import FaultCode, SourceFaultError
from connectors.conversions import PROVINCE_TIME


class Rate:
    """The pace of one source; None: no bound.

    A second's worth of calls may go at once, then they follow evenly. The day's count belongs to this
    process: it starts anew with it, and several processes have a quota each.
    """

    def __init__(
        self,
        per_second: float | None,
        per_day: int | None,
        *,
        charge: float | None = None,
        budget_per_day: float | None = None,
    ) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._burst = max(1.0 - self._gap, 0.0)
        self._free_at = 0.0
        self._per_day = per_day
        self._charge = charge
        # As the file writes them: 0.3 pays for three calls of 0.1, which it does not in binary.
        self._per_budget = (
            None
            if charge is None or budget_per_day is None
            else int(Fraction(str(budget_per_day)) / Fraction(str(charge)))
        )
        self._day = date.min
        self._is_used_up = False
        self.asked_today = 0
        self._charged_today = 0
        self._charged = 0
        self.bounded = per_second is not None or per_day is not None or charge is not None

    def follow_on(self, before: "Rate") -> None:
        """Count on from what was asked today before."""
        self._day, self.asked_today = before._day, before.asked_today
        self._charged_today, self._is_used_up = before._charged_today, before._is_used_up
        self.bounded = self.bounded or self._is_used_up

    @property
    def charged(self) -> float | None:
        """What the calls cost since the file was read; None: they cost nothing."""
        return None if self._charge is None else self._charged * self._charge

    def used_up(self, at: datetime) -> None:
        """The source said, to a call at that time, that its calls are used up: there are no more on that day."""
        if self._begin_day(at):
            self._is_used_up = self.bounded = True

    def not_reached(self, at: datetime) -> None:
        """The call that had a turn at that time did not reach the source, so it costs nothing."""
        if self._charge is None:
            return
        self._charged -= 1
        if self._begin_day(at):
            self._charged_today -= 1

    async def turn(self, until: float, at: datetime) -> None:
        """Wait for a turn; raises SourceFaultError when there is none before `until`, in the loop's time.

        `at` is the time of the call: its day in the province is the day of the quota. A turn that cannot come in time is not waited for, and not taken from those who can.
        """
        if self._gap:
            now = asyncio.get_running_loop().time()
            turn = max(self._free_at, now - self._burst)
            if turn >= until:
                raise SourceFaultError(FaultCode.TIMEOUT, "no turn in time: the source's rate is used up")
            self._count(at)
            self._free_at = turn + self._gap
            if turn > now:
                try:
                    await asyncio.sleep(turn - now)
                except asyncio.CancelledError:
                    self.not_reached(at)
                    raise
        else:
            self._count(at)

    def _count(self, at: datetime) -> None:
        self._begin_day(at)
        if self._is_used_up:
            raise SourceFaultError(FaultCode.QUOTA, "not asked: the source said that its calls are used up")
        if self._per_day is not None and self.asked_today >= self._per_day:
            raise SourceFaultError(FaultCode.QUOTA, "the calls that the source allows a day are used up")
        if self._per_budget is not None and self._charged_today >= self._per_budget:
            raise SourceFaultError(FaultCode.QUOTA, "the money for the source's calls of a day is used up")
        self.asked_today += 1
        self._charged_today += 1
        self._charged += 1

    def _begin_day(self, at: datetime) -> bool:
        """Whether that time is of the day that is counted; the first time of a later day begins a new count."""
        day = at.astimezone(PROVINCE_TIME).date()
        if day > self._day:
            self._day, self._is_used_up = day, False
            self.asked_today = self._charged_today = 0
        return day == self._day
