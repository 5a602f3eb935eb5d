"""Coroutines that wait for a message, each in its own event loop.

Most wait in the event loop of the node. A synchronous view that calls ``async_to_sync(receive)``
waits in a loop of its own thread.
"""

import asyncio
from collections import deque
from contextlib import suppress

WAKES_A_TURN = 100
"""Coroutines that one delivery wakes in a turn of the event loop. A consumer of Channels needs
some 0.1 ms for a message, so a group with 10,000 members would block the loop for a second."""


Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]
"""A coroutine that waits: its event loop, and the future that wakes it. A plain tuple, because one
is made for each message."""


def wake(waiters: list[Waiter]) -> None:
    """Wake coroutines from any thread; those of the running loop a part in each turn."""
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    here: deque[asyncio.Future[None]] = deque()
    for loop, future in waiters:
        if loop is running:
            here.append(future)
        else:
            with suppress(RuntimeError):  # the loop is closed, so nothing waits there
                loop.call_soon_threadsafe(_resolve, future)
    if running is not None and here:
        _wake_some(running, here)


def _wake_some(loop: asyncio.AbstractEventLoop, futures: "deque[asyncio.Future[None]]") -> None:
    for _ in range(min(len(futures), WAKES_A_TURN)):
        future = futures.popleft()
        if not future.done():
            future.set_result(None)
    if futures:
        loop.call_soon(_wake_some, loop, futures)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
