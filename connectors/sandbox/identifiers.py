"""Check digits of the identifiers that synthetic subjects carry.

Every identifier made here uses division 99, which GB/T 2260 does not assign, so it cannot belong to anyone.
"""

_CREDIT_CODE_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_CODE_VALUE = {character: value for value, character in enumerate(_CREDIT_CODE_ALPHABET)}
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECKS = "10X98765432"


def organisation_code(body: str) -> str:
    """The organisation code of an eight-character body: the body and its check character (GB 11714)."""
    total = sum(
        int(character, 36) * weight for character, weight in zip(body, _ORGANISATION_WEIGHTS, strict=True)
    )
    check = 11 - total % 11
    return body + {10: "X", 11: "0"}.get(check, str(check))


def credit_code(kind: str, division: str, body: str) -> str:
    """A unified social credit code (GB 32100-2015).

    `kind` is the two characters of department and class, `division` six digits, `body` the eight
    characters of the organisation code without its check.
    """
    head = kind + division + organisation_code(body)
    total = sum(_CREDIT_CODE_VALUE[character] * pow(3, place, 31) for place, character in enumerate(head))
    return head + _CREDIT_CODE_ALPHABET[-total % 31]


def registration_number(head: str) -> str:
    """A 15-digit registration number (GS 15-2006): 14 digits and their ISO 7064 MOD 11,10 check."""
    product = 10
    for digit in head:
        product = ((product + int(digit)) % 10 or 10) * 2 % 11
    return head + str((11 - product) % 10)


def resident_number(head: str) -> str:
    """A resident number (GB 11643-1999): 17 digits and their check character."""
    total = sum(int(digit) * weight for digit, weight in zip(head, _RESIDENT_WEIGHTS, strict=True))
    return head + _RESIDENT_CHECKS[total % 11]
