"""What may stand in no source file: secrets, identifiers of subjects, addresses of somebody's own network."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from connectors.problems import SourceKeyError
from policies.identifiers import looks_like_identifier

Mistakes = Iterator[SourceKeyError]

_LOCAL_NAMES = ("localhost", "local", "internal", "lan", "arpa")
_NUMERIC = re.compile(r"(?i)(.*\.)?(0x[0-9a-f]*|[0-9]+)")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_private(host: str) -> bool:
    """Whether a host is an address or a name of somebody's own network."""
    name = host.rstrip(".").lower()
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        # A number in another spelling (127.1, 0x7f000001) is one that somebody hides.
        return bool(_NUMERIC.fullmatch(name)) or name.rpartition(".")[2] in _LOCAL_NAMES


_SECRET_NAME = re.compile(
    r"(?i)secret|passw|pwd|token|app_?key|api_?key|access_?key|authorization|credential"
)
_SECRET_LOOK = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+=_-]{16,}")
_NO_SECRET = re.compile(
    r"\{[^{}]*\}|http://(?:docs\.oasis-open\.org|schemas\.xmlsoap\.org|www\.w3\.org)/[^\s?]*"
)
"""Placeholders, and the names that XML standards give: those of WS-Security look like keys."""
_OUR_WORDS = re.compile(
    r"(id|title|chinese|owner|about|divisions|fallback|tls|database|lookup\[\d+\]\.(fields|sql)"
    r"|register\[\d+\]\.(names|fields|subjects|roles)|search\.fields|statistics\[\d+\]\.(dimensions|tables)"
    r"|envelope|values|codes|secrets|token\.(at|expires_in|ends))\b"
)
_ADDRESS = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])")


def mistakes_of_text(text: str) -> Mistakes:
    """Identifiers of subjects anywhere in a file, comments included; they are not repeated."""
    for number, line in enumerate(text.splitlines(), start=1):
        if looks_like_identifier(line):
            yield SourceKeyError(
                f"line {number}",
                "it looks like the identifier of a subject",
                "remove it: no file names a subject",
                number,
            )


def mistakes_of_values(raw: Mapping[str, Any]) -> Mistakes:
    """What is, or looks like, a secret written out, and private addresses; neither is repeated."""
    remedy = 'write { env = "NAME" } under [secrets] and use {secrets.NAME}'
    sandbox = raw.get("sandbox") is True
    for key, text in _texts(raw, ""):
        name = key.rpartition(".")[2]
        if key.startswith("secrets.") and name == "default" and not text.startswith("sandbox-"):
            yield SourceKeyError(key, "a default secret that is not the sandbox's", "remove the default")
        if key not in ("url", "token.url") and any(map(is_private, _ADDRESS.findall(text))) and not sandbox:
            yield SourceKeyError(key, "it holds a private address", "remove it")
        if _OUR_WORDS.match(key):
            continue
        if re.match(r"auth\.(headers|query|form|json)\b", key) and "{" not in text:
            yield SourceKeyError(key, "a literal value is placed for authentication", remedy)
        elif _SECRET_NAME.search(name) and text and "{" not in text:
            yield SourceKeyError(key, "a literal secret", remedy)
        elif any(_SECRET_LOOK.fullmatch(word) for word in re.split(r"[\s/:,;.]+", _NO_SECRET.sub(" ", text))):
            yield SourceKeyError(key, "it looks like a literal secret or identifier", remedy)


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _texts(value, f"{key}[{place}]")
