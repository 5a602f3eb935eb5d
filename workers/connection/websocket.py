"""One WebSocket connection of the swarm: Autobahn's client with a fast path for small messages.

While the connection is open, chunks that consist of complete, small, unmasked text frames bypass
Autobahn's state machine. Autobahn handles all other chunks from their first byte on (other frames,
incomplete frames, invalid data), and so provides the closing handshake, pongs and checks. All
output, including Autobahn's control frames, goes through one queue, which is sent once per
iteration.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import interfaces
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from workers.connection.epoll_reader import EpollReader
from workers.connection.frames import SMALL, masked_text, split_text_frames


def _ignore_messages(messages: Sequence[bytes]) -> None:
    """The default before the owner sets its own callable, and after the end."""


def _ignore_close(code: int, reason: str, was_clean: bool) -> None:
    """The default before the owner sets its own callable."""


@implementer(interfaces.IPullProducer)
class Connection(WebSocketClientProtocol):
    """One connection. Its owner must set three callables before the handshake can end.

    opened(): the owner may send now.
    received(messages): the messages of one chunk, at least one, in order.
    closed(code, reason, was_clean): called exactly once, also if the connection was never open;
    then the code is 1006.
    """

    tcpNoDelay = True  # a class attribute, because Autobahn reads it before it copies the options

    transport: Any  # mypy does not see Twisted's interfaces
    current_frame: Any
    inside_message: bool

    opened: Callable[[], None] = staticmethod(lambda: None)
    received: Callable[[Sequence[bytes]], None] = staticmethod(_ignore_messages)
    closed: Callable[[int, str, bool], None] = staticmethod(_ignore_close)

    def __init__(self, epoll_reader: EpollReader) -> None:
        super().__init__()
        self.out: list[bytes] = []  # complete frames
        self.socket: Any = None
        self._flush_list = epoll_reader.flush_list
        self._epoll_reader = epoll_reader
        self._epoll_fd: int | None = None
        self._fast = False  # open, and Autobahn holds no incomplete frame or message
        self._blocked = False  # the kernel's buffer is full, and the transport holds the rest
        self._resumed = 0

    # Receiving

    def dataReceived(self, data: bytes) -> None:
        if self._fast and not self.data:
            messages = split_text_frames(data)
            if messages is not None:
                self.received(messages)
                return
        self._dataReceived(data)
        self._fast = (
            self.state == self.STATE_OPEN
            and not self.data
            and self.current_frame is None
            and not self.inside_message
        )

    def onOpen(self) -> None:
        self.socket = self.transport.getHandle()
        self._epoll_fd = self._epoll_reader.add(self)
        self._fast = True
        self.opened()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state == self.STATE_OPEN:
            self.received([payload])

    # Sending

    def send(self, message: bytes) -> None:
        """Queue a text message of ASCII or UTF-8 bytes. No effect unless the connection is open."""
        if self.state != self.STATE_OPEN:
            return
        if len(message) <= SMALL:
            # RFC 6455, section 5.3, requires masks that the author of the payload cannot predict.
            # Here both come from the same program, so a fast generator is enough.
            self.sendData(masked_text(message, random.randbytes(4)))
        else:
            self.sendMessage(message)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Queue data. Autobahn writes everything with this method, including the handshake."""
        out = self.out
        if not out:
            self._flush_list.dirty.append(self)
            self._flush_list.schedule()
        out.append(data)

    def send_queued(self) -> None:
        """Send the queue; the flush list calls this."""
        if not self.out or self.transport is None:
            return
        data = b"".join(self.out)
        self.out.clear()
        if self.socket is None or self._blocked:
            self.transport.write(data)
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the next read fails, too, and handles the error
        if sent < len(data):
            # To keep the order, all output goes through the transport until it has sent the rest.
            self._blocked = True
            self._resumed = 0
            self.transport.write(data[sent:])
            self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Twisted calls this at registration, and when the transport has sent everything."""
        self._resumed += 1
        if self._resumed == 2:
            self.transport.unregisterProducer()
            self._blocked = False

    def stopProducing(self) -> None:
        """Ignored: connectionLost follows."""

    # Closing

    def close(self, code: int = 1000) -> None:
        """Start the closing handshake after the queued output. No effect if it has started."""
        self._fast = False
        if self.state == self.STATE_OPEN:
            self.sendClose(code)

    def abort(self) -> None:
        """Close the TCP connection now, without a closing handshake."""
        if self.transport is not None:
            self.transport.abortConnection()

    def _closeConnection(self, abort: bool = False) -> None:
        self.send_queued()
        super()._closeConnection(abort)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fast = False
        if self._epoll_fd is not None:
            self._epoll_reader.remove(self._epoll_fd)
            self._epoll_fd = None
        self.out.clear()
        self.socket = None
        super().connectionLost(reason)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        closed, self.closed = self.closed, _ignore_close
        self.received = _ignore_messages
        if self.remoteCloseCode is not None:
            # Report the server's close frame even if the TCP connection was then lost.
            code, reason = self.remoteCloseCode, self.remoteCloseReason
        elif not wasClean:
            reason = self.wasNotCleanReason
        closed(code or 1005, reason or "", wasClean)

    def read_by_reactor(self, again: bool) -> None:
        """Start or stop reading by the reactor; the epoll reader calls this."""
        if self.transport is None:
            return
        if again:
            self.transport.startReading()
        else:
            self.transport.stopReading()


class ConnectionFactory(WebSocketClientFactory):
    """Creates connections to one URL; pass it to a client endpoint's `connect`."""

    noisy = False

    def __init__(self, url: str, epoll_reader: EpollReader, reactor: Any, timeout: float) -> None:
        super().__init__(url, reactor=reactor)
        timeout += 1  # Autobahn rounds its timers to seconds, and may call them a second early
        self.setProtocolOptions(openHandshakeTimeout=timeout, closeHandshakeTimeout=timeout)
        self._epoll_reader = epoll_reader

    def buildProtocol(self, addr: Any) -> Connection:
        connection = Connection(self._epoll_reader)
        connection.factory = self
        return connection
