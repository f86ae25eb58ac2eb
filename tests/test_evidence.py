"""Evidence: its form, what does not belong in it, and how a subject's own completes the inquiry's."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.evidence import (
    ARTIFACTS,
    EVIDENCE_FIELDS,
    MAX_ARTIFACT,
    MAX_RECORD_IDS,
    Evidence,
    EvidenceError,
    Stage,
    check_form,
)

TODAY = date(2026, 11, 20)
NUMBERS = (
    "case_number",
    "commitment_number",
    "inspection_plan_number",
    "project_number",
    "programme_number",
    "award_notice_number",
    "recruitment_notice_number",
    "document_number",
    "objection_number",
    "repair_number",
    "application_number",
    "contract_id",
    "audit_order_number",
    "study_number",
    "register_number",
)
CODES = ("matter_code", "method_id", "cycle", "batch_number", "pboc_consent_id", "approval_id")
WORDS = ("notice_form", "document_type", "article", "role")
OTHERS = (
    "stage",
    "notified_on",
    "record_ids",
    "query_reason_code",
    "minimum_cell",
    "instrument",
    "measure_id",
    "organisation_code",
)
TEXTS = (*NUMBERS, *CODES, *WORDS)
CREDIT_CODE = "91990100FAKE00013D"
RESIDENT = "990105199912319987"


def refused(**values: Any) -> EvidenceError:
    with pytest.raises(EvidenceError) as found:
        check_form(Evidence(**values), TODAY)
    assert str(found.value) == f"{found.value.field}: {found.value.reason}"
    return found.value


def test_every_field_is_tried_here() -> None:
    fields = {field.name for field in EVIDENCE_FIELDS}
    assert fields == {*NUMBERS, *CODES, *WORDS, *OTHERS, *ARTIFACTS}
    assert fields == set(Evidence.__struct_fields__)


def test_no_evidence_is_well_formed() -> None:
    check_form(Evidence(), TODAY)


ACCEPTED = [
    *((name, value) for name in NUMBERS for value in ("C-1", "晋市监罚〔2026〕12号", "(2026)晋01执123号", "a" * 64)),
    *((name, value) for name in CODES for value in ("M-1", "a.b_c-9", "0", "x" * 64)),
    *((name, value) for name in WORDS for value in ("第二十八条第（一）项", "28(1)", "书面 告知", "by letter", "二十八\u3000一")),
    *((name, "eyJ.eyJ.c2ln-_") for name in ARTIFACTS),
    *((name, "a.b." + "c" * (MAX_ARTIFACT - 4)) for name in ARTIFACTS),
    *(("stage", stage) for stage in Stage),
    ("notified_on", TODAY),
    ("notified_on", date(2020, 1, 1)),
    ("record_ids", ("r-1",)),
    ("record_ids", tuple(f"r-{number}" for number in range(MAX_RECORD_IDS))),
    ("query_reason_code", "02"),
    ("minimum_cell", 1),
    ("instrument", "GBF2021-52"),
    ("measure_id", "S4"),
    ("measure_id", "D12"),
    ("organisation_code", CREDIT_CODE),
    # A wrong check digit on a well-formed code is no refusal.
    ("organisation_code", "91990100FAKE000130"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_well_formed_evidence_is_accepted(name: str, value: Any) -> None:
    check_form(Evidence(**{name: value}), TODAY)


REFUSED = [
    *((name, value, "signs such as") for name in NUMBERS for value in ("", "a b", "a\n", "x" * 65, "a;b", "a\u200bb")),
    *((name, value, "A to Z") for name in CODES for value in ("", "a b", "事项", "x" * 65, "a/b", "a\n")),
    *((name, value, "on one line") for name in WORDS for value in ("", "a\nb", "a\tb", "a\u2028b", "x" * 65, "<b>")),
    *((name, value, "no letter and no digit") for name in NUMBERS for value in ("-", "()", "_", "...")),
    *((name, value, "no letter and no digit") for name in CODES for value in ("-", "_", "...")),
    *((name, value, "no letter and no digit") for name in WORDS for value in (" ", "\u3000", "-", "。")),
    *((name, value, "compact JWS") for name in ARTIFACTS for value in ("", "a", "a.b", "a.b.c.d", "a..c", "a.b.c\n", "a.b.c=", "签.名.书")),
    *((name, "a.b." + "c" * MAX_ARTIFACT, f"longer than {MAX_ARTIFACT}") for name in ARTIFACTS),
    ("notified_on", date(2026, 11, 21), "lies in the future"),
    ("record_ids", (), "from 1 to 100"),
    ("record_ids", tuple(f"r-{number}" for number in range(MAX_RECORD_IDS + 1)), "from 1 to 100"),
    ("record_ids", ("r-1", "r 2"), "A to Z"),
    ("record_ids", ("r-1", ""), "A to Z"),
    ("record_ids", ("r-1", "-"), "no letter and no digit"),
    *(("query_reason_code", value, "two digits") for value in ("", "2", "002", "0a", "０２", "٠٢")),
    *(("minimum_cell", value, "positive number") for value in (0, -1)),
    *(("instrument", value, "list of instruments") for value in ("", "sh", "SH 28", "上海", "X" * 17)),
    *(("measure_id", value, "list of measures") for value in ("", "s4", "S", "S123", "4S")),
    ("organisation_code", "", "must have 18 characters"),
    ("organisation_code", "91990100FAKE0001", "must have 18 characters"),
    ("organisation_code", "91990100FAKE0001IO", "character 17"),
    ("organisation_code", RESIDENT[:-1], "must have 18 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED)
def test_evidence_in_the_wrong_form_is_refused_by_field_and_reason(
    name: str, value: Any, reason: str
) -> None:
    error = refused(**{name: value})
    assert error.field == name
    assert reason in error.reason


def in_digits(text: str, zero: str) -> str:
    """The text with its digits in another script, whose zero is given."""
    return "".join(chr(ord(zero) + int(c)) if c in "0123456789" else c for c in text)


HIDDEN = [
    CREDIT_CODE,
    CREDIT_CODE.lower(),
    RESIDENT,
    "11010519491231002x",
    f"no-{CREDIT_CODE}-1",
    f"C({RESIDENT})",
]
# Fields that take them could otherwise hold the same digits full width, or of another script.
HIDDEN_IN_WORDS = [
    *HIDDEN,
    in_digits(RESIDENT, "０"),
    in_digits(RESIDENT, "٠"),
    in_digits(CREDIT_CODE, "０"),
    f"张三 {RESIDENT}",
    " ".join(RESIDENT),
    "\u3000".join(CREDIT_CODE),
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in WORDS for text in HIDDEN_IN_WORDS),
        *((name, text) for name in NUMBERS for text in (*HIDDEN, in_digits(RESIDENT, "٠"))),
        *((name, text) for name in (*CODES, "record_ids") for text in HIDDEN[:5]),
    ],
)
def test_identifiers_do_not_belong_into_evidence_and_are_never_echoed(name: str, text: str) -> None:
    error = refused(**{name: ("r-1", text) if name == "record_ids" else text})
    assert error.field == name
    assert error.reason == "looks like the identifier of a subject, which does not belong here"


@given(st.sampled_from(TEXTS), st.text(min_size=1, max_size=70))
def test_a_refusal_never_quotes_the_value(name: str, text: str) -> None:
    value = f"§{text}§{RESIDENT}"
    error = refused(**{name: value})
    assert value not in str(error)
    assert RESIDENT not in str(error)
    assert "§" not in str(error)


def test_a_refused_organisation_code_is_not_echoed() -> None:
    error = refused(organisation_code=f"{CREDIT_CODE}9")
    assert CREDIT_CODE not in str(error)
    assert error.__cause__ is None


def test_the_first_field_in_the_wrong_form_is_named() -> None:
    assert refused(matter_code="ok", case_number="a b", article="\n").field == "case_number"


# One subject's own evidence over that of the inquiry


def test_own_evidence_goes_before_that_of_the_inquiry() -> None:
    inquiry = Evidence(matter_code="M-1", case_number="C-1", stage=Stage.REVIEW)
    own = Evidence(case_number="C-2", authorization="a.b.c")
    assert own.over(inquiry) == Evidence(
        matter_code="M-1", case_number="C-2", stage=Stage.REVIEW, authorization="a.b.c"
    )


def test_merging_changes_neither_side_and_nothing_added_is_nothing_changed() -> None:
    inquiry = Evidence(matter_code="M-1", record_ids=("r-1",))
    assert Evidence().over(inquiry) == inquiry
    assert inquiry.over(Evidence()) == inquiry
    Evidence(matter_code="M-2", record_ids=("r-2",)).over(inquiry)
    assert inquiry == Evidence(matter_code="M-1", record_ids=("r-1",))


@given(st.sets(st.sampled_from(TEXTS)), st.sets(st.sampled_from(TEXTS)))
def test_each_field_comes_from_the_subject_if_it_has_it(own: set[str], inquiry: set[str]) -> None:
    of_subject: dict[str, Any] = dict.fromkeys(own, "own")
    of_inquiry: dict[str, Any] = dict.fromkeys(inquiry, "inquiry")
    merged = Evidence(**of_subject).over(Evidence(**of_inquiry))
    for name in TEXTS:
        expected = "own" if name in own else "inquiry" if name in inquiry else None
        assert getattr(merged, name) == expected


def test_no_evidence_is_carried_from_one_field_to_another() -> None:
    record = Evidence(record_ids=("r-2",)).over(Evidence(record_ids=("r-1",)))
    assert record.record_ids == ("r-2",)


def test_a_subject_s_own_empty_value_is_not_papered_over() -> None:
    merged = Evidence(minimum_cell=0, record_ids=()).over(Evidence(minimum_cell=10, record_ids=("r-1",)))
    assert (merged.minimum_cell, merged.record_ids) == (0, ())
