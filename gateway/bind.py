"""Plan and variables become a call: which subjects, for which purpose, on which evidence.

Everything a caller may have written wrong is found here, before anything is decided: one clear error that
names the field, never the value.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from graphql import FieldNode, GraphQLError, GraphQLField, Undefined, coerce_input_literal
from graphql.execution.values import VariableValues
from strawberry.utils.str_converters import to_camel_case

from gateway.arguments import ArgumentReader
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
from policies.vocabulary import Dimension, SubjectKind
from resolvers.overview import MOST_DIMENSIONS, LogDimension
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


class CountQuestion(msgspec.Struct, frozen=True):
    """What is counted: a category of one kind of subject, and by what."""

    category: str
    kind: SubjectKind
    by: tuple[Dimension, ...]


class LogQuestion(msgspec.Struct, frozen=True):
    """Which days of the log, both included, and by what it is counted; its subject, if any, is a question."""

    first_day: date
    last_day: date
    by: tuple[LogDimension, ...]


class BoundLookup(msgspec.Struct, frozen=True):
    """One field of the inquiry with its subjects as questions, or its search, its counts or its part of the log."""

    plan: LookupPlan
    questions: tuple[Question, ...]
    search: NameSearch | None
    counts: CountQuestion | None = None
    log: LogQuestion | None = None


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
        if len(self.lookups) == 1:
            return self.lookups[0].questions
        return tuple(question for lookup in self.lookups for question in lookup.questions)

    @property
    def of_subjects_alone(self) -> bool:
        """Whether it neither searches nor counts nor reads the log."""
        return all(lookup.plan.field in ("subject", "subjects") for lookup in self.lookups)


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
    given = [_arguments(prepared, "Inquiry", lookup.node, variables) for lookup in plan.lookups]
    # Counted before any of them is read, so that a list of thousands costs nothing.
    if sum(len(each.get("of", "1")) for each in given) > max_subjects:
        raise GatewayError(Code.TOO_MANY_SUBJECTS, limit=max_subjects)
    named = [_named(lookup, each, evidence, today) for lookup, each in zip(plan.lookups, given, strict=True)]
    for lookup, each in zip(plan.lookups, named, strict=True):
        _check_pages(prepared, lookup, {SubjectKind.NONE, *(key.kind for key, _ in each.subjects)}, variables)
    keys = [key for each in named for key, _ in each.subjects]
    if len(keys) > 1 and sum(key.kind is SubjectKind.NP for key in keys) > 1:
        raise GatewayError(Code.ONE_PERSON_PER_OPERATION)
    distinct = len({(key.scheme, key.value) for key in keys}) if len(keys) > 1 else len(keys)
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
                        sections=_OF_THE_LOG if each.log is not None else lookup.sections[key.kind],
                        subjects_in_operation=distinct,
                    )
                    for key, own in each.subjects
                ),
                each.search,
                each.counts,
                each.log,
            )
            for lookup, each in zip(plan.lookups, named, strict=True)
        ),
        now=now,
        today=today,
    )


_OF_THE_LOG = {"ACCESS_LOG": 0}
"""What the log of one subject asks of it: whether it may be read, and no field of its records."""


class Named(msgspec.Struct, frozen=True):
    """What one field names: subjects, each with its evidence, a search, counts or a part of the log."""

    subjects: tuple[tuple[SubjectKey, Evidence], ...] = ()
    search: NameSearch | None = None
    counts: CountQuestion | None = None
    log: LogQuestion | None = None


def _named(lookup: LookupPlan, arguments: Mapping[str, Any], evidence: Evidence, today: date) -> Named:
    """What one field names, read and checked."""
    match lookup.field:
        case "subject":
            return Named(subjects=((_key(arguments["id"], f"{lookup.key}.id", today), evidence),))
        case "subjects":
            subjects = []
            for index, reference in enumerate(arguments["of"]):
                path = f"{lookup.key}.of[{index}]"
                mine, given = evidence, reference.get("evidence")
                if given is not None:
                    mine = _evidence(given, f"{path}.evidence", today).over(evidence)
                subjects.append((_key(reference["id"], f"{path}.id", today), mine))
            return Named(subjects=tuple(subjects))
        case "search":
            return Named(search=_search(arguments, lookup.key))
        case "statistics":
            by = _dimensions(arguments["by"], lookup.key)
            return Named(counts=CountQuestion(arguments["category"].value, arguments["kind"], by))
        case _:
            return _log(arguments, lookup.key, evidence, today)


def _log(arguments: Mapping[str, Any], key: str, evidence: Evidence, today: date) -> Named:
    first, last = arguments["from"], arguments["until"]
    if last < first:
        raise GatewayError(Code.BAD_ARGUMENT, field=f"{key}.until", reason="the last day is before the first")
    by = _dimensions(arguments.get("by") or (), key)
    given = arguments.get("subject")
    subjects = () if given is None else ((_key(given, f"{key}.subject", today), evidence),)
    return Named(subjects=subjects, log=LogQuestion(first, last, by))


_Dimension = TypeVar("_Dimension", Dimension, LogDimension)


def _dimensions(given: Sequence[_Dimension], key: str) -> tuple[_Dimension, ...]:
    if len(given) > MOST_DIMENSIONS:
        reason = f"at most {MOST_DIMENSIONS} dimensions are expected"
        raise GatewayError(Code.BAD_ARGUMENT, field=f"{key}.by", reason=reason)
    if len(set(given)) < len(given):
        raise GatewayError(Code.BAD_ARGUMENT, field=f"{key}.by", reason="names a dimension twice")
    return tuple(given)


class Applying(msgspec.Struct, frozen=True, kw_only=True):
    """An application as its caller wrote it: a measure about one subject, on one inquiry."""

    inquiry: str
    subject: SubjectKey
    measure: str
    category: str
    decision: str


def bind_application(
    prepared: Prepared, node: FieldNode, variables: VariableValues, *, today: date
) -> Applying:
    """The application that these variables make; BAD_ARGUMENT or BAD_IDENTIFIER for what is wrong in it."""
    arguments = _arguments(prepared, "Mutation", node, variables)
    key = (node.alias or node.name).value
    inquiry, measure, decision = (str(arguments[name]) for name in ("inquiry", "measure", "decision"))
    if not _RECEIPT.fullmatch(inquiry):
        reason = "the id of a receipt is expected"
        raise GatewayError(Code.BAD_ARGUMENT, field=f"{key}.inquiry", reason=reason)
    # Both are recorded, so they are held to the form of evidence: no identifier stands in them.
    for name, given in (
        ("measure", Evidence(measure_id=measure)),
        ("decision", Evidence(document_number=decision)),
    ):
        try:
            check_form(given, today)
        except EvidenceError as error:
            raise GatewayError(Code.BAD_ARGUMENT, field=f"{key}.{name}", reason=error.reason) from None
    return Applying(
        inquiry=inquiry,
        subject=_key(arguments["subject"], f"{key}.subject", today),
        measure=measure,
        category=arguments["category"].value,
        decision=decision,
    )


_RECEIPT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _key(identifier: Mapping[str, Any], path: str, today: date) -> SubjectKey:
    ((scheme, value),) = identifier.items()
    field = f"{path}.{scheme}"
    try:
        match scheme:
            case "creditCode":
                return _subject(value, field)
            case "registrationNumber":
                return registration_number(value, field=field)
            case _:
                return resident(value["number"], value["name"], today=today, field=field)
    except IdentifierError as error:
        raise GatewayError(Code.BAD_IDENTIFIER, field=error.field, reason=error.reason) from None


@lru_cache(maxsize=10_000)
def _subject(text: str, field: str) -> SubjectKey:
    """The subject of a credit code: callers ask of the same ones again. Raises IdentifierError."""
    return credit_code(text, field=field)


def _evidence(given: Mapping[str, Any] | None, path: str, today: date) -> Evidence:
    stated = tuple(
        (_FIELD_NAMED[name], tuple(value) if isinstance(value, list) else value)
        for name, value in (given or {}).items()
        if value is not None
    )
    try:
        return _checked(stated, today)
    except EvidenceError as error:
        field = f"{path}.{to_camel_case(error.field)}"
        raise GatewayError(Code.BAD_EVIDENCE, field=field, reason=error.reason) from None


@lru_cache(maxsize=512)
def _checked(stated: tuple[tuple[str, Any], ...], today: date) -> Evidence:
    """Evidence in its right form, the same object for the same words of a day; raises `EvidenceError`."""
    evidence = Evidence(**dict(stated))
    check_form(evidence, today)
    if evidence.organisation_code is None:
        return evidence
    # As everywhere, the normal form counts: registers and keyed hashes know no other.
    organisation = credit_code(evidence.organisation_code).value
    return msgspec.structs.replace(evidence, organisation_code=organisation)


_SHORTEST_NAME, _LONGEST_NAME = 2, 100


def _search(arguments: Mapping[str, Any], key: str) -> NameSearch:
    name = " ".join(arguments["name"].split())
    if not _SHORTEST_NAME <= len(name) <= _LONGEST_NAME or not name.isprintable():
        reason = f"{_SHORTEST_NAME} to {_LONGEST_NAME} printable characters are expected"
        raise GatewayError(Code.BAD_ARGUMENT, field=f"{key}.name", reason=reason)
    if looks_like_identifier(name):
        reason = "holds an identifier: ask for a subject by its identifier with `subject`"
        raise GatewayError(Code.BAD_ARGUMENT, field=f"{key}.name", reason=reason)
    return NameSearch(name, arguments["first"], _offset(arguments, key))


def _check_pages(
    prepared: Prepared, lookup: LookupPlan, kinds: Iterable[SubjectKind], variables: VariableValues
) -> None:
    """Refuse a wrong page of a section now: the executor meets it when everything has been fetched."""
    for kind in kinds:
        if kind in lookup.sound:
            continue
        pages = lookup.pages.get(kind, ())
        for page in pages:
            path = f"{lookup.key}.{page.path}"
            _offset(_arguments(prepared, page.parent, page.node, variables, path), path)
        if all(_reader(prepared, page.parent, page.node).constant for page in pages):
            lookup.sound.add(kind)


def _offset(arguments: Mapping[str, Any], path: str) -> int:
    try:
        return page_offset(arguments["first"], arguments.get("after"), prefix=f"{path}.")
    except ArgumentError as error:
        raise GatewayError(Code.BAD_ARGUMENT, field=error.argument, reason=error.reason) from None


def _arguments(
    prepared: Prepared, parent: str, node: FieldNode, variables: VariableValues, path: str | None = None
) -> Mapping[str, Any]:
    """A field's coerced arguments; `path` names the field in complaints, by default by its response key."""
    reader = _reader(prepared, parent, node)
    try:
        return reader.read(variables)
    except GraphQLError:
        # Validation lets a nullable variable stand in a one-of input, and one with a default where null may not.
        wrong = next(
            argument.name.value
            for argument in node.arguments or ()
            if coerce_input_literal(argument.value, reader.field.args[argument.name.value].type, variables)
            is Undefined
        )
        raise GatewayError(
            Code.BAD_ARGUMENT,
            field=f"{path or (node.alias or node.name).value}.{wrong}",
            reason="a variable in it is null or not given, which is not allowed here",
        ) from None


def _reader(prepared: Prepared, parent: str, node: FieldNode) -> ArgumentReader:
    # A node lives as long as its document, and so does what is kept with it.
    reader: ArgumentReader | None = prepared.kept.get(id(node))
    if reader is None:
        field: GraphQLField = prepared.schema.get_type(parent).fields[node.name.value]  # type: ignore[union-attr]
        reader = prepared.kept[id(node)] = ArgumentReader(field, node)
    return reader
