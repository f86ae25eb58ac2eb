"""Explanations: what they say in worked cases, and that they say what the decision would do."""

from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.authorization import Authorization
from policies.bundle import Bundle, Proof, RuleStatus
from policies.bundle_loading import load
from policies.caller import Caller, Identity
from policies.decision import CONSENT_OF, Granted, Possible, Question, close, decide, verify
from policies.evidence import Evidence, Stage
from policies.explain import Explanation, UnknownCodeError, explain, text
from policies.identifiers import SubjectKey, credit_code, resident
from policies.outcomes import Denied
from policies.proofs import Findings
from policies.registers import Entry, Reference, Register
from policies.table import Cell, Table, compile_table
from policies.vocabulary import Level, SubjectKind

BUNDLE = load(files("policies") / "bundles" / "example")
TODAY = date(2026, 11, 20)
NOW = 1_795_000_000
TABLE = compile_table(BUNDLE, TODAY)
ALL_FIELDS = (1 << 64) - 1
ORG, NP = SubjectKind.ORG, SubjectKind.NP
SUBJECTS = {
    SubjectKind.ORG: credit_code("91990100FAKE00013D"),
    SubjectKind.IND: credit_code("92990105FAKE00021D"),
    SubjectKind.GOV: credit_code("11990000FAKE000483"),
    SubjectKind.NP: resident("990105199912319987", "张三", today=TODAY),
}


def explained(words: str, table: Table = TABLE) -> Explanation:
    caller, purpose, kind, category = words.split()
    return explain(table, caller_type=caller, purpose=purpose, kind=SubjectKind(kind), category=category)


def told(words: str, table: Table = TABLE) -> str:
    return text(explained(words, table))


def changed(**parts: Any) -> Table:
    return compile_table(msgspec.structs.replace(BUNDLE, **parts), TODAY)


# --- what it says -------------------------------------------------------------------------------------------


def test_why_yes() -> None:
    said = told("MARKET_REGULATION SUPERVISION ORG PENALTY")
    for words in (
        "YES 允许, by rule R012, up to the level FULL",
        "Market regulation may, for SUPERVISION, learn PENALTY of organisations up to FULL, when PLAN holds and"
        " OWN_SUBJECTS holds.",
        "facts 违法事实",
        "PLAN: an inspection plan (or case) in force",
        "evidence 依据材料: inspectionPlanNumber 检查计划编号; or caseNumber 案件编号",
        "VISIBLE: only records inside publication and inquiry limit",
        "SH 28(1) Shanghai Social Credit Regulations 上海市社会信用条例",
    ):
        assert words in said


def test_an_authorization_is_named_with_what_it_must_be() -> None:
    found = explained("BANK LOAN_PRECHECK NP TAX_PAYMENT")
    assert found.lawful
    assert [need.condition.code for need in found.needs] == ["APPLICATION", "AUTH_W", "AUTH_SEP"]
    assert "the subject's signed authorization 信用主体签署的授权" in text(found)
    assert "separateConsent 单独同意书" in text(found)


def test_masked_fields_are_said_to_be() -> None:
    assert "legalRepresentative 法定代表人 (masked 脱敏: family name and an asterisk 仅显示姓氏)" in told(
        "BANK LOAN_PRECHECK ORG REG_ORG"
    )
    assert "masked" not in told("SUBJECT SELF ORG REG_ORG")


def test_why_not_and_who_else() -> None:
    found = explained("BANK LICENSING ORG PENALTY")
    assert found.denied is not None
    assert found.denied.code == "DENY_PURPOSE"
    assert [purpose.code for purpose in found.other_purposes] == [
        "LOAN_PRECHECK",
        "GUARANTEE_CHECK",
        "LOAN_POSTMGMT",
        "PUBLIC_VIEW",
    ]
    assert len(found.other_callers) == 17
    said = text(found)
    assert "NO 不允许: DENY_PURPOSE. 目的不适用" in said
    assert "BANK gets it for other purposes: LOAN_PRECHECK 贷前审查、贷款审批, GUARANTEE_CHECK" in said
    assert "For LICENSING others get it: MARKET_REGULATION 市场监督管理, PUBLIC_SECURITY 公安" in said
    assert "SH 28(1)" in said


def test_a_purpose_that_shows_no_records_is_no_way() -> None:
    """Researchers get counts of evaluations: no purpose gives them the records."""
    found = explained("RESEARCHER STATISTICS ORG EVALUATION")
    assert found.denied is not None
    assert found.denied.rule == "R052"
    assert found.other_purposes == ()
    assert found.dormant == ()
    assert "AGGREGATE" in text(found)


def test_what_is_passed_through_is_as_the_source_gives_it() -> None:
    found = explained("BANK LOAN_PRECHECK NP FINANCIAL_DB")
    assert found.lawful
    said = text(found)
    assert "by rule R063, up to the level PASS_THROUGH" in said
    assert "statement 报告内容" in said


def test_a_red_line_leaves_no_way() -> None:
    draft = msgspec.structs.replace(
        BUNDLE.rules["R061"], id="R900", categories={NP: ("EVALUATION",)}, status=RuleStatus.DRAFT
    )
    said = told("BANK LOAN_PRECHECK NP EVALUATION", changed(rules=BUNDLE.rules | {"R900": draft}))
    assert "NO 不允许, by RL01: DENY_PROHIBITED. 禁止" in said
    assert "Nothing makes this lawful." in said
    assert "R900" not in said
    assert "GBT45255" in said
    assert "The catalogue has no EVALUATION of natural persons" in said


def test_a_rule_that_is_not_in_force_is_named() -> None:
    rules = BUNDLE.rules | {
        "R012": msgspec.structs.replace(BUNDLE.rules["R012"], valid_from=date(2027, 1, 1)),
        "R013": msgspec.structs.replace(BUNDLE.rules["R013"], status=RuleStatus.DRAFT),
    }
    table = changed(rules=rules)
    assert "Rule R012 is written for it (ACTIVE, valid from 2027-01-01), but does not give it" in told(
        "MARKET_REGULATION SUPERVISION ORG PENALTY", table
    )
    assert "Rule R013 is written for it (DRAFT" in told("MARKET_REGULATION SUPERVISION ORG ARREARS", table)


def test_a_category_without_a_section_cannot_be_asked_for() -> None:
    own = msgspec.structs.replace(BUNDLE.categories["COMPULSION"], code="OWN_LIST")
    rule = msgspec.structs.replace(BUNDLE.rules["R013"], categories={ORG: ("OWN_LIST",)})
    table = changed(categories=BUNDLE.categories | {"OWN_LIST": own}, rules=BUNDLE.rules | {"R013": rule})
    assert "no inquiry can ask for it" in told("MARKET_REGULATION SUPERVISION ORG OWN_LIST", table)
    assert "no inquiry can ask for it" not in told("MARKET_REGULATION SUPERVISION ORG PENALTY")


def test_a_register_is_asked_unless_to_declare_is_enough() -> None:
    declared = changed(declared_is_enough=frozenset({"PLAN"}))
    said = told("MARKET_REGULATION SUPERVISION ORG PENALTY", declared)
    assert said.count("the evidence as declared is enough") == 1
    asked = changed(declared_is_enough=frozenset())
    assert "the evidence as declared is enough" not in told(
        "MARKET_REGULATION SUPERVISION ORG PENALTY", asked
    )
    assert explained("MARKET_REGULATION SUPERVISION ORG PENALTY", asked).lawful


def test_a_condition_that_nothing_can_prove_makes_it_impossible() -> None:
    new = msgspec.structs.replace(BUNDLE.conditions["PLAN"], code="OMEN", evidence=(("case_number",),))
    rule = msgspec.structs.replace(BUNDLE.rules["R012"], conditions=("OMEN",))
    table = changed(conditions=BUNDLE.conditions | {"OMEN": new}, rules=BUNDLE.rules | {"R012": rule})
    found = explained("MARKET_REGULATION SUPERVISION ORG PENALTY", table)
    assert not found.lawful
    assert "NOT AT PRESENT 目前不允许: rule R012" in text(found)
    assert "nothing can prove this at present" in text(found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "MARKET_REGULATIONS SUPERVISION ORG PENALTY",
            "caller: 'MARKET_REGULATIONS' is not in the bundle; nearest: MARKET_REGULATION",
        ),
        ("market_regulation SUPERVISION ORG PENALTY", "nearest: MARKET_REGULATION"),
        ("MARKET_REGULATION SUPERVISOIN ORG PENALTY", "purpose: 'SUPERVISOIN' is not in the bundle; nearest: SUPERVISION"),
        ("MARKET_REGULATION SUPERVISION ORG PENALTIES", "category: 'PENALTIES' is not in the bundle; nearest: PENALTY"),
        ("MARKET_REGULATION SUPERVISION ORG ЖЖЖ", "known: ABNORMAL, ACCESS_LOG"),
    ],
)  # fmt: skip
def test_unknown_codes(words: str, message: str) -> None:
    with pytest.raises(UnknownCodeError) as refused:
        explained(words)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


# --- it says what the decision does -------------------------------------------------------------------------


def caller_like(caller_type: str, subject: SubjectKey, *, itself: bool) -> Caller:
    """A unit of the type with an unlimited token; `itself`: the subject that is asked about."""
    identity = (
        Identity(resident_number=subject.value, name=subject.name)
        if subject.kind is NP
        else Identity(credit_code=subject.value)
    )
    return Caller(
        unit="11990000FAKE000483",
        unit_name="示例单位",
        type=caller_type,
        level=None,
        division=None,
        purposes=frozenset(BUNDLE.purposes),
        categories=None,
        officer="officer 7",
        identity=identity if itself else None,
        synthetic_only=False,
        client="client",
        token_id="token",
        expires=NOW + 600,
    )


def artefacts_for(subject: SubjectKey) -> dict[str, Authorization | str]:
    return {
        field: Authorization(
            issuer="issuer",
            authorization_id=field,
            issued_at=NOW - 60,
            not_before=NOW - 60,
            expires=NOW + 60,
            subject=(subject.scheme, subject.value),  # type: ignore[arg-type]
            subject_name=subject.name,
            grantee="11990000FAKE000483",
            purposes=frozenset(BUNDLE.purposes),
            categories=frozenset(BUNDLE.categories),
            consent=consent,
        )
        for field, consent in CONSENT_OF.items()
    }


def named_evidence(found: Explanation, stage: Stage, *, without: str | None = None) -> Evidence:
    """The first alternative of each need; `without` leaves out every field that this condition names."""
    fields = {
        field.name: field
        for need in found.needs
        for field in (need.alternatives[0] if need.alternatives else ())
    }
    left_out = {
        field.name
        for need in found.needs
        if need.condition.code == without
        for fields_of_one in need.alternatives
        for field in fields_of_one
    }
    values: dict[str, Any] = {}
    for name in fields.keys() - left_out:
        values[name] = "x"
    values |= {name: date(2026, 11, 1) for name in values if name == "notified_on"}
    values |= {name: stage for name in values if name == "stage"}
    values |= {name: 10 for name in values if name == "minimum_cell"}
    values |= {name: ("r-1",) for name in values if name == "record_ids"}
    values |= {name: "SH" for name in values if name == "instrument"}
    values |= {name: next(iter(BUNDLE.measures)) for name in values if name == "measure_id"}
    return Evidence(**values)


def decided(table: Table, found: Explanation, evidence: Evidence, *, itself: bool = True) -> Granted | Denied:
    subject = SUBJECTS[found.kind]
    caller = caller_like(found.caller.code, subject, itself=itself)
    question = Question(
        purpose=found.purpose.code,
        subject=subject,
        evidence=evidence,
        sections={found.category.code: ALL_FIELDS},
        subjects_in_operation=1,
    )
    part = decide(table, caller, question)[found.category.code]
    if isinstance(part, Denied):
        return part
    artefacts = artefacts_for(subject)
    verified = verify(table, caller, question, part, artefacts, NOW)
    asked = [reference for _, reference in verified.references] if isinstance(verified, Possible) else []
    entries = {reference: entry_for(reference, subject, evidence) for reference in asked}
    return close(table, caller, question, part, artefacts, NOW, Findings(TODAY, entries))


def entry_for(reference: Reference, subject: SubjectKey, evidence: Evidence) -> Entry:
    """A register's entry that bears out all that was declared."""
    given_values = msgspec.structs.asdict(evidence).values()
    texts = {text for value in given_values for text in (value if isinstance(value, tuple) else (value,))}
    told = evidence.notified_on.isoformat() if evidence.notified_on else ""
    return Entry(
        reference=reference,
        open=True,
        units=frozenset({"11990000FAKE000483"}),
        stage=evidence.stage,
        kind=evidence.document_type if reference.register is Register.DOCUMENTS else "COMPREHENSIVE",
        approver="officer 8",
        subjects=frozenset({subject.hash_input}),
        roles=frozenset({(subject.hash_input, evidence.role or ""), (subject.hash_input, told)}),
        covers=frozenset(text for text in texts if isinstance(text, str)),
    )


def check_agrees(table: Table, found: Explanation) -> None:
    """With all that the explanation asks for the section is given; without any part of it, it is not."""
    answers = [decided(table, found, named_evidence(found, stage)) for stage in Stage]
    granted = [answer for answer in answers if isinstance(answer, Granted)]
    assert bool(granted) is found.lawful
    if granted:
        cell = granted[0].cell
        assert cell == found.cell
        assert granted[0].fields.bit_count() == len(found.fields)
        assert granted[0].obligations == tuple(obligation.code for obligation in found.obligations)
        assert {p.condition for p in granted[0].proven} == {need.condition.code for need in found.needs}
    elif found.denied is not None:
        assert answers[0] == found.denied
    for need in found.needs:
        itself = need.condition.proof is not Proof.TOKEN
        if need.alternatives or not itself:
            for stage in Stage:
                evidence = named_evidence(found, stage, without=need.condition.code)
                assert isinstance(decided(table, found, evidence, itself=itself), Denied)


def distinct_cells(table: Table) -> Iterator[tuple[str, str, SubjectKind, str]]:
    """One caller for each thing that the table holds."""
    seen = set()
    bundle = table.bundle
    for caller, purpose, kind, category in product(
        bundle.callers, bundle.purposes, SUBJECTS, bundle.categories
    ):
        cell = table.cell(caller, purpose, kind, category)
        if cell is not None and id(cell) not in seen:
            seen.add(id(cell))
            yield caller, purpose, kind, category


def test_every_cell_is_explained_as_it_is_decided() -> None:
    cells = list(distinct_cells(TABLE))
    assert len(cells) > 300
    for caller, purpose, kind, category in cells:
        found = explain(TABLE, caller_type=caller, purpose=purpose, kind=kind, category=category)
        check_agrees(TABLE, found)
        assert text(found)


def declaring(bundle: Bundle, enough: set[str]) -> Table:
    return compile_table(msgspec.structs.replace(bundle, declared_is_enough=frozenset(enough)), TODAY)


REGISTERED = sorted(
    code for code, condition in BUNDLE.conditions.items() if condition.proof is Proof.REGISTER
)


@given(
    caller=st.sampled_from(sorted(BUNDLE.callers)),
    purpose=st.sampled_from(sorted(BUNDLE.purposes)),
    kind=st.sampled_from(list(SUBJECTS)),
    category=st.sampled_from(sorted(BUNDLE.categories)),
    enough=st.sets(st.sampled_from(REGISTERED)),
)
@settings(max_examples=60, deadline=None)
def test_any_cell_is_explained_as_it_is_decided(
    caller: str, purpose: str, kind: SubjectKind, category: str, enough: set[str]
) -> None:
    table = declaring(BUNDLE, enough)
    found = explain(table, caller_type=caller, purpose=purpose, kind=kind, category=category)
    check_agrees(table, found)
    for other in found.other_purposes:
        elsewhere = explain(table, caller_type=caller, purpose=other.code, kind=kind, category=category)
        assert isinstance(elsewhere.cell, Cell)
    for somebody in found.other_callers:
        theirs = explain(table, caller_type=somebody.code, purpose=purpose, kind=kind, category=category)
        assert isinstance(theirs.cell, Cell)


def test_browsing_the_schema_reaches_no_subject() -> None:
    found = explain(
        TABLE, caller_type="DEVELOPER", purpose="SCHEMA_EXPLORE", kind=SubjectKind.NONE, category="PENALTY"
    )
    assert found.denied is not None
    assert Level.SCHEMA_ONLY in found.denied.remedy
