"""Signing recipes: what each step gives, what it may look at, and what is placed where."""

import base64
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey

from connectors.answers import Ground, SourceFaultError
from connectors.loader import read_source
from connectors.problems import SourceFileError, SourceKeyError
from connectors.request import RequestTemplate

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
HELD = {"secrets.key": "sandbox-key", "secrets.unit": "u-1"}
FILE = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
url = "https://demo.example/base"

[secrets]
key = { env = "DEMO_KEY", default = "sandbox-key" }
unit = { env = "DEMO_UNIT", default = "sandbox-unit" }

[auth]
steps = [
STEPS
]
PLACES

[envelope]
records = "data"

[[lookup]]
category = "PENALTY"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/v1/{subject.credit_code}"
BODY
fields = { record_id = "id" }
"""
FORM = 'form = { b = "2", code = "{subject.value}", a = "甲 1", none = "{ground.matter}" }'
JSON = 'json = { b = 2, code = "{subject.value}", list = ["x", "y"] }'


def template(directory: Path, steps: str, places: str, body: str = FORM) -> RequestTemplate:
    path = directory / "demo.toml"
    path.write_text(FILE.replace("STEPS", steps).replace("PLACES", places).replace("BODY", body), "utf-8")
    file = read_source(path)
    return RequestTemplate(file, file.lookup[0], "lookup[0]", url=file.url)


def request(directory: Path, steps: str, places: str, body: str = FORM, **held: str) -> httpx.Request:
    made = template(directory, steps, places, body)
    asked = {"subject.value": "C-1", "subject.credit_code": "C-1"}
    return made.build(asked, Ground("CASE"), NOW, {**HELD, **held})


def signed(directory: Path, step: str, body: str = FORM) -> str:
    """What a step gives, from the header in which it is placed."""
    given = request(directory, step, 'headers = { X-Sign = "{steps.sign}" }', body).headers["x-sign"]
    assert isinstance(given, str)
    return given


DIGESTS = {
    "md5": "900150983cd24fb0d6963f7d28e17f72",
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha512": hashlib.sha512(b"abc").hexdigest(),
    # GB/T 32905-2016, A.1
    "sm3": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_digests(tmp_path: Path, name: str) -> None:
    assert signed(tmp_path, f'{{ set = "sign", hash = "{name}", of = "abc" }}') == DIGESTS[name]


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_keyed_digests(tmp_path: Path, name: str) -> None:
    step = f'{{ set = "sign", hmac = "{name}", key = "{{secrets.key}}", of = "a{{secrets.unit}}", encode = "base64" }}'
    expected = hmac.new(b"sandbox-key", b"au-1", name).digest()
    assert base64.b64decode(signed(tmp_path, step)) == expected


def test_a_digest_keyed_with_sm3(tmp_path: Path) -> None:
    """HMAC as RFC 2104 puts it together from the digest."""

    def sm3(text: bytes) -> bytes:
        return hashlib.new("sm3", text).digest()

    key = b"sandbox-key".ljust(64, b"\0")
    inner = sm3(bytes(octet ^ 0x36 for octet in key) + b"abc")
    expected = sm3(bytes(octet ^ 0x5C for octet in key) + inner).hex().upper()
    step = '{ set = "sign", hmac = "sm3", key = "{secrets.key}", of = "abc", case = "upper" }'
    assert signed(tmp_path, step) == expected


@pytest.mark.parametrize(
    ("encode", "expected"), [("hex", "7e7e7ec3bf"), ("base64", "fn5+w78="), ("base64url", "fn5-w78")]
)
def test_encodings(tmp_path: Path, encode: str, expected: str) -> None:
    assert signed(tmp_path, f'{{ set = "sign", encode = "{encode}", of = "~~~ÿ" }}') == expected


@pytest.mark.parametrize(
    ("form", "ahead", "expected"),
    [
        ("s", 0, str(int(NOW.timestamp()))),
        ("ms", 1.5, str(int(NOW.timestamp() * 1000) + 1500)),
        ("%Y%m%d%H%M%S", -60, "20261120115900"),
    ],
)
def test_times(tmp_path: Path, form: str, ahead: float, expected: str) -> None:
    assert signed(tmp_path, f'{{ set = "sign", now = "{form}", ahead_seconds = {ahead} }}') == expected


@pytest.mark.parametrize(
    ("kind", "pattern"), [("hex", "[0-9a-f]{11}"), ("digits", "[0-9]{11}"), ("uuid", ".{36}")]
)
def test_nonces_differ_each_time(tmp_path: Path, kind: str, pattern: str) -> None:
    step = f'{{ set = "sign", random = "{kind}", length = 11 }}'
    found = {signed(tmp_path, step) for _ in range(20)}
    assert len(found) == 20
    assert all(re.fullmatch(pattern, text) for text in found)
    if kind == "uuid":
        assert {UUID(text).version for text in found} == {4}


# --- signatures over the request itself


def test_sorted_parameters_of_the_form(tmp_path: Path) -> None:
    made = request(
        tmp_path,
        '{ set = "time", now = "s" },\n'
        '{ set = "line", sorted = { of = "form", omit = ["b"] } },\n'
        '{ set = "sign", hash = "md5", of = "{steps.line}&key={secrets.key}", case = "upper" },',
        'form = { time = "{steps.time}", sign = "{steps.sign}" }',
    )
    sent = dict(parse_qsl(made.content.decode()))
    line = f"a=甲 1&code=C-1&time={int(NOW.timestamp())}&key=sandbox-key"
    assert sent.pop("sign") == hashlib.md5(line.encode()).hexdigest().upper()
    assert sent == {"b": "2", "code": "C-1", "a": "甲 1", "time": str(int(NOW.timestamp()))}


def test_sorted_values_of_address_and_body(tmp_path: Path) -> None:
    made = request(
        tmp_path,
        '{ set = "sign", sorted = { names = false, separator = "|" } }',
        'headers = { X-Sign = "{steps.sign}" }\nquery = { z = "{secrets.unit}" }',
        JSON + '\nquery = { "9" = "q", empty = "{ground.matter}x" }',
    )
    assert made.headers["x-sign"] == 'q|2|C-1|x|["x","y"]|u-1'
    assert json.loads(made.content) == {"b": 2, "code": "C-1", "list": ["x", "y"]}


def test_parameters_without_text(tmp_path: Path) -> None:
    body = 'form = { a = "", b = "{subject.value}" }'
    kept, left_out = (
        signed(tmp_path, f'{{ set = "sign", sorted = {{ between = ":", separator = ",", empty = {word} }} }}', body)
        for word in ("true", "false")
    )  # fmt: skip
    assert (kept, left_out) == ("a:,b:C-1", "b:C-1")


def test_the_request_as_it_is_sent(tmp_path: Path) -> None:
    made = request(
        tmp_path,
        '{ set = "body", hash = "sm3", of = "{request.body}" },\n'
        '{ set = "sign", join = ["{request.method}", "\\n", "{request.path}", "\\n", "{request.query}", "\\n", "{steps.body}"] },\n'
        '{ set = "sign64", encode = "base64", of = "{steps.sign}" },',
        'headers = { X-Sign = "{steps.sign64}" }',
        JSON + '\nquery = { q = "甲 {subject.value}" }',
    )
    url = urlsplit(str(made.url))
    body = hashlib.new("sm3", made.content).hexdigest()
    expected = f"POST\n/v1/C-1\n{url.query}\n{body}"
    assert base64.b64decode(made.headers["x-sign"]).decode() == expected
    assert url.path == "/base/v1/C-1"


def test_texts_are_signed_as_they_are_written(tmp_path: Path) -> None:
    made = request(
        tmp_path,
        '{ set = "sign", hash = "md5", of = "{request.body}" }',
        'headers = { X-Sign = "{steps.sign}" }',
        'json = { text = "甲{subject.value}" }',
    )
    assert made.headers["x-sign"] == hashlib.md5(made.content).hexdigest()
    path = tmp_path / "demo.toml"
    path.write_text(path.read_text("utf-8").replace("[secrets]", 'charset = "GBK"\n[secrets]', 1), "utf-8")
    file = read_source(path)
    in_gbk = RequestTemplate(file, file.lookup[0], "lookup[0]", url=file.url).build(
        {"subject.value": "C-1", "subject.credit_code": "C-1"}, Ground("CASE"), NOW, HELD
    )
    assert in_gbk.content == '{"text":"甲C-1"}'.encode("gbk")
    assert in_gbk.headers["x-sign"] == hashlib.md5(in_gbk.content).hexdigest()


def test_an_assertion_is_signed_for_the_source(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    step = (
        '{ set = "sign", jwt = { algorithm = "ES256", key = "{secrets.key}", issuer = "{secrets.unit}", '
        'audience = "https://demo.example/token", seconds = 90, claims = { scope = "read" } } }'
    )
    texts = [
        request(tmp_path, step, 'headers = { X = "{steps.sign}" }', **{"secrets.key": pem}).headers["x"]
        for _ in range(2)
    ]
    found: list[dict[str, Any]] = [
        jwt.decode(text, ECKey.import_key(pem), algorithms=["ES256"]).claims for text in texts
    ]
    assert found[0]["jti"] != found[1]["jti"]
    issued = int(NOW.timestamp())
    del found[0]["jti"]
    assert found[0] == {
        "iss": "u-1", "sub": "u-1", "aud": "https://demo.example/token", "iat": issued, "exp": issued + 90, "scope": "read",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["no key", "{}", '{"kty": "EC"', "-----BEGIN PRIVATE KEY-----\nxx"])
def test_what_is_no_key_signs_nothing_and_is_not_repeated(tmp_path: Path, text: str) -> None:
    step = (
        '{ set = "sign", jwt = { algorithm = "ES256", key = "{secrets.key}", issuer = "i", audience = "a" } }'
    )
    with pytest.raises(SourceFaultError) as caught:
        request(tmp_path, step, 'headers = { X = "{steps.sign}" }', **{"secrets.key": text})
    assert str(caught.value) == "REFUSED: the secret holds no key that can sign"


# --- what a recipe cannot do


@pytest.mark.parametrize(
    ("steps", "places", "key"),
    [
        ('{ set = "a", now = "s", random = "hex" }', "", "auth.steps[0]"),
        ('{ set = "a", random = "hex", length = 7 }', "", "auth.steps[0].length"),
        ('{ set = "a", hash = "sm2", of = "x" }', "", "auth.steps[0].hash"),
        ('{ set = "a", hmac = "sm3", key = "{steps.b}", of = "x" }', "", "auth.steps[0].key"),
        ('{ set = "a", sorted = { of = "xml" } }', "", "auth.steps[0].sorted.of"),
        ('{ set = "a", join = ["{request.parameters}"] }', "", "auth.steps[0].join"),
        ('{ set = "a", jwt = { algorithm = "ES256", key = "{ground.matter}", issuer = "i", audience = "a" } }', "", "auth.steps[0].jwt.key"),
        ('{ set = "a", jwt = { algorithm = "none", key = "{secrets.key}", issuer = "i", audience = "a" } }', "", "auth.steps[0].jwt.algorithm"),
        ('{ set = "a", hash = "md5", of = "{request.body}" }', 'form = { s = "{steps.a}" }', "auth.form"),
        ('{ set = "a", now = "s" }', 'headers = { X = "{request.body}{secrets.key}" }', "auth.headers"),
        ('{ set = "a", now = "s" }', 'headers = { X = "{token.value}" }', "auth.headers"),
    ],
)  # fmt: skip
def test_mistakes_in_recipes(tmp_path: Path, steps: str, places: str, key: str) -> None:
    with pytest.raises((SourceFileError, SourceKeyError)) as caught:
        template(tmp_path, steps, places)
    assert caught.value.key == key  # type: ignore[attr-defined]


def test_what_is_asked_cannot_hold_what_signs_it(tmp_path: Path) -> None:
    with pytest.raises(SourceKeyError, match=r"there is no \{steps.sign\} here"):
        template(
            tmp_path,
            '{ set = "sign", sorted = { of = "form" } }',
            'headers = { X = "{steps.sign}" }',
            'form = { a = "{subject.value}", s = "{steps.sign}" }',
        )


def test_the_ground_that_a_signature_tells_counts(tmp_path: Path) -> None:
    assert template(tmp_path, '{ set = "a", now = "s" }', "", JSON).ground == frozenset()
    told = template(
        tmp_path,
        '{ set = "a", hash = "md5", of = "{ground.purpose}" }, { set = "b", join = ["{steps.a}"] }',
        'headers = { X = "{steps.b}" }',
        JSON,
    )
    assert told.ground == {"purpose"}
