"""Figures: counted in plain numbers, given in the Prometheus text format, without identifiers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from service import BUREAU, CLEAN, Client, serving, settings_for

from connectors.answers import FaultCode
from connectors.breaker import BreakerState
from connectors.health import LATENCY_BOUNDS, SourceHealth
from connectors.sandbox.server import Sandbox
from gateway.app import create_app
from gateway.metrics import BOUNDS, GatewayCollector, RequestCounts, metrics_app

Figures = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]

LOOK = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
  subject(id: $id) { ... on RegisteredSubject { registration { state } } } } }"""


class Book:
    """A ledger's figures."""

    rows, batches, failures, healthy = 7, 3, 1, False


def a_source() -> SourceHealth:
    return SourceHealth(
        state=BreakerState.OPEN,
        calls=5,
        not_asked=2,
        faults={FaultCode.TIMEOUT: 3},
        last_fault=FaultCode.TIMEOUT,
        latency=0.02,
        latencies=(1, 0, 2, *[0] * (len(LATENCY_BOUNDS) - 2)),
        latency_sum=0.04,
        answered_at=datetime(2026, 11, 20, tzinfo=UTC),
        as_of=None,
        under_way=1,
        today=0,
    )


def read(text: str) -> Figures:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scraped(collector: GatewayCollector) -> Figures:
    transport = httpx.ASGITransport(metrics_app(collector))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics.test") as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return read(answer.text)


async def test_every_figure_is_given_by_name_and_label() -> None:
    counts = RequestCounts()
    for seconds in (0.0004, 0.0005, 0.004, 60.0):
        counts.answered(200, "OK", seconds)
    counts.answered(403, "REFUSED", 0.0004)
    for form in ("compiled", "compiled", "reference"):
        counts.executed(form)
    figures = await scraped(
        GatewayCollector(
            counts, Book(), lambda: {"court": a_source()}, lambda: {"documents": 9}, lambda: {"alarms": 4}
        )
    )
    assert figures["credit_gateway_requests_total", (("outcome", "OK"), ("status", "200"))] == 4
    assert figures["credit_gateway_requests_total", (("outcome", "REFUSED"), ("status", "403"))] == 1
    within = {
        bound: figures["credit_gateway_request_seconds_bucket", (("le", str(bound)),)] for bound in BOUNDS
    }
    assert (within[0.0005], within[0.0025], within[0.005], within[5.0]) == (3, 3, 4, 4)
    assert figures["credit_gateway_request_seconds_count", ()] == 5
    assert round(figures["credit_gateway_request_seconds_sum", ()], 4) == 60.0053
    assert figures["credit_gateway_operations_total", (("form", "compiled"),)] == 2
    assert figures["credit_gateway_operations_total", (("form", "reference"),)] == 1
    assert figures["credit_gateway_ledger_rows_total", ()] == 7
    assert figures["credit_gateway_ledger_batches_total", ()] == 3
    assert figures["credit_gateway_ledger_failures_total", ()] == 1
    assert figures["credit_gateway_ledger_up", ()] == 0
    assert figures["credit_gateway_source_calls_total", (("source", "court"),)] == 5
    assert figures["credit_gateway_source_calls_spared_total", (("source", "court"),)] == 2
    assert figures["credit_gateway_source_faults_total", (("fault", "TIMEOUT"), ("source", "court"))] == 3
    assert figures["credit_gateway_source_seconds_count", (("source", "court"),)] == 3
    assert figures["credit_gateway_source_under_way", (("source", "court"),)] == 1
    states = {
        state: figures["credit_gateway_source_breaker", (("source", "court"), ("state", state.value))]
        for state in BreakerState
    }
    assert states == {state: float(state is BreakerState.OPEN) for state in BreakerState}
    assert figures["credit_gateway_held", (("cache", "documents"),)] == 9
    assert figures["credit_gateway_alarms_total", ()] == 4
    assert figures["process_resident_memory_bytes", ()] > 0


async def test_a_gateway_counts_what_it_answers(client: Client, sandbox: Sandbox, tmp_path: Path) -> None:
    app = create_app(settings_for(sandbox, tmp_path), environment={})
    token = await client.token(BUREAU)
    async with serving(app) as url:
        headers = {"authorization": f"Bearer {token}"}
        body = {"query": LOOK, "variables": {"id": {"creditCode": CLEAN}}}
        for _ in range(2):
            assert (await client.http.post(f"{url}/graphql", json=body, headers=headers)).status_code == 200
        assert (await client.http.post(f"{url}/graphql", json=body)).status_code == 401
        # The figures are no part of what the world may ask.
        assert (await client.http.get(f"{url}/metrics")).status_code == 404
        transport = httpx.ASGITransport(app.state.metrics)
        async with httpx.AsyncClient(transport=transport, base_url="http://metrics.test") as http:
            text = (await http.get("/metrics")).text
    figures = read(text)
    assert figures["credit_gateway_requests_total", (("outcome", "OK"), ("status", "200"))] == 2
    assert figures["credit_gateway_requests_total", (("outcome", "UNAUTHENTICATED"), ("status", "401"))] == 1
    assert figures["credit_gateway_request_seconds_count", ()] == 3
    assert figures["credit_gateway_ledger_rows_total", ()] == 2
    assert figures["credit_gateway_ledger_up", ()] == 1
    assert (
        sum(value for (name, _), value in figures.items() if name == "credit_gateway_source_calls_total") >= 1
    )
    for identifier in (CLEAN, token, "I-1"):
        assert identifier not in text
