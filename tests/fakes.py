"""Recording stand-ins, shared by the tests."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address

from cluster.core import wire
from cluster.pubsub.bus import BusReceiver


class RecordingTransport:
    """A stream transport that records what a protocol does to it, and never refuses anything.

    ``full = True`` says to the registered push producer that the transport takes no more, as TLS
    does; ``full = False`` that it does again.
    """

    def __init__(self) -> None:
        self.written = b""
        self.writes = 0
        self.lost = False
        self.aborted = False
        self.reading = True
        self.registered: Any = None

    def write(self, data: bytes) -> None:
        if not self.lost:
            self.writes += 1
            self.written += data

    def loseConnection(self) -> None:
        self.lost = True

    def abortConnection(self) -> None:
        self.lost = self.aborted = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.registered = producer

    def unregisterProducer(self) -> None:
        self.registered = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 40000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8000)


class RecordingBus:
    """An IBus that records what it is given: messages, and batches as (node, bytes).

    ``up`` and ``down`` say to the receiver what a bus would say.
    """

    def __init__(self, name: str = "here") -> None:
        self.name = name
        self.dropped: Counter[str] = Counter()
        self.is_up = False
        self.queued_bytes = 0
        self.sent: list[Any] = []
        self.receiver: Any = None

    def start(self, receiver: BusReceiver) -> None:
        self.receiver = receiver

    def stop(self) -> None:
        self.is_up = False
        self.receiver = None

    def send(self, message: wire.Message) -> None:
        if self.is_up:
            self.sent.append(message)

    def send_batch(self, peer: str, data: bytes) -> None:
        assert self.is_up, "a bus that is down takes no batches"
        self.sent.append((peer, data))

    def up(self, epoch: str, *peers: str) -> None:
        self.is_up = True
        self.receiver.bus_up(wire.Welcome(epoch, peers))

    def down(self, *unsent: tuple[str, bytes]) -> None:
        self.is_up = False
        self.receiver.bus_down(list(unsent))

    def take(self) -> list[Any]:
        """What was sent since this was last called."""
        sent, self.sent = self.sent, []
        return sent


class RecordingReceiver:
    """A BusReceiver that records its calls; ``told(event)`` is called for each."""

    def __init__(self, told: Callable[[Any], None] = lambda event: None) -> None:
        self.events: list[Any] = []
        self._told = told

    def _note(self, event: Any) -> None:
        self.events.append(event)
        self._told(event)

    def bus_up(self, welcome: wire.Welcome) -> None:
        self._note(welcome)

    def bus_down(self, unsent: list[tuple[str, bytes]]) -> None:
        self._note(("down", unsent))

    def bus_message(self, message: wire.Message) -> None:
        self._note(message)

    def bus_batch(self, origin: str, data: bytes) -> None:
        self._note((origin, data))

    def bus_full(self, full: bool) -> None:
        self._note("full" if full else "free")


class RecordingConnection:
    """A connection for PubSub: what goes into ``out`` and through ``send_frame`` is in ``out``."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.blocked = False

    def send_frame(self, frame: bytes) -> None:
        self.out.append(frame)
