"""The wire: one request out, one bounded answer in, every failure as a fault.

The seam is `httpx.AsyncBaseTransport`. The transport that is opened here is aiohttp, whose pool costs a tenth of
httpx's own; it is handed the parts of a request, and no `httpx.Request` or `httpx.Response` is made. Any other is called
without `httpx.AsyncClient`: the client logs the address of every request, follows redirects and keeps cookies, and
none of that may happen to a lookup.
"""

import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable

import aiohttp
import httpx
import msgspec
import yarl

from connectors.answers import FaultCode, SourceFaultError
from connectors.problems import SourceKeyError

_KEPT_ALIVE_SECONDS = 4.0  # below the five seconds after which common servers close an idle connection
_CHUNK = 64 * 1024


class Outgoing(msgspec.Struct, frozen=True):
    """A request as it is sent; whoever sends it adds Host and Content-Length."""

    method: str
    url: httpx.URL
    headers: dict[str, str]
    content: bytes | None = None

    def of_httpx(self) -> httpx.Request:
        """The same for a transport of httpx."""
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        return httpx.Request(self.method, self.url, headers=headers, content=self.content)


class Reply(msgspec.Struct, frozen=True):
    """An answer of a source, read to its end."""

    status: int
    headers: httpx.Headers
    body: bytes


class Tls(msgspec.Struct, frozen=True):
    """Whom to trust and who the gateway is, as PEM texts.

    With `ca` these authorities alone are trusted, without it the usual public ones. `certificate` (with the
    chain behind it) and its `key` identify the gateway to a source that demands it.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None

    def __repr__(self) -> str:
        # The default text would carry the private key into logs and tracebacks.
        return "Tls()"


class _LostEarlyError(Exception):
    """The connection was lost before the answer began, as happens to one that idled too long."""


def certificates(tls: Tls | None = None) -> ssl.SSLContext:
    """The context of verified connections; raises SourceKeyError under `tls.…` for what is no certificate or key.

    It takes tens of milliseconds when the public authorities are read, so it is shared where `tls` says nothing.
    """
    tls = tls or Tls()
    if tls.ca is None:
        context = httpx.create_ssl_context(trust_env=False)
    else:
        try:
            context = ssl.create_default_context(cadata=tls.ca.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise SourceKeyError("tls.ca", "it holds no certificate", "give PEM text") from None
    if tls.certificate is not None:
        try:
            _present(context, tls.certificate + b"\n" + (tls.key or b""))
        except (ssl.SSLError, ValueError):
            raise SourceKeyError(
                "tls.certificate", "certificate and key do not fit, or are none", "give PEM texts of one pair"
            ) from None
    return context


def _present(context: ssl.SSLContext, pair: bytes) -> None:
    """Load certificate and key, which the ssl module reads from a file only: one that is never on a disk."""
    descriptor = os.memfd_create("certificate")
    with os.fdopen(descriptor, "wb") as file:
        file.write(pair)
        file.flush()
        # Without a password callback OpenSSL would ask for one at the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=str)


def open_transport(
    concurrency: int, trusted: ssl.SSLContext | Tls | None = None, *, seconds: float = 30.0
) -> httpx.AsyncBaseTransport:
    """A transport of its own for a source, so that no source can use up another's connections.

    `seconds` bounds the time to connect and each wait for bytes; the whole call is bounded by its caller.
    """
    context = trusted if isinstance(trusted, ssl.SSLContext) else certificates(trusted)
    return _Transport(concurrency, context, seconds)


class _Transport(httpx.AsyncBaseTransport):
    """aiohttp behind the seam: no redirects, no cookies, no proxies, no decompression, nothing from the environment."""

    def __init__(self, concurrency: int, trusted: ssl.SSLContext, seconds: float) -> None:
        self._concurrency = concurrency
        self._trusted = trusted
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        # Not before the first request: a session belongs to a running loop.
        connector = aiohttp.TCPConnector(
            limit=self._concurrency, ssl=self._trusted, keepalive_timeout=_KEPT_ALIVE_SECONDS
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            timeout=self._timeout,
        )
        # Whether a request may be sent again is said by the file of the source and decided in `exchange`.
        session._retry_connection = False
        return session

    async def begin(self, outgoing: Outgoing) -> "_Begun":
        """Send the request; errors are those of httpx, without any text."""
        if self._session is None:
            self._session = self._open()
        try:
            response = await self._session.request(
                outgoing.method,
                yarl.URL(str(outgoing.url), encoded=True),
                headers=outgoing.headers,
                data=outgoing.content or None,
                allow_redirects=False,
            )
        except aiohttp.ConnectionTimeoutError:
            raise httpx.ConnectTimeout("") from None
        except TimeoutError:
            raise httpx.ReadTimeout("") from None
        except aiohttp.ClientConnectorError:
            raise httpx.ConnectError("") from None
        except aiohttp.ClientResponseError:
            raise httpx.DecodingError("") from None
        except (aiohttp.ClientError, OSError):
            raise httpx.ReadError("") from None
        return response.status, httpx.Headers(response.raw_headers), _Body(response)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The same for who stands between: it speaks httpx."""
        outgoing = Outgoing(request.method, request.url, dict(request.headers), request.content)
        status, headers, body = await self.begin(outgoing)
        return httpx.Response(status, headers=headers, stream=body)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


_Begun = tuple[int, httpx.Headers, httpx.AsyncByteStream]
"""Status and headers of an answer, and its body as it arrives."""


class _Body(httpx.AsyncByteStream):
    """The body as it arrives; what is not read to its end closes the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_chunked(_CHUNK):
                yield chunk
        except TimeoutError:
            raise httpx.ReadTimeout("") from None
        except (aiohttp.ClientError, OSError):
            raise httpx.ReadError("") from None

    async def aclose(self) -> None:
        self._response.close()


def silence_wire_logs() -> None:
    """Keep the libraries from logging addresses, headers and keys: all may hold identifiers."""
    for name in ("httpx", "httpcore", "aiohttp", "aiocache"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def exchange(
    transport: httpx.AsyncBaseTransport,
    build: Callable[[], Outgoing],
    *,
    idempotent: bool,
    limit: int,
) -> Reply:
    """Send the request that `build` makes and read at most `limit` bytes of its answer.

    Sent again once, and only if idempotent, when a connection is lost before the answer begins. Raises
    SourceFaultError; errors of the libraries carry addresses, so they end here.
    """
    try:
        return await _once(transport, build(), limit)
    except _LostEarlyError:
        if not idempotent:
            raise SourceFaultError(FaultCode.DOWN, "connection lost before an answer") from None
    try:
        return await _once(transport, build(), limit)
    except _LostEarlyError:
        raise SourceFaultError(FaultCode.DOWN, "connection lost twice before an answer") from None


async def _once(transport: httpx.AsyncBaseTransport, outgoing: Outgoing, limit: int) -> Reply:
    try:
        status, headers, stream = await _begun(transport, outgoing)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError):
        raise _LostEarlyError from None
    except httpx.TimeoutException:
        raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time") from None
    except httpx.DecodingError:
        raise SourceFaultError(FaultCode.GARBAGE, "the answer is not HTTP") from None
    except httpx.HTTPError:
        raise SourceFaultError(FaultCode.DOWN, "no connection") from None
    try:
        body = await _read(stream, limit)
    except httpx.TimeoutException:
        raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time") from None
    except httpx.HTTPError:
        raise SourceFaultError(FaultCode.GARBAGE, "the answer breaks off") from None
    finally:
        await stream.aclose()
    return Reply(status, headers, body)


async def _begun(transport: httpx.AsyncBaseTransport, outgoing: Outgoing) -> _Begun:
    if isinstance(transport, _Transport):
        return await transport.begin(outgoing)
    response = await transport.handle_async_request(outgoing.of_httpx())
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the transport answered with a stream that cannot be awaited")
    return response.status_code, response.headers, response.stream


async def _read(stream: httpx.AsyncByteStream, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            raise SourceFaultError(FaultCode.GARBAGE, f"the answer is larger than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
