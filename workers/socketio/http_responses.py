"""The responses of an HTTP/1.1 server on one connection. Pure, without connections."""

from typing import NamedTuple

MAX_HEADER = 16_384  # bytes


class BadResponse(Exception):
    """The server has sent what is not a response with a length. The text is for the user."""


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
        status, keeps_open = int(words[1]), headers.get(b"connection") != b"close"
        length = headers.get(b"content-length", b"")
        if headers.get(b"transfer-encoding") == b"chunked":
            found = _chunks(rest)
        elif length.isdigit():
            size = int(length)
            found = (rest[:size], rest[size:]) if len(rest) >= size else None
        else:
            raise BadResponse("an HTTP response without Content-Length")
        if found is None:
            return None
        body, self._received = found
        return Response(status, body, keeps_open)


def _chunks(data: bytes) -> tuple[bytes, bytes] | None:
    """Return a chunked body and the bytes after it; None if it is not complete."""
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise BadResponse(f"not the size of a chunk: {line[:40]!r}") from None
        if len(data) < size + 2:
            return None
        body, data = body + data[:size], data[size + 2 :]
        if not size:
            return body, data
