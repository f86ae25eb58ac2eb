"""Validation of documents and variables, with complaints that quote no value.

graphql-core checks; what it says is not passed on as it is, because its messages hold literals, variable
values and whole input objects. A wrong value is named by its place and the type expected there.
"""

from collections.abc import Sequence
from typing import Any, Final

from graphql import (
    DocumentNode,
    EnumValueNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLNamedType,
    GraphQLSchema,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    ValueNode,
    VariableDefinitionNode,
    VisitorAction,
    get_named_type,
    get_nullable_type,
    is_enum_type,
    is_input_object_type,
    is_input_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
    specified_rules,
    type_from_ast,
)
from graphql import validate as run_rules
from graphql.execution.values import VariableValues, get_variable_values
from graphql.language import SKIP, ArgumentNode
from graphql.pyutils import suggestion_list
from graphql.utilities.validate_input_value import validate_input_literal, validate_input_value
from graphql.validation import (
    ASTValidationRule,
    OverlappingFieldsCanBeMergedRule,
    ValidationContext,
    ValuesOfCorrectTypeRule,
)
from graphql.validation.validate import ValidationAbortedError

from gateway.errors import Code, GatewayError, SeveralFaultsError, locations_of

PURPOSE_ENUM: Final = "Purpose"
"""Name of the schema's enum of purposes; a value outside it has a code of its own."""

MAX_FAULTS: Final = 10
"""How many faults of one request are reported."""

MERGE_BUDGET: Final = 20_000
"""Units of work for comparing fields of one response name; graphql-core's own default is 500,000.

Spent in about 15 ms. A query for twelve categories with twenty fields each, written out for four kinds of
subject, uses 6,600; the same through one fragment, and the full introspection query, next to nothing.
"""


class _MergeableFields(OverlappingFieldsCanBeMergedRule):
    """Comparing fields is quadratic in the document, so its budget bounds the time of validation."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = MERGE_BUDGET


class _CorrectValues(ValuesOfCorrectTypeRule):
    """Reports a wrong literal by its argument, its path in the argument and the expected type."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._argument: str | None = None

    def enter_argument(self, node: ArgumentNode, *_args: Any) -> None:
        self._argument = node.name.value

    def leave_argument(self, *_args: Any) -> None:
        self._argument = None

    def is_valid_value_node(self, node: ValueNode, input_type: GraphQLInputType | None) -> VisitorAction:
        if input_type is not None:
            self._check(node, input_type)
        return SKIP

    def _check(self, node: ValueNode, input_type: GraphQLInputType) -> None:
        places: set[str] = set()

        def report(error: GraphQLError, path: list[str | int]) -> None:
            place = (self._argument or "") + _path_text(path)
            if place in places:
                return
            places.add(place)
            suggest = not self.context.hide_suggestions
            wrong = _own_fault(error) or _wrong_literal(place, input_type, _shape(node), path, suggest)
            # Some of the library's complaints are about copies of nodes, which have no place.
            placed = [culprit for culprit in error.nodes or () if culprit.loc] or [node]
            self.report_error(GraphQLError(wrong.message, placed, original_error=wrong))

        validate_input_literal(node, input_type, report, hide_suggestions=True)


_OWN_RULES: Final[dict[type[ASTValidationRule], type[ASTValidationRule]]] = {
    OverlappingFieldsCanBeMergedRule: _MergeableFields,
    ValuesOfCorrectTypeRule: _CorrectValues,
}
_RULES: Final = tuple(_OWN_RULES.get(rule, rule) for rule in specified_rules)


def validate(schema: GraphQLSchema, document: DocumentNode, *, suggest: bool = True) -> None:
    """Check the document by the rules of GraphQL, section 5, and graphql-core's bound on introspection.

    `suggest` false: no complaint names what the document did not. Raises one `GatewayError` or a `SeveralFaultsError`: VALIDATION_FAILED, DENY_PURPOSE_UNKNOWN,
    TOO_COMPLEX, or what a scalar of ours raised for its literal.
    """
    errors = run_rules(schema, document, _RULES, max_errors=MAX_FAULTS, hide_suggestions=not suggest)
    if errors:
        raise _joined([_document_fault(error) for error in errors[:MAX_FAULTS]])


def coerce_variables(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    variables: dict[str, Any],
    *,
    suggest: bool = True,
) -> VariableValues:
    """The operation's variables as its resolvers get them (GraphQL, section 6.1.2).

    Expects a validated operation and variables of bounded nesting; `suggest` false: no complaint names values
    or fields that might have been meant. Raises BAD_VARIABLE, DENY_PURPOSE_UNKNOWN, or what a scalar of ours raised; one fault for each variable that has one.
    """
    values = get_variable_values(schema, operation.variable_definitions or (), variables, max_errors=1)
    if isinstance(values, VariableValues):
        return values
    definitions = operation.variable_definitions or ()
    found = (_variable_fault(schema, node, variables, suggest) for node in definitions)
    faults = [fault for fault in found if fault is not None]
    if not faults:
        raise GatewayError(Code.VALIDATION_FAILED, reason="The variables do not fit the operation.")
    raise _joined(faults[:MAX_FAULTS])


def _joined(faults: Sequence[GatewayError]) -> GatewayError:
    return faults[0] if len(faults) == 1 else SeveralFaultsError(faults)


def _document_fault(error: GraphQLError) -> GatewayError:
    locations = locations_of(error)
    if isinstance(error.original_error, GatewayError):
        return error.original_error.at(locations=locations)
    if isinstance(error, ValidationAbortedError):
        return GatewayError(Code.TOO_COMPLEX)
    # The messages of the remaining rules hold names of the schema and of the document, and no values;
    # a name that could be an identifier is hidden on the way.
    return GatewayError(Code.VALIDATION_FAILED, reason=error.message, locations=locations)


def _variable_fault(
    schema: GraphQLSchema, definition: VariableDefinitionNode, variables: dict[str, Any], suggest: bool
) -> GatewayError | None:
    name = definition.variable.name.value
    expected = type_from_ast(schema, definition.type)
    if expected is None or not is_input_type(expected):
        return GatewayError(Code.BAD_VARIABLE, field=f"${name}", reason="has no input type")
    if name in variables:
        return _wrong_variable(name, expected, variables[name], suggest)
    if is_non_null_type(expected) and definition.default_value is None:
        reason = f"must be given: it is of type '{expected}'"
        return GatewayError(Code.BAD_VARIABLE, field=f"${name}", reason=reason)
    return None


def _wrong_variable(name: str, expected: GraphQLInputType, value: Any, suggest: bool) -> GatewayError | None:
    def report(error: GraphQLError, path: list[str | int]) -> None:
        inner, inner_value = _follow(expected, value, path)
        place = f"${name}{_path_text(path)}"
        # The first fault ends the check: a long list may hold thousands.
        raise (
            _own_fault(error)
            or _purpose_fault(inner, inner_value, suggest)
            or GatewayError(Code.BAD_VARIABLE, field=place, reason=_complaint(inner, inner_value, suggest))
        ) from None

    try:
        validate_input_value(value, expected, report, hide_suggestions=True)
    except GatewayError as fault:
        return fault
    return None


def _wrong_literal(
    place: str, expected: GraphQLInputType, shape: object, path: Sequence[str | int], suggest: bool
) -> GatewayError:
    inner, inner_shape = _follow(expected, shape, path)
    subject = f"Argument '{place}'" if place else "A default value"
    return _purpose_fault(inner, inner_shape, suggest) or GatewayError(
        Code.VALIDATION_FAILED, reason=f"{subject} {_complaint(inner, inner_shape, suggest)}."
    )


def _own_fault(error: GraphQLError) -> GatewayError | None:
    """What a scalar of ours raised; its parser names field and reason, and quotes nothing."""
    cause = error.original_error
    return cause if isinstance(cause, GatewayError) else None


def _purpose_fault(expected: GraphQLInputType, value: object, suggest: bool) -> GatewayError | None:
    named = get_named_type(expected)
    if named.name != PURPOSE_ENUM or value is None:
        return None
    near = _near(value, named) if suggest else ""
    return GatewayError(Code.DENY_PURPOSE_UNKNOWN, field=PURPOSE_ENUM, reason=near)


def _complaint(expected: GraphQLInputType, value: object, suggest: bool) -> str:
    if value is None:
        return "must not be null"
    named = get_named_type(expected)
    if is_enum_type(named):
        near = _near(value, named) if suggest else ""
        return f"must be a value of enum '{named.name}'{near}"
    if is_input_object_type(named) and isinstance(value, dict):
        return _object_complaint(named, value, suggest)
    return f"must be of type '{expected}'"


def _object_complaint(named: GraphQLInputObjectType, value: dict[str, object], suggest: bool) -> str:
    missing = [
        f"'{name}' of type '{field.type}'"
        for name, field in named.fields.items()
        if name not in value and is_required_input_field(field)
    ]
    if missing:
        return f"lacks {', '.join(missing)}"
    fields = ", ".join(f"'{name}'" for name in named.fields)
    if value.keys() - named.fields.keys():
        return f"has a field that '{named.name}' does not have" + (f"; it has {fields}" if suggest else "")
    return f"must give exactly one of {fields}" if suggest else "must give exactly one field"


def _near(value: object, named: GraphQLNamedType) -> str:
    """The enum's values that resemble the given one, which itself is not repeated."""
    if not isinstance(value, str) or not is_enum_type(named):
        return ""
    near = suggestion_list(value, list(named.values))[:3]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _follow(
    expected: GraphQLInputType, value: Any, path: Sequence[str | int]
) -> tuple[GraphQLInputType, object]:
    """Type and value at a path that graphql-core reports."""
    for step in path:
        if isinstance(step, int):
            nullable = get_nullable_type(expected)
            expected = nullable.of_type if is_list_type(nullable) else expected
        else:
            named = get_named_type(expected)
            expected = named.fields[step].type if is_input_object_type(named) else expected
        value = value[step]
    return expected, value


def _path_text(path: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _shape(node: ValueNode) -> object:
    """The literal as plain lists and objects; scalars stay nodes, as only enum names are looked at."""
    if isinstance(node, ObjectValueNode):
        return {field.name.value: _shape(field.value) for field in node.fields}
    if isinstance(node, ListValueNode):
        return [_shape(item) for item in node.values]
    if isinstance(node, NullValueNode):
        return None
    return node.value if isinstance(node, EnumValueNode) else node
