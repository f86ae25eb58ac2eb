"""Secrets and tokens of sources: found by reference, changed under way, never shown."""

import asyncio
import hashlib
import json
import logging
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey

from connectors.answers import SourceAnswer
from connectors.credentials import Secrets
from connectors.fetch import Ask, Ground, SourceFileError, Sources
from connectors.problems import SourceKeyError
from connectors.source import SecretPlace, SecretRef
from connectors.tokens import Token
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
ORGANISATION = SubjectKey(SubjectKind.ORG, "credit_code", "91990100FAKE00013D")

HEAD = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
url = "https://demo.example"

[secrets]
key = SECRET

[envelope]
records = "data"

[[lookup]]
category = "PENALTY"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/penalties"
json = { code = "{subject.value}" }
fields = { record_id = "id" }

[auth]
"""
PLAIN = HEAD + 'headers = { X-Key = "{secrets.key}" }\n'


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Upstream(httpx.AsyncBaseTransport):
    """A source that takes some keys or tokens, and remembers what it was sent."""

    def __init__(self, accepts: Callable[[httpx.Request], bool]) -> None:
        self.accepts = accepts
        self.requests: list[httpx.Request] = []
        self.tokens: list[httpx.Request] = []
        self.lifetime: Any = 600
        self.token_status = 200
        self.pause = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            self.tokens.append(request)
            await asyncio.sleep(self.pause)
            body = {"access_token": f"t-{len(self.tokens)}", "expires_in": self.lifetime}
            return httpx.Response(self.token_status, json={k: v for k, v in body.items() if v is not None})
        self.requests.append(request)
        if self.accepts(request):
            return httpx.Response(200, json={"data": [{"id": "1"}]})
        return httpx.Response(401)


def open_sources(
    directory: Path, text: str, upstream: httpx.AsyncBaseTransport, environment: dict[str, str], clock: Any = None
) -> Sources:  # fmt: skip
    (directory / "demo.toml").write_text(text, encoding="utf-8")
    return Sources.load(directory, transport=upstream, secrets=environment, clock=clock or Clock())


async def one(sources: Sources) -> SourceAnswer:
    [[answer]] = await sources.fetch(
        [Ask(ORGANISATION, "PENALTY", 1, Ground("CASE"), may_cache=False)], deadline=30
    )
    return answer


def code(answer: SourceAnswer) -> str | None:
    return answer.fault.code.value if answer.fault else None


# --- secrets


async def test_a_secret_in_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("first\n")
    upstream = Upstream(lambda request: True)
    sources = open_sources(tmp_path, PLAIN.replace("SECRET", f'{{ file = "{secret}" }}'), upstream, {})
    await one(sources)
    secret.write_text("second-one\n")
    await one(sources)
    secret.unlink()
    await one(sources)
    secret.write_bytes(b"\xff\xfe")
    await one(sources)
    assert [request.headers["x-key"] for request in upstream.requests] == [
        "first", "second-one", "second-one", "second-one",
    ]  # fmt: skip


def test_a_file_that_is_not_there_refuses_the_start(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError) as caught:
        open_sources(
            tmp_path,
            PLAIN.replace("SECRET", f'{{ file = "{tmp_path}/none" }}'),
            Upstream(lambda request: True),
            {},
        )
    assert caught.value.key == "secrets.key"


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("{ }", "secrets.key.env"),
        ('{ env = "A", file = "/a" }', "secrets.key.file"),
        ('{ file = "a" }', "secrets.key.file"),
        ('{ env = "A", next = { } }', "secrets.key.next.env"),
        ('{ env = "A", next = { env = "B", default = "sandbox-x" } }', "secrets.key.next.default"),
        ('{ value = "hunter2" }', "secrets.key.value"),
        ('"hunter2"', "secrets.key"),
    ],
)
def test_secrets_are_references(tmp_path: Path, secret: str, key: str) -> None:
    with pytest.raises(SourceFileError) as caught:
        open_sources(
            tmp_path, PLAIN.replace("SECRET", secret), Upstream(lambda request: True), {"A": "a", "B": "b"}
        )
    assert caught.value.key == key
    assert "hunter2" not in str(caught.value)


OVERLAP = PLAIN.replace("SECRET", '{ env = "OLD", next = { env = "NEW" } }')


async def test_the_next_secret_takes_over_when_the_present_one_is_refused(tmp_path: Path) -> None:
    taken = {"old"}
    upstream = Upstream(lambda request: request.headers["x-key"] in taken)
    sources = open_sources(tmp_path, OVERLAP, upstream, {"OLD": "old", "NEW": "new"})
    assert code(await one(sources)) is None
    taken.clear()
    taken.add("new")
    assert code(await one(sources)) is None
    assert code(await one(sources)) is None
    taken.clear()
    taken.add("old")  # the owner takes its change back
    assert code(await one(sources)) is None
    assert code(await one(sources)) is None
    assert [request.headers["x-key"] for request in upstream.requests] == [
        "old", "old", "new", "new", "new", "old", "old",
    ]  # fmt: skip


async def test_where_both_are_refused_the_present_one_stays(tmp_path: Path) -> None:
    upstream = Upstream(lambda request: False)
    sources = open_sources(tmp_path, OVERLAP, upstream, {"OLD": "old", "NEW": "new"})
    assert [code(await one(sources)) for _ in range(2)] == ["REFUSED", "REFUSED"]
    assert [request.headers["x-key"] for request in upstream.requests] == ["old", "new", "old", "new"]


@pytest.mark.parametrize(
    "environment", [{"OLD": "old"}, {"OLD": "old", "NEW": ""}, {"OLD": "old", "NEW": "old"}]
)
async def test_without_another_secret_a_refusal_is_one_call(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    upstream = Upstream(lambda request: False)
    assert code(await one(open_sources(tmp_path, OVERLAP, upstream, environment))) == "REFUSED"
    assert len(upstream.requests) == 1


async def test_a_failure_is_no_refusal(tmp_path: Path) -> None:
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.headers["x-key"])
        return httpx.Response(500)

    sources = open_sources(tmp_path, OVERLAP, httpx.MockTransport(answer), {"OLD": "old", "NEW": "new"})
    assert code(await one(sources)) == "ERROR"
    assert calls == ["old"]


def test_secrets_show_nothing_of_themselves() -> None:
    secrets = Secrets(
        {"key": SecretRef(env="A", next=SecretPlace(env="B"))}, {"A": "hunter2", "B": "hunter3"}
    )
    assert repr(secrets) == "Secrets()"
    assert "hunter" not in repr(Token("hunter2", NOW, NOW, NOW))
    with pytest.raises(SourceKeyError) as caught:
        Secrets({"key": SecretRef(env="C")}, {"A": "hunter2"})
    assert "hunter" not in str(caught.value)


# --- tokens

TOKEN = (
    HEAD.replace("SECRET", '{ env = "OLD", next = { env = "NEW" } }')
    + """headers = { Authorization = "Bearer {token.value}" }

[token]
path = "/token"
form = { grant_type = "client_credentials", client_id = "gateway", client_secret = "{secrets.key}", scope = "read" }
"""
)
ENVIRONMENT = {"OLD": "old"}


def bearer(request: httpx.Request) -> str:
    text = request.headers["authorization"]
    assert isinstance(text, str)
    return text.removeprefix("Bearer ")


async def test_a_token_is_fetched_once_and_renewed_before_it_ends(tmp_path: Path) -> None:
    clock, upstream = Clock(), Upstream(lambda request: True)
    upstream.pause = 0.01
    sources = open_sources(tmp_path, TOKEN, upstream, ENVIRONMENT, clock)
    answers = await asyncio.gather(*(one(sources) for _ in range(5)))
    assert [code(answer) for answer in answers] == [None] * 5
    assert dict(parse_qsl(upstream.tokens[0].content.decode())) == {
        "grant_type": "client_credentials", "client_id": "gateway", "client_secret": "old", "scope": "read",
    }  # fmt: skip
    assert len(upstream.tokens) == 1
    clock.now += timedelta(seconds=569)
    await one(sources)
    assert len(upstream.tokens) == 1
    clock.now += timedelta(seconds=2)
    await one(sources)
    assert [bearer(request) for request in upstream.requests[-2:]] == ["t-1", "t-2"]
    await sources.aclose()


async def test_while_no_new_token_comes_the_old_one_is_used_to_its_end(tmp_path: Path) -> None:
    clock, upstream = Clock(), Upstream(lambda request: True)
    sources = open_sources(tmp_path, TOKEN, upstream, ENVIRONMENT, clock)
    await one(sources)
    upstream.token_status = 503
    clock.now += timedelta(seconds=599)
    assert code(await one(sources)) is None
    clock.now += timedelta(seconds=2)
    assert code(await one(sources)) == "ERROR"
    assert [bearer(request) for request in upstream.requests] == ["t-1", "t-1"]


async def test_a_token_that_is_refused_is_fetched_anew_once(tmp_path: Path) -> None:
    taken, clock = {"t-1"}, Clock()
    upstream = Upstream(lambda request: bearer(request) in taken)
    sources = open_sources(tmp_path, TOKEN, upstream, ENVIRONMENT, clock)
    await one(sources)
    clock.now += timedelta(seconds=11)
    taken.add("t-2")
    taken.remove("t-1")
    assert code(await one(sources)) is None
    assert [bearer(request) for request in upstream.requests] == ["t-1", "t-1", "t-2"]
    taken.clear()
    clock.now += timedelta(seconds=11)
    assert code(await one(sources)) == "REFUSED"
    assert [bearer(request) for request in upstream.requests[3:]] == ["t-2", "t-3"]
    # The new one is young, so it is not the token that the source refuses.
    assert code(await one(sources)) == "REFUSED"
    assert [bearer(request) for request in upstream.requests[5:]] == ["t-3"]
    assert len(upstream.tokens) == 3


async def test_a_waiter_that_gives_up_does_not_end_the_fetch(tmp_path: Path) -> None:
    upstream = Upstream(lambda request: True)
    upstream.pause = 0.05
    sources = open_sources(tmp_path, TOKEN, upstream, ENVIRONMENT)
    first = asyncio.create_task(one(sources))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(one(sources))
    await asyncio.sleep(0.01)
    first.cancel()
    assert code(await second) is None
    assert len(upstream.tokens) == 1
    await sources.aclose()


async def test_a_client_secret_that_is_refused_has_a_successor(tmp_path: Path) -> None:
    upstream = Upstream(lambda request: True)

    class Strict(Upstream):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/token" and b"client_secret=new" not in request.content:
                return httpx.Response(401, json={"error": "invalid_client"})
            return await upstream.handle_async_request(request)

    strict = Strict(lambda request: True)
    assert code(await one(open_sources(tmp_path, TOKEN, strict, ENVIRONMENT))) == "REFUSED"
    assert upstream.requests == []
    both = {"OLD": "old", "NEW": "new"}
    assert code(await one(open_sources(tmp_path, TOKEN, strict, both))) is None


@pytest.mark.parametrize(
    ("lifetime", "seconds"), [(None, 300), ("120", 120), (True, None), ("soon", None), (-5, None)]
)
async def test_how_long_a_token_holds(tmp_path: Path, lifetime: Any, seconds: int | None) -> None:
    clock, upstream = Clock(), Upstream(lambda request: True)
    upstream.lifetime = lifetime
    sources = open_sources(tmp_path, TOKEN, upstream, ENVIRONMENT, clock)
    answer = await one(sources)
    if seconds is None:
        assert code(answer) == "ERROR"
        return
    clock.now += timedelta(seconds=seconds - 31)
    await one(sources)
    assert len(upstream.tokens) == 1
    clock.now += timedelta(seconds=2)
    await one(sources)
    assert len(upstream.tokens) == 2


REQUEST_SECRET = (
    HEAD.replace("SECRET", '{ env = "OLD" }')
    + """steps = [{ set = "sign", hash = "md5", of = "{secrets.key}{token.value}" }]
headers = { X-Sign = "{steps.sign}" }

[token]
url = "https://keys.example"
path = "/token"
method = "GET"
query = { t = "{steps.time}" }
steps = [{ set = "time", now = "ms" }]
at = "datas.requestSecret"
ends = { at = "datas.requestSecretEndTime", formats = ["epoch_ms"] }
"""
)


async def test_a_secret_for_requests_is_fetched_like_a_token(tmp_path: Path) -> None:
    """As a provincial data platform has it: the secret that signs is itself short-lived."""
    clock = Clock()
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.host == "keys.example":
            end = int((clock.now + timedelta(seconds=900)).timestamp() * 1000)
            return httpx.Response(200, json={"datas": {"requestSecret": "rs", "requestSecretEndTime": end}})
        return httpx.Response(200, json={"data": []})

    sources = open_sources(tmp_path, REQUEST_SECRET, httpx.MockTransport(answer), ENVIRONMENT, clock)
    await one(sources)
    clock.now += timedelta(seconds=869)
    await one(sources)
    clock.now += timedelta(seconds=2)
    await one(sources)
    assert [request.url.host for request in seen] == [
        "keys.example", "demo.example", "demo.example", "keys.example", "demo.example",
    ]  # fmt: skip
    assert seen[0].url.params["t"] == str(int(NOW.timestamp() * 1000))
    assert seen[1].headers["x-sign"] == hashlib.md5(b"oldrs").hexdigest()


async def test_a_client_that_proves_itself_by_its_key(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    text = TOKEN.replace('client_secret = "{secrets.key}"', (
        'client_assertion = "{steps.proof}", '
        'client_assertion_type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"'
    )) + (
        'steps = [{ set = "proof", jwt = { algorithm = "ES256", key = "{secrets.key}", issuer = "gateway", '
        'audience = "https://demo.example/token" } }]\n'
    )  # fmt: skip
    upstream = Upstream(lambda request: bearer(request) == "t-1")
    assert code(await one(open_sources(tmp_path, text, upstream, {"OLD": pem}))) is None
    form = dict(parse_qsl(upstream.tokens[0].content.decode()))
    claims = jwt.decode(form["client_assertion"], ECKey.import_key(pem), algorithms=["ES256"]).claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == (
        "gateway",
        "gateway",
        "https://demo.example/token",
    )
    assert pem.splitlines()[1] not in json.dumps(form)


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ('path = "/token"', 'path = "token"', "token.path"),
        ('path = "/token"', 'path = "/token"\nurl = "http://10.0.0.1"', "token.url"),
        ('path = "/token"', 'path = "/token"\nurl = "keys.example"', "token.url"),
        ('path = "/token"', 'path = "/token"\nseconds = 0', "token.seconds"),
        ('path = "/token"', 'path = "/token"\nearly_seconds = -1', "token.early_seconds"),
        ('path = "/token"', 'path = "/token"\nends = { header = "X", formats = ["iso"] }', "token.ends"),
        ('path = "/token"', 'path = "/token"\nmethod = "GET"', "token.method"),
        ("{secrets.key}", "{token.value}", "token.form"),
        ("{secrets.key}", "hunter2", "token.form.client_secret"),
        ("{secrets.key}", "{subject.value}", "token.form"),
    ],
)
def test_mistakes_in_tokens(tmp_path: Path, before: str, after: str, key: str) -> None:
    assert before in TOKEN
    with pytest.raises(SourceFileError) as caught:
        open_sources(tmp_path, TOKEN.replace(before, after, 1), Upstream(lambda request: True), ENVIRONMENT)
    assert caught.value.key == key


async def test_neither_secret_nor_token_reaches_the_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upstream = Upstream(lambda request: False)
    await one(open_sources(tmp_path, TOKEN, upstream, {"OLD": "hunter2", "NEW": "hunter3"}))
    assert upstream.tokens
    for word in ("hunter", "t-1", ORGANISATION.value):
        assert word not in caplog.text


# --- certificates


async def test_a_source_that_demands_a_certificate_is_shown_the_one_of_the_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    ours = authority.issue_cert("gateway.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        body = b'{"data": [{"id": "1"}]}'
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()
        writer.close()

    secret = tmp_path / "key.pem"
    secret.write_bytes(ours.private_key_pem.bytes())
    environment = {
        "OLD": "old",
        "CA": authority.cert_pem.bytes().decode(),
        "CERTIFICATE": b"".join(part.bytes() for part in ours.cert_chain_pems).decode(),
    }
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        shown = (
            PLAIN.replace("https://demo.example", f'https://localhost:{port}"\nsandbox = true\n#"')
            .replace("key = SECRET", (
                'key = { env = "OLD" }\nca = { env = "CA" }\ncertificate = { env = "CERTIFICATE" }\n'
                f'private = {{ file = "{secret}" }}\n[tls]\nca = "ca"\ncertificate = "certificate"\nkey = "private"'
            ))
        )  # fmt: skip
        hidden = shown.replace('\ncertificate = "certificate"\nkey = "private"', "")
        found = []
        for text in (shown, hidden, hidden.replace('[tls]\nca = "ca"', "")):
            (tmp_path / "demo.toml").write_text(text, "utf-8")
            sources = Sources.load(tmp_path, secrets=environment)
            found.append(code(await one(sources)))
            await sources.aclose()
    assert found == [None, "DOWN", "DOWN"]


def test_a_certificate_that_is_none_refuses_the_file(tmp_path: Path) -> None:
    text = PLAIN.replace("key = SECRET", 'key = { env = "OLD" }\n[tls]\nca = "key"')
    (tmp_path / "demo.toml").write_text(text, "utf-8")
    with pytest.raises(SourceFileError) as caught:
        Sources.load(tmp_path, secrets={"OLD": "hunter2"})
    assert (caught.value.key, "hunter2" in str(caught.value)) == ("tls.ca", False)
    (tmp_path / "demo.toml").write_text(text.replace('ca = "key"', 'ca = "none"'), "utf-8")
    with pytest.raises(SourceFileError) as caught:
        Sources.load(tmp_path, secrets={"OLD": "hunter2"})
    assert caught.value.key == "tls.ca"
