"""Waits until the subscriptions of this node are in force on all nodes.

The group of a channel layer or a room of Socket.IO is entered when a message that any node sends to
it afterwards arrives. A barrier with one party is released when all nodes have the subscriptions
that were made before it. All subscriptions of a turn share one barrier, and the next barrier
follows when the last one is released.
"""

import asyncio

from cluster.core.interfaces import Barriers

TIMEOUT_S = 2.0
"""Seconds to wait. A barrier takes some milliseconds, and longer only while the bus is down; the
subscription is in force when the bus is up again."""


class InForce:
    """``wait`` from the event loop of the node, after a subscription.

    Args:
        barriers: The barriers of the node.
        name: The beginning of the barriers' names, which no other process uses.
    """

    def __init__(self, barriers: Barriers, name: str) -> None:
        self._barriers = barriers
        self._name = name
        self._count = 0
        self._running: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None

    def ask(self) -> "asyncio.Future[None]":
        """A future for the subscriptions until now. Await it with ``wait``: callers share it."""
        if self._next is None:
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            if self._running is None:
                loop.call_soon(self._begin)
        return self._next

    def _begin(self) -> None:
        if self._running is not None or self._next is None:
            return
        future = self._running = self._next
        self._next = None
        self._count += 1
        name = f"{self._name}{self._count}"

        def done(reason: str = "") -> None:
            if not reason:
                self._barriers.leave(name, token)
            self._running = None
            if not future.done():
                future.set_result(None)
            self._begin()

        token = self._barriers.arrive(name, 1, done, done)


async def wait(future: "asyncio.Future[None]") -> bool:
    """Wait for a future of ``ask``, which others may await; returns False after TIMEOUT_S."""
    done, _ = await asyncio.wait([future], timeout=TIMEOUT_S)
    return bool(done)
