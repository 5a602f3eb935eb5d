"""Sender: sends events to its receivers, on every node, and acts upon their sockets.

operators.py says who the receivers are.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from cluster.core.exceptions import NotRunning
from cluster.django.api.publication import Publication
from cluster.django.api.publishing import publish_all
from cluster.django.api.receipt import Receipt
from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import checked_rooms, topic_for
from cluster.socketio.bus.emits import Emit, event_packet, publication, publication_of, result_of
from cluster.socketio.bus.envelopes import Envelope
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.exceptions import AcknowledgementTimeout
from cluster.socketio.receipts import EmitReceipt
from cluster.socketio.recovery.options import RecoveryOptions

T = TypeVar("T")

TIMEOUT_S = 60.0
"""Seconds for an acknowledgement, unless the caller says otherwise; as in python-socketio."""


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


class Sender:
    """Sends to the sockets of rooms, without those of other rooms; see BroadcastOperator."""

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


def _publish(sent: Publication, immediate: bool, using: str | None) -> EmitReceipt:
    return EmitReceipt(publish_all([sent], immediate=immediate, using=using))
