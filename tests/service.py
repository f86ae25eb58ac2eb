"""A real gateway over real sandbox sources, on loopback, for tests."""

import asyncio
import atexit
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn

import connectors
from connectors.sandbox.issuer import CLIENTS
from connectors.sandbox.server import SOURCES, Sandbox
from gateway.app import Gateway, create_app
from gateway.protocol import LeanProtocol
from gateway.settings import (
    AuthorizationIssuer,
    IdentitySettings,
    LedgerSettings,
    Settings,
    SourceSettings,
)

CLEAN = "91990100FAKE00013D"
PENALISED = "91990105FAKE00128U"
REPAIRED = "91990105FAKE00136N"
ENFORCED = "91990106FAKE001440"
CONTESTED = "91990200FAKE001529"
INDIVIDUAL = "92990105FAKE00021D"
GOVERNMENT = "11990000FAKE000483"
DEFAULTER = {"number": "990105199912319987", "name": "例失信"}

BUREAU = "market-regulation-bureau"
BANK = "first-bank"
BANK_UNIT = "91990100FAKE90020T"


@cache
def forgiving_sources() -> str:
    """The installed source files, whose breakers try again at once: what one test did to a source is not the next one's."""
    copy = tempfile.TemporaryDirectory(prefix="sources-")
    atexit.register(copy.cleanup)
    for file in (Path(connectors.__path__[0]) / "sources").glob("*.toml"):
        text = file.read_text("utf-8")
        assert "[breaker]" not in text
        (Path(copy.name) / file.name).write_text(f"{text}\n[breaker]\nseconds = 0.05\n", "utf-8")
    return copy.name


def settings_for(sandbox: Sandbox, folder: Path, **changes: Any) -> Settings:
    """Settings of a gateway whose sources and issuers are the sandbox's."""
    issuer = sandbox.urls["issuer"]
    settings = Settings(
        identity=IdentitySettings(issuer=issuer, audience="credit-gateway", jwks_url=f"{issuer}/jwks"),
        authorizations=(
            AuthorizationIssuer(issuer=f"{issuer}/authorizations", jwks_url=f"{issuer}/authorizations/jwks"),
        ),
        sources=SourceSettings(
            directory=forgiving_sources(),
            urls={name: url for name, url in sandbox.urls.items() if name not in ("admin", "issuer")},
        ),
        ledger=LedgerSettings(path=str(folder / "ledger.sqlite"), key_file=str(folder / "ledger.key")),
    )
    return msgspec.structs.replace(settings, **changes)


class Clock:
    """The time of inquiries, which a test sets."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Client:
    """A client of the gateway, with the sandbox's switches at hand."""

    def __init__(self, http: httpx.AsyncClient, url: str, sandbox: Sandbox, folder: Path) -> None:
        self.http = http
        self.url = url
        self.sandbox = sandbox
        self.folder = folder
        self._tokens: dict[tuple[str, str | None, str | None], str] = {}

    async def token(self, client: str, persona: str | None = None, purposes: str | None = None) -> str:
        key = (client, persona, purposes)
        if key not in self._tokens:
            form = {"grant_type": "client_credentials"}
            form |= {"persona": persona} if persona else {}
            form |= {"purposes": purposes} if purposes else {}
            answer = await self.http.post(
                f"{self.sandbox.urls['issuer']}/token", data=form, auth=(client, CLIENTS[client].secret)
            )
            assert answer.status_code == 200, answer.text
            self._tokens[key] = answer.json()["access_token"]
        return self._tokens[key]

    async def authorization(
        self,
        subject: Mapping[str, str],
        *,
        grantee: str = BANK_UNIT,
        purposes: tuple[str, ...] = ("LOAN_PRECHECK",),
        categories: tuple[str, ...] = ("TAX_PAYMENT", "SI_HF_PAYMENT", "MARKET", "EVALUATION"),
        consent: str = "WRITTEN",
    ) -> str:
        body = {
            "subject": subject,
            "grantee": grantee,
            "purposes": list(purposes),
            "categories": list(categories),
            "days": 30,
            "consent": consent,
        }
        answer = await self.http.post(f"{self.sandbox.urls['issuer']}/authorizations", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["authorization"])

    async def post(
        self, client: str | None, query: str, variables: Mapping[str, Any] | None = None, **options: Any
    ) -> httpx.Response:
        """The raw response to a query; `client` None sends no token."""
        headers = options.pop("headers", {})
        if client is not None:
            headers = {"authorization": f"Bearer {await self.token(client, **options)}", **headers}
        return await self.http.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables or {}}, headers=headers
        )

    async def ask(
        self, client: str, query: str, variables: Mapping[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        """The answer to a query that must be answered without errors."""
        answer = await self.post(client, query, variables, **options)
        body: dict[str, Any] = answer.json()
        assert answer.status_code == 200, body
        assert "errors" not in body, body["errors"]
        return body

    async def fault(self, source: str, fault: str, seconds: float = 20.0) -> None:
        """Switch a fault on; `seconds` counts for a delay alone."""
        body = {"fault": fault, "seconds": seconds} if fault == "delay" else {"fault": fault}
        answer = await self.http.put(f"{self.sandbox.admin_url}/faults/{source}", json=body)
        assert answer.status_code == 200, answer.text

    async def clear_faults(self) -> None:
        assert (await self.http.delete(f"{self.sandbox.admin_url}/faults")).status_code == 200

    async def requests(self) -> dict[str, int]:
        """Requests that each credit source has had; issuer and registers of evidence are none."""
        counts = (await self.http.get(f"{self.sandbox.admin_url}/counts")).json()
        return {name: counts[name]["requests"] for name in SOURCES}


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The application on a free port of a real server."""
    http: Any = LeanProtocol if isinstance(app, Gateway) else "auto"
    config = uvicorn.Config(
        app, port=0, log_config=None, access_log=False, lifespan="on", http=http, proxy_headers=False
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), task.exception()
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def gateway(sandbox: Sandbox, folder: Path, **options: Any) -> AsyncIterator[Client]:
    """A gateway over the sandbox; options of `create_app` by name, all others are settings."""
    wiring = {name: options.pop(name) for name in ("transport", "ledger_vfs", "clock") if name in options}
    app = create_app(settings_for(sandbox, folder, **options), environment={}, **wiring)
    async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
        yield Client(http, url, sandbox, folder)
