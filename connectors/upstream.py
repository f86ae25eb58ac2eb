"""One source at run time: its pace, its time limits, and when it is left alone.

Whatever a source does, a call ends by its deadline, and a source that is down costs the others nothing.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from connectors.answers import FaultCode, Ground, SourceFaultError
from connectors.batch import TICK
from connectors.breaker import Breaker, BreakerState
from connectors.budget import NO_PARTS, Payers, nobody
from connectors.conversions import PROVINCE_TIME
from connectors.envelope import Rows
from connectors.health import Observed, SourceHealth
from connectors.rate import Rate
from connectors.source import SourceFile
from connectors.wire import Question, Wire

Clock = Callable[[], datetime]

_FAIR_SHARE = 0.5
"""A call that was given less than this share of the source's own time says nothing of the source."""

_FIRST_PAUSE = 0.05
"""Seconds before the first retry; each further one waits twice as long, give or take a half."""


class Source:
    """One source at run time. At most `concurrency` calls are under way at once, whoever asks.

    Of `workers` processes that serve, each has its part of that, one place at least, and its part of the rate.
    """

    def __init__(self, file: SourceFile, wire: Wire, clock: Clock, workers: int = 1) -> None:
        self.file = file
        self.wire = wire
        self._clock = clock
        self._slots = asyncio.Semaphore(max(file.concurrency // workers, 1))
        self._rate = Rate(
            file.rate.per_second,
            file.rate.per_day,
            charge=file.rate.charge,
            budget_per_day=file.rate.budget_per_day,
            budget_per_unit_per_day=file.rate.budget_per_unit_per_day,
            workers=workers,
        )
        self.is_paid_by_units = self._rate.is_paid_by_units
        """Whether each unit has a budget of its own for what it asks of this source."""
        self._breaker = Breaker(file.breaker.failures, file.breaker.seconds)
        self.observed = Observed()

    def follow_on(self, before: "Source") -> None:
        """Count on from what was asked of the source today before its file was read anew."""
        self._rate.follow_on(before._rate)

    def health(self) -> SourceHealth:
        """How the source is doing now."""
        rate = self._rate
        return self.observed.health(
            self._breaker.state, rate.asked_today, rate.charged, self.file.rate.currency
        )

    def has_money(self, payers: Iterable[str]) -> bool:
        """Whether one of these units may spend money here now."""
        return self._rate.has_money(payers, self._clock())

    def require_money(self, payers: Iterable[str]) -> None:
        """Raise SourceFaultError unless one of these units may spend money here now."""
        if self.is_paid_by_units and not self.has_money(payers):
            raise SourceFaultError(
                FaultCode.BUDGET,
                "not asked: the money that the unit may spend in a day is used up",
                asked=False,
            )

    async def within(self, until: float, rows: Callable[[], Awaitable[Rows]]) -> Rows:
        """What `rows` gathers, which ends by `until` (loop time) itself; raises SourceFaultError.

        Not called at all while the breaker is open, and never more than `concurrency` at once: whoever
        waits for a place beyond `until` has waited in vain.
        """
        now = asyncio.get_running_loop().time
        if now() >= until:
            raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time")
        self.observed.under_way += 1
        try:
            if self._breaker.state is not BreakerState.CLOSED and self._breaker.refuses(now()):
                raise self._left_alone()
            await self._place(until)
            try:
                return await self._observe(now, until, rows)
            finally:
                self._slots.release()
        finally:
            self.observed.under_way -= 1

    async def _place(self, until: float) -> None:
        """Take one of the places; raises SourceFaultError when none is free by `until`."""
        if not self._slots.locked():
            await (
                self._slots.acquire()
            )  # at once: a timeout around it would cost as much as the rest of the way
            return
        try:
            async with asyncio.timeout_at(until):
                await self._slots.acquire()
        except TimeoutError:
            raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time") from None

    async def _observe(
        self, now: Callable[[], float], until: float, rows: Callable[[], Awaitable[Rows]]
    ) -> Rows:
        """What `rows` gathers; the breaker and the record of the source's health learn how it went."""
        begun = now()
        ticket = self._breaker.admit(begun)
        if ticket is None:
            raise self._left_alone()
        try:
            found = await rows()
        except SourceFaultError as error:
            spent = now() - begun
            # The time of those who waited was over before the source had its chance: that says nothing of it.
            late = error.fault.code is FaultCode.TIMEOUT and now() >= until - TICK
            if late and not self._had_its_time(spent):
                self._breaker.abandoned(ticket, now())
                raise
            self.observed.failed(error.fault.code)
            if not error.asked:
                self._breaker.abandoned(ticket, now())
            elif self._is_away(error, spent):
                self._breaker.failed(ticket, now(), lost=spent, pause=error.pause)
            else:
                self._breaker.succeeded(ticket)
            raise
        except BaseException as error:
            # Cancelled: nobody waits any more; the source had its chance or not.
            if isinstance(error, asyncio.CancelledError) and self._had_its_time(now() - begun):
                self.observed.failed(FaultCode.TIMEOUT)
                self._breaker.failed(ticket, now(), lost=now() - begun)
            else:
                self._breaker.abandoned(ticket, now())
            raise
        self._breaker.succeeded(ticket)
        self.observed.answered(now() - begun, found.as_of)
        return found

    def _left_alone(self) -> SourceFaultError:
        self.observed.not_asked += 1
        return SourceFaultError(FaultCode.DOWN, "not asked: it failed before")

    def _is_away(self, error: SourceFaultError, spent: float) -> bool:
        """Whether a fault says that the source cannot answer now, whatever it is asked."""
        match error.fault.code:
            case FaultCode.DOWN:
                return True
            case FaultCode.TIMEOUT:
                return self._had_its_time(spent)
            case _:
                return error.busy

    def _had_its_time(self, seconds: float) -> bool:
        return seconds >= self.file.timeout_seconds * _FAIR_SHARE

    async def rows(
        self,
        question: Question,
        asked: Mapping[str, Any],
        ground: Ground,
        *,
        idempotent: bool,
        until: float,
        payers: Payers = nobody,
    ) -> Rows:
        """The rows that one request brings; raises SourceFaultError.

        Each try is paid by who waits for it then (`payers`), whether or not they have money left. A read that found
        the source away is tried again as often as its file allows, after a pause that differs from call to call, if
        there is time for it before `until` (loop time).
        """
        now = asyncio.get_running_loop().time
        left = self.file.retries if idempotent else 0
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._once(
                    question, asked, ground, idempotent=idempotent, until=until, payers=payers
                )
            except SourceFaultError as error:
                wait = pause * (0.5 + random.random())  # noqa: S311  # spreads retries, protects nothing
                if not left or not _may_pass(error) or now() + wait >= until or self._breaker.refuses(now()):
                    raise
            await asyncio.sleep(wait)
            left -= 1
            pause *= 2

    async def paid_within(
        self, question: Question, asked: Mapping[str, Any], ground: Ground, *, until: float, payer: str
    ) -> Rows:
        """The rows of a read that one unit alone waits for, and pays, by `until` (loop time); raises SourceFaultError."""
        return await self.within(until, partial(self._paid_rows, question, asked, ground, until, payer))

    async def _paid_rows(
        self, question: Question, asked: Mapping[str, Any], ground: Ground, until: float, payer: str
    ) -> Rows:
        self.require_money((payer,))
        return await self.rows(question, asked, ground, idempotent=True, until=until, payers=lambda: (payer,))

    def _in_force(self, now: datetime) -> bool:
        about = self.file.about
        if about.valid_from is None and about.valid_until is None:
            return True
        day = now.astimezone(PROVINCE_TIME).date()
        return (about.valid_from or day) <= day <= (about.valid_until or day)

    async def _once(
        self,
        question: Question,
        asked: Mapping[str, Any],
        ground: Ground,
        *,
        idempotent: bool,
        until: float,
        payers: Payers,
    ) -> Rows:
        at = self._clock()
        if not self._in_force(at):
            raise SourceFaultError(
                FaultCode.REFUSED, "not asked: its file is not in force today", asked=False
            )
        parts = await self._rate.turn(until, at, payers) if self._rate.bounded else NO_PARTS
        try:
            now = asyncio.get_running_loop().time()
            async with asyncio.timeout_at(min(until, now + self.file.timeout_seconds)):
                return await question.rows(asked, ground, idempotent=idempotent, until=until)
        except TimeoutError:
            raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time") from None
        except SourceFaultError as error:
            if error.fault.code is FaultCode.QUOTA:
                self._rate.used_up(at)
            elif error.fault.code is FaultCode.DOWN:
                self._rate.not_reached(at, parts)
            raise


def _may_pass(error: SourceFaultError) -> bool:
    """Whether the same request may be answered a moment later; a source that names a pause is not pressed."""
    return error.fault.code is FaultCode.DOWN or (error.busy and error.pause is None)
