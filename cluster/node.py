"""A node: one process that serves HTTP and WebSocket, and shares topics with the others.

It joins the parts and decides nothing itself: the front door tells HTTP from WebSocket, the lanes
carry frames, PubSub routes them, Django says what each URL does.
"""

import asyncio
import gc
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.application.service import Service
from twisted.internet import endpoints
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from cluster.bus.interface import IBus
from cluster.bus.local_bus import LocalBus
from cluster.bus.pubsub import PubSub
from cluster.bus.zmq_bus import ZmqBus
from cluster.core.exceptions import Disconnected
from cluster.net.flush import FlushList
from cluster.net.front_door import FrontDoorFactory
from cluster.net.lane import Lane, LaneFactory
from cluster.net.read_hub import ReadHub

PACE = 8.0
"""How many times as long as it took a paced flush rests (net.flush): sending takes at most a ninth
of a busy node's time."""

CLOSE_GOING_AWAY = 1001
CLOSE_INTERNAL_ERROR = 1011


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


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that is listening already, and the endpoint it was made for ("ssl:8443:…")."""

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
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._disconnects: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._opened = 0
        self._serving = False
        self._started = False
        alone = config.bus == "local"
        self.flush_list = FlushList(reactor, 0.0 if alone else PACE)
        self.hub = ReadHub(reactor, self.flush_list)
        self.pubsub = PubSub(
            self._make_bus(), self.flush_list.paced, self.flush_list.schedule_paced, reactor
        )
        self.pubsub.on_full = self._bus_full
        self.pubsub.on_up = self._bus_up
        self.flush_list.after.append(self.pubsub.flush)

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
        """Run now if this is the reactor's thread, else soon (and return None)."""
        if threading.get_ident() == self._thread:
            return function(*args)
        self._reactor.callFromThread(function, *args)
        return None

    def stats(self) -> dict[str, Any]:
        """Figures for the metrics page."""
        lanes = self.lanes if self._started else None
        dropped = Counter(self.pubsub.dropped) + self.pubsub.bus.dropped
        if lanes is not None:
            dropped += lanes.dropped
        return {
            "ready": self.is_ready(),
            "connections": len(lanes.lanes) if lanes else 0,
            "connections_opened": self._opened,
            "disconnects": dict(self._disconnects),
            "handshakes_refused": dict(self._refused),
            "messages_received": lanes.messages_received if lanes else 0,
            "messages_sent": lanes.messages_sent if lanes else 0,
            "messages_dropped": dict(dropped),
            "messages_conflated": self.pubsub.conflated,
            "send_queue_bytes": sum(lane.queued_bytes for lane in lanes.lanes) if lanes else 0,
            "bus_gaps": self.pubsub.gaps,
            "bus_queue_bytes": self.pubsub.queued_bytes,
            "wsgi_queue_depth": self.site.views.queue_depth if lanes else 0,
            "wsgi_threads": len(self.site.pool.threads) if lanes else 0,
        }

    def _make_bus(self) -> IBus:
        # Unique for each process: a node that was killed is another one than its replacement.
        name = f"{self.config.name}.{os.urandom(4).hex()}"
        if self.config.bus == "local":
            return LocalBus(name, self._reactor)
        return ZmqBus(name, self.config.bus, self._reactor)

    def _load_django(self) -> None:
        os.environ["DJANGO_SETTINGS_MODULE"] = self.config.settings
        import django
        from django.core.servers.basehttp import get_internal_wsgi_application
        from django.urls import get_resolver

        from cluster.django import conf, topics
        from cluster.web import DjangoSite

        django.setup()
        self._settings = conf.load()
        settings = self._settings
        self.lanes = self._make_lanes(settings)
        self.site = DjangoSite(
            self._reactor,
            get_internal_wsgi_application(),
            self.lanes.buildProtocol,
            threads=settings["WSGI_THREADS"],
            queue=settings["WSGI_QUEUE"],
            max_body=settings["MAX_REQUEST_BODY"],
            proxy_headers=self.config.proxy_headers,
            access_log=self.config.access_log,
        )
        _ = get_resolver().url_patterns  # import the views now, not at the first connection
        topics.attach(self)

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
        lanes.on_request = self._request
        lanes.on_open = self._open
        lanes.on_close = self._closed
        return lanes

    def _bus_up(self) -> None:
        if not self.ready.called:
            self._listen()
            # What is loaded by now stays; looking through it again in each full collection would
            # cost milliseconds in which nobody is served.
            gc.collect()
            gc.freeze()
            self._serving = True
            self.ready.callback(None)

    def _listen(self) -> None:
        front = FrontDoorFactory(
            self._reactor,
            self.lanes.buildProtocol,
            self.site.buildProtocol,
            self._settings["HANDSHAKE_TIMEOUT"],
        )
        for listener in self._listeners:
            factory: Any = front
            if listener.endpoint.startswith("ssl:"):
                server = endpoints.serverFromString(self._reactor, listener.endpoint)
                context = server._sslContextFactory
                factory = TLSMemoryBIOFactory(context, False, factory)
            port = self._reactor.adoptStreamPort(listener.fd, listener.family, factory)
            os.close(listener.fd)  # adoptStreamPort works on a duplicate
            self._ports.append(port)

    async def _stop(self) -> None:
        deadline = self._reactor.seconds() + self.config.drain_timeout
        for port in self._ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped
        if self._started:
            for lane in list(self.lanes.lanes):
                lane.close(CLOSE_GOING_AWAY, "the server is going away")
            self.flush_list.flush_all()
            while self.lanes.lanes and self._reactor.seconds() < deadline:
                await deferLater(self._reactor, 0.02, lambda: None)
            drained = await self.site.drain(max(0.0, deadline - self._reactor.seconds()))
            if not drained:
                self.log.warn("views still run at the end of the drain timeout; leaving them")
            self.hub.stop()
            if drained:
                self.site.pool.stop()
        self.pubsub.stop()

    # Connections.

    def _request(self, lane: Lane, request: ConnectionRequest) -> str | None:
        """Decide on a handshake; returns the subprotocol. Raises ConnectionDeny."""
        from cluster.django.connection import WebSocket
        from cluster.django.resolving import NoHandler, find_handler

        if not self._serving:
            raise self._deny(503, "this node is shutting down", "draining")
        self._check_host_and_origin(lane, request)
        try:
            handler, args, kwargs, path = find_handler(request.path)
        except NoHandler:
            raise self._deny(404, "no WebSocket is served at this path", "no_handler") from None
        subprotocol = handler.choose(request.protocols)
        settings = self._settings
        websocket = WebSocket(
            lane,
            self.pubsub,
            (
                settings["RECEIVE_QUEUE_MESSAGES"],
                settings["RECEIVE_QUEUE_BYTES"],
                settings["SEND_QUEUE_LOW_WATER"],
            ),
            path=path,
            query=request.params,
            headers=request.headers,
            client=str(request.peer),
            subprotocol=subprotocol,
        )
        lane.owner = (websocket, handler.run, args, kwargs)
        return subprotocol

    def _check_host_and_origin(self, lane: Lane, request: ConnectionRequest) -> None:
        from django.conf import settings
        from django.http.request import split_domain_port, validate_host

        from cluster.django.origins import is_allowed

        host = request.headers.get("host", "")
        domain, _ = split_domain_port(host)
        allowed = settings.ALLOWED_HOSTS
        if settings.DEBUG and not allowed:
            allowed = [".localhost", "127.0.0.1", "[::1]"]
        if not domain or not validate_host(domain, allowed):
            raise self._deny(400, "this Host is not in ALLOWED_HOSTS", "host")
        secure = lane.transport_details.is_secure or (
            self.config.proxy_headers
            and request.headers.get("x-forwarded-proto", "").lower() == "https"
        )
        origin = request.headers.get("origin")
        if not is_allowed(origin, host, secure, self._settings["ALLOWED_ORIGINS"]):
            raise self._deny(403, "this Origin may not connect", "origin")

    def _deny(self, code: int, reason: str, label: str) -> ConnectionDeny:
        self._refused[label] += 1
        return ConnectionDeny(code, reason)

    def _open(self, lane: Lane) -> None:
        websocket, run, args, kwargs = lane.owner
        self._opened += 1
        lane.owner = websocket
        if self.pubsub.full:
            lane.pause("bus")
        loop = asyncio.get_running_loop()
        handler = run(websocket, *args, **kwargs)
        self._tasks[lane] = loop.create_task(self._serve(lane, websocket, handler))

    async def _serve(self, lane: Lane, websocket: Any, handler: Any) -> None:
        """Run a handler to its end, then close; its errors close 1011 and are logged once."""
        try:
            await handler
        except (Disconnected, asyncio.CancelledError):
            if websocket.close_code is None:
                lane.close(CLOSE_GOING_AWAY)
        except Exception:
            self.log.failure("a WebSocket handler of {path} failed", path=websocket.path)
            lane.close(CLOSE_INTERNAL_ERROR, "internal error")
        else:
            lane.close(1000)
        finally:
            self._tasks.pop(lane, None)

    def _closed(self, lane: Lane, code: int, was_clean: bool) -> None:
        self._disconnects[str(code)] += 1
        websocket = lane.owner
        lane.owner = None
        learns = websocket.connection_closed(code)
        task = self._tasks.get(lane)
        if task is not None and not learns:
            task.cancel()

    def _bus_full(self, full: bool) -> None:
        """Publishers are paused as they publish (WebSocket.publish); here they go on."""
        if not full and self._started:
            for lane in self.lanes.lanes:
                lane.resume("bus")
