"""Operators: whom an event is for, and how it is sent; each method returns a new operator.

::

    socket.to("lobby").except_("muted").emit("news", {"id": 1})
    namespace.timeout(5).call("are you there?")
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from cluster.core.exceptions import NotRunning
from cluster.django.api.publication import Publication
from cluster.django.api.publishing import publish_all
from cluster.django.api.receipt import Receipt
from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import checked_rooms, server_topic, topic_for
from cluster.socketio.bus.emits import Emit, event_packet, publication, publication_of, result_of
from cluster.socketio.bus.envelopes import Envelope
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.exceptions import AcknowledgementTimeout
from cluster.socketio.receipts import EmitReceipt
from cluster.socketio.recovery.options import RecoveryOptions

T = TypeVar("T")

TIMEOUT_S = 60.0
"""Seconds for an acknowledgement, unless the caller says otherwise; as in python-socketio."""

NODES_TIMEOUT_S = 5.0
"""Seconds for the answers of other nodes."""


class NamespaceReference(Protocol):
    """A namespace of a server."""

    @property
    def path(self) -> str:
        """The name of the namespace."""

    @property
    def server_name(self) -> str:
        """The name of the server."""

    @property
    def recovery(self) -> RecoveryOptions | None:
        """The options of a server with recovery."""

    def link(self) -> NodeLink | None:
        """The server on the node of this process; None if this process is not a node."""


class BroadcastOperator:
    """The receivers of an event. You do not create one yourself.

    ``to``, ``in_``, ``except_``, ``volatile``, ``local`` and ``timeout`` return further operators;
    the other methods send. All may be called in any thread of any process with the site's settings,
    unless they say otherwise.
    """

    __slots__ = ("_is_local", "_is_volatile", "_namespace", "_rooms", "_skipped", "_timeout")

    def __init__(
        self,
        namespace: NamespaceReference,
        rooms: tuple[str, ...] = (),
        skipped: tuple[str, ...] = (),
        is_volatile: bool = False,
        is_local: bool = False,
        timeout: float = TIMEOUT_S,
    ) -> None:
        self._namespace = namespace
        self._rooms = rooms
        self._skipped = skipped
        self._is_volatile = is_volatile
        self._is_local = is_local
        self._timeout = timeout

    def _with(self, **changed: Any) -> "BroadcastOperator":
        values: dict[str, Any] = {
            "rooms": self._rooms,
            "skipped": self._skipped,
            "is_volatile": self._is_volatile,
            "is_local": self._is_local,
            "timeout": self._timeout,
        }
        return BroadcastOperator(self._namespace, **(values | changed))

    # Whom.

    def to(self, room: str | Sequence[str]) -> "BroadcastOperator":
        """Send to a room, besides the rooms that are named already.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.

        Raises:
            TypeError: A name is not text.
            ValueError: A name is empty or too long.
        """
        return self._with(rooms=tuple(dict.fromkeys((*self._rooms, *checked_rooms(room)))))

    def in_(self, room: str | Sequence[str]) -> "BroadcastOperator":
        """Send to a room: another name of ``to``.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.
        """
        return self.to(room)

    def except_(self, room: str | Sequence[str]) -> "BroadcastOperator":
        """Do not send to a room.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.

        Raises:
            TypeError: A name is not text.
            ValueError: A name is empty or too long.
        """
        return self._with(skipped=tuple(dict.fromkeys((*self._skipped, *checked_rooms(room)))))

    @property
    def volatile(self) -> "BroadcastOperator":
        """Send only to clients that are writable now; others miss the event."""
        return self._with(is_volatile=True)

    @property
    def local(self) -> "BroadcastOperator":
        """Send only to the sockets of this node."""
        return self._with(is_local=True)

    def timeout(self, seconds: float) -> "BroadcastOperator":
        """Wait so long for acknowledgements.

        Args:
            seconds: Seconds.

        Returns:
            The operator.
        """
        return self._with(timeout=seconds)

    # Events.

    def emit(
        self, event: str, *args: Any, immediate: bool = False, using: str | None = None
    ) -> EmitReceipt:
        """Send an event to the receivers, on every node.

        In a handler or another coroutine of the node's event loop it is sent now. Everywhere else
        ``publish`` decides: inside a database transaction it is sent after the commit, and
        ``C10K["PUBLISH_WITHOUT_CLUSTER"]`` counts if no cluster is running.

        Args:
            event: The name of the event.
            *args: What Django's JSON encoder accepts, with bytes at any depth.
            immediate: Send now, even inside a transaction.
            using: The alias of the database whose transaction counts; the default one without it.

        Returns:
            The receipt: how many nodes have receivers. ``await`` it to wait while the bus is full.

        Raises:
            TypeError: An argument cannot be encoded.
            ValueError: The event is reserved by Socket.IO, or an argument has a NaN.
            NotRunning: No cluster is running, and the setting is ``"error"``.
            NotPublished: The node refused the event, or did not answer.
        """
        namespace = self._namespace
        packet = event_packet(namespace.path, event, args)
        emit = Emit(namespace.path, packet, self._rooms, self._skipped, self._is_volatile)
        link = namespace.link()
        if link is not None and link.node.is_reactor_thread():
            nodes, here = link.emit(emit, self._is_local)
            return EmitReceipt(Receipt(nodes, here), lambda: link.pubsub.full)
        if self._is_local:
            if link is None:
                raise NotRunning("local: this process is not a node")
            nodes, here = link.node.in_reactor(link.emit, emit, True)
            return EmitReceipt(Receipt(nodes, here))
        sent = publication_of(namespace.server_name, emit, recovery=namespace.recovery)
        return _publish(sent, immediate, using)

    def send(self, *args: Any) -> EmitReceipt:
        """Send the event ``message``, as ``emit`` does.

        Args:
            *args: The arguments of the event.

        Returns:
            The receipt.
        """
        return self.emit("message", *args)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event, and wait for the acknowledgements of all receivers.

        Only nodes can call.

        Args:
            event: The name of the event.
            *args: Its arguments, as for ``emit``.
            timeout: Seconds to wait; in place of the method ``timeout``.

        Returns:
            A list: what each client passed to its callback, None, one value, or a tuple of several.

        Raises:
            AcknowledgementTimeout: Not all have answered in time; ``responses`` has the others.
            NotRunning: This process is not a node.
            RuntimeError: Too many calls wait.
            TypeError: An argument cannot be encoded.
            ValueError: The event is reserved by Socket.IO, or an argument has a NaN.
        """
        namespace = self._namespace
        packet = event_packet(namespace.path, event, args)
        emit = Emit(namespace.path, packet, self._rooms, self._skipped)
        seconds = self._timeout if timeout is None else timeout
        link = linked(namespace)
        answers, is_complete = await in_loop(link, link.call(emit, seconds, self._is_local))
        responses = [result_of(arguments) for arguments in answers]
        if not is_complete:
            raise AcknowledgementTimeout(
                f"not all clients have acknowledged {event!r}; {len(responses)} have", responses
            )
        return responses

    # Sockets.

    async def fetch_sockets(self) -> list[Any]:
        """Ask all nodes for the receivers. Only nodes can ask.

        Returns:
            A list of RemoteSocket.

        Raises:
            AcknowledgementTimeout: A node has not answered; ``responses`` has the sockets of the
                others.
            NotRunning: This process is not a node.
        """
        namespace = self._namespace
        link = linked(namespace)
        answers, is_complete = await in_loop(
            link, _fetch(link, self._is_local, self._question(envelopes.FETCH))
        )
        found = [RemoteSocket(namespace, each) for answer in answers for each in answer]
        if not is_complete:
            raise AcknowledgementTimeout("not all nodes have answered", found)
        return found

    def sockets_join(self, room: str | Sequence[str], **how: Any) -> EmitReceipt:
        """Make the receivers enter a room, or several.

        Args:
            room: The name of the room, or a list of names.
            **how: ``immediate`` and ``using``, as for ``emit``.

        Returns:
            The receipt.
        """
        return self._act(envelopes.ENTER, checked_rooms(room), 0, **how)

    def sockets_leave(self, room: str | Sequence[str], **how: Any) -> EmitReceipt:
        """Make the receivers leave a room, or several.

        Args:
            room: The name of the room, or a list of names.
            **how: ``immediate`` and ``using``, as for ``emit``.

        Returns:
            The receipt.
        """
        return self._act(envelopes.LEAVE, checked_rooms(room), 0, **how)

    def disconnect_sockets(self, close: bool = False, **how: Any) -> EmitReceipt:
        """Disconnect the receivers from the namespace.

        Args:
            close: Whether to close their clients, with all their namespaces.
            **how: ``immediate`` and ``using``, as for ``emit``.

        Returns:
            The receipt.
        """
        flags = envelopes.CLOSE if close else 0
        return self._act(envelopes.DISCONNECT, ("",), flags, **how)

    def _question(self, kind: int, parts: Sequence[bytes] = (), flags: int = 0) -> Envelope:
        return Envelope(kind, self._namespace.path, self._rooms, self._skipped, parts, flags)

    def _act(
        self,
        kind: int,
        names: Sequence[str],
        flags: int,
        *,
        immediate: bool = False,
        using: str | None = None,
    ) -> EmitReceipt:
        namespace = self._namespace
        envelope = self._question(kind, [name.encode() for name in names], flags)
        by_token = namespace.recovery is None
        topic = topic_for(namespace.server_name, namespace.path, self._rooms, by_token)
        link = namespace.link()
        if link is not None and link.node.is_reactor_thread():
            link.act(envelope)
            nodes = 0 if self._is_local else link.request(topic, envelope)
            return EmitReceipt(Receipt(nodes))
        return _publish(publication(topic, envelope), immediate, using)


class SocketOperator(BroadcastOperator):
    """One socket as receiver, for ``socket.volatile`` and ``socket.timeout``.

    You do not create one yourself.
    """

    __slots__ = ()

    def _alone(self, **changed: Any) -> "SocketOperator":
        """This socket as receiver, with other flags."""
        operator = self._with(**changed)
        return SocketOperator(
            self._namespace, self._rooms, (), operator._is_volatile, False, operator._timeout
        )

    @property
    def volatile(self) -> "SocketOperator":
        """Send only if the client is writable now."""
        return self._alone(is_volatile=True)

    def timeout(self, seconds: float) -> "SocketOperator":
        """Wait so long for the acknowledgement.

        Args:
            seconds: Seconds.

        Returns:
            The operator.
        """
        return self._alone(timeout=seconds)

    def to(self, room: str | Sequence[str]) -> BroadcastOperator:
        """Send to a room, but not to this socket.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.
        """
        return self._with(rooms=checked_rooms(room), skipped=self._rooms)

    def except_(self, room: str | Sequence[str]) -> BroadcastOperator:
        """Send to all sockets but this one and those of a room.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.
        """
        return self._with(rooms=(), skipped=(*self._rooms, *checked_rooms(room)))

    @property
    def broadcast(self) -> BroadcastOperator:
        """Send to all sockets but this one."""
        return self._with(rooms=(), skipped=self._rooms)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event to the socket, and wait for its acknowledgement.

        Args:
            event: The name of the event.
            *args: Its arguments, as for ``emit``.
            timeout: Seconds to wait; in place of the method ``timeout``.

        Returns:
            What the client passed to its callback: None, one value, or a tuple of several.

        Raises:
            AcknowledgementTimeout: There is no acknowledgement in time.
            NotRunning: This process is not a node.
            RuntimeError: Too many calls wait.
            TypeError: An argument cannot be encoded.
            ValueError: The event is reserved by Socket.IO, or an argument has a NaN.
        """
        responses = await super().call(event, *args, timeout=timeout)
        if not responses:
            raise AcknowledgementTimeout(f"no such client to acknowledge {event!r}")
        return responses[0]


class RemoteSocket(SocketOperator):
    """A socket of any node. You do not create one yourself: ``fetch_sockets`` returns them.

    ``emit``, ``send``, ``call``, ``volatile`` and ``timeout`` send to it.

    Attributes:
        id: The id of the socket.
        rooms: The rooms that it was in, its own id among them.
        data: Its data, as JSON; empty if it is not JSON.
        user_key: The primary key of its user, as text; None for guests.
        address: The address of its client.
    """

    __slots__ = ("address", "data", "id", "rooms", "user_key")

    def __init__(self, namespace: NamespaceReference, described: dict[str, Any]) -> None:
        self.id: str = described["id"]
        self.rooms = frozenset(described["rooms"])
        self.data: dict[str, Any] = described["data"]
        self.user_key: str | None = described["user"]
        self.address: str = described["address"]
        super().__init__(namespace, (self.id,))

    def __repr__(self) -> str:
        return f"<RemoteSocket {self.id}>"

    def enter_room(self, room: str | Sequence[str]) -> EmitReceipt:
        """Make the socket enter a room, or several.

        Args:
            room: The name of the room, or a list of names.

        Returns:
            The receipt.
        """
        return self.sockets_join(room)

    def leave_room(self, room: str | Sequence[str]) -> EmitReceipt:
        """Make the socket leave a room, or several.

        Args:
            room: The name of the room, or a list of names.

        Returns:
            The receipt.
        """
        return self.sockets_leave(room)

    def disconnect(self, close: bool = False) -> EmitReceipt:
        """Disconnect the socket from the namespace.

        Args:
            close: Whether to close its client, with all its namespaces.

        Returns:
            The receipt.
        """
        return self.disconnect_sockets(close)


def linked(namespace: NamespaceReference) -> NodeLink:
    """The server on the node of this process. Raises NotRunning if there is none."""
    link = namespace.link()
    if link is None:
        raise NotRunning("this process is not a node: calls need the node of a Socket.IO server")
    return link


async def in_loop(link: NodeLink, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the event loop of the node, from any event loop."""
    if link.node.is_reactor_thread():
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, link.loop))


async def _fetch(link: NodeLink, is_local: bool, question: Envelope) -> tuple[list[Any], bool]:
    found = link.local[question.namespace].select(question.rooms, question.skipped)
    here = [socket.describe() for socket in found]
    if is_local:
        return [here], True
    answers, is_complete = await link.ask(server_topic(link.name), question, NODES_TIMEOUT_S)
    return [here, *answers], is_complete


def _publish(sent: Publication, immediate: bool, using: str | None) -> EmitReceipt:
    return EmitReceipt(publish_all([sent], immediate=immediate, using=using))
