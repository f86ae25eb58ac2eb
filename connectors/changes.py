"""What changed at the sources: which kept answers no longer hold.

A change is known by its number; numbers only grow. An answer that was asked for before a change came in may be
the old one, however late it arrives: so every answer is kept together with the number that was known when its
call began.
"""

from collections.abc import Callable

import msgspec

OTHER_SCHEMES = "*"
"""Stands for every subject that is asked for by another identifier than a credit code."""

MOST_SUBJECTS = 1000
"""Subjects that one change may name."""


class Change(msgspec.Struct, frozen=True):
    """What a source says has changed: `category` None for all of them, `subjects` None for all of them.

    Subjects are credit codes in their normal form.
    """

    source: str
    category: str | None
    subjects: frozenset[str] | None

    def concerns(self, source: str, category: str, scheme: str, value: str) -> bool:
        """Whether an answer about a subject may be another one now.

        A subject that was asked for by another identifier than its credit code may be any of those that changed.
        """
        return (
            self.source == source
            and self.category in (None, category)
            and (self.subjects is None or scheme != "credit_code" or value in self.subjects)
        )


class Changes:
    """The changes that this process has heard of.

    `forget` drops from memory what a change concerns, `forget_all` everything. `number` is the last change.
    """

    def __init__(self, forget: Callable[[Change], None], forget_all: Callable[[], None]) -> None:
        self._forget = forget
        self._forget_all = forget_all
        self._last: dict[str, int] = {}
        self.number = 0

    def heard(self, change: Change, number: int | None = None) -> None:
        """A change came in; `number` is the one that all replicas know it by, if they share any."""
        self.number = self.number + 1 if number is None else max(self.number, number)
        self._last[change.source] = self.number
        self._forget(change)

    def joined(self, number: int) -> None:
        """From here on the changes of all replicas are heard; `number` is the last that was not."""
        self.number = max(self.number, number)
        self.deaf()

    def deaf(self) -> None:
        """What changed at this time was not heard: nothing in memory is to be trusted."""
        self._forget_all()

    def since(self, source: str, number: int) -> bool:
        """Whether something changed at a source after `number` was the last."""
        return self._last.get(source, 0) > number
