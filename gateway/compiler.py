"""From an operation to the bytes of its `data`, without an executor in between.

The schema is plain Strawberry, and graphql-core's execution of it is the reference. What it spends on a request
is nearly all the same each time: which fields apply to which type, how each is read, how its value is written.
That is found out once here, as a tree:

    ObjectNode Query
      FieldNode inquiry          call its resolver, never null
        ObjectNode Inquiry
          FieldNode subject      call its resolver; one ObjectNode for each kind of subject
            ObjectNode Organisation
              FieldNode penalties
                ObjectNode PenaltySection
                  FieldNode state   read the attribute `state`, write the enum's name

One tree, two walkers. The *quick* one is Python source made from the tree (`gateway.rendering`): it only knows
values as they should be and raises at anything else. Then the *careful* one below walks the same tree over the
same values and keeps the path as it goes; it knows nulls that may not be, values that do not serialise and
resolvers that raise, and reports each as graphql-core would. No logic stands twice: a field without a resolver
is an attribute, a field with one calls the very function that Strawberry calls, and a leaf goes through
`coerce_output_value` of its type whenever it is not plainly of the usual Python type.

Both forms give the same data byte for byte, and the same errors in the same order, since the careful walk goes
through the fields one by one as graphql-core does when nothing has to be awaited. Nothing of an error is left to
freedom but the incident number and the log's trail. A resolver gets `Asked` in place of Strawberry's `Info`, so
it may look at the context and at its response key, and at nothing else.

A document is walked the first time it is executed, and rendered to source the second time: most documents that
are new never come again, and making the source takes longer than many walks. One with more than `MOST_RENDERED`
fields is always walked, so that no single step holds the others up for long.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from keyword import iskeyword
from typing import Any, Final

import msgspec
import orjson
from graphql import (
    DocumentNode,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLError,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    Undefined,
    get_nullable_type,
)
from graphql import FieldNode as Syntax
from graphql.error import located_error
from graphql.execution.values import VariableValues
from graphql.pyutils import is_iterable
from strawberry.schema.types.base_scalars import DateDefinition, DateTimeDefinition, DecimalDefinition

from gateway.errors import Code, GatewayError, from_execution, locations_of
from gateway.projection import (
    Asked,
    Attribute,
    Call,
    Constant,
    FieldNode,
    Key,
    NotCompiledError,
    ObjectNode,
    Tree,
    grown,
)
from gateway.selection import reached
from resolvers.records import ArgumentError
from resolvers.schema import Context

MOST_RENDERED: Final = 400
"""Fields of the largest tree that becomes source: about 10 ms of Python's own compiler."""


MOST_KEPT: Final = 2
"""Selections of one subject whose bytes are kept with it; the oldest goes first."""

KEEPING: Final = "CreditSubject"
"""The interface whose objects may keep their bytes (`SubjectAnswer.rendered`)."""


class Uncompiled(msgspec.Struct, frozen=True):
    """An operation that runs on the reference, and why."""

    reason: str


class Compiled:
    """An operation that needs no executor. One for each document, operation name and set of switch values.

    `quick` is the quick walk, once the tree has become source.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.quick: Callable[[Any, tuple[Any, ...]], Any] | None = None
        self._seen = False

    def execute(self, context: Context, variables: VariableValues) -> tuple[bytes, tuple[GatewayError, ...]]:
        """The JSON of `data` (`null` included) and the failures in it, in the order of the response."""
        self._render_when_it_pays()
        data = self._try_quick(context, variables)
        if data is not None:
            return data, ()
        walk = CarefulWalk(self.tree, context, variables)
        return orjson.dumps(walk.data()), tuple(failure_of(error) for error in walk.errors)

    def _render_when_it_pays(self) -> None:
        if self._seen and self.quick is None and self.tree.size <= MOST_RENDERED:
            self.quick = rendered(self.tree)
        self._seen = True

    def _try_quick(self, context: Context, variables: VariableValues) -> bytes | None:
        if self.quick is None:
            return None
        try:
            frame = (context, *[slot.read(variables) for slot in self.tree.slots])
            return orjson.dumps(self.quick(None, frame))
        except Exception:  # noqa: BLE001  # whatever it is, the careful walk meets it again and says where
            return None


def failure_of(error: GraphQLError) -> GatewayError:
    """The failure that stands for a field's error, of either form."""
    cause = error if isinstance(error, ArgumentError) else error.original_error
    if isinstance(cause, ArgumentError):
        failure = GatewayError(Code.BAD_ARGUMENT, field=cause.argument, reason=cause.reason)
        return failure.at(path=error.path, locations=locations_of(error))
    return from_execution(error)


def not_compiled(document: DocumentNode, operation: OperationDefinitionNode) -> str | None:
    """Why the operation runs on the reference, whatever its variables; None: it does not."""
    names = {node.name.value for node in reached(document, operation) if isinstance(node, Syntax)}
    if names & {"__schema", "__type"}:
        return "it asks for the schema: introspection runs on the reference"
    if operation.directives:
        return "it has a directive of the operation itself"
    return None


def compile_operation(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    schema: GraphQLSchema,
    switches: Mapping[str, bool],
) -> Compiled | Uncompiled:
    """The compiled form of a validated operation with its switches set, or why there is none."""
    reason = not_compiled(document, operation)
    if reason is not None:
        return Uncompiled(reason)
    try:
        return Compiled(grown(document, operation, schema, switches))
    except NotCompiledError as error:
        return Uncompiled(str(error))


# The quick walk: source made from the tree.


def source_of(tree: Tree) -> tuple[str, tuple[Any, ...]]:
    """The tree as Python source, and the constants k0, k1 … that it names.

    Its function `o0` takes the root value and a frame: the context, then the arguments of each slot. The source
    holds names of attributes and parameters of the schema's own classes and functions, and numbers. Every text of
    the document (response keys, aliases, literals) is a constant, as are types and functions.
    """
    source = _Source()
    source.writer(tree.root, checked=False)
    return "\n\n".join(source.functions.values()), tuple(source.constants)


def rendered(tree: Tree) -> Callable[[Any, tuple[Any, ...]], Any]:
    """The quick walk of a tree: from the root value and the frame to what orjson writes; raises anything."""
    text, constants = source_of(tree)
    names: dict[str, Any] = {f"k{number}": constant for number, constant in enumerate(constants)}
    names["__builtins__"] = _BUILTINS
    exec(compile(text, "<compiled operation>", "exec"), names)  # noqa: S102  # its text is the schema's and ours
    walk: Callable[[Any, tuple[Any, ...]], Any] = names["o0"]
    return walk


_BUILTINS = {
    each.__name__: each
    for each in (type, str, bool, int, list, tuple, len, iter, next, isinstance, TypeError)
}

_STRING = ("type({value}) is str", "{name}")
_LEAVES: dict[str, tuple[GraphQLScalarType, str, str]] = {
    "String": (GraphQLString, *_STRING),
    "ID": (GraphQLID, *_STRING),
    "Boolean": (GraphQLBoolean, "type({value}) is bool", "{name}"),
    # GraphQL, section 3.5.1: an Int has 32 bits.
    "Int": (GraphQLInt, "type({value}) is int and -2147483648 <= {name} <= 2147483647", "{name}"),
}
"""Scalars of the specification: the test of a usual value, and how it is written."""

_WRITTEN: dict[str, tuple[Any, type, str]] = {
    # orjson writes a date as isoformat does.
    "Date": (DateDefinition, date, "{name}"),
    "DateTime": (DateTimeDefinition, datetime, "{name}.isoformat()"),
    "Decimal": (DecimalDefinition, Decimal, "str({name})"),
}
"""Scalars of Strawberry: their definition, the type of a usual value, and how it is written."""

_NOTHING = (type(None), type(Undefined), Exception)
"""What is no object, even where nothing is read of one."""


class _Source:
    """Writes one function for each object of a tree, each field an entry of a dict display."""

    def __init__(self) -> None:
        self.functions: dict[str, str] = {}
        self.constants: list[Any] = []
        self._names: dict[tuple[object, ...], str] = {}
        self._numbers: dict[tuple[type, Any], str] = {}
        self._locals = 0

    def writer(self, node: ObjectNode, *, checked: bool) -> str:
        """The name of the function that writes an object; `checked`: it makes sure of the value's type."""
        keeps = node.keeps and any(inner.name == KEEPING for inner in node.type.interfaces)

        def lines() -> list[str]:
            return [
                *(self._check(node) if checked else ()),
                *(self._kept(node) if keeps else self._written(node)),
            ]

        return self._function((node, checked), lines)

    def _function(self, identity: tuple[object, ...], lines: Callable[[], list[str]]) -> str:
        """The name of a function, which is written when it is first asked for."""
        if identity not in self._names:
            name = self._names[identity] = f"o{len(self._names)}"
            self.functions[name] = ""
            self.functions[name] = "\n".join([f"def {name}(v, x):", *(f"    {line}" for line in lines())])
        return self._names[identity]

    def _check(self, node: ObjectNode) -> list[str]:
        if node.type.is_type_of is None:
            return [f"if isinstance(v, {self._constant(_NOTHING)}):", "    raise TypeError"]
        test = f"not {self._constant(node.type.is_type_of)}(v, None)"
        values = getattr(getattr(node.type.is_type_of, "__self__", None), "VALUES", None)
        if values is not None:
            test = f"type(v) is not {self._constant(values)} and {test}"
        return [f"if {test}:", "    raise TypeError"]

    def _written(self, node: ObjectNode) -> list[str]:
        lines: list[str] = []
        entries = [f"{self._constant(field.key)}: {self._value(field, lines)}" for field in node.fields]
        return [*lines, f"return {{{', '.join(entries)}}}"]

    def _kept(self, node: ObjectNode) -> list[str]:
        """The bytes of a subject, where it keeps them, by its place in the document and the arguments below it."""
        place = self._constant(object())
        arguments = "".join(f", *x[{slot + 1}].items()" for slot in node.slots)
        name = self._function((node, "written"), lambda: self._written(node))
        return [
            "kept = v.rendered",
            "if kept is None:",
            f"    return {name}(v, x)",
            f"place = ({place}{arguments},)",
            "ready = kept.get(place)",
            "if ready is None:",
            f"    ready = {self._constant(orjson.dumps)}({name}(v, x))",
            f"    if len(kept) >= {MOST_KEPT}:",
            "        del kept[next(iter(kept))]",
            "    kept[place] = ready",
            f"return {self._constant(orjson.Fragment)}(ready)",
        ]

    def _value(self, field: FieldNode, lines: list[str]) -> str:
        """The expression of a field; lists take lines of their own before it."""
        if isinstance(field.read, Constant):
            return self._constant(field.read.value)
        self._locals += 1
        name, read = f"a{self._locals}", self._read(field.key, field.read)
        nullable = get_nullable_type(field.type)
        if not isinstance(nullable, GraphQLList):
            return f"({self._expression(field, field.type, f'({name} := {read})', name)})"
        taken = [
            f"if type({name}) is not tuple and type({name}) is not list:",
            f"    {name} = {self._constant(listed)}({name})",
            f"{name} = [{self._expression(field, nullable.of_type, 'b', 'b')} for b in {name}] if {name} else []",
        ]
        lines.append(f"{name} = {read}")
        if nullable is field.type:
            taken = [f"if {name} is not None:", *(f"    {line}" for line in taken)]
        lines += taken
        return name

    def _read(self, key: str, read: Attribute | Call) -> str:
        if isinstance(read, Attribute):
            return f"v.{_name(read.name)}"
        given = [f"{_name(name)}={self._constant(value)}" for name, value in read.given.items()]
        if read.parent is not None:
            given.append(f"{_name(read.parent)}=v")
        if read.info is not None:
            asked = f"{self._constant(Asked)}(x[0], {self._constant(Key(key))})"
            given.append(f"{_name(read.info)}={asked}")
        if read.slot is not None:
            given.append(f"**x[{read.slot + 1}]")
        return f"{self._constant(read.function)}({', '.join(given)})"

    def _expression(self, field: FieldNode, of: GraphQLOutputType, value: str, name: str) -> str:
        """What a value is written as; `value` stands for it the first time, `name` from then on."""
        nullable = get_nullable_type(of)
        if isinstance(nullable, GraphQLList):
            inner = f"{name}b"
            each = self._expression(field, nullable.of_type, inner, inner)
            written = f"[{each} for {inner} in {self._constant(listed)}({{}})]"
        elif field.objects:
            written = f"{self._object(field)}({{}}, x)"
        else:
            return self._leaf(nullable, nullable is of, value, name)
        return (
            f"None if {value} is None else {written.format(name)}"
            if nullable is of
            else written.format(value)
        )

    def _object(self, field: FieldNode) -> str:
        """The name of the function for a field's objects: for several types, of one that looks which it is."""
        if len(field.objects) == 1:
            return self.writer(field.objects[0], checked=True)
        return self._function((*field.objects, "any"), lambda: self._any(field.objects))

    def _any(self, objects: tuple[ObjectNode, ...]) -> list[str]:
        lines = []
        for node in objects:
            lines.append(f"if {self._constant(node.type.is_type_of)}(v, None):")
            lines.append(f"    return {self.writer(node, checked=False)}(v, x)")
        return [*lines, "raise TypeError"]

    def _leaf(self, leaf: Any, null: bool, value: str, name: str) -> str:
        usual, written = self._usual(leaf)
        careful = f"{self._constant(partial(_leaf_value, leaf, null))}({name})"
        if null:
            usual = usual.format(value=name, name=name)
            return f"None if {value} is None else {written.format(name=name)} if {usual} else {careful}"
        return f"{written.format(name=name)} if {usual.format(value=value, name=name)} else {careful}"

    def _usual(self, leaf: Any) -> tuple[str, str]:
        """The test of a usual value of a leaf type, and how such a value is written."""
        scalar, test, written = _LEAVES.get(leaf.name, (None, "", ""))
        if leaf is scalar:
            return test, written
        definition, usual, written = _WRITTEN.get(leaf.name, (None, object, ""))
        if definition is not None and leaf.coerce_output_value is definition.serialize:
            return f"type({{value}}) is {self._constant(usual)}", written
        if isinstance(leaf, GraphQLEnumType) and (members := _named_alike(leaf)):
            return f"type({{value}}) is {self._constant(members)}", "{name}._name_"
        # A scalar that is not known here: its type says what becomes of the value.
        return f"{{value}} is {self._constant(object())}", "{name}"

    def _constant(self, value: Any) -> str:
        """The name of a constant; equal texts share one."""
        identity = (type(value), value if isinstance(value, str) else id(value))
        if identity not in self._numbers:
            self._numbers[identity] = f"k{len(self.constants)}"
            self.constants.append(value)
        return self._numbers[identity]


def _name(name: str) -> str:
    """A name of the schema's classes and functions, as source may hold it; ValueError for anything else."""
    if not name.isidentifier() or iskeyword(name):
        raise ValueError("an attribute or a parameter has a name that Python does not take")
    return name


def _named_alike(leaf: GraphQLEnumType) -> type[Enum] | None:
    """The Python enum of a GraphQL enum, where each member is written by its own name."""
    members = getattr(leaf, "wrapped_cls", None)
    if members is None or any(leaf.coerce_output_value(each) != each.name for each in members):
        return None
    found: type[Enum] = members
    return found


def _leaf_value(leaf: GraphQLLeafType, null: bool, value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    if null and (value is None or value is Undefined):
        return None
    return serialised(leaf, value)


def listed(value: Any) -> list[Any]:
    """The items of a list value that is neither list nor tuple."""
    return list(items_of(value))


# The careful walk.

Path = tuple[Any, str | int] | None
"""A response path, innermost first: the path around it and the last step; None: the whole response."""


class CarefulWalk:
    """One execution that may fail: field by field in the order of the response (GraphQL, section 6)."""

    def __init__(self, tree: Tree, context: Context, variables: VariableValues) -> None:
        self.errors: list[GraphQLError] = []
        self._tree = tree
        self._context = context
        self._variables = variables

    def data(self) -> dict[str, Any] | None:
        """The response's data; None when a field at its root may not be null and is."""
        try:
            return self._object(self._tree.root, None, None)
        except GraphQLError as error:
            self.errors.append(error)
            return None

    def _object(self, node: ObjectNode, value: Any, path: Path) -> dict[str, Any]:
        return {field.key: self._field(field, value, (path, field.key)) for field in node.fields}

    def _field(self, field: FieldNode, parent: Any, path: Path) -> Any:
        try:
            return self._complete(field, field.type, self._read(field, parent), path)
        except Exception as error:  # noqa: BLE001  # a resolver may raise anything
            return self._fail(error, field, field.type, path)

    def _read(self, field: FieldNode, parent: Any) -> Any:
        read = field.read
        if isinstance(read, Attribute):
            return getattr(parent, read.name)
        if isinstance(read, Constant):
            return read.value
        given = dict(read.given)
        if read.slot is not None:
            given |= self._tree.slots[read.slot].read(self._variables)
        if read.parent is not None:
            given[read.parent] = parent
        if read.info is not None:
            given[read.info] = Asked(self._context, Key(field.key))
        return read.function(**given)

    def _complete(self, field: FieldNode, of: GraphQLOutputType, value: Any, path: Path) -> Any:
        if isinstance(value, Exception):
            raise value
        if isinstance(of, GraphQLNonNull):
            completed = self._complete(field, of.of_type, value, path)
            if completed is None:
                raise TypeError("null where the schema has none")
            return completed
        if value is None or value is Undefined:
            return None
        if isinstance(of, GraphQLList):
            return [
                self._item(field, of.of_type, item, (path, index))
                for index, item in enumerate(items_of(value))
            ]
        if not field.objects:
            return serialised(of, value)  # type: ignore[arg-type]
        return self._object(object_of(field, value), value, path)

    def _item(self, field: FieldNode, of: GraphQLOutputType, value: Any, path: Path) -> Any:
        try:
            return self._complete(field, of, value, path)
        except Exception as error:  # noqa: BLE001  # as for a field
            return self._fail(error, field, of, path)

    def _fail(self, error: Exception, field: FieldNode, of: GraphQLOutputType, path: Path) -> None:
        """Null where null may be; elsewhere the error goes on to what holds the field (GraphQL, section 6.4.4)."""
        located = located_error(error, field.syntax, _steps(path))
        if isinstance(of, GraphQLNonNull):
            raise located
        self.errors.append(located)


def _steps(path: Path) -> list[str | int]:
    steps: list[str | int] = []
    while path is not None:
        path, step = path
        steps.append(step)
    return steps[::-1]


# What both walks do with a value.


def items_of(value: Any) -> Any:
    """The items of a list value; GraphQLError when it is none."""
    if not is_iterable(value):
        raise GraphQLError("a list is expected")
    return value


def serialised(leaf: GraphQLLeafType, value: Any) -> Any:
    """A leaf's value as the response has it; raises what the type says of a value that it does not know."""
    written = leaf.coerce_output_value(value)
    if written is None or written is Undefined:
        raise TypeError("a value became null")
    return written


def object_of(field: FieldNode, value: Any) -> ObjectNode:
    """The node for a value: of the type that it is one of, or of the only type that it may be."""
    for node in field.objects:
        if node.type.is_type_of is None or node.type.is_type_of(value, None):  # type: ignore[arg-type]
            return node
    raise TypeError("a value of another type")
