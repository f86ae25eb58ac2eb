"""What a request may cost, checked before the document is validated.

Validation, planning and execution walk fragments at every spread, so a short document can ask for an
unbounded walk. The check here sees each fragment once and adds up the rest.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

from gateway.errors import Code, GatewayError


class Limits(msgspec.Struct, frozen=True):
    """Upper bounds of one request; each is included.

    `max_depth` counts nested selection sets, those of fragments and inline fragments too. Fields (and
    spreads among them), aliases and directives are counted once for every spread of the fragment they
    stand in. `max_input_depth`
    counts the lists and objects that nest inside the request's JSON object, `variables` being the first.
    """

    max_body_bytes: int = 262_144
    max_query_string_bytes: int = 16_384
    max_document_chars: int = 32_768
    max_document_lines: int = 4_000
    max_tokens: int = 4_000
    max_depth: int = 20
    max_fields: int = 2_000
    max_aliases: int = 300
    max_directives: int = 100
    max_definitions: int = 50
    max_input_depth: int = 20


class _Cost(msgspec.Struct, frozen=True):
    depth: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0

    def with_spread(self, depth: int, spread: "_Cost") -> "_Cost":
        return _Cost(
            max(self.depth, depth + spread.depth),
            self.fields + spread.fields,
            self.aliases + spread.aliases,
            self.directives + spread.directives,
        )


class _Body(msgspec.Struct, frozen=True):
    """One definition: its own cost, and where it spreads which fragment: (name, depth)."""

    own: _Cost
    spreads: tuple[tuple[str, int], ...]


def check_text(text: str, limits: Limits) -> None:
    """Raise DOCUMENT_TOO_LONG for a document that is not worth parsing."""
    if len(text) > limits.max_document_chars:
        raise GatewayError(Code.DOCUMENT_TOO_LONG, limit=limits.max_document_chars, field="characters")
    # graphql-core scans all lines for the place of every fault.
    if text.count("\n") + text.count("\r") > limits.max_document_lines:
        raise GatewayError(Code.DOCUMENT_TOO_LONG, limit=limits.max_document_lines, field="lines")


def check_document(document: DocumentNode, limits: Limits) -> None:
    """Raise a `GatewayError` for the first limit that the document passes, or for a fragment cycle."""
    if len(document.definitions) > limits.max_definitions:
        raise GatewayError(Code.TOO_MANY_DEFINITIONS, limit=limits.max_definitions)
    fragments: dict[str, _Body] = {}
    operations: list[_Body] = []
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            fragments[definition.name.value] = _measure(definition)
        elif isinstance(definition, OperationDefinitionNode):
            operations.append(_measure(definition))
    totals = _add_up(fragments)
    for total in [*totals.values(), *(_total(body, totals) for body in operations)]:
        _compare(total, limits)


def check_nesting(value: Any, limits: Limits) -> None:
    """Raise TOO_DEEP where decoded JSON nests deeper than allowed, before anything recurses into it."""
    level: list[Any] = [value]
    for _ in range(limits.max_input_depth + 1):
        inner: list[Any] = []
        for outer in level:
            for member in outer.values() if type(outer) is dict else outer:
                if type(member) is dict or type(member) is list:
                    inner.append(member)
        if not inner:
            return
        level = inner
    raise too_deep(limits)


def too_deep(limits: Limits) -> GatewayError:
    """The fault of JSON that nests deeper than allowed."""
    return GatewayError(Code.TOO_DEEP, field="The request's JSON", limit=limits.max_input_depth)


def _measure(definition: OperationDefinitionNode | FragmentDefinitionNode) -> _Body:
    deepest = fields = aliases = 0
    directives = len(definition.directives or ())
    spreads: list[tuple[str, int]] = []
    pending: list[tuple[SelectionSetNode, int]] = [(definition.selection_set, 1)]
    while pending:
        selection_set, depth = pending.pop()
        deepest = max(deepest, depth)
        for selection in selection_set.selections:
            directives += len(selection.directives or ())
            if isinstance(selection, FragmentSpreadNode):
                spreads.append((selection.name.value, depth))
                fields += 1
            elif isinstance(selection, FieldNode):
                fields += 1
                aliases += selection.alias is not None
            inner = _selection_set(selection)
            if inner is not None:
                pending.append((inner, depth + 1))
    return _Body(_Cost(deepest, fields, aliases, directives), tuple(spreads))


def _selection_set(selection: SelectionNode) -> SelectionSetNode | None:
    return selection.selection_set if isinstance(selection, FieldNode | InlineFragmentNode) else None


def _add_up(fragments: Mapping[str, _Body]) -> dict[str, _Cost]:
    """Total cost of each fragment, each visited once, inner ones first."""
    totals: dict[str, _Cost] = {}
    for root in fragments:
        # The trail is the chain of spreads that leads to the fragment in hand; no recursion, so that a
        # long chain cannot exhaust the stack.
        trail = {} if root in totals else {root: iter(fragments[root].spreads)}
        while trail:
            name = next(reversed(trail))
            for spread, _ in trail[name]:
                if spread in trail:
                    raise GatewayError(Code.FRAGMENT_CYCLE, field=spread)
                if spread in fragments and spread not in totals:
                    trail[spread] = iter(fragments[spread].spreads)
                    break
            else:
                del trail[name]
                totals[name] = _total(fragments[name], totals)
    return totals


def _total(body: _Body, totals: Mapping[str, _Cost]) -> _Cost:
    total = body.own
    for name, depth in body.spreads:
        # A spread of no fragment is left to validation, which names it.
        if name in totals:
            total = total.with_spread(depth, totals[name])
    return total


def _compare(total: _Cost, limits: Limits) -> None:
    if total.depth > limits.max_depth:
        raise GatewayError(Code.TOO_DEEP, field="The document", limit=limits.max_depth)
    if total.fields > limits.max_fields:
        raise GatewayError(Code.TOO_MANY_FIELDS, limit=limits.max_fields)
    if total.aliases > limits.max_aliases:
        raise GatewayError(Code.TOO_MANY_ALIASES, limit=limits.max_aliases)
    if total.directives > limits.max_directives:
        raise GatewayError(Code.TOO_MANY_DIRECTIVES, limit=limits.max_directives)
