"""A decision that is remembered is the one that would be made, and nothing that has to be proven is remembered."""

from collections.abc import Mapping

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decision import BUNDLE, SUBJECTS, TABLE, TODAY, Put, caller, evidence, puts

from gateway.decisions import Decisions, Settled
from policies.bundle import Bundle
from policies.decision import Granted, Possible, Question, close, decide
from policies.evidence import Evidence
from policies.identifiers import SubjectKey
from policies.outcomes import Denied, Outcome
from policies.table import compile_table

MEMORY = Decisions(size=50)
"""One for all examples: what one left behind must not reach the next."""


def matches(settled: Settled, put: Put) -> None:
    asking, question = put.asking, put.question
    possible = decide(TABLE, asking, question)
    assert settled.possible == possible
    unproven = [
        part for part in possible.values() if isinstance(part, Possible) and (part.open or part.references)
    ]
    if unproven:
        assert settled.decided is None
    else:
        assert settled.decided == {
            category: close(TABLE, asking, question, part, {}, 0) if isinstance(part, Possible) else part
            for category, part in possible.items()
        }


@given(st.lists(puts(), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_what_is_remembered_is_what_would_be_decided(several: list[Put]) -> None:
    for put in [*several, *several]:
        matches(MEMORY.on(TABLE, put.asking, put.question), put)


@given(puts(), st.sampled_from(list(SUBJECTS.values())), st.booleans())
@settings(max_examples=300, deadline=None)
def test_another_subject_gets_its_own_decision(put: Put, other: SubjectKey, many: bool) -> None:
    """The same caller with the same evidence asks about one subject after another."""
    memory = Decisions()
    matches(memory.on(TABLE, put.asking, put.question), put)
    question = msgspec.structs.replace(put.question, subject=other, subjects_in_operation=2 if many else 1)
    matches(memory.on(TABLE, put.asking, question), Put(put.asking, question, put.states))


def public_view(sections: Mapping[str, int], proof: Evidence) -> Question:
    return Question(
        purpose="PUBLIC_VIEW",
        subject=SUBJECTS["ORG"],
        evidence=proof,
        sections=sections,
        subjects_in_operation=1,
    )


def test_equal_questions_of_one_caller_are_decided_once() -> None:
    memory, asking, sections, proof = Decisions(), caller("BANK"), {"PENALTY": 7, "LICENCE": 7}, evidence()
    first = memory.on(TABLE, asking, public_view(sections, proof))
    assert isinstance((first.decided or {})["PENALTY"], Granted)
    assert memory.on(TABLE, asking, public_view(sections, proof)) is first
    assert memory.on(TABLE, asking, public_view(dict(sections), proof)) is not first
    assert memory.on(TABLE, caller("BANK"), public_view(sections, proof)) is not first


def test_another_policy_decides_anew() -> None:
    memory, asking, sections, proof = Decisions(), caller("BANK"), {"PENALTY": 7}, evidence()
    question = public_view(sections, proof)
    assert isinstance((memory.on(TABLE, asking, question).decided or {})["PENALTY"], Granted)
    narrower = compile_table(without_rules_for("PUBLIC_VIEW"), TODAY)
    assert isinstance((memory.on(narrower, asking, question).decided or {})["PENALTY"], Denied)


def without_rules_for(purpose: str) -> Bundle:
    rules = {code: rule for code, rule in BUNDLE.rules.items() if rule.purpose != purpose}
    return msgspec.structs.replace(BUNDLE, rules=rules)


def test_the_memory_is_bounded() -> None:
    memory, asking, proof = Decisions(size=3), caller("BANK"), evidence()
    kept = [{"PENALTY": bit} for bit in range(10)]
    first = memory.on(TABLE, asking, public_view(kept[0], proof))
    for sections in kept:
        memory.on(TABLE, asking, public_view(sections, proof))
    assert memory.on(TABLE, asking, public_view(kept[0], proof)) is not first


def test_what_proofs_led_to_is_the_same_object_only_where_it_is_equal() -> None:
    settled = Settled({}, None, ())
    denied = {"PENALTY": Denied(code=Outcome.DENY_EVIDENCE, basis=(), remedy="one")}
    other = {"PENALTY": Denied(code=Outcome.DENY_EVIDENCE, basis=(), remedy="two")}
    assert settled.same(denied) is denied
    assert settled.same(dict(denied)) is denied
    assert settled.same(other) is other
    assert settled.same(dict(denied)) == denied
