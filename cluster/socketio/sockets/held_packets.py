"""Receivers of a socket's packets besides its client: before it is connected, and after."""

from typing import Any

from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.registry import sessions

MAX_HELD = 1000
"""Packets that a socket may wait for before it is connected."""


class HeldPackets:
    """Holds the packets for a socket until its ``on_connect`` has accepted the client.

    Not more than MAX_HELD, and not more bytes than may wait for a client that does not read:
    further ones are counted as dropped, and ``is_full`` says that the client must be closed.
    """

    __slots__ = ("_packets", "_size", "is_full")

    connection: Any = None

    def __init__(self) -> None:
        self.is_full = False
        self._packets: list[OutPacket] = []
        self._size = 0

    def send(self, packet: OutPacket) -> None:
        """Hold a packet."""
        self._size += len(packet)
        if len(self._packets) < MAX_HELD and self._size <= sessions.high_water:
            self._packets.append(packet)
        else:
            self.is_full = True
            sessions.dropped["slow_consumer"] += 1

    def send_volatile(self, packet: OutPacket) -> bool:
        """Drop a packet: the client is not connected yet."""
        sessions.dropped["volatile"] += 1
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
