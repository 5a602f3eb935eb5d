"""Subscription: what ``ws.subscribe`` returns."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Self

from cluster.core.broker_state.retained_topic import format_position
from cluster.core.interfaces import ClientConnection
from cluster.django.api.topics import set_result
from cluster.django.handlers.giving_way import give_way
from cluster.django.handlers.lifetime import Lifetime


class Subscription:
    """A connection's subscription to a topic.

    ``await`` it to learn what the topic retains. It need not be awaited. If the connection closes
    while it is awaited, or another subscription to the topic replaces this one, the attributes keep
    their initial values.

    Args:
        known: Whether nothing more will be learned.
        connection: The connection; a task that has nothing to wait for gives way to others.
        lifetime: The lifetime of the connection.
        ask: Called once, when the subscription is awaited, to find out the position.

    Attributes:
        recovered: Whether all messages after ``since`` were retained, and so were sent.
        position: The position of the topic; empty for a topic that retains nothing.
    """

    __slots__ = (
        "_ask", "_connection", "_future", "_lifetime",
        "is_known", "position", "recovered",
    )  # fmt: skip

    def __init__(
        self,
        known: bool,
        connection: ClientConnection,
        lifetime: Lifetime,
        ask: Callable[["Subscription"], None] | None = None,
    ) -> None:
        self.recovered = False
        self.position = ""
        self.is_known = known
        self._ask = ask
        self._connection = connection
        self._lifetime = lifetime
        self._future: asyncio.Future[None] | None = None

    def answer(self, recovered: bool, epoch: str, offset: int) -> None:
        """The node has found out."""
        self.recovered = recovered
        self.position = format_position(epoch, offset) if epoch else ""
        self.end()

    def end(self) -> None:
        """There is nothing more to wait for."""
        self.is_known = True
        if self._future is not None:
            set_result(self._future)

    def __await__(self) -> Generator[Any, None, Self]:
        if self._ask is not None:
            ask, self._ask = self._ask, None
            ask(self)
        if not self.is_known:
            if self._future is None:
                self._future = asyncio.get_running_loop().create_future()
            # Several tasks may await one subscription, and one of them be cancelled.
            yield from asyncio.shield(self._future).__await__()
        else:
            yield from give_way(self._connection, self._lifetime).__await__()
        return self
