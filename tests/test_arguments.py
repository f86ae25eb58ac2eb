"""Arguments filled from a document once read equal those that graphql-core coerces for each request."""

import itertools
from typing import Any

import pytest
from graphql import FieldNode, GraphQLError, GraphQLObjectType, GraphQLSchema, build_schema, parse
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values

from gateway.arguments import ArgumentReader

SCHEMA: GraphQLSchema = build_schema(
    """
    input Name { first: String! last: String = "Li" }
    input Id @oneOf { code: String name: Name }
    enum Colour { RED BLUE }
    input Ref { id: Id! note: String = null tags: [String!] }
    type Query {
      f(a: Int = 3, b: String!, id: Id, of: [Ref!], many: [Int], colour: Colour! = RED, none: String): Int
    }
    """
)
QUERY = SCHEMA.get_type("Query")
assert isinstance(QUERY, GraphQLObjectType)
FIELD = QUERY.fields["f"]

HEAD = 'query($s: String, $t: String! = "t", $n: Int, $id: Id, $name: Name, $refs: [Ref!], $tags: [String!], $c: Colour! = BLUE)'
ARGUMENTS = [
    'b: "x"',
    "b: $t",
    'a: null, b: "x"',
    'a: $n, b: "x"',
    'b: "x", id: {code: "1"}',
    "b: $t, id: {code: $t}",
    "b: $t, id: {code: $s}",
    "b: $t, id: $id",
    "b: $t, id: {name: {first: $t}}",
    "b: $t, id: {name: {first: $t, last: $s}}",
    "b: $t, id: {name: $name}",
    "b: $t, of: $refs",
    'b: $t, of: [{id: {code: "1"}}, {id: {code: $s}, note: $s, tags: $tags}]',
    "b: $t, of: {id: {code: $t}}",
    'b: $t, of: [{id: $id, tags: [$t, "u"]}]',
    "b: $t, many: [1, $n]",
    "b: $t, many: $n",
    "b: $t, colour: $c, none: $s",
    "b: $t, none: null",
]
VALUES: list[dict[str, Any]] = [
    {},
    {"s": "s", "n": 7, "id": {"code": "2"}, "name": {"first": "Wu"}, "tags": ["a"], "c": "RED"},
    {"s": None, "n": None, "id": None, "name": None, "refs": None, "tags": None},
    {
        "s": "s",
        "refs": [{"id": {"code": "9"}}, {"id": {"name": {"first": "Ma", "last": None}}, "note": None}],
    },
]


def node_of(arguments: str) -> tuple[FieldNode, Any]:
    operation = parse(f"{HEAD} {{ f({arguments}) }}").definitions[0]
    (node,) = operation.selection_set.selections  # type: ignore[attr-defined]
    return node, operation


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_what_is_filled_is_what_graphql_core_coerces(arguments: str) -> None:
    node, operation = node_of(arguments)
    reader = ArgumentReader(FIELD, node)
    refused = 0
    for given in [*VALUES, *VALUES]:
        variables = get_variable_values(SCHEMA, operation.variable_definitions, given)
        assert isinstance(variables, VariableValues), variables
        try:
            expected = get_argument_values(FIELD, node, variables)
        except GraphQLError:
            refused += 1
            with pytest.raises(GraphQLError):
                reader.read(variables)
        else:
            assert reader.read(variables) == expected
    assert refused < 2 * len(VALUES)


def test_constant_arguments_are_read_once() -> None:
    node, _ = node_of('b: "x", of: [{id: {code: "1"}}]')
    reader = ArgumentReader(FIELD, node)
    nothing = VariableValues({}, {})
    assert reader.constant
    assert reader.read(nothing) is reader.read(nothing)


def test_one_reading_is_never_anothers() -> None:
    """What was filled for one request keeps nothing of the variables of another."""
    node, operation = node_of("b: $t, of: [{id: {code: $s}, tags: $tags}]")
    reader = ArgumentReader(FIELD, node)
    readings = []
    for number in itertools.islice(itertools.count(), 4):
        given = {"s": f"code {number}", "t": f"text {number}", "tags": [f"tag {number}"]}
        variables = get_variable_values(SCHEMA, operation.variable_definitions, given)
        assert isinstance(variables, VariableValues)
        readings.append((number, reader.read(variables)))
    for number, read in readings:
        assert read["b"] == f"text {number}"
        assert read["of"] == [{"id": {"code": f"code {number}"}, "note": None, "tags": [f"tag {number}"]}]
