"""A node: one process that serves HTTP and WebSocket, and shares topics with the other nodes.

``cluster.node.assembly`` creates and connects the parts. Node starts them in order, opens the ports
when the bus is up, and drains when it stops.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIApplication

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.net.accepting.port import Port
from cluster.net.addresses import parse_address
from cluster.net.bus_keys import BusKeys
from cluster.net.listening_sockets import BACKLOG
from cluster.net.loop.stall_detector import StallDetector
from cluster.net.loop.threads import call_in_reactor
from cluster.net.tls import read_certificate, tls_context
from cluster.node.config import ListeningSocket, NodeConfig
from cluster.node.drain import Drain
from cluster.node.interpreter_tuning import tune_interpreter
from cluster.node.publishing.external_requests import ExternalRequests
from cluster.node.publishing.publications import ExternalPublications
from cluster.node.publishing.publish_socket import PublishSocket
from cluster.node.statistics.counts import statistics
from cluster.node.statistics.latency import Latency
from cluster.pubsub.bus import Bus
from cluster.pubsub.local_bus import LocalBus
from cluster.pubsub.pubsub import PubSub
from cluster.pubsub.zmq_bus import ZmqBus

if TYPE_CHECKING:  # the module needs Django, which is loaded when the node starts
    from cluster.node.assembly import HttpParts, WebSocketParts


def load_django(settings: str, configured: Callable[[], object] = lambda: None) -> None:
    """Load a site: its settings, its applications and its views.

    Args:
        settings: The settings module.
        configured: Called before the views are imported, when LOGGING is in effect.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    import django
    from django.urls import get_resolver

    django.setup()
    configured()
    _ = get_resolver().url_patterns  # import the views now, not at the first connection


class Node(Service):
    """A node on sockets that are open already.

    ``ready`` fires when Django is loaded, the broker has welcomed the node and the ports accept
    connections; it fails with the reason if the node cannot start. The parts, such as
    ``websockets``, are set when the service starts.

    Args:
        config: The node's configuration.
        listening_sockets: The sockets to serve on. The node closes their descriptors.
        reactor: An asyncio reactor, because handlers are coroutines.
    """

    log = Logger()

    websockets: "WebSocketParts"
    http: "HttpParts"
    publications: ExternalPublications
    publish_socket: PublishSocket
    external_requests: ExternalRequests
    latency: Latency

    def __init__(
        self, config: NodeConfig, listening_sockets: Sequence[ListeningSocket], reactor: Any
    ) -> None:
        self.config = config
        self.ready: Deferred[None] = Deferred()
        self._listening_sockets = listening_sockets
        self._reactor = reactor
        self._thread = threading.get_ident()
        self._ports: list[Port] = []
        self._serving = False
        self._is_starting = False  # the applications
        self._started = False
        self._stall_detector = StallDetector(reactor)
        self.handing_over = False
        self._drain: Drain | None = None
        self.django_is_loaded: Callable[[], object] = lambda: None
        """Called when Django has applied the site's LOGGING; assign it before the start."""

        self.ask_supervisor: Callable[[str, dict[str, Any]], Deferred[Any]] | None = None
        """Asks an operator's question; None for a node without a supervisor."""

    def is_reactor_thread(self) -> bool:
        """Whether the caller is in the thread of the event loop."""
        return threading.get_ident() == self._thread

    @property
    def node_name(self) -> str:
        """The name for people, the same for the replacement of this process."""
        return self.config.with_machine(self.config.name)

    @property
    def pubsub(self) -> PubSub:
        """The topics of this node."""
        return self.websockets.pubsub

    # Service.

    def startService(self) -> None:
        super().startService()
        self._thread = threading.get_ident()
        try:
            self._load_django()
            self._assemble()
            self._attach()
        except Exception:
            self.ready.errback()
            return
        self._started = True
        if self.websockets.epoll_reader is not None:
            self.websockets.epoll_reader.start()
        self.http.database.start()
        self.pubsub.start()

    def stopService(self) -> Deferred[None]:
        """Accept nothing new, close all connections, and wait for views and handlers (node.drain).

        Set ``handing_over`` first if the replacement of this node serves already.

        Returns:
            A Deferred that fires when everything has ended, at the latest after the drain timeout,
            and ``restart_spread`` before it if the node hands over.
        """
        super().stopService()
        self._serving = self._serving and self.handing_over
        return ensureDeferred(self._stop())

    def hurry(self) -> None:
        """End a stop that hands over without spreading it: the cluster stops."""
        self._serving = self.handing_over = False
        if self._drain is not None:
            self._drain.hurry()

    def is_ready(self) -> bool:
        """Whether this node accepts connections and the bus is up."""
        return self._serving and self.pubsub.bus.is_up

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the reactor's thread and return its result.

        If the caller is in another thread, it waits for the result.

        Raises:
            NotRunning: The reactor did not run the function in time.
        """
        if threading.get_ident() == self._thread:
            return function(*args)
        return call_in_reactor(self._reactor, function, args)

    def in_reactor_later(self, function: Callable[[], None]) -> None:
        """Run a function in the reactor's thread, without waiting for it; at once if this is that
        thread."""
        if threading.get_ident() == self._thread:
            function()
        else:
            self._reactor.callFromThread(function)

    def stats(self) -> dict[str, Any]:
        """Return the statistics for the metrics page."""
        if not self._started:
            return {"ready": False}
        from cluster.django.revocation.revocable_clients import revocable_clients

        counts = statistics(self.websockets, self.http, self.publications, revocable_clients)
        return {
            "ready": self.is_ready(),
            "draining": int(self._drain is not None),
            "turn_seconds": self.latency.turns.as_dict(),
            "fanout_latency_seconds": self.latency.fanout.as_dict(),
            **counts,
        }

    def inspect(self, what: str, arguments: dict[str, Any]) -> Deferred[Any]:
        """Answer an operator's question; see cluster.node.inspection.

        Raises:
            ValueError: The question is not known, or an argument is wrong.
        """
        from cluster.node.inspection import Inspection

        return Inspection(self.websockets, self.http).ask(what, arguments)

    # Start.

    def _load_django(self) -> None:
        load_django(self.config.settings, self.django_is_loaded)
        from django.apps import apps

        if not apps.is_installed("cluster.django"):
            self.log.warn(
                '"cluster.django" is not in INSTALLED_APPS: WebSockets and feeds stay open when'
                " their session ends, and manage.py has neither c10k's runserver nor publish"
            )

    def _assemble(self) -> None:
        from cluster.django import conf
        from cluster.node.assembly import HttpParts, WebSocketParts

        settings = conf.load()
        self.websockets = WebSocketParts(
            self._reactor, self._make_bus(), self.config, settings, self._is_serving
        )
        self.http = HttpParts(
            self._reactor,
            self._application(),
            self.websockets,
            self.config,
            settings,
            self._is_serving,
        )
        self.publications = ExternalPublications(self.pubsub)
        self.publish_socket = PublishSocket(
            self.config.publish_socket, self.publications, self._reactor
        )
        self.external_requests = ExternalRequests(
            self.publications, self.pubsub.answer_external, self._reactor
        )
        self.pubsub.on_external_request = self.external_requests.receive
        self.latency = Latency(self.pubsub, self.websockets.end_of_turn, self._reactor)
        self.pubsub.remote_nodes.on_full = self._bus_full
        self.pubsub.on_up = self._bus_up

    def _attach(self) -> None:
        """Make this the node that the application code of this process uses."""
        from cluster.django.api import topics

        topics.attach(self)

    def _application(self) -> WSGIApplication:
        """Return the WSGI application for ordinary requests. Called after Django is loaded."""
        from django.core.servers.basehttp import get_internal_wsgi_application

        return get_internal_wsgi_application()

    def _make_bus(self) -> Bus:
        # Unique for each process: to the broker, a killed node and its replacement are two nodes.
        name = self.config.with_machine(f"{self.config.name}.{os.urandom(4).hex()}")
        if self.config.bus == "local":
            return LocalBus(name, self._reactor)
        keys = BusKeys.load(self.config.bus_keys, "node") if self.config.bus_keys else None
        return ZmqBus(name, self.config.bus, self._reactor, keys)

    def _is_serving(self) -> bool:
        return self._serving

    def _bus_up(self) -> None:
        if self.ready.called or self._is_starting:
            return
        lifespans = self.http.async_requests.lifespans
        if lifespans:
            self._is_starting = True
            starting = asyncio.ensure_future(lifespans.startup())
            Deferred.fromFuture(starting).addCallbacks(lambda _: self._begin(), self._cannot_start)
        else:
            self._begin()

    def _cannot_start(self, reason: Failure) -> None:
        if not self.ready.called:
            self.ready.errback(reason)

    def _begin(self) -> None:
        """Accept connections."""
        if self._drain is not None:
            return  # stopped meanwhile
        try:
            self._listen()
        except Exception:
            self.ready.errback()
            return
        tune_interpreter()
        self._serving = True
        self._stall_detector.start()
        self.latency.start()
        self.ready.callback(None)

    def _listen(self) -> None:
        self.websockets.sockets.reserve()
        for listening in self._listening_sockets:
            tls = None
            if listening.endpoint.startswith("ssl:"):
                tls = tls_context(
                    listening.certificate or read_certificate(parse_address(listening.endpoint))
                )
            sock = socket.socket(fileno=listening.fd)
            sock.listen(BACKLOG)  # no effect on most, which listen (supervisor.listening_slots)
            factory = self.http.protocol_detection
            port = Port(self._reactor, sock, factory, self.websockets.sockets, tls)
            port.startListening()
            self._ports.append(port)
        from cluster.django.external.node_lookup import site_name

        site = site_name()
        self.external_requests.start(site)
        if self.config.publish_socket:
            self.publish_socket.start(site)
        self.http.handover.start()

    def _bus_full(self, full: bool) -> None:
        """Resume the publishers, which WebSocket.publish paused while the bus was full."""
        if not full and self._started:
            for connection in self.websockets.connection_factory.connections:
                connection.resume("bus")
            self.http.socketio.resume("bus")
            self.publish_socket.resume()
            self.external_requests.resume()

    # Stop.

    async def _stop(self) -> None:
        if not self._started:
            self._stall_detector.stop()
            return
        self.external_requests.stop()
        await self.publish_socket.stop()
        spread = self.config.restart_spread if self.handing_over else None
        self._drain = Drain(self._reactor, self.websockets, self.http, self.config.drain_timeout)
        views_ended = await self._drain.run(self._ports, spread)
        self.http.handover.stop()
        self.http.static_files.close()
        self._serving = False
        self._stall_detector.stop()
        self.latency.stop()
        if self.websockets.epoll_reader is not None:
            self.websockets.epoll_reader.stop()
        if views_ended:
            self.http.site.pool.stop()
        self.http.async_requests.threads.stop()
        self.http.websocket_threads.stop()
        self.http.database.stop()
        self.websockets.connection_factory.log_summaries()
        self.pubsub.stop()
