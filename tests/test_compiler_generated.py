"""Both forms of generated operations give one answer, whatever the values: thousands here, more by `make fuzz`.

FUZZ_SECONDS=600 looks for that long at operations that nobody has seen, from FUZZ_SEED on if that is given; a
mismatch prints its seed and its operation, which then belongs into the corpus.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterable

import pytest
from fuzz_forms import DOCUMENTS, FEATURES, SCHEMA, Tally, differences, features_of
from generate_operations import operations

CHUNK = 250
RARE = {"scalar Float"}
"""One field of the whole schema has it: the share of denials in the log."""
CHUNKS = range(0, 8 * CHUNK, CHUNK)


def compared(seeds: Iterable[int], tally: Tally) -> Counter[str]:
    """What the operations of these seeds used; none of them may differ."""
    used: Counter[str] = Counter()
    numbers = list(seeds)
    for seed, made in zip(numbers, operations(SCHEMA, numbers, documents=DOCUMENTS, wild=True), strict=True):
        assert differences(made, seed, tally) == []
        used.update(features_of(SCHEMA, DOCUMENTS.get(made.text, made.name).document))
    return used


@pytest.mark.parametrize("first", CHUNKS)
def test_generated_operations_agree(first: int) -> None:
    tally = Tally()
    used = compared(range(first, first + CHUNK), tally)
    print(tally)
    assert tally.compiled == tally.operations - tally.refused
    assert tally.answers > 2 * CHUNK
    assert tally.quick > CHUNK / 2
    assert CHUNK < tally.with_failures < tally.answers - CHUNK
    print({feature: used[feature] for feature in sorted(FEATURES)})
    assert FEATURES - used.keys() - RARE == set()


def test_fuzz() -> None:
    """Always a few operations; as many as FUZZ_SECONDS hold where it is set."""
    seconds = float(os.environ.get("FUZZ_SECONDS", "0"))
    fresh = random.randrange(10**9, 10**12) if seconds else 10**9
    seed = int(os.environ.get("FUZZ_SEED", fresh))
    until, tally = time.monotonic() + seconds, Tally()
    while tally.operations < 10 or time.monotonic() < until:
        compared(range(seed, seed + 10), tally)
        seed += 10
    print(tally, "up to seed", seed)
    assert tally.compiled == tally.operations - tally.refused
