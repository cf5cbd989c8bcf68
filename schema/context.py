"""What the fields of one request share."""

from collections.abc import Awaitable, Callable, Coroutine
from copy import copy
from functools import cached_property, partial
from typing import Any, Self, TypeAlias, TypeVar
from uuid import UUID

import strawberry
from graphql import OperationDefinitionNode
from strawberry.dataloader import DataLoader

from persistence.branches import Branch
from persistence.pages import Page, Window
from persistence.tables import Conversation, Task
from resolvers import conversations, messages, tasks
from resolvers.context import Context
from resolvers.messages import MessageState
from runs.follow import Deliver
from schema.scalars import StreamCursors

K = TypeVar("K")
T = TypeVar("T")

FindDelivery: TypeAlias = Callable[[StreamCursors], Deliver | None]


class Loader(DataLoader[K, T]):
    """Gathers keys as Strawberry's does, also after all who waited for a batch have left."""

    def load(self, key: K) -> Awaitable[T]:
        # Strawberry gives up a batch that nobody waits for any more, but would gather in it for ever.
        if self.batch is not None and all(task.future.cancelled() for task in self.batch.tasks):
            self.batch = None
        return super().load(key)


class Loaders:
    """Gather what many fields ask for at once into one statement each.

    They keep nothing: a WebSocket has one context for its whole life, and would be shown old rows.
    """

    def __init__(self, caller: Context) -> None:
        self._caller = caller

    # Each is made when it is first asked for: most operations need none.

    @cached_property
    def conversations(self) -> Loader[UUID, Conversation | None]:
        return Loader(partial(conversations.load_conversations, self._caller), cache=False)

    @cached_property
    def messages(self) -> Loader[UUID, MessageState | None]:
        return Loader(partial(messages.load_messages, self._caller), cache=False)

    @cached_property
    def tasks(self) -> Loader[UUID, Task | None]:
        return Loader(partial(tasks.load_tasks, self._caller), cache=False)

    @cached_property
    def versions(self) -> Loader[tuple[UUID, str], list[MessageState]]:
        return Loader(partial(messages.load_versions, self._caller), cache=False)

    @cached_property
    def branches(self) -> Loader[tuple[Branch, Window], Page[MessageState]]:
        return Loader(partial(messages.load_branches, self._caller), cache=False)


async def _await(work: Coroutine[Any, Any, Any]) -> Any:
    return await work


class RequestContext:
    """The caller of a request, or of all operations of a WebSocket once it has signed in."""

    def __init__(self, caller: Context | None = None) -> None:
        #: The payload of `connection_init`.
        self.connection_params: dict[str, object] | None = None
        self._caller: Context | None = None
        self._loaders: Loaders | None = None
        #: What the document asks for; None before it is known, and where it asks for nothing that there is.
        self.operation: OperationDefinitionNode | None = None
        #: What sends text deltas of a message to the client of this operation; None if there is no such way.
        self.find_delivery: FindDelivery = lambda cursors: None
        #: Sees to work that may take as long as a reply: by HTTP it ends when its client leaves.
        self.wait_for: Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]] = _await
        if caller is not None:
            self.sign_in(caller)

    def sign_in(self, caller: Context) -> None:
        self._caller, self._loaders = caller, Loaders(caller)

    @property
    def caller(self) -> Context:
        assert self._caller is not None, "no operation runs before the caller is known"
        return self._caller

    @property
    def loaders(self) -> Loaders:
        assert self._loaders is not None, "no operation runs before the caller is known"
        return self._loaders

    def of_operation(self, deliver: FindDelivery) -> Self:
        """The same for one operation, whose client can be sent text deltas directly."""
        context = copy(self)
        context.find_delivery = deliver
        return context


Info = strawberry.Info[RequestContext, None]
