"""LiveClient: a blocking WebSocket client through a real socket."""

import json
import socket
import time
from types import TracebackType
from typing import Any

from cluster.django.api.topics import Payload
from cluster.testing.client import TIMEOUT_S
from cluster.testing.conversation import Closed, Conversation


class LiveClient:
    """One connection, open. All ``timeout`` are seconds, after which TimeoutError is raised.

    Like ``Client``, but its methods block; made by ``LiveClusterTestCase.connect``.
    """

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        """Connect; raises Refused."""
        self._talk = Conversation()
        self._socket = socket.create_connection(address, TIMEOUT_S)
        try:
            self._socket.sendall(request)
            self._hear_until(lambda: self._talk.answer or self._talk.is_over, "answer", TIMEOUT_S)
            answer = self._talk.accepted()
        except BaseException:
            self._socket.close()
            raise
        self.subprotocol = answer.header("sec-websocket-protocol")
        self.headers = {name.lower(): value for name, value in answer.headers}

    def send(self, message: Payload) -> None:
        """Send str as text, bytes as binary. Raises Disconnected if the connection is closed."""
        self._socket.sendall(self._talk.say(message))

    def send_json(self, value: Any) -> None:
        """Send a value as JSON text."""
        self.send(json.dumps(value))

    def receive(self, timeout: float = TIMEOUT_S) -> Payload:
        """The next message. Raises Disconnected if the server closed and none is left."""
        self._hear_until(lambda: self._talk.messages or self._talk.closed, "message", timeout)
        if not self._talk.messages:
            self._talk.raise_if_closed()
        return self._talk.messages.popleft()

    def receive_json(self, timeout: float = TIMEOUT_S) -> Any:
        """The next message, decoded from JSON."""
        return json.loads(self.receive(timeout))

    def closed(self, timeout: float = TIMEOUT_S) -> Closed:
        """Wait until the server closes; how it did. Messages before that stay to be received."""
        self._hear_until(lambda: self._talk.closed, "close", timeout)
        assert self._talk.closed is not None
        return self._talk.closed

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait for the server's answer."""
        try:
            if not self._talk.is_over:
                self._socket.sendall(self._talk.close(code, reason))
                self._hear_until(lambda: self._talk.is_over, "end of the connection", TIMEOUT_S)
        finally:
            self._socket.close()

    def abort(self) -> None:
        """Lose the connection without a closing handshake, like a phone in a tunnel."""
        self._socket.close()

    def __enter__(self) -> "LiveClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.abort()
        elif self._socket.fileno() >= 0:
            self.close()

    def _hear_until(self, condition: Any, what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {what} within {timeout} s")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                data = b""
            reply = self._talk.hear(data, ended=not data)
            if reply:
                self._socket.settimeout(TIMEOUT_S)
                self._socket.sendall(reply)
