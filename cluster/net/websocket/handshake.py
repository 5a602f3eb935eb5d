"""Autobahn's server protocol, made quiet, and its opening handshake, made ours.

Autobahn formats coloured log text for every event, logged or not (15% of its time), answers a
refused handshake with the reason as status line, passes a bug's text on to the client, and lets
exceptions of the application end in a Deferred that nobody looks at. Here

* Autobahn's own log lines are dropped; a bad client gives one line at info;
* a header that HTTP would refuse is refused, before Autobahn finds other lines in it;
* a refusal is an HTTP response with a body, cleaned of what does not belong into headers;
* the decision may take its time: what the client sends meanwhile waits, and when it leaves, the
  decision is cancelled;
* the application's exceptions are logged once, with their traceback.
"""

import string
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

CLOSED, CONNECTING, CLOSING, OPEN = range(4)
"""The states of Autobahn's ``state``, by its numbers."""

REQUEST_LIMIT = 16384
"""Bytes an opening request may have; Twisted's HTTP server allows the same."""

_LINE_ENDS = b"\r\n\x0b\x0c\x1c\x1d\x1e\x85"
"""What Autobahn takes for the end of a line, beyond CR LF."""

_NAME = b"!#$%&'*+-.^_`|~" + string.digits.encode() + string.ascii_letters.encode()
_VALUE = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
"""Bytes of a header's name and value (RFC 9110, 5.5 and 5.6.2)."""

_HIDE = bytes.maketrans(b"\x85\xa0", b"\x01\x02")
"""In UTF-8 these are parts of letters, in the Latin-1 that Autobahn reads a line end and a space;
_VALUE has none of those that stand for them meanwhile."""

_SHOW = {1: "\x85", 2: "\xa0"}

_ONE_LINE = {ord(character): " " for character in "\r\n\0"}
"""A header's value that has such characters would add headers of its own."""


class Refusal(ConnectionDeny):
    """The answer to a handshake that is not let in, with headers, and a body of its own type."""

    code: int

    def __init__(
        self,
        code: int,
        reason: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> None:
        """``reason`` goes to the log, and is the body if there is none."""
        super().__init__(code, reason)
        self.reason: str = reason
        self.headers = headers
        self.body = body


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
    """A server protocol whose factory has ``on_request`` and ``handshakes_refused``.

    ``on_request(self, request)`` returns the subprotocol, or (subprotocol, headers), or a Deferred
    of either; it raises ConnectionDeny or a Refusal.
    """

    logger = Logger()
    log = _Quiet(logger)

    # Autobahn sets these while the connection runs.
    data: bytes
    state: int
    current_frame: Any
    inside_message: bool
    message_data: Any
    closeHandshakeTimeoutCall: Any

    _hidden = False
    """Whether the request had bytes of _HIDE."""

    deciding: "Deferred[Any] | None" = None
    """The decision on this handshake, while it is awaited."""

    def onConnect(self, request: ConnectionRequest) -> Any:
        """Ask the factory's hook, now that the request is complete."""
        if self._hidden:
            for name, value in request.headers.items():
                request.headers[name] = value.translate(_SHOW)
        try:
            answer = self.factory.on_request(self, request)
        except Refusal as refusal:
            self.refuse(refusal)
            return None
        except ConnectionDeny:
            raise
        except Exception:
            self.logger.failure("opening handshake of {client} failed", client=self._client)
            raise ConnectionDeny(500, "internal error") from None
        if isinstance(answer, Deferred):
            self.deciding = answer
            answer.addBoth(self._decided)
        return answer

    @property
    def _client(self) -> str:
        """For the log: the client, and what it asked for, without a query that may have secrets."""
        uri: str | None = getattr(self, "http_request_uri", None)
        return self.peer if uri is None else f"{self.peer} {uri.partition('?')[0]!r}"

    def _decided(self, answer: Any) -> Any:
        was_awaited, self.deciding = self.deciding, None
        if not isinstance(answer, Failure):
            return answer
        if was_awaited is None or self.state != CONNECTING:
            return None  # the client did not wait; succeedHandshake sees that it is gone
        if isinstance(answer.value, Refusal):
            self.refuse(answer.value)
            return None
        if not isinstance(answer.value, ConnectionDeny):
            self.logger.failure(
                "opening handshake of {client} failed", failure=answer, client=self._client
            )
            raise ConnectionDeny(500, "internal error")
        return answer

    def stop_deciding(self) -> None:
        """Nobody waits for the decision any more."""
        deciding, self.deciding = self.deciding, None
        if deciding is not None:
            deciding.cancel()

    def processHandshake(self) -> None:
        if self.deciding is not None:
            return  # what the client sent ahead waits in ``data``
        data = self.data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        if not _is_well_formed(data[:end]):
            self.failHandshake("malformed header", 400)
            return
        if not data.isascii():
            line = data.find(b"\r\n")
            self.data = data[:line] + data[line:end].translate(_HIDE) + data[end:]
            self._hidden = True
        super().processHandshake()

    def onOpenHandshakeTimeout(self) -> None:
        if self.deciding is not None:
            self.openHandshakeTimeoutCall = None
            self.failHandshake("no decision in time", 503)
        else:
            super().onOpenHandshakeTimeout()

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
            self.logger.failure("opening handshake of {client} failed", client=self._client)
            if self.state == CONNECTING:
                self.failHandshake("internal error", 500)
        if rest and self.state != CLOSED:
            self.dataReceived(rest)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        self.refuse(Refusal(code, reason, responseHeaders or ()))

    def refuse(self, refusal: Refusal) -> None:
        """Answer a handshake with an HTTP response, and hang up; ignored once that is done."""
        if self.state != CONNECTING:
            return
        code, reason = refusal.code, refusal.reason
        self.factory.handshakes_refused[str(code)] += 1
        self.logger.info(
            "{client}: handshake refused, {code} {reason}",
            client=self._client,
            code=code,
            reason=reason,
        )
        self.wasNotCleanReason = reason
        body = refusal.body
        headers = list(refusal.headers)
        if body is None:
            body = reason.encode("utf-8", "replace") + b"\n"
            headers.append(("Content-Type", "text/plain; charset=utf-8"))
        try:
            phrase = HTTPStatus(code).phrase
        except ValueError:
            phrase = "Refused"
        lines = [f"HTTP/1.1 {code} {phrase}", f"Server: {self.factory.server}"]
        lines += [f"{name}: {value}".translate(_ONE_LINE) for name, value in headers]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        self.sendData("\r\n".join(lines).encode("latin-1", "replace") + body)
        self.dropConnection(abort=False)
        self.stop_deciding()

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
        if self.deciding is not None:
            if size > REQUEST_LIMIT:  # RFC 6455 4.1: it must wait for our answer
                self.failHandshake("too much was sent before the answer", 400)
            return size > REQUEST_LIMIT
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


def _is_well_formed(head: bytes) -> bool:
    """Whether a request line and header lines are such as RFC 9112 has them.

    To Autobahn some control bytes end a line, and a folded line or a space before the colon is
    nothing special: a client could add headers that a proxy in front would have taken away.
    """
    first, *fields = head.split(b"\r\n")
    if len(first.translate(None, _LINE_ENDS)) < len(first):
        return False
    for field in fields:
        name, colon, value = field.partition(b":")
        if not name or not colon or name.translate(None, _NAME) or value.translate(None, _VALUE):
            return False
    return True
