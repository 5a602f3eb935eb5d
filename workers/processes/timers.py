"""The few timers of a shard, by name."""

from collections.abc import Callable
from typing import Any


class Timers:
    """One pending call for each name."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._calls: dict[str, Any] = {}

    def after(self, name: str, delay: float, call: Callable[[], None]) -> None:
        """Call a function in `delay` seconds. Replaces the pending call of this name."""
        self.cancel(name)

        def run() -> None:
            del self._calls[name]
            call()

        self._calls[name] = self._clock.callLater(delay, run)

    def cancel(self, name: str) -> None:
        """Cancel the pending call of this name, if any."""
        pending = self._calls.pop(name, None)
        if pending is not None:
            pending.cancel()

    def stop(self) -> None:
        """Cancel all timers."""
        for name in list(self._calls):
            self.cancel(name)
