"""The node to which a test's clients connect: the parts of a real node, in memory.

Handshakes, handlers, topics, retained messages and presence are those of a single node. The
differences: the transport is a MemoryTransport, the clock is the event loop's, and calls of the
database pool run in the thread of the test's transaction.

A node stops with the event loop of its test, so it does not affect the next test.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

from django.test.signals import setting_changed
from twisted.python.failure import Failure

from cluster.core.exceptions import Disconnected, NotRunning
from cluster.django import conf
from cluster.django.api import backends, history_settings, topics
from cluster.django.api.backends import NodeBackend
from cluster.django.api.publication import Counts, Done, Publication
from cluster.django.handshake.dispatcher import Dispatcher
from cluster.net.loop.threads import call_in_reactor
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.connection_factory import ConnectionFactory
from cluster.node.assembly import WebSocketParts
from cluster.node.config import NodeConfig
from cluster.pubsub.local_bus import LocalBus
from cluster.testing.loop_reactor import LoopReactor
from cluster.testing.publications import RecordingPubSub

_nodes: dict[asyncio.AbstractEventLoop, "MemoryNode"] = {}


class MemoryConnection(ServerConnection):
    """Keeps the error of the application, which the test's client raises."""

    error: BaseException | None = None
    is_secure = False

    @property
    def transport_details(self) -> Any:
        """Autobahn would look for a TLS connection."""
        return SimpleNamespace(is_secure=self.is_secure)

    def fail(self, failure: Failure) -> None:
        self.error = failure.value
        super().fail(failure)


class MemoryConnectionFactory(ConnectionFactory):
    """Creates MemoryConnections."""

    protocol = MemoryConnection


class RecordingDispatcher(Dispatcher):
    """Stores the error of a handler in its connection."""

    def task(self, connection: Any) -> asyncio.Task[None] | None:
        """Return the task of a connection's handler; None after it has ended."""
        return self._tasks.get(connection)

    async def _run(self, connection: Any, websocket: Any, run: Any, args: Any, kwargs: Any) -> None:
        async def watched(*given: Any, **captured: Any) -> None:
            try:
                await run(*given, **captured)
            except Disconnected:
                raise
            except Exception as error:
                connection.error = error
                raise

        await super()._run(connection, websocket, watched, args, kwargs)


class MemoryParts(WebSocketParts):
    """The parts of a node, in memory."""

    pubsub_class = RecordingPubSub
    dispatcher_class = RecordingDispatcher
    connection_factory_class = MemoryConnectionFactory
    epoll_reader_class = None  # there are no sockets


class MemoryNode:
    """One node in memory; ``current`` returns that of the running event loop."""

    node_name = "node0"
    ask_supervisor = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._end: AsyncIterator[None] | None = None
        self.is_up: asyncio.Future[None] = loop.create_future()
        self.reactor: Any = LoopReactor(loop)
        settings = conf.load()
        config = NodeConfig(
            "test",
            settings="",  # Django is loaded already
            ping_interval=0.0,
            max_message_size=settings["MAX_MESSAGE_SIZE"],
            proxy_headers=settings["PROXY_HEADERS"],
        )
        bus = LocalBus(config.name, self.reactor)
        parts = MemoryParts(self.reactor, bus, config, settings, lambda: True)
        self.pubsub, self.connection_factory = parts.pubsub, parts.connection_factory
        self.dispatcher = cast(RecordingDispatcher, parts.dispatcher)

    @classmethod
    def current(cls) -> "MemoryNode":
        """Return the node of the running loop; the first call in a test starts it."""
        loop = asyncio.get_running_loop()
        node = _nodes.get(loop)
        if node is None:
            node = _nodes[loop] = cls(loop)
            node.start()
        return node

    @staticmethod
    def end() -> None:
        """Stop the node of the running loop, if there is one."""
        node = _nodes.get(asyncio.get_running_loop())
        if node is not None:
            node.stop()

    def start(self) -> None:
        """Start the bus, and make this the node of this process."""
        self.pubsub.on_up = lambda: topics.set_result(self.is_up)
        self.pubsub.start()
        topics.attach(self)
        # Every way to run a loop to its end (asyncio.run, Django's tests, IsolatedAsyncioTestCase)
        # closes its asynchronous generators; there is no other notification.
        self._end = self._stop_with_loop()
        self._loop.create_task(_enter(self._end))

    def stop(self) -> None:
        """Stop; this is not the node of this process any more."""
        if _nodes.get(self._loop) is self:
            del _nodes[self._loop]
            self.pubsub.stop()
            if topics.node is self:
                topics.node = None

    async def _stop_with_loop(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.stop()

    def is_reactor_thread(self) -> bool:
        """Whether the caller is in the loop's thread."""
        return threading.get_ident() == self._thread

    def in_reactor_later(self, function: Callable[[], None]) -> None:
        """Run a function in the loop's thread, without waiting for it; at once if this is that
        thread."""
        if self.is_reactor_thread():
            function()
        else:
            self.reactor.callFromThread(function)

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the loop's thread and return its result; any other thread waits for
        it."""
        if self.is_reactor_thread():
            return function(*args)
        try:
            return call_in_reactor(self.reactor, function, args)
        except NotRunning:
            raise NotRunning("the event loop of this test does not run, or is blocked") from None


async def _enter(generator: AsyncIterator[None]) -> None:
    await anext(generator)


class MemoryBackend:
    """Publishes to the node of the running event loop, and starts it if it does not run yet.

    Without a running loop there are no subscribers, so the message is dropped.
    """

    def check(self) -> None:
        """Do nothing: tests need no cluster."""

    def publish(self, publication: Publication) -> Counts:
        node = self._node()
        return (0, 0) if node is None else NodeBackend(node).publish(publication)

    def publish_later(self, publication: Publication, done: Done) -> None:
        node = self._node()
        if node is None:
            done((0, 0))
        else:
            NodeBackend(node).publish_later(publication, done)

    def _node(self) -> MemoryNode | None:
        try:
            return MemoryNode.current()
        except RuntimeError:
            return None


def forget_topics(setting: str, **more: Any) -> None:
    """Forget which topics are retained, when override_settings changes C10K."""
    if setting == "C10K":
        history_settings.forget()


backends.install(MemoryBackend())
setting_changed.connect(forget_topics)
