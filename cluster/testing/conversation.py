"""One client's connection, without I/O: the messages that have arrived, and the bytes to send.

client.py transfers the bytes in memory, live/client.py through a socket.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.core.exceptions import ClusterError, Disconnected
from cluster.django.api.payloads import Payload
from cluster.testing import client_protocol as protocol
from cluster.testing.cookies import cookie_header

NO_CODE = 1005
NOT_CLEAN = 1006


class Refused(ClusterError):
    """Raised by ``connect`` if the server answers the handshake with a status other than 101.

    Attributes:
        status: The HTTP status.
        body: The body of the response, as text.
        headers: The headers of the response: name in lower case -> value.
    """

    def __init__(self, answer: protocol.Answer) -> None:
        self.status = answer.status
        self.body = answer.body.decode("utf-8", "replace")
        self.headers = {name.lower(): value for name, value in answer.headers}
        super().__init__(f"{self.status}: {self.body.strip()}")


@dataclass(frozen=True, slots=True)
class Closed:
    """The close code and the reason with which the server closed a connection.

    Attributes:
        code: The close code (RFC 6455, section 7.4): 1005 for a Close frame without a code, 1006
            if the connection ended without a Close frame.
        reason: The reason in the Close frame.
    """

    code: int
    reason: str = ""


class Conversation:
    """``messages`` have not been received yet; ``closed`` is set when the server has closed."""

    def __init__(self) -> None:
        self.answer: protocol.Answer | None = None
        self.messages: deque[Payload] = deque()
        self.closed: Closed | None = None
        self.is_over = False
        self._decoder = protocol.Decoder()
        self._sent_close = False

    def receive_data(self, data: bytes, ended: bool = False) -> bytes:
        """Process bytes from the server; returns bytes that must be sent to it."""
        reply = b""
        for found in self._decoder.feed(data, ended):
            if isinstance(found, protocol.Answer):
                self.answer = found
            elif found.opcode == protocol.TEXT:
                self.messages.append(found.payload.decode())
            elif found.opcode == protocol.BINARY:
                self.messages.append(found.payload)
            elif found.opcode == protocol.PING:
                reply += protocol.frame(protocol.PONG, found.payload)
            elif found.opcode == protocol.CLOSE:
                code = int.from_bytes(found.payload[:2], "big") if found.payload else NO_CODE
                self.closed = Closed(code, found.payload[2:].decode())
                if not self._sent_close:
                    self._sent_close = True
                    reply += protocol.frame(protocol.CLOSE, found.payload)
        if ended:
            self.is_over = True
            if self.closed is None:
                self.closed = Closed(NOT_CLEAN, "the connection was lost")
        return reply

    def accepted(self) -> protocol.Answer:
        """Return the server's 101 answer; raises Refused for another one, ConnectionError for
        none."""
        if self.answer is None:
            raise ConnectionError("the server closed before it answered the handshake")
        if self.answer.status != 101:
            raise Refused(self.answer)
        return self.answer

    def message_frame(self, message: Payload) -> bytes:
        """Encode a message as a frame; raises Disconnected if the connection is closed."""
        self.raise_if_closed()
        if isinstance(message, str):
            return protocol.frame(protocol.TEXT, message.encode())
        if not isinstance(message, bytes | bytearray | memoryview):
            kind = type(message).__name__
            raise TypeError(f"a message is str or bytes, not {kind}; for JSON: send_json")
        return protocol.frame(protocol.BINARY, bytes(message))

    def close_frame(self, code: int, reason: str) -> bytes:
        """Encode a Close frame; empty if one was sent before."""
        if self._sent_close:
            return b""
        self._sent_close = True
        return protocol.frame(protocol.CLOSE, code.to_bytes(2, "big") + reason.encode())

    def raise_if_closed(self, cause: BaseException | None = None) -> None:
        """Raise Disconnected if the connection is closed."""
        if self.closed is not None:
            raise Disconnected(self.closed.code, self.closed.reason) from cause


def opening(
    path: str,
    host: str,
    headers: Mapping[str, str],
    cookies: Mapping[str, str],
    subprotocols: Iterable[str],
    origin: str | None,
) -> bytes:
    """Encode the opening request of a client; a Host in ``headers`` replaces ``host``."""
    given: dict[str, Any] = {name.lower(): value for name, value in headers.items()}
    host = given.pop("host", host)
    if origin is not None:
        given["origin"] = origin
    if cookies:
        given["cookie"] = cookie_header(cookies)
    return protocol.request(path, host, given.items(), subprotocols)
