"""The bench measures only right answers: every scenario in small, and wrong answers that must not pass.

Nothing here looks at a time.
"""

import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from bench import load, tables
from bench.growth import growing_clients, growing_rules, growing_subjects, in_small, soaking
from bench.processes import Running
from bench.run import TODAY, run_scenario, running_bench
from bench.scenarios import SCENARIOS, SOURCE, Amount, Scenario, WrongAnswerError, prepare_for, verify
from bench.systems import SYSTEMS, Bench, bench, product
from bench.world import SECTIONS, Question, World

SMALL = Amount(rounds=2, seconds=60.0, most=24)
CALLS = {"S1": 4, "S2": 5, "S2a": 5, "S3": 0, "S4": 4, "S4r": 5}
"""The most calls to the upstream for a request; fewer where requests share one."""


@pytest.fixture(scope="module")
def world() -> World:
    return World(TODAY, subjects=60)


@pytest.fixture(scope="module")
def small_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("bench"), subjects=60) as within:
        yield within


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_a_scenario_in_small(small_bench: Bench, world: World, scenario: Scenario) -> None:
    rounds = await run_scenario(small_bench, world, scenario, ["product"], SMALL)
    assert len(rounds) == SMALL.rounds
    for systems in rounds:
        assert [each.system for each in systems] == ["product", SOURCE][: len(systems)]
        for each in systems:
            assert each.requests == SMALL.most
            assert each.sound
            assert each.rss_mib > 1
        assert systems[0].calls <= CALLS.get(scenario.name, 4)
        assert systems[0].calls > 0 or scenario.cache_seconds
    table = tables.scenario(scenario, rounds)
    assert f"**{scenario.name}**" in table
    assert "| product |" in table
    assert ("Added to" in table) == bool(scenario.delay_ms)


@pytest.fixture(scope="module")
def other_world() -> World:
    """What the upstream does not hold: a penalty less for each subject."""
    return World(TODAY, subjects=60, penalties=3)


async def test_a_wrong_answer_is_refused_before_anything_is_measured(
    small_bench: Bench, other_world: World
) -> None:
    with pytest.raises(
        WrongAnswerError, match=r"^S1, product: question 0 .*penalties.records.totalCount: 4 where 3 is held"
    ):
        await run_scenario(small_bench, other_world, SCENARIOS[0], ["product"], SMALL)


async def test_wrong_answers_under_load_are_counted(
    small_bench: Bench, world: World, other_world: World
) -> None:
    with product(small_bench, 0) as running:
        of_others = prepare_for(running, small_bench, other_world.one(range(60)))
        seen = await load.closed(running.url, of_others, connections=4, seconds=60, most=20)
        assert seen.wrong == seen.compared == 1, "the values of one of 200 are compared"
        more = [
            msgspec.structs.replace(question, sections=question.sections + 1)
            for question in world.one(range(60))
        ]
        prepared = prepare_for(running, small_bench, more)
        seen = await load.closed(running.url, prepared, connections=4, seconds=60, most=20)
        assert seen.wrong == 20, "a section that is missing is seen in each"
        unknown = msgspec.structs.replace(small_bench, token="a.b.c")
        prepared = prepare_for(running, unknown, world.one(range(60)))
        seen = await load.opened(running.url, prepared, rate=1_000, seconds=60, most=20)
        assert seen.wrong == 20, "an error is seen in each"
        with pytest.raises(WrongAnswerError, match="status 401"):
            verify(running, unknown, world.one([0]))


PEERS = ("mercurius", "mercurius-loaders", "mercurius-ledger", "mercurius-loaders-ledger")
RECORDING = PEERS[2:]


@pytest.mark.parametrize("scenario", [SCENARIOS[0], SCENARIOS[1], SCENARIOS[3]], ids=lambda each: each.name)
async def test_peers_in_small(small_bench: Bench, world: World, scenario: Scenario) -> None:
    rounds = await run_scenario(small_bench, world, scenario, PEERS, Amount(rounds=1, seconds=60.0, most=24))
    assert [each.system for each in rounds[0]] == list(PEERS)
    assert all(each.sound and each.requests == 24 for each in rounds[0])


def _ask(running: Running, within: Bench, question: Question) -> Any:
    headers = {"authorization": f"Bearer {within.token}", "content-type": "application/json"}
    return httpx.post(
        f"{running.url}/graphql", content=question.body, headers=headers, trust_env=False
    ).json()


def _rows(file: Path) -> list[tuple[int, str, Any]]:
    """Position, hash and body of each row of a peer's ledger, whose chain holds."""
    rows, last = [], "0" * 64
    for line in file.read_bytes().rstrip(b"\0").splitlines():
        position, last_hash, body = line.split(b" ", 2)
        last = hashlib.sha256(last.encode() + position + body).hexdigest()
        assert last == last_hash.decode()
        rows.append((int(position), last, msgspec.json.decode(body)))
    assert [position for position, _, _ in rows] == list(range(1, len(rows) + 1))
    return rows


def _hashes(file: Path, texts: Sequence[str]) -> list[str]:
    key = file.with_name(f"{file.name}.key").read_bytes()
    return [hmac.digest(key, text.encode(), "sha256").hex() for text in texts]


@pytest.mark.parametrize("name", RECORDING)
def test_a_recording_peer_has_the_row_on_disk_when_the_receipt_comes(
    small_bench: Bench, world: World, name: str
) -> None:
    (one,), (listed,) = world.one([3]), world.listed([(0, 1, 2)])
    with SYSTEMS[name](small_bench, 0) as running:
        file = Path(running.ready["ledger"])
        for number, (question, places) in enumerate([(one, (3,)), (listed, (0, 1, 2)), (one, (3,))], 1):
            answer = _ask(running, small_bench, question)
            position, digest, row = _rows(file)[-1]
            receipt = {"id": row["receipt"], "position": position, "hash": digest}
            assert answer["extensions"]["receipt"] == receipt
            assert position == number
            assert row["caller"]["type"] == "MARKET_REGULATION"
            assert (row["purpose"], row["outcome"]) == (
                "PUBLIC_VIEW" if question is one else "EVALUATION_RUN",
                "ANSWERED",
            )
            query = msgspec.json.decode(question.body)["query"]
            assert [row["document"]] == _hashes(file, [f"document:{query}"])
            assert row["subjects"] == [
                {"subject": hashed, "sections": dict.fromkeys(SECTIONS, "HAS")}
                for hashed in _hashes(file, [f"credit_code:{world.codes[place]}" for place in places])
            ]
        assert _flags(running, file) & os.O_DSYNC, "a write returns when it is on the disk"


def _flags(running: Running, file: Path) -> int:
    """The flags with which the process holds the file open."""
    process = Path(f"/proc/{running.process.pid}")
    (descriptor,) = (each.name for each in (process / "fd").iterdir() if each.resolve() == file.resolve())
    (flags,) = (
        line.split()[1]
        for line in (process / "fdinfo" / descriptor).read_text().splitlines()
        if line.startswith("flags:")
    )
    return int(flags, 8)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_asks_nothing_for_a_purpose_that_the_token_lacks(
    tmp_path: Path, world: World, name: str
) -> None:
    with (
        bench(tmp_path, TODAY, subjects=5, purposes=("PUBLIC_VIEW",)) as within,
        SYSTEMS[name](within, 0) as running,
    ):
        answer = _ask(running, within, world.one([0], register=True)[0])
        assert [error["message"] for error in answer["errors"]] == ["the token lacks the purpose"]
        assert within.count() == (0, 0)
        if name in RECORDING:
            ((_, digest, row),) = _rows(Path(running.ready["ledger"]))
            assert answer["extensions"]["receipt"]["hash"] == digest
            assert (row["purpose"], row["outcome"], row["subjects"]) == ("EVALUATION_RUN", "FAULT", [])


def test_a_percentile_is_a_latency_that_was_seen() -> None:
    seen = load.Measured([0.001, 0.002, 0.003, 0.004], 0, 1.0, 1)
    assert [seen.percentile(share) for share in (0, 0.5, 0.99)] == [0.001, 0.003, 0.004]


async def test_growth_in_small(world: World, small_bench: Bench) -> None:
    few = Amount(rounds=1, seconds=60.0, most=10)
    grown = await growing_subjects(small_bench, world, (20,), few)
    grown += await growing_clients(small_bench, world, (8,), few)
    assert [number for number, _ in grown] == [20, 8]
    assert all(each.sound and each.requests == 10 for _, each in grown)
    table = tables.growth("Subjects in a query", "subjects", grown)
    assert "\n| 20 | " in table


async def test_more_records_than_a_page_are_answered_by_the_page(tmp_path: Path) -> None:
    many = World(TODAY, subjects=5, penalties=130)
    with running_bench(tmp_path, subjects=5, penalties=130) as within:
        measured = await in_small(within, many, Amount(rounds=1, seconds=60.0, most=10))
    assert measured.sound


def test_the_table_grows_with_its_rules() -> None:
    small, large = growing_rules((100, 200))
    assert (small[0], large[0]) == (100, 200)
    assert "| 200 | " in tables.rules([small, large])


async def test_a_soak_ends_at_its_number_of_requests(small_bench: Bench, world: World) -> None:
    slices = await soaking(small_bench, world, 80, 60.0)
    assert sum(each.requests for each in slices) == 80
    assert all(each.sound for each in slices)
    assert tables.soak(slices).splitlines()[-1].startswith("| 80 | ")


def test_the_tables_take_their_place_under_a_heading_of_the_readme() -> None:
    text = "# Bench\n\n## Scenarios\n\nold\n\n## Growth\n\nkept\n"
    assert (
        tables.replaced(text, "Scenarios", "new") == "# Bench\n\n## Scenarios\n\nnew\n\n## Growth\n\nkept\n"
    )
    assert tables.replaced(text, "Growth", "new") == "# Bench\n\n## Scenarios\n\nold\n\n## Growth\n\nnew\n"
    with pytest.raises(ValueError, match="Memory"):
        tables.replaced(text, "Memory", "new")
    readme = Path(tables.__file__).with_name("README.md").read_text("utf-8")
    for heading in ("Scenarios", "Growth", "Memory"):
        assert f"\n## {heading}\n" in readme
