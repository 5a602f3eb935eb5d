"""Client: the sockets of one Engine.IO session. It receives the packets of the client."""

from cluster.core.socketio.engine_packets import InvalidPacket
from cluster.core.socketio.packets import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    DISCONNECT,
    EVENT,
    Packet,
    decode,
)
from cluster.core.socketio.reassembly import Reassembly
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.client.namespaces import ClientNamespaces
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.interfaces import AnyServer

CLIENT_DISCONNECT = "client namespace disconnect"

_EVENTS = (EVENT, BINARY_EVENT)
_ACKS = (ACK, BINARY_ACK)


class Client(ClientNamespaces):
    """The sockets of a session.

    Args:
        server: The server.
        link: The server on this node.
        engine: The session.
    """

    __slots__ = ("_reassembly",)

    def __init__(self, server: AnyServer, link: NodeLink, engine: EngineClient) -> None:
        super().__init__(server, link, engine)
        self._reassembly: Reassembly | None = None
        engine.on_message = self.receive
        engine.on_close = self.closed
        engine.on_closing = self._closing

    def receive(self, payload: bytes, is_binary: bool) -> None:
        """A message of the client."""
        limits = self.server.limits.packets
        try:
            if is_binary or self._reassembly is not None:
                reassembled = self._reassembled(payload, is_binary)
                if reassembled is None:
                    return
                kind, namespace, data, id, _ = reassembled
            else:
                packet = decode(payload, limits)
                kind, namespace, data, id, attachments = packet
                if attachments:
                    self._reassembly = Reassembly(packet, limits)
                    return
        except InvalidPacket as error:
            self._invalid(str(error))
            return
        socket = self.sockets.get(namespace)
        if kind == CONNECT:
            self._connect(namespace, data)
        elif socket is None or not socket.connected:
            if self._left is None or namespace not in self._left:
                self._invalid("a packet for a namespace that the client is not connected to")
        elif kind in _EVENTS:
            self._event(socket, data, id)
        elif kind in _ACKS:
            if id is not None:
                socket.acknowledged(id, data)
        elif kind == DISCONNECT:
            del self.sockets[namespace]
            self._end(socket, CLIENT_DISCONNECT)
        else:
            self._invalid(f"a packet of type {kind}, which only servers send")

    def _reassembled(self, payload: bytes, is_binary: bool) -> Packet | None:
        """A packet with its attachments; None while some are missing."""
        if self._reassembly is None:
            raise InvalidPacket("binary data that no packet has announced")
        if not is_binary:
            raise InvalidPacket("a packet in place of an attachment")
        packet = self._reassembly.attachment(payload)
        if packet is not None:
            self._reassembly = None
        return packet

    def closed(self, reason: str) -> None:
        """The session has ended."""
        self._reassembly = None
        super().closed(reason)
