"""How long the permissions layer takes: `python tests/bench/permissions.py`. Nothing is asserted here.

Each figure is the best of several rounds, as the rest is the machine's noise.
"""

import itertools
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from gateway.app import load_bundle
from policies.bundle import Bundle, Rule
from policies.caller import Caller
from policies.check import check
from policies.decision import Possible, Question, decide
from policies.evidence import Evidence, Stage
from policies.identifiers import credit_code
from policies.table import compile_table

DAY = date(2026, 11, 20)
ROUNDS = 5


def best(work: Callable[[], Any], times: int = 1) -> float:
    """Seconds that one run of the work takes, at best."""
    found = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - begun) / times)
    return min(found)


def many_rules(bundle: Bundle, number: int) -> Bundle:
    """The bundle with its rules repeated under other names, in years to come, until there are so many."""
    rules: dict[str, Rule] = {}
    for rule in itertools.islice(itertools.cycle(bundle.rules.values()), number):
        name = f"R{len(rules):05}"
        rules[name] = msgspec.structs.replace(rule, id=name)
    return msgspec.structs.replace(bundle, rules=rules)


def main() -> None:
    bundle = load_bundle("example")
    table = compile_table(bundle, DAY)
    caller = Caller(
        unit="a unit",
        unit_name="a name",
        type="MARKET_REGULATION",
        level="COUNTY",
        division="990105",
        purposes=frozenset(bundle.purposes),
        categories=None,
        officer=None,
        identity=None,
        synthetic_only=False,
        client="a client",
        token_id="a token",
        expires=0,
    )
    sections = ("REG_ORG", "LICENCE", "PENALTY", "SERIOUS_LIST", "ENFORCE_DEFAULT", "ABNORMAL", "ARREARS")
    question = Question(
        purpose="PROCUREMENT",
        subject=credit_code("91990100FAKE00013D"),
        evidence=Evidence(project_number="P-1", stage=Stage.REVIEW),
        sections=dict.fromkeys(sections, 0xFFFF),
        subjects_in_operation=1,
    )
    assert all(isinstance(part, Possible) for part in decide(table, caller, question).values())
    large = many_rules(bundle, 2000)
    print(f"decide, 7 sections        {best(lambda: decide(table, caller, question), 2000) * 1e6:8.1f} us")
    print(
        f"compile, {len(bundle.rules)} rules         {best(lambda: compile_table(bundle, DAY)) * 1e3:8.1f} ms"
    )
    print(f"compile, 2000 rules       {best(lambda: compile_table(large, DAY)) * 1e3:8.1f} ms")
    print(f"load and prove the bundle {best(lambda: load_bundle('example')) * 1e3:8.1f} ms")
    print(f"check every cell          {best(lambda: check(bundle, DAY)) * 1e3:8.1f} ms")


if __name__ == "__main__":
    main()
