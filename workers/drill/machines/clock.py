"""The wall clock of a process that a drill starts, which can be set without that of this host.

The library libfaketime, loaded in front of the C library, adds the offset in a file to the time
that the process reads. The monotonic clock stays as it is, as on a machine whose clock is set. The
offset remains when the process starts again.
"""

from pathlib import Path

LIBRARIES = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/lib*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)
"""Where Debian, Fedora and its own Makefile install it."""


def library() -> str:
    """Return the path of libfaketime; empty if it is not installed."""
    found = (path for pattern in LIBRARIES for path in Path("/").glob(pattern[1:]))
    return str(next(found, ""))


class Clock:
    """The clock of the processes that are started with `environment`.

    file: where the offset is kept, in an existing folder. offset: seconds ahead of this host.
    """

    def __init__(self, file: Path) -> None:
        self.offset = 0.0
        self._file = file
        self.set(0.0)

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment; empty where libfaketime is not installed."""
        path = library()
        if not path:
            return {}
        return {
            # The allocator jemalloc reads the clock while it starts, before libfaketime can answer;
            # so the process has that of the C library.
            "LD_PRELOAD": f"{path} libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset: float) -> None:
        """Set the clock so many seconds ahead of this host's; behind it if negative."""
        # Replace the file at once: a process must not read an empty one.
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset:+.3f}\n")
        new.replace(self._file)
        self.offset = offset
