"""Receivers of a socket's packets while it does not have all events of the log.

They ignore the events of the log, which ``replay`` sends in their order.
"""

from typing import Any

from cluster.socketio.engine.client import EngineClient
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.registry import sessions
from cluster.socketio.recovery.event_log import LogPacket
from cluster.socketio.sockets.held_packets import HeldPackets


class HeldWithoutLog(HeldPackets):
    """Holds other packets until the client is connected."""

    __slots__ = ()

    def send(self, packet: OutPacket) -> None:
        """Hold a packet."""
        if packet.__class__ is not LogPacket:
            super().send(packet)


class ForwardedWithoutLog:
    """Sends other packets to a client that is connected."""

    __slots__ = ("_engine",)

    connection: Any = None

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine

    def send(self, packet: OutPacket) -> None:
        """Send a packet."""
        if packet.__class__ is not LogPacket:
            self._engine.send(packet)

    def send_volatile(self, packet: OutPacket) -> bool:
        """Drop a packet: others are to be sent first."""
        sessions.dropped["volatile"] += 1
        return False
