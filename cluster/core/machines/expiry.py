"""Times at which retained frames expire, by the engine's clock and by that of this machine."""

from dataclasses import replace
from typing import TypeVar

from cluster.core import wire

M = TypeVar("M", wire.Retained, wire.Restore)


class ShiftedTimes:
    """``shift`` is the time of the engine's clock minus that of this machine, in milliseconds."""

    def __init__(self) -> None:
        self.shift = 0
        self._last: wire.Retained | None = None
        self._last_shifted: wire.Retained | None = None

    def to_nodes(self, message: wire.Retained) -> wire.Retained:
        """The message with times of this machine. The same message gives the same one, because a
        broker encodes a message for several nodes once."""
        if not (self.shift and message.expires):
            return message
        if message is not self._last or self._last_shifted is None:
            self._last, self._last_shifted = message, self._shifted(message, -self.shift)
        return self._last_shifted

    def to_log(self, message: wire.Restore) -> wire.Restore:
        """The message with times of the engine."""
        return self._shifted(message, self.shift) if message.expires else message

    @staticmethod
    def _shifted(message: M, shift: int) -> M:
        # 0 means never.
        times = tuple(max(1, time + shift) if time else 0 for time in message.expires)
        return replace(message, expires=times)
