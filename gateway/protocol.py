"""HTTP/1.1 as uvicorn speaks it, with a short way for the usual request.

uvicorn's own protocol does everything that HTTP may bring: pipelining, `Expect`, HTTP/1.0, bodies in pieces, other
addresses. Of a request to the endpoint that has come whole, on a connection where nothing else is under way, it needs
none of that: such a one is answered here without the scope, the events and the messages of ASGI, which cost as much as
the answer itself. Whatever is not so goes uvicorn's way, from the first byte of its body on.
"""

import asyncio
from collections.abc import MutableMapping
from functools import partial
from time import perf_counter
from typing import Any, Final
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from gateway.endpoint import GraphQLEndpoint, RawHeaders, Reply

_METHOD: Final = b"POST"
_ADDRESS: Final = b"/graphql"
_CLOSE: Final = (b"connection", b"close")


class _NoEvent:
    """Stands where uvicorn tells a request under way that something came: one that is whole waits for nothing."""

    def set(self) -> None:
        """Tell nobody."""


_NO_EVENT: Final = _NoEvent()


class _Exchange:
    """One request and its answer, with what uvicorn's protocol wants to know of the one under way."""

    __slots__ = (
        "begun",
        "disconnected",
        "headers",
        "keep_alive",
        "message_event",
        "pieces",
        "response_complete",
    )

    def __init__(self, headers: RawHeaders) -> None:
        # Trailers come under the same list later: they are no headers of the request.
        self.headers = [*headers]
        self.pieces: list[bytes] = []
        self.begun = perf_counter()
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False
        self.message_event = _NO_EVENT

    @property
    def body(self) -> bytes:
        """The body, as far as it has come."""
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)

    async def receive(self) -> MutableMapping[str, Any]:
        """The body, which is all there, as ASGI would bring it."""
        return {"type": "http.request", "body": self.body, "more_body": False}


class _Outbox:
    """The answers of one turn of the loop, which leave together at its end.

    Whoever reads the first is then still awake for the last, and the kernel has nobody to wake between them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send this at the end of the turn."""
        if not self._held:
            self._loop.call_soon(self.send)
        self._held.append((transport, data))

    def send(self) -> None:
        """Send what is there."""
        held, self._held = self._held, []
        for transport, data in held:
            if not transport.is_closing():
                transport.write(data)


_OUTBOXES: Final[WeakKeyDictionary[ServerState, _Outbox]] = WeakKeyDictionary()
"""One for each server."""


class LeanProtocol(HttpToolsProtocol):
    """uvicorn's protocol for an application whose `graphql` is the endpoint at `/graphql`."""

    _endpoint: GraphQLEndpoint
    _outbox: _Outbox
    _defaults: tuple[object, bytes] = ((), b"")
    """uvicorn's own header fields, and as they are sent; it makes new ones each second."""
    _coming: _Exchange | None = None
    """The usual request whose body has not come to its end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a new connection."""
        super().connection_made(transport)
        self._endpoint = self.app.graphql
        self._outbox = _OUTBOXES.setdefault(self.server_state, _Outbox(self.loop))

    def on_message_begin(self) -> None:
        """Start a request; uvicorn's scope for it is made when it turns out to be needed."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Choose the way."""
        if self._is_usual():
            self._coming = _Exchange(self.headers)
        else:
            self._hand_back()

    def _is_usual(self) -> bool:
        parser = self.parser
        return (
            self.url == _ADDRESS
            and parser.get_method() == _METHOD
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self._is_answering()
        )

    def _is_answering(self) -> bool:
        under_way: _Exchange | RequestResponseCycle | None = self.cycle
        return under_way is not None and not under_way.response_complete

    def _hand_back(self, body: bytes = b"") -> None:
        """Let uvicorn see this request from its beginning, with what has come of its body."""
        url, headers, waits = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, waits
        self.headers += headers
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._coming is None:
            super().on_body(body)
        else:
            self._coming.pieces.append(body)

    def on_message_complete(self) -> None:
        """Answer a request that came whole."""
        exchange, self._coming = self._coming, None
        if exchange is None:
            super().on_message_complete()
            return
        self.cycle = exchange  # type: ignore[assignment]  # as much of it as the protocol looks at
        if self.flow.write_paused or not self._endpoint.again(
            exchange.headers, exchange.body, partial(self._send, exchange)
        ):
            task = self.loop.create_task(self._answer(exchange))
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)

    def data_received(self, data: bytes) -> None:
        """Read what came; a request that is not whole by then goes uvicorn's way."""
        super().data_received(data)
        exchange, self._coming = self._coming, None
        if exchange is not None and not self.transport.is_closing():
            self._hand_back(exchange.body)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, after the answers before it."""
        self._outbox.send()
        super().send_400_response(msg)

    def shutdown(self) -> None:
        """Close when what is under way has been answered."""
        self._outbox.send()
        super().shutdown()

    def eof_received(self) -> None:
        """Close after the answers to a client that sends no more."""
        self._outbox.send()
        super().eof_received()

    async def _answer(self, exchange: _Exchange) -> None:
        reply = await self._endpoint.reply("POST", exchange.headers, b"", exchange.receive)
        if self.flow.write_paused and not exchange.disconnected:
            await self.flow.drain()
        self._send(exchange, reply)

    def _send(self, exchange: _Exchange, reply: Reply) -> None:
        exchange.response_complete = True
        if not exchange.disconnected:
            if _CLOSE in reply.headers:
                exchange.keep_alive = False
            self._outbox.put(self.transport, self._head(reply, exchange.keep_alive) + reply.body)
            if not exchange.keep_alive:
                self._outbox.send()
                self.transport.close()
            self.on_response_complete()
        self._endpoint.sent(reply, perf_counter() - exchange.begun)

    def _head(self, reply: Reply, keep_alive: bool) -> bytes:
        fields = self.server_state.default_headers
        if self._defaults[0] is not fields:
            self._defaults = fields, b"".join([b"%b: %b\r\n" % field for field in fields])
        close = b"" if keep_alive or _CLOSE in reply.headers else b"connection: close\r\n"
        own = [b"%b: %b\r\n" % field for field in reply.headers]
        return b"".join([STATUS_LINE[reply.status], self._defaults[1], *own, close, b"\r\n"])
