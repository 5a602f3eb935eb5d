"""The reactor of all processes: Twisted's on asyncio, which notices errors of sockets on uvloop.

When the kernel reports an error of a socket, such as the reset of a client, libuv reports it once,
and uvloop polls the socket no more. Its reader is called that one time. If the client has sent data
before the error, the reader finds only the data. From then on uvloop raises RuntimeError for the
socket, and nothing would notice that the client is gone.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor


class AsyncioReactor(AsyncioSelectorReactor):
    """Polls such a socket again when it is read or written again, so that its error is found."""

    def addReader(self, reader: Any) -> None:
        self._add(super().addReader, reader)

    def addWriter(self, writer: Any) -> None:
        self._add(super().addWriter, writer)

    def _add(self, add: Callable[[Any], None], descriptor: Any) -> None:
        try:
            add(descriptor)
        except RuntimeError:
            is_reading = descriptor in self._readers
            is_writing = descriptor in self._writers
            self.removeReader(descriptor)
            self.removeWriter(descriptor)
            add(descriptor)
            if is_reading:
                self.addReader(descriptor)
            if is_writing:
                self.addWriter(descriptor)
