"""A policy is loaded anew while the gateway serves: whole or not at all."""

import asyncio
import gc
import logging
import re
import shutil
import signal
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from gateway_process import gateway_process
from service import CLEAN, Client, serving, settings_for
from starlette.applications import Starlette

from connectors.sandbox.server import Sandbox
from gateway.app import bundle_directory, create_app
from gateway.limits import Limits
from gateway.policy import Policy, make_policy
from gateway.registered import Registered
from gateway.reload import Reload
from gateway.river import River
from gateway.settings import PolicySettings
from policies.bundle import Bundle
from policies.bundle_loading import load

RULES, PURPOSES = "rules.toml", "purposes.toml"

SPOT_PURPOSE = """
[[purpose]]
code = "SPOT_VIEW"
english = "View on the spot"
chinese = "现场查看"
case = "R"
evidence = "none"
phase = "any"
basis = ["SH15"]
"""
SPOT_RULE = """
[[rule]]
id = "R900"
case = "R"
purpose = "SPOT_VIEW"
callers = ["DEVELOPER"]
kinds = ["ORG"]
categories = ["REG_ORG"]
level = "PUBLIC"
conditions = ["VISIBLE"]
basis = ["SH15"]
valid_from = 2022-10-01
status = "ACTIVE"
"""

LOOK = """
query ($id: SubjectId!) {
  inquiry(purpose: PUBLIC_VIEW) {
    receipt { policyVersion }
    subject(id: $id) { ... on Organisation { registration { state level } } }
  }
  purposes { code }
  __type(name: "Purpose") { enumValues { name } }
}
"""
SPOT = "{ inquiry(purpose: SPOT_VIEW) { receipt { policyVersion } } }"


class Directory:
    """A bundle's directory, and the two bundles that stand in it by turns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hashes: list[tuple[dict[str, bytes], str]] = []
        shutil.copytree(str(bundle_directory("example")), path)
        self.first = {file.name: file.read_bytes() for file in path.glob("*.toml")}
        rules = self.first[RULES].decode()
        public = re.search(r'id = "R080".*?level = "PUBLIC"', rules, re.DOTALL)
        assert public is not None
        changed = rules.replace(public[0], public[0].replace('level = "PUBLIC"', 'level = "HIT"')) + SPOT_RULE
        purposes = self.first[PURPOSES].decode() + SPOT_PURPOSE
        self.second = {**self.first, RULES: changed.encode(), PURPOSES: purposes.encode()}

    def put(self, files: dict[str, bytes]) -> str:
        """Fill the directory with these files alone; the hash of the bundle that they are."""
        self.put_unread(files)
        known = next((known for put, known in self._hashes if put is files), None)
        if known is None:
            known = load(self.path).hash
            self._hashes.append((files, known))
        return known

    def put_unread(self, files: dict[str, bytes]) -> None:
        for file in self.path.glob("*.toml"):
            file.unlink()
        for name, content in files.items():
            (self.path / name).write_bytes(content)

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Put the first bundle with one file changed."""
        text = self.first[name].decode()
        assert change(text) != text
        self.put_unread({**self.first, name: change(text).encode()})


class Running:
    """A gateway over a directory of its own."""

    def __init__(self, app: Starlette, client: Client, directory: Directory) -> None:
        self.reload: Reload = app.state.reload
        self.client = client
        self.directory = directory

    @property
    def policy(self) -> Policy:
        return self.reload._river.policy

    async def readiness(self) -> dict[str, Any]:
        answer = await self.client.http.get(f"{self.client.url}/readyz")
        assert answer.status_code == 200
        return cast(dict[str, Any], answer.json())

    async def until(self, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while not done(body := await self.readiness()):
                await asyncio.sleep(0.01)
        return body

    async def take(self, files: dict[str, bytes]) -> str:
        """Load these files and wait until they are in force."""
        wanted = self.directory.put(files)
        self.reload.ask()
        await self.until(lambda body: body["policy"] == wanted)
        return wanted

    async def refusal(self) -> str:
        """Load what stands in the directory and wait until it is refused."""
        self.reload.refused = None
        self.reload.ask()
        return str((await self.until(lambda body: "policy_refused" in body))["policy_refused"])


@asynccontextmanager
async def running(sandbox: Sandbox, folder: Path, **policy: Any) -> AsyncIterator[Running]:
    directory = Directory(folder / "province")
    settings = settings_for(sandbox, folder, policy=PolicySettings(bundle=str(directory.path), **policy))
    app = create_app(settings, environment={})
    async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
        yield Running(app, Client(http, url, sandbox, folder), directory)


@pytest.fixture
async def gateway(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(sandbox, tmp_path) as gateway:
        yield gateway


async def look(client: Client) -> dict[str, Any]:
    body = await client.ask("developer", LOOK, {"id": {"creditCode": CLEAN}}, persona="public")
    return cast(dict[str, Any], body["data"])


# --- a good bundle


async def test_a_new_bundle_takes_the_place_of_the_old_one(gateway: Running) -> None:
    before = await look(gateway.client)
    assert before["inquiry"]["subject"]["registration"]["level"] == "PUBLIC"
    second = await gateway.take(gateway.directory.second)
    after = await look(gateway.client)
    assert before["inquiry"]["receipt"]["policyVersion"] != second
    assert after["inquiry"]["receipt"]["policyVersion"] == second
    assert after["inquiry"]["subject"]["registration"]["level"] == "HIT"
    assert {"name": "SPOT_VIEW"} in after["__type"]["enumValues"]
    assert {"name": "SPOT_VIEW"} not in before["__type"]["enumValues"]
    assert "policy_refused" not in await gateway.readiness()


async def test_every_answer_under_load_is_of_one_bundle(gateway: Running) -> None:
    first, second = await gateway.take(gateway.directory.first), await gateway.take(gateway.directory.second)
    seen: list[str] = []
    done = asyncio.Event()

    async def keep_asking() -> None:
        while not done.is_set():
            data = await look(gateway.client)
            version = data["inquiry"]["receipt"]["policyVersion"]
            level = data["inquiry"]["subject"]["registration"]["level"]
            assert ({"code": "SPOT_VIEW"} in data["purposes"]) is (version == second)
            assert ({"name": "SPOT_VIEW"} in data["__type"]["enumValues"]) is (version == second)
            assert level == {first: "PUBLIC", second: "HIT"}[version]
            assert data["inquiry"]["subject"]["registration"]["state"] == "HAS"
            seen.append(version)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(keep_asking())
        for _ in range(4):
            await gateway.take(gateway.directory.first)
            gateway.directory.edit(RULES, lambda text: text + "[[rule]]\n")
            assert "rules.toml" in await gateway.refusal()
            await gateway.take(gateway.directory.second)
        done.set()
    assert set(seen) == {first, second}


async def test_a_document_is_not_remembered_from_one_bundle_to_the_next(gateway: Running) -> None:
    for _ in range(2):
        await gateway.take(gateway.directory.second)
        answered = await gateway.client.ask("developer", SPOT)
        assert answered["data"]["inquiry"]["receipt"]["policyVersion"] == gateway.policy.bundle.hash
        await gateway.take(gateway.directory.first)
        refused = await gateway.client.post("developer", SPOT)
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["extensions"]["code"] == "DENY_PURPOSE_UNKNOWN"


async def test_callers_are_those_that_the_bundle_in_force_knows(sandbox: Sandbox, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, check_on_load=False) as gateway:
        assert (await gateway.client.post("court", "{ viewer { type } }")).status_code == 200
        without = {
            name: content.replace(b'"COURT"', b'"TRIBUNAL"')
            for name, content in gateway.directory.first.items()
        }
        await gateway.take(without)
        refused = await gateway.client.post("court", "{ viewer { type } }")
        assert refused.status_code == 401
        assert "caller_type" in refused.headers["www-authenticate"]
        await gateway.take(gateway.directory.first)
        assert (await gateway.client.post("court", "{ viewer { type } }")).status_code == 200


async def test_what_means_the_same_is_not_taken_again(gateway: Running) -> None:
    policy = gateway.policy
    gateway.directory.edit(
        RULES, lambda text: "# Another remark.\n" + text.replace("\n[[rule]]", "\n\n[[rule]]")
    )
    gateway.reload.refused = "something else"
    gateway.reload.ask()
    await gateway.until(lambda body: "policy_refused" not in body)
    assert gateway.policy is policy


async def test_old_schemas_are_let_go(gateway: Running) -> None:
    gone: list[weakref.ref[Any]] = []
    for turn in range(30):
        gone.append(weakref.ref(gateway.policy.schema._schema))
        gone.append(weakref.ref(gateway.policy.documents))
        await gateway.take(gateway.directory.first if turn % 2 else gateway.directory.second)
        if turn % 10 == 0:
            await look(gateway.client)
    gc.collect()
    assert [reference for reference in gone if reference() is not None] == []


# --- a bad one


def _with(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (RULES, lambda text: text + "[[rule", r"rules.toml:\d+: "),
        (RULES, _with('level = "', 'levle = "'), r"rules.toml:\d+: .*levle"),
        (RULES, _with('level = "', 'level = "VERY_'), r"rules.toml:\d+: "),
        (RULES, lambda text: text + SPOT_RULE, r"rules.toml:\d+: .*SPOT_VIEW"),
        (RULES, lambda text: text + SPOT_RULE.replace("SPOT_VIEW", "PUBLIC_VIEW"), r"rules.toml:\d+: .*R080"),
        (PURPOSES, lambda _: "\ufeff", "purposes.toml:"),
        ("bundle.toml", lambda _: "", "bundle.toml:1: "),
        ("conditions.toml", _with('code = "VISIBLE"', 'code = "VISIBLY"'), r"\w+.toml:\d+: .*VISIBLE"),
    ],
)  # fmt: skip
async def test_a_bad_bundle_changes_nothing_and_is_named(
    gateway: Running, caplog: pytest.LogCaptureFixture, file: str, change: Callable[[str], str], said: str
) -> None:
    policy = gateway.policy
    gateway.directory.edit(file, change)
    with caplog.at_level(logging.INFO, "gateway"):
        refused = await gateway.refusal()
    assert re.match(said, refused), refused
    assert str(gateway.directory.path.parent) not in refused
    (record,) = [record for record in caplog.records if record.getMessage().startswith("policy")]
    assert record.levelno == logging.ERROR
    assert record.__dict__["fields"]["reason"] == refused.splitlines()
    assert gateway.policy is policy
    assert (await look(gateway.client))["inquiry"]["receipt"]["policyVersion"] == policy.bundle.hash
    gateway.directory.put(gateway.directory.first)
    gateway.reload.ask()
    await gateway.until(lambda body: "policy_refused" not in body)
    assert gateway.policy is policy


async def test_bytes_that_are_no_text_are_refused(gateway: Running) -> None:
    gateway.directory.put_unread({**gateway.directory.first, RULES: b"\xff\xfe"})
    assert (await gateway.refusal()).startswith("rules.toml:1: ")


async def test_a_directory_that_is_gone_is_refused(gateway: Running) -> None:
    policy = gateway.policy
    shutil.rmtree(gateway.directory.path)
    assert await gateway.refusal() == "province: cannot be read: No such file or directory"
    assert gateway.policy is policy


async def test_many_problems_are_counted(gateway: Running) -> None:
    gateway.directory.edit(RULES, lambda text: text.replace('level = "', 'levle = "'))
    lines = (await gateway.refusal()).splitlines()
    assert len(lines) == 6
    assert re.fullmatch(r"and \d+ more", lines[-1])


async def test_a_bundle_that_grants_too_much_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    def too_much(text: str) -> str:
        # What is for the subject's consent alone, given to everybody.
        return text + SPOT_RULE.replace("SPOT_VIEW", "PUBLIC_VIEW").replace("REG_ORG", "TAX_PAYMENT")

    async with running(sandbox, tmp_path) as gateway:
        gateway.directory.edit(RULES, too_much)
        assert (await gateway.refusal()).startswith("OVER_GRANT: ")
        with pytest.raises(ValueError, match="OVER_GRANT"):
            create_app(
                settings_for(sandbox, tmp_path, policy=PolicySettings(bundle=str(gateway.directory.path))),
                environment={},
            )
    unchecked = tmp_path / "unchecked"
    unchecked.mkdir()
    async with running(sandbox, unchecked, check_on_load=False) as gateway:
        gateway.directory.edit(RULES, too_much)
        gateway.reload.ask()
        wanted = load(gateway.directory.path).hash
        await gateway.until(lambda body: body["policy"] == wanted)


async def test_an_obligation_that_nobody_keeps_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, check_on_load=False) as gateway:
        files = {
            name: content.decode().replace('"NO_CACHE"', '"NO_COPY"').encode()
            for name, content in gateway.directory.first.items()
        }
        gateway.directory.put(files)
        assert "NO_COPY" in await gateway.refusal()


# --- when


async def test_files_are_watched(sandbox: Sandbox, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, watch_seconds=0.02) as gateway:
        wanted = gateway.directory.put(gateway.directory.second)
        await gateway.until(lambda body: body["policy"] == wanted)
        gateway.directory.edit(PURPOSES, lambda text: text + "[[purpose")
        await gateway.until(lambda body: "purposes.toml" in body.get("policy_refused", ""))
        wanted = gateway.directory.put(gateway.directory.first)
        body = await gateway.until(lambda body: body["policy"] == wanted)
        assert "policy_refused" not in body


@contextmanager
def _counted(prepared: list[str], begun: threading.Event, go_on: threading.Event) -> Iterator[Any]:
    def prepare(bundle: Bundle, _registered: Registered) -> Policy:
        prepared.append(bundle.hash)
        begun.set()
        assert go_on.wait(30)
        return make_policy(bundle, Limits())

    yield prepare
    go_on.set()


async def test_there_is_one_load_at_a_time_and_one_more_for_all_that_asked_meanwhile(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "province")
    policy = make_policy(load(directory.path), Limits())
    # The river's policy is all that a reload touches.
    river = cast(River, SimpleNamespace(policy=policy))
    prepared: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    with _counted(prepared, begun, go_on) as prepare:
        reload = Reload(river, directory.path, prepare)
        task = asyncio.create_task(reload.run())
        second = directory.put(directory.second)
        reload.ask()
        assert await asyncio.to_thread(begun.wait, 30)
        third = directory.put(
            {**directory.second, PURPOSES: directory.second[PURPOSES].replace(b"on the spot", b"at once")}
        )
        for _ in range(5):
            reload.ask()
            await asyncio.sleep(0)
        assert prepared == [second]
        assert river.policy is policy
        go_on.set()
        async with asyncio.timeout(60):
            while river.policy.bundle.hash != third:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    assert prepared == [second, third]


async def test_a_process_loads_anew_on_sighup(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Directory(tmp_path / "province")
    monkeypatch.setenv("CREDIT_GATEWAY_POLICY__BUNDLE", str(directory.path))
    async with gateway_process(sandbox, tmp_path) as gateway:

        async def readiness_is(done: Callable[[dict[str, Any]], bool]) -> None:
            async with asyncio.timeout(60):
                while not done((await gateway.client.http.get(f"{gateway.client.url}/readyz")).json()):
                    await asyncio.sleep(0.02)

        assert (await look(gateway.client))["inquiry"]["subject"]["registration"]["level"] == "PUBLIC"
        second = directory.put(directory.second)
        gateway.process.send_signal(signal.SIGHUP)
        await readiness_is(lambda body: body["policy"] == second)
        data = await look(gateway.client)
        assert data["inquiry"]["receipt"]["policyVersion"] == second
        assert data["inquiry"]["subject"]["registration"]["level"] == "HIT"
        directory.edit(RULES, lambda text: text + "[[rule")
        gateway.process.send_signal(signal.SIGHUP)
        await readiness_is(
            lambda body: body["policy"] == second and "rules.toml:" in body.get("policy_refused", "")
        )
        assert (await look(gateway.client))["inquiry"]["receipt"]["policyVersion"] == second
        assert await gateway.stop() == 0
    assert "policy refused" in (tmp_path / "gateway.log").read_text()
