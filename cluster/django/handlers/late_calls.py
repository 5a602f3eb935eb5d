"""Late calls: those that a handler makes on its WebSocket after its client is gone.

Each of them raises Disconnected. A handler that catches it inside its loop does not end::

    while True:
        try:
            handle(await ws.recv())
        except Exception:
            log.exception("bad message")

Such a loop must not block the other clients of the node. The first late call raises at once, so
that a handler that ends properly is not slowed down. Each further call lets the event loop run
first, and a handler that does not stop is cancelled.
"""

import asyncio

from twisted.logger import Logger

from cluster.logs.rate_limit import LimitedLog

MAX_CALLS = 100
"""Late calls before the handler is cancelled: a handler that sends to a client a few more times in
its clean-up makes fewer."""

MAX_S = 1.0
"""Seconds after the first late call at which another one has the handler cancelled."""

PAUSE_S = 1.0
"""Seconds that a late call takes of a handler that has ignored its cancellation."""

_log_cancelled = LimitedLog(Logger().warn, "handlers cancelled after their client had left")


class LateCalls:
    """The late calls of one WebSocket. Make it at the first, await ``another`` at each further one.

    Args:
        handler: The name of the handler, for the log.
        client: The address of the client that is gone.
    """

    __slots__ = ("_cancelled", "_client", "_count", "_handler", "_since")

    def __init__(self, handler: str, client: str) -> None:
        self._handler = handler
        self._client = client
        self._count = 1
        self._since = asyncio.get_running_loop().time()
        self._cancelled = False

    async def another(self) -> None:
        """Let the event loop run; cancel the task that calls if it has called too often."""
        if self._cancelled:
            await asyncio.sleep(PAUSE_S)
            return
        self._count += 1
        age = asyncio.get_running_loop().time() - self._since
        if self._count > MAX_CALLS or age > MAX_S:
            self._cancelled = True
            _log_cancelled(
                self._handler,
                "{handler} was cancelled: it still used its WebSocket after the client {client}"
                " had left ({count} calls in {age:.1f} s). Does a loop catch Disconnected?",
                handler=self._handler,
                client=self._client,
                count=self._count,
                age=age,
            )
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)
