"""LaneFactory: makes lanes, and holds what they share, so that none has a copy of its own.

Whoever serves assigns the hooks (who is let in, what is done with an open connection, and at its
end) and reads the counters.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.types import ConnectionRequest

from cluster.core.water_marks import HIGH_WATER
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.epoll_reader import EpollReader
from cluster.net.loop.timers import CoarseTimers
from cluster.net.websocket.autobahn_slots import ALWAYS_SET
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.frames import SMALL

_Factory: Any = WebSocketServerFactory  # its annotations contradict its code


class ConnectionFactory(_Factory):
    """A lane that ``on_request`` gives an owner ends in ``on_close``, or in ``on_abandoned`` if it
    was never open.
    """

    protocol: type[ServerConnection] = ServerConnection
    noisy = False

    def __init__(
        self,
        end_of_turn: EndOfTurn,
        epoll_reader: EpollReader | None,
        *,
        ping_interval: float = 20.0,
        ping_timeout: float = 30.0,
        max_message_size: int = 1 << 20,
        close_timeout: float = 5.0,
        handshake_timeout: float = 10.0,
        high_water: int = HIGH_WATER,
        compression: bool = False,
    ) -> None:
        """Times are in seconds (0: none), sizes and marks in bytes.

        Without a ``hub`` the reactor reads each socket. ``compression`` accepts permessage-deflate
        from clients; what we send stays uncompressed, which the extension allows.
        """
        super().__init__(server="c10k", reactor=end_of_turn.reactor)
        self.end_of_turn = end_of_turn
        self.epoll_reader = epoll_reader
        self.high_water = high_water
        self.on_request: Callable[[ServerConnection, ConnectionRequest], Any] = (
            lambda connection, request: None
        )
        self.on_open: Callable[[ServerConnection], None] = lambda connection: None
        self.on_close: Callable[[ServerConnection, int, bool], None] = (
            lambda connection, code, was_clean: None
        )
        self.on_abandoned: Callable[[ServerConnection], None] = lambda connection: None
        self.connections: set[ServerConnection] = set()
        self.connections_opened = 0
        self.messages_received = 0
        self.control_frames = 0
        self.dropped: Counter[str] = Counter()
        self.handshakes_refused: Counter[str] = Counter()
        self.traffic = TrafficStats()
        self._batched_timer = CoarseTimers(end_of_turn.reactor)
        self.setProtocolOptions(
            webStatus=False,
            serveFlashSocketPolicy=False,
            failByDrop=False,
            echoCloseCodeReason=True,
            openHandshakeTimeout=handshake_timeout,
            closeHandshakeTimeout=close_timeout,
            maxMessagePayloadSize=max_message_size,
            autoPingInterval=ping_interval,
            autoPingTimeout=ping_timeout,
            autoPingRestartOnAnyTraffic=True,
            allowNullOrigin=True,  # on_request decides about origins
            perMessageCompressionAccept=_accept_deflate if compression else _accept_none,
        )
        # Autobahn copies its 30 options to every connection; as attributes of a class of our own
        # they are there once.
        options = {name: getattr(self, name) for name in ServerConnection.CONFIG_ATTRS}
        options["perMessageCompressionAccept"] = staticmethod(self.perMessageCompressionAccept)
        options["_small_limit"] = min(SMALL, max_message_size or SMALL)
        base = self.protocol
        self.protocol = type(
            base.__name__, (base,), {**options, "CONFIG_ATTRS": (), "__slots__": ALWAYS_SET}
        )

    @property
    def messages_sent(self) -> int:
        """Data frames handed to the kernel (or to TLS) by this factory's end of turn."""
        return max(0, self.end_of_turn.frames_sent - self.control_frames)


def _accept_none(offers: list[Any]) -> None:
    return None


def _accept_deflate(offers: list[Any]) -> PerMessageDeflateOfferAccept | None:
    # No context takeover by the client: no window of 32 KiB stays with an idle connection. The
    # inflated size is bounded by maxMessagePayloadSize, while it is inflated.
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer, request_no_context_takeover=True)
    return None
