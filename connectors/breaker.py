"""A breaker: a source that fails again and again is left alone for a while, then tried with one call.

Only what says "the source cannot answer now" counts: no connection, no answer in time, busy. A refusal, an
unreadable answer or one subject's error does not: else one caller could close a source for all.
"""

import random
from collections.abc import Callable
from enum import StrEnum

LOST_SECONDS = 1.0
"""Waiting in vain that opens a breaker from the second failure in a row, before their number does."""

_WINDOW = 32
_SHARE = 16
_MASK = (1 << _WINDOW) - 1
_JITTER = 0.4


class BreakerState(StrEnum):
    """Whether a source is asked."""

    CLOSED = "CLOSED"
    """It is asked."""
    OPEN = "OPEN"
    """It failed, and is not asked for a while."""
    HALF_OPEN = "HALF_OPEN"
    """One call tries whether it is back; all others are not made."""


class Breaker:
    """Opens after `failures` in a row, or when half of the last 32 calls failed; pauses about `seconds`.

    Times are seconds of any clock that only goes forward. `chance` gives numbers from 0 to 1; by it the
    replicas of a gateway do not all come back to a source in the same moment.
    """

    def __init__(self, failures: int, seconds: float, chance: Callable[[], float] = random.random) -> None:
        self._failures = failures
        self._seconds = seconds
        self._chance = chance
        self.state = BreakerState.CLOSED
        self._turn = 0  # grows with every change of state, so that a late result of an earlier state counts for nothing
        self._in_a_row = 0
        self._lost = 0.0
        self._recent = 0  # a bit for each of the last calls, 1: it failed
        self._pause_ends = 0.0

    def refuses(self, now: float) -> bool:
        """Whether a call would not be let through now."""
        if self.state is BreakerState.CLOSED:
            return False
        return self.state is BreakerState.HALF_OPEN or now < self._pause_ends

    def admit(self, now: float) -> int | None:
        """A ticket for one call, to be handed back with its result; None: the call is not to be made."""
        if self.state is not BreakerState.CLOSED:
            if self.refuses(now):
                return None
            self._become(BreakerState.HALF_OPEN)
        return self._turn

    def succeeded(self, ticket: int) -> None:
        """The source answered; a probe that succeeds closes the breaker."""
        if ticket != self._turn:
            return
        self._in_a_row = 0
        self._recent = self._recent << 1 & _MASK
        if self.state is BreakerState.HALF_OPEN:
            self._recent = 0
            self._become(BreakerState.CLOSED)

    def failed(self, ticket: int, now: float, lost: float = 0.0, pause: float | None = None) -> None:
        """The source did not answer, after `lost` seconds; `pause` is how long it asks to be left alone."""
        if ticket != self._turn:
            return
        self._lost = self._lost + lost if self._in_a_row else lost
        self._in_a_row += 1
        self._recent = (self._recent << 1 | 1) & _MASK
        if (
            pause is not None
            or self.state is BreakerState.HALF_OPEN
            or self._in_a_row >= self._failures
            or (self._in_a_row > 1 and self._lost >= LOST_SECONDS)
            or self._recent.bit_count() >= _SHARE
        ):
            self._open(now, self._seconds if pause is None else pause)

    def abandoned(self, ticket: int, now: float) -> None:
        """The call ended without a result: a probe that nobody waits for any more leaves its place to the next."""
        if ticket == self._turn and self.state is BreakerState.HALF_OPEN:
            self._become(BreakerState.OPEN)
            self._pause_ends = now

    def _open(self, now: float, seconds: float) -> None:
        self._pause_ends = now + seconds * (1 + _JITTER * self._chance())
        self._in_a_row = 0
        self._become(BreakerState.OPEN)

    def _become(self, state: BreakerState) -> None:
        self.state = state
        self._turn += 1
