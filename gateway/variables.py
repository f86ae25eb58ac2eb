"""The operation's variables, coerced without graphql-core where nothing about them is unusual.

What a variable has to be is worked out once for an operation; a request costs a few type checks. The result equals
that of `gateway.operation.coerce_variables`. Whatever is wrong or merely uncommon (a number for an ID, one item in
place of a list) is left to it, so that every complaint is made in one place.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLError,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    Undefined,
    is_required_input_field,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.utilities.coerce_input_value import coerce_default_value

Coerce = Callable[[Any], Any]
"""A value as JSON has it to the value that resolvers get; raises `_UnusualError`."""


class _UnusualError(Exception):
    """A value that graphql-core has to look at."""


class VariableReader:
    """Coerces the variables of one operation."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._variables: list[tuple[GraphQLVariableSignature, Coerce, Any]] = []
        types = _Types()
        for definition in operation.variable_definitions or ():
            signature = get_variable_signature(schema, definition)
            if isinstance(signature, GraphQLError):
                # Validation refuses such a variable.
                raise signature
            default = coerce_default_value(signature) if signature.default is not None else Undefined
            self._variables.append((signature, types.of(signature.type), default))

    def read(self, given: Mapping[str, Any]) -> VariableValues | None:
        """The variables as `coerce_variables` gives them; None where only it can tell."""
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        try:
            for signature, coerce, default in self._variables:
                name = signature.name
                if name in given:
                    sources[name] = VariableValueSource(signature, given[name])
                    coerced[name] = coerce(given[name])
                    continue
                sources[name] = VariableValueSource(signature)
                if default is not Undefined:
                    coerced[name] = default
                elif isinstance(signature.type, GraphQLNonNull):
                    return None
        except _UnusualError:
            return None
        return VariableValues(sources, coerced)


class _Types:
    """The coercion of each input type, made when it is first met; an input object may hold itself."""

    def __init__(self) -> None:
        self._made: dict[str, Coerce] = {}

    def of(self, wanted: GraphQLInputType) -> Coerce:
        if isinstance(wanted, GraphQLNonNull):
            return self._present(wanted.of_type)
        inner = self._present(wanted)
        return lambda value: None if value is None else inner(value)

    def _present(self, wanted: Any) -> Coerce:
        """The coercion of a value that is not null: null is unusual."""
        if isinstance(wanted, GraphQLList):
            return _list(self.of(wanted.of_type))
        if wanted.name not in self._made:
            self._made[wanted.name] = lambda value: self._made[wanted.name](value)
            self._made[wanted.name] = self._named(wanted)
        return self._made[wanted.name]

    def _named(self, wanted: Any) -> Coerce:
        if isinstance(wanted, GraphQLInputObjectType):
            return self._object(wanted)
        if isinstance(wanted, GraphQLEnumType):
            return _enum(wanted)
        if wanted is GraphQLString or wanted is GraphQLID:
            return _text
        if wanted is GraphQLBoolean:
            return _boolean
        if wanted is GraphQLInt:
            return _integer
        if wanted is GraphQLFloat:
            return _float
        return _other(wanted.coerce_input_value)

    def _object(self, wanted: GraphQLInputObjectType) -> Coerce:
        fields = [
            (
                name,
                field.out_name or name,
                self.of(field.type),
                is_required_input_field(field),
                _default(field),
            )
            for name, field in wanted.fields.items()
        ]
        known = wanted.fields.keys()
        one_of, finish = wanted.is_one_of, wanted.out_type

        def coerce(value: Any) -> Any:
            if type(value) is not dict or not value.keys() <= known:
                raise _UnusualError
            made = {}
            for name, out_name, inner, required, default in fields:
                if name in value:
                    made[out_name] = inner(value[name])
                elif required:
                    raise _UnusualError
                elif default is not Undefined:
                    made[out_name] = default
            if one_of and (len(value) != 1 or len(made) != 1 or None in made.values()):
                raise _UnusualError
            return _finished(finish, made)

        return coerce


def _default(field: Any) -> Any:
    return Undefined if is_required_input_field(field) else coerce_default_value(field)


def _finished(finish: Callable[[dict[str, Any]], Any], made: dict[str, Any]) -> Any:
    try:
        return finish(made)
    except GraphQLError as error:
        raise _UnusualError from error


def _list(item: Coerce) -> Coerce:
    def coerce(value: Any) -> Any:
        if type(value) is not list:
            raise _UnusualError
        return [item(each) for each in value]

    return coerce


def _enum(wanted: GraphQLEnumType) -> Coerce:
    members = {name: wanted.coerce_input_value(name) for name in wanted.values}

    def coerce(value: Any) -> Any:
        if type(value) is not str or value not in members:
            raise _UnusualError
        return members[value]

    return coerce


def _text(value: Any) -> Any:
    if type(value) is not str:
        raise _UnusualError
    return value


def _boolean(value: Any) -> Any:
    if type(value) is not bool:
        raise _UnusualError
    return value


def _integer(value: Any) -> Any:
    # GraphQL, section 3.5.1: an Int has 32 bits.
    if type(value) is not int or not -(2**31) <= value < 2**31:
        raise _UnusualError
    return value


def _float(value: Any) -> Any:
    if type(value) is not float or not isfinite(value):
        raise _UnusualError
    return value


def _other(parse: Coerce) -> Coerce:
    def coerce(value: Any) -> Any:
        if value is None:
            raise _UnusualError
        try:
            parsed = parse(value)
        except Exception as error:  # a scalar's own parser may raise anything
            raise _UnusualError from error
        if parsed is Undefined:
            raise _UnusualError
        return parsed

    return coerce
