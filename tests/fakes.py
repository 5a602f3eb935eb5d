"""Recording stand-ins, shared by the tests."""

from typing import Any

from twisted.internet.address import IPv4Address


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
