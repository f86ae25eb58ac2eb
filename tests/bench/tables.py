"""The results as Markdown."""

import itertools
import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from .scenarios import SOURCE, Measurement, Scenario

_LIBRARIES = ("strawberry-graphql", "graphql-core", "starlette", "uvicorn", "uvloop", "httpx", "apsw")


def scenario(measured: Scenario, rounds: Sequence[Sequence[Measurement]]) -> str:
    """A table with a row for each system: medians of the rounds, and the range of the rate."""
    heads = (
        "system", "requests/s per core", "CPU us", "requests/s", "p50 ms", "p99 ms", "RSS MiB",
        "calls/request", "load us", "wrong", "product is",
    )  # fmt: skip
    of_systems = [list(each) for each in zip(*rounds, strict=True)]
    ours = next((_median(each, _per_core) for each in of_systems if each[0].system == "product"), None)
    rows = [_row(measurements, ours) for measurements in of_systems]
    lines = [f"**{measured.name}**: {measured.title}", "", _line(heads), _line(["---"] * len(heads))]
    extra = _subjects(of_systems) + _added(measured, of_systems)
    return "\n".join([*lines, *map(_line, rows), *extra])


def _per_core(measurement: Measurement) -> float:
    return measurement.per_core


def _row(measurements: Sequence[Measurement], ours: float | None) -> list[str]:
    per_core = _median(measurements, _per_core)
    low, high = min(m.per_core for m in measurements), max(m.per_core for m in measurements)
    return [
        measurements[0].system,
        f"{per_core:,.0f} ({low:,.0f}–{high:,.0f})",
        f"{_median(measurements, lambda m: m.cpu_us):,.0f}",
        f"{_median(measurements, lambda m: m.per_second):,.0f}",
        f"{_median(measurements, lambda m: m.p50_ms):.2f}",
        f"{_median(measurements, lambda m: m.p99_ms):.2f}",
        f"{_median(measurements, lambda m: m.rss_mib):.0f}",
        f"{_median(measurements, lambda m: m.calls):.2f}",
        f"{_median(measurements, lambda m: m.load_us):.0f}",
        str(sum(m.wrong for m in measurements)),
        f"{ours / per_core:.2f}x" if ours and per_core else "",
    ]


def _subjects(of_systems: Sequence[Sequence[Measurement]]) -> list[str]:
    """Subjects a second, where a request asks about several."""
    first = of_systems[0][0]
    if round(first.subjects_per_core) == round(first.per_core):
        return []
    said = [f"{each[0].system} {_median(each, lambda m: m.subjects_per_core):,.0f}" for each in of_systems]
    return ["", f"Subjects/s per core: {', '.join(said)}."]


def _added(measured: Scenario, of_systems: Sequence[Sequence[Measurement]]) -> list[str]:
    """What each system adds to the time of slow sources, in the rounds that it needs at best."""
    *systems, source = of_systems
    if source[0].system != SOURCE:
        return []
    own = measured.rounds * _median(source, lambda m: m.p50_ms)
    said = [
        f"{each[0].system} {_median(each, lambda m: m.p50_ms) - own:.2f} / {_median(each, lambda m: m.p99_ms) - own:.2f}"
        for each in systems
    ]
    rounds = "one round" if measured.rounds == 1 else f"{measured.rounds} rounds"
    return ["", f"Added to {rounds} of the source ({own:.2f} ms), p50 / p99 ms: {', '.join(said)}."]


def _median(measurements: Sequence[Measurement], of: Callable[[Measurement], float]) -> float:
    return statistics.median(map(of, measurements))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def growth(title: str, of: str, rows: Sequence[tuple[int, Measurement]]) -> str:
    """A table of the product against one number that grows."""
    heads = (of, "CPU us a request", "p50 ms", "p99 ms", "RSS MiB", "calls/request", "wrong")
    lines = [f"**{title}**", "", _line(heads), _line(["---"] * len(heads))]
    return "\n".join([*lines, *(_line(_grown(number, each)) for number, each in rows)])


def _grown(number: int, each: Measurement) -> list[str]:
    figures = (each.p50_ms, each.p99_ms, each.rss_mib, each.calls)
    return [f"{number:,}", f"{each.cpu_us:,.0f}", *(f"{figure:,.2f}" for figure in figures), str(each.wrong)]


def rules(rows: Sequence[tuple[int, float, float, float]]) -> str:
    """A table of the policy against the number of rules: seconds to compile, to decide; bytes of the table."""
    heads = ("rules", "compile ms", "decide us", "table KiB")
    lines = ["**Rules in the bundle**", "", _line(heads), _line(["---"] * len(heads))]
    cells = (
        [f"{n:,}", f"{c * 1e3:,.1f}", f"{d * 1e6:,.1f}", f"{size / 1024:,.0f}"] for n, c, d, size in rows
    )
    return "\n".join([*lines, *map(_line, cells)])


def soak(slices: Sequence[Measurement]) -> str:
    """The memory of the product after each slice of a long run."""
    heads = ("requests so far", "RSS MiB", "CPU us a request", "wrong")
    lines = [_line(heads), _line(["---"] * len(heads))]
    sums = itertools.accumulate(each.requests for each in slices)
    rows = zip(sums, slices, strict=True)
    cells = ([f"{asked:,}", f"{m.rss_mib:.1f}", f"{m.cpu_us:,.0f}", str(m.wrong)] for asked, m in rows)
    return "\n".join([*lines, *map(_line, cells)])


def facts(sync: float, missing: Sequence[str], at: datetime) -> str:
    """When, with what, on what: and which peers could not run."""
    versions = ", ".join([*(f"{name} {version(name)}" for name in _LIBRARIES), *_peer_versions()])
    lines = [
        f"{at:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}.",
        f"A sync of the ledger's disk takes {sync * 1e3:.2f} ms. Not measured: {', '.join(missing) or 'nothing'}.",
    ]
    return "\n".join(lines)


def _peer_versions() -> list[str]:
    wanted = json.loads((Path(__file__).parent / "mercurius" / "package.json").read_bytes())["dependencies"]
    return [f"{name} {number}" for name, number in wanted.items()]


def replaced(text: str, heading: str, section: str) -> str:
    """The Markdown text with what stands under this heading of the second level replaced."""
    before, found, after = text.partition(f"\n## {heading}\n")
    if not found:
        raise ValueError(f"there is no heading {heading}")
    _, following, rest = after.partition("\n## ")
    return f"{before}{found}\n{section}\n{following}{rest}"
