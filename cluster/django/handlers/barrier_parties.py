"""Parties: the barriers at which a connection has arrived.

Made when the handler waits at a barrier for the first time. Code without a connection uses
``cluster.abarrier`` (api.topics).
"""

import asyncio
from collections.abc import Callable

from cluster.core.exceptions import BarrierRefused
from cluster.core.interfaces import Barriers
from cluster.django.api.topics import refuse, set_result
from cluster.django.handlers.lifetime import Lifetime


class Parties:
    """The arrivals of one connection, which last as long as the client stays."""

    __slots__ = ("_arrivals", "_barriers", "_lifetime")

    def __init__(self, barriers: Barriers, lifetime: Lifetime) -> None:
        self._barriers = barriers
        self._lifetime = lifetime
        self._arrivals: list[tuple[str, int]] = []

    async def wait(self, name: str, parties: int, on_release: Callable[[], None]) -> None:
        """Arrive, and wait for the release, at which ``on_release`` is called at once: before this
        coroutine continues, and before anything that other parties publish because of it."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def released() -> None:
            on_release()
            set_result(future)

        token = self._barriers.arrive(
            name, parties, released, lambda reason: refuse(future, name, reason)
        )
        arrival = (name, token)
        self._arrivals.append(arrival)
        try:
            await self._lifetime.wait(future)
        except (asyncio.CancelledError, BarrierRefused):
            # A party that no longer waits must not take the place of another one.
            if arrival in self._arrivals:
                self._arrivals.remove(arrival)
                self._barriers.leave(name, token)
            raise

    @property
    def count(self) -> int:
        """How many barriers this connection is a party of."""
        return len(self._arrivals)

    def end(self) -> None:
        """The client is gone: be a party no longer."""
        for name, token in self._arrivals:
            self._barriers.leave(name, token)
        self._arrivals.clear()
