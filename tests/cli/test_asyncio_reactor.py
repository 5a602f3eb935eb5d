"""Tests of cluster.cli.asyncio_reactor, with real sockets and both event loops."""

import asyncio
import socket
import struct
from typing import Any

from twisted.trial.unittest import TestCase

from cluster.cli.asyncio_reactor import AsyncioReactor

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: ``close`` resets the connection."""

LIMIT_S = 30.0


class Descriptor:
    """A socket, as the reactor sees it."""

    def __init__(self, sock: socket.socket, changed: Any) -> None:
        self.seen: list[str] = []
        self._socket = sock
        self._changed = changed
        self.socket: Any = None

    def connectionLost(self, reason: Any) -> None:
        self.seen.append("lost")
        self._changed()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "a socket"

    def doRead(self) -> None:
        try:
            self.seen.append(self._socket.recv(100).decode())
        except ConnectionResetError:
            self.seen.append("reset")
        self._changed()

    def doWrite(self) -> None:
        self.seen.append("writable")
        self._changed()


class AsyncioTests(TestCase):
    def new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def setUp(self) -> None:
        self.loop = self.new_loop()
        self.addCleanup(self.loop.close)
        self.reactor = AsyncioReactor(self.loop)
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        self.client = socket.create_connection(listening.getsockname())
        self.addCleanup(self.client.close)
        self.socket, _ = listening.accept()
        self.addCleanup(self.socket.close)
        self.socket.setblocking(False)
        self.descriptor = Descriptor(self.socket, self.loop.stop)

    def see(self, what: str) -> None:
        """Run the event loop until the descriptor has seen something."""
        end = self.loop.time() + LIMIT_S
        limit = self.loop.call_at(end, self.loop.stop)
        while what not in self.descriptor.seen:
            self.assertLess(self.loop.time(), end, f"{what!r} is not seen")
            self.loop.run_forever()
        limit.cancel()

    def reset_after_data(self) -> None:
        """The client sends something and resets the connection; both arrive together."""
        self.reactor.addReader(self.descriptor)
        self.client.send(b"request")
        self.see("request")
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.client.send(b"another")
        self.client.close()
        self.see("another")

    def test_a_reset_after_data_is_noticed_at_once(self) -> None:
        self.descriptor.socket = self.socket
        self.reset_after_data()
        self.see("lost")

    def test_a_reset_after_data_is_noticed_when_another_kind_of_socket_is_written(self) -> None:
        self.reset_after_data()
        self.reactor.addWriter(self.descriptor)
        self.see("reset")

    def test_a_socket_may_be_read_again(self) -> None:
        self.reactor.addWriter(self.descriptor)
        self.see("writable")
        self.reactor.removeWriter(self.descriptor)
        self.client.send(b"request")
        self.reactor.addReader(self.descriptor)
        self.see("request")


class UvloopTests(AsyncioTests):
    if uvloop is None:
        skip = "uvloop is not installed"

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return uvloop.new_event_loop()
