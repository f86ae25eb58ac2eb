"""The demonstration as a visitor starts it: processes, output, exit status, and what is left behind."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from service import gateway

from connectors.sandbox.server import Sandbox
from gateway.ledger import load_or_create_key, verify

PROGRAM = Path(sys.executable).with_name("credit-gateway")
FREE = ("--port", "0", "--sandbox-port", "0")


class Demo:
    """A demonstration that leads a process group of its own, so that whatever it leaves behind is seen."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._said = folder / "said.txt"
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                [PROGRAM, "demo", "--state", folder / "state", *options],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._said.read_text("utf-8")

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 90
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.01)

    def end(self) -> int:
        """Its exit status; nothing that it started is there any more."""
        status = self.process.wait(90)
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, 0)
        return status


@contextlib.contextmanager
def demo(folder: Path, *options: str) -> Iterator[Demo]:
    running = Demo(folder, *options)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()


def test_once_shows_questions_and_answers_and_leaves_nothing_running(tmp_path: Path) -> None:
    with demo(tmp_path, "--once", *FREE) as shown:
        assert shown.end() == 0, shown.said
    said = shown.said
    assert [line[:2] for line in said.splitlines() if re.match(r"\d\. ", line)] == ["1.", "2.", "3.", "4."]
    for line in (
        'inquiry(purpose: PROCUREMENT evidence: { projectNumber: "SANDBOX-2026-0117" stage: REVIEW })',
        "HAS      enforcement: （2026）虚99执0001号",
        "DENIED   taxPayments, contributionPayments, evaluations, marketCredit (DENY_NO_AUTHORISATION_SCOPE)",
        "remedy  Obtain the subject's written authorization",
        "UNKNOWN  enforcement (UNKNOWN_SOURCE_DOWN)",
        "ok      what is denied is not fetched",
        "Ledger: 4 inquiries, nothing changed, missing or reordered.",
        "Showcase: every answer is as demanded.",
    ):
        assert line in said
    assert "WRONG" not in said
    assert len(said.splitlines()) < 110
    state = tmp_path / "state"
    assert verify(state / "ledger.sqlite", load_or_create_key(state / "ledger.key")).rows == 4


def test_it_stays_up_for_the_visitor_and_for_a_second_demonstration(tmp_path: Path) -> None:
    with demo(tmp_path, *FREE) as staying:
        staying.until(lambda: "Running until Ctrl-C." in staying.said)
        said = staying.said
        (address,) = re.findall(r"^Explorer: (http://127\.0\.0\.1:\d+)/explorer", said, re.MULTILINE)
        assert httpx.get(f"{address}/explorer", trust_env=False).status_code == 200
        assert_tokens_open(address, said)
        assert_pasted_query_answers(said)

        (sandbox,) = re.findall(r"^Sandbox: +(http://127\.0\.0\.1:\d+) ", said, re.MULTILINE)
        second_folder = tmp_path / "second"
        second_folder.mkdir()
        ports = ("--port", address.rpartition(":")[2], "--sandbox-port", sandbox.rpartition(":")[2])
        with demo(second_folder, "--once", *ports) as second:
            assert second.end() == 0, second.said
        assert f"A service runs already at {address}" in second.said
        assert "Showcase: every answer is as demanded." in second.said
        assert not (second_folder / "state").exists()

        assert httpx.get(f"{address}/readyz", trust_env=False).json()["ready"] is True
        staying.process.send_signal(signal.SIGINT)
        assert staying.end() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/healthz", trust_env=False)


def assert_tokens_open(address: str, said: str) -> None:
    tokens = dict(re.findall(r"^(department|bank|subject|developer):\n(\S+)$", said, re.MULTILINE))
    types = {}
    for who, token in tokens.items():
        answer = httpx.post(
            f"{address}/graphql",
            json={"query": "{ viewer { type } }"},
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
        )
        types[who] = answer.json()["data"]["viewer"]["type"]
    assert types == {
        "department": "MARKET_REGULATION",
        "bank": "BANK",
        "subject": "SUBJECT",
        "developer": "DEVELOPER",
    }


def assert_pasted_query_answers(said: str) -> None:
    """The printed command in a shell; where curl is absent, what curl would have sent."""
    command = re.search(r"^curl .*?(?=\n\n)", said, re.MULTILINE | re.DOTALL)
    assert command is not None
    if shutil.which("curl"):
        done = subprocess.run(
            ["/bin/sh", "-c", command[0]], capture_output=True, text=True, timeout=60, check=True
        )
        answer = json.loads(done.stdout)
    else:
        parts = re.search(r"curl -s (\S+) .*\$\((.*?)\).* -d '(.*)'$", command[0], re.DOTALL)
        assert parts is not None
        token = subprocess.run(
            parts[2].split(), capture_output=True, text=True, timeout=60, check=True
        ).stdout
        headers = {"authorization": f"Bearer {token.strip()}", "content-type": "application/json"}
        answer = httpx.post(parts[1], content=parts[3].encode(), headers=headers, trust_env=False).json()
    assert "errors" not in answer
    subject = answer["data"]["inquiry"]["subject"]
    assert subject["registration"]["state"] == subject["penalties"]["state"] == "HAS"
    assert subject["taxPayments"]["state"] == "DENIED"


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["sandbox.log", "gateway.log"])
def test_stopped_while_it_starts_it_leaves_no_process(
    tmp_path: Path, moment: str, told: signal.Signals
) -> None:
    with demo(tmp_path, *FREE) as starting:
        # The file is opened just before the process is started.
        starting.until((tmp_path / "state" / moment).exists)
        starting.process.send_signal(told)
        assert starting.end() == 130
    assert starting.said == "The demonstration was interrupted.\n"


def test_it_does_not_stay_up_over_a_dead_gateway(tmp_path: Path) -> None:
    with demo(tmp_path, *FREE) as staying:
        staying.until(lambda: "Running until Ctrl-C." in staying.said)
        pid = staying.process.pid
        started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert len(started) == 2
        os.kill(int(started[1]), signal.SIGKILL)
        assert staying.end() == 1
    assert "The demonstration cannot run: the sandbox or the gateway ended" in staying.said


def test_what_holds_a_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as held:
        # Bound and never listening: whoever connects is refused at once.
        held.bind(("127.0.0.1", 0))
        port = str(held.getsockname()[1])
        with demo(tmp_path, "--once", "--port", port, "--sandbox-port", "0") as refused:
            assert refused.end() == 1
        assert refused.said == (
            "The demonstration cannot run: gateway did not start: "
            f"server: cannot listen at 127.0.0.1, port {port}: Address already in use\n"
        )
        with demo(tmp_path, "--once", "--port", "0", "--sandbox-port", port) as refused:
            assert refused.end() == 1
        assert refused.said == (
            "The demonstration cannot run: sandbox did not start: "
            f"port {port} for admin: Address already in use\n"
        )


async def test_another_service_at_the_ports_is_not_taken_for_ours(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{"ready":"?"}')
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as foreign:
        port = str(foreign.sockets[0].getsockname()[1])
        with demo(tmp_path, "--once", "--port", port, "--sandbox-port", port) as refused:
            assert await asyncio.to_thread(refused.end) == 1
    assert refused.said.startswith("The demonstration cannot run: sandbox did not start: port")
    assert refused.said.endswith(": Address already in use\n")


def test_a_bad_file_of_registrations_is_said(tmp_path: Path) -> None:
    file = tmp_path / "registrations.csv"
    file.write_text("name\n")
    with demo(tmp_path, "--once", *FREE, "--registrations", str(file)) as refused:
        assert refused.end() == 1
    assert refused.said == (
        f"The demonstration cannot run: sandbox did not start: {file}: line 1: missing column credit_code\n"
    )


async def test_a_wrong_answer_fails_the_showcase_by_name(sandbox: Sandbox, tmp_path: Path) -> None:
    async with gateway(sandbox, tmp_path) as client:
        await client.fault("provincial-platform", "error")
        try:
            ports = ("--port", client.url.rpartition(":")[2], "--sandbox-port", str(sandbox.ports["admin"]))
            with demo(tmp_path, *ports) as shown:
                assert await asyncio.to_thread(shown.end) == 1
            counts = (await client.http.get(f"{sandbox.admin_url}/")).json()
            assert counts["sources"]["provincial-platform"]["fault"] == "error"
            assert counts["sources"]["court"]["fault"] == "off"
        finally:
            await client.clear_faults()
    assert "WRONG   bidder 2 has a penalty\n" in shown.said
    assert "ok      bidder 4 is on the court's list\n" in shown.said
    verdict = shown.said.splitlines()[-1]
    assert verdict.startswith("Showcase: WRONG: ")
    assert "bidder 2 has a penalty" in verdict
    assert "Traceback" not in shown.said
