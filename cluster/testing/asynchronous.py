"""asynchronous: a decorator with which trial and unittest run ``async def`` tests of handlers."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Any]:
    """Make a test method from a coroutine that awaits asyncio objects, such as a Client's methods.

    Use it as a decorator with ``twisted.trial``, on any reactor, and with ``unittest.TestCase``.
    Django's test cases and ``unittest.IsolatedAsyncioTestCase`` do not need it. Each test has its
    own node.

    Args:
        test: The ``async def`` test method.

    Returns:
        The test method, which returns a Deferred if the event loop is running already.
    """

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(test(*args, **kwargs))
        return Deferred.fromFuture(loop.create_task(_alone(test(*args, **kwargs))))

    return run


async def _alone(test: Coroutine[Any, Any, None]) -> None:
    """Run the test, then stop its node, because the event loop continues after the test."""
    from cluster.testing.memory_node import MemoryNode

    try:
        await test
    finally:
        MemoryNode.end()
