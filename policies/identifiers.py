"""Identifiers of credit subjects: what is written, what is wrong with it, and which kind of subject it names.

Three schemes: the unified social credit code (GB 32100-2015, with the organisation code of GB 11714 inside),
the resident identity number (GB 11643-1999) and the former registration number (GS 15-2006).
An error names the field and the position of the fault, never a character of the identifier.
"""

import re
import string
import unicodedata
from collections.abc import Mapping
from datetime import date
from operator import mul

import msgspec

from policies.vocabulary import SubjectKind

CREDIT_CODE = "credit_code"
RESIDENT = "resident"
REGISTRATION_NUMBER = "registration_number"

ID_CHECKSUM_MISMATCH = "ID_CHECKSUM_MISMATCH"
"""Warning: the code is well formed but its check digit is wrong; such codes have been registered."""

ADULT_AGE = 18
"""Age in years from which a person may be asked about."""

_DIGITS = "0123456789"
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_CODE_VALUE = {character: value for value, character in enumerate(_ALPHABET)}
_CREDIT_CODE_FORM = re.compile(rf"[{_ALPHABET}]{{2}}[0-9]{{6}}[{_ALPHABET}]{{10}}")
_BASE_36 = {character: int(character, 36) for character in _DIGITS + string.ascii_uppercase}
_CREDIT_CODE_WEIGHTS = tuple(pow(3, place, 31) for place in range(17))
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECKS = "10X98765432"
_DIVISION_AT = {CREDIT_CODE: 2, RESIDENT: 0, REGISTRATION_NUMBER: 0}
_UNASSIGNED_DIVISION = "99"

_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


class IdentifierError(ValueError):
    """An identifier that cannot be one: the argument's `field` and the `reason`, which never quotes it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class SubjectKey(msgspec.Struct, frozen=True):
    """One subject as the caller names it; the kind follows from the identifier alone.

    `scheme` is one of credit_code, resident, registration_number; `value` is the normal form; `name` is
    given with a resident number only; `warnings` holds codes such as ID_CHECKSUM_MISMATCH.
    """

    kind: SubjectKind
    scheme: str
    value: str
    name: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def synthetic(self) -> bool:
        """Whether the identifier carries division 99, which is assigned to nobody."""
        return self.division.startswith(_UNASSIGNED_DIVISION)

    @property
    def division(self) -> str:
        """The six digits of the administrative division (GB/T 2260) in the identifier."""
        start = _DIVISION_AT[self.scheme]
        return self.value[start : start + 6]

    @property
    def hash_input(self) -> str:
        """The text to hash with a key in place of the identifier; the scheme keeps the schemes apart."""
        return f"{self.scheme}:{self.value}"

    def __repr__(self) -> str:
        # The default text would carry the identifier into logs and tracebacks.
        return f"SubjectKey({self.kind}, {self.scheme})"


def credit_code(text: str, field: str = "creditCode") -> SubjectKey:
    """The subject of a unified social credit code (GB 32100-2015).

    Raises IdentifierError for a wrong length or character. A wrong check digit, of the whole or of the
    organisation code in characters 9 to 17, is a warning.
    """
    code = text if _CREDIT_CODE_FORM.fullmatch(text) else _normal(text)
    if not _CREDIT_CODE_FORM.fullmatch(code):
        _check_length(code, 18, field)
        for position, character in enumerate(code, start=1):
            _check_credit_code_character(position, character, field)
    sound = code[17] == _credit_code_check(code) and code[16] == _organisation_check(code[8:16])
    warnings = () if sound else (ID_CHECKSUM_MISMATCH,)
    return SubjectKey(_kind_of_credit_code(code), CREDIT_CODE, code, warnings=warnings)


def resident(number: str, name: str, *, today: date, field: str = "resident") -> SubjectKey:
    """The natural person of a resident identity number (GB 11643-1999) and name.

    `today` is the local day of the province, for the birth date. Raises IdentifierError for a wrong length,
    character, birth date or check digit and for a name that cannot be one.
    """
    normal = _normal(number)
    number_field = f"{field}.number"
    if len(normal) == 15:
        raise IdentifierError(
            number_field, "has 15 characters: the old numbers are not accepted, give the one of 18"
        )
    _check_length(normal, 18, number_field)
    _check_digits(normal[:17], number_field)
    if normal[17] not in _RESIDENT_CHECKS:
        raise IdentifierError(number_field, "character 18 must be a digit or X")
    _check_birth_date(normal, today, number_field)
    if normal[17] != _resident_check(normal):
        raise IdentifierError(number_field, "the check digit (character 18) does not fit the other 17")
    return SubjectKey(SubjectKind.NP, RESIDENT, normal, name=_person_name(name, f"{field}.name"))


def registration_number(text: str, field: str = "registrationNumber") -> SubjectKey:
    """The subject of a former 15-digit registration number (GS 15-2006).

    Raises IdentifierError for a wrong length, character or check digit.
    """
    number = _normal(text)
    _check_length(number, 15, field)
    _check_digits(number, field)
    if not _passes_mod_11_10(number):
        raise IdentifierError(field, "the check digit (character 15) does not fit the other 14")
    kind = SubjectKind.IND if number[6] in "6789" else SubjectKind.ORG
    return SubjectKey(kind, REGISTRATION_NUMBER, number)


def age_on(value: str, today: date) -> int:
    """Age in full years on a day of the holder of a resident number in normal form."""
    born = date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def is_minor(key: SubjectKey, today: date) -> bool:
    """Whether the subject is a person under 18 on that day."""
    return key.scheme == RESIDENT and age_on(key.value, today) < ADULT_AGE


# Codes of administrative matters begin with a department's own credit code: only a run of exactly
# 18 characters is a subject's.
_CREDIT_CODE_SHAPE = re.compile(rf"(?<![0-9A-Z])[{_ALPHABET}]{{2}}[0-9]{{6}}[{_ALPHABET}]{{10}}(?![0-9A-Z])")
_RESIDENT_SHAPE = re.compile(
    r"(?<![0-9A-Z])[0-9]{6}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9X](?![0-9A-Z])"
)


_REGISTRATION_SHAPE = re.compile(r"(?<![0-9A-Z])[0-9]{15}(?![0-9A-Z])")


def looks_like_identifier(text: str) -> bool:
    """Whether free text holds something shaped like a credit code, a resident or a registration number.

    Fifteen digits may number anything: they count as a registration number when their check digit fits.
    """
    plain = text.translate(_HALF_WIDTH).upper()
    forms = (plain, _without_spaces(plain))
    if any(shape.search(form) for form in forms for shape in (_CREDIT_CODE_SHAPE, _RESIDENT_SHAPE)):
        return True
    return any(_passes_mod_11_10(found) for form in forms for found in _REGISTRATION_SHAPE.findall(form))


def _normal(text: str) -> str:
    return _without_spaces(text.translate(_HALF_WIDTH)).upper()


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def _check_length(text: str, length: int, field: str) -> None:
    if len(text) != length:
        raise IdentifierError(field, f"must have {length} characters, has {len(text)}")


def _check_digits(text: str, field: str) -> None:
    for position, character in enumerate(text, start=1):
        if character not in _DIGITS:
            raise IdentifierError(field, f"character {position} must be a digit")


def _check_credit_code_character(position: int, character: str, field: str) -> None:
    if 3 <= position <= 8 and character not in _DIGITS:
        raise IdentifierError(
            field, f"character {position} must be a digit: characters 3 to 8 are the division code"
        )
    if character not in _CREDIT_CODE_VALUE:
        raise IdentifierError(
            field, f"character {position} must be a digit or a letter other than I, O, S, V and Z"
        )


def _kind_of_credit_code(code: str) -> SubjectKind:
    if code.startswith("92"):
        return SubjectKind.IND
    if code.startswith("11"):
        return SubjectKind.GOV
    return SubjectKind.ORG


def _weighted_sum(text: str, weights: tuple[int, ...], values: Mapping[str, int]) -> int:
    return sum(map(mul, map(values.__getitem__, text), weights))


def _credit_code_check(code: str) -> str:
    """Check character of GB 32100-2015: 31 less the weighted sum modulo 31."""
    return _ALPHABET[-_weighted_sum(code[:17], _CREDIT_CODE_WEIGHTS, _CREDIT_CODE_VALUE) % 31]


def _organisation_check(body: str) -> str:
    """Check character of GB 11714: letters count 10 to 35; 11 less the weighted sum modulo 11."""
    check = 11 - _weighted_sum(body, _ORGANISATION_WEIGHTS, _BASE_36) % 11
    return {10: "X", 11: "0"}.get(check, str(check))


def _resident_check(number: str) -> str:
    return _RESIDENT_CHECKS[_weighted_sum(number[:17], _RESIDENT_WEIGHTS, _BASE_36) % 11]


def _passes_mod_11_10(number: str) -> bool:
    """Check of GS 15-2006: the hybrid system modulo 11, 10 of ISO 7064."""
    product = 10
    for digit in number[:-1]:
        product = ((product + int(digit)) % 10 or 10) * 2 % 11
    return (product + int(number[-1])) % 10 == 1


def _check_birth_date(number: str, today: date, field: str) -> None:
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        raise IdentifierError(field, "characters 7 to 14 are not a date") from None
    if born > today:
        raise IdentifierError(field, "characters 7 to 14 are a birth date in the future")


def _person_name(text: str, field: str) -> str:
    name = text.strip()
    if not 2 <= len(name) <= 50:
        raise IdentifierError(field, f"must have 2 to 50 characters, has {len(name)}")
    for position, character in enumerate(name, start=1):
        category = unicodedata.category(character)
        if category.startswith("C"):
            raise IdentifierError(field, f"character {position} is a control character")
        if category == "Nd":
            raise IdentifierError(field, f"character {position} is a digit")
    return name
