"""connect_socketio: a Socket.IO client for tests, in memory.

::

    async with connect_socketio("/socket.io/", user=self.anna) as client:
        self.assertEqual("received", await client.call("message", "hello"))
        self.assertEqual(["message", "anna", "hello"], await client.receive())
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from asgiref.sync import sync_to_async

from cluster.core.exceptions import Disconnected
from cluster.django.api.payloads import Payload
from cluster.socketio.bus.emits import result_of
from cluster.socketio.client.handler_runs import failure_observers
from cluster.testing.memory_client import TIMEOUT_S, Client, connect
from cluster.testing.publications import commit
from cluster.testing.socketio_conversation import (
    Answer,
    SocketIOConversation,
    with_parameters,
)


class SocketIOClient:
    """A Socket.IO client in memory. You do not create it yourself: ``connect_socketio`` returns it.

    Attributes:
        id: The id of its socket.
    """

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._conversation = SocketIOConversation(namespace)
        self._errors: list[BaseException] = []

    @property
    def id(self) -> str:
        """The id of its socket."""
        return self._conversation.id

    async def emit(self, event: str, *args: Any) -> None:
        """Send an event.

        Args:
            event: The name of the event.
            *args: JSON, with bytes at any depth.

        Raises:
            Disconnected: The client is disconnected.
        """
        await self._send(self._conversation.event(event, args))

    async def call(self, event: str, *args: Any, timeout: float = TIMEOUT_S) -> Any:
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
        await self._send(messages)
        acknowledgements = self._conversation.acknowledgements
        await self._until(lambda: number in acknowledgements, timeout)
        return result_of(acknowledgements.pop(number))

    async def receive(self, timeout: float = TIMEOUT_S) -> list[Any]:
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
        await self._until(lambda: bool(events), timeout)
        return events.popleft()

    async def nothing(self, within: float = 0.05) -> None:
        """Assert that no event arrives, and that no earlier one is left to receive.

        Args:
            within: Seconds to wait for an event.

        Raises:
            AssertionError: There is an event.
        """
        try:
            event = await self.receive(within)
        except TimeoutError:
            return
        raise AssertionError(f"there is an event: {event!r}")

    def answer(self, event: str, function: Answer) -> None:
        """Acknowledge an event when the server calls this client; ``receive`` does not return it.

        Args:
            event: The name of the event.
            function: Called with the arguments; what it returns is the acknowledgement.
        """
        self._conversation.answers[event] = function

    async def disconnected(self, timeout: float = TIMEOUT_S) -> None:
        """Wait until the server disconnects the client. Earlier events can still be received.

        Args:
            timeout: Seconds to wait.

        Raises:
            TimeoutError: The server has not disconnected it in time.
        """
        with suppress(Disconnected):
            await self._until(lambda: False, timeout)

    async def close(self) -> None:
        """Disconnect, and wait until the server knows.

        Raises:
            TimeoutError: The server does not close the connection.
        """
        await self._client.close()
        await _turns()

    async def abort(self) -> None:
        """Drop the connection, like a phone that loses its network.

        Raises:
            TimeoutError: The server does not close the connection.
        """
        await self._client.abort()
        await _turns()

    # Internal to this package.

    async def open(self, auth: Any) -> None:
        """Connect to the namespace; raises ConnectionRefused."""
        conversation = self._conversation
        await self._send(conversation.connect(auth))
        await self._until(lambda: bool(conversation.id or conversation.refused), TIMEOUT_S)
        if conversation.refused is not None:
            raise conversation.refused

    def raise_error(self) -> None:
        """Raise the error of a handler, if there was one."""
        if self._errors:
            raise self._errors.pop(0)

    def observe(self, error: BaseException) -> None:
        """A handler has raised an error."""
        self._errors.append(error)

    async def _send(self, messages: list[Payload]) -> None:
        if self._conversation.disconnected:
            raise Disconnected
        for message in messages:
            await self._client.send(message)

    async def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        await sync_to_async(commit)()
        while not condition():
            self.raise_error()
            if self._conversation.disconnected:
                raise Disconnected
            left = deadline - time.monotonic()
            try:
                message = await self._client.receive(max(0.0, min(left, 0.1)))
            except TimeoutError:
                if left <= 0:
                    raise
                continue
            for reply in self._conversation.receive(message):
                await self._client.send(reply)


async def _turns() -> None:
    """Let the handlers of a disconnect begin."""
    for _ in range(3):
        await asyncio.sleep(0)


class connect_socketio:
    """Connect to a Socket.IO server in memory: ``async with connect_socketio(path) as client``.

    The target of ``as`` is a SocketIOClient. At the end of the block it is disconnected, and the
    first error of a handler is raised, unless a method of the client has raised it already.

    Args:
        path: The path of the server, with a query string if necessary.
        namespace: The name of the namespace.
        auth: What ``on_connect`` receives as ``auth``: a dict.
        **options: Those of ``connect``: user, session, headers, cookies, origin, address, secure.

    Raises:
        ConnectionRefused: The namespace refuses the client.
        Refused: The server does not accept the handshake.
    """

    def __init__(
        self, path: str, namespace: str = "/", *, auth: Any = None, **options: Any
    ) -> None:
        self._connect = connect(with_parameters(path), **options)
        self._namespace = namespace
        self._auth = auth
        self._client: SocketIOClient | None = None

    async def __aenter__(self) -> SocketIOClient:
        client = SocketIOClient(await self._connect.__aenter__(), self._namespace)
        self._client = client
        failure_observers.append(client.observe)
        try:
            await client.open(self._auth)
        except BaseException as error:
            failure_observers.remove(client.observe)
            await self._connect.__aexit__(type(error), error, None)
            raise
        return client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        client = self._client
        assert client is not None
        try:
            await self._connect.__aexit__(kind, error, traceback)
            await _turns()
        finally:
            failure_observers.remove(client.observe)
        if error is None:
            client.raise_error()
