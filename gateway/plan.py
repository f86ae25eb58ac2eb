"""What an operation requires, exactly, and of nobody in particular.

A plan is compiled once per document, operation and values of the @skip/@include variables. It knows the
sections and record fields that are asked for each kind of subject; it knows no caller and no subject. The
same visitor serves every executor.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from graphql import DocumentNode, FieldNode, GraphQLSchema, OperationDefinitionNode, OperationType
from graphql.execution.values import VariableValues
from strawberry.utils.str_converters import to_camel_case

from gateway.compiler import Compiled, Uncompiled, compile_operation, not_compiled
from gateway.errors import Code, GatewayError
from gateway.limits import Limits
from gateway.operation import parse, select_operation, validate
from gateway.selection import Selection, switches_of
from gateway.variables import VariableReader
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
    one subject has its pages under `SubjectKind.NONE`. `sound` are the kinds whose pages are constant and were found
    right.
    """

    key: str
    field: str
    node: FieldNode
    sections: dict[SubjectKind, Asked]
    pages: dict[SubjectKind, tuple[PagePlan, ...]]
    sound: set[SubjectKind] = msgspec.field(default_factory=set)


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
    uncompiled: str | None
    """Why the operation runs on the reference whatever its switches; None: it does not."""
    forms: dict[tuple[bool, ...], Compiled | Uncompiled] = msgspec.field(default_factory=dict)
    kept: dict[object, Any] = msgspec.field(default_factory=dict)
    """What else follows from the document alone, by what it is; as bounded as the document."""

    def plan(self, variables: Mapping[str, object]) -> Plan:
        """The plan for these coerced variables; compiled when their switches are first seen.

        Raises BAD_VARIABLE for a switch that is null, which a default allows in the type,
        ONE_INQUIRY_PER_OPERATION and ONE_APPLICATION_PER_OPERATION.
        """
        values = self._switched(variables)
        if values not in self.plans:
            if len(self.plans) >= _MAX_PLANS:
                self.plans.clear()
            self.plans[values] = _Planner(self, dict(zip(self.switches, values, strict=True))).plan()
        return self.plans[values]

    def compiled(self, variables: Mapping[str, object]) -> Compiled | Uncompiled:
        """How the operation is executed with these coerced variables; decided when their switches are first seen.

        Raises BAD_VARIABLE as `plan` does.
        """
        values = self._switched(variables)
        form = self.forms.get(values)
        if form is None:
            if len(self.forms) >= _MAX_PLANS:
                return _TOO_MANY
            switches = dict(zip(self.switches, values, strict=True))
            form = compile_operation(self.document, self.operation, self.schema, switches)
            self.forms[values] = form
        return form

    def coerce(self, given: Mapping[str, Any]) -> VariableValues | None:
        """The variables as `coerce_variables` gives them, in the common case; None: ask that one."""
        reader: VariableReader | None = self.kept.get(VariableReader)
        if reader is None:
            reader = self.kept[VariableReader] = VariableReader(self.schema, self.operation)
        return reader.read(given)

    @property
    def form(self) -> str:
        """What metrics call it: "compiled", or "reference" where some form of it has to run there."""
        if self.uncompiled is not None or any(isinstance(form, Uncompiled) for form in self.forms.values()):
            return "reference"
        return "compiled"

    def _switched(self, variables: Mapping[str, object]) -> tuple[bool, ...]:
        for name in self.switches:
            if variables.get(name) is None:
                reason = "must not be null: @skip or @include reads it"
                raise GatewayError(Code.BAD_VARIABLE, field=f"${name}", reason=reason)
        return tuple(bool(variables[name]) for name in self.switches)


_MAX_PLANS = 16
"""Plans kept of one document: its switches may have any number of combinations."""

_TOO_MANY = Uncompiled(f"its switches came in more than {_MAX_PLANS} combinations")


SHORT = 2_000
"""Characters of the longest document that is read on the loop: its others wait for less than 10 ms."""

_BESIDE = ThreadPoolExecutor(max_workers=1, thread_name_prefix="documents")
# One thread: with several at work at once the loop would wait for each of them in turn.


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

    def __len__(self) -> int:
        """How many documents are held."""
        return len(self._prepared)

    def known(self, text: str, operation_name: str | None) -> Prepared | None:
        """The prepared document, where it is held."""
        key = (text, operation_name)
        prepared = self._prepared.get(key)
        if prepared is not None:
            self._prepared.move_to_end(key)
        return prepared

    def get(self, text: str, operation_name: str | None) -> Prepared:
        """The prepared document; `GatewayError` for one that is not allowed, not valid or not served."""
        return self.known(text, operation_name) or self._keep(
            (text, operation_name), self._prepare(text, operation_name)
        )

    async def prepare(self, text: str, operation_name: str | None) -> Prepared:
        """As `get`, for a document that is not held: a long one is read beside the loop, whose other requests go on."""
        if len(text) <= SHORT:
            return self.get(text, operation_name)
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(_BESIDE, self._prepare, text, operation_name)
        return self.known(text, operation_name) or self._keep((text, operation_name), prepared)

    def _prepare(self, text: str, operation_name: str | None) -> Prepared:
        document = parse(text, self._limits)
        operation = select_operation(document, operation_name)
        validate(self._schema, document, suggest=self._suggest)
        switches = switches_of(document, operation)
        return Prepared(document, operation, self._schema, switches, {}, not_compiled(document, operation))

    def _keep(self, key: tuple[str, str | None], prepared: Prepared) -> Prepared:
        self._prepared[key] = prepared
        self._held += len(key[0])
        while len(self._prepared) > self._size or self._held > self._characters:
            (text, _), _ = self._prepared.popitem(last=False)
            self._held -= len(text)
        return prepared


class _Planner:
    """Collects the fields of one operation, as an executor would for each kind of subject."""

    def __init__(self, prepared: Prepared, switches: Mapping[str, bool]) -> None:
        self._operation = prepared.operation
        self._selection = Selection(prepared.document, prepared.operation, prepared.schema, switches)

    def plan(self) -> Plan:
        if self._operation.operation is OperationType.MUTATION:
            return self._mutation()
        root = self._selection.root("Query")
        inquiries = [nodes for nodes in root.values() if nodes[0].name.value == "inquiry"]
        if not inquiries:
            return Plan(None, ())
        if len(inquiries) > 1:
            raise GatewayError(Code.ONE_INQUIRY_PER_OPERATION)
        fields = self._selection.inside(inquiries[0], "Inquiry")
        lookups = tuple(
            self._lookup(key, nodes) for key, nodes in fields.items() if nodes[0].name.value in LOOKUPS
        )
        return Plan(inquiries[0][0], lookups)

    def _mutation(self) -> Plan:
        root = self._selection.root("Mutation")
        applications = [nodes for nodes in root.values() if nodes[0].name.value == "recordApplication"]
        if len(applications) > 1:
            raise GatewayError(Code.ONE_APPLICATION_PER_OPERATION)
        return Plan(None, (), applications[0][0] if applications else None)

    def _lookup(self, key: str, nodes: list[FieldNode]) -> LookupPlan:
        sections: dict[SubjectKind, Asked] = {}
        pages: dict[SubjectKind, tuple[PagePlan, ...]] = {}
        if nodes[0].name.value == "accessLog":
            pages[SubjectKind.NONE] = self._pages_of(self._selection.inside(nodes, "AccessLog"))
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
        for key, fields in self._selection.inside(nodes, type_name).items():
            section = _SECTION_NAMED.get((fields[0].name.value, kind))
            if section is not None:
                parent = f"{section.type_name}Section"
                inner = self._selection.inside(fields, parent)
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
                    connection = self._selection.inside(found, f"{section.type_name}Connection")
                    for inner in connection.values():
                        match inner[0].name.value:
                            case "nodes":
                                records += inner
                            case "edges":
                                edges = self._selection.inside(inner, f"{section.type_name}Edge")
                                records += [n for ns in edges.values() for n in ns if n.name.value == "node"]
        bits = _BITS[section.type_name]
        # The records come from several places of the answer: one response key may be another field in each.
        selected = self._selection.inside(records, section.type_name).values()
        names = {node.name.value for nodes in selected for node in nodes}
        return sum(1 << bits[name] for name in names if name in bits)


_SECTION_NAMED: dict[tuple[str, SubjectKind], Section] = {
    (to_camel_case(section.name), kind): section for (_, kind), section in SECTION_OF.items()
}
_BITS: dict[str, dict[str, int]] = {
    section.type_name: {to_camel_case(field.name): bit for bit, field in enumerate(fields_of(section.record))}
    for section in SECTION_OF.values()
}
