"""The publish socket: receives publications of external publishers (core.wire.external_publisher).

Each external publisher has one connection. The node publishes and answers its publications in
order, and reads none while publishers must pause. A node that stops publishes those that have
arrived, then sends Closing to each publisher, which continues with another node.
"""

import os
from collections import deque
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import NotPublished, WireError
from cluster.core.wire.external_publisher import (
    Accepted,
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Publish,
    Rejection,
    encode,
)
from cluster.logs.rate_limit import LimitedLog
from cluster.net.runtime_watch import SocketFileWatch, stop_listening
from cluster.net.websocket.frames import (
    BINARY,
    TEXT,
    binary_frame,
    frame_payload,
    is_utf8,
    text_frame,
)

GOODBYE_TIMEOUT_S = 1.0
"""Seconds that a publisher has to read Closing, a few bytes that usually take microseconds."""


class Publishes(Protocol):
    """The methods of PubSub that the socket calls."""

    @property
    def full(self) -> bool:
        """Whether publishers must pause."""

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to all subscribers; returns (nodes, connections of this node)."""

    def publish_retained(
        self, topic: bytes, frame: bytes, depth: int, lifetime: int
    ) -> tuple[int, int]:
        """The same for a frame that the topic retains."""


class PublishSocket:
    """Call ``start`` when the node serves, ``resume`` when publishers may resume, and ``stop``."""

    log = Logger()

    def __init__(self, path: str, pubsub: Publishes, reactor: Any) -> None:
        self.published = 0
        self.site = ""
        self.pubsub = pubsub
        self.connections: set[PublisherConnection] = set()
        self._path = path
        self._reactor = reactor
        self._port: Any = None
        self._watch = SocketFileWatch(path, self._listen_again, reactor)

    def start(self, site: str) -> None:
        """Listen for publications of ``site``. Replaces the socket that a killed process left."""
        self.site = site
        if os.path.lexists(self._path):
            os.unlink(self._path)
        self._listen()
        self._watch.start()

    def _listen(self) -> None:
        self._port = self._reactor.listenUNIX(self._path, PublishFactory(self), mode=0o600)

    def _listen_again(self) -> "Deferred[object]":
        return stop_listening(self._port).addCallback(lambda _: self._listen())

    def resume(self) -> None:
        """Read publications again after a pause."""
        for connection in list(self.connections):
            connection.proceed()

    def stop(self) -> "Deferred[None]":
        """Accept no more connections, and send Closing on each connection.

        Fires when all connections are closed, or after GOODBYE_TIMEOUT_S.
        """
        self._watch.stop()
        port, self._port = self._port, None
        closed: Deferred[Any] = succeed(None)
        if port is not None:
            closed = maybeDeferred(port.stopListening).addErrback(self._not_closed)
        return closed.addCallback(self._goodbye)

    def _not_closed(self, failure: Failure) -> None:
        # The socket's file may be gone: a login session removes its runtime directory when it ends.
        self.log.warn("closing {path}: {reason}", path=self._path, reason=failure.getErrorMessage())

    def _goodbye(self, _: object) -> "Deferred[None]":
        gone = [connection.goodbye() for connection in list(self.connections)]
        closed: Deferred[Any] = gatherResults(gone, consumeErrors=True)
        closed.addTimeout(GOODBYE_TIMEOUT_S, self._reactor)
        return closed.addBoth(lambda _: None)


_log_refused = LimitedLog(Logger().warn, "publications of external publishers refused")


class PublisherConnection(protocol.Protocol):
    """The connection of one external publisher."""

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
        """Publish the queued publications, unless publishers must pause."""
        pubsub = self._socket.pubsub
        while self._waiting and not pubsub.full:
            message = self._waiting.popleft()
            reason = _error(message)
            if reason:
                self._refuse(reason)
                return
            assert isinstance(message, Publish)
            answer = self._publish(pubsub, message)
            if isinstance(answer, Rejection):
                self._end(answer)
                return
            self._answer(answer)
        if bool(self._waiting) != self._paused:
            transport: Any = self.transport
            self._paused = not self._paused
            (transport.pauseProducing if self._paused else transport.resumeProducing)()

    def goodbye(self) -> "Deferred[None]":
        """Send Closing. The publisher may send unanswered publications to another node.

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
        except NotPublished as error:
            return Rejection(str(error))
        except Exception:
            self.log.failure("a publication of an external publisher failed")
            return Rejection("internal error; see the node's log")
        self._socket.published += 1
        return Accepted(*done)

    def _refuse(self, reason: str) -> None:
        _log_refused(
            "", "a publication of an external publisher was refused: {reason}", reason=reason
        )
        self._end(Rejection(reason))

    def _answer(self, message: ExternalMessage) -> None:
        transport: Any = self.transport
        transport.write(encode(message))

    def _end(self, message: ExternalMessage) -> None:
        self._answer(message)
        self._waiting.clear()
        self._socket.connections.discard(self)
        transport: Any = self.transport
        transport.loseConnection()  # stops reading, too


class PublishFactory(protocol.Factory):
    """Creates the connections of a PublishSocket."""

    protocol = PublisherConnection
    noisy = False

    def logPrefix(self) -> str:
        """The name of the port in Twisted's log."""
        return "publish socket"

    def __init__(self, socket: PublishSocket) -> None:
        self.socket = socket


def _error(message: ExternalMessage) -> str:
    """Return why a message cannot be published, or an empty string if it can.

    The frame is sent to clients unchanged, so it must be complete and valid.
    """
    if not isinstance(message, Publish):
        return f"only nodes send {type(message).__name__}"
    frame = message.frame
    if len(frame) < 2 or frame[0] not in (TEXT, BINARY):
        return "it has no frame"
    payload, is_binary = frame_payload(frame)
    if frame != (binary_frame if is_binary else text_frame)(payload):
        return "its frame's length is wrong"
    if not is_binary and not is_utf8(payload):
        return "its text is not UTF-8"
    return ""
