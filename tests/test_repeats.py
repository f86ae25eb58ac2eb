"""Objects that name a member twice are found, however they are written; and nothing else is."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.repeats import repeats_a_member


class Pairs(list[tuple[str, Any]]):
    """The members of an object as they are written."""


NAMES = st.sampled_from(["a", "b", "名", ":", '":', "a:b", '"', "\\", "\\u003a", ""])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), NAMES, st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(st.tuples(NAMES, inner), max_size=4).map(Pairs)
    ),
    max_leaves=12,
)
SPACES = st.sampled_from(["", " ", "\n\t", "\r "])


def written(value: Any, space: str, escape: bool) -> str:
    if isinstance(value, Pairs):
        members = (
            f"{space}{text(name, escape)}{space}:{space}{written(inner, space, escape)}"
            for name, inner in value
        )
        return "{" + ",".join(members) + space + "}"
    if isinstance(value, list):
        return "[" + f",{space}".join(written(inner, space, escape) for inner in value) + "]"
    return text(value, escape) if isinstance(value, str) else json.dumps(value)


def text(value: str, escape: bool) -> str:
    """A JSON string, plain or with every character as an escape."""
    if not escape:
        return json.dumps(value, ensure_ascii=False)
    units = value.encode("utf-16-be")
    return '"' + "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)) + '"'


def repeats(value: Any) -> bool:
    if isinstance(value, Pairs):
        names = [name for name, _ in value]
        return len(set(names)) < len(names) or any(repeats(inner) for _, inner in value)
    return isinstance(value, list) and any(repeats(inner) for inner in value)


@given(VALUES, SPACES, st.booleans())
def test_a_member_named_twice_is_found_and_nothing_else(value: Any, space: str, escape: bool) -> None:
    raw = written(value, space, escape).encode("utf-8", "surrogatepass")
    try:
        tree = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):  # half a surrogate: the answer is refused for that
        return
    assert repeats_a_member(raw, tree) is repeats(value)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":":"}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":"\\u003a","a":1,"a":2}',
        b'{"x":"\\u003A","a":1,"a":2}',
        b'{"x":"\\u003a\\u003a","a":{"b":[{"c":1,"c":2}]}}',
        b'{"at":"10:00","rows":[{"a":1,"a":2}]}',
        b'{"at":":","at":"","rows":[{"a":1}]}',
        b'{"at":"\\u003a","rows":[{"a":1,"a":2}]}',
        b'{"rows":[{"a":{"b":1,"b":2}},{"c":1}]}',
        b'{"x":"\\u0022:","a":1,"a":2}',
        b'{"a":1,"a" :2}',
        b'{"a":1,"a"\t:2}',
        b'{"a":1,"a"\n:2}',
        b'{"a":1,"a"\r:2}',
    ],
)
def test_none_is_hidden_by_what_stands_beside_it(raw: bytes) -> None:
    assert repeats_a_member(raw, msgspec.json.decode(raw))
