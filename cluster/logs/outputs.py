"""Where the lines of a log go: an open descriptor, a file, syslog.

``write`` may block; the thread of a LineWriter calls it. It raises OSError if it cannot write: the
disk is full, or nobody reads the pipe any more.
"""

import os
import re
import select
import syslog
from typing import Protocol

PIPE_ATOMIC = 4096
"""Bytes that Linux writes to a pipe without blocking when poll() reports it writable."""

FILE_MODE = 0o640
"""A log names users and addresses."""


class Output(Protocol):
    """What a LineWriter needs."""

    def write(self, data: bytes) -> None:
        """Write complete lines. Raises OSError."""

    def may_block(self) -> bool:
        """Whether a ``write`` of up to PIPE_ATOMIC bytes could block now."""

    def reopen(self) -> None:
        """Open the output again, after its file was moved away. Raises OSError."""


class Descriptor:
    """An open descriptor, such as standard output. It is never closed.

    Args:
        fd: The descriptor.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # another process has made the pipe non-blocking
                self._poll(None)

    def may_block(self) -> bool:
        return not self._poll(0)

    def reopen(self) -> None:
        pass

    def _poll(self, timeout: int | None) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(timeout))


class File(Descriptor):
    """A file that this process opens; lines are appended.

    With O_APPEND the next line begins at the file's end also after another program has truncated
    it. Without, the file would begin with as many NUL bytes as it had before.

    Args:
        path: The file's path.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # twistd changes the folder when it becomes a daemon
        super().__init__(self._open())

    def may_block(self) -> bool:
        return False

    def reopen(self) -> None:
        fd = self._open()
        try:
            os.dup2(fd, self._fd, inheritable=False)  # the thread may be writing
        finally:
            os.close(fd)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, FILE_MODE)


class Syslog:
    """The system's log, by the C library's syslog().

    Args:
        prefix: The name of the program in each line.
    """

    def __init__(self, prefix: str) -> None:
        syslog.openlog(prefix, syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, data: bytes) -> None:
        for line in data.decode("utf-8", "replace").splitlines():
            syslog.syslog(_priority(line), line)

    def may_block(self) -> bool:
        return False  # the C library does not show its socket

    def reopen(self) -> None:
        pass


_PRIORITIES = {
    "debug": syslog.LOG_DEBUG,
    "warn": syslog.LOG_WARNING,
    "error": syslog.LOG_ERR,
    "critical": syslog.LOG_CRIT,
}

_LEVEL = re.compile(r'(?:\S+ \[[^]#]*#|\{"time": [^,]*, "level": ")(\w+)')
"""How a line of each format begins (formats.py), up to its level."""


def _priority(line: str) -> int:
    """The priority for a line, by the level at its beginning."""
    level = _LEVEL.match(line)
    return _PRIORITIES.get(level[1] if level else "", syslog.LOG_INFO)
