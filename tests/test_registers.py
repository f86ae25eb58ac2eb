"""Conditions are proven by registers, not declared: what each demands, how it is asked, and when nobody is asked."""

import base64
import json
import shutil
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import msgspec
import orjson
import pytest
from service import (
    BANK,
    BUREAU,
    CLEAN,
    CONTESTED,
    DEFAULTER,
    ENFORCED,
    PENALISED,
    REPAIRED,
    Client,
    gateway,
    settings_for,
)

from connectors.answers import Ground
from connectors.fetch import SourceFileError, Sources
from connectors.sandbox.server import CONSENT_SERVICE, REGISTERS, Sandbox
from gateway.examples import BIDDER_CHECK, BIDDERS
from gateway.ledger import read_rows
from gateway.settings import PolicySettings, SourceSettings
from policies.bundle_loading import load
from policies.decision import check_all_proven
from policies.evidence import Evidence, Stage
from policies.proofs import CHECKS, Claim
from policies.registers import Entry, Reference, Register

COOPERATIVE = "93990105FAKE0003X2"
PERSON = {"number": "99010519850607123X", "name": "例守信"}
INSTALLED = Path(str(files("connectors") / "sources"))

PENALTIES = "... on OperatingSubject { penalties { state reason { code remedy } } }"


def over(purpose: str, evidence: str, sections: str = PENALTIES) -> str:
    return f"""query($of: [SubjectRef!]!) {{ inquiry(purpose: {purpose}, evidence: {{{evidence}}}) {{
      subjects(of: $of) {{ {sections} }} }} }}"""


def about(purpose: str, evidence: str, sections: str) -> str:
    authorized = ", $a: String" if "$a" in evidence else ""
    return f"""query($id: SubjectId!{authorized}) {{
      inquiry(purpose: {purpose}, evidence: {{{evidence}}}) {{ subject(id: $id) {{ {sections} }} }} }}"""


async def states(client: Client, who: str, query: str, *codes: str) -> list[str]:
    """State of the one section of each subject, or the code of its denial."""
    body = await client.ask(who, query, {"of": [{"id": {"creditCode": code}} for code in codes]})
    return [_state(subject) for subject in body["data"]["inquiry"]["subjects"]]


def _state(subject: dict[str, Any]) -> str:
    (section,) = subject.values()
    return str(section["reason"]["code"] if section["state"] == "DENIED" else section["state"])


async def remedy(client: Client, who: str, query: str, code: str) -> str:
    body = await client.ask(who, query, {"of": [{"id": {"creditCode": code}}]})
    (section,) = body["data"]["inquiry"]["subjects"][0].values()
    return str(section["reason"]["remedy"])


async def section_of(client: Client, who: str, query: str, **variables: Any) -> dict[str, Any]:
    (section,) = (await client.ask(who, query, variables))["data"]["inquiry"]["subject"].values()
    found: dict[str, Any] = section
    return found


async def looked_up(client: Client) -> dict[str, int]:
    """Requests that each register has had."""
    counts = (await client.http.get(f"{client.sandbox.admin_url}/counts")).json()
    return {name: counts[name]["requests"] for name in (*REGISTERS, CONSENT_SERVICE)}


# The bidder check


async def test_a_project_is_looked_up_once_for_all_its_bidders(client: Client) -> None:
    before = await looked_up(client)
    bidders = [{"id": {"creditCode": code}} for code in BIDDERS]
    body = await client.ask(BUREAU, BIDDER_CHECK, {"bidders": bidders})
    assert "denials" not in body["extensions"]
    after = await looked_up(client)
    assert {name: after[name] - before[name] for name in after} == {
        "trading-platform": 1,
        "department-registers": 0,
        "bank-registers": 0,
        "consent-service": 0,
    }


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        ('projectNumber: "P-AWARDED", stage: AWARD', "its time is over"),
        ('projectNumber: "P-AWARDED", stage: REVIEW', "it is at another stage"),
        ('projectNumber: "P-1", stage: BIDDING', "it is at another stage"),
        ('projectNumber: "P-ELSEWHERE", stage: REVIEW', "the unit neither owns nor supervises it"),
        ('projectNumber: "P-STOPPED", stage: REVIEW', "it is closed"),
        ('projectNumber: "P-99", stage: REVIEW', "the register does not hold the number"),
    ],
)
async def test_a_project_that_does_not_bear_the_purpose_gives_nothing(
    client: Client, evidence: str, why: str
) -> None:
    before = await client.requests()
    query = over("PROCUREMENT", evidence)
    assert await states(client, BUREAU, query, CLEAN, PENALISED) == ["DENY_EVIDENCE", "DENY_EVIDENCE"]
    assert why in await remedy(client, BUREAU, query, CLEAN)
    assert await client.requests() == before


async def test_a_company_that_does_not_bid_is_denied_and_the_bidders_are_answered(client: Client) -> None:
    query = over("PROCUREMENT", 'projectNumber: "P-1", stage: REVIEW')
    assert await states(client, BUREAU, query, CLEAN, COOPERATIVE, PENALISED) == [
        "NONE",
        "DENY_EVIDENCE",
        "HAS",
    ]
    assert "it does not name the subject" in await remedy(client, BUREAU, query, COOPERATIVE)


async def test_each_subject_may_have_a_project_of_its_own(client: Client) -> None:
    query = over("PROCUREMENT", "stage: REVIEW")
    numbers = ("P-1", "P-ELSEWHERE", "P-2026-0117")
    of = [{"id": {"creditCode": CLEAN}, "evidence": {"projectNumber": number}} for number in numbers]
    before = await looked_up(client)
    body = await client.ask(BUREAU, query, {"of": of})
    subjects = body["data"]["inquiry"]["subjects"]
    assert [_state(subject) for subject in subjects] == ["NONE", "DENY_EVIDENCE", "NONE"]
    assert (await looked_up(client))["trading-platform"] - before["trading-platform"] == 3


async def test_a_supervisor_of_the_trading_may_ask_too(client: Client) -> None:
    query = over("PROCUREMENT", 'projectNumber: "P-1", stage: REVIEW')
    assert await states(client, "credit-authority", query, PENALISED) == ["HAS"]


# Supervision and licensing


async def test_subjects_outside_the_plan_are_denied_and_the_others_answered(client: Client) -> None:
    query = over("SUPERVISION", 'inspectionPlanNumber: "I-4"')
    outside = "DENY_NOT_DEPARTMENT_MATTER"
    assert await states(client, BUREAU, query, CLEAN, REPAIRED, PENALISED, ENFORCED, CONTESTED) == [
        "NONE",
        outside,
        "HAS",
        outside,
        outside,
    ]


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        ('inspectionPlanNumber: "I-2"', "DENY_EVIDENCE"),
        ('inspectionPlanNumber: "I-3"', "DENY_EVIDENCE"),
        ('inspectionPlanNumber: "I-ELSEWHERE"', "DENY_EVIDENCE"),
        ('caseNumber: "C-2"', "DENY_EVIDENCE"),
        ('caseNumber: "C-ELSEWHERE"', "DENY_NOT_DEPARTMENT_MATTER"),
        # What is added cannot make up for the rest.
        ('inspectionPlanNumber: "I-1", caseNumber: "C-ELSEWHERE"', "DENY_NOT_DEPARTMENT_MATTER"),
        ('inspectionPlanNumber: "I-2", caseNumber: "C-1"', "DENY_EVIDENCE"),
    ],
)
async def test_a_plan_or_case_that_does_not_bear_the_inspection_gives_nothing(
    client: Client, evidence: str, code: str
) -> None:
    before = await client.requests()
    assert await states(client, BUREAU, over("SUPERVISION", evidence), PENALISED) == [code]
    assert await client.requests() == before


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        ('matterCode: "M-1", caseNumber: "C-1"', "HAS"),
        ('matterCode: "M-ELSEWHERE", caseNumber: "C-ELSEWHERE"', "DENY_NOT_DEPARTMENT_MATTER"),
        ('matterCode: "M-ELSEWHERE", caseNumber: "C-1"', "DENY_NOT_DEPARTMENT_MATTER"),
        ('matterCode: "M-1", caseNumber: "C-ELSEWHERE"', "DENY_NOT_DEPARTMENT_MATTER"),
        ('matterCode: "M-1", caseNumber: "C-2"', "DENY_EVIDENCE"),
        ('matterCode: "M-1", caseNumber: "C-99"', "DENY_EVIDENCE"),
    ],
)
async def test_a_licence_is_looked_into_in_a_matter_and_case_of_the_own_unit(
    client: Client, evidence: str, code: str
) -> None:
    assert await states(client, BUREAU, over("LICENSING", evidence), PENALISED) == [code]


@pytest.mark.parametrize(
    ("approval", "expected"),
    [("V-1", "HAS"), ("V-2", "DENY_EVIDENCE"), ("V-99", "DENY_EVIDENCE")],
)
async def test_a_second_officer_has_to_approve(client: Client, approval: str, expected: str) -> None:
    evidence = (
        f'caseNumber: "C-1", documentType: "行政处罚决定书", documentNumber: "D-1", approvalId: "{approval}"'
    )
    query = about(
        "LIST_DESIGNATION", evidence, "... on NaturalPerson { penalties { state reason { code } } }"
    )
    section = await section_of(client, BUREAU, query, id={"resident": DEFAULTER})
    assert _state({"penalties": section}) == expected


# Banks


async def test_a_loan_that_was_not_granted_opens_nothing_next_month(client: Client) -> None:
    live = over("LOAN_PRECHECK", 'applicationNumber: "A-1", queryReasonCode: "02"')
    ended = over("LOAN_PRECHECK", 'applicationNumber: "A-2", queryReasonCode: "02"')
    elsewhere = over("LOAN_PRECHECK", 'applicationNumber: "A-ELSEWHERE", queryReasonCode: "02"')
    assert await states(client, BANK, live, PENALISED, ENFORCED) == ["HAS", "DENY_EVIDENCE"]
    assert await states(client, BANK, ended, PENALISED) == ["DENY_EVIDENCE"]
    assert await states(client, BANK, elsewhere, PENALISED) == ["DENY_EVIDENCE"]
    watching = over("LOAN_POSTMGMT", 'contractId: "K-1", queryReasonCode: "01"')
    over_since = over("LOAN_POSTMGMT", 'contractId: "K-2", queryReasonCode: "01"')
    assert await states(client, BANK, watching, CLEAN, PENALISED) == ["NONE", "DENY_EVIDENCE"]
    assert await states(client, BANK, over_since, CLEAN) == ["DENY_EVIDENCE"]


async def test_the_companys_consent_does_not_count_for_its_representative(client: Client) -> None:
    def asked(role: str) -> str:
        evidence = (
            'applicationNumber: "A-1", queryReasonCode: "22", authorization: $a,'
            f' organisationCode: "{CLEAN}", role: "{role}"'
        )
        return about(
            "LEGAL_REP_CHECK", evidence, "... on NaturalPerson { enforcement { state reason { code } } }"
        )

    scope: dict[str, Any] = {"purposes": ("LEGAL_REP_CHECK",), "categories": ("ENFORCE_DEFAULT",)}
    companys = await client.authorization({"credit_code": CLEAN}, **scope)
    own = await client.authorization({"resident_number": PERSON["number"], "name": PERSON["name"]}, **scope)
    before = await looked_up(client)
    denied = await section_of(client, BANK, asked("法定代表人"), id={"resident": PERSON}, a=companys)
    assert denied["reason"]["code"] == "DENY_NO_AUTHORISATION_SCOPE"
    assert await looked_up(client) == before, "a register was asked for a section that is denied anyway"
    given = await section_of(client, BANK, asked("法定代表人"), id={"resident": PERSON}, a=own)
    assert given["state"] == "NONE"
    invented = await section_of(client, BANK, asked("出资人"), id={"resident": PERSON}, a=own)
    assert invented["reason"]["code"] == "DENY_EVIDENCE"


TAX = about(
    "LOAN_PRECHECK",
    'applicationNumber: "A-1", queryReasonCode: "02", authorization: $a',
    "... on OperatingSubject { taxPayments { state reason { code remedy } } }",
)


async def withdraw(client: Client, authorization: str) -> httpx.Response:
    claims = orjson.loads(_decoded(authorization.split(".")[1]))
    issuer = client.sandbox.urls["issuer"]
    return await client.http.post(f"{issuer}/authorizations/{claims['jti']}/withdraw")


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_a_withdrawn_authorization_ends_at_once(client: Client) -> None:
    authorization = await client.authorization({"credit_code": CLEAN})
    subject = {"creditCode": CLEAN}
    assert (await section_of(client, BANK, TAX, id=subject, a=authorization))["state"] == "HAS"
    assert (await withdraw(client, authorization)).status_code == 200
    before = await client.requests()
    section = await section_of(client, BANK, TAX, id=subject, a=authorization)
    assert section["reason"]["code"] == "DENY_NO_AUTHORISATION_REVOKED"
    assert await client.requests() == before
    another = await client.authorization({"credit_code": CLEAN})
    assert (await section_of(client, BANK, TAX, id=subject, a=another))["state"] == "HAS"


async def test_an_authorization_counts_only_while_its_withdrawal_could_be_known(client: Client) -> None:
    authorization = await client.authorization({"credit_code": CLEAN})
    await client.fault("consent-service", "down")
    before = await client.requests()
    section = await section_of(client, BANK, TAX, id={"creditCode": CLEAN}, a=authorization)
    assert section["reason"]["code"] == "DENY_EVIDENCE"
    assert "it cannot be asked at the moment" in section["reason"]["remedy"]
    assert await client.requests() == before


async def test_only_what_was_issued_can_be_withdrawn(client: Client) -> None:
    issuer = client.sandbox.urls["issuer"]
    answer = await client.http.post(f"{issuer}/authorizations/unknown/withdraw")
    assert answer.status_code == 404


# Nobody is asked in vain


async def test_registers_are_not_asked_for_what_is_denied_without_them(client: Client) -> None:
    before = await looked_up(client)
    section = await section_of(client, BANK, TAX, id={"creditCode": CLEAN}, a=None)
    assert section["reason"]["code"] == "DENY_NO_AUTHORISATION"
    minor = {"number": "990105201506010116", "name": "例年少"}
    query = about(
        "LICENSING", 'matterCode: "M-1", caseNumber: "C-1"', "... on NaturalPerson { licences { state } }"
    )
    answer = await client.post(BUREAU, query, {"id": {"resident": minor}})
    assert answer.json()["errors"][0]["extensions"]["code"] == "SUBJECT_UNDER_AGE"
    assert await looked_up(client) == before


@pytest.mark.parametrize("fault", ["down", "error", "garbage", "truncated", "delay"])
async def test_a_register_that_gives_no_answer_denies(client: Client, fault: str) -> None:
    await client.fault("trading-platform", fault)
    before = await client.requests()
    query = over("PROCUREMENT", 'projectNumber: "P-1", stage: REVIEW')
    assert await states(client, BUREAU, query, CLEAN) == ["DENY_EVIDENCE"]
    assert "it cannot be asked at the moment" in await remedy(client, BUREAU, query, CLEAN)
    assert await client.requests() == before


async def test_a_silent_register_leaves_time_for_what_does_not_hang_on_it(client: Client) -> None:
    await client.fault("consent-service", "delay")
    authorization = await client.authorization({"credit_code": CLEAN})
    query = about(
        "LOAN_PRECHECK",
        'applicationNumber: "A-1", queryReasonCode: "02", authorization: $a',
        "... on OperatingSubject { registration { state } taxPayments { state } }",
    )
    body = await client.ask(BANK, query, {"id": {"creditCode": CLEAN}, "a": authorization})
    subject = body["data"]["inquiry"]["subject"]
    assert (subject["registration"]["state"], subject["taxPayments"]["state"]) == ("HAS", "DENIED")


SEARCH = """{ inquiry(purpose: JUDICIAL, evidence: {caseNumber: "%s"}) {
  search(name: "示例") { state reason { code remedy } } } }"""


async def test_a_search_needs_its_case_proven(client: Client) -> None:
    async def found(number: str) -> dict[str, Any]:
        body = await client.ask("court", SEARCH % number)
        result: dict[str, Any] = body["data"]["inquiry"]["search"]
        return result

    assert (await found("J-1"))["state"] == "HAS"
    before = await client.requests()
    assert (await found("C-1"))["reason"]["code"] == "DENY_NOT_DEPARTMENT_MATTER"
    assert (await found("J-99"))["reason"]["code"] == "DENY_EVIDENCE"
    await client.fault("department-registers", "down")
    assert (await found("J-1"))["reason"]["code"] == "DENY_EVIDENCE"
    assert await client.requests() == before


# What the ledger says, and what a deployment decides

INSPECTION = over("SUPERVISION", 'inspectionPlanNumber: "I-1"')


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(body) for _, body in read_rows(folder / "ledger.sqlite")]


def _proven(row: dict[str, Any]) -> dict[str, str]:
    (section,) = row["subjects"][0]["sections"]
    return {proven["condition"]: proven["by"] for proven in section["proven"]}


async def test_the_row_says_what_proved_a_condition(sandbox: Sandbox, tmp_path: Path) -> None:
    async with gateway(sandbox, tmp_path) as client:
        assert await states(client, BUREAU, INSPECTION, CLEAN) == ["NONE"]
        assert await states(client, BUREAU, INSPECTION.replace("I-1", "I-99"), CLEAN) == ["DENY_EVIDENCE"]
        query = about(
            "LEGAL_REP_CHECK",
            f'applicationNumber: "A-1", queryReasonCode: "22", organisationCode: "{CLEAN}", role: "董事",'
            " authorization: $a",
            "... on NaturalPerson { enforcement { state reason { code } } }",
        )
        scope: dict[str, Any] = {"purposes": ("LEGAL_REP_CHECK",), "categories": ("ENFORCE_DEFAULT",)}
        own = await client.authorization(
            {"resident_number": PERSON["number"], "name": PERSON["name"]}, **scope
        )
        assert (await section_of(client, BANK, query, id={"resident": PERSON}, a=own))["state"] == "DENIED"
    proven, unknown, representative = _rows(tmp_path)
    assert _proven(proven) == {"PLAN": "register plans", "OWN_SUBJECTS": "register plans"}
    (plan,) = proven["registers"]
    said = plan.pop("entry")
    assert plan == {"register": "plans", "number": "I-1", "answer": "ENTRY"}
    assert (said["open"], said["own"], said["subjects"]) == (True, True, [0])
    assert unknown["registers"] == [{"register": "plans", "number": "I-99", "answer": "NONE"}]
    assert CLEAN not in json.dumps(representative)
    answers = {asked["register"]: asked["answer"] for asked in representative["registers"]}
    assert answers == {"applications": "ENTRY", "organisations": "ENTRY", "authorizations": "ENTRY"}


async def test_a_bundle_may_say_that_declared_is_enough(sandbox: Sandbox, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(str(files("policies") / "bundles" / "example"), bundle)
    head = (bundle / "bundle.toml").read_text("utf-8")
    assert "declared_is_enough = []" in head
    head = head.replace("declared_is_enough = []", 'declared_is_enough = ["PLAN", "OWN_SUBJECTS"]')
    (bundle / "bundle.toml").write_text(head, "utf-8")
    async with gateway(sandbox, tmp_path, policy=PolicySettings(bundle=str(bundle))) as client:
        before = await looked_up(client)
        query = over("SUPERVISION", 'inspectionPlanNumber: "I-99"')
        assert await states(client, BUREAU, query, CLEAN) == ["NONE"]
        assert await looked_up(client) == before
    (row,) = _rows(tmp_path)
    assert _proven(row) == {"PLAN": "declared", "OWN_SUBJECTS": "declared"}


async def test_a_register_that_no_source_serves_proves_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    directory = tmp_path / "sources"
    shutil.copytree(INSTALLED, directory)
    for name in ("department-registers", "consent-service"):
        (directory / f"{name}.toml").unlink()
    urls = settings_for(sandbox, tmp_path).sources.urls
    served = {name: url for name, url in urls.items() if (directory / f"{name}.toml").exists()}
    async with gateway(
        sandbox, tmp_path, sources=SourceSettings(directory=str(directory), urls=served)
    ) as client:
        assert await states(client, BUREAU, INSPECTION, CLEAN) == ["DENY_EVIDENCE"]
        assert "no source serves it" in await remedy(client, BUREAU, INSPECTION, CLEAN)
        # Where nobody keeps withdrawals, an authorization holds until it expires.
        authorization = await client.authorization({"credit_code": CLEAN})
        assert (await section_of(client, BANK, TAX, id={"creditCode": CLEAN}, a=authorization))[
            "state"
        ] == "HAS"


def test_a_registers_condition_without_a_check_stops_the_start() -> None:
    bundle = load(files("policies") / "bundles" / "example")
    check_all_proven(bundle)
    strange = msgspec.structs.replace(bundle.conditions["CASE"], code="FILE")
    bundle = msgspec.structs.replace(bundle, conditions={**bundle.conditions, "FILE": strange})
    with pytest.raises(ValueError, match="no check proves the condition FILE of the bundle example"):
        check_all_proven(bundle)
    check_all_proven(msgspec.structs.replace(bundle, declared_is_enough=frozenset({"FILE"})))


# What each condition demands of an entry

TODAY = date(2026, 11, 20)
SUBJECT = "resident:990000000000000000"
EVIDENCE = Evidence(
    matter_code="M-1",
    case_number="C-1",
    inspection_plan_number="I-1",
    project_number="P-1",
    stage=Stage.FINAL,
    programme_number="G-1",
    award_notice_number="W-1",
    recruitment_notice_number="Z-1",
    notified_on=date(2026, 11, 1),
    notice_form="letter",
    document_type="judgment",
    document_number="D-1",
    method_id="E-1",
    cycle="2026",
    objection_number="O-1",
    repair_number="R-1",
    record_ids=("X-1", "X-2"),
    batch_number="B-1",
    pboc_consent_id="PB-1",
    application_number="A-1",
    contract_id="K-1",
    audit_order_number="AO-1",
    study_number="S-1",
    approval_id="V-1",
    role="director",
    organisation_code="91990100FAKE00013D",
    register_number="L-1",
)
CLAIM = Claim(unit="unit", officer="first", subject=SUBJECT, evidence=EVIDENCE, today=TODAY)


def entry(register: Register, **changes: Any) -> Entry:
    """An entry that proves everything to this claim."""
    values: dict[str, Any] = {
        "reference": Reference(register, "N-1"),
        "open": True,
        "units": frozenset({"unit"}),
        "supervisors": frozenset({"unit"}),
        "valid_from": TODAY,
        "valid_until": TODAY,
        "stage": "FINAL",
        "kind": "judgment",
        "approver": "second",
        "subjects": frozenset({SUBJECT}),
        "roles": frozenset({(SUBJECT, "director"), (SUBJECT, "2026-11-01")}),
        "covers": frozenset({"M-1", "X-1", "X-2", "2026", "C-1", "Z-1", "W-1"}),
    }
    return Entry(**values | changes)


FAULTS: dict[str, dict[str, Any]] = {
    "closed": {"open": False},
    "not begun": {"valid_from": date(2026, 11, 21)},
    "over": {"valid_until": date(2026, 11, 19)},
    "another unit's": {"units": frozenset({"other"})},
    "not supervised": {"units": frozenset({"other"}), "supervisors": frozenset({"other"})},
    "other subjects": {"subjects": frozenset({"resident:1"})},
    "other stage": {"stage": "REVIEW"},
    "other kind": {"kind": "notice"},
    "other roles": {"roles": frozenset({("resident:1", "director"), (SUBJECT, "clerk")})},
    "other codes": {"covers": frozenset({"X-1"})},
    "own approval": {"approver": "first"},
    "no approver": {"approver": None},
}
FORCE = {"closed", "not begun", "over"}
OWN = {"another unit's", "not supervised"}
# The faults that each condition minds; what is not named here, it does not look at.
MINDS: dict[str, set[str]] = {
    "MATTER": FORCE | OWN | {"other codes"},
    "APPLICANT": FORCE | {"other subjects"},
    "OWN_FIELD": OWN,
    "OWN_FIELD_IF_INDUSTRY": OWN,
    "PLAN": FORCE | OWN,
    "OWN_SUBJECTS": {"other subjects"},
    "CASE": FORCE | OWN,
    "TENDER": {"closed", "not supervised", "other stage"},
    "BIDDER": {"other subjects"},
    "PURCHASER_OR_SUPERVISOR": {"not supervised"},
    "ROLE_IN_BID": {"other roles"},
    "ROLE_IN_ORG": FORCE | {"other roles"},
    "PROGRAMME": FORCE | {"not supervised"},
    "AWARD": FORCE | {"not supervised"},
    "CANDIDATE": FORCE | {"not supervised", "other subjects"},
    "STAGE_FINAL": {"other stage"},
    "NOTICE": {"other roles"},
    "KEY_OCCUPATION": FORCE | {"other subjects"},
    "BASIS_DOC": FORCE | {"other kind", "other subjects"},
    "METHOD": FORCE | {"other codes"},
    "RECORD_AT_ISSUE": FORCE | {"not supervised", "other subjects", "other codes"},
    "OWN_RECORD": OWN | {"other codes"},
    "AUTH_PBOC": FORCE | OWN | {"other subjects"},
    "APPLICATION": FORCE | OWN | {"other subjects"},
    "CONTRACT_LIVE": FORCE | OWN | {"other subjects"},
    "ORDER": FORCE | OWN | {"other subjects"},
    "STUDY": FORCE | OWN,
    "BATCH": FORCE | OWN,
    "DUAL": FORCE | OWN | {"other codes", "own approval", "no approver"},
}


def unmet(code: str, claim: Claim = CLAIM, **changes: Any) -> bool:
    """Whether any of the registers that the condition asks leaves it unmet."""
    check = CHECKS[code]
    return any(check.unmet(entry(register, **changes), claim) for register in check.numbers.values())


@pytest.mark.parametrize("code", MINDS)
def test_a_condition_minds_what_it_must(code: str) -> None:
    assert not unmet(code)
    assert {fault for fault, changes in FAULTS.items() if unmet(code, **changes)} == MINDS[code]


def test_every_check_is_looked_at_here() -> None:
    assert CHECKS.keys() == MINDS.keys() | {"WINDOW"}


def test_the_window_is_open_from_notice_to_award() -> None:
    trading: dict[str, Any] = {"stage": "AWARD", "valid_from": TODAY, "valid_until": TODAY}
    assert not unmet("WINDOW", **trading)
    assert all(unmet("WINDOW", **trading | FAULTS[fault]) for fault in FORCE)
    assert unmet("WINDOW", **trading | {"stage": "FINAL"})
    assert not unmet("WINDOW", valid_from=None, valid_until=None, stage="NOTICE")


def test_a_comprehensive_method_is_everybodys() -> None:
    assert not unmet("OWN_FIELD_IF_INDUSTRY", kind="COMPREHENSIVE", units=frozenset({"other"}))


def test_a_search_is_about_no_subject_and_a_token_without_officer_has_no_second() -> None:
    nobody = msgspec.structs.replace(CLAIM, subject=None)
    assert not unmet("BASIS_DOC", nobody)
    assert unmet("DUAL", msgspec.structs.replace(CLAIM, officer=None))


def test_every_number_that_is_given_is_looked_up() -> None:
    for code, check in CHECKS.items():
        references = check.references(EVIDENCE)
        assert {reference.register for reference in references} == set(check.numbers.values()), code
        assert check.references(Evidence()) == ()
        assert check.unmet(None, CLAIM) is not None


def test_no_entry_shows_its_subjects_by_accident() -> None:
    held = entry(Register.CASES)
    assert SUBJECT not in repr(held)
    assert "N-1" not in repr(held)


# Source files with registers

FILE = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "REGISTER"
sandbox = true
url = "http://127.0.0.1:1"

[envelope]
records = "data"
null_records = true
codes = [{ at = "code", ok = [0] }]

[[register]]
names = ["cases", "plans"]
method = "POST"
path = "/{register.name}"
json = { number = "{register.number}" }
subjects = { credit_code = "parties.code", resident = { from = "people", split = "|" } }
roles = { from = "posts", scheme = "resident", subject = "id", role = "post" }

[register.fields]
number = "number"
units = "unit"
valid_until = { from = "until", formats = ["%Y%m%d"], never_ends = ["99991231"] }
open = { from = "state", table = { 1 = true, 2 = false } }
covers = { from = "matters", split = "," }
"""
ROW: dict[str, Any] = {
    "number": "N-1",
    "unit": "unit",
    "until": "20261120",
    "state": 1,
    "matters": "M-1, M-2",
    "parties": [{"code": "91990100fake00013d"}, {"code": "B"}],
    "people": "1|2",
    "posts": [{"id": "1", "post": "clerk"}],
    "unmapped": "not read",
}


class Registry(httpx.AsyncBaseTransport):
    """A register made by hand: answers every request with these rows."""

    def __init__(self, data: Any) -> None:
        self.requests: list[httpx.Request] = []
        self._data = data

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return httpx.Response(200, json={"code": 0, "data": self._data})


def open_registers(folder: Path, transport: httpx.AsyncBaseTransport | None = None) -> Sources:
    (folder / "demo.toml").write_text(FILE, "utf-8")
    return Sources.load(folder, transport=transport)


async def answer_of(folder: Path, data: Any) -> Entry | str | None:
    """The entry that the source's data becomes, or the code of the fault."""
    sources = open_registers(folder, Registry(data))
    (answer,) = await sources.look_up(
        [Reference(Register.CASES, "N-1")], ground=Ground("LICENSING"), deadline=30
    )
    await sources.aclose()
    return answer.fault.code.value if answer.fault else answer.entry


async def test_an_entry_is_read_as_the_file_says(tmp_path: Path) -> None:
    assert await answer_of(tmp_path, ROW) == Entry(
        reference=Reference(Register.CASES, "N-1"),
        open=True,
        units=frozenset({"unit"}),
        valid_until=date(2026, 11, 20),
        subjects=frozenset({"credit_code:91990100FAKE00013D", "credit_code:B", "resident:1", "resident:2"}),
        roles=frozenset({("resident:1", "clerk")}),
        covers=frozenset({"M-1", "M-2"}),
    )


async def test_no_entry_is_no_fault(tmp_path: Path) -> None:
    assert await answer_of(tmp_path, None) is None
    assert await answer_of(tmp_path, []) is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"number": "N-2"}, "WRONG_SUBJECT"),
        ({"number": None}, "GARBAGE"),
        ({"state": 3}, "GARBAGE"),
        ({"state": None}, "GARBAGE"),
        ({"until": "2026-11-20"}, "GARBAGE"),
        ({"unit": {"code": "unit"}}, "GARBAGE"),
        ({"parties": [{"name": "B"}]}, "GARBAGE"),
        ({"parties": ["B"]}, "GARBAGE"),
        ({"posts": {"id": "1", "post": "clerk"}}, "GARBAGE"),
        ({"posts": [{"id": "1"}]}, "GARBAGE"),
        ({"people": True}, "GARBAGE"),
    ],
)
async def test_an_entry_that_cannot_be_read_is_none(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    assert await answer_of(tmp_path, ROW | changes) == fault


@pytest.mark.parametrize("missing", ["number", "unit", "until", "state", "matters", "parties", "people"])
async def test_an_entry_that_lacks_what_the_file_maps_is_none(tmp_path: Path, missing: str) -> None:
    row = {name: value for name, value in ROW.items() if name != missing}
    assert await answer_of(tmp_path, row) == "GARBAGE"


async def test_two_entries_of_one_number_are_none(tmp_path: Path) -> None:
    assert await answer_of(tmp_path, [ROW, ROW]) == "GARBAGE"


async def test_nothing_of_an_entry_is_kept(tmp_path: Path) -> None:
    registry = Registry(ROW)
    sources = open_registers(tmp_path, registry)
    reference = Reference(Register.CASES, "N-1")
    for _ in range(2):
        await sources.look_up([reference], ground=Ground("LICENSING"), deadline=30)
    await sources.aclose()
    assert [(request.url.path, json.loads(request.content)) for request in registry.requests] == [
        ("/cases", {"number": "N-1"})
    ] * 2


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ('names = ["cases", "plans"]', 'names = ["files"]', "register[0].names[0]"),
        ('names = ["cases", "plans"]', 'names = ["cases", "cases"]', "register[0].names"),
        ('names = ["cases", "plans"]', "", "register[0].names"),
        ('path = "/{register.name}"', 'path = "/cases"', "register[0]"),
        ("{register.number}", "N-1", "register[0]"),
        ("{register.number}", "{subject.value}", "register[0].json"),
        ('method = "POST"', 'method = "POST"\ncache_seconds = 60', "register[0].cache_seconds"),
        ('number = "number"\nunits', "units", "register[0].fields.number"),
        ('open = { from = "state", table = { 1 = true, 2 = false } }', "", "register[0].fields.open"),
        ("2 = false", '2 = "no"', "register[0].fields.open.table.2"),
        ('units = "unit"', 'unit = "unit"', "register[0].fields.unit"),
        ('units = "unit"', 'units = { is = "unit" }', "register[0].fields.units"),
        ('credit_code = "parties.code"', 'passport = "parties.code"', "register[0]"),
        ('role = "post" }', 'role = "post", since = "x" }', "register[0].roles.since"),
        ("[[register]]", "[register]", "register"),
    ],
)
def test_a_mistake_refuses_the_file(tmp_path: Path, before: str, after: str, key: str) -> None:
    assert before in FILE
    (tmp_path / "demo.toml").write_text(FILE.replace(before, after, 1), "utf-8")
    with pytest.raises(SourceFileError) as caught:
        Sources.load(tmp_path)
    assert (caught.value.file, caught.value.key) == ("demo.toml", key)
    assert caught.value.remedy


def test_a_register_is_served_by_one_source(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text(FILE, "utf-8")
    (tmp_path / "other.toml").write_text(FILE.replace('id = "demo"', 'id = "other"'), "utf-8")
    with pytest.raises(SourceFileError, match="cases is served twice"):
        Sources.load(tmp_path)


async def test_the_installed_files_serve_every_register(sandbox: Sandbox) -> None:
    urls = settings_for(sandbox, Path()).sources.urls
    sources = Sources.load(INSTALLED, urls=urls)
    assert sources.registers == set(Register)
    references = [Reference(register, "nothing-has-this-number") for register in Register]
    answers = await sources.look_up(references, ground=Ground("LICENSING"), deadline=30)
    assert [(answer.entry, answer.fault) for answer in answers] == [(None, None)] * len(references)
    await sources.aclose()


async def test_wrong_secrets_are_refused_by_every_register(sandbox: Sandbox) -> None:
    names = ("TRADING_TOKEN", "REGISTERS_KEY", "BANK_SECRET", "CONSENT_TOKEN")
    secrets = {f"CREDIT_SOURCE_{name}": "wrong" for name in names}
    sources = Sources.load(INSTALLED, urls=settings_for(sandbox, Path()).sources.urls, secrets=secrets)
    references = [Reference(register, "P-1") for register in Register]
    answers = await sources.look_up(references, ground=Ground("LICENSING"), deadline=30)
    assert {answer.fault.code.value if answer.fault else "" for answer in answers} == {"REFUSED"}
    await sources.aclose()
