"""Reassembly: a packet of Socket.IO and the attachments that follow it."""

from cluster.core.socketio.engine_packets import InvalidPacket
from cluster.core.socketio.packets import DEFAULT_LIMITS, Packet, PacketLimits
from cluster.core.socketio.placeholders import filled


class Reassembly:
    """Puts the attachments of one packet into its data.

    Args:
        packet: The packet, which has announced at least one attachment.
        limits: What packets may have.
    """

    __slots__ = ("_attachments", "_limits", "_packet", "_size")

    def __init__(self, packet: Packet, limits: PacketLimits = DEFAULT_LIMITS) -> None:
        self._packet = packet
        self._limits = limits
        self._attachments: list[bytes] = []
        self._size = 0

    def attachment(self, data: bytes) -> Packet | None:
        """Take the next attachment, in bytes. The one that completes the packet is the last.

        Returns:
            The packet with all attachments; None while some are missing.

        Raises:
            InvalidPacket: They are too large together, or the data of the packet does not have one
                placeholder for each.
        """
        packet = self._packet
        self._size += len(data)
        if self._size > self._limits.attachment_bytes:
            raise InvalidPacket(
                f"the attachments of a packet may have {self._limits.attachment_bytes:,} bytes"
            )
        self._attachments.append(data)
        if len(self._attachments) < packet.attachments:
            return None
        return packet._replace(data=filled(packet.data, self._attachments))
