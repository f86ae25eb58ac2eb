"""Obligations on records: what leaves, on which day, with which fields, in which form."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from importlib.resources import files
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alarms import Alarms
from gateway.shape import Shaper
from policies.bundle import Bundle, Publication, Treatment
from policies.bundle_loading import load
from policies.caller import Caller
from policies.catalogue import (
    SECTION_OF,
    AbnormalOperation,
    AdverseRecord,
    Arrears,
    Commitment,
    EnforcementDefault,
    Evaluation,
    IdentityMatch,
    Incentive,
    Licence,
    Penalty,
    Record,
    Registration,
    SeriousDishonesty,
    TaxPayment,
    fields_at,
    fields_of,
)
from policies.decision import Granted, Question
from policies.evidence import Evidence
from policies.identifiers import SubjectKey
from policies.obligations import (
    DISCHARGED_ELSEWHERE,
    FILTERS,
    HANDLERS,
    Handlers,
    Setting,
    Shaped,
    check_all_discharged,
    cut_of,
    filters_of,
    shape,
)
from policies.outcomes import Outcome
from policies.table import Cell
from policies.vocabulary import AmountBand, Level, Mark, Mask, Performance, Severity, SubjectKind

BUNDLE = load(files("policies") / "bundles" / "example")
ORG, IND, NP, GOV = SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP, SubjectKind.GOV
TODAY = date(2026, 11, 20)
CODES = {
    ORG: "91990100FAKE00013D",
    IND: "92990105FAKE00021D",
    GOV: "11990000FAKE000483",
    NP: "990105199912319987",
}


def setting(
    category: str,
    level: Level = Level.SUMMARY,
    *,
    obligations: tuple[str, ...] = ("VISIBLE",),
    kind: SubjectKind = ORG,
    caller: str = "MARKET_REGULATION",
    unit: tuple[str, str] = ("unit", "示例单位"),
    today: date = TODAY,
    evidence: Evidence | None = None,
    asked: str | None = None,
    bundle: Bundle = BUNDLE,
) -> Setting:
    """A granted section; `asked` names its fields (None: all of the record)."""
    fields = fields_of(SECTION_OF[category, kind].record)
    wanted = {field.name for field in fields} if asked is None else set(asked.split())
    mask = sum(1 << bit for bit, field in enumerate(fields) if field.name in wanted)
    shown = fields_at(SECTION_OF[category, kind].record, level)
    rule = msgspec.structs.replace(bundle.rules["R002"], level=level, obligations=obligations)
    cell = Cell(rule, category, kind, level, shown)
    return Setting(
        bundle=bundle,
        caller=Caller(
            unit=unit[0],
            unit_name=unit[1],
            type=caller,
            level=None,
            division=None,
            purposes=frozenset({"LICENSING"}),
            categories=None,
            officer=None,
            identity=None,
            synthetic_only=False,
            client="client",
            token_id="token",
            expires=0,
        ),
        kind=kind,
        evidence=evidence or Evidence(),
        granted=Granted(cell=cell, asked=mask, fields=mask & shown, obligations=obligations, proven=()),
        category=bundle.categories[category],
        today=today,
    )


def shaped(of: Setting, *records: Record) -> Shaped:
    cut = cut_of(SECTION_OF[of.category.code, of.kind], of)
    return shape(records, of, filters_of(of), cut)


def shows(of: Setting, record: Record) -> bool:
    """Whether the record leaves; if not, it is counted once."""
    answer = shaped(of, record)
    assert len(answer.records) + sum(answer.hidden.values()) == 1
    return bool(answer.records)


def last_day(start: date, months: int) -> date:
    """The day so many months later, found by walking; the month's last day where it has no such day."""
    month = start.replace(day=1)
    for _ in range(months):
        month = (month + timedelta(days=31)).replace(day=1)
    following = (month + timedelta(days=31)).replace(day=1)
    return min(month + timedelta(days=start.day - 1), following - timedelta(days=1))


# VISIBLE: the publication limit binds PUBLIC


def penalty(decided: date | None, severity: Severity | None = None, **values: Any) -> Penalty:
    return Penalty(
        **{"record_id": "r-1", "decided_on": decided, "severity": severity, "public_from": decided} | values
    )


MINOR, GENERAL, SERIOUS = Severity.MINOR, Severity.GENERAL, Severity.SERIOUS

PUBLISHED_UNTIL = [
    (MINOR, date(2026, 4, 10), date(2026, 7, 10)),
    (GENERAL, date(2026, 4, 10), date(2027, 4, 10)),
    (SERIOUS, date(2026, 4, 10), date(2029, 4, 10)),
    # A degree that nobody stated is published no longer than a minor one.
    (None, date(2026, 4, 10), date(2026, 7, 10)),
    # The end of a short month.
    (MINOR, date(2026, 11, 30), date(2027, 2, 28)),
    (MINOR, date(2026, 5, 31), date(2026, 8, 31)),
    (MINOR, date(2026, 8, 31), date(2026, 11, 30)),
    # Leap days.
    (MINOR, date(2027, 11, 30), date(2028, 2, 29)),
    (GENERAL, date(2028, 2, 29), date(2029, 2, 28)),
    (SERIOUS, date(2028, 2, 29), date(2031, 2, 28)),
    # The turn of the year.
    (MINOR, date(2026, 9, 15), date(2026, 12, 15)),
    (MINOR, date(2026, 10, 15), date(2027, 1, 15)),
]


@pytest.mark.parametrize(("severity", "decided", "until"), PUBLISHED_UNTIL)
def test_a_penalty_is_published_to_the_last_day_of_its_degree(
    severity: Severity | None, decided: date, until: date
) -> None:
    record = penalty(decided, severity)
    assert shows(setting("PENALTY", Level.PUBLIC, today=decided), record)
    assert shows(setting("PENALTY", Level.PUBLIC, today=until), record)
    assert not shows(setting("PENALTY", Level.PUBLIC, today=until + timedelta(days=1)), record)


@pytest.mark.parametrize(
    ("severity", "decided", "on_the_last_day_before", "from_april"),
    [
        (MINOR, date(2026, 3, 1), False, True),
        (MINOR, date(2026, 3, 31), False, True),
        (None, date(2026, 3, 31), False, True),
        (MINOR, date(2025, 12, 31), False, False),
        (GENERAL, date(2025, 4, 1), True, True),
        (GENERAL, date(2025, 3, 31), True, False),
        (GENERAL, date(2023, 3, 31), True, False),
        (GENERAL, date(2023, 3, 30), False, False),
        (SERIOUS, date(2023, 4, 1), True, True),
        (SERIOUS, date(2023, 3, 31), True, False),
        (SERIOUS, date(2023, 3, 30), False, False),
    ],
)
def test_the_regime_of_the_day_of_the_inquiry_counts(
    severity: Severity | None, decided: date, on_the_last_day_before: bool, from_april: bool
) -> None:
    record = penalty(decided, severity)
    days = (date(2026, 3, 31), date(2026, 4, 1))
    found = [shows(setting("PENALTY", Level.PUBLIC, today=day), record) for day in days]
    assert found == [on_the_last_day_before, from_april]


@pytest.mark.parametrize(
    "values",
    [
        {"decided_on": None},
        {"public_from": None},
        {"public_from": TODAY + timedelta(days=1)},
        {"public_until": TODAY - timedelta(days=1)},
    ],
)
def test_what_is_not_published_by_its_own_dates_or_lacks_them_is_not_public(values: dict[str, Any]) -> None:
    record = msgspec.structs.replace(penalty(TODAY - timedelta(days=30), SERIOUS), **values)
    assert not shows(setting("PENALTY", Level.PUBLIC), record)
    if "public_until" in values:
        assert shows(setting("PENALTY", Level.PUBLIC, today=TODAY - timedelta(days=1)), record)


def test_publication_begins_and_ends_on_the_days_stated() -> None:
    record = penalty(TODAY, SERIOUS, public_from=TODAY, public_until=TODAY)
    assert shows(setting("PENALTY", Level.PUBLIC), record)


@pytest.mark.parametrize("record", [Commitment(record_id="r"), Registration(record_id="r")])
def test_a_record_without_a_decision_is_not_published_by_degree(record: Record) -> None:
    category = msgspec.structs.replace(BUNDLE.categories["PENALTY"], publication=Publication.SEVERITY)
    of = msgspec.structs.replace(setting("PENALTY", Level.PUBLIC), category=category)
    answer = shaped(of, msgspec.structs.replace(record, public_from=TODAY))
    assert answer.hidden == {"DENY_TIME": 1}


# VISIBLE: the inquiry limit binds the other levels

INQUIRED = (Level.MATCH, Level.HIT, Level.SUMMARY, Level.FULL)


@pytest.mark.parametrize("level", INQUIRED)
@pytest.mark.parametrize("severity", [MINOR, GENERAL, SERIOUS, None])
def test_a_penalty_is_answered_for_five_years_from_the_end_of_the_conduct(
    severity: Severity | None, level: Level
) -> None:
    ended = date(2021, 11, 20)
    record = penalty(date(2022, 6, 1), severity, conduct_ended_on=ended)
    assert shows(setting("PENALTY", level, today=date(2026, 11, 20)), record)
    assert not shows(setting("PENALTY", level, today=date(2026, 11, 21)), record)


def test_without_the_end_of_the_conduct_the_decision_counts_and_without_both_nothing_is_shown() -> None:
    decided = penalty(date(2021, 11, 20), GENERAL)
    assert shows(setting("PENALTY", today=date(2026, 11, 20)), decided)
    assert not shows(setting("PENALTY", today=date(2026, 11, 21)), decided)
    assert not shows(setting("PENALTY"), penalty(None, GENERAL, public_from=TODAY))


def test_the_inquiry_limit_does_not_ask_for_publication() -> None:
    unpublished = penalty(date(2026, 1, 1), MINOR, public_from=None, public_until=date(2026, 2, 1))
    assert shows(setting("PENALTY", Level.SUMMARY), unpublished)
    assert not shows(setting("PENALTY", Level.PUBLIC), unpublished)


@pytest.mark.parametrize("severity", [GENERAL, SERIOUS])
def test_the_shorter_of_the_limits_of_category_and_degree_counts(severity: Severity) -> None:
    def with_limits(category: int | None, degree: int) -> Bundle:
        return msgspec.structs.replace(
            BUNDLE,
            categories=BUNDLE.categories
            | {"PENALTY": msgspec.structs.replace(BUNDLE.categories["PENALTY"], inquiry_months=category)},
            periods=tuple(msgspec.structs.replace(p, inquiry_months=degree) for p in BUNDLE.periods),
        )

    record = penalty(date(2026, 1, 20), severity)
    for category, degree, months in ((12, 24, 12), (24, 12, 12), (None, 24, 24)):
        bundle, until = with_limits(category, degree), last_day(date(2026, 1, 20), months)
        assert shows(setting("PENALTY", bundle=bundle, today=until), record)
        assert not shows(setting("PENALTY", bundle=bundle, today=until + timedelta(days=1)), record)


def test_a_penalty_published_like_a_list_keeps_the_limit_of_its_category() -> None:
    category = msgspec.structs.replace(BUNDLE.categories["PENALTY"], publication=Publication.LISTED)
    bundle = msgspec.structs.replace(BUNDLE, categories=BUNDLE.categories | {"PENALTY": category})
    assert shows(setting("PENALTY", bundle=bundle), penalty(date(2021, 11, 20)))
    assert not shows(setting("PENALTY", bundle=bundle), penalty(date(2021, 11, 19)))


def test_dates_at_the_end_of_time_are_answered_and_break_nothing() -> None:
    endless = date(9999, 12, 31)
    assert shows(setting("PENALTY"), penalty(date(2026, 1, 1), GENERAL, conduct_ended_on=endless))
    assert shows(setting("COMMITMENT"), Commitment(record_id="r", due_on=endless))
    assert shows(setting("PENALTY", Level.PUBLIC), penalty(endless, SERIOUS, public_from=TODAY))


def expected_visible(record: AdverseRecord, level: Level, today: date) -> bool:
    """VISIBLE on a penalty, written out."""
    if record.repaired_on and record.repaired_on <= today:
        return False
    if record.withdrawn_on and record.withdrawn_on <= today:
        return False
    if level is not Level.PUBLIC:
        start = record.conduct_ended_on or record.decided_on
        return start is not None and today <= last_day(start, 60)
    if record.decided_on is None or record.public_from is None:
        return False
    if not record.public_from <= today <= (record.public_until or date.max):
        return False
    new = {None: 3, MINOR: 3, GENERAL: 12, SERIOUS: 36}
    old = {None: 0, MINOR: 0, GENERAL: 36, SERIOUS: 36}
    months = (new if today >= date(2026, 4, 1) else old)[record.severity]
    return months > 0 and today <= last_day(record.decided_on, months)


days = st.dates(date(2019, 1, 1), date(2031, 12, 31))


@given(
    today=days,
    decided=st.none() | days,
    ended=st.none() | days,
    published=st.none() | days,
    until=st.none() | days,
    repaired=st.none() | days,
    withdrawn=st.none() | days,
    severity=st.none() | st.sampled_from(Severity),
    level=st.sampled_from([Level.PUBLIC, *INQUIRED]),
)
def test_visible_is_what_it_says_on_any_penalty(
    today: date,
    decided: date | None,
    ended: date | None,
    published: date | None,
    until: date | None,
    repaired: date | None,
    withdrawn: date | None,
    severity: Severity | None,
    level: Level,
) -> None:
    record = Penalty(
        record_id="r",
        decided_on=decided,
        conduct_ended_on=ended,
        public_from=published,
        public_until=until,
        repaired_on=repaired,
        withdrawn_on=withdrawn,
        severity=severity,
    )
    assert shows(setting("PENALTY", level, today=today), record) == expected_visible(record, level, today)


# VISIBLE: repaired, withdrawn, removed

KINDS_OF_RECORD: list[tuple[str, Callable[..., Record]]] = [
    ("PENALTY", lambda **v: penalty(date(2026, 9, 1), GENERAL, **v)),
    ("ARREARS", lambda **v: Arrears(record_id="r", decided_on=date(2026, 9, 1), public_from=TODAY, **v)),
    ("SERIOUS_LIST", lambda **v: SeriousDishonesty(record_id="r", **v)),
    ("ENFORCE_DEFAULT", lambda **v: EnforcementDefault(record_id="r", **v)),
    ("ABNORMAL", lambda **v: AbnormalOperation(record_id="r", **v)),
    ("TRUST_LIST", lambda **v: Incentive(record_id="r", **v)),
    ("LICENCE", lambda **v: Licence(record_id="r", **v)),
    ("COMMITMENT", lambda **v: Commitment(record_id="r", committed_on=TODAY, **v)),
    ("REG_ORG", lambda **v: Registration(record_id="r", **v)),
]
LEVELS = (Level.PUBLIC, *INQUIRED)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("category", "make"), KINDS_OF_RECORD)
@pytest.mark.parametrize("field", ["repaired_on", "withdrawn_on"])
def test_a_repaired_or_withdrawn_record_looks_like_none(
    category: str, make: Callable[..., Record], field: str, level: Level
) -> None:
    of = setting(category, level)
    assert shows(of, make(**{field: TODAY + timedelta(days=1)}))
    for day in (TODAY, date(2026, 9, 2)):
        answer = shaped(of, make(**{field: day}))
        assert answer.hidden == {"DENY_REPAIRED": 1}
        assert msgspec.structs.replace(answer, hidden={}) == shaped(of)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("category", "make"), [pair for pair in KINDS_OF_RECORD if pair[0] in (
    "SERIOUS_LIST", "ENFORCE_DEFAULT", "ABNORMAL", "TRUST_LIST")])  # fmt: skip
def test_an_entry_is_shown_while_listed(category: str, make: Callable[..., Record], level: Level) -> None:
    of = setting(category, level)
    assert shows(of, make(listed_on=date(2010, 1, 1)))
    assert shows(of, make(removed_on=TODAY + timedelta(days=1)))
    assert shaped(of, make(removed_on=TODAY)).hidden == {"DENY_TIME": 1}
    assert shaped(of, make(removed_on=date(2020, 1, 1))).hidden == {"DENY_TIME": 1}


def test_repair_is_told_before_time() -> None:
    record = penalty(date(2010, 1, 1), GENERAL, repaired_on=TODAY)
    assert shaped(setting("PENALTY"), record).hidden == {"DENY_REPAIRED": 1}


def test_without_visible_everything_is_shown() -> None:
    of = setting("PENALTY", Level.FULL, obligations=())
    assert shows(of, penalty(date(1999, 1, 1), GENERAL, repaired_on=date(2000, 1, 1), withdrawn_on=TODAY))


# VISIBLE: terms, commitments, what is never published


@pytest.mark.parametrize(
    ("category", "make"),
    [("LICENCE", Licence), ("TRUST_LIST", Incentive), ("EVALUATION", Evaluation)],
)
def test_a_term_is_published_to_its_last_day_and_answered_beyond(
    category: str, make: Callable[..., Record]
) -> None:
    public = setting(category, Level.PUBLIC)
    assert shows(public, make(record_id="r", valid_until=TODAY))
    assert shows(public, make(record_id="r", valid_until=None))
    ended = make(record_id="r", valid_until=TODAY - timedelta(days=1))
    assert not shows(public, ended)
    assert shows(setting(category, Level.SUMMARY), ended)


@pytest.mark.parametrize(
    ("performance", "public"),
    [(Performance.PENDING, True), (Performance.BROKEN, True), (None, True), (Performance.PERFORMED, False)],
)
def test_a_commitment_is_published_until_performed(performance: Performance | None, public: bool) -> None:
    record = Commitment(record_id="r", committed_on=TODAY, performance=performance)
    assert shows(setting("COMMITMENT", Level.PUBLIC), record) == public
    assert shows(setting("COMMITMENT", Level.FULL), record)


def test_a_commitment_is_answered_for_five_years_from_its_due_day() -> None:
    due = Commitment(record_id="r", committed_on=date(2010, 1, 1), due_on=date(2021, 11, 20))
    undated = Commitment(record_id="r", committed_on=date(2021, 11, 20))
    for record in (due, undated):
        assert shows(setting("COMMITMENT", today=TODAY), record)
        assert not shows(setting("COMMITMENT", today=TODAY + timedelta(days=1)), record)
    assert not shows(setting("COMMITMENT"), Commitment(record_id="r"))


@pytest.mark.parametrize(
    ("category", "kind", "record"),
    [("TAX_PAYMENT", ORG, TaxPayment(record_id="r")), ("REG_NP", NP, IdentityMatch(record_id="r"))],
)
def test_what_is_never_published_is_not_public(category: str, kind: SubjectKind, record: Record) -> None:
    published = msgspec.structs.replace(record, public_from=date(2020, 1, 1))
    assert not shows(setting(category, Level.PUBLIC, kind=kind), published)
    assert shows(setting(category, Level.SUMMARY, kind=kind), record)


# The other filters


def test_only_the_records_at_issue_are_shown() -> None:
    of = setting(
        "PENALTY", Level.FULL, obligations=("RECORD_AT_ISSUE",), evidence=Evidence(record_ids=("r-1", "r-3"))
    )
    answer = shaped(of, *(penalty(TODAY, record_id=f"r-{number}") for number in (1, 2, 3, 13)))
    assert [record.record_id for record in answer.records] == ["r-1", "r-3"]
    assert answer.hidden == {"DENY_EVIDENCE": 2}


def test_without_records_named_none_is_at_issue() -> None:
    of = setting("PENALTY", Level.FULL, obligations=("RECORD_AT_ISSUE",))
    assert shaped(of, penalty(TODAY)).hidden == {"DENY_EVIDENCE": 1}


@pytest.mark.parametrize(
    ("provider", "own"), [("unit", True), ("示例单位", True), ("another", False), (None, False), ("", False)]
)
def test_own_records_are_those_the_unit_provided(provider: str | None, own: bool) -> None:
    of = setting("PENALTY", Level.FULL, obligations=("OWN_RECORD",))
    answer = shaped(of, penalty(TODAY, provider=provider))
    assert (len(answer.records), answer.hidden) == ((1, {}) if own else (0, {"DENY_EVIDENCE": 1}))


def test_every_filter_must_let_a_record_pass() -> None:
    of = setting(
        "PENALTY",
        Level.FULL,
        obligations=("RECORD_AT_ISSUE", "OWN_RECORD", "VISIBLE"),
        evidence=Evidence(record_ids=("r-1", "r-2", "r-3")),
    )
    answer = shaped(
        of,
        penalty(TODAY, record_id="r-1", provider="unit"),
        penalty(TODAY, record_id="r-2", provider="another"),
        penalty(TODAY, record_id="r-3", provider="unit", repaired_on=TODAY),
        penalty(TODAY, record_id="r-4", provider="unit"),
    )
    assert [record.record_id for record in answer.records] == ["r-1"]
    assert answer.hidden == {"DENY_EVIDENCE": 2, "DENY_REPAIRED": 1}


# Fields: the level cuts, the request cuts


PENALTY = penalty(
    date(2026, 9, 1),
    GENERAL,
    provider="示例局",
    marks=(Mark.UNDER_APPEAL,),
    document_number="D-1",
    kind="fine",
    authority="示例局",
    facts="the facts",
    legal_basis="SH 1",
    content="fined",
    fine=Decimal(1000),
    confiscated=Decimal(0),
)


def values_of(record: Record) -> dict[str, Any]:
    """The fields that hold something."""
    return {name: value for name, value in msgspec.structs.asdict(record).items() if value not in (None, ())}


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (Level.MATCH, "record_id provider marks"),
        (Level.HIT, "record_id provider marks document_number authority"),
        (Level.SUMMARY, "record_id provider marks document_number authority decided_on severity kind"),
        (
            Level.FULL,
            "record_id provider marks document_number authority decided_on severity kind public_from facts"
            " legal_basis content fine confiscated",
        ),
        (
            Level.PUBLIC,
            "record_id provider marks document_number authority decided_on severity kind legal_basis content"
            " fine confiscated",
        ),
    ],
)
def test_a_level_shows_its_fields_and_withholds_the_others(level: Level, shown: str) -> None:
    answer = shaped(setting("PENALTY", level), PENALTY)
    (record,) = answer.records
    names = set(shown.split())
    assert values_of(record) == {name: value for name, value in values_of(PENALTY).items() if name in names}
    everything = {field.name for field in fields_of(Penalty)}
    empty = {"public_until", "basis_kind"} if level not in (Level.MATCH, Level.HIT) else set()
    empty |= {"conduct_ended_on", "repaired_on", "withdrawn_on"} if level is Level.FULL else set()
    assert answer.withheld == dict.fromkeys(everything - names - empty, Outcome.PERMIT_REDUCED)


def test_only_what_was_asked_is_shown_or_told_as_withheld() -> None:
    answer = shaped(setting("PENALTY", Level.SUMMARY, asked="kind facts"), PENALTY)
    assert values_of(answer.records[0]) == {
        "record_id": "r-1",
        "marks": (Mark.UNDER_APPEAL,),
        "kind": "fine",
    }
    assert answer.withheld == {"facts": Outcome.PERMIT_REDUCED}


@pytest.mark.parametrize("level", LEVELS)
def test_marks_stay_on_whatever_is_asked(level: Level) -> None:
    marks = (Mark.UNDER_OBJECTION, Mark.UNDER_SUIT)
    record = msgspec.structs.replace(PENALTY, marks=marks)
    answer = shaped(setting("PENALTY", level, asked="authority"), record)
    assert answer.records[0].marks == marks
    assert answer.records[0].record_id == "r-1"


def test_what_is_withheld_does_not_tell_whether_there_is_a_record() -> None:
    for level in LEVELS:
        of = setting("REG_ORG", level, kind=IND, caller="BANK")
        full = Registration(record_id="r", legal_representative="王小明", address="太原市小店区坞城路1号")
        assert (
            shaped(of).withheld
            == shaped(of, full).withheld
            == shaped(of, Registration(record_id="r")).withheld
        )


# NO_CACHE


def test_no_cache_keeps_the_answer_nowhere() -> None:
    """Connectors keep what may be kept alone; what they are told is settled here."""

    def may_cache(*obligations: str, kind: SubjectKind = ORG, bundle: Bundle = BUNDLE) -> bool:
        of = setting("PENALTY", obligations=obligations, kind=kind, bundle=bundle)
        question = Question(
            purpose="LICENSING",
            subject=SubjectKey(kind, "resident" if kind is NP else "credit_code", CODES[kind]),
            evidence=of.evidence,
            sections={"PENALTY": of.granted.asked},
            subjects_in_operation=1,
        )
        shaper = Shaper(HANDLERS, Alarms())
        (ready,) = shaper.outline(question, {"PENALTY": of.granted}, of.caller, bundle, TODAY).granted
        return ready.ask(question.subject).may_cache

    assert may_cache("VISIBLE")
    assert not may_cache("VISIBLE", "NO_CACHE")
    assert not may_cache("VISIBLE", kind=NP)
    unstored = msgspec.structs.replace(BUNDLE.categories["PENALTY"], never_stored=True)
    bundle = msgspec.structs.replace(BUNDLE, categories=BUNDLE.categories | {"PENALTY": unstored})
    assert not may_cache("VISIBLE", bundle=bundle)


# An obligation that nothing discharges


def test_a_filter_that_is_not_there_is_never_passed_over() -> None:
    with pytest.raises(KeyError, match="VISIBLE"):
        filters_of(setting("PENALTY", Level.FULL), Handlers({}, {}))


@pytest.mark.parametrize("code", ["NO_CACHE", "ONE_BY_ONE", "HASHED", *FILTERS])
def test_every_obligation_has_one_place_where_it_is_discharged(code: str) -> None:
    assert (code in FILTERS) is not (code in DISCHARGED_ELSEWHERE)
    assert code in {c for rule in BUNDLE.rules.values() for c in rule.obligations}


# HASHED


def test_hashed_withholds_what_identifies() -> None:
    of = setting(
        "REG_ORG",
        Level.FULL,
        obligations=("HASHED",),
        asked="name credit_code registration_number legal_representative status",
    )
    record = Registration(
        record_id="r",
        name="示例有限公司",
        credit_code=CODES[ORG],
        registration_number="990105100000011",
        legal_representative="王小明",
        status="存续",
    )
    answer = shaped(of, record)
    assert values_of(answer.records[0]) == {"record_id": "r", "status": "存续"}
    assert answer.withheld == dict.fromkeys(
        ("name", "credit_code", "registration_number", "legal_representative"), Outcome.PERMIT_MASKED
    )


def test_hashed_says_of_a_field_that_the_level_withholds_that_it_is_reduced() -> None:
    of = setting("REG_ORG", Level.HIT, obligations=("HASHED",), asked="name legal_representative")
    assert shaped(of).withheld == {
        "name": Outcome.PERMIT_MASKED,
        "legal_representative": Outcome.PERMIT_REDUCED,
    }


# Masks

REGISTERED = Registration(
    record_id="r", legal_representative="王小明", address="山西省太原市小店区坞城路92号", capital="100万元"
)
HOME = "山西省太原市小店区"


@pytest.mark.parametrize(
    ("kind", "caller", "name", "address"),
    [
        (ORG, "MARKET_REGULATION", "王小明", REGISTERED.address),
        (ORG, "BANK", "王*", REGISTERED.address),
        (ORG, "PUBLIC", "王小明", REGISTERED.address),
        (ORG, "SUBJECT", "王小明", REGISTERED.address),
        (GOV, "MARKET_REGULATION", "王小明", REGISTERED.address),
        (GOV, "BANK", "王*", REGISTERED.address),
        (GOV, "PUBLIC", "王小明", REGISTERED.address),
        (GOV, "AGENT", "王小明", REGISTERED.address),
        # What is published of an organisation is not published of who runs an individual business.
        (IND, "MARKET_REGULATION", "王*", HOME),
        (IND, "BANK", "王*", HOME),
        (IND, "PUBLIC", None, HOME),
        (IND, "SUBJECT", "王小明", REGISTERED.address),
    ],
)
def test_names_and_addresses_are_masked_for_each_audience(
    kind: SubjectKind, caller: str, name: str | None, address: str | None
) -> None:
    for level in (Level.SUMMARY, Level.PUBLIC):
        answer = shaped(setting("REG_ORG", level, kind=kind, caller=caller), REGISTERED)
        (record,) = answer.records
        assert isinstance(record, Registration)
        assert (record.legal_representative, record.address) == (name, address)
        assert record.capital == "100万元"
        masked = {field for field, code in answer.withheld.items() if code is Outcome.PERMIT_MASKED}
        assert masked == {
            field
            for field, value in (("legal_representative", name), ("address", address))
            if value != getattr(REGISTERED, field)
        }


def test_an_unpublished_name_is_masked_even_of_an_organisation() -> None:
    """Treatments hang on what is published, not on the kind alone."""
    masks = BUNDLE.masks[Mask.AMOUNT, ORG]
    treatments = masks.treatments | dict.fromkeys(masks.treatments, Treatment.DROP_UNLESS_PUBLISHED)
    rule = msgspec.structs.replace(masks, treatments=treatments)
    bundle = msgspec.structs.replace(BUNDLE, masks=BUNDLE.masks | {(Mask.AMOUNT, ORG): rule})
    record = TaxPayment(record_id="r", amount=Decimal(10))
    (shown,) = shaped(setting("TAX_PAYMENT", Level.FULL, bundle=bundle), record).records
    assert isinstance(shown, TaxPayment)
    assert shown.amount is None


@pytest.mark.parametrize("kind", [ORG, IND, NP])
@pytest.mark.parametrize(
    ("caller", "amount"), [("TAXATION", None), ("BANK", None), ("PUBLIC", None), ("SUBJECT", Decimal(12345))]
)
def test_exact_amounts_are_for_the_subject_and_bands_for_all(
    kind: SubjectKind, caller: str, amount: Decimal | None
) -> None:
    record = TaxPayment(record_id="r", amount=Decimal(12345), amount_band=AmountBand.FROM_10K_TO_100K)
    answer = shaped(setting("TAX_PAYMENT", Level.FULL, kind=kind, caller=caller), record)
    (shown,) = answer.records
    assert isinstance(shown, TaxPayment)
    assert (shown.amount, shown.amount_band) == (amount, AmountBand.FROM_10K_TO_100K)
    assert answer.withheld == ({} if amount else {"amount": Outcome.PERMIT_MASKED})


def test_masks_are_told_only_of_fields_asked_and_given() -> None:
    of = setting("REG_ORG", Level.HIT, kind=IND, caller="BANK", asked="address status")
    assert shaped(of).withheld == {"address": Outcome.PERMIT_REDUCED}
    of = setting("REG_ORG", Level.SUMMARY, kind=IND, caller="BANK", asked="status capital")
    assert shaped(of).withheld == {}


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("王小明", "王*"),
        ("李四", "李*"),
        ("欧阳修", "欧阳*"),
        ("诸葛孔明", "诸葛*"),
        # Two characters that could be a compound surname: one of them is the given name.
        ("东方", "东*"),
        ("司马", "司*"),
        ("买买提·吐尔逊", "买*"),
        ("John Smith", "J*"),
        ("王", "王*"),
    ],
)
def test_a_name_is_cut_to_its_surname(name: str, masked: str) -> None:
    record = Registration(record_id="r", legal_representative=name)
    (shown,) = shaped(setting("REG_ORG", kind=IND), record).records
    assert isinstance(shown, Registration)
    assert shown.legal_representative == masked


@pytest.mark.parametrize(
    ("address", "county"),
    [
        ("山西省太原市晋源区义井街道1号", "山西省太原市晋源区"),
        ("太原市小店区坞城路92号", "太原市小店区"),
        ("小店区坞城路92号", "小店区"),
        ("山西省太原市杏花岭区府东街12号", "山西省太原市杏花岭区"),
        ("太原市尖草坪区新兰路", "太原市尖草坪区"),
        ("太原市清徐县府东街", "太原市清徐县"),
        ("晋中市祁县东观镇", "晋中市祁县"),
        ("山西省临汾市乡宁县昌宁镇", "山西省临汾市乡宁县"),
        ("大同市城区北街", "大同市城区"),
        ("内蒙古自治区锡林郭勒盟正镶白旗明安图镇", "内蒙古自治区锡林郭勒盟正镶白旗"),
        ("内蒙古自治区呼和浩特市土默特左旗察素齐镇", "内蒙古自治区呼和浩特市土默特左旗"),
        ("内蒙古自治区呼伦贝尔市莫力达瓦达斡尔族自治旗尼尔基镇", "内蒙古自治区呼伦贝尔市莫力达瓦达斡尔族自治旗"),
        ("云南省临沧市双江拉祜族佤族布朗族傣族自治县勐勐镇", "云南省临沧市双江拉祜族佤族布朗族傣族自治县"),
        ("湖北省恩施土家族苗族自治州利川市都亭街道", "湖北省恩施土家族苗族自治州利川市"),
        ("山西省古交市桃园街道", "山西省古交市"),
        ("山西省太原市古交市东曲街道", "山西省太原市古交市"),
        ("古交市桃园小区3号", "古交市"),
        ("北京市朝阳区建国路", "北京市朝阳区"),
        ("上海市浦东新区世纪大道", "上海市浦东新区"),
        ("天津市河东区津塘路", "天津市河东区"),
        ("河北省唐山市路北区新华道", "河北省唐山市路北区"),
        ("黑龙江省哈尔滨市道里区中央大街", "黑龙江省哈尔滨市道里区"),
        ("河南省新乡市红旗区金穗大道", "河南省新乡市红旗区"),
        ("承德市鹰手营子矿区", "承德市鹰手营子矿区"),
        # Nothing below a city is a county here: the city alone is shown.
        ("太原市长风街12号", "太原市"),
        ("太原市长风街小区5号", "太原市"),
        ("太原市农贸市场3号", "太原市"),
        ("太原市红旗街1号", "太原市"),
        ("太原市怡和东区3号楼", "太原市"),
        ("太原市怡和花园东区", "太原市"),
        ("太原市工业园区2号", "太原市"),
        ("太原市平阳路口小区", "太原市"),
        ("太原市美特好超市", "太原市"),
        ("太原市某某社区7号", "太原市"),
        # No county and no city: nothing.
        ("幸福小区5号楼2单元", None),
        ("某某路12号", None),
        ("坞城路36号院", None),
        ("3号楼2单元", None),
        ("12 Wucheng Road", None),
        ("", None),
    ],
)  # fmt: skip
def test_an_address_is_cut_to_its_county(address: str, county: str | None) -> None:
    record = Registration(record_id="r", address=address)
    (shown,) = shaped(setting("REG_ORG", kind=IND), record).records
    assert isinstance(shown, Registration)
    assert shown.address == county


@given(st.text(st.sampled_from("山西省太原市小店区县旗路街号1东园 盟自治州"), max_size=30))
def test_a_masked_address_is_a_beginning_of_the_address(address: str) -> None:
    (shown,) = shaped(setting("REG_ORG", kind=IND), Registration(record_id="r", address=address)).records
    assert isinstance(shown, Registration)
    assert shown.address is None or address.startswith(shown.address)
    assert not set(shown.address or "") & set("街号1 ")


def test_a_missing_value_needs_no_mask() -> None:
    of = setting("REG_ORG", kind=IND, caller="BANK")
    (shown,) = shaped(of, Registration(record_id="r")).records
    assert values_of(shown) == {"record_id": "r"}


def test_where_the_bundle_has_no_mask_the_value_is_shown() -> None:
    masks = {key: rule for key, rule in BUNDLE.masks.items() if key[0] is not Mask.PERSON_NAME}
    bundle = msgspec.structs.replace(BUNDLE, masks=masks)
    answer = shaped(setting("REG_ORG", caller="BANK", bundle=bundle), REGISTERED)
    assert isinstance(answer.records[0], Registration)
    assert answer.records[0].legal_representative == "王小明"


# At the start


def with_obligation(code: str, **changes: Any) -> Bundle:
    rule = msgspec.structs.replace(BUNDLE.rules["R002"], obligations=("VISIBLE", code), **changes)
    return msgspec.structs.replace(BUNDLE, rules=BUNDLE.rules | {"R002": rule})


def test_every_obligation_of_the_example_is_discharged() -> None:
    check_all_discharged(BUNDLE)


def test_an_obligation_that_nothing_discharges_stops_the_start() -> None:
    with pytest.raises(ValueError, match=r"no handler discharges the obligation WATERMARK of rule R002"):
        check_all_discharged(with_obligation("WATERMARK"))


@pytest.mark.parametrize("code", ["K10", "K50"])
@pytest.mark.parametrize("level", Level)
def test_smallest_cells_are_for_aggregates(code: str, level: Level) -> None:
    bundle = with_obligation(code, level=level)
    if level is Level.AGGREGATE:
        check_all_discharged(bundle)
    else:
        with pytest.raises(ValueError, match=code):
            check_all_discharged(bundle)


@pytest.mark.parametrize("treatment", Treatment)
def test_a_treatment_of_texts_cannot_mask_amounts(treatment: Treatment) -> None:
    masks = BUNDLE.masks[Mask.AMOUNT, NP]
    rule = msgspec.structs.replace(masks, treatments=dict.fromkeys(masks.treatments, treatment))
    bundle = msgspec.structs.replace(BUNDLE, masks=BUNDLE.masks | {(Mask.AMOUNT, NP): rule})
    if treatment in (Treatment.KEEP, Treatment.DROP, Treatment.DROP_UNLESS_PUBLISHED):
        check_all_discharged(bundle)
    else:
        with pytest.raises(ValueError, match="AMOUNT of NP"):
            check_all_discharged(bundle)
