"""A small server for swarms, and a test case that runs it."""

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.workers.patience import PATIENCE_S, be_patient
from workers.connection.target import Target
from workers.processes import shard

reactor: Any = _reactor


class ServerConnection(WebSocketServerProtocol):
    """A connection of the server; tests patch its methods."""

    replied = 0

    def onConnect(self, request: Any) -> None:
        self.path = request.path
        self.publishes = "publisher" in request.params.get("role", ())

    def onOpen(self) -> None:
        self.factory.connections.add(self)
        if self.path == "/talk/":
            self.factory.talkers.append(self)
            if len(self.factory.talkers) >= self.factory.together:
                self.factory.greet()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.path == "/talk/":
            self.reply(payload)
        elif self.publishes:
            self.factory.publish(payload)

    def reply(self, payload: bytes) -> None:
        self.replied += 1
        self.sendMessage(b"%d. %s" % (self.replied, payload))
        if self.replied == 3:
            self.sendMessage(b"Goodbye!")
            self.sendClose(1000)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.factory.connections.discard(self)
        if not self.factory.connections and not self.factory.emptied.called:
            self.factory.emptied.callback(None)


class Server(WebSocketServerFactory):
    protocol = ServerConnection
    noisy = False

    def __init__(self) -> None:
        super().__init__(reactor=reactor)
        self.connections: set[ServerConnection] = set()
        self.emptied: Deferred[None] = Deferred()
        self.talkers: list[ServerConnection] = []
        self.together = 1
        """The number of clients that must be connected before the first conversation begins."""

    def greet(self) -> None:
        talkers, self.talkers, self.together = self.talkers, [], 1
        for talker in talkers:
            talker.sendMessage(b"Hello!")

    def publish(self, payload: bytes) -> None:
        for connection in self.connections:
            if not connection.publishes:
                connection.sendMessage(payload)


class SwarmTestCase(TestCase):
    timeout = 300

    def setUp(self) -> None:
        # The function is for processes that do nothing else; it would affect later tests.
        self.patch(shard, "keep_garbage_collection_short", lambda: None)
        self.server = Server()
        be_patient(self, self.server)
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(self.close_server)
        number = self.port.getHost().port
        self.target = Target(f"ws://127.0.0.1:{number}", "127.0.0.1", number)

    def close_server(self) -> Any:
        stopped = self.port.stopListening()
        for connection in list(self.server.connections):
            connection.transport.abortConnection()
        return stopped

    def common(self, path: str, clients: int = 5) -> dict[str, Any]:
        return {
            "clients": clients,
            "targets": (self.target,),
            "path": path,
            "timeout": float(PATIENCE_S),
        }
