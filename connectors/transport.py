"""The wire: one request out, one bounded answer in, every failure as a fault.

The seam is `httpx.AsyncBaseTransport`. The transport is called without `httpx.AsyncClient`: the client logs
the address of every request, follows redirects and keeps cookies, and none of that may happen to a lookup.
"""

import logging
import ssl
from collections.abc import Callable

import httpx
import msgspec

from connectors.answers import FaultCode, SourceFaultError

_KEPT_ALIVE_SECONDS = 4.0  # below the five seconds after which common servers close an idle connection


class Reply(msgspec.Struct, frozen=True):
    """An answer of a source, read to its end."""

    status: int
    headers: httpx.Headers
    body: bytes


class _LostEarlyError(Exception):
    """The connection was lost before the answer began, as happens to one that idled too long."""


def certificates() -> ssl.SSLContext:
    """The trusted certificates; made once, because it takes tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


def open_transport(concurrency: int, trusted: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    """A transport of its own for a source, so that no source can use up another's connections."""
    limits = httpx.Limits(
        max_connections=concurrency,
        max_keepalive_connections=concurrency,
        keepalive_expiry=_KEPT_ALIVE_SECONDS,
    )
    return httpx.AsyncHTTPTransport(verify=trusted, limits=limits, trust_env=False)


def silence_wire_logs() -> None:
    """Keep the HTTP libraries from logging addresses and headers: both may hold identifiers."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def exchange(
    transport: httpx.AsyncBaseTransport,
    build: Callable[[], httpx.Request],
    *,
    idempotent: bool,
    limit: int,
) -> Reply:
    """Send the request that `build` makes and read at most `limit` bytes of its answer.

    Sent again once, and only if idempotent, when a connection is lost before the answer begins. Raises
    SourceFaultError; errors of httpx carry addresses, so they end here.
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


async def _once(transport: httpx.AsyncBaseTransport, request: httpx.Request, limit: int) -> Reply:
    try:
        response = await transport.handle_async_request(request)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError):
        raise _LostEarlyError from None
    except httpx.TimeoutException:
        raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time") from None
    except httpx.HTTPError:
        raise SourceFaultError(FaultCode.DOWN, "no connection") from None
    try:
        body = await _read(response, limit)
    except httpx.HTTPError:
        raise SourceFaultError(FaultCode.GARBAGE, "the answer breaks off") from None
    finally:
        await response.aclose()
    return Reply(response.status_code, response.headers, body)


async def _read(response: httpx.Response, limit: int) -> bytes:
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the transport answered with a stream that cannot be awaited")
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.stream:
        size += len(chunk)
        if size > limit:
            raise SourceFaultError(FaultCode.GARBAGE, f"the answer is larger than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
