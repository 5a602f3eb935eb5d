"""Who has not been heard of for too long.

The rules:

* whoever is heard is watched from then on, until forgotten;
* silent means: not heard for longer than ``timeout``;
* an observer that was itself away (a stopped process, a suspended machine) must call ``excuse``,
  because its silence is not theirs.

Times are seconds of any one monotonic clock, always given by the caller.
"""


class Liveness:
    """Names and when each was last heard."""

    def __init__(self, timeout: float) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 s, not {timeout}")
        self.timeout = timeout
        self._last: dict[str, float] = {}

    def heard(self, name: str, now: float) -> None:
        """Take note of a sign of life; watch ``name`` from now on."""
        self._last[name] = now

    def watch(self, name: str, now: float) -> None:
        """Watch ``name`` from now on, unless it is watched already."""
        self._last.setdefault(name, now)

    def forget(self, name: str) -> None:
        """Watch ``name`` no longer; fine if it was not watched."""
        self._last.pop(name, None)

    def excuse(self, now: float) -> None:
        """Start everybody's time afresh: we were not there to hear them."""
        for name in self._last:
            self._last[name] = now

    def silent(self, now: float) -> list[str]:
        """Names not heard for longer than the timeout, those silent for longest first."""
        overdue = [(last, name) for name, last in self._last.items() if now - last > self.timeout]
        return [name for _, name in sorted(overdue)]
