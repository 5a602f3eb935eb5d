"""The opening handshake (RFC 6455, section 4.2): the application accepts or refuses, now or later.

The differences from Autobahn:

* the header is checked before Autobahn parses it (request_header.py);
* a refusal is a complete HTTP response (refusal.py). Autobahn writes the reason into the status
  line, and sends the text of unexpected exceptions to the client;
* the decision may be a Deferred. Bytes that arrive meanwhile are stored in ``data``; if the client
  disconnects, the decision is cancelled;
* exceptions of the application are logged once, with their traceback. In Autobahn they are left in
  a Deferred without an errback.
"""

from typing import Any

from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from cluster.net.websocket.autobahn_protocol import CLOSED, CONNECTING
from cluster.net.websocket.connection_base import ConnectionBase
from cluster.net.websocket.refusal import Refusal
from cluster.net.websocket.request_header import hide_letters, is_well_formed, restore_letters

REQUEST_LIMIT = 16384
"""Bytes of an opening request; Twisted's HTTP server has the same limit."""


class Handshake(ConnectionBase):
    """The part of a connection that answers its opening request."""

    deciding: "Deferred[Any] | None" = None
    """The application's decision, until it has been made."""

    _letters_hidden = False

    def processHandshake(self) -> None:
        """Called by Autobahn after each read while connecting."""
        if self.deciding is not None:
            return  # the request is complete; the new bytes follow it
        data = self.data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        if not is_well_formed(data[:end]):
            self.failHandshake("malformed header", 400)
            return
        if not data.isascii():
            self.data = hide_letters(data[:end]) + data[end:]
            self._letters_hidden = True
        super().processHandshake()

    def onConnect(self, request: ConnectionRequest) -> Any:
        """Called by Autobahn when the request is complete: ask the application."""
        if self._letters_hidden:
            for name, value in request.headers.items():
                request.headers[name] = restore_letters(value)
        try:
            answer = self.factory.on_request(self, request)
        except Exception:
            self._refuse_because_of(Failure())
            return None
        if isinstance(answer, Deferred):
            self.deciding = answer
            answer.addBoth(self._decided)
        return answer

    def _decided(self, answer: Any) -> Any:
        was_awaited, self.deciding = self.deciding, None
        if not isinstance(answer, Failure):
            return answer
        if was_awaited is not None and self.state == CONNECTING:
            self._refuse_because_of(answer)
        return None  # succeedHandshake checks the state

    def cancel_decision(self) -> None:
        """Cancel the decision: the client is gone or has been answered."""
        deciding, self.deciding = self.deciding, None
        if deciding is not None:
            deciding.cancel()

    def succeedHandshake(self, res: Any) -> None:
        """Called by Autobahn with what ``onConnect`` returned."""
        if self.state != CONNECTING:
            return  # refused, or closed by the application
        # Hold the frames that arrived with the request until the connection is open. Then the
        # reader receives them like all later ones, so that a pause or a close in on_open applies.
        rest, self.data = self.data, b""
        try:
            super().succeedHandshake(res)
        except Exception:
            # such as a subprotocol that the client did not offer
            self._refuse_because_of(Failure())
        if rest and self.state != CLOSED:
            self.dataReceived(rest)

    # Refusals

    def onOpenHandshakeTimeout(self) -> None:
        if self.deciding is not None:
            self.openHandshakeTimeoutCall = None
            self.failHandshake("no decision in time", 503)
        else:
            super().onOpenHandshakeTimeout()

    def refuse_large_request(self, more: bytes) -> bool:
        size = len(self.data) + len(more)
        if self.deciding is not None:
            if size > REQUEST_LIMIT:  # clients must wait for the answer (RFC 6455, section 4.1)
                self.failHandshake("too much was sent before the answer", 400)
            return size > REQUEST_LIMIT
        if size <= REQUEST_LIMIT or b"\r\n\r\n" in self.data[-3:] + more:
            return False
        self.failHandshake("request too large", 431)
        return True

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Called by Autobahn for a request that is not a valid handshake."""
        self.refuse(Refusal(code, reason, responseHeaders or ()))

    def _refuse_because_of(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Refusal):
            self.refuse(error)
        elif isinstance(error, ConnectionDeny):
            self.refuse(Refusal(error.code, error.reason or "refused"))
        else:
            self.factory.on_error(self, failure, "the opening handshake")
            self.refuse(Refusal(500, "internal error"))

    def refuse(self, refusal: Refusal) -> None:
        """Send the refusal and close the connection; ignored if the request has been answered."""
        if self.state != CONNECTING:
            return
        code, reason = refusal.code, refusal.reason
        self.factory.handshakes_refused[str(code)] += 1
        self.factory.log_refusal(
            str(code),
            "{client}: handshake refused, {code} {reason}",
            client=self._client,
            code=code,
            reason=reason,
        )
        self.factory.on_refused(self, code)
        self.wasNotCleanReason = reason
        self.sendData(refusal.response())
        self.dropConnection(abort=False)
        self.cancel_decision()

    @property
    def _client(self) -> str:
        """Address and URL for the log, without the query string, which may contain secrets."""
        uri: str | None = getattr(self, "http_request_uri", None)
        return self.peer if uri is None else f"{self.peer} {uri.partition('?')[0]!r}"
