"""Bearer tokens to callers: JWT access tokens (RFC 9068) of one issuer.

Claims beside those of RFC 9068 (`iss`, `aud`, `exp`, `iat`, `sub`, `client_id`, `jti`, and `nbf` if present):

- `unit`, `unit_name`: the unit that asks, by its unified social credit code, and its name
- `caller_type`: a caller type of the policy bundle, as MARKET_REGULATION, BANK, SUBJECT
- `level`: PROVINCE, CITY or COUNTY; `division`: six digits of GB/T 2260; both optional
- `officer`: the person at the unit; optional
- `subject`: for callers of type SUBJECT alone, and demanded of them: the identifiers the issuer verified,
  `{"credit_code": …}` or `{"resident_number": …, "name": …}`
- `synthetic_only`: true confines the token to subjects of division 99; optional
- `authorization_details` (RFC 9396): exactly one entry
  `{"type": "credit_inquiry", "purposes": [...], "categories": [...]}`, `categories` optional. Entries of other
  types are for other resources. An unknown member of the entry is refused: it might have been a limit.
"""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

import msgspec

from gateway.keysets import KeySet
from gateway.signed import Claims, StatementError, read
from policies.caller import Caller, Identity

REALM = "credit-gateway"
LONGEST_LIFE = 86_400
"""Seconds between issue and expiry beyond which a token is refused."""

REMEMBERED = 4096
"""Verified tokens that are remembered at once; the least recently used one makes room."""

_LEVELS = ("PROVINCE", "CITY", "COUNTY")
_DIVISION = re.compile(r"[0-9]{6}")
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE | re.ASCII)


class Unauthenticated(Exception):  # noqa: N818  # a refusal, not a fault
    """No caller: `error` is the code of RFC 6750, 3.1, or None when no bearer token came at all.

    `description` says what is wrong and names claims, never values; it fits a quoted header value.
    """

    def __init__(self, error: str | None, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description

    @property
    def challenge(self) -> str:
        """The `WWW-Authenticate` value that goes with the refusal (RFC 6750, 3)."""
        challenge = f'Bearer realm="{REALM}"'
        if self.error is None:
            return challenge
        return f'{challenge}, error="{self.error}", error_description="{self.description}"'


class _Verified(msgspec.Struct, frozen=True):
    """A caller, and from when until when its token need not be verified again."""

    caller: Caller
    since: float
    until: float


class Authenticator:
    """Verifies tokens of one issuer for one audience.

    `clock` gives seconds since 1970 UTC; `leeway` is how many seconds the issuer's clock may differ.
    `known_types` gives the caller types that the policy bundle knows, which may change with it.
    `remembered_seconds` is how long a verified token is believed without another look, never beyond its expiry;
    0: not at all. It is remembered by the SHA-256 of the header it came in, and forgotten with all others when
    the issuer's keys or the caller types change. What was refused is not remembered.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        keyset: KeySet,
        known_types: Callable[[], Collection[str]],
        *,
        clock: Callable[[], float] = time.time,
        leeway: int = 30,
        remembered_seconds: float = 60.0,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keyset = keyset
        self._known_types = known_types
        self._clock = clock
        self._leeway = leeway
        self._remembered_seconds = remembered_seconds
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._verified_with: tuple[int, Collection[str]] = (0, ())

    def known(self, authorization_header: bytes) -> Caller | None:
        """The caller of a token that was verified a short while ago: the same object each time. None: verify it."""
        generation, types = self._verified_with
        if self._keyset.generation != generation or self._known_types() is not types:
            return None
        name = hashlib.sha256(authorization_header).digest()
        verified = self._verified.get(name)
        # A clock that was put back makes no entry live longer.
        if verified is None or not verified.since <= self._clock() < verified.until:
            return None
        self._verified.move_to_end(name)
        return verified.caller

    async def authenticate(self, authorization_header: str | None) -> Caller:
        """The caller that the `Authorization` header proves.

        Raises Unauthenticated when it proves none, KeysUnavailableError when the issuer's keys cannot be had.
        """
        if authorization_header is None or not authorization_header.lower().startswith("bearer"):
            raise Unauthenticated(None, "a bearer token is needed")
        bearer = _BEARER.fullmatch(authorization_header)
        if bearer is None:
            raise Unauthenticated("invalid_token", "the header is not Bearer and one token")
        try:
            caller = await self._caller(bearer[1])
        except StatementError as error:
            raise Unauthenticated("invalid_token", error.reason) from error
        return self._remember(authorization_header, caller)

    def _remember(self, authorization_header: str, caller: Caller) -> Caller:
        """The caller, remembered; the one of before where it says the same, as others remember things by it."""
        verified_with = (self._keyset.generation, self._known_types())
        if self._verified_with[0] != verified_with[0] or self._verified_with[1] is not verified_with[1]:
            self._verified.clear()
            self._verified_with = verified_with
        now = self._clock()
        until = min(caller.expires, now + self._remembered_seconds)
        name = hashlib.sha256(authorization_header.encode("latin-1")).digest()
        before = self._verified.pop(name, None)
        if before is not None and before.caller == caller:
            caller = before.caller
        self._verified[name] = _Verified(caller, now, until)
        while len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return caller

    async def _caller(self, token: str) -> Caller:
        statement = read(token, "at+jwt")
        claims = statement.claims
        if claims.text("iss") != self._issuer:
            raise claims.bad("iss", "is not the trusted issuer")
        if not await self._keyset.verify(statement):
            raise StatementError("the signature is not by a known key of the issuer")
        if self._audience not in claims.texts("aud"):
            raise claims.bad("aud", "does not name this service")
        self._check_times(claims)
        claims.text("sub")
        return _read_caller(claims, self._known_types())

    def _check_times(self, claims: Claims) -> None:
        now = self._clock()
        issued, expires = claims.seconds("iat"), claims.seconds("exp")
        if not 0 < expires - issued <= LONGEST_LIFE:
            raise claims.bad("exp", "must be after iat by 24 hours at most")
        if now >= expires + self._leeway:
            raise claims.bad("exp", "is over: the token expired")
        if issued > now + self._leeway:
            raise claims.bad("iat", "is in the future")
        if "nbf" in claims and claims.seconds("nbf") > now + self._leeway:
            raise claims.bad("nbf", "is in the future: the token is not valid yet")


def _read_caller(claims: Claims, known_types: Collection[str]) -> Caller:
    caller_type = claims.one_of("caller_type", known_types)
    purposes, categories = _allowed(claims)
    return Caller(
        unit=claims.text("unit"),
        unit_name=claims.text("unit_name"),
        type=caller_type,
        level=claims.one_of("level", _LEVELS) if "level" in claims else None,
        division=claims.matching("division", _DIVISION, "six digits") if "division" in claims else None,
        purposes=purposes,
        categories=categories,
        officer=claims.optional_text("officer"),
        identity=_identity(claims, caller_type),
        synthetic_only=claims.flag("synthetic_only"),
        client=claims.text("client_id"),
        token_id=claims.text("jti"),
        expires=claims.seconds("exp"),
    )


def _identity(claims: Claims, caller_type: str) -> Identity | None:
    if caller_type == "SUBJECT":
        scheme, value, name = claims.subject("subject")
        if scheme == "credit_code":
            return Identity(credit_code=value)
        return Identity(resident_number=value, name=name)
    if "subject" in claims:
        raise claims.bad("subject", "is for callers of type SUBJECT alone")
    return None


def _allowed(claims: Claims) -> tuple[frozenset[str], frozenset[str] | None]:
    """Purposes, and categories if they are narrowed, of the one entry that is for this service."""
    name = "authorization_details"
    entries = [entry for entry in claims.objects(name) if entry.text("type") == "credit_inquiry"]
    if len(entries) != 1:
        raise claims.bad(name, "must have exactly one entry of type credit_inquiry")
    entry = entries[0]
    entry.allow_only(("type", "purposes", "categories"))
    return entry.codes("purposes"), entry.codes("categories") if "categories" in entry else None
