"""Refused handshakes: HTTP responses instead of 101 Switching Protocols (RFC 6455, section
4.2.2)."""

from collections.abc import Sequence
from http import HTTPStatus

from autobahn.websocket.types import ConnectionDeny

_LINE_BREAKS = {ord(character): " " for character in "\r\n\0"}
"""Characters that would end a header and let a client add another one: a redirect may repeat the
path that the client requested."""


class Refusal(ConnectionDeny):
    """Raised by the application to refuse a handshake with an HTTP response.

    Args:
        code: The status code.
        reason: Text for the log. It is also the body of the response, unless ``body`` is given.
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

    def response(self) -> bytes:
        """Return the complete HTTP response. Close the connection after sending it."""
        headers, body = list(self.headers), self.body
        if body is None:
            body = self.reason.encode("utf-8", "replace") + b"\n"
            headers.append(("Content-Type", "text/plain; charset=utf-8"))
        try:
            phrase = HTTPStatus(self.code).phrase
        except ValueError:
            phrase = "Refused"
        lines = [f"HTTP/1.1 {self.code} {phrase}"]
        lines += [f"{name}: {value}".translate(_LINE_BREAKS) for name, value in headers]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        return "\r\n".join(lines).encode("latin-1", "replace") + body
