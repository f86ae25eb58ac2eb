"""Services that nobody here wrote become sources by a file alone: json-server, a SOAP server, Datasette, PostgreSQL."""

import asyncio
import json
import shutil
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from click.testing import CliRunner, Result
from external_services import SERVICES, SOURCES, Service
from service import Client, serving, settings_for

import connectors
from connectors.sandbox.server import Sandbox
from gateway.app import create_app
from gateway.settings import SourceSettings
from gateway.source_commands import sources

INSTALLED = Path(connectors.__file__).parent
HELD = "91990105EXTN00014L"
"""A subject that every one of the services knows."""
UNKNOWN = "91990105EXTN00022F"
"""A subject that none of them knows."""

SECTION = {
    "city-licences": "licences",
    "city-listing": "seriousDishonesty",
    "city-honours": "honours",
    "county-rewards": "administrativeRewards",
}
NODES = {
    "city-licences": "recordId licenceNumber kind decidedOn validUntil authority",
    "city-listing": "recordId listName listedOn reason documentNumber authority",
    "city-honours": "recordId title rank awardedOn authority",
    "county-rewards": "recordId title documentNumber awardedOn authority facts",
}
RECORDS: dict[str, list[dict[str, Any]]] = {
    "city-licences": [
        {
            "recordId": "1", "licenceNumber": "字第0001号", "kind": "普通许可", "decidedOn": "2024-03-05",
            "validUntil": None, "authority": "示例市行政审批局",
        },
        {
            "recordId": "2", "licenceNumber": "字第0002号", "kind": "特许", "decidedOn": "2025-07-01",
            "validUntil": "2099-06-30", "authority": "示例市行政审批局",
        },
        {
            "recordId": "3", "licenceNumber": "字第0003号", "kind": "特许", "decidedOn": None,
            "validUntil": "2099-12-31", "authority": "示例市交通运输局",
        },
    ],
    "city-listing": [
        {
            "recordId": "L-1", "listName": "严重违法失信名单", "listedOn": "2025-02-03", "reason": "示例事由",
            "documentNumber": "示市监列〔2025〕1号", "authority": "示例市市场监督管理局",
        },
    ],
    "city-honours": [
        {
            "recordId": "H-1", "title": "质量奖", "rank": "省级", "awardedOn": "2023-05-04",
            "authority": "示例市人民政府",
        },
        {
            "recordId": "H-2", "title": "守合同重信用企业", "rank": "市级", "awardedOn": "2024-06-01",
            "authority": "示例市市场监督管理局",
        },
        {
            "recordId": "H-3", "title": "绿色工厂", "rank": "国家级", "awardedOn": "2025-09-30",
            "authority": "工业和信息化部",
        },
    ],
    "county-rewards": [
        {
            "recordId": "1", "title": "科技进步奖", "documentNumber": "示科奖〔2024〕1号", "awardedOn": "2024-01-02",
            "authority": "示例县人民政府", "facts": "新工艺",
        },
    ],
}  # fmt: skip
"""What each service says of the subject: the county's second reward was withdrawn, so it is not shown."""

every_service = pytest.mark.parametrize("name", SERVICES)


@asynccontextmanager
async def gateway_with(sandbox: Sandbox, folder: Path, name: str, service: Service) -> AsyncIterator[Client]:
    """A gateway over the sources that come with it and the file of one service."""
    directory = folder / "sources"
    shutil.copytree(INSTALLED / "sources", directory)
    shutil.copy(SOURCES / f"{name}.toml", directory)
    urls = settings_for(sandbox, folder).sources.urls | ({name: service.url} if service.url else {})
    changed = SourceSettings(directory=str(directory), urls=urls, deadline=20)
    app = create_app(settings_for(sandbox, folder, sources=changed), environment=service.environment)
    async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
        yield Client(http, url, sandbox, folder)


async def section(client: Client, name: str, code: str) -> dict[str, Any]:
    """The section that the service has a part in, as anybody may see it."""
    query = f"""query($id: SubjectId!) {{ inquiry(purpose: PUBLIC_VIEW) {{ subject(id: $id) {{ ... on OperatingSubject {{
      section: {SECTION[name]} {{
        state complete sources {{ id state }} records {{ nodes {{ {NODES[name]} }} }}
      }}
    }} }} }} }}"""
    body = await client.ask("public", query, {"id": {"creditCode": code}})
    found: dict[str, Any] = body["data"]["inquiry"]["subject"]["section"]
    return found


@every_service
async def test_a_file_alone_connects_a_service(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    async with AsyncExitStack() as running:
        service = await running.enter_async_context(SERVICES[name](tmp_path))
        async with gateway_with(sandbox, tmp_path, name, service) as client:
            found = await section(client, name, HELD)
            assert (found["state"], found["complete"]) == ("HAS", True), found
            assert found["records"]["nodes"] == RECORDS[name]
            assert {"id": name, "state": "HAS"} in found["sources"]
            none = await section(client, name, UNKNOWN)
            assert (none["state"], none["complete"]) == ("NONE", True), none
            assert {"id": name, "state": "NONE"} in none["sources"]
            await running.aclose()
            silent = await section(client, name, UNKNOWN)
            assert silent["state"] == "UNKNOWN", silent
            assert {"id": name, "state": "UNKNOWN"} in silent["sources"]


@every_service
def test_the_file_has_no_mistake_and_fits_the_schema(name: str) -> None:
    result = run("check", str(SOURCES / f"{name}.toml"))
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{name}.toml: OK\n", "")
    schema = json.loads((INSTALLED / "source.schema.json").read_text("utf-8"))
    text = (SOURCES / f"{name}.toml").read_text("utf-8")
    jsonschema.Draft202012Validator(schema).validate(tomllib.loads(text))
    named = text.splitlines()[0].removeprefix("#:schema ")
    assert (SOURCES / named).resolve() == INSTALLED / "source.schema.json"


DROPPED = {
    "city-licences": "phone",
    "city-listing": "clerk",
    "city-honours": "clerk",
    "county-rewards": "remark",
}
REQUEST = {
    "city-licences": "x-api-key: SECRET-key",
    "city-listing": "<w:Username>SECRET-user</w:Username>",
    "city-honours": "/honours/honours.json?uscc__in=SUBJECT&_shape=objects&_size=2",
    "county-rewards": "WHERE organisation IN (:subjects)",
}


@every_service
async def test_a_service_is_tried_before_it_serves(name: str, tmp_path: Path) -> None:
    async with SERVICES[name](tmp_path) as service:
        where = ("--directory", str(SOURCES), *(("--url", service.url) if service.url else ()))
        result = await asyncio.to_thread(run, "try", name, "--subject", HELD, *where, service=service)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        request, _, rest = result.stdout.partition("-- answer")
        answer, _, rest = rest.partition("-- records")
        records, _, dropped = rest.partition("-- dropped: ")
        assert REQUEST[name] in request
        first = RECORDS[name][0]
        for value in first.values():
            assert value is None or value in records
        assert "HIDDEN" in answer
        assert first["authority"] in answer or name == "county-rewards"
        assert dropped.strip() == DROPPED[name]
        for secret in (HELD, *service.environment.values()):
            assert secret not in result.output
        none = await asyncio.to_thread(run, "try", name, "--subject", UNKNOWN, *where, service=service)
        assert none.exit_code == 0, none.output
        assert none.stdout.partition("-- records")[2].splitlines()[1:] == ["-- dropped: nothing"]
    silent = await asyncio.to_thread(run, "try", name, "--subject", HELD, *where, service=service)
    assert silent.exit_code == 1
    assert "-- fault: DOWN" in silent.stdout


@pytest.mark.parametrize("name", ["city-listing", "county-rewards"])
async def test_a_wrong_secret_is_refused_and_not_shown(name: str, tmp_path: Path) -> None:
    async with SERVICES[name](tmp_path) as service:
        wrong = {key: text.replace("password-of", "guess-of") for key, text in service.environment.items()}
        assert wrong != service.environment
        service = Service(service.url, wrong)
        where = ("--directory", str(SOURCES), *(("--url", service.url) if service.url else ()))
        result = await asyncio.to_thread(run, "try", name, "--subject", HELD, *where, service=service)
    assert result.exit_code == 1
    assert "-- fault: REFUSED" in result.stdout
    assert "guess-of" not in result.output


def run(*arguments: str, service: Service | None = None) -> Result:
    """A command of the group `sources`, where the secrets of the service are set."""
    return CliRunner().invoke(sources, arguments, env=service.environment if service else {})
