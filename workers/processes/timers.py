"""The few timers that a shard of the clients has as a whole, known by what they are for."""

from collections.abc import Callable
from typing import Any


class Timers:
    """One call under way for each name; `stop` cancels all."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._calls: dict[str, Any] = {}

    def after(self, name: str, delay: float, call: Callable[[], None]) -> None:
        """Call in so many seconds, instead of what was to be called by this name."""
        self.cancel(name)

        def run() -> None:
            del self._calls[name]
            call()

        self._calls[name] = self._clock.callLater(delay, run)

    def cancel(self, name: str) -> None:
        """Harmless if there is no such timer."""
        under_way = self._calls.pop(name, None)
        if under_way is not None:
            under_way.cancel()

    def stop(self) -> None:
        for name in list(self._calls):
            self.cancel(name)
