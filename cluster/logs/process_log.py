"""The log of one process: events, printed lines and Python's logging, in one form and one order.

It is an observer of Twisted's log. Call ``start`` when the process will not fork any more, and
``stop`` at its end.
"""

import time
from functools import partial
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from cluster.logs.formats import URGENT, Format, level_of
from cluster.logs.line_writer import FLUSH_S, LineWriter
from cluster.logs.outputs import Output
from cluster.logs.python_logging import PythonLogging, attach_root_handler, reopen_files
from cluster.logs.standard_streams import line_stream

NOISY = "twisted"
"""The namespace whose messages below warn a child leaves out: the supervisor logs the same."""


@implementer(ILogObserver)
class ProcessLog:
    """The log of this process.

    Args:
        process: The name of the process in each line.
        format: How lines look.
        output: Where they go.
        is_child: Whether the supervisor writes them to its log.
    """

    def __init__(
        self, process: str, format: Format, output: Output, is_child: bool = False
    ) -> None:
        self.writer = LineWriter(output, self._note_dropped)
        self._process = process
        self._format = format
        self._is_child = is_child
        self._python_logging = PythonLogging()

    def rename(self, process: str) -> None:
        """Write another name of the process from here on."""
        self._process = process

    @property
    def dropped(self) -> int:
        """Lines that were not written, and records that LOGGING did not receive."""
        return self.writer.dropped + self._python_logging.dropped

    def __call__(self, event: LogEvent) -> None:
        level = level_of(event)
        if level < LogLevel.info or (
            self._is_child
            and level < LogLevel.warn
            and str(event.get("log_namespace", "")).partition(".")[0] == NOISY
        ):
            return
        if not self._python_logging.forward(event):
            self.writer.write(self._format.event(event, self._process), level in URGENT)

    def write_lines(self, lines: bytes) -> None:
        """Write complete lines of another process."""
        self.writer.write(lines)

    def printed(self, text: str, stream: str, process: str = "") -> None:
        """Log a line that was printed.

        Args:
            text: The line, without its end.
            stream: "stdout" or "stderr".
            process: Whose it is; empty: that of this process.
        """
        line = self._format.output(text, stream, process or self._process, time.time())
        self.writer.write(line)

    def django_is_loaded(self) -> None:
        """Show the errors of a site that has not configured LOGGING."""
        attach_root_handler(globalLogPublisher)

    def take_standard_streams(self, streams: Any) -> None:
        """Replace ``streams.stdout`` and ``streams.stderr``, those of the module sys."""
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            setattr(streams, name, line_stream(descriptor, partial(self.printed, stream=name)))

    def start(self) -> None:
        """From here on threads do what may block."""
        self.writer.start()
        self._python_logging.start()

    def reopen(self) -> None:
        """Open the files of the log and of LOGGING again. Raises OSError for that of the log."""
        reopen_files()
        self.writer.reopen()

    def stop(self) -> None:
        """Write what is queued, for at most some seconds, and end the threads. Idempotent."""
        self._python_logging.stop()
        self.writer.stop(FLUSH_S)

    def _note_dropped(self, count: int) -> bytes:
        event = {
            "log_time": time.time(),
            "log_level": LogLevel.warn,
            "log_namespace": __name__,
            "log_format": "… {count:,} lines of the log were dropped: they were not read in time",
            "count": count,
        }
        return self._format.event(event, self._process)
