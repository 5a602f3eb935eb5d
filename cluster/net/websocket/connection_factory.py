"""ConnectionFactory: creates connections that share one copy of Autobahn's options.

Its hooks and counters are in connection_base.py.
"""

from collections.abc import Callable
from typing import Any

from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from autobahn.websocket.compress_deflate import PerMessageDeflateMixin
from autobahn.websocket.types import ConnectionRequest
from twisted.python.failure import Failure

from cluster.core.water_marks import HIGH_WATER
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.epoll_reader import EpollReader
from cluster.net.websocket.autobahn_protocol import SLOTS
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.connection_base import ConnectionFactoryBase
from cluster.net.websocket.counted_connection import CountedConnection
from cluster.net.websocket.frames import SMALL

# Autobahn answers 400 to a client whose window has 8 bits, which RFC 7692, section 7.1.2, allows.
# zlib cannot compress with such a window, but this server never compresses.
PerMessageDeflateMixin.WINDOW_SIZE_PERMISSIBLE_VALUES = list(range(8, 16))


class ConnectionFactory(ConnectionFactoryBase):
    """Creates a connection for each client.

    Args:
        end_of_turn: Sends the frames that the connections queue.
        epoll_reader: Reads their sockets; None: the reactor reads them.
        ping_interval: Seconds between pings; 0: none are sent.
        ping_timeout: Seconds that a client has to answer a ping; 0: without limit.
        max_message_size: Bytes of the largest message that a client may send; 0: without limit.
        close_timeout: Seconds that a client has to answer a Close frame.
        handshake_timeout: Seconds that a client has for its opening request, and the application
            for its decision.
        high_water: Bytes that may be queued for a client that does not read; above that it is
            disconnected.
        compression: Whether clients may send compressed messages (RFC 7692). What the server sends
            is never compressed, which the extension allows.
        is_counted: Whether the connections count their messages and bytes (counted_connection.py).
    """

    protocol: type[ServerConnection] = ServerConnection

    on_request: Callable[[ServerConnection, ConnectionRequest], Any]
    on_open: Callable[[ServerConnection], None]
    on_close: Callable[[ServerConnection, int, bool], None]
    on_abandoned: Callable[[ServerConnection], None]
    on_refused: Callable[[ServerConnection, int], None]
    on_error: Callable[[ServerConnection, Failure, str], None]
    connections: set[ServerConnection]

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
        is_counted: bool = False,
    ) -> None:
        super().__init__(end_of_turn, epoll_reader, high_water)
        self.setProtocolOptions(
            versions=[13],  # RFC 6455; Autobahn also accepts drafts of it
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
            allowNullOrigin=True,  # on_request checks the origin
            perMessageCompressionAccept=_accept_deflate if compression else _accept_none,
        )
        # Autobahn copies its 30 options to each connection. A subclass for this factory has them
        # once, as class attributes, and has the slots. It is created here because the options are
        # not known earlier.
        options = {name: getattr(self, name) for name in ServerConnection.CONFIG_ATTRS}
        options["perMessageCompressionAccept"] = staticmethod(self.perMessageCompressionAccept)
        options["_small_limit"] = min(SMALL, max_message_size or SMALL)
        base = CountedConnection if is_counted else self.protocol
        self.protocol = type(
            base.__name__, (base,), {**options, "CONFIG_ATTRS": (), "__slots__": SLOTS}
        )


def _accept_none(offers: list[Any]) -> None:
    return None


def _accept_deflate(offers: list[Any]) -> PerMessageDeflateOfferAccept | None:
    # Without context takeover by the client, an idle connection does not keep a window of 32 KiB.
    # The size of a message is bounded by maxMessagePayloadSize while it is inflated.
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer, request_no_context_takeover=True)
    return None
