"""The responses of an HTTP/1.1 server on one connection. Pure, without connections."""

from typing import NamedTuple

MAX_HEADER = 16_384  # bytes


class BadResponse(Exception):
    """The server has sent what is no response with a Content-Length. The text is for the user."""


class Response(NamedTuple):
    """One response."""

    status: int
    body: bytes
    keeps_open: bool  # whether the connection can be used again


class Responses:
    """Splits the bytes of a connection. Do not use it any more after a BadResponse."""

    __slots__ = ("_received",)

    def __init__(self) -> None:
        self._received = b""

    @property
    def is_empty(self) -> bool:
        """Whether no incomplete response is there."""
        return not self._received

    def feed(self, data: bytes) -> list[Response]:
        """Return the responses that are complete now. Raises BadResponse."""
        self._received += data
        found = []
        while (response := self._next()) is not None:
            found.append(response)
        return found

    def _next(self) -> Response | None:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            if len(head) > MAX_HEADER:
                raise BadResponse(f"an HTTP header of more than {MAX_HEADER:,} bytes")
            return None
        first, *lines = head.split(b"\r\n")
        words = first.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise BadResponse(f"not an HTTP response: {first[:40]!r}")
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip().lower()
        length = headers.get(b"content-length", b"")
        if not length.isdigit():
            raise BadResponse("an HTTP response without Content-Length")
        size = int(length)
        if len(rest) < size:
            return None
        self._received = rest[size:]
        keeps_open = headers.get(b"connection") != b"close"
        return Response(int(words[1]), rest[:size], keeps_open)
