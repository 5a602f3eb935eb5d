"""The tasks of handlers: an event of a client becomes one."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from cluster.socketio.engine.registry import sessions


def run(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> None:
    """Run a coroutine, which does not raise, in a task.

    Where Python can (3.12), it begins at once, and needs no turn of the event loop if it does not
    wait. The coroutine calls ``task_ends`` at its end: a callback of the task would be one more
    call of the event loop for each event.

    Args:
        coroutine: The coroutine.
        loop: The running event loop; the callers have it, and to ask for it is a system call.
    """
    if sys.version_info >= (3, 12):
        task = asyncio.Task(coroutine, loop=loop, eager_start=True)
        if task.done():
            return
    else:
        task = asyncio.Task(coroutine, loop=loop)
    sessions.tasks.add(task)


def task_ends(loop: asyncio.AbstractEventLoop) -> None:
    """The running task ends."""
    task = asyncio.current_task(loop)
    if task is not None:
        sessions.tasks.discard(task)
