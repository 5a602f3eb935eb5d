"""Progress on stderr: one line that changes on a terminal, otherwise one line a second."""

from collections.abc import Callable, Mapping
from typing import TextIO

LINE_EVERY = 1.0  # seconds between two lines that stay
CHANGE_EVERY = 0.1  # seconds between two changes of the line


class StatusLine:
    """Call `show` with new counts, `say` with a line that stays, and `end` at the end.

    seconds: a clock. silent: print nothing.
    rate_of: the count whose growth per second is shown, and the name of that rate.
    """

    def __init__(
        self,
        stream: TextIO,
        seconds: Callable[[], float],
        silent: bool,
        rate_of: tuple[str, str] = ("opened", "connects/s"),
    ) -> None:
        self._stream = stream
        self._seconds = seconds
        self._silent = silent
        self._changing = stream.isatty()
        self._counted, self._rate_name = rate_of
        self._shown: float | None = None
        self._rated: tuple[float, int] | None = None
        self._rate = 0.0
        self._on_line = False

    def show(self, counts: Mapping[str, int]) -> None:
        if self._silent:
            return
        now = self._seconds()
        every = CHANGE_EVERY if self._changing else LINE_EVERY
        if self._shown is not None and now < self._shown + every:
            return
        self._shown = now
        self._take_rate(now, counts.get(self._counted, 0))
        parts = [f"{name} {count:,}" for name, count in counts.items() if name != "opened"]
        line = f"{', '.join(parts)}; {self._rate:,.0f} {self._rate_name}"
        if self._changing:
            self._stream.write(f"\r\x1b[K{line}")
            self._stream.flush()
            self._on_line = True
        else:
            print(line, file=self._stream, flush=True)

    def say(self, line: str) -> None:
        if not self._silent:
            self.end()
            print(line, file=self._stream, flush=True)

    def end(self) -> None:
        """Erase the changing line."""
        if self._on_line:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._on_line = False

    def _take_rate(self, now: float, count: int) -> None:
        if self._rated is None:
            self._rated = now, count
        elif now >= self._rated[0] + LINE_EVERY:
            self._rate = (count - self._rated[1]) / (now - self._rated[0])
            self._rated = now, count
