"""GraphQL over HTTP, and HTTP itself: media types, methods, bodies that never end, and a stop without loss."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import apsw
import httpx
import orjson
import pytest
from gateway_process import gateway_process
from recording_vfs import RecordingVfs
from service import BUREAU, CLEAN, CONTESTED, Client, gateway, serving, settings_for

from connectors.sandbox.server import Sandbox
from gateway.app import create_app
from gateway.ledger import read_rows
from gateway.settings import ExplorerSettings

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
VIEWER = "{ viewer { type } }"
ANSWER = {"data": {"viewer": {"type": "MARKET_REGULATION"}}}
LOOK = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
  receipt { id } subject(id: $id) { ... on RegisteredSubject { registration { state } } } } }"""


async def _send(
    client: Client, method: str = "POST", path: str = "/graphql", *, body: bytes | None = None, **headers: str
) -> httpx.Response:
    """A request with a department's token; a POST without a body asks who the viewer is."""
    given = {"authorization": f"Bearer {await client.token(BUREAU)}"}
    if method == "POST" and body is None:
        body = orjson.dumps({"query": VIEWER})
        given["content-type"] = JSON
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.http.request(method, client.url + path, content=body, headers=given)


def _error(answer: httpx.Response) -> str:
    """The code of the one error, from a body that is well-formed and kept by nobody."""
    assert answer.headers["content-type"].split(";")[0] in (JSON, GRAPHQL)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    body = answer.json()
    assert set(body) == {"errors"}
    code: str = body["errors"][0]["extensions"]["code"]
    return code


# Media types


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", GRAPHQL),
        ("*/*", GRAPHQL),
        ("application/*", GRAPHQL),
        (GRAPHQL, GRAPHQL),
        (JSON, JSON),
        (f"{JSON}, {GRAPHQL}", GRAPHQL),
        (f"{JSON}, {GRAPHQL};q=0.9", JSON),
        (f"{JSON};q=0.5, {GRAPHQL};q=0.6", GRAPHQL),
        (f"{GRAPHQL};q=0, */*", JSON),
        (f"text/html, {JSON};q=0.1", JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", GRAPHQL),
        ("application/json; charset=utf-8", JSON),
    ],
)
async def test_the_answer_comes_in_the_media_type_that_is_preferred(
    client: Client, accept: str, media_type: str
) -> None:
    answer = await _send(client, accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == ANSWER


@pytest.mark.parametrize("accept", ["text/html", f"{JSON};q=0", "application/xml, text/*", f"{JSON};q=2"])
async def test_what_nobody_can_read_is_not_sent(client: Client, accept: str) -> None:
    answer = await _send(client, accept=accept)
    assert answer.status_code == 406
    assert _error(answer) == "NOT_ACCEPTABLE"


@pytest.mark.parametrize("media_type", [GRAPHQL, JSON])
async def test_errors_come_in_the_preferred_media_type_too(client: Client, media_type: str) -> None:
    without_token = await client.http.post(
        f"{client.url}/graphql", json={"query": VIEWER}, headers={"accept": media_type}
    )
    invalid = await _send(client, body=b'{"query": "{ wish }"}', content_type=JSON, accept=media_type)
    method = await _send(client, "DELETE", accept=media_type)
    for answer, status in ((without_token, 401), (invalid, 400), (method, 405)):
        assert answer.status_code == status
        assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
        assert _error(answer)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/graphql",
        "application/json; charset=utf-16",
        "",
    ],
)
async def test_no_form_can_ask(client: Client, content_type: str) -> None:
    answer = await _send(client, body=orjson.dumps({"query": VIEWER}), content_type=content_type)
    assert answer.status_code == 415
    assert answer.headers["accept"] == JSON
    assert _error(answer) == "UNSUPPORTED_MEDIA_TYPE"


async def test_a_body_without_a_type_and_a_compressed_one_are_not_read(client: Client) -> None:
    body = orjson.dumps({"query": VIEWER})
    assert (await _send(client, body=body)).status_code == 415
    compressed = await _send(client, body=body, content_type=JSON, content_encoding="gzip")
    assert compressed.status_code == 415
    assert _error(compressed) == "UNSUPPORTED_MEDIA_TYPE"


# Methods and addresses


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND"])
async def test_other_methods_are_told_which_are_served(client: Client, method: str) -> None:
    answer = await _send(client, method)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"
    assert "access-control-allow-origin" not in answer.headers
    if method == "HEAD":
        assert answer.content == b""
    else:
        assert _error(answer) == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("query", [VIEWER, "{ catalogue { code } purposes { code } measures { code } }"])
async def test_what_is_about_no_subject_can_be_got(client: Client, query: str) -> None:
    answer = await _send(client, "GET", f"/graphql?query={quote(query)}")
    assert answer.status_code == 200
    assert "errors" not in answer.json()
    assert answer.headers["cache-control"] == "no-store"


async def test_a_get_takes_variables_and_an_operation_name(client: Client) -> None:
    query = (
        "query A($with: Boolean!) { viewer { type unit @include(if: $with) } } query B { viewer { unit } }"
    )
    variables = quote('{"with": false}')
    address = f"/graphql?query={quote(query)}&operationName=A&variables={variables}"
    assert (await _send(client, "GET", address)).json() == ANSWER


@pytest.mark.parametrize("inside", [f'subject(id: {{creditCode: "{CLEAN}"}}) {{ kind }}', "receipt { id }"])
async def test_an_inquiry_is_not_got(client: Client, inside: str) -> None:
    before, rows = await client.requests(), _rows(client)
    query = f"{{ inquiry(purpose: PUBLIC_VIEW) {{ {inside} }} }}"
    answer = await _send(client, "GET", f"/graphql?query={quote(query)}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert _error(answer) == "INQUIRY_NEEDS_POST"
    assert await client.requests() == before
    assert _rows(client) == rows


@pytest.mark.parametrize(
    ("query_string", "status", "code"),
    [
        ("", 400, "BAD_REQUEST_FIELD"),
        ("query=", 400, "SYNTAX"),
        ("query=%FF", 400, "MALFORMED_BODY"),
        ("query=%7Bviewer%7Btype%7D%7D&variables=%7B", 400, "MALFORMED_BODY"),
        ("query=%7Bviewer%7Btype%7D%7D&query=%7Bviewer%7Btype%7D%7D", 400, "BAD_REQUEST_FIELD"),
        ("query=" + "x" * 17_000, 414, "URL_TOO_LONG"),
    ],
)
async def test_bad_query_strings(client: Client, query_string: str, status: int, code: str) -> None:
    answer = await _send(client, "GET", f"/graphql?{query_string}")
    assert answer.status_code == status
    assert _error(answer) == code


@pytest.mark.parametrize(
    "path", ["/", "/graphql/", "/graphql/x", "/Graphql", "/healthz/", "/../etc/passwd", "/%00"]
)
async def test_there_is_nothing_elsewhere(client: Client, path: str) -> None:
    for method in ("GET", "POST"):
        answer = await _send(client, method, path)
        assert answer.status_code == 404
        assert _error(answer) == "NOT_FOUND"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_the_state_of_the_service_is_read_and_not_written(client: Client, path: str) -> None:
    answer = await client.http.get(client.url + path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == JSON
    assert answer.headers["cache-control"] == "no-store"
    assert (await client.http.head(client.url + path)).status_code == 200
    refused = await client.http.post(client.url + path)
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert _error(refused) == "METHOD_NOT_ALLOWED"


async def test_the_explorer_can_be_switched_off(sandbox: Sandbox, tmp_path: Path) -> None:
    async with gateway(sandbox, tmp_path, explorer=ExplorerSettings(enabled=False)) as client:
        answer = await client.http.get(f"{client.url}/explorer")
        assert answer.status_code == 404
        assert _error(answer) == "NOT_FOUND"


async def test_introspection_needs_a_token(client: Client) -> None:
    query = "{ __schema { queryType { name } } }"
    stranger = await client.http.post(f"{client.url}/graphql", json={"query": query})
    assert stranger.status_code == 401
    assert _error(stranger) == "UNAUTHENTICATED"
    body = await client.ask("developer", query)
    assert body == {"data": {"__schema": {"queryType": {"name": "Query"}}}}


async def test_a_ledger_that_fails_makes_the_service_unready_until_it_recovers(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    layer = RecordingVfs("ready")
    async with gateway(sandbox, tmp_path, ledger_vfs=layer.name) as client:
        layer.write_error = apsw.FullError("disk full")
        assert (await client.post(BUREAU, LOOK, {"id": {"creditCode": CLEAN}})).status_code == 503
        unready = await client.http.get(f"{client.url}/readyz")
        assert unready.status_code == 503
        assert unready.json()["ledger"] == "failed"
        assert (await client.http.get(f"{client.url}/healthz")).status_code == 200
        layer.write_error = None
        ready = await client.http.get(f"{client.url}/readyz")
        assert ready.status_code == 200
        assert ready.json()["ledger"] == "ok"
        await client.ask(BUREAU, LOOK, {"id": {"creditCode": CLEAN}})


# Connections


class Wire:
    """One connection, written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self._reader = reader
        self._writer = writer
        self._token = token

    def begin(self, length: int | None, method: str = "POST", **headers: str) -> None:
        """The head of a request; a body of `length` bytes is promised, or one in chunks."""
        lines = [f"{method} /graphql HTTP/1.1", "Host: gateway", f"Authorization: Bearer {self._token}"]
        lines += ["Content-Type: application/json"]
        lines += ["Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def ask(self, query: str = VIEWER) -> None:
        body = orjson.dumps({"query": query})
        self.begin(len(body))
        self.send(body)

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body of the next answer."""
        async with asyncio.timeout(60):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:] if line)}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(body)

    async def end(self) -> bytes:
        """What comes until the other side closes."""
        async with asyncio.timeout(60):
            return await self._reader.read()


@asynccontextmanager
async def _wire(client: Client, url: str | None = None) -> AsyncIterator[Wire]:
    address = urlsplit(url or client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Wire(reader, writer, await client.token(BUREAU))
    finally:
        writer.close()


async def test_a_connection_goes_on_after_each_kind_of_error(client: Client) -> None:
    async with _wire(client) as wire:
        for query, status in (("{ wish }", 400), (VIEWER, 200), ("{", 400), (VIEWER, 200)):
            wire.ask(query)
            assert (await wire.answer())[0] == status


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_does_not_become_the_next_request(
    client: Client, chunked: bool
) -> None:
    trap = b"POST /graphql HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n"
    body = trap * (400_000 // len(trap))
    async with _wire(client) as wire:
        wire.begin(None if chunked else len(body))
        wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
        wire.ask()
        status, _, refused = await wire.answer()
        assert status == 413
        assert refused["errors"][0]["extensions"]["code"] == "BODY_TOO_LARGE"
        status, _, answered = await wire.answer()
        assert status == 200
        assert answered == ANSWER


async def test_a_body_may_come_late_and_in_pieces(client: Client) -> None:
    body = orjson.dumps({"query": VIEWER})
    async with _wire(client) as wire:
        wire.begin(len(body))
        for byte in body:
            await asyncio.sleep(0.001)
            wire.send(bytes([byte]))
        status, _, answered = await wire.answer()
        assert (status, answered) == (200, ANSWER)


async def test_requests_sent_at_once_are_answered_in_their_order(client: Client) -> None:
    async with _wire(client) as wire:
        for query in (VIEWER, "{ wish }", VIEWER):
            wire.ask(query)
        assert [(await wire.answer())[0] for _ in range(3)] == [200, 400, 200]


async def test_a_client_of_http_1_0_is_answered_and_let_go(client: Client) -> None:
    async with _wire(client) as wire:
        body = orjson.dumps({"query": VIEWER})
        head = f"POST /graphql HTTP/1.0\r\nAuthorization: Bearer {wire._token}\r\n"
        wire.send(
            f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        assert (await wire.answer())[2] == ANSWER
        assert await wire.end() == b""


async def test_a_client_that_waits_for_leave_gets_it(client: Client) -> None:
    body = orjson.dumps({"query": VIEWER})
    async with _wire(client) as wire:
        wire.begin(len(body), Expect="100-continue")
        async with asyncio.timeout(60):
            assert await wire._reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(body)
        assert (await wire.answer())[2] == ANSWER


@pytest.mark.parametrize(
    ("header", "value", "status"), [("Content-Type", "text/plain", 415), ("Authorization", "Bearer x", 401)]
)
async def test_a_header_that_comes_twice_is_refused(
    client: Client, header: str, value: str, status: int
) -> None:
    body = orjson.dumps({"query": VIEWER})
    async with _wire(client) as wire:
        wire.begin(len(body), **{header: value})
        wire.send(body)
        assert (await wire.answer())[0] == status


async def test_a_refused_length_is_not_waited_for(client: Client) -> None:
    async with _wire(client) as wire:
        wire.begin(10**12)
        status, _, body = await wire.answer()
        assert status == 413
        assert body["errors"][0]["extensions"]["code"] == "BODY_TOO_LARGE"


async def test_a_stranger_is_refused_before_the_body_is_read(client: Client) -> None:
    async with _wire(client) as wire:
        wire._token = "x"
        wire.begin(100_000)
        status, headers, _ = await wire.answer()
        assert status == 401
        assert headers["www-authenticate"].startswith("Bearer ")


async def test_clients_that_leave_in_the_middle_hurt_nobody(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            async with _wire(client) as wire:
                wire.begin(1000)
                wire.send(b'{"query": "{ view')
        for _ in range(20):
            async with _wire(client) as wire:
                wire.ask(LOOK)
        assert (await _send(client)).json() == ANSWER
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_body_that_does_not_arrive_is_given_up(
    client: Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    app = create_app(settings_for(sandbox, tmp_path), environment={}, body_seconds=0.2)
    async with serving(app) as url, _wire(client, url) as slow, _wire(client, url) as quick:
        slow.begin(1000)
        slow.send(b'{"query": "{ view')
        status, headers, body = await slow.answer()
        assert status == 408
        assert headers["content-type"].startswith(GRAPHQL)
        assert body["errors"][0]["extensions"]["code"] == "BODY_TIMEOUT"
        assert "0.2 seconds" in body["errors"][0]["message"]
        assert await slow.end() == b""
        quick.ask()
        assert (await quick.answer())[0] == 200


async def test_a_slow_source_is_not_a_slow_body(client: Client, sandbox: Sandbox, tmp_path: Path) -> None:
    await client.fault("provincial-platform", "delay", 0.5)
    app = create_app(settings_for(sandbox, tmp_path), environment={}, body_seconds=0.2)
    async with serving(app) as url:
        token = await client.token(BUREAU)
        answer = await client.http.post(
            f"{url}/graphql",
            json={"query": LOOK, "variables": {"id": {"creditCode": CLEAN}}},
            headers={"authorization": f"Bearer {token}"},
        )
    assert answer.json()["data"]["inquiry"]["subject"]["registration"]["state"] == "HAS"


# The end


async def _asked(client: Client, source: str, before: int) -> None:
    """Wait until a source has had another request."""
    for _ in range(1000):
        if (await client.requests())[source] > before:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{source} was not asked")


async def test_an_answer_in_flight_survives_the_stop(
    client: Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    async with gateway_process(sandbox, tmp_path, deadline=20) as running:
        await running.client.ask(BUREAU, LOOK, {"id": {"creditCode": CLEAN}})
        await client.fault("provincial-platform", "delay", 0.8)
        before = (await client.requests())["provincial-platform"]
        asked = asyncio.create_task(
            running.client.ask(
                BUREAU, LOOK.replace("state }", "state asOf }"), {"id": {"creditCode": CONTESTED}}
            )
        )
        await _asked(client, "provincial-platform", before)
        stopped = asyncio.create_task(running.stop())
        body = await asked
        assert body["data"]["inquiry"]["subject"]["registration"]["state"] == "HAS"
        assert await stopped == 0
    receipts = [orjson.loads(row)["receipt"] for _, row in read_rows(tmp_path / "ledger.sqlite")]
    assert body["data"]["inquiry"]["receipt"]["id"] == receipts[-1]
    with pytest.raises(httpx.ConnectError):
        await client.http.get(f"{running.client.url}/healthz")


def _rows(client: Client) -> int:
    return sum(1 for _ in read_rows(client.folder / "ledger.sqlite"))
