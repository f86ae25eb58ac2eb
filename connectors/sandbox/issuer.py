"""The sandbox's identity: a token issuer (OAuth 2.0 client credentials) and a consent service.

Everything here is synthetic: the clients and their secrets are constants that anybody may read, the units
exist in division 99 only, and the keys are made anew at each start.

    POST /token                  RFC 6749, 4.4. Form body, client_secret_basic or client_secret_post.
                                 `persona` (clients that have several), `purposes` (blank-separated: narrows).
                                 200 {"access_token", "token_type": "Bearer", "expires_in": 43200,
                                 "authorization_details"}; the token is a JWT of RFC 9068.
    GET  /jwks                   public keys of the tokens, old ones included
    POST /rotate                 sign tokens with a new key from now on; {"kid"}
    GET  /.well-known/oauth-authorization-server   RFC 8414
    POST /authorizations         stands for the service where a subject gives its consent:
                                 {"subject": {"credit_code"} | {"resident_number", "name"}, "grantee",
                                 "purposes": [], "categories": [], "days", "consent"} ->
                                 201 {"authorization": artefact, "id", "expires"}. Subjects of division 99 only.
    POST /authorizations/{id}/withdraw   the subject takes it back: 200 {"id", "withdrawn": true}, 404 for an id
                                 that was not issued here
    GET  /authorizations/jwks    public keys of the artefacts

Artefacts name another issuer than tokens do (`<base_url>/authorizations`) and are signed with another key.
"""

import base64
import binascii
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from joserfc import jws
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

AUDIENCE = "credit-gateway"
TOKEN_SECONDS = 12 * 3600
SYNTHETIC_ORGANISATION = "91990100FAKE00013D"
SYNTHETIC_PERSON = ("990105199912319987", "例失信")

_MAX_BODY = 65_536
_OLD_KEYS = 4
_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Persona:
    """Who a token speaks for."""

    unit: str
    unit_name: str
    caller_type: str
    purposes: tuple[str, ...]
    level: str | None = None
    division: str | None = None
    officer: str | None = None
    subject: Mapping[str, str] | None = None

    def claims(self) -> dict[str, object]:
        """The private claims of a token, those without a value left out."""
        optional = {
            "level": self.level,
            "division": self.division,
            "officer": self.officer,
            "subject": self.subject,
        }
        return {
            "unit": self.unit,
            "unit_name": self.unit_name,
            "caller_type": self.caller_type,
        } | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True)
class Client:
    """A registered client: its secret and the personas it may take, the first unless it asks for another."""

    secret: str
    personas: tuple[str, ...]
    synthetic_only: bool = False


PERSONAS: dict[str, Persona] = {
    "market-regulation-bureau": Persona(
        unit="11990105FAKE90012G",
        unit_name="示例区市场监督管理局",
        caller_type="MARKET_REGULATION",
        level="COUNTY",
        division="990105",
        officer="officer-0001",
        purposes=(
            "LICENSING",
            "COMMITMENT_CHECK",
            "SUPERVISION",
            "PENALTY_DISCRETION",
            "PROCUREMENT",
            "AWARD",
            "LIST_DESIGNATION",
            "MEASURE_CHECK",
            "OBJECTION",
            "REPAIR",
            "EVALUATION_RUN",
            "PUBLIC_VIEW",
        ),
    ),
    "first-bank": Persona(
        unit="91990100FAKE90020T",
        unit_name="示例第一银行",
        caller_type="BANK",
        division="990100",
        purposes=("LOAN_PRECHECK", "GUARANTEE_CHECK", "LEGAL_REP_CHECK", "LOAN_POSTMGMT", "PUBLIC_VIEW"),
    ),
    "subject-portal": Persona(
        unit=SYNTHETIC_ORGANISATION,
        unit_name="虚构省示例清白科技有限公司",
        caller_type="SUBJECT",
        purposes=("SELF", "PUBLIC_VIEW"),
        subject={"credit_code": SYNTHETIC_ORGANISATION},
    ),
    "natural-person": Persona(
        unit="natural-person",
        unit_name="本人",
        caller_type="SUBJECT",
        purposes=("SELF", "PUBLIC_VIEW"),
        subject={"resident_number": SYNTHETIC_PERSON[0], "name": SYNTHETIC_PERSON[1]},
    ),
    "clean-person": Persona(
        unit="natural-person",
        unit_name="本人",
        caller_type="SUBJECT",
        purposes=("SELF", "PUBLIC_VIEW"),
        subject={"resident_number": "99010519850607123X", "name": "例守信"},
    ),
    "cooperative": Persona(
        unit="93990105FAKE0003X2",
        unit_name="示例区虚构种植专业合作社",
        caller_type="SUBJECT",
        purposes=("SELF", "PUBLIC_VIEW"),
        subject={"credit_code": "93990105FAKE0003X2"},
    ),
    "individual-business": Persona(
        unit="92990105FAKE00021D",
        unit_name="示例区虚构小吃店",
        caller_type="SUBJECT",
        purposes=("SELF", "PUBLIC_VIEW"),
        subject={"credit_code": "92990105FAKE00021D"},
    ),
    "government-body": Persona(
        unit="11990000FAKE000483",
        unit_name="虚构省示例事务局",
        caller_type="SUBJECT",
        purposes=("SELF", "PUBLIC_VIEW"),
        subject={"credit_code": "11990000FAKE000483"},
    ),
    "court": Persona(
        unit="11990000FAKE90039T",
        unit_name="示例省高级人民法院",
        caller_type="COURT",
        level="PROVINCE",
        division="990000",
        purposes=("JUDICIAL", "LIST_DESIGNATION", "OBJECTION", "REPAIR", "PUBLIC_VIEW"),
    ),
    "credit-authority": Persona(
        unit="11990000FAKE90047M",
        unit_name="示例省发展和改革委员会",
        caller_type="CREDIT_AUTHORITY",
        level="PROVINCE",
        division="990000",
        purposes=(
            "PROCUREMENT",
            "FISCAL_SUPPORT",
            "AWARD",
            "LIST_DESIGNATION",
            "DATA_QUALITY",
            "OBJECTION",
            "REPAIR",
            "EVALUATION_RUN",
            "AUDIT",
            "STATISTICS",
            "PUBLIC_VIEW",
        ),
    ),
    "public": Persona(unit="public", unit_name="社会公众", caller_type="PUBLIC", purposes=("PUBLIC_VIEW",)),
    "developer": Persona(
        unit="developer",
        unit_name="示例开发者",
        caller_type="DEVELOPER",
        purposes=("SCHEMA_EXPLORE", "PUBLIC_VIEW"),
    ),
}

CLIENTS: dict[str, Client] = {
    "market-regulation-bureau": Client("sandbox-market-regulation-bureau", ("market-regulation-bureau",)),
    "first-bank": Client("sandbox-first-bank", ("first-bank",)),
    "subject-portal": Client(
        "sandbox-subject-portal",
        (
            "subject-portal",
            "natural-person",
            "clean-person",
            "cooperative",
            "individual-business",
            "government-body",
        ),
    ),
    "court": Client("sandbox-court", ("court",)),
    "credit-authority": Client("sandbox-credit-authority", ("credit-authority",)),
    "public": Client("sandbox-public", ("public",)),
    "developer": Client(
        "sandbox-developer",
        ("developer", *(name for name in PERSONAS if name != "developer")),
        synthetic_only=True,
    ),
}


@dataclass(frozen=True)
class Consents:
    """The ids of the authorizations that were issued, and of those that were withdrawn."""

    issued: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)


def create_issuer(
    *, base_url: str, clock: Callable[[], float] = time.time, consents: Consents | None = None
) -> Starlette:
    """The issuer as an application that is reached at `base_url`; `clock`: seconds since 1970 UTC.

    `consents` is where it writes down what it issues and what is withdrawn.
    """
    issuer = _Issuer(base_url.rstrip("/"), clock, consents or Consents())
    return Starlette(
        routes=[
            Route("/token", issuer.token, methods=["POST"]),
            Route("/jwks", issuer.token_keys),
            Route("/rotate", issuer.rotate, methods=["POST"]),
            Route("/.well-known/oauth-authorization-server", issuer.metadata),
            Route("/authorizations", issuer.authorize, methods=["POST"]),
            Route("/authorizations/{id}/withdraw", issuer.withdraw, methods=["POST"]),
            Route("/authorizations/jwks", issuer.authorization_keys),
        ],
        exception_handlers={_Refusal: _refused},
    )


class _Refusal(Exception):  # noqa: N818  # an answer, not a fault
    """An error answer of RFC 6749, 5.2; the description never repeats what was sent."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, _Refusal):
        raise error
    headers = {"Cache-Control": "no-store"}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="sandbox issuer"'
    body = {"error": error.error, "error_description": error.description}
    return JSONResponse(body, error.status, headers=headers)


class _Issuer:
    def __init__(self, base_url: str, clock: Callable[[], float], consents: Consents) -> None:
        self._base_url = base_url
        self._clock = clock
        self._consents = consents
        self._token_keys = [_new_key()]
        self._authorization_key = _new_key()

    async def token(self, request: Request) -> Response:
        form = _form(request, await _body(request))
        client_id, client = _authenticated(request, form)
        if "grant_type" not in form:
            raise _Refusal("invalid_request", "grant_type is missing")
        if form["grant_type"] != "client_credentials":
            raise _Refusal("unsupported_grant_type", "only client_credentials is given")
        persona = _persona(client, form)
        purposes = _purposes(persona, form)
        details = [{"type": "credit_inquiry", "purposes": list(purposes)}]
        now = int(self._clock())
        claims = {
            "iss": self._base_url,
            "aud": AUDIENCE,
            "sub": client_id,
            "client_id": client_id,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
            "authorization_details": details,
            **persona.claims(),
            **({"synthetic_only": True} if client.synthetic_only else {}),
        }
        answer = {
            "access_token": _signed(claims, "at+jwt", self._token_keys[0]),
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "authorization_details": details,
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def token_keys(self, _: Request) -> Response:
        return _published(self._token_keys)

    async def authorization_keys(self, _: Request) -> Response:
        return _published([self._authorization_key])

    async def rotate(self, _: Request) -> Response:
        self._token_keys = [_new_key(), *self._token_keys[:_OLD_KEYS]]
        return JSONResponse({"kid": self._token_keys[0].kid})

    async def metadata(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self._base_url,
                "token_endpoint": f"{self._base_url}/token",
                "jwks_uri": f"{self._base_url}/jwks",
                "response_types_supported": [],
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "authorization_details_types_supported": ["credit_inquiry"],
            }
        )

    async def authorize(self, request: Request) -> Response:
        try:
            wish = msgspec.json.decode(await _body(request), type=_Wish)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refusal("invalid_request", "the body is not the documented JSON object") from error
        wish.check()
        now = int(self._clock())
        claims = {
            "iss": f"{self._base_url}/authorizations",
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "nbf": now,
            "exp": now + wish.days * _DAY,
            "subject": wish.subject,
            "grantee": wish.grantee,
            "purposes": wish.purposes,
            "categories": wish.categories,
            "consent": wish.consent,
            **({"warned": True} if wish.consent == "SEPARATE" else {}),
        }
        artefact = _signed(claims, "credit-authorization+jwt", self._authorization_key)
        self._consents.issued.add(str(claims["jti"]))
        answer = {"authorization": artefact, "id": claims["jti"], "expires": claims["exp"]}
        return JSONResponse(answer, 201, headers={"Cache-Control": "no-store"})

    async def withdraw(self, request: Request) -> Response:
        consent = request.path_params["id"]
        if consent not in self._consents.issued:
            raise _Refusal("invalid_request", "the id is of no authorization issued here", 404)
        self._consents.withdrawn.add(consent)
        return JSONResponse({"id": consent, "withdrawn": True})


class _Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a subject is taken to consent to."""

    subject: dict[str, str]
    grantee: str
    purposes: list[str]
    categories: list[str]
    days: int
    consent: str = "WRITTEN"

    def check(self) -> None:
        """Raise the refusal that names the first member that cannot stand."""
        identifier = _IDENTIFIERS.get(frozenset(self.subject))
        if identifier is None:
            raise _wrong("subject", "must hold credit_code, or resident_number and name")
        name, synthetic = identifier
        if not synthetic.fullmatch(self.subject[name]):
            raise _wrong(f"subject.{name}", "must be an identifier of division 99: others are not synthetic")
        if not _is_text(self.subject.get("name", "-")):
            raise _wrong("subject.name", "must be a text of 1 to 200 printable characters")
        if not _is_text(self.grantee):
            raise _wrong("grantee", "must be a text of 1 to 200 printable characters")
        for member, codes in (("purposes", self.purposes), ("categories", self.categories)):
            if not 1 <= len(codes) <= 100 or len(set(codes)) < len(codes) or not all(map(_is_code, codes)):
                raise _wrong(member, "must be a list of 1 to 100 different codes")
        if not 1 <= self.days <= 3650:
            raise _wrong("days", "must be 1 to 3650")
        if self.consent not in ("WRITTEN", "SEPARATE", "MANDATE"):
            raise _wrong("consent", "must be WRITTEN, SEPARATE or MANDATE")
        if self.consent == "MANDATE" and self.purposes != ["SELF"]:
            raise _wrong("purposes", "must be SELF alone with consent MANDATE")


_IDENTIFIERS = {
    frozenset({"credit_code"}): (
        "credit_code",
        re.compile(r"[0-9A-HJ-NPQRTUWXY]{2}99[0-9]{4}[0-9A-HJ-NPQRTUWXY]{10}"),
    ),
    frozenset({"resident_number", "name"}): ("resident_number", re.compile(r"99[0-9]{15}[0-9X]")),
}


def _wrong(member: str, reason: str) -> _Refusal:
    return _Refusal("invalid_request", f"{member} {reason}")


def _is_text(text: str) -> bool:
    return 1 <= len(text) <= 200 and text.isprintable()


def _is_code(text: str) -> bool:
    return re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", text) is not None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise _Refusal("invalid_request", f"the body is longer than {_MAX_BODY} bytes", 413)
    return bytes(body)


def _form(request: Request, body: bytes) -> dict[str, str]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise _Refusal("invalid_request", "the body must be application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict"
        )
    except ValueError as error:
        raise _Refusal("invalid_request", "the form cannot be read") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _Refusal("invalid_request", "a parameter occurs twice")
    return form


def _authenticated(request: Request, form: Mapping[str, str]) -> tuple[str, Client]:
    basic = request.headers.get("authorization")
    if basic is not None and "client_secret" in form:
        raise _Refusal("invalid_request", "the client authenticates twice")
    if basic is None:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    else:
        client_id, secret = _basic_credentials(basic)
    client = CLIENTS.get(client_id)
    if client is None or not hmac.compare_digest(client.secret.encode(), secret.encode()):
        raise _Refusal("invalid_client", "no such client, or a wrong secret", 401)
    return client_id, client


def _basic_credentials(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _Refusal("invalid_client", "the Basic credentials cannot be read", 401) from error
    client_id, colon, secret = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise _Refusal("invalid_client", "the Basic credentials cannot be read", 401)
    return unquote_plus(client_id), unquote_plus(secret)


def _persona(client: Client, form: Mapping[str, str]) -> Persona:
    name = form.get("persona", client.personas[0])
    if name not in client.personas:
        raise _Refusal("invalid_request", f"persona must be one of {', '.join(client.personas)}")
    return PERSONAS[name]


def _purposes(persona: Persona, form: Mapping[str, str]) -> tuple[str, ...]:
    if "purposes" not in form:
        return persona.purposes
    wanted = set(form["purposes"].split())
    if not wanted or not wanted <= set(persona.purposes):
        raise _Refusal("invalid_scope", "purposes must be some of those of the persona")
    return tuple(purpose for purpose in persona.purposes if purpose in wanted)


def _new_key() -> ECKey:
    return ECKey.generate_key("P-256", parameters={"use": "sig", "alg": "ES256"}, auto_kid=True)


def _published(keys: list[ECKey]) -> Response:
    return JSONResponse(KeySet(list(keys)).as_dict(), media_type="application/jwk-set+json")


def _signed(claims: Mapping[str, Any], typ: str, key: ECKey) -> str:
    header = {"typ": typ, "alg": "ES256", "kid": key.kid}
    return jws.serialize_compact(header, msgspec.json.encode(claims), key, algorithms=["ES256"])
