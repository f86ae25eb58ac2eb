"""An answer that stands is given again at once, to the same request of the same caller alone, until something makes it fall.

What lasts of an answer, and how it is written again, is in `test_standing`.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
import pytest_asyncio
from service import CLEAN, CONTESTED, PENALISED
from warm_world import ONE, STEPS, Answer, Step, Warm, World, asks, by_code, world_over

from connectors.sandbox.server import Sandbox
from gateway.ledger import read_rows


@pytest_asyncio.fixture(scope="module")
async def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world_over(sandbox, tmp_path_factory.mktemp("world")) as found:
        yield found


def _standing_step(who: str = "bureau", purpose: str = "PUBLIC_VIEW", **variables: Any) -> Step:
    return Step(who, ONE, asks(purpose, None, id=by_code(PENALISED)) | variables)


async def _make_stand(warm: Warm, step: Step) -> Answer:
    """Ask until the answer stands: first from the sources, then from what is kept, then at once."""
    for _ in range(2):
        answer = await warm.answer(step)
    stood = warm.stood
    again = await warm.answer(step)
    assert warm.stood == stood + 1
    assert again == answer
    return again


async def test_an_answer_that_stands_is_recorded_under_a_receipt_of_its_own(world: World) -> None:
    step = _standing_step()
    async with world.gateway() as warm:
        await _make_stand(warm, step)
        path = warm.client.folder / "ledger.sqlite"
        *_, before, last = (orjson.loads(body) for _, body in read_rows(path))
    assert before["receipt"] != last["receipt"]
    assert before["time"] <= last["time"]
    for row in (before, last):
        del row["receipt"], row["time"]
    assert list(before.items()) == list(last.items())


@pytest.mark.parametrize(
    "step",
    [
        _standing_step("public"),
        _standing_step("its-public-token"),  # another token of the same unit
        _standing_step("its-narrow-token"),
        _standing_step("other-bureau"),
        _standing_step("foreign-bureau"),
        _standing_step(purpose="SUPERVISION"),
        _standing_step(first=1),
        _standing_step(more=False),
        _standing_step(onDenied="REJECT"),
        _standing_step(id=by_code(CLEAN)),
        _standing_step(id=by_code(CONTESTED)),
    ],
)
async def test_it_stands_for_nothing_but_the_same_request_of_the_same_caller(
    world: World, step: Step
) -> None:
    async with world.gateway() as warm:
        cold = await warm.answer(step)
    async with world.gateway() as warm:
        await _make_stand(warm, _standing_step())
        stood = warm.stood
        assert await warm.answer(step) == cold
        assert warm.stood == stood


async def test_the_next_day_makes_it_fall(world: World) -> None:
    step = _standing_step()
    async with world.gateway() as warm:
        await _make_stand(warm, step)
        stood = warm.stood
        # By the very same token, which lasts a moment longer.
        assert (await warm.answer(replace(step, day=1, token_day=0))).status == 200
        assert warm.stood == stood


async def test_another_policy_makes_it_fall(world: World) -> None:
    step = _standing_step()
    async with world.gateway("second") as other:
        under_second = await other.answer(replace(step, policy="second"))
    async with world.gateway() as warm:
        await _make_stand(warm, step)
        stood = warm.stood
        assert await warm.answer(replace(step, policy="second")) == under_second
        assert warm.stood == stood
        # Nothing of the old policy is held any longer.
        standings = warm.reload._river._standings
        assert standings._under is not None
        assert standings._under[0]() is warm.reload._river.policy.schema
        assert len(standings) == 0


async def test_what_its_sources_no_longer_keep_makes_it_fall(world: World) -> None:
    async with world.gateway() as warm:
        step = _standing_step()
        await _make_stand(warm, step)
        stood = warm.stood
        memory = warm.reload._river._sources.now._store.memory
        memory.forget(memory.held()[0])
        await warm.answer(step)
        assert warm.stood == stood
        await _make_stand(warm, step)


async def test_other_sources_make_it_fall(world: World) -> None:
    async with world.gateway() as warm:
        step = _standing_step()
        await _make_stand(warm, step)
        stood = warm.stood
        sources = warm.reload._river._sources
        before = sources.now
        sources.now = sources._load()
        try:
            await warm.answer(step)
        finally:
            await before.aclose()
        assert warm.stood == stood


@pytest.mark.parametrize(
    "name",
    [
        "0 bureau SUPERVISION one",
        "14 bank LOAN_PRECHECK one",
        "own record of the person",
    ],
)
async def test_what_is_proven_or_kept_nowhere_never_stands(world: World, name: str) -> None:
    cold = await world.cold_answer(name)
    async with world.gateway() as warm:
        for _ in range(4):
            assert await warm.answer(STEPS[name]) == cold
        assert warm.stood == 0


async def test_one_within_a_quota_stands_and_uses_up_no_more_of_it(world: World) -> None:
    async with world.gateway() as warm:
        step = _standing_step("public")
        await _make_stand(warm, step)
        quotas = warm.reload._river._quotas
        (asked,) = quotas._store._asked.values()  # type: ignore[attr-defined]
        assert len(asked) == 1
        await warm.answer(step)
        assert len(asked) == 1


async def test_an_answer_that_cannot_be_recorded_does_not_leave(world: World) -> None:
    async with world.gateway() as warm:
        step = _standing_step()
        await _make_stand(warm, step)
        stood = warm.stood
        await warm.reload._river._ledger.aclose()
        token = world.token(step.who, 0)
        answer = await warm.client.http.post(
            f"{warm.client.url}/graphql",
            json={"query": step.text, "operationName": "Look", "variables": step.variables},
            headers={"authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["extensions"]["code"] == "LEDGER_UNAVAILABLE"
        assert "data" not in answer.json()
        assert warm.stood == stood
