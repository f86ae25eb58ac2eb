"""The ledger read: by audit, in numbers and rows with subjects hashed; by a subject, who looked at it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import pytest_asyncio
from service import BANK, BUREAU, CLEAN, CONTESTED, DEFAULTER, ENFORCED, PENALISED, Client, gateway

from connectors.sandbox.server import Sandbox
from gateway.access import AccessLog, log_result
from gateway.app import load_bundle
from gateway.history import History, HistoryFailure, Past
from gateway.ledger import SqliteLedger, load_or_create_key, read_rows
from policies.access_log import decide_log
from policies.caller import Caller
from policies.evidence import Evidence
from policies.identifiers import credit_code
from policies.outcomes import Denied, Outcome
from policies.proofs import Findings
from policies.registers import Entry, Reference, Register
from policies.table import Tables
from resolvers.overview import LogDimension

AUTHORITY = "credit-authority"
SUPERVISE = """query($id: SubjectId!, $plan: String = "I-1") {
  inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: $plan}) { receipt { id } subject(id: $id) {
    ... on OperatingSubject { penalties { state } taxPayments { state } } } } }"""
AUDIT = """query($from: Date!, $until: Date!, $by: [AccessLogDimension!], $subject: SubjectId, $first: Int = 50,
    $after: String, $order: String = "AO-1") {
  inquiry(purpose: AUDIT, evidence: {auditOrderNumber: $order}) { receipt { id }
    accessLog(from: $from, until: $until, by: $by, subject: $subject) { state reason { code basis { citation } remedy }
      whole { ...N } cells { ...N values { dimension value } }
      records(first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes {
        receipt time unit unitName callerType purpose outcome rules denials subjects applied } } } } }
fragment N on AccessLogCell { inquiries refused sections denied denialRate applied }"""
DAYS = {"from": "2020-01-01", "until": "2099-12-31"}
OWN = """query($id: SubjectId!) { inquiry(purpose: SELF) { receipt { id } subject(id: $id) {
  ... on RegisteredSubject { accessLog { ...L } } ... on NaturalPerson { accessLog { ...L } } } } }
fragment L on AccessLogEntrySection { state reason { code } complete sources { id state }
  records { totalCount nodes { recordId inquiredAt unit unitName callerType bySubject purpose matter outcome given
    denied rules } } }"""


@pytest_asyncio.fixture
async def alone(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Client]:
    """A gateway with a ledger of its own."""
    async with gateway(sandbox, tmp_path) as client:
        yield client


async def test_a_look_by_registration_number_is_in_the_log_by_credit_code(alone: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
      receipt { id } subject(id: $id) { ... on RegisteredSubject { registration { state record { name } } } } } }"""
    number = {"id": {"registrationNumber": "990100000000013"}}
    body = await alone.ask(BUREAU, query, number)
    assert body["data"]["inquiry"]["subject"]["registration"]["state"] == "HAS"
    own = await alone.ask("subject-portal", OWN, {"id": {"creditCode": CLEAN}})
    seen = own["data"]["inquiry"]["subject"]["accessLog"]["records"]["nodes"]
    assert [node["recordId"] for node in seen] == [body["data"]["inquiry"]["receipt"]["id"]]


async def look(client: Client, code: str, caller: str = BUREAU, **more: str) -> str:
    body = await client.ask(caller, SUPERVISE, {"id": {"creditCode": code}, **more})
    return str(body["data"]["inquiry"]["receipt"]["id"])


async def audit(client: Client, caller: str = AUTHORITY, **changes: Any) -> dict[str, Any]:
    options = {"persona": changes.pop("persona")} if "persona" in changes else {}
    body = await client.ask(caller, AUDIT, {**DAYS, **changes}, **options)
    found: dict[str, Any] = body["data"]["inquiry"]["accessLog"]
    return found


async def own(client: Client, subject: dict[str, Any], persona: str = "subject-portal") -> dict[str, Any]:
    body = await client.ask("subject-portal", OWN, {"id": subject}, persona=persona)
    found: dict[str, Any] = body["data"]["inquiry"]["subject"]["accessLog"]
    return found


def rows(client: Client) -> list[dict[str, Any]]:
    return [orjson.loads(body) for _, body in read_rows(client.folder / "ledger.sqlite")]


def values(cell: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value["value"] for value in cell["values"])


# --- audit


async def test_numbers_and_denial_rates_by_unit_and_purpose(alone: Client) -> None:
    for code in (CLEAN, PENALISED, ENFORCED):
        await look(alone, code)
    await look(alone, CLEAN, plan="I-UNKNOWN")
    await alone.ask(
        "public",
        'query { inquiry(purpose: PUBLIC_VIEW) { search(name: "示例") { state } } }',
    )
    found = await audit(alone, by=["UNIT", "PURPOSE"])
    assert found["state"] == "HAS"
    cells = {values(cell): cell for cell in found["cells"]}
    bureau = cells["11990105FAKE90012G", "SUPERVISION"]
    # Tax payments are never given for supervision; penalties only under a plan in force.
    assert (bureau["inquiries"], bureau["sections"], bureau["denied"]) == (4, 8, 5)
    assert bureau["denialRate"] == 0.625
    assert cells["public", "PUBLIC_VIEW"]["denied"] == 0
    assert found["whole"]["inquiries"] == 5
    assert found["whole"]["sections"] == sum(cell["sections"] for cell in found["cells"])


async def test_numbers_by_outcome_category_and_day(alone: Client) -> None:
    await look(alone, PENALISED)
    rejecting = SUPERVISE.replace("inquiry(", "inquiry(onDenied: REJECT, ")
    assert (await alone.post(BUREAU, rejecting, {"id": {"creditCode": CLEAN}})).status_code == 403
    found = await audit(alone, by=["CATEGORY", "OUTCOME"])
    assert {values(cell): (cell["inquiries"], cell["denied"]) for cell in found["cells"]} == {
        ("TAX_PAYMENT", "DENY_CATEGORY"): (2, 2),
        ("PENALTY", _outcome(alone)): (1, 0),
        ("PENALTY", "NOT_FETCHED"): (1, 0),
    }
    assert (found["whole"]["inquiries"], found["whole"]["refused"]) == (2, 1)
    days = await audit(alone, by=["DAY"])
    assert {values(cell) for cell in days["cells"]} == {(row["day"],) for row in rows(alone)}


def _outcome(client: Client) -> str:
    sections = {section["category"]: section for section in rows(client)[0]["subjects"][0]["sections"]}
    return str(sections["PENALTY"]["outcome"])


async def test_rows_are_hashed_paged_and_newest_first(alone: Client) -> None:
    receipts = [await look(alone, code) for code in (CLEAN, PENALISED, ENFORCED)]
    first = await audit(alone, first=2)
    page = first["records"]
    assert [node["receipt"] for node in page["nodes"]] == receipts[:0:-1]
    assert page["pageInfo"]["hasNextPage"]
    last = await audit(alone, first=2, after=page["pageInfo"]["endCursor"])
    # The first look at the log is in the log by now, before all others.
    assert [node["receipt"] for node in last["records"]["nodes"]] == [receipts[1], receipts[0]]
    node = page["nodes"][0]
    assert (node["unit"], node["unitName"]) == ("11990105FAKE90012G", "示例区市场监督管理局")
    assert (node["callerType"], node["purpose"], node["outcome"]) == (
        "MARKET_REGULATION",
        "SUPERVISION",
        "ANSWERED",
    )
    assert node["denials"] == ["DENY_CATEGORY"]
    assert node["rules"]
    (hashed,) = node["subjects"]
    assert len(hashed) == 64
    for code in (CLEAN, PENALISED, ENFORCED):
        assert code not in str(first)


async def test_the_log_of_one_subject_holds_nothing_of_another(alone: Client) -> None:
    both = """query($of: [SubjectRef!]!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
      receipt { id } subjects(of: $of) { ... on Organisation { penalties { state } } } } }"""
    body = await alone.ask(BUREAU, both, {"of": [{"id": {"creditCode": c}} for c in (CLEAN, PENALISED)]})
    await look(alone, ENFORCED)
    found = await audit(alone, subject={"creditCode": CLEAN}, by=["UNIT"], order="AO-2")
    (node,) = found["records"]["nodes"]
    assert node["receipt"] == body["data"]["inquiry"]["receipt"]["id"]
    subjects = {subject["subject"] for subject in rows(alone)[0]["subjects"]}
    assert len(subjects) == 2
    assert set(node["subjects"]) < subjects
    (cell,) = found["cells"]
    assert (cell["inquiries"], cell["sections"]) == (1, 1)
    nobody = await audit(alone, subject={"creditCode": CONTESTED}, order="AO-2")
    assert (nobody["state"], nobody["records"]["totalCount"]) == ("NONE", 0)
    row = rows(alone)[-2]
    assert row["subjects"][0]["sections"][0]["category"] == "ACCESS_LOG"


async def test_what_was_never_followed_by_a_measure_is_seen(alone: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
      receipt { id } subject(id: $id) { ... on Organisation { seriousDishonesty { state } } } } }"""
    body = await alone.ask(BUREAU, query, {"id": {"creditCode": ENFORCED}})
    receipt = body["data"]["inquiry"]["receipt"]["id"]
    await look(alone, CLEAN)
    apply = """mutation($inquiry: ID!, $subject: SubjectId!, $measure: ID!) { recordApplication(inquiry: $inquiry,
      subject: $subject, measure: $measure, category: SERIOUS_LIST, decision: "D-1") { id } }"""
    variables = {"inquiry": receipt, "subject": {"creditCode": ENFORCED}}
    await alone.ask(BUREAU, apply, {**variables, "measure": "S4"})
    assert (await alone.post(BUREAU, apply, {**variables, "measure": "S7"})).status_code == 403
    found = await audit(alone, by=["UNIT"])
    (cell,) = found["cells"]
    assert (cell["inquiries"], cell["applied"]) == (2, 1)
    assert {node["receipt"]: node["applied"] for node in found["records"]["nodes"]}[receipt] is True
    assert sum(node["applied"] for node in found["records"]["nodes"]) == 1


async def test_only_the_days_that_were_asked(alone: Client) -> None:
    await look(alone, CLEAN)
    day = rows(alone)[0]["day"]
    assert (await audit(alone, **{"from": day, "until": day}))["whole"]["inquiries"] == 1
    for days in (
        {"from": "2020-01-01", "until": "2020-12-31"},
        {"from": "2099-01-01", "until": "2099-01-01"},
    ):
        none = await audit(alone, **days)
        assert (none["state"], none["whole"]["inquiries"]) == ("NONE", 0)
        assert none["whole"]["denialRate"] is None


@pytest.mark.parametrize(
    ("caller", "changes", "code"),
    [
        (AUTHORITY, {"order": None}, "DENY_EVIDENCE"),
        (AUTHORITY, {"order": "AO-UNKNOWN"}, "DENY_EVIDENCE"),
        (AUTHORITY, {"order": "AO-UNKNOWN", "subject": {"creditCode": CLEAN}}, "DENY_EVIDENCE"),
        # An order that names no subject shows the log of none in particular.
        (AUTHORITY, {"order": "AO-1", "subject": {"creditCode": CLEAN}}, "DENY_EVIDENCE"),
        (BUREAU, {}, "DENY_PURPOSE"),
        (BUREAU, {"subject": {"creditCode": CLEAN}}, "DENY_PURPOSE"),
        (BANK, {}, "DENY_PURPOSE"),
    ],
)
async def test_a_denied_look_tells_nothing_and_is_itself_a_row(
    alone: Client, caller: str, changes: dict[str, Any], code: str
) -> None:
    await look(alone, CLEAN)
    found = await audit(alone, caller, **changes)
    assert (found["state"], found["reason"]["code"]) == ("DENIED", code)
    assert found["reason"]["basis"]
    assert found["reason"]["remedy"]
    assert (found["whole"], found["cells"], found["records"]["nodes"]) == (None, [], [])
    row = rows(alone)[-1]
    assert (row["purpose"], row["logs"][0]["outcome"]) == ("AUDIT", code)


async def test_a_look_into_the_log_is_in_the_log(alone: Client) -> None:
    before = await audit(alone)
    assert before["whole"]["inquiries"] == 0
    after = await audit(alone, by=["PURPOSE", "CATEGORY"])
    assert {values(cell): cell["inquiries"] for cell in after["cells"]} == {("AUDIT", "ACCESS_LOG"): 1}
    row = rows(alone)[0]
    assert row["logs"][0]["from"] == DAYS["from"]
    assert row["logs"][0]["state"] == "NONE"


async def test_no_source_is_asked_for_the_log(alone: Client) -> None:
    await look(alone, CLEAN)
    before = await alone.requests()
    await audit(alone, by=["UNIT"], subject={"creditCode": CLEAN}, order="AO-2")
    await own(alone, {"creditCode": CLEAN})
    assert await alone.requests() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"from": "2026-11-20", "until": "2026-11-19"}, "accessLog.until"),
        ({"by": ["UNIT", "UNIT"]}, "accessLog.by"),
        ({"by": ["UNIT", "PURPOSE", "DAY", "OUTCOME"]}, "accessLog.by"),
        ({"first": 0}, "accessLog.records.first"),
        ({"after": "x"}, "accessLog.records.after"),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_decided(
    alone: Client, changes: dict[str, Any], named: str
) -> None:
    answer = await alone.post(AUTHORITY, AUDIT, {**DAYS, **changes})
    assert answer.status_code == 400
    error = answer.json()["errors"][0]
    assert error["extensions"]["code"] == "BAD_ARGUMENT"
    assert named in error["message"]
    assert rows(alone) == []


async def test_a_wrong_code_of_the_subject_is_named_and_not_repeated(alone: Client) -> None:
    answer = await alone.post(AUTHORITY, AUDIT, {**DAYS, "subject": {"creditCode": "91990100FAKE0001"}})
    assert answer.status_code == 400
    assert "accessLog.subject.creditCode" in answer.json()["errors"][0]["message"]
    assert "91990100FAKE0001" not in answer.text


# --- the subject's own view


async def test_a_subject_sees_who_looked_and_what_was_given_or_denied(alone: Client) -> None:
    receipt = await look(alone, CLEAN)
    await look(alone, PENALISED)
    section = await own(alone, {"creditCode": CLEAN})
    assert (section["state"], section["complete"]) == ("HAS", True)
    assert section["sources"] == [{"id": "ledger", "state": "HAS"}]
    (node,) = section["records"]["nodes"]
    assert (node["recordId"], node["unitName"]) == (receipt, "示例区市场监督管理局")
    assert (node["purpose"], node["matter"], node["outcome"]) == ("SUPERVISION", "I-1", "ANSWERED")
    assert (node["given"], node["denied"]) == (["PENALTY"], ["TAX_PAYMENT"])
    assert node["bySubject"] is False
    assert node["rules"]
    again = await own(alone, {"creditCode": CLEAN})
    newest, oldest = again["records"]["nodes"]
    assert oldest == node
    assert (newest["purpose"], newest["bySubject"], newest["unitName"]) == ("SELF", True, None)


async def test_a_person_sees_its_own_log_and_no_other(alone: Client) -> None:
    person = {"resident": DEFAULTER}
    assert (await own(alone, person, "natural-person"))["state"] == "NONE"
    section = await own(alone, person, "natural-person")
    assert [node["given"] for node in section["records"]["nodes"]] == [["ACCESS_LOG"]]
    other = await own(alone, {"creditCode": PENALISED})
    assert (other["state"], other["reason"]["code"]) == ("DENIED", "DENY_NO_AUTHORISATION")
    assert other["records"]["nodes"] == []


async def test_an_order_that_names_the_subject_opens_its_section(alone: Client) -> None:
    receipt = await look(alone, CLEAN)
    query = OWN.replace("purpose: SELF", 'purpose: AUDIT, evidence: {auditOrderNumber: "AO-2"}')
    body = await alone.ask(AUTHORITY, query, {"id": {"creditCode": CLEAN}})
    (node,) = body["data"]["inquiry"]["subject"]["accessLog"]["records"]["nodes"]
    assert node["recordId"] == receipt


async def test_a_log_longer_than_one_look_says_that_it_is_not_all(alone: Client) -> None:
    for _ in range(3):
        await look(alone, CLEAN)
    ledger = alone.folder / "ledger.sqlite"
    history = History(ledger, alone.folder / "second.index", most_rows=2)
    log = AccessLog(history, load_or_create_key(alone.folder / "ledger.key"))
    first, rest = await log.answer(credit_code(CLEAN), datetime.now(UTC), date.max, 5)
    assert len(first.records) == 2
    assert first.fault is None
    assert rest.fault is not None
    await history.aclose()


async def test_a_past_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    log = AccessLog(History(tmp_path / "no ledger", tmp_path / "index"), bytes(32))
    (answer,) = await log.answer(credit_code(CLEAN), datetime.now(UTC), date.max, 5)
    assert answer.fault is not None
    assert await log.inquiries(date.min, date.max, None, 5) is None
    found = log_result(None, (), subject=None, synthetic_only=False)
    assert (found.state, found.whole) == ("UNKNOWN", None)


async def test_a_department_cannot_read_who_looked(alone: Client) -> None:
    await look(alone, CLEAN)
    query = SUPERVISE.replace("penalties { state }", "accessLog { state reason { code } }")
    body = await alone.ask(BUREAU, query, {"id": {"creditCode": CLEAN}})
    section = body["data"]["inquiry"]["subject"]["accessLog"]
    assert section == {"state": "DENIED", "reason": {"code": "DENY_CATEGORY"}}


# --- who may: pure

BUNDLE = load_bundle("example")
TABLE = Tables(BUNDLE).on(date(2026, 11, 20))
ORDER = Reference(Register.AUDIT_ORDERS, "AO-1")
CALLER = Caller(
    unit="11990000FAKE90047M",
    unit_name="示例省发展和改革委员会",
    type="CREDIT_AUTHORITY",
    level="PROVINCE",
    division="990000",
    purposes=frozenset(BUNDLE.purposes),
    categories=None,
    officer=None,
    identity=None,
    synthetic_only=False,
    client="c",
    token_id="t",
    expires=0,
)
IN_FORCE = Findings(
    date(2026, 11, 20), {ORDER: Entry(reference=ORDER, open=True, units=frozenset({CALLER.unit}))}
)


@pytest.mark.parametrize("purpose", BUNDLE.purposes)
def test_the_log_of_all_is_for_audit_alone(purpose: str) -> None:
    found = decide_log(TABLE, CALLER, purpose, Evidence(audit_order_number="AO-1"), IN_FORCE)
    assert isinstance(found, Denied) is (purpose != "AUDIT")


def test_the_log_of_all_needs_the_log_of_every_kind() -> None:
    for left_out in ("R050", "R051", "R089"):
        rules = {code: rule for code, rule in BUNDLE.rules.items() if code != left_out}
        table = Tables(msgspec.structs.replace(BUNDLE, rules=rules)).on(date(2026, 11, 20))
        found = decide_log(table, CALLER, "AUDIT", Evidence(audit_order_number="AO-1"), IN_FORCE)
        assert isinstance(found, Denied)


def test_an_obligation_that_the_log_cannot_keep_denies_it() -> None:
    rule = msgspec.structs.replace(BUNDLE.rules["R050"], obligations=("VISIBLE",))
    table = Tables(msgspec.structs.replace(BUNDLE, rules={**BUNDLE.rules, "R050": rule})).on(
        date(2026, 11, 20)
    )
    found = decide_log(table, CALLER, "AUDIT", Evidence(audit_order_number="AO-1"), IN_FORCE)
    assert isinstance(found, Denied)
    assert found.code is Outcome.DENY_OBLIGATION


def _row(receipt: str, *, synthetic: bool = True) -> dict[str, Any]:
    return {
        "receipt": receipt,
        "time": "2026-11-20T00:00:00+00:00",
        "day": "2026-11-20",
        "outcome": "ANSWERED",
        "purpose": "SUPERVISION",
        "caller": {"unit": "U", "unit_name": "Unit", "type": "COURT"},
        "subjects": [
            {
                "subject": f"hash of {receipt}",
                "synthetic": synthetic,
                "sections": [{"category": "PENALTY", "outcome": "PERMIT", "rule": "R1"}],
            }
        ],
        "searches": [],
    }


def test_a_token_for_synthetic_subjects_sees_no_look_at_a_real_one() -> None:
    past = Past((_row("a"), _row("b", synthetic=False)), complete=True)
    for synthetic_only, expected in ((True, ["a"]), (False, ["a", "b"])):
        found = log_result(past, (LogDimension.UNIT,), subject=None, synthetic_only=synthetic_only)
        assert [row.receipt for row in found.rows] == expected
        assert found.whole is not None
        assert found.whole.inquiries == len(expected)


def test_too_many_rows_are_unknown_and_not_fewer() -> None:
    found = log_result(Past((_row("a"),), complete=False), (), subject=None, synthetic_only=False)
    assert (found.state, found.rows, found.whole) == ("UNKNOWN", (), None)
    assert found.reason is not None
    assert found.reason.code == "UNKNOWN_TOO_MANY"


# --- the past and its index


def _body(number: int, *, day: str = "2026-11-20", subjects: tuple[str, ...] = ("s",)) -> bytes:
    return msgspec.json.encode(
        {
            "version": 1,
            "receipt": f"r{number}",
            "day": day,
            "outcome": "ANSWERED",
            "subjects": [{"subject": subject} for subject in subjects],
        }
    )


def _application(number: int, outcome: str = "RECORDED") -> bytes:
    return msgspec.json.encode(
        {
            "version": 1,
            "kind": "APPLICATION",
            "receipt": f"a{number}",
            "day": "2026-11-20",
            "outcome": outcome,
            "inquiry": f"r{number}",
            "subject": "s",
            "measure": "S1",
        }
    )


async def test_the_past_is_found_by_receipt_day_and_subject(tmp_path: Path) -> None:
    ledger = SqliteLedger.open(tmp_path / "ledger", load_or_create_key(tmp_path / "key"))
    history = History(tmp_path / "ledger", tmp_path / "index", most_rows=3)
    try:
        assert await history.inquiry("r1") is None
        for number in range(1, 6):
            day = f"2026-11-{10 + number}"
            await ledger.append(
                _body(number, day=day, subjects=("even",) if number % 2 == 0 else ("odd", "odd"))
            )
        await ledger.append(msgspec.json.encode({"version": 1, "outcome": "PROBE"}))
        await ledger.append(_application(1))
        await ledger.append(_application(2, "DENY_DEGREE"))
        found = await history.inquiry("r4")
        assert found is not None
        assert found["subjects"] == [{"subject": "even"}]
        assert await history.inquiry("a1") is None
        first, last = date(2026, 11, 12), date(2026, 11, 14)
        past = await history.inquiries(first, last)
        assert [row["receipt"] for row in past.rows] == ["r4", "r3", "r2"]
        assert past.complete
        odd = await history.inquiries(date.min, date.max, subject="odd")
        assert [row["receipt"] for row in odd.rows] == ["r5", "r3", "r1"]
        everything = await history.inquiries(date.min, date.max)
        assert ([row["receipt"] for row in everything.rows], everything.complete) == (
            ["r5", "r4", "r3"],
            False,
        )
        await ledger.append(_application(3))
        assert (await history.inquiries(date.min, date.max)).applied == {"r3"}
        # The measure on the third inquiry was about another subject of it.
        assert (
            odd.applied == (await history.inquiries(date.min, date.max, subject="odd")).applied == frozenset()
        )
        assert await history.applied("r1", "s", "S1")
        assert not await history.applied("r1", "s", "S2")
        assert not await history.applied("r2", "s", "S1")
    finally:
        await history.aclose()
        await ledger.aclose()


async def test_an_index_of_another_ledger_is_made_anew(tmp_path: Path) -> None:
    for name, receipts in (("one", (1, 2, 3)), ("two", (4,))):
        ledger = SqliteLedger.open(tmp_path / name, load_or_create_key(tmp_path / "key"))
        for number in receipts:
            await ledger.append(_body(number))
        await ledger.aclose()
        history = History(tmp_path / name, tmp_path / "index")
        past = await history.inquiries(date.min, date.max, subject="s")
        assert [row["receipt"] for row in past.rows] == [f"r{number}" for number in receipts[::-1]]
        await history.aclose()


async def test_two_processes_share_an_index(tmp_path: Path) -> None:
    ledger = SqliteLedger.open(tmp_path / "ledger", load_or_create_key(tmp_path / "key"))
    histories = [History(tmp_path / "ledger", tmp_path / "index") for _ in range(3)]
    try:
        for number in range(30):
            await ledger.append(_body(number))
            found = await asyncio.gather(*(history.inquiry(f"r{number}") for history in histories))
            assert [row is not None for row in found] == [True] * 3
    finally:
        for history in histories:
            await history.aclose()
        await ledger.aclose()


async def test_a_past_that_cannot_be_read_says_so_and_recovers(tmp_path: Path) -> None:
    history = History(tmp_path / "ledger", tmp_path / "index")
    with pytest.raises(HistoryFailure):
        await history.inquiry("r1")
    ledger = SqliteLedger.open(tmp_path / "ledger", load_or_create_key(tmp_path / "key"))
    await ledger.append(_body(1))
    assert await history.inquiry("r1") is not None
    await history.aclose()
    await ledger.aclose()


async def test_the_index_holds_no_identifier(alone: Client) -> None:
    await look(alone, CLEAN)
    await audit(alone, subject={"creditCode": CLEAN}, order="AO-2")
    held = b"".join(path.read_bytes() for path in alone.folder.glob("ledger.sqlite.index*"))
    assert rows(alone)[0]["receipt"].encode() in held
    assert CLEAN.encode() not in held
