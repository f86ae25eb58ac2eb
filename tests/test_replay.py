"""Replay: with the same bundle nothing differs; with another, exactly what it would have changed."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from generate_operations import operations
from graphql import FieldNode, NameNode
from hypothesis import given, settings
from hypothesis import strategies as st
from service import BANK, BUREAU, CLEAN, DEFAULTER, ENFORCED, INDIVIDUAL, PENALISED, gateway

from connectors.sandbox.server import Sandbox
from gateway import record
from gateway.bind import BoundLookup, Call, CountQuestion, LogQuestion, NameSearch
from gateway.examples import BIDDER_CHECK, BIDDERS, CREDIT_LOAN
from gateway.judge import Judgement
from gateway.ledger import SqliteLedger, read_rows
from gateway.plan import LookupPlan
from gateway.record import Rows
from gateway.replay import LOG, SEARCH, Difference, Effect, Replay, ReplayError, replay, text
from policies.access_log import decide_log, references_of_log
from policies.authorization import Authorization, Consent
from policies.bundle import Bundle, Proof, Rule
from policies.bundle_loading import load
from policies.caller import Caller, Identity
from policies.decision import (
    CONSENT_OF,
    Granted,
    Possible,
    Question,
    close,
    decide,
    decide_search,
    references_of_search,
    references_without_subject,
    rule_of_search,
    verify,
)
from policies.evidence import ARTIFACTS, Evidence, Stage
from policies.identifiers import SubjectKey, credit_code, is_minor, registration_number, resident
from policies.outcomes import Denied, Outcome
from policies.proofs import Findings
from policies.registers import Entry, Reference, Register
from policies.statistics import Allowed, decide_statistics
from policies.table import Tables
from policies.vocabulary import Level, SubjectKind
from resolvers.answers import Receipt
from resolvers.schema import OnDenied, build_schema

EXAMPLE = load(files("policies") / "bundles" / "example")
REGISTERED = {code for code, condition in EXAMPLE.conditions.items() if condition.proof is Proof.REGISTER}
BUNDLE = msgspec.structs.replace(EXAMPLE, declared_is_enough=frozenset(REGISTERED))
"""The example, where to declare is enough."""
ASKING = msgspec.structs.replace(EXAMPLE, declared_is_enough=frozenset())
"""The example, where every register is asked."""
TABLES = {id(bundle): Tables(bundle) for bundle in (EXAMPLE, BUNDLE, ASKING)}
KEY = b"k" * 32
TODAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 9, 30, 15, 250_000, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
UNIT = "11990000FAKE000483"
ALL_FIELDS = (1 << 64) - 1
REGISTRATION = "990105000000016"
SUBJECTS = {
    "ORG": credit_code(CLEAN),
    "IND": credit_code(INDIVIDUAL),
    "GOV": credit_code("11990000FAKE000483"),
    "NP": resident(DEFAULTER["number"], DEFAULTER["name"], today=TODAY),
    "REGISTERED": registration_number(REGISTRATION),
    "REAL": credit_code("91140105FAKE00013D"),
}
VALUES: dict[str, Any] = {
    "matter_code": "M-1",
    "case_number": "C-1",
    "inspection_plan_number": "P-1",
    "project_number": "T-1",
    "stage": Stage.REVIEW,
    "programme_number": "PR-1",
    "award_notice_number": "AN-1",
    "recruitment_notice_number": "RN-1",
    "notified_on": date(2026, 11, 1),
    "notice_form": "letter",
    "document_type": "decision",
    "document_number": "D-1",
    "method_id": "ME-1",
    "cycle": "2026",
    "objection_number": "O-1",
    "record_ids": ("r-1", "r-2"),
    "application_number": "AP-1",
    "query_reason_code": "02",
    "contract_id": "CO-1",
    "instrument": "SH",
    "article": "28",
    "measure_id": "S4",
    "approval_id": "DU-1",
    "role": "manager",
    "organisation_code": PENALISED,
    "register_number": "K-1",
    "minimum_cell": 10,
    "study_number": "S-1",
    "audit_order_number": "AO-1",
    "authorization": "a.written.jws",
    "separate_consent": "a.separate.jws",
    "mandate": "a.mandate.jws",
}


def tables_of(bundle: Bundle) -> Tables:
    return TABLES.get(id(bundle)) or Tables(bundle)


def caller(caller_type: str, **changes: Any) -> Caller:
    values: dict[str, Any] = {
        "unit": UNIT,
        "unit_name": "示例单位",
        "type": caller_type,
        "level": "COUNTY",
        "division": "990105",
        "purposes": frozenset(BUNDLE.purposes),
        "categories": None,
        "officer": "officer 7",
        "identity": None,
        "synthetic_only": False,
        "client": "client",
        "token_id": "token",
        "expires": SECONDS + 600,
    }
    return Caller(**values | changes)


def artefact(field: str, subject: SubjectKey, /, **changes: Any) -> Authorization:
    values: dict[str, Any] = {
        "issuer": "issuer",
        "authorization_id": f"{field}-1",
        "issued_at": SECONDS - 60,
        "not_before": SECONDS - 60,
        "expires": SECONDS + 60,
        # No artefact names its subject in another way than these two.
        "subject": (subject.scheme if subject.kind is SubjectKind.NP else "credit_code", subject.value),
        "subject_name": subject.name,
        "grantee": UNIT,
        "purposes": frozenset(BUNDLE.purposes),
        "categories": frozenset(BUNDLE.categories),
        "consent": CONSENT_OF[field],
    }
    return Authorization(**values | changes)


STATES: dict[str, dict[str, Any] | str] = {
    "good": {},
    "refused": "the signature is not by a known key of the issuer",
    "expired": {"expires": SECONDS},
    "begins now": {"not_before": SECONDS},
    "another unit's": {"grantee": "11990000FAKE000491"},
    "another subject's": {"subject": ("credit_code", ENFORCED), "subject_name": None},
    "another name": {"subject_name": "例他人"},
    "another purpose": {"purposes": frozenset({"AWARD"})},
    "another category": {"categories": frozenset({"PENALTY"})},
    "another kind": {"consent": Consent.WRITTEN},
}


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """An inquiry about one subject, with artefacts in some state, and perhaps a search, counts, a look into the log."""

    asking: Caller
    question: Question
    states: Mapping[str, str]
    registers: Mapping[str, str] = {}
    on_denied: OnDenied = OnDenied.FILTER
    search: bool = False
    counts: str | None = None
    log: bool = False
    now: datetime = NOW

    def judged(self, bundle: Bundle = BUNDLE) -> Judgement:
        """The decisions, on what artefacts prove and registers say under the bundle."""
        table = tables_of(bundle).on(self.day)
        evidence, subject, purpose = self.question.evidence, self.question.subject, self.question.purpose
        parts = decide(table, self.asking, self.question)
        possible = [part for part in parts.values() if isinstance(part, Possible)]
        read = {field: self._proves(field, subject) for part in possible for _, field in part.open}
        now = int(self.now.timestamp())
        verified = [verify(table, self.asking, self.question, part, read, now) for part in possible]
        references = [
            reference
            for part in verified
            for _, reference in (part.references if isinstance(part, Possible) else ())
        ]
        counted = (SubjectKind.ORG, self.counts or "")
        if self.search:
            references += references_of_search(table, self.asking, purpose, evidence)
        if self.counts:
            references += references_without_subject(table, self.asking, purpose, *counted, evidence)
        if self.log:
            references += references_of_log(table, self.asking, purpose, evidence)
        asked = {reference: self._says(reference) for reference in references}
        findings = Findings(self.day, asked)
        given = (table, self.asking, purpose)
        return Judgement(
            decisions=(
                {
                    category: close(table, self.asking, self.question, part, read, now, findings)
                    if isinstance(part, Possible)
                    else part
                    for category, part in parts.items()
                },
            ),
            searches={"search": decide_search(*given, evidence, findings)} if self.search else {},
            counts={"statistics": decide_statistics(*given, *counted, evidence, findings)}
            if self.counts
            else {},
            logs={"accessLog": decide_log(*given, evidence, findings)} if self.log else {},
            artefacts={getattr(evidence, field): proof for field, proof in read.items()},
            registers=asked,
            seconds=0.0,
            minor=is_minor(subject, self.day),
            quota=bundle.quotas.get((self.asking.type, purpose)),
            search_rule=rule_of_search(*given),
        )

    def row(self, bundle: Bundle = BUNDLE, **changes: Any) -> bytes:
        """The row as the service writes it; `changes` are those of the judgement."""
        judgement = msgspec.structs.replace(self.judged(bundle), **changes)
        call = self.call()
        refused = "SUBJECT_UNDER_AGE" if judgement.minor else "REFUSED"
        return Rows(KEY).row(
            receipt=Receipt("receipt", self.now, bundle.hash, self.question.purpose),
            call=call,
            caller=self.asking,
            document="{ inquiry }",
            judgement=judgement,
            subjects=(),
            searches={},
            outcome=refused if judgement.refuses(call) else "ANSWERED",
        )

    def _says(self, reference: Reference) -> Entry | str | None:
        """What the register says: all that was declared, or as `registers` has it."""
        state = self.registers.get(reference.register.value, "good")
        if state in ("none", "silent"):
            return None if state == "none" else "it cannot be asked at the moment"
        evidence, subject = self.question.evidence, self.question.subject.hash_input
        told = evidence.notified_on.isoformat() if evidence.notified_on else ""
        texts = [
            evidence.matter_code,
            evidence.case_number,
            evidence.recruitment_notice_number,
            evidence.cycle,
        ]
        return Entry(
            reference=reference,
            open=state != "closed",
            units=frozenset({self.asking.unit} if state != "foreign" else ()),
            stage=evidence.stage,
            kind=evidence.document_type if reference.register is Register.DOCUMENTS else "COMPREHENSIVE",
            approver="officer 8",
            subjects=frozenset({subject} if state != "silent about it" else ()),
            roles=frozenset({(subject, evidence.role or ""), (subject, told)}),
            covers=frozenset(filter(None, texts)) | frozenset(evidence.record_ids or ()),
        )

    @property
    def day(self) -> date:
        return (self.now + timedelta(hours=8)).date()

    def call(self) -> Call:
        lookups = [BoundLookup(_plan("subject"), (self.question,), None)]
        if self.search:
            lookups.append(BoundLookup(_plan("search"), (), NameSearch("示例公司", 5, 0)))
        if self.counts:
            counts = CountQuestion(self.counts, SubjectKind.ORG, ())
            lookups.append(BoundLookup(_plan("statistics"), (), None, counts=counts))
        if self.log:
            log = LogQuestion(self.day, self.day, ())
            lookups.append(BoundLookup(_plan("accessLog"), (), None, log=log))
        return Call(
            purpose=self.question.purpose,
            evidence=self.question.evidence,
            on_denied=self.on_denied,
            lookups=tuple(lookups),
            now=self.now,
            today=self.day,
        )

    def _proves(self, field: str, subject: SubjectKey) -> Authorization | str:
        state = STATES[self.states.get(field, "good")]
        return state if isinstance(state, str) else artefact(field, subject, **state)


def _plan(name: str) -> LookupPlan:
    return LookupPlan(name, name, FieldNode(name=NameNode(value=name)), {}, {})


def put(
    who: str,
    purpose: str,
    subject: str,
    evidence: str,
    *categories: str,
    fields: int = ALL_FIELDS,
    **more: Any,
) -> Put:
    """An inquiry in words: caller type, purpose, subject, evidence fields, categories."""
    key = SUBJECTS[subject]
    asking = more.pop("asking", None) or caller(who)
    question = Question(
        purpose=purpose,
        subject=key,
        evidence=Evidence(**{name: VALUES[name] for name in evidence.split()}),
        sections=dict.fromkeys(categories, fields),
        subjects_in_operation=more.pop("of", 1),
    )
    return Put(asking=asking, question=question, states=more.pop("states", {}), **more)


def changed(code: str, bundle: Bundle = BUNDLE, **values: Any) -> Bundle:
    rule = msgspec.structs.replace(bundle.rules[code], **values)
    return msgspec.structs.replace(bundle, rules=bundle.rules | {rule.id: rule})


def without(code: str) -> Bundle:
    rules: dict[str, Rule] = {key: rule for key, rule in BUNDLE.rules.items() if key != code}
    return msgspec.structs.replace(BUNDLE, rules=rules)


def replayed(bundle: Bundle, *bodies: bytes) -> Replay:
    return replay(enumerate(bodies, start=1), tables_of(bundle))


def effects(found: Replay) -> list[tuple[str, str, str, str]]:
    return [(each.effect.value, each.category, each.before, each.after) for each in found.differences]


PLAN = "inspection_plan_number"
LOAN = "application_number query_reason_code"


# --- what another bundle changes ----------------------------------------------------------------------------


def test_what_would_now_be_refused() -> None:
    body = put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "PENALTY", "EVALUATION").row()
    found = replayed(without("R013"), body, body)
    assert effects(found) == [("REFUSED", "EVALUATION", "SUMMARY (R013)", "DENY_CATEGORY")] * 2
    assert (found.inquiries, found.count(Effect.REFUSED)) == (2, 2)


def test_what_would_now_be_allowed() -> None:
    body = put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "VOLUNTARY", "PENALTY").row()
    bundle = changed("R013", categories={SubjectKind.ORG: ("VOLUNTARY",)}, id="R900")
    assert effects(replayed(bundle, body)) == [("ALLOWED", "VOLUNTARY", "DENY_CATEGORY", "SUMMARY (R900)")]


@pytest.mark.parametrize(
    ("level", "fields", "effect"),
    [
        (Level.FULL, ALL_FIELDS, "MORE"),
        (Level.HIT, ALL_FIELDS, "LESS"),
        (Level.PUBLIC, ALL_FIELDS, "CHANGED"),
        (Level.FULL, 1, "CHANGED"),
    ],
)
def test_what_would_now_be_given_otherwise(level: Level, fields: int, effect: str) -> None:
    inquiry = put(
        "MARKET_REGULATION", "LICENSING", "ORG", "matter_code case_number", "PENALTY", fields=fields
    )
    found = effects(replayed(changed("R002", level=level), inquiry.row()))
    assert found == [(effect, "PENALTY", "SUMMARY (R002)", f"{level} (R002)")]


def test_a_register_that_was_not_asked_is_not_guessed() -> None:
    inquiry = put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "PENALTY")
    assert effects(replayed(ASKING, inquiry.row())) == [
        ("UNKNOWN", "PENALTY", "FULL (R012)", "the register was not asked then")
    ]
    assert effects(replayed(BUNDLE, inquiry.row(ASKING))) == []


def test_what_a_register_said_then_counts_now() -> None:
    looser = changed("R012", ASKING, conditions=("PLAN",))
    for state, found in (
        ("good", []),
        ("none", []),
        ("silent", []),
        ("foreign", []),
        ("silent about it", [("ALLOWED", "PENALTY", "DENY_NOT_DEPARTMENT_MATTER (R012)", "FULL (R012)")]),
    ):
        body = put(
            "MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "PENALTY", registers={"plans": state}
        ).row(ASKING)
        assert effects(replayed(ASKING, body)) == []
        assert effects(replayed(looser, body)) == found
    granted = put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "PENALTY", "VOLUNTARY").row(ASKING)
    more = changed("R012", ASKING, id="R900", categories={SubjectKind.ORG: ("VOLUNTARY",)})
    assert effects(replayed(more, granted)) == [("ALLOWED", "VOLUNTARY", "DENY_CATEGORY", "FULL (R900)")]


def test_an_inquiry_is_decided_at_its_own_time() -> None:
    """The province's day: 16:30 UTC is after its midnight."""
    bundle = changed("R012", valid_to=TODAY)
    for hour, expected in ((15, []), (16, ["REFUSED"])):
        now = NOW.replace(hour=hour)
        body = put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "PENALTY", now=now).row()
        assert [effect for effect, *_ in effects(replayed(bundle, body))] == expected


def test_an_authorization_is_looked_at_as_of_then() -> None:
    inquiries = [
        put(
            "BANK",
            "LOAN_PRECHECK",
            "ORG",
            f"{LOAN} authorization",
            "TAX_PAYMENT",
            states={"authorization": state},
        )
        # The authorization of an organisation carries no name.
        for state in STATES.keys() - {"another name"}
    ]
    bodies = [inquiry.row() for inquiry in inquiries]
    assert effects(replayed(BUNDLE, *bodies)) == []
    stricter = changed("R058", conditions=("APPLICATION", "AUTH_W", "AUTH_SEP"))
    given_then = [
        i for i, body in enumerate(bodies, start=1) if b'"level"' in body.replace(b'"level":"COUNTY"', b"")
    ]
    found = replayed(stricter, *bodies)
    assert [each.position for each in found.differences] == given_then
    assert {each.after for each in found.differences} == {"DENY_NO_AUTHORISATION (R058, AUTH_SEP)"}


def test_an_artefact_that_nobody_read_is_not_guessed() -> None:
    body = put("BANK", "LOAN_PRECHECK", "ORG", f"{LOAN} authorization", "COMPLIANCE").row()
    bundle = changed("R058", id="R900", categories={SubjectKind.ORG: ("COMPLIANCE",)})
    ((effect, _, before, after),) = effects(replayed(bundle, body))
    assert (effect, before, after) == ("UNKNOWN", "DENY_CATEGORY", "the artefact was not read then")


def test_a_person_s_authorization_counts_under_the_same_name_alone() -> None:
    artefacts = f"{LOAN} authorization separate_consent"
    for state, granted in (("good", True), ("another name", False), ("another unit's", False)):
        states = {"separate_consent": state}
        body = put("BANK", "LOAN_PRECHECK", "NP", artefacts, "TAX_PAYMENT", states=states).row()
        assert (json.loads(body)["subjects"][0]["sections"][0].get("level") is not None) is granted
        assert effects(replayed(BUNDLE, body)) == []


def test_who_asks_about_itself_is_held_by_number_and_name() -> None:
    for name, expected in ((DEFAULTER["name"], []), ("例他人", ["ALLOWED"])):
        asking = caller(
            "SUBJECT",
            unit=DEFAULTER["number"],
            identity=Identity(resident_number=DEFAULTER["number"], name=name),
        )
        body = put("SUBJECT", "SELF", "NP", "", "TAX_PAYMENT", asking=asking).row()
        assert json.loads(body)["subjects"][0]["self"] is not expected
        assert effects(replayed(BUNDLE, body)) == []
        free = replayed(changed("R078", conditions=()), body)
        assert [effect for effect, *_ in effects(free)] == expected


def test_an_authorization_that_no_source_could_withdraw_holds() -> None:
    inquiry = put(
        "BANK",
        "LOAN_PRECHECK",
        "ORG",
        f"{LOAN} authorization",
        "TAX_PAYMENT",
        registers={"applications": "none"},
    )
    judged = inquiry.judged(ASKING)
    entries = {
        asked: said for asked, said in judged.registers.items() if asked.register != Register.AUTHORIZATIONS
    }
    looser = changed("R058", ASKING, conditions=("AUTH_W",))
    for kept, expected in ((False, "ALLOWED"), (True, "UNKNOWN")):
        body = inquiry.row(ASKING, registers=entries, withdrawals=kept)
        assert [effect for effect, *_ in effects(replayed(looser, body))] == [expected]
    withdrawn = msgspec.structs.replace(inquiry, registers={"authorizations": "closed"}).row(ASKING)
    assert effects(replayed(looser, withdrawn)) == []


def test_fields_that_were_numbered_otherwise_are_not_compared() -> None:
    row = json.loads(put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "PENALTY", "VOLUNTARY").row())
    body = json.dumps(row | {"catalogue": "another"}).encode()
    assert effects(replayed(BUNDLE, body)) == [
        ("UNKNOWN", "PENALTY", "FULL (R012)", "its fields were numbered otherwise then")
    ]
    assert [effect for effect, *_ in effects(replayed(without("R012"), body))] == ["REFUSED"]


def test_a_subject_over_the_quota_stays_refused_under_it() -> None:
    inquiry = put("BANK", "LOAN_PRECHECK", "ORG", LOAN, "PENALTY")
    other = msgspec.structs.replace(
        inquiry, question=msgspec.structs.replace(inquiry.question, subject=credit_code(PENALISED))
    )
    refusal = Denied(code=Outcome.DENY_BULK, basis=(), remedy="Ask tomorrow.")
    over = other.row(
        BUNDLE,
        decisions=({"PENALTY": refusal},),
        over_quota=frozenset({other.question.subject.hash_input}),
    )
    bodies = (inquiry.row(), over, inquiry.row())

    def with_quota(quota: int | None) -> Bundle:
        key = ("BANK", "LOAN_PRECHECK")
        others = {place: number for place, number in BUNDLE.quotas.items() if place != key}
        return msgspec.structs.replace(BUNDLE, quotas=others if quota is None else others | {key: quota})

    assert effects(replayed(BUNDLE, *bodies)) == []
    allowed = [("ALLOWED", "PENALTY", "DENY_BULK", "PUBLIC (R057)")]
    assert effects(replayed(with_quota(None), *bodies)) == allowed
    assert effects(replayed(with_quota(2), *bodies)) == allowed
    assert effects(replayed(with_quota(1), *bodies)) == []
    none = [("REFUSED", "PENALTY", "PUBLIC (R057)", "DENY_BULK")]
    assert effects(replayed(with_quota(0), *bodies)) == none * 2


def test_a_purpose_or_caller_type_that_is_gone() -> None:
    body = put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "PENALTY", search=True).row()
    purposes = {code: purpose for code, purpose in BUNDLE.purposes.items() if code != "SUPERVISION"}
    rules = {code: rule for code, rule in BUNDLE.rules.items() if rule.purpose != "SUPERVISION"}
    no_purpose = msgspec.structs.replace(
        BUNDLE,
        purposes=purposes,
        rules=rules,
        red_lines={
            code: msgspec.structs.replace(line, purposes=tuple(p for p in line.purposes if p in purposes))
            for code, line in BUNDLE.red_lines.items()
        },
    )
    assert effects(replayed(no_purpose, body)) == [("REFUSED", "PENALTY", "FULL (R012)", "DENY_PURPOSE")]
    callers = {code: caller for code, caller in BUNDLE.callers.items() if code != "MARKET_REGULATION"}
    kept = {
        code: msgspec.structs.replace(entry, callers=tuple(c for c in entry.callers if c in callers))
        for code, entry in BUNDLE.rules.items()
    }
    lines = {
        code: msgspec.structs.replace(line, callers=tuple(callers)) for code, line in BUNDLE.red_lines.items()
    }
    no_caller = msgspec.structs.replace(BUNDLE, callers=callers, rules=kept, red_lines=lines)
    assert effects(replayed(no_caller, body)) == [("REFUSED", "PENALTY", "FULL (R012)", "DENY_PURPOSE")]


def test_where_everything_was_wanted_one_denial_refuses_the_whole() -> None:
    inquiry = put(
        "MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "PENALTY", "EVALUATION", on_denied=OnDenied.REJECT
    )
    assert effects(replayed(without("R013"), inquiry.row())) == [
        ("REFUSED", "PENALTY", "FULL (R012)", "refused with the whole inquiry"),
        ("REFUSED", "EVALUATION", "SUMMARY (R013)", "DENY_CATEGORY"),
    ]
    was_refused = inquiry.row(without("R013"))
    assert effects(replayed(BUNDLE, was_refused)) == [
        ("ALLOWED", "PENALTY", "refused with the whole inquiry", "FULL (R012)"),
        ("ALLOWED", "EVALUATION", "DENY_CATEGORY", "SUMMARY (R013)"),
    ]


def test_where_everything_was_wanted_one_unknown_leaves_the_whole_open() -> None:
    inquiry = put(
        "BANK",
        "LOAN_PRECHECK",
        "ORG",
        f"{LOAN} authorization",
        "COMPLIANCE",
        "PENALTY",
        on_denied=OnDenied.REJECT,
    )
    bundle = changed("R058", id="R900", categories={SubjectKind.ORG: ("COMPLIANCE",)})
    found = replayed(bundle, inquiry.row())
    assert [each.effect for each in found.differences] == [Effect.UNKNOWN, Effect.UNKNOWN]
    assert found.differences[1].after.startswith("another part cannot be told")


def test_no_bundle_lets_anybody_ask_about_a_minor() -> None:
    child = resident("990105201501010010", "例小童", today=TODAY)
    inquiry = put("MARKET_REGULATION", "LICENSING", "NP", "matter_code case_number", "REG_NP")
    question = msgspec.structs.replace(inquiry.question, subject=child)
    body = msgspec.structs.replace(inquiry, question=question).row()
    assert json.loads(body)["outcome"] == "SUBJECT_UNDER_AGE"
    assert effects(replayed(changed("R004", conditions=()), body)) == []


def test_searches_are_decided_again() -> None:
    body = put("COURT", "PUBLIC_VIEW", "ORG", "", search=True).row()
    assert effects(replayed(BUNDLE, body)) == []
    hidden = changed("R080", obligations=("HASHED",))
    refused = [("REFUSED", SEARCH, "allowed (R080)", "DENY_OBLIGATION (R080, HASHED)")]
    assert effects(replayed(hidden, body)) == refused
    assert effects(replayed(BUNDLE, put("COURT", "PUBLIC_VIEW", "ORG", "", search=True).row(hidden))) == [
        ("ALLOWED", SEARCH, "DENY_OBLIGATION (R080)", "allowed (R080)")
    ]
    stricter = changed("R080", conditions=("CASE",))
    refused = [("REFUSED", SEARCH, "allowed (R080)", "DENY_EVIDENCE (R080, CASE)")]
    assert effects(replayed(stricter, body)) == refused
    declared = put("COURT", "PUBLIC_VIEW", "ORG", "case_number", search=True).row()
    assert effects(replayed(stricter, declared)) == []
    asking = changed("R080", ASKING, conditions=("CASE",))
    not_asked = [("UNKNOWN", SEARCH, "allowed (R080)", "the register was not asked then")]
    assert effects(replayed(asking, declared)) == not_asked
    asked = put("COURT", "PUBLIC_VIEW", "ORG", "case_number", search=True).row(asking)
    assert effects(replayed(asking, asked)) == []


def test_counts_are_decided_again() -> None:
    evidence = "study_number minimum_cell"
    inquiry = put("CREDIT_AUTHORITY", "STATISTICS", "ORG", evidence, counts="PENALTY")
    for state, granted in (("good", True), ("none", False), ("closed", False), ("foreign", False)):
        body = msgspec.structs.replace(inquiry, registers={"studies": state}).row(ASKING)
        assert effects(replayed(ASKING, body)) == []
        found = effects(replayed(changed("R052", ASKING, obligations=("K50", "VISIBLE")), body))
        coarser = ("LESS", "counts of PENALTY", "in multiples of 10 (R052)", "in multiples of 50 (R052)")
        assert found == ([coarser] if granted else [])
        found = effects(replayed(changed("R052", ASKING, conditions=()), body))
        assert [effect for effect, *_ in found] == ([] if granted else ["ALLOWED"])
    finer = changed("R052", ASKING, obligations=("K10", "VISIBLE"))
    coarse = inquiry.row(changed("R052", ASKING, obligations=("K50", "VISIBLE")))
    assert [effect for effect, *_ in effects(replayed(finer, coarse))] == ["MORE"]
    rejecting = msgspec.structs.replace(
        inquiry, on_denied=OnDenied.REJECT, question=msgspec.structs.replace(inquiry.question, sections={})
    )
    refused = ("REFUSED", "counts of PENALTY", "in multiples of 10 (R052)", "DENY_CATEGORY")
    gone = changed("R052", ASKING, categories={SubjectKind.ORG: ("LICENCE",)})
    assert effects(replayed(gone, rejecting.row(ASKING))) == [refused]


def test_looks_into_the_log_are_decided_again() -> None:
    inquiry = put("CREDIT_AUTHORITY", "AUDIT", "ORG", "audit_order_number", log=True)
    body = inquiry.row(ASKING)
    assert effects(replayed(ASKING, body)) == []
    hidden = changed("R051", ASKING, obligations=("VISIBLE",))
    found = replayed(hidden, body)
    rules = "allowed (R050, R051, R089)"
    assert effects(found) == [("REFUSED", LOG, rules, "DENY_OBLIGATION (R051, VISIBLE)")]
    assert f"for AUDIT: {LOG}: {rules} → " in text(found)
    assert effects(replayed(ASKING, inquiry.row(hidden))) == [
        ("ALLOWED", LOG, "DENY_OBLIGATION (R051)", rules)
    ]
    silent = msgspec.structs.replace(inquiry, registers={"audit-orders": "silent"}).row(ASKING)
    assert effects(replayed(ASKING, silent)) == []


# --- rows that are none -------------------------------------------------------------------------------------


def test_a_row_without_inquiry_is_skipped() -> None:
    application = json.dumps({"version": record.VERSION, "kind": "APPLICATION", "outcome": "RECORDED"})
    assert replayed(BUNDLE, record.PROBE, application.encode()) == Replay(0, ())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"version": 99, "outcome": "ANSWERED"}', "is of version 99"),
        (b'{"version": 99, "outcome": "PROBE"}', "is of version 99"),
        (b"not JSON 91990100FAKE00013D", "is no row of the ledger"),
        (b'{"version": 1}', "is no row of the ledger"),
        (b'{"version": 1, "outcome": "ANSWERED", "time": "91990100FAKE00013D"}', "is no row of the ledger at `$.time`"),
        (b'{"version": "\xff"}', "is no row of the ledger"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_refused_and_not_quoted(body: bytes, reason: str) -> None:
    with pytest.raises(ReplayError) as refused:
        replayed(BUNDLE, record.PROBE, body)
    assert str(refused.value).startswith("row 2: ")
    assert reason in str(refused.value)
    assert "FAKE" not in str(refused.value)


@pytest.mark.parametrize("evidence", [{"stage": "NEVER"}, {"authorization": {"claims": 7}}])
def test_evidence_in_another_form_is_refused(evidence: dict[str, Any]) -> None:
    row = json.loads(put("BANK", "LOAN_PRECHECK", "ORG", LOAN, "PENALTY").row())
    row["subjects"][0]["evidence"] = evidence
    with pytest.raises(ReplayError, match=r"^row 1: holds (evidence|an artefact) in another form$"):
        replayed(BUNDLE, json.dumps(row).encode())


def test_an_entry_about_a_subject_that_is_not_there_is_refused() -> None:
    row = json.loads(put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "PENALTY").row(ASKING))
    row["registers"][0]["entry"]["subjects"] = [1]
    with pytest.raises(ReplayError, match=r"^row 1: holds an entry about a subject that it does not hold$"):
        replayed(ASKING, json.dumps(row).encode())


def test_an_entry_is_recorded_only_as_far_as_it_bears_on_the_inquiry() -> None:
    """Other units, other subjects and what the evidence does not name stay out of the row."""
    inquiry = put("MARKET_REGULATION", "LICENSING", "ORG", "matter_code case_number", "PENALTY")
    reference = Reference(Register.CASES, "C-1")
    entry = Entry(
        reference=reference,
        open=True,
        units=frozenset({UNIT, ENFORCED}),
        approver="officer 8",
        subjects=frozenset({SUBJECTS["ORG"].hash_input, f"credit_code:{PENALISED}"}),
        roles=frozenset({(f"credit_code:{PENALISED}", "M-1")}),
        covers=frozenset({"M-1", "M-2"}),
    )
    (held,) = json.loads(inquiry.row(ASKING, registers={reference: entry}))["registers"]
    assert held["entry"] == {
        "open": True,
        "own": True,
        "second_officer": True,
        "subjects": [0],
        "covers": ["M-1"],
    }


# --- in words -----------------------------------------------------------------------------------------------


def test_the_replay_in_words() -> None:
    bureau = put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "EVALUATION", "PENALTY").row()
    bank = put("BANK", "LOAN_PRECHECK", "ORG", LOAN, "PENALTY").row()
    itself = put(
        "SUBJECT",
        "SELF",
        "NP",
        "",
        "TAX_PAYMENT",
        asking=caller(
            "SUBJECT",
            unit=DEFAULTER["number"],
            identity=Identity(resident_number=DEFAULTER["number"], name=DEFAULTER["name"]),
        ),
    ).row()
    bundle = changed("R078", without("R013"), level=Level.SUMMARY)
    said = text(replayed(bundle, *[bureau] * 7, bank, itself))
    assert said.splitlines() == [
        "Of 9 inquiries 7 would now be refused, whole or in part; 0 would be given more, 1 less or otherwise,"
        " of 0 it cannot be told.",
        "",
        "REFUSED:",
        "  7 (rows 1, 2, 3, 4, 5 …): MARKET_REGULATION 示例单位 (11990000FAKE000483) for SUPERVISION:"
        " EVALUATION of ORG: SUMMARY (R013) → DENY_CATEGORY",
        "",
        "LESS:",
        "  1 (row 9): SUBJECT subjects themselves for SELF: TAX_PAYMENT of NP: FULL (R078) → SUMMARY (R078)",
    ]
    assert DEFAULTER["number"] not in said


# --- nothing differs with the same bundle -------------------------------------------------------------------


ENTRIES = ["good", "good", "good", "none", "silent", "closed", "foreign", "silent about it"]


@st.composite
def puts(draw: st.DrawFn) -> Put:
    subject = draw(st.sampled_from(sorted(SUBJECTS)))
    key = SUBJECTS[subject]
    purpose = draw(st.sampled_from(sorted(BUNDLE.purposes)))
    reaching = sorted(
        {code for rule in BUNDLE.rules.values() if rule.purpose == purpose for code in rule.callers}
    )
    kind = draw(st.sampled_from([*reaching, "SUBJECT", "AGENT"]))
    itself = kind == "SUBJECT" and key.scheme != "registration_number" and draw(st.booleans())
    identity = (
        Identity(resident_number=key.value, name=key.name)
        if key.kind is SubjectKind.NP
        else Identity(credit_code=key.value)
    )
    purposes = draw(st.sampled_from([frozenset(BUNDLE.purposes), frozenset({purpose}), frozenset({"AWARD"})]))
    narrowed = draw(st.none() | st.frozensets(st.sampled_from(sorted(BUNDLE.categories)), min_size=20))
    asking = caller(
        kind,
        identity=identity if itself else None,
        unit=key.value if itself else UNIT,
        purposes=purposes,
        categories=narrowed,
        synthetic_only=draw(st.booleans()),
    )
    states = sorted(STATES.keys() - ({"another name"} if key.name is None else set()))
    left_out = draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=8))
    categories = draw(
        st.lists(st.sampled_from(sorted(BUNDLE.categories)), min_size=1, max_size=12, unique=True)
    )
    return put(
        kind,
        purpose,
        subject,
        " ".join(name for name in VALUES if name not in left_out),
        *categories,
        asking=asking,
        fields=draw(st.sampled_from([ALL_FIELDS, 0b1011, 0])),
        of=draw(st.integers(1, 3)),
        states={field: draw(st.sampled_from(states)) for field in ARTIFACTS},
        registers={register: draw(st.sampled_from(ENTRIES)) for register in Register},
        on_denied=draw(st.sampled_from(list(OnDenied))),
        search=draw(st.booleans()),
        counts=COUNTED if draw(st.booleans()) else None,
        log=draw(st.booleans()),
        now=NOW + timedelta(milliseconds=draw(st.integers(-2000, 2000))),
    )


@given(puts(), st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_with_the_same_bundle_nothing_differs(inquiry: Put, which: int) -> None:
    bundle = (BUNDLE, ASKING, EXAMPLE)[which]
    assert replayed(bundle, inquiry.row(bundle)).differences == ()


@st.composite
def bundles(draw: st.DrawFn, purpose: str) -> Bundle:
    """A bundle with one rule of the purpose changed, or without it; registers asked for some conditions."""
    code = draw(st.sampled_from([rule.id for rule in BUNDLE.rules.values() if rule.purpose == purpose]))
    rule = BUNDLE.rules[code]
    declared = draw(st.sampled_from([frozenset(), EXAMPLE.declared_is_enough, frozenset(REGISTERED)]))
    bundle = msgspec.structs.replace(ASKING, declared_is_enough=declared)
    change = draw(st.sampled_from(["conditions", "level", "condition more", "gone"]))
    if change == "gone":
        rules = {key: each for key, each in BUNDLE.rules.items() if key != code}
        return msgspec.structs.replace(bundle, rules=rules)
    if change == "level":
        level = draw(st.sampled_from([Level.HIT, Level.PUBLIC, Level.SUMMARY, Level.FULL]))
        return changed(code, bundle, level=level)
    if change == "condition more":
        more = draw(st.sampled_from(sorted(REGISTERED | {"AUTH_W", "AUTH_SEP"})))
        return changed(code, bundle, conditions=tuple(dict.fromkeys((*rule.conditions, more))))
    kept = draw(st.sets(st.sampled_from(rule.conditions))) if rule.conditions else set()
    return changed(code, bundle, conditions=tuple(each for each in rule.conditions if each in kept))


def told(decision: object) -> tuple[object, ...] | None:
    """What of a decision a replay compares; None: denied."""
    if isinstance(decision, Denied):
        return None
    if isinstance(decision, Granted):
        return (decision.cell.level, decision.fields)
    return (decision.smallest_cell,) if isinstance(decision, Allowed) else ()


def decisions_of(judgement: Judgement) -> dict[str, object]:
    parts: dict[str, object] = dict(judgement.decisions[0])
    parts |= dict.fromkeys(judgement.searches and [SEARCH], judgement.searches.get("search"))
    parts |= {f"counts of {COUNTED}": found for found in judgement.counts.values()}
    return parts | dict(zip([LOG], judgement.logs.values(), strict=False))


COUNTED = "PENALTY"


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_with_another_bundle_what_deciding_the_question_itself_gives(data: st.DataObject) -> None:
    """Unknown is only what hangs on an artefact or a register that nobody looked at then."""
    inquiry = msgspec.structs.replace(data.draw(puts()), on_denied=OnDenied.FILTER)
    bundle = data.draw(bundles(inquiry.question.purpose))
    then, now = inquiry.judged(ASKING), inquiry.judged(bundle)
    before, after = decisions_of(then), decisions_of(now)
    found = {each.category: each for each in replayed(bundle, inquiry.row(ASKING)).differences}
    unseen = bool(
        now.registers.keys() - then.registers.keys() or now.artefacts.keys() - then.artefacts.keys()
    )
    for category in before:
        difference = found.get(category)
        if difference is not None and difference.effect is Effect.UNKNOWN:
            assert unseen
            continue
        was, is_now = told(before[category]), told(after[category])
        if was is None or is_now is None:
            expected = None if was == is_now else Effect.ALLOWED if was is None else Effect.REFUSED
            assert (difference and difference.effect) == expected, category
        else:
            assert (difference is not None) is (was != is_now), category
        denied = after[category]
        if difference is not None and isinstance(denied, Denied) and not unseen:
            named = [place for place in (denied.rule, denied.condition) if place]
            assert difference.after == (f"{denied.code} ({', '.join(named)})" if named else denied.code)


def grants(differences: Iterable[Difference]) -> set[str]:
    return {each.category for each in differences if each.effect in (Effect.ALLOWED, Effect.MORE)}


@given(inquiry=puts(), code=st.sampled_from(sorted(BUNDLE.rules)))
@settings(max_examples=30, deadline=None)
def test_a_rule_less_allows_nothing(inquiry: Put, code: str) -> None:
    body = inquiry.row()
    assert grants(replayed(without(code), body).differences) == set()


def test_rows_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    bodies = [put("MARKET_REGULATION", "SUPERVISION", "ORG", PLAN, "EVALUATION").row(), record.PROBE] * 2

    async def write() -> None:
        ledger = SqliteLedger.open(path, KEY)
        for body in bodies:
            await ledger.append(body)
        await ledger.aclose()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(write())
    loop.close()
    assert replay(read_rows(path), tables_of(BUNDLE)) == Replay(2, ())
    assert [each.position for each in replay(read_rows(path), Tables(without("R013"))).differences] == [1, 3]


SELF = """query($id: SubjectId!) { inquiry(purpose: SELF) { subject(id: $id) { ... on OperatingSubject {
  penalties { state } taxPayments { state } } } } }"""
PERSON = SELF.replace("... on OperatingSubject", "... on NaturalPerson")
AUDITING = """query($id: SubjectId!) { inquiry(purpose: AUDIT, evidence: {auditOrderNumber: "AO-1"}) {
  all: accessLog(from: "2020-01-01", until: "2099-01-01") { state }
  one: accessLog(from: "2020-01-01", until: "2099-01-01", subject: $id) { state } } }"""
COUNTING = """{ inquiry(purpose: STATISTICS, evidence: {studyNumber: "S-1", minimumCell: 10}) {
  statistics(category: PENALTY, kind: ORG, by: [CITY]) { state } } }"""
CONSENTED = """query($person: SubjectId!, $consent: String!) {
  inquiry(purpose: LOAN_PRECHECK, evidence: {applicationNumber: "SANDBOX-LOAN-42", queryReasonCode: "02",
    authorization: $consent, separateConsent: $consent}) {
    subject(id: $person) { ... on NaturalPerson { taxPayments { state } } } } }"""
SEARCHING = '{ inquiry(purpose: PUBLIC_VIEW) { search(name: "示例") { state } } }'


async def test_rows_of_a_running_service(sandbox: Sandbox, tmp_path: Path) -> None:
    async with gateway(sandbox, tmp_path) as client:
        await client.ask(
            BUREAU, BIDDER_CHECK, {"bidders": [{"id": {"creditCode": code}} for code in BIDDERS]}
        )
        authorization = await client.authorization({"credit_code": CLEAN})
        subject = {"creditCode": CLEAN}
        await client.ask(BANK, CREDIT_LOAN, {"subject": subject, "authorization": authorization})
        await client.ask(
            BANK, CREDIT_LOAN, {"subject": {"creditCode": PENALISED}, "authorization": authorization}
        )
        await client.ask(BANK, CREDIT_LOAN, {"subject": subject})
        await client.ask("subject-portal", SELF, {"id": {"creditCode": CLEAN}})
        await client.ask("public", SEARCHING)
        rejecting = SELF.replace("purpose: SELF", "purpose: SELF, onDenied: REJECT")
        assert (await client.post(BUREAU, rejecting, {"id": {"creditCode": CLEAN}})).status_code == 403
        await client.ask("credit-authority", AUDITING, {"id": subject})
        await client.ask("credit-authority", COUNTING)
        for name in (DEFAULTER["name"], "例他人"):
            person = DEFAULTER | {"name": name}
            consent = await client.authorization(
                {"resident_number": DEFAULTER["number"], "name": name}, consent="SEPARATE"
            )
            await client.ask(BANK, CONSENTED, {"person": {"resident": DEFAULTER}, "consent": consent})
            me = {"id": {"resident": person}}
            await client.ask("subject-portal", PERSON, me, persona="natural-person")
    rows = list(read_rows(tmp_path / "ledger.sqlite"))
    same = replay(rows, tables_of(EXAMPLE))
    assert (same.inquiries, same.differences) == (13, ())
    stricter = changed("R058", EXAMPLE, conditions=("APPLICATION", "AUTH_W", "AUTH_SEP"))
    found = replay(rows, Tables(stricter)).differences
    assert {(each.position, each.effect) for each in found} == {(2, Effect.REFUSED)}
    assert {each.after for each in found} == {"DENY_NO_AUTHORISATION (R058, AUTH_SEP)"}
    free = replay(rows, Tables(changed("R078", EXAMPLE, conditions=()))).differences
    assert {(each.position, each.effect) for each in free} == {(13, Effect.ALLOWED)}
    hidden = replay(rows, Tables(changed("R080", EXAMPLE, obligations=("HASHED",)))).differences
    assert [(each.position, each.category) for each in hidden] == [(6, SEARCH)]
    assert hidden[0].effect is Effect.REFUSED


async def test_rows_of_generated_inquiries(sandbox: Sandbox, tmp_path: Path) -> None:
    """Whatever is asked of the running service, each row tells its decision anew."""
    evidence = '(purpose: LICENSING, evidence: {matterCode: "M-1", caseNumber: "C-1"})'
    asking = [BUREAU, BANK, "credit-authority", BUREAU]
    async with gateway(sandbox, tmp_path) as client:
        for place, made in enumerate(operations(build_schema(EXAMPLE)._schema, range(80))):
            query = made.text.replace("(purpose: LICENSING)", evidence)
            body = {"query": query, "variables": made.variables, "operationName": made.name}
            headers = {"authorization": f"Bearer {await client.token(asking[place % 4])}"}
            await client.http.post(f"{client.url}/graphql", json=body, headers=headers)
    rows = list(read_rows(tmp_path / "ledger.sqlite"))
    found = replay(rows, tables_of(EXAMPLE))
    assert found.differences == ()
    assert found.inquiries > 30
    outcomes = {
        section["outcome"][:6]
        for _, body in rows
        for subject in json.loads(body)["subjects"]
        for section in subject["sections"]
    }
    assert {"PERMIT", "DENY_E", "DENY_P"} <= outcomes
