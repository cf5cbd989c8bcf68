"""What was used last is remembered, as much of it as may be."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """Values by their keys, each with a weight: beyond so many, or so much in all, the least recently used go."""

    def __init__(self, most: int, weight: int) -> None:
        self._most, self._room = most, weight
        self._known: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._known

    def __getitem__(self, key: Hashable) -> Value:
        value, _ = self._known[key]
        self._known.move_to_end(key)
        return value

    def add(self, key: Hashable, value: Value, weight: int) -> None:
        """Remember a value under a key that is not known."""
        self._known[key] = value, weight
        self._room -= weight
        while len(self._known) > self._most or self._room < 0:
            _, (_, freed) = self._known.popitem(last=False)
            self._room += freed
