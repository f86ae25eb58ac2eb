"""The schema as a caller may see it: cut to what its type and token may ever use.

Only what introspection and the printed schema show is cut. Documents are validated and executed against the
full schema, so that a query for more is answered with the denial that explains itself.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import product
from typing import Any

import msgspec
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_introspection_type,
    is_required_argument,
    is_required_input_field,
)
from strawberry.utils.str_converters import to_camel_case

from gateway.validation import PURPOSE_ENUM
from policies.access_log import CATEGORY as LOG
from policies.caller import Caller
from policies.catalogue import SECTION_OF, SECTIONS, fields_of
from policies.evidence import EVIDENCE_FIELDS, Evidence
from policies.table import Cell, Table
from policies.vocabulary import Level, SubjectKind
from resolvers.subjects import KIND_TYPES

_NO_RECORDS = frozenset({Level.SCHEMA_ONLY, Level.AGGREGATE})
"""Levels that are another shape of answer than a subject's records."""


class TokenLimits(msgspec.Struct, frozen=True):
    """What a token limits: its caller type, and the purposes and categories that it allows (None: all)."""

    caller_type: str
    purposes: frozenset[str] | None = None
    categories: frozenset[str] | None = None


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What some rule gives within the limits of a token, whatever the subject and the evidence.

    `fields` maps kind and category to the mask of the record fields, 0 where the category has no section.
    `kinds` and `categories` are reached by any rule at all; `statistics` says whether one of them gives counts,
    `measures` whether units of the type may take measures of the list.
    """

    purposes: frozenset[str]
    kinds: frozenset[SubjectKind]
    categories: frozenset[str]
    fields: Mapping[tuple[SubjectKind, str], int]
    evidence: frozenset[str]
    statistics: bool
    measures: bool


def reach(table: Table, limits: TokenLimits) -> Reach:
    """The union over the purposes of all that the rules in force give.

    A rule at level SCHEMA_ONLY gives the schema itself: the categories it names are reached whole, and with
    them every purpose, kind, statistic and piece of evidence.
    """
    purposes, kinds, categories, evidence = set[str](), set[SubjectKind](), set[str](), set[str]()
    fields: dict[tuple[SubjectKind, str], int] = {}
    levels: set[Level] = set()
    for purpose, cell in _cells(table, limits):
        purposes.add(purpose)
        kinds.add(cell.kind)
        categories.add(cell.category)
        levels.add(cell.level)
        evidence.update(_evidence_of(table, cell))
        if cell.level is Level.SCHEMA_ONLY:
            fields |= {place: _every_field(place) for place in _whole(table, cell.category)}
        elif cell.level not in _NO_RECORDS:
            place = (cell.kind, cell.category)
            fields[place] = fields.get(place, 0) | cell.fields
    whole = Level.SCHEMA_ONLY in levels
    caller_type = table.bundle.callers.get(limits.caller_type)
    return Reach(
        purposes=frozenset(table.purposes if whole else purposes),
        kinds=frozenset(SubjectKind if whole else kinds),
        categories=frozenset(categories),
        fields=fields,
        evidence=frozenset(field.name for field in EVIDENCE_FIELDS) if whole else frozenset(evidence),
        statistics=whole or Level.AGGREGATE in levels,
        measures=whole or bool(levels and caller_type and caller_type.department),
    )


def _cells(table: Table, limits: TokenLimits) -> Iterator[tuple[str, Cell]]:
    for purpose, kind, category in product(
        _within(table.purposes, limits.purposes), SubjectKind, _within(table.categories, limits.categories)
    ):
        cell = table.cell(limits.caller_type, purpose, kind, category)
        if isinstance(cell, Cell):
            yield purpose, cell


def _within(codes: Collection[str], allowed: frozenset[str] | None) -> list[str]:
    return [code for code in codes if allowed is None or code in allowed]


def _evidence_of(table: Table, cell: Cell) -> Iterator[str]:
    for code in (*cell.rule.conditions, *cell.rule.obligations):
        for alternative in table.bundle.conditions[code].evidence:
            yield from alternative


def _whole(table: Table, category: str) -> Iterator[tuple[SubjectKind, str]]:
    return ((kind, category) for kind in table.bundle.categories[category].subjects)


def _every_field(place: tuple[SubjectKind, str]) -> int:
    kind, category = place
    section = SECTION_OF.get((category, kind))
    return (1 << len(fields_of(section.record))) - 1 if section else 0


def visible_schema(schema: GraphQLSchema, table: Table, limits: TokenLimits) -> GraphQLSchema:
    """The part of the schema that a token with these limits may ever use; it is read, never executed."""
    return _cut(schema, frozenset(_hidden(schema, reach(table, limits))))


def _hidden(schema: GraphQLSchema, reached: Reach) -> Iterator[str]:
    """Coordinates of what is not to be seen (`Type.field`, `Enum.VALUE`, or a type); the rest follows."""
    values = {
        PURPOSE_ENUM: reached.purposes,
        "Category": reached.categories,
        SubjectKind.__name__: reached.kinds,
    }
    for name, seen in values.items():
        yield from (f"{name}.{value}" for value in _members(schema.type_map[name]) if value not in seen)
    yield from (
        f"{Evidence.__name__}.{to_camel_case(field.name)}"
        for field in EVIDENCE_FIELDS
        if field.name not in reached.evidence
    )
    with_records = {kind for kind, _ in reached.fields}
    yield from (type_name for kind, type_name in KIND_TYPES.items() if kind not in with_records)
    if SubjectKind.NP not in with_records:
        yield "SubjectId.resident"
    if with_records <= {SubjectKind.NP}:
        for name in ("SubjectId", "OrganisationId"):
            yield from (f"{name}.{member}" for member in ("creditCode", "registrationNumber"))
    yield from _hidden_sections(reached)
    found = _names_reached(reached, "Registration", SubjectKind.ORG)
    if not set(_members(schema.type_map["OrganisationHit"])) <= found:
        yield "Inquiry.search"
    if not reached.statistics:
        yield "Inquiry.statistics"
    if all(category != LOG for _, category in reached.fields):
        yield "Inquiry.accessLog"
    if not reached.measures:
        yield "Mutation.recordApplication"


def _hidden_sections(reached: Reach) -> Iterator[str]:
    for section in SECTIONS:
        for kind in section.kinds:
            if (kind, section.category) not in reached.fields:
                yield f"{KIND_TYPES[kind]}.{to_camel_case(section.name)}"
        seen = _names_reached(reached, section.type_name, *section.kinds)
        for field in fields_of(section.record):
            name = to_camel_case(field.name)
            if name not in seen:
                yield f"{section.type_name}.{name}"


def _names_reached(reached: Reach, type_name: str, *kinds: SubjectKind) -> set[str]:
    """The record's fields, in the schema's names, that are reached for one of these kinds at least."""
    (section,) = (section for section in SECTIONS if section.type_name == type_name)
    mask = 0
    for kind in kinds:
        mask |= reached.fields.get((kind, section.category), 0)
    return {
        to_camel_case(field.name) for bit, field in enumerate(fields_of(section.record)) if mask >> bit & 1
    }


# The cut itself knows no policy: from the hidden coordinates follows what has lost its meaning without them.

_Composite = GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType


def _members(named: GraphQLNamedType) -> dict[str, Any]:
    """Fields of a type, or values of an enum, by name."""
    if isinstance(named, _Composite):
        return dict(named.fields)
    return dict(named.values) if isinstance(named, GraphQLEnumType) else {}


def _cut(schema: GraphQLSchema, hidden: frozenset[str]) -> GraphQLSchema:
    """The schema without these coordinates and without all that cannot be valid or reached without them."""
    names = frozenset(name for name in schema.type_map if name not in hidden)
    while True:
        pruning = _Pruning(schema, hidden, names)
        left = frozenset(name for name in pruning.reachable() if pruning.is_usable(name))
        if left == names:
            # Only now it is known which objects share the fields of an interface.
            left = frozenset(name for name in names if not pruning.is_bare(name))
        if left == names:
            return _Rebuilding(schema, pruning).schema()
        names = left


class _Pruning:
    """The members that stay when of all types only `names` do."""

    def __init__(self, schema: GraphQLSchema, hidden: frozenset[str], names: frozenset[str]) -> None:
        self.names = names
        self._schema = schema
        self._hidden = hidden

    def members(self, named: GraphQLNamedType) -> dict[str, Any]:
        """The members of a type that stay; of an interface those that all its objects have."""
        mine = {key: each for key, each in _members(named).items() if self._stays(named.name, key, each)}
        if isinstance(named, GraphQLInterfaceType):
            objects = [self.members(inner) for inner in self.objects_of(named)]
            mine = {key: each for key, each in mine.items() if all(key in fields for fields in objects)}
        return mine

    def objects_of(self, abstract: GraphQLInterfaceType | GraphQLUnionType) -> list[GraphQLObjectType]:
        """The object types that stay of an abstract type."""
        return [inner for inner in self._schema.get_possible_types(abstract) if inner.name in self.names]

    def interfaces(self, named: GraphQLObjectType | GraphQLInterfaceType) -> list[GraphQLInterfaceType]:
        """The interfaces of a type that stay."""
        return [inner for inner in named.interfaces if inner.name in self.names]

    def arguments(self, field: GraphQLField) -> dict[str, GraphQLArgument]:
        """The arguments that stay of a field."""
        return {name: given for name, given in field.args.items() if self._is_kept(given)}

    def reachable(self) -> set[str]:
        """The types that an operation can come to, by what stays, and the interfaces that they have."""
        roots = (self._schema.query_type, self._schema.mutation_type)
        waiting = [root.name for root in roots if root is not None]
        waiting += [
            get_named_type(given.type).name
            for directive in self._schema.directives
            for given in directive.args.values()
        ]
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in found and name in self.names:
                found.add(name)
                waiting += self._next(self._schema.type_map[name])
        objects = [self._schema.type_map[name] for name in found]
        return found.union(
            inner.name
            for named in objects
            if isinstance(named, GraphQLObjectType)
            for inner in self.interfaces(named)
        )

    def is_usable(self, name: str) -> bool:
        """Whether a type can be filled; an interface when some object has it."""
        named = self._schema.type_map[name]
        if isinstance(named, GraphQLInterfaceType | GraphQLUnionType):
            return bool(self.objects_of(named))
        if isinstance(named, GraphQLInputObjectType):
            kept = self.members(named)
            return bool(kept) and all(
                key in kept for key, field in named.fields.items() if is_required_input_field(field)
            )
        return not self.is_bare(name)

    def is_bare(self, name: str) -> bool:
        """Whether a type that must have members has none left."""
        named = self._schema.type_map[name]
        return bool(_members(named)) and not self.members(named)

    def _next(self, named: GraphQLNamedType) -> Iterator[str]:
        if isinstance(named, GraphQLInterfaceType | GraphQLUnionType):
            # Its own fields are fields of every object of it.
            yield from (inner.name for inner in self.objects_of(named))
            return
        for member in self.members(named).values():
            if isinstance(member, GraphQLField | GraphQLInputField):
                yield get_named_type(member.type).name
            if isinstance(member, GraphQLField):
                yield from (get_named_type(given.type).name for given in self.arguments(member).values())

    def _stays(self, type_name: str, key: str, member: object) -> bool:
        if f"{type_name}.{key}" in self._hidden:
            return False
        if isinstance(member, GraphQLField):
            required = (given for given in member.args.values() if is_required_argument(given))
            return self._is_kept(member) and all(map(self._is_kept, required))
        return not isinstance(member, GraphQLInputField) or self._is_kept(member)

    def _is_kept(self, member: GraphQLField | GraphQLInputField | GraphQLArgument) -> bool:
        return get_named_type(member.type).name in self.names


class _Rebuilding:
    """The types of a schema made anew with the members that stay, without resolvers."""

    def __init__(self, schema: GraphQLSchema, pruning: _Pruning) -> None:
        self._full = schema
        self._pruning = pruning
        self._made: dict[str, Any] = {
            name: self._type(named) for name, named in schema.type_map.items() if name in pruning.names
        }

    def schema(self) -> GraphQLSchema:
        """The schema of the types that stay."""
        full = self._full
        return GraphQLSchema(
            query=self._made["Query"],
            mutation=self._made.get(full.mutation_type.name) if full.mutation_type else None,
            types=list(self._made.values()),
            directives=full.directives,
            description=full.description,
        )

    def _type(self, named: GraphQLNamedType) -> GraphQLNamedType:
        members, described = self._pruning.members(named), named.description
        match named:
            case GraphQLObjectType() | GraphQLInterfaceType():
                # The types of fields may be made later.
                return type(named)(
                    named.name,
                    lambda: {name: self._field(field) for name, field in members.items()},
                    interfaces=lambda: [self._made[inner.name] for inner in self._pruning.interfaces(named)],
                    description=described,
                )
            case GraphQLInputObjectType():
                return GraphQLInputObjectType(
                    named.name,
                    lambda: {name: self._given(field) for name, field in members.items()},
                    description=described,
                    # Strawberry has `isOneOf` read from here, whatever the type itself says.
                    extensions=named.extensions,
                    is_one_of=named.is_one_of,
                )
            case GraphQLUnionType():
                return GraphQLUnionType(
                    named.name,
                    lambda: [self._made[inner.name] for inner in self._pruning.objects_of(named)],
                    description=described,
                )
            case GraphQLEnumType() if len(members) < len(named.values):
                return GraphQLEnumType(named.name, members, description=described)
        return named

    def _field(self, field: GraphQLField) -> GraphQLField:
        given = {name: self._given(argument) for name, argument in self._pruning.arguments(field).items()}
        return GraphQLField(
            self._again(field.type),
            given,
            description=field.description,
            deprecation_reason=field.deprecation_reason,
        )

    def _given(self, given: Any) -> Any:
        """An argument or input field with its type as it is now."""
        return type(given)(**{**given.to_kwargs(), "type_": self._again(given.type)})

    def _again(self, wrapped: Any) -> Any:
        """The type as it is now, in the same lists and non-nulls."""
        if isinstance(wrapped, GraphQLNonNull | GraphQLList):
            return type(wrapped)(self._again(wrapped.of_type))
        return self._made[wrapped.name]


# What a request is shown.

_INTROSPECTS = re.compile(r"__(schema|type)\b")


def introspects(document: str) -> bool:
    """Whether a document may ask for the schema: names are written as they are, or not at all."""
    return _INTROSPECTS.search(document) is not None


class Views:
    """The cut schemas of one full schema, by the limits of tokens: the `size` that were used last."""

    def __init__(self, schema: GraphQLSchema, *, size: int = 64) -> None:
        self._schema = schema
        self._size = size
        self._kept: OrderedDict[tuple[int, TokenLimits], GraphQLSchema] = OrderedDict()

    def of(self, table: Table, caller: Caller) -> GraphQLSchema:
        """What the caller may see by the rules in force; `table` is one of the policy's own."""
        limits = TokenLimits(caller.type, caller.purposes, caller.categories)
        # A policy keeps its tables as long as its views, so that no other gets the same number.
        key = (id(table), limits)
        seen = self._kept.get(key)
        if seen is None:
            seen = self._kept[key] = visible_schema(self._schema, table, limits)
        self._kept.move_to_end(key)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return seen


def showing(schema: GraphQLSchema) -> Callable[..., Any]:
    """A middleware of the execution: whatever introspects finds this schema in place of the executed one."""

    def look(resolve: Callable[..., Any], root: Any, info: GraphQLResolveInfo[Any], **given: Any) -> Any:
        if info.field_name in ("__schema", "__type") or is_introspection_type(info.parent_type):
            info = info._replace(schema=schema)
        return resolve(root, info, **given)

    return look
