"""The promises of the gateway, each with the test that would fail without it."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import apsw
import httpx
import orjson
import pytest
from recording_vfs import RecordingVfs, ahead_of_sync
from service import (
    BANK,
    BUREAU,
    CLEAN,
    CONTESTED,
    ENFORCED,
    PENALISED,
    REPAIRED,
    Client,
    gateway,
    serving,
    settings_for,
)
from strawberry.utils.str_converters import to_camel_case

from connectors.sandbox.server import Sandbox
from gateway.app import create_app, load_bundle
from gateway.examples import BIDDER_CHECK, BIDDERS, CREDIT_LOAN, PUBLIC_RECORD
from gateway.ledger import load_or_create_key, read_rows, verify
from gateway.settings import SourceSettings
from policies.catalogue import SECTIONS as SECTIONS_OF_CATALOGUE
from policies.catalogue import fields_of
from policies.vocabulary import SubjectKind
from resolvers.schema import build_schema

NOBODY = "91990100FAKE09999U"
"""A well-formed code of division 99 that is in no source."""

SECTIONS = """registration { state reason { code basis { citation } remedy } sources { id state } withheld { field }
  complete asOf record { name creditCode } }
penalties { state level reason { code basis { citation } remedy } withheld { field code } complete
  records { totalCount nodes { documentNumber kind marks } } }
taxPayments { state reason { code basis { citation } remedy } records { totalCount } }"""

SUPERVISE = (
    'query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {'
    " subject(id: $id) { warnings ... on OperatingSubject { %s } } } }" % SECTIONS
)


def _subject(body: dict[str, Any]) -> dict[str, Any]:
    subject: dict[str, Any] = body["data"]["inquiry"]["subject"]
    return subject


# 1. No purpose, no answer


def test_every_way_to_a_subject_leads_through_an_inquiry_with_a_purpose() -> None:
    schema = build_schema(load_bundle("example"))._schema
    query = schema.query_type
    assert query is not None
    inquiry = query.fields["inquiry"]
    assert str(inquiry.args["purpose"].type) == "Purpose!"
    for name, field in query.fields.items():
        if name != "inquiry":
            assert not _reaches(schema, field.type, "CreditSubject", "Section", "CreditRecord"), name


def _reaches(schema: Any, start: Any, *targets: str) -> bool:
    waiting, seen = [start], set()
    while waiting:
        named = waiting.pop()
        while hasattr(named, "of_type"):
            named = named.of_type
        if named.name in seen:
            continue
        seen.add(named.name)
        if named.name in targets or any(i.name in targets for i in getattr(named, "interfaces", ())):
            return True
        waiting += [field.type for field in getattr(named, "fields", {}).values()]
    return False


async def test_without_a_purpose_nothing_is_answered(client: Client) -> None:
    before = await client.requests()
    answer = await client.post(
        BUREAU, '{ inquiry { subject(id: {creditCode: "91990100FAKE00013D"}) { kind } } }'
    )
    assert answer.status_code == 400
    assert "data" not in answer.json()
    assert await client.requests() == before


# 2. Deny by default, and say why, never whether the subject exists


async def test_a_denial_says_why_and_not_whether_the_subject_exists(client: Client) -> None:
    query = SUPERVISE.replace("SUPERVISION", "PUBLIC_VIEW").replace(
        ', evidence: {inspectionPlanNumber: "I-1"}', ""
    )
    known = await client.ask("public", query, {"id": {"creditCode": PENALISED}})
    unknown = await client.ask("public", query, {"id": {"creditCode": NOBODY}})
    tax = _subject(known)["taxPayments"]
    assert tax["state"] == "DENIED"
    assert tax["reason"]["code"] == "DENY_CATEGORY"
    assert tax["reason"]["basis"]
    assert tax["reason"]["remedy"]
    assert tax == _subject(unknown)["taxPayments"]
    assert known["extensions"]["denials"] == unknown["extensions"]["denials"]


# 3. What is not permitted is not fetched


async def test_a_denied_category_causes_no_request_at_any_source(client: Client) -> None:
    before = await client.requests()
    body = await client.ask(
        BANK,
        """query($id: SubjectId!) { inquiry(purpose: LOAN_PRECHECK,
          evidence: {applicationNumber: "A-1", queryReasonCode: "02"}) { subject(id: $id) {
            ... on OperatingSubject { taxPayments { state } marketCredit { state } contributionPayments { state } } } } }""",
        {"id": {"creditCode": CLEAN}},
    )
    assert {section["state"] for section in _subject(body).values()} == {"DENIED"}
    assert await client.requests() == before


async def test_only_granted_sections_are_fetched(client: Client) -> None:
    before = await client.requests()
    await client.ask(BANK, CREDIT_LOAN, {"subject": {"creditCode": CLEAN}, "authorization": None})
    after = await client.requests()
    asked = {name for name in after if after[name] != before[name]}
    assert asked == {"provincial-platform"}


# 4. Absent, denied and unknown are three answers


async def test_absent_denied_and_unknown_are_three_answers(client: Client) -> None:
    await client.fault("provincial-platform", "down")
    body = await client.ask(BUREAU, SUPERVISE, {"id": {"creditCode": CLEAN}})
    down = _subject(body)
    assert down["penalties"]["state"] == "UNKNOWN"
    assert down["penalties"]["complete"] is False
    assert down["penalties"]["reason"]["code"] == "UNKNOWN_SOURCE_DOWN"
    assert down["taxPayments"]["state"] == "DENIED"
    await client.clear_faults()
    up = _subject(await client.ask(BUREAU, SUPERVISE, {"id": {"creditCode": CLEAN}}))
    assert up["penalties"]["state"] == "NONE"
    assert up["penalties"]["complete"] is True


async def test_no_data_at_a_source_is_no_error(client: Client) -> None:
    body = await client.ask(BUREAU, SUPERVISE, {"id": {"creditCode": NOBODY}})
    assert _subject(body)["registration"]["state"] == "NONE"
    assert _subject(body)["penalties"]["state"] == "NONE"


# 5. Time is permission


async def test_a_repaired_record_looks_to_a_department_like_none(client: Client) -> None:
    repaired = _subject(await client.ask(BUREAU, SUPERVISE, {"id": {"creditCode": REPAIRED}}))
    clean = _subject(await client.ask(BUREAU, SUPERVISE, {"id": {"creditCode": CLEAN}}))
    assert repaired["penalties"] == clean["penalties"]


async def test_rights_work_sees_the_repaired_record_at_issue(client: Client) -> None:
    query = """query($id: SubjectId!, $records: [String!]) {
      inquiry(purpose: REPAIR, evidence: {repairNumber: "R-1", recordIds: $records}) { subject(id: $id) {
        ... on Organisation { penalties { records { nodes { recordId repairedOn } } } } } } }"""
    own = """query($id: SubjectId!) { inquiry(purpose: REPAIR, evidence: {repairNumber: "R-1", recordIds: ["X-1"]}) {
      subject(id: $id) { ... on Organisation { penalties { state } } } } }"""
    other = await client.ask(BUREAU, own, {"id": {"creditCode": REPAIRED}})
    assert _subject(other)["penalties"]["state"] == "NONE"
    (penalty,) = client.sandbox.population.records.penalties[REPAIRED]
    record = penalty.number
    body = await client.ask(BUREAU, query, {"id": {"creditCode": REPAIRED}, "records": [record]})
    (node,) = _subject(body)["penalties"]["records"]["nodes"]
    assert node["recordId"] == record
    assert node["repairedOn"] is not None


async def test_publication_ends_before_the_inquiry_limit(client: Client) -> None:
    department = _subject(await client.ask(BUREAU, SUPERVISE, {"id": {"creditCode": CONTESTED}}))
    public = _subject(await client.ask("public", PUBLIC_RECORD, {"subject": {"creditCode": CONTESTED}}))
    assert department["penalties"]["records"]["totalCount"] == 2
    assert len(public["penalties"]["records"]["nodes"]) == 1


# 6. No answer without evidence


async def test_the_sync_of_the_row_precedes_the_first_byte_of_its_answer(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    layer = RecordingVfs("promise", row=r'"receipt":"([0-9a-f-]{36})"')
    receipts = await _answers_over(layer, sandbox, tmp_path)
    sent = [event[1] for event in layer.events if event[0] == "send"]
    assert sorted(sent) == sorted(receipts)
    assert ahead_of_sync(layer.events, "send") == []


async def test_that_check_would_see_a_missing_sync(sandbox: Sandbox, tmp_path: Path) -> None:
    layer = RecordingVfs("broken-promise", row=r'"receipt":"([0-9a-f-]{36})"')
    layer.swallows_syncs = True
    receipts = await _answers_over(layer, sandbox, tmp_path)
    assert sorted(ahead_of_sync(layer.events, "send")) == sorted(receipts)


async def _answers_over(layer: RecordingVfs, sandbox: Sandbox, folder: Path) -> list[str]:
    """Ask concurrently of a gateway whose ledger lies on that layer; the receipts of its answers."""
    app = create_app(settings_for(sandbox, folder), environment={}, ledger_vfs=layer.name)

    async def recorded(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start" and scope["path"] == "/graphql":
                layer.record(("start",))
            if message["type"] == "http.response.body" and scope["path"] == "/graphql":
                layer.record(("send", orjson.loads(message["body"])["extensions"]["receipt"]["id"]))
            await send(message)

        await app(scope, receive, sending)

    async with serving(recorded) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
        client = Client(http, url, sandbox, folder)
        bodies = await asyncio.gather(
            *(client.ask(BUREAU, SUPERVISE, {"id": {"creditCode": code}}) for code in BIDDERS * 8)
        )
    return [body["extensions"]["receipt"]["id"] for body in bodies]


async def test_when_the_ledger_cannot_write_nothing_is_answered(sandbox: Sandbox, tmp_path: Path) -> None:
    layer = RecordingVfs("full")
    async with gateway(sandbox, tmp_path, ledger_vfs=layer.name) as client:
        assert (await client.post(BUREAU, SUPERVISE, {"id": {"creditCode": CLEAN}})).status_code == 200
        layer.write_error = apsw.FullError("disk full")
        refused = await client.post(BUREAU, SUPERVISE, {"id": {"creditCode": CLEAN}})
        assert refused.status_code == 503
        assert "data" not in refused.json()
        assert refused.json()["errors"][0]["extensions"]["code"] == "LEDGER_UNAVAILABLE"
        layer.write_error = None
        assert (await client.post(BUREAU, SUPERVISE, {"id": {"creditCode": CLEAN}})).status_code == 200


async def test_kill_9_under_load_loses_no_answered_inquiry(sandbox: Sandbox, tmp_path: Path) -> None:
    process, url = await _gateway_process(sandbox, tmp_path)
    answered: list[dict[str, Any]] = []
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        client = Client(http, url, sandbox, tmp_path)
        await client.ask(BUREAU, SUPERVISE, {"id": {"creditCode": CLEAN}})

        async def ask_until_killed() -> None:
            while True:
                try:
                    body = await client.ask(BUREAU, SUPERVISE, {"id": {"creditCode": PENALISED}})
                except httpx.TransportError:
                    return
                answered.append(body["extensions"]["receipt"])

        clients = [asyncio.create_task(ask_until_killed()) for _ in range(8)]
        while len(answered) < 200:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await asyncio.gather(*clients)
    ledger = tmp_path / "ledger.sqlite"
    recorded = {orjson.loads(body)["receipt"]: position for position, body in read_rows(ledger)}
    assert {receipt["id"]: receipt["position"] for receipt in answered}.items() <= recorded.items()
    last = max(answered, key=lambda receipt: receipt["position"])
    key = load_or_create_key(tmp_path / "ledger.key")
    assert verify(ledger, key, receipt=(last["position"], last["hash"])).ok


async def _gateway_process(sandbox: Sandbox, folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    """A gateway in a process of its own; the port is found free first."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    issuer = sandbox.urls["issuer"]
    urls = "\n".join(f'{n} = "{u}"' for n, u in sandbox.urls.items() if n not in ("admin", "issuer"))
    (folder / "gateway.toml").write_text(
        f'[server]\nport = {port}\n[identity]\nissuer = "{issuer}"\naudience = "credit-gateway"\n'
        f'jwks_url = "{issuer}/jwks"\n[sources.urls]\n{urls}\n'
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from gateway.cli import main; main()",
        "serve",
        "--config",
        str(folder / "gateway.toml"),
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ},
    )
    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(600):
            assert process.returncode is None
            try:
                if (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                    return process, f"http://127.0.0.1:{port}"
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    raise AssertionError("the gateway did not start")


async def test_denials_and_refusals_are_rows(sandbox: Sandbox, tmp_path: Path) -> None:
    async with gateway(sandbox, tmp_path) as client:
        await client.ask("public", PUBLIC_RECORD, {"subject": {"creditCode": PENALISED}})
        rejecting = SUPERVISE.replace("inquiry(", "inquiry(onDenied: REJECT, ")
        assert (await client.post(BUREAU, rejecting, {"id": {"creditCode": CLEAN}})).status_code == 403
    answered, refused = [orjson.loads(body) for _, body in read_rows(tmp_path / "ledger.sqlite")]
    assert answered["outcome"] == "ANSWERED"
    by_category = {section["category"]: section for section in answered["subjects"][0]["sections"]}
    assert by_category["TAX_PAYMENT"]["outcome"] == "DENY_CATEGORY"
    assert by_category["PENALTY"]["state"] == "HAS"
    assert refused["outcome"] == "REFUSED"
    assert {section["outcome"] for section in refused["subjects"][0]["sections"]} == {
        "NOT_FETCHED",
        "DENY_CATEGORY",
    }


# 7. One slow or dead source never takes the answer down


@pytest.mark.parametrize("fault", ["delay", "error", "garbage", "truncated", "down"])
async def test_a_faulty_source_leaves_the_rest_of_the_answer(
    sandbox: Sandbox, tmp_path: Path, fault: str
) -> None:
    # The source's own time ends first, so the other sources have plenty, however busy the machine is.
    urls = {name: url for name, url in sandbox.urls.items() if name not in ("admin", "issuer")}
    async with gateway(sandbox, tmp_path, sources=SourceSettings(urls=urls, deadline=10)) as client:
        await client.fault("court", fault)
        try:
            body = await client.ask(
                BUREAU, BIDDER_CHECK, {"bidders": [{"id": {"creditCode": code}} for code in BIDDERS]}
            )
        finally:
            await client.clear_faults()
    subjects = body["data"]["inquiry"]["subjects"]
    assert {s["enforcement"]["state"] for s in subjects} == {"UNKNOWN"}
    assert {s["enforcement"]["reason"]["code"] for s in subjects} == {"UNKNOWN_SOURCE_DOWN"}
    assert subjects[1]["penalties"]["state"] == "HAS"
    assert subjects[3]["seriousDishonesty"]["state"] == "HAS"


async def test_what_one_of_two_sources_says_is_marked_as_not_all(client: Client) -> None:
    await client.fault("market-b", "down")
    authorization = await client.authorization({"credit_code": CLEAN})
    query = """query($id: SubjectId!, $a: String) { inquiry(purpose: LOAN_PRECHECK,
      evidence: {applicationNumber: "A-1", queryReasonCode: "02", authorization: $a}) { subject(id: $id) {
        ... on OperatingSubject { marketCredit { state complete reason { code } sources { id state } } } } } }"""
    body = await client.ask(BANK, query, {"id": {"creditCode": CLEAN}, "a": authorization})
    section = _subject(body)["marketCredit"]
    assert section["state"] == "HAS"
    assert section["complete"] is False
    assert section["reason"]["code"] == "UNKNOWN_SOURCE_DOWN"
    assert {source["id"]: source["state"] for source in section["sources"]} == {
        "market-a": "HAS",
        "market-b": "UNKNOWN",
    }


# 8. No personal score


async def test_a_score_of_a_person_cannot_be_asked_for(client: Client) -> None:
    for field in ("evaluations { state }", "marketCredit { records { nodes { rating } } }"):
        query = f"""query($id: SubjectId!) {{ inquiry(purpose: SELF) {{ subject(id: $id) {{
          ... on NaturalPerson {{ {field} }} }} }} }}"""
        answer = await client.post(
            "subject-portal",
            query,
            {"id": {"resident": {"number": "990105199912319987", "name": "例失信"}}},
            persona="natural-person",
        )
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["extensions"]["code"] == "VALIDATION_FAILED"


# No cache holds a permission


async def test_a_cache_filled_on_one_purpose_gives_nothing_to_another(client: Client) -> None:
    allowed = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
      subject(id: $id) { ... on OperatingSubject { evaluations { state sources { id } records { nodes { grade } } } } } } }"""
    denied = """query($id: SubjectId!) { inquiry(purpose: PENALTY_DISCRETION, evidence: {caseNumber: "C-1"}) {
      subject(id: $id) { ... on OperatingSubject { evaluations { state sources { id } records { nodes { grade } } } } } } }"""
    subject = {"id": {"creditCode": CLEAN}}
    first = _subject(await client.ask(BUREAU, allowed, subject))["evaluations"]
    filled = await client.requests()
    again = _subject(await client.ask(BUREAU, allowed, subject))["evaluations"]
    assert again == first
    assert (await client.requests())["ecology"] == filled["ecology"], "the cache is not in use"
    other = _subject(await client.ask(BUREAU, denied, subject))["evaluations"]
    assert other == {"state": "DENIED", "sources": [], "records": {"nodes": []}}
    narrowed = await client.ask(BUREAU, denied, subject, purposes="PENALTY_DISCRETION")
    assert _subject(narrowed)["evaluations"]["state"] == "DENIED"


async def test_enforced_subjects_batch_into_one_call(client: Client) -> None:
    before = await client.requests()
    await client.ask(
        BUREAU, BIDDER_CHECK, {"bidders": [{"id": {"creditCode": c}} for c in (*BIDDERS, ENFORCED)]}
    )
    after = await client.requests()
    assert after["court"] - before["court"] == 1
    assert after["market-regulation"] - before["market-regulation"] <= 2


async def test_what_is_asked_does_not_change_what_may_be_shown(client: Client) -> None:
    """Which records are visible depends on dates that the question need not mention."""
    seen = 0
    for code in (
        CLEAN,
        PENALISED,
        CONTESTED,
        "92990105FAKE00021D",
        "93990105FAKE0003X2",
        "52990100FAKE00072H",
    ):
        for purpose in ("PUBLIC_VIEW", "SUPERVISION"):
            bare = await _counts(client, purpose, code, all_fields=False)
            assert bare == await _counts(client, purpose, code, all_fields=True)
            seen += sum(bare.values())
    assert seen > 20


async def _counts(client: Client, purpose: str, code: str, *, all_fields: bool) -> dict[str, int]:
    asked = []
    for section in SECTIONS_OF_CATALOGUE:
        if {SubjectKind.ORG, SubjectKind.IND} <= set(section.kinds) and not section.single:
            names = (
                [to_camel_case(field.name) for field in fields_of(section.record)]
                if all_fields
                else ["recordId"]
            )
            asked.append(
                f"{to_camel_case(section.name)} {{ records {{ totalCount nodes {{ {' '.join(names)} }} }} }}"
            )
    query = """query($id: SubjectId!) { inquiry(purpose: %s, evidence: {inspectionPlanNumber: "I-1"}) {
      subject(id: $id) { ... on OperatingSubject { %s } } } }""" % (purpose, " ".join(asked))
    body = await client.ask(BUREAU, query, {"id": {"creditCode": code}})
    return {name: section["records"]["totalCount"] for name, section in _subject(body).items()}
