"""Several workers: one socket, one ledger, one count of quotas; they live and end together."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from service import BUREAU, CLEAN, CONTESTED, PENALISED, Client
from test_cli import assert_refused, config_of, ready, run, running

from gateway.ledger import load_or_create_key, read_rows, verify

LOOK = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
  receipt { id } subject(id: $id) { ... on RegisteredSubject { registration { state } } } } }"""
VIEWER = "{ viewer { type } }"


def workers_of(process: asyncio.subprocess.Process) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(child) for child in children.split()]


async def until(holds: Any) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.05)


class Workers:
    """A gateway of several workers, and a way to ask each of them."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, client: Client) -> None:
        self.process = process
        self.url = url
        self.client = client

    async def ask(self, query: str, **variables: Any) -> httpx.Response:
        """One request on a connection of its own: whichever worker takes it answers."""
        headers = {"authorization": f"Bearer {await self.client.token(BUREAU)}"}
        body = {"query": query, "variables": variables}
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            return await http.post(f"{self.url}/graphql", json=body, headers=headers)

    async def end(self) -> str:
        """Told to stop, all of them end well; what they logged."""
        self.process.send_signal(signal.SIGTERM)
        _, logged = await asyncio.wait_for(self.process.communicate(), 60)
        assert self.process.returncode == 0, logged.decode()
        return logged.decode()


@asynccontextmanager
async def workers(
    client: Client, folder: Path, number: int = 2, more: str = "", **environment: str
) -> AsyncIterator[Workers]:
    config = config_of(client.sandbox, folder)
    config.write_text(config.read_text() + more)
    async with running("serve", "--config", config, "--workers", str(number), **environment) as process:
        said = await ready(process)
        yield Workers(process, str(said["url"]), client)


async def test_workers_share_socket_and_ledger_and_end_together(client: Client, tmp_path: Path) -> None:
    async with workers(client, tmp_path, 3) as served:
        assert len(workers_of(served.process)) == 3
        subjects = [CLEAN, PENALISED, CONTESTED] * 10
        answers = await asyncio.gather(*(served.ask(LOOK, id={"creditCode": code}) for code in subjects))
        assert {answer.status_code for answer in answers} == {200}
        children = workers_of(served.process)
        await served.end()
        assert not any(_runs(child) for child in children)
    receipts = {answer.json()["extensions"]["receipt"]["id"] for answer in answers}
    rows = [json.loads(row) for _, row in read_rows(tmp_path / "ledger.sqlite")]
    assert len(receipts) == 30
    assert receipts == {row["receipt"] for row in rows if "receipt" in row}
    found = verify(tmp_path / "ledger.sqlite", load_or_create_key(tmp_path / "ledger.key"))
    assert found.ok, found.finding


async def test_a_worker_that_ends_is_replaced(client: Client, tmp_path: Path) -> None:
    async with workers(client, tmp_path) as served:
        first, second = workers_of(served.process)
        os.kill(first, signal.SIGKILL)
        await until(lambda: len({*workers_of(served.process)} - {first, second}) == 1)
        await until(lambda: len(workers_of(served.process)) == 2)
        assert second in workers_of(served.process)
        answers = await asyncio.gather(*(served.ask(VIEWER) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        assert "another takes its place" in await served.end()


async def test_sighup_reaches_all_of_them(client: Client, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"a": VIEWER}))
    more = f"[documents]\nmanifest = '{manifest}'\n"
    async with workers(client, tmp_path, more=more) as served:
        manifest.write_text(json.dumps({"a": "{ wish }"}))
        served.process.send_signal(signal.SIGHUP)
        refused: set[int] = set()
        logged = b""
        assert served.process.stderr is not None
        async with asyncio.timeout(60):
            while len(refused) < 2:
                line = await served.process.stderr.readline()
                logged += line
                if b"policy refused" in line:
                    refused.add(logged.count(b"policy refused"))
        assert b"entry 'a'" in logged
        assert (await served.ask(VIEWER)).status_code == 200
        await served.end()


async def test_workers_end_with_the_process_that_watches_them(client: Client, tmp_path: Path) -> None:
    async with workers(client, tmp_path) as served:
        children = workers_of(served.process)
        served.process.kill()
        await until(lambda: not any(_runs(child) for child in children))


def _runs(process: int) -> bool:
    """Whether it is there and no mere entry that nobody has looked at."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_what_stops_the_start_is_said_once(client: Client, tmp_path: Path) -> None:
    config = config_of(client.sandbox, tmp_path)
    (tmp_path / "ledger.key").write_bytes(b"short")
    (tmp_path / "ledger.key").chmod(0o600)
    done = await run("serve", "--config", config, "--workers", "2")
    assert_refused(done, "ledger.key is 5 bytes long")
    assert done.err.count("Error: ") == 1


@pytest.mark.parametrize(
    ("workers", "status", "reason"),
    [
        ("many", 2, "--workers: a number, or auto, is expected"),
        ("-1", 2, "--workers: a number, or auto, is expected"),
        ("257", 1, "server.workers: Expected `int` <= 256"),
    ],
)
async def test_a_number_that_is_none_is_refused(
    client: Client, tmp_path: Path, workers: str, status: int, reason: str
) -> None:
    config = config_of(client.sandbox, tmp_path)
    assert_refused(await run("serve", "--config", config, "--workers", workers), reason, status=status)


async def test_quotas_are_counted_together(client: Client, tmp_path: Path) -> None:
    shared = tmp_path / "bundle"
    _bundle_with_quota(shared, 2)
    more = f"[policy]\nbundle = '{shared}'\n"
    async with workers(client, tmp_path, 3, more) as served:
        codes = [CLEAN, PENALISED, CONTESTED]
        answers = await asyncio.gather(
            *(served.ask(LOOK, id={"creditCode": code}) for code in codes for _ in range(4))
        )
        states = [answer.json()["data"]["inquiry"]["subject"]["registration"]["state"] for answer in answers]
        assert states.count("DENIED") == 4
        assert states.count("HAS") == 8
        await served.end()


def _bundle_with_quota(folder: Path, subjects: int) -> None:
    with as_file(files("policies") / "bundles" / "example") as example:
        shutil.copytree(example, folder)
    quota = 'callers = ["MARKET_REGULATION"]\npurposes = ["SUPERVISION"]'
    (folder / "quotas.toml").write_text(f"[[quota]]\n{quota}\nsubjects_per_day = {subjects}\n", "utf-8")


async def test_each_worker_has_its_own_figures(client: Client, tmp_path: Path) -> None:
    async with workers(client, tmp_path, 2, "[metrics]\nenabled = true\nport = 0\n") as served:
        assert served.process.stderr is not None
        addresses: list[str] = []
        while len(addresses) < 2:
            line = json.loads(await asyncio.wait_for(served.process.stderr.readline(), 60))
            addresses += [line["url"]] if line["message"] == "metrics served" else []
        await asyncio.gather(*(served.ask(VIEWER) for _ in range(12)))
        async with httpx.AsyncClient(trust_env=False) as http:
            texts = [(await http.get(address)).text for address in addresses]
        answered = [
            sample.value
            for text in texts
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "credit_gateway_requests_total"
        ]
        assert sum(answered) == 12
        await served.end()
