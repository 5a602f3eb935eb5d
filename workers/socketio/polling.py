"""A connection of Engine.IO by long polling, with the methods of a WebSocket connection.

One TCP connection has a GET that waits for packets, another one sends packets by POST. Both are
opened again when the server closes them between two requests.

https://socket.io/docs/v4/engine-io-protocol/
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from workers.connection.failure_reasons import why_not_connected
from workers.socketio.http_responses import BadResponse, Response, Responses

SEPARATOR = b"\x1e"  # between the packets of a body
CLOSE = b"1"
LOST = 1006


class HttpConnection(Protocol):
    """One TCP connection; `response` and `lost` are set by the owner."""

    transport: Any
    response: Callable[[Response], None]
    lost: Callable[[str], None]

    def __init__(self) -> None:
        self._responses = Responses()

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        try:
            for response in self._responses.feed(data):
                self.response(response)
        except BadResponse as error:
            self.lost(str(error))
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost("connection lost (1006)")


Dial = Callable[[], Deferred[HttpConnection]]


class Requests:
    """The requests of one kind, one at a time, on a connection that is opened when needed."""

    def __init__(
        self, dial: Dial, answered: Callable[[Response], None], failed: Callable[[str], None]
    ):
        self.is_waiting = False
        self._dial = dial
        self._answered = answered
        self._failed = failed
        self._connection: HttpConnection | None = None
        self._is_stopped = False

    def send(self, request: bytes) -> None:
        """Send a request. Call it only while none is waiting for its response."""
        self.is_waiting = True
        if self._connection is not None:
            self._connection.transport.write(request)
            return

        def connected(connection: HttpConnection) -> None:
            if self._is_stopped:
                connection.lost = lambda why: None
                connection.transport.abortConnection()
                return
            self._connection = connection
            connection.response = self._response
            connection.lost = self._lost
            connection.transport.write(request)

        def not_connected(failure: Failure) -> None:
            if not self._is_stopped:
                self._failed(why_not_connected(failure.value))

        self._dial().addCallbacks(connected, not_connected)

    def stop(self) -> None:
        """Abort the connection."""
        self._is_stopped = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lost = lambda why: None
            connection.response = lambda response: None
            connection.transport.abortConnection()

    def _response(self, response: Response) -> None:
        self.is_waiting = False
        if not response.keeps_open and self._connection is not None:
            self._connection.lost = lambda why: None
            self._connection.transport.loseConnection()
            self._connection = None
        self._answered(response)

    def _lost(self, why: str) -> None:
        self._connection = None
        if self.is_waiting:
            self._failed(why)


class PollingConnection:
    """One connection. Its owner sets the callables of workers.connection.websocket.Connection:

    opened(): the handshake is over.
    received(packets): packets of Engine.IO with their type, at least one, in order.
    closed(code, reason, was_clean): called exactly once; 1006 if the server has not closed it.

    head: the first part of a request of this client, from the path to the headers.
    """

    opened: Callable[[], None]
    received: Callable[[Sequence[bytes]], None]
    closed: Callable[[int, str, bool], None]

    def __init__(self, reactor: Any, dial: Dial, path: str, host: str, timeout: float) -> None:
        self._reactor = reactor
        self._path = path
        self._host = host
        self._gets = Requests(dial, self._polled, self._fail)
        self._posts = Requests(dial, self._posted, self._fail)
        self._out: list[bytes] = []
        self._is_open = self._is_closing = self._is_closed = False
        self._overdue = reactor.callLater(timeout, self._fail, "no answer in time")

    def start(self) -> None:
        """Begin the handshake. Call it when the callables are set."""
        self._gets.send(self._request(b"GET"))

    def send(self, packet: bytes) -> None:
        """Queue a packet. No effect unless the connection is open."""
        if self._is_open and not self._is_closing:
            self._out.append(packet)
            self._post()

    def close(self, code: int = 1000) -> None:
        """Close the session after the queued output."""
        if self._is_open and not self._is_closing:
            self._out.append(CLOSE)
            self._is_closing = True
            self._post()

    def abort(self) -> None:
        """End without telling the server."""
        self._reactor.callLater(0, self._end, LOST, "", False)

    # Requests and their responses.

    def _request(self, method: bytes, body: bytes = b"") -> bytes:
        head = b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (
            method,
            self._path.encode(),
            self._host.encode(),
        )
        if method == b"POST":
            head += b"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n" % len(body)
        return head + b"\r\n" + body

    def _polled(self, response: Response) -> None:
        if response.status != 200:
            self._refused(response)
            return
        packets = response.body.split(SEPARATOR)
        if not self._is_open:
            self._handshake(packets[0])
        else:
            self._poll()
        if not self._is_closed:
            self.received(packets)

    def _handshake(self, packet: bytes) -> None:
        sid = packet.partition(b'"sid":"')[2].partition(b'"')[0].decode("ascii", "replace")
        if not packet.startswith(b"0") or not sid:
            self._fail(f"not an Engine.IO handshake: {packet[:40]!r}")
            return
        self._overdue.cancel()
        self._path += f"&sid={sid}"
        self._is_open = True
        self.opened()
        self._poll()

    def _poll(self) -> None:
        if not self._is_closed and not self._gets.is_waiting:
            self._gets.send(self._request(b"GET"))

    def _post(self) -> None:
        if self._out and not self._posts.is_waiting and not self._is_closed:
            body = SEPARATOR.join(self._out)
            self._out.clear()
            self._posts.send(self._request(b"POST", body))

    def _posted(self, response: Response) -> None:
        if response.status != 200:
            self._refused(response)
        elif self._is_closing and not self._out:
            self._end(1000, "", True)
        else:
            self._post()

    # The end.

    def _refused(self, response: Response) -> None:
        text = response.body[:100].decode("utf-8", "replace")
        if self._is_closing:
            self._end(1000, "", True)
        elif self._is_open:
            self._end(LOST, "", False)
        else:
            # As Autobahn words it, for failure_reasons.why_not_opened.
            self._end(LOST, f"upgrade failed [{response.status}]: {text})", False)

    def _fail(self, why: str) -> None:
        if self._is_closing:
            self._end(1000, "", True)
        else:
            self._end(LOST, why, False)

    def _end(self, code: int, reason: str, was_clean: bool) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._is_open = False
        if self._overdue.active():
            self._overdue.cancel()
        self._gets.stop()
        self._posts.stop()
        self.closed(code, reason, was_clean)
