"""Templates of requests: texts with placeholders, inside tables and lists that mirror the request.

A placeholder is a name in braces: ``{subject.value}``; ``{ground.matter|ground.purpose}`` takes the first
that has a value. A text that is one placeholder and nothing else takes the value as it is, so lists and
numbers keep their type; within a longer text the value is written as text. A member, list item or parameter
that consists of one placeholder without a value is left out; within a longer text it is empty. Braces that
stand for themselves are written twice.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from string import Formatter
from typing import Any

import msgspec

from connectors.problems import SourceKeyError


class Absent(Enum):
    """The value of a member that is left out of the request."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT

Variables = Mapping[str, Any]
Render = Callable[[Variables], Any]

_NAMES = re.compile(r"[a-z][a-z_]*\.[a-z0-9_]+(\|[a-z][a-z_]*\.[a-z0-9_]+)*")


class Template(msgspec.Struct, frozen=True):
    """A template ready to be filled in, and the names of the variables it may use."""

    names: frozenset[str]
    render: Render
    is_empty: bool = False
    """Whether it is a table without members."""


def compile_template(node: Any, key: str) -> Template:
    """The template of a TOML value; raises SourceKeyError under `key` when a placeholder cannot be read."""
    if isinstance(node, str):
        return _text(node, key)
    if isinstance(node, dict):
        return _table({name: compile_template(value, f"{key}.{name}") for name, value in node.items()})
    if isinstance(node, list | tuple):
        return _list([compile_template(value, f"{key}[{place}]") for place, value in enumerate(node)])
    return Template(frozenset(), lambda _variables: node)


def _table(members: dict[str, Template]) -> Template:
    names = _names(members.values())
    if not names:
        constant = {name: member.render({}) for name, member in members.items()}
        return Template(names, lambda _variables: constant.copy(), is_empty=not constant)
    renders = [(name, member.render) for name, member in members.items()]

    def render(variables: Variables) -> dict[str, Any]:
        filled = {}
        for name, fill in renders:
            value = fill(variables)
            if value is not ABSENT:
                filled[name] = value
        return filled

    return Template(names, render)


def _list(items: list[Template]) -> Template:
    def render(variables: Variables) -> list[Any]:
        filled = (item.render(variables) for item in items)
        return [value for value in filled if value is not ABSENT]

    return Template(_names(items), render)


def _names(templates: Iterable[Template]) -> frozenset[str]:
    return frozenset().union(*(template.names for template in templates))


def _text(text: str, key: str) -> Template:
    parts = list(_parts(text, key))
    names = frozenset(name for part in parts if not isinstance(part, str) for name in part)
    if not names:
        constant = "".join(part for part in parts if isinstance(part, str))
        return Template(names, lambda _variables: constant)
    alone = parts[0]
    if len(parts) == 1 and not isinstance(alone, str):
        return Template(names, lambda variables: _first(alone, variables))
    return Template(names, lambda variables: "".join(_as_text(part, variables) for part in parts))


def _parts(text: str, key: str) -> Iterator[str | tuple[str, ...]]:
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:
        raise SourceKeyError(
            key, "its braces do not match", "write {name} for a value and {{ }} for braces"
        ) from None
    for literal, name, form, conversion in pieces:
        if literal:
            yield literal
        if name is None:
            continue
        if form or conversion or not _NAMES.fullmatch(name):
            raise SourceKeyError(
                key, "a placeholder cannot be read", "write {group.name} or {group.name|group.name}"
            )
        yield tuple(name.split("|"))


def _first(names: tuple[str, ...], variables: Variables) -> Any:
    for name in names:
        value = variables.get(name)
        if value is not None:
            return value
    return ABSENT


def _as_text(part: str | tuple[str, ...], variables: Variables) -> str:
    if isinstance(part, str):
        return part
    value = _first(part, variables)
    return "" if value is ABSENT else str(value)
