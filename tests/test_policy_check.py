"""The checker finds what is planted, in words; the shipped bundles are clean; a flipped rule is noticed."""

from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from policies.bundle import Audience, Bundle, CeilingException, Condition, Openness, Proof, Rule, RuleStatus
from policies.bundle_loading import load
from policies.check import CEILINGS, STATES, Finding, FindingKind, FindingSeverity, check, report
from policies.table import Cell, compile_table
from policies.vocabulary import Level, SubjectKind

BUNDLES = files("policies") / "bundles"
BUNDLE = load(BUNDLES / "example")
GOLDEN = Path(__file__).parent / "golden" / "matrix_rules.txt"
TODAY = date(2026, 11, 20)
ORG, IND, NP, GOV, NONE = SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP, SubjectKind.GOV, SubjectKind.NONE


def with_rule(id_: str, **changes: Any) -> Bundle:
    rule = msgspec.structs.replace(BUNDLE.rules[id_], **changes)
    return msgspec.structs.replace(BUNDLE, rules=BUNDLE.rules | {rule.id: rule})


def without_rules(*ids: str) -> Bundle:
    rules = {id_: rule for id_, rule in BUNDLE.rules.items() if id_ not in ids}
    return msgspec.structs.replace(BUNDLE, rules=rules)


def with_entry(table: str, code: Any, **changes: Any) -> Bundle:
    entries = getattr(BUNDLE, table)
    entry = msgspec.structs.replace(entries[code], **changes)
    return msgspec.structs.replace(BUNDLE, **{table: entries | {code: entry}})


def found(bundle: Bundle, kind: FindingKind, day: date = TODAY) -> list[Finding]:
    return [finding for finding in check(bundle, day) if finding.kind is kind]


def subjects(bundle: Bundle, kind: FindingKind, day: date = TODAY) -> list[tuple[str, ...]]:
    return [finding.subject for finding in found(bundle, kind, day)]


# The shipped bundles


def test_the_example_has_no_error_and_one_warning_that_stays_visible() -> None:
    (finding,) = check(BUNDLE, TODAY)
    assert (finding.kind, finding.severity) == ("PURPOSE_WITHOUT_EVIDENCE", FindingSeverity.WARNING)
    assert finding.subject == ("COUNTERPARTY", "R074")


def test_the_small_province_is_clean() -> None:
    assert check(load(BUNDLES / "small-province"), TODAY) == ()


def test_the_exceptions_to_the_ceiling_are_these_and_each_has_a_reason() -> None:
    exceptions = {e.rule: e.categories for e in BUNDLE.ceiling_exceptions}
    assert list(exceptions) == ["R003", "R052", "R053", "R077", "R078", "R079"]
    assert exceptions["R003"] == ("VOLUNTARY",)
    assert all(len(exception.reason) > 40 for exception in BUNDLE.ceiling_exceptions)


def test_without_its_exceptions_the_example_goes_above_the_ceiling_just_there() -> None:
    bundle = msgspec.structs.replace(BUNDLE, ceiling_exceptions=())
    above = {(rule, category) for rule, _, category in subjects(bundle, FindingKind.OVER_GRANT)}
    assert above == {(e.rule, category) for e in BUNDLE.ceiling_exceptions for category in e.categories}


def test_an_exception_that_nothing_needs_is_a_warning() -> None:
    idle = CeilingException(
        rule="R001", categories=("LICENCE",), level=Level.FULL, conditions=("MATTER",), reason="none"
    )
    bundle = msgspec.structs.replace(BUNDLE, ceiling_exceptions=(*BUNDLE.ceiling_exceptions, idle))
    (finding,) = found(bundle, FindingKind.UNUSED_EXCEPTION)
    assert (finding.subject, finding.severity) == (("R001", "LICENCE"), FindingSeverity.WARNING)


@pytest.mark.parametrize(
    ("rule", "changes", "category"),
    [
        ("R003", {"level": Level.FULL}, "VOLUNTARY"),
        ("R003", {"conditions": ("MATTER",)}, "VOLUNTARY"),
        ("R052", {"obligations": ("VISIBLE",)}, "EVALUATION"),
        ("R052", {"conditions": ()}, "EVALUATION"),
        ("R053", {"level": Level.SUMMARY}, "SERIOUS_LIST"),
        ("R077", {"conditions": ()}, "ARREARS"),
        ("R078", {"conditions": ("NOTICE",)}, "PENALTY"),
    ],
)
def test_an_exception_holds_for_the_rule_as_it_was_accepted(
    rule: str, changes: dict[str, Any], category: str
) -> None:
    bundle = with_rule(rule, **changes)
    assert category in {s[2] for s in subjects(bundle, FindingKind.OVER_GRANT) if s[0] == rule}
    assert (rule, category) in subjects(bundle, FindingKind.UNUSED_EXCEPTION)


# Floor


def test_a_statutory_purpose_that_lacks_what_it_obliges_is_a_gap() -> None:
    categories = tuple(c for c in BUNDLE.rules["R001"].categories[ORG] if c != "SERIOUS_LIST")
    bundle = with_rule("R001", categories={ORG: categories, IND: BUNDLE.rules["R001"].categories[IND]})
    (finding,) = found(bundle, FindingKind.GAP)
    assert finding.subject == ("LICENSING", "ORG", "SERIOUS_LIST")
    assert finding.severity is FindingSeverity.ERROR
    assert finding.counterexample == (
        "a MARKET_REGULATION that must look up SERIOUS_LIST of a ORG for LICENSING is refused"
        " (and 16 other caller types)"
    )


def test_a_gap_of_a_single_caller_is_found() -> None:
    bundle = with_rule("R026", callers=BUNDLE.rules["R026"].callers[:-1])
    gaps = subjects(bundle, FindingKind.GAP)
    assert ("FISCAL_SUPPORT", "ORG", "REG_ORG") in gaps
    assert all("CREDIT_AUTHORITY" in gap.counterexample for gap in found(bundle, FindingKind.GAP))


def test_a_floor_that_a_red_line_breaks_is_a_gap() -> None:
    line = msgspec.structs.replace(BUNDLE.red_lines["RL01"], kinds=(NP,), categories=("SERIOUS_LIST",))
    bundle = msgspec.structs.replace(BUNDLE, red_lines=BUNDLE.red_lines | {"RL01": line})
    assert ("PERSONNEL", "NP", "SERIOUS_LIST") in subjects(bundle, FindingKind.GAP)


def test_a_kind_that_nobody_reaches_is_a_gap() -> None:
    personnel = [id_ for id_, rule in BUNDLE.rules.items() if rule.purpose == "PERSONNEL"]
    gaps = found(without_rules(*personnel), FindingKind.GAP)
    assert {gap.subject[2] for gap in gaps} == {"REG_NP", "SERIOUS_LIST", "ENFORCE_DEFAULT"}
    assert all("no caller with this purpose reaches NP" in gap.counterexample for gap in gaps)


def test_a_statutory_purpose_without_a_floor_is_a_gap() -> None:
    bundle = with_entry("purposes", "AWARD", obliges={})
    assert subjects(bundle, FindingKind.GAP) == [("AWARD",)]


# Conflict


def test_two_rules_on_a_cell_on_one_day_conflict() -> None:
    last, first = date(2026, 6, 30), date(2026, 7, 1)
    successor = msgspec.structs.replace(BUNDLE.rules["R001"], id="R901", level=Level.HIT, valid_from=first)
    apart = with_rule("R001", valid_to=last)
    overlapping = with_rule("R001", valid_to=first)
    for bundle, expected in ((apart, []), (overlapping, [("R001", "R901")])):
        both = msgspec.structs.replace(bundle, rules=bundle.rules | {"R901": successor})
        assert subjects(both, FindingKind.CONFLICT, date(2026, 1, 1)) == expected
    (finding,) = found(both, FindingKind.CONFLICT, date(2026, 1, 1))
    assert "from 2026-07-01 on: one gives FULL, the other HIT" in finding.counterexample


# Ceiling


@pytest.mark.parametrize(
    ("rule", "changes", "subject"),
    [
        # SHARED: others than departments by authorization alone
        ("R058", {"conditions": ("APPLICATION",)}, ("R058", "ORG", "EVALUATION")),
        ("R074", {"categories": {ORG: ("ARREARS",)}}, ("R074", "ORG", "ARREARS")),
        # RESTRICTED
        ("R019", {"categories": {NP: ("ARREARS",)}, "conditions": ("OWN_FIELD",)}, ("R019", "NP", "ARREARS")),
        ("R033", {"conditions": ("NOTICE",)}, ("R033", "NP", "GOV_DISHONESTY")),
        # CONSENT
        ("R076", {"conditions": ()}, ("R076", "NP", "HONOUR")),
        ("R063", {"conditions": ("APPLICATION",)}, ("R063", "NP", "FINANCIAL_DB")),
        ("R083", {"conditions": ("TENDER",)}, ("R083", "ORG", "MARKET")),
        # CONSENT_SEPARATE: a written authorization is not enough
        ("R062", {"conditions": ("APPLICATION", "AUTH_W")}, ("R062", "NP", "TAX_PAYMENT")),
        # HIT
        ("R036", {"level": Level.SUMMARY}, ("R036", "NP", "SERIOUS_LIST")),
        ("R061", {"level": Level.FULL}, ("R061", "NP", "ENFORCE_DEFAULT")),
        ("R061", {"level": Level.PUBLIC}, ("R061", "NP", "ENFORCE_DEFAULT")),
        ("R040", {"conditions": ("CASE", "OWN_FIELD", "BASIS_DOC")}, ("R040", "NP", "SERIOUS_LIST")),
        # MATCH_ONLY
        ("R004", {"level": Level.HIT}, ("R004", "NP", "REG_NP")),
        ("R060", {"level": Level.FULL}, ("R060", "NP", "REG_NP")),
        # SUBJECT
        ("R050", {"conditions": ("CASE",)}, ("R050", "ORG", "ACCESS_LOG")),
        # FOLLOWS_RECORD: no record beside it
        ("R043", {"categories": {ORG: ("RIGHTS_STATE",)}}, ("R043", "ORG", "RIGHTS_STATE")),
        # no openness for this kind of subject
        ("R043", {"categories": {NP: ("ABNORMAL",)}}, ("R043", "NP", "ABNORMAL")),
        # rows where there is no subject
        ("R082", {"level": Level.FULL}, ("R082", "NONE", "REG_ORG")),
    ],
)
def test_a_grant_above_the_ceiling_is_found(
    rule: str, changes: dict[str, Any], subject: tuple[str, ...]
) -> None:
    over = [f for f in found(with_rule(rule, **changes), FindingKind.OVER_GRANT) if f.subject == subject]
    finding = over[0]  # of the first audience that gets it
    assert finding.severity is FindingSeverity.ERROR
    assert f"about a {subject[1]} gets {subject[2]} at " in finding.counterexample
    held = "AUTH_W" if "AUTH_W" in changes.get("conditions", BUNDLE.rules[rule].conditions) else None
    assert f"with {held or 'no authorization'}" in finding.counterexample


def test_what_is_prohibited_stays_so_even_without_its_red_line() -> None:
    rule = msgspec.structs.replace(
        BUNDLE.rules["R078"], id="R901", categories={NP: ("EVALUATION",)}, conditions=("SELF_ID",)
    )
    bundle = msgspec.structs.replace(BUNDLE, rules=BUNDLE.rules | {"R901": rule}, red_lines={})
    assert ("R901", "NP", "EVALUATION") in subjects(bundle, FindingKind.OVER_GRANT)


def test_every_openness_has_a_ceiling_with_a_reason_but_that_of_the_record() -> None:
    assert CEILINGS.keys() == set(Openness) - {Openness.FOLLOWS_RECORD}
    assert all(ceiling.reason for ceiling in CEILINGS.values())


def test_no_condition_narrows_the_ceiling_and_no_authorization_lifts_what_the_law_closes() -> None:
    assert STATES[0] == frozenset()
    for openness in (Openness.OPEN, Openness.PROHIBITED):
        assert not CEILINGS[openness].lifted_by
    for openness in (Openness.RESTRICTED, Openness.SUBJECT, Openness.MATCH_ONLY):
        assert not CEILINGS[openness].lifted_by & {"AUTH_W", "AUTH_SEP", "AUTH_PBOC"}


# Dead rules, bases, evidence


def test_a_rule_that_ended_is_dead() -> None:
    bundle = with_rule("R019", valid_to=date(2026, 11, 19))
    (finding,) = found(bundle, FindingKind.DEAD_RULE)
    assert (finding.subject, finding.counterexample) == (("R019",), "it ended on 2026-11-19")
    assert not found(bundle, FindingKind.DEAD_RULE, date(2026, 11, 19))


def test_a_rule_to_come_and_a_draft_are_not_dead() -> None:
    for bundle in (
        with_rule("R019", valid_from=date(2030, 1, 1)),
        with_rule("R019", status=RuleStatus.DRAFT),
    ):
        assert not found(bundle, FindingKind.DEAD_RULE)


def test_a_rule_behind_red_lines_is_dead() -> None:
    bundle = with_rule("R078", id="R901", categories={NP: ("UTILITY", "EVALUATION")})
    (finding,) = found(bundle, FindingKind.DEAD_RULE)
    assert (finding.subject, finding.counterexample) == (
        ("R901",),
        "every cell of it is forbidden by RL01, RL02",
    )


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("BATCH", {"evidence": ()}),
        ("MEASURE", {"evidence": ()}),
        ("AUTH_W", {"evidence": (("contract_id",),)}),
        ("CASE", {"proof": Proof.NONE, "evidence": ()}),
    ],
)
def test_a_rule_whose_condition_nobody_can_meet_is_dead(code: str, changes: dict[str, Any]) -> None:
    bundle = with_entry("conditions", code, **changes)
    demanding = {(rule.id, code) for rule in BUNDLE.rules.values() if code in rule.conditions}
    assert set(subjects(bundle, FindingKind.DEAD_RULE)) == demanding


def test_a_rule_without_a_basis_in_force_is_found() -> None:
    day = date(2025, 5, 31)
    repair = ("R088",)  # cites the repair measures of 2026 alone
    assert repair in subjects(BUNDLE, FindingKind.EXPIRED_BASIS, day)
    assert repair not in subjects(BUNDLE, FindingKind.EXPIRED_BASIS)
    assert ("R047",) not in subjects(BUNDLE, FindingKind.EXPIRED_BASIS, day)
    assert ("RL01",) in subjects(BUNDLE, FindingKind.EXPIRED_BASIS, day)
    bundle = with_entry("instruments", "O36", valid_to=date(2026, 10, 31))
    (finding,) = found(bundle, FindingKind.EXPIRED_BASIS)
    assert finding.subject == repair
    assert "O36 from 2026-04-01 to 2026-10-31" in finding.counterexample


def test_one_basis_in_force_is_enough() -> None:
    bundle = with_entry("instruments", "SH", valid_to=date(2020, 1, 1))
    assert not found(bundle, FindingKind.EXPIRED_BASIS)


def test_a_purpose_that_asks_for_evidence_must_get_it() -> None:
    bundle = with_rule("R013", conditions=())
    findings = {f.subject: f for f in found(bundle, FindingKind.PURPOSE_WITHOUT_EVIDENCE)}
    assert findings["SUPERVISION", "R013"].severity is FindingSeverity.ERROR
    assert "on its bare word; the purpose asks for inspection plan no. or case no." in (
        findings["SUPERVISION", "R013"].counterexample
    )
    assert not any(purpose == "PUBLIC_VIEW" for purpose, _ in findings)


def test_a_purpose_or_category_without_rule_is_found() -> None:
    audit = [id_ for id_, rule in BUNDLE.rules.items() if rule.purpose == "AUDIT"]
    assert subjects(without_rules(*audit), FindingKind.PURPOSE_WITHOUT_RULE) == [("AUDIT",)]
    drafts = msgspec.structs.replace(
        BUNDLE,
        rules=BUNDLE.rules
        | {id_: msgspec.structs.replace(BUNDLE.rules[id_], status=RuleStatus.DRAFT) for id_ in audit},
    )
    assert subjects(drafts, FindingKind.PURPOSE_WITHOUT_RULE) == [("AUDIT",)]
    nowhere = msgspec.structs.replace(
        BUNDLE,
        categories=BUNDLE.categories | {"X": msgspec.structs.replace(BUNDLE.categories["IP"], code="X")},
    )
    (finding,) = found(nowhere, FindingKind.CATEGORY_WITHOUT_RULE)
    assert (finding.subject, finding.severity) == (("X",), FindingSeverity.WARNING)


def test_a_category_needs_an_owner() -> None:
    bundle = with_entry("categories", "IP", source_note=" ")
    assert subjects(bundle, FindingKind.CATEGORY_WITHOUT_OWNER) == [("IP",)]


def test_unused_words_are_warnings() -> None:
    spare: Condition = msgspec.structs.replace(BUNDLE.conditions["CASE"], code="SPARE")
    bundle = msgspec.structs.replace(
        BUNDLE, conditions=BUNDLE.conditions | {"SPARE": spare}, unused_groups=("@IDLE",)
    )
    for kind, code in ((FindingKind.UNUSED_CONDITION, "SPARE"), (FindingKind.UNUSED_GROUP, "@IDLE")):
        (finding,) = found(bundle, kind)
        assert (finding.subject, finding.severity) == ((code,), FindingSeverity.WARNING)


def test_errors_stand_first_and_the_report_counts_them() -> None:
    bundle = msgspec.structs.replace(with_rule("R013", conditions=()), unused_groups=("@IDLE",))
    findings = check(bundle, TODAY)
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities)
    lines = report(findings).splitlines()
    errors = severities.count(FindingSeverity.ERROR)
    assert lines[-1] == f"{errors} errors, {len(severities) - errors} warnings"
    assert lines[0].startswith("ERROR ")
    assert "WARNING UNUSED_GROUP @IDLE: no rule, red line or quota names @IDLE" in lines
    assert report(()) == "0 errors, 0 warnings"


def test_the_order_of_rules_does_not_matter() -> None:
    backwards = msgspec.structs.replace(BUNDLE, rules=dict(reversed(BUNDLE.rules.items())))
    assert set(check(backwards, TODAY)) == set(check(BUNDLE, TODAY))
    one, other = compile_table(BUNDLE, TODAY), compile_table(backwards, TODAY)
    for place in product(BUNDLE.callers, BUNDLE.purposes, SubjectKind, BUNDLE.categories):
        assert one.cell(*place) == other.cell(*place)


# A flipped rule is noticed: the table no longer is what was written down of it

Written = dict[tuple[str, SubjectKind, str, str], tuple[str, frozenset[str]]]
"""By caller type, kind, category and purpose: the level and all conditions."""


def golden() -> dict[str, Written]:
    """The cells that were written down, by purpose."""
    groups: dict[str, list[str]] = {}
    cells: dict[str, Written] = {}
    for line in GOLDEN.read_text("utf-8").splitlines():
        if line.startswith("@"):
            name, _, members = line.partition(" = ")
            groups[name] = members.split()
        elif line and not line.startswith("#"):
            purpose, kind, level, conditions, callers, categories = line.split(" | ")
            for word, category in product(callers.split(), categories.split()):
                for caller in groups.get(word, [word]):
                    key = (caller, SubjectKind(kind), category, purpose)
                    cells.setdefault(purpose, {})[key] = (level, frozenset(conditions.split()))
    return cells


WRITTEN = golden()


def compiled(rules: dict[str, Rule], purpose: str) -> Written:
    """The cells of a purpose, as the table has them."""
    bundle = msgspec.structs.replace(
        BUNDLE, rules=rules, purposes={purpose: BUNDLE.purposes[purpose]}, red_lines={}
    )
    table = compile_table(bundle, TODAY)
    cells: Written = {}
    for caller, kind, category in product(BUNDLE.callers, SubjectKind, BUNDLE.categories):
        cell = table.cell(caller, purpose, kind, category)
        if isinstance(cell, Cell):
            codes = {*cell.rule.conditions, *cell.rule.obligations}
            cells[caller, kind, category, purpose] = (cell.level.value, frozenset(codes))
    return cells


def flips(rule: Rule) -> Iterator[tuple[str, Rule | None]]:
    """Every way to flip a rule a little."""
    yield "removed", None
    yield "draft", msgspec.structs.replace(rule, status=RuleStatus.DRAFT)
    yield "ended", msgspec.structs.replace(rule, valid_to=date(2026, 11, 19))
    yield "not yet", msgspec.structs.replace(rule, valid_from=date(2026, 11, 21))
    for level in Level:
        if level is not rule.level:
            yield f"level {level}", msgspec.structs.replace(rule, level=level)
    for code in {*rule.conditions, *rule.obligations}:
        yield (
            f"without {code}",
            msgspec.structs.replace(
                rule,
                conditions=tuple(c for c in rule.conditions if c != code),
                obligations=tuple(c for c in rule.obligations if c != code),
            ),
        )
    has = {caller for caller, *_ in WRITTEN[rule.purpose]}
    stranger = next((caller for caller in BUNDLE.callers if caller not in has), None)
    if stranger is not None:
        yield f"also {stranger}", msgspec.structs.replace(rule, callers=(*rule.callers, stranger))
    yield f"not {rule.callers[0]}", msgspec.structs.replace(rule, callers=rule.callers[1:])
    for kind, categories in rule.categories.items():
        less = rule.categories | {kind: categories[1:]}
        yield f"not {kind} {categories[0]}", msgspec.structs.replace(rule, categories=less)


def test_the_table_is_what_was_written_down() -> None:
    assert WRITTEN.keys() == BUNDLE.purposes.keys()
    for purpose, cells in WRITTEN.items():
        rules = {id_: rule for id_, rule in BUNDLE.rules.items() if rule.purpose == purpose}
        assert compiled(rules, purpose) == cells


def test_every_flip_of_every_rule_is_noticed() -> None:
    for rule in BUNDLE.rules.values():
        others = {
            id_: other
            for id_, other in BUNDLE.rules.items()
            if other.purpose == rule.purpose and id_ != rule.id
        }
        for name, flipped in flips(rule):
            rules = others | ({rule.id: flipped} if flipped else {})
            assert compiled(rules, rule.purpose) != WRITTEN[rule.purpose], (rule.id, name)


def test_audiences_of_the_ceiling_are_those_of_the_callers() -> None:
    departments = {c.code for c in BUNDLE.callers.values() if c.audience is Audience.DEPARTMENT}
    assert departments == {c.code for c in BUNDLE.callers.values() if c.department}
