"""A node: one process that serves HTTP and WebSocket, and shares topics with the others.

It joins the parts and decides nothing itself: the front door tells HTTP from WebSocket, the lanes
carry frames, PubSub routes them, Django says what each URL does.
"""

import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet import endpoints
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from cluster.net.listening_sockets import BACKLOG
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.epoll_reader import EpollReader
from cluster.net.loop.stall_detector import StallDetector
from cluster.net.loop.threads import call_in_reactor
from cluster.net.protocol_detection import ProtocolDetectorFactory
from cluster.net.websocket.connection_factory import ConnectionFactory
from cluster.node.interpreter import tune_interpreter
from cluster.node.publish_socket import PublishSocket
from cluster.node.statistics import statistics
from cluster.pubsub.bus import Bus
from cluster.pubsub.local_bus import LocalBus
from cluster.pubsub.pubsub import PubSub
from cluster.pubsub.zmq_bus import ZmqBus

PACE = 8.0
"""Sending publications is followed by a pause this many times as long as it took (see
cluster.net.loop.end_of_turn), so that it takes at most a ninth of a busy node's time."""

CLOSE_GOING_AWAY = 1001


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node is told; times in seconds, sizes in bytes."""

    name: str
    settings: str
    bus: str = "local"
    ping_interval: float = 20.0
    ping_timeout: float = 30.0
    max_message_size: int = 1 << 20
    drain_timeout: float = 10.0
    proxy_headers: bool = False
    access_log: bool = False
    publish_socket: str = ""
    """Path of the Unix socket through which processes outside publish; "" for none."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket, which may listen already, and the endpoint it was made for ("ssl:8443:…")."""

    fd: int
    family: int
    endpoint: str


class Node(Service):
    """``ready`` fires when Django is loaded, the bus has welcomed us and the ports accept."""

    log = Logger()

    def __init__(self, config: NodeConfig, listeners: Sequence[Listener], reactor: Any) -> None:
        self.config = config
        self.ready: Deferred[None] = Deferred()
        self._listeners = listeners
        self._reactor = reactor
        self._thread = threading.get_ident()
        self._ports: list[Any] = []
        self._serving = False
        self._started = False
        alone = config.bus == "local"
        self.end_of_turn = EndOfTurn(reactor, 0.0 if alone else PACE)
        self.epoll_reader = EpollReader(reactor, self.end_of_turn)
        self.pubsub = PubSub(
            self._make_bus(),
            self.end_of_turn.published,
            self.end_of_turn.schedule_published,
            reactor,
        )
        self.pubsub.remote_nodes.on_full = self._bus_full
        self.pubsub.on_up = self._bus_up
        self.end_of_turn.send_to_bus = self.pubsub.flush
        self._site = ""
        self.publish_socket = PublishSocket(config.publish_socket, self.pubsub, reactor)
        self._stall_detector = StallDetector(reactor)

    # Life.

    def startService(self) -> None:
        super().startService()
        self._thread = threading.get_ident()
        try:
            self._load_django()
        except Exception:
            self.ready.errback()
            return
        self._started = True
        self.epoll_reader.start()
        self.site.pool.start()
        self.database.start()
        self.pubsub.bus.start(self.pubsub)

    def stopService(self) -> Deferred[None]:
        """Accept nothing new, close all connections (1001), wait for running views."""
        super().stopService()
        self._serving = False
        return ensureDeferred(self._stop())

    def is_ready(self) -> bool:
        """True while this node serves and the bus carries its messages."""
        return self._serving and self.pubsub.bus.is_up

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run in the reactor's thread and return the result; in any other thread, wait for it.

        Raises NotRunning if the reactor does not come to it in time.
        """
        if threading.get_ident() == self._thread:
            return function(*args)
        return call_in_reactor(self._reactor, function, args)

    def stats(self) -> dict[str, Any]:
        """Statistics for the metrics page."""
        if not self._started:
            return {"ready": False}
        return statistics(self)

    def _make_bus(self) -> Bus:
        # Unique for each process: a node that was killed is another one than its replacement.
        name = f"{self.config.name}.{os.urandom(4).hex()}"
        if self.config.bus == "local":
            return LocalBus(name, self._reactor)
        return ZmqBus(name, self.config.bus, self._reactor)

    def _load_django(self) -> None:
        os.environ["DJANGO_SETTINGS_MODULE"] = self.config.settings
        import django
        from django.apps import apps
        from django.urls import get_resolver

        from cluster.django import conf
        from cluster.django.api import topics
        from cluster.django.api.database import DatabasePool
        from cluster.django.api.external_publisher import site_name
        from cluster.django.feeds.http_requests import FeedRequests
        from cluster.django.handshake.dispatcher import Dispatcher
        from cluster.django.revocation import registry
        from cluster.node.http import DjangoSite

        django.setup()
        if not apps.is_installed("cluster.django"):
            self.log.warn(
                '"cluster.django" is not in INSTALLED_APPS: sockets and feeds stay open when their'
                " session ends, and manage.py has neither our runserver nor publish"
            )
        self._site = site_name()
        settings = conf.load()
        self.registry = registry
        self.database = DatabasePool(settings["DATABASE_THREADS"], settings["DATABASE_QUEUE"])
        self.dispatcher = Dispatcher(
            self.pubsub, settings, lambda: self._serving, self.config.proxy_headers
        )
        self.connection_factory = self._make_connection_factory(settings)
        self.site = DjangoSite(
            self._reactor,
            self._application(),
            self.connection_factory.buildProtocol,
            threads=settings["WSGI_THREADS"],
            queue=settings["WSGI_QUEUE"],
            max_body=settings["MAX_REQUEST_BODY"],
            proxy_headers=self.config.proxy_headers,
            access_log=self.config.access_log,
        )
        self.feeds = FeedRequests(
            self.pubsub,
            settings,
            lambda: self._serving,
            self.dispatcher.occupancy,
            self.end_of_turn,
        )
        self.site.on_request = self.feeds.take
        self.protocol_detection = ProtocolDetectorFactory(
            self._reactor,
            self.connection_factory.buildProtocol,
            self.site.buildProtocol,
            settings["HANDSHAKE_TIMEOUT"],
        )
        _ = get_resolver().url_patterns  # import the views now, not at the first connection
        topics.attach(self)

    def _application(self) -> Any:
        """What serves ordinary requests; Django is loaded."""
        from django.core.servers.basehttp import get_internal_wsgi_application

        return get_internal_wsgi_application()

    def _make_connection_factory(self, settings: dict[str, Any]) -> ConnectionFactory:
        connections = ConnectionFactory(
            self.end_of_turn,
            self.epoll_reader,
            ping_interval=self.config.ping_interval,
            ping_timeout=self.config.ping_timeout,
            max_message_size=self.config.max_message_size,
            close_timeout=settings["CLOSE_TIMEOUT"],
            handshake_timeout=settings["HANDSHAKE_TIMEOUT"],
            high_water=settings["SEND_QUEUE_HIGH_WATER"],
            compression=settings["COMPRESSION"],
        )
        connections.on_request = self.dispatcher.request
        connections.on_open = self.dispatcher.opened
        connections.on_close = self.dispatcher.closed
        connections.on_abandoned = self.dispatcher.abandoned
        return connections

    def _bus_up(self) -> None:
        if not self.ready.called:
            try:
                self._listen()
            except Exception:
                self.ready.errback()
                return
            tune_interpreter()
            self._serving = True
            self._stall_detector.start()
            self.ready.callback(None)

    def _listen(self) -> None:
        for listener in self._listeners:
            factory: Any = self.protocol_detection
            if listener.endpoint.startswith("ssl:"):
                server = endpoints.serverFromString(self._reactor, listener.endpoint)
                context = server._sslContextFactory
                factory = TLSMemoryBIOFactory(context, False, factory)
            with socket.socket(fileno=os.dup(listener.fd)) as sock:
                sock.listen(BACKLOG)  # most do already (cluster.supervisor.listening_slots)
            port = self._reactor.adoptStreamPort(listener.fd, listener.family, factory)
            os.close(listener.fd)  # adoptStreamPort works on a duplicate
            self._ports.append(port)
        if self.config.publish_socket:
            self.publish_socket.start(self._site)

    async def _stop(self) -> None:
        deadline = self._reactor.seconds() + self.config.drain_timeout
        self._stall_detector.stop()
        await self.publish_socket.stop()
        for port in self._ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        if self._started:
            for connection in list(self.connection_factory.connections):
                connection.close(CLOSE_GOING_AWAY, "the server is going away")
            self.feeds.close_all()
            self.dispatcher.refuse_undecided()
            self.end_of_turn.flush_all()
            while (
                self.connection_factory.connections or self.feeds.unsent
            ) and self._reactor.seconds() < deadline:
                await deferLater(self._reactor, 0.02, lambda: None)
            drained = await self.site.drain(max(0.0, deadline - self._reactor.seconds()))
            if not drained:
                self.log.warn("views still run at the end of the drain timeout; leaving them")
            # Handlers learn of the end as their clients go, and may have something to put in order.
            while self._busy() and self._reactor.seconds() < deadline:
                await deferLater(self._reactor, 0.02, lambda: None)
            if self.dispatcher.running:
                self.log.warn(
                    "{count} handlers still run at the end of the drain timeout; leaving them",
                    count=self.dispatcher.running,
                )
            self.epoll_reader.stop()
            if drained:
                self.site.pool.stop()
            self.database.stop()
        self.pubsub.stop()

    def _busy(self) -> bool:
        return bool(self.dispatcher.running or self.database.active)

    def _bus_full(self, full: bool) -> None:
        """Publishers are paused as they publish (WebSocket.publish); here they go on."""
        if not full and self._started:
            for connection in self.connection_factory.connections:
                connection.resume("bus")
            self.publish_socket.resume()
