"""asynchronous: lets trial and plain unittest run ``async def`` tests of handlers."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Any]:
    """A test method of a coroutine that awaits asyncio's things, such as our client.

    For ``twisted.trial``, on any reactor, and ``unittest.TestCase``. Django's test cases and
    ``unittest.IsolatedAsyncioTestCase`` need it not. Each test has a site of its own.
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
    """The loop goes on after this test, but its site does not."""
    from cluster.testing.site import Site

    try:
        await test
    finally:
        Site.end()
