"""The compiled form: its tree, the source that is made of it, its errors, the bytes that sections keep."""

import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any

import graphql
import msgspec
import orjson
import pytest
import strawberry
from fuzz_answers import Answers
from fuzz_forms import DOCUMENTS, SCHEMA, by_reference, said
from graphql import GraphQLSchema
from graphql.execution.values import VariableValues
from strawberry.extensions import FieldExtension
from test_plan import CALLER, of_penalties, of_subject

from gateway.app import load_bundle
from gateway.compiler import MOST_KEPT, MOST_RENDERED, Compiled, Uncompiled, compile_operation, source_of
from gateway.errors import Code, GatewayError
from gateway.limits import Limits
from gateway.operation import coerce_variables
from gateway.plan import Documents, Prepared
from gateway.projection import Attribute, Tree
from policies.catalogue import SECTION_OF, Penalty
from policies.vocabulary import Level, SectionState, SubjectKind
from resolvers import answers
from resolvers.schema import Context, build_schema

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NOTHING = VariableValues({}, {})
PENALTIES = SECTION_OF[("PENALTY", SubjectKind.ORG)]


def compiled(
    text: str,
    variables: dict[str, Any] | None = None,
    *,
    documents: Documents = DOCUMENTS,
    name: str | None = None,
) -> Compiled:
    prepared = documents.get(text, name)
    form = prepared.compiled(coerced(prepared, variables).coerced)
    assert isinstance(form, Compiled)
    return form


def coerced(prepared: Prepared, variables: dict[str, Any] | None) -> VariableValues:
    return coerce_variables(prepared.schema, prepared.operation, variables or {})


def about(subject: Any) -> Context:
    """A context whose inquiry answers `subject` with this."""
    receipt = answers.Receipt("r", NOW, "v", "LICENSING")
    inquiry = answers.InquiryAnswer(receipt, {"subject": answers.Lookup(subject=subject)})
    return Context(caller=CALLER, inquiry=inquiry, permissions=lambda _purpose, _kind: ())


def organisation(*records: Any, kept: dict[object, bytes] | None = None) -> answers.SubjectAnswer:
    section = answers.SectionAnswer(section=PENALTIES, state=SectionState.HAS, records=records)
    return answers.SubjectAnswer(SubjectKind.ORG, (), {"penalties": section}, kept)


def run(form: Compiled, context: Any, variables: VariableValues = NOTHING) -> tuple[Any, list[GatewayError]]:
    """Data and failures, the same three times: walked, then quick, then from what is kept."""
    found = [form.execute(context, variables) for _ in range(3)]
    assert len({data for data, _ in found}) == 1
    data, failures = found[0]
    return orjson.loads(data), list(failures)


# --- no text of a document becomes source

NAMES = (
    "__import__",
    "exec",
    "lambda",
    "return",
    "None",
    "os",
    "k0",
    "o0",
    "v",
    "x",
    "__class__",
    "globals",
    "yield",
)


def smuggling(alias: str) -> str:
    """A document that has this name wherever a document may have one, and text of code where it may have text."""
    code = "\\\"}; import os; os.system('x') #\\n"
    return f"""
      query {alias}(${alias}: Int = 7, $t: String = "{code}") {{
        {alias}: inquiry(purpose: LICENSING, evidence: {{caseNumber: "{code}", stage: REVIEW}}) {{
          {alias}: subject(id: {{creditCode: "{code}"}}) {{
            {alias}: kind
            ... on Organisation {{
              ...{alias}
              marketCredit {{ {alias}: __typename records(after: "{code}") {{ {alias}: totalCount }} }}
            }}
          }}
        }}
      }}
      fragment {alias} on Organisation {{
        penalties {{ {alias}: records(first: ${alias}, after: $t) {{ {alias}: nodes {{ {alias}: facts fine }} }} }}
      }}
    """


def own_names() -> set[str]:
    """The names that source may hold: attributes and parameters of the schema's own classes, Python's, and ours."""
    found = {"type", "str", "bool", "int", "list", "tuple", "len", "iter", "next", "isinstance", "TypeError"}
    found |= {"isoformat", "_name_", "items", "get", "rendered", "v", "x", "b", "kept", "place", "ready"}
    for named in SCHEMA.type_map.values():
        for field in getattr(named, "fields", {}).values():
            definition = field.extensions.get("strawberry-definition")
            resolver = getattr(definition, "base_resolver", None)
            found.add(getattr(definition, "python_name", "v"))
            found |= set(resolver.signature.parameters) if resolver else set()
    return found


@pytest.mark.parametrize("alias", NAMES)
def test_no_text_of_a_document_becomes_source(alias: str) -> None:
    form = compiled(smuggling(alias), {})
    source, constants = source_of(form.tree)
    allowed = own_names()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        assert token.type is not tokenize.STRING
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            assert token.string in allowed or re.fullmatch(r"[ok]\d+|a\d+b*", token.string), token
        if token.type == tokenize.NUMBER:
            assert token.string.isdecimal()
    assert alias in constants
    assert "import" not in source
    assert "system" not in source


def test_names_of_a_document_that_mean_something_in_python_are_names_of_its_answer() -> None:
    penalty = Penalty(record_id="1", facts="f")
    for alias in NAMES:
        text = of_penalties(f"{alias}: records {{ {alias}: nodes {{ {alias}: facts }} }}", f"query {alias}")
        data, failures = run(compiled(text), about(organisation(penalty)))
        assert failures == []
        assert data["inquiry"]["subject"]["penalties"] == {alias: {alias: [{alias: "f"}]}}


@pytest.mark.parametrize("name", ["v; import os", "class", "", "a.b", "1"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    root = compiled(of_penalties("state")).tree.root
    (field,) = root.fields
    forged = msgspec.structs.replace(field, read=Attribute(name))
    with pytest.raises(ValueError, match="name"):
        source_of(Tree(msgspec.structs.replace(root, fields=(forged,)), (), 1))


def test_the_source_needs_no_builtin_but_those_it_is_given() -> None:
    """What would be a way out of the walk is not there, even if a name could be smuggled in."""
    form = compiled(of_penalties("state records { nodes { facts } }"))
    run(form, about(organisation()))
    assert form.quick is not None
    given = form.quick.__globals__["__builtins__"]
    assert not {"exec", "eval", "open", "__import__", "globals", "compile"} & set(given)


# --- what is compiled


def test_introspection_runs_on_the_reference_wherever_it_stands() -> None:
    for text in (
        "{ __schema { queryType { name } } }",
        '{ viewer { unit } __type(name: "Query") { name } }',
        "{ ...F } fragment F on Query { __schema @skip(if: true) { queryType { name } } }",
    ):
        prepared = DOCUMENTS.get(text, None)
        form = prepared.compiled({})
        assert isinstance(form, Uncompiled)
        assert "introspection" in form.reason
        assert prepared.form == "reference"


def test_introspection_of_another_operation_does_not_count() -> None:
    text = "query A { viewer { unit } } query B { __schema { queryType { name } } }"
    assert isinstance(DOCUMENTS.get(text, "A").compiled({}), Compiled)
    assert DOCUMENTS.get(text, "A").form == "compiled"
    assert isinstance(DOCUMENTS.get(text, "B").compiled({}), Uncompiled)


def test_a_document_becomes_source_at_its_second_run() -> None:
    form = compiled(of_penalties("asOf"))
    context = about(organisation())
    form.execute(context, NOTHING)
    assert form.quick is None
    form.execute(context, NOTHING)
    assert form.quick is not None


def test_a_very_large_document_is_walked() -> None:
    fields = " ".join(f"f{number}: facts" for number in range(MOST_RENDERED))
    documents = Documents(SCHEMA, Limits(max_aliases=MOST_RENDERED))
    form = compiled(of_penalties(f"records {{ nodes {{ {fields} }} }}"), documents=documents)
    data, failures = run(form, about(organisation(Penalty(record_id="1", facts="f"))))
    assert form.quick is None
    assert failures == []
    assert len(data["inquiry"]["subject"]["penalties"]["records"]["nodes"][0]) == MOST_RENDERED


# --- keys of what is kept


def test_no_two_operations_share_a_form() -> None:
    head = "query A($s: Boolean = true)"
    text = of_penalties("state level @skip(if: $s)", head) + of_penalties("asOf", "query B")
    other = Documents(build_schema(load_bundle("example"))._schema, Limits())
    forms = [
        compiled(text, name="A"),
        compiled(text, {"s": False}, name="A"),
        compiled(text, name="B"),
        compiled(text + " ", name="A"),
        compiled(text.replace("level", "asOf"), name="A"),
        compiled(text, name="A", documents=other),
    ]
    assert len(set(map(id, forms))) == len(forms)
    assert len(set(map(id, (form.tree for form in forms)))) == len(forms)
    assert compiled(text, {"s": True}, name="A") is forms[0]
    data = [run(form, about(organisation()))[0]["inquiry"]["subject"]["penalties"] for form in forms]
    assert [set(each) for each in data] == [
        {"state"},
        {"state", "level"},
        {"asOf"},
        {"state"},
        {"state"},
        {"state"},
    ]


def test_a_policy_executes_by_its_own_schema() -> None:
    """Two policies whose purposes differ: the same text means what its own schema says."""
    bundle = load_bundle("example")
    fewer = {code: purpose for code, purpose in bundle.purposes.items() if code != "AUDIT"}
    small = Documents(build_schema(_with(bundle, purposes=fewer))._schema, Limits())
    text = "{ purposes { code } }"
    context = about(None)
    codes = [
        {each["code"] for each in run(compiled(text, documents=documents), context)[0]["purposes"]}
        for documents in (DOCUMENTS, small, DOCUMENTS)
    ]
    assert codes[0] == codes[2] == set(bundle.purposes)
    assert codes[1] == set(fewer)


def _with(bundle: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(bundle, **changes)


def test_more_combinations_of_switches_than_are_kept_run_on_the_reference() -> None:
    names = [f"s{number}" for number in range(5)]
    declared = ", ".join(f"${name}: Boolean!" for name in names)
    fields = " ".join(f"{name}: state @skip(if: ${name})" for name in names)
    prepared = DOCUMENTS.get(of_penalties(f"__typename {fields}", f"query({declared})"), None)
    forms = [
        prepared.compiled({name: bool(number >> bit & 1) for bit, name in enumerate(names)})
        for number in range(32)
    ]
    assert sum(isinstance(form, Compiled) for form in forms) == 16
    assert all("combinations" in form.reason for form in forms if isinstance(form, Uncompiled))


# --- errors


def failing(text: str, subject: Any) -> tuple[Any, list[tuple[Code, list[str | int]]]]:
    """Data and failures of a subject, as the compiled form tells them; the reference agrees."""
    form, context = compiled(text), about(subject)
    data, failures = run(form, context)
    expected = by_reference(DOCUMENTS.get(text, None), None, {}, context)
    assert said(orjson.dumps(data), tuple(failures)) == expected
    return data, [(failure.code, list(failure.path or ())) for failure in failures]


NODES = ["inquiry", "subject", "penalties", "records", "nodes"]


def test_a_null_that_may_not_be_nulls_what_holds_it() -> None:
    # Everything from the record up to the inquiry may not be null, so nothing is left.
    bad: Any = None
    records = (Penalty(record_id="1"), Penalty(record_id=bad))
    data, failures = failing(of_penalties("records { nodes { recordId } }"), organisation(*records))
    assert data is None
    assert failures == [(Code.INTERNAL, [*NODES, 1, "recordId"])]


def test_a_null_that_may_be_stays_where_it_is() -> None:
    strange: Any = b"bytes"
    records = (Penalty(record_id="1", facts=strange), Penalty(record_id="2", facts="f", kind=strange))
    data, failures = failing(
        of_penalties("records { nodes { facts kind recordId } }"), organisation(*records)
    )
    nodes = data["inquiry"]["subject"]["penalties"]["records"]["nodes"]
    assert nodes == [
        {"facts": None, "kind": None, "recordId": "1"},
        {"facts": "f", "kind": None, "recordId": "2"},
    ]
    assert failures == [(Code.INTERNAL, [*NODES, 0, "facts"]), (Code.INTERNAL, [*NODES, 1, "kind"])]


def test_an_error_before_the_one_that_nulls_its_parent_is_told_too() -> None:
    strange: Any = b"bytes"
    missing: Any = None
    record = Penalty(record_id=missing, facts=strange, kind=strange)
    data, failures = failing(of_penalties("records { nodes { facts recordId kind } }"), organisation(record))
    assert data is None
    # `kind` comes after the one that ends the walk through this record: nobody looks at it.
    assert failures == [(Code.INTERNAL, [*NODES, 0, "facts"]), (Code.INTERNAL, [*NODES, 0, "recordId"])]


def test_a_record_of_another_type_is_an_error_and_no_record() -> None:
    data, failures = failing(
        of_penalties("records { nodes { __typename } }"), organisation(Penalty(record_id="1"), "a text")
    )
    assert data is None
    assert failures == [(Code.INTERNAL, [*NODES, 1])]


def test_a_subject_of_no_kind_is_an_error() -> None:
    data, failures = failing(of_subject("__typename"), {"kind": "ORG"})
    assert data is None
    assert failures == [(Code.INTERNAL, ["inquiry", "subject"])]


def test_a_wrong_page_names_the_argument() -> None:
    data, failures = failing(of_penalties("records(first: 0) { totalCount }"), organisation())
    assert data is None
    assert failures == [(Code.BAD_ARGUMENT, NODES[:-1])]


def test_an_error_quotes_no_value() -> None:
    secret: Any = ["91990105FAKE00128U"]
    _, failures = run(
        compiled(of_penalties("records { nodes { facts } }")),
        about(organisation(Penalty(record_id="1", facts=secret))),
    )
    assert "FAKE" not in f"{failures[0].message}{failures[0].log_message}"


def test_what_json_cannot_say_is_no_answer_of_either_form() -> None:
    text = of_penalties("records { nodes { facts } }")
    context = about(organisation(Penalty(record_id="1", facts="\ud800")))
    for _ in range(3):
        with pytest.raises(TypeError):
            compiled(text).execute(context, NOTHING)
    with pytest.raises(TypeError):
        by_reference(DOCUMENTS.get(text, None), None, {}, context)


# --- subjects keep their bytes


def test_a_subject_keeps_what_was_selected_of_it() -> None:
    kept: dict[object, bytes] = {}
    form = compiled(of_penalties("state records { nodes { facts } }"))
    context = about(organisation(Penalty(record_id="1", facts="f"), kept=kept))
    data, _ = run(form, context)
    (written,) = kept.values()
    assert orjson.loads(written) == data["inquiry"]["subject"]
    (place,) = kept
    kept[place] = b'"kept"'
    again, _ = form.execute(context, NOTHING)
    assert orjson.loads(again)["inquiry"]["subject"] == "kept"


def test_a_subject_that_keeps_nothing_is_written_anew() -> None:
    data, _ = run(compiled(of_penalties("state")), about(organisation()))
    assert data["inquiry"]["subject"]["penalties"] == {"state": "HAS"}


def test_selections_and_pages_of_a_subject_are_kept_apart() -> None:
    kept: dict[object, bytes] = {}
    records = tuple(Penalty(record_id=str(number)) for number in range(5))
    context = about(organisation(*records, kept=kept))
    paged = of_penalties("records(first: $n) { nodes { recordId } }", "query($n: Int!)")
    for number in (1, 2, 1):
        prepared = DOCUMENTS.get(paged, None)
        data, _ = run(compiled(paged, {"n": number}), context, coerced(prepared, {"n": number}))
        assert len(data["inquiry"]["subject"]["penalties"]["records"]["nodes"]) == number
    assert len(kept) == 2
    kept.clear()
    run(compiled(of_penalties("records { nodes { recordId } }")), context)
    run(compiled(of_penalties("records { nodes { recordId} }")), context)
    assert len(kept) == 2


def test_a_subject_keeps_no_more_than_it_may() -> None:
    kept: dict[object, bytes] = {}
    context = about(organisation(kept=kept))
    for number in range(MOST_KEPT + 3):
        data, _ = run(compiled(of_penalties(f"s{number}: state")), context)
        assert data["inquiry"]["subject"]["penalties"] == {f"s{number}": "HAS"}
        assert len(kept) == min(number + 1, MOST_KEPT)
    # The newest are there.
    assert b'{"penalties":{"s%d":"HAS"}}' % (MOST_KEPT + 2) in kept.values()


def test_a_subject_with_a_fault_keeps_nothing() -> None:
    kept: dict[object, bytes] = {}
    strange: Any = b"bytes"
    run(
        compiled(of_penalties("records { nodes { facts } }")),
        about(organisation(Penalty(record_id="1", facts=strange), kept=kept)),
    )
    assert kept == {}


def test_a_subject_that_looks_at_its_context_keeps_nothing() -> None:
    @strawberry.interface(name="CreditSubject")
    class Part:
        state: str

    @strawberry.type
    class Asking(Part):
        @classmethod
        def is_type_of(cls, value: Any, _info: Any) -> bool:
            return True

        @strawberry.field
        def who(self, info: strawberry.Info) -> str:
            return str(info.context)

    @strawberry.type
    class Root:
        @strawberry.field
        def part(self) -> Asking:
            return PART  # type: ignore[return-value]

    schema = strawberry.Schema(query=Root)._schema
    document = graphql.parse("{ part { who } }")
    (operation,) = document.definitions
    assert isinstance(operation, graphql.OperationDefinitionNode)
    form = compile_operation(document, operation, schema, {})
    assert isinstance(form, Compiled)
    for who in ("a", "b", "a", "c"):
        context: Any = who
        assert form.execute(context, NOTHING)[0] == b'{"part":{"who":"%b"}}' % who.encode()
    assert vars(PART)["rendered"] == {}


def test_types_that_share_a_fragment_keep_what_is_merged_into_it_apart() -> None:
    text = of_subject(
        "... on OperatingSubject { ...F } ... on Organisation { penalties { level } }",
        tail="fragment F on OperatingSubject { penalties { state } }",
    )
    form = compiled(text)
    for kind, names in ((SubjectKind.ORG, {"state", "level"}), (SubjectKind.IND, {"state"})):
        subject = msgspec.structs.replace(organisation(), kind=kind)
        data, failures = run(form, about(subject))
        assert failures == []
        assert set(data["inquiry"]["subject"]["penalties"]) == names


# --- any Strawberry schema


class Pet:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


PART = Pet(state="HAS", rendered={})


@strawberry.type
class Cat:
    name: str

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        return isinstance(value, dict) is False and hasattr(value, "lives")


@strawberry.type
class Dog:
    name: str
    tags: list[list[str | None] | None]

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        return hasattr(value, "tags")


class Shout(FieldExtension):
    def resolve(self, next_: Any, source: Any, info: Any, **kwargs: Any) -> Any:
        return str(next_(source, info, **kwargs)).upper()


@strawberry.type
class Odd:
    plain: int
    label: str | None = strawberry.field(name="class")


@strawberry.input
class Range:
    low: int = 1
    high: int | None = None


@strawberry.type
class Query:
    @strawberry.field
    def pets(self) -> list[Annotated[Cat | Dog, strawberry.union("Pets")]]:
        return [Pet(name="a", lives=9), Pet(name="b", tags=[["x", None], None])]  # type: ignore[list-item]

    @strawberry.field
    def odd(self) -> Odd | None:
        return Pet(label="c", plain=2**31)  # type: ignore[return-value]

    @strawberry.field
    def total(self, within: Range, more: list[int] | None = None) -> int:
        return within.low + (within.high or 0) + sum(more or ())

    @strawberry.field
    def key(self, info: strawberry.Info) -> str:
        return str(info.path.key)

    @strawberry.field(extensions=[Shout()])  # type: ignore[untyped-decorator]
    def loud(self) -> str:
        return "loud"

    @strawberry.field
    async def later(self) -> str:
        return "later"


SMALL = strawberry.Schema(query=Query)._schema


def small(text: str) -> Iterator[Any]:
    """Any operation of the small schema, by the compiled form and by the reference."""
    document = graphql.parse(text)
    (operation,) = document.definitions
    assert isinstance(operation, graphql.OperationDefinitionNode)
    form = compile_operation(document, operation, SMALL, {})
    yield form
    if isinstance(form, Compiled):
        prepared = Prepared(document, operation, SMALL, (), {}, None)
        context: Any = None
        expected = by_reference(prepared, None, {}, context)
        for _ in range(3):
            assert said(*form.execute(context, NOTHING)) == expected
        yield expected


@pytest.mark.parametrize(
    "text",
    [
        "{ pets { __typename ... on Cat { name } ... on Dog { n: name tags } } }",
        "{ pets { ... on Cat { x: name } ... on Dog { x: tags } } }",
        "{ odd { class } }",
        "{ odd { plain class } }",
        "{ total(within: {}) a: total(within: {high: 4, low: 2}, more: [1, 2]) b: total(within: {high: null}, more: 3) }",
        "{ key other: key }",
    ],
)
def test_another_schema_is_compiled_alike(text: str) -> None:
    form, _ = small(text)
    assert isinstance(form, Compiled)
    assert form.quick is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{ loud }", "Query.loud"),
        ("{ key later }", "Query.later"),
        ("query @skip(if: true) { key }", "directive"),
    ],
)
def test_what_is_not_compiled_says_why(text: str, reason: str) -> None:
    (form,) = small(text)
    assert isinstance(form, Uncompiled)
    assert reason in form.reason


def test_objects_that_cannot_be_told_apart_are_not_compiled() -> None:
    @strawberry.type
    class One:
        name: str

    @strawberry.type
    class Two:
        name: str

    @strawberry.type
    class Root:
        either: Annotated[One | Two, strawberry.union("Either")]

    schema: GraphQLSchema = strawberry.Schema(query=Root)._schema
    document = graphql.parse("{ either { __typename } }")
    (operation,) = document.definitions
    assert isinstance(operation, graphql.OperationDefinitionNode)
    form = compile_operation(document, operation, schema, {})
    assert isinstance(form, Uncompiled)
    assert "told apart" in form.reason


def test_answers_of_faults_differ_from_those_without() -> None:
    """The generator of answers makes what the differential test needs: sound ones and broken ones."""
    text = of_penalties("state records { nodes { facts fine decidedOn marks } }")
    prepared = DOCUMENTS.get(text, None)
    plan = prepared.plan({})
    sound = [by_reference(prepared, None, {}, Answers(seed).context(plan)) for seed in range(20)]
    broken = [by_reference(prepared, None, {}, Answers(seed, faults=0.3).context(plan)) for seed in range(20)]
    assert sum(bool(each.failures) for each in broken) > 10
    assert sum(bool(each.failures) for each in sound) <= sum(each.data == b"null" for each in sound)


VALUES: dict[str, tuple[Any, ...]] = {
    "asOf": (
        NOW,
        datetime(2026, 1, 2, 3, 4, 5, 60, tzinfo=UTC),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=8, minutes=30, seconds=30))),
        datetime(7, 1, 2, tzinfo=UTC),
        datetime(2026, 1, 2),  # noqa: DTZ001  # a source may forget the zone
        date(2026, 1, 2),
        "2026-01-02",
    ),
    "complete": (True, False, 1, 0.0, "yes", None),
    "state": (*SectionState, "HAS", "nobody", SubjectKind.NP, None),
    "level": (None, Level.FULL, "FULL", SectionState.HAS),
    "records { totalCount }": ((), (1, 2)),
    "withheld { code field }": ((), [answers.Withheld("f", "c")], iter(()), "text", None, {}),
    "sources { __typename }": ((None,), (ValueError("x"),), (7,), None),
    "reason { __typename }": (None, ValueError("x"), 7),
    "reason { code }": (None, answers.Reason("c", "m"), answers.Reason(SectionState.HAS, "m"), 5),
}


@pytest.mark.parametrize(
    ("selection", "value"),
    [(selection, value) for selection, values in VALUES.items() for value in values],
    # Its text would hold an address, which differs from one worker to the next.
    ids=lambda value: "iterator" if isinstance(value, Iterator) else str(value),
)
def test_each_value_is_written_as_strawberry_writes_it(selection: str, value: Any) -> None:
    name = {"asOf": "as_of"}.get(selection, selection.split()[0])
    section = answers.SectionAnswer(section=PENALTIES, state=SectionState.NONE)
    changed = msgspec.structs.replace(section, **{name: value})
    failing(of_penalties(selection), answers.SubjectAnswer(SubjectKind.ORG, (), {"penalties": changed}))
