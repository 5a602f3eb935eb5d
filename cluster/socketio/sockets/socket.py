"""Socket: the connection of a client to one namespace, as handlers receive it."""

from collections.abc import Sequence
from typing import Any

from cluster.django.api.receipt import Receipt
from cluster.django.handshake.requests import ReactorRequest
from cluster.socketio.bus.addresses import checked_rooms, is_socket_id
from cluster.socketio.bus.emits import Emit, event_packet
from cluster.socketio.operators import BroadcastOperator, SocketOperator
from cluster.socketio.receipts import EmitReceipt, Entered
from cluster.socketio.recovery.receivers import ForwardedWithoutLog
from cluster.socketio.sending import TIMEOUT_S, in_loop
from cluster.socketio.sockets.base_socket import SERVER_DISCONNECT
from cluster.socketio.sockets.recoverable_socket import RecoverableSocket

SENT = Receipt(1, 1)
"""The receipt of an event to one socket of this node."""


class Socket(RecoverableSocket):
    """The connection of a client to a namespace. You do not create it yourself.

    Handlers receive it. Its methods may be called in any thread of the node; coroutines also in
    other event loops.

    Attributes:
        id: The id of the socket, which the client knows, too.
        namespace: The namespace: an object of your class.
        auth: What the client sent as ``auth``; None without it.
        recovered: Whether the socket continues one that was disconnected, with nothing missed.
    """

    __slots__ = ()

    # The client.

    @property
    def request(self) -> ReactorRequest:
        """The handshake as Django's HttpRequest, with its user and session."""
        return self._client.engine.request

    @property
    def user(self) -> Any:
        """The user who was logged in at the handshake, or AnonymousUser."""
        return self.request.user

    @property
    def session(self) -> Any:
        """The session at the handshake; empty without one. ``await session.asave()`` saves it."""
        return self.request.session

    @property
    def data(self) -> dict[str, Any]:
        """Any data of the application; ``fetch_sockets`` of all nodes see it if it is JSON.

        With recovery a socket that continues has it again, if it is JSON."""
        if self._data is None:
            self._data = {}
        if self.recovery_session is not None:
            self._link.node.in_reactor(self.data_changes)
        return self._data

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that the socket is in, its own id among them."""
        return frozenset(self.joined) | {self.id}

    @property
    def connected(self) -> bool:
        """Whether the client is connected to the namespace."""
        receiver = self.receiver
        return receiver is self._client.engine or receiver.__class__ is ForwardedWithoutLog

    @property
    def client_id(self) -> str:
        """The id of the Engine.IO session, which the sockets of a client share."""
        return self._client.engine.sid

    @property
    def transport(self) -> str:
        """``"polling"`` or ``"websocket"``: what the client uses now."""
        return self._client.engine.transport_name

    # Events.

    def emit(
        self, event: str, *args: Any, immediate: bool = False, using: str | None = None
    ) -> EmitReceipt:
        """Send an event to this client.

        It does not wait; ``await`` the result to wait until the client reads. In a thread, inside a
        database transaction, it is sent after the commit. Ignored when the client is gone.

        Args:
            event: The name of the event.
            *args: What Django's JSON encoder accepts, with bytes at any depth.
            immediate: Send now, even inside a transaction.
            using: The alias of the database whose transaction counts.

        Returns:
            The receipt.

        Raises:
            TypeError: An argument cannot be encoded.
            ValueError: The event is reserved by Socket.IO, or an argument has a NaN.
            NotPublished: With recovery, too much waits for the broker.
        """
        link = self._link
        if not link.node.is_reactor_thread():
            return self._operator.emit(event, *args, immediate=immediate, using=using)
        packet = event_packet(self.namespace.path, event, args)
        if link.recovery is not None:
            link.emit(Emit(self.namespace.path, packet, (self.id,)))
        else:
            self.receiver.send(packet)
        return EmitReceipt(SENT, self._client.is_full)

    def send(self, *args: Any) -> EmitReceipt:
        """Send the event ``message`` to this client, as ``emit`` does.

        Args:
            *args: The arguments of the event.

        Returns:
            The receipt.
        """
        return self.emit("message", *args)

    async def call(self, event: str, *args: Any, timeout: float = TIMEOUT_S) -> Any:
        """Send an event to this client, and wait for its acknowledgement.

        Args:
            event: The name of the event.
            *args: Its arguments, as for ``emit``.
            timeout: Seconds to wait.

        Returns:
            What the client passed to its callback: None, one value, or a tuple of several.

        Raises:
            AcknowledgementTimeout: There is no acknowledgement in time.
            Disconnected: The client is gone.
            RuntimeError: Too many calls wait for this client.
            TypeError: An argument cannot be encoded.
            ValueError: The event is reserved by Socket.IO, or an argument has a NaN.
        """
        packet = event_packet(self.namespace.path, event, args)
        return await in_loop(self._link, self._call(event, packet, timeout))

    # Other receivers.

    @property
    def _operator(self) -> SocketOperator:
        return SocketOperator(self.namespace, (self.id,))

    def to(self, room: str | Sequence[str]) -> BroadcastOperator:
        """Send to the sockets of a room but this one.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.

        Raises:
            TypeError: A name is not text.
            ValueError: A name is empty or too long.
        """
        return BroadcastOperator(self.namespace, checked_rooms(room), (self.id,))

    def in_(self, room: str | Sequence[str]) -> BroadcastOperator:
        """Send to the sockets of a room but this one: another name of ``to``.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.
        """
        return self.to(room)

    def except_(self, room: str | Sequence[str]) -> BroadcastOperator:
        """Send to all sockets of the namespace but this one and those of a room.

        Args:
            room: The name of a room, the id of a socket, or a list of them.

        Returns:
            The operator.

        Raises:
            TypeError: A name is not text.
            ValueError: A name is empty or too long.
        """
        return self.broadcast.except_(room)

    @property
    def broadcast(self) -> BroadcastOperator:
        """Send to all sockets of the namespace but this one."""
        return BroadcastOperator(self.namespace, (), (self.id,))

    @property
    def volatile(self) -> SocketOperator:
        """Send to this client only if it is writable now."""
        return SocketOperator(self.namespace, (self.id,), is_volatile=True)

    def timeout(self, seconds: float) -> SocketOperator:
        """Wait so long for acknowledgements: ``await socket.timeout(5).call("event")``.

        Args:
            seconds: Seconds.

        Returns:
            The operator.
        """
        return SocketOperator(self.namespace, (self.id,), timeout=seconds)

    # Rooms.

    def enter_room(self, room: str | Sequence[str]) -> Entered:
        """Enter a room, or several; ignored when the client is gone.

        It does not wait; ``await`` the result to wait until events from all nodes arrive. The
        acknowledgement of the event that the handler handles waits for that in any case.

        Args:
            room: The name of the room, or a list of names.

        Returns:
            What to await.

        Raises:
            TypeError: A name is not text.
            ValueError: A name is empty, too long, or the id of another socket.
            RuntimeError: The socket is in too many rooms.
        """
        rooms = checked_rooms(room)
        for name in rooms:
            if is_socket_id(name) and name != self.id:
                raise ValueError(f"{name!r} is the id of another socket: no room has such a name")
        link = self._link
        if link.node.is_reactor_thread():
            return self._enter(rooms)
        link.node.in_reactor(self._enter, rooms)
        return Entered()

    def _enter(self, rooms: Sequence[str]) -> Entered:
        for name in rooms:
            if not self.enter_here(name):
                raise RuntimeError(f"a socket is in {len(self.joined):,} rooms at most: {name!r}")
        return Entered(self._joining)

    def leave_room(self, room: str | Sequence[str]) -> None:
        """Leave a room, or several.

        Args:
            room: The name of the room, or a list of names.

        Raises:
            TypeError: A name is not text.
            ValueError: A name is empty or too long.
        """
        for name in checked_rooms(room):
            self._link.node.in_reactor(self.leave_here, name)

    def disconnect(self, close: bool = False, reason: str = SERVER_DISCONNECT) -> None:
        """Disconnect the client from the namespace; ignored when it is gone.

        Args:
            close: Whether to close the client's connection, with all its namespaces.
            reason: What ``on_disconnect`` receives. The client has its own words for it.
        """
        self._link.node.in_reactor(self.disconnect_here, close, reason)
