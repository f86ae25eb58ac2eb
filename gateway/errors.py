"""Every failure the gateway can answer with: its code, its HTTP status and its two texts.

One text is for the client and one for the log; neither quotes an identifier of a subject, a literal, a
variable value or a source's row. Whatever leaves as an error leaves through this module.
"""

import re
import secrets
import traceback
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import orjson
from graphql import GraphQLError


class Code(StrEnum):
    """Stable name of a failure, shown to clients as `extensions.code`."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    BODY_TIMEOUT = "BODY_TIMEOUT"
    URL_TOO_LONG = "URL_TOO_LONG"
    MALFORMED_BODY = "MALFORMED_BODY"
    BAD_REQUEST_FIELD = "BAD_REQUEST_FIELD"
    DOCUMENT_NOT_FOUND = "DOCUMENT_NOT_FOUND"
    DOCUMENT_NOT_REGISTERED = "DOCUMENT_NOT_REGISTERED"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    SYNTAX = "SYNTAX"
    VALIDATION_FAILED = "VALIDATION_FAILED"
    DENY_PURPOSE_UNKNOWN = "DENY_PURPOSE_UNKNOWN"
    DOCUMENT_TOO_LONG = "DOCUMENT_TOO_LONG"
    TOO_MANY_TOKENS = "TOO_MANY_TOKENS"
    TOO_DEEP = "TOO_DEEP"
    TOO_MANY_FIELDS = "TOO_MANY_FIELDS"
    TOO_MANY_ALIASES = "TOO_MANY_ALIASES"
    TOO_MANY_DIRECTIVES = "TOO_MANY_DIRECTIVES"
    TOO_MANY_DEFINITIONS = "TOO_MANY_DEFINITIONS"
    TOO_COMPLEX = "TOO_COMPLEX"
    FRAGMENT_CYCLE = "FRAGMENT_CYCLE"
    OPERATION_NAME_REQUIRED = "OPERATION_NAME_REQUIRED"
    OPERATION_NOT_FOUND = "OPERATION_NOT_FOUND"
    OPERATION_NOT_SERVED = "OPERATION_NOT_SERVED"
    MUTATION_NEEDS_POST = "MUTATION_NEEDS_POST"
    INQUIRY_NEEDS_POST = "INQUIRY_NEEDS_POST"
    BAD_VARIABLE = "BAD_VARIABLE"
    BAD_ARGUMENT = "BAD_ARGUMENT"
    BAD_IDENTIFIER = "BAD_IDENTIFIER"
    BAD_EVIDENCE = "BAD_EVIDENCE"
    TOO_MANY_SUBJECTS = "TOO_MANY_SUBJECTS"
    ONE_INQUIRY_PER_OPERATION = "ONE_INQUIRY_PER_OPERATION"
    ONE_APPLICATION_PER_OPERATION = "ONE_APPLICATION_PER_OPERATION"
    ONE_PERSON_PER_OPERATION = "ONE_PERSON_PER_OPERATION"
    SUBJECT_UNDER_AGE = "SUBJECT_UNDER_AGE"
    REFUSED = "REFUSED"
    APPLICATION_REFUSED = "APPLICATION_REFUSED"
    HISTORY_UNAVAILABLE = "HISTORY_UNAVAILABLE"
    NOT_FOUND = "NOT_FOUND"
    LEDGER_UNAVAILABLE = "LEDGER_UNAVAILABLE"
    IDENTITY_UNAVAILABLE = "IDENTITY_UNAVAILABLE"
    INTERNAL = "INTERNAL"


class Failure(msgspec.Struct, frozen=True):
    """What a code means: HTTP status, text for the client, text for the log, response headers.

    Both texts are `str.format` templates over the same parameters: names of fields, types and arguments,
    reasons in our own words, and limits; never a value that the client or a source sent.
    """

    status: int
    client: str
    log: str
    headers: Mapping[str, str] = MappingProxyType({})


_RETRY = MappingProxyType({"Retry-After": "1"})
_POST_ONLY = MappingProxyType({"Allow": "POST"})

FAILURES: Final[Mapping[Code, Failure]] = MappingProxyType(
    {
        Code.UNAUTHENTICATED: Failure(
            401,
            "A valid access token is required: send it as 'Authorization: Bearer …'.",
            "token missing or refused",
            MappingProxyType({"WWW-Authenticate": "Bearer"}),
        ),
        Code.METHOD_NOT_ALLOWED: Failure(
            405,
            "This address does not serve this method: 'Allow' names those it serves.",
            "method not allowed",
            MappingProxyType({"Allow": "GET, POST"}),
        ),
        Code.UNSUPPORTED_MEDIA_TYPE: Failure(
            415,
            "Content-Type: {reason}.",
            "content type refused: {reason}",
            # RFC 9110, 15.5.16: a 415 answer may say in Accept what would be accepted.
            MappingProxyType({"Accept": "application/json"}),
        ),
        Code.NOT_ACCEPTABLE: Failure(
            406,
            "Accept: the answer exists as application/graphql-response+json and application/json only.",
            "nothing acceptable",
        ),
        Code.BODY_TOO_LARGE: Failure(
            413, "The request body is larger than {limit} bytes.", "body over {limit} bytes"
        ),
        Code.BODY_TIMEOUT: Failure(
            408,
            "The request body did not arrive within {limit} seconds.",
            "body not there within {limit} seconds",
            # RFC 9110, 15.5.9: the rest of the body may still come, so the connection is of no more use.
            MappingProxyType({"Connection": "close"}),
        ),
        Code.URL_TOO_LONG: Failure(
            414, "The query string is longer than {limit} bytes.", "query string over {limit} bytes"
        ),
        Code.MALFORMED_BODY: Failure(
            400, "The request cannot be read: {reason}.", "unreadable request: {reason}"
        ),
        Code.BAD_REQUEST_FIELD: Failure(
            400, "Request member '{field}' {reason}.", "request member {field} {reason}"
        ),
        Code.DOCUMENT_NOT_FOUND: Failure(
            400, "No document is registered under this 'documentId'.", "no document of this id"
        ),
        Code.DOCUMENT_NOT_REGISTERED: Failure(
            403,
            "Only registered documents are answered here: name one in 'documentId'.",
            "document not registered",
        ),
        # Status and text are those of the protocol's clients, which send the document after it (Apollo Server's
        # "automatic persisted queries").
        Code.PERSISTED_QUERY_NOT_FOUND: Failure(
            200, "PersistedQueryNotFound", "no document of this hash: the client is to send it"
        ),
        Code.PERSISTED_QUERY_NOT_SUPPORTED: Failure(
            200, "PersistedQueryNotSupported", "automatic persisted queries are switched off"
        ),
        Code.SYNTAX: Failure(400, "The document is not GraphQL: {reason}.", "syntax: {reason}"),
        Code.VALIDATION_FAILED: Failure(400, "{reason}", "invalid document: {reason}"),
        Code.DENY_PURPOSE_UNKNOWN: Failure(
            400,
            "The declared purpose is not one of the enum {field}{reason}.",
            "purpose is not of enum {field}",
        ),
        Code.DOCUMENT_TOO_LONG: Failure(
            400, "The document is longer than {limit} {field}.", "document over {limit} {field}"
        ),
        Code.TOO_MANY_TOKENS: Failure(
            400, "The document has more than {limit} tokens.", "more than {limit} tokens"
        ),
        Code.TOO_DEEP: Failure(
            400, "{field} nests deeper than {limit} levels.", "{field} over depth {limit}"
        ),
        Code.TOO_MANY_FIELDS: Failure(
            400,
            "The document has more than {limit} fields and spreads, fragments counted at each use.",
            "more than {limit} fields and spreads",
        ),
        Code.TOO_MANY_ALIASES: Failure(
            400,
            "The document has more than {limit} aliases, fragments counted at each use.",
            "more than {limit} aliases",
        ),
        Code.TOO_MANY_DIRECTIVES: Failure(
            400,
            "The document has more than {limit} directives, fragments counted at each use.",
            "more than {limit} directives",
        ),
        Code.TOO_MANY_DEFINITIONS: Failure(
            400,
            "The document has more than {limit} operations and fragments.",
            "more than {limit} definitions",
        ),
        Code.TOO_COMPLEX: Failure(
            400,
            "The document repeats the same fields too often to be checked: merge them.",
            "field merging over budget",
        ),
        Code.FRAGMENT_CYCLE: Failure(
            400, "Fragment '{field}' spreads itself, directly or through others.", "fragment cycle"
        ),
        Code.OPERATION_NAME_REQUIRED: Failure(
            400,
            "The document has several operations: name one in 'operationName'.",
            "several operations, none named",
        ),
        Code.OPERATION_NOT_FOUND: Failure(400, "{reason}.", "operation not found: {reason}"),
        Code.OPERATION_NOT_SERVED: Failure(
            400, "Operations of kind '{field}' are not served here.", "operation kind {field} not served"
        ),
        Code.MUTATION_NEEDS_POST: Failure(
            405, "A mutation must be sent by POST.", "mutation by GET", _POST_ONLY
        ),
        Code.INQUIRY_NEEDS_POST: Failure(
            405, "An inquiry must be sent by POST: addresses end up in logs.", "inquiry by GET", _POST_ONLY
        ),
        Code.BAD_VARIABLE: Failure(400, "Variable '{field}' {reason}.", "variable {field} {reason}"),
        Code.BAD_ARGUMENT: Failure(400, "Argument '{field}': {reason}.", "argument {field}: {reason}"),
        Code.BAD_IDENTIFIER: Failure(400, "Identifier '{field}': {reason}.", "identifier {field}: {reason}"),
        Code.BAD_EVIDENCE: Failure(400, "Evidence '{field}': {reason}.", "evidence {field}: {reason}"),
        Code.TOO_MANY_SUBJECTS: Failure(
            400,
            "One operation may name at most {limit} subjects, aliases counted.",
            "more than {limit} subjects",
        ),
        Code.ONE_INQUIRY_PER_OPERATION: Failure(
            400, "One operation holds one inquiry: send the others on their own.", "several inquiries"
        ),
        Code.ONE_APPLICATION_PER_OPERATION: Failure(
            400,
            "One operation records one application: send the others on their own.",
            "several applications",
        ),
        Code.ONE_PERSON_PER_OPERATION: Failure(
            400,
            "One operation may name one natural person: send the others on their own.",
            "several natural persons",
        ),
        Code.SUBJECT_UNDER_AGE: Failure(
            403, "No inquiry about a person under 18 is answered.", "subject under age"
        ),
        Code.REFUSED: Failure(403, "The inquiry is refused: {reason}.", "refused: {reason}"),
        Code.APPLICATION_REFUSED: Failure(
            403, "The application is refused: {reason}.", "application refused: {reason}"
        ),
        Code.HISTORY_UNAVAILABLE: Failure(
            503, "The ledger's past cannot be read at the moment. Try again.", "history unavailable", _RETRY
        ),
        Code.NOT_FOUND: Failure(404, "There is nothing at this address.", "no such address"),
        Code.LEDGER_UNAVAILABLE: Failure(
            503,
            "The inquiry could not be recorded, so it is not answered. Try again.",
            "ledger could not record",
            _RETRY,
        ),
        Code.IDENTITY_UNAVAILABLE: Failure(
            503, "The token cannot be checked at the moment. Try again.", "token keys unavailable", _RETRY
        ),
        Code.INTERNAL: Failure(
            500,
            "The gateway failed. Quote the incident in 'extensions' when you report it.",
            "unexpected failure",
        ),
    }
)

Location = tuple[int, int]
"""Line and column in the document, both counted from one."""


class GatewayError(Exception):
    """One failure, ready for the client and for the log.

    `params` fill the code's texts; a missing one raises `KeyError` at once. `path` is a response path,
    `headers` are added to those of the code, `details` are further members of `extensions`.
    """

    def __init__(
        self,
        code: Code,
        *,
        path: Sequence[str | int] | None = None,
        locations: Sequence[Location] = (),
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
        **params: str | int,
    ) -> None:
        failure = FAILURES[code]
        self.params = {
            key: safe_text(value) if isinstance(value, str) else value for key, value in params.items()
        }
        self.code = code
        self.status = failure.status
        self.message = failure.client.format(**self.params)
        self.log_message = failure.log.format(**self.params)
        self.path = path
        self.locations = tuple(locations)
        self.headers = {**failure.headers, **(headers or {})}
        self.details = dict(details or {})
        super().__init__(f"{code}: {self.message}")

    @property
    def each(self) -> "tuple[GatewayError, ...]":
        """The failures to show: this one alone, unless it stands for several."""
        return (self,)

    def at(
        self, *, path: Sequence[str | int] | None = None, locations: Sequence[Location] = ()
    ) -> "GatewayError":
        """The same failure at another place; one exception may be met by several fields."""
        moved = GatewayError(
            self.code,
            path=path,
            locations=locations,
            headers=self.headers,
            details=self.details,
            **self.params,
        )
        moved.__cause__ = self.__cause__
        return moved


class SeveralFaultsError(GatewayError):
    """Several faults of one request; code, status and headers are those of the first."""

    def __init__(self, faults: Sequence[GatewayError]) -> None:
        first = faults[0]
        super().__init__(
            first.code,
            path=first.path,
            locations=first.locations,
            headers=first.headers,
            details=first.details,
            **first.params,
        )
        self.log_message = "; ".join(fault.log_message for fault in faults)
        self._faults = tuple(faults)

    @property
    def each(self) -> tuple[GatewayError, ...]:
        """All faults, in the order in which they were found."""
        return self._faults


_WORD = re.compile(r"[0-9A-Za-z_]{15,}")
_IDENTIFIER = re.compile(r"[0-9A-Z]{15,18}")
_LONGEST_TEXT = 300
_HIDDEN = "…"


def safe_text(text: str) -> str:
    """The text with every word that could be a credit code or a resident number replaced by "…".

    Such a word has 15 characters or more, and either is made of 15 to 18 digits and capitals or holds six
    digits. The text is cut at 300 characters, and what UTF-8 cannot encode becomes "?".
    """
    hidden = _WORD.sub(_hide_identifier, text)
    if len(hidden) > _LONGEST_TEXT:
        hidden = hidden[:_LONGEST_TEXT] + _HIDDEN
    return hidden.encode("utf-8", "replace").decode("utf-8")


def _hide_identifier(match: re.Match[str]) -> str:
    word = match.group()
    looks_like_one = _IDENTIFIER.fullmatch(word) or sum(letter.isdigit() for letter in word) >= 6
    return _HIDDEN if looks_like_one else word


def formatted(error: GatewayError) -> dict[str, object]:
    """One entry of a response's `errors`: message, locations, path, extensions (GraphQL, section 7.1)."""
    entry: dict[str, object] = {"message": error.message}
    if error.locations:
        entry["locations"] = [{"line": line, "column": column} for line, column in error.locations]
    if error.path is not None:
        entry["path"] = list(error.path)
    entry["extensions"] = {"code": error.code.value, **error.details}
    return entry


def error_body(errors: Sequence[GatewayError]) -> bytes:
    """The JSON body that answers a request error: `errors` and, as nothing was executed, no `data`."""
    entries = [formatted(part) for error in errors for part in error.each]
    return orjson.dumps({"errors": entries})


def internal(error: BaseException) -> GatewayError:
    """The failure that stands for an unexpected exception, under an incident id made for it."""
    # Shorter than any identifier, or the log would blot it out.
    failure = GatewayError(Code.INTERNAL, details={"incident": secrets.token_hex(6)})
    failure.__cause__ = error
    return failure


def from_execution(error: GraphQLError) -> GatewayError:
    """The failure of an executed field: what its resolver raised, at the field's path.

    Anything but a `GatewayError` is INTERNAL, as the libraries' own messages quote rows and values.
    """
    cause: BaseException = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    failure = cause if isinstance(cause, GatewayError) else internal(cause)
    return failure.at(path=error.path, locations=locations_of(error))


def locations_of(error: GraphQLError) -> tuple[Location, ...]:
    """Where in the document a library's error lies."""
    return tuple((location.line, location.column) for location in error.locations or ())


def log_text(error: GatewayError) -> str:
    """One line for the log; for a failure of ours also its incident, and where it came from.

    Exceptions are named by type and place alone: their messages may hold values.
    """
    line = f"{error.code}: {error.log_message}"
    if "incident" in error.details:
        line += f" incident={error.details['incident']}"
    if error.__cause__ is not None and error.status >= 500:
        line += f" cause={_trail(error.__cause__)}"
    return line


def _trail(error: BaseException | None) -> str:
    causes = []
    while error is not None:
        places = [
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ]
        causes.append(f"{type(error).__qualname__} ({' > '.join(places)})")
        error = error.__cause__ or error.__context__
    return " from ".join(causes)
