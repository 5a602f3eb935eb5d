"""connect: a test's WebSocket client, in memory.

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

from cluster.django.api.topics import Payload
from cluster.testing.conversation import Closed, Conversation, opening
from cluster.testing.publications import commit
from cluster.testing.site import Site
from cluster.testing.transport import MemoryTransport
from cluster.testing.visitors import cookies_of

COMMIT_S = 0.01
"""How often a client that waits looks for publications that wait for a commit."""

TIMEOUT_S = 5.0
"""After how long a test gives up: what it waits for takes milliseconds, unless it never comes."""


class Client:
    """One connection, open; made by ``connect``.

    ``subprotocol``: the one agreed on, or None · ``headers``: of the server's answer, names in
    lower case. All ``timeout`` are seconds, after which TimeoutError is raised.
    """

    def __init__(self) -> None:
        self.subprotocol: str | None = None
        self.headers: dict[str, str] = {}
        self._conversation = Conversation()
        self._changed = asyncio.Event()
        self._told = False
        self._site: Any = None
        self._connection: Any = None
        self._transport: Any = None

    # What a test does.

    async def send(self, message: Payload) -> None:
        """Send str as text, bytes as binary. Raises Disconnected if the connection is closed."""
        await sync_to_async(commit)()  # what was published before comes before
        self._transport.say(self._conversation.say(message))
        await asyncio.sleep(0)

    async def send_json(self, value: Any) -> None:
        """Send a value as JSON text."""
        await self.send(json.dumps(value))

    async def receive(self, timeout: float = TIMEOUT_S) -> Payload:
        """The next message. Raises Disconnected if the server closed and none is left.

        If a handler that raised is the reason, its error is the ``__cause__``.
        """
        await sync_to_async(commit)()
        talk = self._conversation
        await self._until(lambda: bool(talk.messages or talk.closed), "message", timeout)
        if not talk.messages:
            self._told = True
            talk.raise_if_closed(self._connection.error)
        return talk.messages.popleft()

    async def receive_json(self, timeout: float = TIMEOUT_S) -> Any:
        """The next message, decoded from JSON."""
        return json.loads(await self.receive(timeout))

    async def nothing(self, within: float = 0.05) -> None:
        """Wait ``within`` seconds; AssertionError if there is a message that nobody received."""
        await sync_to_async(commit)()
        await asyncio.sleep(within)
        if self._conversation.messages:
            raise AssertionError(f"there is a message: {self._conversation.messages[0]!r}")

    async def closed(self, timeout: float = TIMEOUT_S) -> Closed:
        """Wait until the server closes; how it did. Messages before that stay to be received."""
        await self._until(lambda: self._conversation.closed is not None, "close", timeout)
        assert self._conversation.closed is not None
        self._told = True
        return self._conversation.closed

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait until the server's handler has ended."""
        self._transport.say(self._conversation.close(code, reason))
        await self._over()

    async def abort(self) -> None:
        """Lose the connection without a closing handshake, like a phone in a tunnel."""
        self._transport.hang_up()
        await self._over()

    def stop_reading(self) -> None:
        """From now on take nothing from the server, whose queue for this client fills."""
        self._transport.client_reads(False)

    def start_reading(self) -> None:
        """Take everything again."""
        self._transport.client_reads(True)

    # Inside.

    async def open(self, site: Site, request: bytes, peer: tuple[str, int], secure: bool) -> None:
        """Connect; raises Refused."""
        self._transport = MemoryTransport(asyncio.get_running_loop(), self._heard, peer)
        self._site = site
        self._connection = site.connection_factory.buildProtocol(None)
        self._connection.is_secure = secure
        self._transport.start(self._connection)
        self._transport.say(request)
        talk = self._conversation
        await self._until(lambda: bool(talk.answer or talk.is_over), "answer", TIMEOUT_S)
        answer = talk.accepted()
        self.subprotocol = answer.header("sec-websocket-protocol")
        self.headers = {name.lower(): value for name, value in answer.headers}

    def _heard(self, data: bytes, ended: bool) -> None:
        reply = self._conversation.hear(data, ended)
        if reply:
            self._transport.say(reply)
        self._changed.set()

    def raise_unseen(self) -> None:
        """Raise what the application raised, if no method has told the test so far."""
        if self._connection.error is not None and not self._told:
            raise self._connection.error

    async def _over(self) -> None:
        await self._until(lambda: self._conversation.is_over, "end of the connection", TIMEOUT_S)
        task = self._site.dispatcher.task(self._connection)
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
                # What is awaited may be waiting for a commit, on the application's part.
                await sync_to_async(commit)()


class connect:
    """``async with connect(path) as client``: a Client, closed 1000 at the end of the block.

    ``path`` may have a query string. ``user`` logs this user in, ``session`` is a dict that the
    session has; both are kept by the configured session engine. ``cookies`` are a dict, or the
    ``cookies`` of Django's test client. ``subprotocols`` are offered in this order; ``origin`` is
    what a browser would say; without one the client is a program, whose origin is not checked.
    ``address`` is the client's; ``secure`` says that it came over TLS.

    Raises Refused if the server does not accept. The end of the block raises what the handler
    raised, unless ``receive`` or ``closed`` have told of it.
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
        site = Site.current()
        await site.is_up
        await sync_to_async(commit)()
        cookies = await cookies_of(self._user, self._session, self._cookies)
        request = opening(
            self._path, default_host(), self._headers, cookies, self._subprotocols, self._origin
        )
        await self._client.open(site, request, self._peer, self._secure)
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
    """A Host that ALLOWED_HOSTS has: that of Django's test client, in Django's tests."""
    return "testserver" if validate_host("testserver", settings.ALLOWED_HOSTS) else "localhost"
