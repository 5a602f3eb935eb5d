"""Subscription: what ``ws.subscribe`` gives back, for those who want to know what was missed."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Self

from cluster.core.retained import format_position, parse_position
from cluster.django.api.topics import set_result

NO_POSITION = ("", 0)
"""Before everything, in a numbering that nobody knows: nothing can be recovered from there."""


def place_after(since: str | None) -> tuple[str, int] | None:
    """A position as (epoch, offset). It comes from a client, so text that is none (empty, or made
    up) is no error of ours, but like one that nobody knows any more."""
    if since is None:
        return None
    if not isinstance(since, str):
        raise TypeError(f"since is a position, as text, not {since!r}")
    try:
        return parse_position(since)
    except ValueError:
        return NO_POSITION


class Subscription:
    """A connection's subscription to a topic; ``await`` it to know what the topic keeps.

    Then ``recovered`` says whether all messages after ``since`` were there (and are sent), and
    ``position`` where the topic was (empty for a topic that keeps nothing). It need not be awaited;
    a connection that closes before it is known leaves both as they are.
    """

    __slots__ = ("_ask", "_future", "_known", "position", "recovered")

    def __init__(self, known: bool, ask: Callable[["Subscription"], None] | None = None) -> None:
        """``known``: nothing more will be; ``ask``: called once if somebody wants to know."""
        self.recovered = False
        self.position = ""
        self._known = known
        self._ask = ask
        self._future: asyncio.Future[None] | None = None

    def answer(self, recovered: bool, epoch: str, offset: int) -> None:
        """What the node has found out."""
        self.recovered = recovered
        self.position = format_position(epoch, offset) if epoch else ""
        self.end()

    def end(self) -> None:
        """There is nothing more to wait for."""
        self._known = True
        if self._future is not None:
            set_result(self._future)

    def __await__(self) -> Generator[Any, None, Self]:
        if self._ask is not None:
            ask, self._ask = self._ask, None
            ask(self)
        if not self._known:
            if self._future is None:
                self._future = asyncio.get_running_loop().create_future()
            yield from asyncio.shield(self._future).__await__()
        return self
