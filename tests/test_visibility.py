"""What a caller sees of the schema: all that it may ever use, and nothing more."""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

import graphql
import pytest
from browser import chromium
from click.testing import CliRunner
from graphql import (
    GraphQLSchema,
    build_client_schema,
    get_introspection_query,
    lexicographic_sort_schema,
    print_schema,
    validate_schema,
)
from service import BANK, BUREAU, CLEAN, PENALISED, Client, gateway
from strawberry.utils.str_converters import to_camel_case

from connectors.sandbox.issuer import PERSONAS
from connectors.sandbox.server import Sandbox
from gateway.app import load_bundle, utc_now
from gateway.cli import main
from gateway.policy import permissions
from gateway.river import PROVINCE_TIME
from gateway.settings import ExplorerSettings, PolicySettings, Visibility
from gateway.visibility import TokenLimits, Views, introspects, reach, visible_schema
from policies.caller import Caller
from policies.catalogue import SECTION_OF
from policies.table import Cell, Table, Tables
from policies.vocabulary import Level, SubjectKind
from resolvers.answers import PermissionAnswer
from resolvers.schema import build_schema
from resolvers.subjects import KIND_TYPES

BUNDLES = {name: load_bundle(name) for name in ("example", "small-province")}
TABLES = {name: Tables(bundle) for name, bundle in BUNDLES.items()}
SCHEMAS = {name: build_schema(bundle)._schema for name, bundle in BUNDLES.items()}
TODAY = utc_now().astimezone(PROVINCE_TIME).date()
TABLE, FULL = TABLES["example"].on(TODAY), SCHEMAS["example"]
INTROSPECTION = get_introspection_query(descriptions=True, input_value_deprecation=True, one_of=True)


def caller(limits: TokenLimits) -> Caller:
    assert limits.purposes is not None
    return Caller(
        unit="unit", unit_name="unit", type=limits.caller_type, level=None, division=None,
        purposes=limits.purposes, categories=limits.categories, officer=None, identity=None,
        synthetic_only=False, client="client", token_id="1", expires=0,
    )  # fmt: skip


def names(schema: GraphQLSchema, type_name: str) -> set[str]:
    """Fields or values of a type; none when it is not there."""
    named: Any = schema.type_map.get(type_name)
    return set() if named is None else set(getattr(named, "fields", None) or named.values)


def seen_by(caller_type: str, *purposes: str, categories: frozenset[str] | None = None) -> GraphQLSchema:
    return visible_schema(FULL, TABLE, TokenLimits(caller_type, frozenset(purposes) or None, categories))


def in_order(schema: GraphQLSchema) -> str:
    return print_schema(lexicographic_sort_schema(schema))


# --- the property: a cut holds what the dry run calls possible


def limits_to_try(table: Table) -> Iterator[TokenLimits]:
    """Every caller type with all its purposes and with each one; one token for each outcome."""
    tried = set()
    for caller_type in table.callers:
        usable = table.purposes_of(caller_type)
        for purposes in (frozenset(usable), *(frozenset({purpose}) for purpose in usable)):
            limits = TokenLimits(caller_type, purposes)
            outcome = repr(reach(table, limits))
            if outcome not in tried:
                tried.add(outcome)
                yield limits


def possible(table: Table, limits: TokenLimits) -> Iterator[tuple[SubjectKind, PermissionAnswer]]:
    """What the caller's own `permissions` list as possible, for every purpose and kind."""
    for purpose in limits.purposes or ():
        for kind in KIND_TYPES:
            for permission in permissions(table, caller(limits), purpose, kind):
                if permission.possible:
                    yield kind, permission


def cells(table: Table, limits: TokenLimits) -> list[Cell]:
    found = (
        table.cell(limits.caller_type, purpose, kind, category)
        for purpose in limits.purposes or ()
        for kind in SubjectKind
        for category in table.categories
    )
    return [cell for cell in found if isinstance(cell, Cell)]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_cut_is_valid_and_holds_what_is_possible_and_no_more(bundle: str) -> None:
    table, full = TABLES[bundle].on(TODAY), SCHEMAS[bundle]
    tried = list(limits_to_try(table))
    assert {limits.caller_type for limits in tried} <= set(table.callers)
    assert len(tried) > 10
    for limits in tried:
        given = cells(table, limits)
        if any(cell.level is Level.SCHEMA_ONLY for cell in given):
            continue
        cut = visible_schema(full, table, limits)
        assert validate_schema(cut) == [], limits
        sections: dict[str, set[str]] = {name: set() for name in KIND_TYPES.values()}
        records: dict[str, set[str]] = {section.type_name: set() for section in SECTION_OF.values()}
        evidence: set[str] = set()
        for kind, permission in possible(table, limits):
            evidence |= {to_camel_case(n) for need in permission.needs for ns in need.evidence for n in ns}
            section = SECTION_OF.get((permission.category, kind))
            if section is not None:
                sections[KIND_TYPES[kind]].add(to_camel_case(section.name))
                records[section.type_name] |= set(permission.fields)
        for type_name, wanted in sections.items():
            assert names(cut, type_name) - {"kind", "warnings"} == wanted, (limits, type_name)
        for type_name, wanted in records.items():
            assert names(cut, type_name) == wanted, (limits, type_name)
        assert names(cut, "Purpose") == set(limits.purposes or ()), limits
        assert evidence <= names(cut, "Evidence"), limits
        counted = "statistics" in names(cut, "Inquiry") or "recordApplication" in names(cut, "Mutation")
        assert names(cut, "Category") == ({cell.category for cell in given} if counted else set()), limits
        assert names(cut, "SubjectKind") == {cell.kind.value for cell in given}, limits


@pytest.mark.parametrize("bundle", BUNDLES)
def test_evidence_that_is_seen_is_asked_for_by_some_rule(bundle: str) -> None:
    table, full = TABLES[bundle].on(TODAY), SCHEMAS[bundle]
    conditions = table.bundle.conditions
    for caller_type in table.callers:
        limits = TokenLimits(caller_type, frozenset(table.purposes))
        given = cells(table, limits)
        if any(cell.level is Level.SCHEMA_ONLY for cell in given):
            continue
        asked = {
            to_camel_case(name)
            for cell in given
            for code in (*cell.rule.conditions, *cell.rule.obligations)
            for alternative in conditions[code].evidence
            for name in alternative
        }
        assert names(visible_schema(full, table, limits), "Evidence") == asked, caller_type


def test_whatever_is_seen_is_as_in_the_full_schema() -> None:
    for caller_type in TABLE.callers:
        cut = seen_by(caller_type)
        for name, named in cut.type_map.items():
            assert named.description == FULL.type_map[name].description
            for key, field in getattr(named, "fields", {}).items():
                whole = FULL.type_map[name].fields[key]  # type: ignore[attr-defined]
                assert (str(field.type), field.description) == (str(whole.type), whole.description)


# --- cases


def test_a_bank_does_not_see_what_it_never_gets() -> None:
    cut, printed = seen_by("BANK"), print_schema(seen_by("BANK"))
    assert "facts" in names(FULL, "Penalty") - names(cut, "Penalty")
    assert "amount" in names(FULL, "TaxPayment") - names(cut, "TaxPayment")
    assert "amountBand" in names(cut, "TaxPayment")
    assert names(cut, "Purpose") == set(TABLE.purposes_of("BANK"))
    assert {"authorization", "contractId"} <= names(cut, "Evidence")
    assert names(cut, "Evidence").isdisjoint({"caseNumber", "auditOrderNumber", "projectNumber"})
    assert not re.search(r"\bJUDICIAL\b", printed)
    assert "CRIMINAL" not in printed


def test_purposes_are_united() -> None:
    loan, public = seen_by("BANK", "LOAN_PRECHECK"), seen_by("BANK", "PUBLIC_VIEW")
    both = seen_by("BANK", "LOAN_PRECHECK", "PUBLIC_VIEW")
    for type_name in ("Organisation", "NaturalPerson", "Penalty", "Evaluation", "Evidence", "Purpose"):
        united = names(loan, type_name) | names(public, type_name)
        assert names(both, type_name) == united
    assert names(public, "NaturalPerson") == names(public, "Evidence") == set()
    assert "Evidence" in print_schema(loan)
    assert "Evidence" not in re.findall(r"evidence: (\w+)", print_schema(public))
    assert "resident" not in names(public, "SubjectId")
    assert "resident" in names(loan, "SubjectId")


def test_a_narrowed_token_sees_its_categories_alone() -> None:
    cut = seen_by("BANK", categories=frozenset({"REG_ORG", "PENALTY"}))
    assert names(cut, "Organisation") == {"kind", "warnings", "registration", "penalties"}
    assert names(cut, "NaturalPerson") == set()
    assert "LicenceSection" not in cut.type_map
    assert "search" in names(cut, "Inquiry")
    without = seen_by("BANK", categories=frozenset({"PENALTY"}))
    assert "search" not in names(without, "Inquiry")
    assert "OrganisationHits" not in without.type_map
    assert names(without, "CreditSubject") == {"kind", "warnings"}


def test_whoever_explores_the_schema_sees_it_whole() -> None:
    assert in_order(seen_by("DEVELOPER")) == in_order(FULL)
    narrowed = seen_by("DEVELOPER", categories=frozenset({"PENALTY"}))
    assert names(narrowed, "Penalty") == names(FULL, "Penalty")
    assert names(narrowed, "Purpose") == names(FULL, "Purpose")
    assert names(narrowed, "Organisation") == {"kind", "warnings", "penalties"}
    public = seen_by("DEVELOPER", "PUBLIC_VIEW")
    assert names(public, "Purpose") == {"PUBLIC_VIEW"}


@pytest.mark.parametrize(
    "limits",
    [
        TokenLimits("BANK", frozenset()),
        TokenLimits("BANK", frozenset({"JUDICIAL", "NO_SUCH_PURPOSE"})),
        TokenLimits("BANK", None, frozenset()),
        TokenLimits("NO_SUCH_TYPE"),
    ],
)
def test_who_gets_nothing_sees_no_door_to_a_subject(limits: TokenLimits) -> None:
    cut = visible_schema(FULL, TABLE, limits)
    assert validate_schema(cut) == []
    assert names(cut, "Query").isdisjoint({"inquiry", "permissions"})
    assert {"catalogue", "viewer"} <= names(cut, "Query")
    assert cut.type_map.keys().isdisjoint({"Purpose", "Inquiry", "Organisation", "CreditRecord", "Evidence"})


def test_the_law_of_the_day_counts() -> None:
    early = TABLES["example"].on(date(2020, 1, 1))
    views = Views(FULL)
    bank = caller(TokenLimits("BANK", frozenset(TABLE.purposes)))
    assert names(views.of(TABLE, bank), "Purpose")
    assert names(views.of(early, bank), "Purpose") == set()


def test_views_are_kept_and_few() -> None:
    views = Views(FULL, size=2)
    tokens = [caller(TokenLimits("BANK", frozenset({purpose}))) for purpose in TABLE.purposes_of("BANK")]
    first = views.of(TABLE, tokens[0])
    assert views.of(TABLE, tokens[0]) is first
    views.of(TABLE, tokens[1])
    assert views.of(TABLE, tokens[0]) is first
    for token in tokens[1:]:
        views.of(TABLE, token)
    assert len(views._kept) == 2
    assert views.of(TABLE, tokens[0]) is not first


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ __schema { queryType { name } } }", True),
        ('{ a: __type(name: "Query") { name } }', True),
        ("{__schema{description}}", True),
        ("{ viewer { __typename } }", False),
        ("{ viewer { type } }", False),
    ],
)
def test_introspection_is_recognised(document: str, expected: bool) -> None:
    assert introspects(document) is expected


# --- the command line


def test_the_command_line_prints_what_a_caller_type_sees() -> None:
    printed = CliRunner().invoke(main, ["schema", "--caller", "BANK"])
    assert printed.exit_code == 0
    assert validate_schema(graphql.build_schema(printed.output)) == []
    assert printed.output.rstrip("\n") == print_schema(seen_by("BANK"))
    wrong = CliRunner().invoke(main, ["schema", "--caller", "BANC"])
    assert wrong.exit_code == 1
    assert "--caller: 'BANC' is not in the bundle; nearest: BANK" in wrong.output


# --- over HTTP


@pytest.fixture(scope="module")
async def narrow(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A gateway that shows each caller its own part of the schema."""
    async with gateway(
        sandbox,
        tmp_path_factory.mktemp("narrow"),
        policy=PolicySettings(visibility=Visibility.CALLER),
        explorer=ExplorerSettings(demo_issuer=sandbox.urls["issuer"]),
    ) as client:
        yield client


@pytest.mark.parametrize("client_id", [BUREAU, BANK, "public", "developer"])
async def test_introspection_shows_the_part_of_the_caller(narrow: Client, client_id: str) -> None:
    body = await narrow.ask(client_id, INTROSPECTION)
    persona = PERSONAS[client_id]
    expected = seen_by(persona.caller_type, *persona.purposes)
    assert in_order(build_client_schema(body["data"])) == in_order(expected)


async def test_a_narrower_token_sees_less(narrow: Client) -> None:
    query = '{ __type(name: "Purpose") { enumValues { name } } }'
    body = await narrow.ask(BANK, query, purposes="PUBLIC_VIEW")
    assert body["data"]["__type"]["enumValues"] == [{"name": "PUBLIC_VIEW"}]


async def test_every_way_to_introspect_is_cut(narrow: Client) -> None:
    body = await narrow.ask(
        BANK,
        """
        query ($name: String!) {
          __typename
          ...Types
          direct: __type(name: "TaxPayment") { ...Fields interfaces { fields { name } } }
          gone: __type(name: $name) { name }
          abstract: __type(name: "CreditSubject") { possibleTypes { name ...Fields } }
          record: __type(name: "Penalty") { interfaces { possibleTypes { name } } }
          input: __type(name: "Evidence") { inputFields { name } }
          door: __type(name: "Query") { fields { name args { type { ofType { enumValues { name } } } } } }
        }
        fragment Types on Query { __schema { __typename types { name } } }
        fragment Fields on __Type { fields { name type { name ofType { name } } } }
        """,
        {"name": "Dimension"},
        purposes="LOAN_PRECHECK",
    )
    data = body["data"]
    assert data["__typename"] == "Query"
    assert data["__schema"]["__typename"] == "__Schema"
    expected = seen_by("BANK", "LOAN_PRECHECK")
    assert {each["name"] for each in data["__schema"]["types"]} == set(expected.type_map)
    assert {each["name"] for each in data["direct"]["fields"]} == names(expected, "TaxPayment")
    assert data["gone"] is None
    assert {each["name"] for each in data["abstract"]["possibleTypes"]} == {
        kind for kind in KIND_TYPES.values() if kind in expected.type_map
    }
    shown = repr(data)
    assert "'facts'" not in shown
    assert "'JUDICIAL'" not in shown
    assert {each["name"] for each in data["input"]["inputFields"]} == names(expected, "Evidence")


async def test_an_inquiry_beside_introspection_is_answered_and_shows_no_more(narrow: Client) -> None:
    body = await narrow.ask(
        "public",
        """
        query ($id: SubjectId!) {
          inquiry(purpose: PUBLIC_VIEW) { subject(id: $id) { __typename ... on Organisation {
            registration { state record { name __typename } } penalties { state records { nodes { facts kind } } }
            taxPayments { state reason { code remedy } records { nodes { amount } } } } } }
          __schema { types { name fields { name } } }
          __type(name: "TaxPayment") { name }
        }
        """,
        {"id": {"creditCode": CLEAN}},
    )
    data, subject = body["data"], body["data"]["inquiry"]["subject"]
    assert subject["__typename"] == "Organisation"
    assert subject["registration"]["record"]["__typename"] == "Registration"
    assert subject["registration"]["state"] == "HAS"
    assert subject["taxPayments"]["state"] == "DENIED"
    assert subject["taxPayments"]["reason"]["remedy"]
    assert data["__type"] is None
    assert {each["name"] for each in data["__schema"]["types"]} == set(
        seen_by("PUBLIC", *PERSONAS["public"].purposes).type_map
    )


async def test_a_field_that_is_not_seen_is_answered_with_its_denial(narrow: Client) -> None:
    query = """
        query ($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $id) { ... on Organisation {
          penalties { state withheld { field code } records { nodes { kind content facts } } } } } } }
    """
    shown = names(seen_by("PUBLIC", *PERSONAS["public"].purposes), "Penalty")
    assert "facts" not in shown
    body = await narrow.ask("public", query, {"id": {"creditCode": PENALISED}})
    section = body["data"]["inquiry"]["subject"]["penalties"]
    assert section["state"] == "HAS"
    assert {"field": "facts", "code": "PERMIT_REDUCED"} in section["withheld"]
    assert all(node["facts"] is None for node in section["records"]["nodes"])
    denied = await narrow.ask(
        "public", "{ inquiry(purpose: JUDICIAL) { search(name: \"xy\") { state reason { code remedy } } } }"
    )  # fmt: skip
    assert denied["data"]["inquiry"]["search"]["state"] == "DENIED"
    assert denied["data"]["inquiry"]["search"]["reason"]["code"] == "DENY_PURPOSE"


ALMOST = [
    ("{ inquiri { receipt { id } } }", {}, "inquiry"),
    ("{ inquiry(purpose: JUDICIALY) { receipt { id } } }", {}, "JUDICIAL"),
    ("{ inquiry(purpse: JUDICIAL) { receipt { id } } }", {}, "purpose'?"),
    ("query ($p: Purpose!) { inquiry(purpose: $p) { receipt { id } } }", {"p": "JUDICIALY"}, "JUDICIAL"),
    ("query ($p: Purposes!) { inquiry(purpose: $p) { receipt { id } } }", {"p": "SELF"}, "Purpose'"),
    (
        "{ inquiry(purpose: PUBLIC_VIEW, evidence: {caseNumbr: \"1\"}) { receipt { id } } }",
        {},
        "caseNumber",
    ),
    (
        "query ($e: Evidence) { inquiry(purpose: PUBLIC_VIEW, evidence: $e) { receipt { id } } }",
        {"e": {"caseNumbr": "1"}},
        "caseNumber",
    ),
    (
        "query ($i: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $i) { kind } } }",
        {"i": {"residnt": "1"}},
        "resident",
    ),
    (
        "query ($i: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $i) { kind } } }",
        {"i": {}},
        "resident",
    ),
    ("{ permissions(purpose: PUBLIC_VIEW, subjectKind: NPP) { category } }", {}, "NP?"),
    (
        "{ inquiry(purpose: PUBLIC_VIEW) { subject(id: {creditCode: \"1\"}) { taxPayments { state } } } }",
        {},
        "NaturalPerson",
    ),
    (
        "{ inquiry(purpose: PUBLIC_VIEW) { subject(id: {creditCode: \"1\"}) { ... on Organisation { "
        "taxPayment { state } } } } }",
        {},
        "taxPayments",
    ),
    ("{ inquiry(purpose: PUBLIC_VIEW) { subject(id: {creditCode: \"1\"}) { ... on NaturalPersn { kind } } } }", {}, "NaturalPerson"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "variables", "hint"), ALMOST)
async def test_complaints_name_nothing_that_was_not_written(
    client: Client, narrow: Client, query: str, variables: dict[str, Any], hint: str
) -> None:
    hinting = await client.post("public", query, variables)
    assert hinting.status_code == 400
    assert hint in hinting.text
    plain = await narrow.post("public", query, variables)
    assert plain.status_code == 400
    assert [error["extensions"] for error in plain.json()["errors"]] == [
        error["extensions"] for error in hinting.json()["errors"]
    ]
    written = set(re.findall(r"\w+", query)) | set(re.findall(r"\w+", repr(variables)))
    schema_names = {name for name in FULL.type_map if not name.startswith("__")}
    schema_names |= {member for name in schema_names for member in _member_names(name)}
    words = {word for error in plain.json()["errors"] for word in re.findall(r"\w+", error["message"])}
    # The types of what was written are named, and ordinary words that happen to be fields.
    ordinary = {"Query", "Inquiry", "CreditSubject", "SubjectId", "Purpose", "SubjectKind", "Organisation"}
    ordinary |= {"field", "type", "purpose", "Evidence", "kind", "fields", "value"}
    assert (words & schema_names) - written <= ordinary
    assert "did you mean" not in plain.text.lower()


def _member_names(type_name: str) -> set[str]:
    named: Any = FULL.type_map[type_name]
    return set(getattr(named, "fields", None) or getattr(named, "values", None) or ())


async def test_the_full_schema_is_shown_where_nothing_else_is_said(client: Client) -> None:
    body = await client.ask(BANK, INTROSPECTION)
    assert in_order(build_client_schema(body["data"])) == in_order(FULL)


async def test_the_explorer_works_on_a_part_of_the_schema(
    narrow: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    editor = "document.querySelector('.graphiql-query-editor .CodeMirror')?.CodeMirror"
    purposes = f"{editor}?.options?.lint?.schema?.getType('Purpose')?.getValues().map(v => v.name).join(' ')"
    # The browser's socket lies in the folder: its path must be short.
    async with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        page = await browser.new_page()
        await page.open(f"{narrow.url}/explorer")
        await page.wait_for(f"{purposes} === '{' '.join(TABLE.purposes)}'")
        await page.click("[data-persona='bank']")
        await page.wait_for(f"{purposes} === '{' '.join(TABLE.purposes_of('BANK'))}'")
        assert page.complaints == []
