"""Applying: a measure is recorded only if listed, lawful for the unit, and borne by what its own inquiry gave."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
import pytest_asyncio
from service import BANK, BUREAU, CLEAN, DEFAULTER, ENFORCED, PENALISED, Client, gateway

from connectors.sandbox.server import Sandbox
from gateway.app import load_bundle
from gateway.ledger import read_rows
from policies.application import Application, Given, PastInquiry, past_inquiry, refuse_application
from policies.bundle import CategoryClass, MeasureKind
from policies.bundle_files import BundleError
from policies.bundle_loading import parse
from policies.caller import Caller
from policies.identifiers import credit_code, resident
from policies.outcomes import Outcome

BUNDLE = load_bundle("example")
UNIT = "11990105FAKE90012G"
INQUIRY = "00000000-0000-4000-8000-000000000000"

SUPERVISE = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
  receipt { id } subject(id: $id) { ... on OperatingSubject { serious: seriousDishonesty { state }
    enforcement { state } penalties { state } incentives { state } honours { state } } } } }"""
CHECK = """query($id: SubjectId!, $measure: String!) { inquiry(purpose: MEASURE_CHECK,
    evidence: {measureId: $measure, matterCode: "M-1", caseNumber: "C-1"}) {
  receipt { id } subject(id: $id) { ... on OperatingSubject { seriousDishonesty { state reason { code } } } } } }"""
PUBLIC = """query($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) {
  receipt { id } subject(id: $id) { ... on Organisation { seriousDishonesty { state } penalties { state } } } } }"""
APPLY = """mutation($inquiry: ID!, $subject: SubjectId!, $measure: ID!, $category: Category!, $decision: String!) {
  recordApplication(inquiry: $inquiry, subject: $subject, measure: $measure, category: $category, decision: $decision) {
    id time inquiry measure policyVersion } }"""


@pytest_asyncio.fixture
async def alone(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Client]:
    """A gateway with a ledger of its own."""
    async with gateway(sandbox, tmp_path) as client:
        yield client


async def inquiry(
    client: Client, code: str, query: str = SUPERVISE, caller: str = BUREAU, **more: str
) -> str:
    body = await client.ask(caller, query, {"id": {"creditCode": code}, **more})
    return str(body["data"]["inquiry"]["receipt"]["id"])


def wanted(receipt: str, code: str, **changes: Any) -> dict[str, Any]:
    return {
        "inquiry": receipt,
        "subject": {"creditCode": code},
        "measure": "S4",
        "category": "SERIOUS_LIST",
        "decision": "虚市监措〔2026〕1号",
        **changes,
    }


def rows(client: Client) -> list[dict[str, Any]]:
    return [orjson.loads(body) for _, body in read_rows(client.folder / "ledger.sqlite")]


async def refused(client: Client, variables: Mapping[str, Any], caller: str = BUREAU) -> dict[str, Any]:
    answer = await client.post(caller, APPLY, variables)
    body = answer.json()
    assert answer.status_code == 403, body
    assert "data" not in body
    extensions = body["errors"][0]["extensions"]
    assert extensions["code"] == "APPLICATION_REFUSED"
    assert rows(client)[-1]["receipt"] == extensions["receipt"]["id"]
    (denial,) = extensions["denials"]
    assert denial["remedy"]
    assert rows(client)[-1]["outcome"] == denial["code"]
    found: dict[str, Any] = denial
    return found


async def test_a_measure_on_a_serious_entry_is_recorded_before_it_is_answered(alone: Client) -> None:
    receipt = await inquiry(alone, ENFORCED)
    body = await alone.ask(BUREAU, APPLY, wanted(receipt, ENFORCED))
    recorded = body["data"]["recordApplication"]
    assert (recorded["inquiry"], recorded["measure"]) == (receipt, "S4")
    row = rows(alone)[-1]
    assert (row["kind"], row["version"], row["outcome"]) == ("APPLICATION", 1, "RECORDED")
    assert row["receipt"] == recorded["id"] == body["extensions"]["receipt"]["id"]
    assert (row["inquiry"], row["measure"], row["decision"]) == (receipt, "S4", "虚市监措〔2026〕1号")
    assert row["caller"]["unit"] == UNIT
    assert row["subject"] == rows(alone)[0]["subjects"][0]["subject"]
    assert ENFORCED not in str(rows(alone))


async def test_a_check_of_the_measure_is_ground_enough(alone: Client) -> None:
    receipt = await inquiry(alone, ENFORCED, CHECK, measure="S4")
    body = await alone.ask(BUREAU, APPLY, wanted(receipt, ENFORCED))
    assert body["data"]["recordApplication"]["id"]


async def test_a_check_answers_for_listed_measures_only(alone: Client) -> None:
    for measure, state, code in (("S4", "HAS", None), ("Z9", "DENIED", "DENY_EVIDENCE")):
        body = await alone.ask(BUREAU, CHECK, {"id": {"creditCode": ENFORCED}, "measure": measure})
        section = body["data"]["inquiry"]["subject"]["seriousDishonesty"]
        assert section["state"] == state
        assert (section["reason"] or {}).get("code") == code


@pytest.mark.parametrize(
    ("code", "changes", "outcome"),
    [
        (ENFORCED, {"measure": "Z9"}, "DENY_MEASURE"),
        # a serious measure on a penalty, and a subject that stands on no list
        (PENALISED, {"category": "PENALTY"}, "DENY_DEGREE"),
        (PENALISED, {}, "DENY_EVIDENCE"),
        (CLEAN, {"measure": "D1", "category": "PENALTY"}, "DENY_EVIDENCE"),
        # an incentive on a dishonest record
        (ENFORCED, {"measure": "I1"}, "DENY_DEGREE"),
        # another subject than the one that was asked about; an inquiry that nobody made
        (ENFORCED, {"subject": {"creditCode": PENALISED}}, "DENY_EVIDENCE"),
        (ENFORCED, {"inquiry": INQUIRY}, "DENY_EVIDENCE"),
        # a category that the inquiry did not ask for
        (ENFORCED, {"measure": "D1", "category": "ABNORMAL"}, "DENY_EVIDENCE"),
    ],
)
async def test_what_an_inquiry_does_not_bear_is_refused_with_the_article(
    alone: Client, code: str, changes: dict[str, Any], outcome: str
) -> None:
    receipt = await inquiry(alone, code)
    denial = await refused(alone, wanted(receipt, code, **changes))
    assert denial["code"] == outcome
    measure = BUNDLE.measures.get(changes.get("measure", "S4"))
    assert denial["basis"] == [basis.text for basis in measure.basis] if measure else denial["basis"] == []


async def test_a_general_measure_on_a_penalty_is_recorded(alone: Client) -> None:
    receipt = await inquiry(alone, PENALISED)
    body = await alone.ask(BUREAU, APPLY, wanted(receipt, PENALISED, measure="D1", category="PENALTY"))
    assert body["data"]["recordApplication"]["measure"] == "D1"


async def test_one_application_of_a_measure_on_an_inquiry(alone: Client) -> None:
    receipt = await inquiry(alone, ENFORCED)
    answers = await asyncio.gather(*(alone.post(BUREAU, APPLY, wanted(receipt, ENFORCED)) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 403, 403, 403]
    assert (await refused(alone, wanted(receipt, ENFORCED)))["code"] == "DENY_REPEATED"
    again = await inquiry(alone, ENFORCED)
    assert (await alone.ask(BUREAU, APPLY, wanted(again, ENFORCED)))["data"]["recordApplication"]
    assert (await alone.ask(BUREAU, APPLY, wanted(again, ENFORCED, measure="S1")))["data"][
        "recordApplication"
    ]


async def test_no_measure_follows_from_the_inquiry_of_another_unit_or_purpose(alone: Client) -> None:
    receipt = await inquiry(alone, ENFORCED)
    other = await refused(alone, wanted(receipt, ENFORCED), "court")
    unknown = await refused(alone, wanted(INQUIRY, ENFORCED), "court")
    assert other == unknown
    assert other["code"] == "DENY_EVIDENCE"
    assert (await refused(alone, wanted(receipt, ENFORCED), BANK))["code"] == "DENY_MEASURE"
    public = await inquiry(alone, ENFORCED, PUBLIC)
    assert (await refused(alone, wanted(public, ENFORCED)))["code"] == "DENY_PURPOSE"


async def test_a_refused_inquiry_bears_nothing(alone: Client) -> None:
    rejecting = SUPERVISE.replace("inquiry(", "inquiry(onDenied: REJECT, ").replace(
        "penalties { state }", "taxPayments { state }"
    )
    answer = await alone.post(BUREAU, rejecting, {"id": {"creditCode": ENFORCED}})
    receipt = answer.json()["errors"][0]["extensions"]["receipt"]["id"]
    assert (await refused(alone, wanted(receipt, ENFORCED)))["code"] == "DENY_EVIDENCE"


async def test_an_application_is_no_inquiry(alone: Client) -> None:
    receipt = await inquiry(alone, ENFORCED)
    applied = await alone.ask(BUREAU, APPLY, wanted(receipt, ENFORCED))
    own = applied["data"]["recordApplication"]["id"]
    assert (await refused(alone, wanted(own, ENFORCED, measure="S1")))["code"] == "DENY_EVIDENCE"


async def test_an_application_is_sent_by_post(alone: Client) -> None:
    token = await alone.token(BUREAU)
    answer = await alone.http.get(
        f"{alone.url}/graphql",
        params={"query": APPLY, "variables": orjson.dumps(wanted(INQUIRY, ENFORCED)).decode()},
        headers={"authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 405
    assert answer.json()["errors"][0]["extensions"]["code"] == "MUTATION_NEEDS_POST"
    assert rows(alone) == []


async def test_one_application_in_an_operation(alone: Client) -> None:
    one = (
        'recordApplication(inquiry: "%s", subject: {creditCode: "%s"}, measure: "S4", category: SERIOUS_LIST,'
        ' decision: "D-1") { id }' % (INQUIRY, ENFORCED)
    )
    answer = await alone.post(BUREAU, "mutation { a: %s b: %s }" % (one, one))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"]["code"] == "ONE_APPLICATION_PER_OPERATION"
    none = await alone.ask(BUREAU, "mutation { %s __typename }" % one.replace(") {", ") @skip(if: true) {"))
    assert none["data"] == {"__typename": "Mutation"}
    assert rows(alone) == []


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"inquiry": "1"}, "BAD_ARGUMENT", "recordApplication.inquiry"),
        ({"measure": "a measure"}, "BAD_ARGUMENT", "recordApplication.measure"),
        ({"decision": "two words"}, "BAD_ARGUMENT", "recordApplication.decision"),
        ({"decision": ENFORCED}, "BAD_ARGUMENT", "recordApplication.decision"),
        ({"subject": {"creditCode": "1"}}, "BAD_IDENTIFIER", "recordApplication.subject.creditCode"),
        ({"category": "NOTHING"}, "BAD_VARIABLE", "category"),
    ],
)
async def test_bad_input_is_named_and_not_recorded(
    alone: Client, changes: dict[str, Any], code: str, field: str
) -> None:
    answer = await alone.post(BUREAU, APPLY, wanted(INQUIRY, ENFORCED, **changes))
    assert answer.status_code == 400
    error = answer.json()["errors"][0]
    assert error["extensions"]["code"] == code
    assert field in error["message"]
    assert ENFORCED not in answer.text
    assert rows(alone) == []


# --- the decision alone

CALLER = Caller(
    unit=UNIT,
    unit_name="示例区市场监督管理局",
    type="MARKET_REGULATION",
    level="COUNTY",
    division="990105",
    purposes=frozenset({"SUPERVISION", "MEASURE_CHECK"}),
    categories=None,
    officer=None,
    identity=None,
    synthetic_only=False,
    client="c",
    token_id="t",
    expires=0,
)
COMPANY = Application(
    subject=credit_code(ENFORCED), subject_hash="company", measure="S7", category="ENFORCE_DEFAULT"
)
PERSON = Application(
    subject=resident(DEFAULTER["number"], DEFAULTER["name"], today=date(2026, 11, 20)),
    subject_hash="person",
    measure="S7",
    category="ENFORCE_DEFAULT",
)


def past(subject: str, **changes: Any) -> PastInquiry:
    given = Given(category="ENFORCE_DEFAULT", outcome="PERMIT_MASKED", state="HAS")
    given = msgspec.structs.replace(given, **changes)
    return PastInquiry(unit=UNIT, purpose="MEASURE_CHECK", given={subject: {given.category: given}})


def outcome(application: Application, inquiry: PastInquiry | None, **caller: Any) -> Outcome | None:
    denied = refuse_application(
        BUNDLE, msgspec.structs.replace(CALLER, **caller), application, inquiry, repeated=False
    )
    return denied.code if denied else None


def test_a_person_needs_a_law_that_was_proven_in_that_inquiry() -> None:
    assert outcome(PERSON, past("person")) is Outcome.DENY_LAW_NAMED
    assert outcome(PERSON, past("person", proven=("MEASURE", "LAW_NAMED"))) is None
    assert outcome(COMPANY, past("company")) is None


@pytest.mark.parametrize("state", ["NONE", "UNKNOWN", "DENIED", None])
def test_only_records_that_were_given_bear_a_measure(state: str | None) -> None:
    assert outcome(COMPANY, past("company", state=state)) is Outcome.DENY_EVIDENCE


@pytest.mark.parametrize("code", [o for o in Outcome if not o.startswith("PERMIT")])
def test_no_denied_section_bears_a_measure(code: Outcome) -> None:
    assert outcome(COMPANY, past("company", outcome=code.value)) is Outcome.DENY_EVIDENCE


def test_the_token_still_has_to_allow_the_purpose_and_the_subject() -> None:
    assert outcome(COMPANY, past("company"), purposes=frozenset({"SUPERVISION"})) is Outcome.DENY_PURPOSE
    assert outcome(COMPANY, past("company"), synthetic_only=True) is None
    real = msgspec.structs.replace(COMPANY, subject=credit_code("911401007259324000"))
    assert outcome(real, past("company"), synthetic_only=True) is Outcome.DENY_PURPOSE


def test_what_either_asking_gave_counts() -> None:
    sections = [
        {
            "category": "PENALTY",
            "outcome": "PERMIT",
            "state": "HAS",
            "proven": [{"condition": "PLAN", "by": "x"}],
        },
        {"category": "PENALTY", "outcome": "DENY_CATEGORY"},
    ]
    for order in (sections, sections[::-1]):
        row = {
            "caller": {"unit": UNIT},
            "purpose": "SUPERVISION",
            "subjects": [{"subject": "h", "sections": [section]} for section in order],
        }
        given = past_inquiry(row).given["h"]["PENALTY"]
        assert given.holds_records
        assert given.proven == ("PLAN",)


# --- the list

FILES = {
    path.name: path.read_text("utf-8")
    for path in (Path(__file__).parents[1] / "policies/bundles/example").glob("*.toml")
}


def test_every_measure_rests_on_records_of_its_own_weight() -> None:
    for measure in BUNDLE.measures.values():
        classes = {BUNDLE.categories[code].category_class for code in measure.requires}
        incentive = measure.kind is MeasureKind.INCENTIVE
        assert classes == {CategoryClass.EXCELLENT if incentive else CategoryClass.UNTRUSTWORTHY}
        if measure.kind is MeasureKind.SERIOUS:
            assert set(measure.requires) <= {"SERIOUS_LIST", "ENFORCE_DEFAULT"}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('requires = ["SERIOUS_LIST"]\n', "", "'requires' is missing"),
        ('requires = ["SERIOUS_LIST"]', "requires = []", "requires: Expected"),
        ('requires = ["SERIOUS_LIST"]', 'requires = ["SERIOUS"]', "requires: 'SERIOUS' is not defined"),
        ('requires = ["SERIOUS_LIST"]', 'requires = ["HONOUR"]', "requires: HONOUR is no category of class"),
    ],
)
def test_a_measure_that_rests_on_nothing_fitting_is_refused(old: str, new: str, reason: str) -> None:
    changed = FILES["measures.toml"].replace(old, new, 1)
    with pytest.raises(BundleError) as caught:
        parse({**FILES, "measures.toml": changed})
    assert caught.value.file == "measures.toml"
    assert reason in caught.value.reason
