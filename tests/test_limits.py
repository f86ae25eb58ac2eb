from typing import Any

import msgspec
import pytest
from graphql import get_introspection_query
from graphql import parse as parse_only

from gateway.errors import Code, GatewayError
from gateway.limits import Limits, check_document, check_nesting, check_text

LIMITS = Limits()


def refusal(text: str, **limits: int) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        check_document(parse_only(text), Limits(**limits))
    return caught.value


def allowed(text: str, **limits: int) -> bool:
    check_document(parse_only(text), Limits(**limits))
    return True


def exponential(levels: int) -> str:
    fragments = (f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels))
    return f"{{ ...f0 }} {' '.join(fragments)} fragment f{levels} on Query {{ a }}"


FULL_INTROSPECTION = get_introspection_query(
    descriptions=True,
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
    experimental_directive_deprecation=True,
    one_of=True,
)


def test_the_full_introspection_query_is_allowed() -> None:
    assert allowed(FULL_INTROSPECTION)


@pytest.mark.parametrize(
    ("at_the_limit", "limit"),
    [
        ("{ a { b { c } } }", {"max_depth": 3}),
        ("{ ...F } fragment F on Query { a { b } }", {"max_depth": 3}),
        ("{ ... { a } }", {"max_depth": 2}),
        ("{ a b c { d } }", {"max_fields": 4}),
        ("{ ...F ...F } fragment F on Query { a b }", {"max_fields": 6}),
        ("{ x: a y: a b }", {"max_aliases": 2}),
        ("{ ...F ...F } fragment F on Query { x: a }", {"max_aliases": 2}),
        ("query @a { b @c ... @d { e } ...F @g } fragment F on Query { h }", {"max_directives": 4}),
        ("{ a } fragment F on Query { b }", {"max_definitions": 2}),
    ],
)
def test_a_limit_is_included_and_one_more_is_refused(at_the_limit: str, limit: dict[str, int]) -> None:
    assert allowed(at_the_limit, **limit)
    (name, most), *_ = limit.items()
    error = refusal(at_the_limit, **{name: most - 1})
    assert error.code == name.upper().replace("MAX_DEPTH", "TOO_DEEP").replace("MAX_", "TOO_MANY_")
    assert error.status == 400
    assert str(most - 1) in error.message


@pytest.mark.parametrize("levels", [10, 60, 4000])
def test_exponential_fragments_are_counted_without_being_walked(levels: int) -> None:
    limits = {"max_definitions": 10_000, "max_depth": 10_000}
    assert refusal(exponential(levels), **limits).code is Code.TOO_MANY_FIELDS


def test_exponential_fragments_are_refused_by_default() -> None:
    assert refusal(exponential(30)).code in (Code.TOO_DEEP, Code.TOO_MANY_FIELDS)


@pytest.mark.parametrize(
    "text",
    [
        "{ ...F } fragment F on Query { ...F }",
        "{ ...F } fragment F on Query { a { ...G } } fragment G on Query { ... { ...F } }",
        "{ a } fragment F on Query { ...G } fragment G on Query { ...F }",
    ],
)
def test_a_fragment_cycle_is_refused(text: str) -> None:
    assert refusal(text).code is Code.FRAGMENT_CYCLE


def test_a_long_cycle_does_not_exhaust_the_stack() -> None:
    chain = " ".join(f"fragment f{n} on Query {{ ...f{(n + 1) % 3000} }}" for n in range(3000))
    assert refusal("{ ...f0 } " + chain, max_definitions=10_000).code is Code.FRAGMENT_CYCLE


def test_a_diamond_is_no_cycle() -> None:
    text = "{ ...A ...B } fragment A on Q { ...C } fragment B on Q { ...C } fragment C on Q { x }"
    assert allowed(text)


def test_a_fragment_that_is_not_there_is_left_to_validation() -> None:
    assert allowed("{ ...Missing a }")


def test_an_unused_fragment_counts() -> None:
    assert refusal("{ a } fragment F on Query { b c d }", max_fields=2).code is Code.TOO_MANY_FIELDS


def test_each_operation_is_judged_alone() -> None:
    assert allowed("query A { a b } query B { c d }", max_fields=2)


def test_length_of_the_text() -> None:
    check_text("x" * LIMITS.max_document_chars, LIMITS)
    with pytest.raises(GatewayError, match="characters"):
        check_text("x" * (LIMITS.max_document_chars + 1), LIMITS)
    for line_end in "\r\n":
        check_text(line_end * LIMITS.max_document_lines, LIMITS)
        with pytest.raises(GatewayError, match="lines"):
            check_text(line_end * (LIMITS.max_document_lines + 1), LIMITS)


@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: [1, inner]]
)
def test_nesting_of_json(wrap: Any) -> None:
    value: Any = {}
    for _ in range(3):
        value = wrap(value)
    check_nesting(value, Limits(max_input_depth=3))
    with pytest.raises(GatewayError) as caught:
        check_nesting(value, Limits(max_input_depth=2))
    assert caught.value.code is Code.TOO_DEEP


def test_deep_json_does_not_exhaust_the_stack() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(GatewayError):
        check_nesting(value, LIMITS)
    # Freed level by level, as the interpreter would otherwise recurse too.
    while value:
        (value,) = value


def test_limits_are_configurable_and_frozen() -> None:
    assert msgspec.convert({"max_tokens": 7}, Limits).max_tokens == 7
    with pytest.raises(AttributeError):
        LIMITS.max_tokens = 1  # type: ignore[misc]
