"""What a new bundle changes: every kind of change in words, and nothing that widens goes unseen."""

from collections.abc import Callable
from datetime import date
from importlib.resources import files
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.bundle import Audience, Bundle, Proof, Publication, RuleStatus, Treatment
from policies.bundle_loading import load
from policies.difference import Change, Effect, compare, needing_approval, text
from policies.table import Cell, compile_table
from policies.vocabulary import Level, Mask, Severity, SubjectKind

EXAMPLE = load(files("policies") / "bundles" / "example")
BUNDLE = msgspec.structs.replace(EXAMPLE, declared_is_enough=frozenset({"CASE"}))
"""The example, where for one condition to declare is enough."""
TODAY = date(2026, 11, 20)
ORG, IND, NP = SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP


def with_parts(bundle: Bundle = BUNDLE, /, **parts: Any) -> Bundle:
    return msgspec.structs.replace(bundle, **parts)


def with_rule(code: str, bundle: Bundle = BUNDLE, **values: Any) -> Bundle:
    rule = msgspec.structs.replace(bundle.rules[code], **values)
    return with_parts(bundle, rules=bundle.rules | {rule.id: rule})


def with_entry(part: str, code: Any, **values: Any) -> Bundle:
    entries = getattr(BUNDLE, part)
    return with_parts(BUNDLE, **{part: entries | {code: msgspec.structs.replace(entries[code], **values)}})


def without(part: str, code: Any) -> Bundle:
    return with_parts(
        BUNDLE, **{part: {key: entry for key, entry in getattr(BUNDLE, part).items() if key != code}}
    )


def lines(new: Bundle, old: Bundle = BUNDLE) -> list[str]:
    return [f"{change.effect} {change.sentence}" for change in compare(old, new, TODAY)]


def red_line(**values: Any) -> Bundle:
    line = msgspec.structs.replace(BUNDLE.red_lines["RL01"], id="RL09", **values)
    return with_parts(red_lines=BUNDLE.red_lines | {"RL09": line})


def a_new_rule(**values: Any) -> Bundle:
    given_now = {
        "id": "R101",
        "callers": ("MARKET_REGULATION",),
        "categories": {ORG: ("VOLUNTARY",)},
        "level": Level.SUMMARY,
    }
    return with_rule("R012", **(given_now | values))


def of_periods(severity: Severity, **values: Any) -> Bundle:
    return with_parts(
        periods=tuple(
            msgspec.structs.replace(period, **values)
            if period.severity is severity and period.valid_to is None
            else period
            for period in BUNDLE.periods
        )
    )


HEAD = "COURT, PROCURATORATE for JUDICIAL of organisations, individual businesses: "
JUDICIAL = (
    "REG_ORG, LICENCE, PENALTY, COMPULSION, JUDGMENT, ENFORCE_DEFAULT, ABNORMAL, SERIOUS_LIST, CONTRACT, IP"
)
JUDICIAL_WHAT = f"{HEAD}{JUDICIAL}"
PERSON = "COURT, PROCURATORATE for JUDICIAL of natural persons: "
PERSON_WHAT = "PENALTY, JUDGMENT, ENFORCE_DEFAULT, SERIOUS_LIST"


CHANGES: list[tuple[str, Bundle, list[str]]] = [
    (
        "a new cell",
        a_new_rule(),
        [
            "WIDENS MARKET_REGULATION for SUPERVISION of organisations: VOLUNTARY nothing → SUMMARY (R101)"
        ],
    ),
    (
        "a cell to come",
        a_new_rule(valid_from=date(2027, 1, 1), valid_to=date(2027, 6, 30)),
        [
            "WIDENS from 2027-01-01 to 2027-06-30: MARKET_REGULATION for SUPERVISION of organisations:"
            " VOLUNTARY nothing → SUMMARY (R101)"
        ],
    ),
    ("a draft", a_new_rule(status=RuleStatus.DRAFT), []),
    ("a rule that was over", a_new_rule(valid_to=date(2026, 11, 19)), []),
    (
        "validity cut",
        with_rule("R055", valid_to=date(2027, 12, 31)),
        [f"NARROWS from 2028-01-01: {PERSON}REG_NP MATCH (R055) → nothing"],
    ),
    (
        "a higher level",
        with_rule("R055", level=Level.FULL),
        [f"WIDENS {PERSON}REG_NP MATCH (R055) → FULL (R055)"],
    ),
    (
        "a lower level",
        with_rule("R056", level=Level.SUMMARY),
        [f"NARROWS {PERSON}{PERSON_WHAT} FULL (R056) → SUMMARY (R056)"],
    ),
    (
        "a condition dropped",
        with_rule("R056", conditions=("CASE",)),
        [f"WIDENS {PERSON}{PERSON_WHAT} FULL (R056) → FULL (R056), without the condition LAW_NAMED"],
    ),
    (
        "a condition added",
        with_rule("R056", conditions=("CASE", "LAW_NAMED", "DUAL")),
        [f"NARROWS {PERSON}{PERSON_WHAT} FULL (R056) → FULL (R056), with the condition DUAL"],
    ),
    (
        "one condition for another",
        with_rule("R056", conditions=("CASE", "DUAL")),
        [
            f"CHANGES {PERSON}{PERSON_WHAT} FULL (R056) → FULL (R056), without the condition LAW_NAMED,"
            " with the condition DUAL"
        ],
    ),
    (
        "an obligation added",
        with_rule("R054", obligations=("VISIBLE",)),
        [f"NARROWS {JUDICIAL_WHAT} FULL (R054) → FULL (R054), with the obligation VISIBLE"],
    ),
    (
        "more for less",
        with_rule("R055", level=Level.FULL, conditions=("CASE", "DUAL")),
        [f"CHANGES {PERSON}REG_NP MATCH (R055) → FULL (R055), with the condition DUAL"],
    ),
    (
        "another shape",
        with_rule("R055", level=Level.AGGREGATE),
        [f"CHANGES {PERSON}REG_NP MATCH (R055) → AGGREGATE (R055)"],
    ),
    ("another name, basis and case", with_parts(rules={
        ("R955" if code == "R055" else code): msgspec.structs.replace(rule, id="R955", basis=rule.basis[:1])
        if code == "R055" else rule
        for code, rule in BUNDLE.rules.items()
    }), []),
    (
        "a red line over a rule",
        red_line(kinds=(NP,), categories=("REG_NP",), callers=("COURT",), purposes=("JUDICIAL",)),
        ["NARROWS COURT for JUDICIAL of natural persons: REG_NP MATCH (R055) → forbidden (RL09)"],
    ),
    (
        "a red line over nothing",
        red_line(kinds=(NP,), categories=("UTILITY", "HONOUR"), callers=("COURT",), purposes=("JUDICIAL",)),
        ["NARROWS COURT for JUDICIAL of natural persons: HONOUR nothing → forbidden (RL09)"],
    ),
    (
        "a red line gone",
        without("red_lines", "RL02"),
        ["WIDENS every caller for every purpose of natural persons: UTILITY forbidden (RL02) → nothing"],
    ),
    (
        "evidence that is enough by itself",
        with_entry("conditions", "MATTER", evidence=(("matter_code",),)),
        ["WIDENS condition MATTER: evidence matter_code and case_number → matter_code"],
    ),
    (
        "evidence no longer enough",
        with_entry("conditions", "PLAN", evidence=(("inspection_plan_number",),)),
        ["NARROWS condition PLAN: evidence inspection_plan_number or case_number → inspection_plan_number"],
    ),
    (
        "other evidence",
        with_entry("conditions", "CASE", evidence=(("matter_code",),)),
        ["CHANGES condition CASE: evidence case_number → matter_code"],
    ),
    (
        "another proof",
        with_entry("conditions", "CASE", proof=Proof.NONE),
        ["CHANGES condition CASE: proved by none instead of register"],
    ),
    (
        "a condition that a search can meet",
        with_entry("conditions", "BIDDER", about_subject=False),
        ["WIDENS condition BIDDER: a search by name can meet it"],
    ),
    ("other words", with_entry("conditions", "BIDDER", english="x", remedy="y", register="z"), []),
    (
        "a register that is asked",
        with_parts(declared_is_enough=BUNDLE.declared_is_enough - {"CASE"}),
        ["NARROWS condition CASE: its register is asked, to declare is not enough"],
    ),
    (
        "a law gone",
        with_entry("instruments", "SX", valid_to=date(2026, 12, 31)),
        ["NARROWS from 2027-01-01: instrument SX may not be named as the law"],
    ),
    ("a measure gone", without("measures", "S4"), [f"NARROWS measure S4 is off the list: {BUNDLE.measures['S4'].english}"]),
    (
        "longer publication",
        of_periods(Severity.GENERAL, publication_maximum_months=24),
        ["WIDENS records of degree GENERAL: published at most 12 months → 24 months"],
    ),
    (
        "shorter answers, counted otherwise",
        of_periods(Severity.SERIOUS, inquiry_months=36, counts_from="decision"),
        [
            "CHANGES records of degree SERIOUS: answered for 60 months → 36 months,"
            " counted from end of conduct → decision"
        ],
    ),
    (
        "a category published",
        with_entry("categories", "REG_NP", publication=Publication.LONG_TERM),
        ["WIDENS category REG_NP: published NONE → LONG_TERM"],
    ),
    (
        "a category no longer published",
        with_entry("categories", "REG_ORG", publication=Publication.NONE),
        ["NARROWS category REG_ORG: published LONG_TERM → NONE"],
    ),
    (
        "a category published otherwise",
        with_entry("categories", "REG_ORG", publication=Publication.TERM),
        ["CHANGES category REG_ORG: published LONG_TERM → TERM"],
    ),
    (
        "a limit where there was none",
        with_entry("categories", "REG_ORG", inquiry_months=12),
        ["NARROWS category REG_ORG: answered for without limit → 12 months"],
    ),
    (
        "no longer stored",
        with_entry("categories", "REG_ORG", never_stored=True),
        ["NARROWS category REG_ORG: is never stored"],
    ),
    (
        "a quota where there was none",
        with_parts(quotas=BUNDLE.quotas | {("COURT", "JUDICIAL"): 5, ("PROCURATORATE", "JUDICIAL"): 5}),
        ["NARROWS quota of COURT, PROCURATORATE for JUDICIAL: none → 5 subjects a day"],
    ),
    (
        "a caller that moves to the subject's audience",
        with_entry("callers", "AGENT", audience=Audience.PUBLIC),
        [
            "NARROWS mask PERSON_NAME of organisations, individual businesses, natural persons, government bodies"
            " for AGENT: KEEP → DROP_UNLESS_PUBLISHED",
            "NARROWS mask ADDRESS of individual businesses, natural persons for AGENT: KEEP → COUNTY",
            "NARROWS mask AMOUNT of organisations, individual businesses, natural persons, government bodies"
            " for AGENT: KEEP → DROP",
        ],
    ),
]  # fmt: skip

OTHER_WAY = {"WIDENS": "NARROWS", "NARROWS": "WIDENS", "CHANGES": "CHANGES"}


@pytest.mark.parametrize(
    ("new", "expected"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
def test_a_change_in_words(new: Bundle, expected: list[str]) -> None:
    assert lines(new) == expected


@pytest.mark.parametrize(
    ("new", "expected"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
def test_undoing_it_has_the_opposite_effect(new: Bundle, expected: list[str]) -> None:
    found = [line.split()[0] for line in lines(BUNDLE, new)]
    assert sorted(found) == sorted(OTHER_WAY[line.split()[0]] for line in expected)


def test_nothing_changes() -> None:
    assert compare(BUNDLE, BUNDLE, TODAY) == ()
    assert text(()) == "Nothing changes."


def test_one_sentence_for_a_rule_of_many_callers() -> None:
    found = lines(with_rule("R013", level=Level.FULL))
    assert found == [
        f"WIDENS 24 callers ({', '.join(c for c in BUNDLE.callers if c in BUNDLE.rules['R013'].callers)})"
        " for SUPERVISION of organisations, individual businesses:"
        " COMPULSION, ARREARS, FALSE_STATEMENT, CONTRACT, EVALUATION SUMMARY (R013) → FULL (R013)"
    ]


def test_published_fields_are_neither_more_nor_less_than_a_summary() -> None:
    old = with_rule("R055", level=Level.SUMMARY, categories={ORG: ("PENALTY",)}, id="R955")
    for code, effects in (("PUBLIC", ["CHANGES"]), ("HIT", ["NARROWS"]), ("FULL", ["WIDENS"])):
        new = with_rule("R955", old, level=Level(code))
        assert [change.effect for change in compare(old, new, TODAY)] == effects


def test_published_fields_are_part_of_all_fields() -> None:
    old = with_rule("R080", level=Level.FULL)
    assert {change.effect for change in compare(old, BUNDLE, TODAY)} == {Effect.NARROWS}


def test_a_red_line_that_ends_with_its_category_opens_nothing() -> None:
    categories = {code: category for code, category in BUNDLE.categories.items() if code != "UTILITY"}
    rules = {
        code: msgspec.structs.replace(
            rule,
            categories={
                kind: tuple(c for c in codes if c != "UTILITY") for kind, codes in rule.categories.items()
            },
        )
        for code, rule in BUNDLE.rules.items()
    }
    new = with_parts(
        categories=categories,
        rules=rules,
        red_lines={code: line for code, line in BUNDLE.red_lines.items() if code != "RL02"},
    )
    assert {change.effect for change in compare(BUNDLE, new, TODAY)} == {Effect.NARROWS}
    assert {change.effect for change in compare(new, BUNDLE, TODAY)} == {Effect.WIDENS}


def test_a_caller_type_more() -> None:
    clerk = msgspec.structs.replace(BUNDLE.callers["COURT"], code="CLERK")
    callers = ("COURT", "PROCURATORATE", "CLERK")
    new = with_rule("R055", with_parts(callers=BUNDLE.callers | {"CLERK": clerk}), callers=callers)
    assert lines(new) == ["WIDENS CLERK for JUDICIAL of natural persons: REG_NP nothing → MATCH (R055)"]


@pytest.mark.parametrize(
    ("was", "now", "effect"),
    [
        (Treatment.SURNAME, Treatment.KEEP, Effect.WIDENS),
        (Treatment.SURNAME_UNLESS_PUBLISHED, Treatment.SURNAME, Effect.NARROWS),
        (Treatment.DROP_UNLESS_PUBLISHED, Treatment.SURNAME_UNLESS_PUBLISHED, Effect.WIDENS),
        (Treatment.DROP_UNLESS_PUBLISHED, Treatment.SURNAME, Effect.CHANGES),
        (Treatment.COUNTY, Treatment.SURNAME, Effect.CHANGES),
        (Treatment.DROP, Treatment.DROP_UNLESS_PUBLISHED, Effect.WIDENS),
        (Treatment.KEEP, Treatment.DROP, Effect.NARROWS),
    ],
)
def test_masks(was: Treatment, now: Treatment, effect: Effect) -> None:
    key = (Mask.PERSON_NAME, ORG)
    old, new = (
        with_entry("masks", key, treatments=BUNDLE.masks[key].treatments | {Audience.FINANCE: treatment})
        for treatment in (was, now)
    )
    (change,) = compare(old, new, TODAY)
    who = "5 callers (BANK, GUARANTEE, CREDIT_REPORTING, RATING, CREDIT_SERVICE)"
    assert change == Change(effect, f"mask PERSON_NAME of organisations for {who}: {was} → {now}")


def test_a_mask_gone_shows_what_it_hid() -> None:
    new = without("masks", (Mask.AMOUNT, ORG))
    found = compare(BUNDLE, new, TODAY)
    assert {change.effect for change in found} == {Effect.WIDENS}
    assert all("mask AMOUNT of organisations for" in change.sentence for change in found)


def test_what_needs_approval() -> None:
    changes = tuple(Change(effect, effect.value) for effect in Effect)
    assert [change.effect for change in needing_approval(changes)] == [Effect.WIDENS, Effect.CHANGES]
    assert text(changes).splitlines() == [
        "3 differences: 1 widens, 1 changes, 1 narrows.",
        "WIDENS  WIDENS",
        "CHANGES CHANGES",
        "NARROWS NARROWS",
    ]


# --- nothing that widens goes unseen ------------------------------------------------------------------------


def shows_more(old: Bundle, new: Bundle, day: date) -> bool:
    """Slowly: whether some cell shows a field, or lacks a condition or obligation, that it did not before."""
    before, after = compile_table(old, day), compile_table(new, day)
    for caller, purpose, kind, category in product(
        ("COURT", "BANK", "MARKET_REGULATION"), new.purposes, SubjectKind, new.categories
    ):
        now = after.cell(caller, purpose, kind, category)
        was = before.cell(caller, purpose, kind, category)
        if not isinstance(now, Cell):
            continue
        if not isinstance(was, Cell) or now.fields & ~was.fields:
            return True
        asked, bound = set(now.rule.conditions), set(now.rule.obligations)
        if not asked >= set(was.rule.conditions) or not bound >= set(was.rule.obligations):
            return True
    return False


def changed_rule(bundle: Bundle, code: str, at: int, level: Level, day: date) -> Bundle:
    rule = bundle.rules[code]
    changes: list[Callable[[], Bundle]] = [
        lambda: with_rule(code, bundle, level=level),
        lambda: with_rule(code, bundle, conditions=rule.conditions[1:]),
        lambda: with_rule(code, bundle, conditions=tuple(dict.fromkeys([*rule.conditions, "DUAL"]))),
        lambda: with_rule(code, bundle, obligations=()),
        lambda: with_rule(code, bundle, callers=tuple(c for c in rule.callers if c != "COURT")),
        lambda: with_rule(code, bundle, status=RuleStatus.DRAFT),
        lambda: with_rule(code, bundle, valid_from=day),
        lambda: with_rule(code, bundle, valid_to=day),
    ]
    return changes[at % len(changes)]()


@given(
    mutations=st.lists(
        st.tuples(
            st.sampled_from(sorted(BUNDLE.rules)),
            st.integers(0, 7),
            st.sampled_from([Level.MATCH, Level.HIT, Level.PUBLIC, Level.SUMMARY, Level.FULL]),
            st.dates(date(2026, 11, 1), date(2027, 12, 31)),
        ),
        min_size=1,
        max_size=2,
    ),
    later=st.dates(TODAY, date(2028, 6, 30)),
)
@settings(max_examples=15, deadline=None)
def test_what_is_not_reported_does_not_widen(
    mutations: list[tuple[str, int, Level, date]], later: date
) -> None:
    new = BUNDLE
    for code, at, level, day in mutations:
        new = changed_rule(new, code, at, level, day)
    if shows_more(BUNDLE, new, later):
        assert needing_approval(compare(BUNDLE, new, TODAY))
