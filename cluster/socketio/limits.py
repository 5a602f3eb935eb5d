"""Limits: what a client may use of a server."""

from dataclasses import dataclass, field

from cluster.core.socketio.packets import PacketLimits

BUS_PACKETS = PacketLimits(attachments=100_000, attachment_bytes=1 << 30)
"""Of values that the nodes send each other, which their own servers have encoded."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server.

    Attributes:
        namespaces: Namespaces of one client.
        rooms: Rooms of one socket.
        acknowledgements: Events that wait for the acknowledgement of one socket.
        packets: Those of the packets that clients send.
    """

    namespaces: int = 20
    rooms: int = 1000
    acknowledgements: int = 100
    packets: PacketLimits = field(default_factory=PacketLimits)
