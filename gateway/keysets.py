"""The public keys of an issuer, fetched from its JWKS endpoint (RFC 7517) and kept fresh."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from gateway.signed import PublicKey, Statement, fully_specified, is_signed_by

_LOG = logging.getLogger(__name__)

_MAX_BODY = 65_536
_MAX_KEYS = 50
_FETCH_SECONDS = 3.0
_FIRST_RETRY_SECONDS = 1.0
_RSA_BITS = range(2048, 8193)  # NIST SP 800-131A asks for 2048; larger than 8192 only costs time
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class KeysUnavailableError(Exception):
    """The issuer's keys could not be had, so nothing it signed can be verified or refused."""


class KeySet:
    """Keys of one issuer: fetched when first needed, when they age, and when an unknown key is named.

    However many unknown keys are named, the endpoint is asked at most once in `min_refresh` seconds, by one
    request at a time (once a second only while it never answered). Keys older than `max_age` are renewed
    while requests go on with them; at twice that age a request waits for the renewal. When the endpoint is
    down the keys last seen serve until `max_stale`. `clock` counts seconds and never goes back.
    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        *,
        min_refresh: float = 30.0,
        max_age: float = 300.0,
        max_stale: float = 86_400.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._client = client
        self._min_refresh = min_refresh
        self._max_age = max_age
        self._max_stale = max_stale
        self._clock = clock
        self._keys: dict[str, PublicKey] = {}
        self._published: bytes | None = None
        self.generation = 0
        """Grows when the endpoint publishes another key set: what was verified before may not hold any more."""
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetch: asyncio.Task[None] | None = None

    async def verify(self, statement: Statement) -> bool:
        """Whether the issuer signed the statement; raises KeysUnavailableError when nobody can tell."""
        key = await self._find(statement.key_id)
        return key is not None and is_signed_by(statement, key)

    async def close(self) -> None:
        """Give up a fetch that is still under way."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    async def _find(self, key_id: str) -> PublicKey | None:
        known = key_id in self._keys
        if not known or self._age() > self._max_age:
            fetch = self._start_fetch()
            if fetch is not None and not (known and self._age() <= 2 * self._max_age):
                # Shielded: a request that gives up does not take the fetch from the others.
                await asyncio.shield(fetch)
        if self._age() > self._max_stale:
            raise KeysUnavailableError
        return self._keys.get(key_id)

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _start_fetch(self) -> asyncio.Task[None] | None:
        """The fetch under way, a new one if it is time for one, or None."""
        if self._fetch is not None and not self._fetch.done():
            return self._fetch
        pause = _FIRST_RETRY_SECONDS if self._fetched_at is None else self._min_refresh
        if self._tried_at is not None and self._clock() - self._tried_at < pause:
            return None
        self._tried_at = self._clock()
        self._fetch = asyncio.create_task(self._renew())
        return self._fetch

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                published = await self._download()
                if published != self._published:
                    self._keys = _usable(published)
                    self._published = published
                    self.generation += 1
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            _LOG.warning("keys of an issuer not fetched: %s", type(error).__name__)
        else:
            self._fetched_at = self._clock()

    async def _download(self) -> bytes:
        # Unencoded, so that the bound on the body is a bound on the memory.
        headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
        async with self._client.stream("GET", self._url, headers=headers, follow_redirects=False) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError("the endpoint did not answer 200")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _MAX_BODY:
                    raise ValueError("the key set is too large")
        return bytes(body)


def _usable(body: bytes) -> dict[str, PublicKey]:
    """The keys of a JWK set that can verify; others are left out (RFC 7517, 5). ValueError: no JWK set."""
    document = json.loads(body)
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list) or len(members) > _MAX_KEYS:
        raise ValueError("not a JWK set of bounded length")
    keys: dict[str, PublicKey] = {}
    for member in members:
        key = _public_key(member) if isinstance(member, dict) else None
        if key is not None:
            keys.setdefault(member["kid"], key)
    return keys


def _public_key(member: dict[str, Any]) -> PublicKey | None:
    """The key of a JWK for signatures, or None when it is private, symmetric, nameless or for other work."""
    if not isinstance(member.get("kid"), str) or not _PRIVATE.isdisjoint(member):
        return None
    operations = member.get("key_ops", ["verify"])
    if member.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = _imported(member)
    except (JoseError, ValueError):
        return None
    if key is None or "alg" not in member:
        return key
    algorithms = {name for name in key.algorithms if name == fully_specified(str(member["alg"]))}
    return PublicKey(key.key, frozenset(algorithms))


def _imported(member: dict[str, Any]) -> PublicKey | None:
    match member:
        case {"kty": "EC", "crv": "P-256", "x": str(x), "y": str(y)}:
            ec = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": x, "y": y})
            return PublicKey(ec, frozenset({"ES256"}))
        case {"kty": "OKP", "crv": "Ed25519", "x": str(x)}:
            okp = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
            return PublicKey(okp, frozenset({"Ed25519"}))
        case {"kty": "RSA", "n": str(n), "e": str(e)} if 8 * len(_decoded(n)) in _RSA_BITS:
            rsa = RSAKey.import_key({"kty": "RSA", "n": n, "e": e})
            return PublicKey(rsa, frozenset({"RS256", "PS256"}))
    return None


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii"))
