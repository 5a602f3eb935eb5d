"""The state that the parts of a connection share, and that all connections of a node share.

A connection is one object, ServerConnection. Its parts are its base classes:

opening_handshake.Handshake          the opening handshake
reader.MessageReader                 bytes to messages
writer.FrameWriter                   frames to bytes
keepalive.KeepAlive                  pings
closing_handshake.ClosingHandshake   what the client sends after our Close

They are not separate objects. A node holds tens of thousands of idle connections, and a further
object would cost memory in each of them. The loops over messages read the state of Autobahn and of
the reader after each message; with separate objects each access would need one more lookup.

To keep the parts separate nevertheless, a name that begins with an underscore may only be used by
the module that sets it, or belongs to Autobahn. ConnectionBase declares what one part needs of
another.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.types import ConnectionRequest
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.logs.rate_limit import LimitedLog
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.epoll_reader import EpollReader
from cluster.net.loop.timers import CoarseTimers
from cluster.net.websocket.autobahn_protocol import AutobahnFactory, AutobahnProtocol

_log = Logger()

SLOW_CONSUMER = 1013, "slow consumer"
"""The close code ("try again later") and the reason for a client that does not read."""


class ConnectionFactoryBase(AutobahnFactory):
    """Settings, hooks and counters that all connections of a node share.

    The application assigns the hooks before the first connection:

    * ``on_request(connection, request)`` decides on an opening handshake. It returns the
      subprotocol or None, or (subprotocol, headers), or a Deferred of either; it raises a Refusal
      or Autobahn's ConnectionDeny. If it accepts, it may set ``connection.owner``.
    * ``on_open(connection)`` is called when the handshake is complete.
    * ``on_close(connection, code, was_clean)`` is called exactly once for each ``on_open``, when
      the connection is lost. ``code`` is the peer's close code if the closing handshake was
      complete, 1005 if its Close had no code, 1013 if the client was disconnected because it did
      not read, and otherwise 1006, without a closing handshake (RFC 6455, section 7.1.5).
    * ``on_abandoned(connection)`` is called instead of both if the connection has an owner and
      never opened.
    * ``on_refused(connection, status)`` is called when a handshake is refused.
    * ``on_error(connection, failure, what)`` is called with an exception of the application, in a
      hook or in a callback, and logs it. ``what`` says where, for the log.
    """

    def __init__(
        self, end_of_turn: EndOfTurn, epoll_reader: EpollReader | None, high_water: int
    ) -> None:
        super().__init__(server="", reactor=end_of_turn.reactor)
        self.end_of_turn = end_of_turn
        self.epoll_reader = epoll_reader
        self.timers = CoarseTimers(end_of_turn.reactor)
        self._batched_timer = self.timers  # Autobahn uses this attribute
        self.high_water = high_water
        """Bytes that may be queued for a blocked client."""
        self.on_request: Callable[[Any, ConnectionRequest], Any] = lambda connection, request: None
        self.on_open: Callable[[Any], None] = lambda connection: None
        self.on_close: Callable[[Any, int, bool], None] = lambda connection, code, was_clean: None
        self.on_abandoned: Callable[[Any], None] = lambda connection: None
        self.on_refused: Callable[[Any, int], None] = lambda connection, status: None
        self.on_error: Callable[[Any, Failure, str], None] = _log_error
        self.connections: set[Any] = set()
        """The open connections, until they are lost."""
        self.messages_received = 0
        self.control_frames = 0
        """Control frames and handshake responses that were queued."""
        log = AutobahnProtocol.logger
        self.log_refusal = LimitedLog(log.info, "handshakes refused", end_of_turn.reactor)
        self.log_invalid = LimitedLog(log.info, "invalid input", end_of_turn.reactor)
        self.dropped: Counter[str] = Counter()
        """Frames that were not sent, by reason: ``slow_consumer``, ``disconnected``."""
        self.handshakes_refused: Counter[str] = Counter()
        """Refused handshakes by HTTP status code."""
        self.log_slow_client = LimitedLog(_log.warn, "slow clients", end_of_turn.reactor)
        """Logs the end of a client that did not read."""
        self.traffic = TrafficStats()
        """Autobahn updates these counters, which are not used here; one object serves all
        connections."""

    def log_summaries(self) -> None:
        """Log now what would be summarised later: the node stops."""
        for log in (self.log_refusal, self.log_invalid, self.log_slow_client):
            log.stop()

    @property
    def messages_sent(self) -> int:
        """Data frames handed to the kernel (or to TLS) at the end of this factory's turns."""
        return max(0, self.end_of_turn.frames_sent - self.control_frames)


def _log_error(connection: "ConnectionBase", failure: Failure, what: str) -> None:
    connection.logger.failure("{what} of {peer} failed", failure, what=what, peer=connection.peer)


class ConnectionBase(AutobahnProtocol):
    """The names that a part of a connection may use, besides its own and Autobahn's."""

    factory: ConnectionFactoryBase

    # For the reader, which does not access sockets:

    def start_reading(self) -> None:
        """Start calling ``dataReceived`` with the bytes that arrive."""
        raise NotImplementedError

    def stop_reading(self) -> None:
        """Stop reading, so that arriving bytes stay in the kernel's buffer."""
        raise NotImplementedError

    def read_now(self) -> bytes:
        """Return some of the bytes that have arrived; empty if there are none, or the reactor reads
        this connection."""
        raise NotImplementedError

    def refuse_large_request(self, more: bytes) -> bool:
        """While connecting: refuse the handshake if its request is too large with ``more``; returns
        whether it was refused."""
        raise NotImplementedError

    def skip_to_close(self, data: bytes) -> None:
        """After our Close: skip frames of the client, in chunks of any size, until its Close."""
        raise NotImplementedError

    def count_as_pong(self) -> None:
        """Cancel the timeout of a ping: a data frame also shows that the client is alive."""
        raise NotImplementedError

    # For the closing handshake:

    def receive_later(self, data: bytes) -> None:
        """Process bytes from the socket in a later turn, when others have been served."""
        raise NotImplementedError

    # For all parts:

    was_slow = False
    """Whether the client was disconnected because it did not read."""

    paused: bool
    """Whether reading is paused (reader.py)."""

    out: list[bytes]
    """The queue of output (writer.py)."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then a Close frame."""
        raise NotImplementedError

    def fail(self, failure: Failure) -> None:
        """Log an exception of our own code or of the application, and close with 1011."""
        raise NotImplementedError
