"""Reassembly: a packet of Socket.IO and the attachments that follow it."""

from cluster.core.socketio.engine_packets import InvalidPacket
from cluster.core.socketio.packets import DEFAULT_LIMITS, Packet, PacketLimits
from cluster.core.socketio.placeholders import filled


class Reassembly:
    """Puts the attachments of one packet into its data.

    Call ``add`` with the packet, then ``attachment`` with each binary message.

    Args:
        limits: What packets may have.
    """

    __slots__ = ("_attachments", "_limits", "_packet", "_size")

    def __init__(self, limits: PacketLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._packet: Packet | None = None
        self._attachments: list[bytes] = []
        self._size = 0

    def add(self, packet: Packet) -> Packet | None:
        """Take a packet; returns it if it is complete.

        Raises:
            InvalidPacket: Attachments of the packet before it are missing.
        """
        if self._packet is not None:
            raise InvalidPacket("a packet in place of an attachment")
        if not packet.attachments:
            return packet
        self._packet = packet
        return None

    def attachment(self, data: bytes) -> Packet | None:
        """Take a binary message; returns the packet if this completes it.

        Raises:
            InvalidPacket: No attachment is due, they are too large, or the data of the packet does
                not have one placeholder for each.
        """
        packet = self._packet
        if packet is None:
            raise InvalidPacket("binary data that no packet has announced")
        self._size += len(data)
        if self._size > self._limits.attachment_bytes:
            raise InvalidPacket(
                f"the attachments of a packet may have {self._limits.attachment_bytes:,} bytes"
            )
        self._attachments.append(data)
        if len(self._attachments) < packet.attachments:
            return None
        attachments, self._attachments = self._attachments, []
        self._packet, self._size = None, 0
        return packet._replace(data=filled(packet.data, attachments))
