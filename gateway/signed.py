"""Signed statements: compact JWS (RFC 7515), read strictly.

Tokens and authorization artefacts arrive from strangers, so a statement is bounded before it is decoded,
decoded before it is believed, and believed only with a signature. Nothing that a statement holds is repeated
in an error: reasons name headers and claims of this product, never values.
"""

import json
import re
from collections.abc import Iterable, Set
from typing import Any

import msgspec
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from policies.authorization import SubjectScheme

MAX_BYTES = 8192
"""Longest statement that is looked at."""

ALGORITHMS = frozenset({"ES256", "EdDSA", "Ed25519", "RS256", "PS256"})
"""Signature algorithms that are accepted: asymmetric ones only, so that no public key can pass as a secret."""

_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z: later times fit no calendar type
_LONGEST_TEXT = 200
_LONGEST_LIST = 100
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_CREDIT_CODE = re.compile(r"[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")
_RESIDENT_NUMBER = re.compile(r"[0-9]{17}[0-9X]")


class StatementError(Exception):
    """A statement that is not what it must be; the text is safe to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PublicKey(msgspec.Struct, frozen=True):
    """A public key with the algorithms it may be used for, by their fully specified names."""

    key: ECKey | OKPKey | RSAKey
    algorithms: frozenset[str]


class Claims:
    """The members of a JSON object, each asked for by name and type.

    Every method raises `StatementError` that names the claim and the type it must have.
    """

    def __init__(self, members: dict[str, Any], inside: str = "") -> None:
        self._members = members
        self._inside = inside

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def names(self) -> Set[str]:
        """The names of the members."""
        return self._members.keys()

    def text(self, name: str) -> str:
        """A text of 1 to 200 printable characters."""
        value = self._required(name)
        if not _is_text(value):
            raise self.bad(name, f"must be a text of 1 to {_LONGEST_TEXT} printable characters")
        return str(value)

    def optional_text(self, name: str) -> str | None:
        """A text, or None when the claim is absent."""
        return self.text(name) if name in self else None

    def one_of(self, name: str, choices: Iterable[str]) -> str:
        """One of the given words."""
        value = self.text(name)
        if value not in choices:
            raise self.bad(name, "is none of the known values")
        return value

    def matching(self, name: str, pattern: re.Pattern[str], form: str) -> str:
        """A text of the given form."""
        value = self.text(name)
        if not pattern.fullmatch(value):
            raise self.bad(name, f"must be {form}")
        return value

    def seconds(self, name: str) -> int:
        """A time in whole seconds since 1970 UTC (NumericDate of RFC 7519, without a fraction)."""
        value = self._required(name)
        if type(value) is not int or not 0 <= value <= _LATEST:
            raise self.bad(name, "must be a whole number of seconds since 1970")
        return value

    def flag(self, name: str) -> bool:
        """True or false; an absent claim is false."""
        value = self._members.get(name, False)
        if type(value) is not bool:
            raise self.bad(name, "must be true or false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A text or a list of 1 to 100 texts, as the `aud` claim of RFC 7519 has it."""
        value = self._required(name)
        values = value if isinstance(value, list) else [value]
        if not 1 <= len(values) <= _LONGEST_LIST or not all(_is_text(item) for item in values):
            raise self.bad(name, f"must be a text or a list of 1 to {_LONGEST_LIST} texts")
        return tuple(values)

    def codes(self, name: str) -> frozenset[str]:
        """A list of 1 to 100 different codes, written in capitals, digits and underscores."""
        value = self._required(name)
        if (
            not isinstance(value, list)
            or not 1 <= len(value) <= _LONGEST_LIST
            or not all(isinstance(item, str) and _CODE.fullmatch(item) for item in value)
            or len(set(value)) != len(value)
        ):
            raise self.bad(name, f"must be a list of 1 to {_LONGEST_LIST} different codes")
        return frozenset(value)

    def object(self, name: str, allowed: Iterable[str]) -> "Claims":
        """An object with no members but the allowed ones."""
        value = self._required(name)
        if not isinstance(value, dict):
            raise self.bad(name, "must be an object")
        claims = Claims(value, f"{self._inside}{name}.")
        claims.allow_only(allowed)
        return claims

    def objects(self, name: str) -> list["Claims"]:
        """A list of 1 to 100 objects."""
        value = self._required(name)
        if (
            not isinstance(value, list)
            or not 1 <= len(value) <= _LONGEST_LIST
            or not all(isinstance(item, dict) for item in value)
        ):
            raise self.bad(name, f"must be a list of 1 to {_LONGEST_LIST} objects")
        return [Claims(item, f"{self._inside}{name}.") for item in value]

    def allow_only(self, allowed: Iterable[str]) -> None:
        """Refuse any other member: what is not understood might have been meant as a limit."""
        if not self.names <= set(allowed):
            raise StatementError(f"claim {self._inside.rstrip('.')} has a member that is not known here")

    def subject(self, name: str) -> tuple[SubjectScheme, str, str | None]:
        """A credit subject: scheme, identifier, and the name that goes with a resident number.

        Written `{"credit_code": …}`, or `{"resident_number": …, "name": …}` for a natural person.
        """
        subject = self.object(name, ("credit_code", "resident_number", "name"))
        if subject.names == {"credit_code"}:
            form = "18 characters of the alphabet of GB 32100, in capitals"
            return "credit_code", subject.matching("credit_code", _CREDIT_CODE, form), None
        if subject.names == {"resident_number", "name"}:
            form = "17 digits and a digit or capital X, as in GB 11643"
            number = subject.matching("resident_number", _RESIDENT_NUMBER, form)
            return "resident", number, subject.text("name")
        raise self.bad(name, "must hold either credit_code or resident_number with name")

    def bad(self, name: str, reason: str) -> StatementError:
        """The error for a claim of this object."""
        return StatementError(f"claim {self._inside}{name} {reason}")

    def _required(self, name: str) -> Any:
        if name not in self._members:
            raise self.bad(name, "is missing")
        return self._members[name]


class Statement(msgspec.Struct, frozen=True):
    """A statement that was decoded but not yet verified: `is_signed_by` says whether it may be believed."""

    algorithm: str
    key_id: str
    claims: Claims
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        # The default text would carry the claims into logs and tracebacks.
        return f"Statement({self.algorithm})"


def read(compact: str, typ: str) -> Statement:
    """Decode a compact JWS whose `typ` header is the given one; StatementError when it is anything else.

    `typ` is compared without case and without a leading `application/` (RFC 7515, 4.1.9). The algorithm must
    be on the list and the key named; a `crit` header is refused, as no extension is understood.
    """
    if len(compact) > MAX_BYTES:
        raise StatementError(f"longer than {MAX_BYTES} bytes")
    parts = compact.split(".")
    if len(parts) != 3:  # header, payload, signature
        raise StatementError("not three parts with dots between")
    header = Claims(_object(parts[0], "header"))
    if "crit" in header:
        raise StatementError("header crit is not supported")
    if _header(header, "alg") not in ALGORITHMS:
        raise StatementError("header alg is not an accepted algorithm")
    if _header(header, "typ").lower().removeprefix("application/") != typ:
        raise StatementError(f"header typ is not {typ}")
    return Statement(
        algorithm=fully_specified(_header(header, "alg")),
        key_id=_header(header, "kid"),
        claims=Claims(_object(parts[1], "payload")),
        signing_input=f"{parts[0]}.{parts[1]}".encode(),
        signature=_decoded(parts[2], "signature"),
    )


def is_signed_by(statement: Statement, public_key: PublicKey) -> bool:
    """Whether the statement carries a signature of this key, by an algorithm the key is for."""
    if statement.algorithm not in public_key.algorithms:
        return False
    algorithm = JWSRegistry.algorithms[statement.algorithm]
    return algorithm.verify(statement.signing_input, statement.signature, public_key.key)


def fully_specified(algorithm: str) -> str:
    """The name that says the curve too: EdDSA is the older name of Ed25519 (RFC 9864)."""
    return "Ed25519" if algorithm == "EdDSA" else algorithm


def _header(header: Claims, name: str) -> str:
    try:
        return header.text(name)
    except StatementError as error:
        raise StatementError(f"header {name} is missing or no text") from error


def _decoded(part: str, name: str) -> bytes:
    try:
        return urlsafe_b64decode(part.encode("ascii"))
    except ValueError as error:
        raise StatementError(f"{name} is not base64url") from error


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(
            _decoded(part, name).decode(), object_pairs_hook=_distinct, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise StatementError(f"{name} is not JSON with distinct members") from error
    if not isinstance(value, dict):
        raise StatementError(f"{name} is not a JSON object")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _no_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= _LONGEST_TEXT and value.isprintable()
