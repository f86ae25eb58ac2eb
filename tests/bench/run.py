"""The command line of the bench."""

import os
import pstats
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import click
import msgspec
import uvloop

from . import processes, systems, tables
from .growth import (
    CLIENTS,
    RECORDS,
    RULES,
    SUBJECTS_ASKED,
    growing_clients,
    growing_rules,
    growing_subjects,
    in_small,
    soaking,
)
from .scenarios import (
    SCENARIOS,
    SOURCE,
    Amount,
    Measurement,
    Scenario,
    WrongAnswerError,
    measure,
    prepare_for,
    prepare_source,
    verify,
    warm_up,
)
from .systems import SYSTEMS, Bench, bench
from .world import SUBJECTS, World

TODAY = datetime.now(timezone(timedelta(hours=8))).date()


@contextmanager
def running_bench(
    state: Path | None = None, *, subjects: int = SUBJECTS, penalties: int = 4
) -> Iterator[Bench]:
    """A bench in a folder of its own under `state`, which is on the disk whose syncs count."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=state))
    try:
        with bench(folder, TODAY, subjects=subjects, penalties=penalties) as within:
            yield within
    finally:
        shutil.rmtree(folder)


async def run_scenario(
    within: Bench, world: World, scenario: Scenario, names: Sequence[str], amount: Amount
) -> list[list[Measurement]]:
    """Every round of a scenario, each with all systems in turn, so that all see the same noise.

    Raises WrongAnswerError when a system does not answer what the upstream holds.
    """
    questions = scenario.questions(world)
    with ExitStack() as stack:
        running = {name: stack.enter_context(SYSTEMS[name](within, scenario.cache_seconds)) for name in names}
        for name, each in running.items():
            try:
                verify(each, within, questions)
            except WrongAnswerError as error:
                raise WrongAnswerError(f"{scenario.name}, {name}: {error}") from None
        within.delay(scenario.delay_ms)
        stack.callback(within.delay, 0)
        prepared = {name: prepare_for(each, within, questions) for name, each in running.items()}
        for name, each in running.items():
            await warm_up(each, scenario, prepared[name], seconds=2.0, most=amount.most)
        if scenario.delay_ms:
            running[SOURCE] = within.upstream
            prepared[SOURCE] = prepare_source(within, world)
        return [
            [
                await measure(
                    name, each, within, scenario, prepared[name], seconds=amount.seconds, most=amount.most
                )
                for name, each in running.items()
            ]
            for _ in range(amount.rounds)
        ]


def _scenarios(only: str) -> list[Scenario]:
    names = [name for name in only.split(",") if name]
    known = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(f"{unknown[0]} is none of {', '.join(known)}", param_hint="--only")
    return [known[name] for name in names] or list(SCENARIOS)


def _systems(wanted: str) -> list[str]:
    names = [name for name in wanted.split(",") if name]
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]} is none of {', '.join(SYSTEMS)}", param_hint="--systems")
    return names or list(SYSTEMS)


_state = click.option(
    "--state",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where the ledger goes: a folder on a disk, because a sync in memory costs nothing.",
)

_readme = click.option("--readme", is_flag=True, help="Put the tables into the bench's README.md.")


def _write(heading: str, section: str) -> None:
    file = Path(__file__).with_name("README.md")
    file.write_text(tables.replaced(file.read_text("utf-8"), heading, section), "utf-8")


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Measure the product and its peers. Without a command: every scenario."""
    os.sched_setaffinity(0, processes.OTHERS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped then too
    if context.invoked_subcommand is None:
        context.invoke(scenarios)


@main.command()
@click.option("--only", default="", help="Scenarios, as S1,S3; all when there are none.")
@click.option("--systems", "wanted", default="", help="Systems, as product,mercurius; all that can run here.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=8.0, show_default=True, help="Of each round of each system.")
@click.option("--quick", is_flag=True, help="One round of two seconds.")
@click.option(
    "--json", "to_json", type=click.Path(path_type=Path), help="Write every measurement to this file."
)
@_readme
@_state
def scenarios(
    only: str,
    wanted: str,
    rounds: int,
    seconds: float,
    quick: bool,
    to_json: Path | None,
    readme: bool,
    state: Path | None,
) -> None:
    """Run scenarios side by side."""
    amount = Amount(1, 2.0) if quick else Amount(rounds, seconds)
    world = World(TODAY)
    results: dict[str, list[list[Measurement]]] = {}
    with running_bench(state) as within:
        sync = systems.sync_seconds(within.folder)
        able, missing = systems.available(_systems(wanted))
        for scenario in _scenarios(only):
            results[scenario.name] = uvloop.run(run_scenario(within, world, scenario, able, amount))
            print(tables.scenario(scenario, results[scenario.name]), flush=True)
    facts = tables.facts(sync, missing, datetime.now(UTC))
    print(facts)
    if to_json is not None:
        to_json.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    if readme:
        parts = [tables.scenario(each, results[each.name]) for each in SCENARIOS if each.name in results]
        _write("Scenarios", "\n\n".join([facts, *parts]))
    wrong = [m for rounds_ in results.values() for each in rounds_ for m in each if not m.sound]
    if wrong:
        sys.exit(f"WRONG: {len(wrong)} measurements hold wrong answers, or none that was compared")


@main.command()
@click.option("--only", default="S1", show_default=True, help="Scenarios, as S1,S3.")
@click.option("--seconds", default=5.0, show_default=True)
@click.option("--lines", default=45, show_default=True, help="Functions to print.")
@click.option("--sort", type=click.Choice(["tottime", "cumtime"]), default="tottime", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Keep the profile (pstats) here.")
@_state
def profile(
    only: str, seconds: float, lines: int, sort: str, output: Path | None, state: Path | None
) -> None:
    """Show where the product spends its time: cProfile inside its process, which slows it down."""
    world = World(TODAY)
    with running_bench(state) as within:
        for scenario in _scenarios(only):
            questions = scenario.questions(world)
            file = within.folder / f"{scenario.name}.pstats"
            within.delay(scenario.delay_ms)
            with systems.product(within, scenario.cache_seconds, profile=file) as running:
                measured = uvloop.run(_profiled(running, within, scenario, questions, seconds))
            print(
                f"{scenario.name}: {measured.requests} requests, {measured.cpu_us:.0f} us of CPU each under cProfile"
            )
            stats = pstats.Stats(str(file))
            stats.strip_dirs().sort_stats(sort).print_stats(lines)
            if output is not None:
                shutil.copy(file, output)


async def _profiled(
    running: processes.Running,
    within: Bench,
    scenario: Scenario,
    questions: Sequence[systems.Question],
    seconds: float,
) -> Measurement:
    prepared = prepare_for(running, within, questions)
    await warm_up(running, scenario, prepared, seconds=1.0, most=None)
    return await measure("product", running, within, scenario, prepared, seconds=seconds)


@main.command()
@click.option("--seconds", default=4.0, show_default=True, help="Of each step.")
@_readme
@_state
def growth(seconds: float, readme: bool, state: Path | None) -> None:
    """Show what the product costs when one number grows."""
    amount = Amount(1, seconds)
    found: list[str] = []
    for table in (*_growth_tables(amount, state), tables.rules(growing_rules(RULES))):
        print(table, flush=True)
        found.append(table)
    if readme:
        _write("Growth", "\n\n".join([f"{datetime.now(UTC):%Y-%m-%d}.", *found]))


def _growth_tables(amount: Amount, state: Path | None) -> Iterator[str]:
    world = World(TODAY)
    with running_bench(state) as within:
        yield tables.growth(
            "Subjects in a query",
            "subjects",
            uvloop.run(growing_subjects(within, world, SUBJECTS_ASKED, amount)),
        )
        yield tables.growth(
            "Clients at once", "clients", uvloop.run(growing_clients(within, world, CLIENTS, amount))
        )
    rows = []
    for penalties in RECORDS:
        few = World(TODAY, subjects=50, penalties=penalties)
        with running_bench(state, subjects=50, penalties=penalties) as within:
            rows.append((penalties, uvloop.run(in_small(within, few, amount))))
    yield tables.growth("Records of a subject in one section", "records", rows)


@main.command()
@click.option("--requests", default=720_000, show_default=True, help="An hour at 200 requests/s.")
@click.option("--minutes", default=30.0, show_default=True, help="End after so long all the same.")
@_readme
@_state
def soak(requests: int, minutes: float, readme: bool, state: Path | None) -> None:
    """Ask the mix of S5 for as long as an hour's worth of requests, and show the memory over time."""
    world = World(TODAY)
    with running_bench(state) as within:
        slices = uvloop.run(soaking(within, world, requests, minutes * 60))
    if readme:
        _write("Memory", f"{datetime.now(UTC):%Y-%m-%d}.\n\n{tables.soak(slices)}")
    wrong = sum(each.wrong for each in slices)
    if wrong:
        sys.exit(f"WRONG: {wrong} answers")
