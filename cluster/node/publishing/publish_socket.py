"""The publish socket: receives publications of external publishers (core.wire.external_publisher).

Each external publisher has one connection. The node publishes and answers its publications in
order, and reads none while publishers must pause. A node that stops publishes those that have
arrived, then sends Closing to each publisher, which continues with another node.
"""

import os
from collections import deque
from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import WireError
from cluster.core.wire.external_publisher import (
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Rejection,
    encode,
)
from cluster.net.runtime_watch import SocketFileWatch, stop_listening
from cluster.node.publishing.publications import ExternalPublications, log_refused

GOODBYE_TIMEOUT_S = 1.0
"""Seconds that a publisher has to read Closing, a few bytes that usually take microseconds."""


class PublishSocket:
    """Call ``start`` when the node serves, ``resume`` when publishers may resume, and ``stop``."""

    log = Logger()

    def __init__(self, path: str, publications: ExternalPublications, reactor: Any) -> None:
        self.site = ""
        self.publications = publications
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


class PublisherConnection(protocol.Protocol):
    """The connection of one external publisher."""

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
            reason = f"this is no publication: {error}"
            log_refused(reason)
            self._end(Rejection(reason))
            return
        self.proceed()

    def proceed(self) -> None:
        """Publish the queued publications, unless publishers must pause."""
        publications = self._socket.publications
        while self._waiting and not publications.full:
            answer = publications.publish(self._waiting.popleft())
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
