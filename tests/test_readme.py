"""Every command and example of the README runs, and the answer it shows is the real one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.fetch import Sources
from gateway.app import load_bundle
from policies.table import compile_table
from policies.vocabulary import SubjectKind

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
COMMAND = Path(sys.executable).with_name("credit-gateway")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block(language: str, holding: str) -> str:
    """The one block of that language that holds the text."""
    found: str
    (found,) = [text for kind, text in BLOCKS if kind == language and holding in text]
    return found


TESTED = [
    ("sh", "make demo"),
    ("sh", "curl"),
    ("json", '"inquiry"'),
    ("graphql", "permissions"),
    ("sh", "authorize"),
    ("", "authenticate   gateway"),
    ("sh", "cp -r"),
    ("toml", "[[rule]]"),
    ("sh", "policy check"),
    ("sh", "policy diff"),
    ("toml", "[[lookup]]"),
    ("sh", "serve --config"),
    ("sh", "ledger verify"),
]


def test_no_block_is_left_out() -> None:
    assert sorted(block(*where) for where in TESTED) == sorted(text for _, text in BLOCKS)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """The demonstration as the README starts it, on free ports: gateway, issuer, state."""
    folder = tmp_path_factory.mktemp("demo")
    arguments = ["demo", "--port", "0", "--sandbox-port", "0", "--state", str(folder)]
    log = (folder / "demo.log").open("w")
    process = subprocess.Popen([COMMAND, *arguments], stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    end = time.monotonic() + 90
    while "Ctrl-C" not in (said := (folder / "demo.log").read_text("utf-8")):
        assert process.poll() is None, said
        assert time.monotonic() < end, said
        time.sleep(0.1)
    config = (folder / "gateway.toml").read_text("utf-8")
    issuer = re.search(r'^issuer = "(\S+)"', config, re.MULTILINE)
    gateway = re.search(r"(http://127\.0\.0\.1:\d+)/explorer", said)
    assert issuer, config
    assert gateway, said
    try:
        yield gateway[1], issuer[1], folder
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        log.close()


def run(script: str, demo: tuple[str, str, Path] | None = None, folder: Path = ROOT) -> str:
    """A block of shell as written, but for where things are in this test."""
    gateway, issuer, state = demo or ("", "", folder)
    script = re.sub(r"(credit-gateway (?:token|authorize))", rf"\1 --issuer {issuer}", script)
    script = script.replace(".venv/bin/credit-gateway", str(COMMAND)).replace(
        "http://127.0.0.1:8600", gateway
    )
    script = script.replace(".credit-gateway/", f"{state}/").replace(
        "/tmp/my-province", str(state / "my-province")
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_two_commands_are_targets() -> None:
    for line in block("sh", "make demo").splitlines():
        target = line.split("#")[0].split()
        assert (
            subprocess.run([*target, "--dry-run"], cwd=ROOT, capture_output=True, check=False).returncode == 0
        )


def test_the_first_query_has_the_answer_that_is_shown(demo: tuple[str, str, Path]) -> None:
    script = block("sh", "curl")
    if shutil.which("curl"):
        answer = json.loads(run(script, demo))
    else:
        body = re.search(r"-d '(.*)'\s*$", script, re.DOTALL)
        assert body
        token = run(".venv/bin/credit-gateway token --client market-regulation-bureau", demo).strip()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        answer = httpx.post(f"{demo[0]}/graphql", content=body[1], headers=headers).json()
    shown = json.loads(block("json", '"inquiry"'))
    assert _without_chance(answer) == _without_chance(shown)


def _without_chance(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without what differs in each receipt, whose form is checked instead."""
    receipt = answer["extensions"].pop("receipt")
    assert set(receipt) == {"id", "position", "hash"}
    assert re.fullmatch("[0-9a-f-]{36}", receipt["id"])
    assert re.fullmatch("[0-9a-f]{64}", receipt["hash"])
    return answer


def test_the_dry_run_answers(demo: tuple[str, str, Path]) -> None:
    token = run(".venv/bin/credit-gateway token --client first-bank", demo).strip()
    answer = httpx.post(
        f"{demo[0]}/graphql",
        json={"query": block("graphql", "permissions")},
        headers={"authorization": f"Bearer {token}"},
    ).json()
    assert "errors" not in answer
    assert any(permission["possible"] for permission in answer["data"]["permissions"])


def test_an_authorization_is_made(demo: tuple[str, str, Path]) -> None:
    assert run(block("sh", "authorize"), demo).count(".") == 2


def test_the_ledger_verifies(demo: tuple[str, str, Path]) -> None:
    assert run(block("sh", "ledger verify"), demo).startswith("OK")


def test_the_river_names_files_that_exist() -> None:
    for line in block("", "authenticate   gateway").strip().splitlines():
        assert (ROOT / line.split()[1]).is_file()


def test_a_sentence_of_law_becomes_a_proven_rule(demo: tuple[str, str, Path]) -> None:
    bundle = demo[2] / "my-province"
    run(block("sh", "cp -r"), demo)
    with (bundle / "rules.toml").open("a", encoding="utf-8") as file:
        file.write("\n" + block("toml", "[[rule]]"))
    proven = run(block("sh", "policy check"), demo)
    assert "0 errors" in proven
    assert "by rule R101" in proven
    effect = run(block("sh", "policy diff"), demo)
    assert "WIDENS  MARKET_REGULATION for SUPERVISION" in effect
    assert "enum Purpose" in (demo[2] / "my-province.graphql").read_text("utf-8")
    assert "行政奖励" in (demo[2] / "my-province.html").read_text("utf-8")
    added = load_bundle(str(bundle)).rules["R101"]
    question = ("MARKET_REGULATION", "SUPERVISION", SubjectKind.ORG, "REWARD_ADMIN")
    assert compile_table(load_bundle("example"), added.valid_from).cell(*question) is None
    assert compile_table(load_bundle(str(bundle)), added.valid_from).cell(*question) is not None


async def test_the_source_file_loads(tmp_path: Path) -> None:
    (tmp_path / "example-registry.toml").write_text(block("toml", "[[lookup]]"), "utf-8")
    sources = Sources.load(tmp_path, secrets={"EXAMPLE_REGISTRY_KEY": "a-key"})
    assert sources.titles()["example-registry"].categories == ("LICENCE",)
    await sources.aclose()


def test_the_documented_settings_serve(tmp_path: Path) -> None:
    command = block("sh", "serve --config").split()
    assert command[:2] == [".venv/bin/credit-gateway", "serve"]
    config = tmp_path / "gateway.toml"
    shutil.copy(ROOT / command[-1], config)
    environment = {**os.environ, "CREDIT_GATEWAY_SERVER__PORT": "0"}
    process = subprocess.Popen(
        [COMMAND, "serve", "--config", config],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["url"]
        assert httpx.get(f"{address}/healthz").json() == {"alive": True}
        refused = httpx.post(f"{address}/graphql", json={"query": "{ __typename }"})
        assert refused.status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
