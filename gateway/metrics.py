"""Figures of a running gateway, in the Prometheus text format.

What happens on the way of a request is counted in plain numbers, which cost next to nothing; they are put into the
library's form when they are asked for. Labels take their values from closed lists (statuses, error codes, ids of
source files), so no figure grows with what is asked, and none holds an identifier.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, Protocol

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.breaker import BreakerState
from connectors.health import LATENCY_BOUNDS, SourceHealth

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets of durations, in seconds."""


class RequestCounts:
    """Requests at `/graphql`: by status and outcome, by the form they were executed in, and how long they took."""

    def __init__(self) -> None:
        self.by_outcome: dict[tuple[int, str], int] = {}
        self.by_form: dict[str, int] = {}
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def answered(self, status: int, code: str, seconds: float) -> None:
        """Count one; `code` is that of its first failure, or OK."""
        outcome = (status, code)
        self.by_outcome[outcome] = self.by_outcome.get(outcome, 0) + 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def executed(self, form: str) -> None:
        """Count one execution; `form` is "compiled", "reference", or "standing" for an answer that stood."""
        self.by_form[form] = self.by_form.get(form, 0) + 1


class LedgerCounts(Protocol):
    """What a ledger counts: rows, the transactions they took, transactions that failed; and whether it writes."""

    rows: int
    batches: int
    failures: int

    @property
    def healthy(self) -> bool:
        """False from a failed write until a later one succeeds."""


Sizes = Callable[[], Mapping[str, int]]
"""Numbers of one moment, by the name of what is counted."""


class GatewayCollector(Collector):
    """Puts the figures of one process into the library's form, each time they are asked for.

    `sources` gives the health of each source by the id of its file; `held` says how much the caches hold, and `totals`
    what else only grows, by name (as `alarms`, `cache_hits`).
    """

    def __init__(
        self,
        counts: RequestCounts,
        ledger: LedgerCounts,
        sources: Callable[[], Mapping[str, SourceHealth]],
        held: Sizes,
        totals: Sizes,
    ) -> None:
        self._counts = counts
        self._ledger = ledger
        self._sources = sources
        self._held = held
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        """All figures as of now."""
        yield from self._of_requests()
        yield from self._of_the_ledger()
        yield from _of_sources(self._sources())
        held = GaugeMetricFamily("credit_gateway_held", "Entries that a cache holds.", labels=["cache"])
        for name, number in self._held().items():
            held.add_metric([name], number)
        yield held
        for name, number in self._totals().items():
            yield CounterMetricFamily(f"credit_gateway_{name}", f"{name} since the start.", value=number)

    def _of_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "credit_gateway_requests", "Answered requests.", labels=["status", "outcome"]
        )
        for (status, code), number in list(self._counts.by_outcome.items()):
            requests.add_metric([str(status), code], number)
        yield requests
        seconds = HistogramMetricFamily("credit_gateway_request_seconds", "Time from request to answer.")
        seconds.add_metric([], _cumulative(BOUNDS, self._counts.buckets), self._counts.seconds)
        yield seconds
        forms = CounterMetricFamily(
            "credit_gateway_operations", "Operations by the form they were executed in.", labels=["form"]
        )
        for form, number in list(self._counts.by_form.items()):
            forms.add_metric([form], number)
        yield forms

    def _of_the_ledger(self) -> Iterator[Metric]:
        ledger = self._ledger
        name = "credit_gateway_ledger"
        yield CounterMetricFamily(f"{name}_rows", "Rows made durable.", value=ledger.rows)
        yield CounterMetricFamily(f"{name}_batches", "Transactions that wrote rows.", value=ledger.batches)
        yield CounterMetricFamily(f"{name}_failures", "Transactions that failed.", value=ledger.failures)
        yield GaugeMetricFamily(f"{name}_up", "Whether the ledger writes.", value=int(ledger.healthy))


def _of_sources(sources: Mapping[str, SourceHealth]) -> Iterator[Metric]:
    name = "credit_gateway_source"
    calls = CounterMetricFamily(f"{name}_calls", "Calls of a source.", labels=["source"])
    spared = CounterMetricFamily(
        f"{name}_calls_spared", "Calls not made: the breaker was open.", labels=["source"]
    )
    faults = CounterMetricFamily(
        f"{name}_faults", "Calls without a usable answer.", labels=["source", "fault"]
    )
    seconds = HistogramMetricFamily(f"{name}_seconds", "Time of usable answers.", labels=["source"])
    under_way = GaugeMetricFamily(f"{name}_under_way", "Calls that run or wait.", labels=["source"])
    breaker = GaugeMetricFamily(
        f"{name}_breaker", "1 for the state that the breaker is in.", labels=["source", "state"]
    )
    charge = CounterMetricFamily(
        f"{name}_charge", "What the calls of a source cost.", labels=["source", "currency"]
    )
    for source, health in sources.items():
        calls.add_metric([source], health.calls)
        spared.add_metric([source], health.not_asked)
        for fault, number in health.faults.items():
            faults.add_metric([source, fault.value], number)
        seconds.add_metric([source], _cumulative(LATENCY_BOUNDS, health.latencies), health.latency_sum)
        under_way.add_metric([source], health.under_way)
        for state in BreakerState:
            breaker.add_metric([source, state.value], int(health.state is state))
        if health.charge is not None:
            charge.add_metric([source, health.currency or ""], health.charge)
    yield from (calls, spared, faults, seconds, under_way, breaker, charge)


def _cumulative(bounds: Sequence[float], numbers: Sequence[int]) -> list[tuple[str, float]]:
    """The buckets of a histogram as Prometheus counts them: each holds those below it."""
    names = [*(repr(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(numbers), strict=True))


def metrics_app(collector: Collector) -> Starlette:
    """`GET /metrics` as an application of its own, with the figures of the process itself."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    return Starlette(routes=[Route("/metrics", metrics)])
