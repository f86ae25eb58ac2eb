"""Attacks over HTTP: each is refused, asks no credit source for what is denied, and tells no more than innocence would.

Other files hold the attacks on what they are about: tokens and forged authorizations (`test_identity_http`),
registers (`test_registers`), bad documents, bodies and numbers of aliases (`test_bad_input`), persons' numbers
wherever they could be echoed (`test_no_identifiers`), introspection (`test_visibility`), counts (`test_statistics`).
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import orjson
import pytest
import pytest_asyncio
from issuing import ec_key, serving_jwks, sign
from service import (
    BANK,
    BANK_UNIT,
    BUREAU,
    CLEAN,
    CONTESTED,
    DEFAULTER,
    ENFORCED,
    INDIVIDUAL,
    PENALISED,
    REPAIRED,
    Client,
    Clock,
    serving,
    settings_for,
)

from connectors.sandbox.server import REGISTERS, Sandbox
from gateway.app import create_app
from gateway.ledger import read_rows
from gateway.settings import IdentitySettings
from policies.catalogue import SECTIONS
from policies.evidence import camel_case
from policies.vocabulary import SubjectKind

NOBODY = "91990100FAKE09999U"
"""A well-formed code of division 99 that stands in inspection plans and in no source."""
COOPERATIVE = "93990105FAKE0003X2"
CAST = (CLEAN, PENALISED, REPAIRED, ENFORCED, CONTESTED, INDIVIDUAL, COOPERATIVE)

ALL_SECTIONS = " ".join(
    f"{camel_case(section.name)} {{ state level complete asOf reason {{ code remedy }} withheld {{ field code }}"
    f" sources {{ id state }} {'record' if section.single else 'records { totalCount nodes'} {{ __typename }}"
    f"{'' if section.single else ' }'} }}"
    for section in SECTIONS
    if SubjectKind.ORG in section.kinds and SubjectKind.IND in section.kinds
)


def inquiry(purpose: str, evidence: str, inside: str, *, declared: str = "$id: SubjectId!") -> str:
    given = f", evidence: {{{evidence}}}" if evidence else ""
    return f"query({declared}) {{ inquiry(purpose: {purpose}{given}) {{ {inside} }} }}"


def about(purpose: str, evidence: str, sections: str) -> str:
    return inquiry(purpose, evidence, f"subject(id: $id) {{ {sections} }}")


def over(purpose: str, evidence: str, sections: str) -> str:
    inside = f"subjects(of: $of) {{ {sections} }}"
    return inquiry(purpose, evidence, inside, declared="$of: [SubjectRef!]!")


def organisation(code: str, **evidence: str) -> dict[str, Any]:
    return {"id": {"creditCode": code}, **({"evidence": evidence} if evidence else {})}


PENALTIES = "... on OperatingSubject { penalties { state reason { code } records { totalCount } } }"
TAX = "... on OperatingSubject { taxPayments { state reason { code remedy } } }"
SUPERVISE = about("SUPERVISION", 'inspectionPlanNumber: "I-1"', PENALTIES)

_RECEIPT = re.compile(rb'"receipt":\{[^}]*\}')


def without_receipt(answer: httpx.Response) -> bytes:
    """The body with the one part that must differ between two inquiries cut out."""
    cut, times = _RECEIPT.subn(b'"receipt":0', answer.content)
    assert times <= 1
    return cut


def rows(client: Client) -> list[dict[str, Any]]:
    return [orjson.loads(body) for _, body in read_rows(client.folder / "ledger.sqlite")]


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["extensions"]["code"])


async def register_requests(client: Client) -> int:
    counts = (await client.http.get(f"{client.sandbox.admin_url}/counts")).json()
    return sum(counts[name]["requests"] for name in REGISTERS)


async def sections_of(
    client: Client, who: str, query: str, variables: dict[str, Any], **options: Any
) -> list[str]:
    """Of each subject asked, the state of its one section, or the code of its denial."""
    found = (await client.ask(who, query, variables, **options))["data"]["inquiry"]
    subjects = found.get("subjects") or [found["subject"]]
    states = []
    for subject in subjects:
        (section,) = subject.values()
        states.append(section["reason"]["code"] if section["state"] == "DENIED" else section["state"])
    return states


async def raw(client: Client, token: str, body: bytes) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return await client.http.post(f"{client.url}/graphql", content=body, headers=headers)


# --- ways around a denial: each of these asks for tax payments, which supervision does not give

WAYS = {
    "implementing type": "... on Organisation { taxPayments { state } }",
    "interface": "... on OperatingSubject { taxPayments { state } }",
    "interface inside interface": "... on CreditSubject { ... on RegisteredSubject { ... on OperatingSubject { taxPayments { state } } } }",
    "interface of sections": "... on Organisation { taxPayments { ... on Section { state complete asOf } } }",
    "alias": "... on Organisation { registration: taxPayments { penalties: state } }",
    "named fragment": "...Tax",
    "same key in sibling fragments": (
        "... on Organisation { x: taxPayments { state } } ... on IndividualBusiness { x: taxPayments { complete } }"
    ),
    "same key, one part in each of two fragments": (
        "... on Organisation { x: taxPayments { state } } ... on OperatingSubject { x: taxPayments { records { totalCount } } }"
    ),
    "nothing but the type name": "... on Organisation { taxPayments { __typename } }",
    "number alone": "... on Organisation { taxPayments { records { totalCount } } }",
    "cursors": (
        "... on Organisation { taxPayments { records(first: 1) { edges { cursor }"
        " pageInfo { hasNextPage endCursor } } } }"
    ),
    "second page": '... on Organisation { taxPayments { records(first: 1, after: "b2Zmc2V0OjA=") { nodes { recordId } } } }',
    "what is said of the section": (
        "... on Organisation { taxPayments { level asOf complete sources { id asOf } withheld { field } } }"
    ),
    "interface of records": (
        "... on Organisation { taxPayments { records { nodes { ... on CreditRecord { recordId marks } } } } }"
    ),
    "under a switch": "... @include(if: true) { ... on Organisation { taxPayments @skip(if: false) { state } } }",
}
NOTHING = (None, False, 0, "DENIED", "TaxPaymentSection")


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in leaves(each)]
    return [value]


@pytest.mark.parametrize("way", WAYS)
async def test_no_way_of_writing_leads_around_a_denial(client: Client, way: str) -> None:
    query = about("SUPERVISION", 'inspectionPlanNumber: "I-1"', WAYS[way])
    if way == "named fragment":
        query += " fragment Tax on CreditSubject { ... on OperatingSubject { taxPayments { state } } }"
    before = await client.requests()
    rich = await client.post(BUREAU, query, organisation(CLEAN))
    recorded = rows(client)[-1]
    nobody = await client.post(BUREAU, query, organisation(NOBODY))
    assert rich.status_code == 200
    body = rich.json()
    assert [leaf for leaf in leaves(body["data"]) if leaf not in NOTHING] == []
    assert [denial["code"] for denial in body["extensions"]["denials"]] == ["DENY_CATEGORY"]
    (section,) = recorded["subjects"][0]["sections"]
    assert (section["category"], section["outcome"]) == ("TAX_PAYMENT", "DENY_CATEGORY")
    assert without_receipt(rich) == without_receipt(nobody)
    assert await client.requests() == before


async def test_the_same_key_may_be_another_section_of_another_kind(client: Client) -> None:
    query = over(
        "SUPERVISION",
        'inspectionPlanNumber: "I-1"',
        "... on Organisation { x: penalties { state } } ... on IndividualBusiness { x: taxPayments { state } }",
    )
    body = await client.ask(BUREAU, query, {"of": [organisation(PENALISED), organisation(INDIVIDUAL)]})
    assert [subject["x"]["state"] for subject in body["data"]["inquiry"]["subjects"]] == ["HAS", "DENIED"]
    recorded = [
        [section["category"] for section in about["sections"]] for about in rows(client)[-1]["subjects"]
    ]
    assert recorded == [["PENALTY"], ["TAX_PAYMENT"]]


async def test_a_granted_sibling_brings_nothing_of_a_denied_section(client: Client) -> None:
    both = about(
        "SUPERVISION",
        'inspectionPlanNumber: "I-1"',
        "... on Organisation { penalties { state } x: taxPayments { state sources { id } records { totalCount } } }",
    )
    before = await client.requests()
    body = await client.ask(BUREAU, both, organisation(CLEAN))
    denied = {"state": "DENIED", "sources": [], "records": {"totalCount": 0}}
    assert body["data"]["inquiry"]["subject"]["x"] == denied
    assert (await client.requests())["taxation"] == before["taxation"]


# --- does the subject exist?


@pytest.mark.parametrize("on_denied", ["FILTER", "REJECT"])
@pytest.mark.parametrize("shape", ["one", "list", "null", "error"])
async def test_existing_absent_and_silent_look_alike_where_all_is_denied(
    client: Client, on_denied: str, shape: str
) -> None:
    """Equal bytes, equal work (requests at sources and registers) and a row of equal shape."""
    plan = 'inspectionPlanNumber: "I-ELSEWHERE"'
    inside = "... on OperatingSubject { %s }" % ALL_SECTIONS
    query = (over if shape == "list" else about)("SUPERVISION", plan, inside)
    if shape == "null":
        query = about("SUPERVISION", plan, "... on NaturalPerson { licences { state } } __typename")
    if shape == "error":
        query = query.replace("records {", "records(first: 0) {")
    query = query.replace("inquiry(", f"inquiry(onDenied: {on_denied}, ")
    found = []
    for code, fault in ((PENALISED, None), (NOBODY, None), (PENALISED, "down"), (PENALISED, "error")):
        if fault:
            await client.fault("provincial-platform", fault)
        variables = {"of": [organisation(code)]} if shape == "list" else organisation(code)
        before = await client.requests(), await register_requests(client), len(rows(client))
        answer = await client.post(BUREAU, query, variables)
        registers = await register_requests(client) - before[1]
        written = [msgspec.json.encode(_shape(row)) for row in rows(client)[before[2] :]]
        assert await client.requests() == before[0]
        headers = {
            name: value for name, value in answer.headers.items() if name not in ("date", "content-length")
        }
        found.append((answer.status_code, headers, without_receipt(answer), registers, written))
        await client.clear_faults()
    first = found[0]
    assert all(each == first for each in found[1:])
    refused = 400 if shape == "error" else 200 if on_denied == "FILTER" or shape == "null" else 403
    assert first[0] == refused
    assert len(first[4]) == (0 if shape == "error" else 1)


def _shape(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what stands for the subject and what must differ."""
    subjects = [
        {k: v for k, v in subject.items() if k not in ("subject", "warnings")} for subject in row["subjects"]
    ]
    return {k: v for k, v in row.items() if k not in ("receipt", "time")} | {"subjects": subjects}


# --- repaired records

AUTHORITY = "credit-authority"
NEAR_PENALTIES = [
    (BUREAU, "SUPERVISION", 'inspectionPlanNumber: "I-1"', "NONE"),
    (BUREAU, "LICENSING", 'matterCode: "M-1", caseNumber: "C-1"', "NONE"),
    (BUREAU, "PENALTY_DISCRETION", 'caseNumber: "C-1"', "NONE"),
    (BUREAU, "PROCUREMENT", 'projectNumber: "P-1", stage: REVIEW', "NONE"),
    (AUTHORITY, "PROCUREMENT", 'projectNumber: "P-1", stage: REVIEW', "NONE"),
    (BUREAU, "AWARD", 'awardNoticeNumber: "W-1"', "NONE"),
    (AUTHORITY, "AWARD", 'awardNoticeNumber: "W-1"', "NONE"),
    (BUREAU, "EVALUATION_RUN", 'methodId: "E-1", cycle: "2026"', "NONE"),
    (AUTHORITY, "EVALUATION_RUN", 'methodId: "E-1", cycle: "2026"', "NONE"),
    (BUREAU, "PUBLIC_VIEW", "", "NONE"),
    (BUREAU, "LIST_DESIGNATION", 'documentType: "行政处罚决定书", documentNumber: "D-1"', "DENIED"),
    (BUREAU, "COMMITMENT_CHECK", 'matterCode: "M-1", caseNumber: "C-1"', "DENIED"),
    (BUREAU, "MEASURE_CHECK", 'measureId: "S4", matterCode: "M-1", caseNumber: "C-1"', "DENIED"),
]
"""Every purpose under which a department may come near another's penalty; rights work (`test_promises`) and
courts see repaired records."""


@pytest.mark.parametrize(("who", "purpose", "evidence", "state"), NEAR_PENALTIES)
async def test_a_repaired_record_and_none_are_equal_bytes(
    client: Client, who: str, purpose: str, evidence: str, state: str
) -> None:
    section = (
        "... on OperatingSubject { penalties { state level complete reason { code remedy } withheld { field code }"
        " sources { id state } records(first: 1) { totalCount pageInfo { hasNextPage hasPreviousPage"
        " startCursor endCursor } edges { cursor node { recordId } } nodes { documentNumber decidedOn marks } } } }"
    )
    query = about(purpose, evidence, section)
    before = await client.requests()
    repaired, clean = [await client.post(who, query, organisation(code)) for code in (REPAIRED, CLEAN)]
    assert repaired.status_code == 200
    assert repaired.json()["data"]["inquiry"]["subject"]["penalties"]["state"] == state
    assert without_receipt(repaired) == without_receipt(clean)
    if state == "DENIED":
        assert await client.requests() == before


async def test_no_answer_says_that_something_is_hidden(client: Client) -> None:
    """Records that are repaired, withdrawn or past their time look absent; the ledger alone says why."""
    every = "... on OperatingSubject { %s }" % ALL_SECTIONS
    seen, hidden = 0, set()
    for who, purpose, evidence, _ in NEAR_PENALTIES:
        answer = await client.post(
            who, over(purpose, evidence, every), {"of": [organisation(code) for code in CAST]}
        )
        assert answer.status_code == 200, answer.text
        seen += answer.text.count('"HAS"')
        for word in ("DENY_REPAIRED", "DENY_TIME", "hidden"):
            assert word not in answer.text
        for subject in rows(client)[-1]["subjects"]:
            hidden |= {outcome for section in subject["sections"] for outcome in section.get("hidden", ())}
    assert seen > 50
    assert {"DENY_REPAIRED", "DENY_TIME"} <= hidden


# --- many subjects


async def test_aliases_do_not_ask_for_more_subjects_than_a_list_may(client: Client) -> None:
    codes = [subject.key for subject in client.sandbox.population.subjects if subject.kind == "ORG"]
    for aliases, listed in ((220, 0), (60, 41), (1, 100), (0, 101)):
        fields = [
            f'a{n}: subject(id: {{creditCode: "{code}"}}) {{ ...P }}'
            for n, code in enumerate(codes[:aliases])
        ]
        fields += ["subjects(of: $of) { ...P }"]
        query = inquiry(
            "SUPERVISION", 'inspectionPlanNumber: "I-1"', " ".join(fields), declared="$of: [SubjectRef!]!"
        )
        query += f" fragment P on CreditSubject {{ {PENALTIES} }}"
        before, recorded = await client.requests(), len(rows(client))
        variables = {"of": [organisation(code) for code in codes[aliases : aliases + listed]]}
        answer = await client.post(BUREAU, query, variables)
        assert (answer.status_code, code_of(answer)) == (400, "TOO_MANY_SUBJECTS")
        assert await client.requests() == before
        assert len(rows(client)) == recorded


async def test_one_by_one_counts_subjects_however_they_are_asked(client: Client) -> None:
    view = "... on OperatingSubject { penalties { state reason { code } } }"
    ways = (
        f'subject(id: $id) {{ {view} }} subjects(of: [{{id: {{creditCode: "{CLEAN}"}}}}]) {{ {view} }}',
        # one subject by two schemes is two: nothing that is asked first may tell that they are one
        f'subject(id: $id) {{ {view} }} b: subject(id: {{registrationNumber: "990105000000129"}}) {{ {view} }}',
        f'subject(id: $id) {{ {view} }} b: subject(id: {{creditCode: "{NOBODY}"}}) {{ kind }}',
    )
    before = await client.requests()
    for inside in ways:
        body = await client.ask("public", inquiry("PUBLIC_VIEW", "", inside), organisation(PENALISED))
        codes = {denial["code"] for denial in body["extensions"]["denials"]}
        assert codes == {"DENY_BULK"}
        assert '"HAS"' not in orjson.dumps(body).decode()
    assert await client.requests() == before


# --- from one subject to another


async def test_no_subject_leads_to_another(client: Client) -> None:
    """Organisation, representative, other companies, their representatives: no field goes that way."""
    types = (
        await client.ask(
            BUREAU,
            """{ __schema { types { name kind fields { name type { ...T } } possibleTypes { name } } } }
            fragment T on __Type { name ofType { name ofType { name ofType { name } } } }""",
        )
    )["data"]["__schema"]["types"]
    subjects = {"Organisation", "IndividualBusiness", "NaturalPerson", "GovernmentBody"}
    for each in types:
        if subjects & {possible["name"] for possible in each["possibleTypes"] or ()}:
            subjects = subjects | {each["name"]}
    doors = {
        f"{each['name']}.{field['name']}"
        for each in types
        for field in each["fields"] or ()
        if subjects & set(leaves(field["type"]))
    }
    assert doors == {"Inquiry.subject", "Inquiry.subjects"}


# --- evidence of one subject, and of others


async def test_a_subjects_own_evidence_widens_nothing_for_others(client: Client) -> None:
    of = [
        organisation(ENFORCED, inspectionPlanNumber="I-1"),
        organisation(CONTESTED),
        organisation(PENALISED),
        organisation(CLEAN, inspectionPlanNumber="I-ELSEWHERE"),
    ]
    query = over("SUPERVISION", 'inspectionPlanNumber: "I-4"', PENALTIES)
    found = await sections_of(client, BUREAU, query, {"of": of})
    assert found == ["NONE", "DENY_NOT_DEPARTMENT_MATTER", "HAS", "DENY_EVIDENCE"]
    reverse = await sections_of(client, BUREAU, query, {"of": of[::-1]})
    assert reverse == found[::-1]
    alone = over("SUPERVISION", "", PENALTIES)
    before = await client.requests()
    assert await sections_of(client, BUREAU, alone, {"of": [organisation(CONTESTED)]}) == ["DENY_EVIDENCE"]
    assert await client.requests() == before


async def test_an_authorization_opens_its_own_subject_wherever_it_is_given(client: Client) -> None:
    mine, sisters = [await client.authorization({"credit_code": code}) for code in (CLEAN, PENALISED)]
    query = over("LOAN_PRECHECK", 'applicationNumber: "A-1", queryReasonCode: "02"', TAX)

    async def found(first: dict[str, str], second: dict[str, str]) -> list[str]:
        of = [organisation(CLEAN, **first), organisation(PENALISED, **second)]
        return await sections_of(client, BANK, query, {"of": of})

    before = await client.requests()
    swapped = await found({"authorization": sisters}, {"authorization": mine})
    assert swapped == ["DENY_NO_AUTHORISATION_SCOPE"] * 2
    assert await client.requests() == before
    assert (await found({"authorization": mine}, {}))[1] == "DENY_NO_AUTHORISATION"
    assert (await found({}, {"authorization": mine})) == [
        "DENY_NO_AUTHORISATION",
        "DENY_NO_AUTHORISATION_SCOPE",
    ]
    for_all = query.replace('queryReasonCode: "02"', f'queryReasonCode: "02", authorization: "{mine}"')
    of = [organisation(CLEAN), organisation(PENALISED), organisation(INDIVIDUAL, authorization=sisters)]
    states = await sections_of(client, BANK, for_all, {"of": of})
    assert states == ["HAS", "DENY_NO_AUTHORISATION_SCOPE", "DENY_NO_AUTHORISATION_SCOPE"]


@pytest.mark.parametrize(
    ("purpose", "good", "foreign"),
    [
        ("SUPERVISION", 'inspectionPlanNumber: "I-1"', 'inspectionPlanNumber: "I-ELSEWHERE"'),
        ("LICENSING", 'matterCode: "M-1", caseNumber: "C-1"', 'matterCode: "M-1", caseNumber: "C-ELSEWHERE"'),
        ("PENALTY_DISCRETION", 'caseNumber: "C-1"', 'caseNumber: "J-1"'),
        ("PROCUREMENT", 'projectNumber: "P-1", stage: REVIEW', 'projectNumber: "P-ELSEWHERE", stage: REVIEW'),
    ],
)
async def test_the_evidence_of_another_unit_opens_nothing(
    client: Client, purpose: str, good: str, foreign: str
) -> None:
    lists = "... on OperatingSubject { seriousDishonesty { state reason { code } } }"
    assert await sections_of(client, BUREAU, about(purpose, good, lists), organisation(ENFORCED)) == ["HAS"]
    before = await client.requests()
    (denied,) = await sections_of(client, BUREAU, about(purpose, foreign, lists), organisation(ENFORCED))
    assert denied in ("DENY_NOT_DEPARTMENT_MATTER", "DENY_EVIDENCE")
    assert await client.requests() == before


# --- tokens and time


@dataclass
class Office:
    """A gateway that takes any token the test signs, at the time of its clock."""

    client: Client
    clock: Clock
    key: Any

    def token(self, caller_type: str, *purposes: str, **changes: Any) -> str:
        details: dict[str, Any] = {"type": "credit_inquiry", "purposes": list(purposes)}
        if "categories" in changes:
            details["categories"] = changes.pop("categories")
        now = int(self.clock.now.timestamp())
        claims = {
            "iss": "https://identity.example",
            "aud": "credit-gateway",
            "sub": "test",
            "client_id": "test",
            "jti": "token",
            "iat": now,
            "exp": now + 600,
            "unit": BANK_UNIT,
            "unit_name": "示例第一银行",
            "caller_type": caller_type,
            "authorization_details": [details],
        }
        return sign(claims | changes, self.key)

    async def ask(self, token: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        answer = await self.client.post(None, query, variables, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        assert "errors" not in body, body
        return body


@asynccontextmanager
async def office(sandbox: Sandbox, folder: Path) -> AsyncIterator[Office]:
    key, clock = ec_key("office"), Clock(datetime.now(UTC))
    async with AsyncExitStack() as stack:
        keys = await stack.enter_async_context(serving_jwks(key))
        identity = IdentitySettings(
            issuer="https://identity.example", audience="credit-gateway", jwks_url=keys.url
        )
        app = create_app(settings_for(sandbox, folder, identity=identity), environment={}, clock=clock)
        url = await stack.enter_async_context(serving(app))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False))
        yield Office(Client(http, url, sandbox, folder), clock, key)


@pytest_asyncio.fixture
async def own(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(sandbox, tmp_path) as found:
        yield found


async def test_a_purpose_needs_token_and_table_both(own: Office) -> None:
    before = await own.client.requests()
    # the token allows it, the table gives a bank nothing for it
    by_token = await own.ask(own.token("BANK", "SUPERVISION"), SUPERVISE, organisation(PENALISED))
    # the table would give it to the bureau, its token does not allow it
    bureau = {"unit": "11990105FAKE90012G", "officer": "officer-0001"}
    by_table = await own.ask(
        own.token("MARKET_REGULATION", "PUBLIC_VIEW", **bureau), SUPERVISE, organisation(PENALISED)
    )
    for body in (by_token, by_table):
        section = body["data"]["inquiry"]["subject"]["penalties"]
        assert (section["state"], section["reason"]["code"]) == ("DENIED", "DENY_PURPOSE")
    assert await own.client.requests() == before
    both = await own.ask(
        own.token("MARKET_REGULATION", "SUPERVISION", **bureau), SUPERVISE, organisation(PENALISED)
    )
    assert both["data"]["inquiry"]["subject"]["penalties"]["state"] == "HAS"


BY_OTHERS = {
    "an association asks for its members in bulk": (
        "ASSOCIATION",
        f'a: subject(id: {{creditCode: "{CLEAN}"}}) {{ {PENALTIES} }} b: subject(id: $id) {{ {PENALTIES} }}',
        {"creditCode": PENALISED},
        "DENY_BULK",
    ),
    "media ask for a person on the court's list": (
        "PUBLIC",
        "subject(id: $id) { ... on NaturalPerson { enforcement { state reason { code } } } }",
        {"resident": DEFAULTER},
        "DENY_SUBJECT_KIND",
    ),
    "a department asks for the person behind a shop": (
        "MARKET_REGULATION",
        "subject(id: $id) { ... on NaturalPerson { penalties { state } seriousDishonesty { state } } }",
        {"resident": DEFAULTER},
        "DENY_SUBJECT_KIND",
    ),
}


@pytest.mark.parametrize("case", BY_OTHERS)
async def test_what_is_open_to_all_is_not_open_in_bulk_or_of_persons(own: Office, case: str) -> None:
    caller_type, inside, subject, code = BY_OTHERS[case]
    before = await own.client.requests()
    query = inquiry("PUBLIC_VIEW", "", inside)
    body = await own.ask(own.token(caller_type, "PUBLIC_VIEW"), query, {"id": subject})
    assert {denial["code"] for denial in body["extensions"]["denials"]} == {code}
    assert set(leaves(body["data"])) <= {"DENIED", code, 0}
    assert await own.client.requests() == before


async def test_a_token_for_one_category_reads_no_other_by_search_count_or_log(own: Office) -> None:
    unit = {"unit": "11990000FAKE90047M"}
    search = (
        '{ inquiry(purpose: PUBLIC_VIEW) { search(name: "示例") { state organisations { totalCount } } } }'
    )
    counts = """{ inquiry(purpose: STATISTICS, evidence: {studyNumber: "S-1", minimumCell: 10}) {
      statistics(category: HONOUR, kind: ORG, by: []) { state total cells { count } } } }"""
    log = """{ inquiry(purpose: AUDIT, evidence: {auditOrderNumber: "AO-1"}) {
      accessLog(from: "2020-01-01", until: "2099-01-01") { state records { totalCount } } } }"""
    before = await own.client.requests()
    for purpose, document in (("PUBLIC_VIEW", search), ("STATISTICS", counts), ("AUDIT", log)):
        token = own.token("CREDIT_AUTHORITY", purpose, categories=["PENALTY"], **unit)
        body = await own.ask(token, document, {})
        (denial,) = body["extensions"]["denials"]
        assert denial["code"] == "DENY_CATEGORY"
        assert [leaf for leaf in leaves(body["data"]) if leaf not in NOTHING] == []
    assert await own.client.requests() == before


async def test_the_last_day_of_publication_ends_at_midnight_in_the_province(own: Office) -> None:
    """23:59:59 and 00:00:00 in the province are 15:59:59 and 16:00:00 UTC of the same day."""
    query = about(
        "PUBLIC_VIEW",
        "",
        "... on Organisation { penalties { state records { nodes { publicUntil decidedOn } } } }",
    )

    async def shown() -> list[dict[str, str]]:
        body = await own.ask(own.token("PUBLIC", "PUBLIC_VIEW"), query, organisation(PENALISED))
        nodes: list[dict[str, str]] = body["data"]["inquiry"]["subject"]["penalties"]["records"]["nodes"]
        return nodes

    ((record),) = await shown()
    decided, until = (date.fromisoformat(record[name]) for name in ("decidedOn", "publicUntil"))
    # The law's own maximum for a general penalty, 12 months, comes first where the source writes a later day.
    last = min(until, decided.replace(year=decided.year + 1))
    own.clock.now = datetime(last.year, last.month, last.day, 15, 59, 59, tzinfo=UTC)
    assert len(await shown()) == 1
    own.clock.now += timedelta(seconds=1)
    assert await shown() == []
    # What the ledger calls the day is the province's, and the last second of it was still the day before.
    assert [row["day"] for row in rows(own.client)[-2:]] == [str(last), str(last + timedelta(days=1))]


async def test_an_authorization_that_expires_and_is_withdrawn_in_one_second_opens_nothing(
    own: Office,
) -> None:
    client = own.client
    wish = {
        "subject": {"credit_code": CLEAN},
        "grantee": BANK_UNIT,
        "purposes": ["LOAN_PRECHECK"],
        "categories": ["TAX_PAYMENT"],
        "days": 1,
        "consent": "WRITTEN",
    }
    issued = (await client.http.post(f"{client.sandbox.urls['issuer']}/authorizations", json=wish)).json()
    query = about(
        "LOAN_PRECHECK",
        f'applicationNumber: "A-1", queryReasonCode: "02", authorization: "{issued["authorization"]}"',
        TAX,
    )

    async def found() -> str:
        body = await own.ask(own.token("BANK", "LOAN_PRECHECK"), query, organisation(CLEAN))
        section = body["data"]["inquiry"]["subject"]["taxPayments"]
        return str(section["reason"]["code"] if section["reason"] else section["state"])

    expires = datetime.fromtimestamp(issued["expires"], UTC)
    own.clock.now = expires - timedelta(microseconds=1)
    assert await found() == "HAS"
    before = await client.requests()
    own.clock.now = expires
    assert await found() == "DENY_NO_AUTHORISATION_EXPIRED"
    withdrawn = await client.http.post(
        f"{client.sandbox.urls['issuer']}/authorizations/{issued['id']}/withdraw"
    )
    assert withdrawn.status_code == 200
    assert await found() == "DENY_NO_AUTHORISATION_EXPIRED"
    own.clock.now = expires - timedelta(microseconds=1)
    assert await found() == "DENY_NO_AUTHORISATION_REVOKED"
    assert await client.requests() == before


# --- what is not executed is not asked, and what is executed is what was decided


async def test_an_inquiry_that_is_switched_off_leaves_no_row(client: Client) -> None:
    off = """query($id: SubjectId!, $on: Boolean!) { ...Ask @include(if: $on) viewer { type } }
      fragment Ask on Query { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
        subject(id: $id) { ... on Organisation { taxPayments { state } penalties { state } } } } }"""
    before, recorded = await client.requests(), len(rows(client))
    body = await client.ask(BUREAU, off, {**organisation(PENALISED), "on": False})
    assert body == {"data": {"viewer": {"type": "MARKET_REGULATION"}}}
    literal = off.replace(", $on: Boolean!", "").replace("$on", "false")
    assert await client.ask(BUREAU, literal, organisation(PENALISED)) == body
    assert await client.requests() == before
    assert len(rows(client)) == recorded
    on = await client.ask(BUREAU, off, {**organisation(PENALISED), "on": True})
    assert on["data"]["inquiry"]["subject"]["penalties"]["state"] == "HAS"
    assert len(rows(client)) == recorded + 1


async def test_a_denied_section_that_is_skipped_was_not_asked(client: Client) -> None:
    query = SUPERVISE.replace("$id: SubjectId!", "$id: SubjectId!, $tax: Boolean! = false").replace(
        "penalties {", "... @include(if: $tax) { taxPayments { state } } penalties {"
    )
    rejecting = query.replace("inquiry(", "inquiry(onDenied: REJECT, ")
    body = await client.ask(BUREAU, rejecting, organisation(PENALISED))
    assert "denials" not in body["extensions"]
    (section,) = rows(client)[-1]["subjects"][0]["sections"]
    assert section["category"] == "PENALTY"
    # The plan of the same document with the other switch is another one.
    assert (await client.post(BUREAU, rejecting, {**organisation(PENALISED), "tax": True})).status_code == 403
    assert len(rows(client)[-1]["subjects"][0]["sections"]) == 2


async def test_introspection_beside_a_denied_inquiry_changes_neither(client: Client) -> None:
    plain = about("SUPERVISION", 'inspectionPlanNumber: "I-1"', TAX)
    mixed = plain.replace("{ inquiry(", '{ __type(name: "SectionState") { name } inquiry(', 1)
    before, recorded = await client.requests(), len(rows(client))
    alone = await client.ask(BUREAU, plain, organisation(CLEAN))
    beside = await client.ask(BUREAU, mixed, organisation(CLEAN))
    assert beside["data"].pop("__type") == {"name": "SectionState"}
    assert beside["data"] == alone["data"]
    assert beside["extensions"]["denials"] == alone["extensions"]["denials"]
    assert await client.requests() == before
    assert len(rows(client)) == recorded + 2


TWICE = {
    "member of a variable": b'{"id": {"creditCode": "%b", "creditCode": "%b"}}',
    "behind an escape": b'{"id": {"creditCode": "%b", "credit\\u0043ode": "%b"}}',
    "the variable": b'{"id": {"creditCode": "%b"}, "id": {"creditCode": "%b"}}',
}


@pytest.mark.parametrize("case", TWICE)
async def test_a_member_that_is_given_twice_is_decided_and_answered_as_one(client: Client, case: str) -> None:
    query = about("SUPERVISION", 'inspectionPlanNumber: "I-4"', PENALTIES)
    token = await client.token(BUREAU)
    hashes = {}
    for code in (PENALISED, ENFORCED):
        await client.ask(BUREAU, query, organisation(code))
        hashes[code] = rows(client)[-1]["subjects"][0]["subject"]
    for first, last, state in ((ENFORCED, PENALISED, "HAS"), (PENALISED, ENFORCED, "DENIED")):
        variables = TWICE[case] % (first.encode(), last.encode())
        before = await client.requests()
        answer = await raw(
            client, token, b'{"query": %b, "variables": %b}' % (orjson.dumps(query), variables)
        )
        section = answer.json()["data"]["inquiry"]["subject"]["penalties"]
        assert section["state"] == state
        assert rows(client)[-1]["subjects"][0]["subject"] == hashes[last]
        if state == "DENIED":
            assert await client.requests() == before


async def test_a_member_of_the_body_behind_an_escape_is_one_for_all(client: Client) -> None:
    query = about("SUPERVISION", 'inspectionPlanNumber: "I-4"', PENALTIES)
    good, bad = (orjson.dumps(organisation(code)) for code in (PENALISED, ENFORCED))
    body = b'{"query": %b, "variables": %b, "var\\u0069ables": %b}' % (orjson.dumps(query), good, bad)
    before = await client.requests()
    answer = await raw(client, await client.token(BUREAU), body)
    assert answer.status_code == 400 or (
        answer.json()["data"]["inquiry"]["subject"]["penalties"]["state"] == "DENIED"
    )
    assert await client.requests() == before


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({}, "HAS"),
        ({"plan": None}, "DENY_EVIDENCE"),
        ({"plan": "I-ELSEWHERE"}, "DENY_EVIDENCE"),
        ({"purpose": "PENALTY_DISCRETION"}, "DENY_EVIDENCE"),
        ({"id": {"creditCode": CLEAN}}, "NONE"),
    ],
)
async def test_defaults_null_and_absent_are_decided_as_they_are_executed(
    client: Client, given: dict[str, Any], outcome: str
) -> None:
    query = f"""query($id: SubjectId! = {{creditCode: "{PENALISED}"}}, $plan: String = "I-1",
        $purpose: Purpose! = SUPERVISION, $first: Int! = 1) {{
      inquiry(purpose: $purpose, evidence: {{inspectionPlanNumber: $plan}}) {{ receipt {{ purpose }} subject(id: $id) {{
        ... on Organisation {{ penalties {{ state reason {{ code }} records(first: $first) {{ nodes {{ recordId }} }} }} }} }} }} }}"""
    before = await client.requests()
    body = await client.ask(BUREAU, query, given)
    section = body["data"]["inquiry"]["subject"]["penalties"]
    assert (section["reason"]["code"] if section["state"] == "DENIED" else section["state"]) == outcome
    assert len(section["records"]["nodes"]) == (1 if outcome == "HAS" else 0)
    row = rows(client)[-1]
    assert (
        row["purpose"] == body["data"]["inquiry"]["receipt"]["purpose"] == given.get("purpose", "SUPERVISION")
    )
    plan = given.get("plan", "I-1")
    assert row["subjects"][0]["evidence"] == ({"inspection_plan_number": plan} if plan else {})
    if outcome.startswith("DENY"):
        assert await client.requests() == before


@pytest.mark.parametrize("given", [{}, {"code": None}, {"code": ""}])
async def test_a_variable_inside_a_one_of_names_a_subject_or_nothing_is_asked(
    client: Client, given: dict[str, Any]
) -> None:
    query = SUPERVISE.replace("$id: SubjectId!", "$code: String").replace(
        "(id: $id)", "(id: {creditCode: $code})"
    )
    before, recorded = await client.requests(), len(rows(client))
    answer = await client.post(BUREAU, query, given)
    assert answer.status_code == 400
    assert await client.requests() == before
    assert len(rows(client)) == recorded


# --- identifiers in disguise

FULL_WIDTH = "".join(chr(ord(character) + 0xFEE0) for character in PENALISED)
SPELLINGS = (PENALISED.lower(), f" {PENALISED} ", FULL_WIDTH, " ".join(PENALISED), f"\u3000{FULL_WIDTH}")


async def test_one_subject_in_many_spellings_is_one_everywhere(client: Client) -> None:
    plain = await client.post(BUREAU, SUPERVISE, organisation(PENALISED))
    subject = rows(client)[-1]["subjects"][0]
    grades = about(
        "SUPERVISION", 'inspectionPlanNumber: "I-1"', "... on Organisation { evaluations { state asOf } }"
    )
    graded = await client.post(BUREAU, grades, organisation(PENALISED))
    for spelling in SPELLINGS:
        answer = await client.post(BUREAU, SUPERVISE, organisation(spelling))
        assert without_receipt(answer) == without_receipt(plain)
        assert rows(client)[-1]["subjects"][0] == subject
        # This category is cached: another key would be another request, with a time of its own.
        before = (await client.requests())["ecology"]
        again = await client.post(BUREAU, grades, organisation(spelling))
        assert without_receipt(again) == without_receipt(graded)
        assert (await client.requests())["ecology"] == before
    listed = over("SUPERVISION", 'inspectionPlanNumber: "I-1"', PENALTIES)
    await client.ask(BUREAU, listed, {"of": [organisation(spelling) for spelling in SPELLINGS]})
    recorded = rows(client)[-1]["subjects"]
    assert {(each["subject"], each["of"]) for each in recorded} == {(subject["subject"], 1)}
    authorization = await client.authorization({"credit_code": PENALISED})
    loan = over("LOAN_PRECHECK", 'applicationNumber: "A-1", queryReasonCode: "02"', TAX)
    of = [organisation(spelling, authorization=authorization) for spelling in SPELLINGS]
    assert set(await sections_of(client, BANK, loan, {"of": of})) <= {"HAS", "NONE"}


async def test_an_organisation_in_evidence_is_the_same_in_any_spelling(client: Client) -> None:
    person = {"number": "99010519850607123X", "name": "例守信"}
    authorization = await client.authorization(
        {"resident_number": person["number"], "name": person["name"]},
        purposes=("LEGAL_REP_CHECK",),
        categories=("ENFORCE_DEFAULT",),
    )
    query = inquiry(
        "LEGAL_REP_CHECK",
        'applicationNumber: "A-1", queryReasonCode: "22", authorization: $a, organisationCode: $of, role: "法定代表人"',
        "subject(id: $id) { ... on NaturalPerson { enforcement { state reason { code } } } }",
        declared="$id: SubjectId!, $a: String, $of: String",
    )
    seen = set()
    for spelling in (CLEAN, CLEAN.lower(), "".join(chr(ord(character) + 0xFEE0) for character in CLEAN)):
        variables = {"id": {"resident": person}, "a": authorization, "of": spelling}
        assert await sections_of(client, BANK, query, variables) == ["NONE"]
        row = rows(client)[-1]
        seen.add(row["subjects"][0]["evidence"]["organisation_code"]["subject"])
        seen |= {
            each["number"]["subject"] for each in row["registers"] if each["register"] == "organisations"
        }
    assert len(seen) == 1


@pytest.mark.parametrize(
    "lookalike",
    [
        PENALISED.replace("A", "\u0410"),  # Cyrillic A
        PENALISED.replace("K", "\u212a"),  # Kelvin sign
        PENALISED.replace("0", "\u0660"),  # Arabic-Indic zero
        PENALISED.replace("0", "\U0001d7ce"),  # mathematical bold zero
        PENALISED[:9] + "\u200b" + PENALISED[9:],  # zero width space
        PENALISED[:9] + "\u00ad" + PENALISED[9:],  # soft hyphen
        "\u202e" + PENALISED[::-1],  # right-to-left override
        "\ufeff" + PENALISED,  # byte-order mark
    ],
)
async def test_a_lookalike_is_no_identifier(client: Client, lookalike: str) -> None:
    before, recorded = await client.requests(), len(rows(client))
    answer = await client.post(BUREAU, SUPERVISE, organisation(lookalike))
    assert (answer.status_code, code_of(answer)) == (400, "BAD_IDENTIFIER")
    assert lookalike not in answer.text
    assert await client.requests() == before
    assert len(rows(client)) == recorded


@pytest.mark.parametrize("number", ["990105199912319987", CLEAN])
async def test_an_alias_that_holds_an_identifier_stays_in_the_callers_own_answer(
    client: Client, number: str, caplog: pytest.LogCaptureFixture
) -> None:
    alias = f"n{'_' * 200}{number}{'x' * 200}"
    fields = f"{alias}: subject(id: $id) {{ ... on Organisation {{ {alias}: taxPayments {{ state }} }} }}"
    good = inquiry("SUPERVISION", 'inspectionPlanNumber: "I-1"', fields)
    wrong = good.replace("{ state }", f"{{ {alias}: records(first: 0) {{ totalCount }} }}")
    with caplog.at_level(logging.DEBUG):
        body = await client.ask(BUREAU, good, organisation(PENALISED))
        refused = [
            await client.post(BUREAU, wrong, organisation(PENALISED)),
            await client.post(BUREAU, good, organisation("1")),
            await client.post(BUREAU, good.replace("state", alias), organisation(PENALISED)),
            await client.post(BUREAU, good.replace("$id", f"${alias}"), {}),
        ]
    # A response key is the caller's own word: it stands in the data, and in the path of a denial.
    assert alias in body["data"]["inquiry"]
    assert number not in "".join(
        denial["message"] + denial["remedy"] for denial in body["extensions"]["denials"]
    )
    for answer in refused:
        assert answer.status_code == 400
        assert number not in answer.text
    assert number not in caplog.text
    assert number not in orjson.dumps(rows(client)).decode()


# --- applications and counts


APPLY = """mutation($inquiry: ID!, $subject: SubjectId!, $category: Category!, $measure: ID!) {
  recordApplication(inquiry: $inquiry, subject: $subject, measure: $measure, category: $category, decision: "D-1") { id } }"""


async def test_a_denied_section_bears_no_measure(client: Client) -> None:
    query = inquiry(
        "SUPERVISION",
        'inspectionPlanNumber: "I-ELSEWHERE"',
        "receipt { id } subject(id: $id) { ... on Organisation { seriousDishonesty { state } } }",
    )
    before = await client.requests()
    asked = await client.ask(BUREAU, query, organisation(ENFORCED))
    assert asked["data"]["inquiry"]["subject"]["seriousDishonesty"]["state"] == "DENIED"
    variables = {
        "inquiry": asked["data"]["inquiry"]["receipt"]["id"],
        "subject": {"creditCode": ENFORCED},
        "measure": "S4",
        "category": "SERIOUS_LIST",
    }
    existing = await client.post(BUREAU, APPLY, variables)
    absent = await client.post(BUREAU, APPLY, {**variables, "subject": {"creditCode": NOBODY}})
    assert (existing.status_code, code_of(existing)) == (403, "APPLICATION_REFUSED")
    assert without_receipt(existing) == without_receipt(absent)
    # The inquiry of another unit is as good as none.
    stolen = await client.post("court", APPLY, variables)
    invented = await client.post(
        "court", APPLY, {**variables, "inquiry": "00000000-0000-4000-8000-000000000000"}
    )
    assert without_receipt(stolen) == without_receipt(invented)
    assert await client.requests() == before


async def test_a_chosen_smallest_cell_narrows_no_count(client: Client) -> None:
    """Counts rounded to ever other multiples would meet in the exact number, and two of those in one subject."""
    query = """query($cell: Int!) { inquiry(purpose: STATISTICS, evidence: {studyNumber: "S-1", minimumCell: $cell}) {
      statistics(category: PENALTY, kind: ORG, by: []) { state smallestCell total } } }"""
    found = {}
    for cell in (1, 10, 11, 12, 13, 17, 19, 20, 23, 29, 30, 31, 37, 41):
        body = await client.ask("credit-authority", query, {"cell": cell})
        statistics = body["data"]["inquiry"]["statistics"]
        assert statistics["smallestCell"] >= cell
        found[statistics["smallestCell"]] = statistics["total"]
    assert found[10] > 0
    for smallest, total in found.items():
        assert total == found[10] - found[10] % smallest, "says more than the count by tens"


async def test_no_two_counts_differ_by_less_than_the_smallest_cell(client: Client) -> None:
    query = """query($by: [StatisticsDimension!]!) {
      inquiry(purpose: STATISTICS, evidence: {studyNumber: "S-1", minimumCell: 1}) {
        statistics(category: PENALTY, kind: ORG, by: $by) { state total cells { count } } } }"""
    totals = []
    for by in ([], ["SEVERITY"], ["YEAR"], ["CITY"], ["CITY", "SEVERITY"], ["YEAR", "SEVERITY"]):
        found = (await client.ask("credit-authority", query, {"by": by}))["data"]["inquiry"]["statistics"]
        totals += [found["total"], *(cell["count"] for cell in found["cells"])]
    assert max(totals) > 0
    assert {(one - other) % 10 for one in totals for other in totals} == {0}


# --- HTTP


async def exchange(client: Client, *parts: bytes, hang_up: bool = False) -> list[int]:
    """The status of every answer on one connection that sends these bytes, until the gateway closes it.

    The last request has to ask for that, unless the client hangs up.
    """
    address = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for part in parts:
            writer.write(part)
        if hang_up:
            writer.write_eof()
        async with asyncio.timeout(60):
            received = await reader.read()
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]


def request(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [b"POST /graphql HTTP/1.1", b"Host: gateway", b"Content-Type: application/json", *headers]
    lines += [b"Content-Length: %d" % (len(body) if length is None else length)]
    return b"\r\n".join([*lines, b"", body])


LOOK = orjson.dumps({"query": SUPERVISE, "variables": organisation(PENALISED)})


CLOSE = b"Connection: close"


async def _nothing_leaves(client: Client, *parts: bytes, hang_up: bool = False) -> list[int]:
    before, recorded = await client.requests(), len(rows(client))
    statuses = await exchange(client, *parts, hang_up=hang_up)
    assert await client.requests() == before
    assert len(rows(client)) == recorded
    return statuses


@pytest.mark.parametrize(
    "names", [(b"Authorization", b"authorization"), (b"AUTHORIZATION", b"Authorization")]
)
@pytest.mark.parametrize("good_first", [True, False])
async def test_two_authorizations_are_none_in_any_case_and_order(
    client: Client, names: tuple[bytes, bytes], good_first: bool
) -> None:
    good, bad = f"Bearer {await client.token(BUREAU)}".encode(), b"Bearer x"
    values = (good, bad) if good_first else (bad, good)
    headers = [b"%b: %b" % pair for pair in zip(names, values, strict=True)]
    assert await _nothing_leaves(client, request(LOOK, *headers, CLOSE)) == [401]


async def test_what_follows_a_refused_request_has_to_prove_itself(client: Client) -> None:
    token = b"Authorization: Bearer " + (await client.token(BUREAU)).encode()
    refused = request(b'{"query": "{"}', token)
    assert await _nothing_leaves(client, refused, request(LOOK, CLOSE)) == [400, 401]
    recorded = len(rows(client))
    statuses = await exchange(client, refused, request(LOOK, token), request(LOOK, CLOSE))
    assert statuses == [400, 200, 401]
    assert len(rows(client)) == recorded + 1


async def test_lengths_that_lie_bring_no_request_through(client: Client) -> None:
    token = b"Authorization: Bearer " + (await client.token(BUREAU)).encode()
    # too short: the rest is another request, which has no token
    smuggled = b'{"query": "{"}' + request(LOOK, CLOSE)
    assert await _nothing_leaves(client, request(smuggled, token, length=14)) == [400, 401]
    # too long: the body never ends
    cut = await _nothing_leaves(client, request(LOOK, token, length=len(LOOK) + 100), hang_up=True)
    assert 200 not in cut
    # two lengths, and a length beside chunks
    twice = await _nothing_leaves(client, request(LOOK, token, CLOSE, b"Content-Length: 5"))
    assert 200 not in twice
    chunked = request(b"0\r\n\r\n" + LOOK, token, CLOSE, b"Transfer-Encoding: chunked")
    both = await _nothing_leaves(client, chunked)
    assert 200 not in both


async def test_a_known_document_is_not_served_by_its_hash(client: Client) -> None:
    await client.ask(BUREAU, SUPERVISE, organisation(PENALISED))
    digest = "b" * 64
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
    variables = organisation(PENALISED)
    headers = {"authorization": f"Bearer {await client.token(BUREAU)}"}
    before, recorded = await client.requests(), len(rows(client))
    url = f"{client.url}/graphql"
    posted = await client.http.post(
        url, json={"extensions": extensions, "variables": variables}, headers=headers
    )
    texts = {"extensions": orjson.dumps(extensions).decode(), "variables": orjson.dumps(variables).decode()}
    got = await client.http.get(url, params=texts, headers=headers)
    assert (code_of(posted), code_of(got)) == ("PERSISTED_QUERY_NOT_FOUND", "PERSISTED_QUERY_NOT_FOUND")
    beside = await client.http.get(url, params={**texts, "query": SUPERVISE}, headers=headers)
    assert code_of(beside) == "BAD_REQUEST_FIELD"
    extensions["persistedQuery"]["sha256Hash"] = hashlib.sha256(SUPERVISE.encode()).hexdigest()
    told = {**texts, "extensions": orjson.dumps(extensions).decode(), "query": SUPERVISE}
    by_get = await client.http.get(url, params=told, headers=headers)
    assert code_of(by_get) == "INQUIRY_NEEDS_POST"
    for answer in (posted, got, beside, by_get):
        assert PENALISED not in answer.text
    assert await client.requests() == before
    assert len(rows(client)) == recorded
