"""Decisions that were made a moment ago, by every input that a decision has.

A decision is a pure function of the table of the day, the caller, the purpose, the evidence, the sections asked
and of three facts about the subject: its kind, whether it is synthetic, and whether it is the caller itself.
Callers ask the same kind of question of one subject after another, so its value is kept. Nothing that an artefact
or a register has to prove is kept: that is closed for each inquiry anew.
"""

import msgspec

from gateway.recent import Recent
from policies.caller import Caller
from policies.decision import Decided, Possible, Question, close_all, decide, is_self
from policies.outcomes import Denied
from policies.proofs import NOTHING_FOUND
from policies.table import Table


class Settled(msgspec.Struct):
    """The decision on a question: what is possible, and the final one where nothing is open.

    `inputs` are the objects that stand in its key by identity.
    """

    possible: dict[str, Possible | Denied]
    decided: Decided | None
    inputs: tuple[object, ...]
    _last: Decided | None = None

    def same(self, decided: Decided) -> Decided:
        """The final decision that proofs led to this time: the object of the last time where it is equal to that.

        What follows from a decision is then known by its identity, though each is made anew.
        """
        if decided != self._last:
            self._last = decided
        return self._last or decided


class Decisions:
    """The last `size` decisions."""

    def __init__(self, size: int = 2000) -> None:
        self._recent: Recent[tuple[object, ...], Settled] = Recent(size)

    def on(self, table: Table, caller: Caller, question: Question) -> Settled:
        """The decision on one question; equal questions of one caller get the same object."""
        subject, evidence, sections = question.subject, question.evidence, question.sections
        key = (
            id(table),
            id(caller),
            question.purpose,
            subject.kind,
            subject.synthetic,
            is_self(caller, subject),
            id(evidence),
            id(sections),
            # Only whether there is more than one counts.
            question.subjects_in_operation > 1,
        )
        settled = self._recent.get(key)
        if settled is None:
            possible = decide(table, caller, question)
            decided = _closed(table, caller, question, possible)
            settled = Settled(possible, decided, (table, caller, evidence, sections))
            self._recent.put(key, settled)
        return settled


def _closed(
    table: Table, caller: Caller, question: Question, possible: dict[str, Possible | Denied]
) -> Decided | None:
    """The final decisions, where nothing has to be proven by anything but the question itself."""
    if any(isinstance(part, Possible) and (part.open or part.references) for part in possible.values()):
        return None
    return close_all(table, caller, question, possible, 0, NOTHING_FOUND)
