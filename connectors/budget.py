"""What each unit may spend at one source in a day: a call is paid in parts by all who wait for it.

Who pays is a text of the gateway's own that is compared and counted here, and shown nowhere.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType

Payers = Callable[[], Iterable[str]]
"""Who waits at this moment, once for each answer that is waited for."""

Parts = Mapping[str, Fraction]
"""What each payer paid of one call."""

NO_PARTS: Parts = MappingProxyType({})
"""Of a call that no unit's budget pays."""

MOST_UNITS = 100_000
"""Units whose spending is counted at once at one source; beyond them no other begins to spend on that day."""


def nobody() -> Iterable[str]:
    """Payers of what costs no unit anything."""
    return ()


class UnitBudgets:
    """The money that each unit has at one source for the day that is counted.

    `charge` is the price of a call, `per_day` what a unit may spend. What was spent is exact: a third of a call is
    a third. A unit whose spending has reached `per_day` begins no more; the call that takes it there is paid.
    """

    def __init__(self, charge: Fraction, per_day: Fraction, most_units: int = MOST_UNITS) -> None:
        self._charge = charge
        self._per_day = per_day
        self._most_units = most_units
        self._spent: dict[str, Fraction] = {}

    def __len__(self) -> int:
        """How many units have spent anything."""
        return len(self._spent)

    def begin_day(self) -> None:
        """Nothing is spent yet."""
        self._spent = {}

    def follow_on(self, before: "UnitBudgets") -> None:
        """Count on from what was spent before, and what calls that began before spend still."""
        self._spent = before._spent

    def has_money(self, payers: Iterable[str]) -> bool:
        """Whether any of these has money left."""
        return any(map(self._is_solvent, payers))

    def book(self, payers: Iterable[str]) -> Parts:
        """Divide a call among those who wait for it, and say who paid what.

        Whoever has no money left pays nothing for what others want as well. Where nobody has any, it is a further
        request of a call that is under way: all of them pay it.
        """
        waiting = Counter(payers)
        paying = {payer: seats for payer, seats in waiting.items() if self._is_solvent(payer)} or waiting
        every = sum(paying.values())
        parts = {payer: self._charge * seats / every for payer, seats in paying.items()}
        for payer, part in parts.items():
            self._spent[payer] = self._spent.get(payer, Fraction()) + part
        return parts

    def give_back(self, parts: Parts) -> None:
        """Undo what was booked on the day that is counted."""
        for payer, part in parts.items():
            left = self._spent[payer] - part
            if left:
                self._spent[payer] = left
            else:
                del self._spent[payer]

    def _is_solvent(self, payer: str) -> bool:
        spent = self._spent.get(payer)
        return len(self._spent) < self._most_units if spent is None else spent < self._per_day
