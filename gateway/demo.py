"""The demonstration: sandbox and gateway on loopback, and a showcase over HTTP whose answers are checked."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx

from connectors.sandbox.issuer import CLIENTS, PERSONAS
from gateway.examples import BIDDER_CHECK, BIDDERS, CREDIT_LOAN, PUBLIC_RECORD
from gateway.ledger import LedgerFailure, load_or_create_key, verify

DEFAULT_PORT = 8600
SANDBOX_PORT = 8700
CONSENT_BOUND = ["TAX_PAYMENT", "SI_HF_PAYMENT", "EVALUATION", "MARKET", "ARREARS", "COMMITMENT", "ASSOC"]
_STOP_SECONDS = 15
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DemoError(Exception):
    """The demonstration cannot go on; the text says why."""


class Service(httpx.Client):
    """The running gateway and its sandbox, as their clients see them.

    `started` are the processes that were started for the demonstration, none for a service that ran already.
    """

    def __init__(
        self, gateway: str, sandbox: Mapping[str, str], started: Sequence[subprocess.Popen[bytes]] = ()
    ) -> None:
        super().__init__(timeout=30, trust_env=False)
        self.gateway = gateway
        self.sandbox = sandbox
        self.started = started

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
        """The gateway's answer to a query; raises DemoError for a refusal, or for an answer with faults."""
        answer = self.post(
            f"{self.gateway}/graphql",
            json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer {token}"},
        )
        try:
            body = dict(answer.json())
        except ValueError as error:
            raise DemoError(f"what answers at {self.gateway} is no gateway") from error
        if "errors" in body or body.get("data") is None:
            said = json.dumps(body.get("errors"), ensure_ascii=False)
            raise DemoError(f"the gateway answers a question of the showcase with {said}")
        return body

    def asked(self, source: str) -> int:
        """How many requests a source of the sandbox has had."""
        counts = self.get(f"{self.sandbox['admin']}/counts").raise_for_status().json()
        return int(counts[source]["requests"])

    @contextmanager
    def down(self, source: str) -> Iterator[None]:
        """A source whose port is closed for a while."""
        switch = f"{self.sandbox['admin']}/faults/{source}"
        self.put(switch, json={"fault": "down"}).raise_for_status()
        try:
            yield
        finally:
            self.put(switch, json={"fault": "off"}).raise_for_status()


def run_demo(*, once: bool, port: int, sandbox_port: int, state: Path, registrations: Path | None) -> int:
    """Run the demonstration; 0 when every answer of the showcase is what the scenario demands.

    Unless `once`, the service stays up until Ctrl-C. What was started here is stopped here.
    """
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            service = _service(stack, port, sandbox_port, state, registrations)
            failures = showcase(service)
            if service.started:
                failures += _ledger(state)
            verdict = f"WRONG: {'; '.join(failures)}" if failures else "every answer is as demanded"
            print(f"\nShowcase: {verdict}.", flush=True)
            if not once and not failures:
                _invite(service)
                _stay(service)
            return 1 if failures else 0
    except (DemoError, LedgerFailure, httpx.HTTPError, OSError) as error:
        print(f"The demonstration cannot run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("The demonstration was interrupted.", file=sys.stderr)
        return 130


def _service(
    stack: ExitStack, port: int, sandbox_port: int, state: Path, registrations: Path | None
) -> Service:
    """The service that runs at these ports already, or one started for as long as `stack` is open."""
    gateway, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}"
    match _json(f"{gateway}/readyz"), _json(admin):
        case {"ready": True}, {"sources": dict(running)}:
            print(f"A service runs already at {gateway}: it is asked, and left running.")
            addresses = {name: source["url"] for name, source in running.items()}
            return stack.enter_context(Service(gateway, {"admin": admin} | addresses))
    state.mkdir(parents=True, exist_ok=True)
    arguments = ["sandbox", "--base-port", str(sandbox_port)]
    if registrations is not None:
        arguments += ["--registrations", str(registrations)]
    sandbox = _start(stack, arguments, state / "sandbox.log")
    ports = _ready_line(sandbox, state / "sandbox.log")["ports"]
    addresses = {name: f"http://127.0.0.1:{number}" for name, number in ports.items()}
    config = state / "gateway.toml"
    config.write_text(_config(port, addresses), "utf-8")
    process = _start(stack, ["serve", "--config", str(config)], state / "gateway.log")
    gateway = _ready_line(process, state / "gateway.log")["url"]
    return stack.enter_context(Service(gateway, addresses, (sandbox, process)))


def _json(url: str) -> Any:
    """What an address answers as JSON, None where nothing or something else answers."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return None


def _start(stack: ExitStack, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    # -P: a folder named like one of our packages, where the visitor happens to be, is not ours.
    command = [sys.executable, "-P", "-c", "from gateway.cli import main; main()", *arguments]
    with log.open("ab") as errors, _undisturbed():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)  # noqa: S603  # our own command
        stack.callback(_stop, process)
    return process


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals wait until the end: between a start and its note, Ctrl-C would leave a process behind."""
    came: list[int] = []
    held = {number: signal.signal(number, lambda n, _: came.append(n)) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, earlier in held.items():
            signal.signal(number, earlier)
    for first in came[:1]:
        signal.raise_signal(first)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _ready_line(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """What a process writes when it is ready; raises DemoError with its last words when it ends instead."""
    line = process.stdout.readline() if process.stdout is not None else b""
    if not line:
        last = log.read_text("utf-8").splitlines()[-1:] or ["no message"]
        raise DemoError(f"{log.stem} did not start: {last[0].removeprefix('Error: ')}")
    return dict(json.loads(line))


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
    marks = [mark for node in _nodes(contested["penalties"]) for mark in node["marks"]]
    return _wrong(
        {
            "bidder 1 is clean": clean["penalties"]["state"] == clean["enforcement"]["state"] == "NONE",
            "bidder 2 has a penalty": penalised["penalties"]["state"] == "HAS",
            "bidder 3's repaired penalty looks like none": repaired["penalties"]["state"] == "NONE",
            "bidder 4 is on the court's list": enforced["enforcement"]["state"] == "HAS",
            "bidder 4 is seriously dishonest": enforced["seriousDishonesty"]["state"] == "HAS",
            "bidder 5's penalty carries its mark": "UNDER_OBJECTION" in marks,
            "bidder 5's penalty beyond five years is gone": len(_nodes(contested["penalties"])) == 2,
            "the inquiry has a receipt": answer["extensions"]["receipt"]["position"] > 0,
        }
    )


def _bidder_variables() -> dict[str, Any]:
    return {"bidders": [{"id": {"creditCode": code}} for code in BIDDERS]}


def _loan(service: Service) -> list[str]:
    print("\n2. A bank decides on a credit loan, with the subject's authorization.")
    authorization = service.authorization(BIDDERS[0], PERSONAS["first-bank"].unit)
    answer = service.ask(service.token("first-bank"), CREDIT_LOAN, _loan_variables(BIDDERS[0], authorization))
    _show(CREDIT_LOAN, answer)
    subject = answer["data"]["inquiry"]["subject"]
    bands = [node["amountBand"] for node in _nodes(subject["taxPayments"])]
    return _wrong(
        {
            "registration is answered": subject["registration"]["state"] == "HAS",
            "tax is answered in bands": bool(bands) and all(bands),
            "two providers stand side by side": len(
                {node["provider"] for node in _nodes(subject["marketCredit"])}
            )
            == 2,
        }
    )


def _loan_variables(code: str, authorization: str) -> dict[str, Any]:
    return {"subject": {"creditCode": code}, "authorization": authorization}


def _denied(service: Service) -> list[str]:
    print("\n3. The bank tries that authorization on another company: denied, and no source is asked.")
    authorization = service.authorization(BIDDERS[0], PERSONAS["first-bank"].unit)
    before = service.asked("taxation"), service.asked("market-a")
    answer = service.ask(service.token("first-bank"), CREDIT_LOAN, _loan_variables(BIDDERS[1], authorization))
    _show(CREDIT_LOAN, answer)
    for denial in answer["extensions"].get("denials", [])[:1]:
        print(f"   why     {denial['message']}")
        print(f"   basis   {', '.join(denial['basis'])}")
        print(f"   remedy  {denial['remedy']}")
    subject = answer["data"]["inquiry"]["subject"]
    return _wrong(
        {
            "tax is denied": subject["taxPayments"]["state"] == "DENIED",
            "the denial says why": _reason(subject["taxPayments"]) == "DENY_NO_AUTHORISATION_SCOPE",
            "what is denied is not fetched": before == (service.asked("taxation"), service.asked("market-a")),
            "what is open is answered": subject["registration"]["state"] == "HAS",
        }
    )


def _source_down(service: Service) -> list[str]:
    print("\n4. The court's system is down while the department asks again: unknown is not clean.")
    token = service.token("market-regulation-bureau")
    with service.down("court"):
        answer = service.ask(token, BIDDER_CHECK, _bidder_variables())
    _show(BIDDER_CHECK, answer, only=("penalties", "enforcement"))
    subjects = answer["data"]["inquiry"]["subjects"]
    return _wrong(
        {
            "enforcement is unknown": all(s["enforcement"]["state"] == "UNKNOWN" for s in subjects),
            "the rest is answered": subjects[1]["penalties"]["state"] == "HAS",
        }
    )


def _wrong(demands: Mapping[str, bool]) -> list[str]:
    for demand, met in demands.items():
        print(f"   {'ok   ' if met else 'WRONG'}   {demand}")
    return [demand for demand, met in demands.items() if not met]


def _show(query: str, answer: Mapping[str, Any], only: Sequence[str] = ()) -> None:
    """The inquiry of a question and its answer; of the sections `only` these, all when there are none."""
    (asked,) = re.findall(r"inquiry\(\s*(.*?)\s*\)", query, re.DOTALL)
    print(f"   inquiry({' '.join(asked.split())})")
    inquiry = answer["data"]["inquiry"]
    for subject in inquiry.get("subjects") or [inquiry["subject"]]:
        sections = {name: section for name, section in subject.items() if isinstance(section, dict)}
        registration = sections.pop("registration")
        print(f"\n   {_text(registration) if registration['state'] == 'HAS' else registration['state']}")
        shown = {name: section for name, section in sections.items() if name in only or not only}
        for line in _lines(shown):
            print(f"     {line}")
    receipt = answer["extensions"]["receipt"]
    print(f"\n   receipt {receipt['id']}, position {receipt['position']} of the ledger")


def _lines(sections: Mapping[str, Any]) -> Iterator[str]:
    """A line for each section that has records; the others by state, a line for each."""
    for name, section in sections.items():
        if section["state"] == "HAS":
            yield f"HAS      {name}: {_text(section)}"
    empty = [(section["state"], _reason(section), name) for name, section in sections.items()]
    empty = sorted((entry for entry in empty if entry[0] != "HAS"), key=lambda entry: entry[:2])
    for (state, reason), group in groupby(empty, key=lambda entry: entry[:2]):
        yield f"{state:8} {', '.join(name for _, _, name in group)}{f' ({reason})' if reason else ''}"


def _text(section: Mapping[str, Any]) -> str:
    """The first record of a section, and how many more there are."""
    nodes = _nodes(section)
    first = ", ".join(_value(value) for value in nodes[0].values() if value) if nodes else "nothing asked"
    return f"{first} (+{len(nodes) - 1})" if len(nodes) > 1 else first


def _nodes(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    record, records = section.get("record"), section.get("records")
    return [record] if record else (records or {}).get("nodes") or []


def _reason(section: Mapping[str, Any]) -> str:
    return str((section.get("reason") or {}).get("code", ""))


def _value(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _ledger(state: Path) -> list[str]:
    found = verify(state / "ledger.sqlite", load_or_create_key(state / "ledger.key"))
    print(f"\nLedger: {found.rows} inquiries, {found.finding or 'nothing changed, missing or reordered'}.")
    return [] if found.ok else ["the ledger does not verify"]


# For the visitor ---------------------------------------------------------------------------------------------


def _invite(service: Service) -> None:
    body = {
        "query": " ".join(re.sub("(?m)^#.*$", "", PUBLIC_RECORD).split()),
        "variables": {"subject": {"creditCode": BIDDERS[1]}},
    }
    program = shlex.quote(str(Path(sys.executable).with_name("credit-gateway")))
    print("\nTokens, good for twelve hours and for synthetic subjects:\n")
    for title, client in (
        ("department", "market-regulation-bureau"),
        ("bank", "first-bank"),
        ("subject", "subject-portal"),
        ("developer", "developer"),
    ):
        print(f"{title}:\n{service.token(client)}\n")
    print(
        "A first query to paste; it takes a developer's token:\n\n"
        f"curl -s {service.gateway}/graphql -H 'content-type: application/json' \\\n"
        f'  -H "authorization: Bearer $({program} token --client developer '
        f'--issuer {service.sandbox["issuer"]})" \\\n  -d {shlex.quote(json.dumps(body))}\n'
    )
    print(f"Explorer: {service.gateway}/explorer (it starts with the developer's token)")
    print(f"Sandbox:  {service.sandbox['admin']} (its subjects at /cast, what it was asked at /counts)")


def _stay(service: Service) -> None:
    try:
        print("Running until Ctrl-C.", flush=True)
        while all(process.poll() is None for process in service.started):
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    raise DemoError("the sandbox or the gateway ended: see the log files beside the ledger")
