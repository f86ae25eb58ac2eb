"""The last values by key: how everything that is kept for speed is bounded."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most `size` values; the one that was used longest ago goes first.

    A key may hold the `id` of an object only where the value holds that object: as long as it is here, no
    other object has its id.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """The value, which counts as used now; None when there is none."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def forget_all(self) -> None:
        """Keep nothing any longer."""
        self._values.clear()

    def put(self, key: K, value: V) -> V:
        """Keep a value, and give it back."""
        self._values[key] = value
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        return value


class Seen:
    """What came among the last `size` things, by its hash: what shares one with another is seen one time too early."""

    def __init__(self, size: int) -> None:
        self._came: Recent[int, bool] = Recent(size)

    def before(self, thing: Hashable) -> bool:
        """Whether this came before; it has, the next time."""
        number = hash(thing)
        if self._came.get(number):
            return True
        self._came.put(number, True)
        return False
