"""Creates and connects the parts of a node.

``WebSocketParts`` opens no sockets and starts no threads, so ``cluster.testing`` runs it in memory.
``HttpParts`` has the other parts of a real node. Both import from ``cluster.django``, so import
this module after Django is loaded.
"""

from collections.abc import Callable
from typing import Any, ClassVar
from wsgiref.types import WSGIApplication

from cluster.asgi.async_streams import refusing_async_streams
from cluster.asgi.async_threads import AsyncThreads
from cluster.asgi.async_views import AsyncRequests
from cluster.asgi.scope import Application
from cluster.asgi.site_application import load_application, match_of
from cluster.django.api.database_threads import DatabasePool
from cluster.django.client_expiry import ClientExpiry
from cluster.django.feeds.http_requests import FeedRequests
from cluster.django.handshake.dispatcher import Dispatcher
from cluster.django.handshake.proxies import Proxies
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.handover.handover import Handover
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.epoll_reader import EpollReader
from cluster.net.protocol_detection import ProtocolDetectorFactory
from cluster.net.websocket.connection_factory import ConnectionFactory
from cluster.node.access_log import AccessLog
from cluster.node.config import HttpLimits, NodeConfig
from cluster.node.http import DjangoSite
from cluster.node.responses.static_files import StaticFiles
from cluster.pubsub.bus import Bus
from cluster.pubsub.pubsub import PubSub
from cluster.socketio.engine.registry import sessions
from cluster.socketio.engine.requests import SocketIORequests

PACE = 8.0
"""The pause after publications were sent, as a multiple of the time that it took (see
cluster.net.loop.end_of_turn). So sending takes at most a ninth of a busy node's time."""


class WebSocketParts:
    """Topics and WebSocket connections of a node.

    Args:
        reactor: The reactor of the node, or an object with the same ``callLater`` and ``seconds``.
        bus: The bus to other nodes. The caller starts it.
        config: The node's configuration.
        settings: The C10K setting with all its keys (cluster.django.conf).
        is_serving: Whether the node accepts new connections.
    """

    pubsub_class: ClassVar[type[PubSub]] = PubSub
    dispatcher_class: ClassVar[type[Dispatcher]] = Dispatcher
    connection_factory_class: ClassVar[type[ConnectionFactory]] = ConnectionFactory
    epoll_reader_class: ClassVar[type[EpollReader] | None] = EpollReader

    def __init__(
        self,
        reactor: Any,
        bus: Bus,
        config: NodeConfig,
        settings: dict[str, Any],
        is_serving: Callable[[], bool],
    ) -> None:
        self.end_of_turn = EndOfTurn(reactor, 0.0 if config.bus == "local" else PACE)
        make_reader = self.epoll_reader_class
        self.epoll_reader = None if make_reader is None else make_reader(reactor, self.end_of_turn)
        self.pubsub = self.pubsub_class(
            bus, self.end_of_turn.published, self.end_of_turn.schedule_published, reactor
        )
        self.end_of_turn.send_to_bus = self.pubsub.flush
        self.expiry = ClientExpiry(reactor, settings)
        self.proxies = Proxies(config.proxy_headers)
        self.sockets = SocketLimits(
            settings["MAX_CONNECTIONS"],
            settings["MAX_CONNECTIONS_PER_CLIENT"],
            self.proxies.trusts,
        )
        self.pubsub.on_much_unsent = self.end_of_turn.budget.hold
        self.dispatcher = self.dispatcher_class(
            self.pubsub, settings, is_serving, self.expiry, self.proxies, self.sockets
        )
        asgi = config.asgi or settings["ASGI"]
        self.site_application: Application | None = None
        """The ASGI application of the whole site."""
        if asgi:
            source = "--asgi" if config.asgi else "C10K['ASGI']"
            self.site_application = load_application(asgi, source)
            self.dispatcher.otherwise = match_of(self.site_application)
        self.connection_factory = self.connection_factory_class(
            self.end_of_turn,
            self.epoll_reader,
            ping_interval=config.ping_interval,
            ping_timeout=config.ping_timeout,
            max_message_size=config.max_message_size,
            close_timeout=settings["CLOSE_TIMEOUT"],
            handshake_timeout=settings["HANDSHAKE_TIMEOUT"],
            high_water=settings["SEND_QUEUE_HIGH_WATER"],
            compression=settings["COMPRESSION"],
            is_counted=config.access_log,
        )
        sessions.attach(self.end_of_turn, settings, self.dispatcher.rate)
        self.connection_factory.on_request = self.dispatcher.request
        self.connection_factory.on_open = self.dispatcher.opened
        self.connection_factory.on_close = self.dispatcher.closed
        self.connection_factory.on_abandoned = self.dispatcher.abandoned
        self.connection_factory.on_error = self.dispatcher.failed


class HttpParts:
    """Views, feeds, database threads and protocol detection of a node.

    Args:
        reactor: The reactor of the node.
        application: The WSGI application for ordinary requests.
        websockets: The WebSocket parts, which share the ports with these.
        config: The node's configuration.
        settings: The C10K setting with all its keys.
        is_serving: Whether the node accepts new connections.
    """

    def __init__(
        self,
        reactor: Any,
        application: WSGIApplication,
        websockets: WebSocketParts,
        config: NodeConfig,
        settings: dict[str, Any],
        is_serving: Callable[[], bool],
    ) -> None:
        build_websocket = websockets.connection_factory.buildProtocol
        self.database = DatabasePool(settings["DATABASE_THREADS"], settings["DATABASE_QUEUE"])
        self.site = DjangoSite(
            reactor,
            refusing_async_streams(application),
            build_websocket,
            threads=settings["WSGI_THREADS"],
            queue=settings["WSGI_QUEUE"],
            limits=HttpLimits.of(settings),
            sockets=websockets.sockets,
            proxies=websockets.proxies,
        )
        self.feeds = FeedRequests(
            websockets.pubsub,
            settings,
            is_serving,
            websockets.dispatcher.occupancy,
            websockets.expiry,
            websockets.end_of_turn,
        )
        self.socketio = SocketIORequests(
            settings, is_serving, websockets.dispatcher.occupancy, websockets.expiry
        )
        self.static_files = StaticFiles(application, websockets.site_application)
        self.site.on_static_file = self.static_files.take
        self.site.on_request = lambda request: (
            self.socketio.take(request) or self.feeds.take(request)
        )
        self.site.budget = websockets.end_of_turn.budget
        self.async_requests = AsyncRequests(
            reactor, settings, self.site.budget, websockets.dispatcher.otherwise
        )
        self.websocket_threads = AsyncThreads(settings["WSGI_THREADS"], closes_by_age=True)
        websockets.dispatcher.threads = self.websocket_threads
        self.site.on_view = self.async_requests.take
        if config.access_log:
            access_log = AccessLog(reactor)
            access_log.watch(websockets.connection_factory)
            self.site.on_response = access_log.http
        self.protocol_detection = ProtocolDetectorFactory(
            reactor, build_websocket, self.site.buildProtocol, settings["HANDSHAKE_TIMEOUT"]
        )
        self.protocol_detection.budget = websockets.end_of_turn.budget
        self.handover = Handover(
            config.handover_folder, reactor, self.protocol_detection, websockets.sockets
        )
        if config.handover_folder:
            self.site.handover = self.handover
            self.protocol_detection.hand_over = self.handover.first_request
