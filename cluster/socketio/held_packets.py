"""Receivers of a socket's packets besides its client: before it is connected, and after."""

from typing import Any

from cluster.socketio.engine.out_packet import OutPacket

MAX_HELD = 1000
"""Packets for a socket that is not connected yet; further ones are dropped."""


class HeldPackets:
    """Holds the packets for a socket until its ``on_connect`` has accepted the client."""

    __slots__ = ("_packets",)

    connection: Any = None

    def __init__(self) -> None:
        self._packets: list[OutPacket] = []

    def send(self, packet: OutPacket) -> None:
        """Hold a packet."""
        if len(self._packets) < MAX_HELD:
            self._packets.append(packet)

    def send_volatile(self, packet: OutPacket) -> bool:
        """Drop a packet: the client is not connected yet."""
        return False

    def take(self) -> list[OutPacket]:
        """The packets, in their order."""
        packets, self._packets = self._packets, []
        return packets


class Gone:
    """Drops the packets for a socket that is not connected any more."""

    __slots__ = ()

    connection: Any = None

    def send(self, packet: OutPacket) -> None:
        """Drop a packet."""

    def send_volatile(self, packet: OutPacket) -> bool:
        """Drop a packet."""
        return False


GONE = Gone()
