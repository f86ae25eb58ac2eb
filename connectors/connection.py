"""Connections to a source: HTTP/1.1 on transports of the loop, answers read by llhttp (the parser of Node and uvicorn).

One connection carries one exchange at a time. It is used again when its answer ended cleanly and the source does not
close it; nothing is sent again here. Redirects, cookies, proxies and compression do not exist: that is what a lookup
needs of HTTP, and it costs a quarter of what clients for everything cost.
"""

import asyncio
import ssl
from collections import defaultdict
from socket import SOCK_STREAM
from typing import cast

import httptools
import httpx
from aiohappyeyeballs import AddrInfoType, start_connection

from connectors.answers import FaultCode, SourceFaultError
from connectors.message import Origin, Outgoing, Reply

_KEPT_ALIVE_SECONDS = 4.0
"""Below the five seconds after which common servers close an idle connection."""

_NEXT_ADDRESS_SECONDS = 0.25
"""When a further address of a host is tried beside the one before (RFC 8305, 5)."""

_ADDRESSES_SECONDS = 10.0
"""How long the addresses of a host are kept."""

_CLOSING_SECONDS = 1.0

_MOST_AROUND = 64 * 1024
"""Bytes of an answer before, between and after those of its body."""

_MOST_BEHIND = 64 * 1024 * 1024
"""Bytes of a body that whoever stands between the gateway and the wire may be given."""


_LENGTHS = {"content-length", "transfer-encoding"}


class LostEarlyError(Exception):
    """The connection was lost before the answer began, as happens to one that idled too long."""


class Connections(httpx.AsyncBaseTransport):
    """The connections to one source, at most `most` in use at once.

    `seconds` bounds the time to connect and each wait for bytes; the whole call is bounded by its caller. What is not
    used for `rest` seconds is closed.
    """

    def __init__(
        self, most: int, trusted: ssl.SSLContext, seconds: float, *, rest: float = _KEPT_ALIVE_SECONDS
    ) -> None:
        self._places = asyncio.Semaphore(most)
        self._trusted = trusted
        self._seconds = seconds
        self._rest = rest
        self._idle: defaultdict[Origin, list[_Connection]] = defaultdict(list)
        self._open: set[_Connection] = set()
        self._looking: dict[Origin, tuple[asyncio.Task[list[AddrInfoType]], float]] = {}
        self._closed = False

    async def send(self, outgoing: Outgoing, limit: int) -> Reply:
        """The answer, with a body of at most `limit` bytes; raises SourceFaultError and LostEarlyError."""
        message = outgoing.written()
        async with self._places:
            idle = self._idle[outgoing.origin]
            while idle:
                connection = idle.pop()
                if not connection.closing:
                    break
            else:
                connection = await self._connected(outgoing.origin)
            reply = await connection.exchange(message, limit)
            if not connection.closing:
                idle.append(connection)
            return reply

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The same for who stands between: it speaks httpx. Errors are those of httpx, without any text."""
        try:
            reply = await self.send(Outgoing.of(request), _MOST_BEHIND)
        except LostEarlyError:
            raise httpx.ReadError("") from None
        except SourceFaultError as error:
            raise _AS_HTTPX[error.fault.code]("") from None
        return httpx.Response(reply.status, headers=reply.headers, stream=httpx.ByteStream(reply.body))

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        connections = list(self._open)
        for connection in connections:
            connection.hang_up()
        if connections:
            await asyncio.wait([connection.gone for connection in connections], timeout=_CLOSING_SECONDS)

    async def _connected(self, origin: Origin) -> "_Connection":
        """A new connection; raises SourceFaultError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                found = await self._addresses(origin)
                socket = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS)
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, origin, self._seconds, self._rest),
                    sock=socket,
                    ssl=self._trusted if origin.secure else None,
                    server_hostname=origin.host if origin.secure else None,
                )
        except TimeoutError:
            raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time") from None
        except (OSError, RuntimeError, UnicodeError):  # of uvloop's sockets, of names too long for DNS
            raise SourceFaultError(FaultCode.DOWN, "no connection") from None
        if self._closed:
            connection.hang_up()
            raise SourceFaultError(FaultCode.DOWN, "no connection")
        if not connection.gone.done():
            self._open.add(connection)
        return connection

    async def _addresses(self, origin: Origin) -> list[AddrInfoType]:
        """Where the host is. All wait for one look, so that names that are slow to find keep one thread busy."""
        loop = asyncio.get_running_loop()
        looking, until = self._looking.get(origin, (None, 0.0))
        if looking is None or (looking.done() and (loop.time() >= until or _failed(looking))):
            looking = loop.create_task(_looked_up(origin))
            looking.add_done_callback(_failed)  # or the loop would report it where nobody waits any more
            self._looking[origin] = looking, loop.time() + _ADDRESSES_SECONDS
        return await asyncio.shield(looking)

    def lost(self, connection: "_Connection") -> None:
        """Forget a connection that is no more."""
        self._open.discard(connection)
        idle = self._idle[connection.origin]
        if connection in idle:
            idle.remove(connection)


async def _looked_up(origin: Origin) -> list[AddrInfoType]:
    return [*await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=SOCK_STREAM)]


def _failed(task: asyncio.Task[list[AddrInfoType]]) -> bool:
    return task.cancelled() or task.exception() is not None


_AS_HTTPX: dict[FaultCode, type[httpx.RequestError]] = {
    FaultCode.TIMEOUT: httpx.ReadTimeout,
    FaultCode.DOWN: httpx.ConnectError,
    FaultCode.GARBAGE: httpx.DecodingError,
    FaultCode.ERROR: httpx.LocalProtocolError,
}


class _Connection(asyncio.Protocol):
    """One connection. What the parser finds comes in by the methods named `on_…`."""

    def __init__(self, pool: Connections, origin: Origin, seconds: float, rest: float) -> None:
        self.origin = origin
        self._pool = pool
        self._seconds = seconds
        self._rest = rest
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is no more."""
        self._until = 0.0
        """The time of the loop at which the connection has rested too long, or bytes were waited for too long."""
        self._answer: asyncio.Future[Reply] | None = None
        """What is waited for; None: the connection rests."""
        self._limit = 0
        self._clean = False
        """Whether the answer ended as it said, the source keeps the connection open, and nothing came after it."""
        self._parser = httptools.HttpResponseParser(self)
        # What old servers get wrong, and what leaves no doubt where an answer ends.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._expect()

    @property
    def closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport.is_closing()

    async def exchange(self, message: bytes, limit: int) -> Reply:
        """Send a request and wait for its answer; raises SourceFaultError and LostEarlyError.

        A connection whose exchange did not end well is closed.
        """
        if self.closing:
            raise LostEarlyError
        self._limit = limit
        self._clean = False
        self._expect()
        self._answer = self._loop.create_future()
        self._until = self._loop.time() + self._seconds
        self._transport.write(message)
        try:
            return await self._answer
        finally:
            self._answer = None
            if self._clean:
                self._until = self._loop.time() + self._rest
            else:
                self.hang_up()

    def hang_up(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _expect(self) -> None:
        """Be ready for the start of an answer."""
        self._begun = self._ended = False
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._around = 0

    def _watch(self) -> None:
        """Look when the time is over. An exchange sets no timer of its own: most end long before their time does."""
        left = self._until - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(min(left, self._seconds, self._rest), self._watch)
        elif self._answer is None:
            self._transport.close()
        else:
            self._fail(SourceFaultError(FaultCode.TIMEOUT, "no answer in time"))

    def _fail(self, error: Exception) -> None:
        self._clean = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.hang_up()

    def _end(self, answer: asyncio.Future[Reply]) -> None:
        """The answer is there."""
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        answer.set_result(Reply(self._parser.get_status_code(), self._headers, body))

    # --- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._until = self._loop.time() + self._rest  # for who was given up in the moment of connecting
        self._watch()

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self._fail(LostEarlyError())  # nothing was asked
            return
        self._until = self._loop.time() + self._seconds
        self._around += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            reason = "the answer breaks off" if self._begun else "the answer is not HTTP"
            self._fail(SourceFaultError(FaultCode.GARBAGE, reason))
            return
        if self._size > self._limit:
            self._fail(SourceFaultError(FaultCode.GARBAGE, f"the answer is larger than {self._limit} bytes"))
        elif self._around > _MOST_AROUND:
            self._fail(SourceFaultError(FaultCode.GARBAGE, "the answer is not HTTP"))
        elif self._ended:
            self._end(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        answer = self._answer
        if answer is not None and not answer.done():
            if not self._begun:
                self._fail(LostEarlyError())
            elif exc is None and not self._headers.keys() & _LENGTHS:
                self._end(answer)  # a body without a length ends with the connection (RFC 9112, 6.3)
            else:
                self._fail(SourceFaultError(FaultCode.GARBAGE, "the answer breaks off"))
        self._timer.cancel()
        self._pool.lost(self)
        self.gone.set_result(None)
        del self._parser  # or the two would hold each other, and only the garbage collector could free them

    # --- what the parser finds

    def on_message_begin(self) -> None:
        if self._ended:
            raise ValueError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._begun:  # what follows a body in chunks is nobody's
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        self._begun = True

    def on_body(self, body: bytes) -> None:
        self._around = 0
        self._size += len(body)
        if self._size <= self._limit:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # the answer proper follows (RFC 9110, 15.2)
            self._expect()
        else:
            self._ended, self._clean = True, self._parser.should_keep_alive()
