"""Variables coerced without graphql-core: the same values where it says anything, and never a complaint."""

import random
from typing import Any

import pytest
from fuzz_forms import SCHEMA
from graphql import OperationDefinitionNode, parse, print_ast

from gateway.errors import GatewayError
from gateway.operation import coerce_variables
from gateway.variables import VariableReader

ALL = """query(
  $purpose: Purpose!, $evidence: Evidence, $id: SubjectId!, $of: [SubjectRef!]!, $first: Int = 5, $after: String,
  $on: Boolean! = true, $category: Category = PENALTY, $kinds: [SubjectKind], $day: Date, $measure: ID,
  $share: Float, $stage: Stage! = REVIEW, $rows: [[Int!]!] = [[1], [2, 3]], $other: OrganisationId
) { viewer { unit } }"""
SOUND: dict[str, Any] = {
    "purpose": "LICENSING",
    "evidence": {"caseNumber": "A-1", "stage": "REVIEW", "recordIds": ["a", "b"]},
    "id": {"creditCode": "91990100FAKE00013D"},
    "of": [{"id": {"registrationNumber": "1"}, "evidence": {"matterCode": "m"}}, {"id": {"creditCode": "x"}}],
    "first": 3,
    "after": "cursor",
    "on": False,
    "category": "LICENCE",
    "kinds": ["ORG", None, "NP"],
    "day": "2026-01-02",
    "measure": "M1",
    "share": 0.5,
    "stage": "REVIEW",
    "rows": [[], [7]],
    "other": {"creditCode": "x"},
}
STRANGE: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    7.0,
    2**31,
    -(2**31),
    "",
    "ORG",
    "nobody",
    "2026-13-40",
    [],
    [None],
    ["ORG"],
    [[1]],
    {},
    {"creditCode": None},
    {"creditCode": "a", "registrationNumber": "b"},
    {"creditCode": 5},
    {"resident": {"number": "1", "name": "n"}},
    {"resident": {"number": "1"}},
    {"unknown": 1},
    float("inf"),
)


def of(text: str) -> tuple[VariableReader, OperationDefinitionNode]:
    (operation,) = parse(text).definitions
    assert isinstance(operation, OperationDefinitionNode)
    return VariableReader(SCHEMA, operation), operation


READER, OPERATION = of(ALL)


def told(values: Any) -> Any:
    """Values and where they came from; types are compared by name, as graphql-core makes each wrapper anew."""
    sources = {
        name: (str(source.signature.type), _literal(source.signature.default), source.value)
        for name, source in values.sources.items()
    }
    return repr(sources), repr(values.coerced), list(values.coerced)


def _literal(default: Any) -> str | None:
    return None if default is None else print_ast(default.literal)


def agree(given: dict[str, Any]) -> bool:
    """Whether it was read; then it is what `coerce_variables` says, which otherwise has the word."""
    read = READER.read(given)
    if read is None:
        return False
    assert told(read) == told(coerce_variables(SCHEMA, OPERATION, given))
    return True


def test_sound_variables_are_read() -> None:
    assert agree(SOUND)


def test_variables_that_need_not_be_given_are_read() -> None:
    assert agree({name: SOUND[name] for name in ("purpose", "id", "of")})
    assert agree({**SOUND, "evidence": None, "after": None, "kinds": None, "first": None, "not declared": 1})


@pytest.mark.parametrize("name", ["purpose", "id", "of"])
def test_a_variable_that_is_missing_is_left_to_graphql_core(name: str) -> None:
    assert READER.read({key: value for key, value in SOUND.items() if key != name}) is None


def changed(chosen: random.Random, value: Any) -> Any:
    """The value with something strange somewhere in it."""
    if isinstance(value, dict) and value and chosen.random() < 0.7:
        key = chosen.choice(list(value))
        if chosen.random() < 0.2:
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: changed(chosen, value[key])}
    if isinstance(value, list) and value and chosen.random() < 0.7:
        place = chosen.randrange(len(value))
        return [changed(chosen, inner) if index == place else inner for index, inner in enumerate(value)]
    return chosen.choice(STRANGE)


def test_whatever_is_strange_is_read_alike_or_left_to_graphql_core() -> None:
    read = refused = 0
    for seed in range(4000):
        chosen = random.Random(seed)
        name = chosen.choice(list(SOUND))
        given = {**SOUND, name: changed(chosen, SOUND[name])}
        if agree(given):
            read += 1
            continue
        try:
            coerce_variables(SCHEMA, OPERATION, given)
        except GatewayError:
            refused += 1
    assert read > 200
    assert refused > 2000


def test_a_default_is_the_same_in_every_read() -> None:
    reader, operation = of('query($a: [Int!] = [1, 2], $b: Evidence = {caseNumber: "A"}) { viewer { unit } }')
    for given in ({}, {"a": None}, {"b": {"stage": "REVIEW"}}):
        read = reader.read(dict(given))
        assert read is not None
        assert told(read) == told(coerce_variables(SCHEMA, operation, dict(given)))
