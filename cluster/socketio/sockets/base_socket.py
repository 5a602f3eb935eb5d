"""BaseSocket: the inside of a socket, which the server calls in the thread of the event loop.

It has the rooms, the acknowledgements that are waited for, and what receives the packets.
"""

import asyncio
from collections.abc import Sequence
from json import loads
from typing import Any

from cluster.core.exceptions import Disconnected
from cluster.django.api.json_messages import encode_json
from cluster.socketio.bus.emits import ack_packet, acknowledgement_of, result_of, with_id
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.exceptions import AcknowledgementTimeout
from cluster.socketio.interfaces import Acknowledged, AnyClient, Receiver
from cluster.socketio.recovery.receivers import HeldWithoutLog
from cluster.socketio.recovery.session import Session
from cluster.socketio.sockets.held_packets import GONE, HeldPackets

SERVER_DISCONNECT = "server namespace disconnect"
TRANSPORT_CLOSE = "transport close"

FEW_ROOMS = 8
"""Rooms of a socket up to which they are in a tuple: a set takes 200 bytes more."""


class BaseSocket:
    """The inside of a Socket."""

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

    @property
    def user_key(self) -> str | None:
        """The key of the user; None for a guest."""
        key: str | None = self._client.engine.request.user_key
        return key

    def data_text(self) -> str:
        """The data as JSON text; that of an empty dict if it is not JSON."""
        if not self._data:
            return "{}"
        try:
            return encode_json(self._data)
        except (TypeError, ValueError):
            return "{}"

    def describe(self) -> dict[str, Any]:
        """What ``fetch_sockets`` of other nodes see."""
        return {
            "id": self.id,
            "rooms": sorted({*self.joined, self.id}),
            "data": loads(self.data_text()),
            "user": self.user_key,
            "address": self._client.address,
        }

    # Rooms.

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
        waiting = link.topics.not_in_force
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

    # Acknowledgements.

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

    def acknowledge(self, number: int, result: Any) -> None:
        """Acknowledge an event of the client with what its handler has returned."""
        packet = ack_packet(self.namespace.path, acknowledgement_of(result), number)
        if self._joining is None:
            self.receiver.send(packet)
        else:
            self._joining.add_done_callback(lambda _: self.receiver.send(packet))

    # The connection.

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

    def disconnect_here(self, close: bool, reason: str) -> None:
        """Disconnect the client."""
        self._client.disconnect(self, close, reason or SERVER_DISCONNECT)

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
