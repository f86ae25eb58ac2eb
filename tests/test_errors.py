import string
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from graphql import GraphQLError, build_schema, graphql_sync

from gateway.errors import (
    FAILURES,
    Code,
    GatewayError,
    SeveralFaultsError,
    error_body,
    from_execution,
    internal,
    log_text,
    safe_text,
)

PLANTED = ("91990100FAKE00013D", "91990100fake00013d", "11010119900307391X", "110108001234567")


def parameters(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def example(code: Code) -> GatewayError:
    failure = FAILURES[code]
    names = parameters(failure.client) | parameters(failure.log)
    params: dict[str, Any] = dict.fromkeys(names, "stage")
    return GatewayError(code, **params)


def first_entry(*errors: GatewayError) -> dict[str, object]:
    body = orjson.loads(error_body(errors))
    assert list(body) == ["errors"]
    entry: dict[str, object] = body["errors"][0]
    return entry


ASKS_FOR_THE_TEXT = (Code.PERSISTED_QUERY_NOT_FOUND, Code.PERSISTED_QUERY_NOT_SUPPORTED)


def test_every_code_is_in_the_table() -> None:
    assert set(FAILURES) == set(Code)


@pytest.mark.parametrize("code", list(Code))
def test_every_failure_has_both_texts_and_an_error_status(code: Code) -> None:
    error = example(code)
    assert error.message
    assert error.log_message
    # The clients of automatic persisted queries expect 200 where they are to send the text.
    assert (error.status == 200) is (code in ASKS_FOR_THE_TEXT)
    assert error.status == 200 or 400 <= error.status <= 599
    assert "{" not in error.message + error.log_message
    assert first_entry(error)["extensions"] == {"code": code.value}


@pytest.mark.parametrize(
    ("code", "header"),
    [
        (Code.UNAUTHENTICATED, "WWW-Authenticate"),
        (Code.METHOD_NOT_ALLOWED, "Allow"),
        (Code.INQUIRY_NEEDS_POST, "Allow"),
        (Code.MUTATION_NEEDS_POST, "Allow"),
        (Code.LEDGER_UNAVAILABLE, "Retry-After"),
        (Code.IDENTITY_UNAVAILABLE, "Retry-After"),
    ],
)
def test_headers_that_http_demands(code: Code, header: str) -> None:
    assert header in GatewayError(code).headers


def test_headers_of_the_raiser_win() -> None:
    error = GatewayError(Code.UNAUTHENTICATED, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    assert error.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}


def test_a_missing_parameter_is_noticed_where_the_error_is_made() -> None:
    with pytest.raises(KeyError, match="limit"):
        GatewayError(Code.TOO_MANY_TOKENS)


def test_an_entry_has_the_shape_of_the_specification() -> None:
    error = GatewayError(
        Code.REFUSED,
        path=["inquiry", 0],
        locations=[(1, 3)],
        details={"denials": []},
        reason="no rule permits it",
    )
    assert first_entry(error) == {
        "message": "The inquiry is refused: no rule permits it.",
        "locations": [{"line": 1, "column": 3}],
        "path": ["inquiry", 0],
        "extensions": {"code": "REFUSED", "denials": []},
    }


def test_several_faults_are_shown_one_by_one() -> None:
    faults = [example(Code.BAD_VARIABLE), example(Code.DENY_PURPOSE_UNKNOWN)]
    joined = SeveralFaultsError(faults)
    assert (joined.code, joined.status) == (Code.BAD_VARIABLE, 400)
    entries = orjson.loads(error_body([joined]))["errors"]
    assert [entry["extensions"]["code"] for entry in entries] == ["BAD_VARIABLE", "DENY_PURPOSE_UNKNOWN"]
    assert log_text(joined) == "BAD_VARIABLE: variable stage stage; purpose is not of enum stage"


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("around", ["{}", "a{}", "_{}_", "'{}'", "before {} after"])
def test_a_word_like_an_identifier_is_hidden(planted: str, around: str) -> None:
    assert planted not in safe_text(around.format(planted))
    error = GatewayError(Code.BAD_EVIDENCE, field=around.format(planted), reason=planted)
    assert planted not in str(error) + error_body([error]).decode() + log_text(error)


@pytest.mark.parametrize(
    "name",
    [
        "registrationNumber",
        "legalRepresentative",
        "ONE_INQUIRY_PER_OPERATION",
        "Organisation.seriousDishonestyLists",
        "max 262144",
        "line 12, column 3",
    ],
)
def test_names_of_the_schema_are_not_hidden(name: str) -> None:
    assert safe_text(name) == name


def test_a_long_text_is_cut_and_a_lone_surrogate_survives_encoding() -> None:
    assert len(safe_text("word " * 1000)) < 310
    assert first_entry(GatewayError(Code.REFUSED, reason="\ud800"))["message"] == "The inquiry is refused: ?."


def failing_schema_result(failure: Exception) -> Sequence[GraphQLError]:
    def resolve(*_: object) -> object:
        raise failure

    schema = build_schema("type Query { credit: String }")
    schema.query_type.fields["credit"].resolve = resolve  # type: ignore[union-attr]
    errors = graphql_sync(schema, "{ mine: credit }").errors
    assert errors is not None
    return errors


def test_what_a_resolver_raises_of_ours_keeps_its_code_and_gets_a_path() -> None:
    raised = GatewayError(Code.SUBJECT_UNDER_AGE)
    (found,) = failing_schema_result(raised)
    shown = from_execution(found)
    assert (shown.code, shown.path, shown.locations) == (Code.SUBJECT_UNDER_AGE, ["mine"], ((1, 3),))
    assert raised.path is None, "the same exception may be met by another field"


def test_anything_else_a_resolver_raises_is_internal_and_quotes_nothing() -> None:
    (found,) = failing_schema_result(ValueError(f"no row for {PLANTED[0]}"))
    shown = from_execution(found)
    entry = first_entry(shown)
    assert entry["path"] == ["mine"]
    assert f"incident={shown.details['incident']}" in log_text(shown)
    assert "ValueError (" in log_text(shown)
    assert "test_errors.py" in log_text(shown)
    assert PLANTED[0] not in error_body([shown]).decode() + log_text(shown)


def test_a_library_error_of_execution_is_internal() -> None:
    schema = build_schema("type Query { count: Int }")
    schema.query_type.fields["count"].resolve = lambda *_: PLANTED[0]  # type: ignore[union-attr]
    (found,) = graphql_sync(schema, "{ count }").errors or []
    assert PLANTED[0] in found.message, "the library quotes the value"
    shown = from_execution(found)
    assert shown.code is Code.INTERNAL
    assert PLANTED[0] not in error_body([shown]).decode() + log_text(shown)


def test_incidents_differ_and_the_log_names_every_cause_without_its_text() -> None:
    def fails() -> None:
        try:
            dict[str, str]()["secret"]
        except KeyError as error:
            raise RuntimeError("secret") from error

    with pytest.raises(RuntimeError) as caught:
        fails()
    one, other = internal(caught.value), internal(caught.value)
    assert one.details["incident"] != other.details["incident"]
    line = log_text(one)
    assert "RuntimeError (" in line
    assert " from KeyError (" in line
    assert "secret" not in line
    assert "\n" not in line


def test_a_cause_is_logged_for_our_failures_only() -> None:
    ours, theirs = GatewayError(Code.LEDGER_UNAVAILABLE), example(Code.BAD_VARIABLE)
    ours.__cause__ = theirs.__cause__ = OSError("disk")
    assert "cause=OSError" in log_text(ours)
    assert "OSError" not in log_text(theirs)
