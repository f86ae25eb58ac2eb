"""Jurisdiction: a province's rules give nothing to the departments of another one."""

import re
import shutil
from datetime import date
from importlib.resources import as_file, files
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from service import BANK, BUREAU, CLEAN, Client, gateway

from connectors.sandbox.issuer import PERSONAS
from connectors.sandbox.server import Sandbox
from gateway.cli import main
from gateway.policy import permissions
from gateway.settings import PolicySettings
from policies import explain
from policies.access_log import decide_log, references_of_log
from policies.bundle_loading import load
from policies.caller import Caller
from policies.decision import (
    Possible,
    Question,
    decide,
    decide_search,
    foresee,
    outside_jurisdiction,
    references_of_search,
)
from policies.evidence import Evidence
from policies.identifiers import credit_code
from policies.outcomes import Denied
from policies.statistics import decide_statistics
from policies.table import compile_table
from policies.vocabulary import SubjectKind

BUNDLE = load(files("policies") / "bundles" / "example")
TABLE = compile_table(BUNDLE, date(2026, 11, 20))
ORG = SubjectKind.ORG
DEPARTMENTS = [code for code, each in BUNDLE.callers.items() if each.department]
OTHERS = [code for code, each in BUNDLE.callers.items() if not each.department]
EVIDENCE = Evidence(
    inspection_plan_number="P-1", study_number="S-1", minimum_cell=10, audit_order_number="A-1"
)


def unit(type_: str, division: str | None) -> Caller:
    return Caller(
        unit="unit", unit_name="示例单位", type=type_, level=None, division=division,
        purposes=frozenset(BUNDLE.purposes), categories=None, officer=None, identity=None,
        synthetic_only=False, client="client", token_id="token", expires=0,
    )  # fmt: skip


def decided(caller: Caller, purpose: str = "SUPERVISION") -> dict[str, Possible | Denied]:
    question = Question(
        purpose=purpose,
        subject=credit_code(CLEAN),
        evidence=EVIDENCE,
        sections=dict.fromkeys(BUNDLE.categories, 1),
        subjects_in_operation=1,
    )
    return decide(TABLE, caller, question)


@pytest.mark.parametrize("type_", DEPARTMENTS)
def test_a_department_of_another_province_gets_no_category_for_any_purpose(type_: str) -> None:
    for purpose in BUNDLE.purposes:
        for category, part in decided(unit(type_, "140105"), purpose).items():
            assert isinstance(part, Denied), (purpose, category)
            assert part.code == "DENY_JURISDICTION", (purpose, category)
            assert part.basis == BUNDLE.purposes[purpose].basis
            assert "own province" in part.remedy


@pytest.mark.parametrize("division", ["990000", "990105", "000000", None])
@pytest.mark.parametrize("type_", DEPARTMENTS)
def test_own_and_central_departments_are_free_of_it(type_: str, division: str | None) -> None:
    own = decided(unit(type_, "990105"))
    assert decided(unit(type_, division)) == own
    assert all(not isinstance(part, Denied) or part.code != "DENY_JURISDICTION" for part in own.values())


@pytest.mark.parametrize("type_", OTHERS)
def test_who_is_no_department_is_free_of_it(type_: str) -> None:
    assert decided(unit(type_, "140105"), "PUBLIC_VIEW") == decided(unit(type_, "990105"), "PUBLIC_VIEW")


def test_neither_the_token_nor_a_red_line_speaks_before_it() -> None:
    narrowed = msgspec.structs.replace(unit("MARKET_REGULATION", "140105"), purposes=frozenset())
    assert {part.code for part in decided(narrowed).values() if isinstance(part, Denied)} == {
        "DENY_JURISDICTION"
    }


def test_a_type_that_the_bundle_does_not_have_is_no_department_of_it() -> None:
    assert not outside_jurisdiction(BUNDLE, unit("FORMER_BUREAU", "140105"))


def test_searches_counts_and_the_log_are_denied_alike_and_no_register_is_asked() -> None:
    authority, supervisor = unit("CREDIT_AUTHORITY", "140000"), unit("MARKET_REGULATION", "140000")
    search = decide_search(TABLE, supervisor, "SUPERVISION", EVIDENCE)
    counts = decide_statistics(TABLE, authority, "STATISTICS", ORG, "PENALTY", EVIDENCE)
    log = decide_log(TABLE, authority, "AUDIT", EVIDENCE)
    for denied in (search, counts, log):
        assert isinstance(denied, Denied)
        assert denied.code == "DENY_JURISDICTION"
    assert references_of_search(TABLE, supervisor, "SUPERVISION", EVIDENCE) == ()
    assert list(references_of_log(TABLE, authority, "AUDIT", EVIDENCE)) == []
    assert list(references_of_log(TABLE, unit("CREDIT_AUTHORITY", "990000"), "AUDIT", EVIDENCE)) != []


def test_the_dry_run_gives_the_same_answer() -> None:
    foreign = unit("MARKET_REGULATION", "140105")
    told = permissions(TABLE, foreign, "SUPERVISION", ORG)
    assert told
    assert {each.reason.code for each in told if each.reason} == {"DENY_JURISDICTION"}
    assert not any(each.possible for each in told)
    assert any(
        each.possible for each in permissions(TABLE, unit("MARKET_REGULATION", None), "SUPERVISION", ORG)
    )


def test_the_explanation_gives_the_same_answer() -> None:
    this = explain.explain(
        TABLE,
        caller_type="MARKET_REGULATION",
        purpose="SUPERVISION",
        kind=ORG,
        category="PENALTY",
        division="140105",
    )
    assert this.denied == foresee(TABLE, unit("MARKET_REGULATION", "140105"), "SUPERVISION", ORG, "PENALTY")
    # No other purpose would help such a unit.
    assert this.other_purposes == ()


EXPLAIN = (
    "policy explain --caller MARKET_REGULATION --purpose SUPERVISION --subject-kind ORG --category PENALTY"
)


@pytest.mark.parametrize(
    ("division", "status", "said"),
    [
        ("", 0, "YES "),
        ("--division 990105", 0, "YES "),
        ("--division 140105", 0, "NO .*DENY_JURISDICTION"),
        ("--division 14010", 2, "six digits are expected"),
        ("--division １４０１０５", 2, "six digits are expected"),
    ],
)
def test_the_command_explains_it_for_a_division(division: str, status: int, said: str) -> None:
    done = CliRunner().invoke(main, f"{EXPLAIN} {division}")
    assert done.exit_code == status
    assert re.search(said, done.output)


def test_every_persona_of_the_sandbox_is_of_the_example_province() -> None:
    assert {persona.division for persona in PERSONAS.values()} - {None} != set()
    assert all(persona.division is None or persona.division.startswith("99") for persona in PERSONAS.values())


QUERY = """query($id: SubjectId!) { permissions(purpose: %s, subjectKind: ORG) { possible reason { code } }
  inquiry(purpose: %s, %s) { subject(id: $id) {
    ... on OperatingSubject { registration { state reason { code } } penalties { state reason { code } } } } } }"""


async def asked(client: Client, who: str, purpose: str, evidence: str) -> tuple[set[str], set[str]]:
    """The states or denials of the inquiry, and of the dry run."""
    body = await client.ask(who, QUERY % (purpose, purpose, evidence), {"id": {"creditCode": CLEAN}})
    sections = body["data"]["inquiry"]["subject"].values()
    foreseen = body["data"]["permissions"]
    return (
        {section["reason"]["code"] if section["reason"] else section["state"] for section in sections},
        {each["reason"]["code"] if each["reason"] else "possible" for each in foreseen},
    )


async def test_over_http_nothing_is_fetched_for_a_department_of_another_province(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    with as_file(files("policies") / "bundles" / "example") as example:
        shutil.copytree(example, bundle)
    settings = bundle / "bundle.toml"
    settings.write_text(settings.read_text("utf-8").replace('"990000"', '"140000"'), "utf-8")
    async with gateway(sandbox, tmp_path, policy=PolicySettings(bundle=str(bundle))) as client:
        before = await client.requests()
        evidence = 'evidence: {inspectionPlanNumber: "I-1"}'
        assert await asked(client, BUREAU, "SUPERVISION", evidence) == (
            {"DENY_JURISDICTION"},
            {"DENY_JURISDICTION"},
        )
        assert await client.requests() == before
        given, foreseen = await asked(client, BANK, "PUBLIC_VIEW", "onDenied: FILTER")
        assert given <= {"HAS", "NONE"}
        assert "possible" in foreseen
