"""How long a running game has not advanced."""

from collections.abc import Callable
from time import monotonic


class Stalls:
    """Call `too_long` about ten times a second while the game runs.

    timeout: seconds without a step that are too long; 0: never. rate: steps a second at most; 0: no
    limit. seconds: a clock. longest: seconds of the longest time without a step, beyond those of
    the rate.
    """

    def __init__(
        self, timeout: float, rate: float, seconds: Callable[[], float] = monotonic
    ) -> None:
        self.longest = 0.0
        self._timeout = timeout
        self._pause = 1 / rate if rate else 0.0
        self._seconds = seconds
        self._step = -1
        self._since = seconds()

    def too_long(self, step: int) -> bool:
        """Whether the game has stalled for longer than `timeout`. step: that all have reached."""
        now = self._seconds()
        if self._step < 0:
            self._since = now  # the game has just started
        self.longest = max(self.longest, now - self._since - self._pause)
        if step > self._step:
            self._step, self._since = step, now
        return 0 < self._timeout < now - self._since - self._pause

    def why(self, away: int, cells: int) -> str:
        """A one-line summary for the user."""
        missing = f"{away:,} of {cells:,} cells are not connected"
        return (
            f"stalled: no step after step {self._step:,} for {self._timeout:g} s; "
            f"{missing if away else 'all cells are connected, states are missing'}"
        )
