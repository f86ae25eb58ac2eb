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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.source_schema import schema_text
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
    ("sh", "PROCUREMENT"),
    ("json", '"penalties"'),
    ("graphql", "permissions"),
    ("sh", "authorize"),
    ("", "authenticate   gateway"),
    ("sh", "cp -r"),
    ("toml", "[[rule]]"),
    ("sh", "policy check"),
    ("sh", "policy diff"),
    ("sh", "datasette serve"),
    ("toml", "[[lookup]]"),
    ("sh", "sources check"),
    ("text", "-- request"),
    ("sh", "SOURCES__DIRECTORY"),
    ("graphql", "honours"),
    ("json", '"honours"'),
    ("toml", "[token]"),
    ("sh", "deploy/gateway.toml"),
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


def placed(script: str, demo: tuple[str, str, Path]) -> str:
    """A block of shell with the places of this test."""
    gateway, issuer, state = demo
    script = re.sub(r"(credit-gateway (?:token|authorize))", rf"\1 --issuer {issuer}", script)
    script = script.replace(".venv/bin/", f"{COMMAND.parent}/").replace("http://127.0.0.1:8600", gateway)
    return script.replace(".credit-gateway/", f"{state}/").replace("/tmp/my-", f"{state}/my-")


def run(script: str, demo: tuple[str, str, Path] | None = None, folder: Path = ROOT) -> str:
    """A block of shell as written, but for where things are in this test."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", placed(script, demo or ("", "", folder))],
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
    script = block("sh", "PROCUREMENT")
    if shutil.which("curl"):
        answer = json.loads(run(script, demo))
    else:
        body = re.search(r"-d '(.*)'\s*$", script, re.DOTALL)
        assert body
        token = run(".venv/bin/credit-gateway token --client market-regulation-bureau", demo).strip()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        answer = httpx.post(f"{demo[0]}/graphql", content=body[1], headers=headers).json()
    shown = json.loads(block("json", '"penalties"'))
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


@contextmanager
def background(script: str, log: Path, ready: str) -> Iterator[str]:
    """One command that the README leaves running: what `ready` finds in its output."""
    command = f"exec env {script.rstrip().removesuffix('&')}"
    with log.open("w") as output:
        process = subprocess.Popen(["bash", "-c", command], stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        end = time.monotonic() + 60
        while not (found := re.search(ready, said := log.read_text("utf-8"))):
            assert process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.1)
        yield found[1]
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_a_service_becomes_a_source_as_told(demo: tuple[str, str, Path]) -> None:
    folder = demo[2] / "my-sources"
    *prepare, serve = block("sh", "datasette serve").splitlines()
    run("\n".join(prepare), demo)
    serve = placed(serve.replace("--port 8001", "--port 0"), demo)
    with background(serve, demo[2] / "datasette.log", r"running on (http://[\d.:]+)") as service:
        told = {"http://127.0.0.1:8001": service}
        file = folder / "city-honours.toml"
        file.write_text(_with(told, block("toml", "[[lookup]]")), "utf-8")
        said = run(block("sh", "sources check"), demo)
        assert "city-honours.toml: OK" in said
        request, _, records = _with(told, block("text", "-- request")).partition("-- records")
        assert request in said
        assert f"-- records{records}" in said
        assert re.search(r"^city-honours +up ", said, re.MULTILINE)
        serve = placed(block("sh", "SOURCES__DIRECTORY").replace("PORT=8601", "PORT=0"), demo)
        with background(serve, demo[2] / "mine.log", r'"url": ?"([^"]+)"') as gateway:
            token = run(".venv/bin/credit-gateway token --client public", demo).strip()
            answer = httpx.post(
                f"{gateway}/graphql",
                json={"query": block("graphql", "honours")},
                headers={"authorization": f"Bearer {token}"},
            ).json()
    assert answer["data"] == json.loads(block("json", '"honours"'))


def _with(places: dict[str, str], text: str) -> str:
    for before, after in places.items():
        text = text.replace(before, after)
    return text


def test_the_keys_without_an_example_are_right(tmp_path: Path) -> None:
    head, _, lookup = block("toml", "[[lookup]]").partition("[envelope]")
    head = head.replace("sandbox = true\n", "").replace("http://127.0.0.1:8001", "https://registry.example")
    file = tmp_path / "city-honours.toml"
    file.write_text(f"{head}{block('toml', '[token]')}\n[envelope]{lookup}", "utf-8")
    assert run(f".venv/bin/credit-gateway sources check {file}") == "city-honours.toml: OK\n"


def test_the_keys_are_those_of_the_schema_and_of_the_files_that_show_them() -> None:
    tables = json.loads(schema_text())["$defs"].values()
    known = {key for table in tables for key in table.get("properties", {})}
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| `([a-z-]+\.toml)` \|$", README, re.MULTILINE)
    assert len(rows) == 10
    for keys, example in rows:
        named = re.findall(r"`([a-z_]+)`", keys)
        assert set(named) <= known
        (place,) = [
            folder / example
            for folder in (ROOT / "connectors" / "sources", ROOT / "tests" / "external" / "sources")
            if (folder / example).is_file()
        ]
        assert re.search(rf"\b{named[0]}\b", place.read_text("utf-8"))


def test_the_documented_settings_serve(tmp_path: Path) -> None:
    command = block("sh", "deploy/gateway.toml").split()
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
