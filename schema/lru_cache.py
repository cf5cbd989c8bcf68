"""What was used last is remembered, as much of it as may be."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """Values by their keys, each with a weight: beyond so much in all, the least recently used go."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._known: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._known

    def __getitem__(self, key: Hashable) -> Value:
        value, _ = self._known[key]
        self._known.move_to_end(key)
        return value

    def add(self, key: Hashable, value: Value, weight: int = 1) -> None:
        """Remember a value under a key that is not known."""
        self._known[key] = value, weight
        self._room -= weight
        while self._room < 0:
            self.forget(next(iter(self._known)))

    def forget(self, key: Hashable) -> None:
        _, weight = self._known.pop(key)
        self._room += weight
