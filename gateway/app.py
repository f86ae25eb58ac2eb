"""The service: the only wiring. Nothing else builds a client, reads settings or opens a file."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import connectors
from connectors.fetch import Sources
from connectors.sandbox.issuer import CLIENTS
from connectors.shared_cache import SharedCache
from gateway import record
from gateway.alarms import Alarms
from gateway.artefacts import Artefacts
from gateway.authenticate import Authenticator
from gateway.endpoint import BODY_SECONDS, NOT_KEPT, GraphQLEndpoint
from gateway.errors import Code, GatewayError, error_body, internal, log_text
from gateway.examples import EXAMPLES, PERSONAS
from gateway.explorer.app import LoginHints, explorer_routes
from gateway.history import History
from gateway.keysets import KeySet
from gateway.ledger import LedgerFailure, SqliteLedger, load_or_create_key
from gateway.live_sources import LiveSources
from gateway.logs import RequestLines
from gateway.metrics import GatewayCollector, RequestCounts, metrics_app
from gateway.notices import notices_route
from gateway.operation import JSON
from gateway.policy import Policy, make_policy, require_no_errors
from gateway.quota import AskedToday, AskedTogether, Quotas, RestoredStore, restore
from gateway.registered import NamedDocuments, Registered, check_registered, read_manifest
from gateway.reload import Reload
from gateway.river import PROVINCE_TIME, River
from gateway.settings import Settings
from gateway.shape import Shaper
from gateway.tokens import TokenError, fetch_token
from policies.bundle import Bundle
from policies.bundle_loading import load
from policies.obligations import HANDLERS, Handlers

_LOG = logging.getLogger("gateway")

GRAPHQL = "/graphql"


class Gateway(Starlette):
    """A Starlette application that hands `/graphql` to its endpoint before its router looks at anything."""

    def __init__(self, graphql: GraphQLEndpoint, **options: Any) -> None:
        super().__init__(**options)
        self.graphql = graphql

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the life of the service."""
        if scope["type"] == "http" and scope["path"] == GRAPHQL:
            await self.graphql(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


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
    request's body may take; `handlers` discharge the obligations. `app.state.reload` loads the policy anew when asked,
    and `app.state.metrics` is the application of the figures. Raises BundleError,
    SourceFileError, LedgerFailure or ValueError, each naming what is wrong.
    """

    def prepare(bundle: Bundle, registered: Registered) -> Policy:
        if settings.policy.check_on_load:
            require_no_errors(bundle, clock().astimezone(PROVINCE_TIME).date())
        policy = make_policy(bundle, settings.limits, settings.policy.visibility, handlers)
        check_registered(registered, policy.schema._schema, settings.limits)
        return msgspec.structs.replace(policy, registered=registered)

    manifest = Path(settings.documents.manifest) if settings.documents.manifest else None
    policy = prepare(load_bundle(settings.policy.bundle), read_manifest(manifest))
    secrets = os.environ if environment is None else environment
    shared = _shared_cache(settings)
    source_files = Path(settings.sources.directory) if settings.sources.directory else INSTALLED_SOURCES
    # Longer than any inquiry lasts, what it waits for the ledger included.
    sources = LiveSources(
        lambda: _sources(settings, source_files, secrets, transport, shared),
        linger=settings.sources.deadline + 5,
    )
    key = load_or_create_key(Path(settings.ledger.key_file))
    ledger = SqliteLedger.open(Path(settings.ledger.path), key, vfs=ledger_vfs)
    history = History(Path(settings.ledger.path), Path(f"{settings.ledger.path}.index"))
    keys_client = httpx.AsyncClient(timeout=5, trust_env=False)
    token_keys = KeySet(settings.identity.jwks_url, keys_client, clock=monotonic)
    trusted = {a.issuer: KeySet(a.jwks_url, keys_client, clock=monotonic) for a in settings.authorizations}
    asked = _asked_store(settings)
    alarms, counts = Alarms(), RequestCounts()
    shaper = Shaper(handlers, alarms)
    river = River(
        policy=policy,
        sources=sources,
        artefacts=Artefacts(trusted),
        ledger=ledger,
        history=history,
        quotas=Quotas(asked, key),
        shaper=shaper,
        ledger_key=key,
        deadline=settings.sources.deadline,
        max_subjects=settings.max_subjects,
        counts=counts,
        clock=clock,
    )
    authenticator = Authenticator(
        settings.identity.issuer,
        settings.identity.audience,
        token_keys,
        lambda: river.policy.bundle.callers,
        clock=lambda: clock().timestamp(),
        remembered_seconds=settings.identity.token_cache_seconds,
    )
    documents = NamedDocuments(
        lambda: river.policy.registered,
        settings.limits,
        only_registered=settings.documents.only_registered,
        automatic=settings.documents.automatic,
    )
    lines = RequestLines(_LOG) if settings.log.requests else None
    endpoint = GraphQLEndpoint(authenticator, river, documents, settings.limits, counts, lines, body_seconds)

    directory = bundle_directory(settings.policy.bundle)
    reload = Reload(river, directory, prepare, settings.policy.watch_seconds, manifest, sources, source_files)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        today = clock().astimezone(PROVINCE_TIME).date()
        path = Path(settings.ledger.path)
        await asyncio.to_thread(restore, asked, path, key, river.policy.bundle, today, PROVINCE_TIME)
        reloading = asyncio.create_task(reload.run())
        sources.follow()
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
            if shared is not None:
                await shared.aclose()
            await history.aclose()
            await asked.aclose()
            await ledger.aclose()
            if lines is not None:
                lines.flush()

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
        if sources.refused is not None:
            body["sources_refused"] = sources.refused
        return JSONResponse(body, 200 if healthy else 503, headers=NOT_KEPT)

    routes = [
        Route("/healthz", _alive),
        Route("/readyz", ready),
        notices_route(lambda: sources.now.notices, clock),
    ]
    if settings.explorer.enabled:
        routes += _explorer(settings)
    failures: Mapping[Any, Any] = {HTTPException: _http_error, Exception: _http_error}
    app = Gateway(endpoint, routes=routes, lifespan=lifespan, exception_handlers=failures)
    # An address is right or it is not there: a redirect would repeat a POST, and has no JSON body.
    app.router.redirect_slashes = False
    app.state.reload = reload
    app.state.metrics = metrics_app(
        GatewayCollector(
            counts,
            ledger,
            lambda: sources.now.health(),
            held=lambda: {
                "automatic_documents": documents.kept,
                "documents": len(river.policy.documents),
                "answers": sources.now.cache_counts()["entries"],
            },
            totals=lambda: {
                "alarms": alarms.count,
                "records_without_basis": sum(shaper.baseless.values()),
                "cache_hits": sources.now.cache_counts()["hits"],
                "cache_misses": sources.now.cache_counts()["misses"],
            },
        )
    )
    return app


def _asked_store(settings: Settings) -> RestoredStore:
    """One process counts in its memory; several count together."""
    if settings.server.workers == 1:
        return AskedToday()
    return AskedTogether(Path(f"{settings.ledger.path}.asked"))


INSTALLED_SOURCES = Path(connectors.__path__[0]) / "sources"
"""The source files that come with the gateway."""


def _sources(
    settings: Settings,
    directory: Path,
    environment: Mapping[str, str],
    transport: httpx.AsyncBaseTransport | None,
    shared: SharedCache | None,
) -> Sources:
    sources = Sources.load(
        directory,
        urls=settings.sources.urls,
        secrets=environment,
        transport=transport,
        cache_entries=settings.sources.cache_entries,
        shared=shared,
        workers=max(settings.server.workers, 1),
    )
    if settings.server.workers != 1 and shared is None and sources.notices.senders:
        # Each notice reaches one worker; what the others keep would go on being given.
        raise ValueError(
            "sources.shared.url: needed where several workers serve and sources send notices: "
            + ", ".join(sorted(sources.notices.senders))
        )
    return sources


def _shared_cache(settings: Settings) -> SharedCache | None:
    """The cache of all replicas, where there is one; ValueError for a secret that cannot be one."""
    cache = settings.sources.shared
    return SharedCache(cache.url, Path(cache.secret_file).read_bytes()) if cache.url else None


async def _recovers(ledger: SqliteLedger) -> bool:
    """Whether a ledger that failed writes again. Nobody else would find out: a replica that is not ready is not asked."""
    try:
        await ledger.append(record.PROBE)
    except LedgerFailure:
        return False
    return True


async def _alive(_request: Request) -> Response:
    return JSONResponse({"alive": True}, headers=NOT_KEPT)


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
    headers = {**NOT_KEPT, **failure.headers}
    return Response(error_body([failure]), failure.status, headers, media_type=JSON)
