"""Plan and variables become a call: which subjects, for which purpose, on which evidence.

Everything a caller may have written wrong is found here, before anything is decided: one clear error that
names the field, never the value.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import msgspec
from graphql import FieldNode, GraphQLError
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.utils.str_converters import to_camel_case

from gateway.errors import Code, GatewayError
from gateway.plan import LookupPlan, Plan, Prepared
from policies.decision import Question
from policies.evidence import EVIDENCE_FIELDS, Evidence, EvidenceError, check_form
from policies.identifiers import (
    IdentifierError,
    SubjectKey,
    credit_code,
    looks_like_identifier,
    registration_number,
    resident,
)
from policies.vocabulary import SubjectKind
from resolvers.records import ArgumentError, page_offset
from resolvers.schema import OnDenied

_FIELD_NAMED = {to_camel_case(field.name): field.name for field in EVIDENCE_FIELDS}


class NameSearch(msgspec.Struct, frozen=True):
    """A search by name: `first` hits from `offset` on."""

    name: str
    first: int
    offset: int

    def __repr__(self) -> str:
        # The name may be a person's: it stays out of tracebacks.
        return "NameSearch()"


class BoundLookup(msgspec.Struct, frozen=True):
    """One field of the inquiry with its subjects as questions, or its search."""

    plan: LookupPlan
    questions: tuple[Question, ...]
    search: NameSearch | None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One inquiry, ready to be decided. `now` is UTC, `today` the province's day."""

    purpose: str
    evidence: Evidence
    on_denied: OnDenied
    lookups: tuple[BoundLookup, ...]
    now: datetime
    today: date

    @property
    def questions(self) -> tuple[Question, ...]:
        """All subjects of the inquiry, in the order of the document."""
        return tuple(question for lookup in self.lookups for question in lookup.questions)


def bind(
    prepared: Prepared,
    plan: Plan,
    variables: VariableValues,
    *,
    max_subjects: int,
    now: datetime,
    today: date,
) -> Call | None:
    """The call that these variables make of the plan; None when the operation holds no inquiry."""
    if plan.inquiry is None:
        return None
    arguments = _arguments(prepared, "Query", plan.inquiry, variables)
    purpose: str = arguments["purpose"].value
    evidence = _evidence(arguments.get("evidence"), "evidence", today)
    named = [_named(prepared, lookup, variables, evidence, today) for lookup in plan.lookups]
    keys = [key for subjects, _ in named for key, _ in subjects]
    searches = sum(search is not None for _, search in named)
    if len(keys) + searches > max_subjects:
        raise GatewayError(Code.TOO_MANY_SUBJECTS, limit=max_subjects)
    if sum(key.kind is SubjectKind.NP for key in keys) > 1:
        raise GatewayError(Code.ONE_PERSON_PER_OPERATION)
    distinct = len({key.hash_input for key in keys})
    return Call(
        purpose=purpose,
        evidence=evidence,
        on_denied=arguments["onDenied"],
        lookups=tuple(
            BoundLookup(
                lookup,
                tuple(
                    Question(
                        purpose=purpose,
                        subject=key,
                        evidence=own,
                        sections=lookup.sections[key.kind],
                        subjects_in_operation=distinct,
                    )
                    for key, own in subjects
                ),
                search,
            )
            for lookup, (subjects, search) in zip(plan.lookups, named, strict=True)
        ),
        now=now,
        today=today,
    )


Named = tuple[list[tuple[SubjectKey, Evidence]], NameSearch | None]


def _named(
    prepared: Prepared, lookup: LookupPlan, variables: VariableValues, evidence: Evidence, today: date
) -> Named:
    """The subjects that one field names, each with its evidence; or the search it makes."""
    arguments = _arguments(prepared, "Inquiry", lookup.node, variables)
    match lookup.field:
        case "subject":
            return [(_key(arguments["id"], f"{lookup.key}.id", today), evidence)], None
        case "subjects":
            subjects = []
            for index, reference in enumerate(arguments["of"]):
                path = f"{lookup.key}.of[{index}]"
                own = _evidence(reference.get("evidence"), f"{path}.evidence", today)
                subjects.append((_key(reference["id"], f"{path}.id", today), own.over(evidence)))
            return subjects, None
        case _:
            return [], _search(arguments, lookup.key)


def _key(identifier: Mapping[str, Any], path: str, today: date) -> SubjectKey:
    ((scheme, value),) = identifier.items()
    field = f"{path}.{scheme}"
    try:
        match scheme:
            case "creditCode":
                return credit_code(value, field=field)
            case "registrationNumber":
                return registration_number(value, field=field)
            case _:
                return resident(value["number"], value["name"], today=today, field=field)
    except IdentifierError as error:
        raise GatewayError(Code.BAD_IDENTIFIER, field=error.field, reason=error.reason) from None


def _evidence(given: Mapping[str, Any] | None, path: str, today: date) -> Evidence:
    values = {_FIELD_NAMED[name]: value for name, value in (given or {}).items() if value is not None}
    if "record_ids" in values:
        values["record_ids"] = tuple(values["record_ids"])
    evidence = Evidence(**values)
    try:
        check_form(evidence, today)
    except EvidenceError as error:
        field = f"{path}.{to_camel_case(error.field)}"
        raise GatewayError(Code.BAD_EVIDENCE, field=field, reason=error.reason) from None
    return evidence


_SHORTEST_NAME, _LONGEST_NAME = 2, 100


def _search(arguments: Mapping[str, Any], key: str) -> NameSearch:
    name = " ".join(arguments["name"].split())
    if not _SHORTEST_NAME <= len(name) <= _LONGEST_NAME or not name.isprintable():
        reason = f"{_SHORTEST_NAME} to {_LONGEST_NAME} printable characters are expected"
        raise GatewayError(Code.BAD_ARGUMENT, field=f"{key}.name", reason=reason)
    if looks_like_identifier(name):
        reason = "holds an identifier: ask for a subject by its identifier with `subject`"
        raise GatewayError(Code.BAD_ARGUMENT, field=f"{key}.name", reason=reason)
    first = arguments["first"]
    try:
        return NameSearch(name, first, page_offset(first, arguments.get("after"), prefix=f"{key}."))
    except ArgumentError as error:
        raise GatewayError(Code.BAD_ARGUMENT, field=error.argument, reason=error.reason) from None


def _arguments(
    prepared: Prepared, type_name: str, node: FieldNode, variables: VariableValues
) -> dict[str, Any]:
    fields = prepared.schema.get_type(type_name).fields  # type: ignore[union-attr]
    name = node.name.value
    try:
        return get_argument_values(fields[name], node, variables)
    except GraphQLError:
        # A variable may hold what its type allows and this argument does not, as null for a one-of input.
        raise GatewayError(
            Code.BAD_ARGUMENT,
            field=f"{(node.alias or node.name).value}",
            reason="its input is not allowed here",
        ) from None
