"""The client's half of the WebSocket protocol, without I/O.

::

    > GET /chat/ws/ HTTP/1.1 …            request()
    < HTTP/1.1 101 Switching Protocols    Answer(101, …), or any other status with its body
    > 0x81 0x85 0 0 0 0 h e l l o         frame(): masked with zeros, which keeps it readable
    < 0x81 0x05 h e l l o                 Frame(1, b"hello")

``Decoder.feed`` takes bytes in chunks of any size and returns the complete answers and frames.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes."""

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of the example in RFC 6455, section 1.3; a test needs no random key."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's answer to the opening request; ``headers`` keep their order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the first value of a header; the case of its name does not matter."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, unmasked."""

    opcode: int
    payload: bytes


def request(
    path: str, host: str, headers: Iterable[tuple[str, str]] = (), subprotocols: Iterable[str] = ()
) -> bytes:
    """Encode an opening request, with header values in Latin-1."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
    ]
    offered = ", ".join(subprotocols)
    if offered:
        lines.append(f"Sec-WebSocket-Protocol: {offered}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def frame(opcode: int, payload: bytes) -> bytes:
    """Encode one masked frame."""
    size = len(payload)
    if size <= 125:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size <= 0xFFFF:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


class Decoder:
    """Decodes an Answer, then Frames if its status is 101. ``ended``: no more bytes follow."""

    def __init__(self) -> None:
        self._bytes = b""
        self._is_open = False

    def feed(self, data: bytes, ended: bool = False) -> Iterator[Answer | Frame]:
        """Return the answers and frames that these bytes complete; raises ValueError for invalid
        ones."""
        self._bytes += data
        if not self._is_open:
            answer = self._answer(ended)
            if answer is None:
                return
            self._is_open = answer.status == 101
            yield answer
        while self._is_open and (found := self._frame()) is not None:
            yield found

    def _answer(self, ended: bool) -> Answer | None:
        head, separator, rest = self._bytes.partition(b"\r\n\r\n")
        if not separator:
            return None
        status_line, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = tuple((name.strip(), value.strip()) for name, _, value in pairs)
        answer = Answer(int(status_line.split(" ", 2)[1]), headers)
        if answer.status == 101:
            self._bytes = rest
            return answer
        length = answer.header("content-length")
        if not ended and (length is None or len(rest) < int(length)):
            return None
        self._bytes = b""
        return Answer(answer.status, headers, rest)

    def _frame(self) -> Frame | None:
        data = self._bytes
        if len(data) < 2:
            return None
        first, length = data[0], data[1]
        start = 2 if length < 126 else 4 if length == 126 else 10
        if not first & 0x80 or first & 0x70 or length & 0x80:
            raise ValueError(
                f"a server's frame must be unfragmented, uncompressed and unmasked: {data[:2]!r}"
            )
        if len(data) < start:
            return None
        size = length if length < 126 else int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            return None
        self._bytes = data[start + size :]
        return Frame(first & 0x0F, data[start : start + size])
