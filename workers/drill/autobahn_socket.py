"""The WebSocket of websocket.py, by Autobahn."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol

from workers.drill.socket import Lost

CONNECT_SECONDS = 3.0
"""For the handshake. A connection may wait in the queue of a killed process, while another attempt
may reach a running one."""


class AutobahnSocket(WebSocketClientProtocol):
    """One connection."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = False
        self._messages: asyncio.Queue[str | bytes | Lost] = asyncio.Queue()

    def send(self, text: str) -> None:
        """Send a text message; ignored when the connection has ended."""
        if self.state == self.STATE_OPEN:
            self.sendMessage(text.encode())

    async def receive(self) -> str | bytes:
        """Wait for the next message. Raises Lost."""
        message = await self._messages.get()
        if isinstance(message, Lost):
            self._messages.put_nowait(message)
            raise message
        return message

    def abort(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def onOpen(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._messages.put_nowait(payload if isBinary else payload.decode())

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        lost = Lost(f"{code} {reason or ''}".strip())
        self.ended = True
        if not self.opened.done():
            self.opened.set_exception(lost)
        self._messages.put_nowait(lost)


async def open_socket(
    url: str, *protocols: str, headers: Mapping[str, str] | None = None
) -> AutobahnSocket:
    """Open a connection. headers: further ones of the request. Raises Lost."""
    parts = urlsplit(url)
    factory = WebSocketClientFactory(url, protocols=list(protocols), headers=dict(headers or {}))
    factory.protocol = AutobahnSocket
    factory.setProtocolOptions(openHandshakeTimeout=CONNECT_SECONDS, closeHandshakeTimeout=1)
    loop = asyncio.get_running_loop()
    socket: Any = None
    try:
        _, socket = await loop.create_connection(factory, str(parts.hostname), parts.port or 80)
        await asyncio.wait_for(socket.opened, CONNECT_SECONDS)
    except (OSError, TimeoutError) as error:
        if socket is not None:
            socket.abort()
        raise Lost(str(error)) from None
    opened: AutobahnSocket = socket
    return opened
