"""A response in pieces from a thread, which waits while its client reads more slowly.

``write`` is called in the thread. It returns at once as long as less than AHEAD bytes wait for the
event loop and the connection's buffers are not full. Otherwise it waits until the client has read,
or is gone: a client that reads nothing is disconnected (http_channel.py).
"""

from threading import Condition
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from cluster.node.responses.header import http_date

AHEAD = 64 * 1024
"""Bytes that may wait for the event loop."""


@implementer(IPushProducer)
class Stream:
    """The body of a response whose end is not known when it begins.

    Args:
        reactor: The reactor of the node.
        request: The request. Its methods are called in the event loop only.
        head: Status, reason phrase and headers.
    """

    def __init__(
        self, reactor: Any, request: Any, head: tuple[int, str, list[tuple[str, str]]]
    ) -> None:
        self._reactor = reactor
        self._request = request
        self._head = head
        self._changed = Condition()
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._is_full = False
        self._is_scheduled = False
        self._has_ended = False
        request.on_gone = self._gone

    def write(self, data: bytes) -> None:
        """Send a piece, or drop it if the client has left."""
        with self._changed:
            while (self._is_full or self._waiting >= AHEAD) and not self._request.is_gone:
                self._changed.wait()
            self._pieces.append(data)
            self._waiting += len(data)
            self._schedule()

    def end(self) -> None:
        """All pieces are written."""
        with self._changed:
            self._has_ended = True
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._reactor.callFromThread(self._deliver)

    # In the event loop.

    def _deliver(self) -> None:
        request = self._request
        with self._changed:
            pieces, self._pieces = self._pieces, []
            self._waiting = 0
            self._is_scheduled = False
            has_ended = self._has_ended
            if not request.is_gone:
                if not request.startedWriting:
                    self._begin(*self._head)
                request.write(b"".join(pieces))
            self._changed.notify_all()
        if has_ended and not request.is_gone:
            request.unregisterProducer()
            request.finish()

    def _begin(self, code: int, phrase: str, headers: list[tuple[str, str]]) -> None:
        request = self._request
        request.setResponseCode(code, phrase.encode("latin-1"))
        for name, value in headers:
            request.responseHeaders.addRawHeader(name.encode("latin-1"), value.encode("latin-1"))
        request.responseHeaders.setRawHeaders(b"date", [http_date().encode("ascii")])
        request.registerProducer(self, True)
        request.channel.watch_reader()

    def _gone(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def pauseProducing(self) -> None:
        with self._changed:
            self._is_full = True

    def resumeProducing(self) -> None:
        with self._changed:
            self._is_full = False
            self._changed.notify_all()

    def stopProducing(self) -> None:
        """The client has left; _gone is called, too."""
