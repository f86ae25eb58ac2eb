"""The compiled table, the decision, a slow reading of the files and Cedar agree on every cell.

A cell is a caller type, a purpose, a kind of subject and a category. The table is compared with the slow reading
on all of them; the decision and Cedar on every distinct one in many situations, and with PROOF=all in the
environment on all of them in every state of authorization.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from datetime import date
from functools import cached_property
from importlib.resources import files
from itertools import islice, product
from typing import Any

import cedarpy
import msgspec
import pytest
from cedar_export import CedarExport
from interpreter import LEVELS_OF_RECORDS, Interpreter, Situation, Verdict

from policies.authorization import Authorization
from policies.bundle import RedLine
from policies.bundle_loading import load
from policies.caller import Caller, Identity
from policies.check import STATES
from policies.decision import CONSENT_OF, Granted, Possible, Question, close, decide
from policies.evidence import Evidence, Stage
from policies.identifiers import RESIDENT, IdentifierError, SubjectKey, credit_code, resident
from policies.outcomes import Denied
from policies.proofs import CHECKS, Findings
from policies.registers import Entry
from policies.table import Cell, compile_table
from policies.vocabulary import SubjectKind

BUNDLES = files("policies") / "bundles"
TODAY = date(2026, 11, 20)
NOW = 1_795_000_000
UNIT = "11990000FAKE000483"
SUBJECTS = {
    "ORG": credit_code("91990100FAKE00013D"),
    "IND": credit_code("92990105FAKE00021D"),
    "GOV": credit_code("11990000FAKE000483"),
    "NP": resident("990105199912319987", "张三", today=TODAY),
}


def completed(read: Callable[[str], SubjectKey], body: str) -> SubjectKey:
    """The identifier that begins so, with the check character that fits."""
    for check in "0123456789ABCDEFGHJKLMNPQRTUWXY":
        with contextlib.suppress(IdentifierError):
            return read(body + check)
    raise AssertionError(body)


REAL_SUBJECTS = {
    "ORG": completed(credit_code, "91140105FAKE00013"),
    "IND": completed(credit_code, "92140105FAKE00021"),
    "GOV": completed(credit_code, "11140000FAKE00048"),
    "NP": completed(lambda number: resident(number, "张三", today=TODAY), "14010519991231998"),
}
ALL_FIELDS = (1 << 64) - 1

GIVEN: dict[str, Any] = {
    "matter_code": "M-01",
    "case_number": "C-1",
    "commitment_number": "CN-1",
    "inspection_plan_number": "P-1",
    "project_number": "T-1",
    "stage": "REVIEW",
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
    "instrument": "PIPL",
    "article": "28",
    "measure_id": "I1",
    "mandate": "a.mandate.jws",
    "approval_id": "DU-1",
    "role": "manager",
    "organisation_code": "91990100FAKE00013D",
    "register_number": "K-1",
}
ALL_GIVEN = frozenset(GIVEN)
COVERED = frozenset({*GIVEN["record_ids"], *(value for value in GIVEN.values() if isinstance(value, str))})
"""What the entries of registers extend to: every code that is given."""
ARTEFACTS = frozenset(CONSENT_OF)
FIELD_OF = {"AUTH_W": "authorization", "AUTH_SEP": "separate_consent", "AUTH_PBOC": "pboc_consent_id"}

EVERYTHING = Situation(given=ALL_GIVEN, genuine=ARTEFACTS, stage="REVIEW", instrument="PIPL", measure="I1")


def without(situation: Situation, *fields: str) -> Situation:
    return dataclasses.replace(
        situation,
        given=situation.given - {*fields},
        stage="" if "stage" in fields else situation.stage,
        instrument="" if "instrument" in fields else situation.instrument,
        measure="" if "measure_id" in fields else situation.measure,
    )


def in_state(state: frozenset[str]) -> Situation:
    """All evidence, and of the authorizations these."""
    return without(EVERYTHING, *(field for code, field in FIELD_OF.items() if code not in state))


AUTHORIZATION_STATES = [in_state(state) for state in STATES]
SITUATIONS = [
    Situation(),
    EVERYTHING,
    dataclasses.replace(EVERYTHING, stage="FINAL"),
    *(without(EVERYTHING, field) for field in GIVEN),
    *(dataclasses.replace(EVERYTHING, genuine=ARTEFACTS - {field}) for field in ARTEFACTS),
    dataclasses.replace(Situation(), is_self=True),
    dataclasses.replace(EVERYTHING, is_self=True),
    dataclasses.replace(EVERYTHING, subjects=2),
    dataclasses.replace(EVERYTHING, subject_is_synthetic=False),
    *(dataclasses.replace(EVERYTHING, instrument=code) for code in ("DESIGN", "NO-SUCH-LAW")),
    dataclasses.replace(EVERYTHING, measure="Z99"),
    dataclasses.replace(EVERYTHING, registered=False),
    dataclasses.replace(EVERYTHING, registered=False, genuine=frozenset()),
    dataclasses.replace(EVERYTHING, registered=False, stage="FINAL"),
    *AUTHORIZATION_STATES,
]

Place = tuple[str, str, str, str]
"""Caller type, purpose, kind and category."""


class Proof:
    """One bundle as the product compiles it, as it is read slowly, and as Cedar has it."""

    def __init__(self, name: str) -> None:
        self.bundle = load(BUNDLES / name)
        self.table = compile_table(self.bundle, TODAY)
        self.interpreter = Interpreter(BUNDLES / name, BUNDLES / "national", TODAY)
        self.export = CedarExport(BUNDLES / name, BUNDLES / "national", TODAY)

    @cached_property
    def _policies(self) -> cedarpy.PolicySet:
        return cedarpy.PolicySet.from_str(self.export.policies())

    @cached_property
    def _entities(self) -> cedarpy.Entities:
        return cedarpy.Entities.from_json_str(self.export.entities())

    def places(self) -> Iterator[Place]:
        """Every cell, by the codes that the files name."""
        read = self.interpreter
        return product(read.callers, read.purposes, ("ORG", "IND", "NP", "GOV", "NONE"), read.categories)

    def compiled(self, place: Place) -> Cell | RedLine | None:
        caller, purpose, kind, category = place
        return self.table.cell(caller, purpose, SubjectKind(kind), category)

    @cached_property
    def distinct(self) -> list[Place]:
        """One cell for each way in which cells differ: what is compiled for it, and what the files say of it."""
        found: dict[Any, Place] = {}
        for place in self.places():
            caller, purpose, kind, _ = place
            law = self.interpreter.law_of(*place) or self.interpreter.why_no_rule(caller, purpose, kind)
            found.setdefault((id(self.compiled(place)), law, caller == "AGENT"), place)
        return list(found.values())

    # The three answers to one question

    def slowly(self, place: Place, situation: Situation) -> Verdict:
        return self.interpreter.answer(*place, situation)

    def decided(self, place: Place, situation: Situation) -> Verdict:
        caller, purpose, kind, category = place
        subject = subject_of(kind, situation)
        question = Question(
            purpose=purpose,
            subject=subject,
            evidence=evidence_of(situation),
            sections={category: ALL_FIELDS},
            subjects_in_operation=situation.subjects,
        )
        asking = Caller(
            unit=UNIT,
            unit_name="示例单位",
            type=caller,
            level=None,
            division=None,
            purposes=frozenset(self.bundle.purposes),
            categories=None,
            officer="an officer",
            identity=identity_of(subject) if situation.is_self else None,
            synthetic_only=False,
            client="client",
            token_id="token",
            expires=NOW + 600,
        )
        settled = decide(self.table, asking, question)[category]
        if isinstance(settled, Possible):
            artefacts = artefacts_of(subject, situation, question)
            findings = findings_of(subject, situation, question.evidence)
            return told(close(self.table, asking, question, settled, artefacts, NOW, findings))
        return told(settled)

    def by_cedar(self, asked: list[tuple[Place, Situation]]) -> Iterator[str]:
        """The rule by which Cedar permits each question; "" where it denies."""
        pending = iter(asked)
        while some := list(islice(pending, 20_000)):
            requests = [cedar_request(place, situation) for place, situation in some]
            for result in cedarpy.is_authorized_batch(requests, self._policies, self._entities):
                assert not result.diagnostics.errors
                rules = list(result.diagnostics.id_annotations_by_reason.values())
                assert len(rules) <= 1 or not result.allowed
                yield rules[0] if result.allowed else ""


def told(decision: Granted | Denied) -> Verdict:
    if isinstance(decision, Denied):
        return Verdict(decision.code, decision.rule or "", decision.condition or "")
    return Verdict(decision.cell.level, decision.cell.rule.id)


def subject_of(kind: str, situation: Situation) -> SubjectKey:
    return SUBJECTS[kind] if situation.subject_is_synthetic else REAL_SUBJECTS[kind]


def identity_of(subject: SubjectKey) -> Identity:
    if subject.scheme == RESIDENT:
        return Identity(resident_number=subject.value, name=subject.name)
    return Identity(credit_code=subject.value)


def evidence_of(situation: Situation) -> Evidence:
    values = {field: GIVEN[field] for field in situation.given}
    if situation.stage:
        values["stage"] = Stage(situation.stage)
    if situation.instrument:
        values["instrument"] = situation.instrument
    if situation.measure:
        values["measure_id"] = situation.measure
    return Evidence(**values)


def artefacts_of(
    subject: SubjectKey, situation: Situation, question: Question
) -> dict[str, Authorization | str]:
    return {
        field: Authorization(
            issuer="issuer",
            authorization_id=f"{field}-1",
            issued_at=NOW - 60,
            not_before=NOW - 60,
            expires=NOW + 60,
            subject=(subject.scheme, subject.value),  # type: ignore[arg-type]  # none is a registration number
            subject_name=subject.name,
            grantee=UNIT,
            purposes=frozenset({question.purpose}),
            categories=frozenset(question.sections),
            consent=consent,
        )
        if field in situation.genuine
        else "its signature does not fit"
        for field, consent in CONSENT_OF.items()
    }


def findings_of(subject: SubjectKey, situation: Situation, evidence: Evidence) -> Findings:
    """Entries that bear out whatever was given, or registers that hold nothing of it."""
    asked = {reference for check in CHECKS.values() for reference in check.references(evidence)}
    if not situation.registered:
        return Findings(TODAY, dict.fromkeys(asked))
    of = subject.hash_input
    entries = {
        reference: Entry(
            reference=reference,
            open=True,
            units=frozenset({UNIT}),
            stage=situation.stage or None,
            kind=GIVEN["document_type"],
            approver="another officer",
            subjects=frozenset({of}),
            roles=frozenset({(of, GIVEN["role"]), (of, GIVEN["notified_on"].isoformat())}),
            covers=COVERED,
        )
        for reference in asked
    }
    return Findings(TODAY, entries)


def cedar_request(place: Place, situation: Situation) -> dict[str, Any]:
    caller, purpose, kind, category = place
    return {
        "principal": f'Caller::"{caller}"',
        "action": f'Action::"{purpose}"',
        "resource": f'Record::"{kind}/{category}"',
        "context": {
            "given": sorted(situation.given),
            "genuine": sorted(situation.genuine & situation.given),
            "stage": situation.stage,
            "instrument": situation.instrument,
            "measure": situation.measure,
            "isSelf": situation.is_self,
            "synthetic": situation.subject_is_synthetic,
            "subjects": situation.subjects,
            "registered": situation.registered,
        },
    }


NAMES = ("example", "small-province")


@pytest.fixture(scope="module", params=NAMES)
def proof(request: pytest.FixtureRequest) -> Proof:
    return Proof(request.param)


def test_the_table_is_what_the_files_say_on_every_cell(proof: Proof) -> None:
    count = 0
    for place in proof.places():
        compiled = proof.compiled(place)
        law = compiled.rule.id if isinstance(compiled, Cell) else compiled.id if compiled else ""
        assert law == proof.interpreter.law_of(*place), place
        count += 1
    assert count == len(proof.table.index)


def test_the_table_gives_the_level_and_conditions_that_the_files_name(proof: Proof) -> None:
    written = {rule["id"]: rule for rule in proof.interpreter.rules}
    for place in proof.distinct:
        compiled = proof.compiled(place)
        if isinstance(compiled, Cell):
            rule = written[compiled.rule.id]
            codes = {*compiled.rule.conditions, *compiled.rule.obligations}
            assert (compiled.level, codes) == (rule["level"], set(rule["conditions"])), place


def questions(proof: Proof) -> Iterator[tuple[Place, Situation]]:
    """Every distinct cell in every situation; with PROOF=all every cell, too, in every state of authorization."""
    yield from product(proof.distinct, SITUATIONS)
    if os.environ.get("PROOF") == "all":
        yield from product(proof.places(), AUTHORIZATION_STATES)


def agree_or_say_where(proof: Proof, asked: list[tuple[Place, Situation]]) -> None:
    for (place, situation), permitted in zip(asked, proof.by_cedar(asked), strict=True):
        slow = proof.slowly(place, situation)
        # Browsing without a subject is decided by the table alone: no question can be put.
        if place[2] != "NONE":
            assert proof.decided(place, situation) == slow, (place, situation)
        granted = slow.outcome in LEVELS_OF_RECORDS
        of_another_shape = slow.outcome == "DENY_PURPOSE" and slow.rule and not slow.condition
        if not of_another_shape:
            assert permitted == (slow.rule if granted else ""), (place, situation)
        elif situation is EVERYTHING:
            assert permitted == slow.rule, (place, situation)


@pytest.mark.timeout(3600)
def test_decision_slow_reading_and_cedar_agree(proof: Proof) -> None:
    pending = questions(proof)
    while some := list(islice(pending, 20_000)):
        agree_or_say_where(proof, some)


def planted_in_the_table(proof: Proof) -> None:
    rule = proof.bundle.rules["P005"]
    weaker = msgspec.structs.replace(rule, conditions=())
    rules = proof.bundle.rules | {rule.id: weaker}
    proof.table = compile_table(msgspec.structs.replace(proof.bundle, rules=rules), TODAY)


def planted_in_the_reading(proof: Proof) -> None:
    proof.interpreter.rules[4]["level"] = "FULL"


def planted_in_a_group_of_cedar(proof: Proof) -> None:
    proof.export.files["province/callers.toml"]["group"][0]["members"].append("COURT")


def planted_in_a_condition_of_cedar(proof: Proof) -> None:
    proof.export.files["province/rules.toml"]["rule"][13]["conditions"].remove("AUTH_W")


def planted_in_a_red_line_of_cedar(proof: Proof) -> None:
    line = proof.export.files["nation/red_lines.toml"]["red_line"][0]
    line["kinds"], line["categories"] = ["ORG"], ["PENALTY"]


@pytest.mark.parametrize(
    "plant",
    [
        planted_in_the_table,
        planted_in_the_reading,
        planted_in_a_group_of_cedar,
        planted_in_a_condition_of_cedar,
        planted_in_a_red_line_of_cedar,
    ],
)
def test_a_difference_in_one_of_the_three_is_noticed(plant: Callable[[Proof], None]) -> None:
    proof = Proof("small-province")
    plant(proof)
    asked = list(product(proof.places(), [Situation(), *AUTHORIZATION_STATES]))
    with pytest.raises(AssertionError):
        agree_or_say_where(proof, asked)


def test_every_rule_gives_something_in_some_situation(proof: Proof) -> None:
    """The agreement is about grants too: each rule that shows records is met by some of the situations."""
    met = {
        verdict.rule
        for place, situation in product(proof.distinct, SITUATIONS)
        if (verdict := proof.slowly(place, situation)).outcome in LEVELS_OF_RECORDS
    }
    showing = {rule["id"] for rule in proof.interpreter.rules if rule["level"] in LEVELS_OF_RECORDS}
    assert met == showing
