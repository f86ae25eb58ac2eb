"""Which fields of an operation apply to an object: the one collector of the plan and of the compiled form.

A selection belongs to one operation and one set of @skip/@include values. It answers with syntax nodes; what they
require is the plan's matter, and how they become an answer that of the compiler.
"""

from collections.abc import Iterable, Iterator, Mapping

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
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    is_abstract_type,
)

Fields = dict[str, list[FieldNode]]
"""Response key to the fields that were merged under it, in the order of the response."""


class Selection:
    """An operation with its switches set: @skip and @include are decided, fragments are opened."""

    def __init__(
        self,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        schema: GraphQLSchema,
        switches: Mapping[str, bool],
    ) -> None:
        self._operation = operation
        self._schema = schema
        self._switches = switches
        self._fragments = fragments_of(document)

    def root(self, type_name: str) -> Fields:
        """The fields of the operation itself."""
        return self._collect([self._operation.selection_set], type_name)

    def inside(self, nodes: Iterable[FieldNode], type_name: str) -> Fields:
        """The fields selected inside these nodes of an object of this type (GraphQL, section 6.3.2)."""
        return self._collect(
            [node.selection_set for node in nodes if node.selection_set is not None], type_name
        )

    def _collect(self, sets: Iterable[SelectionSetNode], type_name: str) -> Fields:
        fields: Fields = {}
        visited: set[str] = set()
        for selection_set in sets:
            self._collect_into(fields, visited, selection_set, type_name)
        return fields

    def _collect_into(
        self, fields: Fields, visited: set[str], selection_set: SelectionSetNode, type_name: str
    ) -> None:
        for selection in selection_set.selections:
            if not self._included(selection.directives or ()):
                continue
            if isinstance(selection, FieldNode):
                fields.setdefault(key_of(selection), []).append(selection)
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


def key_of(node: FieldNode) -> str:
    """The response key of a field."""
    return (node.alias or node.name).value


def fragments_of(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    """The fragments of a document by name."""
    return {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }


def switches_of(document: DocumentNode, operation: OperationDefinitionNode) -> tuple[str, ...]:
    """The variables that some @skip or @include of the operation, or of a fragment it reaches, reads."""
    found: dict[str, None] = {}
    for selection in reached(document, operation):
        for directive in selection.directives or ():
            for argument in directive.arguments or ():
                if isinstance(argument.value, VariableNode):
                    found[argument.value.name.value] = None
    return tuple(found)


def reached(document: DocumentNode, operation: OperationDefinitionNode) -> Iterator[SelectionNode]:
    """Every selection of the operation and of the fragments it reaches, each once, whatever its directives say."""
    fragments = fragments_of(document)
    opened: set[str] = set()
    waiting: list[SelectionSetNode] = [operation.selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            yield selection
            if isinstance(selection, FragmentSpreadNode):
                if selection.name.value not in opened:
                    opened.add(selection.name.value)
                    waiting.append(fragments[selection.name.value].selection_set)
            elif isinstance(selection, FieldNode | InlineFragmentNode) and selection.selection_set:
                waiting.append(selection.selection_set)
