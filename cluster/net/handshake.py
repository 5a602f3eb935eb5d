"""Autobahn's server protocol, made quiet, and its opening handshake, made ours.

Autobahn formats coloured log text for every event, logged or not (15% of its time), answers a
refused handshake with the reason as status line, passes a bug's text on to the client, and lets
exceptions of the application end in a Deferred that nobody looks at. Here

* Autobahn's own log lines are dropped; a bad client gives one line at info;
* a refusal is an HTTP response with a body, cleaned of what does not belong into headers;
* the application's exceptions are logged once, with their traceback.
"""

from http import HTTPStatus
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.logger import Logger
from twisted.python.failure import Failure

CLOSED, CONNECTING, CLOSING, OPEN = range(4)
"""The states of Autobahn's ``state``, by its numbers."""

REQUEST_LIMIT = 16384
"""Bytes an opening request may have; Twisted's HTTP server allows the same."""


class _Quiet:
    """What Autobahn takes for its logger: only what it calls an error is passed on."""

    def __init__(self, log: Logger) -> None:
        self.error = log.error
        self.critical = log.critical
        self.failure = log.failure

    def debug(self, *args: Any, **kwargs: Any) -> None:
        pass

    trace = info = warn = debug


_Protocol: Any = WebSocketServerProtocol  # its annotations contradict its code


class QuietProtocol(_Protocol):
    """A server protocol whose factory has ``on_request`` and ``handshakes_refused``."""

    logger = Logger()
    log = _Quiet(logger)

    # Autobahn sets these while the connection runs.
    data: bytes
    state: int
    current_frame: Any
    inside_message: bool
    message_data: Any
    closeHandshakeTimeoutCall: Any

    def onConnect(self, request: ConnectionRequest) -> Any:
        """Ask the factory's hook, which returns the subprotocol or raises ConnectionDeny."""
        try:
            return self.factory.on_request(self, request)
        except ConnectionDeny:
            raise
        except Exception:
            self.logger.failure("opening handshake of {peer} failed", peer=self.peer)
            raise ConnectionDeny(500, "internal error") from None

    def succeedHandshake(self, res: Any) -> None:
        if self.state != CONNECTING:
            return  # the hook closed the connection
        # What came along with the request waits until the connection is open: it must take the
        # same way as all later bytes, so that a pause or a close in on_open holds for it too.
        rest, self.data = self.data, b""
        try:
            super().succeedHandshake(res)
        except Exception:
            # such as a subprotocol that the client did not offer
            self.logger.failure("opening handshake of {peer} failed", peer=self.peer)
            if self.state == CONNECTING:
                self.failHandshake("internal error", 500)
        if rest and self.state != CLOSED:
            self.dataReceived(rest)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        self.factory.handshakes_refused[str(code)] += 1
        self.logger.info(
            "{peer}: handshake refused, {code} {reason}", peer=self.peer, code=code, reason=reason
        )
        super().failHandshake(reason, code, responseHeaders)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        try:
            phrase = HTTPStatus(code).phrase
        except ValueError:
            phrase = "Refused"
        body = reason.encode("utf-8", "replace") + b"\n"
        headers = [f"HTTP/1.1 {code} {phrase}", f"Server: {self.factory.server}"]
        headers += [f"{name}: {value}" for name, value in responseHeaders or ()]
        headers += [
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        self.sendData("\r\n".join([*headers, "", ""]).encode("latin-1", "replace") + body)

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        if self.state == OPEN:
            self.logger.info(
                "{peer}: bad input, closing {code} {reason}",
                peer=self.peer,
                code=code,
                reason=reason,
            )
        super()._fail_connection(code, reason)

    def request_too_large(self, more: bytes) -> bool:
        """While connecting: whether ``more`` makes the request too large; it is refused then."""
        size = len(self.data) + len(more)
        if size <= REQUEST_LIMIT or b"\r\n\r\n" in self.data[-3:] + more:
            return False
        self.failHandshake("request too large", 431)
        return True

    def fail(self, failure: Failure) -> None:
        """Our own code raised while it served this client: log it, close 1011."""
        self.logger.failure("serving {peer} failed", failure=failure, peer=self.peer)
        if self.state == OPEN:
            self.sendCloseFrame(code=1011, reasonUtf8=b"internal error", isReply=False)
        elif self.state == CONNECTING:
            self.dropConnection(abort=True)
