"""LiveClient: a blocking WebSocket client through a real socket."""

import json
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from cluster.django.api.payloads import Payload
from cluster.testing.conversation import Closed, Conversation
from cluster.testing.memory_client import TIMEOUT_S


class LiveClient:
    """An open connection through a real socket, whose methods block.

    You do not create it yourself: ``LiveClusterTestCase.connect`` returns it. A ``with`` block
    closes it at its end.

    Attributes:
        subprotocol: The subprotocol that the server chose, or None.
        headers: The headers of the server's answer, with names in lower case.
    """

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        """Connect; raises Refused if the server does not accept."""
        self._conversation = Conversation()
        self._socket = socket.create_connection(address, TIMEOUT_S)
        try:
            self._socket.sendall(request)
            self._receive_until(
                lambda: self._conversation.answer or self._conversation.is_over, "answer", TIMEOUT_S
            )
            answer = self._conversation.accepted()
        except BaseException:
            self._socket.close()
            raise
        self.subprotocol = answer.header("sec-websocket-protocol")
        self.headers = {name.lower(): value for name, value in answer.headers}

    def send(self, message: Payload) -> None:
        """Send a message.

        Args:
            message: A str is sent as text, bytes as binary.

        Raises:
            Disconnected: The connection is closed.
            TypeError: The message is neither str nor bytes.
        """
        self._socket.sendall(self._conversation.message_frame(message))

    def send_json(self, value: Any) -> None:
        """Send a value as JSON text.

        Args:
            value: A value that ``json.dumps`` accepts.

        Raises:
            Disconnected: The connection is closed.
        """
        self.send(json.dumps(value))

    def receive(self, timeout: float = TIMEOUT_S) -> Payload:
        """Wait for the next message.

        Args:
            timeout: Seconds to wait.

        Returns:
            The message: str for text, bytes for binary.

        Raises:
            Disconnected: The server has closed the connection, and no message is left.
            TimeoutError: No message has arrived in time.
        """
        self._receive_until(
            lambda: self._conversation.messages or self._conversation.closed, "message", timeout
        )
        if not self._conversation.messages:
            self._conversation.raise_if_closed()
        return self._conversation.messages.popleft()

    def receive_json(self, timeout: float = TIMEOUT_S) -> Any:
        """Wait for the next message and decode it from JSON.

        Args:
            timeout: Seconds to wait.

        Returns:
            The decoded value.

        Raises:
            Disconnected: The server has closed the connection, and no message is left.
            TimeoutError: No message has arrived in time.
            ValueError: The message is not JSON.
        """
        return json.loads(self.receive(timeout))

    def closed(self, timeout: float = TIMEOUT_S) -> Closed:
        """Wait until the server closes the connection. Earlier messages can still be received.

        Args:
            timeout: Seconds to wait.

        Returns:
            The server's close code and reason.

        Raises:
            TimeoutError: The server has not closed the connection in time.
        """
        self._receive_until(lambda: self._conversation.closed, "close", timeout)
        assert self._conversation.closed is not None
        return self._conversation.closed

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, and wait for the server's answer.

        Args:
            code: The close code (RFC 6455, section 7.4).
            reason: The reason, at most 123 bytes in UTF-8.

        Raises:
            TimeoutError: The server has not answered within 5 seconds.
        """
        try:
            if not self._conversation.is_over:
                self._socket.sendall(self._conversation.close_frame(code, reason))
                self._receive_until(
                    lambda: self._conversation.is_over, "end of the connection", TIMEOUT_S
                )
        finally:
            self._socket.close()

    def abort(self) -> None:
        """Drop the connection without a closing handshake, like a phone that loses its network."""
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

    def _receive_until(self, condition: Callable[[], object], what: str, timeout: float) -> None:
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
            reply = self._conversation.receive_data(data, ended=not data)
            if reply:
                self._socket.settimeout(TIMEOUT_S)
                self._socket.sendall(reply)
