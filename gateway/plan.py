"""What an operation requires, exactly, and of nobody in particular.

A plan is compiled once per document, operation and values of the @skip/@include variables. It knows the
sections and record fields that are asked for each kind of subject; it knows no caller and no subject. The
same visitor serves every executor.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec
from graphql import (
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    is_abstract_type,
)
from strawberry.utils.str_converters import to_camel_case

from gateway.errors import Code, GatewayError
from gateway.limits import Limits
from gateway.operation import parse, select_operation, validate
from policies.catalogue import SECTION_OF, Section, fields_of
from policies.vocabulary import SubjectKind
from resolvers.subjects import KIND_TYPES

Asked = Mapping[str, int]
"""Category to the mask of the record fields asked."""


class PagePlan(msgspec.Struct, frozen=True):
    """A `records` field of a section: its response path below the subject, its parent type, its arguments."""

    path: str
    parent: str
    node: FieldNode


class LookupPlan(msgspec.Struct, frozen=True):
    """A field of the inquiry: its response key, its name (one of `LOOKUPS`) and what it asks by kind.

    `node` holds the arguments, as those of `pages` do; they are read when variables are known. What is about no
    one subject has its pages under `SubjectKind.NONE`.
    """

    key: str
    field: str
    node: FieldNode
    sections: dict[SubjectKind, Asked]
    pages: dict[SubjectKind, tuple[PagePlan, ...]]


class Plan(msgspec.Struct, frozen=True):
    """What an operation requires: at most one inquiry and its lookups, or at most one application."""

    inquiry: FieldNode | None
    lookups: tuple[LookupPlan, ...]
    application: FieldNode | None = None


LOOKUPS = ("subject", "subjects", "search", "statistics", "accessLog")
"""The fields of an inquiry that read something."""


class Prepared(msgspec.Struct, frozen=True):
    """A document, parsed and validated, with the operation to run; its plans by @skip/@include values."""

    document: DocumentNode
    operation: OperationDefinitionNode
    schema: GraphQLSchema
    switches: tuple[str, ...]
    plans: dict[tuple[bool, ...], Plan]

    def plan(self, variables: Mapping[str, object]) -> Plan:
        """The plan for these coerced variables; compiled when their switches are first seen.

        Raises BAD_VARIABLE for a switch that is null, which a default allows in the type,
        ONE_INQUIRY_PER_OPERATION and ONE_APPLICATION_PER_OPERATION.
        """
        for name in self.switches:
            if variables.get(name) is None:
                reason = "must not be null: @skip or @include reads it"
                raise GatewayError(Code.BAD_VARIABLE, field=f"${name}", reason=reason)
        values = tuple(bool(variables[name]) for name in self.switches)
        if values not in self.plans:
            if len(self.plans) >= _MAX_PLANS:
                self.plans.clear()
            self.plans[values] = _Compiler(self, dict(zip(self.switches, values, strict=True))).plan()
        return self.plans[values]


_MAX_PLANS = 16
"""Plans kept of one document: its switches may have any number of combinations."""


class Documents:
    """Parsed and validated documents by exact text and operation name: a bounded, least-recently-used cache.

    One belongs to one schema, and so to one policy bundle: a reload starts another. It holds `size` documents
    of `characters` together, as a parsed document takes more than a hundred bytes for each of its characters.
    `suggest` false: complaints name nothing of the schema that the document did not name.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits,
        *,
        suggest: bool = True,
        size: int = 1000,
        characters: int = 1_000_000,
    ) -> None:
        self._schema = schema
        self._suggest = suggest
        self._limits = limits
        self._size = size
        self._characters = characters
        self._held = 0
        self._prepared: OrderedDict[tuple[str, str | None], Prepared] = OrderedDict()

    def get(self, text: str, operation_name: str | None) -> Prepared:
        """The prepared document; `GatewayError` for one that is not allowed, not valid or not served."""
        key = (text, operation_name)
        prepared = self._prepared.get(key)
        if prepared is None:
            document = parse(text, self._limits)
            operation = select_operation(document, operation_name)
            validate(self._schema, document, suggest=self._suggest)
            switches = _switches(operation, _fragments(document))
            prepared = Prepared(document, operation, self._schema, switches, {})
            self._keep(key, prepared)
        else:
            self._prepared.move_to_end(key)
        return prepared

    def _keep(self, key: tuple[str, str | None], prepared: Prepared) -> None:
        self._prepared[key] = prepared
        self._held += len(key[0])
        while len(self._prepared) > self._size or self._held > self._characters:
            (text, _), _ = self._prepared.popitem(last=False)
            self._held -= len(text)


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }


def _switches(
    operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> tuple[str, ...]:
    """The variables that some @skip or @include of the operation, or of a fragment it reaches, reads."""
    found: dict[str, None] = {}
    reached: set[str] = set()
    waiting: list[SelectionSetNode] = [operation.selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            for directive in selection.directives or ():
                for argument in directive.arguments or ():
                    if isinstance(argument.value, VariableNode):
                        found[argument.value.name.value] = None
            if isinstance(selection, FragmentSpreadNode):
                if selection.name.value not in reached:
                    reached.add(selection.name.value)
                    waiting.append(fragments[selection.name.value].selection_set)
            elif isinstance(selection, FieldNode | InlineFragmentNode) and selection.selection_set:
                waiting.append(selection.selection_set)
    return tuple(found)


class _Compiler:
    """Collects the fields of one operation, as an executor would for each kind of subject."""

    def __init__(self, prepared: Prepared, switches: Mapping[str, bool]) -> None:
        self._operation = prepared.operation
        self._schema = prepared.schema
        self._switches = switches
        self._fragments = _fragments(prepared.document)

    def plan(self) -> Plan:
        if self._operation.operation is OperationType.MUTATION:
            return self._mutation()
        root = self._collect([self._operation.selection_set], "Query")
        inquiries = [nodes for nodes in root.values() if nodes[0].name.value == "inquiry"]
        if not inquiries:
            return Plan(None, ())
        if len(inquiries) > 1:
            raise GatewayError(Code.ONE_INQUIRY_PER_OPERATION)
        fields = self._collect(_inside(inquiries[0]), "Inquiry")
        lookups = tuple(
            self._lookup(key, nodes) for key, nodes in fields.items() if nodes[0].name.value in LOOKUPS
        )
        return Plan(inquiries[0][0], lookups)

    def _mutation(self) -> Plan:
        root = self._collect([self._operation.selection_set], "Mutation")
        applications = [nodes for nodes in root.values() if nodes[0].name.value == "recordApplication"]
        if len(applications) > 1:
            raise GatewayError(Code.ONE_APPLICATION_PER_OPERATION)
        return Plan(None, (), applications[0][0] if applications else None)

    def _lookup(self, key: str, nodes: list[FieldNode]) -> LookupPlan:
        sections: dict[SubjectKind, Asked] = {}
        pages: dict[SubjectKind, tuple[PagePlan, ...]] = {}
        if nodes[0].name.value == "accessLog":
            pages[SubjectKind.NONE] = self._pages_of(self._collect(_inside(nodes), "AccessLog"))
        elif nodes[0].name.value in ("subject", "subjects"):
            for kind, type_name in KIND_TYPES.items():
                sections[kind], pages[kind] = self._sections(nodes, kind, type_name)
        return LookupPlan(key, nodes[0].name.value, nodes[0], sections, pages)

    def _pages_of(self, fields: Mapping[str, list[FieldNode]]) -> tuple[PagePlan, ...]:
        return tuple(
            PagePlan(inner_key, "AccessLog", found[0])
            for inner_key, found in fields.items()
            if found[0].name.value == "records"
        )

    def _sections(
        self, nodes: list[FieldNode], kind: SubjectKind, type_name: str
    ) -> tuple[Asked, tuple[PagePlan, ...]]:
        asked: dict[str, int] = {}
        pages: list[PagePlan] = []
        for key, fields in self._collect(_inside(nodes), type_name).items():
            section = _SECTION_NAMED.get((fields[0].name.value, kind))
            if section is not None:
                parent = f"{section.type_name}Section"
                inner = self._collect(_inside(fields), parent)
                asked[section.category] = asked.get(section.category, 0) | self._record_fields(inner, section)
                pages += [
                    PagePlan(f"{key}.{inner_key}", parent, found[0])
                    for inner_key, found in inner.items()
                    if found[0].name.value == "records"
                ]
        return asked, tuple(pages)

    def _record_fields(self, inside: Mapping[str, list[FieldNode]], section: Section) -> int:
        """The mask of the record fields selected inside a section, through the connection's shapes."""
        records: list[FieldNode] = []
        for found in inside.values():
            match found[0].name.value:
                case "record":
                    records += found
                case "records":
                    connection = self._collect(_inside(found), f"{section.type_name}Connection")
                    for inner in connection.values():
                        match inner[0].name.value:
                            case "nodes":
                                records += inner
                            case "edges":
                                edges = self._collect(_inside(inner), f"{section.type_name}Edge")
                                records += [n for ns in edges.values() for n in ns if n.name.value == "node"]
        bits = _BITS[section.type_name]
        # The records come from several places of the answer: one response key may be another field in each.
        selected = self._collect(_inside(records), section.type_name).values()
        names = {node.name.value for nodes in selected for node in nodes}
        return sum(1 << bits[name] for name in names if name in bits)

    def _collect(self, sets: Iterable[SelectionSetNode], type_name: str) -> dict[str, list[FieldNode]]:
        """The fields that apply to an object type, by response key (GraphQL, section 6.3.2)."""
        fields: dict[str, list[FieldNode]] = {}
        visited: set[str] = set()
        for selection_set in sets:
            self._collect_into(fields, visited, selection_set, type_name)
        return fields

    def _collect_into(
        self,
        fields: dict[str, list[FieldNode]],
        visited: set[str],
        selection_set: SelectionSetNode,
        type_name: str,
    ) -> None:
        for selection in selection_set.selections:
            if not self._included(selection.directives or ()):
                continue
            if isinstance(selection, FieldNode):
                key = (selection.alias or selection.name).value
                fields.setdefault(key, []).append(selection)
                continue
            fragment: FragmentDefinitionNode | InlineFragmentNode
            if isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name in visited:
                    continue
                visited.add(name)
                fragment = self._fragments[name]
            elif isinstance(selection, InlineFragmentNode):
                fragment = selection
            condition = fragment.type_condition
            if condition is None or self._applies(condition.name.value, type_name):
                self._collect_into(fields, visited, fragment.selection_set, type_name)

    def _applies(self, condition: str, type_name: str) -> bool:
        if condition == type_name:
            return True
        abstract, concrete = self._schema.get_type(condition), self._schema.get_type(type_name)
        return is_abstract_type(abstract) and self._schema.is_sub_type(abstract, concrete)  # type: ignore[arg-type]

    def _included(self, directives: Iterable[DirectiveNode]) -> bool:
        for directive in directives:
            name = directive.name.value
            if name in ("skip", "include") and self._switched_on(directive) is (name == "skip"):
                return False
        return True

    def _switched_on(self, directive: DirectiveNode) -> bool:
        (value,) = (argument.value for argument in directive.arguments or ())
        if isinstance(value, VariableNode):
            return self._switches[value.name.value]
        return isinstance(value, BooleanValueNode) and value.value


def _inside(nodes: Iterable[FieldNode]) -> list[SelectionSetNode]:
    return [node.selection_set for node in nodes if node.selection_set is not None]


_SECTION_NAMED: dict[tuple[str, SubjectKind], Section] = {
    (to_camel_case(section.name), kind): section for (_, kind), section in SECTION_OF.items()
}
_BITS: dict[str, dict[str, int]] = {
    section.type_name: {to_camel_case(field.name): bit for bit, field in enumerate(fields_of(section.record))}
    for section in SECTION_OF.values()
}
