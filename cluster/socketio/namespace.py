"""Namespace: the base class of a site's namespaces."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from twisted.logger import Logger

from cluster.django.api.database_threads import ain_database
from cluster.django.api.payloads import Payload
from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import checked_rooms, server_topic
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.bus.values import encode_value
from cluster.socketio.exceptions import AcknowledgementTimeout
from cluster.socketio.handlers import Handler, Handlers, handler_of, handlers_of
from cluster.socketio.interfaces import AnyServer
from cluster.socketio.limits import Limits
from cluster.socketio.operators import NODES_TIMEOUT_S, BroadcastOperator, SocketOperator
from cluster.socketio.receipts import EmitReceipt
from cluster.socketio.recovery.options import RecoveryOptions
from cluster.socketio.sending import in_loop, linked

_log = Logger("cluster.socketio")


class Namespace(BroadcastOperator):
    """A namespace: its methods ``on_…`` are the handlers of the events.

    ::

        class Chat(Namespace):
            async def on_connect(self, socket, auth):
                if not socket.user.is_authenticated:
                    raise ConnectionRefused("log in first")
                await socket.enter_room("lobby")

            async def on_message(self, socket, text):
                self.to("lobby").emit("message", socket.user.username, text)
                return "received"

            async def on_disconnect(self, socket, reason): ...

    ``on_connect(socket, auth)`` decides on a client: a ConnectionRefused or Django's
    PermissionDenied refuses it, and so does False as result. ``on_disconnect(socket, reason)`` is
    called once for each client that was accepted. ``on_any(socket, event, *args)`` takes events
    without a handler. Every other ``on_EVENT(socket, *args)`` handles an event; it returns the
    acknowledgement: None is one without arguments, a tuple one with several. ``@event("a name")``
    makes a method the handler of an event whose name is no identifier.

    The namespace itself sends to all of its sockets, on every node: ``emit``, ``to``, ``except_``,
    ``call``, ``fetch_sockets`` and the others of a BroadcastOperator.

    Coroutine functions run in the node's event loop, plain functions in a database thread.

    Attributes:
        checks: Functions or coroutine functions ``check(socket, auth)`` that are called before
            ``on_connect``, and refuse a client as that does.
        path: The name of the namespace, such as ``"/"`` or ``"/admin"``.
        server: The server.
    """

    checks: ClassVar[Sequence[Callable[..., Any]]] = ()

    path: str
    server: AnyServer
    handlers: Handlers
    all_checks: Sequence[Handler]
    limits: Limits

    def __init__(self) -> None:
        """Make the namespace; ``attach`` comes later."""

    def attach(self, server: AnyServer, path: str) -> None:
        """Make this the namespace of a server. The server calls it once.

        Args:
            server: The server.
            path: The name of the namespace.
        """
        BroadcastOperator.__init__(self, self)
        self.server = server
        self.path = path
        self.limits = server.limits
        self.handlers = handlers_of(self)
        checks = (*server.checks, *type(self).checks)
        self.all_checks = [handler_of(check, given=0) for check in checks]

    # Topics.

    def topic_of(self, room: str) -> str | None:
        """The public topic of a room: what ``publish`` sends to it reaches the room's sockets.

        Override it to choose other topics, such as that of a WebSocket handler. With recovery,
        rooms have no topics unless you override it: clients that come back do not receive the
        messages of topics that they have missed.

        Args:
            room: The name of the room.

        Returns:
            The name of the topic; None if the room has none.
        """
        if self.server.recovery is not None:
            return None
        return f"socketio{self.path.rstrip('/')}/{room}"

    def event_of(self, room: str, message: Payload) -> Sequence[Any] | None:
        """The event that a message of the public topic becomes, once on each node.

        Args:
            room: The name of the room.
            message: The message: str for text, bytes for binary.

        Returns:
            The name of the event and its arguments; None to ignore the message.
        """
        return "message", message

    # Receivers.

    @property
    def server_name(self) -> str:
        """The name of the server."""
        return self.server.name

    @property
    def recovery(self) -> RecoveryOptions | None:
        """The options of a server with recovery."""
        return self.server.recovery

    def link(self) -> NodeLink | None:
        """The server on the node of this process; None if this process is not a node."""
        link: NodeLink | None = self.server.link()
        return link

    def socket(self, id: str) -> SocketOperator:
        """One socket, on any node: ``await namespace.socket(id).call("event")``.

        Args:
            id: The id of the socket.

        Returns:
            The operator.
        """
        return SocketOperator(self, checked_rooms(id))

    def close_room(self, room: str, **how: Any) -> EmitReceipt:
        """Make all sockets leave a room.

        Args:
            room: The name of the room.
            **how: ``immediate`` and ``using``, as for ``emit``.

        Returns:
            The receipt.
        """
        return self.to(room).sockets_leave(room, **how)

    # Between servers.

    async def server_side_emit(
        self, event: str, *args: Any, answers: bool = False, timeout: float = NODES_TIMEOUT_S
    ) -> list[Any]:
        """Call ``server_side_on_EVENT(*args)`` of this namespace on all other nodes.

        Args:
            event: The name of the event.
            *args: What Django's JSON encoder accepts, with bytes at any depth.
            answers: Whether to wait for what the methods return.
            timeout: Seconds to wait.

        Returns:
            What they return, one for each other node; an empty list without ``answers``.

        Raises:
            AcknowledgementTimeout: A node has not answered; ``responses`` has the other answers.
            NotRunning: This process is not a node.
            TypeError: An argument cannot be encoded.
            ValueError: An argument has a NaN.
        """
        link = linked(self)
        flags = envelopes.ANSWERS if answers else 0
        parts = encode_value([event, *args])
        envelope = envelopes.Envelope(envelopes.SERVER_EVENT, self.path, parts=parts, flags=flags)
        topic = server_topic(self.server_name)

        async def ask() -> list[Any]:
            if not answers:
                link.request(topic, envelope)
                return []
            found, is_complete = await link.ask(topic, envelope, timeout)
            if not is_complete:
                raise AcknowledgementTimeout(f"not all nodes have answered {event!r}", found)
            return found

        return await in_loop(link, ask())

    async def server_event(self, event: str, arguments: Sequence[Any]) -> Any:
        """Call the handler of an event of another server, and return what it returns.

        The server calls it. Errors are logged; the other server waits without an answer then.

        Args:
            event: The name of the event.
            arguments: Its arguments.

        Returns:
            What the handler returns; None without a handler.
        """
        handler = self.handlers.server_events.get(event)
        if handler is None:
            return None
        try:
            if handler.is_coroutine:
                return await handler.call(*arguments)
            return await ain_database(handler.call, *arguments)
        except Exception:
            _log.failure("the handler of a server's event failed: {name}", name=handler.name)
            raise
