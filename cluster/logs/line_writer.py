"""Writes log lines to an output in a thread, through a queue of at most QUEUE_BYTES.

A reader of the log that stops, a slow disk or a full one must not stop the process. While the queue
is full, lines are dropped and counted, and a line says how many when the output takes lines again.
The last quarter of the queue is for warnings and errors, so that a flood of other lines does not
drop them.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice

from cluster.logs.bounded_worker import BoundedWorker
from cluster.logs.outputs import PIPE_ATOMIC, Output

QUEUE_BYTES = 4 << 20
"""Bytes of lines that may wait for the output: some 40,000 lines of an access log."""

FLUSH_S = 1.0
"""Seconds that the end of a process waits for the output to take the last lines."""


class LineWriter:
    """Writes lines in order. All methods may be called in any thread, and none blocks but ``stop``
    and ``flush``.

    Args:
        output: Where lines go.
        note_dropped: Returns the line that says how many lines were dropped.
        limit: Bytes of lines that may wait.
    """

    def __init__(
        self, output: Output, note_dropped: Callable[[int], bytes], limit: int = QUEUE_BYTES
    ) -> None:
        self.dropped = 0
        """Lines that were dropped: the queue was full, or the output failed."""
        self._output = output
        self._note_dropped = note_dropped
        self._noted = 0  # of ``dropped``
        self._recent: deque[bytes] | None = None
        self._lines = 0
        self._worker: BoundedWorker[bytes] = BoundedWorker("log", self._write, limit, len)

    def start(self) -> None:
        """From here on a thread writes. Call it after a fork."""
        self._worker.start()

    def keep_recent(self, count: int) -> None:
        """Keep the newest ``count`` lines in memory, for ``recent``."""
        self._recent = deque(maxlen=count)

    def recent(self, after: int = 0) -> tuple[list[bytes], int]:
        """The kept lines after the first ``after`` ones, and how many there were in all."""
        kept = self._recent or ()
        first = self._lines - len(kept)
        return list(islice(kept, max(0, after - first), None)), self._lines

    def write(self, lines: bytes, urgent: bool = False) -> None:
        """Queue one or more complete lines.

        Args:
            lines: The lines, each with its line end.
            urgent: Whether they may use the reserve for warnings and errors.
        """
        if self._recent is not None:
            split = lines.splitlines()
            self._lines += len(split)
            self._recent.extend(split)
        if not self._worker.is_running:
            self._write_now(lines)
        elif not self._worker.add(lines, urgent):
            self.dropped += lines.count(b"\n")

    def reopen(self) -> None:
        """Open the output's file again. Raises OSError; then the old one stays open."""
        self._output.reopen()

    def flush(self, timeout: float = FLUSH_S) -> bool:
        """Wait until all lines are written; returns whether they are after ``timeout`` seconds."""
        return self._worker.flush(timeout)

    def stop(self, timeout: float = FLUSH_S) -> None:
        """Wait as ``flush`` does, and end the thread. Later lines are written if that is possible
        without waiting."""
        self._worker.stop(timeout)

    def _write_now(self, lines: bytes) -> None:
        for start in range(0, len(lines), PIPE_ATOMIC):
            if self._output.may_block():
                self.dropped += lines.count(b"\n", start)
                return
            self._write([lines[start : start + PIPE_ATOMIC]])

    def _write(self, batch: list[bytes]) -> None:
        dropped = self.dropped
        note = b"" if dropped == self._noted else self._note_dropped(dropped - self._noted)
        data = b"".join(batch)
        try:
            # The lines in the queue are older than those that were dropped, so the note follows.
            self._output.write(data + note)
        except OSError:
            self.dropped += data.count(b"\n")
        else:
            self._noted = dropped
