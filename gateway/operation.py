"""Reading an operation: from an HTTP request to a parsed document, by GraphQL over HTTP.

The specification is the GraphQL Foundation's working draft "GraphQL over HTTP". A request error, one that
leaves nothing to execute, is answered with its 4xx status and without `data` under both media types. For
`application/json` the draft's Appendix A says that a server should answer 200 even then, for clients that
cannot tell a gateway's error page from a GraphQL answer, and it allows 4xx. The gateway uses the 4xx: a
department's monitoring has to see a refused inquiry without reading bodies.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import graphql
import msgspec
import orjson
from graphql import DocumentNode, GraphQLSyntaxError, OperationDefinitionNode, OperationType
from graphql.language.parser import MAX_NESTING_DEPTH

from gateway.errors import Code, GatewayError, locations_of
from gateway.limits import Limits, check_document, check_nesting, check_text, too_deep
from gateway.validation import coerce_variables, validate

__all__ = [
    "GRAPHQL_RESPONSE",
    "JSON",
    "Headers",
    "Operation",
    "Receive",
    "accepted_media_type",
    "check_method",
    "coerce_variables",
    "parse",
    "read",
    "select_operation",
    "sent_document",
    "usual_media_type",
    "validate",
]

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"

Headers = Sequence[tuple[bytes, bytes]]
"""Header fields as ASGI gives them: names in lower case, in the order of arrival."""
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
"""The `receive` of ASGI."""


class Operation(msgspec.Struct, frozen=True):
    """A well-formed GraphQL-over-HTTP request; nothing in it has been parsed yet as GraphQL.

    `media_type` is that of the answer, and `by_get` says that the request came by GET. `body` is what it was read
    from; empty for a GET.
    """

    document: str
    operation_name: str | None
    variables: dict[str, Any]
    media_type: str
    by_get: bool
    body: bytes = b""


def sent_document(members: Mapping[str, Any]) -> str:
    """The document of a request that brings its text, as each must where no document has a name."""
    document = members.get("query")
    if not isinstance(document, str):
        raise GatewayError(Code.BAD_REQUEST_FIELD, field="query", reason="must be given, as a string")
    return document


async def read(
    method: str,
    headers: Headers,
    query_string: bytes,
    receive: Receive,
    limits: Limits,
    document_of: Callable[[Mapping[str, Any]], str] = sent_document,
) -> Operation:
    """Read a request; the body is read no further than `limits.max_body_bytes`.

    `document_of` finds the text of the document that the request's members bring or name. Raises `GatewayError`:
    METHOD_NOT_ALLOWED, NOT_ACCEPTABLE, UNSUPPORTED_MEDIA_TYPE, BODY_TOO_LARGE, URL_TOO_LONG, MALFORMED_BODY,
    BAD_REQUEST_FIELD, TOO_DEEP, or what `document_of` raises.
    """
    if method == "POST":
        media_type = usual_media_type(headers, limits)
        if media_type is None:
            media_type = accepted_media_type(headers)
            _check_content_type(headers)
            _check_length(headers, limits.max_body_bytes)
        body = await _read_body(receive, limits.max_body_bytes)
        return _operation(_members_of_body(body, limits), media_type, document_of, by_get=False, body=body)
    if method != "GET":
        raise GatewayError(Code.METHOD_NOT_ALLOWED)
    media_type = accepted_media_type(headers)
    return _operation(_members_of_query_string(query_string, limits), media_type, document_of, by_get=True)


_USUAL_ACCEPT: Final = {
    b"*/*": GRAPHQL_RESPONSE,
    JSON.encode(): JSON,
    GRAPHQL_RESPONSE.encode(): GRAPHQL_RESPONSE,
}


_USUAL_DIGITS: Final = 9


def usual_media_type(headers: Headers, limits: Limits) -> str | None:
    """The media type of the answer to a POST with the headers of most clients; None: they are to be read with care."""
    fields = dict(headers)
    length = fields.get(b"content-length", b"0")
    if (
        len(fields) != len(headers)  # a header that comes twice
        or fields.get(b"content-type") != b"application/json"
        or b"content-encoding" in fields
        or len(length) > _USUAL_DIGITS
        or not length.isdigit()
        or int(length) > limits.max_body_bytes
    ):
        return None
    return _USUAL_ACCEPT.get(fields.get(b"accept", b"*/*"))


def accepted_media_type(headers: Headers) -> str:
    """The media type to answer in (RFC 9110, section 12.5.1); NOT_ACCEPTABLE where neither will do.

    Of equal quality, a type that is named wins over one that only a wildcard covers, then
    `application/graphql-response+json`, which is also the answer to a missing `Accept`.
    """
    accept = ",".join(_values(headers, b"accept"))
    if not accept.strip():
        return GRAPHQL_RESPONSE
    ranges = [_media_range(part) for part in accept.split(",")]
    preferences = [(*_preference(offered, ranges), offered) for offered in (GRAPHQL_RESPONSE, JSON)]
    quality, _, best = max(preferences, key=lambda preference: preference[:2])
    if quality == 0:
        raise GatewayError(Code.NOT_ACCEPTABLE)
    return best


_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def _media_range(text: str) -> tuple[str, float]:
    """A media range and its quality; zero for one that asks for a charset other than UTF-8."""
    media_range, parameters = _with_parameters(text)
    quality = parameters.get("q", "1")
    usable = _QUALITY.fullmatch(quality) and parameters.get("charset", "utf-8") == "utf-8"
    return media_range, float(quality) if usable else 0.0


def _preference(media_type: str, ranges: Iterable[tuple[str, float]]) -> tuple[float, int]:
    """Quality of a type by the most specific range that covers it, and how specific that range is."""
    covering = ("*/*", "application/*", media_type)
    matches = [(covering.index(name), quality) for name, quality in ranges if name in covering]
    if not matches:
        return 0.0, 0
    specificity, quality = max(matches)
    return quality, specificity


def _with_parameters(text: str) -> tuple[str, dict[str, str]]:
    value, *parameters = text.lower().split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return value.strip(), {name.strip(): setting.strip().strip('"') for name, _, setting in pairs}


def _values(headers: Headers, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def _check_content_type(headers: Headers) -> None:
    # A form cannot send application/json, and a script of another origin only after a CORS preflight.
    values = _values(headers, b"content-type")
    media_type, parameters = _with_parameters(values[0]) if len(values) == 1 else ("", {})
    if media_type != JSON:
        raise GatewayError(Code.UNSUPPORTED_MEDIA_TYPE, reason=f"a POST must be of type {JSON}")
    if parameters.get("charset", "utf-8") != "utf-8":
        raise GatewayError(Code.UNSUPPORTED_MEDIA_TYPE, reason="the charset must be utf-8")
    if any(value.strip().lower() != "identity" for value in _values(headers, b"content-encoding")):
        raise GatewayError(Code.UNSUPPORTED_MEDIA_TYPE, reason="the body must not be compressed")


def _check_length(headers: Headers, limit: int) -> None:
    for length in _values(headers, b"content-length"):
        if length.isdecimal() and (len(length) > 18 or int(length) > limit):
            raise GatewayError(Code.BODY_TOO_LARGE, limit=limit)


async def _read_body(receive: Receive, limit: int) -> bytes:
    message = await receive()
    first: bytes = message.get("body", b"")
    if message.get("more_body", False) or message["type"] == "http.disconnect":
        return await _read_on(message, receive, limit)
    if len(first) > limit:
        raise GatewayError(Code.BODY_TOO_LARGE, limit=limit)
    return first


async def _read_on(message: MutableMapping[str, Any], receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise GatewayError(Code.MALFORMED_BODY, reason="the connection closed before its end")
        body += message.get("body", b"")
        if len(body) > limit:
            raise GatewayError(Code.BODY_TOO_LARGE, limit=limit)
        if not message.get("more_body", False):
            return bytes(body)
        message = await receive()


_MEMBERS: Final = {
    name.encode(): name for name in ("query", "documentId", "operationName", "variables", "extensions")
}
_NAMES_IN_JSON: Final = tuple(b'"%b"' % name for name in _MEMBERS)


def _members_of_body(body: bytes, limits: Limits) -> dict[str, Any]:
    members = _decode_json(body, limits)
    if isinstance(members, list):
        raise GatewayError(Code.MALFORMED_BODY, reason="it must be one object; batches are not served")
    if not isinstance(members, dict):
        raise GatewayError(Code.MALFORMED_BODY, reason="it must be an object")
    _check_repeats(body)
    return members


def _check_repeats(body: bytes) -> None:
    # orjson keeps the last of two members silently. The slower parser, which sees both, runs only where a
    # member's name occurs twice; one that hides behind escapes is left to orjson's rule.
    for name_in_json in _NAMES_IN_JSON:
        if body.count(name_in_json) > 1:
            break
    else:
        return
    outermost: list[str] = json.loads(body, object_pairs_hook=lambda pairs: [name for name, _ in pairs])
    for name in _MEMBERS.values():
        if outermost.count(name) > 1:
            raise GatewayError(Code.BAD_REQUEST_FIELD, field=name, reason="is given twice")


def _members_of_query_string(query_string: bytes, limits: Limits) -> dict[str, Any]:
    if len(query_string) > limits.max_query_string_bytes:
        raise GatewayError(Code.URL_TOO_LONG, limit=limits.max_query_string_bytes)
    members: dict[str, Any] = {}
    for pair in query_string.split(b"&"):
        name, _, encoded = pair.partition(b"=")
        member = _MEMBERS.get(name)
        if member is None:
            continue
        if member in members:
            raise GatewayError(Code.BAD_REQUEST_FIELD, field=member, reason="is given twice")
        value = unquote_to_bytes(encoded.replace(b"+", b" "))
        members[member] = (
            _decode_json(value, limits) if member in ("variables", "extensions") else _text(value)
        )
    return members


def _decode_json(encoded: bytes, limits: Limits) -> Any:
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        problem, place = error.msg, f"line {error.lineno}, column {error.colno}"
    else:
        if isinstance(value, dict | list):
            check_nesting(value, limits)
        return value
    if problem == "depth limit exceeded":
        raise too_deep(limits)
    _text(encoded)
    raise GatewayError(Code.MALFORMED_BODY, reason=f"{problem} at {place}")


def _text(encoded: bytes) -> str:
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start
    raise GatewayError(Code.MALFORMED_BODY, reason=f"byte {offset} is not UTF-8")


def _operation(
    members: dict[str, Any],
    media_type: str,
    document_of: Callable[[Mapping[str, Any]], str],
    *,
    by_get: bool,
    body: bytes = b"",
) -> Operation:
    """The request's members, each of its type; a member that is null counts as absent, others are ignored."""
    name = members.get("operationName")
    variables = members.get("variables")
    extensions = members.get("extensions")
    if not (name is None or isinstance(name, str)):
        raise GatewayError(Code.BAD_REQUEST_FIELD, field="operationName", reason="must be a string")
    if not (variables is None or isinstance(variables, dict)):
        raise GatewayError(Code.BAD_REQUEST_FIELD, field="variables", reason="must be an object")
    if not (extensions is None or isinstance(extensions, dict)):
        raise GatewayError(Code.BAD_REQUEST_FIELD, field="extensions", reason="must be an object")
    return Operation(document_of(members), name or None, variables or {}, media_type, by_get, body)


def parse(text: str, limits: Limits) -> DocumentNode:
    """Parse a document and check it against the limits; nothing in it has been validated yet.

    Raises `GatewayError`: SYNTAX, TOO_MANY_TOKENS, TOO_DEEP or what `check_text` and `check_document` raise.
    """
    check_text(text, limits)
    try:
        document = graphql.parse(
            text,
            max_lexical_tokens=limits.max_tokens,
            max_comments=limits.max_tokens,
            # GraphQL, section 2.4: a selection set holds at least one selection.
            allow_empty_selection_sets=False,
        )
    except GraphQLSyntaxError as error:
        fault = _syntax_fault(error, limits)
    else:
        check_document(document, limits)
        return document
    raise fault


_UNEXPECTED = re.compile(
    r"(?:Expected (?P<expected>[^,]{1,40}), found|Unexpected) "
    r"(?P<found><EOF>|Name|Int|Float|String|BlockString|'[^\w\s']{1,3}')"
)


def _syntax_fault(error: GraphQLSyntaxError, limits: Limits) -> GatewayError:
    # The library's description ends with the offending token, which may be an identifier: only its kind is
    # taken over, and what the library expected instead.
    if error.description.startswith("Document contains more than"):
        return GatewayError(Code.TOO_MANY_TOKENS, limit=limits.max_tokens)
    if error.description.startswith("Document is nested too deeply"):
        return GatewayError(Code.TOO_DEEP, field="The document", limit=MAX_NESTING_DEPTH)
    reason = "a character or an escape is not allowed here"
    if match := _UNEXPECTED.match(error.description):
        found = match["found"].replace("<EOF>", "the end of the document")
        reason = (
            f"expected {match['expected']}, found {found}" if match["expected"] else f"unexpected {found}"
        )
    return GatewayError(Code.SYNTAX, reason=reason, locations=locations_of(error))


def select_operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation to execute (GraphQL, section 6.1): the named one, or the only one.

    Raises OPERATION_NAME_REQUIRED, OPERATION_NOT_FOUND, or OPERATION_NOT_SERVED for a subscription.
    """
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if not operations:
        raise GatewayError(Code.OPERATION_NOT_FOUND, reason="The document has no operation")
    if name is None and len(operations) > 1:
        raise GatewayError(Code.OPERATION_NAME_REQUIRED)
    for operation in operations:
        if name is None or (operation.name is not None and operation.name.value == name):
            if operation.operation is OperationType.SUBSCRIPTION:
                raise GatewayError(Code.OPERATION_NOT_SERVED, field="subscription")
            return operation
    reason = "The document has no operation of the name given in 'operationName'"
    raise GatewayError(Code.OPERATION_NOT_FOUND, reason=reason)


def check_method(operation: Operation, selected: OperationDefinitionNode) -> None:
    """Raise MUTATION_NEEDS_POST for a mutation that came by GET (GraphQL over HTTP, section "GET")."""
    if operation.by_get and selected.operation is OperationType.MUTATION:
        raise GatewayError(Code.MUTATION_NEEDS_POST)
