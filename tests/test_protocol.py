"""The short way of the usual request: the same answers as by uvicorn's way, on connections that may do anything."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.endpoint import RawHeaders, Reply
from gateway.protocol import LeanProtocol

HEAD = b"POST /graphql HTTP/1.1\r\nHost: gateway\r\n"


class Endpoint:
    """Answers with the body it got; a body "slow" waits until it may go on, one "stands…" needs no task for that, and
    "now" is answered before the request is read to its end; `then` is called next.
    """

    def __init__(self) -> None:
        self.then: Callable[[], None] = lambda: None
        self.at_once: list[bytes] = []
        self.asked: list[tuple[bytes, list[tuple[bytes, bytes]]]] = []
        self.sent_statuses: list[int] = []
        self.more: RawHeaders = []
        self.go_on = asyncio.Event()

    async def reply(
        self,
        method: str,
        headers: RawHeaders,
        query_string: bytes,
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    ) -> Reply:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.asked.append((body, [*headers]))
        if body == b"slow":
            await self.go_on.wait()
        fields = [(b"content-length", b"%d" % len(body)), *self.more]
        return Reply(200, fields, body, ())

    def again(self, headers: RawHeaders, body: bytes, tell: Callable[[Reply], None]) -> bool:
        fields = [*self.more, (b"content-length", b"%d" % len(body))]
        if body == b"now":
            tell(Reply(200, fields, body, ()))
            self.then()
            return True
        if not body.startswith(b"stands"):
            return False
        self.at_once.append(body)
        # As the ledger tells it: in a later turn of the loop.
        asyncio.get_running_loop().call_later(0.01, tell, Reply(200, fields, body, ()))
        return True

    def sent(self, reply: Reply, seconds: float) -> None:
        assert seconds >= 0
        self.sent_statuses.append(reply.status)


class App:
    """What uvicorn serves: the endpoint at any address by ASGI, and as `graphql`."""

    def __init__(self) -> None:
        self.graphql = Endpoint()
        self.by_asgi = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.by_asgi += 1
        reply = await self.graphql.reply(scope["method"], scope["headers"], b"", receive)
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})


class Served:
    def __init__(self, app: App, server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
        self.app = app
        self.server = server
        self.serving = serving

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.server.servers[0].sockets[0].getsockname())


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    app: Any = App()
    config = uvicorn.Config(
        app, port=0, http=LeanProtocol, ws="none", interface="asgi3", lifespan="off", proxy_headers=False,
        log_config=None, access_log=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield Served(app, server, serving)
    app.graphql.go_on.set()
    server.should_exit = True
    await serving


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await served.connect()
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.close()


def request(body: bytes, *lines: bytes, head: bytes = HEAD) -> bytes:
    return b"".join(
        [head, b"Content-Length: %d\r\n" % len(body), *(b"%b\r\n" % line for line in lines), b"\r\n", body]
    )


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Status line, headers and body of the next answer."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines if line)
    return status, headers, await reader.readexactly(int(headers[b"content-length"]))


async def test_a_request_that_came_whole_is_answered_as_by_uvicorn(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(request(b"whole"))
        whole = await answer(reader)
        assert served.app.by_asgi == 0
        writer.write(request(b"piece")[:-2])
        await asyncio.sleep(0.05)
        writer.write(b"ce")
        pieces = await answer(reader)
        assert served.app.by_asgi == 1
    assert whole == (pieces[0], whole[1], b"whole")
    assert {**whole[1], b"date": b""} == {**pieces[1], b"date": b""}
    assert pieces[2] == b"piece"
    assert served.app.graphql.asked[0][1] == served.app.graphql.asked[1][1]
    assert served.app.graphql.sent_statuses == [200]


@pytest.mark.parametrize(
    "raw",
    [
        request(b"x", head=b"POST /graphql?a=b HTTP/1.1\r\nHost: gateway\r\n"),
        request(b"x", head=b"POST /other HTTP/1.1\r\nHost: gateway\r\n"),
        request(b"x", head=b"PUT /graphql HTTP/1.1\r\nHost: gateway\r\n"),
        request(b"x", head=b"POST /graphql HTTP/1.0\r\nHost: gateway\r\n"),
        request(b"x", b"Connection: close"),
    ],
)
async def test_what_is_not_usual_goes_the_other_way(served: Served, raw: bytes) -> None:
    async with connected(served) as (reader, writer):
        writer.write(raw)
        assert (await answer(reader))[2] == b"x"
    assert served.app.by_asgi == 1
    assert served.app.graphql.sent_statuses == []


async def test_requests_sent_at_once_are_answered_in_order_and_each_with_its_own(served: Served) -> None:
    bodies = [b"slow", b"second", b"third", b"slow", b"fifth"]
    async with connected(served) as (reader, writer):
        writer.write(b"".join(request(body, b"X-Number: %d" % n) for n, body in enumerate(bodies)))
        await asyncio.sleep(0.05)
        assert [body for body, _ in served.app.graphql.asked] == [b"slow"]
        served.app.graphql.go_on.set()
        assert [(await answer(reader))[2] for _ in bodies] == bodies
        writer.write(request(b"after"))
        assert (await answer(reader))[2] == b"after"
    numbers = [dict(headers).get(b"x-number") for _, headers in served.app.graphql.asked]
    assert numbers == [b"0", b"1", b"2", b"3", b"4", None]


async def test_answers_that_stand_come_in_order_with_all_others(served: Served) -> None:
    bodies = [b"stands 1", b"slow", b"stands 2", b"stands 3", b"fifth", b"stands 4"]
    async with connected(served) as (reader, writer):
        writer.write(b"".join(request(body) for body in bodies))
        served.app.graphql.go_on.set()
        assert [(await answer(reader))[2] for _ in bodies] == bodies
        for body in (b"stands 5", b"stands 6"):
            writer.write(request(body))
            assert (await answer(reader))[2] == body
    # What waited behind another request went uvicorn's way.
    assert served.app.graphql.at_once == [b"stands 1", b"stands 5", b"stands 6"]
    assert served.app.graphql.sent_statuses == [200] * 3


async def test_one_that_stands_and_comes_in_pieces_goes_the_other_way(served: Served) -> None:
    async with connected(served) as (reader, writer):
        raw = request(b"stands in pieces")
        writer.write(raw[:-2])
        await asyncio.sleep(0.05)
        writer.write(raw[-2:])
        assert (await answer(reader))[2] == b"stands in pieces"
    assert served.app.graphql.at_once == []


async def test_whoever_leaves_before_an_answer_that_stands_hurts_nobody(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with connected(served) as (_, writer):
            writer.write(request(b"stands"))
            while not served.app.graphql.at_once:
                await asyncio.sleep(0.001)
            writer.transport.abort()
        while not served.app.graphql.sent_statuses:
            await asyncio.sleep(0.01)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_told_to_stop_it_sends_what_stands_and_closes(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(request(b"stands"))
        while not served.app.graphql.at_once:
            await asyncio.sleep(0.001)
        for connection in served.server.server_state.connections:
            connection.shutdown()
        _, headers, body = await answer(reader)
        assert (headers[b"connection"], body) == (b"close", b"stands")
        assert await reader.read() == b""


async def test_a_body_in_many_chunks_is_one_body_and_trailers_are_no_headers(served: Served) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % (97 + n % 26) for n in range(2000))
    async with connected(served) as (reader, writer):
        writer.write(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nAuthorization: Bearer x\r\n\r\n"
        )
        assert len((await answer(reader))[2]) == 2000
    if served.app.by_asgi == 0:
        ((_, headers),) = served.app.graphql.asked
        assert b"authorization" not in dict(headers)


async def test_a_client_that_leaves_before_its_answer_hurts_nobody(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with connected(served) as (_, writer):
            writer.write(request(b"slow"))
            while not served.app.graphql.asked:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        served.app.graphql.go_on.set()
        while not served.app.graphql.sent_statuses:
            await asyncio.sleep(0.01)
        async with connected(served) as (reader, writer):
            writer.write(request(b"next"))
            assert (await answer(reader))[2] == b"next"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_is_no_http_is_refused_and_closed(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    assert served.app.graphql.asked == []


async def test_what_closes_a_connection_comes_after_the_answers_before_it(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(request(b"now") + b"nonsense\r\n\r\n")
        assert (await answer(reader))[2] == b"now"
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_a_client_that_sends_no_more_gets_its_answer(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(request(b"now"))
        writer.write_eof()
        assert (await answer(reader))[2] == b"now"
        assert await reader.read() == b""


async def test_told_to_stop_in_the_turn_of_an_answer_it_sends_it_first(served: Served) -> None:
    async with connected(served) as (reader, writer):

        def stop() -> None:
            for each in served.server.server_state.connections:
                each.shutdown()

        served.app.graphql.then = stop
        writer.write(request(b"now"))
        assert (await answer(reader))[2] == b"now"
        assert await reader.read() == b""


async def test_answers_of_one_turn_reach_all_who_wait(served: Served) -> None:
    async with AsyncExitStack() as open_connections:
        pairs = [await open_connections.enter_async_context(connected(served)) for _ in range(5)]
        for number, (_, writer) in enumerate(pairs):
            writer.write(request(b"slow" if number % 2 else b"stands %d" % number))
        await asyncio.sleep(0.05)
        served.app.graphql.go_on.set()
        bodies = [(await answer(reader))[2] for reader, _ in pairs]
        assert bodies == [b"stands 0", b"slow", b"stands 2", b"slow", b"stands 4"]


async def test_an_answer_that_closes_its_connection_does(served: Served) -> None:
    served.app.graphql.more = [(b"connection", b"close")]
    async with connected(served) as (reader, writer):
        writer.write(request(b"last"))
        _, headers, body = await answer(reader)
        assert (headers[b"connection"], body) == (b"close", b"last")
        assert await reader.read() == b""


async def test_told_to_stop_it_answers_what_is_under_way_and_closes(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(request(b"slow"))
        while not served.app.graphql.asked:
            await asyncio.sleep(0.01)
        served.server.should_exit = True
        await asyncio.sleep(0.3)
        served.app.graphql.go_on.set()
        _, headers, body = await answer(reader)
        assert (headers[b"connection"], body) == (b"close", b"slow")
        assert await reader.read() == b""
        await served.serving
