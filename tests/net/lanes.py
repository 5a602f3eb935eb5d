"""Lanes on recording transports, and what their owner was told."""

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from cluster.net.flush import FlushList
from cluster.net.lane import Lane
from cluster.net.lane_factory import LaneFactory
from tests.fakes import RecordingTransport
from tests.net.wire import request


class Owner:
    """A factory with a flush list on a clock, whose hooks write down what happens."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.flush_list = FlushList(self.clock)
        self.factory = LaneFactory(self.flush_list, None, **options)
        self.factory.on_open = self.opened
        self.factory.on_close = self.closed
        self.events: list[Any] = []

    def opened(self, lane: Lane) -> None:
        self.events.append("open")
        lane.receive = self.received

    def received(self, payload: bytes, is_binary: bool) -> None:
        self.events.append(payload if is_binary else payload.decode())

    def closed(self, lane: Lane, code: int, was_clean: bool) -> None:
        self.events.append(("closed", code, was_clean))

    def connect(self) -> "tuple[Lane, RecordingTransport]":
        """A lane before its handshake."""
        lane = self.factory.buildProtocol(None)
        transport = RecordingTransport()
        lane.makeConnection(transport)
        return lane, transport

    def open(self, *headers: bytes) -> "tuple[Lane, RecordingTransport]":
        """A lane after its handshake; what was written so far is forgotten."""
        lane, transport = self.connect()
        lane.dataReceived(request(*headers))
        self.clock.advance(0)
        assert transport.written.startswith(b"HTTP/1.1 101 "), transport.written
        transport.written = b""
        transport.writes = 0
        self.events.remove("open")
        return lane, transport

    def lose(self, lane: Lane, reason: Exception | None = None) -> None:
        lane.connectionLost(Failure(reason or ConnectionDone()))
