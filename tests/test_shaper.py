"""Sections that are remembered are those that would be made: for the same grant, evidence, day and answers alone."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_obligations import BUNDLE, TODAY, penalty, setting

from connectors.answers import Fault, FaultCode, SourceAnswer, SourceInfo
from gateway.alarms import Alarms
from gateway.shape import Outline, ShapedSection, ShapedSubject, Shaper
from policies.catalogue import Penalty, Record
from policies.decision import Decided, Question
from policies.evidence import Evidence
from policies.identifiers import SubjectKey
from policies.obligations import HANDLERS, MASKED, Handlers, Hides, Setting
from policies.outcomes import Outcome
from policies.vocabulary import BasisKind, Level, SectionState, Severity, SubjectKind

TITLES: Mapping[str, SourceInfo] = MappingProxyType(
    {name: SourceInfo(name, "来源", "UNIT", "PLATFORM", ("PENALTY",)) for name in ("one", "two")}
)
AS_OF = datetime(2026, 11, 19, tzinfo=UTC)


def answer(*records: Record, source: str = "one", cached: bool = True) -> SourceAnswer:
    return SourceAnswer(source, records, AS_OF, cached=cached)


DECISION = BasisKind.ADMINISTRATIVE_DECISION
RECORDS = (
    penalty(date(2026, 9, 1), Severity.GENERAL, record_id="fresh", basis_kind=DECISION),
    penalty(date(2021, 1, 1), Severity.GENERAL, record_id="old", basis_kind=DECISION),
    msgspec.structs.replace(
        penalty(date(2026, 9, 1), Severity.GENERAL, record_id="repaired", basis_kind=DECISION),
        repaired_on=date(2026, 10, 1),
    ),
)
ANSWERS = (
    (answer(*RECORDS),),
    (answer(*RECORDS[:1]), answer(*RECORDS[1:], source="two")),
    (answer(),),
    (answer(*RECORDS, cached=False),),
    (SourceAnswer("one", fault=Fault(FaultCode.DOWN, "no connection")),),
)
SETTINGS = (
    setting("PENALTY", Level.PUBLIC),
    setting("PENALTY", Level.SUMMARY),
    setting("PENALTY", Level.FULL, caller="BANK"),
    setting("PENALTY", Level.FULL, caller="MARKET_REGULATION", kind=SubjectKind.IND),
    setting("PENALTY", Level.SUMMARY, asked="document_number facts"),
    setting("PENALTY", Level.FULL, obligations=("VISIBLE", "OWN_RECORD")),
    setting("PENALTY", Level.FULL, obligations=("RECORD_AT_ISSUE",), evidence=Evidence(record_ids=("old",))),
    setting(
        "PENALTY", Level.FULL, obligations=("RECORD_AT_ISSUE",), evidence=Evidence(record_ids=("fresh",))
    ),
    setting("PENALTY", Level.FULL, obligations=("VISIBLE", "HASHED")),
)
CODES = {SubjectKind.ORG: "91990100FAKE00013D", SubjectKind.IND: "92990105FAKE00021D"}


def question_of(of: Setting) -> Question:
    return Question(
        purpose="LICENSING",
        subject=SubjectKey(of.kind, "credit_code", CODES[of.kind]),
        evidence=of.evidence,
        sections={"PENALTY": of.granted.asked},
        subjects_in_operation=1,
    )


def outline_for(shaper: Shaper, of: Setting, today: date = TODAY) -> Outline:
    return shaper.outline(question_of(of), DECIDED[id(of.granted)], of.caller, BUNDLE, today)


DECIDED: dict[int, Decided] = {id(of.granted): {"PENALTY": of.granted} for of in SETTINGS}
"""Decisions as they are remembered: the same object each time."""


def subject(
    shaper: Shaper,
    of: Setting,
    answers: tuple[SourceAnswer, ...],
    today: date = TODAY,
    *,
    merged: bool = True,
) -> ShapedSubject:
    return shaper.subject(
        question_of(of).subject, outline_for(shaper, of, today), [answers], TITLES, merged=merged
    )


def shown(made: ShapedSubject) -> ShapedSection:
    return made.sections["PENALTY"]


REMEMBERING = Shaper(HANDLERS, Alarms(), size=20)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SETTINGS),
            st.sampled_from(ANSWERS),
            st.sampled_from([TODAY, TODAY + timedelta(400)]),
        ),
        min_size=2,
        max_size=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_what_is_remembered_is_what_would_be_made(
    asked: list[tuple[Setting, tuple[SourceAnswer, ...], date]],
) -> None:
    for of, answers, today in asked:
        fresh = subject(Shaper(HANDLERS, Alarms()), of, answers, today)
        assert shown(subject(REMEMBERING, of, answers, today)) == shown(fresh)


def test_a_kept_answer_is_shaped_once_for_the_same_grant_alone() -> None:
    shaper = Shaper(HANDLERS, Alarms())
    public, full = SETTINGS[0], SETTINGS[2]
    once = subject(shaper, public, ANSWERS[0])
    assert (once.kept, once.answer.rendered, once.answers) == (False, None, ANSWERS[0])
    # What comes again is kept from then on.
    kept = subject(shaper, public, ANSWERS[0])
    assert (kept.kept, kept.answer.rendered, kept.answers) == (True, {}, ANSWERS[0])
    assert shown(kept) == shown(once)
    assert subject(shaper, public, ANSWERS[0]) is kept
    decided = dict(DECIDED[id(public.granted)])
    again = shaper.outline(question_of(public), decided, public.caller, BUNDLE, TODAY)
    equal = (msgspec.structs.replace(ANSWERS[0][0]),)
    for _ in range(3):
        assert subject(shaper, full, ANSWERS[0]) is not kept
        assert (
            shaper.subject(question_of(public).subject, again, [ANSWERS[0]], TITLES, merged=True) is not kept
        )
        assert subject(shaper, public, ANSWERS[0], merged=False) is not kept
        assert subject(shaper, public, ANSWERS[0], TODAY + timedelta(1)) is not kept
        assert subject(shaper, public, equal) is not kept


def test_what_no_cache_keeps_is_not_kept_here_either() -> None:
    shaper = Shaper(HANDLERS, Alarms())
    made = [subject(shaper, SETTINGS[0], ANSWERS[3]) for _ in range(4)]
    assert len({id(each) for each in made}) == 4
    for each in made:
        assert (each.kept, each.answer.rendered, each.answers) == (False, None, ())


@pytest.mark.parametrize("of", SETTINGS)
@pytest.mark.parametrize("merged", [True, False])
def test_nothing_that_was_asked_and_not_granted_is_left_in_a_record(of: Setting, *, merged: bool) -> None:
    """Records hold what was granted and what filters need; whoever asked for more of that does not get it."""
    shaper = Shaper(HANDLERS, Alarms())
    (ready,) = outline_for(shaper, of).granted
    kept = cut_to(-1 if merged else ready.held)
    made = subject(shaper, of, (answer(*kept),), merged=merged).sections["PENALTY"]
    denied = of.granted.asked & ~of.granted.fields
    names = [name for bit, name in enumerate(Penalty.__struct_fields__) if denied >> bit & 1]
    for record in made.answer.records:
        assert {getattr(record, name) for name in names if name not in ("record_id", "marks")} <= {None}


def cut_to(mask: int) -> list[Record]:
    """The records as a source's map reads them for these fields."""
    names = type(RECORDS[0]).__struct_fields__
    return [
        type(record)(**{name: getattr(record, name) for bit, name in enumerate(names) if mask >> bit & 1})
        for record in RECORDS
    ]


def test_a_failing_mask_gives_nothing_each_time() -> None:
    def fails(_value: str) -> str | None:
        raise ArithmeticError

    alarms = Alarms()
    shaper = Shaper(Handlers({"VISIBLE": fails_on}, dict.fromkeys(MASKED, fails)), alarms)
    for count in (1, 2):
        made = subject(shaper, SETTINGS[0], ANSWERS[0]).sections["PENALTY"]
        assert (made.answer.state, made.answer.records) == (SectionState.DENIED, ())
        assert made.failed is not None
        assert made.failed.code is Outcome.DENY_OBLIGATION
        assert alarms.count == count


def fails_on(_setting: Setting) -> Hides:
    def fails(_record: Record) -> Outcome | None:
        raise ArithmeticError

    return fails


def test_an_adverse_record_that_rests_on_no_document_is_left_out_and_counted() -> None:
    shaper = Shaper(HANDLERS, Alarms())
    baseless = msgspec.structs.replace(RECORDS[0], record_id="baseless", basis_kind=None)
    made = subject(shaper, SETTINGS[1], (answer(RECORDS[0], baseless),)).sections["PENALTY"]
    assert [record.record_id for record in made.answer.records] == ["fresh"]
    assert shaper.baseless == {"one": 1}


def test_a_record_of_two_sources_is_shown_once_and_both_have_it() -> None:
    """The source of the lower number is believed; that the other one has it too is told of the state alone."""
    shaper = Shaper(HANDLERS, Alarms())
    known = msgspec.structs.replace(RECORDS[0], document_number="例罚字〔2026〕1号")
    titles = {
        name: msgspec.structs.replace(info, precedence=at)
        for (name, info), at in zip(TITLES.items(), (30, 10), strict=False)
    }
    outline = outline_for(shaper, SETTINGS[1])
    answers = [(answer(known), answer(known, source="two"))]
    made = shaper.subject(question_of(SETTINGS[1]).subject, outline, answers, titles, merged=True)
    section = made.sections["PENALTY"].answer
    assert len(section.records) == 1
    assert [(each.id, each.state) for each in section.sources] == [
        ("one", SectionState.HAS),
        ("two", SectionState.HAS),
    ]


def test_whose_record_is_hidden_is_not_told_by_another_sources_state() -> None:
    """A repaired record that two sources have is absent at both."""
    shaper = Shaper(HANDLERS, Alarms())
    repaired = msgspec.structs.replace(RECORDS[2], document_number="例罚字〔2026〕2号")
    answers = (answer(RECORDS[0], repaired), answer(repaired, source="two"))
    section = subject(shaper, SETTINGS[1], answers).sections["PENALTY"].answer
    assert len(section.records) == 1
    assert [(each.id, each.state) for each in section.sources] == [
        ("one", SectionState.HAS),
        ("two", SectionState.NONE),
    ]
