"""Socket: the connection of a client to one namespace, as handlers receive it."""

import asyncio
from collections.abc import Sequence
from json import loads
from typing import Any

from cluster.core.exceptions import Disconnected
from cluster.django.api import in_force
from cluster.django.api.receipt import Receipt
from cluster.django.handshake.requests import ReactorRequest
from cluster.socketio.bus.addresses import checked_rooms, is_socket_id
from cluster.socketio.bus.emits import (
    Emit,
    ack_packet,
    acknowledgement_of,
    dumps,
    event_packet,
    result_of,
    with_id,
)
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.exceptions import AcknowledgementTimeout
from cluster.socketio.held_packets import GONE, HeldPackets
from cluster.socketio.interfaces import Acknowledged, AnyClient, Receiver
from cluster.socketio.operators import BroadcastOperator, SocketOperator
from cluster.socketio.receipts import EmitReceipt, Entered
from cluster.socketio.recovery.receivers import ForwardedWithoutLog, HeldWithoutLog
from cluster.socketio.recovery.session import ON_NODE, Session
from cluster.socketio.sending import TIMEOUT_S, in_loop

SENT = Receipt(1, 1)
"""The receipt of an event to one socket of this node."""

SERVER_DISCONNECT = "server namespace disconnect"
CLIENT_DISCONNECT = "client namespace disconnect"
TRANSPORT_CLOSE = "transport close"

FEW_ROOMS = 8
"""Rooms of a socket up to which they are in a tuple: a set takes 200 bytes more."""


class Socket:
    """The connection of a client to a namespace. You do not create it yourself.

    Handlers receive it. Its methods may be called in any thread of the node; coroutines also in
    other event loops.

    Attributes:
        id: The id of the socket, which the client knows, too.
        namespace: The namespace: an object of your class.
        auth: What the client sent as ``auth``; None without it.
        recovered: Whether the socket continues one that was disconnected, with nothing missed.
    """

    __slots__ = (
        "_acknowledgements",
        "_client",
        "_data",
        "_joining",
        "_link",
        "auth",
        "id",
        "joined",
        "namespace",
        "receiver",
        "recovered",
        "recovery_session",
    )

    def __init__(
        self, id: str, namespace: Any, client: AnyClient, link: NodeLink, auth: Any
    ) -> None:
        self.id = id
        self.namespace = namespace
        self.auth = auth
        self.recovered = False
        self.joined: tuple[str, ...] | set[str] = ()
        self._client = client
        self._link = link
        self.receiver: Receiver = HeldPackets() if link.recovery is None else HeldWithoutLog()
        self.recovery_session: Session | None = None
        self._joining: asyncio.Future[None] | None = None
        self._data: dict[str, Any] | None = None
        self._acknowledgements: dict[int, Acknowledged] | None = None

    def __repr__(self) -> str:
        return f"<Socket {self.id} of {self.namespace.path!r}>"

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

    async def _call(self, event: str, packet: OutPacket, timeout: float) -> Any:
        link = self._link
        number = link.next_id()
        answer: asyncio.Future[Sequence[Any] | None] = link.loop.create_future()

        def done(arguments: Sequence[Any] | None) -> None:
            if not answer.done():
                answer.set_result(arguments)

        if self.receiver is GONE:
            raise Disconnected()
        if not self.expect(number, done):
            raise RuntimeError("too many events wait for the acknowledgement of this client")
        self.receiver.send(with_id(packet, self.namespace.path, number))
        client = self._client
        client.handler_waits()
        try:
            await asyncio.wait([answer], timeout=timeout)
        finally:
            client.handler_resumes()
            if self._acknowledgements is not None:
                self._acknowledgements.pop(number, None)
        if not answer.done():
            raise AcknowledgementTimeout(
                f"the client has not acknowledged {event!r} within {timeout} s"
            )
        arguments = answer.result()
        if arguments is None:
            raise Disconnected()
        return result_of(arguments)

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

    # Called by the server, in the thread of the event loop.

    def enter_here(self, room: str) -> bool:
        """Enter a room; returns False if the socket is in too many."""
        joined = self.joined
        if room in joined or room == self.id or self.receiver is GONE:
            return True
        link = self._link
        if len(joined) >= self.namespace.limits.rooms:
            link.count("socketio_rooms", f"a socket is in {len(joined):,} rooms")
            return False
        if isinstance(joined, set):
            joined.add(room)
        elif len(joined) < FEW_ROOMS:
            self.joined = (*joined, room)
        else:
            self.joined = {*joined, room}
        link.local[self.namespace.path].enter(self, room)
        waiting = link.not_in_force
        if link.recovery is not None:
            waiting = link.recovery.entered(self, room) or waiting
        if waiting is not None and waiting is not self._joining:
            self._joining = waiting
            waiting.add_done_callback(self._joined)
        return True

    def _joined(self, future: "asyncio.Future[None]") -> None:
        if self._joining is future:
            self._joining = None

    def leave_here(self, room: str) -> None:
        """Leave a room."""
        joined = self.joined
        if room in joined:
            if isinstance(joined, set):
                joined.discard(room)
            else:
                self.joined = tuple(each for each in joined if each != room)
            self._link.local[self.namespace.path].leave(self, room)
            if self._link.recovery is not None:
                self._link.recovery.left(self, room)

    def disconnect_here(self, close: bool, reason: str) -> None:
        """Disconnect the client."""
        self._client.disconnect(self, close, reason or SERVER_DISCONNECT)

    def expect(self, number: int, done: Acknowledged) -> bool:
        """Call ``done`` when the client acknowledges the event with this id, or leaves.

        Returns False if too many wait."""
        waiting = self._acknowledgements
        if waiting is None:
            waiting = self._acknowledgements = {}
        elif len(waiting) >= self.namespace.limits.acknowledgements:
            why = f"{len(waiting):,} events wait for the acknowledgement of a client"
            self._link.count("socketio_acknowledgements", why)
            return False
        waiting[number] = done
        return True

    def acknowledged(self, number: int, arguments: Sequence[Any]) -> None:
        """The client acknowledges an event; ignored if it is not expected."""
        waiting = self._acknowledgements
        done = waiting.pop(number, None) if waiting else None
        if done is not None:
            done(arguments)

    def acknowledge(self, number: int, result: Any) -> None:
        """Acknowledge an event of the client with what its handler has returned."""
        packet = ack_packet(self.namespace.path, acknowledgement_of(result), number)
        if self._joining is None:
            self.receiver.send(packet)
        else:
            self._joining.add_done_callback(lambda _: self.receiver.send(packet))

    def describe(self) -> dict[str, Any]:
        """What ``fetch_sockets`` of other nodes see."""
        return {
            "id": self.id,
            "rooms": sorted(self.rooms),
            "data": loads(self.data_text()),
            "user": self.user_key,
            "address": self._client.address,
        }

    async def connecting(self) -> None:
        """Wait until events of all nodes reach the socket; with recovery, until they know it."""
        waiting = self._link.not_in_force
        if self._link.recovery is not None:
            waiting = self._link.recovery.changed(self)
        if waiting is not None:
            await in_force.wait(waiting)

    def connect(self, receiver: Receiver, first: OutPacket) -> None:
        """The client is connected: send what says so, and what was held."""
        held = self.receiver
        self.receiver = receiver
        self._link.local[self.namespace.path].replace(self, receiver)
        receiver.send(first)
        if not isinstance(held, HeldPackets):
            return
        if held.is_full:
            self.close_client()  # it has missed events, and comes back
            return
        for packet in held.take():
            receiver.send(packet)

    # Recovery.

    def add(self) -> None:
        """The socket is in the namespace from now on, and in the rooms that it continues with."""
        local = self._link.local[self.namespace.path]
        local.add(self, self.receiver)
        recovery = self._link.recovery
        if recovery is None:
            return
        if self.recovery_session is not None:
            rooms = [
                each for each in self.recovery_session.membership.joined if each[:1] != ON_NODE
            ]
            self.joined = tuple(rooms) if len(rooms) <= FEW_ROOMS else set(rooms)
            for room in rooms:
                local.enter(self, room)
        recovery.added(self)

    def recover(self, id: str, data: dict[str, Any]) -> None:
        """Continue an earlier socket.

        Args:
            id: Its id.
            data: Its data.
        """
        self.id = id
        self.recovered = True
        self._data = data

    @property
    def user_key(self) -> str | None:
        """The key of the user; None for a guest."""
        key: str | None = self.request.user_key
        return key

    def data_text(self) -> str:
        """Encode the data.

        Returns:
            JSON text: that of an empty dict if the data cannot be encoded.
        """
        if not self._data:
            return "{}"
        try:
            return dumps(self._data)
        except (TypeError, ValueError):
            return "{}"

    def data_changes(self) -> None:
        """The application may have changed the data in this turn."""
        if self._link.recovery is not None and self.recovery_session is not None:
            self._link.recovery.changed(self, only_if_data=True)

    def go_live(self) -> None:
        """The client receives events of the log as they arrive, from now on."""
        self.receiver = self._client.engine
        self._link.local[self.namespace.path].replace(self, self.receiver)

    def close_client(self) -> None:
        """Close the client, which can come back."""
        self._client.engine.close(TRANSPORT_CLOSE)

    def gone(self, can_recover: bool = False) -> None:
        """The client is disconnected: nothing is sent to it any more."""
        self.receiver = GONE
        if self._link.recovery is not None:
            self._link.recovery.ended(self, can_recover)
        self._link.local[self.namespace.path].remove(self)
        waiting, self._acknowledgements = self._acknowledgements, None
        for done in (waiting or {}).values():
            done(None)
