"""LiveSocketIOClient: a blocking Socket.IO client through a real socket."""

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from cluster.core.exceptions import Disconnected
from cluster.django.api.payloads import Payload
from cluster.socketio.bus.emits import result_of
from cluster.testing.live.client import LiveClient
from cluster.testing.memory_client import TIMEOUT_S
from cluster.testing.socketio_conversation import Answer, SocketIOConversation


class LiveSocketIOClient:
    """A Socket.IO client through a real socket, whose methods block.

    You do not create it yourself: ``LiveClusterTestCase.connect_socketio`` returns it. A ``with``
    block closes it at its end.

    Attributes:
        id: The id of its socket.
    """

    def __init__(self, client: LiveClient, namespace: str, auth: Any) -> None:
        """Connect to the namespace; raises ConnectionRefused."""
        self._client = client
        conversation = self._conversation = SocketIOConversation(namespace)
        self._send(conversation.connect(auth))
        self._until(lambda: bool(conversation.id or conversation.refused), TIMEOUT_S)
        if conversation.refused is not None:
            client.close()
            raise conversation.refused

    @property
    def id(self) -> str:
        """The id of its socket."""
        return self._conversation.id

    def emit(self, event: str, *args: Any) -> None:
        """Send an event.

        Args:
            event: The name of the event.
            *args: JSON, with bytes at any depth.

        Raises:
            Disconnected: The client is disconnected.
        """
        self._send(self._conversation.event(event, args))

    def call(self, event: str, *args: Any, timeout: float = TIMEOUT_S) -> Any:
        """Send an event, and wait for its acknowledgement.

        Args:
            event: The name of the event.
            *args: JSON, with bytes at any depth.
            timeout: Seconds to wait.

        Returns:
            What the handler returned: None, one value, or a tuple of several.

        Raises:
            Disconnected: The client is disconnected.
            TimeoutError: There is no acknowledgement in time.
        """
        number, messages = self._conversation.call(event, args)
        self._send(messages)
        acknowledgements = self._conversation.acknowledgements
        self._until(lambda: number in acknowledgements, timeout)
        return result_of(acknowledgements.pop(number))

    def receive(self, timeout: float = TIMEOUT_S) -> list[Any]:
        """Wait for the next event.

        Args:
            timeout: Seconds to wait.

        Returns:
            The name of the event and its arguments, in one list.

        Raises:
            Disconnected: The client is disconnected, and no event is left.
            TimeoutError: No event has arrived in time.
        """
        events = self._conversation.events
        self._until(lambda: bool(events), timeout)
        return events.popleft()

    def answer(self, event: str, function: Answer) -> None:
        """Acknowledge an event when the server calls this client; ``receive`` does not return it.

        Args:
            event: The name of the event.
            function: Called with the arguments; what it returns is the acknowledgement.
        """
        self._conversation.answers[event] = function

    def disconnected(self, timeout: float = TIMEOUT_S) -> None:
        """Wait until the server disconnects the client. Earlier events can still be received.

        Args:
            timeout: Seconds to wait.

        Raises:
            TimeoutError: The server has not disconnected it in time.
        """
        with suppress(Disconnected):
            self._until(lambda: False, timeout)

    def close(self) -> None:
        """Close the connection, and wait for the server's answer."""
        self._client.close()

    def __enter__(self) -> "LiveSocketIOClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, messages: list[Payload]) -> None:
        if self._conversation.disconnected:
            raise Disconnected
        for message in messages:
            self._client.send(message)

    def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if self._conversation.disconnected:
                raise Disconnected
            message = self._client.receive(max(0.0, deadline - time.monotonic()))
            for reply in self._conversation.receive(message):
                self._client.send(reply)
