"""Standard output and standard error of a process as lines of its log.

A ``print`` or a console handler of the site in the event loop must not block it, so Python's two
streams queue their lines for the writer of the log. What other code writes to the descriptors does
not pass here.
"""

import io
from collections.abc import Callable

MAX_LINE = 8192
"""Bytes that are logged as one line at most."""


class LineSplitter:
    """Splits bytes into lines of at most MAX_LINE bytes.

    Args:
        take: Called with each line as text, without its end.
    """

    def __init__(self, take: Callable[[str], object]) -> None:
        self._take = take
        self._rest = b""

    def add(self, data: bytes) -> None:
        """Add bytes that arrived."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._pass_on(line)
        if len(self._rest) > MAX_LINE:
            whole = len(self._rest) // MAX_LINE * MAX_LINE
            line, self._rest = self._rest[:whole], self._rest[whole:]
            self._pass_on(line)

    def finish(self) -> None:
        """Pass on the last line, if it has no end."""
        rest, self._rest = self._rest, b""
        if rest:
            self._pass_on(rest)

    def _pass_on(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, MAX_LINE):
            part = line[start : start + MAX_LINE]
            self._take(part.decode("utf-8", "backslashreplace"))


class _Stream(io.RawIOBase):
    def __init__(self, descriptor: int, take: Callable[[str], object]) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines = LineSplitter(take)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The descriptor itself, for programs that the site starts."""
        return self._descriptor

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]
        self._lines.add(bytes(data))
        return len(data)


def line_stream(descriptor: int, take: Callable[[str], object]) -> io.TextIOWrapper:
    """Return a text stream that passes on complete lines.

    Args:
        descriptor: What its ``fileno`` returns.
        take: Called with each line, in the thread that writes.
    """
    stream: io.IOBase = _Stream(descriptor, take)
    return io.TextIOWrapper(
        stream,  # type: ignore[arg-type]  # nothing is read
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
