"""What the product costs when one number grows, and whether its memory stays where it is."""

import time
import tracemalloc
from collections.abc import Sequence
from datetime import date

from gateway.app import load_bundle
from policies.caller import Caller
from policies.decision import Question as Asked
from policies.decision import decide
from policies.evidence import Evidence
from policies.identifiers import credit_code
from policies.table import compile_table

from .permissions import many_rules
from .scenarios import (
    SCENARIOS,
    Amount,
    Measurement,
    Scenario,
    groups,
    measure,
    prepare_for,
    verify,
    warm_up,
)
from .systems import Bench, product
from .world import CYCLE, METHOD, UNIT, World

SUBJECTS_ASKED = (1, 5, 10, 25, 50, 100)
RECORDS = (1, 10, 100, 1_000)
RULES = (100, 500, 1_000, 2_000, 5_000)
SLICES = 36
FEW = 4
"""Connections where large questions are asked: more would only show what overload does."""

CLIENTS = (1, 8, 32, 128, 512)

Grown = list[tuple[int, Measurement]]


def _of(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


async def _measured(
    within: Bench, world: World, scenario: Scenario, amount: Amount, connections: int
) -> Measurement:
    """One round of a scenario in a new process of the product, verified first."""
    questions = scenario.questions(world)
    with product(within, scenario.cache_seconds) as running:
        verify(running, within, questions)
        prepared = prepare_for(running, within, questions)
        await warm_up(running, scenario, prepared, seconds=1.0, most=amount.most)
        return await measure(
            "product",
            running,
            within,
            scenario,
            prepared,
            seconds=amount.seconds,
            most=amount.most,
            connections=connections,
        )


async def growing_subjects(within: Bench, world: World, sizes: Sequence[int], amount: Amount) -> Grown:
    """The product with so many subjects in a query, as a list."""
    found = []
    for size in sizes:
        scenario = Scenario("subjects", "", lambda held, size=size: held.listed(groups(held, size)))  # type: ignore[misc]
        found.append((size, await _measured(within, world, scenario, amount, FEW)))
    return found


async def growing_clients(within: Bench, world: World, numbers: Sequence[int], amount: Amount) -> Grown:
    """The product with so many connections that ask S1 at once."""
    return [(number, await _measured(within, world, _of("S1"), amount, number)) for number in numbers]


async def in_small(within: Bench, world: World, amount: Amount) -> Measurement:
    """One round of S1 over this upstream, with few connections."""
    return await _measured(within, world, _of("S1"), amount, FEW)


def growing_rules(numbers: Sequence[int]) -> list[tuple[int, float, float, float]]:
    """For so many rules: CPU seconds to compile the table, CPU seconds of a decision, bytes of the table."""
    return [_with_rules(number) for number in numbers]


def _with_rules(number: int) -> tuple[int, float, float, float]:
    bundle, day = many_rules(load_bundle("example"), number), date(2026, 11, 20)
    begun = time.process_time()
    compile_table(bundle, day)
    compiling = time.process_time() - begun
    tracemalloc.start()
    table = compile_table(bundle, day)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    caller = Caller(
        unit=UNIT.unit,
        unit_name=UNIT.unit_name,
        type=UNIT.caller_type,
        level=UNIT.level,
        division=UNIT.division,
        purposes=frozenset(UNIT.purposes),
        categories=None,
        officer=None,
        identity=None,
        synthetic_only=False,
        client="bench",
        token_id="bench",
        expires=0,
    )
    question = Asked(
        purpose="EVALUATION_RUN",
        subject=credit_code("91990100FAKE00013D"),
        evidence=Evidence(method_id=METHOD, cycle=CYCLE),
        sections=dict.fromkeys(("REG_ORG", "LICENCE", "PENALTY", "ABNORMAL"), 0xFFFF),
        subjects_in_operation=1,
    )
    begun = time.process_time()
    for _ in range(1_000):
        decide(table, caller, question)
    return number, compiling, (time.process_time() - begun) / 1_000, float(size)


async def soaking(within: Bench, world: World, requests: int, seconds: float) -> list[Measurement]:
    """The mix of S5 until so many requests or seconds are over, in slices; prints the memory after each."""
    scenario, found = _of("S5"), []
    until, asked = time.monotonic() + seconds, 0
    questions = scenario.questions(world)
    with product(within, scenario.cache_seconds) as running:
        verify(running, within, questions)
        prepared = prepare_for(running, within, questions)
        while asked < requests and (left := until - time.monotonic()) > 0:
            most = min(max(1, requests // SLICES), requests - asked)
            seen = await measure("product", running, within, scenario, prepared, seconds=left, most=most)
            found.append(seen)
            asked += seen.requests
            print(f"{asked:,} requests, RSS {seen.rss_mib:.1f} MiB, {seen.wrong} wrong", flush=True)
    return found
