"""Barriers: what a connection waits for together with others.

``cluster.barrier`` (topics.py) is for who is no connection.
"""

import asyncio

from cluster.core.exceptions import BarrierRefused
from cluster.django.api.payloads import Payload
from cluster.django.api.topics import refuse, set_result
from cluster.django.websocket.lifetime import Attached


class Party(Attached):
    """What ``ws`` can do with barriers."""

    __slots__ = ()

    async def barrier(self, name: str, parties: int, announce: Payload | None = None) -> None:
        """Be a party of a barrier, for as long as the connection lasts; returns at its release.

        ``announce`` is sent to the client at the release, ahead of anything that others publish
        because of it: this coroutine itself goes on only a little later.

        When it returns, every subscription made before any of the arrivals is in force on every
        node. Raises BarrierRefused if the barrier is full or released already, Disconnected if the
        client goes. A party that is cancelled leaves.
        """
        await self._check_open()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def released() -> None:
            if announce is not None:
                self.send_now(announce)
            set_result(future)

        token = self._pubsub.barriers.arrive(
            name, parties, released, lambda why: refuse(future, name, why)
        )
        if self._barriers is None:
            self._barriers = []
        self._barriers.append((name, token))
        try:
            await self._or_closed(future)
        # Who no longer waits must not hold the others' place; who was refused has none.
        except (asyncio.CancelledError, BarrierRefused):
            if self._barriers is not None:
                self._barriers.remove((name, token))
                self._pubsub.barriers.leave(name, token)
            raise

    def leave_all(self) -> None:
        super().leave_all()
        for name, token in self._barriers or ():
            self._pubsub.barriers.leave(name, token)
        self._barriers = None
