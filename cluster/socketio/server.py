"""SocketIO: a Socket.IO server at a place of the URLconf."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse

from cluster.core.interfaces import Node
from cluster.core.socketio.packets import PacketLimits
from cluster.django import conf
from cluster.django.api import topics
from cluster.django.api.payloads import Payload
from cluster.socketio.bus.addresses import checked_name, checked_namespace, server_topic
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.client.client import Client
from cluster.socketio.emitter import MAIN
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.engine.options import EngineOptions
from cluster.socketio.engine.server import EngineServer
from cluster.socketio.interfaces import servers
from cluster.socketio.limits import Limits
from cluster.socketio.namespace import Namespace
from cluster.socketio.recovery.options import recovery_options

CONNECT_TIMEOUT_S = 45.0
"""Seconds that a client has to connect to a namespace; as the reference server."""


class SocketIO:
    """A Socket.IO server: ``path("socket.io/", SocketIO({"/": Chat, "/admin": Admin}))``.

    It serves the clients of Engine.IO 4 and Socket.IO 5 over long polling and WebSocket. All nodes
    of the site are one server.

    Args:
        namespaces: The classes of the namespaces by their names. A class alone is ``"/"``.
        name: The name of the server; a site with several servers names them.
        checks: Checks of all namespaces; see ``Namespace.checks``.
        allow: ``allow(request, **captured)``, called once for each client before the handshake is
            answered, as the accept function of ``@websocket``.
        ping_interval: Seconds between the answer to a ping and the next ping.
        ping_timeout: Seconds that a client has to answer a ping.
        upgrade_timeout: Seconds that a client has to change from long polling to WebSocket.
        connect_timeout: Seconds that a client has to connect to a namespace.
        transports: The transports that are offered: ``"polling"`` and ``"websocket"``.
        allow_upgrades: Whether clients may change from long polling to WebSocket.
        max_payload: Bytes of the largest message of a client.
        max_attachments: Binary attachments of one packet of a client.
        max_namespaces: Namespaces of one client.
        max_rooms: Rooms of one socket.
        max_acknowledgements: Events that wait for the acknowledgement of one socket.
        recovery: Seconds that a client may be disconnected and then continue with the events that
            it has missed (``maxDisconnectionDuration`` of the reference server); None: clients
            that come back are new ones.
        recovery_events: How many of the newest events of each namespace are kept for that.

    Raises:
        TypeError: A namespace is not a Namespace, or ``allow`` is not a function.
        ValueError: A name is wrong, or a number.
    """

    def __init__(
        self,
        namespaces: Mapping[str, type[Namespace] | Namespace] | type[Namespace],
        *,
        name: str = MAIN,
        checks: Sequence[Callable[..., Any]] = (),
        allow: Callable[..., Any] | None = None,
        ping_interval: float = 25.0,
        ping_timeout: float = 20.0,
        upgrade_timeout: float = 10.0,
        connect_timeout: float = CONNECT_TIMEOUT_S,
        transports: Sequence[str] = ("polling", "websocket"),
        allow_upgrades: bool = True,
        max_payload: int = 1_000_000,
        max_attachments: int = 10,
        max_namespaces: int = 20,
        max_rooms: int = 1000,
        max_acknowledgements: int = 100,
        recovery: float | None = None,
        recovery_events: int = 10_000,
    ) -> None:
        for number in (max_attachments, max_namespaces, max_rooms, max_acknowledgements):
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"the limits of SocketIO are numbers above 0, not {number!r}")
        self.name = checked_name(name)
        self.checks = tuple(checks)
        self.recovery = recovery_options(recovery, recovery_events)
        self.limits = Limits(
            max_namespaces,
            max_rooms,
            max_acknowledgements,
            PacketLimits(attachments=max_attachments),
        )
        self.max_handlers = conf.DEFAULTS["RECEIVE_QUEUE_MESSAGES"]
        self.low_water = conf.DEFAULTS["SEND_QUEUE_LOW_WATER"]
        self.namespaces = _attached(self, namespaces)
        self._link: NodeLink | None = None
        self._connect_timeout = connect_timeout
        self._unconnected: dict[Client, float] = {}  # -> its deadline, in their order
        self._timer: asyncio.TimerHandle | None = None
        options = EngineOptions(
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            upgrade_timeout=upgrade_timeout,
            max_payload=max_payload,
            transports=tuple(transports),
            allow_upgrades=allow_upgrades,
        )
        self._be_view(EngineServer(self._on_client, options, allow=allow).view())
        servers[self.name] = self
        topics.listen(server_topic(self.name), self.take)

    def _be_view(self, view: Any) -> None:
        """Carry what the view of the transports carries, so that the URLconf has this object."""
        self._view = view
        vars(self).update(vars(view))
        self.websocket_handler = replace(view.websocket_handler, view=self)
        self.__name__ = self.__qualname__ = type(self).__name__
        self.__module__ = type(self).__module__

    def __call__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer what reaches Django's views; the node answers the clients' requests."""
        response: HttpResponse = self._view(request, *args, **kwargs)
        return response

    def of(self, namespace: str) -> Namespace:
        """The namespace with a name.

        Args:
            namespace: The name, such as ``"/admin"``.

        Returns:
            The namespace.

        Raises:
            KeyError: There is none.
        """
        return self.namespaces[namespace]

    # The node.

    def link(self) -> NodeLink | None:
        """The server on the node of this process; None if this process is not a node."""
        node, link = topics.node, self._link
        if link is not None and link.node is node:
            return link
        # capture_publications has a stand-in for a node, which has no subscribers.
        if node is None or not hasattr(node.pubsub, "follow"):
            return None
        made: NodeLink = node.in_reactor(self._linked, node)
        return made

    def take(self, message: Payload) -> None:
        """What other nodes send to every node."""
        link = self.link()
        if link is not None:
            link.take(message)

    def _linked(self, node: Node) -> NodeLink:
        link = self._link
        if link is None or link.node is not node:
            # A node of an earlier test has ended with its event loop.
            if link is not None and not link.loop.is_closed():
                link.stop()
            settings = conf.load()
            self.max_handlers = settings["RECEIVE_QUEUE_MESSAGES"]
            self.low_water = settings["SEND_QUEUE_LOW_WATER"]
            link = self._link = NodeLink(node, self.name, self.namespaces, self.recovery)
            self._unconnected.clear()
            self._timer = None
        return link

    # Clients.

    def _on_client(self, engine: EngineClient) -> None:
        link = self.link()
        assert link is not None  # a client is connected to the node of this process
        client = Client(self, link, engine)
        deadline = link.loop.time() + self._connect_timeout
        self._unconnected[client] = deadline
        if self._timer is None:
            self._timer = link.loop.call_at(deadline, self._close_unconnected)

    def _close_unconnected(self) -> None:
        """Close the clients that have connected to no namespace in time."""
        self._timer = None
        loop = asyncio.get_running_loop()
        overdue = []
        for client, deadline in self._unconnected.items():
            if deadline > loop.time():
                self._timer = loop.call_at(deadline, self._close_unconnected)
                break
            overdue.append(client)
        for client in overdue:
            client.engine.close("forced close")

    def no_deadline(self, client: Any) -> None:
        """A client has connected to a namespace, or is gone: it is not closed, nor kept.

        Args:
            client: The Client.
        """
        self._unconnected.pop(client, None)


def _attached(
    server: SocketIO, given: Mapping[str, type[Namespace] | Namespace] | type[Namespace]
) -> dict[str, Namespace]:
    """The namespaces of a server."""
    if isinstance(given, type):
        given = {"/": given}
    found = {}
    for path, namespace in given.items():
        made = namespace() if isinstance(namespace, type) else namespace
        if not isinstance(made, Namespace):
            raise TypeError(f"{path!r}: a namespace is a class of Namespace, not {namespace!r}")
        made.attach(server, checked_namespace(path))
        found[path] = made
    return found
