"""Gatherings: the answers of several nodes and sockets to one request of this node.

A request is an event that sockets acknowledge, or a question to the nodes. Each node says how many
answers it will send (EXPECT); answers and these numbers arrive in any order.
"""

import asyncio
from typing import Any

MAX_REQUESTS = 10_000
"""Requests of a node that wait for answers."""


class Gathering:
    """The answers to one request. Await ``wait``.

    This node is the first that says how many answers it sends.
    """

    __slots__ = ("_answers", "_due", "_future", "_missing", "_nodes")

    def __init__(self) -> None:
        self._answers: list[Any] = []
        self._nodes = 1
        self._due = 0
        self._missing = 0
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def expect(self, answers: int) -> None:
        """A node, this one or another, sends so many answers."""
        self._nodes -= 1
        self._due += answers
        self.look()

    def more_nodes(self, nodes: int) -> None:
        """So many other nodes will say how many answers they send."""
        self._nodes += nodes

    def answer(self, value: Any) -> None:
        """An answer has arrived."""
        self._answers.append(value)
        self.look()

    def miss(self) -> None:
        """An answer will not arrive: its client is gone."""
        self._missing += 1
        self.look()

    def look(self) -> None:
        """Wake the task that waits if everything is there."""
        if (
            self._nodes <= 0
            and len(self._answers) + self._missing >= self._due
            and not self._future.done()
        ):
            self._future.set_result(None)

    async def wait(self, timeout: float) -> tuple[list[Any], bool]:
        """Wait for all answers.

        Args:
            timeout: Seconds.

        Returns:
            The answers, and whether they are all.
        """
        self.look()
        await asyncio.wait([self._future], timeout=timeout)
        return self._answers, self._future.done() and not self._missing


class Gatherings:
    """The gatherings of this node, by the numbers of their requests."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, Gathering] = {}

    def begin(self) -> tuple[int, Gathering]:
        """A new gathering and its number; call ``end`` when it is over.

        Raises:
            RuntimeError: Too many wait.
        """
        if len(self._open) >= MAX_REQUESTS:
            raise RuntimeError(f"{MAX_REQUESTS:,} calls to Socket.IO clients wait already")
        self._last += 1
        gathering = self._open[self._last] = Gathering()
        return self._last, gathering

    def end(self, number: int) -> None:
        """What arrives for this request later is ignored."""
        self._open.pop(number, None)

    def get(self, number: int) -> Gathering | None:
        """The gathering with this number; None if it is over."""
        return self._open.get(number)
