"""How a source is reached: over HTTP, or as a database. A question is what either is asked for one lookup.

What makes a call survive (time, pace, breaker, retries) is around this, in `connectors.upstream`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from connectors.answers import FaultCode, Ground, SourceFaultError
from connectors.credentials import Held, Secrets
from connectors.envelope import Rows, open_envelope
from connectors.message import Outgoing, Reply
from connectors.request import Asking, RequestTemplate
from connectors.sealing import check_secrets
from connectors.source import SourceFile, TokenFile
from connectors.tokens import Tokens
from connectors.transport import Tls, exchange, open_transport

Clock = Callable[[], datetime]
Call = Callable[[Held], Awaitable[Rows]]

_PROBE_SECONDS = 1.0
_LONGEST_PAUSE = 60.0


class Question(Protocol):
    """What is asked for one lookup. `ground` names the parts of a ground that the source is told."""

    ground: frozenset[str]

    async def rows(self, asked: Mapping[str, Any], ground: Ground, *, idempotent: bool, until: float) -> Rows:
        """The rows of one answer; raises SourceFaultError. `until` is the time of the loop."""
        ...


class Wire(Protocol):
    """A source as it is reached."""

    def question(self, request: Asking, key: str) -> Question:
        """What one part of the file asks; raises SourceKeyError."""
        ...

    async def accepts(self) -> bool:
        """Whether the source takes a connection; nothing is asked of it."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


def open_wire(
    file: SourceFile,
    *,
    url: str,
    environment: Mapping[str, str],
    transport: httpx.AsyncBaseTransport | None,
    trusted: ssl.SSLContext,
    clock: Clock,
) -> Wire:
    """The wire of a source; raises SourceKeyError.

    `environment` is what its secrets refer to; `trusted` is whom it trusts where its file says nothing.
    """
    secrets = Secrets(file.secrets, environment)
    if file.database is not None:
        # SQLAlchemy costs a start a fifth of a second, so it is loaded for who has a database.
        from connectors.sql import DatabaseWire

        return DatabaseWire(file, secrets, clock)
    return HttpWire(file, url, secrets, transport or _transport(file, secrets, trusted), clock)


def _transport(file: SourceFile, secrets: Secrets, trusted: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    held = secrets.current()
    pem = {
        part: held[f"secrets.{name}"].encode()
        for part, name in msgspec.structs.asdict(file.tls).items()
        if name is not None
    }
    return open_transport(file.concurrency, Tls(**pem) if pem else trusted)


# --- HTTP


class HttpWire:
    """A source that is asked over HTTP."""

    def __init__(
        self,
        file: SourceFile,
        url: str,
        secrets: Secrets,
        transport: httpx.AsyncBaseTransport,
        clock: Clock,
    ) -> None:
        self.file = file
        self.url = url
        self.secrets = secrets
        self.transport = transport
        self.clock = clock
        if file.sealing is not None:
            check_secrets(file.sealing, secrets.current())
        self.tokens = None if file.token is None else Tokens(file.token, self._fetch_token(file.token), clock)

    def question(self, request: Asking, key: str) -> "HttpQuestion":
        """What one part of the file asks; raises SourceKeyError."""
        return HttpQuestion(self, RequestTemplate(self.file, request, key, url=self.url))

    async def accepts(self) -> bool:
        """Whether the source takes a connection; nothing is asked of it."""
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except OSError:  # TimeoutError is one
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def aclose(self) -> None:
        """Close every connection."""
        if self.tokens is not None:
            await self.tokens.aclose()
        await self.transport.aclose()

    def _fetch_token(self, token: TokenFile) -> Callable[[Held], Awaitable[Reply]]:
        template = RequestTemplate(self.file, token, "token", url=token.url or self.url)

        async def fetch(held: Held) -> Reply:
            try:
                async with asyncio.timeout(self.file.timeout_seconds):
                    return await exchange(
                        self.transport,
                        lambda: template.prepare({}, Ground(""), self.clock(), held),
                        idempotent=True,
                        limit=self.file.max_body_bytes,
                    )
            except TimeoutError:
                raise SourceFaultError(FaultCode.TIMEOUT, "no token in time") from None

        return fetch


class HttpQuestion:
    """A request template and the wire that it goes over."""

    def __init__(self, wire: HttpWire, template: RequestTemplate) -> None:
        self._wire = wire
        self.template = template
        self.ground = template.ground

    async def rows(self, asked: Mapping[str, Any], ground: Ground, *, idempotent: bool, until: float) -> Rows:
        """The rows of one answer; raises SourceFaultError.

        Refused secrets are tried anew with their successors, a refused token with a new one: what is refused
        was not done.
        """
        wire = self._wire
        if wire.tokens is None and wire.secrets.fixed:
            return await self._exchange(asked, ground, idempotent, until, wire.secrets.current())
        call = partial(self._exchange, asked, ground, idempotent, until)
        return await wire.secrets.tried(call if wire.tokens is None else self._with_token(wire.tokens, call))

    def _with_token(self, tokens: Tokens, call: Call) -> Call:
        async def with_token(held: Held) -> Rows:
            token = await tokens.current(held)
            try:
                return await call({**held, "token.value": token.value})
            except SourceFaultError as error:
                if error.fault.code is not FaultCode.REFUSED or not tokens.refused(held, token):
                    raise
            token = await tokens.current(held)
            return await call({**held, "token.value": token.value})

        return with_token

    async def _exchange(
        self, asked: Mapping[str, Any], ground: Ground, idempotent: bool, until: float, held: Held
    ) -> Rows:
        wire = self._wire
        asked_at = wire.clock()
        build = partial(self._request, asked, ground, held, until)
        reply = await exchange(wire.transport, build, idempotent=idempotent, limit=wire.file.max_body_bytes)
        try:
            return open_envelope(reply, wire.file.envelope, asked_at, wire.file.sealing, held)
        except SourceFaultError as error:
            if error.busy:
                error.pause = _wished_pause(reply.headers.get("retry-after"), asked_at)
            raise

    def _request(self, asked: Mapping[str, Any], ground: Ground, held: Held, until: float) -> Outgoing:
        wire = self._wire
        request = self.template.prepare(asked, ground, wire.clock(), held)
        if wire.file.deadline_header is not None:
            left = min(until - asyncio.get_running_loop().time(), wire.file.timeout_seconds)
            request.headers[wire.file.deadline_header] = str(max(int(left * 1000), 0))
        return request


def _wished_pause(retry_after: str | None, now: datetime) -> float | None:
    """The seconds of a Retry-After header (RFC 9110, 10.2.3), at most a minute; None: there is none that can be read."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        seconds = float(retry_after)
    else:
        try:
            seconds = (parsedate_to_datetime(retry_after).astimezone(UTC) - now).total_seconds()
        except ValueError:
            return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE)
