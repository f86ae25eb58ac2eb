"""Reading requests: bodies, addresses, headers, and what parsing refuses."""

from collections.abc import Coroutine, MutableMapping
from typing import Any
from urllib.parse import quote_plus, urlencode

import orjson
import pytest
from graphql import get_introspection_query
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Code, GatewayError, error_body, log_text
from gateway.limits import Limits
from gateway.operation import (
    GRAPHQL_RESPONSE,
    JSON,
    Operation,
    accepted_media_type,
    check_method,
    parse,
    read,
    select_operation,
)

LIMITS = Limits()
IDENTIFIER = "91990100FAKE00013D"
AS_JSON = (b"content-type", b"application/json")


class Body:
    """A request body in chunks that remembers how many bytes were taken."""

    def __init__(self, *chunks: bytes, then_gone: bool = False) -> None:
        self.chunks = list(chunks)
        self.then_gone = then_gone
        self.taken = 0

    async def receive(self) -> MutableMapping[str, Any]:
        if not self.chunks:
            assert self.then_gone, "read past the end of the body"
            return {"type": "http.disconnect"}
        chunk = self.chunks.pop(0)
        self.taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(self.chunks) or self.then_gone}


def finish(reading: Coroutine[Any, Any, Operation]) -> Operation:
    """Run a coroutine that never has to wait."""
    try:
        reading.send(None)
    except StopIteration as done:
        operation: Operation = done.value
        return operation
    raise AssertionError("the reader waited")


def post(body: bytes | Body, *headers: tuple[bytes, bytes], limits: Limits = LIMITS) -> Operation:
    source = body if isinstance(body, Body) else Body(body)
    return finish(read("POST", headers or [AS_JSON], b"", source.receive, limits))


def get(query_string: bytes, *headers: tuple[bytes, bytes]) -> Operation:
    return finish(read("GET", headers, query_string, Body().receive, LIMITS))


def refused_post(body: bytes | Body, *headers: tuple[bytes, bytes]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        post(body, *headers)
    return caught.value


def refused_get(query_string: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        get(query_string)
    return caught.value


def refused_document(text: str, limits: Limits = LIMITS) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parse(text, limits)
    return caught.value


# What is read


def test_a_post_with_every_member() -> None:
    body = {"query": "query Q { a }", "operationName": "Q", "variables": {"v": [1]}, "extensions": {"x": 1}}
    sent = orjson.dumps(body)
    assert post(sent) == Operation("query Q { a }", "Q", {"v": [1]}, GRAPHQL_RESPONSE, False, sent)


def test_null_and_unknown_members_count_as_absent() -> None:
    body = b'{"query":"{a}","operationName":null,"variables":null,"extensions":null,"id":[]}'
    assert post(body) == Operation("{a}", None, {}, GRAPHQL_RESPONSE, False, body)


def test_a_body_in_pieces() -> None:
    assert post(Body(b'{"query":', b'"{a}', b"", b'"}')).document == "{a}"


def test_a_get() -> None:
    address = urlencode(
        {"query": "query Q($v:Int){a}", "variables": '{"v":1}', "operationName": "Q", "z": "1"}
    )
    assert get(address.encode()) == Operation("query Q($v:Int){a}", "Q", {"v": 1}, GRAPHQL_RESPONSE, True)


def test_a_get_reads_plus_as_a_space_and_no_name_from_an_empty_one() -> None:
    operation = get(b"query=query+%E4%B8%AD&operationName=")
    assert (operation.document, operation.operation_name) == ("query 中", None)


def test_a_get_does_not_touch_the_body() -> None:
    body = Body(b"never read")
    finish(read("GET", [], b"query={a}", body.receive, LIMITS))
    assert body.taken == 0


# What is refused before it is parsed


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "get", ""])
def test_other_methods(method: str) -> None:
    with pytest.raises(GatewayError) as caught:
        finish(read(method, [AS_JSON], b"", Body().receive, LIMITS))
    assert (caught.value.status, caught.value.headers["Allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x", b"y")],
        [(b"content-type", b"application/x-www-form-urlencoded")],
        [(b"content-type", b"multipart/form-data; boundary=x")],
        [(b"content-type", b"text/plain")],
        [(b"content-type", b"text/plain; application/json")],
        [(b"content-type", b"application/graphql")],
        [(b"content-type", b"application/jsonx")],
        [(b"content-type", b"")],
        [(b"content-type", b"\xff")],
        [AS_JSON, (b"content-type", b"text/plain")],
        [(b"content-type", b"application/json; charset=gbk")],
        [AS_JSON, (b"content-encoding", b"gzip")],
    ],
)
def test_content_that_is_not_plain_json(headers: list[tuple[bytes, bytes]]) -> None:
    body = Body(b'{"query":"{a}"}')
    error = refused_post(body, *headers)
    assert (error.code, error.status) == (Code.UNSUPPORTED_MEDIA_TYPE, 415)
    assert body.taken == 0


@pytest.mark.parametrize(
    "value", [b"application/json", b"Application/JSON ; Charset=UTF-8", b'application/json;charset="utf-8"']
)
def test_spellings_of_json(value: bytes) -> None:
    assert post(b'{"query":"{a}"}', (b"content-type", value)).document == "{a}"


def test_a_large_body_is_refused_by_its_announced_length() -> None:
    body = Body(b"x" * 5_000_000)
    error = refused_post(body, AS_JSON, (b"content-length", b"5000000"))
    assert (error.code, error.status, body.taken) == (Code.BODY_TOO_LARGE, 413, 0)


@pytest.mark.parametrize("length", [b"9" * 10_000, b"0" * 30 + b"5"])
def test_an_absurd_length_is_refused(length: bytes) -> None:
    assert refused_post(b"{}", AS_JSON, (b"content-length", length)).code is Code.BODY_TOO_LARGE


def test_a_large_body_without_a_length_is_read_to_the_limit_only() -> None:
    chunk = 65_536
    body = Body(*[b"x" * chunk] * 80)
    assert refused_post(body).code is Code.BODY_TOO_LARGE
    assert body.taken <= LIMITS.max_body_bytes + chunk


def test_a_body_of_exactly_the_limit_is_read() -> None:
    body = b'{"query":"{a}"}'
    assert post(body, limits=Limits(max_body_bytes=len(body))).document == "{a}"


def test_a_client_that_hangs_up() -> None:
    assert refused_post(Body(b'{"query"', then_gone=True)).code is Code.MALFORMED_BODY


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "zero-length"),
        (b"NONSENSE", "line 1, column 1"),
        (b'{"query":', "column"),
        (b'{"query":\n "{a}",}', "line 2"),
        (b'{"query":"{a}"} x', "column 17"),
        (b'\xef\xbb\xbf{"query":"{a}"}', "byte order mark"),
        ('{"query":"{a}"}'.encode("utf-16"), "byte 0 is not UTF-8"),
        ('{"query":"{a}"}'.encode("utf-16-le"), "column 2"),
        (b'{"query":"\xff"}', "byte 10 is not UTF-8"),
        (b'{"query":"\xed\xa0\x80"}', "byte 10 is not UTF-8"),
        (b'{"query":"\\ud800"}', "surrogate"),
        (b'{"query":"{a}","variables":{"v":NaN}}', "column"),
        (b'{"query":"{a}","variables":{"v":Infinity}}', "column"),
        (b'{"query":"{a}","variables":{"v":1e999}}', "infinity"),
        (b'{"query":"{a}","variables":{"v":' + b"9" * 5000 + b"}}", "infinity"),
        (b"[]", "batches"),
        (b'[{"query":"{a}"}]', "batches"),
        (b'"{a}"', "an object"),
        (b"null", "an object"),
        (b"7", "an object"),
    ],
)
def test_bodies_that_cannot_be_read(body: bytes, words: str) -> None:
    error = refused_post(body)
    assert (error.code, error.status) == (Code.MALFORMED_BODY, 400)
    assert words in error.message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "query"),
        (b'{"qeury":"{a}"}', "query"),
        (b'{"query":null}', "query"),
        (b'{"query":["{a}"]}', "query"),
        (b'{"query":"{a}","operationName":7}', "operationName"),
        (b'{"query":"{a}","operationName":{}}', "operationName"),
        (b'{"query":"{a}","variables":[7]}', "variables"),
        (b'{"query":"{a}","variables":"{}"}', "variables"),
        (b'{"query":"{a}","variables":false}', "variables"),
        (b'{"query":"{a}","extensions":[]}', "extensions"),
        (b'{"query":"{a}","query":"{b}"}', "query"),
        (b'{"query":"{a}","variables":{},"x":{"variables":1},"variables":{}}', "variables"),
    ],
)
def test_members_of_the_wrong_type_or_given_twice(body: bytes, field: str) -> None:
    error = refused_post(body)
    assert (error.code, error.status) == (Code.BAD_REQUEST_FIELD, 400)
    assert f"'{field}'" in error.message


def test_a_variable_may_be_called_like_a_member() -> None:
    body = b'{"query":"{a}","variables":{"query":1,"variables":{"query":2}}}'
    assert post(body).variables == {"query": 1, "variables": {"query": 2}}


@pytest.mark.parametrize("levels", [25, 1_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("member", [b"variables", b"extensions", b"other"])
def test_deep_json(levels: int, opening: bytes, closing: bytes, member: bytes) -> None:
    nested = opening * levels + b"1" + closing * levels
    body = b'{"query":"{a}","' + member + b'":{"v":' + nested + b"}}"
    if len(body) > LIMITS.max_body_bytes:
        assert refused_post(body).code is Code.BODY_TOO_LARGE
        body = body[: LIMITS.max_body_bytes]
    error = refused_post(body)
    assert (error.code, error.status) == (Code.TOO_DEEP, 400)


@pytest.mark.parametrize(
    ("query_string", "code"),
    [
        (b"", Code.BAD_REQUEST_FIELD),
        (b"variables={}", Code.BAD_REQUEST_FIELD),
        (b"query={a}&query={b}", Code.BAD_REQUEST_FIELD),
        (b"query={a}&variables=[]", Code.BAD_REQUEST_FIELD),
        (b"query={a}&variables=", Code.MALFORMED_BODY),
        (b"query={a}&variables={", Code.MALFORMED_BODY),
        (b"query={a}&extensions=NaN", Code.MALFORMED_BODY),
        (b"query=%ff", Code.MALFORMED_BODY),
        (b"query=\xff", Code.MALFORMED_BODY),
        (b"query={a}&variables=" + b"[" * 5_000, Code.TOO_DEEP),
        (b"query=" + b"a" * 20_000, Code.URL_TOO_LONG),
    ],
)
def test_addresses_that_cannot_be_read(query_string: bytes, code: Code) -> None:
    assert refused_get(query_string).code is code


# Accept


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, GRAPHQL_RESPONSE),
        (b"", GRAPHQL_RESPONSE),
        (b"*/*", GRAPHQL_RESPONSE),
        (b"application/*", GRAPHQL_RESPONSE),
        (b"application/graphql-response+json", GRAPHQL_RESPONSE),
        (b"application/json", JSON),
        (b"Application/JSON; Charset=UTF-8", JSON),
        (b"application/json, text/plain, */*", JSON),
        (b"application/json, application/graphql-response+json", GRAPHQL_RESPONSE),
        (b"application/graphql-response+json, application/json;q=0.9", GRAPHQL_RESPONSE),
        (b"application/graphql-response+json;q=0.1, application/json;q=0.9", JSON),
        (b"application/graphql-response+json;q=0, */*", JSON),
        (b"text/html, application/json;q=0.2, */*;q=0.1", JSON),
        (b"application/json;charset=gbk, */*;q=0.1", GRAPHQL_RESPONSE),
        (b"application/json;q=2, */*;q=0.5", GRAPHQL_RESPONSE),
    ],
)
def test_the_media_type_of_the_answer(accept: bytes | None, expected: str) -> None:
    assert accepted_media_type([] if accept is None else [(b"accept", accept)]) == expected


def test_several_accept_fields_are_one_list() -> None:
    assert accepted_media_type([(b"accept", b"text/html"), (b"accept", b"application/json")]) == JSON


@pytest.mark.parametrize(
    "accept", [b"text/html", b"application/json;q=0", b"*/*;q=0", b"application/xml, text/*", b";;,", b"\xff"]
)
def test_nothing_acceptable(accept: bytes) -> None:
    body = Body(b'{"query":"{a}"}')
    error = refused_post(body, AS_JSON, (b"accept", accept))
    assert (error.code, error.status, body.taken) == (Code.NOT_ACCEPTABLE, 406, 0)


# Parsing


def test_a_document_is_parsed() -> None:
    assert len(parse("query A { a } fragment F on Query { b }", LIMITS).definitions) == 2


@pytest.mark.parametrize(
    ("text", "message", "location"),
    [
        ("{", "expected Name, found the end of the document", (1, 2)),
        ("", "unexpected the end of the document", (1, 1)),
        ("{ a\n} }", "unexpected '}'", (2, 3)),
        ('{ a(b: "x" "y") }', "expected Name, found String", (1, 12)),
        ("{ a(b: $) }", "expected Name, found ')'", (1, 9)),
        ("fragment on on Query { a }", "unexpected Name", (1, 10)),
        ("{ a(b: 0xF1) }", "a character or an escape is not allowed here", (1, 9)),
        ('{ a(b: "x', "a character or an escape is not allowed here", (1, 10)),
        ('{ a(b: "\\ud800") }', "a character or an escape is not allowed here", (1, 9)),
        ("{ 张三 }", "a character or an escape is not allowed here", (1, 3)),
    ],
)
def test_syntax(text: str, message: str, location: tuple[int, int]) -> None:
    error = refused_document(text)
    assert (error.code, error.status) == (Code.SYNTAX, 400)
    assert error.message == f"The document is not GraphQL: {message}."
    assert error.locations == (location,)


@pytest.mark.parametrize(
    ("start", "repeated"),
    [("", "{a"), ("", "{...on A"), ("{a(b:", "["), ("{a(b:", "{c:"), ("query($v:", "[")],
)
@pytest.mark.parametrize("levels", [250, 10_000])
def test_deep_documents(start: str, repeated: str, levels: int) -> None:
    limits = Limits(max_document_chars=200_000, max_tokens=100_000)
    assert refused_document(start + repeated * levels, limits).code is Code.TOO_DEEP


def test_a_hundred_thousand_braces() -> None:
    body = orjson.dumps({"query": "{a" * 100_000})
    assert refused_document(post(body).document).code is Code.DOCUMENT_TOO_LONG
    limits = Limits(max_document_chars=10**6, max_tokens=10**6)
    assert refused_document("{a" * 100_000, limits).code is Code.TOO_DEEP


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{" + "a " * 1_000_000 + "}", Code.DOCUMENT_TOO_LONG),
        ("{" + "a " * 5_000 + "}", Code.TOO_MANY_TOKENS),
        ("#\n" * 3_999 + "#" + "{" + "a " * 5 + "}", Code.SYNTAX),
        ("#\r\n" * 5_000 + "{a}", Code.DOCUMENT_TOO_LONG),
        ("{" + " ".join(f"x{n}:a" for n in range(10_000)) + "}", Code.DOCUMENT_TOO_LONG),
        ("{" + " ".join(f"x{n}:a" for n in range(1_000)) + "}", Code.TOO_MANY_ALIASES),
        ("{" + "a " * 3_000 + "}", Code.TOO_MANY_FIELDS),
        ("{a " + "@x " * 500 + "}", Code.TOO_MANY_DIRECTIVES),
        (" ".join(f"query Q{n} {{a}}" for n in range(100)), Code.TOO_MANY_DEFINITIONS),
        ("{...F} fragment F on Query {...F}", Code.FRAGMENT_CYCLE),
    ],
)
def test_documents_that_ask_too_much(text: str, code: Code) -> None:
    error = refused_document(text)
    assert (error.code, error.status) == (code, 400)


def test_many_tokens_are_not_all_read() -> None:
    limits = Limits(max_document_chars=10**7)
    assert refused_document("{" + "a " * 1_000_000 + '"', limits).code is Code.TOO_MANY_TOKENS


def test_comments_count_too() -> None:
    limits = Limits(max_tokens=5)
    assert refused_document("#\n" * 6 + "{a}", limits).code is Code.TOO_MANY_TOKENS


def test_the_introspection_query_is_parsed() -> None:
    assert parse(get_introspection_query(descriptions=True), LIMITS).definitions


# Selecting


def select(text: str, name: str | None = None) -> str | None:
    selected = select_operation(parse(text, LIMITS), name)
    return selected.name.value if selected.name else None


def refused_selection(text: str, name: str | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        select(text, name)
    return caught.value


def test_the_operation_that_is_meant() -> None:
    assert select("{ a }") is None
    assert select("query A { a }") == "A"
    assert select("query A { a } mutation B { b }", "B") == "B"


def test_operations_that_cannot_be_selected() -> None:
    assert refused_selection("query A { a } query B { b }").code is Code.OPERATION_NAME_REQUIRED
    assert refused_selection("query A { a }", "B").code is Code.OPERATION_NOT_FOUND
    assert refused_selection("{ a }", "B").code is Code.OPERATION_NOT_FOUND
    assert refused_selection("fragment F on Query { a }").code is Code.OPERATION_NOT_FOUND
    assert refused_selection("subscription { a }").code is Code.OPERATION_NOT_SERVED
    assert IDENTIFIER not in refused_selection("query A { a }", IDENTIFIER).message


def test_a_mutation_needs_a_post() -> None:
    document = parse("query A { a } mutation B { b }", LIMITS)
    by_get, by_post = get(b"query={a}"), post(b'{"query":"{a}"}')
    check_method(by_get, select_operation(document, "A"))
    check_method(by_post, select_operation(document, "B"))
    with pytest.raises(GatewayError) as caught:
        check_method(by_get, select_operation(document, "B"))
    assert (caught.value.status, caught.value.headers) == (405, {"Allow": "POST"})


# Whatever arrives


def failure_of(
    method: str, headers: list[tuple[bytes, bytes]], address: bytes, body: bytes
) -> GatewayError | None:
    try:
        operation = finish(read(method, headers, address, Body(body).receive, LIMITS))
        select_operation(parse(operation.document, LIMITS), operation.operation_name)
    except GatewayError as error:
        return error
    return None


def nothing_but_a_gateway_error(
    method: str, headers: list[tuple[bytes, bytes]], address: bytes, body: bytes
) -> None:
    error = failure_of(method, headers, address, body)
    if error is not None:
        assert 400 <= error.status < 500
        assert IDENTIFIER not in error_body([error]).decode() + log_text(error)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just(IDENTIFIER),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just(IDENTIFIER), inner),
    max_leaves=8,
)
PIECES = st.sampled_from(
    ["{", "}", "(", ")", "[", "]", ":", "$", "@", "!", "...", "=", "&", "|", '"', '"""', "#", "\n", " ", "on",
     "query", "mutation", "fragment", "F", "a", IDENTIFIER, f'"{IDENTIFIER}"', f"a{IDENTIFIER}", "1", "-", "1e9",
     "\\u", "张三", "\x00", "\ufeff", "\ud800"]
)  # fmt: skip
DOCUMENTS = st.lists(PIECES, max_size=30).map(" ".join) | st.text()


@given(body=st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    nothing_but_a_gateway_error("POST", [AS_JSON], b"", body)


@given(
    headers=st.lists(
        st.tuples(st.sampled_from([b"accept", b"content-type", b"content-length", b"x"]), st.binary())
    )
)
def test_any_headers(headers: list[tuple[bytes, bytes]]) -> None:
    nothing_but_a_gateway_error("POST", headers, b"", b'{"query":"{a}"}')


@given(
    address=st.binary(max_size=100) | DOCUMENTS.map(lambda text: b"query=" + text.encode("utf-8", "replace"))
)
def test_any_address(address: bytes) -> None:
    nothing_but_a_gateway_error("GET", [], address, b"")


@given(
    members=st.dictionaries(
        st.sampled_from(["query", "operationName", "variables", "extensions", IDENTIFIER]), JSON_VALUES
    ),
    text=DOCUMENTS,
)
@settings(max_examples=300)
def test_any_request(members: dict[str, Any], text: str) -> None:
    document = text.encode("utf-8", "replace").decode()
    for request in (members, {**members, "query": document}, {"query": document}):
        try:
            body = orjson.dumps(request)
        except orjson.JSONEncodeError:
            continue
        nothing_but_a_gateway_error("POST", [AS_JSON], b"", body)
    nothing_but_a_gateway_error("GET", [], b"query=" + quote_plus(document).encode(), b"")
