"""Every command as it is installed, in a process of its own."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import apsw
import graphql
import httpx
import pytest
from service import BANK_UNIT, CLEAN, DEFAULTER, PENALISED, Client, settings_for

from connectors.sandbox.server import Sandbox
from gateway.ledger import KEY_BYTES, Position, SqliteLedger

PROGRAM = Path(sys.executable).with_name("credit-gateway")
ROOT = Path(__file__).parent.parent
# A registered company: division 14, not 99.
REAL_COMPANY = "91140100MA0KW1AA0A"


class Done(NamedTuple):
    status: int
    out: str
    err: str


def clean_environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CREDIT_GATEWAY_")}
    return {**kept, **extra}


async def start(*arguments: str | Path, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        PROGRAM,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(**environment),
    )


async def run(*arguments: str | Path, **environment: str) -> Done:
    process = await start(*arguments, **environment)
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


def assert_refused(done: Done, *words: str, status: int = 1) -> None:
    """One clear line on standard error, nothing on standard output, no traceback."""
    assert done.status == status, done
    assert done.out == ""
    assert "Traceback" not in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("Error: "), done.err
    for word in words:
        assert word in last


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@asynccontextmanager
async def running(*arguments: str | Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await start(*arguments, **environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(process: asyncio.subprocess.Process) -> dict[str, object]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 60)
    assert line, (await process.communicate())[1].decode()
    said: dict[str, object] = json.loads(line)
    assert said["ready"] is True
    return said


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens until the test ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# --- help, schema -------------------------------------------------------------------------------------------


async def test_every_command_explains_itself() -> None:
    commands = ("", "serve", "sandbox", "demo", "token", "authorize", "schema", "ledger", "ledger verify")
    answers = await asyncio.gather(*(run(*command.split(), "--help") for command in commands))
    for command, done in zip(commands, answers, strict=True):
        assert done.status == 0
        assert f"Usage: {' '.join(('credit-gateway', command)).strip()} [OPTIONS]" in done.out
        assert done.err == ""
    assert all(command.split()[0] in answers[0].out for command in commands if command)


async def test_the_schema_is_printed_as_sdl() -> None:
    done = await run("schema")
    assert (done.status, done.err) == (0, "")
    schema = graphql.build_schema(done.out)
    purpose = schema.type_map["Purpose"]
    assert isinstance(purpose, graphql.GraphQLEnumType)
    assert "采购" in (purpose.values["PROCUREMENT"].description or "")


async def test_a_bundle_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    assert_refused(await run("schema", "--bundle", tmp_path / "none"), "none: No such file or directory")


# --- serve --------------------------------------------------------------------------------------------------

IDENTITY = """
[identity]
issuer = "http://127.0.0.1:1"
audience = "credit-gateway"
jwks_url = "http://127.0.0.1:1/jwks"
"""
BAD_SETTINGS: Mapping[str, tuple[str, str]] = {
    "no identity": ("", "missing required field `identity`"),
    "not TOML": ("[server\n", "is not TOML"),
    "unknown setting": (f"{IDENTITY}\n[server]\nprot = 1\n", "server: Object contains unknown field `prot`"),
    "unknown section": (f"{IDENTITY}\n[sever]\n", "unknown field `sever`"),
    "wrong type": (f"{IDENTITY}\n[server]\nport = 'high'\n", "server.port: Expected `int`"),
    "out of range": (f"{IDENTITY}\n[server]\nport = 70000\n", "server.port: Expected `int` <= 65535"),
    "never stops": (f"{IDENTITY}\n[server]\ndrain = 0\n", "server.drain: Expected `float` > 0"),
    "log level": (f"{IDENTITY}\n[log]\nlevel = 'LOUD'\n", "log.level: Expected `str` matching"),
    "keys over http": (
        IDENTITY.replace("127.0.0.1:1/jwks", "keys.example/jwks"),
        "identity.jwks_url: keys are fetched over https",
    ),
    "no address": (f"{IDENTITY}\n[sources.urls]\ncourt = 'court'\n", "sources.urls.court: an http"),
    "unknown source": (f"{IDENTITY}\n[sources.urls]\nmoon = 'http://127.0.0.1:1'\n", "there is no such source"),
    "tokens for the world": (
        f"{IDENTITY}\n[explorer]\ndemo_issuer = 'https://issuer.example'\n",
        "explorer.demo_issuer: only an issuer on loopback",
    ),
    "unknown host": (f"{IDENTITY}\n[server]\nhost = 'no.such.host.invalid'\n", "cannot listen at no.such"),
    "no bundle": (f"{IDENTITY}\n[policy]\nbundle = 'no-such-bundle'\n", "no-such-bundle: No such file"),
    "no sources": (f"{IDENTITY}\n[sources]\ndirectory = 'none'\n", "none: *.toml: the directory holds no source"),
    "ledger nowhere": (f"{IDENTITY}\n[ledger]\npath = 'none/ledger'\n", "none/ledger cannot be opened"),
    "key nowhere": (f"{IDENTITY}\n[ledger]\nkey_file = 'none/key'\n", "none/key cannot be read or created"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SETTINGS)
async def test_a_bad_setting_is_one_clear_line(case: str, tmp_path: Path) -> None:
    text, reason = BAD_SETTINGS[case]
    config = tmp_path / "gateway.toml"
    config.write_text(text)
    free_port = {} if "port =" in text else {"CREDIT_GATEWAY_SERVER__PORT": "0"}
    done = await run("serve", "--config", config, **free_port)
    assert_refused(done, reason)
    assert len(done.err.splitlines()) == 1


async def test_a_bad_override_names_its_setting(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(IDENTITY)
    done = await run("serve", "--config", config, CREDIT_GATEWAY_SERVER__PORT="many")
    assert_refused(done, "server.port: Expected `int`")
    done = await run("serve", "--config", tmp_path / "other.toml")
    assert_refused(done, "other.toml: cannot be read: No such file or directory")


async def test_a_port_that_is_taken_is_said_before_anything_is_opened(tmp_path: Path, taken: int) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(IDENTITY)
    done = await run("serve", "--config", config, CREDIT_GATEWAY_SERVER__PORT=str(taken))
    assert_refused(done, f"server: cannot listen at 127.0.0.1, port {taken}: Address already in use")
    assert names_in(tmp_path) == {"gateway.toml"}


@pytest.mark.parametrize(
    ("name", "content", "mode", "reason"),
    [
        ("ledger.sqlite", b"not a database, whatever its name says " * 40, 0o600, "cannot be opened"),
        ("ledger.key", b"short", 0o600, "ledger.key is 5 bytes long, it must be 32"),
        ("ledger.key", bytes(32), 0o644, "is open to others (mode 0644): chmod 600 it"),
    ],
)
async def test_a_ledger_or_key_that_cannot_be_used_is_refused(
    tmp_path: Path, name: str, content: bytes, mode: int, reason: str
) -> None:
    (tmp_path / "gateway.toml").write_text(f"{IDENTITY}\n[server]\nport = 0\n")
    (tmp_path / name).write_bytes(content)
    (tmp_path / name).chmod(mode)
    assert_refused(await run("serve", "--config", tmp_path / "gateway.toml"), name, reason)
    assert (tmp_path / name).read_bytes() == content


async def test_a_bad_line_of_a_bundle_is_named_with_file_and_line(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(ROOT / "policies" / "bundles" / "example", bundle)
    lines = (bundle / "purposes.toml").read_text("utf-8").splitlines()
    place = lines.index('code = "LICENSING"')
    lines.insert(place + 1, 'colour = "blue"')
    (bundle / "purposes.toml").write_text("\n".join(lines), "utf-8")
    (tmp_path / "gateway.toml").write_text(
        f"{IDENTITY}\n[server]\nport = 0\n[policy]\nbundle = '{bundle}'\n", "utf-8"
    )
    done = await run("serve", "--config", tmp_path / "gateway.toml")
    assert_refused(done, f"purposes.toml:{place + 2}: unknown key 'colour'")


async def test_a_bad_source_file_is_named_with_its_key(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "connectors" / "sources", tmp_path / "sources")
    court = tmp_path / "sources" / "court.toml"
    court.write_text(f'colour = "blue"\n{court.read_text("utf-8")}', "utf-8")
    (tmp_path / "gateway.toml").write_text(
        f"{IDENTITY}\n[server]\nport = 0\n[sources]\ndirectory = 'sources'\n"
    )
    assert_refused(await run("serve", "--config", tmp_path / "gateway.toml"), "court.toml:1: colour")


def config_of(sandbox: Sandbox, folder: Path) -> Path:
    """A settings file of a gateway over the sandbox, on a free port."""
    settings = settings_for(sandbox, folder)
    (trusted,) = settings.authorizations
    urls = "\n".join(f'{name} = "{url}"' for name, url in settings.sources.urls.items())
    config = folder / "gateway.toml"
    config.write_text(f"""
[server]
port = 0
[identity]
issuer = "{settings.identity.issuer}"
audience = "{settings.identity.audience}"
jwks_url = "{settings.identity.jwks_url}"
[[authorizations]]
issuer = "{trusted.issuer}"
jwks_url = "{trusted.jwks_url}"
[sources.urls]
{urls}
""")
    return config


COURT = (
    "query($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $id) {"
    " ... on OperatingSubject { enforcement { state } } } } }"
)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_answers_what_it_was_asked_and_ends_well(
    client: Client, tmp_path: Path, told: signal.Signals
) -> None:
    token = await client.token("public")
    async with running("serve", "--config", config_of(client.sandbox, tmp_path)) as process:
        said = await ready(process)
        assert set(said) == {"ready", "url", "compiled"}
        assert said["compiled"] is (os.environ.get("COMPILED") == "1")
        url = str(said["url"])
        assert (await client.http.get(f"{url}/healthz")).json() == {"alive": True}
        await client.fault("court", "delay", 0.7)
        before = (await client.requests())["court"]
        asking = asyncio.create_task(
            client.http.post(
                f"{url}/graphql",
                json={"query": COURT, "variables": {"id": {"creditCode": CLEAN}}},
                headers={"authorization": f"Bearer {token}"},
            )
        )
        while (await client.requests())["court"] == before:
            assert not asking.done(), asking.result().text
        process.send_signal(told)
        answer = await asking
        assert answer.status_code == 200
        assert answer.json()["data"]["inquiry"]["subject"]["enforcement"]["state"] == "NONE"
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0
        assert out == b""
        assert all(json.loads(line)["level"] == "INFO" for line in err.splitlines())
        assert CLEAN not in err.decode()
        with pytest.raises(httpx.ConnectError):
            await client.http.get(f"{url}/healthz")


# --- sandbox ------------------------------------------------------------------------------------------------


async def test_the_sandbox_says_its_ports_and_ends_when_told() -> None:
    async with running("sandbox", "--subjects", "10", "--base-port", "0") as process:
        ports = (await ready(process))["ports"]
        assert isinstance(ports, dict)
        async with httpx.AsyncClient(trust_env=False) as http:
            overview = (await http.get(f"http://127.0.0.1:{ports['admin']}/")).json()
        assert set(overview["sources"]) == set(ports) - {"admin"}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_what_the_sandbox_cannot_use_is_one_clear_line(tmp_path: Path, taken: int) -> None:
    registrations = tmp_path / "registrations.csv"
    registrations.write_text("name,credit_code\n")
    assert_refused(
        await run("sandbox", "--registrations", registrations, "--base-port", "0"),
        f"{registrations}: line 1: missing column registered_on",
    )
    assert_refused(
        await run("sandbox", "--subjects", "1", "--base-port", str(taken)),
        f"port {taken} for admin: Address already in use",
    )
    assert_refused(await run("sandbox", "--subjects", "-1"), "subjects: below 0")
    assert_refused(await run("sandbox", "--today", "soon"), "--today", status=2)


# --- token and authorize ------------------------------------------------------------------------------------


async def test_a_token_opens_the_gateway(client: Client) -> None:
    issuer = client.sandbox.urls["issuer"]
    done = await run("token", "--client", "developer", "--persona", "first-bank", "--issuer", issuer)
    assert (done.status, done.err) == (0, "")
    answer = await client.http.post(
        f"{client.url}/graphql",
        json={"query": "{ viewer { unitName syntheticOnly } }"},
        headers={"authorization": f"Bearer {done.out.strip()}"},
    )
    assert answer.json()["data"]["viewer"] == {"unitName": "示例第一银行", "syntheticOnly": True}


async def test_no_token_is_given_to_nobody_and_by_nobody(client: Client, taken: int) -> None:
    issuer = client.sandbox.urls["issuer"]
    assert_refused(
        await run("token", "--client", "nobody", "--issuer", issuer), "'nobody' is not one of", status=2
    )
    wrong = await run("token", "--client", "first-bank", "--secret", "guess", "--issuer", issuer)
    assert_refused(wrong, "the token issuer refuses: invalid_client")
    assert "guess" not in wrong.err
    other = await run("token", "--client", "first-bank", "--persona", "court", "--issuer", issuer)
    assert_refused(other, "the token issuer refuses: invalid_request")
    down = await run("token", "--client", "first-bank", "--issuer", "http://127.0.0.1:1")
    assert_refused(down, "the token issuer is not reached")
    assert_refused(await run("token", "--client", "first-bank", "--issuer", "http://["), "")
    other_service = await run("token", "--client", "first-bank", "--issuer", client.url)
    assert_refused(other_service, "the token issuer answered without a bearer token")


AUTHORIZE = ("authorize", "--grantee", BANK_UNIT, "--purpose", "LOAN_PRECHECK", "--category", "TAX_PAYMENT")
LOAN = """
query($id: SubjectId!, $authorization: String) {
  inquiry(purpose: LOAN_PRECHECK,
          evidence: {applicationNumber: "A-1", queryReasonCode: "02", authorization: $authorization}) {
    subject(id: $id) { ... on OperatingSubject { taxPayments { state } } }
  }
}
"""


async def test_an_authorization_opens_what_it_names(client: Client) -> None:
    done = await run(*AUTHORIZE, "--credit-code", CLEAN, "--issuer", client.sandbox.urls["issuer"])
    assert (done.status, done.err) == (0, "")
    for code, state in ((CLEAN, "HAS"), (PENALISED, "DENIED")):
        variables = {"id": {"creditCode": code}, "authorization": done.out.strip()}
        answer = await client.ask("first-bank", LOAN, variables)
        assert answer["data"]["inquiry"]["subject"]["taxPayments"]["state"] == state


async def test_a_person_authorizes_with_number_and_name(client: Client) -> None:
    issuer = client.sandbox.urls["issuer"]
    person = ("--resident-number", DEFAULTER["number"])
    done = await run(*AUTHORIZE, *person, "--name", DEFAULTER["name"], "--issuer", issuer)
    assert (done.status, done.out.count("."), done.err) == (0, 2, "")
    for wrong in ((), person, ("--credit-code", CLEAN, *person), ("--credit-code", CLEAN, "--name", "x")):
        assert_refused(await run(*AUTHORIZE, *wrong, "--issuer", issuer), "Give either", status=2)


async def test_nobody_speaks_for_a_real_company(client: Client) -> None:
    done = await run(*AUTHORIZE, "--credit-code", REAL_COMPANY, "--issuer", client.sandbox.urls["issuer"])
    assert_refused(done, "subject.credit_code must be an identifier of division 99")
    assert REAL_COMPANY not in done.err
    synthetic = (*AUTHORIZE, "--credit-code", CLEAN, "--issuer")
    assert_refused(await run(*synthetic, "http://127.0.0.1:1"), "the issuer is not reached")
    assert_refused(await run(*synthetic, client.url), "the issuer answered without an authorization")


# --- ledger -------------------------------------------------------------------------------------------------


@pytest.fixture
async def receipts(tmp_path: Path) -> list[Position]:
    """The receipts of a ledger of three rows in the folder of the test."""
    key = bytes(range(KEY_BYTES))
    (tmp_path / "ledger.key").write_bytes(key)
    (tmp_path / "ledger.key").chmod(0o600)
    ledger = SqliteLedger.open(tmp_path / "ledger.sqlite", key)
    given = [await ledger.append(f"inquiry {number}".encode()) for number in range(3)]
    await ledger.aclose()
    return given


async def verify(folder: Path, *options: str) -> Done:
    paths = ("--path", folder / "ledger.sqlite", "--key-file", folder / "ledger.key")
    return await run("ledger", "verify", *paths, *options)


async def test_an_untouched_ledger_verifies(receipts: list[Position], tmp_path: Path) -> None:
    assert await verify(tmp_path) == (0, "OK: 3 rows\n", "")
    keyless = await run("ledger", "verify", "--path", tmp_path / "ledger.sqlite")
    assert keyless.out == "OK: 3 rows (without the key, a cut tail cannot be seen)\n"
    (tmp_path / "gateway.toml").write_text(IDENTITY)
    assert await run("ledger", "verify", "--config", tmp_path / "gateway.toml") == (0, "OK: 3 rows\n", "")


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("UPDATE inquiry SET body = CAST('inquiry 9' AS BLOB) WHERE position = 2", "NOT OK after 1 rows: row 2"),
        ("DELETE FROM inquiry WHERE position = 2", "NOT OK after 1 rows: row 2"),
        ("DELETE FROM inquiry WHERE position = 3", "NOT OK after 2 rows: "),
        (
            "UPDATE inquiry SET position = 9 WHERE position = 1;"
            "UPDATE inquiry SET position = 1 WHERE position = 2;"
            "UPDATE inquiry SET position = 2 WHERE position = 9",
            "NOT OK after 0 rows: row 1",
        ),
    ],
    ids=["changed", "missing", "tail cut", "reordered"],
)  # fmt: skip
async def test_a_ledger_that_was_tampered_with_does_not(
    receipts: list[Position], tmp_path: Path, change: str, finding: str
) -> None:
    database = apsw.Connection(str(tmp_path / "ledger.sqlite"))
    for (trigger,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        database.execute(f"DROP TRIGGER {trigger}")
    database.execute(change)
    database.close()
    done = await verify(tmp_path)
    assert done.status == 1
    assert done.out.startswith(finding)
    assert done.err == ""


async def test_a_receipt_must_be_in_the_ledger(receipts: list[Position], tmp_path: Path) -> None:
    second = receipts[1]
    assert (await verify(tmp_path, "--receipt", f"2:{second.hash}")).out == "OK: 3 rows\n"
    for wrong in (f"1:{second.hash}", f"2:{'0' * 64}", f"4:{second.hash}"):
        done = await verify(tmp_path, "--receipt", wrong)
        assert done.status == 1
        assert done.out.startswith("NOT OK")
        assert "receipt" in done.out
    for unreadable in ("2", "two:abc", f"2:{second.hash}0"):
        assert_refused(await verify(tmp_path, "--receipt", unreadable), "--receipt: position:hash", status=2)
    assert_refused(await verify(tmp_path, "--receipt", f"0:{second.hash}"), "position must be 1 or more")


async def test_a_ledger_is_never_made_by_looking(tmp_path: Path) -> None:
    assert_refused(await run("ledger", "verify"), "Give --config or --path", status=2)
    assert_refused(await verify(tmp_path), "ledger.key does not exist", status=2)
    assert_refused(await run("ledger", "verify", "--path", tmp_path / "ledger.sqlite"), "ledger.sqlite")
    assert names_in(tmp_path) == set()
