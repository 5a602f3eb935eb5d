"""A node's socket for processes outside the cluster that publish (core.wire_external).

One connection for each of those processes. Publications of a connection are taken one after the
other, and while the node's publishers must pause, none is. A node that stops takes what has
arrived, and tells everybody to go elsewhere.
"""

import os
from collections import deque
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import WireError
from cluster.core.wire_external import (
    Accepted,
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Publish,
    Rejection,
    encode,
)
from cluster.net.websocket.frames import (
    BINARY,
    TEXT,
    binary_frame,
    frame_payload,
    is_utf8,
    text_frame,
)

GOODBYE_TIMEOUT_S = 1.0
"""A process that does not read is not waited for; the others have the few bytes at once."""


class Publishes(Protocol):
    """What the socket needs of PubSub."""

    @property
    def full(self) -> bool:
        """Whether publishers must pause."""

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Returns how many nodes, and connections of this one, it was queued to."""

    def publish_retained(
        self, topic: bytes, frame: bytes, depth: int, lifetime: int
    ) -> tuple[int, int]:
        """The same, kept."""


class PublishSocket:
    """Call ``start`` when the node serves, ``resume`` when publishers may go on, and ``stop``."""

    log = Logger()

    def __init__(self, path: str, pubsub: Publishes, reactor: Any) -> None:
        self.published = 0
        self.site = ""
        self.pubsub = pubsub
        self.connections: set[PublisherConnection] = set()
        self._path = path
        self._reactor = reactor
        self._port: Any = None

    def start(self, site: str) -> None:
        """Listen, for this site; what a process before us left at the path is replaced."""
        self.site = site
        if os.path.lexists(self._path):
            os.unlink(self._path)
        self._port = self._reactor.listenUNIX(self._path, PublishFactory(self), mode=0o600)

    def resume(self) -> None:
        """Publishers may go on."""
        for connection in list(self.connections):
            connection.proceed()

    def stop(self) -> "Deferred[None]":
        """Let nobody connect any more, then say goodbye to all; fires when that is done."""
        port, self._port = self._port, None
        closed: Deferred[Any] = succeed(None)
        if port is not None:
            closed = maybeDeferred(port.stopListening).addErrback(self._not_closed)
        return closed.addCallback(self._goodbye)

    def _not_closed(self, failure: Failure) -> None:
        """Somebody has removed the socket's file, as a login session does at its end."""
        self.log.warn("closing {path}: {reason}", path=self._path, reason=failure.getErrorMessage())

    def _goodbye(self, _: object) -> "Deferred[None]":
        gone = [connection.goodbye() for connection in list(self.connections)]
        told: Deferred[Any] = gatherResults(gone, consumeErrors=True)
        told.addTimeout(GOODBYE_TIMEOUT_S, self._reactor)
        return told.addBoth(lambda _: None)


class PublisherConnection(protocol.Protocol):
    """One process that publishes."""

    log = Logger()

    _paused = False

    def connectionMade(self) -> None:
        factory: Any = self.factory
        self._socket: PublishSocket = factory.socket
        self._socket.connections.add(self)
        self._gone: Deferred[None] = Deferred()
        self._messages = MessageDecoder()
        self._waiting: deque[ExternalMessage] = deque()
        self._answer(Greeting(self._socket.site))

    def dataReceived(self, data: bytes) -> None:
        try:
            self._waiting += self._messages.feed(data)
        except WireError as error:
            self._refuse(f"this is no publication: {error}")
            return
        self.proceed()

    def proceed(self) -> None:
        """Take what waits, unless publishers must pause."""
        pubsub = self._socket.pubsub
        while self._waiting and not pubsub.full:
            message = self._waiting.popleft()
            reason = _error(message)
            if reason:
                self._refuse(reason)
                return
            assert isinstance(message, Publish)
            self._answer(self._publish(pubsub, message))
        if bool(self._waiting) != self._paused:
            transport: Any = self.transport
            self._paused = not self._paused
            (transport.pauseProducing if self._paused else transport.resumeProducing)()

    def goodbye(self) -> "Deferred[None]":
        """Tell the process that this node stops. It may send waiting publications to another one.

        Fires when the connection is closed.
        """
        self._end(Closing())
        return self._gone

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._waiting.clear()
        self._socket.connections.discard(self)
        if not self._gone.called:
            self._gone.callback(None)

    def _publish(self, pubsub: Publishes, message: Publish) -> Accepted | Rejection:
        topic, frame = message.topic, message.frame
        try:
            if message.depth:
                done = pubsub.publish_retained(topic, frame, message.depth, message.lifetime)
            else:
                done = pubsub.publish(topic, frame)
        except Exception:
            self.log.failure("a publication from outside failed")
            return Rejection("internal error; see the node's log")
        self._socket.published += 1
        return Accepted(*done)

    def _refuse(self, reason: str) -> None:
        self.log.warn("a publication from outside was refused: {reason}", reason=reason)
        self._end(Rejection(reason))

    def _answer(self, message: ExternalMessage) -> None:
        transport: Any = self.transport
        transport.write(encode(message))

    def _end(self, message: ExternalMessage) -> None:
        self._answer(message)
        self._waiting.clear()
        self._socket.connections.discard(self)
        transport: Any = self.transport
        transport.loseConnection()  # and it is not read any more


class PublishFactory(protocol.Factory):
    """Makes the connections of a PublishSocket."""

    protocol = PublisherConnection
    noisy = False

    def logPrefix(self) -> str:
        """The name in Twisted's log of ports."""
        return "publish socket"

    def __init__(self, socket: PublishSocket) -> None:
        self.socket = socket


def _error(message: ExternalMessage) -> str:
    """Why a message cannot be published; empty if it can.

    The frame goes to clients as it is, so it must be one.
    """
    if not isinstance(message, Publish):
        return f"a node sends {type(message).__name__}, and is not sent it"
    frame = message.frame
    if len(frame) < 2 or frame[0] not in (TEXT, BINARY):
        return "it has no frame"
    payload, is_binary = frame_payload(frame)
    if frame != (binary_frame if is_binary else text_frame)(payload):
        return "its frame's length is wrong"
    if not is_binary and not is_utf8(payload):
        return "its text is not UTF-8"
    return ""
