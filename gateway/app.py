"""The service: the only wiring. Nothing else builds a client, reads settings or opens a file."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connectors.fetch import Sources
from connectors.sandbox.issuer import CLIENTS
from gateway import record
from gateway.alarms import Alarms
from gateway.artefacts import Artefacts
from gateway.authenticate import Authenticator, Unauthenticated
from gateway.errors import Code, GatewayError, error_body, internal, log_text
from gateway.examples import EXAMPLES, PERSONAS
from gateway.explorer.app import LoginHints, explorer_routes
from gateway.gather import Obligations
from gateway.history import History
from gateway.keysets import KeySet, KeysUnavailableError
from gateway.ledger import LedgerFailure, SqliteLedger, load_or_create_key
from gateway.limits import Limits
from gateway.operation import GRAPHQL_RESPONSE, JSON, Headers, Operation, accepted_media_type, read
from gateway.policy import Policy, make_policy, require_no_errors
from gateway.quota import AskedToday, Quotas, restore
from gateway.reload import Reload
from gateway.river import PROVINCE_TIME, Answered, River
from gateway.settings import Settings
from gateway.tokens import TokenError, fetch_token
from policies.bundle import Bundle, load
from policies.obligations import HANDLERS, Handlers

_LOG = logging.getLogger("gateway")

BODY_SECONDS = 10.0
"""How long a request's body may take to arrive, in seconds."""


class GraphQLEndpoint:
    """`/graphql` as a bare ASGI application: authenticate, read, answer; every failure by one door."""

    def __init__(
        self, authenticator: Authenticator, river: River, limits: Limits, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._authenticator = authenticator
        self._river = river
        self._limits = limits
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        begun = time.perf_counter()
        media_type, headers = _media_type(scope["headers"]), {}
        try:
            if scope["method"] not in ("GET", "POST"):
                raise GatewayError(Code.METHOD_NOT_ALLOWED)
            authorization = _header(scope, b"authorization")
            caller = await self._authenticator.authenticate(authorization)
            answered = await self._river.answer(caller, await self._read(scope, receive))
            status = 200
        except Exception as error:  # noqa: BLE001  # the one door: nothing leaves but what the table of errors says
            failure = _failure(error)
            status, headers, answered = (
                failure.status,
                failure.headers,
                Answered(error_body([failure]), (failure,)),
            )
        await _send(send, status, media_type, headers, answered.body)
        for failure in answered.failures:
            _LOG.log(logging.ERROR if failure.status >= 500 else logging.INFO, log_text(failure))
        milliseconds = round((time.perf_counter() - begun) * 1000, 2)
        _LOG.info("request", extra={"fields": {"status": status, "ms": milliseconds}})

    async def _read(self, scope: Scope, receive: Receive) -> Operation:
        try:
            async with asyncio.timeout(self._body_seconds):
                return await read(
                    scope["method"], scope["headers"], scope["query_string"], receive, self._limits
                )
        except TimeoutError:
            raise GatewayError(Code.BODY_TIMEOUT, limit=f"{self._body_seconds:g}") from None


def _media_type(headers: Headers) -> str:
    """The media type of the answer; also of the one that says that none is acceptable."""
    try:
        return accepted_media_type(headers)
    except GatewayError:
        return GRAPHQL_RESPONSE


def _header(scope: Scope, name: bytes) -> str | None:
    values = [value for key, value in scope["headers"] if key == name]
    # Two headers of this name are one attempt to be two callers.
    return values[0].decode("latin-1") if len(values) == 1 else None


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


# Answers about subjects are for the caller that asked, once.
_NOT_KEPT = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


async def _send(send: Send, status: int, media_type: str, headers: Mapping[str, str], body: bytes) -> None:
    fields = {
        "content-type": f"{media_type}; charset=utf-8",
        "content-length": str(len(body)),
        **_NOT_KEPT,
        **{name.lower(): value for name, value in headers.items()},
    }
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def bundle_directory(name: str) -> Traversable:
    """Where an installed bundle is, or the directory of that name."""
    installed = files("policies") / "bundles" / name
    return installed if installed.is_dir() else Path(name)


def load_bundle(name: str) -> Bundle:
    """An installed bundle by name, or the bundle in a directory."""
    return load(bundle_directory(name))


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def create_app(
    settings: Settings,
    *,
    environment: Mapping[str, str] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    ledger_vfs: str | None = None,
    clock: Callable[[], datetime] = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
    body_seconds: float = BODY_SECONDS,
    handlers: Handlers = HANDLERS,
) -> Starlette:
    """The gateway as an ASGI application, with everything open; it closes what it opened when it is stopped.

    `transport` stands in for the network to the sources, `ledger_vfs` for SQLite's file layer, `clock` for
    the time of inquiries, `monotonic` for the seconds by which issuers' keys age; `body_seconds` is how long a
    request's body may take; `handlers` discharge the obligations. `app.state.reload` loads the policy anew when asked. Raises BundleError,
    SourceFileError, LedgerFailure or ValueError, each naming what is wrong.
    """

    def prepare(bundle: Bundle) -> Policy:
        if settings.policy.check_on_load:
            require_no_errors(bundle, clock().astimezone(PROVINCE_TIME).date())
        return make_policy(bundle, settings.limits, settings.policy.visibility, handlers)

    policy = prepare(load_bundle(settings.policy.bundle))
    sources = _sources(settings, os.environ if environment is None else environment, transport)
    key = load_or_create_key(Path(settings.ledger.key_file))
    ledger = SqliteLedger.open(Path(settings.ledger.path), key, vfs=ledger_vfs)
    history = History(Path(settings.ledger.path), Path(f"{settings.ledger.path}.index"))
    keys_client = httpx.AsyncClient(timeout=5, trust_env=False)
    token_keys = KeySet(settings.identity.jwks_url, keys_client, clock=monotonic)
    trusted = {a.issuer: KeySet(a.jwks_url, keys_client, clock=monotonic) for a in settings.authorizations}
    asked, alarms = AskedToday(), Alarms()
    river = River(
        policy=policy,
        sources=sources,
        artefacts=Artefacts(trusted),
        ledger=ledger,
        history=history,
        quotas=Quotas(asked, key),
        obligations=Obligations(handlers, alarms),
        ledger_key=key,
        deadline=settings.sources.deadline,
        max_subjects=settings.max_subjects,
        clock=clock,
    )
    authenticator = Authenticator(
        settings.identity.issuer,
        settings.identity.audience,
        token_keys,
        lambda: river.policy.bundle.callers,
        clock=lambda: clock().timestamp(),
    )

    directory = bundle_directory(settings.policy.bundle)
    reload = Reload(river, directory, prepare, settings.policy.watch_seconds)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        today = clock().astimezone(PROVINCE_TIME).date()
        path = Path(settings.ledger.path)
        await asyncio.to_thread(restore, asked, path, key, river.policy.bundle, today, PROVINCE_TIME)
        reloading = asyncio.create_task(reload.run())
        try:
            yield
        finally:
            reloading.cancel()
            await asyncio.wait([reloading])
            # The ledger last: whatever is still being answered is recorded before.
            for keyset in (token_keys, *trusted.values()):
                await keyset.close()
            await keys_client.aclose()
            await sources.aclose()
            await history.aclose()
            await ledger.aclose()

    async def ready(_request: Request) -> Response:
        healthy = ledger.healthy or await _recovers(ledger)
        body = {
            "ready": healthy,
            "ledger": "ok" if healthy else "failed",
            "policy": river.policy.bundle.hash,
            "alarms": alarms.count,
        }
        if reload.refused is not None:
            body["policy_refused"] = reload.refused
        return JSONResponse(body, 200 if healthy else 503, headers=_NOT_KEPT)

    routes = [
        Route("/graphql", GraphQLEndpoint(authenticator, river, settings.limits, body_seconds)),
        Route("/healthz", _alive),
        Route("/readyz", ready),
    ]
    if settings.explorer.enabled:
        routes += _explorer(settings)
    failures: Mapping[Any, Any] = {HTTPException: _http_error, Exception: _http_error}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=failures)
    # An address is right or it is not there: a redirect would repeat a POST, and has no JSON body.
    app.router.redirect_slashes = False
    app.state.reload = reload
    return app


def _sources(
    settings: Settings, environment: Mapping[str, str], transport: httpx.AsyncBaseTransport | None
) -> Sources:
    with as_file(files("connectors") / "sources") as installed:
        return Sources.load(
            Path(settings.sources.directory) if settings.sources.directory else installed,
            urls=settings.sources.urls,
            secrets=environment,
            transport=transport,
            cache_entries=settings.sources.cache_entries,
        )


async def _recovers(ledger: SqliteLedger) -> bool:
    """Whether a ledger that failed writes again. Nobody else would find out: a replica that is not ready is not asked."""
    try:
        await ledger.append(record.PROBE)
    except LedgerFailure:
        return False
    return True


async def _alive(_request: Request) -> Response:
    return JSONResponse({"alive": True}, headers=_NOT_KEPT)


def _explorer(settings: Settings) -> list[Route]:
    issuer = settings.explorer.demo_issuer

    async def token(request: Request) -> Response:
        persona = request.query_params.get("persona", "")
        # Another site's page must not collect tokens, synthetic as they are.
        foreign = request.headers.get("sec-fetch-site", "same-origin") != "same-origin"
        if foreign or persona not in PERSONAS:
            return _error_response(GatewayError(Code.NOT_FOUND))
        try:
            developer = CLIENTS["developer"]
            given = await fetch_token(issuer, "developer", developer.secret, PERSONAS[persona])
        except TokenError:
            return _error_response(GatewayError(Code.IDENTITY_UNAVAILABLE))
        return JSONResponse({"access_token": given}, headers={"cache-control": "no-store"})

    login = LoginHints(personas=tuple(PERSONAS)) if issuer else None
    routes = explorer_routes(EXAMPLES, login)
    return [*routes, Route("/explorer/token", token)] if issuer else routes


async def _http_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        code = Code.METHOD_NOT_ALLOWED if error.status_code == 405 else Code.NOT_FOUND
        return _error_response(GatewayError(code, headers=error.headers))
    failure = internal(error)
    _LOG.error(log_text(failure))
    return _error_response(failure)


def _error_response(failure: GatewayError) -> Response:
    headers = {**_NOT_KEPT, **failure.headers}
    return Response(error_body([failure]), failure.status, headers, media_type=JSON)
