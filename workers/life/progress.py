"""What a person sees while a game gathers and runs.

On a terminal a bar that moves (with `rich`, where it is installed), elsewhere a line about once a
second, for `--json` nothing. All of it goes to stderr: stdout is for the summary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

LINE_EVERY = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Gathered:
    """How far the cells are; `step` is the one that all have reached."""

    connected: int = 0
    subscribed: int = 0
    step: int = 0


class Progress(Protocol):
    def show(self, now: Gathered, running: bool) -> None:
        """Called about ten times a second for each process."""

    def end(self) -> None:
        """The last call."""


class Silence:
    def show(self, now: Gathered, running: bool) -> None:
        pass

    def end(self) -> None:
        pass


class _Pace:
    """Steps a second since the last time it was asked."""

    def __init__(self) -> None:
        self._before: tuple[float, int] | None = None

    def of(self, seconds: float, step: int) -> float:
        before, self._before = self._before, (seconds, step)
        if before is None or seconds <= before[0]:
            return 0.0
        return (step - before[1]) / (seconds - before[0])


def _gathering(now: Gathered, cells: int) -> str:
    if now.connected < cells:
        return f"connected {now.connected:,} of {cells:,} cells"
    return f"subscribed {now.subscribed:,} of {cells:,} cells"


class Lines:
    """`seconds` is a clock, `last` the step after which it ends, if any."""

    def __init__(
        self, stream: TextIO, seconds: Callable[[], float], cells: int, last: int | None
    ) -> None:
        self._stream = stream
        self._seconds = seconds
        self._cells = cells
        self._of = "" if last is None else f" of {last:,}"
        self._pace = _Pace()
        self._shown: float | None = None

    def show(self, now: Gathered, running: bool) -> None:
        seconds = self._seconds()
        if self._shown is not None and seconds < self._shown + LINE_EVERY:
            return
        self._shown = seconds
        if running:
            pace = self._pace.of(seconds, now.step)
            line = f"step {now.step:,}{self._of}, {pace:.1f} steps/s"
        else:
            line = _gathering(now, self._cells)
        print(line, file=self._stream, flush=True)

    def end(self) -> None:
        pass


class Bar:
    """The same with `rich`, refreshed by our own events: no thread of its own."""

    def __init__(
        self, stream: TextIO, seconds: Callable[[], float], cells: int, last: int | None
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._seconds = seconds
        self._cells = cells
        self._last = last
        self._of = "" if last is None else f" of {last:,}"
        self._pace = _Pace()
        self._paced = (0.0, 0.0)  # when it was taken, steps a second
        self._progress: Any = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[right]}"),
            TimeElapsedColumn(),
            console=Console(file=stream),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("connecting", total=cells, right="")
        self._running = False
        self._progress.start()

    def show(self, now: Gathered, running: bool) -> None:
        if running:
            if not self._running:
                self._running = True
                # Another one, as a total can be changed but not taken away.
                self._progress.remove_task(self._task)
                self._task = self._progress.add_task("running", total=self._last, right="")
            seconds = self._seconds()
            if seconds >= self._paced[0] + LINE_EVERY:
                self._paced = (seconds, self._pace.of(seconds, now.step))
            right = f"step {now.step:,}{self._of}, {self._paced[1]:.1f} steps/s"
            self._progress.update(self._task, completed=now.step, right=right)
        else:
            done = now.connected if now.connected < self._cells else now.subscribed
            self._progress.update(
                self._task,
                description="connecting" if now.connected < self._cells else "subscribing",
                completed=done,
                right=_gathering(now, self._cells),
            )
        self._progress.refresh()

    def end(self) -> None:
        self._progress.stop()


def for_stream(
    stream: TextIO, seconds: Callable[[], float], cells: int, last: int | None, silent: bool
) -> Progress:
    """The one that suits: `silent` for machines, a bar for a terminal, lines for a file."""
    if silent:
        return Silence()
    if stream.isatty():
        try:
            return Bar(stream, seconds, cells, last)
        except ImportError:
            pass  # rich is not installed: lines do
    return Lines(stream, seconds, cells, last)
