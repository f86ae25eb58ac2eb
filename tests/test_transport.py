"""The wire against real sockets: what is sent, what is read, and whom it trusts."""

import asyncio
import gzip
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trustme

from connectors.answers import FaultCode, SourceFaultError
from connectors.connection import Connections
from connectors.message import Origin, Outgoing, Reply
from connectors.problems import SourceKeyError
from connectors.transport import Tls, certificates, exchange, open_transport, silence_wire_logs

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """A source written byte by byte: `script` answers each request; remembers requests and connections."""

    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.most = 0
        self.port = 0
        self._script = script

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line[15:])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ),
                    0,
                )
                self.requests.append(head + await reader.readexactly(length))
                await self._script(self.requests[-1], writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the gateway closed the connection
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def running(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


@asynccontextmanager
async def wire(
    concurrency: int = 4, tls: Tls | None = None, seconds: float = 5.0
) -> AsyncIterator[httpx.AsyncBaseTransport]:
    transport = open_transport(concurrency, tls, seconds=seconds)
    try:
        yield transport
    finally:
        await transport.aclose()


async def answers(_request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


def saying(raw: bytes, *, close: bool = False) -> Script:
    async def script(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        if close:
            await writer.drain()
            writer.close()

    return script


async def ask(
    transport: httpx.AsyncBaseTransport,
    server: Server,
    *,
    scheme: str = "http",
    method: str = "POST",
    idempotent: bool = True,
    limit: int = 100_000,
) -> Reply:
    def build() -> Outgoing:
        content = b'{"a":1}' if method == "POST" else None
        origin = Origin.of(httpx.URL(f"{scheme}://127.0.0.1:{server.port}"))
        return Outgoing(method, origin, "/a%2Fb%7e?c=d+e%26", {"X-Mac": "m"}, content)

    return await exchange(transport, build, idempotent=idempotent, limit=limit)


async def fault(call: Awaitable[Reply]) -> FaultCode:
    with pytest.raises(SourceFaultError) as caught:
        await call
    assert "127.0.0.1" not in str(caught.value)
    return caught.value.fault.code


# --- what is sent


async def test_the_request_is_sent_as_it_was_built_and_nothing_is_added() -> None:
    async with running(answers) as server, wire() as transport:
        reply = await ask(transport, server)
        assert (reply.status, reply.headers["content-type"], reply.body) == (200, "application/json", b"{}")
        [request] = server.requests
    head, body = request.split(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    assert (line, body) == (b"POST /a%2Fb%7e?c=d+e%26 HTTP/1.1", b'{"a":1}')
    assert sorted(headers) == [b"Content-Length: 7", b"Host: 127.0.0.1:%d" % server.port, b"X-Mac: m"]


async def test_an_injected_transport_is_sent_the_same() -> None:
    """What stands in for the wire in a test sees the request that the wire would send."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"{}")

    outgoing = Outgoing("POST", Origin.of(httpx.URL("http://127.0.0.1:1")), "/a%2Fb", {"X-Name": "名"}, b"{}")
    transport = httpx.MockTransport(answer)
    reply = await exchange(transport, lambda: outgoing, idempotent=True, limit=100)
    assert (reply.status, reply.body) == (200, b"{}")
    [request] = seen
    assert (request.method, request.url.raw_path, request.content) == ("POST", b"/a%2Fb", b"{}")
    async with running(answers) as server, wire() as own:
        origin = Origin.of(httpx.URL(f"http://127.0.0.1:{server.port}"))
        sent = Outgoing(outgoing.method, origin, outgoing.target, outgoing.headers, outgoing.content)
        await exchange(own, lambda: sent, idempotent=True, limit=100)
        [raw] = server.requests
    names = dict(line.split(b": ") for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    assert {name.lower(): value for name, value in names.items() if name != b"Host"} == {
        name.lower(): value for name, value in request.headers.raw if name != b"Host"
    }


async def test_who_stands_between_sees_the_answer_of_the_wire() -> None:
    """A transport of httpx that passes on to the wire is answered as it would be by any other."""

    class Between(httpx.AsyncBaseTransport):
        def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
            self.inner = inner

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await self.inner.handle_async_request(request)

    async with running(answers) as server, wire() as transport:
        direct, passed_on = [await ask(way, server) for way in (transport, Between(transport))]
        assert (direct.status, direct.body) == (passed_on.status, passed_on.body) == (200, b"{}")
        assert direct.headers["content-type"] == passed_on.headers["content-type"] == "application/json"
        first, second = (sorted(request.lower().split(b"\r\n")) for request in server.requests)
        assert first == second


async def test_connections_are_used_again() -> None:
    async with running(answers) as server, wire() as transport:
        for _ in range(3):
            await ask(transport, server)
        assert (server.connections, len(server.requests)) == (1, 3)


async def test_a_source_has_no_more_connections_than_it_allows() -> None:
    async def slowly(_request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        writer.write(OK)

    async with running(slowly) as server, wire(2) as transport:
        await asyncio.gather(*(ask(transport, server) for _ in range(7)))
        assert (server.most, len(server.requests)) == (2, 7)


async def test_no_redirect_is_followed() -> None:
    raw = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with running(saying(raw)) as server, wire() as transport:
        assert (await ask(transport, server)).status == 302
        assert len(server.requests) == 1


async def test_no_cookie_is_kept() -> None:
    raw = OK.replace(b"Content-Type", b"Set-Cookie: a=b; Path=/\r\nContent-Type")
    async with running(saying(raw)) as server, wire() as transport:
        for _ in range(2):
            await ask(transport, server)
        assert not [request for request in server.requests if b"cookie" in request.lower()]


async def test_the_environment_sets_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with running(answers) as server, wire() as transport:
        assert (await ask(transport, server)).status == 200


async def test_nothing_of_an_address_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    silence_wire_logs()
    with caplog.at_level(logging.DEBUG):
        async with (
            running(saying(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")) as server,
            wire() as transport,
        ):
            await fault(ask(transport, server))
    assert "a%2Fb" not in caplog.text
    assert str(server.port) not in caplog.text


# --- lost connections


def dropping(times: int) -> Script:
    """Closes the connection in place of the first answers."""
    left = [times]

    async def script(_request: bytes, writer: asyncio.StreamWriter) -> None:
        left[0] -= 1
        if left[0] >= 0:
            writer.close()
        else:
            writer.write(OK)

    return script


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("idempotent", "lost", "sent", "outcome"),
    [(True, 1, 2, None), (True, 5, 2, "DOWN"), (False, 1, 1, "DOWN")],
)
async def test_a_request_is_sent_again_once_and_only_if_it_may_be(
    method: str, idempotent: bool, lost: int, sent: int, outcome: str | None
) -> None:
    async with running(dropping(lost)) as server, wire() as transport:
        call = ask(transport, server, method=method, idempotent=idempotent)
        if outcome is None:
            assert (await call).status == 200
        else:
            assert await fault(call) == outcome
        assert len(server.requests) == sent


async def test_a_kept_connection_that_the_source_closed_costs_no_read() -> None:
    async with running(saying(OK, close=True)) as server, wire() as transport:
        for _ in range(3):
            assert (await ask(transport, server)).status == 200
        assert server.connections == 3


async def test_a_source_that_is_not_there_is_down() -> None:
    async with running(answers) as server:
        pass
    async with wire() as transport:
        assert await fault(ask(transport, server)) == "DOWN"


# --- what is read


async def test_an_endless_body_is_read_to_the_limit_and_hung_up_on() -> None:
    gone = asyncio.Event()

    async def endless(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"2710\r\n" + b" " * 10_000 + b"\r\n")
                await writer.drain()
        finally:
            gone.set()

    async with running(endless) as server, wire() as transport:
        assert await fault(ask(transport, server, limit=50_000)) == "GARBAGE"
        await asyncio.wait_for(gone.wait(), 10)
        assert len(server.requests) == 1


async def test_a_compressed_body_is_not_blown_up() -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with running(saying(raw + bomb)) as server, wire() as transport:
        assert (await ask(transport, server)).body == bomb


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n[",
        OK + b"[]",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["short", "chunk breaks off", "no chunk", "two lengths", "no http", "two", "too much", "long header"],
)
async def test_an_answer_that_breaks_the_protocol_is_garbage(raw: bytes) -> None:
    async with running(saying(raw, close=True)) as server, wire() as transport:
        assert await fault(ask(transport, server, idempotent=False)) == "GARBAGE"


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"], ids=["silent", "stuck"]
)
async def test_a_source_that_stops_in_the_middle_times_out(begun: bytes) -> None:
    async with running(saying(begun)) as server, wire(seconds=0.05) as transport:
        assert await fault(ask(transport, server)) == "TIMEOUT"
        assert len(server.requests) == 1


async def test_a_handshake_that_does_not_end_times_out() -> None:
    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)
        writer.close()

    listening = await asyncio.start_server(mute, "127.0.0.1", 0)
    server = Server(answers)
    server.port = listening.sockets[0].getsockname()[1]
    async with wire(seconds=0.05) as transport:
        assert await fault(ask(transport, server, scheme="https")) == "TIMEOUT"
    listening.close()


async def test_a_call_that_is_cancelled_hangs_up() -> None:
    async with running(saying(b"")) as server, wire() as transport:
        call = asyncio.ensure_future(ask(transport, server))
        while not server.requests:
            await asyncio.sleep(0.001)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        while server.open:
            await asyncio.sleep(0.001)
        assert call.cancelled()


# --- what a connection goes through


async def test_what_goes_before_an_answer_is_passed_over() -> None:
    """RFC 9110, 15.2: a client reads on after any answer that begins with 1."""
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Hint: a\r\n\r\n" + OK
    async with running(saying(raw)) as server, wire() as transport:
        for _ in range(2):
            reply = await ask(transport, server)
            assert (reply.status, reply.body) == (200, b"{}")
            assert "x-hint" not in reply.headers
        assert server.connections == 1


async def test_another_protocol_is_not_spoken() -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with running(saying(raw)) as server, wire() as transport:
        assert await fault(ask(transport, server)) == "GARBAGE"


@pytest.mark.parametrize(
    ("raw", "connections"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\nX-Late: a\r\n\r\n",
            1,
        ),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}", 1),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 2),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 2),
        (b"HTTP/1.1 200 OK\nX-Folded: a\n b\nTransfer-Encoding: chunked\n\n2 \r\n{}\r\n0\r\n\r\n", 1),
    ],
    ids=["chunks", "1.0 kept", "1.0", "closed", "slovenly"],
)
async def test_a_connection_is_used_again_when_its_answer_ended_as_it_said(
    raw: bytes, connections: int
) -> None:
    async with running(saying(raw)) as server, wire() as transport:
        for _ in range(2):
            reply = await ask(transport, server)
            assert (reply.status, reply.body) == (200, b"{}")
            assert "x-late" not in reply.headers
        assert server.connections == connections


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with running(saying(b"HTTP/1.1 200 OK\r\n\r\n{}", close=True)) as server, wire() as transport:
        for _ in range(2):
            assert (await ask(transport, server)).body == b"{}"
        assert (server.connections, len(server.requests)) == (2, 2)


async def test_an_answer_to_nothing_is_not_taken_for_the_next() -> None:
    async def twice(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.02)
        if len(server.requests) == 1:
            writer.write(OK.replace(b"{}", b"[]"))

    async with running(twice) as server, wire() as transport:
        assert (await ask(transport, server)).body == b"{}"
        while server.open:
            await asyncio.sleep(0.001)
        assert (await ask(transport, server)).body == b"{}"
        assert server.connections == 2


async def test_a_connection_that_rests_too_long_is_closed() -> None:
    transport = Connections(1, certificates(), 5.0, rest=0.02)
    async with running(answers) as server:
        for _ in range(2):
            assert (await ask(transport, server)).status == 200
            while server.open:
                await asyncio.sleep(0.001)
        assert server.connections == 2
    await transport.aclose()


async def test_what_is_slow_but_does_not_stop_is_waited_for() -> None:
    async def slowly(_request: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in OK:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.002)

    async with running(slowly) as server, wire(seconds=0.1) as transport:
        assert (await ask(transport, server)).body == b"{}"


@pytest.mark.parametrize(
    "before",
    [b"HTTP/1.1 200 OK\r\n", OK.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")[:-2] + b"0\r\n"],
    ids=["head", "trailer"],
)
async def test_headers_without_end_are_not_kept(before: bytes) -> None:
    gone = asyncio.Event()

    async def endless(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(before)
        try:
            while not writer.is_closing():
                writer.write(b"X-More: " + b"a" * 1000 + b"\r\n")
                await writer.drain()
        finally:
            gone.set()

    async with running(endless) as server, wire() as transport:
        assert await fault(ask(transport, server)) == "GARBAGE"
        await asyncio.wait_for(gone.wait(), 10)


async def test_one_of_several_addresses_is_enough() -> None:
    async with running(answers) as server, wire() as transport:
        origin = Origin.of(httpx.URL(f"http://localhost:{server.port}"))
        outgoing = Outgoing("GET", origin, "/", {})
        assert (await exchange(transport, lambda: outgoing, idempotent=True, limit=10)).status == 200
        assert server.requests == [b"GET / HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % server.port]


async def test_a_host_is_looked_up_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, looks, go_on = asyncio.get_running_loop(), [0], asyncio.Event()
    really = loop.getaddrinfo

    async def slowly(*args: Any, **options: Any) -> Any:
        looks[0] += 1
        await go_on.wait()
        return await really(*args, **options)

    monkeypatch.setattr(loop, "getaddrinfo", slowly)
    async with running(answers) as server, wire(seconds=0.05) as transport:
        origin = Origin.of(httpx.URL(f"http://localhost:{server.port}"))

        async def call() -> Reply:
            return await exchange(
                transport, lambda: Outgoing("GET", origin, "/", {}), idempotent=True, limit=10
            )

        assert [await fault(call()) for _ in range(2)] == ["TIMEOUT", "TIMEOUT"]
        go_on.set()
        assert {reply.status for reply in await asyncio.gather(*(call() for _ in range(3)))} == {200}
        assert looks == [1]


async def test_a_host_that_is_not_found_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, looks = asyncio.get_running_loop(), [0]
    really = loop.getaddrinfo

    async def failing(*args: Any, **options: Any) -> Any:
        looks[0] += 1
        if looks[0] == 1:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return await really(*args, **options)

    monkeypatch.setattr(loop, "getaddrinfo", failing)
    async with running(answers) as server, wire() as transport:
        assert await fault(ask(transport, server)) == "DOWN"
        assert (await ask(transport, server)).status == 200
        assert looks == [2]


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\0b"])
async def test_a_header_that_would_end_early_is_not_sent(value: str) -> None:
    async with running(answers) as server, wire() as transport:
        outgoing = Outgoing(
            "GET", Origin.of(httpx.URL(f"http://127.0.0.1:{server.port}")), "/", {"X-A": value}
        )
        assert await fault(exchange(transport, lambda: outgoing, idempotent=True, limit=10)) == "ERROR"
        assert server.connections == 0


async def test_a_closed_transport_asks_no_more() -> None:
    async with running(answers) as server, wire() as transport:
        assert (await ask(transport, server)).status == 200
        await transport.aclose()
        while server.open:
            await asyncio.sleep(0.001)
        assert await fault(ask(transport, server)) == "DOWN"
        assert len(server.requests) == 1


async def test_what_waits_for_a_transport_that_is_closed_is_told_so() -> None:
    async with running(saying(b"")) as server, wire() as transport:
        call = asyncio.ensure_future(fault(ask(transport, server)))
        while not server.requests:
            await asyncio.sleep(0.001)
        await transport.aclose()
        assert await call == "DOWN"


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("/a%2Fb%7e?c=d+e%26", "/a%2Fb%7e?c=d+e%26"),
        ("/a b/名?c=d e", "/a%20b/%E5%90%8D?c=d%20e"),
        ("/a/../b/./c", "/b/c"),
        ("", "/"),
    ],
)
def test_the_target_of_a_request_is_that_of_its_address(address: str, target: str) -> None:
    base = httpx.URL("https://source.example:8443")
    origin = Origin.of(base)
    assert origin.target(address) == target == httpx.URL(f"{base}{address}").raw_path.decode()
    request = Outgoing("GET", origin, target, {}).of_httpx()
    assert (request.url.host, request.url.port, request.url.raw_path) == (base.host, 8443, target.encode())


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("http://A.example/x", Origin(False, "a.example", 80, "a.example")),
        ("https://a.example:443", Origin(True, "a.example", 443, "a.example")),
        ("https://a.example:80", Origin(True, "a.example", 80, "a.example:80")),
        ("http://[::1]:8080/", Origin(False, "::1", 8080, "[::1]:8080")),
        ("http://例.example", Origin(False, "xn--fsq.example", 80, "xn--fsq.example")),
    ],
)
def test_the_origin_of_an_address(address: str, origin: Origin) -> None:
    assert Origin.of(httpx.URL(address)) == origin


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (saying(b"", close=True), "DOWN"),
        (saying(b""), "TIMEOUT"),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "GARBAGE"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", close=True), "GARBAGE"),
    ],
    ids=["lost", "silent", "no http", "short"],
)
async def test_who_stands_between_sees_the_faults_of_the_wire(script: Script, expected: str) -> None:
    class Between(httpx.AsyncBaseTransport):
        def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
            self.inner = inner

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await self.inner.handle_async_request(request)

    async with running(script) as server, wire(seconds=0.05) as transport:
        assert await fault(ask(Between(transport), server)) == expected
        assert await fault(ask(transport, server)) == expected


# --- whom it trusts


OURS, OTHERS = trustme.CA(), trustme.CA()


def pem(authority: trustme.CA) -> bytes:
    return authority.cert_pem.bytes()


def served(certificate: trustme.LeafCert, *, clients: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def presented(by: trustme.CA) -> Tls:
    leaf = by.issue_cert("gateway.example")
    chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
    return Tls(pem(OURS), chain, leaf.private_key_pem.bytes())


async def test_a_certificate_of_the_given_authority_is_trusted() -> None:
    context = served(OURS.issue_cert("127.0.0.1"))
    async with running(answers, context) as server, wire(tls=Tls(pem(OURS))) as transport:
        assert (await ask(transport, server, scheme="https")).status == 200


YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.mark.parametrize(
    ("certificate", "tls"),
    [
        (OURS.issue_cert("elsewhere.example"), Tls(pem(OURS))),
        (
            OURS.issue_cert("127.0.0.1", not_before=YESTERDAY - timedelta(days=9), not_after=YESTERDAY),
            Tls(pem(OURS)),
        ),
        (OURS.issue_cert("127.0.0.1"), Tls(pem(OTHERS))),
        (OURS.issue_cert("127.0.0.1"), Tls()),
        (OURS.issue_cert("127.0.0.1"), None),
    ],
    ids=["another host", "expired", "another authority", "public authorities", "no word of it"],
)
async def test_a_certificate_that_proves_nothing_is_refused(
    certificate: trustme.LeafCert, tls: Tls | None
) -> None:
    async with running(answers, served(certificate)) as server, wire(tls=tls) as transport:
        assert await fault(ask(transport, server, scheme="https")) == "DOWN"
        assert server.requests == []


@pytest.mark.parametrize(
    ("tls", "taken"),
    [(presented(OURS), True), (presented(OTHERS), False), (Tls(pem(OURS)), False)],
    ids=["its own", "another's", "none"],
)
async def test_the_gateway_shows_its_certificate_where_it_is_demanded(tls: Tls, taken: bool) -> None:
    context = served(OURS.issue_cert("127.0.0.1"), clients=OURS)
    async with running(answers, context) as server, wire(tls=tls) as transport:
        call = ask(transport, server, scheme="https")
        if taken:
            assert (await call).status == 200
        else:
            assert await fault(call) == "DOWN"
            assert server.requests == []


MINE = presented(OURS)


@pytest.mark.parametrize(
    ("tls", "key"),
    [
        (Tls(b"none"), "tls.ca"),
        (Tls("密".encode()), "tls.ca"),
        (Tls(MINE.ca, b"none", MINE.key), "tls.certificate"),
        (Tls(MINE.ca, MINE.certificate, b"none"), "tls.certificate"),
        (Tls(MINE.ca, MINE.certificate), "tls.certificate"),
        (Tls(MINE.ca, MINE.certificate, presented(OURS).key), "tls.certificate"),
    ],
    ids=["ca", "no ascii", "certificate", "key", "no key", "key of another"],
)
def test_what_is_no_certificate_or_key_is_refused_at_once(tls: Tls, key: str) -> None:
    with pytest.raises(SourceKeyError) as caught:
        open_transport(1, tls)
    assert caught.value.key == key


def test_a_private_key_is_not_written_out_by_accident() -> None:
    assert "PRIVATE" in (MINE.key or b"").decode()
    assert "PRIVATE" not in f"{MINE!r} {MINE}"
