"""A second bundle that differs decides and serves: nothing of the first is written into the code."""

from datetime import date
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from graphql import parse as parse_document
from graphql import print_schema, validate
from service import BANK, BANK_UNIT, CLEAN, PENALISED, gateway

from connectors.sandbox.server import Sandbox
from gateway.limits import Limits
from gateway.policy import make_policy
from gateway.settings import PolicySettings
from policies.bundle import Audience, Treatment
from policies.bundle_loading import load
from policies.caller import Caller
from policies.catalogue import SECTIONS
from policies.decision import Question, decide, decide_search
from policies.evidence import Evidence
from policies.identifiers import credit_code
from policies.obligations import check_all_discharged
from policies.outcomes import Denied
from policies.quota import admit
from policies.table import Cell, compile_table
from policies.vocabulary import Level, Mask, Severity, SubjectKind

BUNDLES = files("policies") / "bundles"
SMALL, EXAMPLE = load(BUNDLES / "small-province"), load(BUNDLES / "example")
TODAY = date(2026, 11, 20)
TABLE = compile_table(SMALL, TODAY)
GOLDEN = Path(__file__).parent / "golden" / "matrix_small_province.txt"
ORG, IND, NP, GOV, NONE = SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP, SubjectKind.GOV, SubjectKind.NONE


def test_it_differs_from_the_first() -> None:
    assert (SMALL.province, EXAMPLE.province) == ("980000", "990000")
    assert (len(SMALL.callers), len(SMALL.purposes), len(SMALL.rules)) == (12, 8, 20)
    assert SMALL.purposes.keys() - EXAMPLE.purposes.keys() == {"HARVEST_SUBSIDY"}
    assert {"FARM_OFFICE", "COOPERATIVE_LENDER"} <= SMALL.callers.keys() - EXAMPLE.callers.keys()
    assert SMALL.categories.keys() < EXAMPLE.categories.keys()
    assert SMALL.conditions.keys() - EXAMPLE.conditions.keys() == {"PARTY", "HARVEST_PROGRAMME"}
    for severity in Severity:
        assert SMALL.period(severity, TODAY).inquiry_months < EXAMPLE.period(severity, TODAY).inquiry_months
    mask = SMALL.masks[Mask.ADDRESS, ORG]
    assert mask.treatments[Audience.DEPARTMENT] is Treatment.KEEP
    assert (Mask.ADDRESS, ORG) not in EXAMPLE.masks


# The matrices as they were drawn by hand


def drawn() -> dict[str, dict[tuple[str, str], str]]:
    """By matrix the mark of each row and column."""
    matrices = {}
    for block in GOLDEN.read_text("utf-8").split("\n\n")[1:]:
        header, *rows = (line.split() for line in block.strip().splitlines())
        assert all(len(row) == len(header) for row in rows)
        matrices[header[0]] = {
            (row[0], column): mark for row in rows for column, mark in zip(header[1:], row[1:], strict=True)
        }
    return matrices


LETTERS = {Level.MATCH: "M", Level.HIT: "H", Level.PUBLIC: "P", Level.SUMMARY: "S", Level.FULL: "F"}
KEYS = {"AUTH_W", "AUTH_SEP", "LAW_NAMED"}


def as_drawn(kind: SubjectKind, purpose: str, category: str) -> str:
    cells = (TABLE.cell(caller, purpose, kind, category) for caller in SMALL.callers)
    marks = {
        LETTERS[cell.level] + "*" * bool(KEYS & set(cell.rule.conditions))
        for cell in cells
        if isinstance(cell, Cell)
    }
    assert len(marks) <= 1
    return next(iter(marks), "·")


@pytest.mark.parametrize(
    ("kind", "matrix"),
    [(ORG, "ORGANISATIONS"), (IND, "ORGANISATIONS"), (NP, "PERSONS"), (GOV, ""), (NONE, "")],
)
def test_the_table_is_the_matrix_that_was_drawn(kind: SubjectKind, matrix: str) -> None:
    marks = drawn()[matrix] if matrix else {}
    for purpose, category in product(SMALL.purposes, SMALL.categories):
        expected = marks.get((purpose, category), "·")
        if kind is IND and category == "EVALUATION":
            expected = "·"
        assert as_drawn(kind, purpose, category) == expected, (kind, purpose, category)


def test_callers_have_the_purposes_that_were_drawn() -> None:
    marks = drawn()["CALLERS"]
    assert {caller for caller, _ in marks} == SMALL.callers.keys()
    for (caller, purpose), mark in marks.items():
        assert (purpose in TABLE.purposes_of(caller)) == (mark == "●"), (caller, purpose)


# What the province has not is switched off


def asking(type_: str) -> Caller:
    return Caller(
        unit="11980000FAKE000483",
        unit_name="示例单位",
        type=type_,
        level=None,
        division=None,
        purposes=frozenset(SMALL.purposes),
        categories=None,
        officer=None,
        identity=None,
        synthetic_only=False,
        client="client",
        token_id="token",
        expires=2_000_000_000,
    )


def test_a_category_that_is_absent_has_no_cell_and_no_grant() -> None:
    absent = {section.category for section in SECTIONS} - SMALL.categories.keys()
    assert {"MARKET", "ABNORMAL", "ASSOC"} <= absent
    question = Question(
        purpose="LICENSING",
        subject=credit_code(CLEAN),
        evidence=Evidence(matter_code="M-1", case_number="C-1"),
        sections=dict.fromkeys(absent, 1),
        subjects_in_operation=1,
    )
    for category, part in decide(TABLE, asking("MARKET_OFFICE"), question).items():
        assert isinstance(part, Denied), category
        assert part.code == "DENY_CATEGORY"
        assert category in part.remedy
    assert all(TABLE.cell("MARKET_OFFICE", "LICENSING", ORG, category) is None for category in absent)


def test_where_no_rule_gives_registrations_nothing_is_found_by_name() -> None:
    rules = {"P007": SMALL.rules["P007"]}
    table = compile_table(msgspec.structs.replace(SMALL, rules=rules), TODAY)
    denied = decide_search(table, asking("PUBLIC"), "PUBLIC_VIEW", Evidence())
    assert isinstance(denied, Denied)


def test_its_obligations_are_all_discharged() -> None:
    check_all_discharged(SMALL)


# Quotas


@pytest.mark.parametrize(
    ("caller", "purpose", "asked", "left"),
    [
        ("BANK", "LOAN_PRECHECK", 0, 200),
        ("COOPERATIVE_LENDER", "LOAN_PRECHECK", 199, 1),
        ("BANK", "LOAN_PRECHECK", 200, 0),
        ("BANK", "LOAN_PRECHECK", 500, 0),
    ],
)
def test_a_quota_counts_the_subjects_of_a_day(caller: str, purpose: str, asked: int, left: int) -> None:
    before = [str(number) for number in range(asked)]
    assert admit(SMALL.quotas[caller, purpose], before, before).left == left


def test_what_no_quota_names_has_none() -> None:
    assert not {("BANK", "PUBLIC_VIEW"), ("COURT", "JUDICIAL")} & SMALL.quotas.keys()


# The schema, and a service


def test_the_schema_has_its_purposes_and_no_other() -> None:
    schema = make_policy(SMALL, Limits()).schema._schema
    text = print_schema(schema)
    assert "Subsidies for farming 农业补贴审核" in text
    assert set(schema.type_map["Purpose"].values) == SMALL.purposes.keys()  # type: ignore[attr-defined]
    asks = '{ inquiry(purpose: %s) { subject(id: {creditCode: "X"}) { kind } } }'
    assert not validate(schema, parse_document(asks % "HARVEST_SUBSIDY"))
    assert validate(schema, parse_document(asks % "PROCUREMENT"))


LOAN = """query($id: SubjectId!, $a: String) {
  inquiry(purpose: LOAN_PRECHECK, evidence: {applicationNumber: "A-1", authorization: $a}) { subject(id: $id) {
    ... on Organisation {
      registration { state record { name address } }
      penalties { state reason { code } }
      arrears { state reason { code basis { citation } } }
      marketCredit { state reason { code } }
    } } } }"""


async def test_a_service_decides_by_it(sandbox: Sandbox, tmp_path: Path) -> None:
    policy = PolicySettings(bundle="small-province")
    async with gateway(sandbox, tmp_path, policy=policy) as client:
        body = await client.ask(BANK, LOAN, {"id": {"creditCode": PENALISED}})
        subject: dict[str, Any] = body["data"]["inquiry"]["subject"]
        assert subject["registration"]["state"] == "HAS"
        assert subject["penalties"]["state"] in ("HAS", "NONE")
        assert subject["arrears"]["reason"]["code"] == "DENY_NO_AUTHORISATION"
        assert [basis["citation"] for basis in subject["arrears"]["reason"]["basis"]] == ["XP 30"]
        assert subject["marketCredit"] == {"state": "DENIED", "reason": {"code": "DENY_CATEGORY"}}
        authorization = await client.authorization(
            {"credit_code": PENALISED}, grantee=BANK_UNIT, categories=("ARREARS",)
        )
        body = await client.ask(BANK, LOAN, {"id": {"creditCode": PENALISED}, "a": authorization})
        assert body["data"]["inquiry"]["subject"]["arrears"]["state"] in ("HAS", "NONE")
        # A caller type of the first bundle is none here.
        answer = await client.post("court", "{ viewer { type } }")
        assert answer.status_code == 200
        answer = await client.post("market-regulation-bureau", "{ viewer { type } }")
        assert answer.status_code == 401
