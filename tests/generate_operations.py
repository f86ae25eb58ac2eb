"""Random operations over a schema: aliases, merged fields, fragments, directives, variables; all of them valid.

An operation follows from its seed alone. What the random walk makes that validation or a limit refuses (fields
that cannot be merged, above all) is thrown away and drawn again.
"""

import random
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_interface_type,
)

from gateway.errors import GatewayError
from gateway.limits import Limits
from gateway.plan import Documents

APPLY = (
    '(inquiry: "00000000-0000-0000-0000-000000000000", subject: $subject, measure: "M1", category: PENALTY, '
    'decision: "D-1")'
)
ARGUMENTS = {
    ("Query", "inquiry"): (
        "(purpose: LICENSING)",
        "(purpose: $purpose)",
        '(purpose: LOAN_PRECHECK, evidence: {caseNumber: "A-1"})',
    ),
    ("Query", "permissions"): ("(purpose: LICENSING, subjectKind: ORG)",),
    ("Mutation", "recordApplication"): (APPLY,),
    ("Inquiry", "subject"): (
        '(id: {creditCode: "91990100FAKE00013D"})',
        '(id: {creditCode: "92990105FAKE00021D"})',
        '(id: {creditCode: "11990000FAKE000483"})',
        "(id: {creditCode: $code})",
        '(id: {resident: {number: "990105199912319987", name: "例失信"}})',
        "(id: $subject)",
    ),
    ("Inquiry", "subjects"): (
        '(of: [{id: {creditCode: "91990105FAKE00128U"}}])',
        '(of: [{id: {creditCode: "91990105FAKE00136N"}}, {id: {creditCode: "91990106FAKE001440"}}])',
        "(of: $subjects)",
    ),
    ("Inquiry", "search"): ('(name: "示例")', '(name: "示例", first: 2)'),
    ("Inquiry", "statistics"): ("(category: PENALTY, kind: ORG, by: [CITY, YEAR])",),
    ("Inquiry", "accessLog"): (
        '(from: "2026-01-01", until: "2026-11-20")',
        '(from: "2026-01-01", until: "2026-11-20", by: [UNIT], subject: $subject)',
    ),
}
"""The arguments to choose from, by type and field; a field that is not named here gets none, or a page."""

VARIABLES: dict[str, tuple[str, Any]] = {
    "purpose": ("Purpose!", "LICENSING"),
    "subject": ("SubjectId!", {"creditCode": "91990100FAKE00013D"}),
    "subjects": ("[SubjectRef!]!", [{"id": {"creditCode": "91990100FAKE00013D"}}]),
    "code": ("String!", "91990105FAKE00128U"),
    "page": ("Int", 3),
    "cursor": ("String", "b2Zmc2V0OjA="),
}
WILD_VALUES: dict[str, tuple[Any, ...]] = {
    "page": (1, 3, 100, 0, 1000, None, msgspec.UNSET),
    "cursor": ("b2Zmc2V0OjA=", "b2Zmc2V0OjI=", "nonsense", None, msgspec.UNSET),
}
"""What a wild operation's variables may hold; UNSET: the variable is not given."""
OTHER_ROOTS = ("permissions", "permissions", "catalogue", "purposes", "measures", "viewer", "__typename")
PAGES = ("", "", "(first: 2)", "(first: $page)")
WILD_PAGES = (
    *PAGES,
    "(first: 1, after: $cursor)",
    "(after: $cursor)",
    '(after: "b2Zmc2V0OjA=")',
    '(after: "no cursor")',
    "(first: 0)",
    "(first: $page, after: null)",
)
ALIASES = tuple("abcdefghijkl")
SIDEWAYS = ("receipt", "search", "statistics", "accessLog", "reason", "sources", "withheld", "pageInfo")
"""Composite fields that lead to no record."""
SWITCHES = ("s", "t", "u")


class Generated(msgspec.Struct, frozen=True):
    """A valid operation with its variables; `name` is given when the document holds several."""

    text: str
    name: str | None
    variables: dict[str, Any]


def operations(
    schema: GraphQLSchema,
    seeds: Iterable[int],
    *,
    documents: Documents | None = None,
    wild: bool = False,
) -> Iterator[Generated]:
    """One valid operation for each seed; a wild one is of any root field, and its pages may be out of range.

    `documents` of the same schema are where it is parsed, so that it need not be parsed again.
    """
    known = documents or Documents(schema, Limits())
    for seed in seeds:
        chosen = random.Random(seed)
        made = _Walk(schema, chosen, wild).operation()
        while not _valid(known, made):
            made = _Walk(schema, chosen, wild).operation()
        yield made


def _valid(documents: Documents, made: Generated) -> bool:
    try:
        documents.get(made.text, made.name)
    except GatewayError:
        return False
    return True


class _Walk:
    """One walk from the root, which collects the fragments and variables that it comes to need."""

    def __init__(self, schema: GraphQLSchema, chosen: random.Random, wild: bool) -> None:
        self._schema = schema
        self._wild = wild
        self._chosen = chosen
        self._fragments: dict[str, tuple[str, str]] = {}
        self._names = 0
        self._meanings: dict[str, str] = {}
        self._arguments: dict[str, str] = {}
        self._used: dict[str, None] = {}

    def operation(self) -> Generated:
        kind = "mutation" if self._wild and self._chance(0.05) else "query"
        root = self._query() if kind == "query" else self._field("Mutation", "recordApplication", 2)
        values: dict[str, Any] = {}
        declared = " ".join(self._declared(name, values) for name in self._used)
        head = f"{kind} Asked({declared})" if declared else f"{kind} Asked"
        several = self._chance(0.2)
        parts = [f"{head} {{ {root} }}", *(text for _, text in self._fragments.values())]
        if several:
            parts.append("query Other { viewer { unit } }")
        self._chosen.shuffle(parts)
        return Generated("\n".join(parts), "Asked" if several else None, values)

    def _query(self) -> str:
        key = self._key("inquiry")
        root = " ".join(
            self._field("Query", "inquiry", 9, key) for _ in range(self._chosen.choice((1, 1, 1, 2)))
        )
        if self._chance(0.3):
            root += " " + self._field("Query", "viewer", 1)
        if self._wild and self._chance(0.4):
            root += " " + self._other_root()
        if self._chance(0.2):
            root = f"... on Query {{ {root} }}"
        return root

    def _other_root(self) -> str:
        name = self._chosen.choice(OTHER_ROOTS)
        return name if name == "__typename" else self._field("Query", name, 3)

    def _declared(self, name: str, values: dict[str, Any]) -> str:
        if name in VARIABLES:
            kind, value = VARIABLES[name]
            if self._wild and name in WILD_VALUES:
                value = self._chosen.choice(WILD_VALUES[name])
            if value is not msgspec.UNSET:
                values[name] = value
            return f"${name}: {kind}"
        value, default = self._chance(0.5), self._chance(0.5)
        if self._chance(0.4):
            return f"${name}: Boolean = {str(default).lower()}"
        values[name] = value
        return f"${name}: Boolean{self._chosen.choice(('!', '! = true', ' = false'))}"

    def _chance(self, share: float) -> bool:
        return self._chosen.random() < share

    def _selections(self, kind: GraphQLNamedType, depth: int) -> str:
        return " ".join(self._selection(kind, depth) for _ in range(self._chosen.choice((1, 1, 2, 3))))

    def _selection(self, kind: GraphQLNamedType, depth: int) -> str:
        dice = self._chosen.random()
        if depth > 1 and dice < (0.5 if is_interface_type(kind) else 0.15):
            return self._fragment(kind, depth)
        if depth <= 0 or dice > 0.96:
            return f"__typename{self._directives()}"
        return self._field(kind.name, self._choose(kind), depth)

    def _choose(self, kind: GraphQLNamedType) -> str:
        """A field of the type: mostly one that leads on to records."""
        names: dict[str, GraphQLField] = kind.fields  # type: ignore[attr-defined]
        onward = [
            name
            for name, field in names.items()
            if is_composite_type(get_named_type(field.type)) and name not in SIDEWAYS
        ]
        return self._chosen.choice(onward if onward and self._chance(0.85) else list(names))

    def _key(self, name: str) -> str:
        """The field's name or an alias, which seldom stands for two fields: they could not often be merged."""
        alias = self._chosen.choice(ALIASES)
        usual = self._meanings.setdefault(alias, name) == name
        return alias if self._chance(0.4 if usual else 0.1) else name

    def _field(self, parent: str, name: str, depth: int, key: str | None = None) -> str:
        field: GraphQLField = self._schema.type_map[parent].fields[name]  # type: ignore[attr-defined]
        inner = get_named_type(field.type)
        key = key or self._key(name)
        # Fields of one response name merge only with equal arguments.
        arguments = self._arguments.setdefault(f"{parent}.{name}.{key}", self._some_arguments(parent, name))
        for variable in VARIABLES:
            if re.search(rf"\${variable}\b", arguments):
                self._used[variable] = None
        written = f"{name}{arguments}{self._directives()}"
        if key != name:
            written = f"{key}: {written}"
        return (
            f"{written} {{ {self._selections(inner, depth - 1)} }}" if is_composite_type(inner) else written
        )

    def _some_arguments(self, parent: str, name: str) -> str:
        pages = (WILD_PAGES if self._wild else PAGES) if name == "records" else ("",)
        return self._chosen.choice(ARGUMENTS.get((parent, name), pages))

    def _directives(self) -> str:
        if self._chance(0.9):
            return ""
        switch = self._chosen.choice(("true", "false", *SWITCHES))
        if switch in SWITCHES:
            self._used[switch] = None
            switch = f"${switch}"
        return f" @{self._chosen.choice(('skip', 'include', 'include'))}(if: {switch})"

    def _fragment(self, kind: GraphQLNamedType, depth: int) -> str:
        conditions = self._overlapping(kind)
        fitting = [name for name, (condition, _) in self._fragments.items() if condition in conditions]
        if fitting and self._chance(0.3):
            return f"...{self._chosen.choice(fitting)}{self._directives()}"
        condition = self._chosen.choice(conditions)
        inner = self._schema.type_map[condition]
        if self._chance(0.2):
            return f"...{self._directives()} {{ {self._selections(kind, depth - 1)} }}"
        if self._chance(0.6):
            return f"... on {condition}{self._directives()} {{ {self._selections(inner, depth - 1)} }}"
        self._names += 1
        name = f"F{self._names}"
        # Known to others only when it is complete, so that no fragment spreads itself.
        body = self._selections(inner, depth - 1)
        self._fragments[name] = (condition, f"fragment {name} on {condition} {{ {body} }}")
        return f"...{name}{self._directives()}"

    def _overlapping(self, kind: GraphQLNamedType) -> list[str]:
        """The types that a fragment may name where `kind` is selected."""
        possible = self._possible(kind)
        return sorted(
            name
            for name, other in self._schema.type_map.items()
            if is_composite_type(other) and not name.startswith("__") and possible & self._possible(other)
        )

    def _possible(self, kind: GraphQLNamedType) -> set[str]:
        if is_abstract_type(kind):
            return {inner.name for inner in self._schema.get_possible_types(kind)}
        return {kind.name}
