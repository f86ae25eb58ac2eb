"""No identifier of a subject leaves but in the data of an answer: not in logs, errors, headers, ledger or URLs."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import apsw
import httpx
import orjson
import pytest
import pytest_asyncio
from issuing import ec_key, sign
from recording_vfs import RecordingVfs
from service import BANK, BUREAU, CLEAN, CONTESTED, DEFAULTER, INDIVIDUAL, PENALISED, Client, gateway

from connectors.sandbox.server import CONSENT_SERVICE, REGISTERS, SOURCES, Sandbox
from gateway.examples import CREDIT_LOAN, FIND, MY_PERSONAL_RECORD, MY_RECORD
from gateway.ledger import read_rows
from gateway.logs import JsonLines, configure_logs
from gateway.settings import ExplorerSettings

UNHEARD = "91990100FAKE09999U"
WRONG_CHECK = "91990100FAKE009967"
REGISTRATION_NUMBER = "990105000000129"
NUMBERS = (DEFAULTER["number"], "99010519850607123X", "990105201506010116", "990105199912319986")
NAMES = (DEFAULTER["name"], "例守信", "例年少", "示例清白科技", "寻找某某公司")
CODES = (CLEAN, PENALISED, CONTESTED, INDIVIDUAL, UNHEARD, WRONG_CHECK, REGISTRATION_NUMBER)
PLANTED = (*CODES, *NUMBERS, *NAMES)

SECTIONS = """... on RegisteredSubject { registration { state reason { code } record { name } } }
... on OperatingSubject { penalties { state } licences { state } enforcement { state } arrears { state }
  abnormalOperations { state } seriousDishonesty { state } evaluations { state } commitments { state }
  taxPayments { state } contributionPayments { state } marketCredit { state } associationRecords { state } }
... on NaturalPerson { identityMatch { state } licences { state } enforcement { state } taxPayments { state } }"""
LOOK = (
    'query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {'
    " subject(id: $id) { warnings %s } } }" % SECTIONS
)
LICENSE = LOOK.replace("SUPERVISION", "LICENSING").replace(
    'inspectionPlanNumber: "I-1"', 'matterCode: "M-1", caseNumber: "C-1"'
)
REJECT = LOOK.replace("inquiry(", "inquiry(onDenied: REJECT, ")
MANY = LOOK.replace("$id: SubjectId!", "$of: [SubjectRef!]!").replace("subject(id: $id)", "subjects(of: $of)")


@dataclass
class Leaks:
    """Everything that was logged, raw and as written, and every URL that the gateway asked."""

    records: list[logging.LogRecord] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def of_logs(self) -> list[str]:
        """Every text that a handler could write of the records."""
        texts = list(self.lines)
        for record in self.records:
            texts += [str(record.__dict__), record.getMessage()]
            if record.exc_info:
                texts.append(logging.Formatter().formatException(record.exc_info))
        return texts


class _Collector(logging.Handler):
    def __init__(self, leaks: Leaks) -> None:
        super().__init__(logging.NOTSET)
        self._leaks = leaks
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self._leaks.records.append(record)
        self._leaks.lines.append(self.format(record))


class _Listening(httpx.AsyncBaseTransport):
    """The network, with every address noted."""

    def __init__(self, leaks: Leaks) -> None:
        self._leaks = leaks
        self._network = httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._leaks.requests.append((request.method, unquote(str(request.url))))
        return await self._network.handle_async_request(request)

    async def aclose(self) -> None:
        await self._network.aclose()


@contextmanager
def _collecting(leaks: Leaks) -> Iterator[None]:
    """Logs set up as the service does, at DEBUG, with every record kept; afterwards as before."""
    root, collector = logging.getLogger(), _Collector(leaks)
    loggers = [root, *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    before = [(each, each.level, each.propagate, list(each.handlers)) for each in loggers[1:]]
    level, others = root.level, list(root.handlers)
    root.handlers = []  # those of the test run are put aside, or they would be closed
    configure_logs("DEBUG")
    root.handlers = [*others, collector]
    try:
        yield
    finally:
        root.removeHandler(collector)
        root.setLevel(level)
        for logger, old_level, propagate, handlers in before:
            logger.setLevel(old_level)
            logger.propagate = propagate
            logger.handlers = handlers


@dataclass
class Watched:
    """A gateway under watch."""

    client: Client
    leaks: Leaks
    layer: RecordingVfs
    answers: list[httpx.Response] = field(default_factory=list)

    async def post(
        self, who: str | None, query: str, variables: Any = None, **options: Any
    ) -> httpx.Response:
        answer = await self.client.post(who, query, variables, **options)
        self.answers.append(answer)
        return answer

    async def send(self, body: bytes, **headers: str) -> httpx.Response:
        given = {
            "authorization": f"Bearer {await self.client.token(BUREAU)}",
            "content-type": "application/json",
        }
        answer = await self.client.http.post(
            f"{self.client.url}/graphql", content=body, headers=given | headers
        )
        self.answers.append(answer)
        return answer

    async def get(self, address: str) -> httpx.Response:
        token = await self.client.token(BUREAU)
        answer = await self.client.http.get(
            self.client.url + address, headers={"authorization": f"Bearer {token}"}
        )
        self.answers.append(answer)
        return answer


@pytest_asyncio.fixture
async def watched(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Watched]:
    leaks, layer = Leaks(), RecordingVfs("watched")
    with _collecting(leaks):
        async with gateway(
            sandbox,
            tmp_path,
            transport=_Listening(leaks),
            ledger_vfs=layer.name,
            explorer=ExplorerSettings(enabled=True, demo_issuer=sandbox.urls["issuer"]),
        ) as client:
            yield Watched(client, leaks, layer)
            await client.clear_faults()


def _code(code: str) -> dict[str, Any]:
    return {"id": {"creditCode": code}}


def _person(number: str, name: str) -> dict[str, Any]:
    return {"id": {"resident": {"number": number, "name": name}}}


async def _ask_well(watched: Watched) -> None:
    for code in (CLEAN, PENALISED, CONTESTED, INDIVIDUAL, UNHEARD, WRONG_CHECK):
        assert (await watched.post(BUREAU, LOOK, _code(code))).status_code == 200
    await watched.post(BUREAU, LOOK, {"id": {"registrationNumber": REGISTRATION_NUMBER}})
    await watched.post(BUREAU, MANY, {"of": [_code(CLEAN), _code(PENALISED)]})
    await watched.post(BUREAU, LICENSE, _person(DEFAULTER["number"], DEFAULTER["name"]))
    await watched.post("public", FIND, {"name": "示例"})
    await watched.post("public", FIND, {"name": "寻找某某公司"})
    await watched.post("subject-portal", MY_RECORD, {"me": {"creditCode": CLEAN}})
    me = {"me": {"resident": DEFAULTER}}
    await watched.post("subject-portal", MY_PERSONAL_RECORD, me, persona="natural-person")
    authorization = await watched.client.authorization({"credit_code": CLEAN})
    loan = {"subject": {"creditCode": CLEAN}, "authorization": authorization}
    assert (await watched.post(BANK, CREDIT_LOAN, loan)).status_code == 200


async def _ask_denied(watched: Watched) -> None:
    await watched.post("public", LOOK, _code(PENALISED))
    await watched.post(BANK, LICENSE, _person(*DEFAULTER.values()))
    await watched.post("developer", LOOK, _code(CLEAN), persona=BANK)
    await watched.post(BUREAU, REJECT, _code(CLEAN))
    await watched.post(BUREAU, LICENSE, _person("990105201506010116", "例年少"))
    await watched.post("subject-portal", MY_RECORD, {"me": {"creditCode": PENALISED}})
    await watched.post(BUREAU, FIND.replace("PUBLIC_VIEW", "LICENSING"), {"name": "示例清白科技"})
    authorization = await watched.client.authorization({"credit_code": PENALISED})
    await watched.post(BANK, CREDIT_LOAN, {"subject": {"creditCode": CLEAN}, "authorization": authorization})
    claims = {"iss": "https://other.example", "subject": {"credit_code": CLEAN}}
    forged = sign(claims, ec_key("x"), typ="credit-authorization+jwt")
    await watched.post(BANK, CREDIT_LOAN, {"subject": {"creditCode": CLEAN}, "authorization": forged})


async def _ask_badly(watched: Watched) -> None:
    post = watched.post
    for planted in PLANTED:
        quoted = f'"{planted}"'
        await post(BUREAU, LOOK, {"id": planted})
        await post(BUREAU, LOOK, {"id": {planted: planted}})
        await post(BUREAU, LOOK, _code(f"{planted}?"))
        await post(BUREAU, LOOK, {"id": {"registrationNumber": f"{planted}?"}})
        await post(BUREAU, LOOK, _person(f"{planted}?", "例"))
        await post(BUREAU, LOOK, _person(DEFAULTER["number"], f"{planted}\n"))
        await post(BUREAU, LOOK.replace('"I-1"', quoted + quoted), _code(CLEAN))
        await post(BUREAU, LOOK.replace("SUPERVISION", quoted), _code(CLEAN))
        await post(BUREAU, f"{{ viewer(id: {quoted}) {{ type }} }}")
        await post(BUREAU, f"{{ viewer {{ {quoted} }} }}")
        await post(BUREAU, "query($p: Purpose!) { inquiry(purpose: $p) { receipt { id } } }", {"p": planted})
        await post("public", FIND.replace("first: 5", f"first: {quoted}"), {"name": planted})
        await post("public", FIND.replace("first: 5", "first: 5, after: $name"), {"name": planted})
        await post("public", FIND, {"name": [planted]})
        await post(BUREAU, LOOK, _code(CLEAN), headers={"authorization": f"Bearer {planted}".encode()})
        await post(None, LOOK, _code(planted))
        await watched.send(planted.encode())
        await watched.send(f'{{"query": {quoted}, "variables": {quoted}}}'.encode())
        await watched.send(f'{{"query": "{{ viewer {{ type }} }}", "operationName": {quoted}}}'.encode())
        await watched.send(f'{{"query": {quoted}}} {quoted}'.encode())
        await watched.send(b"{}", **{"content-type": "text/x"})
        await watched.get(f"/{planted}")
        await watched.get(f"/graphql?query={planted}&variables={planted}")
        await watched.get(f"/explorer/token?persona={planted}")
    for planted in (*CODES, *NUMBERS):
        name = f"N{planted}"
        await post(BUREAU, f"{{ {name} }}")
        await post(BUREAU, f"query {name} {{ viewer {{ {name}: {name} }} }}")
        await post(BUREAU, f"query(${name}: {name}) {{ viewer(id: ${name}) @{name} {{ ...{name} }} }}")
        await post(BUREAU, f"fragment {name} on Query {{ ...{name} }} {{ ...{name} }}")
        await post(BUREAU, LOOK.replace("subject(", f"{name}: subject("), _code("1"))
        await post(BUREAU, LOOK.replace("$id", f"${name}"), {name: {"creditCode": [planted]}})
    # a former registration number has the form of many numbers of matters, and may stand for one
    for planted in (*(code for code in CODES if code != REGISTRATION_NUMBER), *NUMBERS):
        answer = await post(BUREAU, LOOK.replace('"I-1"', f'"{planted}"'), _code(CLEAN))
        assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_EVIDENCE"


async def _ask_broken(watched: Watched) -> None:
    """Every source failing in every way, then the ledger, then the answer itself."""
    authorization = await watched.client.authorization({"credit_code": CONTESTED})
    loan = {"subject": {"creditCode": CONTESTED}, "authorization": authorization}
    for fault in ("error", "garbage", "truncated", "down"):
        await asyncio.gather(*(watched.client.fault(source, fault) for source in SOURCES))
        states = await watched.post(BUREAU, LOOK, _code(CONTESTED))
        assert "UNKNOWN" in states.text
        await watched.post(BUREAU, LICENSE, _person(*DEFAULTER.values()))
        await watched.post(BANK, CREDIT_LOAN, loan)
        await watched.post("public", FIND, {"name": "寻找某某公司"})
    await watched.client.clear_faults()
    await asyncio.gather(*(watched.client.fault(source, "delay", 30) for source in SOURCES))
    assert "UNKNOWN" in (await watched.post(BUREAU, LOOK, _code(INDIVIDUAL))).text
    await watched.client.clear_faults()
    registers = [*REGISTERS, CONSENT_SERVICE]
    for fault in ("error", "garbage", "truncated", "down"):
        await asyncio.gather(*(watched.client.fault(register, fault) for register in registers))
        assert "DENY_EVIDENCE" in (await watched.post(BUREAU, LOOK, _code(CONTESTED))).text
        await watched.post(BUREAU, LICENSE, _person(*DEFAULTER.values()))
        await watched.post(BANK, CREDIT_LOAN, loan)
    await watched.client.clear_faults()
    watched.layer.write_error = apsw.FullError(f"disk full: {CLEAN}")
    assert (await watched.post(BUREAU, LOOK, _code(CLEAN))).status_code == 503
    watched.layer.write_error = None


def _found(texts: list[str], planted: tuple[str, ...] = PLANTED) -> list[tuple[str, str]]:
    return [(each, text[:300]) for text in texts for each in planted if each in text]


async def test_no_identifier_is_logged_echoed_recorded_or_put_into_an_address(watched: Watched) -> None:
    await _ask_well(watched)
    await _ask_denied(watched)
    await _ask_badly(watched)
    await _ask_broken(watched)
    # logs
    assert any('"request"' in line for line in watched.leaks.lines)
    assert any("source" in line for line in watched.leaks.lines)
    assert _found(watched.leaks.of_logs()) == []
    # errors, and the part of answers that is not data
    bodies = [answer.json() for answer in watched.answers]
    refused = [body for body in bodies if "errors" in body]
    assert len(refused) > 300
    beside = [orjson.dumps({k: v for k, v in body.items() if k != "data"}).decode() for body in bodies]
    assert _found(beside) == []
    assert _found([str(answer.headers.multi_items()) for answer in watched.answers]) == []
    # addresses: an organisation's code may be in that of a GET, a person is never in any
    assert any(CLEAN in url for method, url in watched.leaks.requests if method == "GET")
    got = [url for method, url in watched.leaks.requests if method == "GET"]
    sent = [url for method, url in watched.leaks.requests if method != "GET"]
    assert _found(sent) == []
    assert _found(got, (*NUMBERS, *NAMES)) == []
    # the ledger
    rows = list(read_rows(watched.client.folder / "ledger.sqlite"))
    assert len(rows) > 20
    assert _found([body.decode() for _, body in rows]) == []
    # a bare digest of a known query would let its identifier be found by trying
    digest = hashlib.sha256(LOOK.encode()).hexdigest()
    assert all(digest not in body.decode() for _, body in rows)
    for file in watched.client.folder.glob("ledger.sqlite*"):
        content = file.read_bytes()
        assert [each for each in PLANTED if each.encode() in content] == [], file.name


async def test_an_unexpected_failure_tells_its_place_and_no_value(sandbox: Sandbox, tmp_path: Path) -> None:
    started = False

    def broken() -> datetime:
        if started:
            raise RuntimeError(f"failed for {CLEAN}")
        return datetime.now(UTC)

    leaks = Leaks()
    with _collecting(leaks):
        async with gateway(sandbox, tmp_path, clock=broken) as client:
            started = True
            answer = await client.post(BUREAU, LOOK, _code(CLEAN))
    assert answer.status_code == 500
    assert CLEAN not in answer.text + str(answer.headers)
    assert _found(leaks.of_logs()) == []
    (error,) = answer.json()["errors"]
    incident = error["extensions"]["incident"]
    assert any(incident in line and "RuntimeError" in line for line in leaks.lines)


def test_the_search_for_leaks_finds_them(caplog: pytest.LogCaptureFixture) -> None:
    leaks = Leaks()
    with _collecting(leaks):
        logging.getLogger("anything").debug("asked for %s", CLEAN)
        try:
            raise ValueError(DEFAULTER["name"])
        except ValueError:
            logging.getLogger("other").exception("failed")
    assert {each for each, _ in _found(leaks.of_logs())} == {CLEAN, DEFAULTER["name"]}
