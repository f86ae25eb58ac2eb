"""Who asks, and on whose authorization: over HTTP, against issuers that the tests control."""

import asyncio
import base64
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from issuing import Clock, JwksEndpoint, Key, ec_key, hs256_with_public_key, serving_jwks, sign
from service import BANK_UNIT, BUREAU, CLEAN, DEFAULTER, PENALISED, Client, serving, settings_for

from connectors.sandbox.server import Sandbox, SandboxOptions, running
from gateway.app import create_app
from gateway.settings import AuthorizationIssuer, IdentitySettings

ISSUER = "https://identity.example"
CONSENT_ISSUER = "https://consent.example"
AGENT_UNIT = "91990100FAKE90055X"

_serial = itertools.count()

VIEWER = "{ viewer { unit type } }"
LOOK = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
  subject(id: $id) { ... on RegisteredSubject { registration { state reason { code } } } } } }"""
LOAN = """query($id: SubjectId!, $authorization: String) { inquiry(purpose: LOAN_PRECHECK,
    evidence: {applicationNumber: "A-1", queryReasonCode: "02", authorization: $authorization}) {
  subject(id: $id) { ... on OperatingSubject { taxPayments { state reason { code remedy } } } } } }"""
LOAN_OF_A_PERSON = """query($id: SubjectId!, $authorization: String, $consent: String) {
  inquiry(purpose: LOAN_PRECHECK, evidence: {applicationNumber: "A-1", queryReasonCode: "02",
      authorization: $authorization, separateConsent: $consent}) {
    subject(id: $id) { ... on NaturalPerson { taxPayments { state reason { code remedy } } } } } }"""
OWN = """query($id: SubjectId!, $mandate: String) { inquiry(purpose: SELF, evidence: {mandate: $mandate}) {
  subject(id: $id) { ... on OperatingSubject { taxPayments { state reason { code remedy } } } } } }"""


@dataclass
class Issued:
    """A gateway that trusts two issuers of the test's own: one of tokens, one of authorizations."""

    client: Client
    token_key: Key
    consent_key: Key
    tokens: JwksEndpoint
    consents: JwksEndpoint
    now: float

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a bank's token; a claim given as None is left out."""
        claims = {
            "iss": ISSUER,
            "aud": "credit-gateway",
            "sub": "bank",
            "client_id": "bank",
            "jti": f"token-{next(_serial)}",
            "iat": int(self.now),
            "exp": int(self.now) + 600,
            "unit": BANK_UNIT,
            "unit_name": "示例第一银行",
            "caller_type": "BANK",
            "authorization_details": [{"type": "credit_inquiry", "purposes": ["LOAN_PRECHECK"]}],
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, **changes: Any) -> str:
        return sign(self.claims(**changes), self.token_key)

    def subject_token(self, **subject: str) -> str:
        details = [{"type": "credit_inquiry", "purposes": ["SELF"]}]
        return self.token(caller_type="SUBJECT", subject=subject, authorization_details=details)

    def agent_token(self) -> str:
        details = [{"type": "credit_inquiry", "purposes": ["SELF"]}]
        return self.token(unit=AGENT_UNIT, caller_type="AGENT", authorization_details=details)

    def consent(self, key: Key | None = None, **changes: Any) -> str:
        """An authorization of the clean company for the bank; a claim given as None is left out."""
        claims = {
            "iss": CONSENT_ISSUER,
            "jti": f"consent-{next(_serial)}",
            "iat": int(self.now),
            "nbf": int(self.now) - 60,
            "exp": int(self.now) + 3600,
            "subject": {"credit_code": CLEAN},
            "grantee": BANK_UNIT,
            "purposes": ["LOAN_PRECHECK"],
            "categories": ["TAX_PAYMENT"],
            "consent": "WRITTEN",
        } | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return sign(claims, key or self.consent_key, typ="credit-authorization+jwt")

    async def post(self, token: str, query: str, **variables: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return await self.client.post(None, query, variables, headers=headers)

    async def section(self, token: str, query: str, **variables: Any) -> dict[str, Any]:
        """The one section that the query asks for."""
        answer = await self.post(token, query, **variables)
        body = answer.json()
        assert answer.status_code == 200, body
        assert "errors" not in body, body
        (section,) = body["data"]["inquiry"]["subject"].values()
        found: dict[str, Any] = section
        return found


@asynccontextmanager
async def issued(sandbox: Sandbox, folder: Path, **wiring: Any) -> AsyncIterator[Issued]:
    token_key, consent_key = ec_key("token-key"), ec_key("consent-key")
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(serving_jwks(token_key))
        consents = await stack.enter_async_context(serving_jwks(consent_key))
        settings = settings_for(
            sandbox,
            folder,
            identity=IdentitySettings(issuer=ISSUER, audience="credit-gateway", jwks_url=tokens.url),
            authorizations=(AuthorizationIssuer(issuer=CONSENT_ISSUER, jwks_url=consents.url),),
        )
        url = await stack.enter_async_context(serving(create_app(settings, environment={}, **wiring)))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False))
        client = Client(http, url, sandbox, folder)
        yield Issued(client, token_key, consent_key, tokens, consents, time.time())


@pytest_asyncio.fixture(scope="module")
async def own(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Issued]:
    async with issued(sandbox, tmp_path_factory.mktemp("identity")) as found:
        yield found


# Tokens


def _unsigned(own: Issued) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'at+jwt', 'kid': 'token-key'})}.{part(own.claims())}."


def _tampered(own: Issued) -> str:
    head, _, signature = own.token().split(".")
    claims = json.dumps(own.claims(caller_type="COURT")).encode()
    return f"{head}.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.{signature}"


BAD_TOKENS: dict[str, Callable[..., Any]] = {
    "garbage": lambda own: "garbage",
    "three parts of garbage": lambda own: "a.b.c",
    "long": lambda own: "x" * 20_000,
    "expired": lambda own: own.token(iat=int(own.now) - 700, exp=int(own.now) - 100),
    "of the future": lambda own: own.token(iat=int(own.now) + 500),
    "not yet valid": lambda own: own.token(nbf=int(own.now) + 500),
    "too long a life": lambda own: own.token(exp=int(own.now) + 100_000),
    "another audience": lambda own: own.token(aud="another-gateway"),
    "no audience": lambda own: own.token(aud=None),
    "another issuer": lambda own: own.token(iss="https://other.example"),
    "unknown key": lambda own: sign(own.claims(), ec_key("unknown")),
    "another key of that name": lambda own: sign(own.claims(), ec_key("token-key")),
    "no signature": _unsigned,
    "tampered": _tampered,
    "public key as secret": lambda own: hs256_with_public_key(own.claims(), own.token_key, "token-key"),
    "another type": lambda own: sign(own.claims(), own.token_key, typ="JWT"),
    "an authorization": lambda own: own.consent(),
    "unknown caller type": lambda own: own.token(caller_type="KING"),
    "no purposes": lambda own: own.token(authorization_details=None),
    "subject without an identifier": lambda own: own.token(caller_type="SUBJECT"),
    "bank with an identifier": lambda own: own.token(subject={"credit_code": CLEAN}),
}

REFUSAL = {
    "errors": [
        {
            "message": "A valid access token is required: send it as 'Authorization: Bearer …'.",
            "extensions": {"code": "UNAUTHENTICATED"},
        }
    ]
}


def _is_refusal(answer: httpx.Response) -> bool:
    assert answer.status_code == 401
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="credit-gateway"')
    assert answer.json() == REFUSAL
    return "error=" in answer.headers["www-authenticate"]


async def test_a_good_token_tells_who_asks(own: Issued) -> None:
    answer = await own.post(own.token(), VIEWER)
    assert answer.json() == {"data": {"viewer": {"unit": BANK_UNIT, "type": "BANK"}}}


@pytest.mark.parametrize("case", BAD_TOKENS)
async def test_a_bad_token_is_refused_and_told_nothing_else(own: Issued, case: str) -> None:
    token = BAD_TOKENS[case](own)
    answer = await own.post(token, VIEWER)
    assert _is_refusal(answer)
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert token not in str(answer.headers)
    assert CLEAN not in str(answer.headers)


@pytest.mark.parametrize("header", [None, "", "Basic Zmlyc3Q6YmFuaw==", "Negotiate x", "token"])
async def test_no_bearer_token_is_refused_without_an_error_code(own: Issued, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    assert not _is_refusal(await own.client.post(None, VIEWER, headers=headers))


@pytest.mark.parametrize("rest", ["", " {token} {token}", ", Bearer {token}", "={token}"])
async def test_a_bearer_header_that_is_not_one_token_is_refused(own: Issued, rest: str) -> None:
    header = f"Bearer{rest.replace('{token}', own.token())}"
    _is_refusal(await own.client.post(None, VIEWER, headers={"authorization": header}))


async def test_two_authorization_headers_are_refused(own: Issued) -> None:
    twice = [("authorization", f"Bearer {own.token()}")] * 2
    answer = await own.client.http.post(f"{own.client.url}/graphql", json={"query": VIEWER}, headers=twice)
    _is_refusal(answer)


async def test_a_token_in_the_address_or_the_body_is_none(own: Issued) -> None:
    token = own.token()
    address = f"{own.client.url}/graphql?access_token={token}"
    answer = await own.client.http.post(address, json={"query": VIEWER, "access_token": token})
    _is_refusal(answer)


async def test_a_refused_token_reaches_no_source(own: Issued) -> None:
    before = await own.client.requests()
    assert (await own.post(own.token(aud="x"), LOOK, id={"creditCode": CLEAN})).status_code == 401
    assert await own.client.requests() == before


async def test_a_token_narrowed_to_a_purpose_gives_no_other(client: Client) -> None:
    before = await client.requests()
    body = await client.ask(BUREAU, LOOK, {"id": {"creditCode": CLEAN}}, purposes="LICENSING")
    registration = body["data"]["inquiry"]["subject"]["registration"]
    assert registration == {"state": "DENIED", "reason": {"code": "DENY_PURPOSE"}}
    assert await client.requests() == before
    wide = await client.ask(BUREAU, LOOK, {"id": {"creditCode": CLEAN}})
    assert wide["data"]["inquiry"]["subject"]["registration"]["state"] == "HAS"


async def test_a_token_narrowed_to_categories_gives_no_other(own: Issued) -> None:
    details = [{"type": "credit_inquiry", "purposes": ["LOAN_PRECHECK"], "categories": ["REG_ORG"]}]
    narrow = own.token(authorization_details=details)
    before = await own.client.requests()
    section = await own.section(narrow, LOAN, id={"creditCode": CLEAN}, authorization=own.consent())
    assert section["reason"]["code"] == "DENY_CATEGORY"
    assert await own.client.requests() == before


# The issuer's keys


async def test_without_keys_nobody_is_refused_or_let_in(sandbox: Sandbox, tmp_path: Path) -> None:
    seconds = Clock()
    async with issued(sandbox, tmp_path, monotonic=seconds) as own:
        own.tokens.status = 503
        for token in (own.token(), sign(own.claims(), ec_key("unknown"))):
            answer = await own.post(token, VIEWER)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["errors"][0]["extensions"] == {"code": "IDENTITY_UNAVAILABLE"}
        own.tokens.status = 200
        seconds.now += 2
        assert (await own.post(own.token(), VIEWER)).status_code == 200
        # known keys go on while the endpoint is down
        own.tokens.status = 503
        seconds.now += 3600
        assert (await own.post(own.token(), VIEWER)).status_code == 200
        _is_refusal(await own.post(sign(own.claims(), ec_key("unknown")), VIEWER))
        # and not for ever
        seconds.now += 86_400
        assert (await own.post(own.token(), VIEWER)).status_code == 503


async def test_unknown_keys_do_not_flood_the_issuer(sandbox: Sandbox, tmp_path: Path) -> None:
    async with issued(sandbox, tmp_path, monotonic=Clock()) as own:
        assert (await own.post(own.token(), VIEWER)).status_code == 200
        unknown = [sign(own.claims(), ec_key(f"unknown-{n}")) for n in range(20)]
        answers = await asyncio.gather(*(own.post(token, VIEWER) for token in unknown))
        assert {answer.status_code for answer in answers} == {401}
        assert own.tokens.requests == 1


async def test_a_rotated_key_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    seconds = Clock()
    async with running(SandboxOptions(subjects=1, base_port=0)) as sandbox:
        app = create_app(settings_for(sandbox, tmp_path), environment={}, monotonic=seconds)
        async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
            before, after = Client(http, url, sandbox, tmp_path), Client(http, url, sandbox, tmp_path)
            assert (await before.post(BUREAU, VIEWER)).status_code == 200
            assert (await http.post(f"{sandbox.urls['issuer']}/rotate")).status_code == 200
            assert await after.token(BUREAU) != await before.token(BUREAU)
            seconds.now += 31
            assert (await after.post(BUREAU, VIEWER)).status_code == 200
            assert (await before.post(BUREAU, VIEWER)).status_code == 200


# Subjects and their agents


async def test_a_subject_asks_about_itself_alone(own: Issued) -> None:
    token = own.subject_token(credit_code=CLEAN)
    assert (await own.section(token, OWN, id={"creditCode": CLEAN}))["state"] == "HAS"
    before = await own.client.requests()
    other = await own.section(token, OWN, id={"creditCode": PENALISED})
    assert other["reason"]["code"] == "DENY_NO_AUTHORISATION"
    assert await own.client.requests() == before


@pytest.mark.parametrize("wrong", [{"name": "例守信"}, {"number": "99010519850607123X"}])
async def test_a_person_is_itself_by_number_and_name(own: Issued, wrong: dict[str, str]) -> None:
    token = own.subject_token(resident_number=DEFAULTER["number"], name=DEFAULTER["name"])
    query = OWN.replace("OperatingSubject", "NaturalPerson").replace("taxPayments", "enforcement")
    assert (await own.section(token, query, id={"resident": DEFAULTER}))["state"] == "HAS"
    before = await own.client.requests()
    other = await own.section(token, query, id={"resident": DEFAULTER | wrong})
    assert other["reason"]["code"] == "DENY_NO_AUTHORISATION"
    assert await own.client.requests() == before


async def test_a_subject_needs_no_mandate_and_gains_none(own: Issued) -> None:
    token = own.subject_token(credit_code=PENALISED)
    mandate = own.consent(purposes=["SELF"], consent="MANDATE")
    section = await own.section(token, OWN, id={"creditCode": CLEAN}, mandate=mandate)
    assert section["reason"]["code"] == "DENY_NO_AUTHORISATION"


async def test_an_agent_asks_with_a_mandate(own: Issued) -> None:
    mandate = own.consent(grantee=AGENT_UNIT, purposes=["SELF"], consent="MANDATE")
    section = await own.section(own.agent_token(), OWN, id={"creditCode": CLEAN}, mandate=mandate)
    assert section["state"] == "HAS"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (None, "DENY_NO_AUTHORISATION"),
        ({"consent": "WRITTEN"}, "DENY_NO_AUTHORISATION"),
        ({"grantee": BANK_UNIT}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"subject": {"credit_code": PENALISED}}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"categories": ["REG_ORG"]}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"nbf": 1, "exp": 1000}, "DENY_NO_AUTHORISATION_EXPIRED"),
    ],
)
async def test_an_agent_without_the_right_mandate_gets_nothing(
    own: Issued, changes: dict[str, Any] | None, code: str
) -> None:
    right = {"grantee": AGENT_UNIT, "purposes": ["SELF"], "consent": "MANDATE"}
    mandate = None if changes is None else own.consent(**(right | changes))
    before = await own.client.requests()
    section = await own.section(own.agent_token(), OWN, id={"creditCode": CLEAN}, mandate=mandate)
    assert section["state"] == "DENIED"
    assert section["reason"]["code"] == code
    assert await own.client.requests() == before


# Authorizations


async def test_an_authorization_opens_what_it_names(own: Issued) -> None:
    section = await own.section(own.token(), LOAN, id={"creditCode": CLEAN}, authorization=own.consent())
    assert section["state"] == "HAS"


AUTHORIZATIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "another grantee": (lambda own: own.consent(grantee=AGENT_UNIT), "DENY_NO_AUTHORISATION_SCOPE"),
    "another purpose": (
        lambda own: own.consent(purposes=["GUARANTEE_CHECK"]),
        "DENY_NO_AUTHORISATION_SCOPE",
    ),
    "another category": (lambda own: own.consent(categories=["MARKET"]), "DENY_NO_AUTHORISATION_SCOPE"),
    "another subject": (
        lambda own: own.consent(subject={"credit_code": PENALISED}),
        "DENY_NO_AUTHORISATION_SCOPE",
    ),
    "expired": (
        lambda own: own.consent(nbf=int(own.now) - 900, exp=int(own.now) - 800),
        "DENY_NO_AUTHORISATION_EXPIRED",
    ),
    "not yet in force": (lambda own: own.consent(nbf=int(own.now) + 900), "DENY_NO_AUTHORISATION_EXPIRED"),
    "another kind of consent": (
        lambda own: own.consent(consent="SEPARATE", warned=True),
        "DENY_NO_AUTHORISATION",
    ),
    "forged": (lambda own: own.consent(ec_key("consent-key")), "DENY_NO_AUTHORISATION"),
    "signed with the token issuer's key": (
        lambda own: own.consent(own.token_key),
        "DENY_NO_AUTHORISATION",
    ),
    "unknown key": (lambda own: own.consent(ec_key("unknown")), "DENY_NO_AUTHORISATION"),
    "untrusted issuer": (lambda own: own.consent(iss="https://other.example"), "DENY_NO_AUTHORISATION"),
    "the token issuer": (lambda own: own.consent(iss=ISSUER), "DENY_NO_AUTHORISATION"),
    "a token": (lambda own: own.token(), "DENY_NO_AUTHORISATION"),
    "invented": (lambda own: "a.b.c", "DENY_NO_AUTHORISATION"),
    "unknown claim": (lambda own: own.consent(limit="one look"), "DENY_NO_AUTHORISATION"),
    "no period": (lambda own: own.consent(exp=None), "DENY_NO_AUTHORISATION"),
    "none": (lambda own: None, "DENY_NO_AUTHORISATION"),
}


@pytest.mark.parametrize("case", AUTHORIZATIONS)
async def test_any_other_authorization_opens_nothing(own: Issued, case: str) -> None:
    make, code = AUTHORIZATIONS[case]
    before = await own.client.requests()
    section = await own.section(own.token(), LOAN, id={"creditCode": CLEAN}, authorization=make(own))
    assert section["state"] == "DENIED"
    assert section["reason"]["code"] == code
    assert await own.client.requests() == before


async def _loan_of(own: Issued, *, signed_by: str, warned_as: str) -> dict[str, Any]:
    """A person's payments, on an authorization and a separate consent under these names."""
    return await own.section(
        own.token(),
        LOAN_OF_A_PERSON,
        id={"resident": DEFAULTER},
        authorization=own.consent(subject={"resident_number": DEFAULTER["number"], "name": signed_by}),
        consent=own.consent(
            subject={"resident_number": DEFAULTER["number"], "name": warned_as},
            consent="SEPARATE",
            warned=True,
        ),
    )


async def test_an_authorization_of_a_person_holds_for_number_and_name(own: Issued) -> None:
    mine, other = DEFAULTER["name"], "例守信"
    assert (await _loan_of(own, signed_by=mine, warned_as=mine))["state"] in ("HAS", "NONE")
    before = await own.client.requests()
    for signed_by, warned_as in ((other, mine), (mine, other), (other, other)):
        section = await _loan_of(own, signed_by=signed_by, warned_as=warned_as)
        assert section["reason"]["code"] == "DENY_NO_AUTHORISATION_SCOPE"
    assert await own.client.requests() == before


async def test_an_authorization_ends_while_the_gateway_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    later = timedelta(0)
    async with issued(sandbox, tmp_path, clock=lambda: now + later) as own:
        consent = own.consent()
        good = await own.section(own.token(), LOAN, id={"creditCode": CLEAN}, authorization=consent)
        assert good["state"] == "HAS"
        later = timedelta(hours=2)
        own.now += 7200
        before = await own.client.requests()
        over = await own.section(own.token(), LOAN, id={"creditCode": CLEAN}, authorization=consent)
        assert over["reason"]["code"] == "DENY_NO_AUTHORISATION_EXPIRED"
        assert await own.client.requests() == before


async def test_when_nobody_can_verify_an_authorization_it_proves_nothing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with issued(sandbox, tmp_path) as own:
        own.consents.status = 503
        before = await own.client.requests()
        section = await own.section(own.token(), LOAN, id={"creditCode": CLEAN}, authorization=own.consent())
        assert section["reason"]["code"] == "DENY_NO_AUTHORISATION"
        assert "cannot be had at the moment" in section["reason"]["remedy"]
        assert await own.client.requests() == before


async def test_each_subject_has_its_own_authorization(own: Issued) -> None:
    query = """query($of: [SubjectRef!]!) { inquiry(purpose: LOAN_PRECHECK,
        evidence: {applicationNumber: "A-1", queryReasonCode: "02"}) { subjects(of: $of) {
      ... on OperatingSubject { taxPayments { state } } } } }"""
    consent = own.consent()
    of = [{"id": {"creditCode": code}, "evidence": {"authorization": consent}} for code in (CLEAN, PENALISED)]
    answer = await own.post(own.token(), query, of=of)
    states = [s["taxPayments"]["state"] for s in answer.json()["data"]["inquiry"]["subjects"]]
    assert states == ["HAS", "DENIED"]


async def test_only_what_is_authorized_is_asked_for(own: Issued) -> None:
    query = LOAN.replace("remedy } }", "remedy } } contributionPayments { state } marketCredit { state }")
    before = await own.client.requests()
    consent = own.consent(categories=["SI_HF_PAYMENT"])
    answer = await own.post(own.token(), query, id={"creditCode": CLEAN}, authorization=consent)
    subject = answer.json()["data"]["inquiry"]["subject"]
    assert subject["contributionPayments"]["state"] == "HAS"
    assert subject["taxPayments"]["state"] == subject["marketCredit"]["state"] == "DENIED"
    after = await own.client.requests()
    asked = {name for name in after if after[name] > before[name]}
    assert asked == {"hrss", "housing"}
