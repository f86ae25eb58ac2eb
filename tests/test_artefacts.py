import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from issuing import Clock, JwksEndpoint, b64, ec_key, hs256_with_public_key, serving_jwks, sign, sign_bytes

from gateway.artefacts import Artefacts, BadArtefact
from gateway.keysets import KeySet, KeysUnavailableError
from policies.authorization import Authorization, Consent, check

ISSUER = "https://consent.example"
OTHER_ISSUER = "https://other-consent.example"
NOW = 1_800_000_000
CODE = "91990100FAKE00013D"
OTHER_CODE = "92990105FAKE00021D"
NUMBER = "990105199912319987"
BANK = "91990100FAKE90020T"
TYP = "credit-authorization+jwt"
KEY = ec_key("consent-1")
OTHER_KEY = ec_key("consent-1")


def good() -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "jti": "authorization-1",
        "iat": NOW - 100,
        "nbf": NOW,
        "exp": NOW + 86_400,
        "subject": {"credit_code": CODE},
        "grantee": BANK,
        "purposes": ["LOAN_PRECHECK", "LOAN_POSTMGMT"],
        "categories": ["TAX_PAYMENT", "MARKET"],
        "consent": "WRITTEN",
    }


def with_(**claims: Any) -> dict[str, Any]:
    return good() | claims


def without(name: str) -> dict[str, Any]:
    return {claim: value for claim, value in good().items() if claim != name}


@pytest.fixture
async def endpoint() -> AsyncIterator[JwksEndpoint]:
    async with serving_jwks(KEY) as endpoint:
        yield endpoint


@pytest.fixture
async def artefacts(endpoint: JwksEndpoint) -> AsyncIterator[Artefacts]:
    """Two trusted issuers whose keys bear the same name."""
    async with serving_jwks(OTHER_KEY) as other, httpx.AsyncClient() as http:
        keysets = {
            issuer: KeySet(url, http, clock=Clock())
            for issuer, url in ((ISSUER, endpoint.url), (OTHER_ISSUER, other.url))
        }
        yield Artefacts(keysets)
        for keyset in keysets.values():
            await keyset.close()


async def refusal(artefacts: Artefacts, token: str) -> BadArtefact:
    with pytest.raises(BadArtefact) as caught:
        await artefacts.read(token)
    shown = f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    for text in (CODE, OTHER_CODE, NUMBER, BANK, "示例甲", "LOAN"):
        assert text not in shown
    return caught.value


async def test_a_good_artefact_is_read(artefacts: Artefacts) -> None:
    assert await artefacts.read(sign(good(), KEY, typ=TYP)) == Authorization(
        issuer=ISSUER,
        authorization_id="authorization-1",
        issued_at=NOW - 100,
        not_before=NOW,
        expires=NOW + 86_400,
        subject=("credit_code", CODE),
        subject_name=None,
        grantee=BANK,
        purposes=frozenset({"LOAN_PRECHECK", "LOAN_POSTMGMT"}),
        categories=frozenset({"TAX_PAYMENT", "MARKET"}),
        consent=Consent.WRITTEN,
    )


async def test_a_person_consents_separately_after_a_warning(artefacts: Artefacts) -> None:
    claims = with_(subject={"resident_number": NUMBER, "name": "示例甲"}, consent="SEPARATE", warned=True)
    authorization = await artefacts.read(sign(claims, KEY, typ=TYP))
    assert authorization.subject == ("resident", NUMBER)
    assert authorization.subject_name == "示例甲"
    assert authorization.consent is Consent.SEPARATE
    assert NUMBER not in repr(authorization)


async def test_a_mandate_is_for_the_own_inquiry_of_the_subject(artefacts: Artefacts) -> None:
    token = sign(with_(consent="MANDATE", purposes=["SELF"]), KEY, typ=TYP)
    assert (await artefacts.read(token)).consent is Consent.MANDATE


async def test_each_issuer_signs_with_its_own_keys(artefacts: Artefacts) -> None:
    token = sign(with_(iss=OTHER_ISSUER), OTHER_KEY, typ=TYP)
    assert (await artefacts.read(token)).issuer == OTHER_ISSUER


def tampered(**claims: Any) -> str:
    header, _, signature = sign(good(), KEY, typ=TYP).split(".")
    return f"{header}.{b64(json.dumps(with_(**claims)).encode())}.{signature}"


HEADER = json.dumps({"alg": "ES256", "typ": TYP, "kid": "consent-1"}).encode()
UNSIGNED_HEADER = json.dumps({"alg": "none", "typ": TYP, "kid": "consent-1"}).encode()

NOT_BELIEVED: dict[str, tuple[str, str]] = {
    "invented": (sign(good(), ec_key("consent-1"), typ=TYP), "signature"),
    "invented with its own key": (sign(good(), ec_key("mine"), typ=TYP), "signature"),
    "no artefact": ("authorization-1", "three parts"),
    "empty": ("", "three parts"),
    "foreign issuer": (sign(with_(iss="https://mine.example"), ec_key("mine"), typ=TYP), "claim iss"),
    "signed by another trusted issuer": (sign(good(), OTHER_KEY, typ=TYP), "signature"),
    "named after another trusted issuer": (sign(with_(iss=OTHER_ISSUER), KEY, typ=TYP), "signature"),
    "an access token": (sign(good(), KEY), "header typ"),
    "any JWT": (sign(good(), KEY, typ="JWT"), "header typ"),
    "no typ": (sign(good(), KEY, typ=None), "header typ"),
    "unsigned": (f"{b64(UNSIGNED_HEADER)}.{b64(json.dumps(good()).encode())}.", "header alg"),
    "public key as a secret": (hs256_with_public_key(good(), KEY, "consent-1", TYP), "header alg"),
    "tampered grantee": (tampered(grantee="91990100FAKE90055D"), "signature"),
    "tampered subject": (tampered(subject={"credit_code": OTHER_CODE}), "signature"),
    "tampered period": (tampered(exp=NOW + 10**7), "signature"),
    "tampered purposes": (tampered(purposes=["LOAN_PRECHECK", "COUNTERPARTY"]), "signature"),
    "two subjects": (
        sign_bytes(
            json.dumps(good()).encode()[:-1] + f',"subject":{{"credit_code":"{OTHER_CODE}"}}}}'.encode(),
            KEY,
            HEADER,
        ),
        "distinct members",
    ),
    "huge": (sign(with_(grantee="x" * 9000), KEY, typ=TYP), "longer than"),
}


@pytest.mark.parametrize("case", NOT_BELIEVED)
async def test_what_no_trusted_issuer_signed_is_refused(artefacts: Artefacts, case: str) -> None:
    token, reason = NOT_BELIEVED[case]
    assert reason in (await refusal(artefacts, token)).reason


ODD: tuple[Any, ...] = (None, True, 1.5, "", {}, [1])

MALFORMED: list[tuple[dict[str, Any], str]] = [
    *((without(name), name) for name in good()),
    *((with_(**{name: value}), name) for name in good() for value in ODD),
    (with_(consent="ORAL"), "consent"),
    (with_(consent="SEPARATE"), "warned"),
    (with_(consent="SEPARATE", warned=False), "warned"),
    (with_(consent="SEPARATE", warned="true"), "warned"),
    (with_(warned=True), "warned"),
    (with_(consent="MANDATE"), "purposes"),
    (with_(consent="MANDATE", purposes=["SELF", "LOAN_PRECHECK"]), "purposes"),
    (with_(purposes="LOAN_PRECHECK"), "purposes"),
    (with_(purposes=[]), "purposes"),
    (with_(categories=["*"]), "categories"),
    (with_(categories=[]), "categories"),
    (with_(exp=NOW), "exp"),
    (with_(subject=CODE), "subject"),
    (with_(subject={"credit_code": CODE, "name": "x"}), "subject"),
    (with_(subject={"credit_code": CODE, "resident_number": NUMBER, "name": "x"}), "subject"),
    (with_(subject={"resident_number": NUMBER}), "subject"),
    (with_(subject={"resident_number": NUMBER, "name": ""}), "subject.name"),
    (with_(subject={"resident_number": NUMBER[:15], "name": "x"}), "subject.resident_number"),
    (with_(subject={"credit_code": f" {CODE}"}), "subject.credit_code"),
    (with_(subject={"credit_code": [CODE, OTHER_CODE]}), "subject.credit_code"),
]


@pytest.mark.parametrize(("claims", "named"), MALFORMED, ids=[f"{n}-{c[1]}" for n, c in enumerate(MALFORMED)])
async def test_a_malformed_claim_is_named(artefacts: Artefacts, claims: dict[str, Any], named: str) -> None:
    reason = (await refusal(artefacts, sign(claims, KEY, typ=TYP))).reason
    assert reason.startswith(f"claim {named} ")


async def test_a_limit_that_is_not_known_is_refused(artefacts: Artefacts) -> None:
    reason = (await refusal(artefacts, sign(with_(uses=1), KEY, typ=TYP))).reason
    assert "not known" in reason


async def test_keys_that_cannot_be_had_are_no_refusal(artefacts: Artefacts, endpoint: JwksEndpoint) -> None:
    endpoint.status = 500
    with pytest.raises(KeysUnavailableError):
        await artefacts.read(sign(good(), KEY, typ=TYP))


async def test_an_expired_artefact_is_still_read_so_that_decisions_replay(artefacts: Artefacts) -> None:
    authorization = await artefacts.read(sign(with_(nbf=1, iat=1, exp=2), KEY, typ=TYP))
    assert authorization.expires == 2


ASKED: dict[str, Any] = {
    "consent": "WRITTEN",
    "grantee": BANK,
    "subject_key": ("credit_code", CODE),
    "purpose": "LOAN_PRECHECK",
    "category": "MARKET",
    "now": NOW + 5,
}


@pytest.mark.parametrize(
    ("asked", "denial"),
    [
        ({}, None),
        ({"purpose": "LOAN_POSTMGMT", "category": "TAX_PAYMENT"}, None),
        ({"now": NOW}, None),
        ({"now": NOW + 86_399}, None),
        ({"consent": "SEPARATE"}, "DENY_NO_AUTHORISATION"),
        ({"consent": "MANDATE"}, "DENY_NO_AUTHORISATION"),
        ({"now": NOW + 86_400}, "DENY_NO_AUTHORISATION_EXPIRED"),
        ({"now": NOW - 1}, "DENY_NO_AUTHORISATION_EXPIRED"),
        ({"grantee": "91990100FAKE90055D"}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"subject_key": ("credit_code", OTHER_CODE)}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"subject_key": ("resident", CODE)}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"purpose": "GUARANTEE_CHECK"}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"category": "ASSOC"}, "DENY_NO_AUTHORISATION_SCOPE"),
        ({"category": "ASSOC", "now": NOW + 10**6}, "DENY_NO_AUTHORISATION_SCOPE"),
    ],
)
async def test_an_authorization_covers_what_it_says_and_nothing_else(
    artefacts: Artefacts, asked: dict[str, Any], denial: str | None
) -> None:
    authorization = await artefacts.read(sign(good(), KEY, typ=TYP))
    assert check(authorization, **(ASKED | asked)) == denial


@pytest.mark.parametrize("given", list(Consent))
@pytest.mark.parametrize("demanded", list(Consent))
async def test_no_kind_of_consent_stands_in_for_another(
    artefacts: Artefacts, given: Consent, demanded: Consent
) -> None:
    claims = with_(consent=given, purposes=["SELF"]) | ({"warned": True} if given == "SEPARATE" else {})
    authorization = await artefacts.read(sign(claims, KEY, typ=TYP))
    answer = check(authorization, **(ASKED | {"purpose": "SELF", "consent": demanded}))
    assert answer == (None if given is demanded else "DENY_NO_AUTHORISATION")
