"""`/graphql` as a bare ASGI application: authenticate, read, answer; every failure by one door."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from gateway.authenticate import Authenticator, Unauthenticated
from gateway.errors import Code, GatewayError, error_body, internal, log_text
from gateway.keysets import KeysUnavailableError
from gateway.limits import Limits
from gateway.logs import RequestLines
from gateway.metrics import RequestCounts
from gateway.operation import (
    GRAPHQL_RESPONSE,
    JSON,
    Headers,
    Operation,
    accepted_media_type,
    read,
    usual_media_type,
)
from gateway.registered import NamedDocuments
from gateway.river import Answered, Tell
from policies.caller import Caller

T = TypeVar("T")

_LOG = logging.getLogger("gateway")

BODY_SECONDS = 10.0
"""How long a request's body may take to arrive, in seconds."""

RawHeaders = list[tuple[bytes, bytes]]
"""Header fields as ASGI takes them."""


class Reply(NamedTuple):
    """What goes back over HTTP, and the failures in it for the log."""

    status: int
    headers: RawHeaders
    body: bytes
    failures: tuple[GatewayError, ...]


class Answers(Protocol):
    """What answers: the river."""

    async def answer(self, caller: Caller, operation: Operation) -> Answered:
        """The answer to an operation."""
        ...

    def knows(self, body: bytes) -> bool:
        """Whether the answer to this request may stand."""
        ...

    def again(self, caller: Caller, body: bytes, tell: Tell) -> bool:
        """Answer a request whose answer stands, at once; False: nothing is done."""
        ...


class GraphQLEndpoint:
    """Takes a request from ASGI to the river and its answer back; `lines` is the log of requests, None: there is none."""

    def __init__(
        self,
        authenticator: Authenticator,
        river: Answers,
        documents: NamedDocuments,
        limits: Limits,
        counts: RequestCounts,
        lines: RequestLines | None = None,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._authenticator = authenticator
        self._river = river
        self._documents = documents
        self._limits = limits
        self._counts = counts
        self._lines = lines
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        begun = perf_counter()
        reply = await self.reply(scope["method"], scope["headers"], scope["query_string"], receive)
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})
        self.sent(reply, perf_counter() - begun)

    async def reply(self, method: str, headers: Headers, query_string: bytes, receive: Receive) -> Reply:
        """The reply to one request, whose body `receive` brings as in ASGI."""
        try:
            if method not in ("GET", "POST"):
                raise GatewayError(Code.METHOD_NOT_ALLOWED)
            caller = await self._caller(headers)
            operation = await self._read(method, headers, query_string, receive)
            answered = await self._river.answer(caller, operation)
        except Exception as error:  # noqa: BLE001  # the one door: nothing leaves but what the table of errors says
            return _refusal(error, headers)
        return _reply(operation.media_type, answered)

    def again(self, headers: Headers, body: bytes, tell: Callable[[Reply], None]) -> bool:
        """Answer a POST whose answer stands, without waiting for anything; False: ask `reply`.

        `tell` is called with the reply, once the inquiry is recorded.
        """
        if not self._river.knows(body):
            return False
        try:
            given = [value for name, value in headers if name == b"authorization"]
            caller = self._authenticator.known(given[0]) if len(given) == 1 else None
            media_type = usual_media_type(headers, self._limits)
            if caller is None or media_type is None:
                return False
            return self._river.again(caller, body, partial(_tell, tell, headers, media_type))
        except Exception as error:  # noqa: BLE001  # the one door, as above
            tell(_refusal(error, headers))
            return True

    def sent(self, reply: Reply, seconds: float) -> None:
        """Log and count a reply that was sent, so many seconds after its request came."""
        code = "OK"
        if reply.failures:
            code = reply.failures[0].code.value
            _log(reply.failures)
        self._counts.answered(reply.status, code, seconds)
        if self._lines is not None:
            self._lines.add(reply.status, seconds * 1000)

    async def _caller(self, headers: Headers) -> Caller:
        given = [value for name, value in headers if name == b"authorization"]
        # Two headers of this name are one attempt to be two callers.
        authorization = given[0] if len(given) == 1 else None
        if authorization is None:
            return await self._authenticator.authenticate(None)
        caller = self._authenticator.known(authorization)
        return caller or await self._authenticator.authenticate(authorization.decode("latin-1"))

    async def _read(self, method: str, headers: Headers, query_string: bytes, receive: Receive) -> Operation:
        """The operation, within the time that a body may take; a body that is there already starts no clock."""
        reading = read(method, headers, query_string, receive, self._limits, self._documents.text)
        try:
            waits_for = reading.send(None)
        except StopIteration as done:
            operation: Operation = done.value
            return operation
        try:
            async with asyncio.timeout(self._body_seconds):
                return await _Begun(reading, waits_for)
        except TimeoutError:
            raise GatewayError(Code.BODY_TIMEOUT, limit=f"{self._body_seconds:g}") from None


class _Begun(Awaitable[T]):
    """A coroutine whose first step was taken and waits for something; awaited, it goes on from there."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    given = yield waits_for
                except BaseException as error:  # noqa: BLE001  # a cancellation is the coroutine's to hear of
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(given)
            except StopIteration as done:
                result: T = done.value
                return result


def _tell(
    tell: Callable[[Reply], None], headers: Headers, media_type: str, outcome: Answered | Exception
) -> None:
    tell(_refusal(outcome, headers) if isinstance(outcome, Exception) else _reply(media_type, outcome))


def _reply(media_type: str, answered: Answered) -> Reply:
    return Reply(200, _headers(media_type, answered.body), answered.body, answered.failures)


def _refusal(error: Exception, headers: Headers) -> Reply:
    failure = _failure(error)
    body = error_body([failure])
    fields = _headers(_media_type(headers), body)
    return Reply(failure.status, [*fields, *_raw(failure)], body, (failure,))


def _log(failures: tuple[GatewayError, ...]) -> None:
    for failure in failures:
        _LOG.log(logging.ERROR if failure.status >= 500 else logging.INFO, log_text(failure))


def _failure(error: Exception) -> GatewayError:
    match error:
        case GatewayError():
            return error
        case Unauthenticated():
            return GatewayError(Code.UNAUTHENTICATED, headers={"WWW-Authenticate": error.challenge})
        case KeysUnavailableError():
            return GatewayError(Code.IDENTITY_UNAVAILABLE)
        case _:
            return internal(error)


def _media_type(headers: Headers) -> str:
    """The media type of a failure; also of the one that says that none is acceptable."""
    try:
        return accepted_media_type(headers)
    except GatewayError:
        return GRAPHQL_RESPONSE


_CONTENT_TYPE: Final = {
    name: (b"content-type", f"{name}; charset=utf-8".encode()) for name in (GRAPHQL_RESPONSE, JSON)
}
# Answers about subjects are for the caller that asked, once.
NOT_KEPT: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_NOT_KEPT: Final = tuple((name.encode(), value.encode()) for name, value in NOT_KEPT.items())


def _headers(media_type: str, body: bytes) -> RawHeaders:
    return [_CONTENT_TYPE[media_type], (b"content-length", b"%d" % len(body)), *_NOT_KEPT]


def _raw(failure: GatewayError) -> RawHeaders:
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in failure.headers.items()
    ]
