"""How a node ends its work: it serves what it has accepted, and closes its clients in batches.

When its replacement serves already (``hand_over``), the two share the listening sockets:

* the node accepts no more connections; those in the kernel's queue go to the replacement;
* it continues to serve the connections that it has, also those whose handshake or first request is
  not complete;
* WebSockets are closed with 1012, streams of feeds end with a ``retry`` field, polls are answered,
  and sessions of Socket.IO over polling end with a close packet: in batches, spread over a given
  time, so that the clients do not reconnect all at once;
* an HTTP connection ends with its next response, which announces that (``Connection: close``), or
  when it has been idle for IDLE_GRACE_S.

When the cluster stops, new handshakes are refused, clients are closed with 1001, over a shorter
time, and idle HTTP connections at once.

In both cases views, handlers and responses have the drain timeout. Async views that still run are
cancelled then. At last what all of them have published is delivered to the other nodes.
"""

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from cluster.net.websocket.autobahn_protocol import OPEN

if TYPE_CHECKING:  # the module needs Django, which is loaded when the node starts
    from cluster.node.assembly import HttpParts, WebSocketParts

GOING_AWAY = 1001, "the server is going away"
RESTART = 1012, "the server is restarting"
"""Close codes of RFC 6455, section 7.4, and the IANA registry, with their reasons."""

STOP_RATE = 500
"""Clients that are closed in a second when the cluster stops, or more if a quarter of the drain
timeout would not suffice."""

BATCH_S = 0.25
"""Seconds between two batches; the pause varies from half to one and a half of it."""

IDLE_GRACE_S = 1.0
"""Seconds for which an idle HTTP connection remains open, so that a client that is about to send
its next request receives a response. A request that crosses the close would be reset."""

DELIVERY_S = 1.0
"""Seconds that the other nodes and the broker have to acknowledge what this node has published.
They take a tenth of it, unless one of them stops or is gone."""

CANCEL_S = 0.5
"""Seconds that async views have for their clean-up after they were cancelled, and that ASGI
applications have at least for their shutdown."""

POLL_S = 0.02
"""Seconds between two looks at what is still running."""


class Drain:
    """Call ``run`` once. ``hurry`` ends the spreading early.

    Args:
        reactor: The reactor of the node.
        websockets: The WebSocket parts of the node.
        http: Its HTTP parts.
        drain_timeout: Seconds for everything except the spreading of a restart.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, websockets: "WebSocketParts", http: "HttpParts", drain_timeout: float
    ) -> None:
        self._reactor = reactor
        self._websockets = websockets
        self._http = http
        self._drain_timeout = drain_timeout
        self._code, self._reason = GOING_AWAY
        self._spread_end = self._deadline = 0.0

    def hurry(self) -> None:
        """Close the remaining clients now: the cluster stops while this node hands over."""
        self._code, self._reason = GOING_AWAY
        self._spread_end = self._reactor.seconds()
        self._deadline = self._spread_end + self._drain_timeout

    async def run(self, ports: Sequence[Any], restart_spread: float | None) -> bool:
        """Stop accepting, and finish the work of all clients.

        Args:
            ports: The listening ports.
            restart_spread: If a replacement serves: seconds over which the clients are closed. None
                if the cluster stops.

        Returns:
            Whether all views have ended.
        """
        now = self._reactor.seconds()
        if restart_spread is not None:
            self._code, self._reason = RESTART
            self._spread_end = now + restart_spread
            self._deadline = self._spread_end + self._drain_timeout
        else:
            self._deadline = now + self._drain_timeout
            self._spread_end = now + min(len(self._clients()) / STOP_RATE, self._drain_timeout / 4)
        for port in ports:
            port.stopListening()
        site, websockets = self._http.site, self._websockets
        requests = self._http.async_requests
        site.is_closing = True
        grace = 0.0 if restart_spread is None else IDLE_GRACE_S
        await self._close_in_batches(grace)
        websockets.dispatcher.refuse_undecided()
        websockets.end_of_turn.flush_all()
        connections = websockets.connection_factory.connections
        await self._wait_while(
            lambda: bool(connections or site.views.active or requests.active or site.channels),
            grace,
        )
        views_ended = not site.views.active
        if not views_ended:
            self.log.warn("views still run at the end of the drain timeout; leaving them")
        # Handlers end after their clients are gone, and may run clean-up code first.
        await self._wait_while(
            lambda: bool(
                websockets.dispatcher.running
                or self._http.socketio.running
                or self._http.database.active
            ),
            grace,
        )
        running = websockets.dispatcher.running + self._http.socketio.running
        if running:
            self.log.warn(
                "handlers still run at the end of the drain timeout ({count}); cancelling them",
                count=running,
            )
            websockets.dispatcher.cancel_running()
            self._http.socketio.cancel_running()
            await deferLater(self._reactor, POLL_S, lambda: None)  # for their clean-up
        if requests.active:
            self.log.warn(
                "async views still run at the end of the drain timeout ({count}); cancelling them",
                count=requests.active,
            )
            requests.cancel()
            self._deadline = self._reactor.seconds() + CANCEL_S
            await self._wait_while(lambda: bool(requests.active), grace)
        if requests.lifespans:
            seconds = max(CANCEL_S, self._deadline - self._reactor.seconds())
            ending = asyncio.ensure_future(requests.lifespans.shutdown(seconds))
            await Deferred.fromFuture(ending)
        await self._deliver()
        return views_ended

    async def _deliver(self) -> None:
        """Wait until the publications of the last views and handlers have arrived."""
        deadline = self._reactor.seconds() + DELIVERY_S
        while self._websockets.pubsub.queued_bytes and self._reactor.seconds() < deadline:
            await deferLater(self._reactor, POLL_S, lambda: None)

    def _clients(self) -> list[Any]:
        """The open WebSockets, the clients of feeds over HTTP, and those that are connected to
        other processes through this one."""
        connections = self._websockets.connection_factory.connections
        opened = [each for each in connections if each.state == OPEN]
        return [
            *opened,
            *self._http.feeds.open_clients,
            *self._http.socketio.open_clients,
            *self._http.handover.tunnels,
        ]

    async def _close_in_batches(self, grace: float) -> None:
        """Close all clients, at random, until the end of the spread. New ones may come
        meanwhile."""
        factory, dispatcher = self._http.protocol_detection, self._websockets.dispatcher
        while (clients := self._clients()) or (
            self._reactor.seconds() < self._spread_end and (factory.waiting or dispatcher.deciding)
        ):
            remaining = max(0.0, self._spread_end - self._reactor.seconds())
            size = math.ceil(len(clients) / (int(remaining / BATCH_S) + 1))
            for client in random.sample(clients, size):
                self._close(client)
            self._websockets.end_of_turn.flush_all()
            self._http.site.close_idle(grace)
            if remaining <= 0:
                return
            pause = min(BATCH_S * random.uniform(0.5, 1.5), remaining)
            await deferLater(self._reactor, pause, lambda: None)

    def _close(self, client: Any) -> None:
        try:
            client.close(self._code, self._reason)
        except Exception:
            self.log.failure("closing a client failed")

    async def _wait_while(self, condition: Callable[[], bool], grace: float) -> None:
        while condition() and self._reactor.seconds() < self._deadline:
            self._http.site.close_idle(grace)
            await deferLater(self._reactor, POLL_S, lambda: None)
