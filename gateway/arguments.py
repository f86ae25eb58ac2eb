"""The arguments of one field of a document, ready to be filled with variables.

What the document itself says is coerced once, when the field is first read; what stays for a request is to put
its variables in place. Everything unusual, as a variable that is missing or null, goes to graphql-core, which
knows what the specification makes of it. No error is made here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    ListValueNode,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableNode,
    coerce_input_literal,
    get_nullable_type,
)
from graphql.execution.values import VariableValues, get_argument_values
from graphql.utilities.coerce_input_value import coerce_default_value

Fill = Callable[[Mapping[str, Any]], Any]
"""Coerced variables to a value; raises `_UnusualError` where that needs more thought."""


class _UnusualError(Exception):
    """A value that only graphql-core can tell."""


class ArgumentReader:
    """Reads the arguments of one field. `constant`: they hold no variable, and each read gives the same object."""

    def __init__(self, field: GraphQLField, node: FieldNode) -> None:
        self.field = field
        self._node = node
        self.constant = not any(_variable_inside(each.value) for each in node.arguments or ())
        self._kept: dict[str, Any] | None = None
        self._fill: Fill | None = None
        if not self.constant:
            try:
                self._fill = _arguments(field, node)
            except _UnusualError:
                self._fill = None

    def read(self, variables: VariableValues) -> dict[str, Any]:
        """The coerced arguments, which must not be changed; raises GraphQLError."""
        if self._kept is not None:
            return self._kept
        if self._fill is not None:
            try:
                given: dict[str, Any] = self._fill(variables.coerced)
            except _UnusualError:
                return get_argument_values(self.field, self._node, variables)
            return given
        read = get_argument_values(self.field, self._node, variables)
        if self.constant:
            self._kept = read
        return read


def _variable_inside(value: ValueNode) -> bool:
    match value:
        case VariableNode():
            return True
        case ListValueNode():
            return any(_variable_inside(item) for item in value.values)
        case ObjectValueNode():
            return any(_variable_inside(field.value) for field in value.fields)
        case _:
            return False


def _arguments(field: GraphQLField, node: FieldNode) -> Fill:
    given = {each.name.value: each.value for each in node.arguments or ()}
    constants: dict[str, Any] = {}
    fills: dict[str, Fill] = {}
    for name, definition in field.args.items():
        key = definition.out_name or name
        if name in given:
            _place(given[name], definition.type, key, constants, fills)
        elif (default := coerce_default_value(definition)) is not Undefined:
            constants[key] = default
    return _filling(constants, fills)


def _place(
    value: ValueNode,
    type_: GraphQLInputType,
    key: str,
    constants: dict[str, Any],
    fills: dict[str, Fill],
) -> None:
    """Put a value among the constants or among what has to be filled."""
    if _variable_inside(value):
        fills[key] = _value(value, type_)
    else:
        constants[key] = _constant(value, type_)


def _constant(value: ValueNode, type_: GraphQLInputType) -> Any:
    coerced = coerce_input_literal(value, type_)
    if coerced is Undefined:
        raise _UnusualError
    return coerced


def _value(value: ValueNode, type_: GraphQLInputType) -> Fill:
    if not _variable_inside(value):
        constant = _constant(value, type_)
        return lambda _variables: constant
    inner = get_nullable_type(type_)
    match value:
        case VariableNode():
            return _variable(value.name.value)
        case ObjectValueNode() if isinstance(inner, GraphQLInputObjectType):
            return _object(value, inner)
        case ListValueNode() if isinstance(inner, GraphQLList):
            items = [_value(item, inner.of_type) for item in value.values]
            return lambda variables: [item(variables) for item in items]
        case _:
            # One item in place of a list.
            raise _UnusualError


def _variable(name: str) -> Fill:
    def fill(variables: Mapping[str, Any]) -> Any:
        found = variables.get(name)
        if found is None:
            raise _UnusualError
        return found

    return fill


def _object(value: ObjectValueNode, type_: GraphQLInputObjectType) -> Fill:
    given = {field.name.value: field.value for field in value.fields}
    constants: dict[str, Any] = {}
    fills: dict[str, Fill] = {}
    for name, definition in type_.fields.items():
        key = definition.out_name or name
        if name in given:
            _place(given[name], definition.type, key, constants, fills)
        elif (default := coerce_default_value(definition)) is not Undefined:
            constants[key] = default
    fill = _filling(constants, fills)
    return lambda variables: type_.out_type(fill(variables))


def _filling(constants: Mapping[str, Any], fills: Mapping[str, Fill]) -> Fill:
    places = tuple(fills.items())

    def fill(variables: Mapping[str, Any]) -> dict[str, Any]:
        filled = dict(constants)
        for key, each in places:
            filled[key] = each(variables)
        return filled

    return fill
