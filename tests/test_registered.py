"""Documents by name: the operator's manifest, automatic persisted queries, and what each refuses."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import graphql
import httpx
import orjson
import pytest
from service import BUREAU, CLEAN, Client, gateway

from connectors.sandbox.server import Sandbox
from gateway.errors import Code, GatewayError
from gateway.limits import Limits
from gateway.registered import (
    NONE_REGISTERED,
    ManifestError,
    NamedDocuments,
    Registered,
    check_registered,
    read_manifest,
)
from gateway.settings import DocumentSettings

VIEWER = "{ viewer { type } }"
OTHER = "query Other { viewer { unit } }"
SCHEMA = graphql.build_schema("type Query { viewer: Viewer }  type Viewer { type: String unit: String }")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def persisted(text: str, **changes: Any) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)} | changes}


def manifest(folder: Path, content: Any) -> Path:
    file = folder / "manifest.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def named(registered: Registered = NONE_REGISTERED, **options: Any) -> NamedDocuments:
    return NamedDocuments(lambda: registered, Limits(), **options)


def refused(documents: NamedDocuments, **members: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        documents.text(members)
    return caught.value


# The manifest


@pytest.mark.parametrize(
    "content",
    [
        {"viewer": VIEWER, sha256(OTHER): OTHER},
        {
            "format": "apollo-persisted-query-manifest",
            "version": 1,
            "operations": [
                {"id": "viewer", "name": "Viewer", "type": "query", "body": VIEWER},
                {"id": sha256(OTHER), "name": "Other", "type": "query", "body": OTHER},
            ],
        },
    ],
    ids=["object", "apollo"],
)
def test_both_forms_of_a_manifest_are_read(tmp_path: Path, content: Any) -> None:
    registered = read_manifest(manifest(tmp_path, content))
    assert registered.by_id == {"viewer": VIEWER, sha256(OTHER): OTHER}
    assert registered.by_hash == {sha256(VIEWER): VIEWER, sha256(OTHER): OTHER}


def test_without_a_manifest_nothing_is_registered() -> None:
    assert read_manifest(None) == NONE_REGISTERED


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "manifest.json: is not JSON"),
        ("[]", "a document is expected under each id"),
        ({"a": 3}, "a document is expected under each id"),
        ({"operations": [{"id": "a"}]}, "missing required field `body`"),
        ('{"a": "{x}", "a": "{y}"}', "entry 'a' is given twice"),
        ({"operations": [{"id": "a", "body": "x"}, {"id": "a", "body": "y"}]}, "entry 'a' is given twice"),
        ({"": VIEWER}, "entry '': an id is 1 to 200"),
        ({"a b": VIEWER}, "entry 'a b': an id is 1 to 200"),
        ({sha256(OTHER): VIEWER}, "the id is not the SHA-256 of the text"),
        ({f"sha256:{sha256(OTHER)}": VIEWER}, "the id is not the SHA-256 of the text"),
        ({"sha256:short": VIEWER}, "the id is not the SHA-256 of the text"),
    ],
)
def test_a_wrong_manifest_is_named_with_entry_and_reason(tmp_path: Path, content: Any, reason: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(manifest(tmp_path, content))
    assert str(caught.value).startswith("documents.manifest: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{ viewer { ", "not GraphQL"),
        ("{ wish }", "wish"),
        ("{ viewer { type } } " + " " * 40_000, "longer than"),
        ("{ viewer { type } } #" + "\n" * 5_000, "longer than"),
    ],
)
def test_every_entry_is_held_against_schema_and_limits(tmp_path: Path, text: str, reason: str) -> None:
    registered = read_manifest(manifest(tmp_path, {"good": VIEWER, "bad": text}))
    with pytest.raises(ManifestError, match="entry 'bad': ") as caught:
        check_registered(registered, SCHEMA, Limits())
    assert reason in str(caught.value)


# By name


def test_a_document_is_found_by_id_and_by_hash() -> None:
    documents = named(Registered({"viewer": VIEWER}, {sha256(VIEWER): VIEWER}))
    assert documents.text({"documentId": "viewer"}) == VIEWER
    assert documents.text({"documentId": f"sha256:{sha256(VIEWER)}"}) == VIEWER
    assert documents.text({"extensions": persisted(VIEWER)}) == VIEWER
    assert documents.text({"query": OTHER, "extensions": {"other": 1}}) == OTHER


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({}, Code.BAD_REQUEST_FIELD),
        ({"query": 3}, Code.BAD_REQUEST_FIELD),
        ({"documentId": "unknown"}, Code.DOCUMENT_NOT_FOUND),
        ({"documentId": f"sha256:{sha256(OTHER)}"}, Code.DOCUMENT_NOT_FOUND),
        ({"documentId": 3}, Code.BAD_REQUEST_FIELD),
        ({"documentId": "viewer", "query": VIEWER}, Code.BAD_REQUEST_FIELD),
        ({"documentId": "viewer", "extensions": persisted(VIEWER)}, Code.BAD_REQUEST_FIELD),
        ({"extensions": persisted(OTHER)}, Code.PERSISTED_QUERY_NOT_FOUND),
        ({"query": VIEWER, "extensions": persisted(OTHER)}, Code.BAD_REQUEST_FIELD),
        ({"extensions": persisted(VIEWER, version=2)}, Code.BAD_REQUEST_FIELD),
        ({"extensions": persisted(VIEWER, sha256Hash=sha256(VIEWER).upper())}, Code.BAD_REQUEST_FIELD),
        ({"extensions": persisted(VIEWER, sha256Hash="short")}, Code.BAD_REQUEST_FIELD),
        ({"extensions": {"persistedQuery": "text"}}, Code.BAD_REQUEST_FIELD),
    ],
)
def test_what_names_nothing_is_refused(members: dict[str, Any], code: Code) -> None:
    documents = named(Registered({"viewer": VIEWER}, {sha256(VIEWER): VIEWER}))
    assert refused(documents, **members).code is code
    assert documents.kept == 0


def test_only_registered_texts_pass_where_the_operator_says_so() -> None:
    documents = named(Registered({"viewer": VIEWER}, {sha256(VIEWER): VIEWER}), only_registered=True)
    assert documents.text({"documentId": "viewer"}) == VIEWER
    assert documents.text({"query": VIEWER}) == VIEWER
    assert refused(documents, query=OTHER).code is Code.DOCUMENT_NOT_REGISTERED
    assert refused(documents, query=OTHER, extensions=persisted(OTHER)).code is Code.DOCUMENT_NOT_REGISTERED
    assert refused(documents, extensions=persisted(OTHER)).code is Code.PERSISTED_QUERY_NOT_SUPPORTED
    assert documents.kept == 0


# Automatic


def test_a_text_is_kept_by_its_own_hash() -> None:
    documents = named()
    assert refused(documents, extensions=persisted(VIEWER)).code is Code.PERSISTED_QUERY_NOT_FOUND
    assert documents.text({"query": VIEWER, "extensions": persisted(VIEWER)}) == VIEWER
    assert documents.text({"extensions": persisted(VIEWER)}) == VIEWER
    # What a client registered has no id: ids are the operator's.
    assert refused(documents, documentId=f"sha256:{sha256(VIEWER)}").code is Code.DOCUMENT_NOT_FOUND


def test_switched_off_it_says_so_once_for_all() -> None:
    documents = named(automatic=False)
    assert documents.text({"query": VIEWER, "extensions": persisted(VIEWER)}) == VIEWER
    assert refused(documents, extensions=persisted(VIEWER)).code is Code.PERSISTED_QUERY_NOT_SUPPORTED


def test_the_store_is_bounded_in_entries_and_characters() -> None:
    texts = [f"{{ viewer {{ a{number}: type }} }}" for number in range(10)]
    by_entries = named(entries=3)
    by_characters = named(characters=3 * len(texts[0]))
    for documents in (by_entries, by_characters):
        for text in texts:
            documents.text({"query": text, "extensions": persisted(text)})
        assert documents.kept == 3
        assert documents.text({"extensions": persisted(texts[-1])}) == texts[-1]
        assert refused(documents, extensions=persisted(texts[0])).code is Code.PERSISTED_QUERY_NOT_FOUND


def test_what_is_used_stays() -> None:
    documents = named(entries=2)
    for text in (VIEWER, OTHER):
        documents.text({"query": text, "extensions": persisted(text)})
    documents.text({"extensions": persisted(VIEWER)})
    documents.text({"query": "{ viewer { unit } }", "extensions": persisted("{ viewer { unit } }")})
    assert documents.text({"extensions": persisted(VIEWER)}) == VIEWER
    assert refused(documents, extensions=persisted(OTHER)).code is Code.PERSISTED_QUERY_NOT_FOUND


def test_a_text_beyond_the_limits_is_not_kept() -> None:
    documents = named()
    text = "#" * 40_000
    assert refused(documents, query=text, extensions=persisted(text)).code is Code.DOCUMENT_TOO_LONG
    assert documents.kept == 0


# Over HTTP

LOOK = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
  subject(id: $id) { ... on RegisteredSubject { registration { state } } } } }"""
ANSWER = {"data": {"viewer": {"type": "MARKET_REGULATION"}}}


async def post(client: Client, **members: Any) -> httpx.Response:
    headers = {
        "authorization": f"Bearer {await client.token(BUREAU)}",
        "content-type": "application/json",
    }
    return await client.http.post(f"{client.url}/graphql", content=orjson.dumps(members), headers=headers)


def code_of(answer: httpx.Response) -> str:
    code: str = answer.json()["errors"][0]["extensions"]["code"]
    return code


async def test_a_client_registers_its_query_and_asks_by_hash_from_then_on(client: Client) -> None:
    first = await post(client, extensions=persisted(LOOK), variables={"id": {"creditCode": CLEAN}})
    # The protocol's clients expect 200, this very message and this very code.
    assert first.status_code == 200
    assert first.json()["errors"][0]["message"] == "PersistedQueryNotFound"
    assert code_of(first) == "PERSISTED_QUERY_NOT_FOUND"
    again = {"extensions": persisted(LOOK), "variables": {"id": {"creditCode": CLEAN}}}
    sent = await post(client, query=LOOK, **again)
    by_hash = await post(client, **again)
    assert by_hash.json()["data"] == sent.json()["data"]
    wrong = await post(client, query=VIEWER, extensions=persisted(LOOK))
    assert (wrong.status_code, code_of(wrong)) == (400, "BAD_REQUEST_FIELD")


async def test_a_get_may_name_its_query_by_hash(client: Client) -> None:
    text = "query ByHash { viewer { type } }"
    await post(client, query=text, extensions=persisted(text))
    headers = {"authorization": f"Bearer {await client.token(BUREAU)}"}
    address = f"{client.url}/graphql?extensions={quote(json.dumps(persisted(text)))}"
    assert (await client.http.get(address, headers=headers)).json() == ANSWER
    await post(client, query=LOOK, extensions=persisted(LOOK))
    address = (
        f"{client.url}/graphql?extensions={quote(json.dumps(persisted(LOOK)))}"
        + "&variables="
        + quote(json.dumps({"id": {"creditCode": CLEAN}}))
    )
    inquiry = await client.http.get(address, headers=headers)
    assert (inquiry.status_code, code_of(inquiry)) == (405, "INQUIRY_NEEDS_POST")


async def test_a_hash_opens_nothing_that_the_text_would_not(client: Client) -> None:
    text = "query Secret { viewer { type } }"
    await post(client, query=text, extensions=persisted(text))
    stranger = await client.http.post(f"{client.url}/graphql", json={"extensions": persisted(text)})
    assert stranger.status_code == 401


async def test_an_operator_registers_documents_and_nothing_else_is_answered(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    file = manifest(tmp_path, {"who-am-i": VIEWER, "look": LOOK})
    documents = DocumentSettings(manifest=str(file), only_registered=True)
    async with gateway(sandbox, tmp_path, documents=documents) as client:
        assert (await post(client, documentId="who-am-i")).json() == ANSWER
        looked = await post(client, documentId="look", variables={"id": {"creditCode": CLEAN}})
        assert looked.json()["data"]["inquiry"]["subject"]["registration"]["state"] == "HAS"
        other = await post(client, query=OTHER)
        assert (other.status_code, code_of(other)) == (403, "DOCUMENT_NOT_REGISTERED")
        unknown = await post(client, documentId="unknown")
        assert (unknown.status_code, code_of(unknown)) == (400, "DOCUMENT_NOT_FOUND")
        headers = {"authorization": f"Bearer {await client.token(BUREAU)}"}
        got = await client.http.get(f"{client.url}/graphql?documentId=who-am-i", headers=headers)
        assert got.json() == ANSWER


async def test_a_manifest_that_does_not_fit_the_schema_stops_the_start(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    file = manifest(tmp_path, {"wish": "{ wish }"})
    with pytest.raises(ManifestError, match="entry 'wish'"):
        async with gateway(sandbox, tmp_path, documents=DocumentSettings(manifest=str(file))):
            raise AssertionError("it started")
