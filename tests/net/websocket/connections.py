"""Connections on recording transports, and an application that records the calls of its hooks."""

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.turn_budget import TurnBudget
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.connection_factory import ConnectionFactory
from tests.fakes import RecordingTransport
from tests.net.websocket.wire import request


class Application:
    """A factory on a clock; its hooks record their calls in ``events``."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.end_of_turn = EndOfTurn(self.clock)
        self.end_of_turn.budget.now = self.clock.seconds
        self.factory = ConnectionFactory(self.end_of_turn, None, **options)
        self.factory.on_open = self.opened
        self.factory.on_close = self.closed
        self.events: list[Any] = []

    def opened(self, connection: ServerConnection) -> None:
        self.events.append("open")
        connection.receive = self.received

    def received(self, payload: bytes, is_binary: bool) -> None:
        self.events.append(payload if is_binary else payload.decode())

    def closed(self, connection: ServerConnection, code: int, was_clean: bool) -> None:
        self.events.append(("closed", code, was_clean))

    def connect(self) -> "tuple[ServerConnection, RecordingTransport]":
        """Return a connection before its handshake."""
        connection = self.factory.buildProtocol(None)
        transport = RecordingTransport()
        connection.makeConnection(transport)
        return connection, transport

    def open(self, *headers: bytes) -> "tuple[ServerConnection, RecordingTransport]":
        """Return a connection after its handshake, with its output so far cleared."""
        connection, transport = self.connect()
        connection.dataReceived(request(*headers))
        self.clock.advance(0)
        assert transport.written.startswith(b"HTTP/1.1 101 "), transport.written
        transport.written = b""
        transport.writes = 0
        self.events.remove("open")
        return connection, transport

    def spend_turns(self) -> None:
        """Let each turn be over as soon as somebody looks at the clock."""
        budget = self.end_of_turn.budget
        budget.begin = lambda until: TurnBudget.begin(budget, 0.0)
        budget.begin(0.0)

    def lose(self, connection: ServerConnection, reason: Exception | None = None) -> None:
        connection.connectionLost(Failure(reason or ConnectionDone()))
