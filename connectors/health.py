"""How a source is doing: what the gateway has seen of it since it started. Nothing here names a subject."""

import time
from bisect import bisect_left
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from connectors.answers import FaultCode
from connectors.breaker import BreakerState

LATENCY_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the latency classes, in seconds; a last class holds what took longer."""

_NEWEST = 0.1


class SourceHealth(msgspec.Struct, frozen=True):
    """One source at one moment.

    `calls` were made since the start, `not_asked` were not, because the breaker was open; `faults` counts
    the calls that brought no usable answer. `latency` is a moving average in seconds, `latencies` how many
    answers fell into each class of `LATENCY_BOUNDS`, `latency_sum` all of them together. `answered_at` is when
    the last usable answer came, `as_of` when its data was current. `under_way` are calls that run or wait for
    a place; `today` are the requests of the day, where the source's file has a rate. `charge` is what the calls
    cost, in `currency`; None: they cost nothing.
    """

    state: BreakerState
    calls: int
    not_asked: int
    faults: Mapping[FaultCode, int]
    last_fault: FaultCode | None
    latency: float | None
    latencies: tuple[int, ...]
    latency_sum: float
    answered_at: datetime | None
    as_of: datetime | None
    under_way: int
    today: int
    charge: float | None = None
    currency: str | None = None


class Observed:
    """What was seen of a source so far; plain counters, so that a call pays next to nothing for them."""

    def __init__(self) -> None:
        self.under_way = 0
        self.not_asked = 0
        self._answers = 0
        self._faults: dict[FaultCode, int] = {}
        self._last_fault: FaultCode | None = None
        self._latency: float | None = None
        self.latency_ms: float | None = None
        """The moving average of the time to an answer, in milliseconds, to a tenth."""
        self._latencies = [0] * (len(LATENCY_BOUNDS) + 1)
        self._latency_sum = 0.0
        self._answered_at: float | None = None
        self._as_of: datetime | None = None

    def answered(self, seconds: float, as_of: datetime | None) -> None:
        """A usable answer came after so many seconds."""
        self._answers += 1
        self._latencies[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self._latency_sum += seconds
        latency = self._latency
        self._latency = seconds if latency is None else latency + _NEWEST * (seconds - latency)
        self.latency_ms = round(self._latency * 1000, 1)
        self._answered_at = time.time()
        self._as_of = as_of

    def failed(self, code: FaultCode) -> None:
        """A call brought no usable answer."""
        self._faults[code] = self._faults.get(code, 0) + 1
        self._last_fault = code

    def health(
        self, state: BreakerState, today: int, charge: float | None, currency: str | None
    ) -> SourceHealth:
        """All of it as a value."""
        return SourceHealth(
            state=state,
            calls=self._answers + sum(self._faults.values()),
            not_asked=self.not_asked,
            faults=dict(self._faults),
            last_fault=self._last_fault,
            latency=self._latency,
            latencies=tuple(self._latencies),
            latency_sum=self._latency_sum,
            answered_at=None if self._answered_at is None else datetime.fromtimestamp(self._answered_at, UTC),
            as_of=self._as_of,
            under_way=self.under_way,
            today=today,
            charge=charge,
            currency=currency,
        )
