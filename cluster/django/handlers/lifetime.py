"""Lifetime: how long a client stays, and what ends when it leaves.

Each WebSocket has one, and passes it to its parts. When the client is gone, ``closed`` is called
and then ``run_endings``. Everything here belongs to the thread of the node's event loop.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from cluster.core.exceptions import Disconnected
from cluster.django.handlers.late_calls import LateCalls

T = TypeVar("T")


class Lifetime:
    """Of one connection.

    Attributes:
        client: The address of the client.
        close_code: None while the connection is open.
        task: The task of the handler, which the node sets when it starts it.
        is_waiting: Whether that task waits for something that ends when the client leaves. Then the
            node need not cancel it.
    """

    __slots__ = (
        "_endings",
        "_late_calls",
        "_waiters",
        "client",
        "close_code",
        "is_waiting",
        "task",
    )

    def __init__(self, client: str) -> None:
        self.client = client
        self.close_code: int | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_waiting = False
        # Made when they are first needed: most connections need none of them.
        self._endings: dict[object, Callable[[], None]] | None = None
        self._waiters: list[asyncio.Future[Any]] | None = None
        self._late_calls: LateCalls | None = None

    async def wait(self, future: "asyncio.Future[T]") -> T:
        """The result of a future. Raises Disconnected if the client leaves first."""
        if self.close_code is not None:
            await self.refuse()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(future)
        is_handler = asyncio.current_task() is self.task
        if is_handler:
            self.is_waiting = True
        try:
            return await future
        finally:
            if is_handler:
                self.is_waiting = False
            if self._waiters is not None:
                self._waiters.remove(future)
            # The traceback of its exception has this frame: a reference cycle, of which the objects
            # of the whole connection are a part.
            del future

    async def refuse(self) -> NoReturn:
        """Raise Disconnected, because the client is gone; see late_calls for what comes before."""
        assert self.close_code is not None
        if self._late_calls is not None:
            await self._late_calls.another()
        else:
            handler = "a handler" if self.task is None else self.task.get_name()
            self._late_calls = LateCalls(handler, self.client)
        raise Disconnected(self.close_code)

    def at_end(self, key: object, end: Callable[[], None]) -> None:
        """Call ``end`` when the client leaves, unless ``not_at_end`` is called before."""
        if self._endings is None:
            self._endings = {}
        self._endings[key] = end

    def not_at_end(self, key: object) -> Callable[[], None] | None:
        """Forget what was registered with this key; returns it, or None if there was nothing."""
        return self._endings.pop(key, None) if self._endings else None

    def closed(self, code: int) -> None:
        """The client is gone: wake all tasks that wait."""
        self.close_code = code
        waiters, self._waiters = self._waiters, None
        for future in waiters or ():
            if not future.done():
                future.set_exception(Disconnected(code))

    def run_endings(self) -> None:
        """Call what was registered."""
        endings, self._endings = self._endings, None
        for end in tuple((endings or {}).values()):
            end()
