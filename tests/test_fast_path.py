"""A warm gateway answers as a cold one: nothing that is kept for speed carries an answer, a decision or a row of the
ledger from one question to another.

Every question is asked of a gateway that has answered nothing before, once; then of gateways that have answered all
the others, in several orders and at the same time. Bytes and ledger rows must be equal, the receipt aside.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from warm_world import STEPS, Warm, World, world_over

from connectors.sandbox.server import Sandbox

FIRST = [name for name, step in STEPS.items() if step.policy == "first"]
SECOND = [name for name, step in STEPS.items() if step.policy == "second"]
_TODAY = [name for name in FIRST if STEPS[name].day == 0]


@pytest_asyncio.fixture(scope="module")
async def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world_over(sandbox, tmp_path_factory.mktemp("world")) as found:
        yield found


async def _agrees(warm: Warm, names: Sequence[str]) -> None:
    """Ask one after another; each answer is that of a cold gateway."""
    for number, name in enumerate(names):
        cold = await warm.world.cold_answer(name)
        assert await warm.answer(STEPS[name]) == cold, (name, "after", names[:number])


async def test_the_questions_differ_in_what_they_get(world: World) -> None:
    """Only questions that get unequal answers can show a leak."""
    answers = {name: await world.cold_answer(name) for name in STEPS}
    states = Counter(
        state for answer in answers.values() for state in re.findall(rb'"state":"(\w+)"', answer.body)
    )
    assert min(states[state] for state in (b"HAS", b"NONE", b"DENIED")) > 20
    about = [name for name in STEPS if name.endswith(" one")]
    assert len({answers[name].body for name in about}) > 8
    assert {answer.status for answer in answers.values()} >= {200, 401}
    assert all(answers[name].row is not None for name in about)


async def test_a_warm_gateway_answers_as_a_cold_one(world: World) -> None:
    async with world.gateway() as warm:
        await _agrees(warm, [*FIRST, *FIRST, *_TODAY, *_TODAY, *SECOND, *FIRST, *SECOND, *SECOND, *SECOND])
        # It is warm indeed: subjects that were shaped once came again, and so did whole answers.
        assert len(warm.reload._river._shaper._subjects) > len(FIRST) // 4
        assert warm.stood >= 4


async def test_so_it_does_in_the_reverse_order(world: World) -> None:
    async with world.gateway("second") as warm:
        await _agrees(warm, [*SECOND[::-1], *FIRST[::-1], *FIRST[::-1], *FIRST[::-1]])


async def test_so_it_does_when_all_ask_at_once(world: World) -> None:
    """Asks of unequal callers share calls, flights and the ledger's commits: each still gets its own."""
    cold = [await world.cold_answer(name) for name in _TODAY]
    async with world.gateway() as warm:
        for names in (_TODAY, _TODAY[::-1], _TODAY, _TODAY):
            found = await asyncio.gather(*(warm.ask(STEPS[name]) for name in names))
            assert dict(zip(names, found, strict=True)) == dict(zip(_TODAY, cold, strict=True))


@example_settings(max_examples=12, deadline=None)
@given(
    st.lists(st.sampled_from(FIRST), min_size=5, max_size=30),
    st.lists(st.sampled_from(SECOND), max_size=5),
    st.lists(st.sampled_from(FIRST), max_size=20),
)
async def test_so_it_does_after_any_questions(
    world: World, before: list[str], between: list[str], after: list[str]
) -> None:
    async with world.gateway() as warm:
        await _agrees(warm, [*before, *between, *after])
