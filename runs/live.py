"""The live state of replies being written, and how it is shared: one writer, any number of readers.

Level-triggered: a reader holds only how far it has read, and takes everything new at each wake-up. Being woken
twice, or while it is busy, costs it nothing, and a slow one gets larger pieces, never a backlog.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from persistence.tables import Message
from runs.feed import Feed, Listener

#: What one node tells the workers of all others: there is a run to take; stop, or give up, a reply if it is yours.
Signal = Literal["wake", "stop", "lose"]


@dataclass(frozen=True, slots=True)
class LiveSlice:
    """The log of a running reply, from where a reader had got to."""

    attempt: int
    #: Where each attempt after the first went on (positions).
    restarts: Sequence[int]
    #: The log from the reader's offset, or from its beginning where the reader knew another attempt.
    data: bytes
    #: Whether this is the end of it: the reply is saved.
    ended: bool
    #: Whether there is more than was taken at once.
    more: bool = False
    #: The row of the saved reply, if that is the end and it was written on this node.
    reply: Message | None = None


class Watch(Protocol):
    """A reader's wait for news of one reply."""

    async def changed(self, timeout: float) -> None:
        """Return once something has changed since the last call, or after `timeout` seconds."""
        ...


class LiveReplies(Protocol):
    """Where live state is kept. A write by another attempt than the newest changes nothing."""

    def begin(self, message_id: UUID, attempt: int, restarts: Sequence[int], log: bytes) -> None:
        """An attempt begins, with the log of what earlier ones saved."""
        ...

    def append(self, message_id: UUID, attempt: int, data: bytes) -> None:
        """Add whole characters and records to the log."""
        ...

    def end(self, message_id: UUID, attempt: int, reply: Message | None = None) -> None:
        """The reply is saved: readers are woken for its last piece, then its live state goes.

        Those on this node are given its row, where that is at hand.
        """
        ...

    def drop(self, message_id: UUID, attempt: int) -> None:
        """The attempt is given up: its live state goes at once, and readers are woken to read the saved one."""
        ...

    def notify(self, id: UUID) -> None:
        """Wake who watches a reply or a conversation, on every node: what is saved of it has changed."""
        ...

    def signal(self, signal: Signal, message_id: UUID) -> None:
        """Tell the workers of the other nodes; it may get lost."""
        ...

    def on_signal(self, listener: Callable[[Signal, UUID], None]) -> None:
        """Whom to tell what other nodes signal."""
        ...

    async def read(self, message_id: UUID, attempt: int, offset: int) -> LiveSlice | None:
        """What a reader of `attempt` has not read yet, `offset` bytes on; None where nothing is live."""
        ...

    def listen(self, message_id: UUID, attempt: int, offset: int, listener: Listener) -> Feed | None:
        """Have text handed to a reader that has read `offset` bytes; None unless that is all that is live."""
        ...

    def watch(self, id: UUID) -> AbstractContextManager[Watch]:
        """Watch a reply or a conversation: what changes from now on is not missed."""
        ...

    @property
    def count(self) -> int:
        """Replies of which this node holds live text; saved ones linger for some seconds."""
        ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...
