"""The main job over HTTP: a department, a bank, a subject, a person and a developer get what they may."""

from typing import Any

from service import (
    BANK,
    BUREAU,
    CLEAN,
    CONTESTED,
    DEFAULTER,
    ENFORCED,
    GOVERNMENT,
    INDIVIDUAL,
    PENALISED,
    REPAIRED,
    Client,
)

from gateway.examples import (
    BIDDER_CHECK,
    BIDDERS,
    CATALOGUE,
    CREDIT_LOAN,
    FIND,
    MY_PERSONAL_RECORD,
    MY_RECORD,
)


def _bidders(*codes: str) -> dict[str, Any]:
    return {"bidders": [{"id": {"creditCode": code}} for code in codes]}


async def test_a_department_checks_its_bidders_in_one_query(client: Client) -> None:
    body = await client.ask(BUREAU, BIDDER_CHECK, _bidders(*BIDDERS))
    clean, penalised, repaired, enforced, contested = body["data"]["inquiry"]["subjects"]
    assert clean["registration"]["record"]["creditCode"] == CLEAN
    assert [clean[s]["state"] for s in ("penalties", "enforcement", "seriousDishonesty")] == ["NONE"] * 3
    assert penalised["penalties"]["state"] == "HAS"
    assert penalised["penalties"]["level"] == "SUMMARY"
    assert repaired["penalties"]["state"] == "NONE"
    assert enforced["enforcement"]["records"]["nodes"][0]["court"]
    assert enforced["seriousDishonesty"]["state"] == "HAS"
    assert contested["penalties"]["records"]["totalCount"] == 2
    assert contested["penalties"]["records"]["nodes"][0]["marks"] == ["UNDER_OBJECTION"]
    receipt = body["data"]["inquiry"]["receipt"]
    assert receipt["id"] == body["extensions"]["receipt"]["id"]
    assert len(receipt["policyVersion"]) == 64
    assert "denials" not in body["extensions"]


async def test_a_summary_withholds_what_only_full_shows(client: Client) -> None:
    query = """query($id: SubjectId!) {
      inquiry(purpose: PROCUREMENT, evidence: {projectNumber: "P-1", stage: REVIEW}) { subject(id: $id) {
        ... on Organisation { penalties {
          level withheld { field code } records { nodes { documentNumber facts fine } } } } } } }"""
    body = await client.ask(BUREAU, query, {"id": {"creditCode": PENALISED}})
    section = body["data"]["inquiry"]["subject"]["penalties"]
    node = section["records"]["nodes"][0]
    assert node["documentNumber"]
    assert node["facts"] is None
    assert node["fine"] is None
    assert section["withheld"] == [
        {"field": "facts", "code": "PERMIT_REDUCED"},
        {"field": "fine", "code": "PERMIT_REDUCED"},
    ]


async def test_a_bank_with_an_authorization_gets_bands_and_both_providers(client: Client) -> None:
    authorization = await client.authorization({"credit_code": CLEAN})
    body = await client.ask(
        BANK, CREDIT_LOAN, {"subject": {"creditCode": CLEAN}, "authorization": authorization}
    )
    subject = body["data"]["inquiry"]["subject"]
    assert subject["registration"]["record"]["capitalAmount"] == "5000000"
    assert subject["registration"]["record"]["capitalCurrency"] == "CNY"
    assert subject["taxPayments"]["state"] == "HAS"
    assert subject["taxPayments"]["records"]["nodes"][0]["amountBand"].startswith("FROM_")
    providers = {node["provider"] for node in subject["marketCredit"]["records"]["nodes"]}
    assert len(providers) == 2
    schemes = {node["scheme"] for node in subject["contributionPayments"]["records"]["nodes"]}
    assert schemes <= {"SOCIAL_INSURANCE", "HOUSING_FUND"}


async def test_a_bank_without_an_authorization_is_told_what_is_missing(client: Client) -> None:
    body = await client.ask(BANK, CREDIT_LOAN, {"subject": {"creditCode": CLEAN}, "authorization": None})
    subject = body["data"]["inquiry"]["subject"]
    assert subject["registration"]["state"] == "HAS"
    tax = subject["taxPayments"]
    assert tax["state"] == "DENIED"
    assert tax["records"]["nodes"] == []
    assert tax["reason"]["code"] == "DENY_NO_AUTHORISATION"
    assert "authorization" in tax["reason"]["remedy"]
    assert tax["reason"]["basis"][0]["citation"] == "SZ 26"
    assert {denial["category"] for denial in body["extensions"]["denials"]} == {
        "TAX_PAYMENT",
        "SI_HF_PAYMENT",
        "EVALUATION",
        "MARKET",
    }


async def test_a_subject_sees_its_own_record_exactly(client: Client) -> None:
    body = await client.ask("subject-portal", MY_RECORD, {"me": {"creditCode": CLEAN}})
    subject = body["data"]["inquiry"]["subject"]
    assert subject["registration"]["record"]["legalRepresentative"]
    assert float(subject["taxPayments"]["records"]["nodes"][0]["amount"]) > 0


async def test_a_subject_sees_no_other(client: Client) -> None:
    body = await client.ask("subject-portal", MY_RECORD, {"me": {"creditCode": REPAIRED}})
    subject = body["data"]["inquiry"]["subject"]
    assert {section["state"] for section in subject.values()} == {"DENIED"}
    assert {d["code"] for d in body["extensions"]["denials"]} == {"DENY_NO_AUTHORISATION"}


async def test_a_person_sees_its_own_record(client: Client) -> None:
    body = await client.ask(
        "subject-portal", MY_PERSONAL_RECORD, {"me": {"resident": DEFAULTER}}, persona="natural-person"
    )
    subject = body["data"]["inquiry"]["subject"]
    assert subject["identityMatch"]["record"]["matched"] is True
    assert subject["enforcement"]["state"] == "HAS"
    assert subject["marketCredit"]["state"] == "HAS"


async def test_each_kind_of_subject_follows_from_its_identifier(client: Client) -> None:
    query = """query($of: [SubjectRef!]!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
      subjects(of: $of) { __typename kind ... on RegisteredSubject { registration { state reason { code } } } } } }"""
    of = [{"id": {"creditCode": code}} for code in (CLEAN, INDIVIDUAL, GOVERNMENT)]
    subjects = (await client.ask(BUREAU, query, {"of": of}))["data"]["inquiry"]["subjects"]
    assert [(s["__typename"], s["kind"]) for s in subjects] == [
        ("Organisation", "ORG"),
        ("IndividualBusiness", "IND"),
        ("GovernmentBody", "GOV"),
    ]
    assert subjects[2]["registration"] == {"state": "DENIED", "reason": {"code": "DENY_SUBJECT_KIND"}}


async def test_the_operator_of_an_individual_business_is_masked_as_a_person(client: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
      subject(id: $id) { ... on RegisteredSubject { registration {
        record { legalRepresentative address } withheld { field code } } } } } }"""
    masked = await client.ask(BUREAU, query, {"id": {"creditCode": INDIVIDUAL}})
    registration = masked["data"]["inquiry"]["subject"]["registration"]
    assert registration["record"]["legalRepresentative"].endswith("*")
    assert {w["field"] for w in registration["withheld"]} == {"legalRepresentative", "address"}
    shown = await client.ask(BUREAU, query, {"id": {"creditCode": CLEAN}})
    assert not shown["data"]["inquiry"]["subject"]["registration"]["record"]["legalRepresentative"].endswith(
        "*"
    )


async def test_names_are_found_and_paged(client: Client) -> None:
    body = await client.ask("public", FIND, {"name": "示例"})
    found = body["data"]["inquiry"]["search"]
    assert found["state"] == "HAS"
    page = found["organisations"]
    assert len(page["nodes"]) == 5
    assert page["pageInfo"]["hasNextPage"] is True
    query = """query($after: String) { inquiry(purpose: PUBLIC_VIEW) { search(name: "示例", first: 5, after: $after) {
      organisations { nodes { creditCode } } } } }"""
    second = await client.ask("public", query, {"after": page["pageInfo"]["endCursor"]})
    codes = {node["creditCode"] for node in page["nodes"]}
    more = {n["creditCode"] for n in second["data"]["inquiry"]["search"]["organisations"]["nodes"]}
    assert len(more) == 5
    assert not codes & more


async def test_a_search_is_about_no_subject(client: Client) -> None:
    query = """{ inquiry(purpose: PROCUREMENT, evidence: {projectNumber: "P-1", stage: REVIEW}) {
      search(name: "示例") { state reason { code remedy } organisations { totalCount } } } }"""
    body = await client.ask(BUREAU, query)
    found = body["data"]["inquiry"]["search"]
    assert found["state"] == "DENIED"
    assert found["reason"]["code"] == "DENY_EVIDENCE"
    assert found["organisations"]["totalCount"] == 0


async def test_a_developer_learns_what_a_purpose_permits(client: Client) -> None:
    query = """{ viewer { type syntheticOnly } permissions(purpose: LOAN_PRECHECK, subjectKind: ORG) {
      category possible level rule fields needs { code evidence } reason { code } } }"""
    body = await client.ask("developer", query, persona=BANK)
    assert body["data"]["viewer"] == {"type": "BANK", "syntheticOnly": True}
    by_category = {p["category"]: p for p in body["data"]["permissions"]}
    tax = by_category["TAX_PAYMENT"]
    assert tax["possible"] is True
    assert tax["level"] == "SUMMARY"
    assert {"code": "AUTH_W", "evidence": [["authorization"]]} in tax["needs"]
    assert "amountBand" in tax["fields"]
    assert "amount" not in tax["fields"]
    assert by_category["CRIMINAL"]["reason"]["code"] == "DENY_CATEGORY"


async def test_the_catalogue_is_public_to_every_token(client: Client) -> None:
    body = await client.ask("developer", CATALOGUE)
    assert len(body["data"]["catalogue"]) == 33
    assert len(body["data"]["purposes"]) == 25
    assert len(body["data"]["measures"]) == 19
    assert "extensions" not in body


async def test_a_developer_reaches_synthetic_subjects_only(client: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $id) {
      ... on RegisteredSubject { registration { state reason { code } } } } } }"""
    real = await client.ask("developer", query, {"id": {"creditCode": "91140110MA0KFR8NXA"}})
    assert real["data"]["inquiry"]["subject"]["registration"] == {
        "state": "DENIED",
        "reason": {"code": "DENY_PURPOSE"},
    }
    synthetic = await client.ask("developer", query, {"id": {"creditCode": ENFORCED}})
    assert synthetic["data"]["inquiry"]["subject"]["registration"]["state"] == "HAS"


async def test_one_by_one_purposes_answer_one_subject(client: Client) -> None:
    query = """query($a: SubjectId!, $b: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) {
      a: subject(id: $a) { ...S } b: subject(id: $b) { ...S } } }
      fragment S on CreditSubject { ... on RegisteredSubject { registration { state reason { code } } } }"""
    two = await client.ask("public", query, {"a": {"creditCode": CLEAN}, "b": {"creditCode": CONTESTED}})
    inquiry = two["data"]["inquiry"]
    denied = {"state": "DENIED", "reason": {"code": "DENY_BULK"}}
    assert inquiry["a"]["registration"] == inquiry["b"]["registration"] == denied
    same = await client.ask("public", query, {"a": {"creditCode": CLEAN}, "b": {"creditCode": CLEAN}})
    assert same["data"]["inquiry"]["a"]["registration"]["state"] == "HAS"


async def test_reject_refuses_the_whole_inquiry_and_fetches_nothing(client: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: LOAN_PRECHECK, onDenied: REJECT,
        evidence: {applicationNumber: "A-1", queryReasonCode: "02"}) {
      subject(id: $id) { ... on Organisation { registration { state } taxPayments { state } } } } }"""
    before = await client.requests()
    answer = await client.post(BANK, query, {"id": {"creditCode": CLEAN}})
    assert answer.status_code == 403
    body = answer.json()
    assert "data" not in body
    extensions = body["errors"][0]["extensions"]
    assert extensions["code"] == "REFUSED"
    assert extensions["denials"][0]["code"] == "DENY_NO_AUTHORISATION"
    assert extensions["receipt"]["position"] > 0
    assert await client.requests() == before


async def test_a_person_under_18_is_refused_recorded_and_not_asked_for(client: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: LICENSING, evidence: {matterCode: "M-1", caseNumber: "C-1"}) {
      subject(id: $id) { ... on NaturalPerson { licences { state } } } } }"""
    before = await client.requests()
    answer = await client.post(
        BUREAU, query, {"id": {"resident": {"number": "990105201506010116", "name": "例小明"}}}
    )
    assert answer.status_code == 403
    extensions = answer.json()["errors"][0]["extensions"]
    assert extensions["code"] == "SUBJECT_UNDER_AGE"
    assert extensions["receipt"]["position"] > 0
    assert await client.requests() == before


async def test_a_registration_number_finds_the_registration(client: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
      subject(id: $id) { ... on Organisation { registration { record { creditCode } } licences {
        state reason { code } } } } } }"""
    body = await client.ask(BUREAU, query, {"id": {"registrationNumber": "990105000000129"}})
    subject = body["data"]["inquiry"]["subject"]
    assert subject["registration"]["record"]["creditCode"] == PENALISED
    assert subject["licences"] == {"state": "UNKNOWN", "reason": {"code": "UNKNOWN_IDENTIFIER"}}


async def test_a_wrong_check_digit_of_a_registered_code_is_a_warning(client: Client) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
      subject(id: $id) { warnings ... on Organisation { penalties { state } } } } }"""
    body = await client.ask(BUREAU, query, {"id": {"creditCode": "91990100FAKE009967"}})
    assert body["data"]["inquiry"]["subject"] == {
        "warnings": ["ID_CHECKSUM_MISMATCH"],
        "penalties": {"state": "HAS"},
    }
