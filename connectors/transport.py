"""The wire: one request out, one bounded answer in, every failure as a fault.

The seam is `httpx.AsyncBaseTransport`. The transport that is opened here is the gateway's own connections; it is handed
a request as it is sent, and no `httpx.Request` or `httpx.Response` is made. Any other is called without
`httpx.AsyncClient`: the client logs the address of every request, follows redirects and keeps cookies, and none of that
may happen to a lookup.
"""

import logging
import os
import ssl
from collections.abc import Callable
from functools import partial

import httpx
import msgspec

from connectors.answers import FaultCode, SourceFaultError
from connectors.connection import Connections, LostEarlyError
from connectors.message import Outgoing, Reply
from connectors.problems import SourceKeyError


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
    return Connections(concurrency, context, seconds)


def silence_wire_logs() -> None:
    """Keep the libraries from logging addresses, headers and keys: all may hold identifiers."""
    for name in ("httpx", "httpcore", "aiocache"):
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
    once = transport.send if isinstance(transport, Connections) else partial(_over_httpx, transport)
    try:
        return await once(build(), limit)
    except LostEarlyError:
        if not idempotent:
            raise SourceFaultError(FaultCode.DOWN, "connection lost before an answer") from None
    try:
        return await once(build(), limit)
    except LostEarlyError:
        raise SourceFaultError(FaultCode.DOWN, "connection lost twice before an answer") from None


async def _over_httpx(transport: httpx.AsyncBaseTransport, outgoing: Outgoing, limit: int) -> Reply:
    """The same over any transport of httpx."""
    try:
        response = await transport.handle_async_request(outgoing.of_httpx())
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError):
        raise LostEarlyError from None
    except httpx.TimeoutException:
        raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time") from None
    except httpx.DecodingError:
        raise SourceFaultError(FaultCode.GARBAGE, "the answer is not HTTP") from None
    except httpx.HTTPError:
        raise SourceFaultError(FaultCode.DOWN, "no connection") from None
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport answered with a stream that cannot be awaited")
    try:
        body = await _read(stream, limit)
    except httpx.TimeoutException:
        raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time") from None
    except httpx.HTTPError:
        raise SourceFaultError(FaultCode.GARBAGE, "the answer breaks off") from None
    finally:
        await stream.aclose()
    return Reply(response.status_code, response.headers, body)


async def _read(stream: httpx.AsyncByteStream, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            raise SourceFaultError(FaultCode.GARBAGE, f"the answer is larger than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
