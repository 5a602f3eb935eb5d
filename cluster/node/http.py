"""The HTTP side of a node: ordinary Django views in a bounded pool of threads.

It adds limits to twisted.web's WSGI support: http_channel has the timeouts of a connection,
http_request and request_bodies the limits of a body, and view_threads those of waiting requests.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIApplication

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Site

from cluster.django.handshake.proxies import Proxies
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.handover.handover import Handover
from cluster.net.loop.turn_budget import TurnBudget
from cluster.node.config import HttpLimits
from cluster.node.http_channel import BoundedChannel
from cluster.node.http_request import BoundedRequest
from cluster.node.request_bodies import RequestBodies
from cluster.node.thread_pool import ThreadPool
from cluster.node.view_threads import ViewThreads


def _ignore(request: HTTPRequest) -> None:
    """A node without an access log."""


class DjangoSite(Site):
    """The HTTP side of a node.

    Assign ``on_request`` to answer some requests without Django's views: it is called with each
    request, and returns True if it answers the request itself.

    Args:
        reactor: The reactor of the node.
        application: The WSGI application.
        build_websocket: Called with the client's address; returns the protocol for an upgrade.
        threads: The number of views that may run at the same time.
        queue: The number of requests that may wait for a thread. Further ones are answered 503.
        limits: The limits of requests.
        sockets: The limits of sockets, for the clients of proxies.
        proxies: The proxies whose X-Forwarded-For and X-Forwarded-Proto count.
    """

    def __init__(
        self,
        reactor: Any,
        application: WSGIApplication,
        build_websocket: Callable[[IAddress], IProtocol | None],
        *,
        threads: int,
        queue: int,
        limits: HttpLimits,
        sockets: SocketLimits | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self.pool = ThreadPool(threads, "views")
        self.views = ViewThreads(reactor, self.pool, application, queue)
        super().__init__(Resource(), reactor=reactor)
        self.displayTracebacks = False
        self.on_request: Callable[[BoundedRequest], bool] = lambda request: False
        self.on_static_file: Callable[[BoundedRequest], bool] = lambda request: False
        """Called before ``on_request``, in the same way."""
        self.on_view: Callable[[BoundedRequest], bool] = lambda request: False
        """Called with each request for a view; returns True if the event loop answers it."""
        self.build_websocket = build_websocket
        self.handover: Handover | None = None
        """Hands requests over whose session belongs to another process of this machine."""
        self.limits = limits
        self.sockets = sockets or SocketLimits()
        self.proxies = proxies or Proxies()
        self.bodies = RequestBodies(limits.max_bodies, limits.max_body, self.sockets)
        self.limited: Counter[str] = Counter()
        """Requests that were refused or not awaited, by reason: "slow_header", "slow_body",
        "slow_reader", "request_bodies"."""
        self.channels: set[BoundedChannel] = set()
        """The open HTTP connections."""
        self.is_closing = False
        """Whether the node stops: each response is the last one of its connection."""
        self.on_response: Callable[[HTTPRequest], None] = _ignore
        """Called with each request when its response is complete or its client has left."""
        self.clock = reactor
        self.budget = TurnBudget(reactor)
        """The budget of the event loop. The node replaces it with the one that all parts share."""
        self.requestFactory: Any = self._make_request
        self.protocol: Any = BoundedChannel

    def _make_request(self, *args: Any, **kwargs: Any) -> BoundedRequest:
        request = BoundedRequest(*args, **kwargs)
        request.site = self
        request.began = self.clock.seconds()
        return request

    def log(self, request: HTTPRequest) -> None:
        """Called by twisted.web when a response is complete."""
        self.on_response(request)

    def close_idle(self, grace: float) -> None:
        """Close the connections that have been idle for ``grace`` seconds. Call it repeatedly."""
        now = self.clock.seconds()
        for channel in list(self.channels):
            channel.close_if_idle(now, grace)
