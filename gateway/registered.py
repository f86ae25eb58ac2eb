"""Documents that a request names in place of sending them.

Two kinds. *Registered* documents are the operator's: a manifest file, checked against the schema when it is loaded;
a request names one by `documentId` (GraphQL over HTTP, Appendix "Persisted Documents"). *Automatic* ones are the
clients' (automatic persisted queries): `extensions.persistedQuery {version: 1, sha256Hash}` names a text, and a
client that is told `PERSISTED_QUERY_NOT_FOUND` sends text and hash together, once.

What is kept here is texts, never plans and never an answer: a text means what the policy in force makes of it, and
whoever names it is asked for the same purpose and token as one who sends it.
"""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from graphql import GraphQLSchema

from gateway.errors import Code, GatewayError
from gateway.limits import Limits, check_text
from gateway.operation import parse, sent_document, validate

_PREFIX = "sha256:"
_SHA256 = re.compile("[0-9a-f]{64}")
_ID = re.compile(r"[!-~]{1,200}")


class ManifestError(ValueError):
    """A manifest that cannot be used; names the file, the entry and the reason."""


class Registered(msgspec.Struct, frozen=True):
    """The operator's documents: text by id, and by the SHA-256 of the text (64 lower-case hex digits)."""

    by_id: Mapping[str, str] = {}
    by_hash: Mapping[str, str] = {}


NONE_REGISTERED = Registered()


def read_manifest(path: Path | None) -> Registered:
    """The documents of a manifest, none where there is none: `{id: text}`, or `{"operations": [{"id": …, "body": …}]}` as Apollo's tools write it.

    Relay's tools write the first form. An id is 1 to 200 printable ASCII characters without a space; one of 64 hex
    digits, or `sha256:` and 64, must be the text's own hash. Raises ManifestError, and OSError where it cannot be read.
    """
    if path is None:
        return NONE_REGISTERED
    by_id = _entries(path)
    by_hash = {}
    for name, text in by_id.items():
        digest = _sha256(text)
        if not _ID.fullmatch(name):
            raise _wrong(name, "an id is 1 to 200 printable ASCII characters without a space")
        claimed = name.removeprefix(_PREFIX)
        if (name.startswith(_PREFIX) or _SHA256.fullmatch(name)) and claimed != digest:
            raise _wrong(name, "the id is not the SHA-256 of the text, in lower-case hex digits")
        by_hash[digest] = text
    return Registered(by_id, by_hash)


def check_registered(registered: Registered, schema: GraphQLSchema, limits: Limits) -> None:
    """Hold every registered document against the limits and the schema; ManifestError names the first that fails."""
    for name, text in registered.by_id.items():
        try:
            validate(schema, parse(text, limits))
        except GatewayError as error:
            raise _wrong(name, error.message) from error


class NamedDocuments:
    """Finds the document that a request brings or names.

    `registered` gives the operator's documents of the moment; `only_registered` refuses all other texts;
    `automatic` keeps texts that clients register by their hash, the last used of them: `entries` of at most
    `characters` together.
    """

    def __init__(
        self,
        registered: Callable[[], Registered],
        limits: Limits,
        *,
        only_registered: bool = False,
        automatic: bool = True,
        entries: int = 1000,
        characters: int = 1_000_000,
    ) -> None:
        self._registered = registered
        self._limits = limits
        self._only_registered = only_registered
        self._automatic = automatic
        self._entries = entries
        self._characters = characters
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._held = 0

    @property
    def kept(self) -> int:
        """How many texts of clients are kept."""
        return len(self._kept)

    def text(self, members: Mapping[str, Any]) -> str:
        """The text of the document that these members of a request bring or name.

        Raises `GatewayError`: BAD_REQUEST_FIELD, DOCUMENT_NOT_FOUND, DOCUMENT_NOT_REGISTERED, DOCUMENT_TOO_LONG,
        PERSISTED_QUERY_NOT_FOUND or PERSISTED_QUERY_NOT_SUPPORTED.
        """
        named, extensions = members.get("documentId"), members.get("extensions")
        if named is None and not extensions and not self._only_registered:
            return sent_document(members)
        digest = _persisted(extensions or {})
        if named is not None:
            if digest is not None or members.get("query") is not None:
                raise _bad_field("documentId", "names a document: leave out query and persistedQuery")
            return self._registered_as(named)
        if members.get("query") is None and digest is not None:
            return self._of_hash(digest)
        text = sent_document(members)
        if digest is not None and _sha256(text) != digest:
            raise _bad_field("extensions.persistedQuery.sha256Hash", "is not the SHA-256 of query")
        if self._only_registered and _sha256(text) not in self._registered().by_hash:
            raise GatewayError(Code.DOCUMENT_NOT_REGISTERED)
        if digest is not None and self._automatic:
            self._keep(digest, text)
        return text

    def _registered_as(self, named: Any) -> str:
        if not isinstance(named, str):
            raise _bad_field("documentId", "must be a string")
        registered = self._registered()
        text = registered.by_id.get(named)
        if text is None and named.startswith(_PREFIX):
            text = registered.by_hash.get(named.removeprefix(_PREFIX))
        if text is None:
            raise GatewayError(Code.DOCUMENT_NOT_FOUND)
        return text

    def _of_hash(self, digest: str) -> str:
        registered = self._registered().by_hash.get(digest)
        if registered is not None:
            return registered
        if self._only_registered or not self._automatic:
            raise GatewayError(Code.PERSISTED_QUERY_NOT_SUPPORTED)
        text = self._kept.get(digest)
        if text is None:
            raise GatewayError(Code.PERSISTED_QUERY_NOT_FOUND)
        self._kept.move_to_end(digest)
        return text

    def _keep(self, digest: str, text: str) -> None:
        if digest in self._kept:
            self._kept.move_to_end(digest)
            return
        check_text(text, self._limits)
        self._kept[digest] = text
        self._held += len(text)
        while len(self._kept) > self._entries or self._held > self._characters:
            _, dropped = self._kept.popitem(last=False)
            self._held -= len(dropped)


def _persisted(extensions: Mapping[str, Any]) -> str | None:
    """The hash that the extension of automatic persisted queries names; None where it is absent."""
    match extensions.get("persistedQuery"):
        case None:
            return None
        case {"version": 1, "sha256Hash": str(digest)} if _SHA256.fullmatch(digest):
            return digest
    raise _bad_field(
        "extensions.persistedQuery", "must hold version 1 and sha256Hash, 64 lower-case hex digits"
    )


def _bad_field(field: str, reason: str) -> GatewayError:
    return GatewayError(Code.BAD_REQUEST_FIELD, field=field, reason=reason)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class _ApolloOperation(msgspec.Struct):
    id: str
    body: str


class _ApolloManifest(msgspec.Struct):
    operations: list[_ApolloOperation]


def _entries(path: Path) -> dict[str, str]:
    """Text by id, each id once."""
    try:
        written = json.loads(path.read_bytes(), object_pairs_hook=_distinct)
        if isinstance(written, dict) and isinstance(written.get("operations"), list):
            operations = msgspec.convert(written, _ApolloManifest).operations
            return _distinct([(operation.id, operation.body) for operation in operations])
        return msgspec.convert(written, dict[str, str])
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"documents.manifest: {path.name}: {_reason(error)}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"entry {twice!r} is given twice")
    return members


def _reason(error: Exception) -> str:
    match error:
        case msgspec.ValidationError():
            return f"a document is expected under each id: {error}"
        case json.JSONDecodeError() | UnicodeDecodeError() | RecursionError():
            return f"is not JSON: {error}"
    return str(error)


def _wrong(name: str, reason: str) -> ManifestError:
    return ManifestError(f"documents.manifest: entry {name!r}: {reason}")
