"""Liveness: which processes have been silent for too long.

The rules:

* a process is watched from its first sign of life until ``forget``;
* a process is silent if its last sign of life is older than ``timeout``;
* if the observer itself did not run (its process was stopped, the machine was suspended), it must
  call ``excuse``, because it could not receive any signs of life.

Times are seconds of any monotonic clock; callers pass them.
"""


class Liveness:
    """The time of each process's last sign of life; ``timeout`` is in seconds.

    Raises ValueError if ``timeout`` is not positive.
    """

    def __init__(self, timeout: float) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 s, not {timeout}")
        self.timeout = timeout
        self._last: dict[str, float] = {}

    def heard(self, name: str, now: float) -> None:
        """Record a sign of life of ``name``, and watch it from now on."""
        self._last[name] = now

    def watch(self, name: str, now: float) -> None:
        """Watch ``name`` from now on, unless it is watched already."""
        self._last.setdefault(name, now)

    def forget(self, name: str) -> None:
        """Stop watching ``name``; does nothing if it is not watched."""
        self._last.pop(name, None)

    def excuse(self, now: float) -> None:
        """Restart the time of all processes, because the observer did not run."""
        for name in self._last:
            self._last[name] = now

    def silent(self, now: float) -> list[str]:
        """The processes that are silent, the longest silence first."""
        overdue = [(last, name) for name, last in self._last.items() if now - last > self.timeout]
        return [name for _, name in sorted(overdue)]
