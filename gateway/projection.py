"""The tree of an operation: which fields apply to which type, and how each is read.

See `gateway.compiler` for what it is for. It holds functions and types of the schema and nodes of the document; no
value, no caller.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLField,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_object_type,
)
from graphql import FieldNode as Syntax
from graphql.execution.values import VariableValues
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from gateway.arguments import ArgumentReader
from gateway.selection import Fields, Selection
from resolvers.records import BOUND
from resolvers.schema import Context


class Key(msgspec.Struct, frozen=True):
    """Where a field stands in the response, as far as a resolver may ask: its response key."""

    key: str


class Asked(msgspec.Struct, frozen=True):
    """What a resolver of the compiled form gets in place of Strawberry's `Info`."""

    context: Context
    path: Key


class Slot(msgspec.Struct, frozen=True):
    """The arguments of a field that depend on variables: read once in a request, as its resolver takes them."""

    reader: ArgumentReader
    convert: Callable[[dict[str, Any]], dict[str, Any]]

    def read(self, variables: VariableValues) -> dict[str, Any]:
        """Keyword arguments; raises what graphql-core or Strawberry says of a wrong one."""
        return self.convert(self.reader.read(variables))


class Attribute(msgspec.Struct, frozen=True):
    """A field that is an attribute of its parent."""

    name: str


class Constant(msgspec.Struct, frozen=True):
    """A field that is the same always: `__typename`."""

    value: str


class Call(msgspec.Struct, frozen=True, eq=False):
    """A field with a resolver: the function, and what it takes by keyword.

    `parent` and `info` name the parameters for these two, where it has them; `given` are the arguments that are
    known; `slot` is the number of those that depend on variables.
    """

    function: Callable[..., Any]
    parent: str | None
    info: str | None
    given: Mapping[str, Any]
    slot: int | None


class FieldNode(msgspec.Struct, frozen=True, eq=False):
    """A field of the response. `objects` has a node for each object type that its values may be of."""

    key: str
    syntax: list[Syntax]
    type: GraphQLOutputType
    read: Attribute | Constant | Call
    objects: tuple["ObjectNode", ...]


class ObjectNode(msgspec.Struct, frozen=True, eq=False):
    """An object type with the fields selected of it.

    `slots` are the variable arguments below it. `keeps` says that what it becomes depends on nothing else but its
    value, so that a subject may keep its bytes.
    """

    type: GraphQLObjectType
    fields: tuple[FieldNode, ...]
    slots: tuple[int, ...]
    keeps: bool


class Tree(msgspec.Struct, frozen=True, eq=False):
    """A compiled operation: its root, the arguments that depend on variables, and how many fields it has."""

    root: ObjectNode
    slots: tuple[Slot, ...]
    size: int


class NotCompiledError(Exception):
    """Something that only the reference does; the text says what."""


def grown(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    schema: GraphQLSchema,
    switches: Mapping[str, bool],
) -> Tree:
    """The tree of a validated operation with its switches set; raises `NotCompiledError`."""
    selection = Selection(document, operation, schema, switches)
    return _Growing(schema, selection).tree(schema.get_root_type(operation.operation))


class _Growing:
    """Grows the tree of one operation; an object that several types share is grown once."""

    def __init__(self, schema: GraphQLSchema, selection: Selection) -> None:
        self._schema = schema
        self._selection = selection
        self._slots: list[Slot] = []
        self._objects: dict[tuple[str, tuple[int, ...]], ObjectNode] = {}
        self._size = 0

    def tree(self, root: GraphQLObjectType | None) -> Tree:
        if root is None:
            raise NotCompiledError("the schema has no such operation")
        node = self._object(root, self._selection.root(root.name))
        return Tree(node, tuple(self._slots), self._size)

    def _object(self, of: GraphQLObjectType, fields: Fields) -> ObjectNode:
        self._size += len(fields)
        grown = tuple(self._field(of, key, nodes) for key, nodes in fields.items())
        below = [node for field in grown for node in field.objects]
        slots = {field.read.slot for field in grown if isinstance(field.read, Call)} - {None}
        slots = slots.union(*(node.slots for node in below))
        asks = any(isinstance(field.read, Call) and field.read.info is not None for field in grown)
        return ObjectNode(
            type=of,
            fields=grown,
            slots=tuple(sorted(slot for slot in slots if slot is not None)),
            keeps=not asks and all(node.keeps for node in below),
        )

    def _field(self, parent: GraphQLObjectType, key: str, nodes: list[Syntax]) -> FieldNode:
        name = nodes[0].name.value
        if name == "__typename":
            return FieldNode(key, nodes, GraphQLNonNull(GraphQLString), Constant(parent.name), ())
        definition = parent.fields[name]
        named = get_named_type(definition.type)
        objects: tuple[ObjectNode, ...] = ()
        if is_composite_type(named):
            objects = tuple(self._shared(of, nodes) for of in self._possible(named))
        return FieldNode(key, nodes, definition.type, self._read(parent, definition, nodes[0]), objects)

    def _shared(self, of: GraphQLObjectType, nodes: list[Syntax]) -> ObjectNode:
        identity = (of.name, tuple(id(node) for node in nodes))
        if identity not in self._objects:
            self._objects[identity] = self._object(of, self._selection.inside(nodes, of.name))
        return self._objects[identity]

    def _possible(self, named: GraphQLNamedType) -> list[GraphQLObjectType]:
        """The object types that a value may be of, in the order in which graphql-core tries them."""
        if is_object_type(named):
            return [named]
        definition = named.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if getattr(definition, "resolve_type", None) is not None:
            raise NotCompiledError(f"the type '{named.name}' resolves its objects by itself")
        possible = list(self._schema.get_possible_types(named)) if is_abstract_type(named) else []
        for of in possible:
            if of.is_type_of is None:
                raise NotCompiledError(f"objects of the type '{of.name}' are not told apart by their values")
        return possible

    def _read(self, parent: GraphQLObjectType, definition: GraphQLField, node: Syntax) -> Attribute | Call:
        field = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if not isinstance(field, StrawberryField) or field.extensions or field.is_async:
            place = f"{parent.name}.{node.name.value}"
            raise NotCompiledError(f"the field '{place}' is more than an attribute or a plain resolver")
        resolver = field.base_resolver
        if resolver is None:
            return Attribute(field.python_name)
        function = resolver.wrapped_func
        if isinstance(function, staticmethod | classmethod):
            raise NotCompiledError(f"the resolver of '{parent.name}.{node.name.value}' is no plain function")
        given, slot = self._arguments(field, definition, node)
        taken = resolver.parent_parameter or resolver.root_parameter or resolver.self_parameter
        info = resolver.info_parameter
        return Call(
            function,
            taken.name if taken else None,
            info.name if info else None,
            given,
            slot,
        )

    def _arguments(
        self, field: StrawberryField, definition: GraphQLField, node: Syntax
    ) -> tuple[dict[str, Any], int | None]:
        """The keyword arguments that are known now, or the number of the slot of those that are not."""
        if BOUND.items() <= field.metadata.items():
            return {argument.python_name: None for argument in field.arguments}, None
        if not field.arguments:
            return {}, None
        converter = self._schema._strawberry_schema.schema_converter  # type: ignore[attr-defined]

        def convert(given: dict[str, Any]) -> dict[str, Any]:
            return convert_arguments(
                given, field.arguments, scalar_registry=converter.scalar_registry, config=converter.config
            )

        slot = Slot(ArgumentReader(definition, node), convert)
        if slot.reader.constant:
            # What is wrong with a constant is the field's error, found when it is executed.
            with suppress(GraphQLError):
                return slot.read(VariableValues({}, {})), None
        self._slots.append(slot)
        return {}, len(self._slots) - 1
