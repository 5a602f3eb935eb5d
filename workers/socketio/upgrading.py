"""A connection of Engine.IO that begins with long polling and continues on a WebSocket.

As clients do: a WebSocket with the id of the session sends a probe; when it is answered, polling
pauses, and the WebSocket sends the packet "upgrade".
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from workers.connection.failure_reasons import why_not_connected
from workers.connection.websocket import Connection
from workers.socketio.http_responses import Response
from workers.socketio.polling import LOST, Dial, PollingConnection

PROBE, PROBED, UPGRADE = b"2probe", b"3probe", b"5"


class UpgradingConnection(PollingConnection):
    """One connection; `upgraded` is called when it has changed to the WebSocket.

    dial_websocket: opens a WebSocket with the id of a session.
    """

    upgraded: Callable[[], None]

    def __init__(
        self,
        reactor: Any,
        dial: Dial,
        dial_websocket: Callable[[str], Deferred[Connection]],
        path: str,
        host: str,
        timeout: float,
    ) -> None:
        super().__init__(reactor, dial, path, host, timeout)
        self._dial_websocket = dial_websocket
        self._websocket: Connection | None = None
        self._is_pausing = self._is_upgraded = False

    def send(self, packet: bytes) -> None:
        if self._is_upgraded and self._websocket is not None:
            self._websocket.send(packet)
        else:
            super().send(packet)

    def close(self, code: int = 1000) -> None:
        if self._is_upgraded and self._websocket is not None:
            self._websocket.close(code)
        else:
            super().close(code)

    def _handshake(self, packet: bytes) -> None:
        super()._handshake(packet)
        if self._is_open:
            sid = self._path.rpartition("&sid=")[2]
            self._dial_websocket(sid).addCallbacks(self._connected, self._not_connected)

    def _not_connected(self, failure: Failure) -> None:
        self._fail(f"upgrade: {why_not_connected(failure.value)}")

    def _connected(self, websocket: Connection) -> None:
        websocket.opened = lambda: websocket.send(PROBE)
        websocket.received = self._probed
        websocket.closed = self._websocket_closed
        self._websocket = websocket
        if self._is_closed:
            websocket.abort()

    def _probed(self, packets: Sequence[bytes]) -> None:
        if packets[0] != PROBED:
            self._fail(f"upgrade: not the answer to the probe: {packets[0][:40]!r}")
            return
        self._is_pausing = True
        self._change()

    def _poll(self) -> None:
        if self._is_pausing:
            self._change()
        else:
            super()._poll()

    def _post(self) -> None:
        if not self._is_pausing:
            super()._post()

    def _posted(self, response: Response) -> None:
        super()._posted(response)
        if self._is_pausing:
            self._change()

    def _polled(self, response: Response) -> None:
        # The packets of the last GET come before those of the WebSocket, whose first read is later.
        super()._polled(response)

    def _change(self) -> None:
        """Continue on the WebSocket, when no request is waiting any more."""
        websocket = self._websocket
        if websocket is None or self._is_closed or self._is_upgraded:
            return
        if self._gets.is_waiting or self._posts.is_waiting:
            return
        self._is_upgraded = True
        websocket.send(UPGRADE)
        for packet in self._out:
            websocket.send(packet)
        self._out.clear()
        websocket.received = self._received
        self.upgraded()

    def _received(self, packets: Sequence[bytes]) -> None:
        self.received(packets)

    def _websocket_closed(self, code: int, reason: str, was_clean: bool) -> None:
        if self._is_upgraded:
            self._end(code, reason, was_clean)
        elif not self._is_closed:
            self._end(LOST, f"upgrade: {reason}", False)

    def _end(self, code: int, reason: str, was_clean: bool) -> None:
        super()._end(code, reason, was_clean)
        if self._websocket is not None:
            self._websocket.abort()
