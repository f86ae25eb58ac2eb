"""What is believed of several sources: three bases, one record once, and the nearest platform first."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from connectors.answers import Fault, FaultCode, SourceAnswer
from connectors.precedence import believed, telling_mask
from policies.catalogue import (
    Commitment,
    EnforcementDefault,
    Licence,
    Penalty,
    Record,
    Registration,
    fields_of,
)
from policies.vocabulary import BasisKind, Mark

NOW = datetime(2026, 11, 20, 4, tzinfo=UTC)
PRECEDENCE = {"county": 10, "city": 20, "province": 30, "industry": 5}
NUMBER = "虚环罚〔2026〕17号"


def penalty(record_id: str, number: str | None = NUMBER, **values: Any) -> Penalty:
    return Penalty(
        record_id=record_id,
        document_number=number,
        basis_kind=values.pop("basis_kind", BasisKind.ADMINISTRATIVE_DECISION),
        **values,
    )


def says(source: str, *records: Record) -> SourceAnswer:
    return SourceAnswer(source, records, NOW)


def shown(answers: tuple[SourceAnswer, ...]) -> dict[str, list[str]]:
    return {answer.source: [record.record_id for record in answer.records] for answer in answers}


def test_a_record_of_several_sources_is_shown_once_from_the_nearest() -> None:
    answers = believed(
        [says("province", penalty("P")), says("city", penalty("S")), says("county", penalty("X"))], PRECEDENCE
    )
    assert shown(answers) == {"province": [], "city": [], "county": ["X"]}
    assert [answer.elsewhere for answer in answers] == [1, 1, 0]


def test_where_the_nearest_has_none_the_next_is_believed() -> None:
    answers = believed(
        [says("province", penalty("P")), says("city", penalty("S")), says("county")], PRECEDENCE
    )
    assert shown(answers) == {"province": [], "city": ["S"], "county": []}


def test_where_the_nearest_is_down_the_next_is_believed() -> None:
    down = SourceAnswer("county", fault=Fault(FaultCode.DOWN, "no connection"))
    answers = believed([says("province", penalty("P")), down], PRECEDENCE)
    assert shown(answers) == {"province": ["P"], "county": []}
    assert answers[1] is down


def test_what_only_one_has_stays_and_the_same_objects_stay() -> None:
    given = [says("province", penalty("P", "1号")), says("city", penalty("S", "2号"))]
    answers = believed(given, PRECEDENCE)
    assert [one is other for one, other in zip(given, answers, strict=True)] == [True, True]


@pytest.mark.parametrize(
    "spelling", ["虚环罚[2026]17号", "虚环罚（2026）17号", " 虚环罚【2026】 17 号 ", "虚环罚〔２０２６〕17号"]
)
def test_a_number_is_the_same_however_it_is_spelled(spelling: str) -> None:
    answers = believed([says("province", penalty("P", spelling)), says("city", penalty("S"))], PRECEDENCE)
    assert shown(answers) == {"province": [], "city": ["S"]}


SAME: dict[str, tuple[Record, Record]] = {
    "number": (penalty("P"), penalty("S")),
    "number, other values": (penalty("P", facts="a"), penalty("S", facts="b")),
    "identifier and provider": (penalty("A", None, provider="环保局"), penalty("A", None, provider="环保局")),
    "identifier and provider, one number unknown": (
        penalty("A", NUMBER, provider="环保局"),
        penalty("A", None, provider="环保局"),
    ),
    "licence number": (
        Licence(record_id="P", licence_number="L-1", document_number="D-1"),
        Licence(record_id="S", licence_number="L-1"),
    ),
    "case": (
        EnforcementDefault(
            record_id="P", case_number="(2026)虚0001执1号", basis_kind=BasisKind.JUDICIAL_DOCUMENT
        ),
        EnforcementDefault(
            record_id="S", case_number="（2026）虚0001执1号", basis_kind=BasisKind.JUDICIAL_DOCUMENT
        ),
    ),
    "registration": (
        Registration(record_id="P", credit_code="91990100FAKE00013D"),
        Registration(record_id="S", credit_code="91990100fake00013d"),
    ),
}
DIFFERENT: dict[str, tuple[Record, Record]] = {
    "number": (penalty("P", "1号"), penalty("S", "2号")),
    "number of the same identifier and provider": (
        penalty("A", "1号", provider="环保局"),
        penalty("A", "2号", provider="环保局"),
    ),
    "identifier alone": (penalty("1", None), penalty("1", None)),
    "provider": (penalty("1", None, provider="环保局"), penalty("1", None, provider="税务局")),
    "no number": (penalty("P", None, provider="环保局"), penalty("S", None, provider="环保局")),
    "a second number": (
        Licence(record_id="P", licence_number="L-1", document_number="D-1"),
        Licence(record_id="S", licence_number="L-2", document_number="D-1"),
    ),
    "kind of record": (
        Licence(record_id="A", document_number="1号", provider="p"),
        penalty("A", "1号", provider="p"),
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_the_same_record(what: str) -> None:
    low, high = SAME[what]
    answers = believed([says("province", low), says("county", high)], PRECEDENCE)
    assert [len(answer.records) for answer in answers] == [0, 1]


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_record_too_many_is_a_lesser_evil_than_one_that_is_hidden(what: str) -> None:
    low, high = DIFFERENT[what]
    answers = believed([says("province", low), says("county", high)], PRECEDENCE)
    assert [len(answer.records) for answer in answers] == [1, 1]


def test_each_record_stands_for_one_of_another_source_at_most() -> None:
    province = says("province", penalty("P-1"), penalty("P-2"), penalty("P-3"))
    answers = believed([province, says("city", penalty("S-1"), penalty("S-2"))], PRECEDENCE)
    assert shown(answers) == {"province": ["P-3"], "city": ["S-1", "S-2"]}


def test_a_source_is_never_compared_with_itself() -> None:
    answers = believed([says("city", penalty("S-1"), penalty("S-2")), says("county")], PRECEDENCE)
    assert shown(answers)["city"] == ["S-1", "S-2"]


def test_equal_precedence_is_decided_by_the_order_of_the_sources() -> None:
    answers = believed([says("a", penalty("A")), says("b", penalty("B"))], {"a": 100, "b": 100})
    assert shown(answers) == {"a": ["A"], "b": []}


def test_what_protects_the_subject_is_taken_from_every_source() -> None:
    marked = penalty("P", marks=(Mark.UNDER_OBJECTION,), repaired_on=date(2026, 5, 1))
    also = penalty("S", marks=(Mark.UNDER_SUIT,), withdrawn_on=date(2026, 6, 1))
    _, _, county = believed(
        [says("province", marked), says("city", also), says("county", penalty("X", facts="f"))], PRECEDENCE
    )
    [record] = county.records
    assert isinstance(record, Penalty)
    assert set(record.marks) == {Mark.UNDER_OBJECTION, Mark.UNDER_SUIT}
    assert (record.repaired_on, record.withdrawn_on) == (date(2026, 5, 1), date(2026, 6, 1))
    assert (record.record_id, record.facts) == ("X", "f")


def test_an_adverse_record_without_basis_is_left_out_and_counted() -> None:
    answer = says("city", penalty("S-1", "1号"), penalty("S-2", "2号", basis_kind=None))
    [left] = believed([answer], PRECEDENCE)
    assert (shown((left,)), left.baseless) == ({"city": ["S-1"]}, 1)


def test_an_entry_of_an_adverse_list_needs_a_basis_too() -> None:
    known, unknown = (
        EnforcementDefault(record_id="E-1", basis_kind=BasisKind.JUDICIAL_DOCUMENT),
        EnforcementDefault(record_id="E-2"),
    )
    [left] = believed([says("city", known, unknown)], PRECEDENCE)
    assert (shown((left,)), left.baseless) == ({"city": ["E-1"]}, 1)
    assert telling_mask(EnforcementDefault)


def test_a_record_without_basis_hides_no_other() -> None:
    answers = believed(
        [says("province", penalty("P")), says("county", penalty("X", basis_kind=None))], PRECEDENCE
    )
    assert shown(answers) == {"province": ["P"], "county": []}


def test_other_records_need_no_basis() -> None:
    answer = says("city", Licence(record_id="L"))
    assert believed([answer], PRECEDENCE) == (answer,)
    assert believed([answer], PRECEDENCE)[0] is answer


def test_what_tells_records_apart_is_asked_for_whatever_else_is() -> None:
    """Or what is asked would change what is shown."""

    def names(record: type[Record]) -> list[str]:
        mask = telling_mask(record)
        return [field.name for place, field in enumerate(fields_of(record)) if mask >> place & 1]

    assert names(Penalty) == ["basis_kind", "document_number"]
    assert names(Commitment) == ["commitment_number"]


def test_a_thousand_records_of_two_sources_are_compared_by_their_numbers() -> None:
    many = 3000
    answers = believed(
        [
            says("province", *(penalty(f"P-{n}", f"{n}号") for n in range(many))),
            says("city", *(penalty(f"S-{n}", f"{n}号") for n in reversed(range(many)))),
        ],
        PRECEDENCE,
    )
    assert [len(answer.records) for answer in answers] == [0, many]
