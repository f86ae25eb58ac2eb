"""One operation by both forms, and what the two say of it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import graphql
import msgspec
import orjson
from fuzz_answers import Answers
from generate_operations import Generated
from graphql import (
    ArgumentNode,
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableNode,
    Visitor,
    get_named_type,
    get_nullable_type,
    is_enum_type,
    is_interface_type,
    is_leaf_type,
    is_list_type,
)
from graphql.execution.values import VariableValues

from gateway.app import load_bundle
from gateway.compiler import Compiled, failure_of
from gateway.errors import GatewayError
from gateway.limits import Limits
from gateway.operation import coerce_variables
from gateway.plan import Documents, Prepared
from resolvers.schema import Context, build_schema

SCHEMA = build_schema(load_bundle("example"))._schema
DOCUMENTS = Documents(SCHEMA, Limits())

CORPUS = Path(__file__).parent / "corpus"
CALLERS: Mapping[str, dict[str, Any]] = {
    "market-regulation-bureau": {"purpose": "SUPERVISION", "evidence": {"inspectionPlanNumber": "I-1"}},
    "public": {"purpose": "PUBLIC_VIEW"},
    "subject-portal": {"purpose": "SELF"},
}
"""Clients of the sandbox, each with the purpose and evidence that it declares in the corpus."""


class Said(msgspec.Struct, frozen=True):
    """An answer: the bytes of its data, and each failure without its incident number, in order.

    The specification leaves free which of several errors below one nulled parent is told, and in which order. This
    comparison leaves nothing free: both forms go through the fields in the same order.
    """

    data: bytes
    failures: tuple[Any, ...]


def said(data: bytes, failures: tuple[GatewayError, ...]) -> Said:
    return Said(
        data,
        tuple(
            (
                failure.code,
                failure.message,
                tuple(failure.path or ()),
                failure.locations,
                {name: value for name, value in failure.details.items() if name != "incident"},
            )
            for failure in failures
        ),
    )


def by_reference(prepared: Prepared, name: str | None, variables: dict[str, Any], context: Any) -> Said:
    result = graphql.execute_sync(
        prepared.schema,
        prepared.document,
        context_value=context,
        variable_values=variables,
        operation_name=name,
    )
    return said(orjson.dumps(result.data), tuple(failure_of(error) for error in result.errors or ()))


def by_compiled(compiled: Compiled, context: Context, variables: VariableValues) -> Iterator[Said]:
    """What the compiled form says: walked or quick, as it comes, then quick, then from kept bytes where there are any."""
    for _ in range(3):
        yield said(*compiled.execute(context, variables))


class Tally(msgspec.Struct):
    """What a comparison has met; `quick`: sound answers that the quick walk gave by itself."""

    operations: int = 0
    compiled: int = 0
    answers: int = 0
    with_failures: int = 0
    quick: int = 0
    refused: int = 0


def differences(
    made: Generated, seed: int, tally: Tally, *, faults: tuple[float, ...] = (0.0, 0.02, 0.25)
) -> list[str]:
    """The answers on which the two forms do not agree, in words; with every share of faults, keeping bytes and not."""
    prepared = DOCUMENTS.get(made.text, made.name)
    variables = coerce_variables(SCHEMA, prepared.operation, dict(made.variables))
    tally.operations += 1
    try:
        plan = prepared.plan(variables.coerced)
    except GatewayError:
        tally.refused += 1
        return []
    quick = prepared.coerce(made.variables)
    found = (
        []
        if quick is None or quick.coerced == variables.coerced
        else [f"seed {seed}: variables\n{made.text}"]
    )
    compiled = prepared.compiled(variables.coerced)
    if not isinstance(compiled, Compiled):
        return found
    tally.compiled += 1
    for number, share in enumerate(faults):
        context = Answers(seed * 31 + number, faults=share, keeping=(seed + number) % 2 == 0).context(plan)
        expected = by_reference(prepared, made.name, made.variables, context)
        tally.answers += 1
        tally.with_failures += bool(expected.failures)
        for given in by_compiled(compiled, context, variables):
            if given != expected:
                found.append(
                    f"seed {seed}, faults {share}:\n{made.text}\n{made.variables}\n"
                    f"reference {expected}\ncompiled  {given}"
                )
        frame = None if share or expected.failures else _frame(compiled, context, variables)
        if frame is not None and compiled.quick is not None:
            # The careful walk would hide a quick one that never gets through.
            if orjson.dumps(compiled.quick(None, frame)) != expected.data:
                found.append(f"seed {seed}: the quick walk differs:\n{made.text}")
            tally.quick += 1
    return found


def _frame(compiled: Compiled, context: Context, variables: VariableValues) -> tuple[Any, ...] | None:
    """What the quick walk needs; None where a page is wrong that no value of the answer leads to."""
    try:
        return (context, *(slot.read(variables) for slot in compiled.tree.slots))
    except graphql.GraphQLError:
        return None


class Written(msgspec.Struct, frozen=True):
    """A document of the corpus; its head says what it is about and how it is asked."""

    name: str
    text: str
    about: dict[str, str]

    @property
    def operation(self) -> str | None:
        return self.about.get("operation")

    def variables(self, client: str) -> dict[str, Any]:
        """Its variables with those of the client, as far as it declares them."""
        own: dict[str, Any] = json.loads(self.about.get("variables", "{}"))
        declared = {name: value for name, value in CALLERS[client].items() if f"${name}:" in self.text}
        return declared | own


def corpus() -> list[Written]:
    return [_written(path) for path in sorted(CORPUS.glob("*.graphql"))]


def _written(path: Path) -> Written:
    text = path.read_text("utf-8")
    head = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    about = {name: value for name, _, value in (line.partition(": ") for line in head[1:])}
    return Written(path.stem, text, {"about": head[0], **about})


def on_the_reference(text: str, name: str | None) -> str:
    """The same operation, which names the schema too, and then skips it: so it runs on the reference."""
    (probe,) = graphql.parse("{ __schema @skip(if: true) { __typename } }").definitions
    assert isinstance(probe, OperationDefinitionNode)
    definitions = []
    for each in graphql.parse(text).definitions:
        if isinstance(each, OperationDefinitionNode) and name in (None, each.name and each.name.value):
            each = OperationDefinitionNode(
                operation=each.operation,
                name=each.name,
                variable_definitions=each.variable_definitions,
                selection_set=SelectionSetNode(
                    selections=(*each.selection_set.selections, *probe.selection_set.selections)
                ),
            )
        definitions.append(each)
    return graphql.print_ast(DocumentNode(definitions=tuple(definitions)))


# What an operation uses.

ROOTS = ("inquiry", "catalogue", "purposes", "measures", "permissions", "viewer", "recordApplication")
LOOKUPS = ("subject", "subjects", "search", "statistics", "accessLog", "receipt")
CONNECTION = ("edges", "nodes", "pageInfo", "totalCount", "cursor")
SCALARS = ("String", "ID", "Int", "Float", "Boolean", "Date", "DateTime", "Decimal")
FEATURES = frozenset(
    {
        *(f"root {name}" for name in ROOTS),
        *(f"lookup {name}" for name in LOOKUPS),
        *(f"connection {name}" for name in CONNECTION),
        *(f"scalar {name}" for name in SCALARS),
        "enum",
        "list of scalars",
        "list of lists",
        "alias",
        "merged fields",
        "__typename",
        "literal argument",
        "variable argument",
        "variable inside an input",
        "variable with a default",
        "fragment spread",
        "inline fragment on an object",
        "inline fragment on an interface",
        "inline fragment without a condition",
        "single section",
        "section with pages",
        "skip by literal",
        "skip by variable",
        "include by literal",
        "include by variable",
        "several operations",
    }
)
"""What the corpus has to hold, and the generator to reach, all of it."""


def features_of(schema: GraphQLSchema, document: DocumentNode) -> set[str]:
    info = TypeInfo(schema)
    seen = _Seen(info)
    graphql.visit(document, TypeInfoVisitor(info, seen))
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    if len(operations) > 1:
        seen.found.add("several operations")
    return seen.found


class _Seen(Visitor):
    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._info = info

    def enter_field(self, node: FieldNode, *_args: Any) -> None:
        name = node.name.value
        parent, definition = self._info.get_parent_type(), self._info.get_field_def()
        if node.alias is not None:
            self.found.add("alias")
        if name == "__typename":
            self.found.add("__typename")
        if parent is None or definition is None or name.startswith("__"):
            return
        if parent.name in ("Query", "Mutation"):
            self.found.add(f"root {name}")
        if parent.name == "Inquiry":
            self.found.add(f"lookup {name}")
        if name in CONNECTION:
            self.found.add(f"connection {name}")
        if parent.name.endswith("Section") and name in ("record", "records"):
            self.found.add("single section" if name == "record" else "section with pages")
        self._leaf(definition.type)

    def _leaf(self, of: Any) -> None:
        named, inner = get_named_type(of), get_nullable_type(of)
        if not is_leaf_type(named):
            return
        self.found.add("enum" if is_enum_type(named) else f"scalar {named.name}")
        if is_list_type(inner):
            nested = is_list_type(get_nullable_type(inner.of_type))
            self.found.add("list of lists" if nested else "list of scalars")

    def enter_selection_set(self, node: SelectionSetNode, *_args: Any) -> None:
        fields = [each for each in node.selections if isinstance(each, FieldNode)]
        keys = [(each.alias or each.name).value for each in fields]
        if len(set(keys)) < len(keys):
            self.found.add("merged fields")

    def enter_argument(self, node: ArgumentNode, _key: Any, _parent: Any, _path: Any, ancestors: Any) -> None:
        if not any(isinstance(each, DirectiveNode) for each in ancestors):
            self.found.add(
                "variable argument" if isinstance(node.value, VariableNode) else "literal argument"
            )

    def enter_object_field(self, node: Any, *_args: Any) -> None:
        if isinstance(node.value, VariableNode):
            self.found.add("variable inside an input")

    def enter_variable_definition(self, node: Any, *_args: Any) -> None:
        if node.default_value is not None:
            self.found.add("variable with a default")

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_args: Any) -> None:
        self.found.add("fragment spread")

    def enter_inline_fragment(self, node: InlineFragmentNode, *_args: Any) -> None:
        if node.type_condition is None:
            self.found.add("inline fragment without a condition")
        else:
            kind = "interface" if is_interface_type(self._info.get_type()) else "object"
            self.found.add(f"inline fragment on an {kind}")

    def enter_directive(self, node: DirectiveNode, *_args: Any) -> None:
        (argument,) = node.arguments or ()
        kind = "literal" if isinstance(argument.value, BooleanValueNode) else "variable"
        self.found.add(f"{node.name.value} by {kind}")
