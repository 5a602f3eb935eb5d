"""A file as the body of a response, read as fast as the client reads.

On a plain TCP connection the kernel copies the file to the socket (sendfile). Under TLS the file is
read in pieces. Either way a turn of the event loop sends at most PIECE bytes of one file, plus what
is in the buffers already.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

from cluster.net.unbuffered_output import transport_bytes

PIECE = 1 << 20
"""Bytes that are sent of one file in one turn. The kernel takes as many as fit in its buffer; each
further turn of a file costs about as much as a small response."""


class File(Protocol):
    """What is needed of a file."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


def _nothing() -> None:
    pass


_NO_DESCRIPTOR = [("Retry-After", "1"), ("Content-Length", "0")]


def answer_with_file(
    request: Any,
    file: File,
    offset: int,
    size: int,
    code: int,
    phrase: str,
    headers: Sequence[tuple[str, str]],
    on_broken: Callable[[], object] = _nothing,
) -> None:
    """Answer a request with a part of a file, or with 503 if the node has no descriptor for it.

    Args:
        request: A BoundedRequest, whose client has not left.
        file: As of a FileBody.
        offset: The position in the file where the part begins.
        size: The bytes to send, at least one.
        code: The status.
        phrase: Its reason phrase.
        headers: As of ``request.begin_answer``.
        on_broken: As of a FileBody.
    """
    if not request.site.sockets.fits(file.fileno()):
        file.close()
        request.answer(503, "Service Unavailable", _NO_DESCRIPTOR, b"")
        return
    request.begin_answer(code, phrase, headers)
    FileBody(request, file, offset, size, on_broken).start()


@implementer(IPushProducer)
class FileBody:
    """Sends a part of a file, then finishes the request.

    The header of the response must be written already. A file that ends too early breaks the
    connection, because the client cannot distinguish the bytes that follow from the file's.

    Args:
        request: The request, whose ``finish`` is called at the end.
        file: An open file of the operating system; it is closed in every case, once.
        offset: The position in the file where the part begins.
        size: The bytes to send.
        on_broken: Called if the file cannot be read, or ends too early.
    """

    def __init__(
        self,
        request: Any,
        file: File,
        offset: int,
        size: int,
        on_broken: Callable[[], object] = _nothing,
    ) -> None:
        self._request = request
        self._channel = request.channel
        self._file = file
        self._descriptor = file.fileno()
        self._is_open = True
        self._left = size
        self._offset = offset
        self._on_broken = on_broken
        self._is_paused = False
        transport = self._channel.transport
        is_plain = isinstance(transport, Connection) and not getattr(transport, "TLS", False)
        self._send = self._by_kernel if is_plain else self._by_copy
        self._is_registered = False

    def start(self) -> None:
        """Begin to send."""
        if self._send == self._by_kernel:
            self._by_kernel()
        else:
            self._register()
            self._by_copy()

    def _register(self) -> None:
        """Become the producer of the transport, for what it does not take at once."""
        self._is_registered = True
        self._request.registerProducer(self, True)
        self._channel.watch_reader()

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._send()

    def stopProducing(self) -> None:
        """The client has left."""
        self._left = 0
        self._close()

    def _by_kernel(self) -> None:
        transport: Any = self._channel.transport
        if self._left and not transport_bytes(transport):
            try:
                sent = os.sendfile(
                    transport.fileno(), self._descriptor, self._offset, min(self._left, PIECE)
                )
            except BlockingIOError:
                pass
            except OSError:
                self._break()
                return
            else:
                if not sent:
                    self._break()
                    return
                self._offset += sent
                self._request.sentLength += sent
                self._left -= sent
        if self._left:
            if not self._is_registered:
                self._register()
            self._wait_for(transport)
        else:
            self._finish()

    def _wait_for(self, transport: Any) -> None:
        """Continue when the socket can take more: Twisted resumes a paused producer when its own
        buffers are empty and the socket is writable."""
        transport.producerPaused = True
        self._channel.pauseProducing()
        transport.startWriting()

    def _by_copy(self) -> None:
        while self._left and not self._is_paused:
            try:
                piece = os.pread(self._descriptor, min(self._left, PIECE), self._offset)
            except OSError:
                piece = b""
            if not piece:
                self._break()
                return
            self._offset += len(piece)
            self._left -= len(piece)
            self._request.write(piece)
        if not self._left and self._is_open:
            self._finish()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._file.close()

    def _finish(self) -> None:
        self._close()
        if self._is_registered:
            self._request.unregisterProducer()
        self._request.finish()

    def _break(self) -> None:
        """End the connection, which shows the client that the body is incomplete."""
        self._on_broken()
        self._close()
        self._left = 0
        if self._is_registered:
            self._request.unregisterProducer()
        self._channel.forceAbortClient()
