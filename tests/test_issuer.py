import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from issuing import Clock, serving_app

from connectors.sandbox.cast import CAST
from connectors.sandbox.issuer import CLIENTS, PERSONAS, create_issuer
from gateway.artefacts import Artefacts
from gateway.authenticate import Authenticator, Unauthenticated
from gateway.keysets import KeySet
from gateway.tokens import TokenError, fetch_token
from policies.authorization import Consent
from policies.caller import Caller, Identity

TYPES = frozenset(
    {"MARKET_REGULATION", "BANK", "SUBJECT", "COURT", "CREDIT_AUTHORITY", "PUBLIC", "DEVELOPER"}
)
CODE = "91990100FAKE00013D"
NUMBER = "990105199912319987"


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    async with serving_app(lambda base_url: create_issuer(base_url=base_url)) as base_url:
        yield base_url


@pytest.fixture
async def http(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url) as client:
        yield client


@pytest.fixture
async def authenticator(base_url: str, http: httpx.AsyncClient) -> AsyncIterator[Authenticator]:
    keyset = KeySet(f"{base_url}/jwks", http, min_refresh=0)
    yield Authenticator(base_url, "credit-gateway", keyset, lambda: TYPES)
    await keyset.close()


async def caller_of(
    authenticator: Authenticator, base_url: str, client: str, persona: str | None = None
) -> Caller:
    token = await fetch_token(base_url, client, CLIENTS[client].secret, persona)
    return await authenticator.authenticate(f"Bearer {token}")


@pytest.mark.parametrize("client", CLIENTS)
async def test_each_client_gets_a_token_that_the_gateway_takes(
    authenticator: Authenticator, base_url: str, client: str
) -> None:
    caller = await caller_of(authenticator, base_url, client)
    persona = PERSONAS[client]
    assert caller.client == client
    assert (caller.unit, caller.type) == (persona.unit, persona.caller_type)
    assert caller.purposes == set(persona.purposes)
    assert caller.categories is None
    assert caller.synthetic_only is (client == "developer")


async def test_the_subject_portal_speaks_for_an_organisation_or_a_person(
    authenticator: Authenticator, base_url: str
) -> None:
    organisation = await caller_of(authenticator, base_url, "subject-portal")
    person = await caller_of(authenticator, base_url, "subject-portal", "natural-person")
    assert organisation.identity == Identity(credit_code=CODE)
    assert person.identity is not None
    assert person.identity.resident_number == NUMBER
    assert person.identity.name
    assert NUMBER not in (person.unit, person.client)


def test_the_subjects_are_those_that_the_sources_know() -> None:
    organisation, person = CAST["clean"], CAST["defaulter"]
    assert (PERSONAS["subject-portal"].unit, PERSONAS["subject-portal"].unit_name) == (
        CODE,
        organisation.name,
    )
    assert PERSONAS["subject-portal"].subject == {"credit_code": organisation.key}
    assert PERSONAS["natural-person"].subject == {"resident_number": person.key, "name": person.name}


@pytest.mark.parametrize("persona", PERSONAS)
async def test_a_developer_takes_any_persona_for_synthetic_subjects_alone(
    authenticator: Authenticator, base_url: str, persona: str
) -> None:
    caller = await caller_of(authenticator, base_url, "developer", persona)
    assert caller.synthetic_only
    assert caller.client == "developer"
    assert (caller.unit, caller.type) == (PERSONAS[persona].unit, PERSONAS[persona].caller_type)
    assert caller.purposes == set(PERSONAS[persona].purposes)


async def test_a_key_is_rotated_and_the_old_one_still_verifies(
    authenticator: Authenticator, base_url: str, http: httpx.AsyncClient
) -> None:
    old = await fetch_token(base_url, "public", "sandbox-public")
    await authenticator.authenticate(f"Bearer {old}")
    kid = (await http.post("/rotate")).json()["kid"]
    new = await fetch_token(base_url, "public", "sandbox-public")
    assert json.loads(base64.urlsafe_b64decode(new.split(".")[0] + "=="))["kid"] == kid
    for token in (old, new):
        assert (await authenticator.authenticate(f"Bearer {token}")).client == "public"


async def test_a_token_lives_twelve_hours() -> None:
    clock = Clock(1_800_000_000)
    async with (
        serving_app(lambda base_url: create_issuer(base_url=base_url, clock=clock)) as base_url,
        httpx.AsyncClient() as http,
    ):
        keyset = KeySet(f"{base_url}/jwks", http)
        authenticator = Authenticator(base_url, "credit-gateway", keyset, lambda: TYPES, clock=clock)
        token = await fetch_token(base_url, "public", "sandbox-public")
        clock.now += 12 * 3600
        assert (await authenticator.authenticate(f"Bearer {token}")).client == "public"
        clock.now += 30
        with pytest.raises(Unauthenticated, match="expired"):
            await authenticator.authenticate(f"Bearer {token}")
        await keyset.close()


async def test_no_private_key_is_published(http: httpx.AsyncClient) -> None:
    await http.post("/rotate")
    tokens = (await http.get("/jwks")).json()["keys"]
    artefacts = (await http.get("/authorizations/jwks")).json()["keys"]
    assert len(tokens) == 2
    for key in tokens + artefacts:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert len({key["kid"] for key in tokens + artefacts}) == 3


async def test_the_metadata_leads_to_the_endpoints(base_url: str, http: httpx.AsyncClient) -> None:
    metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["issuer"] == base_url
    assert (await http.get(metadata["jwks_uri"])).status_code == 200
    assert (await http.post(metadata["token_endpoint"])).json()["error"] == "invalid_request"


GRANT = {"grant_type": "client_credentials"}
POSTED = {"client_id": "developer", "client_secret": "sandbox-developer"}


async def test_the_secret_may_be_posted_and_the_purposes_narrowed(
    authenticator: Authenticator, http: httpx.AsyncClient
) -> None:
    form = GRANT | POSTED | {"persona": "first-bank", "purposes": "PUBLIC_VIEW LOAN_PRECHECK"}
    response = await http.post("/token", data=form)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 43_200)
    caller = await authenticator.authenticate(f"Bearer {answer['access_token']}")
    assert caller.purposes == {"PUBLIC_VIEW", "LOAN_PRECHECK"}


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        (POSTED, 400, "invalid_request"),
        (POSTED | {"grant_type": "password"}, 400, "unsupported_grant_type"),
        (GRANT, 401, "invalid_client"),
        (GRANT | POSTED | {"client_secret": "wrong"}, 401, "invalid_client"),
        (GRANT | POSTED | {"client_secret": "秘密"}, 401, "invalid_client"),
        (GRANT | POSTED | {"client_id": "nobody"}, 401, "invalid_client"),
        (GRANT | POSTED | {"persona": "queen"}, 400, "invalid_request"),
        (GRANT | POSTED | {"purposes": "LICENSING"}, 400, "invalid_scope"),
        (GRANT | POSTED | {"purposes": ""}, 400, "invalid_scope"),
        (GRANT | POSTED | {"filler": "x" * 70_000}, 413, "invalid_request"),
    ],
)
async def test_a_wrong_token_request(
    http: httpx.AsyncClient, form: dict[str, str], status: int, error: str
) -> None:
    response = await http.post("/token", data=form)
    assert response.status_code == status
    assert response.json()["error"] == error
    assert ("www-authenticate" in response.headers) is (status == 401)
    assert "queen" not in response.text
    assert "LICENSING" not in response.text


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("grant_type=client_credentials&grant_type=client_credentials", {}),
        ("grant_type", {}),
        ("grant_type=%ff", {}),
        ("grant_type=令牌", {}),
        (json.dumps(GRANT | POSTED), {"Content-Type": "application/json"}),
    ],
)
async def test_a_token_request_that_is_no_form(
    http: httpx.AsyncClient, body: str, headers: dict[str, str]
) -> None:
    content_type = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await http.post("/token", content=body.encode(), headers=content_type | headers)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "credentials", ["Basic !!!", "Basic cHVibGlj", "Bearer x", "Basic /w==", "Basic cHVibGljOndyb25n"]
)
async def test_wrong_basic_credentials(http: httpx.AsyncClient, credentials: str) -> None:
    response = await http.post("/token", data=GRANT, headers={"Authorization": credentials})
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_a_client_authenticates_in_one_way(http: httpx.AsyncClient) -> None:
    response = await http.post("/token", data=GRANT | POSTED, auth=("developer", "sandbox-developer"))
    assert response.json()["error"] == "invalid_request"


@pytest.mark.parametrize("client", [name for name in CLIENTS if name not in ("developer", "subject-portal")])
async def test_only_some_clients_have_a_choice_of_personas(base_url: str, client: str) -> None:
    with pytest.raises(TokenError, match="persona must be one of"):
        await fetch_token(base_url, client, CLIENTS[client].secret, "natural-person")


async def test_no_token_for_a_wrong_secret(base_url: str) -> None:
    with pytest.raises(TokenError, match="invalid_client") as caught:
        await fetch_token(base_url, "public", "a-secret-nobody-may-see")
    assert "nobody-may-see" not in str(caught.value)


async def test_no_token_from_an_issuer_that_is_not_there(base_url: str) -> None:
    async with serving_app(lambda base_url: create_issuer(base_url=base_url)) as gone:
        pass
    with pytest.raises(TokenError, match="not reached"):
        await fetch_token(gone, "public", "sandbox-public")
    with pytest.raises(TokenError, match="without JSON"):
        await fetch_token(f"{base_url}/nothing-here", "public", "sandbox-public")


def wish(**members: Any) -> dict[str, Any]:
    return {
        "subject": {"credit_code": CODE},
        "grantee": "91990100FAKE90020T",
        "purposes": ["LOAN_PRECHECK"],
        "categories": ["MARKET"],
        "days": 30,
    } | members


@pytest.mark.parametrize(
    ("members", "consent"),
    [
        ({}, Consent.WRITTEN),
        (
            {"subject": {"resident_number": NUMBER, "name": "示例甲"}, "consent": "SEPARATE"},
            Consent.SEPARATE,
        ),
        ({"consent": "MANDATE", "purposes": ["SELF"]}, Consent.MANDATE),
    ],
)
async def test_an_authorization_that_the_gateway_believes(
    base_url: str, http: httpx.AsyncClient, members: dict[str, Any], consent: Consent
) -> None:
    response = await http.post("/authorizations", json=wish(**members))
    assert response.status_code == 201
    keyset = KeySet(f"{base_url}/authorizations/jwks", http)
    artefacts = Artefacts({f"{base_url}/authorizations": keyset})
    authorization = await artefacts.read(response.json()["authorization"])
    await keyset.close()
    assert authorization.consent is consent
    assert authorization.grantee == "91990100FAKE90020T"
    assert authorization.authorization_id == response.json()["id"]
    assert authorization.expires == response.json()["expires"]
    assert authorization.expires - authorization.not_before == 30 * 86_400


async def test_an_access_token_is_no_authorization_nor_the_reverse(
    base_url: str, http: httpx.AsyncClient, authenticator: Authenticator
) -> None:
    artefact = (await http.post("/authorizations", json=wish())).json()["authorization"]
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(f"Bearer {artefact}")


ASSIGNED_DIVISION = "91140100FAKE000100"

BAD_WISHES: list[tuple[dict[str, Any], str]] = [
    (wish(subject={"credit_code": ASSIGNED_DIVISION}), "subject.credit_code"),
    (wish(subject={"credit_code": CODE[:-1]}), "subject.credit_code"),
    (wish(subject={"resident_number": "110105194912310020", "name": "x"}), "subject.resident_number"),
    (wish(subject={"resident_number": NUMBER, "name": ""}), "subject.name"),
    (wish(subject={"resident_number": NUMBER}), "subject"),
    (wish(subject={}), "subject"),
    (wish(grantee=""), "grantee"),
    (wish(purposes=[]), "purposes"),
    (wish(purposes=["A", "A"]), "purposes"),
    (wish(categories=["a"]), "categories"),
    (wish(days=0), "days"),
    (wish(days=4000), "days"),
    (wish(consent="ORAL"), "consent"),
    (wish(consent="MANDATE"), "purposes"),
    (wish(days="30"), "the body"),
    (wish(more=1), "the body"),
    ({}, "the body"),
]


@pytest.mark.parametrize(("body", "named"), BAD_WISHES)
async def test_a_wrong_wish_is_refused_by_name(
    http: httpx.AsyncClient, body: dict[str, Any], named: str
) -> None:
    response = await http.post("/authorizations", json=body)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"
    assert response.json()["error_description"].startswith(f"{named} ")
    for identifier in (CODE[:-1], ASSIGNED_DIVISION, NUMBER, "110105194912310020"):
        assert identifier not in response.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 10_000])
async def test_a_wish_that_is_no_object(http: httpx.AsyncClient, body: bytes) -> None:
    assert (await http.post("/authorizations", content=body)).status_code == 400
