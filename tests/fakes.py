"""Recording fakes, shared by the tests."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ITransport
from zope.interface import implementer

from cluster.core import wire
from cluster.pubsub.bus import BusReceiver


@implementer(ITransport)
class RecordingTransport:
    """A stream transport that records a protocol's calls, and accepts all output.

    ``full = True`` pauses the registered push producer, as TLS does when its buffer is full;
    ``full = False`` resumes it.
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
    """A Bus that records what it sends: messages, and batches as (node, bytes).

    ``up`` and ``down`` call the receiver as a bus does.
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

    def send_batch(self, node: str, data: bytes) -> None:
        assert self.is_up, "a bus that is down takes no batches"
        self.sent.append((node, data))

    def up(self, epoch: str, *nodes: str) -> None:
        self.is_up = True
        self.receiver.bus_up(wire.Welcome(epoch, nodes))

    def down(self) -> None:
        self.is_up = False
        self.receiver.bus_down()

    def take(self) -> list[Any]:
        """Return the messages and batches since the last call."""
        sent, self.sent = self.sent, []
        return sent


class RecordingReceiver:
    """A BusReceiver that records its calls; ``called(event)`` is called for each."""

    def __init__(self, called: Callable[[Any], None] = lambda event: None) -> None:
        self.events: list[Any] = []
        self._called = called

    def _record(self, event: Any) -> None:
        self.events.append(event)
        self._called(event)

    def bus_up(self, welcome: wire.Welcome) -> None:
        self._record(welcome)

    def bus_down(self) -> None:
        self._record("down")

    def bus_message(self, message: wire.Message) -> None:
        self._record(message)

    def bus_batch(self, origin: str, data: bytes) -> None:
        self._record((origin, data))

    def bus_full(self, full: bool) -> None:
        self._record("full" if full else "free")


class RecordingConnection:
    """A connection for PubSub; ``send_frame`` appends to ``out``, too."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.blocked = False
        self.lost: list[bytes] = []
        self.histories: list[int] = []
        """The numbers of frames that ``send_history`` was given."""

    def send_frame(self, frame: bytes) -> None:
        self.out.append(frame)

    def frames_lost(self, topic: bytes) -> None:
        self.lost.append(topic)

    def send_history(self, frames: Sequence[bytes]) -> None:
        self.histories.append(len(frames))
        self.out.extend(frames)
