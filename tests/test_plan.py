"""What an operation requires: exactly what an executor would resolve, neither more nor less."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import graphql
import pytest
from generate_operations import Generated, operations
from strawberry.utils.str_converters import to_camel_case

from gateway.app import load_bundle
from gateway.errors import Code, GatewayError
from gateway.limits import Limits
from gateway.operation import coerce_variables
from gateway.plan import Documents, Plan
from policies.caller import Caller
from policies.catalogue import SECTION_OF, SECTIONS, Record, Section, fields_of
from policies.vocabulary import SectionState, SubjectKind
from resolvers import answers
from resolvers.schema import Context, build_schema

BUNDLE = load_bundle("example")
SCHEMA = build_schema(BUNDLE)._schema
DOCUMENTS = Documents(SCHEMA, Limits())
NOW = datetime(2026, 11, 20, tzinfo=UTC)

ORG, IND, NP, GOV = SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP, SubjectKind.GOV
BITS = {
    section.type_name: {field.name: 1 << bit for bit, field in enumerate(fields_of(section.record))}
    for section in SECTIONS
}
Fields = dict[str, set[str]]
"""Category to the names of the record fields asked."""


def plan_of(
    text: str,
    variables: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    documents: Documents = DOCUMENTS,
) -> Plan:
    prepared = documents.get(text, name)
    return prepared.plan(coerce_variables(SCHEMA, prepared.operation, dict(variables or {})).coerced)


def names_of(category: str, kind: SubjectKind, mask: int) -> set[str]:
    section = SECTION_OF[(category, kind)]
    return {to_camel_case(f.name) for bit, f in enumerate(fields_of(section.record)) if mask >> bit & 1}


def asked(plan: Plan, kind: SubjectKind = ORG, key: str = "subject") -> Fields:
    (lookup,) = [lookup for lookup in plan.lookups if lookup.key == key]
    return {category: names_of(category, kind, mask) for category, mask in lookup.sections[kind].items()}


def refused(text: str, variables: Mapping[str, Any] | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        plan_of(text, variables)
    return caught.value


def of_subject(selections: str, head: str = "query", tail: str = "") -> str:
    identifier = '{creditCode: "91990100FAKE00013D"}'
    return (
        f"{head} {{ inquiry(purpose: LICENSING) {{ subject(id: {identifier}) {{ {selections} }} }} }} {tail}"
    )


def of_penalties(selections: str, head: str = "query", tail: str = "") -> str:
    return of_subject(f"... on Organisation {{ penalties {{ {selections} }} }}", head, tail)


SHAPES = {
    "nodes": ("records { nodes { facts fine } }", {"facts", "fine"}),
    "edges": ("records { edges { cursor node { facts } } }", {"facts"}),
    "nodes and edges": ("records { nodes { facts } edges { node { fine } } }", {"facts", "fine"}),
    "pages under aliases": (
        "a: records(first: 1) { nodes { facts } } b: records(first: 2) { nodes { fine } }",
        {"facts", "fine"},
    ),
    "fields under aliases": ("records { nodes { a: facts b: fine facts } }", {"facts", "fine"}),
    "merged": ("records { nodes { facts } } records { nodes { fine } }", {"facts", "fine"}),
    "one response key, two fields, two pages": (
        "a: records(first: 1) { nodes { k: facts } } b: records(first: 2) { nodes { k: content } }",
        {"facts", "content"},
    ),
    "one response key, two fields, nodes and edges": (
        "records { nodes { k: facts } edges { node { k: content } } }",
        {"facts", "content"},
    ),
    "one response key, two fields, two lists of a page": (
        "records { a: nodes { k: facts } b: nodes { k: content } }",
        {"facts", "content"},
    ),
    "state only": ("state", set()),
    "count only": ("records { totalCount pageInfo { hasNextPage } }", set()),
    "cursors only": ("records { edges { cursor } }", set()),
    "typename of a section": ("__typename", set()),
    "typename of a record": ("records { nodes { __typename } }", set()),
    "a field named as a typename": ("records { nodes { facts: __typename } }", set()),
    "a fragment on the record": ("records { nodes { ...F } }", {"facts", "provider"}),
    "a fragment on an interface of the record": (
        "records { nodes { ... on AdverseRecord { severity } } }",
        {"severity"},
    ),
    "a fragment on every record": ("records { nodes { ... on CreditRecord { recordId } } }", {"recordId"}),
    "a fragment without a condition": ("... { records { ... { nodes { ... { facts } } } } }", {"facts"}),
    "a fragment on the section's interface": ("... on Section { state }", set()),
    "a literal skip": ("records { nodes { facts @skip(if: true) fine @skip(if: false) } }", {"fine"}),
    "a literal include": (
        "records { nodes { facts @include(if: true) fine @include(if: false) } }",
        {"facts"},
    ),
    "skip wins over include": (
        "records { nodes { facts fine @skip(if: true) @include(if: true) } }",
        {"facts"},
    ),
    "a skipped list": ("records { nodes @skip(if: true) { facts } edges { node { fine } } }", {"fine"}),
    "a skipped fragment": ("records { nodes { fine ...F @include(if: false) } }", {"fine"}),
    "one spread of a fragment skipped": (
        "records { nodes { ...F @skip(if: true) ...F } }",
        {"facts", "provider"},
    ),
    "a skipped inline fragment": ("records { nodes { fine ... @skip(if: true) { facts } } }", {"fine"}),
}


@pytest.mark.parametrize(("selections", "expected"), SHAPES.values(), ids=SHAPES)
def test_record_fields_through_every_shape(selections: str, expected: set[str]) -> None:
    tail = "fragment F on Penalty { facts ... on CreditRecord { provider } }" if "...F" in selections else ""
    assert asked(plan_of(of_penalties(selections, tail=tail))) == {"PENALTY": expected}


def test_a_single_section_has_one_record() -> None:
    plan = plan_of(of_subject("... on RegisteredSubject { registration { record { name city } } }"))
    registration = {"REG_ORG": {"name", "city"}}
    assert [asked(plan, kind) for kind in (ORG, IND, GOV, NP)] == [registration] * 3 + [{}]


@pytest.mark.parametrize(
    ("selections", "categories"),
    [
        ("... on Organisation { honours { state } }", {ORG: {"HONOUR"}}),
        ("... on IndividualBusiness { honours { state } }", {IND: {"HONOUR"}}),
        ("... on NaturalPerson { honours { state } identityMatch { state } }", {NP: {"HONOUR", "REG_NP"}}),
        ("... on GovernmentBody { registration { state } }", {GOV: {"REG_ORG"}}),
        ("... on OperatingSubject { honours { state } }", {ORG: {"HONOUR"}, IND: {"HONOUR"}}),
        ("... on RegisteredSubject { registration { state } }", {kind: {"REG_ORG"} for kind in (ORG, IND, GOV)}),
        (
            "... on CreditSubject { kind ... on RegisteredSubject { ... on Organisation { arrears { state } } } }",
            {ORG: {"ARREARS"}},
        ),
        (
            "... on NaturalPerson { x: marketCredit { state } } ... on Organisation { x: evaluations { state } }",
            {NP: {"MARKET"}, ORG: {"EVALUATION"}},
        ),
        (
            "... on OperatingSubject { honours { state } ... on Organisation { arrears { state } } }",
            {ORG: {"HONOUR", "ARREARS"}, IND: {"HONOUR"}},
        ),
        ("kind warnings __typename", {}),
        ("honours: __typename", {}),
    ],
)  # fmt: skip
def test_each_kind_is_asked_what_applies_to_it(
    selections: str, categories: dict[SubjectKind, set[str]]
) -> None:
    plan = plan_of(of_subject(selections))
    assert {kind: set(asked(plan, kind)) for kind in (ORG, IND, NP, GOV)} == {
        kind: categories.get(kind, set()) for kind in (ORG, IND, NP, GOV)
    }


def test_the_same_category_of_two_kinds_asks_each_for_its_own_record() -> None:
    plan = plan_of(
        of_subject(
            "... on NaturalPerson { marketCredit { records { nodes { kind statedOn } } } }"
            "... on OperatingSubject { marketCredit { records { nodes { rating } } } }"
        )
    )
    assert asked(plan, NP) == {"MARKET": {"kind", "statedOn"}}
    assert asked(plan, ORG) == asked(plan, IND) == {"MARKET": {"rating"}}


def test_a_section_under_two_aliases_is_one_category() -> None:
    selections = "... on Organisation { a: honours { records { nodes { title } } } b: honours { records { nodes { rank } } } }"
    assert asked(plan_of(of_subject(selections))) == {"HONOUR": {"title", "rank"}}


def test_subjects_under_aliases_are_lookups_of_their_own() -> None:
    one, two = '(id: {creditCode: "91990100FAKE00013D"})', '(id: {creditCode: "91990105FAKE00128U"})'
    plan = plan_of(
        f"{{ inquiry(purpose: LICENSING) {{ a: subject{one} {{ ...S }} b: subject{two} {{ kind }} "
        f'c: subjects(of: []) {{ ...S }} d: search(name: "示例") {{ state }} receipt {{ id }} }} }}'
        "fragment S on CreditSubject { ... on Organisation { penalties { state } } }"
    )
    assert [(lookup.key, lookup.field) for lookup in plan.lookups] == [
        ("a", "subject"),
        ("b", "subject"),
        ("c", "subjects"),
        ("d", "search"),
    ]
    assert asked(plan, key="a") == asked(plan, key="c") == {"PENALTY": set()}
    assert asked(plan, key="b") == {}


def test_merged_subjects_are_one_lookup() -> None:
    one = '(id: {creditCode: "91990100FAKE00013D"})'
    plan = plan_of(
        f"{{ inquiry(purpose: LICENSING) {{ subject{one} {{ ... on Organisation {{ penalties {{ state }} }} }} "
        f"... {{ subject{one} {{ ... on Organisation {{ honours {{ state }} }} }} }} }} }}"
    )
    assert len(plan.lookups) == 1
    assert set(asked(plan)) == {"PENALTY", "HONOUR"}


def test_two_inquiries_are_refused() -> None:
    text = (
        "{ inquiry(purpose: LICENSING) { receipt { id } } other: inquiry(purpose: AUDIT) { receipt { id } } }"
    )
    assert refused(text).code is Code.ONE_INQUIRY_PER_OPERATION


def test_two_selections_of_one_inquiry_are_one() -> None:
    text = (
        "{ q: inquiry(purpose: LICENSING) { receipt { id } } ...Rest } fragment Rest on Query "
        '{ q: inquiry(purpose: LICENSING) { subject(id: {creditCode: "91990100FAKE00013D"}) { kind } } }'
    )
    assert [lookup.key for lookup in plan_of(text).lookups] == ["subject"]


def test_a_skipped_second_inquiry_is_none() -> None:
    text = (
        "query($also: Boolean!) { inquiry(purpose: LICENSING) { receipt { id } } "
        "other: inquiry(purpose: AUDIT) @include(if: $also) { receipt { id } } }"
    )
    assert plan_of(text, {"also": False}).inquiry is not None
    assert refused(text, {"also": True}).code is Code.ONE_INQUIRY_PER_OPERATION


def test_an_operation_without_an_inquiry_requires_nothing() -> None:
    for text in (
        "{ viewer { unit } }",
        "{ inquiry: __typename }",
        "{ inquiry(purpose: AUDIT) @skip(if: true) { __typename } __typename }",
    ):
        assert plan_of(text) == Plan(None, ())


def test_the_named_operation_alone_counts() -> None:
    text = of_penalties("records { nodes { facts } }", "query A") + of_penalties(
        "records { nodes { fine } }", "query B"
    )
    text += " query C { viewer { unit } }"
    assert asked(plan_of(text, name="A")) == {"PENALTY": {"facts"}}
    assert asked(plan_of(text, name="B")) == {"PENALTY": {"fine"}}
    assert plan_of(text, name="C").inquiry is None


PLACES = {
    "a field": "records {{ nodes {{ {on} facts: facts {directive} }} }}",
    "a list": "records {{ {on} nodes {directive} {{ facts }} }}",
    "a page": "state records {directive} {{ nodes {{ facts }} }}",
    "an inline fragment": "records {{ nodes {{ {on} ... {directive} {{ facts }} }} }}",
    "a typed inline fragment": "records {{ nodes {{ {on} ... on Penalty {directive} {{ facts }} }} }}",
    "a spread": "records {{ nodes {{ {on} ...F {directive} }} }}",
    "inside a fragment": "records {{ nodes {{ {on} ...G }} }}",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("declared", "variables", "value"),
    [
        ("$v: Boolean!", {"v": True}, True),
        ("$v: Boolean!", {"v": False}, False),
        ("$v: Boolean = true", {}, True),
        ("$v: Boolean = false", {}, False),
        ("$v: Boolean = true", {"v": False}, False),
        ("$v: Boolean! = false", {"v": True}, True),
    ],
)
@pytest.mark.parametrize("name", ["skip", "include"])
def test_switches_by_variable(
    place: str, declared: str, variables: dict[str, bool], value: bool, name: str
) -> None:
    directive = f"@{name}(if: $v)"
    selections = PLACES[place].format(on="__typename", directive=directive)
    tail = "fragment F on Penalty { facts }" if "...F" in selections else ""
    tail = f"fragment G on Penalty {{ facts {directive} }}" if "...G" in selections else tail
    expected = {"facts"} if value is (name == "include") else set()
    plan = plan_of(of_penalties(selections, f"query({declared})", tail), variables)
    assert asked(plan) == {"PENALTY": expected}


def test_a_skipped_section_is_not_asked() -> None:
    text = of_subject("kind ... on Organisation { penalties @skip(if: $v) { state } }", "query($v: Boolean!)")
    assert asked(plan_of(text, {"v": True})) == {}
    assert asked(plan_of(text, {"v": False})) == {"PENALTY": set()}


def test_a_null_switch_is_refused_before_anything_is_planned() -> None:
    text = of_penalties("state level @skip(if: $v)", "query($v: Boolean = true)")
    fault = refused(text, {"v": None})
    assert fault.code is Code.BAD_VARIABLE
    assert "$v" in fault.message
    assert "null" in fault.message


def test_a_variable_that_switches_another_operation_is_no_switch_here() -> None:
    text = of_penalties("records(after: $v) { totalCount }", "query A($v: String)")
    text += of_penalties("state level @skip(if: $v)", "query B($v: Boolean!)")
    prepared = DOCUMENTS.get(text, "A")
    assert prepared.switches == ()
    assert DOCUMENTS.get(text, "B").switches == ("v",)


def test_any_number_of_switches_keeps_a_bounded_number_of_plans() -> None:
    switches = [f"s{i}" for i in range(8)]
    fields = ["recordId", "provider", "marks", "decidedOn", "severity", "facts", "fine", "content"]
    declared = ", ".join(f"${name}: Boolean!" for name in switches)
    body = " ".join(
        f"{field} @include(if: ${switch})" for field, switch in zip(fields, switches, strict=True)
    )
    prepared = DOCUMENTS.get(of_penalties(f"records {{ nodes {{ {body} }} }}", f"query({declared})"), None)
    for number in range(256):
        variables = {name: bool(number >> bit & 1) for bit, name in enumerate(switches)}
        plan = prepared.plan(variables)
        assert asked(plan) == {
            "PENALTY": {field for field, name in zip(fields, switches, strict=True) if variables[name]}
        }
        assert prepared.plan(variables) is plan
        assert len(prepared.plans) <= 64


def test_a_wrong_page_is_known_by_its_response_path() -> None:
    plan = plan_of(
        of_subject(
            "... on Organisation { p: penalties { r: records(first: 5) { totalCount } records { totalCount } } }"
        )
    )
    (lookup,) = plan.lookups
    assert [(page.path, page.parent) for page in lookup.pages[ORG]] == [
        ("p.r", "PenaltySection"),
        ("p.records", "PenaltySection"),
    ]
    assert lookup.pages[IND] == ()


def test_documents_are_told_apart_by_exact_text_and_operation() -> None:
    documents = Documents(SCHEMA, Limits())
    text = of_penalties("state", "query A") + of_penalties("state", "query B")
    a, b = documents.get(text, "A"), documents.get(text, "B")
    assert a is not b
    assert documents.get(text, "A") is a
    assert documents.get(text.replace("91990100FAKE00013D", "91990105FAKE00128U"), "A") is not a
    assert documents.get(text + " ", "A") is not a
    with pytest.raises(GatewayError):
        documents.get(text, None)


def test_no_more_documents_are_kept_than_may_be() -> None:
    documents = Documents(SCHEMA, Limits(), size=3)
    texts = [of_penalties(f"s{i}: state") for i in range(4)]
    first, second, third = (documents.get(text, None) for text in texts[:3])
    assert documents.get(texts[0], None) is first
    documents.get(texts[3], None)
    assert documents.get(texts[0], None) is first
    assert documents.get(texts[2], None) is third
    assert documents.get(texts[1], None) is not second


def test_no_more_characters_are_kept_than_may_be() -> None:
    texts = [of_penalties(f"s{i}: state") for i in range(3)]
    documents = Documents(SCHEMA, Limits(), characters=2 * len(texts[0]))
    first, second = (documents.get(text, None) for text in texts[:2])
    documents.get(texts[2], None)
    assert documents.get(texts[1], None) is second
    assert documents.get(texts[0], None) is not first
    larger = Documents(SCHEMA, Limits(), characters=10)
    assert larger.get(texts[0], None) is not larger.get(texts[0], None)


def test_a_refused_document_is_not_kept() -> None:
    documents = Documents(SCHEMA, Limits())
    for _ in range(2):
        with pytest.raises(GatewayError):
            documents.get("{ inquiry(purpose: LICENSING) { nothing } }", None)


# --- the slow oracle: what graphql-core itself resolves


Seen = dict[str, dict[str, int]]
"""Response key of a lookup to category to the mask of the record fields resolved."""


class Recorder:
    """An inquiry in which every section HAS one record, and which notes what of it is resolved."""

    def __init__(self, kind: SubjectKind) -> None:
        self.kind = kind
        self.seen: Seen = {}

    def __getitem__(self, key: str) -> answers.Lookup:
        asked = self.seen.setdefault(key, {})
        subject = answers.SubjectAnswer(self.kind, (), _Sections(self.kind, asked))
        listed = () if self.kind is NP else (subject,)
        return answers.Lookup(
            subject=subject,
            subjects=listed,
            search=answers.SearchResult(state=SectionState.NONE),
            statistics=answers.StatisticsResult(state=SectionState.NONE),
            log=answers.LogResult(state=SectionState.NONE),
        )


class _Sections(dict[str, answers.SectionAnswer]):
    def __init__(self, kind: SubjectKind, asked: dict[str, int]) -> None:
        self._by_name = {s.name: s for (_, k), s in SECTION_OF.items() if k is kind}
        self._asked = asked

    def __getitem__(self, name: str) -> answers.SectionAnswer:
        section = self._by_name[name]
        self._asked.setdefault(section.category, 0)
        record = _recording(section, self._asked)
        return answers.SectionAnswer(section=section, state=SectionState.HAS, records=(record,))


def _recording(section: Section, asked: dict[str, int]) -> Record:
    bits = BITS[section.type_name]

    class Recording(section.record, frozen=True, kw_only=True):  # type: ignore[name-defined,misc,call-arg]
        def __getattribute__(self, name: str) -> Any:
            asked[section.category] |= bits.get(name, 0)
            return section.record.__getattribute__(self, name)

    made: Record = Recording(record_id="1")
    return made


CALLER = Caller(
    unit="U",
    unit_name="Unit",
    type="BANK",
    level=None,
    division=None,
    purposes=frozenset(),
    categories=None,
    officer=None,
    identity=None,
    synthetic_only=True,
    client="c",
    token_id="t",
    expires=0,
)


def resolved(made: Generated, kind: SubjectKind) -> Seen:
    recorder = Recorder(kind)
    receipt = answers.Receipt("1", NOW, "v", "LICENSING")
    context = Context(
        caller=CALLER,
        inquiry=answers.InquiryAnswer(receipt, recorder),  # type: ignore[arg-type]
        permissions=lambda purpose, kind: (),
    )
    result = graphql.execute_sync(
        SCHEMA,
        graphql.parse(made.text),
        context_value=context,
        variable_values=made.variables,
        operation_name=made.name,
    )
    assert not isinstance(result, Iterator)
    assert result.errors is None, (made.text, result.errors)
    return recorder.seen


def required(plan: Plan, kind: SubjectKind) -> Seen:
    return {lookup.key: dict(lookup.sections.get(kind, {})) for lookup in plan.lookups}


def lists(plan: Plan) -> Iterable[str]:
    return (lookup.key for lookup in plan.lookups if lookup.field == "subjects")


def test_a_plan_requires_exactly_what_graphql_core_resolves() -> None:
    met: Counter[str] = Counter()
    for made in operations(SCHEMA, range(300)):
        plan = plan_of(made.text, made.variables, name=made.name)
        for kind in (ORG, IND, NP, GOV):
            expected, found = resolved(made, kind), required(plan, kind)
            if kind is NP:
                # No list holds natural persons.
                for key in lists(plan):
                    expected.pop(key), found.pop(key)
            assert found == expected, (made.text, made.variables, kind)
            met["lookups"] += len(found)
            met["categories"] += sum(len(sections) for sections in found.values())
            met["fields"] += sum(
                mask.bit_count() for sections in found.values() for mask in sections.values()
            )
        met["fragments"] += made.text.count("fragment ")
        met["directives"] += made.text.count("@")
        met["several operations"] += made.name is not None
    # The generator has to keep reaching the things that this test is about.
    assert min(met[what] for what in ("lookups", "categories", "fields", "fragments", "directives")) > 200, (
        met
    )
    assert met["several operations"] > 20
