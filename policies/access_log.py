"""The log of inquiries: who may read it where no subject is named."""

from collections.abc import Iterator

from policies.caller import Caller
from policies.decision import decide_without_subject, references_without_subject
from policies.evidence import Evidence
from policies.outcomes import Denied, Outcome
from policies.proofs import NOTHING_FOUND, Findings
from policies.registers import Reference
from policies.table import Cell, Table
from policies.vocabulary import Level, SubjectKind

CATEGORY = "ACCESS_LOG"
"""The category of the records that the ledger itself holds."""

_KINDS = (SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP, SubjectKind.GOV)
_ROWS = frozenset({Level.FULL})
_KEPT = frozenset({"HASHED", "NO_CACHE"})
"""Obligations that the log keeps: subjects stand in it as keyed hashes, and it is read anew each time."""


def decide_log(
    table: Table, caller: Caller, purpose: str, evidence: Evidence, findings: Findings = NOTHING_FOUND
) -> tuple[Cell, ...] | Denied:
    """Whether the caller may read the log of all subjects: only where it may that of every kind of subject."""
    cells: list[Cell] = []
    for kind in _KINDS:
        cell = decide_without_subject(
            table, caller, purpose, kind, CATEGORY, evidence, levels=_ROWS, findings=findings
        )
        if isinstance(cell, Denied):
            return cell
        unkept = next((code for code in cell.rule.obligations if code not in _KEPT), None)
        if unkept is not None:
            return Denied(
                code=Outcome.DENY_OBLIGATION,
                basis=cell.rule.basis,
                remedy="Ask for the log of one subject: that of all cannot keep it.",
                rule=cell.rule.id,
                condition=unkept,
            )
        cells.append(cell)
    return tuple(cells)


def references_of_log(table: Table, caller: Caller, purpose: str, evidence: Evidence) -> Iterator[Reference]:
    """What the registers have to be asked before `decide_log` can allow anything."""
    for kind in _KINDS:
        yield from references_without_subject(table, caller, purpose, kind, CATEGORY, evidence)
