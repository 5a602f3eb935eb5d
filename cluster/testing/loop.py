"""What a node needs of a reactor, on the event loop of a test."""

import asyncio
from collections.abc import Callable
from time import time
from typing import Any


class DelayedCall:
    """A call that the loop will make; what Twisted's IDelayedCall has and the node uses."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, delay: float, call: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._call = call
        self._handle: asyncio.Handle | None = None
        self.reset(delay)

    def active(self) -> bool:
        """Whether it is still to come."""
        return self._handle is not None

    def getTime(self) -> float:
        """When it comes, in the reactor's seconds."""
        return self._time

    def cancel(self) -> None:
        """Not any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def reset(self, delay: float) -> None:
        """Not as agreed but ``delay`` seconds from now."""
        self.cancel()
        self._time = time() + delay
        # Timers that are due at the same time come in any order, but these must keep theirs.
        if delay <= 0:
            self._handle = self._loop.call_soon(self._run)
        else:
            self._handle = self._loop.call_later(delay, self._run)

    def _run(self) -> None:
        self._handle = None
        self._call()


class LoopReactor:
    """IReactorTime and callFromThread. Calls that are due at once keep their order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def seconds(self) -> float:
        """Unix time, as Twisted's reactors tell it."""
        return time()

    def callLater(
        self, delay: float, function: Callable[..., object], *args: Any, **kwargs: Any
    ) -> DelayedCall:
        """Call in ``delay`` seconds."""
        return DelayedCall(self._loop, delay, lambda: function(*args, **kwargs))

    def callFromThread(self, function: Callable[..., object], *args: Any) -> None:
        """Call soon in the loop's thread; may be called from any other."""
        self._loop.call_soon_threadsafe(lambda: function(*args))
