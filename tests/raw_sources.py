"""A gateway over sources of a test's own: files in a directory, raw servers behind them, and the sandbox's registers."""

import asyncio
import hmac
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
from service import BUREAU, CLEAN, Client, serving, settings_for
from starlette.applications import Starlette

import connectors
from connectors.sandbox.server import REGISTERS, Sandbox
from gateway.app import create_app
from gateway.settings import SharedCacheSettings, SourceSettings

INSTALLED = Path(connectors.__path__[0]) / "sources"

LOOK = """query($id: SubjectId!) {
  inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
    subject(id: $id) { ... on OperatingSubject {
      penalties { ...all records { nodes { recordId facts documentNumber decidedOn publicUntil fine kind } } }
      licences { ...all records { nodes { recordId content } } }
    } }
  }
}
fragment all on Section {
  state complete asOf reason { code }
  sources { id state asOf reason { code } fault stale latencyMs insteadOf }
}"""

PENALTY = (
    (
        'basis_kind = {{ is = "ADMINISTRATIVE_DECISION" }}, facts = "facts", document_number = "doc", '
        'decided_on = "day", public_until = { from = "until", optional = true }, fine = "fine", kind = "kind"'
    )
    .replace("{{", "{")
    .replace("}}", "}")
)
LICENCE = 'content = "facts"'

NOTICE_SECRET = "what the source signs its notices with"
NOTICES = '[secrets]\nnotices = { env = "CREDIT_SOURCE_TEST_NOTICES" }\n'
ENVIRONMENT = {"CREDIT_SOURCE_TEST_NOTICES": NOTICE_SECRET}

FILE = """
id = "{id}"
title = "Books"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
sandbox = true
url = "{url}"
{top}

{tables}
[envelope]
records = "data"

[[lookup]]
category = "{category}"
kinds = ["ORG", "IND", "NP"]
keys = ["credit_code", "resident"]
method = "POST"
path = "/records"
idempotent = true
json = {{ key = "{{subject.value}}" }}
subject = "key"
{lookup}
fields = {{ record_id = "id", {fields} }}
"""


def record(**changes: Any) -> dict[str, Any]:
    """A record as the sources of these tests write it."""
    row = {"id": "R-1", "key": CLEAN, "facts": "first", "doc": "D-1", "day": "2026-01-02", "kind": "fine"}
    return {**row, "until": None, "fine": 100, **changes}


class Books:
    """A source over a raw socket. `rows` is what it says of whoever is asked for; counts connections and requests."""

    def __init__(self, rows: list[dict[str, Any]] | None = None) -> None:
        self.rows = [record()] if rows is None else rows
        self.connections = 0
        self.open = 0
        self.bodies: list[bytes] = []
        self.dead = False
        """Hang up on whoever connects."""
        self.go_on = asyncio.Event()
        """Answers wait for it."""
        self.go_on.set()
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def asked(self) -> int:
        return len(self.bodies)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            while not self.dead:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                [length] = [line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length))
                if self.dead:
                    return
                self.bodies.append(body)
                whose = json.loads(self.bodies[-1])["key"]
                rows = [{**row, "key": whose} if row["key"] == CLEAN else row for row in self.rows]
                await self.go_on.wait()
                answer = json.dumps({"data": rows}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()
            self._tasks.discard(task)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Books"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()


class SourceFiles:
    """A directory of source files: the sandbox's registers of evidence, and what a test puts there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        for name in (*REGISTERS, "consent-service"):
            shutil.copy(INSTALLED / f"{name}.toml", path)

    def put(
        self,
        name: str,
        url: str,
        category: str = "PENALTY",
        *,
        top: str = "",
        tables: str = "",
        lookup: str = "",
        fields: str | None = None,
    ) -> None:
        """Write the file of a source."""
        mapped = {"PENALTY": PENALTY, "LICENCE": LICENCE}[category] if fields is None else fields
        text = FILE.format(
            id=name, url=url, category=category, top=top, tables=tables, lookup=lookup, fields=mapped
        )
        self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Put a text in place of a file at once, as an operator's tools do."""
        new = self.path / f"{name}.new"
        new.write_text(text, "utf-8")
        new.replace(self.path / f"{name}.toml")

    def read(self, name: str) -> str:
        """The text of a file."""
        return (self.path / f"{name}.toml").read_text("utf-8")


class Running:
    """A gateway over such a directory."""

    def __init__(self, app: Starlette, client: Client) -> None:
        self.app = app
        self.client = client

    async def sections(self, code: str = CLEAN) -> dict[str, Any]:
        """What a supervisor is answered: penalties and licences of an organisation."""
        body = await self.client.ask(BUREAU, LOOK, {"id": {"creditCode": code}})
        return cast(dict[str, Any], body["data"]["inquiry"]["subject"])

    async def penalties(self, code: str = CLEAN) -> dict[str, Any]:
        return cast(dict[str, Any], (await self.sections(code))["penalties"])

    async def readiness(self) -> dict[str, Any]:
        answer = await self.client.http.get(f"{self.client.url}/readyz")
        assert answer.status_code == 200
        return cast(dict[str, Any], answer.json())

    async def figures(self) -> str:
        """The figures as Prometheus reads them."""
        transport = httpx.ASGITransport(self.app.state.metrics)
        async with httpx.AsyncClient(transport=transport, base_url="http://metrics.test") as http:
            return (await http.get("/metrics")).text

    async def notify(self, source: str, notice: Mapping[str, Any], **options: Any) -> httpx.Response:
        return await notify(self.client.http, self.client.url, source, notice, **options)


async def notify(
    http: httpx.AsyncClient,
    url: str,
    source: str,
    notice: Mapping[str, Any],
    *,
    secret: str = NOTICE_SECRET,
    sent: str | None = None,
) -> httpx.Response:
    """Send a signed notice, now or as of `sent`."""
    body = json.dumps(
        {"id": "N-1", "time": "2026-11-20T12:00:00+08:00", "subjects": "all", **notice}
    ).encode()
    time_sent = str(int(time.time())) if sent is None else sent
    signature = hmac.new(secret.encode(), time_sent.encode() + b"." + body, "sha256").hexdigest()
    headers = {"x-notice-time": time_sent, "x-notice-signature": f"sha256={signature}"}
    return await http.post(f"{url}/notices/{source}", content=body, headers=headers)


def facts(section: Mapping[str, Any]) -> list[str]:
    """What the records of a section tell."""
    return [node["facts"] for node in section["records"]["nodes"]]


def source(section: Mapping[str, Any], name: str = "books") -> dict[str, Any]:
    """What a section says of one of its sources."""
    [found] = [each for each in section["sources"] if each["id"] == name]
    return cast(dict[str, Any], found)


async def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `holds()`."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


def registers_of(sandbox: Sandbox) -> dict[str, str]:
    """Addresses of the registers of evidence."""
    return {name: sandbox.urls[name] for name in (*REGISTERS, "consent-service")}


@asynccontextmanager
async def gateway_over(
    sandbox: Sandbox,
    folder: Path,
    files: SourceFiles,
    *,
    deadline: float = 2.0,
    shared: SharedCacheSettings | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """A gateway over these files on a real socket; `options` are settings by name."""
    settings = settings_for(
        sandbox,
        folder,
        sources=SourceSettings(
            directory=str(files.path),
            urls=registers_of(sandbox),
            deadline=deadline,
            shared=shared or SharedCacheSettings(),
        ),
        **options,
    )
    app = create_app(settings, environment=ENVIRONMENT)
    async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
        yield Running(app, Client(http, url, sandbox, folder))
