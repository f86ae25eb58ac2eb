"""Sealed bodies: known answers, a source that opens and seals with code of its own, and what must not be told."""

import asyncio
import base64
import hmac
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from test_source_files import load, refusal

from connectors.answers import Ask, Fault, FaultCode, Ground, SourceAnswer, SourceFaultError
from connectors.loader import read_source
from connectors.problems import SourceKeyError
from connectors.request import RequestTemplate
from connectors.sealing import check_secrets, seal, unseal
from connectors.source import Sealing
from connectors.trial import Trial, try_source
from policies.catalogue import Penalty
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

KEY = "0123456789abcdeffedcba9876543210"
IV = "000102030405060708090a0b0c0d0e0f"
CODE = "91990100FAKE00013D"
CIPHERS = ["aes-cbc", "aes-ecb", "aes-gcm", "sm4-cbc", "sm4-ecb", "sm4-gcm"]


def rule(cipher: str, **parts: Any) -> Sealing:
    named = {"cipher": cipher, "key": "{secrets.key}", "text": "hex", **parts}
    return msgspec.convert(named, Sealing)


# --- known answers

AES = "6bc1bee22e409f96e93d7e117393172a"
VECTORS = {
    # NIST SP 800-38A: F.1.1, F.1.5, F.2.1, F.2.3
    "aes-128-ecb": ("2b7e151628aed2a6abf7158809cf4f3c", None, AES, "3ad77bb40d7a3660a89ecaf32466ef97"),
    "aes-256-ecb": (
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", None, AES,
        "f3eed1bdb5d2a03c064b5a7e3db181f8",
    ),
    "aes-128-cbc": ("2b7e151628aed2a6abf7158809cf4f3c", IV, AES, "7649abac8119b246cee98e9b12e9197d"),
    "aes-192-cbc": (
        "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", IV, AES, "4f021db243bc633d7178183a9fa071e8",
    ),
    # GB/T 32907-2016, A.1; of CBC with an iv of zeros the first block is that of ECB
    "sm4-ecb": (KEY, None, KEY, "681edf34d206965e86b3e94f536e4246"),
    "sm4-cbc": (KEY, "0" * 32, KEY, "681edf34d206965e86b3e94f536e4246"),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_known_answers(name: str) -> None:
    key, iv, plain, sealed = VECTORS[name]
    how = rule(f"{name[:3]}-{name[-3:]}", iv=None if iv is None else "{secrets.iv}")
    held = {"secrets.key": key, "secrets.iv": iv}
    whole = seal(how, bytes.fromhex(plain), held)
    assert (whole[:32], len(whole)) == (sealed, 64)  # a whole block is padded by one more
    assert unseal(how, whole, held) == bytes.fromhex(plain)


def test_the_known_answer_of_a_mode_with_a_tag() -> None:
    """Test case 2 of McGrew and Viega, The Galois/Counter Mode of Operation (GCM), appendix B."""
    sealed = "00" * 12 + "0388dace60b6a392f328c2b971b2fe78" + "ab6e47d42cec13bdf53a67b21257bddf"
    assert unseal(rule("aes-gcm"), sealed, {"secrets.key": "00" * 16}) == bytes(16)


# --- the other side: modes put together from single blocks


def _block(cipher: str, key: bytes) -> Callable[[bytes], bytes]:
    algorithm = algorithms.AES(key) if cipher.startswith("aes") else algorithms.SM4(key)
    return lambda block: Cipher(algorithm, modes.ECB()).encryptor().update(block)


def _unblock(cipher: str, key: bytes) -> Callable[[bytes], bytes]:
    algorithm = algorithms.AES(key) if cipher.startswith("aes") else algorithms.SM4(key)
    return lambda block: Cipher(algorithm, modes.ECB()).decryptor().update(block)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def _blocks(text: bytes) -> list[bytes]:
    return [text[at : at + 16] for at in range(0, len(text), 16)]


def _tag(block: Callable[[bytes], bytes], nonce: bytes, sealed: bytes) -> bytes:
    """The tag of GCM without additional data (NIST SP 800-38D, 6.4 and 7.1)."""
    by = int.from_bytes(block(bytes(16)), "big")
    sum_ = 0
    for part in [*_blocks(sealed), (8 * len(sealed)).to_bytes(16, "big")]:
        sum_ ^= int.from_bytes(part.ljust(16, b"\0"), "big")
        product, factor = 0, by
        for bit in range(127, -1, -1):
            product ^= factor if sum_ >> bit & 1 else 0
            factor = factor >> 1 ^ (0xE1 << 120 if factor & 1 else 0)
        sum_ = product
    return _xor(sum_.to_bytes(16, "big"), block(nonce + (1).to_bytes(4, "big")))


def _counted(block: Callable[[bytes], bytes], nonce: bytes, text: bytes) -> bytes:
    return b"".join(
        _xor(part, block(nonce + place.to_bytes(4, "big"))) for place, part in enumerate(_blocks(text), 2)
    )


def theirs_opened(cipher: str, raw: bytes, key: bytes, iv: bytes | None) -> bytes:
    if cipher.endswith("gcm"):
        block, nonce, inner = _block(cipher, key), raw[:12], raw[12:-16]
        assert _tag(block, nonce, inner) == raw[-16:]
        return _counted(block, nonce, inner)
    if cipher.endswith("ecb"):
        padded = b"".join(map(_unblock(cipher, key), _blocks(raw)))
    else:
        chain = _blocks(raw if iv is None else iv + raw)
        plain = map(_unblock(cipher, key), chain[1:])
        padded = b"".join(_xor(part, before) for part, before in zip(plain, chain, strict=False))
    assert padded[-padded[-1] :] == bytes([padded[-1]]) * padded[-1]
    return padded[: -padded[-1]]


def theirs_sealed(cipher: str, plain: bytes, key: bytes, iv: bytes | None) -> bytes:
    block = _block(cipher, key)
    if cipher.endswith("gcm"):
        nonce = os.urandom(12)
        inner = _counted(block, nonce, plain)
        return nonce + inner + _tag(block, nonce, inner)
    padded = plain + bytes([16 - len(plain) % 16]) * (16 - len(plain) % 16)
    if cipher.endswith("ecb"):
        return b"".join(map(block, _blocks(padded)))
    chain = [iv or os.urandom(16)]
    for part in _blocks(padded):
        chain.append(block(_xor(part, chain[-1])))
    return b"".join(chain[1:] if iv else chain)


Answer = Callable[[bytes, Mapping[str, str]], bytes]


@asynccontextmanager
async def source(answer: Answer) -> AsyncIterator[str]:
    """A source over a raw socket; `answer` gives the body for a body and headers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, _, value in lines}
        said = answer(await reader.readexactly(int(headers["content-length"])), headers)
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(said) + said)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


SECRETS = {"SEALED_KEY": KEY, "SEALED_IV": IV, "SEALED_SIGN": "what-signs-it"}
FILE = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
sandbox = true
url = "URL"

[secrets]
key = { env = "SEALED_KEY" }
iv = { env = "SEALED_IV" }
sign = { env = "SEALED_SIGN" }

[sealing]
cipher = "CIPHER"
key = "{secrets.key}"
SEALING

[auth]
AUTH

[envelope]
records = "data.list"
codes = [{ at = "code", ok = [0] }]

[[lookup]]
category = "PENALTY"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/penalties"
BODY
fields = { record_id = "id", facts = "facts" }
"""
MEMBERS = 'request = { at = "body.data" }\nanswer = { at = "data" }'
WHOLE = 'request = { at = "." }\nanswer = { at = "." }'
JSON = 'json = { code = "{subject.value}", unit = "市场监督管理局" }'
SIGNED = (
    'steps = [{ set = "sign", hmac = "sha256", key = "{secrets.sign}", of = "{request.body}" }]\n'
    'headers = { X-Sign = "{steps.sign}" }'
)


def file_text(
    url: str = "http://127.0.0.1:1",
    cipher: str = "sm4-cbc",
    sealing: str = MEMBERS,
    auth: str = "",
    body: str = JSON,
) -> str:
    text = FILE.replace("URL", url).replace("CIPHER", cipher).replace("SEALING", sealing)
    return text.replace("AUTH", auth).replace("BODY", body)


async def asked(directory: Path, text: str, **environment: str) -> SourceAnswer:
    sources = load(directory, text, secrets=SECRETS | environment)
    subject = SubjectKey(SubjectKind.ORG, "credit_code", CODE)
    try:
        ask = Ask(subject, "PENALTY", (1 << 64) - 1, Ground("CASE"), may_cache=False)
        [[found]] = await sources.fetch([ask], deadline=30)
    finally:
        await sources.aclose()
    return found


def facts_of(answer: SourceAnswer) -> list[str | None]:
    assert answer.fault is None
    return [record.facts for record in answer.records if isinstance(record, Penalty)]


RECORDS = {"list": [{"id": "R-1", "facts": "以次充好"}]}


def at_members(cipher: str, key: bytes, iv: bytes | None = None) -> Answer:
    """Reads and writes Base64 at members, and repeats in the record what it was sent."""

    def answer(body: bytes, _headers: Mapping[str, str]) -> bytes:
        sent = theirs_opened(cipher, base64.b64decode(json.loads(body)["body"]["data"]), key, iv)
        rows = {"list": [{"id": "R-1", "facts": sent.decode()}]}
        sealed = theirs_sealed(cipher, json.dumps(rows).encode(), key, iv)
        return json.dumps({"code": 0, "data": base64.b64encode(sealed).decode()}).encode()

    return answer


# --- round trips


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_members_go_there_and_back_sealed(tmp_path: Path, cipher: str) -> None:
    async with source(at_members(cipher, bytes.fromhex(KEY))) as url:
        [facts] = facts_of(await asked(tmp_path, file_text(url, cipher)))
    assert json.loads(facts or "") == {"code": CODE, "unit": "市场监督管理局"}


@pytest.mark.parametrize("cipher", ["aes-cbc", "sm4-cbc"])
async def test_an_iv_may_be_agreed_upon(tmp_path: Path, cipher: str) -> None:
    fixed = f'{MEMBERS}\niv = "{{secrets.iv}}"'
    async with source(at_members(cipher, bytes.fromhex(KEY), bytes.fromhex(IV))) as url:
        [facts] = facts_of(await asked(tmp_path, file_text(url, cipher, fixed)))
    assert CODE in (facts or "")


@pytest.mark.parametrize(
    ("encoding", "secret", "key"),
    [
        ("base64", base64.b64encode(bytes(range(32))).decode(), bytes(range(32))),
        ("text", "sixteen letters!", b"sixteen letters!"),
    ],
)
async def test_keys_are_written_as_the_file_says(
    tmp_path: Path, encoding: str, secret: str, key: bytes
) -> None:
    text = f'{MEMBERS}\nencoding = "{encoding}"'
    async with source(at_members("aes-gcm", key)) as url:
        assert facts_of(await asked(tmp_path, file_text(url, "aes-gcm", text), SEALED_KEY=secret))


@pytest.mark.parametrize(
    ("body", "beginning"), [(JSON, b'{"code":'), ('xml = { ask = { code = "{subject.value}" } }', b"<?xml")]
)
async def test_whole_bodies_go_there_and_back_sealed(tmp_path: Path, body: str, beginning: bytes) -> None:
    seen: list[tuple[bytes, str]] = []

    def answer(sent: bytes, headers: Mapping[str, str]) -> bytes:
        opened = theirs_opened("sm4-gcm", bytes.fromhex(sent.decode()), bytes.fromhex(KEY), None)
        seen.append((opened, headers["content-type"]))
        said = json.dumps({"code": 0, "data": RECORDS}).encode()
        return theirs_sealed("sm4-gcm", said, bytes.fromhex(KEY), None).hex().upper().encode() + b"\n"

    async with source(answer) as url:
        text = file_text(url, "sm4-gcm", f'{WHOLE}\ntext = "hex"', body=body)
        assert facts_of(await asked(tmp_path, text)) == ["以次充好"]
    [(opened, kind)] = seen
    assert (opened.startswith(beginning), CODE in opened.decode(), kind) == (
        True, True, "text/plain; charset=UTF-8",
    )  # fmt: skip


async def test_an_answer_alone_may_be_sealed_and_hold_xml(tmp_path: Path) -> None:
    inner = "<list><item><id>R-1</id><facts>以次充好</facts></item></list>".encode()

    def answer(sent: bytes, _headers: Mapping[str, str]) -> bytes:
        assert json.loads(sent)["code"] == CODE
        sealed = base64.encodebytes(theirs_sealed("aes-ecb", inner, bytes.fromhex(KEY), None)).decode()
        return json.dumps({"code": 0, "data": sealed}).encode()

    async with source(answer) as url:
        text = file_text(url, "aes-ecb", 'answer = { at = "data", format = "xml" }')
        text = text.replace("data.list", "data.list.item")
        assert facts_of(await asked(tmp_path, text)) == ["以次充好"]


# --- signing


@pytest.mark.parametrize("sign", ["sealed", "plain"])
async def test_what_is_signed_is_what_the_file_says(tmp_path: Path, sign: str) -> None:
    seen: list[bool] = []

    def answer(sent: bytes, headers: Mapping[str, str]) -> bytes:
        raw = base64.b64decode(json.loads(sent)["body"]["data"])
        plain = theirs_opened("aes-cbc", raw, bytes.fromhex(KEY), None)
        digest = hmac.new(b"what-signs-it", sent if sign == "sealed" else plain, "sha256").hexdigest()
        seen.append(digest == headers["x-sign"])
        return json.dumps({"code": 0, "data": {"list": []}}).encode()

    sealing = f'request = {{ at = "body.data" }}\nsign = "{sign}"'
    async with source(answer) as url:
        assert facts_of(await asked(tmp_path, file_text(url, "aes-cbc", sealing, SIGNED))) == []
    assert seen == [True]


@pytest.mark.parametrize("sign", ["sealed", "plain"])
def test_what_authenticates_stands_beside_the_sealed_text(tmp_path: Path, sign: str) -> None:
    auth = (
        'steps = [{ set = "sign", hmac = "sha256", key = "{secrets.sign}", of = "{steps.names}" }]\n'
        'json = { app = "{ground.purpose}", sign = "{steps.sign}" }'
    ).replace("[{", '[{ set = "names", sorted = { of = "json" } }, {', 1)
    path = tmp_path / "demo.toml"
    path.write_text(file_text(sealing=f'request = {{ at = "data" }}\nsign = "{sign}"', auth=auth), "utf-8")
    file = read_source(path)
    held = {"secrets.key": KEY, "secrets.sign": "what-signs-it"}
    template = RequestTemplate(file, file.lookup[0], "lookup[0]", url=file.url)
    sent = json.loads(
        template.build({"subject.value": CODE}, Ground("CASE"), datetime.now(UTC), held).content
    )
    assert list(sent) == ["data", "app", "sign"]
    opened = theirs_opened("sm4-cbc", base64.b64decode(sent["data"]), bytes.fromhex(KEY), None)
    assert json.loads(opened) == {"code": CODE, "unit": "市场监督管理局"}
    signed = (
        {"app": "CASE", "data": sent["data"]} if sign == "sealed" else {"app": "CASE", **json.loads(opened)}
    )
    text = "&".join(f"{name}={value}" for name, value in sorted(signed.items()))
    assert sent["sign"] == hmac.new(b"what-signs-it", text.encode(), "sha256").hexdigest()


# --- what cannot be unsealed

UNSEALED = Fault(FaultCode.GARBAGE, "the answer cannot be unsealed")


def said(text: Any) -> Answer:
    return lambda _sent, _headers: json.dumps({"code": 0, "data": text}).encode()


@pytest.mark.parametrize("cipher", ["aes-gcm", "sm4-gcm"])
@pytest.mark.parametrize("place", [0, 14, -1], ids=["nonce", "text", "tag"])
async def test_what_was_changed_on_its_way_is_not_read(tmp_path: Path, cipher: str, place: int) -> None:
    raw = bytearray(theirs_sealed(cipher, json.dumps(RECORDS).encode(), bytes.fromhex(KEY), None))
    raw[place] ^= 1
    async with source(said(base64.b64encode(raw).decode())) as url:
        found = await asked(tmp_path, file_text(url, cipher))
    assert (found.fault, found.records) == (UNSEALED, ())


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_a_wrong_key_says_no_more_than_a_changed_text(tmp_path: Path, cipher: str) -> None:
    raw = theirs_sealed(cipher, json.dumps(RECORDS).encode(), bytes(16), bytes(16))
    async with source(said(base64.b64encode(raw).decode())) as url:
        found = await asked(tmp_path, file_text(url, cipher))
    assert (found.fault, found.records) == (UNSEALED, ())


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("text", ["no Base64!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA==", "市"])
def test_what_is_no_sealed_text_is_not_read(cipher: str, text: str) -> None:
    with pytest.raises(SourceFaultError) as caught:
        unseal(rule(cipher, text="base64"), text, {"secrets.key": KEY})
    assert caught.value.fault == UNSEALED


async def test_plain_records_are_not_taken_where_sealed_ones_are_agreed_upon(tmp_path: Path) -> None:
    async with source(said(RECORDS)) as url:
        found = await asked(tmp_path, file_text(url))
    assert found.fault == Fault(FaultCode.GARBAGE, "what stands at data is not sealed")


async def test_a_refusal_without_sealed_data_keeps_its_meaning(tmp_path: Path) -> None:
    def answer(_sent: bytes, _headers: Mapping[str, str]) -> bytes:
        return b'{"code": 7, "data": null}'

    async with source(answer) as url:
        text = file_text(url).replace("ok = [0]", "ok = [0], refused = [7]")
        found = await asked(tmp_path, text)
    assert found.fault == Fault(FaultCode.REFUSED, "the source refuses: code 7")


# --- secrets


async def tried(directory: Path, text: str) -> Trial:
    (directory / "demo.toml").write_text(text, "utf-8")
    file = read_source(directory / "demo.toml")
    subject = SubjectKey(SubjectKind.ORG, "credit_code", CODE)
    [trial] = await try_source(
        file, subject, category=None, ground=Ground("CASE"), url=file.url, environment=SECRETS
    )
    return trial


async def test_a_trial_shows_what_is_sealed_and_neither_secret_nor_subject(tmp_path: Path) -> None:
    async with source(at_members("sm4-cbc", bytes.fromhex(KEY), bytes.fromhex(IV))) as url:
        trial = await tried(tmp_path, file_text(url, sealing=f'{MEMBERS}\niv = "{{secrets.iv}}"'))
    assert trial.fault is None
    sent, _, plain = trial.request.partition("-- unsealed\n")
    assert json.loads(plain) == {"code": "SUBJECT", "unit": "市场监督管理局"}
    assert "市场" not in sent
    assert '"id": "R-1"' in trial.answer.partition("-- unsealed\n")[2]
    for secret in (KEY, IV, CODE):
        assert secret not in repr(trial)


async def test_a_trial_of_a_wrong_key_shows_no_secret(tmp_path: Path) -> None:
    raw = theirs_sealed("aes-gcm", b"{}", bytes(16), None)
    async with source(said(base64.b64encode(raw).decode())) as url:
        trial = await tried(tmp_path, file_text(url, "aes-gcm"))
    assert trial.fault == "GARBAGE: the answer cannot be unsealed"
    assert "-- unsealed" not in trial.answer
    assert KEY not in repr(trial)


@pytest.mark.parametrize("secret", ["00ff", "zz" * 16, "é" * 8], ids=["short", "no hex", "no ascii"])
def test_a_secret_that_is_no_key_is_refused_at_the_start(tmp_path: Path, secret: str) -> None:
    error = refusal(tmp_path, file_text(), secrets=SECRETS | {"SEALED_KEY": secret})
    assert (error.key, error.reason) == ("sealing.key", "the secret is no key of 16 bytes as hex")
    assert secret not in str(error)
    with pytest.raises(SourceFaultError) as caught:
        seal(rule("sm4-ecb"), b"", {"secrets.key": secret})
    assert caught.value.fault == Fault(FaultCode.REFUSED, "the secret holds no key of the cipher")


def test_a_secret_that_is_no_iv_is_refused_at_the_start() -> None:
    how = rule("aes-cbc", iv="{secrets.iv}")
    with pytest.raises(SourceKeyError, match=r"no iv of 16 bytes") as caught:
        check_secrets(how, {"secrets.key": KEY, "secrets.iv": "00ff"})
    assert "00ff" not in str(caught.value)


# --- mistakes of the file


@pytest.mark.parametrize(
    ("sealing", "key", "reason"),
    [
        ("", "sealing", "it seals nothing"),
        ('request = { at = "" }', "sealing.request.at", "it is no path"),
        ('answer = { at = "a..b" }', "sealing.answer.at", "it is no path"),
        (f'{MEMBERS}\niv = "{{secrets.other}}"', "sealing.iv", "it is no secret"),
        (f'{MEMBERS}\nmode = "ofb"', "sealing.mode", ""),
        (f'{MEMBERS}\ntext = "utf-8"', "sealing.text", ""),
    ],
)
def test_mistakes_are_told_by_key(tmp_path: Path, sealing: str, key: str, reason: str) -> None:
    error = refusal(tmp_path, file_text(sealing=sealing), secrets=SECRETS)
    assert error.key == key
    assert reason in error.reason
    assert error.remedy


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('cipher = "sm4-cbc"', 'cipher = "des-cbc"', "sealing.cipher"),
        ('key = "{secrets.key}"', 'key = "0123456789abcdef"', "sealing.key"),
        ('cipher = "sm4-cbc"', 'cipher = "aes-gcm"\niv = "{secrets.iv}"', "sealing.iv"),
        ('cipher = "sm4-cbc"', 'cipher = "sm4-ecb"\niv = "{secrets.iv}"', "sealing.iv"),
        ("[auth]", '[auth]\njson = { body = "{ground.purpose}" }', "sealing.request.at"),
        (JSON, 'form = { code = "{subject.value}" }', "lookup[0].json"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, old: str, new: str, key: str) -> None:
    text = file_text()
    assert old in text
    assert refusal(tmp_path, text.replace(old, new), secrets=SECRETS).key == key


def test_a_whole_body_that_is_sealed_changes_no_more(tmp_path: Path) -> None:
    auth = SIGNED.replace("headers = { X-Sign", "json = { sign")
    error = refusal(tmp_path, file_text(sealing='request = { at = "." }', auth=auth), secrets=SECRETS)
    assert error.key == "auth.json"
