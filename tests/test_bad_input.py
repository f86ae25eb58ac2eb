"""Bad input over HTTP: one clear error with a stable code, before any source is asked and nothing is recorded."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from gateway_process import GatewayProcess, gateway_process
from service import BUREAU, CLEAN, PENALISED, Client

from connectors.sandbox.server import Sandbox
from gateway.ledger import read_rows

PERSON = "990105199912319987"
OTHER_PERSON = "99010519850607123X"
MINOR = "990105201506010116"

ONE = """query($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) {
  subject(id: $id) { ... on RegisteredSubject { registration { state } } } } }"""
MANY = """query($of: [SubjectRef!]!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
  bidders: subjects(of: $of) { ... on RegisteredSubject { registration { state } } } } }"""
PERSONS = """query($a: SubjectId!, $b: SubjectId!) {
  inquiry(purpose: LICENSING, evidence: {matterCode: "M-1", caseNumber: "C-1"}) {
    a: subject(id: $a) { ...L } b: subject(id: $b) { ...L } } }
  fragment L on CreditSubject { ... on NaturalPerson { licences { state } } }"""
SEARCH = """query($first: Int! = 5, $after: String, $name: String! = "示例") { inquiry(purpose: PUBLIC_VIEW) {
  search(name: $name, first: $first, after: $after) { state } } }"""
PENALTIES = """query($first: Int! = 5, $after: String) { inquiry(purpose: PUBLIC_VIEW) {
  subject(id: {creditCode: "91990105FAKE00128U"}) { ... on OperatingSubject {
    penalties { records(first: $first, after: $after) { totalCount } } } } } }"""
EVIDENCE = """query($evidence: Evidence) { inquiry(purpose: SUPERVISION, evidence: $evidence) {
  subject(id: {creditCode: "91990100FAKE00013D"}) { ... on RegisteredSubject { registration { state } } } } }"""


def _inquiry(inside: str, purpose: str = "PUBLIC_VIEW") -> str:
    return f"{{ inquiry(purpose: {purpose}) {{ {inside} }} }}"


def _code(code: object) -> dict[str, Any]:
    return {"id": {"creditCode": code}}


def _resident(number: str, name: str = "例失信") -> dict[str, Any]:
    return {"id": {"resident": {"number": number, "name": name}}}


def _references(*codes: str) -> dict[str, Any]:
    return {"of": [_code(code) for code in codes]}


def _rows(client: Client) -> int:
    return sum(1 for _ in read_rows(client.folder / "ledger.sqlite"))


def _spread_twice(depth: int) -> str:
    """Fragments that double with each level: a walk without a memo takes 2 to the power of `depth` steps."""
    chain = [f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(depth)]
    return " ".join(["{ ...F0 }", *chain, f"fragment F{depth} on Query {{ viewer {{ type }} }}"])


def _spread_once(depth: int) -> str:
    chain = [f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(depth)]
    return " ".join(["{ ...F0 }", *chain, f"fragment F{depth} on Query {{ viewer {{ type }} }}"])


def _ten_thousand_aliases() -> str:
    """Ten aliases, used a thousand times."""
    ten = " ".join(f"a{n}: type" for n in range(10))
    return (
        f"{{ viewer {{ {'...B ' * 10} }} }} fragment B on Viewer {{ {'...C ' * 10} }} "
        f"fragment C on Viewer {{ {'...D ' * 10} }} fragment D on Viewer {{ {ten} }}"
    )


async def _refused(client: Client, answer: httpx.Response, code: str, named: str, status: int = 400) -> None:
    body = answer.json()
    assert answer.status_code == status, body
    assert answer.headers["content-type"].split(";")[0] == "application/graphql-response+json"
    assert set(body) == {"errors"}
    for error in body["errors"]:
        assert error["extensions"]["code"] == code, body
    assert named in body["errors"][0]["message"], body
    for identifier in (PERSON, OTHER_PERSON, MINOR, CLEAN, PENALISED, "例失信"):
        assert identifier not in answer.text


DOCUMENTS: dict[str, tuple[str, str, str, Any]] = {
    "no GraphQL": ("SYNTAX", "the end of the document", "{ viewer { type }", None),
    "empty selection set": ("SYNTAX", "expected Name", "{ }", None),
    "empty selection set of an inquiry": ("SYNTAX", "expected Name", "{ inquiry(purpose: PUBLIC_VIEW) { } }", None),
    "empty document": ("SYNTAX", "the end of the document", "", None),
    "only a comment": ("SYNTAX", "the end of the document", "# 990105199912319987", None),
    "lone surrogate": ("SYNTAX", "an escape", _inquiry('search(name: "\\uD800ab") { state }'), None),
    "type definitions": ("OPERATION_NOT_FOUND", "no operation", "type A { b: Int }", None),
    "fragments alone": ("OPERATION_NOT_FOUND", "no operation", "fragment F on Query { viewer { type } }", None),
    "unknown field": ("VALIDATION_FAILED", "'wish'", "{ wish }", None),
    "unknown field that is an identifier": ("VALIDATION_FAILED", "'…'", f"{{ N{PERSON} }}", None),
    "unknown section": (
        "VALIDATION_FAILED",
        "'score'",
        _inquiry(f'subject(id: {{creditCode: "{CLEAN}"}}) {{ score }}'),
        None,
    ),
    "unknown argument": ("VALIDATION_FAILED", "'why'", "{ viewer(why: 1) { type } }", None),
    "unknown type": ("VALIDATION_FAILED", "'Wish'", "{ ... on Wish { viewer { type } } }", None),
    "unknown fragment": ("VALIDATION_FAILED", "'F'", "{ ...F }", None),
    "unknown directive": ("VALIDATION_FAILED", "'@wish'", "{ viewer @wish { type } }", None),
    "unknown variable": ("VALIDATION_FAILED", "'$first'", _inquiry('search(name: "示例", first: $first) { state }'), None),
    "no selection": ("VALIDATION_FAILED", "'inquiry'", "{ inquiry(purpose: PUBLIC_VIEW) }", None),
    "no subject": ("VALIDATION_FAILED", "subject(id:)", _inquiry("subject { kind }"), None),
    "no purpose": ("VALIDATION_FAILED", "inquiry(purpose:)", "{ inquiry { receipt { id } } }", None),
    "mutation": ("VALIDATION_FAILED", "Mutation", f'mutation {_inquiry("receipt { id }")}', None),
    "subscription": ("OPERATION_NOT_SERVED", "subscription", "subscription { viewer { type } }", None),
    "two operations": ("OPERATION_NAME_REQUIRED", "operationName", "query A { viewer { type } } query B { viewer { unit } }", None),
    "two inquiries": (
        "ONE_INQUIRY_PER_OPERATION",
        "one inquiry",
        "{ a: inquiry(purpose: PUBLIC_VIEW) { receipt { id } } b: inquiry(purpose: PUBLIC_VIEW) { receipt { id } } }",
        None,
    ),
    "fragment cycle": ("FRAGMENT_CYCLE", "'F'", "{ ...F } fragment F on Query { viewer { type } ...F }", None),
    "unknown purpose": ("DENY_PURPOSE_UNKNOWN", "Purpose", _inquiry("receipt { id }", "CURIOSITY"), None),
    "unknown purpose in a variable": (
        "DENY_PURPOSE_UNKNOWN",
        "Purpose",
        "query($p: Purpose!) { inquiry(purpose: $p) { receipt { id } } }",
        {"p": PERSON},
    ),
    "purpose as text": ("DENY_PURPOSE_UNKNOWN", "Purpose", _inquiry("receipt { id }", '"PUBLIC_VIEW"'), None),
    "purpose null": (
        "BAD_VARIABLE",
        "'$p'",
        "query($p: Purpose!) { inquiry(purpose: $p) { receipt { id } } }",
        {"p": None},
    ),
    "variable missing": ("BAD_VARIABLE", "'$id'", ONE, None),
    "variable null": ("BAD_VARIABLE", "'$id'", ONE, {"id": None}),
    "variable of another type": ("BAD_VARIABLE", "'$id'", ONE, {"id": CLEAN}),
    "identifier as number": ("BAD_VARIABLE", "'$id.creditCode'", ONE, _code(int(PERSON))),
    "identifier of an unknown scheme": ("BAD_VARIABLE", "'$id'", ONE, {"id": {"passport": PERSON}}),
    "number for a list": ("BAD_VARIABLE", "'$of[0]'", MANY, {"of": [1]}),
    "null in a list": ("BAD_VARIABLE", "'$of[1]'", MANY, {"of": [_code(CLEAN), None]}),
    "person in a list": (
        "BAD_VARIABLE",
        "'$of[0].id'",
        MANY,
        {"of": [{"id": {"resident": {"number": PERSON, "name": "例失信"}}}]},
    ),
    "name missing": ("BAD_VARIABLE", "'$id.resident'", ONE, {"id": {"resident": {"number": PERSON}}}),
    "page as text": ("BAD_VARIABLE", "'$first'", SEARCH, {"first": "5"}),
    "page beyond 32 bits": ("BAD_VARIABLE", "'$first'", SEARCH, {"first": 2**31}),
    "page of 5,000 digits": ("VALIDATION_FAILED", "'first'", _inquiry(f'search(name: "示例", first: {"9" * 5000}) {{ state }}'), None),
    "page as huge float": ("VALIDATION_FAILED", "'first'", _inquiry('search(name: "示例", first: 1e999999) { state }'), None),
    "no page": ("BAD_ARGUMENT", "search.first", SEARCH, {"first": 0}),
    "page below 0": ("BAD_ARGUMENT", "search.first", SEARCH, {"first": -1}),
    "page too long": ("BAD_ARGUMENT", "search.first", SEARCH, {"first": 101}),
    "bad cursor": ("BAD_ARGUMENT", "search.after", SEARCH, {"after": PERSON}),
    "cursor of 100,000 characters": ("BAD_ARGUMENT", "search.after", SEARCH, {"after": "9" * 100_000}),
    "page of a section": ("BAD_ARGUMENT", "penalties.records.first", PENALTIES, {"first": 0}),
    "long page of a section": ("BAD_ARGUMENT", "penalties.records.first", PENALTIES, {"first": 101}),
    "cursor of a section": ("BAD_ARGUMENT", "penalties.records.after", PENALTIES, {"after": PERSON}),
    "short name": ("BAD_ARGUMENT", "search.name", SEARCH, {"name": "示"}),
    "long name": ("BAD_ARGUMENT", "search.name", SEARCH, {"name": "示" * 101}),
    "name with a control character": ("BAD_ARGUMENT", "search.name", SEARCH, {"name": "示\0例"}),
    "name that is an identifier": ("BAD_ARGUMENT", "search.name", SEARCH, {"name": PERSON}),
    "short code": ("BAD_IDENTIFIER", "'subject.id.creditCode': must have 18 characters, has 17", ONE, _code(CLEAN[:-1])),
    "empty code": ("BAD_IDENTIFIER", "must have 18 characters, has 0", ONE, _code("")),
    "letter in the division": ("BAD_IDENTIFIER", "character 5 must be a digit", ONE, _code("9199A100FAKE00013D")),
    "letter that is none": ("BAD_IDENTIFIER", "character 12 must be a digit or a letter", ONE, _code("91990100FAKI00013D")),
    "short registration number": (
        "BAD_IDENTIFIER",
        "'subject.id.registrationNumber': must have 15",
        ONE,
        {"id": {"registrationNumber": "990105"}},
    ),
    "registration number's check digit": (
        "BAD_IDENTIFIER",
        "the check digit (character 15)",
        ONE,
        {"id": {"registrationNumber": "990105000000128"}},
    ),
    "resident's letter": ("BAD_IDENTIFIER", "'subject.id.resident.number': character 4 must be a digit", ONE, _resident("990A05199912319987")),
    "resident's check digit": ("BAD_IDENTIFIER", "the check digit (character 18)", ONE, _resident("990105199912319986")),
    "resident's birthday": ("BAD_IDENTIFIER", "characters 7 to 14 are not a date", ONE, _resident("990105199913319987")),
    "resident of the future": ("BAD_IDENTIFIER", "birth date in the future", ONE, _resident("990105299912319987")),
    "old resident number": ("BAD_IDENTIFIER", "old numbers are not accepted", ONE, _resident("990105991231998")),
    "name of a person": ("BAD_IDENTIFIER", "'subject.id.resident.name'", ONE, _resident(PERSON, "例")),
    "bad code in a list": ("BAD_IDENTIFIER", "'bidders.of[1].id.creditCode'", MANY, _references(CLEAN, "91")),
    "unknown evidence": ("BAD_VARIABLE", "'$evidence'", EVIDENCE, {"evidence": {"hunch": "1"}}),
    "evidence as number": ("BAD_VARIABLE", "'$evidence.caseNumber'", EVIDENCE, {"evidence": {"caseNumber": 1}}),
    "evidence too long": ("BAD_EVIDENCE", "'evidence.caseNumber'", EVIDENCE, {"evidence": {"caseNumber": "1" * 65}}),
    "identifier as evidence": ("BAD_EVIDENCE", "'evidence.caseNumber'", EVIDENCE, {"evidence": {"caseNumber": PERSON}}),
    "artefact that is none": ("BAD_EVIDENCE", "'evidence.authorization'", EVIDENCE, {"evidence": {"authorization": "yes"}}),
    "evidence of the future": ("BAD_EVIDENCE", "'evidence.notifiedOn'", EVIDENCE, {"evidence": {"notifiedOn": "2999-01-01"}}),
    "bad evidence of one subject": (
        "BAD_EVIDENCE",
        "'bidders.of[0].evidence.caseNumber'",
        MANY,
        {"of": [{"id": {"creditCode": CLEAN}, "evidence": {"caseNumber": "?"}}]},
    ),
    "too many subjects": ("TOO_MANY_SUBJECTS", "100", MANY, _references(*[CLEAN] * 101)),
    "too many subjects by alias": (
        "TOO_MANY_SUBJECTS",
        "100",
        _inquiry(" ".join(f'a{n}: subject(id: {{creditCode: "{CLEAN}"}}) {{ kind }}' for n in range(101))),
        None,
    ),
    "too many searches": (
        "TOO_MANY_SUBJECTS",
        "100",
        _inquiry(" ".join(f'a{n}: search(name: "示例") {{ state }}' for n in range(101))),
        None,
    ),
    "two persons": (
        "ONE_PERSON_PER_OPERATION",
        "one natural person",
        PERSONS,
        {"a": _resident(PERSON)["id"], "b": _resident(OTHER_PERSON, "例守信")["id"]},
    ),
    "one person twice": (
        "ONE_PERSON_PER_OPERATION",
        "one natural person",
        PERSONS,
        {"a": _resident(PERSON)["id"], "b": _resident(PERSON)["id"]},
    ),
    "long document": ("DOCUMENT_TOO_LONG", "32768", "{ viewer { type } } #" + "x" * 40_000, None),
    "many lines": ("DOCUMENT_TOO_LONG", "4000", "{ viewer { type } }" + "\n" * 5000, None),
    "many tokens": ("TOO_MANY_TOKENS", "4000", "{" + "a " * 16_000 + "}", None),
    "many definitions": ("TOO_MANY_DEFINITIONS", "50", _spread_twice(60), None),
    "exponential fragments, deep": ("TOO_MANY_FIELDS", "2000", _spread_twice(48), None),
    "deep fragments": ("TOO_DEEP", "20", _spread_once(45), None),
    "exponential fragments": ("TOO_MANY_FIELDS", "2000", _spread_twice(15), None),
    "ten thousand aliases": ("TOO_MANY_ALIASES", "300", _ten_thousand_aliases(), None),
    "deep document": ("TOO_DEEP", "20", "{a" * 30 + "}" * 30, None),
    "very deep document": ("TOO_DEEP", "The document", "{a" * 1900 + "}" * 1900, None),
    "deep literal": ("TOO_DEEP", "The document", f'{{ viewer(a: {"[" * 1900}{"]" * 1900}) {{ type }} }}', None),
    "many directives": ("TOO_MANY_DIRECTIVES", "100", "{ viewer { " + "type @skip(if: false) " * 101 + "} }", None),
    "many equal fields": ("TOO_COMPLEX", "merge them", "{ " + "viewer { type } " * 600 + "}", None),
    "deep variables": ("TOO_DEEP", "20", ONE, {"id": json.loads("[" * 30 + "]" * 30)}),
}  # fmt: skip


@pytest.mark.parametrize("case", DOCUMENTS)
async def test_bad_documents_and_variables_are_refused(client: Client, case: str) -> None:
    code, named, query, variables = DOCUMENTS[case]
    before, rows = await client.requests(), _rows(client)
    await _refused(client, await client.post(BUREAU, query, variables), code, named)
    assert await client.requests() == before
    assert _rows(client) == rows


@pytest.mark.parametrize(
    "identifier",
    [
        {},
        {"creditCode": None},
        {"creditCode": CLEAN, "registrationNumber": "990105000000129"},
        {"creditCode": CLEAN, "resident": {"number": PERSON, "name": "例失信"}},
    ],
)
async def test_a_subject_is_named_by_exactly_one_identifier(client: Client, identifier: Any) -> None:
    before, rows = await client.requests(), _rows(client)
    await _refused(client, await client.post(BUREAU, ONE, {"id": identifier}), "BAD_VARIABLE", "'$id")
    assert await client.requests() == before
    assert _rows(client) == rows


QUERY = b'"query": "{ viewer { type } }"'

BODIES: dict[str, tuple[str, str, bytes, int]] = {
    "nothing": ("MALFORMED_BODY", "empty document", b"", 400),
    "no JSON": ("MALFORMED_BODY", "line 1, column 1", b"viewer { type }", 400),
    "half": ("MALFORMED_BODY", "line 1", b'{"query": "{ viewer', 400),
    "two": ("MALFORMED_BODY", "line 1", b"{" + QUERY + b"} " + PERSON.encode(), 400),
    "invalid UTF-8": ("MALFORMED_BODY", "byte 11 is not UTF-8", b'{"query": "\xff"}', 400),
    "UTF-16": ("MALFORMED_BODY", "byte 0 is not UTF-8", '{"query": "{ viewer { type } }"}'.encode("utf-16"), 400),
    "batch": ("MALFORMED_BODY", "batches", b"[{" + QUERY + b"}]", 400),
    "number": ("MALFORMED_BODY", "an object", PERSON.encode(), 400),
    "text": ("MALFORMED_BODY", "an object", b'"990105199912319987"', 400),
    "no query": ("BAD_REQUEST_FIELD", "'query'", b"{}", 400),
    "query null": ("BAD_REQUEST_FIELD", "'query'", b'{"query": null}', 400),
    "query number": ("BAD_REQUEST_FIELD", "'query'", b'{"query": 990105199912319987}', 400),
    "query twice": ("BAD_REQUEST_FIELD", "'query'", b"{" + QUERY + b", " + QUERY + b"}", 400),
    "name number": ("BAD_REQUEST_FIELD", "'operationName'", b"{" + QUERY + b', "operationName": 1}', 400),
    "unknown name": ("OPERATION_NOT_FOUND", "operationName", b"{" + QUERY + b', "operationName": "A"}', 400),
    "variables list": ("BAD_REQUEST_FIELD", "'variables'", b"{" + QUERY + b', "variables": []}', 400),
    "variables text": ("BAD_REQUEST_FIELD", "'variables'", b"{" + QUERY + b', "variables": "{}"}', 400),
    "extensions number": ("BAD_REQUEST_FIELD", "'extensions'", b"{" + QUERY + b', "extensions": 1}', 400),
    "not a number": ("MALFORMED_BODY", "column", b"{" + QUERY + b', "variables": {"a": NaN}}', 400),
    "infinity": ("MALFORMED_BODY", "column", b"{" + QUERY + b', "variables": {"a": 1e400}}', 400),
    "100,000 digits": ("MALFORMED_BODY", "column", b"{" + QUERY + b', "variables": {"a": ' + b"9" * 100_000 + b"}}", 400),
    "100,000 levels": ("TOO_DEEP", "20", b"[" * 100_000 + b"]" * 100_000, 400),
    "100,000 levels in variables": (
        "TOO_DEEP",
        "20",
        b"{" + QUERY + b', "variables": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        400,
    ),
    "5 MB": ("BODY_TOO_LARGE", "262144", b'{"query": "' + b"x" * 5_000_000 + b'"}', 413),
    "a million tokens": ("BODY_TOO_LARGE", "262144", b'{"query": "{' + b"a " * 1_000_000 + b'}"}', 413),
    "100,000 tokens": ("DOCUMENT_TOO_LONG", "32768", b'{"query": "{' + b"a " * 100_000 + b'}"}', 400),
    "10,000 aliases": (
        "DOCUMENT_TOO_LONG",
        "32768",
        b'{"query": "{' + b" ".join(b"a%d:viewer{type}" % n for n in range(10_000)) + b'}"}',
        400,
    ),
}  # fmt: skip


async def _send(client: Client, token: str, body: bytes, **headers: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", **headers}
    return await client.http.post(f"{client.url}/graphql", content=body, headers=headers)


@pytest.mark.parametrize("case", BODIES)
async def test_bad_bodies_are_refused(client: Client, case: str) -> None:
    code, named, body, status = BODIES[case]
    before, rows = await client.requests(), _rows(client)
    await _refused(client, await _send(client, await client.token(BUREAU), body), code, named, status)
    assert await client.requests() == before
    assert _rows(client) == rows


async def test_a_large_body_without_a_length_is_refused(client: Client) -> None:
    async def chunks() -> Any:
        for _ in range(50):
            yield b" " * 100_000

    headers = {
        "authorization": f"Bearer {await client.token(BUREAU)}",
        "content-type": "application/json",
    }
    answer = await client.http.post(f"{client.url}/graphql", content=chunks(), headers=headers)
    await _refused(client, answer, "BODY_TOO_LARGE", "262144", 413)


async def test_several_faults_are_told_at_once(client: Client) -> None:
    answer = await client.post(BUREAU, "{ wish hope viewer { luck } }")
    messages = [error["message"] for error in answer.json()["errors"]]
    assert [name in message for name, message in zip(("wish", "hope", "luck"), messages, strict=True)] == [
        True
    ] * 3


async def test_missing_evidence_is_a_denial_that_names_it(client: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION) { subject(id: $id) {
      ... on RegisteredSubject { registration { state reason { code remedy } } } } } }"""
    before = await client.requests()
    body = await client.ask(BUREAU, query, _code(CLEAN))
    section = body["data"]["inquiry"]["subject"]["registration"]
    assert section["state"] == "DENIED"
    assert section["reason"]["code"] == "DENY_EVIDENCE"
    assert "inspection" in section["reason"]["remedy"]
    assert await client.requests() == before


async def test_a_person_under_18_is_refused(client: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: LICENSING, evidence: {matterCode: "M-1", caseNumber: "C-1"}) {
      subject(id: $id) { ... on NaturalPerson { licences { state } } } } }"""
    before, rows = await client.requests(), _rows(client)
    answer = await client.post(BUREAU, query, _resident(MINOR, "例年少"))
    await _refused(client, answer, "SUBJECT_UNDER_AGE", "under 18", 403)
    assert await client.requests() == before
    assert _rows(client) == rows + 1


# The abusive ones, against a process whose memory is watched

GROWTH = 32 * 1024
"""KiB by which the process may have grown after thousands of bad requests."""
PEAK = 96 * 1024
"""KiB above its size at the start that the process may ever have had."""
ROUNDS = 5
"""Times that each of four clients sends every bad request."""


def _abuses() -> list[tuple[int, bytes]]:
    """Status expected and body, for every bad body and document above."""
    bodies = [(status, body) for _, _, body, status in BODIES.values()]
    documents = [(400, orjson.dumps({"query": q, "variables": v})) for _, _, q, v in DOCUMENTS.values()]
    return bodies + documents


async def _ask_well(running: GatewayProcess, stop: asyncio.Event) -> int:
    """Good questions, one after another, until told to stop; how many were answered."""
    answered = 0
    while not stop.is_set():
        body = await running.client.ask(BUREAU, MANY, _references(CLEAN, PENALISED))
        states = [s["registration"]["state"] for s in body["data"]["inquiry"]["bidders"]]
        assert states == ["HAS", "HAS"]
        answered += 1
        await asyncio.sleep(0.05)
    return answered


async def test_abuse_neither_feeds_nor_stops_the_process(sandbox: Sandbox, tmp_path: Path) -> None:
    abuses = _abuses()
    # Good questions wait behind the abuse, and a register that is not heard in time denies.
    async with gateway_process(sandbox, tmp_path, deadline=10) as running:
        token = await running.client.token(BUREAU)

        async def abuse(bodies: list[tuple[int, bytes]]) -> None:
            for status, body in bodies:
                answer = await _send(running.client, token, body)
                assert answer.status_code == status, answer.text
                assert "data" not in answer.json()

        await running.client.ask(BUREAU, MANY, _references(CLEAN))
        start = running.memory("VmRSS")
        await abuse(abuses)
        warm = running.memory("VmRSS")
        stop = asyncio.Event()
        well = asyncio.create_task(_ask_well(running, stop))
        small = [(status, body) for status, body in abuses if len(body) < 100_000]
        await asyncio.gather(*(abuse(small * ROUNDS) for _ in range(4)), abuse(abuses))
        stop.set()
        assert await well > 0
        assert running.memory("VmRSS") - warm < GROWTH
        assert running.memory("VmHWM") - start < PEAK
        assert await running.stop() == 0


def _large_document(number: int) -> str:
    """A valid document of nearly the longest length, unlike those of other numbers."""
    fields = " ".join(f"a{number}_{n}: viewer {{ unit unitName type level division }}" for n in range(200))
    return f"{{ {fields} }} #".ljust(32_000, ".")


async def test_large_valid_documents_do_not_pile_up(sandbox: Sandbox, tmp_path: Path) -> None:
    async with gateway_process(sandbox, tmp_path) as running:
        for number in range(33):
            await running.client.ask(BUREAU, _large_document(number))
        full = running.memory("VmRSS")
        for number in range(33, 53):
            await running.client.ask(BUREAU, _large_document(number))
        assert running.memory("VmRSS") - full < GROWTH // 2
