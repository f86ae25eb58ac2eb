"""Identifiers: vectors, refusals by position, warnings, and that no refusal quotes what it refuses."""

import csv
import random
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.identifiers import (
    ID_CHECKSUM_MISMATCH,
    IdentifierError,
    SubjectKey,
    age_on,
    credit_code,
    is_minor,
    looks_like_identifier,
    registration_number,
    resident,
)
from policies.vocabulary import SubjectKind

TODAY = date(2026, 11, 20)
ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
REGISTRATIONS = Path(__file__).parents[2] / "shared" / "data" / "registrations-shanxi-2019.csv"


def person(number: str, name: str = "张三", today: date = TODAY) -> SubjectKey:
    return resident(number, name, today=today)


def reason_of(refused: pytest.ExceptionInfo[IdentifierError]) -> str:
    return refused.value.reason


def slow_credit_code(body: str) -> str:
    """A body of 17 with its check character, counted as the standard's formula is written."""
    total = sum(ALPHABET.index(body[i]) * (3**i % 31) for i in range(17))
    return body + ALPHABET[(31 - total % 31) % 31]


def slow_organisation(body: str) -> str:
    values = {c: i for i, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
    c = 11 - sum(values[ch] * w for ch, w in zip(body, [3, 7, 9, 10, 5, 8, 4, 2], strict=True)) % 11
    return body + ("X" if c == 10 else "0" if c == 11 else str(c))


def slow_resident(body: str) -> str:
    total = sum(int(ch) * 2 ** (17 - i) for i, ch in enumerate(body))
    return body + "10X98765432"[total % 11]


def registrations() -> list[str]:
    """The codes of the real registrations, or a thousand synthetic ones where that file is not at hand."""
    if REGISTRATIONS.exists():
        with REGISTRATIONS.open(encoding="utf-8-sig", newline="") as file:
            return [row["credit_code"] for row in csv.DictReader(file)]
    chosen = random.Random(7)
    return [
        slow_credit_code(f"9{chosen.choice('13')}990100{slow_organisation(f'{number:08d}')}")
        for number in range(1000)
    ]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("91990100FAKE00013D", SubjectKind.ORG),
        ("92990105FAKE00021D", SubjectKind.IND),
        ("93990105FAKE0003X2", SubjectKind.ORG),
        ("11990000FAKE000483", SubjectKind.GOV),
        ("12990100FAKE000560", SubjectKind.ORG),
        ("51990000FAKE00064L", SubjectKind.ORG),
        ("52990100FAKE00072H", SubjectKind.ORG),
        ("53990000FAKE000804", SubjectKind.ORG),
    ],
)
def test_credit_code_vectors(code: str, kind: SubjectKind) -> None:
    key = credit_code(code)
    assert (key.kind, key.value, key.warnings, key.synthetic) == (kind, code, (), True)
    assert slow_credit_code(code[:17]) == code
    assert slow_organisation(code[8:16]) == code[8:17]


def test_every_registration_is_a_sound_code() -> None:
    codes = registrations()
    assert len(codes) == 1000
    for code in codes:
        key = credit_code(code)
        assert (key.value, key.kind, key.warnings) == (code, SubjectKind.ORG, ())


def test_a_registered_code_with_a_bad_check_digit_is_a_warning() -> None:
    key = credit_code("91350203M0001QAY9B")
    assert key.warnings == (ID_CHECKSUM_MISMATCH,)
    assert key.value == "91350203M0001QAY9B"
    assert not key.synthetic


def test_a_bad_inner_check_digit_is_a_warning() -> None:
    code = slow_credit_code("91990100FAKE00015")
    assert credit_code(code).warnings == (ID_CHECKSUM_MISMATCH,)


def test_credit_code_is_normalised() -> None:
    for text in (
        " 9199 0100 FAKE00013D ",
        "91990100fake00013d",
        "９１９９０１００ＦＡＫＥ０００１３Ｄ",
        "91990100　ｆake00013D",
    ):
        assert credit_code(text).value == "91990100FAKE00013D"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must have 18 characters, has 0"),
        ("91990100FAKE00013", "must have 18 characters, has 17"),
        ("91990100FAKE00013DD", "must have 18 characters, has 19"),
        ("91990100FAKI00013D", "character 12 must be a digit or a letter other than I, O, S, V and Z"),
        ("9O990100FAKE00013D", "character 2 must be a digit or a letter other than I, O, S, V and Z"),
        (
            "91A90100FAKE00013D",
            "character 3 must be a digit: characters 3 to 8 are the division code",
        ),
        ("91990100FАKE00013D", "character 10 must be a digit or a letter other than I, O, S, V and Z"),
        (
            "9199010٠FAKE00013D",
            "character 8 must be a digit: characters 3 to 8 are the division code",
        ),
    ],
)
def test_a_malformed_credit_code_is_refused_by_position(text: str, reason: str) -> None:
    with pytest.raises(IdentifierError) as refused:
        credit_code(text, field="id.creditCode")
    assert (refused.value.field, reason_of(refused)) == ("id.creditCode", reason)
    assert str(refused.value) == f"id.creditCode: {reason}"


@pytest.mark.parametrize(
    ("number", "synthetic"),
    [("11010519491231002X", False), ("990105190001010013", True), ("990105199912319987", True)],
)
def test_resident_vectors(number: str, synthetic: bool) -> None:
    key = person(number, " 张三 ")
    assert (key.kind, key.value, key.name, key.synthetic) == (SubjectKind.NP, number, "张三", synthetic)
    assert slow_resident(number[:17]) == number


def test_resident_is_normalised() -> None:
    assert person("110105 19491231 002x").value == "11010519491231002X"
    assert person("１１０１０５１９４９１２３１００２ｘ").value == "11010519491231002X"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("110105491231002", "has 15 characters: the old numbers are not accepted, give the one of 18"),
        ("1101051949123100", "must have 18 characters, has 16"),
        ("1101051949A231002X", "character 11 must be a digit"),
        ("11010519491231002A", "character 18 must be a digit or X"),
        ("11010519491331002X", "characters 7 to 14 are not a date"),
        ("11010519000229002X", "characters 7 to 14 are not a date"),
        ("11010500001231002X", "characters 7 to 14 are not a date"),
        ("110105194912310021", "the check digit (character 18) does not fit the other 17"),
        (slow_resident("99010520261121001"), "characters 7 to 14 are a birth date in the future"),
    ],
)
def test_a_bad_resident_number_is_refused(number: str, reason: str) -> None:
    with pytest.raises(IdentifierError) as refused:
        person(number)
    assert (refused.value.field, reason_of(refused)) == ("resident.number", reason)


def test_a_person_born_today_has_a_number() -> None:
    assert age_on(person(slow_resident("99010520261120001")).value, TODAY) == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("张", "must have 2 to 50 characters, has 1"),
        ("张" * 51, "must have 2 to 50 characters, has 51"),
        ("张\u200b三", "character 2 is a control character"),
        ("张\n三", "character 2 is a control character"),
        ("张\ud800三", "character 2 is a control character"),
        ("张三3", "character 3 is a digit"),
        ("张三３", "character 3 is a digit"),
    ],
)
def test_a_bad_name_is_refused(name: str, reason: str) -> None:
    with pytest.raises(IdentifierError) as refused:
        person("11010519491231002X", name)
    assert (refused.value.field, reason_of(refused)) == ("resident.name", reason)


def test_names_of_every_people_are_accepted() -> None:
    for name in ("买买提·艾力", "Anna-Maria O'Brien", "张三", "王" * 50):
        assert person("11010519491231002X", name).name == name


@pytest.mark.parametrize(
    ("number", "kind"),
    [("110108000000016", SubjectKind.ORG), ("990105600000010", SubjectKind.IND)],
)
def test_registration_numbers(number: str, kind: SubjectKind) -> None:
    key = registration_number(f" {number} ")
    assert (key.kind, key.value, key.scheme) == (kind, number, "registration_number")
    assert key.synthetic == number.startswith("99")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("11010800000001", "must have 15 characters, has 14"),
        ("1101080000000A6", "character 14 must be a digit"),
        ("110108000000017", "the check digit (character 15) does not fit the other 14"),
    ],
)
def test_a_bad_registration_number_is_refused(number: str, reason: str) -> None:
    with pytest.raises(IdentifierError) as refused:
        registration_number(number)
    assert (refused.value.field, reason_of(refused)) == ("registrationNumber", reason)


def test_age_counts_full_years() -> None:
    number = slow_resident("99010520080229001")
    assert age_on(number, date(2026, 2, 28)) == 17
    assert age_on(number, date(2026, 3, 1)) == 18
    assert is_minor(person(number), date(2026, 2, 28))
    assert not is_minor(person(number), date(2026, 3, 1))
    assert not is_minor(credit_code("91990100FAKE00013D"), TODAY)


def test_hash_inputs_of_different_schemes_never_meet() -> None:
    keys = [
        credit_code("91990100FAKE00013D"),
        person("11010519491231002X"),
        registration_number("110108000000016"),
    ]
    assert [key.hash_input for key in keys] == [
        "credit_code:91990100FAKE00013D",
        "resident:11010519491231002X",
        "registration_number:110108000000016",
    ]


def test_a_key_does_not_show_its_identifier_when_printed() -> None:
    key = person("11010519491231002X", "张三")
    for text in (repr(key), str(key), f"{key}", repr([key])):
        assert "1949" not in text
        assert "张三" not in text


@pytest.mark.parametrize(
    "text",
    [
        "91990100FAKE00013D",
        "see 91990100fake00013d.",
        "企业91990100FAKE00013D的许可",
        "9199 0100 FAKE 00013D",
        "９１９９０１００ＦＡＫＥ０００１３Ｄ",
        "11010519491231002x",
        "案件(110105194912310021)",
    ],
)
def test_text_with_an_identifier_is_seen(text: str) -> None:
    assert looks_like_identifier(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "晋市监许〔2026〕123号",
        "2026-11-20",
        "XK-2026-000123",
        # A matter code begins with the department's own credit code.
        "11140000MB1957883N4000113001000",
        "E1401000001000123456789",
    ],
)
def test_ordinary_numbers_are_not_taken_for_identifiers(text: str) -> None:
    assert not looks_like_identifier(text)


bodies = st.builds(
    "{}{}{:03d}".format,
    st.integers(110000, 999999),
    st.dates(date(1900, 1, 1), TODAY).map(lambda day: f"{day:%Y%m%d}".zfill(8)),
    st.integers(0, 999),
)


@given(bodies, st.integers(0, 17), st.sampled_from("0123456789X"))
def test_any_changed_character_of_a_resident_number_is_refused(body: str, at: int, new: str) -> None:
    number = slow_resident(body)
    assert person(number).value == number
    changed = number[:at] + new + number[at + 1 :]
    if changed == number:
        assert person(changed).value == number
    else:
        with pytest.raises(IdentifierError):
            person(changed)


code_bodies = st.builds(
    lambda head, division, organisation: f"{head}{division:06d}{slow_organisation(organisation)}",
    st.text(ALPHABET, min_size=2, max_size=2),
    st.integers(0, 999999),
    st.text(ALPHABET, min_size=8, max_size=8),
)


@given(code_bodies, st.integers(0, 17), st.sampled_from(ALPHABET))
def test_any_changed_character_of_a_credit_code_is_noticed(body: str, at: int, new: str) -> None:
    code = slow_credit_code(body)
    assert credit_code(code).warnings == ()
    changed = code[:at] + new + code[at + 1 :]
    try:
        noticed = credit_code(changed).warnings == (ID_CHECKSUM_MISMATCH,)
    except IdentifierError:
        noticed = True
    assert noticed == (changed != code)


@given(
    st.text("0123456789ABCDEFIOSVXZ", min_size=14, max_size=19),
    st.text([chr(code) for code in range(0x4E00, 0x4E40)], max_size=60),
)
def test_no_refusal_quotes_what_it_refuses(text: str, name: str) -> None:
    for read, given_text in (
        (credit_code, text),
        (registration_number, text),
        (person, text),
        (lambda name: person("11010519491231002X", name), f"{name}张三李四9"),
    ):
        try:
            read(given_text)
        except IdentifierError as error:
            shown = f"{error} {error!r}"
            assert not any(given_text[i : i + 4] in shown for i in range(len(given_text) - 3))


@given(st.text(max_size=40))
def test_any_text_is_refused_by_the_name_of_its_field(text: str) -> None:
    for read, field in (
        (credit_code, "creditCode"),
        (registration_number, "registrationNumber"),
        (person, "resident.number"),
    ):
        with pytest.raises(IdentifierError) as refused:
            read(f"{text}#")
        assert refused.value.field == field


@given(code_bodies)
def test_the_normal_form_is_stable(body: str) -> None:
    key = credit_code(f" {slow_credit_code(body).lower()}")
    assert credit_code(key.value) == key
    assert looks_like_identifier(key.value)
