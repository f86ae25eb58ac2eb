"""Sealed bodies: what is sent to a source and what it answers, encrypted as its file says.

AES is FIPS 197, SM4 is GB/T 32907-2016; CBC, ECB and GCM are NIST SP 800-38A and 38D. Padding is PKCS #7 (RFC 5652, 6.3);
GCM has none, a nonce of 12 bytes, and its tag of 16 bytes last. A cipher that is added later (such as SM2, GM/T 0003)
is one more name of `cipher` and a branch of `seal` and `unseal`.
"""

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from connectors.answers import FaultCode, SourceFaultError
from connectors.problems import SourceKeyError
from connectors.source import Sealing

_BLOCK = 16
_NONCE = 12
_TAG = 16

_KINDS: Mapping[str, tuple[Callable[[bytes], BlockCipherAlgorithm], tuple[int, ...]]] = {
    "aes": (algorithms.AES, (16, 24, 32)),
    "sm4": (algorithms.SM4, (16,)),
}
"""Ciphers and how many bytes their keys have."""


def _from_hex(text: str) -> bytes:
    return bytes.fromhex(text)


def _from_base64(text: str) -> bytes:
    # Some encoders break lines.
    return base64.b64decode("".join(text.split()), validate=True)


_READ: Mapping[str, Callable[[str], bytes]] = {
    "hex": _from_hex,
    "base64": _from_base64,
    "text": str.encode,
}
_WRITE: Mapping[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda raw: base64.b64encode(raw).decode(),
}


def check_secrets(rule: Sealing, held: Mapping[str, Any]) -> None:
    """Refuse secrets that are no key or iv of the cipher; raises SourceKeyError, which never repeats them."""
    sizes = " or ".join(map(str, _KINDS[_kind(rule)][1]))
    if _key(rule, held) is None:
        raise SourceKeyError(
            "sealing.key", f"the secret is no key of {sizes} bytes as {rule.encoding}", "correct the secret"
        )
    if rule.iv is not None and _fixed_iv(rule, held) is None:
        raise SourceKeyError(
            "sealing.iv", f"the secret is no iv of {_BLOCK} bytes as {rule.encoding}", "correct the secret"
        )


def stand_ins(rule: Sealing) -> dict[str, str]:
    """Throw-away secrets in the place of key and iv, for a request that is shown."""
    written = {"hex": "00" * _BLOCK, "base64": _WRITE["base64"](bytes(_BLOCK)), "text": "0" * _BLOCK}
    return {place[1:-1]: written[rule.encoding] for place in (rule.key, rule.iv) if place is not None}


def seal(rule: Sealing, plain: bytes, held: Mapping[str, Any]) -> str:
    """The text that carries `plain` encrypted; `held` are the secrets. Raises SourceFaultError for a secret that is no key.

    An iv that is not fixed is random, and stands in front.
    """
    cipher = _cipher(rule, held)
    if _mode(rule) == "gcm":
        nonce = os.urandom(_NONCE)
        made = Cipher(cipher, modes.GCM(nonce)).encryptor()
        inner = made.update(plain) + made.finalize()
        return _WRITE[rule.text](nonce + inner + made.tag)
    front = os.urandom(_front(rule))
    encryptor = Cipher(cipher, _block_mode(rule, front, held)).encryptor()
    padder = PKCS7(_BLOCK * 8).padder()
    padded = padder.update(plain) + padder.finalize()
    return _WRITE[rule.text](front + encryptor.update(padded) + encryptor.finalize())


def unseal(rule: Sealing, text: str, held: Mapping[str, Any]) -> bytes:
    """What a sealed text carries; raises SourceFaultError.

    A wrong key, padding and tag are told as one: who could tell them apart could learn what is sealed.
    """
    cipher = _cipher(rule, held)
    try:
        return _unsealed(rule, cipher, _READ[rule.text](text), held)
    except (ValueError, InvalidTag):
        raise SourceFaultError(FaultCode.GARBAGE, "the answer cannot be unsealed") from None


def _unsealed(rule: Sealing, cipher: BlockCipherAlgorithm, sealed: bytes, held: Mapping[str, Any]) -> bytes:
    if _mode(rule) == "gcm":
        nonce, inner, tag = sealed[:_NONCE], sealed[_NONCE:-_TAG], sealed[-_TAG:]
        opened = Cipher(cipher, modes.GCM(nonce, tag)).decryptor()
        return opened.update(inner) + opened.finalize()
    front, inner = sealed[: _front(rule)], sealed[_front(rule) :]
    decryptor = Cipher(cipher, _block_mode(rule, front, held)).decryptor()
    padded = decryptor.update(inner) + decryptor.finalize()
    unpadder = PKCS7(_BLOCK * 8).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


def _front(rule: Sealing) -> int:
    """How many bytes of a random iv stand before the blocks."""
    return _BLOCK if _mode(rule) == "cbc" and rule.iv is None else 0


def _block_mode(rule: Sealing, front: bytes, held: Mapping[str, Any]) -> modes.CBC | modes.ECB:
    if _mode(rule) == "ecb":
        return modes.ECB()  # noqa: S305 - the source decides, and some know no other
    return modes.CBC(front if rule.iv is None else _iv(rule, held))


def _kind(rule: Sealing) -> str:
    return rule.cipher.partition("-")[0]


def _mode(rule: Sealing) -> str:
    return rule.cipher.partition("-")[2]


def _cipher(rule: Sealing, held: Mapping[str, Any]) -> BlockCipherAlgorithm:
    key = _key(rule, held)
    if key is None:
        raise SourceFaultError(FaultCode.REFUSED, "the secret holds no key of the cipher")
    return _KINDS[_kind(rule)][0](key)


def _iv(rule: Sealing, held: Mapping[str, Any]) -> bytes:
    iv = _fixed_iv(rule, held)
    if iv is None:
        raise SourceFaultError(FaultCode.REFUSED, "the secret holds no iv of the cipher")
    return iv


def _key(rule: Sealing, held: Mapping[str, Any]) -> bytes | None:
    return _secret(rule, rule.key, held, _KINDS[_kind(rule)][1])


def _fixed_iv(rule: Sealing, held: Mapping[str, Any]) -> bytes | None:
    return _secret(rule, rule.iv or "", held, (_BLOCK,))


def _secret(rule: Sealing, place: str, held: Mapping[str, Any], sizes: tuple[int, ...]) -> bytes | None:
    """The bytes of the secret at ``{secrets.NAME}``, or None if it has none of the sizes."""
    try:
        raw = _READ[rule.encoding](held[place[1:-1]])
    except ValueError:
        return None
    return raw if len(raw) in sizes else None
