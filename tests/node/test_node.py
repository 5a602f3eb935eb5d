"""Tests of cluster.node.node: start, readiness, statistics, stop."""

import asyncio
import gc
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from django.apps import apps
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.asgi import async_views
from cluster.asgi.lifespan import StartupFailed
from cluster.core import wire
from cluster.core.exceptions import ConfigurationError, NotRunning
from cluster.core.wire.external_publisher import Accepted, Greeting, Publish, encode
from cluster.django.api import topics
from cluster.django.api.database_threads import ain_database
from cluster.django.external.node_lookup import site_name
from cluster.django.handlers.handler_decorator import Handler
from cluster.net.accepting.port import Port
from cluster.net.loop import threads
from cluster.net.websocket.frames import text_frame
from cluster.node import drain
from cluster.node.config import ListeningSocket, NodeConfig
from cluster.node.node import Node
from cluster.pubsub.pubsub import PubSub
from tests.django.site import load_site
from tests.fakes import RecordingTransport
from tests.net.websocket.wire import close, request, text


class UnixPort:
    """The port of external publishers."""

    def __init__(self) -> None:
        self.connected = True

    def stopListening(self) -> "Deferred[None]":
        self.connected = False
        return succeed(None)


class Reactor(Clock):
    """A clock that records ports and readers."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Any] = []
        self.readers: list[Any] = []
        self.from_thread: list[tuple[Any, ...]] = []
        self.on_call_from_thread: Callable[[], object] = lambda: None

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)
        if isinstance(reader, Port):
            self.ports.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def listenUNIX(self, path: str, factory: Any, mode: int) -> UnixPort:
        self.publish_factory = factory
        self.ports.append(UnixPort())
        return self.ports[-1]

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        self.from_thread.append((function, *args))
        self.on_call_from_thread()


class RecordingLifespans:
    """ASGI applications that start when the test sets ``answer``."""

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[str] = []
        self.answer = asyncio.Event()
        self._error = error

    async def startup(self) -> None:
        self.events.append("startup")
        await self.answer.wait()
        if self._error is not None:
            raise self._error

    async def shutdown(self, seconds: float) -> None:
        self.events.append("shutdown")


class NodeTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.patch(topics, "node", None)
        self.patch(topics, "_listeners", [])
        self.patch(os, "environ", {**os.environ})
        self.patch(gc, "freeze", lambda: None)
        self.patch(gc, "set_threshold", lambda *thresholds: None)
        self.patch(sys, "setswitchinterval", lambda seconds: None)
        self.lifespans: list[Any] = []
        self.patch(async_views, "Lifespans", lambda mounts: self.lifespans)
        self.reactor = Reactor()
        self.config = NodeConfig(name="node0", settings="django_project.settings")

    def make(self, **changes: Any) -> Node:
        listening = socket.create_server(("127.0.0.1", 0))
        fd = os.dup(listening.fileno())
        listening.close()
        values = {name: getattr(self.config, name) for name in NodeConfig.__slots__}
        config = NodeConfig(**{**values, **changes})
        listening = ListeningSocket(fd, socket.AF_INET, "tcp:0:interface=127.0.0.1")
        return Node(config, [listening], self.reactor)

    def start(self, **changes: Any) -> Node:
        node = self.make(**changes)
        node.startService()
        node.websockets.end_of_turn.budget.now = self.reactor.seconds
        self.assertNoResult(node.ready)
        self.reactor.advance(0)
        self.successResultOf(node.ready)
        return node

    def stop(self, node: Node) -> None:
        stopped = node.stopService()
        self.reactor.pump([0.1] * 5)
        self.successResultOf(stopped)

    def test_applications_start_before_the_ports_are_open_and_end_after_the_clients(self) -> None:
        async def run() -> None:
            applications = RecordingLifespans()
            self.patch(async_views, "Lifespans", lambda mounts: applications)
            node = self.make()
            node.startService()
            self.reactor.advance(0)
            await asyncio.sleep(0)
            self.assertEqual((applications.events, self.reactor.ports), (["startup"], []))
            self.assertNoResult(node.ready)
            applications.answer.set()
            await self.handlers_end()
            self.successResultOf(node.ready)
            self.assertEqual(len(self.reactor.ports), 1)
            stopped = node.stopService()
            self.reactor.pump([0.1] * 5)
            await self.handlers_end()
            self.reactor.pump([0.1] * 5)
            self.successResultOf(stopped)
            self.assertEqual(applications.events, ["startup", "shutdown"])

        asyncio.run(run())

    def test_an_application_that_cannot_start_keeps_the_node_from_starting(self) -> None:
        async def run() -> None:
            applications = RecordingLifespans(StartupFailed("no database"))
            applications.answer.set()
            self.patch(async_views, "Lifespans", lambda mounts: applications)
            node = self.make()
            node.startService()
            self.reactor.advance(0)
            await self.handlers_end()
            self.failureResultOf(node.ready, StartupFailed)
            self.assertEqual(self.reactor.ports, [])

        asyncio.run(run())

    async def handlers_end(self) -> None:
        """Run the loop until the handlers have noticed that their clients are gone."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def leave(self, connections: Iterable[Any]) -> None:
        """The clients of these connections leave, and their handlers end."""
        for connection in list(connections):
            connection.connectionLost(Failure(ConnectionLost()))
        await self.handlers_end()

    async def ends(self, stopped: "Deferred[None]", connections: Iterable[Any]) -> None:
        """The last clients of a node that stops leave; then it ends."""
        await self.leave(connections)
        self.reactor.pump([0.1] * 3)
        self.successResultOf(stopped)

    async def watch(self, number: int) -> list[tuple[Any, RecordingTransport]]:
        """Connect clients whose handler waits until they leave."""
        clients = [self.connect(request().replace(b"/ws", b"/watcher/")) for _ in range(number)]
        await asyncio.sleep(0)
        return clients

    def connect(self, data: bytes) -> tuple[Any, RecordingTransport]:
        transport: Any = RecordingTransport()
        transport.protocol = self.reactor.ports[0].factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        transport.protocol.dataReceived(data.replace(b"/ws", b"/worker/"))
        return transport.protocol, transport

    def test_the_machine_is_part_of_its_names(self) -> None:
        for machine, name in (("", "node0"), ("web-1.example.com", "node0@web-1.example.com")):
            node = self.make(machine=machine)
            self.assertEqual(node.node_name, name)
            bus = node._make_bus().name
            self.assertRegex(bus, "^" + name.replace("node0", r"node0\.[0-9a-f]{8}") + "$")

    def test_start_and_stop(self) -> None:
        node = self.make()
        self.assertFalse(node.is_ready())
        self.assertEqual(node.stats(), {"ready": False})
        node.startService()
        self.assertIs(topics.node, node)
        self.assertEqual(self.reactor.ports, [], "listening before the bus is up")
        self.assertEqual(self.reactor.readers, [node.websockets.epoll_reader])
        self.reactor.advance(0)
        self.successResultOf(node.ready)
        self.assertTrue(node.is_ready())
        self.assertEqual([port.socket.family for port in self.reactor.ports], [socket.AF_INET])
        self.stop(node)
        self.assertFalse(node.is_ready())
        self.assertFalse(self.reactor.ports[0].connected)
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual(node.http.site.pool.threads, [])

    def test_invalid_settings_fail_the_start(self) -> None:
        from django.test import override_settings

        node = self.make()
        with override_settings(C10K={"HANDSHAKE_TIMOUT": 1}):
            node.startService()
        failure = self.failureResultOf(node.ready, ConfigurationError)
        self.assertIn("HANDSHAKE_TIMOUT", str(failure.value))
        self.assertEqual(node.stats(), {"ready": False})
        self.stop(node)
        for listening in node._listening_sockets:
            os.close(listening.fd)

    def test_a_node_listens_when_it_serves(self) -> None:
        node = self.make()
        (listening,) = node._listening_sockets
        bound = socket.socket()
        self.addCleanup(bound.close)
        bound.bind(("127.0.0.1", 0))
        os.dup2(bound.fileno(), listening.fd)
        node.startService()
        place = bound.getsockname()
        self.assertRaises(ConnectionRefusedError, socket.create_connection, place)
        self.reactor.advance(0)
        socket.create_connection(place).close()
        self.stop(node)

    def test_a_socket_that_cannot_be_used_fails_the_start(self) -> None:
        """``ready`` fails only once."""
        node = self.make()
        (listening,) = node._listening_sockets
        with open(os.devnull) as no_socket:
            os.dup2(no_socket.fileno(), listening.fd)
        node.startService()
        self.reactor.advance(0)
        self.failureResultOf(node.ready, OSError)
        self.assertFalse(node.is_ready())
        node.pubsub.on_up()
        self.stop(node)
        for listening in node._listening_sockets:
            os.close(listening.fd)

    def test_a_missing_application_is_logged(self) -> None:
        ours, is_installed = "cluster.django", apps.is_installed
        for missing in (False, True):
            events: list[Any] = []
            globalLogPublisher.addObserver(events.append)
            self.stop(self.start())
            globalLogPublisher.removeObserver(events.append)
            lines = [str(formatEvent(event)) for event in events]
            self.assertEqual(len([line for line in lines if "INSTALLED_APPS" in line]), missing)
            self.patch(apps, "is_installed", lambda name: name != ours and is_installed(name))

    def test_a_handler_that_blocks_is_logged(self) -> None:
        node = self.start()
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.reactor.advance(5)
        self.stop(node)
        self.reactor.advance(5)
        lines = [line for line in map(formatEvent, events) if line and "was blocked" in line]
        self.assertEqual(len(lines), 1)

    def test_stop_before_the_bus_is_up(self) -> None:
        node = self.make()
        node.startService()
        self.stop(node)
        self.assertNoResult(node.ready)
        self.assertEqual(self.reactor.ports, [])
        for listening in node._listening_sockets:
            os.close(listening.fd)

    def test_statistics_have_all_counts(self) -> None:
        async def run() -> None:
            node = self.start()
            _, transport = self.connect(request())
            await asyncio.sleep(0)
            self.reactor.advance(0)
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 101 "))
            self.connect(request().replace(b"/ws", b"/nothing"))
            self.connect(request(b"Origin: null"))
            stats = node.stats()
            self.assertEqual(stats["connections"], 1)
            self.assertEqual(stats["connections_opened"], 1)
            self.assertEqual(stats["handshakes_refused"], {"404": 1, "403": 1})
            self.assertEqual(stats["limited"], {})
            self.assertTrue(stats["ready"])
            for connection in list(node.websockets.connection_factory.connections):
                connection.connectionLost(Failure(ConnectionLost()))
            stats = node.stats()
            self.assertEqual((stats["connections"], stats["disconnects"]), (0, {"1006": 1}))
            slow = self.connect(b"GET")[1]
            self.reactor.advance(11)
            self.assertTrue(slow.aborted)
            self.assertEqual(node.stats()["handshakes_refused"]["timeout"], 1)
            await self.handlers_end()
            self.stop(node)

        asyncio.run(run())

    def test_stop_closes_connections_and_waits_for_the_answers(self) -> None:
        async def run() -> None:
            node = self.start()
            ((connection, transport),) = await self.watch(1)
            transport.written = b""
            stopped = node.stopService()
            self.reactor.advance(0)
            self.assertIn(b"\x03\xe9the server is going away", transport.written)
            late = self.connect(request())[1]
            self.reactor.advance(0)
            self.assertTrue(late.written.startswith(b"HTTP/1.1 503 "), late.written)
            self.assertNoResult(stopped)
            connection.dataReceived(close(1001))
            await self.ends(stopped, [connection])

        asyncio.run(run())

    def test_a_node_that_hands_over_closes_its_clients_in_batches(self) -> None:
        async def run() -> None:
            node = self.start(restart_spread=4.0)
            clients = await self.watch(40)
            node.handing_over = True
            stopped = node.stopService()
            closed = []
            for second in range(5):
                closed.append(sum(b"\x03\xf4the server is" in t.written for _, t in clients))
                if second == 2:  # this client was accepted before; its request comes now
                    clients += await self.watch(1)
                    self.reactor.advance(0)
                    self.assertIn(b"HTTP/1.1 101 ", clients[-1][1].written)
                self.reactor.pump([0.05] * 20)
            self.assertEqual(closed, sorted(set(closed)), "more are closed in each second")
            self.assertTrue(closed[0] < 5 and 10 < closed[2] < 30, closed)
            self.assertFalse(node._ports[0].connected)
            self.assertEqual(sum(b"\x03\xf4" in t.written for _, t in clients), 41)
            self.assertNoResult(stopped)
            for connection, _ in clients:
                connection.dataReceived(close(1012))
            await self.ends(stopped, [connection for connection, _ in clients])

        asyncio.run(run())

    def test_a_node_that_hands_over_without_clients_ends_soon(self) -> None:
        node = self.start(restart_spread=60.0)
        node.handing_over = True
        self.stop(node)

    def test_a_stop_hurries_a_node_that_hands_over(self) -> None:
        async def run() -> None:
            node = self.start(restart_spread=60.0)
            clients = await self.watch(20)
            node.handing_over = True
            stopped = node.stopService()
            self.reactor.advance(1)
            node.hurry()
            self.reactor.advance(1)
            self.assertGreater(sum(b"\x03\xe9" in t.written for _, t in clients), 10)
            await self.ends(stopped, [connection for connection, _ in clients])

        asyncio.run(run())

    def test_a_stop_closes_many_clients_over_a_part_of_the_drain_timeout(self) -> None:
        async def run() -> None:
            node = self.start(drain_timeout=8.0)
            self.patch(drain, "STOP_RATE", 1)
            clients = await self.watch(20)
            stopped = node.stopService()
            self.reactor.pump([0.05] * 20)
            self.assertTrue(5 < sum(b"\x03\xe9" in t.written for _, t in clients) < 15)
            self.reactor.pump([0.05] * 25)
            self.assertEqual(sum(b"\x03\xe9" in t.written for _, t in clients), 20)
            await self.ends(stopped, [connection for connection, _ in clients])

        asyncio.run(run())

    def test_stop_waits_for_views(self) -> None:
        node = self.start(drain_timeout=2.0)
        node.http.site.views.active = 1
        stopped = node.stopService()
        self.reactor.pump([0.5] * 2)
        self.assertNoResult(stopped)
        node.http.site.views.active = 0
        self.reactor.pump([0.5] * 2)
        self.successResultOf(stopped)

    def test_stop_waits_until_publications_are_acknowledged(self) -> None:
        for acknowledged in (True, False):
            unacknowledged = [100]
            self.patch(PubSub, "queued_bytes", property(lambda _: unacknowledged[0]))  # noqa: B023
            node = self.start(drain_timeout=2.0)
            stopped = node.stopService()
            self.reactor.pump([0.02] * 20)
            self.assertNoResult(stopped)
            if acknowledged:
                unacknowledged[0] = 0
                self.reactor.pump([0.02] * 2)
            else:
                self.reactor.pump([0.02] * 40)
            self.successResultOf(stopped)

    def test_stop_leaves_views_that_do_not_return(self) -> None:
        node = self.start(drain_timeout=2.0)
        node.http.site.views.active = 1
        stopped = node.stopService()
        self.reactor.pump([0.5] * 6)
        self.successResultOf(stopped)
        node.http.site.pool.stop()

    def test_stop_waits_at_most_for_the_drain_timeout(self) -> None:
        async def run() -> None:
            node = self.start(drain_timeout=2.0)
            await self.watch(1)
            stopped = node.stopService()
            self.reactor.pump([0.5] * 3)
            self.assertNoResult(stopped)
            self.reactor.pump([0.5] * 3)
            self.successResultOf(stopped)
            await self.leave(node.websockets.connection_factory.connections)

        asyncio.run(run())

    def test_stop_answers_handshakes_that_wait_for_their_session(self) -> None:
        from django.test import override_settings

        async def run() -> None:
            with override_settings(C10K={"DATABASE_THREADS": 1}):
                node = self.start()
            _, transport = self.connect(request(b"Cookie: sessionid=abc"))
            self.assertEqual(node.stats()["handshakes_deciding"], 1)
            stopped = node.stopService()
            self.reactor.advance(0)
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 503 "), transport.written)
            await ain_database(int)  # the only thread has ended the call of the handshake then
            await self.handlers_end()
            self.assertEqual(node.stats()["handshakes_deciding"], 0)
            self.reactor.pump([0.1] * 5)
            self.successResultOf(stopped)

        asyncio.run(run())

    def test_stop_waits_for_the_database(self) -> None:
        release, begun = threading.Event(), threading.Event()

        def slow() -> None:
            begun.set()
            release.wait(30)

        async def run() -> None:
            node = self.start(drain_timeout=2.0)
            call = asyncio.create_task(ain_database(slow))
            self.assertTrue(await asyncio.to_thread(begun.wait, 30))
            stats = node.stats()
            self.assertEqual((stats["database_calls"], stats["database_threads"]), (1, 1))
            stopped = node.stopService()
            self.reactor.pump([0.5] * 3)
            self.assertNoResult(stopped)
            release.set()
            await call
            self.reactor.pump([0.1] * 3)
            self.successResultOf(stopped)

        asyncio.run(run())

    def test_stop_waits_for_handlers_that_clean_up(self) -> None:
        release = asyncio.Event()
        ended: list[str] = []

        async def handler(ws: Any) -> None:
            try:
                await ws.wait_closed()
            finally:
                await release.wait()
                ended.append("cleaned up")

        async def run() -> None:
            node = self.start(drain_timeout=2.0)
            opened = node.websockets.connection_factory.on_open

            def open_with(connection: Any) -> None:
                node.websockets.dispatcher._calls[connection] = (Handler(handler), (), {}, None)
                opened(connection)

            node.websockets.connection_factory.on_open = open_with
            ((connection, _),) = await self.watch(1)
            stopped = node.stopService()
            connection.dataReceived(close(1001))
            connection.connectionLost(Failure(ConnectionLost()))
            for _ in range(3):
                await asyncio.sleep(0)
                self.reactor.pump([0.1] * 3)
            self.assertNoResult(stopped)
            release.set()
            await self.handlers_end()
            self.reactor.pump([0.1] * 3)
            self.successResultOf(stopped)
            self.assertEqual(ended, ["cleaned up"])

        asyncio.run(run())

    def test_a_full_bus_pauses_publishers(self) -> None:
        async def run() -> None:
            node = self.start()
            ((connection, transport),) = await self.watch(1)
            node.pubsub.bus_message(wire.Congested("node1"))
            connection.owner.publish("a", "b")
            self.assertFalse(transport.reading)
            connection.dataReceived(text("later"))
            node.pubsub.bus_message(wire.Cleared("node1"))
            self.reactor.advance(0)
            self.assertTrue(transport.reading)
            await self.leave([connection])
            self.stop(node)

        asyncio.run(run())

    def test_external_requests_come_from_the_broker(self) -> None:
        async def run() -> None:
            node = self.make()
            node.startService()
            self.reactor.advance(0)
            await self.watch(1)
            self.reactor.advance(0)
            sent: list[wire.Message] = []
            self.patch(node.pubsub.bus, "send", sent.append)
            publication = encode(Publish(b"life", text_frame(b"hello")))
            asked = wire.ExternalRequest("7", encode(Greeting(site_name())) + publication)
            node.pubsub.bus_message(asked)
            self.assertEqual(sent, [], "the answer follows the publication")
            self.reactor.advance(0)
            self.assertEqual(sent, [wire.ExternalAnswer("7", encode(Accepted(0, 0)))])
            node.pubsub.bus_message(wire.Congested("node1"))
            node.pubsub.bus_message(asked)
            self.reactor.advance(0)
            self.assertEqual(len(sent), 1)
            node.pubsub.bus_message(wire.Cleared("node1"))
            self.reactor.advance(0)
            self.assertEqual(len(sent), 2)
            self.assertEqual(node.stats()["published_externally"], 2)
            await self.leave(node.websockets.connection_factory.connections)
            self.stop(node)
            node.pubsub.bus_message(asked)

        asyncio.run(run())

    def test_external_publishers_use_the_publish_socket(self) -> None:
        async def run() -> None:
            node = self.make(publish_socket="/nowhere/publish-0.sock")
            node.startService()
            self.assertEqual(
                self.reactor.ports, [], "external publishers would reach a node that does not serve"
            )
            self.reactor.advance(0)
            await self.watch(1)
            outside: Any = self.reactor.publish_factory.buildProtocol(None)
            outside.makeConnection(StringTransportWithDisconnection())
            outside.transport.protocol = outside
            publication = encode(Publish(b"life", text_frame(b"hello")))
            outside.dataReceived(publication)
            self.assertEqual(node.stats()["published_externally"], 1)
            # While the node's publishers must pause, external publishers must pause, too.
            node.pubsub.bus_message(wire.Congested("node1"))
            outside.dataReceived(publication)
            self.assertEqual(node.stats()["published_externally"], 1)
            node.pubsub.bus_message(wire.Cleared("node1"))
            self.reactor.advance(0)
            self.assertEqual(node.stats()["published_externally"], 2)
            await self.leave(node.websockets.connection_factory.connections)
            self.stop(node)
            self.assertFalse(outside.transport.connected)
            self.assertFalse(any(port.connected for port in self.reactor.ports))

        asyncio.run(run())

    def test_in_reactor_calls_at_once_in_the_reactors_thread(self) -> None:
        node = self.start()
        self.assertEqual(node.in_reactor(max, 1, 2), 2)
        self.stop(node)

    def elsewhere(self, node: Any, *call: Any) -> tuple[threading.Thread, list[Any]]:
        """Call from another thread; returns when that thread waits for the reactor."""
        results: list[Any] = []

        def run() -> None:
            try:
                results.append(node.in_reactor(*call))
            except Exception as error:
                results.append(error)

        asked = threading.Event()
        self.reactor.on_call_from_thread = asked.set
        thread = threading.Thread(target=run)
        thread.start()
        asked.wait()
        return thread, results

    def test_in_reactor_returns_the_result_to_another_thread(self) -> None:
        node = self.start()
        for call, result in (((max, 1, 2), 2), ((divmod, 1, 0), ZeroDivisionError)):
            thread, results = self.elsewhere(node, *call)
            self.assertEqual(results, [])
            for function, *args in self.reactor.from_thread:
                function(*args)
            self.reactor.from_thread.clear()
            thread.join()
            (got,) = results
            self.assertTrue(got == result or type(got) is result, got)
        self.stop(node)

    def test_in_reactor_raises_if_the_reactor_does_not_answer(self) -> None:
        self.patch(threads, "ANSWER_TIMEOUT_S", 0.01)
        node = self.start()
        called: list[int] = []
        thread, results = self.elsewhere(node, called.append, 1)
        thread.join()
        self.assertIsInstance(results[0], NotRunning)
        for function, *args in self.reactor.from_thread:
            function(*args)
        self.assertEqual(called, [])
        self.stop(node)
