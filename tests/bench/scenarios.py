"""The scenarios: which questions, over which upstream, how fast; and one measurement of one system."""

import random
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx
import msgspec

from . import load
from .load import Measured, Prepared, prepare
from .processes import Running
from .systems import Bench
from .world import Question, World, difference

CONNECTIONS = 32
SLOW_MS = 20.0
SAMPLE = 20
SOURCE = "the source itself"


class WrongAnswerError(Exception):
    """A system gives an answer that the upstream does not hold; the text says which, without the answer."""


class Scenario(msgspec.Struct, frozen=True):
    """A scenario: its questions, how long the product may keep a source's answer, the upstream's delay in ms.

    With `rate` requests leave at so many a second, else every connection asks as soon as it is answered. `warm`
    asks every question once before the clock runs. `rounds` is how often a right answer has to wait for the upstream.
    """

    name: str
    title: str
    questions: Callable[[World], list[Question]]
    cache_seconds: int = 0
    delay_ms: float = 0.0
    rate: float | None = None
    warm: bool = False
    rounds: int = 1


class Amount(msgspec.Struct, frozen=True):
    """How much is measured: rounds, seconds of each, or so many requests where `most` says so."""

    rounds: int = 3
    seconds: float = 8.0
    most: int | None = None


def groups(world: World, size: int) -> list[list[int]]:
    """The subjects in groups of this size, in a random order that is always the same."""
    places = random.Random(size).sample(range(len(world.codes)), len(world.codes))
    return [places[begin : begin + size] for begin in range(0, len(places) - size + 1, size)]


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("S1", "one subject, nothing cached", lambda world: world.one(range(len(world.codes)))),
    Scenario("S2", "25 subjects, a list", lambda world: world.listed(groups(world, 25))),
    Scenario("S2a", "25 subjects, aliases", lambda world: world.aliased(groups(world, 25))),
    Scenario(
        "S3",
        "one subject, warm cache",
        lambda world: world.one(range(min(2_000, len(world.codes)))),
        cache_seconds=3_600,
        warm=True,
    ),
    Scenario(
        "S4",
        "sources 20 ms slow, 50 requests/s",
        lambda world: world.one(range(len(world.codes))),
        delay_ms=SLOW_MS,
        rate=50.0,
    ),
    Scenario(
        "S4r",
        "as S4, the evidence in a register 20 ms slow",
        lambda world: world.one(range(len(world.codes)), register=True),
        delay_ms=SLOW_MS,
        rate=50.0,
        rounds=2,
    ),
    Scenario(
        "S5",
        "200 documents, 10,000 subjects, Zipf",
        lambda world: world.mixed(2 * len(world.codes)),
        cache_seconds=60,
    ),
)


class Measurement(msgspec.Struct, frozen=True):
    """One system in one round: rates in requests/s, times in µs or ms, memory in MiB.

    `load_us` is what the load itself took for a request, checks included.
    """

    system: str
    requests: int
    wrong: int
    compared: int
    per_second: float
    cpu_us: float
    per_core: float
    subjects_per_core: float
    p50_ms: float
    p99_ms: float
    rss_mib: float
    calls: float
    load_us: float

    @property
    def sound(self) -> bool:
        """Whether every answer was right."""
        return self.wrong == 0 and self.compared > 0


def verify(running: Running, within: Bench, questions: Sequence[Question]) -> None:
    """Ask a sample of the questions one by one and compare every value; raises WrongAnswerError."""
    step = max(1, len(questions) // SAMPLE)
    headers = {"authorization": f"Bearer {within.token}", "content-type": "application/json"}
    with httpx.Client(timeout=30, trust_env=False, headers=headers) as client:
        for place in range(0, len(questions), step):
            answer = client.post(f"{running.url}/graphql", content=questions[place].body)
            if not load.right(questions[place], answer.status_code, answer.content):
                said = _fault(questions[place], answer)
                raise WrongAnswerError(
                    f"question {place} is answered with what the upstream does not hold: {said}"
                )


def _fault(question: Question, answer: httpx.Response) -> str:
    body = answer.json()
    if answer.status_code != 200 or "errors" in body:
        return f"status {answer.status_code}, {str(body.get('errors'))[:300]}"
    return difference(body["data"], question.data)


async def measure(
    system: str,
    running: Running,
    within: Bench,
    scenario: Scenario,
    prepared: Sequence[Prepared],
    *,
    seconds: float,
    most: int | None = None,
    connections: int = CONNECTIONS,
) -> Measurement:
    """Run the load for some seconds, or `most` requests, and read what it cost."""
    calls, cpu, own = within.count()[0], running.cpu(), time.process_time()
    if scenario.rate is None:
        seen = await load.closed(running.url, prepared, connections=connections, seconds=seconds, most=most)
    else:
        seen = await load.opened(running.url, prepared, rate=scenario.rate, seconds=seconds, most=most)
    own, cpu, calls = time.process_time() - own, running.cpu() - cpu, within.count()[0] - calls
    return _measurement(system, running, seen, prepared[0].question.subjects, cpu, calls, own)


def _measurement(
    system: str, running: Running, seen: Measured, subjects: int, cpu: float, calls: int, own: float
) -> Measurement:
    number = len(seen.latencies)
    per_core = number / cpu if cpu else 0.0
    return Measurement(
        system=system,
        requests=number,
        wrong=seen.wrong,
        compared=seen.compared,
        per_second=number / seen.seconds,
        cpu_us=cpu / number * 1e6,
        per_core=per_core,
        subjects_per_core=per_core * subjects,
        p50_ms=seen.percentile(0.5) * 1e3,
        p99_ms=seen.percentile(0.99) * 1e3,
        rss_mib=running.memory(),
        calls=calls / number,
        load_us=own / number * 1e6,
    )


async def warm_up(
    running: Running, scenario: Scenario, prepared: Sequence[Prepared], *, seconds: float, most: int | None
) -> None:
    """Ask before the clock runs: every question once where the cache has to be warm, for some seconds else."""
    most = len(prepared) if scenario.warm else most
    await load.closed(
        running.url,
        prepared,
        connections=CONNECTIONS,
        seconds=300.0 if scenario.warm else seconds,
        most=most,
    )


def prepare_for(running: Running, within: Bench, questions: Sequence[Question]) -> list[Prepared]:
    """The questions as bytes for a system."""
    return prepare(questions, running.url, within.token)


def prepare_source(within: Bench, world: World) -> list[Prepared]:
    """Requests to the upstream itself: what its own answers take, timers and wire included."""
    host = urlsplit(within.upstream.url).netloc
    found = []
    for place, code in enumerate(world.codes):
        records = [{"code": code, **record} for record in world.records("registration", place)]
        asked = f"GET /registration?code={code} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        found.append(Prepared(Question(b"", records, 0, 1), asked))
    return found
