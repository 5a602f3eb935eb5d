"""The bodies of HTTP requests that a node holds until their views have ended.

A body is in memory up to SPOOL_BYTES, and then in a temporary file, which needs a descriptor. All
bodies of a node together have a limit of bytes, in memory and on disk; the request whose piece is
beyond it is answered 503. So that few clients with large bodies do not keep the others from sending
forms,

* bodies on disk may have only a part of these bytes (LARGE_PART);
* the bodies of one client may have only a part of them (CLIENT_PART). Clients of a proxy are not
  distinguished here: a proxy passes a body on when it has all of it.
"""

import tempfile
from collections import Counter
from contextlib import suppress
from io import BytesIO
from typing import IO, Any

from cluster.net.accepting.socket_limits import SocketLimits, network_of

SPOOL_BYTES = 100_000
"""Bytes of a body that are kept in memory; twisted.web has the same limit."""


LARGE_PART = 0.75
CLIENT_PART = 0.25


class NoRoomForBody(Exception):
    """The node cannot hold one more piece of a body; the text is the reason for the log."""


class RequestBodies:
    """The bodies of all requests of a node.

    Args:
        limit: Bytes that they may have together.
        largest: Bytes that one body may have, which the parts of the limit always allow.
        sockets: Says which descriptors files may have, and which addresses are one client.
    """

    def __init__(self, limit: int, largest: int, sockets: SocketLimits) -> None:
        self.bytes = 0
        self.files = 0
        self.sockets = sockets
        self._limit = max(limit, largest)
        self._large = max(int(limit * LARGE_PART), largest)
        self._per_client = max(int(limit * CLIENT_PART), largest)
        self._clients: Counter[str] = Counter()

    def add(self, size: int, is_large: bool, client: str) -> None:
        """Count a piece of a body.

        Args:
            size: Its bytes.
            is_large: Whether it goes to disk.
            client: The client's network; empty if it is not limited.

        Raises:
            NoRoomForBody: The bodies have as many bytes as they may have.
        """
        if self.bytes + size > (self._large if is_large else self._limit):
            raise NoRoomForBody("the node holds its maximum of bytes of request bodies")
        if client:
            if self._clients[client] + size > self._per_client:
                raise NoRoomForBody(f"{client} has its part of the bytes of request bodies")
            self._clients[client] += size
        self.bytes += size

    def forget(self, size: int, client: str) -> None:
        """Count the pieces of a body no more."""
        self.bytes -= size
        if client:
            self._clients[client] -= size
            if not self._clients[client]:
                del self._clients[client]


class Body:
    """The body of one request: a file that is written first, and then read.

    Args:
        bodies: Counts its bytes until it is closed.
        host: The address of the connection.
    """

    def __init__(self, bodies: RequestBodies, host: str) -> None:
        self.size = 0
        self._client = "" if bodies.sockets.is_exempt(host) else network_of(host)
        self._bodies = bodies
        self._in_memory = True
        self._file: IO[bytes] = BytesIO()
        self.read = self._file.read
        self.readline = self._file.readline
        self.readlines = self._file.readlines

    def write(self, data: bytes) -> None:
        """Append a piece.

        Raises:
            NoRoomForBody: The node has as many bytes of bodies as it may have, or no descriptor or
                no space for a temporary file.
        """
        size = len(data)
        is_large = self.size + size > SPOOL_BYTES
        self._bodies.add(size, is_large, self._client)
        self.size += size
        if is_large and self._in_memory:
            self._move_to_disk()
        try:
            self._file.write(data)
        except OSError as error:
            raise NoRoomForBody(f"cannot write a request body to disk: {error}") from None

    def _move_to_disk(self) -> None:
        memory: Any = self._file
        try:
            file: Any = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close())
        except OSError as error:
            raise NoRoomForBody(f"cannot open a file for a request body: {error}") from None
        if not self._bodies.sockets.fits(file.fileno()):
            file.close()
            raise NoRoomForBody("no file descriptor is left for a request body")
        try:
            file.write(memory.getbuffer())
        except OSError as error:
            file.close()
            raise NoRoomForBody(f"cannot write a request body to disk: {error}") from None
        self._bodies.files += 1
        self._in_memory = False
        self._file = file
        self.read, self.readline, self.readlines = file.read, file.readline, file.readlines

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position, as in a file.

        Raises:
            NoRoomForBody: The last bytes cannot be written to disk.
        """
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            raise NoRoomForBody(f"cannot write a request body to disk: {error}") from None

    @staticmethod
    def seekable() -> bool:
        """Whether ``seek`` may be called: Django asks."""
        return True

    def __iter__(self) -> Any:
        return iter(self._file)

    def close(self) -> None:
        """Forget the body. Idempotent."""
        if self._file.closed:
            return
        self._bodies.forget(self.size, self._client)
        if not self._in_memory:
            self._bodies.files -= 1
        with suppress(OSError):  # the rest of its buffer cannot be written; nobody needs it
            self._file.close()
