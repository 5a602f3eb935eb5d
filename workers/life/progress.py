"""The progress of a game on stderr.

On a terminal it is a progress bar, if `rich` is installed; otherwise a line about once a second;
with `--json` nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

LINE_EVERY = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Counts:
    """How many cells are connected and subscribed, and the step that all have reached.

    away: how many cells have lost their connections and have not resumed yet.
    """

    connected: int = 0
    subscribed: int = 0
    step: int = 0
    away: int = 0


class Progress(Protocol):
    def show(self, now: Counts, running: bool) -> None:
        """Show the counts. Called about ten times a second for each process."""

    def end(self) -> None:
        """Called last."""


class Silence:
    def show(self, now: Counts, running: bool) -> None:
        pass

    def end(self) -> None:
        pass


class _Pace:
    """Steps a second since the last call."""

    def __init__(self) -> None:
        self._before: tuple[float, int] | None = None

    def of(self, seconds: float, step: int) -> float:
        before, self._before = self._before, (seconds, step)
        if before is None or seconds <= before[0]:
            return 0.0
        return (step - before[1]) / (seconds - before[0])


def _running(now: Counts, of: str, pace: float) -> str:
    line = f"step {now.step:,}{of}, {pace:.1f} steps/s"
    return f"{line}, {now.away:,} cells reconnecting" if now.away else line


def _connecting(now: Counts, cells: int) -> str:
    if now.connected < cells:
        return f"connected {now.connected:,} of {cells:,} cells"
    return f"subscribed {now.subscribed:,} of {cells:,} cells"


class Lines:
    """A line about once a second.

    seconds: a clock. last: the step after which the game ends; None: never.
    """

    def __init__(
        self, stream: TextIO, seconds: Callable[[], float], cells: int, last: int | None
    ) -> None:
        self._stream = stream
        self._seconds = seconds
        self._cells = cells
        self._of = "" if last is None else f" of {last:,}"
        self._pace = _Pace()
        self._shown: float | None = None

    def show(self, now: Counts, running: bool) -> None:
        seconds = self._seconds()
        if self._shown is not None and seconds < self._shown + LINE_EVERY:
            return
        self._shown = seconds
        if running:
            pace = self._pace.of(seconds, now.step)
            line = _running(now, self._of, pace)
        else:
            line = _connecting(now, self._cells)
        print(line, file=self._stream, flush=True)

    def end(self) -> None:
        pass


class Bar:
    """The same with `rich`, refreshed at each `show`: it starts no thread."""

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
        self._paced = (0.0, 0.0)  # the time of the last measurement; steps per second
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

    def show(self, now: Counts, running: bool) -> None:
        if running:
            if not self._running:
                self._running = True
                # Another task, because the total of a task can be changed but not removed.
                self._progress.remove_task(self._task)
                self._task = self._progress.add_task("running", total=self._last, right="")
            seconds = self._seconds()
            if seconds >= self._paced[0] + LINE_EVERY:
                self._paced = (seconds, self._pace.of(seconds, now.step))
            right = _running(now, self._of, self._paced[1])
            self._progress.update(self._task, completed=now.step, right=right)
        else:
            done = now.connected if now.connected < self._cells else now.subscribed
            self._progress.update(
                self._task,
                description="connecting" if now.connected < self._cells else "subscribing",
                completed=done,
                right=_connecting(now, self._cells),
            )
        self._progress.refresh()

    def end(self) -> None:
        self._progress.stop()


def for_stream(
    stream: TextIO, seconds: Callable[[], float], cells: int, last: int | None, silent: bool
) -> Progress:
    """Return the progress for a stream: none if `silent`, a bar for a terminal, otherwise lines."""
    if silent:
        return Silence()
    if stream.isatty():
        try:
            return Bar(stream, seconds, cells, last)
        except ImportError:
            pass  # rich is not installed
    return Lines(stream, seconds, cells, last)
