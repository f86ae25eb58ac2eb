"""The demonstration: sandbox and gateway on loopback, and a showcase over HTTP whose answers are checked."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from connectors.sandbox.issuer import CLIENTS, PERSONAS
from gateway.examples import BIDDER_CHECK, BIDDERS, CREDIT_LOAN, PUBLIC_RECORD
from gateway.ledger import load_or_create_key, verify

DEFAULT_PORT = 8600
SANDBOX_PORT = 8700
START_SECONDS = 60
CONSENT_BOUND = ["TAX_PAYMENT", "SI_HF_PAYMENT", "EVALUATION", "MARKET", "ARREARS", "COMMITMENT", "ASSOC"]


class DemoError(Exception):
    """The demonstration cannot go on; the text says why."""


class Service(httpx.Client):
    """The running gateway and its sandbox, as their clients see them."""

    def __init__(self, gateway: str, sandbox: Mapping[str, str]) -> None:
        super().__init__(timeout=30, trust_env=False)
        self.gateway = gateway
        self.sandbox = sandbox

    def token(self, client: str, persona: str | None = None) -> str:
        """An access token of the sandbox's issuer."""
        form = {"grant_type": "client_credentials"} | ({"persona": persona} if persona else {})
        answer = self.post(
            f"{self.sandbox['issuer']}/token", data=form, auth=(client, CLIENTS[client].secret)
        )
        return str(answer.raise_for_status().json()["access_token"])

    def authorization(self, subject: str, grantee: str) -> str:
        """A synthetic subject's authorization for a credit loan."""
        body = {
            "subject": {"credit_code": subject},
            "grantee": grantee,
            "purposes": ["LOAN_PRECHECK"],
            "categories": CONSENT_BOUND,
            "days": 30,
            "consent": "WRITTEN",
        }
        answer = self.post(f"{self.sandbox['issuer']}/authorizations", json=body)
        return str(answer.raise_for_status().json()["authorization"])

    def ask(self, token: str, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The gateway's answer to a query."""
        answer = self.post(
            f"{self.gateway}/graphql",
            json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer {token}"},
        )
        return dict(answer.json())

    def asked(self, source: str) -> int:
        """How many requests a source of the sandbox has had."""
        counts = self.get(f"{self.sandbox['admin']}/counts").raise_for_status().json()
        return int(counts[source]["requests"])

    @contextmanager
    def down(self, source: str) -> Iterator[None]:
        """A source whose port is closed for a while."""
        self.put(f"{self.sandbox['admin']}/faults/{source}", json={"fault": "down"}).raise_for_status()
        try:
            yield
        finally:
            self.delete(f"{self.sandbox['admin']}/faults").raise_for_status()


def run_demo(*, once: bool, port: int, sandbox_port: int, state: Path, registrations: Path | None) -> int:
    """Run the demonstration; 0 when every answer of the showcase is what the scenario demands."""
    with ExitStack() as stack:
        try:
            service = _service(stack, port, sandbox_port, state, registrations)
            failures = showcase(service)
        except (DemoError, httpx.HTTPError) as error:
            print(f"The demonstration cannot run: {error}", file=sys.stderr)
            return 1
        if (state / "ledger.sqlite").exists():
            found = verify(state / "ledger.sqlite", load_or_create_key(state / "ledger.key"))
            print(
                f"\nThe ledger: {found.rows} inquiries, {found.finding or 'nothing changed, missing or reordered'}."
            )
            failures += [] if found.ok else ["the ledger does not verify"]
        print(
            f"\nShowcase: {'; '.join(failures) if failures else 'every answer is what the scenario demands'}."
        )
        if once or failures:
            return 1 if failures else 0
        _invite(service)
        _wait()
    return 0


def _service(
    stack: ExitStack, port: int, sandbox_port: int, state: Path, registrations: Path | None
) -> Service:
    """The service that runs at these ports already, or one started for as long as `stack` is open."""
    gateway, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}"
    if port and sandbox_port and _answers(f"{gateway}/readyz") and _answers(admin):
        running = httpx.get(admin, trust_env=False).json()["sources"]
        return stack.enter_context(
            Service(gateway, {"admin": admin} | {name: source["url"] for name, source in running.items()})
        )
    state.mkdir(parents=True, exist_ok=True)
    arguments = ["sandbox", "--base-port", str(sandbox_port)]
    if registrations is not None:
        arguments += ["--registrations", str(registrations)]
    sandbox = _start(stack, arguments, stdout=subprocess.PIPE)
    ports = _ready_line(sandbox)["ports"]
    config = state / "gateway.toml"
    config.write_text(_config(port, _addresses(ports)), "utf-8")
    log = stack.enter_context((state / "gateway.log").open("ab"))
    process = _start(stack, ["serve", "--config", str(config)], stderr=log)
    _await_ready(process, f"{gateway}/readyz", state / "gateway.log")
    return stack.enter_context(Service(gateway, _addresses(ports)))


def _addresses(ports: Mapping[str, int]) -> dict[str, str]:
    return {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _start(stack: ExitStack, arguments: list[str], **pipes: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from gateway.cli import main; main()", *arguments]
    process = subprocess.Popen(command, **pipes)  # noqa: S603  # our own command with our own arguments
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ready_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    if process.stdout is None:
        raise DemoError("the sandbox has no output to read")
    line = process.stdout.readline()
    if not line:
        raise DemoError("the sandbox did not start: see its message above")
    return dict(json.loads(line))


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > end:
            last = log.read_text("utf-8").splitlines()[-1:] or ["no message"]
            raise DemoError(f"the gateway did not start: {last[0]}")
        time.sleep(0.1)


def _config(port: int, addresses: Mapping[str, str]) -> str:
    issuer = addresses["issuer"]
    urls = "\n".join(
        f'{name} = "{url}"' for name, url in addresses.items() if name not in ("admin", "issuer")
    )
    return f"""\
# Settings of the demonstration: the sandbox's issuer is trusted, so this is for synthetic subjects.
[server]
port = {port}

[identity]
issuer = "{issuer}"
audience = "credit-gateway"
jwks_url = "{issuer}/jwks"

[[authorizations]]
issuer = "{issuer}/authorizations"
jwks_url = "{issuer}/authorizations/jwks"

[explorer]
demo_issuer = "{issuer}"

[sources.urls]
{urls}
"""


# The showcase ------------------------------------------------------------------------------------------------


def showcase(service: Service) -> list[str]:
    """Ask the questions of the showcase, print them with their answers, and name every answer that is wrong."""
    failures: list[str] = []
    for scenario in (_bidders, _loan, _denied, _source_down):
        failures += scenario(service)
    return failures


def _bidders(service: Service) -> list[str]:
    print("\n1. A department checks the five bidders of its purchase.")
    token = service.token("market-regulation-bureau")
    answer = service.ask(token, BIDDER_CHECK, _bidder_variables())
    _show(BIDDER_CHECK, answer)
    clean, penalised, repaired, enforced, contested = answer["data"]["inquiry"]["subjects"]
    marks = [mark for node in contested["penalties"]["records"]["nodes"] for mark in node["marks"]]
    return _wrong(
        {
            "bidder 1 is clean": clean["penalties"]["state"] == clean["enforcement"]["state"] == "NONE",
            "bidder 2 has a penalty": penalised["penalties"]["state"] == "HAS",
            "bidder 3's repaired penalty looks like none": repaired["penalties"]["state"] == "NONE",
            "bidder 4 is on the court's list": enforced["enforcement"]["state"] == "HAS",
            "bidder 4 is seriously dishonest": enforced["seriousDishonesty"]["state"] == "HAS",
            "bidder 5's penalty carries its mark": "UNDER_OBJECTION" in marks,
            "bidder 5's penalty beyond five years is gone": contested["penalties"]["records"]["totalCount"]
            == 2,
            "the inquiry has a receipt": answer["extensions"]["receipt"]["position"] > 0,
        }
    )


def _bidder_variables() -> dict[str, Any]:
    return {"bidders": [{"id": {"creditCode": code}} for code in BIDDERS]}


def _loan(service: Service) -> list[str]:
    print("\n2. A bank decides on a credit loan, with the subject's authorization.")
    authorization = service.authorization(BIDDERS[0], PERSONAS["first-bank"].unit)
    answer = service.ask(
        service.token("first-bank"),
        CREDIT_LOAN,
        {"subject": {"creditCode": BIDDERS[0]}, "authorization": authorization},
    )
    _show(CREDIT_LOAN, answer)
    subject = answer["data"]["inquiry"]["subject"]
    return _wrong(
        {
            "registration is answered": subject["registration"]["state"] == "HAS",
            "tax is answered in bands": bool(subject["taxPayments"]["records"]["nodes"][0]["amountBand"]),
            "two providers stand side by side": len(
                {node["provider"] for node in subject["marketCredit"]["records"]["nodes"]}
            )
            == 2,
        }
    )


def _denied(service: Service) -> list[str]:
    print("\n3. The bank tries that authorization on another company: denied, and no source is asked.")
    authorization = service.authorization(BIDDERS[0], PERSONAS["first-bank"].unit)
    before = service.asked("taxation"), service.asked("market-a")
    answer = service.ask(
        service.token("first-bank"),
        CREDIT_LOAN,
        {"subject": {"creditCode": BIDDERS[1]}, "authorization": authorization},
    )
    _show(CREDIT_LOAN, answer, denials=True)
    subject = answer["data"]["inquiry"]["subject"]
    return _wrong(
        {
            "tax is denied": subject["taxPayments"]["state"] == "DENIED",
            "the denial says why": subject["taxPayments"]["reason"]["code"] == "DENY_NO_AUTHORISATION_SCOPE",
            "what is denied is not fetched": before == (service.asked("taxation"), service.asked("market-a")),
            "what is open is answered": subject["registration"]["state"] == "HAS",
        }
    )


def _source_down(service: Service) -> list[str]:
    print("\n4. The court's system is down while the department asks: unknown is not clean.")
    token = service.token("market-regulation-bureau")
    with service.down("court"):
        answer = service.ask(token, BIDDER_CHECK, _bidder_variables())
    _show(BIDDER_CHECK, answer)
    subjects = answer["data"]["inquiry"]["subjects"]
    return _wrong(
        {
            "enforcement is unknown": all(s["enforcement"]["state"] == "UNKNOWN" for s in subjects),
            "the rest is answered": subjects[1]["penalties"]["state"] == "HAS",
        }
    )


def _wrong(demands: Mapping[str, bool]) -> list[str]:
    for demand, met in demands.items():
        print(f"   {'ok ' if met else 'WRONG'} {demand}")
    return [demand for demand, met in demands.items() if not met]


def _show(query: str, answer: Mapping[str, Any], *, denials: bool = False) -> None:
    """The question's first lines and its answer, a line a section."""
    asked = [line for line in query.splitlines() if line and not line.startswith("#")]
    print(f"   {asked[0]} {asked[1].strip()} …")
    if answer.get("data") is None:
        print(f"   no data: {json.dumps(answer.get('errors'), ensure_ascii=False)}")
        raise DemoError("the gateway refused a question of the showcase")
    inquiry = answer["data"]["inquiry"]
    for subject in inquiry.get("subjects") or [inquiry["subject"]]:
        for name, section in subject.items():
            if isinstance(section, dict):
                print(f"     {name:22} {_line(section)}")
        print()
    if denials:
        for denial in answer["extensions"]["denials"][:1]:
            print(f"   denied: {denial['code']}: {denial['message']} Basis: {', '.join(denial['basis'])}.")
            print(f"   remedy: {denial['remedy']}")
    receipt = answer["extensions"]["receipt"]
    print(f"   receipt {receipt['id']} at position {receipt['position']}")


def _line(section: Mapping[str, Any]) -> str:
    reason = (section.get("reason") or {}).get("code", "")
    record = section.get("record")
    nodes = [record] if record else (section.get("records") or {}).get("nodes") or []
    first = ", ".join(_value(value) for value in nodes[0].values() if value) if nodes else ""
    more = f" (+{len(nodes) - 1})" if len(nodes) > 1 else ""
    return f"{section['state']:8} {reason}{first}{more}"


def _value(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


# For the visitor ---------------------------------------------------------------------------------------------


def _invite(service: Service) -> None:
    body = json.dumps(
        {
            "query": " ".join(PUBLIC_RECORD.split("\n", 1)[1].split()),
            "variables": {"subject": {"creditCode": BIDDERS[1]}},
        }
    )
    print(f"\nExplorer: {service.gateway}/explorer (it starts with the developer's token)\n")
    for title, client in (
        ("department", "market-regulation-bureau"),
        ("bank", "first-bank"),
        ("subject", "subject-portal"),
        ("developer", "developer"),
    ):
        print(f"Token of the {title}:\n{service.token(client)}\n")
    print("A first query to paste (the developer's token is fetched by the command inside):\n")
    print(
        f"curl -s {service.gateway}/graphql -H 'content-type: application/json' \\\n"
        f'  -H "authorization: Bearer $(.venv/bin/credit-gateway token --client developer '
        f"--issuer {service.sandbox['issuer']})\" \\\n  -d '{body}'\n"
    )
    print("Running until Ctrl-C.", flush=True)


def _wait() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
