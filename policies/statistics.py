"""Statistics: who may have counts of a category, and how coarse they leave.

A count leaves rounded down to a multiple of the smallest cell k, each by itself. A cell under k is thereby not
there at all, as one that is empty; and a total is only ever the total of what is shown, so that no cell can be
found by taking others from it: whatever the small cells hold, the answer is the same.
"""

from collections.abc import Iterable

import msgspec

from policies.caller import Caller
from policies.decision import decide_without_subject
from policies.evidence import Evidence
from policies.outcomes import Denied, Outcome
from policies.proofs import NOTHING_FOUND, Findings
from policies.table import Cell, Table
from policies.vocabulary import Level, SubjectKind

SMALLEST_CELL = {"K10": 10, "K50": 50}
"""Obligations that set the smallest cell."""

_KEPT = frozenset({"VISIBLE", "NO_CACHE", "HASHED", *SMALLEST_CELL})
"""Obligations that counts keep: the source counts the records that are visible on the day it is told, nothing
is stored, and nobody is named."""


class Count(msgspec.Struct, frozen=True):
    """How many records share these values, in the order of the dimensions asked; None: the source has no value."""

    values: tuple[str | None, ...]
    count: int


class Released(msgspec.Struct, frozen=True):
    """The counts that may leave, largest first, and their own total; `smallest_cell` is what they are multiples of."""

    cells: tuple[Count, ...]
    total: int
    smallest_cell: int


class Allowed(msgspec.Struct, frozen=True):
    """Counts of a category that may be given, and the smallest cell they must keep."""

    cell: Cell
    smallest_cell: int


_COUNTED = frozenset({Level.AGGREGATE})


def decide_statistics(
    table: Table,
    caller: Caller,
    purpose: str,
    kind: SubjectKind,
    category: str,
    evidence: Evidence,
    findings: Findings = NOTHING_FOUND,
) -> Allowed | Denied:
    """Whether the caller may have counts of a category, before any source is asked.

    The smallest cell is the rule's. One that the caller declares (its study's), where that is larger, is rounded
    up to a multiple of the rule's: then its counts follow from those that anybody gets. Multiples of the caller's
    own choice would meet in the exact number.
    """
    cell = decide_without_subject(
        table, caller, purpose, kind, category, evidence, levels=_COUNTED, findings=findings
    )
    if isinstance(cell, Denied):
        return cell
    if caller.synthetic_only:
        return Denied(
            code=Outcome.DENY_PURPOSE,
            basis=cell.rule.basis,
            remedy="This token reaches synthetic subjects only, and counts are of all subjects.",
            rule=cell.rule.id,
        )
    obligations = cell.rule.obligations
    smallest = max((SMALLEST_CELL[code] for code in obligations if code in SMALLEST_CELL), default=None)
    unkept = next((code for code in obligations if code not in _KEPT), None)
    if smallest is None or unkept is not None:
        return Denied(
            code=Outcome.DENY_OBLIGATION,
            basis=cell.rule.basis,
            remedy="Counts leave only under a rule that sets their smallest cell and nothing that they cannot keep.",
            rule=cell.rule.id,
            condition=unkept,
        )
    return Allowed(cell, -(-(evidence.minimum_cell or 1) // smallest) * smallest)


def release(counts: Iterable[Count], smallest_cell: int) -> Released:
    """The counts as they may leave. Counts of the same values are one cell; negative counts are refused."""
    summed: dict[tuple[str | None, ...], int] = {}
    for each in counts:
        if each.count < 0:
            raise ValueError("count: is negative")
        summed[each.values] = summed.get(each.values, 0) + each.count
    rounded = (Count(values, count - count % smallest_cell) for values, count in summed.items())
    shown = sorted(
        (cell for cell in rounded if cell.count),
        key=lambda cell: (-cell.count, [value or "" for value in cell.values]),
    )
    return Released(tuple(shown), sum(cell.count for cell in shown), smallest_cell)
