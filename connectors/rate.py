"""How often a source may be asked: so many calls a second, so many a day."""

import asyncio
from datetime import date, datetime

from connectors.answers import FaultCode, SourceFaultError
from connectors.conversions import PROVINCE_TIME


class Rate:
    """The pace of one source; None: no bound.

    A second's worth of calls may go at once, then they follow evenly. The day's count belongs to this
    process: it starts anew with it, and several processes have a quota each.
    """

    def __init__(self, per_second: float | None, per_day: int | None) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._burst = max(1.0 - self._gap, 0.0)
        self._free_at = 0.0
        self._per_day = per_day
        self._day = date.min
        self.asked_today = 0
        self.bounded = per_second is not None or per_day is not None

    def follow_on(self, before: "Rate") -> None:
        """Count on from what was asked today before."""
        self._day, self.asked_today = before._day, before.asked_today

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
                await asyncio.sleep(turn - now)
        else:
            self._count(at)

    def _count(self, at: datetime) -> None:
        if self._per_day is None:
            return
        today = at.astimezone(PROVINCE_TIME).date()
        if today != self._day:
            self._day, self.asked_today = today, 0
        if self.asked_today >= self._per_day:
            raise SourceFaultError(FaultCode.QUOTA, "the calls that the source allows a day are used up")
        self.asked_today += 1
