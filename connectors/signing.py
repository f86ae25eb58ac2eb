"""Signing recipes: the ordered steps that make timestamps, nonces, digests and signatures of a request.

Each operation is a key of a step and a function here that makes it ready to run. One that is added later (such as
a signature with SM2, GM/T 0003, or a body in SM4, GM/T 0002) is one more of both.
"""

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from authlib.oauth2.rfc7523 import private_key_jwt_sign
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import hmac as keyed
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from connectors.answers import FaultCode, SourceFaultError
from connectors.conversions import PROVINCE_TIME
from connectors.problems import SourceKeyError
from connectors.source import Sorted, Step
from connectors.template import ABSENT, Template, Variables, compile_template

Run = Callable[[Variables, datetime], str]

REQUEST_NAMES = frozenset(
    {"request.method", "request.path", "request.query", "request.body", "request.parameters"}
)
"""What a step may know of the request that it signs; templates outside of steps do not see it."""


class Scope(msgspec.Struct, frozen=True):
    """Where a step stands: the names it may use, its key in the file, how its texts become bytes."""

    known: frozenset[str]
    key: str
    codec: str

    def template(self, text: str, part: str) -> Template:
        """A text of the step, checked; raises SourceKeyError."""
        return known(compile_template(text, f"{self.key}.{part}"), self.known, f"{self.key}.{part}")

    def bytes(self, value: Any) -> bytes:
        """A value as the bytes that are signed."""
        return b"" if value is ABSENT else str(value).encode(self.codec)


class Signing(msgspec.Struct, frozen=True):
    """A step ready to run, and the names that it uses."""

    name: str
    run: Run
    uses: frozenset[str]


def known(template: Template, names: frozenset[str], key: str) -> Template:
    """The template, if it uses these names alone; raises SourceKeyError."""
    unknown = sorted(template.names - names)
    if unknown:
        raise SourceKeyError(key, f"there is no {{{unknown[0]}}} here", f"known: {', '.join(sorted(names))}")
    return template


def compile_step(step: Step, scope: Scope) -> Signing:
    """One step, ready to run; raises SourceKeyError."""
    operations = [name for name in _OPERATIONS if getattr(step, name) is not None]
    if len(operations) > 1 or not (operations or step.encode):
        raise SourceKeyError(
            scope.key, "it needs one operation", f"write one of {', '.join(_OPERATIONS)} or encode"
        )
    run, uses = _OPERATIONS[operations[0]](step, scope) if operations else _encoded(step, scope)
    if step.case is not None:
        run = _cased(str.upper if step.case == "upper" else str.lower, run)
    return Signing(f"steps.{step.set}", run, uses)


_Made = tuple[Run, frozenset[str]]


def _cased(change: Callable[[str], str], run: Run) -> Run:
    return lambda variables, now: change(run(variables, now))


def _now(step: Step, _scope: Scope) -> _Made:
    form, ahead = step.now or "", timedelta(seconds=step.ahead_seconds)
    units = {"s": 1, "ms": 1000}
    if form in units:
        return lambda _variables, now: str(int((now + ahead).timestamp() * units[form])), frozenset()
    return lambda _variables, now: (now + ahead).astimezone(PROVINCE_TIME).strftime(form), frozenset()


def _random(step: Step, scope: Scope) -> _Made:
    length = step.length
    if not 8 <= length <= 128:
        raise SourceKeyError(f"{scope.key}.length", "it is not between 8 and 128", "write 32")
    if step.random == "uuid":
        return lambda _variables, _now: str(uuid.uuid4()), frozenset()
    if step.random == "hex":
        return lambda _variables, _now: secrets.token_hex((length + 1) // 2)[:length], frozenset()
    return lambda _variables, _now: f"{secrets.randbelow(10**length):0{length}}", frozenset()


def _join(step: Step, scope: Scope) -> _Made:
    text = scope.template("".join(step.join or ()), "join")
    return lambda variables, _now: str(text.render(variables)), text.names


def _sorted(step: Step, _scope: Scope) -> _Made:
    rule = step.sorted or Sorted()
    return (
        lambda variables, _now: _parameters(variables["request.parameters"], rule),
        frozenset({"request.parameters"}),
    )


def _parameters(tables: Mapping[str, Mapping[str, Any]], rule: Sorted) -> str:
    chosen = tables.values() if rule.of == "all" else (tables[rule.of],)
    texts = {name: _parameter(value) for table in chosen for name, value in table.items()}
    return rule.separator.join(
        f"{name}{rule.between}{text}" if rule.names else text
        for name, text in sorted(texts.items())
        if name not in rule.omit and (text or rule.empty)
    )


def _parameter(value: Any) -> str:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list | bool) else str(value)


def _jwt(step: Step, scope: Scope) -> _Made:
    rule = step.jwt
    if rule is None:
        raise TypeError("the step has no jwt")
    key = _secret(rule.key, scope, "jwt.key")
    issuer, audience = (
        scope.template(rule.issuer, "jwt.issuer"),
        scope.template(rule.audience, "jwt.audience"),
    )

    def run(variables: Variables, now: datetime) -> str:
        issued = int(now.timestamp())
        return str(
            private_key_jwt_sign(
                _signing_key(rule.algorithm, str(key.render(variables))),
                str(issuer.render(variables)),
                str(audience.render(variables)),
                alg=rule.algorithm,
                claims=dict(rule.claims),
                issued_at=issued,
                expires_at=issued + rule.seconds,
            )
        )

    return run, key.names | issuer.names | audience.names


_KEYS = {"RS256": RSAKey, "PS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey}


def _signing_key(algorithm: str, text: str) -> RSAKey | ECKey | OKPKey:
    """The private key in a secret (PEM or JWK); raises SourceFaultError."""
    kind = _KEYS[algorithm]
    try:
        return kind.import_key(msgspec.json.decode(text) if text.startswith("{") else text)  # type: ignore[no-any-return,attr-defined]
    except (JoseError, msgspec.DecodeError, ValueError, TypeError, KeyError):
        # What the library says may hold the key itself.
        raise SourceFaultError(FaultCode.REFUSED, "the secret holds no key that can sign") from None


def _hash(step: Step, scope: Scope) -> _Made:
    digest = HASHES[step.hash or ""]
    of, encode = _text(step, scope), _ENCODINGS[step.encode or "hex"]
    return lambda variables, _now: encode(digest(scope.bytes(of.render(variables)))), of.names


def _hmac(step: Step, scope: Scope) -> _Made:
    key = _secret(step.key or "", scope, "key")
    of, encode, name = _text(step, scope), _ENCODINGS[step.encode or "hex"], step.hmac or ""

    def run(variables: Variables, _now: datetime) -> str:
        return encode(_keyed(name, scope.bytes(key.render(variables)), scope.bytes(of.render(variables))))

    return run, of.names | key.names


def _encoded(step: Step, scope: Scope) -> _Made:
    of, encode = _text(step, scope), _ENCODINGS[step.encode or "hex"]
    return lambda variables, _now: encode(scope.bytes(of.render(variables))), of.names


_OPERATIONS: Mapping[str, Callable[[Step, Scope], _Made]] = {
    "now": _now,
    "random": _random,
    "join": _join,
    "sorted": _sorted,
    "hash": _hash,
    "hmac": _hmac,
    "jwt": _jwt,
}


def _text(step: Step, scope: Scope) -> Template:
    if step.of is None:
        raise SourceKeyError(f"{scope.key}.of", "it is missing", "say which text is hashed or encoded")
    return scope.template(step.of, "of")


def _secret(text: str, scope: Scope, part: str) -> Template:
    template = scope.template(text, part)
    if not any(name.startswith(("secrets.", "token.")) for name in template.names):
        raise SourceKeyError(f"{scope.key}.{part}", "it is no secret", f'write {part} = "{{secrets.NAME}}"')
    return template


def _sm3(text: bytes) -> bytes:
    digest = hashes.Hash(hashes.SM3())
    digest.update(text)
    return digest.finalize()


HASHES: Mapping[str, Callable[[bytes], bytes]] = {
    "md5": lambda text: hashlib.md5(text, usedforsecurity=False).digest(),
    "sha1": lambda text: hashlib.sha1(text, usedforsecurity=False).digest(),
    "sha256": lambda text: hashlib.sha256(text).digest(),
    "sha512": lambda text: hashlib.sha512(text).digest(),
    "sm3": _sm3,
}
"""Hash functions of `hash` steps; many sources still sign with MD5. SM3 is GB/T 32905-2016."""


def _keyed(name: str, key: bytes, text: bytes) -> bytes:
    if name != "sm3":
        return hmac.digest(key, text, name)
    # Not every build of Python's own hashlib has SM3; cryptography brings it along.
    code = keyed.HMAC(key, hashes.SM3())
    code.update(text)
    return code.finalize()


_ENCODINGS: Mapping[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "base64url": lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
}
