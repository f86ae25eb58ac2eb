"""What sources do when they break, over real sockets: each fault has its name, spoils nothing else, and leaves no trace.

The texts and the identifier of an answer must never reach a log or a fault, however the answer is broken.
"""

import asyncio
import contextlib
import datetime as dt
import gzip
import json
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from connectors.answers import Ask, Ground, SourceAnswer
from connectors.fetch import Sources
from policies.catalogue import Penalty
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

EVERYTHING = (1 << 64) - 1
CODE = "91990100FAKE00013D"
OTHER = "91990105FAKE00128U"
SECRET_TEXT = "正文内容不得外泄"

Script = Callable[["Server", asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server that reads one request and then does what the script says, byte by byte."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                first = await reader.readexactly(1)
                if first == b"\x16":  # the greeting of TLS
                    writer.write(http(b"", "400 Bad Request"))
                    return writer.close()
                head = first + await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line[15:])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ),
                    0,
                )
                self.requests.append(head + await reader.readexactly(length))
                await self.script(self, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()
        finally:
            self._tasks.discard(task)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def running(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.stop()
        await listening.wait_closed()


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An answer that is well formed as HTTP."""
    fields = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def says(*parts: bytes) -> Script:
    """Write these bytes."""

    async def script(_server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(parts))

    return script


def answers(body: Any, status: str = "200 OK", **headers: str) -> Script:
    """Answer with a JSON value."""
    return says(http(json.dumps(body, ensure_ascii=False).encode(), status, **headers))


ROW = {"id": "R-1", "key": CODE, "facts": SECRET_TEXT, "day": "2026-01-02", "repaired": None}
GOOD = {"data": [ROW], "total": 1}


def but(**changes: Any) -> Mapping[str, Any]:
    return {"data": [{**ROW, **changes}], "total": 1}


def text_of(value: Any = GOOD) -> str:
    return json.dumps(value, ensure_ascii=False)


async def drip(_server: Server, writer: asyncio.StreamWriter) -> None:
    """One byte a second, for ever."""
    for byte in http(text_of().encode()):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def silence(_server: Server, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hang_up(_server: Server, writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def reset_in_the_middle(_server: Server, writer: asyncio.StreamWriter) -> None:
    answer = http(text_of().encode())
    writer.write(answer[:-20])
    await writer.drain()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def endless_body(_server: Server, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    piece = SECRET_TEXT.encode() * 1000
    while True:
        writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()


async def endless_headers(_server: Server, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while True:
        writer.write(f"x-{number}: {CODE}\r\n".encode())
        await writer.drain()
        number += 1


async def endless_pages(server: Server, writer: asyncio.StreamWriter) -> None:
    rows = [{**ROW, "id": f"R-{len(server.requests)}-{number}"} for number in range(2)]
    writer.write(http(text_of({"data": rows, "total": 1_000_000}).encode()))


DUPLICATES = {
    "in a record": text_of().replace('"id": "R-1"', '"id": "R-1", "facts": "other"'),
    "of the list": text_of().replace('"total"', '"data": [], "total"'),
    "with spaces": text_of().replace('"id": "R-1"', '"id" : "R-1", "id"\n: "R-2"'),
    "in another spelling": text_of().replace('"id": "R-1"', '"id": "R-1", "\\u0069d": "R-2"'),
    "hidden by a string": text_of(but(facts="\\u003a")).replace("\\\\u003a", "\\u003a")[:-1]
    + ', "total": 1}',
}

FAULTS: Mapping[str, tuple[Script, str]] = {
    # what is no answer
    "silence": (silence, "TIMEOUT"),
    "a slow drip": (drip, "TIMEOUT"),
    "hanging up": (hang_up, "DOWN"),
    "a reset in the middle": (reset_in_the_middle, "GARBAGE"),
    "an end before its length": (says(http(text_of().encode())[:-5]), "TIMEOUT"),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "GARBAGE"),
    "a bad length": (says(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}"), "GARBAGE"),
    "a bad chunk": (says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}"), "GARBAGE"),
    "endless headers": (endless_headers, "GARBAGE"),
    "an endless body": (endless_body, "GARBAGE"),
    "endless pages": (endless_pages, "GARBAGE"),
    # statuses
    "an expired secret": (answers({"message": SECRET_TEXT}, "401 Unauthorized"), "REFUSED"),
    "a failure": (answers({"message": SECRET_TEXT}, "500 Internal Server Error"), "ERROR"),
    "too many requests": (answers({}, "429 Too Many Requests", retry_after="1"), "ERROR"),
    "no content": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), "GARBAGE"),
    "a teapot": (answers(GOOD, "418 I'm a teapot"), "ERROR"),
    # bodies
    "a block page": (says(http(f"<html><title>{SECRET_TEXT}</title></html>".encode())), "GARBAGE"),
    "nothing": (says(http(b"")), "GARBAGE"),
    "truncated JSON": (says(http(text_of().encode()[:-9])), "GARBAGE"),
    "two documents": (says(http(text_of().encode() * 2)), "GARBAGE"),
    "a gzip bomb": (says(http(gzip.compress(b"[" * 10_000_000), content_encoding="gzip")), "GARBAGE"),
    "GBK that does not say so": (says(http(text_of().encode("gbk"))), "GARBAGE"),
    "not a number": (says(http(text_of(but(fine=1)).encode().replace(b'"fine": 1', b'"fine": NaN'))), "GARBAGE"),
    "infinity": (says(http(text_of(but(fine=1)).encode().replace(b'"fine": 1', b'"fine": Infinity'))), "GARBAGE"),
    "deep nesting": (says(http(b'{"data": ' + b"[" * 90_000 + b"]" * 90_000 + b"}")), "GARBAGE"),
    "half a surrogate": (says(http(text_of().replace(SECRET_TEXT, "\\ud800").encode())), "GARBAGE"),
    **{
        f"a name twice, {how}": (says(http(text.encode())), "GARBAGE") for how, text in DUPLICATES.items()
    },
    # envelopes
    "no records": (answers({"total": 1}), "GARBAGE"),
    "null for records": (answers({"data": None, "total": 1}), "GARBAGE"),
    "text for records": (answers({"data": SECRET_TEXT, "total": 1}), "GARBAGE"),
    "texts in the list": (answers({"data": [SECRET_TEXT], "total": 1}), "GARBAGE"),
    "null in the list": (answers({"data": [ROW, None], "total": 2}), "GARBAGE"),
    "a total that is too large": (answers({**GOOD, "total": 2}), "GARBAGE"),
    "a negative total": (answers({**GOOD, "total": -1}), "GARBAGE"),
    "half a total": (answers({**GOOD, "total": 1.5}), "GARBAGE"),
    "no total": (answers({"data": [ROW]}), "GARBAGE"),
    # records
    "another subject": (answers(but(key=OTHER)), "WRONG_SUBJECT"),
    "another subject besides": (answers({"data": [ROW, {**ROW, "key": OTHER}], "total": 2}), "WRONG_SUBJECT"),
    "nobody's record": (answers(but(key=None)), "GARBAGE"),
    "a record without identifier": (answers(but(id="")), "GARBAGE"),
    "a repair on no day": (answers(but(repaired="2026-13-45")), "GARBAGE"),
    "a repair in the year 0": (answers(but(repaired="0000-00-00")), "GARBAGE"),
    "a day that is none": (answers(but(day="2026-02-30")), "GARBAGE"),
    "a day after the last": (answers(but(day="99999-12-31")), "GARBAGE"),
    "a repair that is missing": (
        answers({"data": [{name: ROW[name] for name in ROW if name != "repaired"}], "total": 1}),
        "GARBAGE",
    ),
}  # fmt: skip

FINE: Mapping[str, tuple[Script, Mapping[str, Any]]] = {
    "GBK that says so": (
        says(http(text_of().encode("gbk"), content_type="application/json; charset=GBK")),
        {"facts": SECRET_TEXT},
    ),
    "a byte order mark": (says(http(b"\xef\xbb\xbf" + text_of().encode())), {"facts": SECRET_TEXT}),
    "another content type": (answers(GOOD, content_type="text/html"), {"facts": SECRET_TEXT}),
    "a total as text": (answers({**GOOD, "total": "1"}), {"facts": SECRET_TEXT}),
    "colons in texts": (answers(but(facts='":"\n" :')), {"facts": '":"\n" :'}),
    "a NUL in a text": (answers(but(facts="a\0b")), {"facts": "a\0b"}),
    "a list for a text": (answers(but(facts=["x"])), {"facts": None}),
    "a huge number": (says(http(text_of(but(facts=1)).replace('"facts": 1', '"facts": 1e999').encode())), {}),
}

FILE = """
id = "{id}"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
sandbox = true
url = "{url}"
timeout_seconds = 1.5
max_body_bytes = 300000
{tables}

[envelope]
records = "data"
total = "total"

[[lookup]]
category = "{category}"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/records"
json = {{ key = "{{subject.value}}", page = "{{page.number}}", size = "{{page.size}}" }}
subject = "key"
paging = {{ size = 2, most = 5 }}
fields = {{ record_id = "id", {fields} }}
"""
PENALTY = 'facts = "facts", decided_on = "day", repaired_on = "repaired"'


def write(folder: Path, name: str, category: str, fields: str, url: str, tables: str = "") -> None:
    text = FILE.format(id=name, category=category, fields=fields, url=url, tables=tables)
    (folder / f"{name}.toml").write_text(text)


@asynccontextmanager
async def opened(
    folder: Path,
    script: Script,
    *,
    context: ssl.SSLContext | None = None,
    url: str = "http://127.0.0.1:{port}",
    tables: str = "",
    secrets: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[Server, Sources]]:
    """A source that does what the script says, asked for penalties, and a sound neighbour for licences."""
    async with running(script, context) as server, running(answers(GOOD)) as neighbour:
        write(folder, "broken", "PENALTY", PENALTY, url.format(port=server.port), tables)
        write(folder, "sound", "LICENCE", 'content = "facts"', f"http://127.0.0.1:{neighbour.port}")
        sources = Sources.load(folder, secrets=secrets or {})
        try:
            yield server, sources
        finally:
            await sources.aclose()


def ask(category: str) -> Ask:
    subject = SubjectKey(SubjectKind.ORG, "credit_code", CODE)
    return Ask(subject, category, EVERYTHING, Ground("LOAN_PRECHECK"), may_cache=False)


async def both(sources: Sources) -> tuple[SourceAnswer, SourceAnswer]:
    [[broken], [sound]] = await sources.fetch([ask("PENALTY"), ask("LICENCE")], deadline=20)
    return broken, sound


def code(answer: SourceAnswer) -> str | None:
    return answer.fault.code.value if answer.fault else None


def assert_no_trace(answer: SourceAnswer, log: pytest.LogCaptureFixture) -> None:
    logged = log.text + repr([record.__dict__ for record in log.records])
    for text in (CODE, OTHER, SECRET_TEXT, "R-1", "127.0.0.1"):
        assert text not in str(answer.fault)
        assert text not in logged


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.mark.parametrize("what", FAULTS)
async def test_a_fault_has_its_name_and_spoils_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    script, expected = FAULTS[what]
    async with opened(tmp_path, script) as (server, sources):
        broken, sound = await both(sources)
    assert server.requests
    assert (code(broken), broken.records) == (expected, ())
    assert (code(sound), len(sound.records)) == (None, 1)
    assert_no_trace(broken, caplog)


@pytest.mark.parametrize("what", FINE)
async def test_what_can_be_read_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str) -> None:
    script, expected = FINE[what]
    async with opened(tmp_path, script) as (_server, sources):
        answer, _ = await both(sources)
    [record] = answer.records
    assert isinstance(record, Penalty)
    assert {name: getattr(record, name) for name in expected} == expected
    assert_no_trace(answer, caplog)


async def test_a_total_that_is_too_small_hides_nothing(tmp_path: Path) -> None:
    async def two_of_one(server: Server, writer: asyncio.StreamWriter) -> None:
        rows = [ROW, {**ROW, "id": "R-2"}] if len(server.requests) == 1 else []
        writer.write(http(text_of({"data": rows, "total": 1}).encode()))

    async with opened(tmp_path, two_of_one) as (_, sources):
        answer, _ = await both(sources)
    assert (code(answer), len(answer.records)) == (None, 2)


async def test_a_neighbour_answers_while_a_source_hangs(tmp_path: Path) -> None:
    async with opened(tmp_path, silence) as (server, sources):
        hanging = asyncio.ensure_future(sources.fetch([ask("PENALTY")], deadline=20))
        while not server.requests:
            await asyncio.sleep(0.01)
        [[sound]] = await sources.fetch([ask("LICENCE")], deadline=20)
        assert (code(sound), hanging.done()) == (None, False)
        [[broken]] = await hanging
    assert code(broken) == "TIMEOUT"


async def test_nothing_is_said_to_where_a_source_redirects(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(answers(GOOD)) as elsewhere:
        for status in (301, 302, 307, 308):
            script = answers(GOOD, f"{status} Moved", location=f"http://127.0.0.1:{elsewhere.port}/{CODE}")
            async with opened(tmp_path, script) as (_, sources):
                broken, _ = await both(sources)
            assert code(broken) == "ERROR"
            assert_no_trace(broken, caplog)
        assert elsewhere.requests == []


async def test_a_source_sets_no_cookie(tmp_path: Path) -> None:
    script = answers(GOOD, set_cookie=f"session={CODE}; Path=/")
    async with opened(tmp_path, script) as (server, sources):
        for _ in range(2):
            await both(sources)
    assert len(server.requests) == 2
    assert not [request for request in server.requests if b"cookie" in request.lower()]


async def test_an_endless_body_is_left_when_it_is_too_large(tmp_path: Path) -> None:
    async with opened(tmp_path, endless_body) as (_server, sources):
        broken, _ = await both(sources)
        assert broken.fault is not None
        assert broken.fault.detail == "the answer is larger than 300000 bytes"


async def test_endless_pages_are_left_at_the_bound(tmp_path: Path) -> None:
    async with opened(tmp_path, endless_pages) as (server, sources):
        await both(sources)
    assert len(server.requests) == 5


async def test_a_source_that_breaks_in_every_way_comes_back(tmp_path: Path) -> None:
    """One source, one fault after the other, and in the end it is well again."""
    quick = [script for script, expected in FAULTS.values() if expected not in ("TIMEOUT", "DOWN")]
    tables = "[breaker]\nfailures = 3\nseconds = 0.05"
    async with opened(tmp_path, silence, tables=tables) as (server, sources):
        for script in quick:
            server.script = script
            broken, sound = await both(sources)
            assert (broken.fault is not None, code(sound)) == (True, None)
        server.script = answers(GOOD)
        broken, _ = await both(sources)
        while broken.fault is not None:
            await asyncio.sleep(0.05)
            broken, _ = await both(sources)
    assert len(broken.records) == 1


# --- TLS

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()


def _context(authority: trustme.CA, name: str, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
CERTIFICATES: Mapping[str, Callable[[], ssl.SSLContext | None]] = {
    "another host": lambda: _context(AUTHORITY, "credit.example"),
    "another address": lambda: _context(AUTHORITY, "127.0.0.2"),
    "expired": lambda: _context(AUTHORITY, "127.0.0.1", not_after=LONG_AGO),
    "an unknown authority": lambda: _context(STRANGER, "127.0.0.1"),
    "no TLS at all": lambda: None,
}
HTTPS = "https://127.0.0.1:{port}"
TLS = '[secrets]\nca = { env = "CA" }\n[tls]\nca = "ca"\n'


@pytest.mark.parametrize("what", CERTIFICATES)
async def test_a_source_that_cannot_prove_who_it_is_is_told_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    secrets = {"CA": AUTHORITY.cert_pem.bytes().decode()}
    opening = opened(
        tmp_path, answers(GOOD), context=CERTIFICATES[what](), url=HTTPS, tables=TLS, secrets=secrets
    )
    async with opening as (server, sources):
        broken, sound = await both(sources)
    assert (code(broken), code(sound)) == ("DOWN", None)
    assert server.requests == []
    assert_no_trace(broken, caplog)


async def test_a_source_that_proves_who_it_is_is_asked(tmp_path: Path) -> None:
    secrets = {"CA": AUTHORITY.cert_pem.bytes().decode()}
    context = _context(AUTHORITY, "127.0.0.1")
    opening = opened(tmp_path, answers(GOOD), context=context, url=HTTPS, tables=TLS, secrets=secrets)
    async with opening as (_, sources):
        answer, _ = await both(sources)
    assert code(answer) is None


async def test_a_port_where_nobody_listens_is_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and never listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with opened(tmp_path, silence, url=url) as (_, sources):
            broken, sound = await both(sources)
    assert (code(broken), code(sound)) == ("DOWN", None)
    assert_no_trace(broken, caplog)
