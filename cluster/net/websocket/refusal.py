"""Refused handshakes: HTTP responses that keep the connection from opening (RFC 6455, 4.2.2)."""

from collections.abc import Sequence
from http import HTTPStatus

from autobahn.websocket.types import ConnectionDeny

_LINE_BREAKS = {ord(character): " " for character in "\r\n\0"}
"""In a header's value these would end the header, and begin another one of the client's choice: a
redirect may repeat the path that the client asked for."""


class Refusal(ConnectionDeny):
    """Raised by the application to refuse a handshake with an HTTP response.

    Args:
        code: The status code.
        reason: For the log. It is the response's body, too, if there is no other.
        headers: Names and values; line breaks in them become spaces.
        body: The body. Its Content-Type must be among the headers.
    """

    code: int
    reason: str

    def __init__(
        self,
        code: int,
        reason: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> None:
        super().__init__(code, reason)
        self.headers = headers
        self.body = body

    def response(self, server: str) -> bytes:
        """The complete HTTP response, after which the connection must be closed."""
        headers, body = list(self.headers), self.body
        if body is None:
            body = self.reason.encode("utf-8", "replace") + b"\n"
            headers.append(("Content-Type", "text/plain; charset=utf-8"))
        try:
            phrase = HTTPStatus(self.code).phrase
        except ValueError:
            phrase = "Refused"
        lines = [f"HTTP/1.1 {self.code} {phrase}", f"Server: {server}"]
        lines += [f"{name}: {value}".translate(_LINE_BREAKS) for name, value in headers]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        return "\r\n".join(lines).encode("latin-1", "replace") + body
