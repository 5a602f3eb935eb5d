"""A real server on the loopback interface, and a client that can stop reading."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.epoll_reader import EpollReader
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.connection_factory import ConnectionFactory
from tests.net.websocket.wire import request


class Client(Protocol):
    """Collects what the server sends; ``until`` waits for a condition on it."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        return waiting

    def until_received(self, expected: bytes) -> Deferred[None]:
        return self.until(lambda: expected in self.received)

    def until_lost(self) -> Deferred[None]:
        return self.until(lambda: self.lost is not None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        self._look()

    def _look(self) -> None:
        for entry in list(self._waiting):
            condition, waiting = entry
            if condition():
                self._waiting.remove(entry)
                waiting.callback(None)


class Server:
    """Connections on a port of the loopback interface, read by an EpollReader or by the reactor."""

    def __init__(self, reactor: Any, *, with_epoll_reader: bool = True, **options: Any) -> None:
        self._reactor = reactor
        self.end_of_turn = EndOfTurn(reactor)
        self.epoll_reader = EpollReader(reactor, self.end_of_turn) if with_epoll_reader else None
        self.factory = ConnectionFactory(self.end_of_turn, self.epoll_reader, **options)
        self.factory.on_open = self.opened
        self.factory.on_close = self.closed
        self.connections: list[ServerConnection] = []
        self.ends: list[tuple[ServerConnection, int, bool]] = []
        self._clients: list[Client] = []
        self._opened: list[Deferred[ServerConnection]] = []
        self._closed: list[Deferred[None]] = []
        if self.epoll_reader is not None:
            self.epoll_reader.start()
        self._port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")

    async def client(self) -> tuple[Client, ServerConnection]:
        """Open a connection; returns both ends."""
        opened: Deferred[ServerConnection] = Deferred()
        self._opened.append(opened)
        endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", self._port.getHost().port)
        client = await connectProtocol(endpoint, Client())
        self._clients.append(client)
        client.transport.write(request())
        connection = await opened
        await client.until_received(b"\r\n\r\n")
        client.received = b""
        return client, connection

    def opened(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        self._opened.pop(0).callback(connection)

    def closed(self, connection: ServerConnection, code: int, was_clean: bool) -> None:
        self.ends.append((connection, code, was_clean))
        waiting, self._closed = self._closed, []
        for deferred in waiting:
            deferred.callback(None)

    def next_end(self) -> Deferred[None]:
        """Fires at the next on_close."""
        deferred: Deferred[None] = Deferred()
        self._closed.append(deferred)
        return deferred

    async def stop(self) -> None:
        await self._port.stopListening()
        for connection in list(self.factory.connections):
            ended = self.next_end()
            connection.transport.abortConnection()
            await ended
        for client in self._clients:
            if client.lost is None:  # it has not noticed yet, or does not read
                client.transport.abortConnection()
                await client.until_lost()
        if self.epoll_reader is not None:
            self.epoll_reader.stop()
