"""The methods of a reactor that a node calls, on the event loop of a test."""

import asyncio
from collections.abc import Callable
from typing import Any


class DelayedCall:
    """A delayed call: the methods of Twisted's IDelayedCall that a node uses."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, delay: float, call: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._call = call
        self._handle: asyncio.Handle | None = None
        self.reset(delay)

    def active(self) -> bool:
        """Whether the call is still pending."""
        return self._handle is not None

    def getTime(self) -> float:
        """Return the time of the call, in the reactor's seconds."""
        return self._time

    def cancel(self) -> None:
        """Do not make the call."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def reset(self, delay: float) -> None:
        """Make the call ``delay`` seconds from now."""
        self.cancel()
        self._time = self._loop.time() + delay
        # asyncio does not keep the order of timers that are due at the same time, so use call_soon.
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
        """Return the seconds of the loop's monotonic clock."""
        return self._loop.time()

    def callLater(
        self, delay: float, function: Callable[..., object], *args: Any, **kwargs: Any
    ) -> DelayedCall:
        """Call a function in ``delay`` seconds."""
        return DelayedCall(self._loop, delay, lambda: function(*args, **kwargs))

    def callFromThread(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function soon in the loop's thread; may be called from any thread."""
        self._loop.call_soon_threadsafe(lambda: function(*args))
