"""One client of Socket.IO in one namespace, without I/O: what has arrived, and what to send.

socketio_client.py transfers the messages in memory, live/socketio_client.py through a socket.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cluster.core.socketio import packets
from cluster.core.socketio.packets import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    Packet,
    PacketLimits,
)
from cluster.core.socketio.reassembly import Reassembly
from cluster.django.api.payloads import Payload
from cluster.socketio import ConnectionRefused

ENGINE_PARAMETERS = "EIO=4&transport=websocket"

LIMITS = PacketLimits(attachments=10_000, attachment_bytes=1 << 30)

SERVER_DISCONNECT = "io server disconnect"

Answer = Callable[..., Any]


class SocketIOConversation:
    """The state of one client.

    Attributes:
        id: The id of the socket; empty until the client is connected.
        events: Events that have not been received yet: name and arguments.
        acknowledgements: By the id of an event: the arguments of its acknowledgement.
        disconnected: Whether the server has disconnected the client from the namespace.
        refused: Why the server has refused the client.
        answers: By the name of an event: the function that answers it.
    """

    def __init__(self, namespace: str) -> None:
        self.id = ""
        self.events: deque[list[Any]] = deque()
        self.acknowledgements: dict[int, Sequence[Any]] = {}
        self.disconnected = False
        self.refused: ConnectionRefused | None = None
        self.answers: dict[str, Answer] = {}
        self._namespace = namespace
        self._reassembly: Reassembly | None = None
        self._last_id = 0

    # What the client sends.

    def connect(self, auth: Any) -> list[Payload]:
        """The messages that connect to the namespace."""
        return self._encoded(CONNECT, auth)

    def disconnect(self) -> list[Payload]:
        """The messages that leave the namespace."""
        return self._encoded(DISCONNECT)

    def event(self, name: str, arguments: Sequence[Any]) -> list[Payload]:
        """The messages of an event."""
        return self._encoded(EVENT, [name, *arguments])

    def call(self, name: str, arguments: Sequence[Any]) -> tuple[int, list[Payload]]:
        """The id and the messages of an event that asks for an acknowledgement."""
        self._last_id += 1
        return self._last_id, self._encoded(EVENT, [name, *arguments], self._last_id)

    def _encoded(self, kind: int, data: Any = None, id: int | None = None) -> list[Payload]:
        text, attachments = packets.encode(kind, self._namespace, data, id, json.dumps)
        return ["4" + text.decode(), *attachments]

    # What the server sends.

    def receive(self, message: Payload) -> list[Payload]:
        """Process a message; returns the messages to answer with."""
        if isinstance(message, bytes):
            assert self._reassembly is not None, "binary data that no packet has announced"
            packet = self._reassembly.attachment(message)
            return [] if packet is None else self._received(packet)
        if message[:1] == "2":
            return ["3" + message[1:]]
        if message[:1] != "4":
            return []
        packet = packets.decode(message[1:].encode(), LIMITS)
        if not packet.attachments:
            return self._received(packet)
        self._reassembly = Reassembly(packet, LIMITS)
        return []

    def _received(self, packet: Packet) -> list[Payload]:
        kind, namespace, data, id, _ = packet
        if namespace != self._namespace:
            return []
        if kind == CONNECT:
            self.id = data["sid"]
        elif kind == CONNECT_ERROR:
            self.refused = ConnectionRefused(data["message"], data.get("data"))
        elif kind == DISCONNECT:
            self.disconnected = True
        elif kind in (ACK, BINARY_ACK):
            if id is not None:
                self.acknowledgements[id] = data
        elif kind in (EVENT, BINARY_EVENT):
            answer = self.answers.get(data[0])
            if answer is not None and id is not None:
                result = answer(*data[1:])
                return self._encoded(ACK, [] if result is None else [result], id)
            self.events.append(data)
        return []


def with_parameters(path: str) -> str:
    """The path of a server with the parameters of Engine.IO."""
    return f"{path}{'&' if '?' in path else '?'}{ENGINE_PARAMETERS}"
