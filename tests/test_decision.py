"""Decisions: worked cases by hand, and what holds of every question that can be put."""

import inspect
from collections.abc import Mapping
from datetime import date
from importlib.resources import files
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.authorization import Authorization, Consent
from policies.bundle import Basis, Bundle, Proof, Rule
from policies.bundle_loading import load
from policies.caller import Caller, Identity
from policies.catalogue import SECTION_OF, Registration, fields_at, fields_of
from policies.decision import (
    CONSENT_OF,
    Granted,
    Possible,
    Question,
    close,
    close_all,
    decide,
    decide_search,
    foresee,
    verify,
)
from policies.evidence import Evidence, Stage
from policies.identifiers import SubjectKey, credit_code, registration_number, resident
from policies.outcomes import SENTENCES, Denied, Outcome
from policies.proofs import Findings
from policies.registers import Entry, Reference
from policies.table import Cell, Table, compile_table
from policies.vocabulary import Level, SubjectKind

EXAMPLE = load(files("policies") / "bundles" / "example")
REGISTERED = frozenset(code for code, each in EXAMPLE.conditions.items() if each.proof is Proof.REGISTER)
# What registers say is tested in test_registers: here the evidence counts as it is declared.
BUNDLE = msgspec.structs.replace(EXAMPLE, declared_is_enough=REGISTERED)
TODAY = date(2026, 11, 20)
NOW = 1_795_000_000
DAY = 86_400
TABLE = compile_table(BUNDLE, TODAY)
UNIT = "11990000FAKE000483"
ALL_FIELDS = (1 << 64) - 1

SUBJECTS = {
    "ORG": credit_code("91990100FAKE00013D"),
    "IND": credit_code("92990105FAKE00021D"),
    "GOV": credit_code("11990000FAKE000483"),
    "NP": resident("990105199912319987", "张三", today=TODAY),
    "OTHER_NP": resident("990105190001010013", "李四", today=TODAY),
    "REAL_ORG": credit_code("91140105FAKE00013D"),
}

GIVEN: dict[str, Any] = {
    "matter_code": "M-01",
    "case_number": "C-1",
    "commitment_number": "CN-1",
    "inspection_plan_number": "P-1",
    "project_number": "T-1",
    "stage": Stage.REVIEW,
    "programme_number": "PR-1",
    "award_notice_number": "AN-1",
    "recruitment_notice_number": "RN-1",
    "notified_on": date(2026, 11, 1),
    "notice_form": "letter",
    "document_type": "penalty decision",
    "document_number": "D-1",
    "method_id": "ME-1",
    "cycle": "2026",
    "objection_number": "O-1",
    "repair_number": "R-1",
    "record_ids": ("r-1",),
    "batch_number": "B-1",
    "authorization": "a.written.jws",
    "separate_consent": "a.separate.jws",
    "pboc_consent_id": "PB-1",
    "application_number": "AP-1",
    "query_reason_code": "02",
    "contract_id": "CO-1",
    "audit_order_number": "AO-1",
    "study_number": "S-1",
    "minimum_cell": 10,
    "instrument": "SH",
    "article": "28",
    "measure_id": "S4",
    "mandate": "a.mandate.jws",
    "approval_id": "DU-1",
    "role": "manager",
    "organisation_code": "91990100FAKE00013D",
    "register_number": "K-1",
}


def evidence(text: str = "", **changes: Any) -> Evidence:
    """The named fields with their usual values."""
    return Evidence(**{name: GIVEN[name] for name in text.split()} | changes)


def caller(type_: str, **changes: Any) -> Caller:
    values: dict[str, Any] = {
        "unit": UNIT,
        "unit_name": "示例单位",
        "type": type_,
        "level": "COUNTY",
        "division": "990105",
        "purposes": frozenset(BUNDLE.purposes),
        "categories": None,
        "officer": None,
        "identity": None,
        "synthetic_only": False,
        "client": "client",
        "token_id": "token",
        "expires": NOW + 600,
    }
    return Caller(**values | changes)


def artefact(field: str, subject: SubjectKey, /, **changes: Any) -> Authorization:
    """A genuine artefact of the kind that the field holds, for everything, in force."""
    values: dict[str, Any] = {
        "issuer": "issuer",
        "authorization_id": f"{field}-1",
        "issued_at": NOW - DAY,
        "not_before": NOW - DAY,
        "expires": NOW + DAY,
        "subject": (subject.scheme, subject.value),
        "subject_name": subject.name,
        "grantee": UNIT,
        "purposes": frozenset(BUNDLE.purposes),
        "categories": frozenset(BUNDLE.categories),
        "consent": CONSENT_OF[field],
    }
    return Authorization(**values | changes)


def question(
    purpose: str, subject: SubjectKey, given_evidence: Evidence, *categories: str, subjects: int = 1
) -> Question:
    return Question(
        purpose=purpose,
        subject=subject,
        evidence=given_evidence,
        sections=dict.fromkeys(categories, ALL_FIELDS),
        subjects_in_operation=subjects,
    )


def settle(
    table: Table, asking: Caller, asked: Question, artefacts: Mapping[str, Authorization | str]
) -> dict[str, Granted | Denied]:
    return {
        category: close(table, asking, asked, part, artefacts, NOW) if isinstance(part, Possible) else part
        for category, part in decide(table, asking, asked).items()
    }


def told(decision: Granted | Denied) -> str:
    """A decision in words: code, rule and condition; or level, rule and what proved each condition."""
    if isinstance(decision, Denied):
        return " ".join(filter(None, (decision.code, decision.rule, decision.condition)))
    proofs = [f"{p.condition}:{p.by.replace(' ', ':')}" for p in decision.proven]
    return " ".join([decision.cell.level, decision.cell.rule.id, *proofs])


LAW = "instrument article"
TRADING = "project_number stage"
LOAN = "application_number query_reason_code"
PERSON_TOLD = "notified_on notice_form recruitment_notice_number"

# Who asks, for what, about whom, for which category, with which evidence: the decision.
CASES = [
    ("MARKET_REGULATION LICENSING ORG PENALTY", "matter_code case_number", "SUMMARY R002 MATTER:declared APPLICANT:declared"),
    ("MARKET_REGULATION LICENSING ORG REG_ORG", "matter_code case_number", "FULL R001 MATTER:declared APPLICANT:declared OWN_FIELD:declared"),
    ("GOVERNMENT_AFFAIRS LICENSING IND COMMITMENT", "matter_code case_number", "FULL R001 MATTER:declared APPLICANT:declared OWN_FIELD:declared"),
    ("MARKET_REGULATION LICENSING ORG HONOUR", "matter_code case_number", "SUMMARY R003 MATTER:declared APPLICANT:declared"),
    ("MARKET_REGULATION LICENSING ORG PENALTY", "", "DENY_EVIDENCE R002 MATTER"),
    ("MARKET_REGULATION LICENSING ORG PENALTY", "case_number", "DENY_EVIDENCE R002 MATTER"),
    ("MARKET_REGULATION LICENSING ORG PENALTY", "matter_code", "DENY_EVIDENCE R002 MATTER"),
    ("COURT LICENSING ORG PENALTY", "matter_code case_number", "DENY_PURPOSE"),
    ("MARKET_REGULATION LICENSING ORG TAX_PAYMENT", "matter_code case_number", "DENY_CATEGORY"),
    ("MARKET_REGULATION LICENSING GOV REG_ORG", "matter_code case_number", "DENY_SUBJECT_KIND"),
    ("MARKET_REGULATION LICENSING NP REG_NP", "matter_code case_number", "MATCH R004 MATTER:declared APPLICANT:declared"),
    ("MARKET_REGULATION LICENSING NP PENALTY", "matter_code case_number", "DENY_LAW_NAMED R007 LAW_NAMED"),
    ("MARKET_REGULATION LICENSING NP PENALTY", f"matter_code case_number {LAW}", "SUMMARY R007 MATTER:declared APPLICANT:declared OWN_FIELD:declared LAW_NAMED:catalogue"),
    ("MARKET_REGULATION LICENSING NP SERIOUS_LIST", f"matter_code case_number {LAW}", "HIT R006 MATTER:declared APPLICANT:declared LAW_NAMED:catalogue"),
    ("MARKET_REGULATION LICENSING NP SERIOUS_LIST", "matter_code case_number instrument", "DENY_LAW_NAMED R006 LAW_NAMED"),
    ("MARKET_REGULATION LICENSING NP SERIOUS_LIST", "matter_code case_number article", "DENY_LAW_NAMED R006 LAW_NAMED"),
    ("MARKET_REGULATION LICENSING NP HONOUR", "matter_code case_number", "DENY_CATEGORY"),
    ("MARKET_REGULATION LICENSING NP EVALUATION", "matter_code case_number", "DENY_PROHIBITED RL01"),
    ("BANK LOAN_PRECHECK NP UTILITY", f"{LOAN} authorization", "DENY_PROHIBITED RL02"),
    ("HOUSING COMMITMENT_CHECK ORG ABNORMAL", "matter_code case_number", "HIT R009 MATTER:declared OWN_FIELD:declared"),
    ("HOUSING COMMITMENT_CHECK NP COMMITMENT", "matter_code case_number", "FULL R010 MATTER:declared OWN_FIELD:declared"),
    ("TAXATION COMMITMENT_CHECK ORG COMMITMENT", "matter_code case_number", "DENY_PURPOSE"),
    ("MARKET_REGULATION SUPERVISION ORG EVALUATION", "inspection_plan_number", "SUMMARY R013 PLAN:declared OWN_SUBJECTS:declared"),
    ("MARKET_REGULATION SUPERVISION ORG PENALTY", "case_number", "FULL R012 PLAN:declared OWN_SUBJECTS:declared"),
    ("MARKET_REGULATION SUPERVISION NP PENALTY", "inspection_plan_number", "DENY_EVIDENCE R016 OWN_FIELD"),
    ("MARKET_REGULATION SUPERVISION NP PENALTY", "case_number", "DENY_EVIDENCE R016 KEY_OCCUPATION"),
    ("MARKET_REGULATION SUPERVISION NP PENALTY", "case_number register_number", "SUMMARY R016 PLAN:declared OWN_FIELD:declared KEY_OCCUPATION:declared"),
    ("MARKET_REGULATION PENALTY_DISCRETION NP PENALTY", "case_number", "FULL R019 CASE:declared OWN_FIELD:declared"),
    ("STATISTICS PENALTY_DISCRETION IND TRUST_LIST", "case_number", "HIT R018 CASE:declared"),
    ("MARKET_REGULATION PROCUREMENT ORG PENALTY", TRADING, "SUMMARY R022 TENDER:declared BIDDER:declared WINDOW:declared PURCHASER_OR_SUPERVISOR:declared"),
    ("MARKET_REGULATION PROCUREMENT ORG PENALTY", "project_number", "DENY_EVIDENCE R022 TENDER"),
    ("MARKET_REGULATION PROCUREMENT ORG MARKET", TRADING, "DENY_NO_AUTHORISATION R083 AUTH_W"),
    ("MARKET_REGULATION PROCUREMENT ORG MARKET", f"{TRADING} authorization", "SUMMARY R083 TENDER:declared BIDDER:declared WINDOW:declared PURCHASER_OR_SUPERVISOR:declared AUTH_W:authorization:authorization-1"),
    ("COURT PROCUREMENT NP SERIOUS_LIST", f"{TRADING} {LAW}", "DENY_EVIDENCE R025 ROLE_IN_BID"),
    ("COURT PROCUREMENT NP SERIOUS_LIST", f"{TRADING} {LAW} role", "HIT R025 TENDER:declared LAW_NAMED:catalogue ROLE_IN_BID:declared"),
    ("FINANCE PROCUREMENT GOV GOV_DISHONESTY", TRADING, "SUMMARY R023 TENDER:declared"),
    ("CREDIT_WORK_INSTITUTION PROCUREMENT ORG PENALTY", TRADING, "DENY_PURPOSE"),
    ("FINANCE FISCAL_SUPPORT ORG IP", "programme_number", "SUMMARY R027 PROGRAMME:declared APPLICANT:declared"),
    ("CREDIT_AUTHORITY FISCAL_SUPPORT NP TITLE", "programme_number", "SUMMARY R029 PROGRAMME:declared APPLICANT:declared"),
    ("CREDIT_AUTHORITY FISCAL_SUPPORT NP TITLE", "case_number", "DENY_EVIDENCE R029 PROGRAMME"),
    ("PERSONNEL PERSONNEL NP REG_NP", PERSON_TOLD, "MATCH R030 NOTICE:declared CANDIDATE:declared"),
    ("PERSONNEL PERSONNEL NP REG_NP", "recruitment_notice_number notified_on", "DENY_EVIDENCE R030 NOTICE"),
    ("HRSS PERSONNEL NP ENFORCE_DEFAULT", PERSON_TOLD, "DENY_EVIDENCE R031 STAGE_FINAL"),
    ("PERSONNEL PERSONNEL NP GOV_DISHONESTY", f"{PERSON_TOLD} {LAW}", "DENY_EVIDENCE R033 DUAL"),
    ("PERSONNEL PERSONNEL NP GOV_DISHONESTY", f"{PERSON_TOLD} {LAW} approval_id", "FULL R033 NOTICE:declared CANDIDATE:declared DUAL:declared LAW_NAMED:catalogue"),
    ("HRSS PERSONNEL NP GOV_DISHONESTY", f"{PERSON_TOLD} {LAW} approval_id", "DENY_CATEGORY"),
    ("PERSONNEL PERSONNEL NP HONOUR", f"{PERSON_TOLD} authorization", "SUMMARY R032 NOTICE:declared CANDIDATE:declared AUTH_W:authorization:authorization-1"),
    ("PERSONNEL PERSONNEL ORG PENALTY", PERSON_TOLD, "DENY_SUBJECT_KIND"),
    ("EDUCATION AWARD ORG CHARITY", "award_notice_number", "SUMMARY R034 AWARD:declared CANDIDATE:declared"),
    ("EDUCATION AWARD NP HONOUR", "award_notice_number", "DENY_NO_AUTHORISATION R037 AUTH_W"),
    ("EDUCATION AWARD NP SERIOUS_LIST", "award_notice_number", "DENY_EVIDENCE R036 NOTICE"),
    ("COURT LIST_DESIGNATION NP ENFORCE_DEFAULT", "case_number document_type document_number approval_id", "FULL R040 CASE:declared OWN_FIELD:declared BASIS_DOC:declared DUAL:declared"),
    ("COURT LIST_DESIGNATION NP ENFORCE_DEFAULT", "case_number document_type approval_id", "DENY_EVIDENCE R040 BASIS_DOC"),
    ("MARKET_REGULATION MEASURE_CHECK ORG SERIOUS_LIST", "measure_id matter_code case_number", "HIT R041 MEASURE:catalogue MATTER:declared"),
    ("MARKET_REGULATION MEASURE_CHECK NP SERIOUS_LIST", "measure_id matter_code case_number", "DENY_LAW_NAMED R042 LAW_NAMED"),
    ("CREDIT_WORK_INSTITUTION DATA_QUALITY NP REG_NP", "batch_number", "MATCH R044 BATCH:declared"),
    ("CREDIT_AUTHORITY DATA_QUALITY NP REG_NP", "batch_number", "DENY_SUBJECT_KIND"),
    ("MARKET_REGULATION OBJECTION ORG PENALTY", "objection_number record_ids", "FULL R045 RECORD_AT_ISSUE:declared OWN_RECORD:declared"),
    ("MARKET_REGULATION OBJECTION ORG PENALTY", "objection_number", "DENY_EVIDENCE R045 RECORD_AT_ISSUE"),
    ("MARKET_REGULATION OBJECTION ORG PENALTY", "record_ids", "DENY_EVIDENCE R045 RECORD_AT_ISSUE"),
    ("CREDIT_AUTHORITY OBJECTION GOV REG_ORG", "objection_number record_ids", "FULL R087 RECORD_AT_ISSUE:declared OWN_RECORD:declared"),
    ("CREDIT_WORK_INSTITUTION REPAIR ORG SERIOUS_LIST", "repair_number record_ids", "FULL R047 RECORD_AT_ISSUE:declared"),
    ("MARKET_REGULATION EVALUATION_RUN ORG EVALUATION", "method_id cycle", "FULL R049 METHOD:declared OWN_FIELD_IF_INDUSTRY:declared"),
    ("MARKET_REGULATION EVALUATION_RUN NP PENALTY", "method_id cycle", "DENY_SUBJECT_KIND"),
    ("SUPERVISION_AUDIT AUDIT ORG ACCESS_LOG", "audit_order_number", "FULL R050 ORDER:declared"),
    ("SUPERVISION_AUDIT AUDIT GOV ACCESS_LOG", "audit_order_number", "FULL R089 ORDER:declared"),
    ("RESEARCHER STATISTICS ORG PENALTY", "study_number minimum_cell", "DENY_PURPOSE R052"),
    ("COURT JUDICIAL ORG JUDGMENT", "case_number", "FULL R054 CASE:declared"),
    ("COURT JUDICIAL NP PENALTY", "case_number", "DENY_LAW_NAMED R056 LAW_NAMED"),
    ("BANK LOAN_PRECHECK ORG PENALTY", LOAN, "PUBLIC R057 APPLICATION:declared"),
    ("BANK LOAN_PRECHECK ORG PENALTY", "application_number", "DENY_EVIDENCE R057 APPLICATION"),
    ("BANK LOAN_PRECHECK ORG TAX_PAYMENT", LOAN, "DENY_NO_AUTHORISATION R058 AUTH_W"),
    ("BANK LOAN_PRECHECK ORG TAX_PAYMENT", f"{LOAN} authorization", "SUMMARY R058 APPLICATION:declared AUTH_W:authorization:authorization-1"),
    ("BANK LOAN_PRECHECK ORG FINANCIAL_DB", f"{LOAN} pboc_consent_id", "PASS_THROUGH R059 APPLICATION:declared AUTH_PBOC:declared"),
    ("BANK LOAN_PRECHECK NP TAX_PAYMENT", f"{LOAN} authorization", "DENY_NO_AUTHORISATION R062 AUTH_SEP"),
    ("BANK LOAN_PRECHECK NP TAX_PAYMENT", f"{LOAN} separate_consent", "DENY_NO_AUTHORISATION R062 AUTH_W"),
    ("BANK LOAN_PRECHECK NP TAX_PAYMENT", f"{LOAN} authorization separate_consent", "SUMMARY R062 APPLICATION:declared AUTH_W:authorization:authorization-1 AUTH_SEP:authorization:separate_consent-1"),
    ("GUARANTEE GUARANTEE_CHECK ORG ARREARS", f"{LOAN} authorization", "SUMMARY R065 APPLICATION:declared AUTH_W:authorization:authorization-1"),
    ("GUARANTEE LOAN_PRECHECK ORG PENALTY", LOAN, "DENY_PURPOSE"),
    ("BANK LEGAL_REP_CHECK NP SERIOUS_LIST", f"{LOAN} authorization", "DENY_EVIDENCE R068 ROLE_IN_ORG"),
    ("BANK LEGAL_REP_CHECK NP SERIOUS_LIST", f"{LOAN} authorization organisation_code role", "HIT R068 APPLICATION:declared ROLE_IN_ORG:declared AUTH_W:authorization:authorization-1"),
    ("BANK LEGAL_REP_CHECK ORG PENALTY", f"{LOAN} authorization organisation_code role", "DENY_SUBJECT_KIND"),
    ("BANK LOAN_POSTMGMT ORG PENALTY", "contract_id query_reason_code", "PUBLIC R070 CONTRACT_LIVE:declared"),
    ("BANK LOAN_POSTMGMT ORG PENALTY", LOAN, "DENY_EVIDENCE R070 CONTRACT_LIVE"),
    ("ENTERPRISE COUNTERPARTY ORG REG_ORG", "", "PUBLIC R074"),
    ("ASSOCIATION COUNTERPARTY ORG MARKET", "authorization", "DENY_CATEGORY"),
    ("ENTERPRISE COUNTERPARTY NP TITLE", "authorization", "SUMMARY R076 AUTH_W:authorization:authorization-1"),
    ("PUBLIC PUBLIC_VIEW ORG PENALTY", "", "PUBLIC R080"),
    ("PUBLIC PUBLIC_VIEW GOV GOV_DISHONESTY", "", "PUBLIC R081"),
    ("PUBLIC PUBLIC_VIEW NP SERIOUS_LIST", "", "DENY_SUBJECT_KIND"),
    ("PUBLIC PUBLIC_VIEW ORG ARREARS", "", "DENY_CATEGORY"),
    ("DEVELOPER SCHEMA_EXPLORE ORG REG_ORG", "", "DENY_SUBJECT_KIND"),
    ("SUBJECT SELF ORG PENALTY", "", "DENY_NO_AUTHORISATION R077 SELF_ID"),
    ("SUBJECT SELF ORG FINANCIAL_DB", "", "DENY_CATEGORY"),
    ("AGENT SELF ORG PENALTY", "mandate", "FULL R077 SELF_ID:authorization:mandate-1"),
    ("AGENT SELF NP TAX_PAYMENT", "mandate", "FULL R078 SELF_ID:authorization:mandate-1"),
    ("AGENT SELF GOV GOV_DISHONESTY", "mandate", "FULL R079 SELF_ID:authorization:mandate-1"),
    ("AGENT SELF ORG PENALTY", "authorization", "DENY_NO_AUTHORISATION R077 SELF_ID"),
    ("SUBJECT SELF ORG PENALTY", "mandate", "DENY_NO_AUTHORISATION R077 SELF_ID"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "given_fields", "expected"), CASES)
def test_worked_cases(asked: str, given_fields: str, expected: str) -> None:
    who, purpose, about, category = asked.split()
    subject = SUBJECTS[about]
    proof = evidence(given_fields)
    artefacts = {field: artefact(field, subject) for field in CONSENT_OF}
    decisions = settle(TABLE, caller(who), question(purpose, subject, proof, category), artefacts)
    assert decisions.keys() == {category}
    assert told(decisions[category]) == expected


def test_the_worked_cases_cover_every_purpose_and_every_denial_of_a_question() -> None:
    assert {asked.split()[1] for asked, _, _ in CASES} == BUNDLE.purposes.keys()
    codes = {expected.split()[0] for _, _, expected in CASES if expected.startswith("DENY")}
    assert codes | {
        "DENY_BULK",
        "DENY_NO_AUTHORISATION_EXPIRED",
        "DENY_NO_AUTHORISATION_SCOPE",
    } == set(Outcome) - {
        # of registers
        "DENY_NOT_DEPARTMENT_MATTER",
        "DENY_NO_AUTHORISATION_REVOKED",
        # of a region, which no rule names
        "DENY_JURISDICTION",
        # of an application
        "DENY_MEASURE",
        "DENY_DEGREE",
        "DENY_REPEATED",
        # of a permitted section
        *(code for code in Outcome if code.startswith("PERMIT")),
        # of records that look absent
        "DENY_TIME",
        "DENY_REPAIRED",
        # of a search
        "DENY_OBLIGATION",
    }


def decided(
    asked: str,
    proof: Evidence,
    *,
    table: Table = TABLE,
    artefacts: Mapping[str, Authorization | str] | None = None,
    subjects: int = 1,
    **limits: Any,
) -> Granted | Denied:
    who, purpose, about, category = asked.split()
    subject = SUBJECTS[about]
    all_good = {field: artefact(field, subject) for field in CONSENT_OF}
    put = question(purpose, subject, proof, category, subjects=subjects)
    return settle(table, caller(who, **limits), put, all_good | dict(artefacts or {}))[category]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"expires": NOW}, "DENY_NO_AUTHORISATION_EXPIRED"),
        ({"expires": NOW + 1}, None),
        ({"not_before": NOW + 1}, "DENY_NO_AUTHORISATION_EXPIRED"),
        ({"not_before": NOW}, None),
        ({"grantee": "another unit"}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"subject": ("resident", SUBJECTS["OTHER_NP"].value)}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"subject": ("credit_code", SUBJECTS["NP"].value)}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"subject_name": "张四"}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"subject_name": None}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"subject_name": "张四", "expires": NOW}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"subject_name": "张四", "consent": Consent.MANDATE}, "DENY_NO_AUTHORISATION"),
        ({"purposes": frozenset({"GUARANTEE_CHECK"})}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"purposes": frozenset()}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"categories": frozenset({"TAX_PAYMENT"})}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"categories": frozenset({"SERIOUS_LIST"})}, None),
        ({"consent": Consent.SEPARATE}, "DENY_NO_AUTHORISATION"),
        ({"consent": Consent.MANDATE}, "DENY_NO_AUTHORISATION"),
    ],
)
def test_an_authorization_counts_for_what_it_says(changes: dict[str, Any], expected: str | None) -> None:
    held = artefact("authorization", SUBJECTS["NP"], **changes)
    decision = decided(
        "BANK LOAN_PRECHECK NP SERIOUS_LIST",
        evidence(f"{LOAN} authorization"),
        artefacts={"authorization": held},
    )
    granted = "HIT R061 APPLICATION:declared AUTH_W:authorization:authorization-1"
    assert told(decision) == (f"{expected} R061 AUTH_W" if expected else granted)


@pytest.mark.parametrize("field", ["authorization", "separate_consent"])
def test_both_consents_must_be_genuine(field: str) -> None:
    decision = decided(
        "BANK LOAN_PRECHECK NP TAX_PAYMENT",
        evidence(f"{LOAN} authorization separate_consent"),
        artefacts={field: "its signature does not fit"},
    )
    condition = {"authorization": "AUTH_W", "separate_consent": "AUTH_SEP"}[field]
    assert told(decision) == f"DENY_NO_AUTHORISATION R062 {condition}"
    assert isinstance(decision, Denied)
    assert "its signature does not fit" in decision.remedy


def test_written_authorization_does_not_stand_in_for_separate_consent() -> None:
    written = artefact("authorization", SUBJECTS["NP"])
    decision = decided(
        "BANK LOAN_PRECHECK NP TAX_PAYMENT",
        evidence(f"{LOAN} authorization separate_consent"),
        artefacts={"separate_consent": written},
    )
    assert told(decision) == "DENY_NO_AUTHORISATION R062 AUTH_SEP"


@pytest.mark.parametrize("changes", [{"expires": NOW}, {"consent": Consent.WRITTEN}, {"grantee": "another"}])
def test_an_agent_needs_a_mandate_in_force(changes: dict[str, Any]) -> None:
    held = artefact("mandate", SUBJECTS["ORG"], **changes)
    decision = decided("AGENT SELF ORG PENALTY", evidence("mandate"), artefacts={"mandate": held})
    assert isinstance(decision, Denied)
    assert decision.condition == "SELF_ID"


ORG_IDENTITY = Identity(credit_code=SUBJECTS["ORG"].value)
NP_IDENTITY = Identity(resident_number=SUBJECTS["NP"].value, name="张三")


@pytest.mark.parametrize(
    ("who", "identity", "about", "expected"),
    [
        ("SUBJECT", ORG_IDENTITY, "ORG", "FULL R077 SELF_ID:token"),
        ("SUBJECT", NP_IDENTITY, "NP", "FULL R078 SELF_ID:token"),
        ("AGENT", ORG_IDENTITY, "ORG", "FULL R077 SELF_ID:token"),
        ("SUBJECT", ORG_IDENTITY, "IND", "DENY_NO_AUTHORISATION R077 SELF_ID"),
        ("SUBJECT", ORG_IDENTITY, "NP", "DENY_NO_AUTHORISATION R078 SELF_ID"),
        ("SUBJECT", NP_IDENTITY, "ORG", "DENY_NO_AUTHORISATION R077 SELF_ID"),
        ("SUBJECT", NP_IDENTITY, "OTHER_NP", "DENY_NO_AUTHORISATION R078 SELF_ID"),
        (
            "SUBJECT",
            Identity(resident_number=SUBJECTS["NP"].value, name="张四"),
            "NP",
            "DENY_NO_AUTHORISATION R078 SELF_ID",
        ),
        (
            "SUBJECT",
            Identity(credit_code=SUBJECTS["NP"].value),
            "NP",
            "DENY_NO_AUTHORISATION R078 SELF_ID",
        ),
        (
            "SUBJECT",
            Identity(resident_number=SUBJECTS["ORG"].value, name="张三"),
            "ORG",
            "DENY_NO_AUTHORISATION R077 SELF_ID",
        ),
        ("SUBJECT", Identity(), "ORG", "DENY_NO_AUTHORISATION R077 SELF_ID"),
    ],
)
def test_a_subject_sees_itself_alone(who: str, identity: Identity, about: str, expected: str) -> None:
    assert told(decided(f"{who} SELF {about} PENALTY", Evidence(), identity=identity)) == expected


def test_a_former_registration_number_proves_no_identity() -> None:
    body = "99010510000001"
    key = next(
        key
        for check in "0123456789"
        if (key := _registration(body + check)) is not None
    )  # fmt: skip
    identity = Identity(credit_code=key.value)
    decisions = settle(
        TABLE, caller("SUBJECT", identity=identity), question("SELF", key, Evidence(), "PENALTY"), {}
    )
    assert told(decisions["PENALTY"]) == "DENY_NO_AUTHORISATION R077 SELF_ID"


def _registration(text: str) -> SubjectKey | None:
    try:
        return registration_number(text)
    except ValueError:
        return None


@pytest.mark.parametrize(("instrument", "code"), [("DESIGN", "DENY"), ("XX", "DENY"), ("SH", ""), ("JX", "")])
def test_a_law_that_is_named_must_be_one_of_the_bundle(instrument: str, code: str) -> None:
    proof = evidence("matter_code case_number article", instrument=instrument)
    decision = decided("MARKET_REGULATION LICENSING NP SERIOUS_LIST", proof)
    assert isinstance(decision, Denied) == bool(code)
    assert told(decision).startswith("DENY_LAW_NAMED R006 LAW_NAMED" if code else "HIT R006")


def test_a_law_that_is_no_longer_or_not_yet_in_force_cannot_be_named() -> None:
    for change in ({"valid_to": date(2026, 11, 19)}, {"valid_from": date(2026, 11, 21)}):
        law = msgspec.structs.replace(BUNDLE.instruments["SH"], **change)
        bundle = msgspec.structs.replace(BUNDLE, instruments=BUNDLE.instruments | {"SH": law})
        decision = decided(
            "MARKET_REGULATION LICENSING NP SERIOUS_LIST",
            evidence(f"matter_code case_number {LAW}"),
            table=compile_table(bundle, TODAY),
        )
        assert told(decision) == "DENY_LAW_NAMED R006 LAW_NAMED"


@pytest.mark.parametrize("measure", ["Z9", "S99"])
def test_a_measure_must_stand_on_the_list(measure: str) -> None:
    proof = evidence("matter_code case_number", measure_id=measure)
    decision = decided("MARKET_REGULATION MEASURE_CHECK ORG SERIOUS_LIST", proof)
    assert told(decision) == "DENY_EVIDENCE R041 MEASURE"


@pytest.mark.parametrize("stage", Stage)
def test_a_declared_stage_can_contradict_the_condition(stage: Stage) -> None:
    tender = decided("COURT PROCUREMENT ORG PENALTY", evidence("project_number", stage=stage))
    final = decided("HRSS PERSONNEL NP SERIOUS_LIST", evidence(PERSON_TOLD, stage=stage))
    assert isinstance(tender, Denied) == (stage is Stage.FINAL)
    assert isinstance(final, Granted) == (stage is Stage.FINAL)
    assert told(tender if stage is Stage.FINAL else final) == (
        "DENY_EVIDENCE R022 TENDER" if stage is Stage.FINAL else "DENY_EVIDENCE R031 STAGE_FINAL"
    )


def test_window_by_itself_is_contradicted_by_the_final_stage() -> None:
    rule = msgspec.structs.replace(BUNDLE.rules["R021"], conditions=("WINDOW",))
    decision = decided(
        "COURT PROCUREMENT ORG REG_ORG",
        evidence("project_number", stage=Stage.FINAL),
        table=compile_table(with_rule(rule), TODAY),
    )
    assert told(decision) == "DENY_EVIDENCE R021 WINDOW"


def with_rule(rule: Rule) -> Bundle:
    return msgspec.structs.replace(BUNDLE, rules=BUNDLE.rules | {rule.id: rule})


def with_condition(code: str, **changes: Any) -> Bundle:
    condition = msgspec.structs.replace(BUNDLE.conditions[code], **changes)
    return msgspec.structs.replace(BUNDLE, conditions=BUNDLE.conditions | {code: condition})


# The token narrows


def test_a_token_without_the_purpose_gives_nothing() -> None:
    proof = evidence("matter_code case_number")
    decision = decided("HOUSING LICENSING ORG PENALTY", proof, purposes=frozenset({"SUPERVISION"}))
    assert told(decision) == "DENY_PURPOSE"
    assert isinstance(decision, Denied)
    assert decision.basis == BUNDLE.purposes["LICENSING"].basis


def test_a_token_gives_the_categories_it_names() -> None:
    proof = evidence("matter_code case_number")
    for named, expected in (
        (frozenset({"PENALTY"}), "SUMMARY R002"),
        (frozenset({"REG_ORG"}), "DENY_CATEGORY"),
        (frozenset[str](), "DENY_CATEGORY"),
    ):
        decision = decided("HOUSING LICENSING ORG PENALTY", proof, categories=named)
        assert told(decision).startswith(expected)


def test_the_token_is_looked_at_before_the_red_lines() -> None:
    decision = decided("HOUSING LICENSING NP EVALUATION", Evidence(), categories=frozenset())
    assert told(decision) == "DENY_CATEGORY"


def test_a_synthetic_token_reaches_synthetic_subjects_alone() -> None:
    synthetic = decided("PUBLIC PUBLIC_VIEW ORG PENALTY", Evidence(), synthetic_only=True)
    real = decided("PUBLIC PUBLIC_VIEW REAL_ORG PENALTY", Evidence(), synthetic_only=True)
    assert told(synthetic) == "PUBLIC R080"
    assert told(real) == "DENY_PURPOSE R080"
    assert told(decided("PUBLIC PUBLIC_VIEW REAL_ORG PENALTY", Evidence())) == "PUBLIC R080"


@pytest.mark.parametrize(("about", "expected"), [("ORG", "PUBLIC R080 SYNTHETIC_DATA:identifier"), ("REAL_ORG", "DENY_PURPOSE R080 SYNTHETIC_DATA")])  # fmt: skip
def test_synthetic_data_is_proved_by_the_identifier(about: str, expected: str) -> None:
    rule = msgspec.structs.replace(BUNDLE.rules["R080"], conditions=("SYNTHETIC_DATA",))
    table = compile_table(with_rule(rule), TODAY)
    assert told(decided(f"PUBLIC PUBLIC_VIEW {about} PENALTY", Evidence(), table=table)) == expected


def test_one_by_one_gives_one_subject_an_operation() -> None:
    one = decided("PUBLIC PUBLIC_VIEW ORG PENALTY", Evidence(), subjects=1)
    two = decided("PUBLIC PUBLIC_VIEW ORG PENALTY", Evidence(), subjects=2)
    elsewhere = decided("HOUSING LICENSING ORG PENALTY", evidence("matter_code case_number"), subjects=2)
    assert (told(one), told(two)) == ("PUBLIC R080", "DENY_BULK R080 ONE_BY_ONE")
    assert told(elsewhere).startswith("SUMMARY R002")


# Registers


def test_what_no_register_was_asked_for_is_enough_only_where_the_bundle_says_so() -> None:
    strict = compile_table(msgspec.structs.replace(BUNDLE, declared_is_enough=frozenset({"MATTER"})), TODAY)
    decision = decided("HOUSING LICENSING ORG PENALTY", evidence("matter_code case_number"), table=strict)
    assert told(decision) == "DENY_EVIDENCE R002 APPLICANT"
    assert isinstance(decision, Denied)
    assert "it was not asked" in decision.remedy


def test_every_register_condition_is_denied_where_none_is_enough_declared() -> None:
    strict = compile_table(msgspec.structs.replace(BUNDLE, declared_is_enough=frozenset()), TODAY)
    all_evidence = evidence(" ".join(GIVEN), stage=Stage.FINAL)
    for rule in BUNDLE.rules.values():
        proofs = {BUNDLE.conditions[code].proof for code in rule.conditions}
        if Proof.REGISTER not in proofs:
            continue
        for kind, categories in rule.categories.items():
            put = question(rule.purpose, SUBJECTS[kind], all_evidence, *categories)
            artefacts = {field: artefact(field, SUBJECTS[kind]) for field in CONSENT_OF}
            decisions = settle(strict, caller(rule.callers[0]), put, artefacts)
            assert all(isinstance(part, Denied) for part in decisions.values())


@pytest.mark.parametrize("proof", [Proof.REGISTER, Proof.NONE, Proof.AUTHORIZATION, Proof.CATALOGUE])
def test_a_condition_that_no_evidence_shows_is_never_met(proof: Proof) -> None:
    table = compile_table(with_condition("BATCH", proof=proof, evidence=()), TODAY)
    decision = decided(
        "CREDIT_WORK_INSTITUTION DATA_QUALITY ORG PENALTY", evidence("batch_number"), table=table
    )
    assert isinstance(decision, Denied)
    assert decision.condition == "BATCH"


def test_an_authorization_in_two_parts_needs_both() -> None:
    bundle = with_condition("AUTH_W", evidence=(("authorization", "separate_consent"),))
    table = compile_table(bundle, TODAY)
    ask = "ENTERPRISE COUNTERPARTY NP TITLE"
    one = decided(ask, evidence("authorization"), table=table)
    both = decided(ask, evidence("authorization separate_consent"), table=table)
    forged = decided(
        ask, evidence("authorization separate_consent"), table=table, artefacts={"separate_consent": "forged"}
    )
    assert told(one) == told(forged) == "DENY_NO_AUTHORISATION R076 AUTH_W"
    assert told(both) == (
        "SUMMARY R076 AUTH_W:authorization:authorization-1 AUTH_W:authorization:separate_consent-1"
    )


def test_either_of_two_authorizations_will_do() -> None:
    bundle = with_condition("AUTH_W", evidence=(("authorization",), ("mandate",)))
    table = compile_table(bundle, TODAY)
    decision = decided("ENTERPRISE COUNTERPARTY NP TITLE", evidence("mandate"), table=table)
    assert told(decision) == "SUMMARY R076 AUTH_W:authorization:mandate-1"


def test_a_plain_number_is_no_authorization() -> None:
    bundle = with_condition("AUTH_W", evidence=(("contract_id",),))
    decision = decided(
        "ENTERPRISE COUNTERPARTY NP TITLE", evidence("contract_id"), table=compile_table(bundle, TODAY)
    )
    assert told(decision) == "DENY_NO_AUTHORISATION R076 AUTH_W"


# What a grant and a denial say


def test_a_grant_gives_the_fields_both_asked_and_granted() -> None:
    subject, penalty = SUBJECTS["ORG"], SECTION_OF["PENALTY", SubjectKind.ORG].record
    names = [field.name for field in fields_of(penalty)]
    asked = sum(1 << names.index(name) for name in ("document_number", "facts", "kind"))
    put = Question(
        purpose="LICENSING",
        subject=subject,
        evidence=evidence("matter_code case_number"),
        sections={"PENALTY": asked},
        subjects_in_operation=1,
    )
    granted = settle(TABLE, caller("HOUSING"), put, {})["PENALTY"]
    assert isinstance(granted, Granted)
    assert granted.asked == asked
    assert {names[bit] for bit in range(len(names)) if granted.fields >> bit & 1} == {
        "document_number",
        "kind",
    }
    assert granted.obligations == ("VISIBLE",)


def test_a_denial_says_what_would_make_it_lawful() -> None:
    decision = decided("MARKET_REGULATION LICENSING ORG PENALTY", Evidence())
    assert isinstance(decision, Denied)
    assert decision.remedy == (
        "Name the matter code and the open case in which the subject is looked up."
        " Evidence: matterCode and caseNumber."
    )
    assert decision.basis[0] == Basis("SH", "28(1)", BUNDLE.instruments["SH"].title)
    assert decision.message == SENTENCES[Outcome.DENY_EVIDENCE]


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        (
            "GUARANTEE LOAN_PRECHECK ORG PENALTY",
            "Purposes open to a GUARANTEE: GUARANTEE_CHECK, LEGAL_REP_CHECK, LOAN_POSTMGMT, PUBLIC_VIEW.",
        ),
        (
            "COURT AWARD NP PENALTY",
            "For this kind of subject a COURT gets PENALTY only for:"
            " LIST_DESIGNATION, OBJECTION, REPAIR, JUDICIAL.",
        ),
        ("BANK LOAN_PRECHECK NP CRIMINAL", "No purpose gives a BANK CRIMINAL of this kind of subject."),
        (
            "RESEARCHER STATISTICS ORG PENALTY",
            "This purpose answers at level AGGREGATE, which shows no records of a subject.",
        ),
        ("STRANGER LICENSING ORG PENALTY", "Purposes open to a STRANGER: none."),
    ],
)
def test_a_denial_points_to_what_is_open(asked: str, remedy: str) -> None:
    decision = decided(asked, Evidence())
    assert isinstance(decision, Denied)
    assert decision.remedy == remedy


def test_every_outcome_has_its_sentence() -> None:
    assert SENTENCES.keys() == set(Outcome)


def test_a_decision_cannot_know_whether_the_subject_exists() -> None:
    assert list(inspect.signature(decide).parameters) == ["table", "caller", "question"]
    assert list(inspect.signature(close).parameters) == [
        "table",
        "caller",
        "question",
        "possible",
        "artefacts",
        "now",
        "findings",
    ]
    assert Question.__struct_fields__ == (
        "purpose",
        "subject",
        "evidence",
        "sections",
        "subjects_in_operation",
    )


@pytest.mark.parametrize("level", Level)
def test_only_levels_of_records_are_foreseen(level: Level) -> None:
    rule = msgspec.structs.replace(BUNDLE.rules["R080"], level=level)
    found = foresee(
        compile_table(with_rule(rule), TODAY), caller("PUBLIC"), "PUBLIC_VIEW", SubjectKind.ORG, "PENALTY"
    )
    no_records = {Level.SCHEMA_ONLY, Level.AGGREGATE}
    assert isinstance(found, Denied) == (level in no_records)


def test_schema_browsing_shows_no_records() -> None:
    found = foresee(TABLE, caller("DEVELOPER"), "SCHEMA_EXPLORE", SubjectKind.NONE, "PENALTY")
    assert isinstance(found, Denied)
    assert told(found) == "DENY_PURPOSE R082"


# Search by name


@pytest.mark.parametrize(
    ("who", "purpose", "given_fields", "expected"),
    [
        ("PUBLIC", "PUBLIC_VIEW", "", None),
        ("ENTERPRISE", "COUNTERPARTY", "", None),
        ("CREDIT_AUTHORITY", "DATA_QUALITY", "batch_number", None),
        ("CREDIT_AUTHORITY", "DATA_QUALITY", "", "DENY_EVIDENCE R043 BATCH"),
        ("COURT", "JUDICIAL", "case_number", None),
        ("COURT", "JUDICIAL", "", "DENY_EVIDENCE R054 CASE"),
        ("HOUSING", "LICENSING", "matter_code case_number", "DENY_EVIDENCE R001 APPLICANT"),
        ("HOUSING", "PROCUREMENT", TRADING, "DENY_EVIDENCE R021 BIDDER"),
        ("BANK", "LOAN_PRECHECK", LOAN, "DENY_EVIDENCE R057 APPLICATION"),
        ("SUBJECT", "SELF", "", "DENY_EVIDENCE R077 SELF_ID"),
        ("AGENT", "SELF", "mandate", "DENY_EVIDENCE R077 SELF_ID"),
        ("HOUSING", "OBJECTION", "objection_number record_ids", "DENY_EVIDENCE R045 RECORD_AT_ISSUE"),
        ("RESEARCHER", "STATISTICS", "study_number minimum_cell", "DENY_PURPOSE R052"),
        ("HOUSING", "MEASURE_CHECK", "measure_id matter_code case_number", "DENY_CATEGORY"),
    ],
)
def test_search_by_name(who: str, purpose: str, given_fields: str, expected: str | None) -> None:
    denied = decide_search(TABLE, caller(who), purpose, evidence(given_fields))
    assert (told(denied) if denied else None) == expected


def searched(**rule: Any) -> Denied | None:
    table = compile_table(with_rule(msgspec.structs.replace(BUNDLE.rules["R080"], **rule)), TODAY)
    return decide_search(table, caller("AGENT"), "PUBLIC_VIEW", evidence("mandate"))


def test_search_needs_a_level_that_shows_what_it_finds() -> None:
    found = {level: searched(level=level) for level in (Level.MATCH, Level.HIT, Level.SUMMARY)}
    assert {level: told(denied) if denied else None for level, denied in found.items()} == {
        Level.MATCH: "DENY_CATEGORY R080",
        Level.HIT: None,
        Level.SUMMARY: None,
    }
    names = {
        f.name for b, f in enumerate(fields_of(Registration)) if fields_at(Registration, Level.HIT) >> b & 1
    }
    assert {"name", "credit_code", "status", "city"} <= names


@pytest.mark.parametrize("name", ["name", "credit_code", "status", "city"])
def test_search_needs_every_field_that_it_shows(name: str) -> None:
    bit = 1 << [field.name for field in fields_of(Registration)].index(name)
    cells = tuple(
        msgspec.structs.replace(cell, fields=cell.fields & ~bit) if isinstance(cell, Cell) else cell
        for cell in TABLE.cells
    )
    denied = decide_search(
        msgspec.structs.replace(TABLE, cells=cells), caller("PUBLIC"), "PUBLIC_VIEW", Evidence()
    )
    assert denied is not None
    assert told(denied) == "DENY_CATEGORY R080"


def test_search_never_takes_an_unverified_artefact_for_proof() -> None:
    bundle = with_condition("SELF_ID", about_subject=False)
    rule = msgspec.structs.replace(BUNDLE.rules["R080"], conditions=("SELF_ID",))
    table = compile_table(msgspec.structs.replace(bundle, rules=bundle.rules | {"R080": rule}), TODAY)
    denied = decide_search(table, caller("AGENT"), "PUBLIC_VIEW", evidence("mandate"))
    assert denied is not None
    assert told(denied) == "DENY_NO_AUTHORISATION R080 SELF_ID"


@pytest.mark.parametrize("obligation", ["HASHED", "OWN_RECORD", "RECORD_AT_ISSUE", "K10"])
def test_an_obligation_that_a_search_cannot_keep_denies_it(obligation: str) -> None:
    denied = searched(obligations=("VISIBLE", obligation))
    assert denied is not None
    assert told(denied) == f"DENY_OBLIGATION R080 {obligation}"


# What holds of every question

STATES: dict[str, dict[str, Any]] = {
    "good": {},
    "expired": {"expires": NOW},
    "foreign": {"grantee": "another unit"},
    "nothing": {"purposes": frozenset()},
}


class Put(msgspec.Struct, frozen=True):
    """A generated question with who asks it and what its artefacts turn out to be."""

    asking: Caller
    question: Question
    states: dict[str, str]

    def decisions(self, table: Table = TABLE) -> dict[str, Granted | Denied]:
        subject = self.question.subject
        artefacts: dict[str, Authorization | str] = {
            field: artefact(field, subject, **STATES[state]) if state in STATES else "forged"
            for field, state in self.states.items()
        }
        return settle(table, self.asking, self.question, artefacts)


PAIRS = sorted(TABLE.reach)
CODES = sorted(BUNDLE.categories)


@st.composite
def puts(draw: st.DrawFn) -> Put:
    who, purpose = draw(st.sampled_from(PAIRS))
    if draw(st.integers(0, 9)) == 0:
        who = draw(st.sampled_from(sorted(BUNDLE.callers)))
    subject = draw(st.sampled_from(list(SUBJECTS.values())))
    absent = draw(st.sets(st.sampled_from(sorted(GIVEN)), max_size=4))
    stage = draw(st.sampled_from(Stage))
    fields = " ".join(name for name in GIVEN if name not in absent and name != "stage")
    proof = evidence(fields, **({} if "stage" in absent else {"stage": stage}))
    asking = caller(
        who,
        purposes=draw(
            st.sampled_from([frozenset(BUNDLE.purposes), frozenset({purpose, "SELF"}), frozenset()])
        ),
        categories=draw(st.sampled_from([None, frozenset(CODES), frozenset(CODES[::2])])),
        identity=draw(st.sampled_from([None, ORG_IDENTITY, NP_IDENTITY])),
        synthetic_only=draw(st.booleans()),
    )
    states = {
        field: draw(st.sampled_from(["good", "good", "good", "forged", *STATES])) for field in CONSENT_OF
    }
    put = question(purpose, subject, proof, *CODES, subjects=draw(st.sampled_from([1, 1, 2])))
    return Put(asking, put, states)


def no_wider(narrow: Mapping[str, Granted | Denied], wide: Mapping[str, Granted | Denied]) -> None:
    """Whatever is granted in `narrow` is granted in `wide` with at least its fields, under the same obligations."""
    for category, decision in narrow.items():
        if isinstance(decision, Granted):
            other = wide[category]
            assert isinstance(other, Granted), category
            assert decision.fields & ~other.fields == 0
            assert set(decision.obligations) >= set(other.obligations)


@given(puts())
@settings(max_examples=300, deadline=None)
def test_every_question_is_decided_and_never_beyond_its_cell(put: Put) -> None:
    for category, decision in put.decisions().items():
        if isinstance(decision, Denied):
            assert decision.remedy
            assert decision.basis
            assert not decision.code.startswith("PERMIT")
            continue
        rule = decision.cell.rule
        assert put.asking.type in rule.callers
        assert rule.purpose == put.question.purpose
        assert rule.purpose in put.asking.purposes
        assert put.asking.categories is None or category in put.asking.categories
        assert put.question.subject.synthetic or not put.asking.synthetic_only
        assert {proven.condition for proven in decision.proven} == set(rule.conditions)
        assert decision.fields & ~decision.cell.fields == 0


@given(puts(), st.data())
@settings(max_examples=300, deadline=None)
def test_taking_something_away_never_widens(put: Put, data: st.DataObject) -> None:
    before = put.decisions()
    asking, asked = put.asking, put.question
    field = data.draw(st.sampled_from(sorted(GIVEN)))
    category = data.draw(st.sampled_from(CODES))
    held = asking.categories if asking.categories is not None else frozenset(CODES)
    narrower = [
        msgspec.structs.replace(
            put, question=msgspec.structs.replace(asked, evidence=msgspec.structs.replace(asked.evidence, **{field: None}))
        ),
        msgspec.structs.replace(put, states=put.states | {data.draw(st.sampled_from(list(CONSENT_OF))): "forged"}),
        msgspec.structs.replace(
            put, asking=msgspec.structs.replace(asking, purposes=asking.purposes - {asked.purpose})
        ),
        msgspec.structs.replace(put, asking=msgspec.structs.replace(asking, categories=held - {category})),
        msgspec.structs.replace(put, asking=msgspec.structs.replace(asking, synthetic_only=True)),
        msgspec.structs.replace(put, question=msgspec.structs.replace(asked, subjects_in_operation=2)),
    ]  # fmt: skip
    for less in narrower:
        no_wider(less.decisions(), before)


@given(puts())
@settings(max_examples=100, deadline=None)
def test_an_identity_widens_nothing_but_what_hangs_on_it(put: Put) -> None:
    without = msgspec.structs.replace(put, asking=msgspec.structs.replace(put.asking, identity=None))
    for category, decision in put.decisions().items():
        if decision != without.decisions()[category]:
            assert isinstance(decision, Granted)
            assert "SELF_ID" in decision.cell.rule.conditions


@given(
    put=puts(), kinds=st.sets(st.sampled_from(["ORG", "IND", "NP", "GOV"]), min_size=1), at=st.integers(0, 32)
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_another_red_line_never_widens(put: Put, kinds: set[str], at: int) -> None:
    line = msgspec.structs.replace(
        BUNDLE.red_lines["RL01"],
        id="RL09",
        kinds=tuple(map(SubjectKind, kinds)),
        categories=tuple(CODES[at:]),
        callers=(put.asking.type,),
        purposes=(put.question.purpose,),
    )
    table = compile_table(msgspec.structs.replace(BUNDLE, red_lines=BUNDLE.red_lines | {"RL09": line}), TODAY)
    after = put.decisions(table)
    no_wider(after, put.decisions())
    if put.question.subject.kind in kinds:
        assert all(isinstance(after[category], Denied) for category in CODES[at:])


@given(puts())
@settings(max_examples=100, deadline=None)
def test_a_denial_does_not_depend_on_which_subject_of_a_kind_is_asked_about(put: Put) -> None:
    """With the same proofs, the next subject of the kind gets the same words."""
    other = credit_code("93990105FAKE0003X2")
    asking = msgspec.structs.replace(put.asking, identity=None)
    one, another = (
        Put(asking, msgspec.structs.replace(put.question, subject=subject), put.states)
        for subject in (SUBJECTS["ORG"], other)
    )
    assert one.decisions() == another.decisions()


@given(puts())
@settings(max_examples=50, deadline=None)
def test_no_identifier_stands_in_a_denial(put: Put) -> None:
    words = " ".join(
        f"{decision.remedy} {decision.message}"
        for decision in put.decisions().values()
        if isinstance(decision, Denied)
    )
    for subject in SUBJECTS.values():
        assert subject.value not in words
        assert subject.name is None or subject.name not in words


@given(puts(), st.data())
@settings(max_examples=200, deadline=None)
def test_sections_closed_together_are_closed_as_each_alone(put: Put, data: st.DataObject) -> None:
    """Under the bundle whose registers have to be asked, with registers that say anything."""
    table = compile_table(EXAMPLE, TODAY)
    parts: dict[str, Possible | Denied] = {}
    for category, part in decide(table, put.asking, put.question).items():
        if isinstance(part, Possible):
            artefacts: dict[str, Authorization | str] = {
                field: artefact(field, put.question.subject) for _, field in part.open
            }
            parts[category] = verify(table, put.asking, put.question, part, artefacts, NOW)
        else:
            parts[category] = part
    references = sorted(
        {ref for part in parts.values() if isinstance(part, Possible) for _, ref in part.references}, key=repr
    )
    said: dict[Reference, Entry | str | None] = {
        reference: data.draw(
            st.sampled_from(
                [None, "no answer", Entry(reference=reference, open=True, units=frozenset({UNIT}))]
            )
        )
        for reference in references
    }
    findings = Findings(TODAY, said)
    alone = {
        category: close(table, put.asking, put.question, part, {}, NOW, findings)
        if isinstance(part, Possible)
        else part
        for category, part in parts.items()
    }
    assert close_all(table, put.asking, put.question, parts, NOW, findings) == alone
