"""Attached: what ties a connection's dealings with others to its own life.

The base of presence.py, barriers.py and subscriber.py, of which WebSocket (connection.py) is made.
Everything in them belongs to the reactor thread.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

from cluster.core.exceptions import Disconnected
from cluster.django.api.payloads import Payload
from cluster.django.websocket.late_calls import LateCalls

SendRefresh = Callable[[], Sequence[Payload]]


class Attached:
    """WebSocket sets what is declared here. The slots are those of all its bases, because Python
    lets only one of them have some."""

    __slots__ = (
        "_barriers",
        "_closed",
        "_connection",
        "_drained",
        "_endings",
        "_joined",
        "_late",
        "_pubsub",
        "_refresh",
        "_skipping",
        "_waiting",
        "client",
        "close_code",
        "task",
    )  # fmt: skip

    client: str
    close_code: int | None
    task: asyncio.Task[None] | None
    _connection: Any
    _pubsub: Any
    _waiting: bool
    _closed: asyncio.Future[None] | None
    _drained: asyncio.Future[None] | None
    _barriers: list[tuple[str, int]] | None
    _skipping: dict[bytes, SendRefresh] | None
    _refresh: set[bytes] | None
    _joined: dict[bytes, str] | None
    _endings: dict[object, Callable[[], None]] | None
    _late: LateCalls | None

    def send_now(self, message: Payload | None = None, *, json: Any = None) -> None:
        """Queue a message without waiting."""
        raise NotImplementedError

    # What waits for the connection.

    def _at_end(self, key: object, end: Callable[[], None]) -> None:
        """Have ``end`` called when the client goes, unless ``_not_at_end`` comes before."""
        if self._endings is None:
            self._endings = {}
        self._endings[key] = end

    def _not_at_end(self, key: object) -> Callable[[], None] | None:
        """What would have been called; None if nothing would have been."""
        return self._endings.pop(key, None) if self._endings else None

    def leave_all(self) -> None:
        """The client is gone: have nothing to do with anybody any more."""
        endings, self._endings = self._endings, None
        for end in tuple((endings or {}).values()):
            end()

    async def _check_open(self) -> None:
        if self.close_code is not None:
            await self._refuse()

    async def _refuse(self) -> NoReturn:
        """Raise Disconnected; from the second time on, not before the event loop has run."""
        assert self.close_code is not None
        if self._late is not None:
            await self._late.another()
        else:
            name = "a handler" if self.task is None else self.task.get_name()
            self._late = LateCalls(name, self.client)
        raise Disconnected(self.close_code)

    async def _wait(self, event: Awaitable[Any]) -> None:
        """Wait for something that also ends when the client goes."""
        if asyncio.current_task() is not self.task:
            await event
            return
        self._waiting = True
        try:
            await event
        finally:
            self._waiting = False

    async def _or_closed(self, future: Awaitable[None]) -> None:
        """Wait; raises Disconnected if the client goes before."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(future)
        either = asyncio.wait((waiting, self._closed), return_when=asyncio.FIRST_COMPLETED)
        await self._wait(either)
        if not waiting.done():
            waiting.cancel()
            await self._check_open()
        waiting.result()
