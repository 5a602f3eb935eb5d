"""connect: a WebSocket client for tests, in memory.

::

    async with connect("/chat/ws/", user=self.user) as client:
        await client.send_json({"message": "hello"})
        self.assertEqual({"message": ["anna", "hello"]}, await client.receive_json())
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http.request import validate_host

from cluster.django.api.payloads import Payload
from cluster.testing.conversation import Closed, Conversation, opening
from cluster.testing.cookies import cookies_of
from cluster.testing.memory_node import MemoryConnection, MemoryNode
from cluster.testing.memory_transport import MemoryTransport
from cluster.testing.publications import commit

COMMIT_S = 0.01
"""Seconds between two checks, while a client waits, for publications that wait for a commit."""

TIMEOUT_S = 5.0
"""Default timeout, in seconds. Messages usually arrive within milliseconds."""


class Client:
    """An open connection in memory. You do not create it yourself: ``connect`` returns it.

    Attributes:
        subprotocol: The subprotocol that the server chose, or None.
        headers: The headers of the server's answer, with names in lower case.
    """

    _node: MemoryNode
    _connection: MemoryConnection
    _transport: MemoryTransport

    def __init__(self) -> None:
        self.subprotocol: str | None = None
        self.headers: dict[str, str] = {}
        self._conversation = Conversation()
        self._changed = asyncio.Event()
        self._error_reported = False

    # The methods for tests.

    async def send(self, message: Payload) -> None:
        """Send a message.

        Args:
            message: A str is sent as text, bytes as binary.

        Raises:
            Disconnected: The connection is closed.
            TypeError: The message is neither str nor bytes.
        """
        await sync_to_async(commit)()  # earlier publications must arrive before this message
        self._transport.send_to_server(self._conversation.message_frame(message))
        await asyncio.sleep(0)

    async def send_json(self, value: Any) -> None:
        """Send a value as JSON text.

        Args:
            value: A value that ``json.dumps`` accepts.

        Raises:
            Disconnected: The connection is closed.
        """
        await self.send(json.dumps(value))

    async def receive(self, timeout: float = TIMEOUT_S) -> Payload:
        """Wait for the next message.

        Args:
            timeout: Seconds to wait.

        Returns:
            The message: str for text, bytes for binary.

        Raises:
            Disconnected: The server has closed the connection, and no message is left. If the
                handler raised an error, that is the ``__cause__``.
            TimeoutError: No message has arrived in time.
        """
        await sync_to_async(commit)()
        conversation = self._conversation
        await self._until(
            lambda: bool(conversation.messages or conversation.closed), "message", timeout
        )
        if not conversation.messages:
            self._error_reported = True
            conversation.raise_if_closed(self._connection.error)
        return conversation.messages.popleft()

    async def receive_json(self, timeout: float = TIMEOUT_S) -> Any:
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
        return json.loads(await self.receive(timeout))

    async def nothing(self, within: float = 0.05) -> None:
        """Assert that no message arrives, and that no earlier one is left to receive.

        Args:
            within: Seconds to wait for a message.

        Raises:
            AssertionError: There is a message.
        """
        await sync_to_async(commit)()
        await asyncio.sleep(within)
        if self._conversation.messages:
            raise AssertionError(f"there is a message: {self._conversation.messages[0]!r}")

    async def closed(self, timeout: float = TIMEOUT_S) -> Closed:
        """Wait until the server closes the connection. Earlier messages can still be received.

        Args:
            timeout: Seconds to wait.

        Returns:
            The server's close code and reason.

        Raises:
            TimeoutError: The server has not closed the connection in time.
        """
        await self._until(lambda: self._conversation.closed is not None, "close", timeout)
        assert self._conversation.closed is not None
        self._error_reported = True
        return self._conversation.closed

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, and wait until the server's handler has ended.

        Args:
            code: The close code (RFC 6455, section 7.4).
            reason: The reason, at most 123 bytes in UTF-8.

        Raises:
            TimeoutError: The handler still runs after 5 seconds.
        """
        self._transport.send_to_server(self._conversation.close_frame(code, reason))
        await self._over()

    async def abort(self) -> None:
        """Drop the connection without a closing handshake, like a phone that loses its network.

        Raises:
            TimeoutError: The handler still runs after 5 seconds.
        """
        self._transport.lose_connection()
        await self._over()

    def stop_reading(self) -> None:
        """Stop reading. The server's queue for this client fills, until ``start_reading``."""
        self._transport.client_reads(False)

    def start_reading(self) -> None:
        """Resume reading after ``stop_reading``."""
        self._transport.client_reads(True)

    # Internal to this package.

    async def open(
        self, node: MemoryNode, request: bytes, peer: tuple[str, int], secure: bool
    ) -> None:
        """Connect; raises Refused if the server does not accept."""
        self._transport = MemoryTransport(asyncio.get_running_loop(), self._data_received, peer)
        self._node = node
        self._connection = node.connection_factory.buildProtocol(None)
        self._connection.is_secure = secure
        self._transport.start(self._connection)
        self._transport.send_to_server(request)
        conversation = self._conversation
        await self._until(
            lambda: bool(conversation.answer or conversation.is_over), "answer", TIMEOUT_S
        )
        answer = conversation.accepted()
        self.subprotocol = answer.header("sec-websocket-protocol")
        self.headers = {name.lower(): value for name, value in answer.headers}

    def _data_received(self, data: bytes, ended: bool) -> None:
        reply = self._conversation.receive_data(data, ended)
        if reply:
            self._transport.send_to_server(reply)
        self._changed.set()

    def raise_unseen(self) -> None:
        """Raise the handler's error, unless a method of this client has reported it to the test."""
        if self._connection.error is not None and not self._error_reported:
            raise self._connection.error

    async def _over(self) -> None:
        await self._until(lambda: self._conversation.is_over, "end of the connection", TIMEOUT_S)
        task = self._node.dispatcher.task(self._connection)
        if task is not None:
            _, running = await asyncio.wait([task], timeout=TIMEOUT_S)
            if running:
                raise TimeoutError(f"the handler still runs {TIMEOUT_S} s after its client left")

    async def _until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            self._changed.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {what} within {timeout} s")
            try:
                await asyncio.wait_for(self._changed.wait(), min(left, COMMIT_S))
            except TimeoutError:
                # A publication of the application may wait for a commit.
                await sync_to_async(commit)()


class connect:
    """Connect to a handler in memory: ``async with connect(path) as client``.

    The target of ``as`` is a Client. At the end of the block the connection is closed with 1000,
    and an error of the handler is raised, unless ``receive`` or ``closed`` has reported it already.

    Args:
        path: The URL's path, with a query string if necessary.
        user: The user to log in; the configured session engine saves the session.
        session: Values for the session.
        headers: Further headers of the handshake.
        cookies: A dict, or the ``cookies`` of Django's test client.
        subprotocols: The subprotocols that the client offers, best first.
        origin: The Origin header that a browser sends. The server does not check the origin of a
            client that sends none.
        address: The client's IP address.
        secure: Whether the connection is treated as one over TLS.

    Raises:
        Refused: The server does not accept the handshake.
    """

    def __init__(
        self,
        path: str,
        *,
        user: Any = None,
        session: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, Any] | None = None,
        subprotocols: Sequence[str] = (),
        origin: str | None = None,
        address: str = "127.0.0.1",
        secure: bool = False,
    ) -> None:
        self._path = path
        self._user = user
        self._session = session
        self._headers = dict(headers or {})
        self._cookies = cookies
        self._subprotocols = subprotocols
        self._origin = origin
        self._peer = (address, 40000)
        self._secure = secure
        self._client = Client()

    async def __aenter__(self) -> Client:
        node = MemoryNode.current()
        await node.is_up
        await sync_to_async(commit)()
        cookies = await cookies_of(self._user, self._session, self._cookies)
        request = opening(
            self._path, default_host(), self._headers, cookies, self._subprotocols, self._origin
        )
        await self._client.open(node, request, self._peer, self._secure)
        return self._client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            await self._client.abort()
        else:
            await self._client.close()
            self._client.raise_unseen()


def default_host() -> str:
    """Return a Host that ALLOWED_HOSTS accepts; in Django's tests that of Django's test client."""
    return "testserver" if validate_host("testserver", settings.ALLOWED_HOSTS) else "localhost"
