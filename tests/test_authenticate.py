import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from issuing import Clock, JwksEndpoint, b64, ec_key, hs256_with_public_key, serving_jwks, sign, sign_bytes
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from gateway.authenticate import REMEMBERED, Authenticator, Unauthenticated
from gateway.keysets import KeySet, KeysUnavailableError
from gateway.signed import MAX_BYTES, StatementError, read
from policies.caller import Identity

ISSUER = "https://issuer.example"
AUDIENCE = "credit-gateway"
NOW = 1_800_000_000
SECRET_CODE = "91990100FAKE00013D"
TYPES = frozenset({"MARKET_REGULATION", "BANK", "SUBJECT", "DEVELOPER"})
KEY = ec_key("key-1")


def good() -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "bureau",
        "client_id": "bureau",
        "jti": "token-1",
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 3600,
        "unit": "11990105FAKE90012G",
        "unit_name": "示例区市场监督管理局",
        "caller_type": "MARKET_REGULATION",
        "level": "COUNTY",
        "division": "990105",
        "officer": "officer-1",
        "authorization_details": [{"type": "credit_inquiry", "purposes": ["LICENSING", "SUPERVISION"]}],
    }


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in good().items() if name not in names}


def with_(**claims: Any) -> dict[str, Any]:
    return good() | claims


def details(**entry: Any) -> dict[str, Any]:
    return with_(authorization_details=[{"type": "credit_inquiry", "purposes": ["LICENSING"]} | entry])


def subject(**members: Any) -> dict[str, Any]:
    return with_(caller_type="SUBJECT", subject=members)


@pytest.fixture
async def endpoint() -> AsyncIterator[JwksEndpoint]:
    async with serving_jwks(KEY) as endpoint:
        yield endpoint


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@pytest.fixture
async def keyset(endpoint: JwksEndpoint, http: httpx.AsyncClient) -> AsyncIterator[KeySet]:
    keyset = KeySet(endpoint.url, http, clock=Clock())
    yield keyset
    await keyset.close()


def authenticator(keyset: KeySet, clock: Clock | None = None) -> Authenticator:
    return Authenticator(ISSUER, AUDIENCE, keyset, lambda: TYPES, clock=clock or Clock(NOW))


async def refusal(keyset: KeySet, header: str | None) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await authenticator(keyset).authenticate(header)
    return caught.value


async def test_a_good_token_says_who_asks(keyset: KeySet) -> None:
    caller = await authenticator(keyset).authenticate(f"Bearer {sign(good(), KEY)}")
    assert caller.unit == "11990105FAKE90012G"
    assert caller.unit_name == "示例区市场监督管理局"
    assert (caller.type, caller.level, caller.division) == ("MARKET_REGULATION", "COUNTY", "990105")
    assert caller.purposes == {"LICENSING", "SUPERVISION"}
    assert caller.categories is None
    assert (caller.officer, caller.client, caller.token_id) == ("officer-1", "bureau", "token-1")
    assert caller.identity is None
    assert caller.synthetic_only is False
    assert caller.expires == NOW + 3600


async def test_what_is_optional_may_be_absent_and_the_limits_are_kept(keyset: KeySet) -> None:
    claims = details(categories=["PENALTY"]) | {"synthetic_only": True, "aud": ["other", AUDIENCE]}
    for name in ("level", "division", "officer", "nbf"):
        del claims[name]
    claims["authorization_details"].append({"type": "payment", "amount": 3})
    caller = await authenticator(keyset).authenticate(f"bearer  {sign(claims, KEY)}")
    assert (caller.level, caller.division, caller.officer) == (None, None, None)
    assert caller.purposes == {"LICENSING"}
    assert caller.categories == frozenset({"PENALTY"})
    assert caller.synthetic_only is True


async def test_a_subject_brings_its_verified_identifiers(keyset: KeySet) -> None:
    organisation = sign(subject(credit_code=SECRET_CODE), KEY)
    person = sign(subject(resident_number="990105199912319987", name="示例甲"), KEY)
    identities = [
        (await authenticator(keyset).authenticate(f"Bearer {token}")).identity
        for token in (organisation, person)
    ]
    assert identities == [
        Identity(credit_code=SECRET_CODE),
        Identity(resident_number="990105199912319987", name="示例甲"),
    ]
    assert SECRET_CODE not in repr(identities)
    assert "990105199912319987" not in repr(identities)


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
async def test_the_type_is_written_in_any_of_its_ways(keyset: KeySet, typ: str) -> None:
    caller = await authenticator(keyset).authenticate(f"Bearer {sign(good(), KEY, typ=typ)}")
    assert caller.client == "bureau"


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (ec_key("k"), "ES256"),
        (OKPKey.generate_key("Ed25519", parameters={"kid": "k", "alg": "EdDSA"}), "EdDSA"),
        (OKPKey.generate_key("Ed25519", parameters={"kid": "k"}), "Ed25519"),
        (RSAKey.generate_key(2048, parameters={"kid": "k"}), "RS256"),
        (RSAKey.generate_key(2048, parameters={"kid": "k", "alg": "PS256"}), "PS256"),
    ],
)
async def test_each_accepted_algorithm(
    endpoint: JwksEndpoint, keyset: KeySet, key: ECKey | OKPKey | RSAKey, alg: str
) -> None:
    endpoint.publish(key)
    token = sign(good(), key, alg=alg)
    assert (await authenticator(keyset).authenticate(f"Bearer {token}")).client == "bureau"
    header, payload, _ = token.split(".")
    other_payload = b64(json.dumps(with_(unit="another")).encode())
    forged = sign(good(), ec_key("k") if alg == "ES256" else type(key).generate_key(), alg=alg, kid="k")
    for bad in (f"{header}.{other_payload}.{token.split('.')[2]}", f"{header}.{payload}.", forged):
        assert "signature" in (await refusal(keyset, f"Bearer {bad}")).description


async def test_a_key_serves_only_the_algorithm_it_is_published_for(
    endpoint: JwksEndpoint, keyset: KeySet
) -> None:
    key = RSAKey.generate_key(2048, parameters={"kid": "k"})
    endpoint.publish_members(key.as_dict(private=False) | {"alg": "PS256"})
    assert "signature" in (await refusal(keyset, f"Bearer {sign(good(), key, alg='RS256')}")).description


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Negotiate x"])
async def test_no_token_is_challenged_without_an_error(keyset: KeySet, header: str | None) -> None:
    error = await refusal(keyset, header)
    assert error.challenge == 'Bearer realm="credit-gateway"'


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer a b", "Bearer\ta.b.c", "Bearer x,y z"])
async def test_a_header_with_anything_but_one_token(keyset: KeySet, header: str) -> None:
    assert (await refusal(keyset, header)).error == "invalid_token"


REQUIRED = [name for name in good() if name not in ("level", "division", "officer", "nbf")]

ODD: tuple[Any, ...] = (None, True, 1.5, "", {}, ["", SECRET_CODE], "\u0000", "\ud800", "x" * 201)
ODD_OPTIONAL: tuple[Any, ...] = (None, 3.5, "", [], {}, [SECRET_CODE])

WRONG_CLAIMS: list[tuple[str, dict[str, Any], str]] = [
    *((f"no {name}", without(name), name) for name in REQUIRED),
    *((f"{name} {value!r}", with_(**{name: value}), name) for name in REQUIRED for value in ODD),
    *(
        (f"{name} {value!r}", with_(**{name: value}), name)
        for name in ("level", "division", "officer", "synthetic_only", "nbf")
        for value in ODD_OPTIONAL
    ),
    ("iss of another", with_(iss=f"https://{SECRET_CODE}.example"), "iss"),
    ("iss with a slash more", with_(iss=f"{ISSUER}/"), "iss"),
    ("iss in a list", with_(iss=[ISSUER]), "iss"),
    ("aud of another", with_(aud=SECRET_CODE), "aud"),
    ("aud of others", with_(aud=[SECRET_CODE, "x"]), "aud"),
    ("aud longer", with_(aud=f"{AUDIENCE}2"), "aud"),
    ("expired", with_(iat=NOW - 4000, exp=NOW - 30), "exp"),
    ("expiry before issue", with_(iat=NOW + 20, exp=NOW + 10), "exp"),
    ("too long a life", with_(exp=NOW - 10 + 86_401), "exp"),
    ("far beyond any calendar", with_(exp=10**15), "exp"),
    ("negative", with_(iat=-1), "iat"),
    ("a time as text", with_(exp=str(NOW + 60)), "exp"),
    ("issued in the future", with_(iat=NOW + 31), "iat"),
    ("not valid yet", with_(nbf=NOW + 31), "nbf"),
    ("unknown type", with_(caller_type=f"T{SECRET_CODE}"), "caller_type"),
    ("unknown level", with_(level="VILLAGE"), "level"),
    ("short division", with_(division="99010"), "division"),
    ("division in other digits", with_(division="９９０１０５"), "division"),
    ("flag as text", with_(synthetic_only="true"), "synthetic_only"),
    ("flag as number", with_(synthetic_only=1), "synthetic_only"),
    ("no details", with_(authorization_details=[]), "authorization_details"),
    ("details no objects", with_(authorization_details=["credit_inquiry"]), "authorization_details"),
    ("details of others", with_(authorization_details=[{"type": "payment"}]), "authorization_details"),
    ("no type", with_(authorization_details=[{"purposes": ["LICENSING"]}]), "authorization_details.type"),
    (
        "two entries",
        with_(authorization_details=[{"type": "credit_inquiry", "purposes": ["LICENSING"]}] * 2),
        "authorization_details",
    ),
    ("a limit that is not known", details(locations=[SECRET_CODE]), "authorization_details"),
    *(
        (f"{member} {value!r}", details(**{member: value}), f"authorization_details.{member}")
        for member in ("purposes", "categories")
        for value in (
            None,
            "LICENSING",
            [],
            [1],
            [None],
            [["LICENSING"]],
            ["licensing"],
            ["A", "A"],
            ["A" * 65],
            [f"P{number}" for number in range(101)],
        )
    ),
    ("a subject without identifiers", with_(caller_type="SUBJECT"), "subject"),
    ("identifiers of no subject", with_(subject={"credit_code": SECRET_CODE}), "subject"),
    ("subject as text", with_(caller_type="SUBJECT", subject=SECRET_CODE), "subject"),
    ("empty subject", subject(), "subject"),
    ("person without a name", subject(resident_number="990105199912319987"), "subject"),
    ("organisation with a name", subject(credit_code=SECRET_CODE, name="x"), "subject"),
    (
        "both identifiers",
        subject(credit_code=SECRET_CODE, resident_number="990105199912319987", name="x"),
        "subject",
    ),
    ("more in the subject", subject(credit_code=SECRET_CODE, phone="1"), "subject"),
    ("code in small letters", subject(credit_code=SECRET_CODE.lower()), "subject.credit_code"),
    ("code as a number", subject(credit_code=91), "subject.credit_code"),
    (
        "old resident number",
        subject(resident_number="990105991231998", name="x"),
        "subject.resident_number",
    ),
    ("empty name", subject(resident_number="990105199912319987", name=""), "subject.name"),
]


@pytest.mark.parametrize(
    ("claims", "named"), [case[1:] for case in WRONG_CLAIMS], ids=[case[0] for case in WRONG_CLAIMS]
)
async def test_every_wrong_claim_is_named_and_not_repeated(
    keyset: KeySet, claims: dict[str, Any], named: str
) -> None:
    error = await refusal(keyset, f"Bearer {sign(claims, KEY)}")
    assert error.error == "invalid_token"
    assert error.description.startswith(f"claim {named} ")
    assert_safe(error)


def assert_safe(error: Unauthenticated) -> None:
    shown = f"{error.challenge} {error} {error!r} {error.__cause__!r}"
    for text in (SECRET_CODE, SECRET_CODE.lower(), "990105199912319987", "LICENSING", "VILLAGE", "bureau"):
        assert text not in shown
    assert error.challenge.isascii()
    assert error.challenge.count('"') == 6
    assert "\\" not in error.challenge


@pytest.mark.parametrize(
    ("claims", "clock"),
    [
        (with_(iat=NOW - 4000, exp=NOW - 29), NOW),
        (with_(iat=NOW + 30, nbf=NOW + 30), NOW),
        (with_(exp=NOW - 10 + 86_400), NOW),
    ],
)
async def test_clocks_may_differ_by_the_leeway(keyset: KeySet, claims: dict[str, Any], clock: int) -> None:
    caller = await authenticator(keyset, Clock(clock)).authenticate(f"Bearer {sign(claims, KEY)}")
    assert caller.client == "bureau"


HEADER = json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": "key-1"}).encode()
PAYLOAD = json.dumps(good()).encode()
UNSIGNED = f"{b64(json.dumps({'alg': 'none', 'typ': 'at+jwt', 'kid': 'key-1'}).encode())}.{b64(PAYLOAD)}."
EMBEDDED = ec_key("key-1")

WRONG_FORMS: dict[str, str] = {
    "alg none": UNSIGNED,
    "alg None with a signature": sign_bytes(PAYLOAD, KEY, HEADER.replace(b"ES256", b"None")),
    "alg none, real signature": f"{UNSIGNED}{sign(good(), KEY).split('.')[2]}",
    "alg HS256 with the public key": hs256_with_public_key(good(), KEY, "key-1"),
    "alg ES384": sign_bytes(PAYLOAD, KEY, HEADER.replace(b"ES256", b"ES384")),
    "alg a number": sign_bytes(PAYLOAD, KEY, HEADER.replace(b'"ES256"', b"256")),
    "alg a list": sign_bytes(PAYLOAD, KEY, HEADER.replace(b'"ES256"', b'["ES256"]')),
    "no alg": sign_bytes(PAYLOAD, KEY, b'{"typ":"at+jwt","kid":"key-1"}'),
    "another key of the family": sign_bytes(PAYLOAD, KEY, HEADER.replace(b"ES256", b"RS256")),
    "typ JWT": sign(good(), KEY, typ="JWT"),
    "typ of an artefact": sign(good(), KEY, typ="credit-authorization+jwt"),
    "typ missing": sign(good(), KEY, typ=None),
    "typ application twice": sign(good(), KEY, typ="application/application/at+jwt"),
    "kid missing": sign(good(), KEY, kid=None),
    "kid a number": sign(good(), KEY, kid=1),
    "kid unknown": sign(good(), KEY, kid=SECRET_CODE),
    "kid a path": sign(good(), KEY, kid="../../etc/passwd"),
    "crit": sign(good(), KEY, crit=["exp"]),
    "crit with b64": sign(good(), KEY, crit=["b64"], b64=False),
    "key in the header": sign(good(), EMBEDDED, jwk=EMBEDDED.as_dict(private=False)),
    "key at an address": sign(good(), EMBEDDED, jku="http://127.0.0.1:9/jwks"),
    "header twice": sign_bytes(PAYLOAD, KEY, HEADER[:-1] + b',"kid":"key-1"}'),
    "claim twice": sign_bytes(PAYLOAD[:-1] + b',"unit":"other"}', KEY, HEADER),
    "claim twice, inside": sign_bytes(
        PAYLOAD.replace(b'"type": "credit_inquiry"', b'"type": "payment", "type": "credit_inquiry"'),
        KEY,
        HEADER,
    ),
    "payload a list": sign_bytes(b"[]", KEY, HEADER),
    "payload a text": sign_bytes(b'"x"', KEY, HEADER),
    "payload null": sign_bytes(b"null", KEY, HEADER),
    "payload empty": sign_bytes(b"", KEY, HEADER),
    "payload no JSON": sign_bytes(b"{", KEY, HEADER),
    "payload NaN": sign_bytes(PAYLOAD[:-1] + b',"x":NaN}', KEY, HEADER),
    "payload Latin-1": sign_bytes(b'{"iss":"\xe9"}', KEY, HEADER),
    "payload UTF-16": sign_bytes(json.dumps(good()).encode("utf-16"), KEY, HEADER),
    "payload deep": sign_bytes(b"[" * 5500, KEY, HEADER),
    "payload with a huge number": sign_bytes(b'{"exp":' + b"9" * 5000 + b"}", KEY, HEADER),
    "header a list": sign_bytes(PAYLOAD, KEY, b"[]"),
    "two parts": f"{b64(HEADER)}.{b64(PAYLOAD)}",
    "five parts": "a.b.c.d.e",
    "empty parts": "..",
    "not base64": "!!!.???.***",
    "base64 with padding": f"{b64(HEADER)}.{b64(PAYLOAD)}=.{'A' * 86}",
    "base64 loose at the end": sign(good(), KEY)[:-1] + "_",
    "other letters": "令牌.令牌.令牌",
    "signature of nothing": f"{b64(HEADER)}.{b64(PAYLOAD)}.",
    "signature too long": sign(good(), KEY) + "AAAA",
    "signature of zeros": f"{b64(HEADER)}.{b64(PAYLOAD)}.{b64(bytes(64))}",
    "huge": sign(with_(more="x" * MAX_BYTES), KEY),
    "very huge": "x" * 5_000_000,
}


@pytest.mark.parametrize("form", WRONG_FORMS)
async def test_every_wrong_form_is_refused_and_not_repeated(keyset: KeySet, form: str) -> None:
    error = await refusal(keyset, f"Bearer {WRONG_FORMS[form]}")
    assert error.error == "invalid_token"
    assert 'error="invalid_token"' in error.challenge
    assert_safe(error)


@pytest.mark.parametrize("form", ["huge", "very huge", "alg none", "typ JWT", "two parts", "payload deep"])
async def test_what_is_wrong_in_itself_asks_for_no_keys(
    endpoint: JwksEndpoint, keyset: KeySet, form: str
) -> None:
    await refusal(keyset, f"Bearer {WRONG_FORMS[form]}")
    assert endpoint.requests == 0


async def test_a_foreign_issuer_asks_for_no_keys(endpoint: JwksEndpoint, keyset: KeySet) -> None:
    await refusal(keyset, f"Bearer {sign(with_(iss='https://other.example'), KEY)}")
    assert endpoint.requests == 0


@given(st.one_of(st.text(), st.binary().map(lambda data: f"{b64(HEADER)}.{b64(data)}.{b64(data)}")))
def test_any_text_is_refused_as_a_statement_or_decoded(text: str) -> None:
    with contextlib.suppress(StatementError):
        assert read(text, "at+jwt").algorithm == "ES256"


# What was verified a short while ago


class Types:
    """The caller types of a policy that may change."""

    def __init__(self) -> None:
        self.now = TYPES

    def __call__(self) -> frozenset[str]:
        return self.now


async def remembering(
    keyset: KeySet, clock: Clock, seconds: float = 60.0, types: Types | None = None
) -> Authenticator:
    """An authenticator that has verified `REMEMBERED_TOKEN`."""
    verifies = Authenticator(
        ISSUER, AUDIENCE, keyset, types or Types(), clock=clock, remembered_seconds=seconds
    )
    await verifies.authenticate(REMEMBERED_TOKEN.decode())
    return verifies


REMEMBERED_TOKEN = f"Bearer {sign(good(), KEY)}".encode()


async def test_a_verified_token_is_known_for_a_while_as_the_same_caller(keyset: KeySet) -> None:
    clock = Clock(NOW)
    verifies = await remembering(keyset, clock)
    caller = verifies.known(REMEMBERED_TOKEN)
    assert caller is not None
    clock.now += 59.9
    assert verifies.known(REMEMBERED_TOKEN) is caller
    clock.now += 0.2
    assert verifies.known(REMEMBERED_TOKEN) is None
    # Verified anew it is the same object, as others remember things by it.
    assert await verifies.authenticate(REMEMBERED_TOKEN.decode()) is caller
    assert verifies.known(REMEMBERED_TOKEN) is caller


async def test_nothing_is_known_before_it_was_verified(keyset: KeySet) -> None:
    verifies = await remembering(keyset, Clock(NOW))
    for header in (b"", b"Bearer", REMEMBERED_TOKEN[:-1], REMEMBERED_TOKEN + b" ", REMEMBERED_TOKEN.lower()):
        assert verifies.known(header) is None


async def test_a_token_is_known_no_longer_than_it_is_valid(keyset: KeySet) -> None:
    clock = Clock(NOW)
    verifies = await remembering(keyset, clock, seconds=3600)
    clock.now = NOW + 3599
    assert verifies.known(REMEMBERED_TOKEN) is not None
    clock.now = NOW + 3600
    assert verifies.known(REMEMBERED_TOKEN) is None


async def test_a_clock_that_is_put_back_makes_nothing_live_longer(keyset: KeySet) -> None:
    clock = Clock(NOW)
    verifies = await remembering(keyset, clock)
    clock.now -= 5
    assert verifies.known(REMEMBERED_TOKEN) is None


async def test_nothing_is_known_where_nothing_is_remembered(keyset: KeySet) -> None:
    assert (await remembering(keyset, Clock(NOW), seconds=0)).known(REMEMBERED_TOKEN) is None


async def test_other_caller_types_make_all_tokens_unknown(keyset: KeySet) -> None:
    types = Types()
    verifies = await remembering(keyset, Clock(NOW), types=types)
    types.now = frozenset({"BANK"})
    assert verifies.known(REMEMBERED_TOKEN) is None
    with pytest.raises(Unauthenticated):
        await verifies.authenticate(REMEMBERED_TOKEN.decode())
    types.now = TYPES
    assert verifies.known(REMEMBERED_TOKEN) is not None


async def test_other_keys_make_all_tokens_unknown(endpoint: JwksEndpoint, http: httpx.AsyncClient) -> None:
    seconds = Clock()
    keyset = KeySet(endpoint.url, http, max_age=300, clock=seconds)
    verifies = await remembering(keyset, Clock(NOW), seconds=3600)
    newer = ec_key("key-2")
    endpoint.publish(newer)
    seconds.now += 601
    await verifies.authenticate(f"Bearer {sign(good(), newer)}")
    assert verifies.known(REMEMBERED_TOKEN) is None
    with pytest.raises(Unauthenticated):
        await verifies.authenticate(REMEMBERED_TOKEN.decode())
    await keyset.close()


async def test_the_same_keys_fetched_again_make_no_token_unknown(
    endpoint: JwksEndpoint, http: httpx.AsyncClient
) -> None:
    seconds = Clock()
    keyset = KeySet(endpoint.url, http, max_age=300, clock=seconds)
    verifies = await remembering(keyset, Clock(NOW), seconds=3600)
    seconds.now += 601
    other = f"Bearer {sign(with_(jti='another'), KEY)}"
    await verifies.authenticate(other)
    assert endpoint.requests == 2
    assert verifies.known(REMEMBERED_TOKEN) is not None
    await keyset.close()


async def test_refused_tokens_leave_no_trace_and_the_memory_is_bounded(keyset: KeySet) -> None:
    verifies = await remembering(keyset, Clock(NOW))
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await verifies.authenticate(f"Bearer {sign(with_(jti=str(number), aud='other'), KEY)}")
    assert len(verifies._verified) == 1
    kept = next(iter(verifies._verified.values()))
    for number in range(REMEMBERED):
        verifies._verified[number.to_bytes(32, "big")] = kept
    await verifies.authenticate(f"Bearer {sign(with_(jti='one more'), KEY)}")
    assert len(verifies._verified) == REMEMBERED
    assert verifies.known(REMEMBERED_TOKEN) is None


async def test_a_storm_of_unknown_keys_fetches_once_in_a_while(
    endpoint: JwksEndpoint, http: httpx.AsyncClient
) -> None:
    clock = Clock()
    keyset = KeySet(endpoint.url, http, min_refresh=30, clock=clock)
    storm = [sign(good(), KEY, kid=f"invented-{number}") for number in range(200)]
    for minute in range(3):
        endpoint.requests = 0
        refusals = [await refusal(keyset, f"Bearer {token}") for token in storm[:20]]
        refusals += await asyncio.gather(*(refusal(keyset, f"Bearer {token}") for token in storm))
        assert {error.error for error in refusals} == {"invalid_token"}
        assert endpoint.requests == 1, minute
        clock.now += 31
    assert endpoint.most_open == 1
    await keyset.close()


async def test_a_rotated_key_is_found_without_a_restart(
    endpoint: JwksEndpoint, http: httpx.AsyncClient
) -> None:
    clock = Clock()
    keyset = KeySet(endpoint.url, http, min_refresh=30, clock=clock)
    old = f"Bearer {sign(good(), KEY)}"
    assert (await authenticator(keyset).authenticate(old)).client == "bureau"
    clock.now += 31
    newer = ec_key("key-2")
    endpoint.publish(newer, KEY)
    new = f"Bearer {sign(good(), newer)}"
    assert (await authenticator(keyset).authenticate(new)).client == "bureau"
    assert (await authenticator(keyset).authenticate(old)).client == "bureau"
    assert endpoint.requests == 2
    await keyset.close()


async def test_a_withdrawn_key_ends_when_the_keys_are_renewed(
    endpoint: JwksEndpoint, http: httpx.AsyncClient
) -> None:
    clock = Clock()
    keyset = KeySet(endpoint.url, http, max_age=300, clock=clock)
    token = f"Bearer {sign(good(), KEY)}"
    await authenticator(keyset).authenticate(token)
    endpoint.publish()
    clock.now += 299
    assert (await authenticator(keyset).authenticate(token)).client == "bureau"
    assert endpoint.requests == 1
    clock.now += 302
    assert (await refusal(keyset, token)).error == "invalid_token"
    assert endpoint.requests == 2
    await keyset.close()


async def test_keys_are_renewed_while_requests_go_on(endpoint: JwksEndpoint, http: httpx.AsyncClient) -> None:
    clock = Clock()
    keyset = KeySet(endpoint.url, http, max_age=300, clock=clock)
    token = f"Bearer {sign(good(), KEY)}"
    await authenticator(keyset).authenticate(token)
    endpoint.answering.clear()
    endpoint.asked.clear()
    clock.now += 301
    assert (await authenticator(keyset).authenticate(token)).client == "bureau"
    await endpoint.asked.wait()
    assert (await authenticator(keyset).authenticate(token)).client == "bureau"
    newer = ec_key("key-2")
    endpoint.publish(newer)
    endpoint.answering.set()
    # Only the fetch that the first request began can bring the new key: it is too early for another.
    assert (await authenticator(keyset).authenticate(f"Bearer {sign(good(), newer)}")).client == "bureau"
    assert endpoint.requests == 2
    await keyset.close()


async def test_a_request_that_gives_up_leaves_the_fetch_to_the_others(
    endpoint: JwksEndpoint, keyset: KeySet
) -> None:
    token = f"Bearer {sign(good(), KEY)}"
    endpoint.answering.clear()
    first = asyncio.create_task(authenticator(keyset).authenticate(token))
    second = asyncio.create_task(authenticator(keyset).authenticate(token))
    await endpoint.asked.wait()
    first.cancel()
    endpoint.answering.set()
    assert (await second).client == "bureau"
    assert endpoint.requests == 1


BROKEN: list[tuple[int, bytes]] = [
    (500, b""),
    (302, b""),
    (200, b""),
    (200, b"<html>"),
    (200, b"[]"),
    (200, b'{"keys":{}}'),
    (200, b"[" * 60_000),
    (200, b'{"keys":[' + b"{}," * 50 + b"{}]}"),
    (200, b'{"keys":["' + b"x" * 70_000 + b'"]}'),
]


@pytest.mark.parametrize("broken", range(len(BROKEN)))
async def test_keys_that_were_never_had_are_no_refusal(
    endpoint: JwksEndpoint, http: httpx.AsyncClient, broken: int
) -> None:
    clock = Clock()
    keyset = KeySet(endpoint.url, http, clock=clock)
    endpoint.status, endpoint.body = BROKEN[broken]
    token = f"Bearer {sign(good(), KEY)}"
    for _ in range(5):
        with pytest.raises(KeysUnavailableError):
            await authenticator(keyset).authenticate(token)
    assert endpoint.requests == 1
    endpoint.status = 200
    endpoint.publish(KEY)
    clock.now += 1.1
    assert (await authenticator(keyset).authenticate(token)).client == "bureau"
    await keyset.close()


@pytest.mark.parametrize("broken", range(len(BROKEN)))
async def test_the_last_keys_serve_while_the_endpoint_is_broken(
    endpoint: JwksEndpoint, http: httpx.AsyncClient, broken: int
) -> None:
    clock = Clock()
    keyset = KeySet(endpoint.url, http, max_age=300, max_stale=86_400, clock=clock)
    token = f"Bearer {sign(good(), KEY)}"
    await authenticator(keyset).authenticate(token)
    endpoint.status, endpoint.body = BROKEN[broken]
    clock.now += 86_000
    assert (await authenticator(keyset).authenticate(token)).client == "bureau"
    assert (await refusal(keyset, f"Bearer {sign(good(), KEY, kid='other')}")).error == "invalid_token"
    assert endpoint.requests == 2
    clock.now += 401
    with pytest.raises(KeysUnavailableError):
        await authenticator(keyset).authenticate(token)
    await keyset.close()


async def test_an_endpoint_that_is_not_there(http: httpx.AsyncClient) -> None:
    async with serving_jwks(KEY) as endpoint:
        url = endpoint.url
    keyset = KeySet(url, http, clock=Clock())
    with pytest.raises(KeysUnavailableError):
        await authenticator(keyset).authenticate(f"Bearer {sign(good(), KEY)}")
    await keyset.close()


UNUSABLE_KEYS: dict[str, dict[str, Any]] = {
    "for encryption": KEY.as_dict(private=False) | {"use": "enc"},
    "for signing only": KEY.as_dict(private=False) | {"key_ops": ["sign"]},
    "operations no list": KEY.as_dict(private=False) | {"key_ops": "verify"},
    "private": KEY.as_dict(private=True),
    "symmetric": OctKey.generate_key(256, parameters={"kid": "key-1"}).as_dict(private=True),
    "without a name": {name: value for name, value in KEY.as_dict(private=False).items() if name != "kid"},
    "of another algorithm": KEY.as_dict(private=False) | {"alg": "ES384"},
    "of an odd algorithm": KEY.as_dict(private=False) | {"alg": ["ES256"]},
    "of another curve": KEY.as_dict(private=False) | {"crv": "P-384"},
    "off the curve": KEY.as_dict(private=False) | {"y": "AAAA"},
    "not base64": KEY.as_dict(private=False) | {"y": "é!"},
    "with a number": KEY.as_dict(private=False) | {"x": 3},
    "of another family": {"kty": "OKP", "crv": "X25519", "x": b64(bytes(32)), "kid": "key-1"},
    "Edwards point too short": {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(3)), "kid": "key-1"},
    "RSA too short": {"kty": "RSA", "n": b64(b"\xc0" + bytes(127)), "e": "AQAB", "kid": "key-1"},
    "RSA with a bad exponent": {"kty": "RSA", "n": b64(b"\xc1" * 256), "e": "AA", "kid": "key-1"},
    "empty": {},
}


@pytest.mark.parametrize("kind", UNUSABLE_KEYS)
async def test_unusable_keys_are_left_out_and_the_others_serve(
    endpoint: JwksEndpoint, keyset: KeySet, kind: str
) -> None:
    other = ec_key("key-2")
    endpoint.publish_members(UNUSABLE_KEYS[kind], "no object", other.as_dict(private=False))
    assert (await refusal(keyset, f"Bearer {sign(good(), KEY)}")).error == "invalid_token"
    assert (await authenticator(keyset).authenticate(f"Bearer {sign(good(), other)}")).client == "bureau"


async def test_a_symmetric_key_in_the_set_signs_nothing(endpoint: JwksEndpoint, keyset: KeySet) -> None:
    endpoint.publish_members({"kty": "oct", "k": b64(KEY.as_pem(private=False)), "kid": "key-1"})
    await refusal(keyset, f"Bearer {hs256_with_public_key(good(), KEY, 'key-1')}")
    await refusal(keyset, f"Bearer {sign(good(), KEY)}")
