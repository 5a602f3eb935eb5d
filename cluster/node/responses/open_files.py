"""The static files that are open: a file that is requested often is opened once.

Opening and closing a file takes longer than reading a small one. A file stays open until others
have been requested more recently. Each user closes the file that it was given; the descriptor is
closed with the last one.

While a file is open, its responses have its former content even if it is replaced on the disk.
WhiteNoise's index is that of the start, too.
"""

import os
from collections import OrderedDict
from collections.abc import Callable

MOST = 64
"""Files that stay open: those of a page and more, and few of the descriptors of a node."""


class OpenFile:
    """A file that several responses read.

    Args:
        path: Its path.

    Raises:
        OSError: It cannot be opened.
    """

    __slots__ = ("_descriptor", "_users")

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._users = 1

    def use(self) -> "OpenFile":
        """Return the file for one more user, who closes it."""
        self._users += 1
        return self

    def close(self) -> None:
        """End one use."""
        self._users -= 1
        if not self._users:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def closed(self) -> bool:
        """Whether the descriptor is closed."""
        return self._descriptor < 0

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor


class OpenFiles:
    """The files that were requested last.

    Args:
        most: How many stay open.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._files: OrderedDict[str, OpenFile] = OrderedDict()

    def open(self, path: str, fits: Callable[[int], bool]) -> OpenFile:
        """Return an open file, which the caller closes.

        Args:
            path: The path of the file.
            fits: Says whether the node has room for a descriptor with this number. Without room the
                file does not stay open.

        Raises:
            OSError: It cannot be opened.
        """
        file = self._files.get(path)
        if file is not None:
            self._files.move_to_end(path)
            return file.use()
        file = OpenFile(path)
        if not fits(file.fileno()):
            return file
        self._files[path] = file
        if len(self._files) > self._most:
            self._files.popitem(last=False)[1].close()
        return file.use()

    def forget(self, path: str) -> None:
        """Open the file again for the next response: reading it has failed."""
        file = self._files.pop(path, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """Close the files that nobody uses, and the others when they are not used any more."""
        while self._files:
            self._files.popitem()[1].close()
