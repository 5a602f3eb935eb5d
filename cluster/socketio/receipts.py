"""What ``emit`` and ``enter_room`` return: one need not await it, but may."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

from cluster.django.api import in_force
from cluster.django.api.receipt import Receipt

FULL_PAUSE_S, FULL_PAUSES = 0.01, 100
"""While a client does not read, or the bus is full, an ``await`` of a receipt takes a second at
most, in pauses."""


class EmitReceipt:
    """How many sockets an event was queued to. You do not create one yourself.

    It has the attributes of a ``Receipt``. ``await`` it to wait while the receiver does not read
    fast enough, for a second at most: the client of ``socket.emit``, or the bus between the nodes
    for events to rooms.
    """

    __slots__ = ("_is_full", "_receipt")

    def __init__(self, receipt: Receipt, is_full: Callable[[], bool] | None = None) -> None:
        self._receipt = receipt
        self._is_full = is_full

    def __repr__(self) -> str:
        return f"Emit{self._receipt!r}"

    @property
    def nodes(self) -> int:
        """The nodes of the whole cluster that have such sockets."""
        return self._receipt.nodes

    @property
    def connections_here(self) -> int:
        """The sockets of one node: the one that emitted, in its event loop."""
        return self._receipt.connections_here

    @property
    def pending(self) -> bool:
        """Whether the event waits for the commit of a transaction."""
        return self._receipt.pending

    def __await__(self) -> Generator[Any, None, "EmitReceipt"]:
        """Wait while the receiver does not read fast enough."""
        return self._wait().__await__()

    async def _wait(self) -> "EmitReceipt":
        is_full = self._is_full
        if is_full is not None:
            for _ in range(FULL_PAUSES):
                if not is_full():
                    break
                await asyncio.sleep(FULL_PAUSE_S)
        return self


class Entered:
    """A socket has entered a room. You do not create one yourself.

    ``await`` it to wait until events that any node emits to the room reach the socket: some
    milliseconds for the first socket of a node, no time for others.
    """

    __slots__ = ("_future",)

    def __init__(self, future: "asyncio.Future[None] | None" = None) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until the room is in force on all nodes."""
        return self._wait().__await__()

    async def _wait(self) -> None:
        if self._future is not None:
            await in_force.wait(self._future)
