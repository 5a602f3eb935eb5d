"""Operators: whom an event is for, and how it is sent; each method returns a new operator.

::

    socket.to("lobby").except_("muted").emit("news", {"id": 1})
    namespace.timeout(5).call("are you there?")

What they send is in sending.py.
"""

from collections.abc import Sequence
from typing import Any

from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import checked_rooms, server_topic
from cluster.socketio.bus.envelopes import Envelope
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.exceptions import AcknowledgementTimeout
from cluster.socketio.receipts import EmitReceipt
from cluster.socketio.sending import NamespaceReference, Sender, in_loop, linked

NODES_TIMEOUT_S = 5.0
"""Seconds for the answers of other nodes."""


class BroadcastOperator(Sender):
    """The receivers of an event. You do not create one yourself.

    ``to``, ``in_``, ``except_``, ``volatile``, ``local`` and ``timeout`` return further operators;
    the other methods send. All may be called in any thread of any process with the site's settings,
    unless they say otherwise.
    """

    __slots__ = ()

    def _with(self, **changed: Any) -> "BroadcastOperator":
        values: dict[str, Any] = {
            "rooms": self._rooms,
            "skipped": self._skipped,
            "is_volatile": self._is_volatile,
            "is_local": self._is_local,
            "timeout": self._timeout,
        }
        return BroadcastOperator(self._namespace, **(values | changed))

    def _others(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The rooms, and those that are skipped, to which ``to`` and ``except_`` add."""
        return self._rooms, self._skipped

    def to(self, room: str | Sequence[str]) -> "BroadcastOperator":
        """Send to a room, besides the rooms that are named already.

        An operator of one socket sends to the others of the room.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.

        Raises:
            TypeError: A name is not text.
            ValueError: A name is empty or too long.
        """
        rooms, skipped = self._others()
        # Without _with, which takes longer: handlers call this for each event.
        return BroadcastOperator(
            self._namespace,
            tuple(dict.fromkeys((*rooms, *checked_rooms(room)))),
            skipped,
            self._is_volatile,
            self._is_local,
            self._timeout,
        )

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

        An operator of one socket sends to all others that are not in the room.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.

        Raises:
            TypeError: A name is not text.
            ValueError: A name is empty or too long.
        """
        rooms, skipped = self._others()
        skipped = tuple(dict.fromkeys((*skipped, *checked_rooms(room))))
        return self._with(rooms=rooms, skipped=skipped)

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

    def _others(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (), self._rooms

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


async def _fetch(link: NodeLink, is_local: bool, question: Envelope) -> tuple[list[Any], bool]:
    found = link.local[question.namespace].select(question.rooms, question.skipped)
    here = [socket.describe() for socket in found]
    if is_local:
        return [here], True
    answers, is_complete = await link.ask(server_topic(link.name), question, NODES_TIMEOUT_S)
    return [here, *answers], is_complete
