"""The command `plan`: how the gateway would answer an operation, before anybody sends it.

Exit status: 0; 1 when the file, the operation or the variables cannot be used; 2 for a wrong command line.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import orjson
from graphql import GraphQLError, GraphQLList, OperationDefinitionNode, get_nullable_type
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.utils.str_converters import to_camel_case

from connectors.loader import read_sources
from connectors.source import SourceFile
from gateway.app import load_bundle
from gateway.compiler import MOST_RENDERED, Compiled
from gateway.errors import GatewayError
from gateway.limits import Limits
from gateway.operation import coerce_variables
from gateway.plan import Documents, LookupPlan, Prepared
from gateway.projection import ObjectNode
from gateway.usage import one_line_errors
from policies.bundle_files import BundleError
from policies.catalogue import SECTION_OF, fields_of
from policies.vocabulary import SubjectKind
from resolvers.schema import build_schema

RECORDS: Final = 3
"""Items assumed of each list, where the cost is estimated."""

_MICROSECONDS: Final = {"source": 0.1, "walk": 0.7, "reference": 4.0}
"""Processor time for one value of an answer, by what writes it: measured on one core, good for comparing."""


class SectionPlan(msgspec.Struct, frozen=True):
    """A category that is asked of some kinds of subject: the record's fields, and the sources that serve it."""

    kinds: tuple[SubjectKind, ...]
    category: str
    fields: tuple[str, ...]
    sources: tuple[str, ...]


class LookupPart(msgspec.Struct, frozen=True):
    """A field of the inquiry: its response key and name, its subjects, and the sections asked of them."""

    key: str
    field: str
    subjects: int
    sections: tuple[SectionPlan, ...]
    calls: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """How an operation is answered. `values` and `microseconds` are null where there is no tree to count."""

    operation: str
    form: str
    reason: str
    lookups: tuple[LookupPart, ...]
    upstream_calls: int
    values: int | None
    microseconds: int | None


@click.command("plan")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--operation", "name", help="The operation, where the document holds several.")
@click.option(
    "--variables", help="Variables as a JSON object; without them lists are counted as one subject."
)
@click.option(
    "--bundle", default="example", show_default=True, help="Name or directory of the policy bundle."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan_operation(file: Path, name: str | None, variables: str | None, bundle: str, as_json: bool) -> None:
    """Say how the GraphQL document in FILE is executed, and what it asks of which sources."""
    with one_line_errors():
        text = _text(file)
        schema = build_schema(_bundle(bundle))._schema
        with as_file(files("connectors") / "sources") as installed:
            sources = read_sources(installed)
        try:
            prepared = Documents(schema, Limits()).get(text, name)
            explanation = explain(prepared, _variables(prepared, variables), sources)
        except GatewayError as error:
            raise click.ClickException("; ".join(each.message for each in error.each)) from error
    click.echo(orjson.dumps(msgspec.to_builtins(explanation)).decode() if as_json else told(explanation))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file}: byte {error.start} is not UTF-8") from error


def _bundle(name: str) -> Any:
    try:
        return load_bundle(name)
    except BundleError as error:
        raise click.ClickException(f"bundle {name}: {error.problems[0]}") from error
    except FileNotFoundError as error:
        raise click.ClickException(f"bundle {name}: no such bundle or directory") from error


def _variables(prepared: Prepared, given: str | None) -> VariableValues:
    """The coerced variables; where none are given, those with a default, as far as switches need them."""
    if given is not None:
        try:
            values = orjson.loads(given)
        except orjson.JSONDecodeError as error:
            raise click.ClickException(f"--variables is not JSON: {error.msg}") from error
        if not isinstance(values, dict):
            raise click.ClickException("--variables must be a JSON object")
        return coerce_variables(prepared.schema, prepared.operation, values)
    definitions = [
        definition
        for definition in prepared.operation.variable_definitions or ()
        if definition.variable.name.value in prepared.switches
    ]
    for definition in definitions:
        if definition.default_value is None:
            raise click.ClickException(
                f"@skip or @include reads ${definition.variable.name.value}: give it with --variables"
            )
    switched = OperationDefinitionNode(
        operation=prepared.operation.operation,
        variable_definitions=tuple(definitions),
        selection_set=prepared.operation.selection_set,
    )
    return coerce_variables(prepared.schema, switched, {})


def explain(prepared: Prepared, variables: VariableValues, sources: Mapping[str, SourceFile]) -> Explanation:
    """What `plan` prints; raises what planning the operation raises."""
    plan = prepared.plan(variables.coerced)
    form = prepared.compiled(variables.coerced)
    lookups = tuple(_lookup(prepared, lookup, variables, sources) for lookup in plan.lookups)
    values = microseconds = None
    if isinstance(form, Compiled):
        size = form.tree.size
        writer = "source" if size <= MOST_RENDERED else "walk"
        reason = f"{size} fields" + ("" if writer == "source" else ", walked: too many to become source")
        values = _values(form.tree.root, {})
        microseconds = round(values * _MICROSECONDS[writer])
    else:
        reason = form.reason
    operation = prepared.operation
    return Explanation(
        operation=f"{operation.operation.value} {operation.name.value if operation.name else '(unnamed)'}",
        form="compiled" if isinstance(form, Compiled) else "reference",
        reason=reason,
        lookups=lookups,
        upstream_calls=sum(lookup.calls for lookup in lookups),
        values=values,
        microseconds=microseconds,
    )


def _lookup(
    prepared: Prepared,
    lookup: LookupPlan,
    variables: VariableValues,
    sources: Mapping[str, SourceFile],
) -> LookupPart:
    subjects = _subjects(prepared, lookup, variables)
    sections = tuple(_sections(lookup, sources))
    kinds = [kind for kind, asked in lookup.sections.items() if asked]
    if lookup.field in ("subject", "subjects"):
        calls = max((_calls(lookup, kind, subjects, sources) for kind in kinds), default=0)
    elif lookup.field == "search":
        calls = sum(source.search is not None for source in sources.values())
    elif lookup.field == "statistics":
        calls = _counting(prepared, lookup, variables, sources)
    else:
        # The log is the gateway's own.
        calls = 0
    return LookupPart(lookup.key, lookup.field, subjects, sections, calls)


def _arguments(prepared: Prepared, lookup: LookupPlan, variables: VariableValues) -> dict[str, Any] | None:
    """The lookup's arguments; None where they hang on variables that are not given."""
    field = prepared.schema.type_map["Inquiry"].fields[lookup.field]  # type: ignore[attr-defined]
    try:
        return get_argument_values(field, lookup.node, variables)
    except GraphQLError:
        # It hangs on a variable that is not given: only what is known is counted.
        return None


def _subjects(prepared: Prepared, lookup: LookupPlan, variables: VariableValues) -> int:
    if lookup.field not in ("subject", "subjects"):
        return 0
    arguments = _arguments(prepared, lookup, variables) if lookup.field == "subjects" else None
    return 1 if arguments is None else len(arguments["of"])


def _counting(
    prepared: Prepared, lookup: LookupPlan, variables: VariableValues, sources: Mapping[str, SourceFile]
) -> int:
    arguments = _arguments(prepared, lookup, variables)
    if arguments is None:
        return 1
    category = arguments["category"].value
    return sum(
        statistics.category == category and arguments["kind"] in statistics.kinds
        for source in sources.values()
        for statistics in source.statistics
    )


def _sections(lookup: LookupPlan, sources: Mapping[str, SourceFile]) -> Iterator[SectionPlan]:
    """The sections of a lookup; kinds of subject that are asked the same of the same sources stand together."""
    found: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[SubjectKind]] = {}
    for kind, asked in lookup.sections.items():
        for category, mask in asked.items():
            fields = fields_of(SECTION_OF[(category, kind)].record)
            names = tuple(to_camel_case(field.name) for bit, field in enumerate(fields) if mask >> bit & 1)
            served = tuple(dict.fromkeys(name for name, _ in _served(category, kind, sources)))
            found.setdefault((category, names, served), []).append(kind)
    for (category, names, served), kinds in found.items():
        yield SectionPlan(tuple(kinds), category, names, served)


def _served(
    category: str, kind: SubjectKind, sources: Mapping[str, SourceFile]
) -> Iterator[tuple[str, int | None]]:
    """The sources of a category for a kind of subject, each with the size of its batches."""
    for name, source in sources.items():
        lookups = [lookup for lookup in source.lookup if lookup.category == category and kind in lookup.kinds]
        if lookups:
            yield name, lookups[0].batch


def _calls(lookup: LookupPlan, kind: SubjectKind, subjects: int, sources: Mapping[str, SourceFile]) -> int:
    return sum(
        -(-subjects // (batch or 1))
        for category in lookup.sections[kind]
        for _, batch in _served(category, kind, sources)
    )


def _values(node: ObjectNode, known: dict[int, int]) -> int:
    """Values in an answer, every object there, each list with `RECORDS` items."""
    if id(node) not in known:
        total = 0
        for field in node.fields:
            inner = max((_values(below, known) for below in field.objects), default=0)
            many = RECORDS if isinstance(get_nullable_type(field.type), GraphQLList) else 1
            total += 1 + many * inner
        known[id(node)] = total
    return known[id(node)]


def told(found: Explanation) -> str:
    """The explanation as text."""
    lines = [f"{found.operation}: {found.form} ({found.reason})"]
    for lookup in found.lookups:
        count = f", {lookup.subjects} subjects" if lookup.subjects > 1 else ""
        lines.append(f"{lookup.key} ({lookup.field}{count})")
        lines += _table(lookup.sections)
    lines.append(
        f"Upstream calls: at most {found.upstream_calls}, with everything granted and nothing in the cache; "
        "registers of evidence are not counted."
    )
    if found.values is not None:
        lines.append(
            f"Cost: {found.values} values with {RECORDS} items in each list, "
            f"about {found.microseconds} µs of one core to shape and write."
        )
    return "\n".join(lines)


def _table(sections: Sequence[SectionPlan]) -> Iterator[str]:
    width = max((len(section.category) for section in sections), default=0)
    for section in sections:
        kinds = "/".join(section.kinds)
        sources = ", ".join(section.sources) or "no source"
        yield f"  {section.category:<{width}}  {kinds}  from {sources}"
        yield f"  {'':<{width}}    {', '.join(section.fields) or 'no field of its records'}"
