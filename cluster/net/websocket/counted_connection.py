"""CountedConnection: a connection that counts its own messages and bytes, for the access log.

It is a subclass, so that a node without an access log pays nothing. Nothing is done for each
message here either: what arrives is counted for each read, what leaves for each send.
"""

from collections.abc import Sequence

from cluster.core.interfaces import LaterFrame
from cluster.net.websocket.autobahn_protocol import CONNECTING, OPEN
from cluster.net.websocket.connection import ServerConnection


class Counts:
    """What one connection has received and sent since it opened.

    ``bytes_in`` includes control frames; ``bytes_out`` has the bytes of data frames.
    """

    __slots__ = ("began", "bytes_in", "bytes_out", "messages_in", "messages_out")

    def __init__(self) -> None:
        self.began = 0.0
        self.messages_in = self.messages_out = self.bytes_in = self.bytes_out = 0


class _CountedQueue(list[bytes]):
    """The ``out`` of a connection. It is cleared when its frames are sent or held."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def clear(self) -> None:
        self._counts.messages_out += len(self)
        self._counts.bytes_out += sum(map(len, self))
        super().clear()


class CountedConnection(ServerConnection):
    """A connection that counts. Call ``begin_counting`` when it is open."""

    counts: Counts
    connected_at = 0.0

    def connectionMade(self) -> None:
        self.connected_at = self.factory.end_of_turn.reactor.seconds()
        super().connectionMade()

    def attach(self) -> None:
        super().attach()
        self.counts = Counts()
        self.out = _CountedQueue(self.counts)

    def begin_counting(self, now: float) -> None:
        """Set the time at which the connection opened, in seconds of the reactor's clock."""
        self.counts.began = now

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        # Control frames and the handshake's response go through the same queue.
        if self.state != OPEN or data[0] & 8:
            self.counts.messages_out -= 1
            self.counts.bytes_out -= len(data)
        super().sendData(data, sync, chopsize)

    def hold_history(self, frames: Sequence[bytes | LaterFrame]) -> None:
        self.counts.messages_out += len(frames)
        self.counts.bytes_out += sum(map(len, frames))
        super().hold_history(frames)

    def dataReceived(self, data: bytes) -> None:
        if self.state == CONNECTING:
            super().dataReceived(data)  # which calls this method with what follows the handshake
            return
        factory, counts = self.factory, self.counts
        messages, unread = factory.messages_received, self.unread_bytes
        super().dataReceived(data)
        counts.messages_in += factory.messages_received - messages
        # What could not be processed yet comes here a second time.
        counts.bytes_in += len(data) - (self.unread_bytes - unread)
