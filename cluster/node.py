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

from cluster import process
from cluster.bus.interface import IBus
from cluster.bus.local_bus import LocalBus
from cluster.bus.pubsub import PubSub
from cluster.bus.zmq_bus import ZmqBus
from cluster.figures import figures
from cluster.net.flush import FlushList
from cluster.net.front_door import FrontDoorFactory
from cluster.net.lane_factory import LaneFactory
from cluster.net.read_hub import ReadHub
from cluster.net.sockets import BACKLOG
from cluster.net.standstill import StandstillWatch
from cluster.net.threads import call_in_reactor
from cluster.publish_socket import PublishSocket

PACE = 8.0
"""How many times as long as it took a paced flush rests (net.flush): sending takes at most a ninth
of a busy node's time."""

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
        self.flush_list = FlushList(reactor, 0.0 if alone else PACE)
        self.hub = ReadHub(reactor, self.flush_list)
        self.pubsub = PubSub(
            self._make_bus(), self.flush_list.paced, self.flush_list.schedule_paced, reactor
        )
        self.pubsub.peers.on_full = self._bus_full
        self.pubsub.on_up = self._bus_up
        self.flush_list.after.append(self.pubsub.flush)
        self._site = ""
        self.outside = PublishSocket(config.publish_socket, self.pubsub, reactor)
        self._standstill = StandstillWatch(reactor)

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
        self.hub.start()
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
        """Figures for the metrics page."""
        if not self._started:
            return {"ready": False}
        return figures(self)

    def _make_bus(self) -> IBus:
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

        from cluster.django import conf, topics
        from cluster.django.database import DatabasePool
        from cluster.django.feed_requests import FeedRequests
        from cluster.django.outside import site_name
        from cluster.django.revocation import registry
        from cluster.django.serving import Serving
        from cluster.web import DjangoSite

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
        self.serving = Serving(
            self.pubsub, settings, lambda: self._serving, self.config.proxy_headers
        )
        self.lanes = self._make_lanes(settings)
        self.site = DjangoSite(
            self._reactor,
            self._application(),
            self.lanes.buildProtocol,
            threads=settings["WSGI_THREADS"],
            queue=settings["WSGI_QUEUE"],
            max_body=settings["MAX_REQUEST_BODY"],
            proxy_headers=self.config.proxy_headers,
            access_log=self.config.access_log,
        )
        self.feeds = FeedRequests(
            self.pubsub, settings, lambda: self._serving, self.serving.occupancy, self.flush_list
        )
        self.site.on_request = self.feeds.take
        self.front = FrontDoorFactory(
            self._reactor,
            self.lanes.buildProtocol,
            self.site.buildProtocol,
            settings["HANDSHAKE_TIMEOUT"],
        )
        _ = get_resolver().url_patterns  # import the views now, not at the first connection
        topics.attach(self)

    def _application(self) -> Any:
        """What serves ordinary requests; Django is loaded."""
        from django.core.servers.basehttp import get_internal_wsgi_application

        return get_internal_wsgi_application()

    def _make_lanes(self, settings: dict[str, Any]) -> LaneFactory:
        lanes = LaneFactory(
            self.flush_list,
            self.hub,
            ping_interval=self.config.ping_interval,
            ping_timeout=self.config.ping_timeout,
            max_message_size=self.config.max_message_size,
            close_timeout=settings["CLOSE_TIMEOUT"],
            handshake_timeout=settings["HANDSHAKE_TIMEOUT"],
            high_water=settings["SEND_QUEUE_HIGH_WATER"],
            low_water=settings["SEND_QUEUE_LOW_WATER"],
            compression=settings["COMPRESSION"],
        )
        lanes.on_request = self.serving.request
        lanes.on_open = self.serving.opened
        lanes.on_close = self.serving.closed
        lanes.on_abandoned = self.serving.abandoned
        return lanes

    def _bus_up(self) -> None:
        if not self.ready.called:
            try:
                self._listen()
            except Exception:
                self.ready.errback()
                return
            process.tune_interpreter()
            self._serving = True
            self._standstill.start()
            self.ready.callback(None)

    def _listen(self) -> None:
        for listener in self._listeners:
            factory: Any = self.front
            if listener.endpoint.startswith("ssl:"):
                server = endpoints.serverFromString(self._reactor, listener.endpoint)
                context = server._sslContextFactory
                factory = TLSMemoryBIOFactory(context, False, factory)
            with socket.socket(fileno=os.dup(listener.fd)) as sock:
                sock.listen(BACKLOG)  # most do already (cluster.slots)
            port = self._reactor.adoptStreamPort(listener.fd, listener.family, factory)
            os.close(listener.fd)  # adoptStreamPort works on a duplicate
            self._ports.append(port)
        if self.config.publish_socket:
            self.outside.start(self._site)

    async def _stop(self) -> None:
        deadline = self._reactor.seconds() + self.config.drain_timeout
        self._standstill.stop()
        await self.outside.stop()
        for port in self._ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        if self._started:
            for lane in list(self.lanes.lanes):
                lane.close(CLOSE_GOING_AWAY, "the server is going away")
            self.feeds.close_all()
            self.serving.refuse_undecided()
            self.flush_list.flush_all()
            while (self.lanes.lanes or self.feeds.unsent) and self._reactor.seconds() < deadline:
                await deferLater(self._reactor, 0.02, lambda: None)
            drained = await self.site.drain(max(0.0, deadline - self._reactor.seconds()))
            if not drained:
                self.log.warn("views still run at the end of the drain timeout; leaving them")
            # Handlers learn of the end as their clients go, and may have something to put in order.
            while self._busy() and self._reactor.seconds() < deadline:
                await deferLater(self._reactor, 0.02, lambda: None)
            if self.serving.running:
                self.log.warn(
                    "{count} handlers still run at the end of the drain timeout; leaving them",
                    count=self.serving.running,
                )
            self.hub.stop()
            if drained:
                self.site.pool.stop()
            self.database.stop()
        self.pubsub.stop()

    def _busy(self) -> bool:
        return bool(self.serving.running or self.database.active)

    def _bus_full(self, full: bool) -> None:
        """Publishers are paused as they publish (WebSocket.publish); here they go on."""
        if not full and self._started:
            for lane in self.lanes.lanes:
                lane.resume("bus")
            self.outside.resume()
