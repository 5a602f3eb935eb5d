"""An HTTP connection whose client must send its requests, and read its responses, in time.

One timer is used for all limits, one after the other: the pause before a request, its header, its
body. A request that arrives in one piece starts no timer.
"""

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from cluster.net.unbuffered_output import unsent_bytes
from cluster.node.moved_timeout import MovedTimeout

STALLED_S = 60.0
"""Seconds after which a client that has stopped reading its response is disconnected."""

BODY_CHECK_S = 15.0
"""Seconds after which the rate of a body is checked again. A shorter gap, such as that of a phone
that changes its network, does not end it."""

MAX_LENGTH_DIGITS = 100
"""Digits of a Content-Length. Python converts at most 4,300, and any size has fewer than 20."""

IDLE, HEADER, BODY, CLOSING = range(4)


class BoundedChannel(MovedTimeout, HTTPChannel):
    """An HTTP connection with timeouts; a request header that is too long is answered 431.

    Between two requests it stays open for ``timeOut`` seconds. From the first byte of a request
    on, the site's HANDSHAKE_TIMEOUT counts for its header, then REQUEST_BODY_RATE and
    REQUEST_BODY_TIMEOUT for its body; a client that is too slow is answered 408. There is no limit
    for reading the last response, but the client must read some bytes every STALLED_S seconds.
    """

    site: Any  # the DjangoSite, which sets it
    line_mode: int
    timeOut: Any  # seconds
    is_first = True
    """Whether no request has been processed yet."""
    _buffer: bytes
    _unsent = 0
    _receiving = IDLE
    _body_began = 0.0
    _arrived = 0
    _idle_since: float | None = None
    """While the node stops: when the connection was first seen idle."""
    _host: Any = None
    _is_secure: bool | None = None
    _reader_check: Any = None  # the call of _check_reader
    _reader_state = (0, 0)
    _resumed = 0
    """How often the transport asked for more output."""

    def connectionMade(self) -> None:
        self.site.channels.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.channels.discard(self)
        self._stop_watching_reader()
        self.cancel_timeout()
        super().connectionLost(reason)

    def getHost(self) -> Any:
        """The address of this end. It is asked for once, because the answer is a system call."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def isSecure(self) -> bool:
        """Whether the client uses TLS; another process may have decrypted it."""
        if self._is_secure is None:
            secure = super().isSecure() or getattr(self.transport, "is_secure", False)
            self._is_secure = bool(secure)
        return self._is_secure

    def close_if_idle(self, now: float, grace: float) -> None:
        """Close the connection if no request has begun for ``grace`` seconds. Call it
        repeatedly."""
        if self.requests or self._receiving != IDLE:
            self._idle_since = None
        elif self._idle_since is None and grace:
            self._idle_since = now
        elif now - (self._idle_since or 0.0) >= grace:
            self.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self._receiving == CLOSING:
            return
        LineReceiver.dataReceived(self, data)
        if self._handlingRequest or self._receiving == CLOSING or self.paused:
            return
        if not self.line_mode:
            if self._receiving != BODY:
                self._receiving = BODY
                self._body_began = self.site.clock.seconds()
                self._arrived = 0
                self.setTimeout(BODY_CHECK_S)
        elif self._receiving != HEADER and (self._buffer or self._receivedHeaderSize):
            self._receiving = HEADER
            self.setTimeout(self.site.limits.header_timeout)

    def allContentReceived(self) -> None:
        if self._receiving in (HEADER, BODY):
            self._receiving = IDLE
            self.timeOut = self.site.timeOut  # it is restored after the response
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """Called when a response is complete. The next request may have arrived already; if this
        turn has been long, it waits for a later one, so that pipelined requests block nobody."""
        self._stop_watching_reader()
        # Under TLS further requests may wait in the transport.
        has_next = self._buffer or any(self._dataBuffer) or self.isSecure()
        if has_next and self.persistent and not self.paused and self.site.budget.is_spent():
            self.paused = True  # of LineReceiver, which parses no further line
            super().requestDone(request)
            self._networkProducer.pauseProducing()
            self.site.budget.later(self._continue)
        else:
            super().requestDone(request)

    def _continue(self) -> None:
        self.paused = False
        if self._receiving != CLOSING and self in self.site.channels:
            if not self._waitingForTransport:
                self._networkProducer.resumeProducing()
            self.dataReceived(b"")

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        if header == b"Content-Length" and len(data) > MAX_LENGTH_DIGITS:
            return bool(self._failChooseTransferDecoder())
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def timeoutConnection(self) -> None:
        """Close an idle connection, or one whose request did not arrive in time.

        A client of an idle connection may still be reading the last response.
        """
        if self._receiving == BODY:
            left = self._seconds_to_next_check()
            if left > 0:
                self.setTimeout(left)
                return
        if self._receiving in (HEADER, BODY):
            self.site.limited["slow_body" if self._receiving == BODY else "slow_header"] += 1
            transport: Any = self.transport
            transport.write(
                b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
        self.loseConnection()

    def _seconds_to_next_check(self) -> float:
        """The seconds until the body is checked again; 0 if too few bytes of it arrived since the
        last check, or if it takes too long."""
        before, self._arrived = self._arrived, self.requests[-1].body_size
        limits = self.site.limits
        if self._arrived - before < limits.body_rate * BODY_CHECK_S:
            return 0.0
        end: float = self._body_began + limits.body_timeout
        return min(BODY_CHECK_S, end - float(self.site.clock.seconds()))

    def loseConnection(self) -> None:
        """Close when the client has read all output, or has stopped reading. Idempotent."""
        if self._receiving == CLOSING:
            return
        self._receiving = CLOSING
        super().loseConnection()
        self._unsent = unsent_bytes(self.transport)
        self._abortingCall = self.callLater(STALLED_S, self._check_progress)

    def _check_progress(self) -> None:
        self._abortingCall = None
        before, self._unsent = self._unsent, unsent_bytes(self.transport)
        if self._unsent < before:
            self._abortingCall = self.callLater(STALLED_S, self._check_progress)
        else:
            self.forceAbortClient()

    def resumeProducing(self) -> None:
        self._resumed += 1
        super().resumeProducing()

    def watch_reader(self) -> None:
        """Disconnect the client if it reads nothing for STALLED_S seconds before the response is
        complete. Call it when a response is sent only as fast as the client reads."""
        self._reader_state = (self._resumed, unsent_bytes(self.transport))
        self._reader_check = self.callLater(STALLED_S, self._check_reader)

    def _check_reader(self) -> None:
        self._reader_check = None
        before = self._reader_state
        self.watch_reader()
        if self._waitingForTransport and self._reader_state == before:
            self.site.limited["slow_reader"] += 1
            self.forceAbortClient()

    def _stop_watching_reader(self) -> None:
        if self._reader_check is not None:
            self._reader_check.cancel()
            self._reader_check = None

    def lineLengthExceeded(self, line: bytes) -> None:
        transport: Any = self.transport
        transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        self.loseConnection()
