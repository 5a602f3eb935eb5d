"""Opens connections of Engine.IO to the servers, by a transport."""

from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory

from workers.connection.dialer import Dialer
from workers.connection.websocket import Connection
from workers.socketio.polling import HttpConnection, PollingConnection
from workers.socketio.upgrading import UpgradingConnection

TRANSPORTS = ("websocket", "polling", "upgrade")


def websocket_path(path: str) -> str:
    """The path of a WebSocket of Engine.IO."""
    return f"{path}?EIO=4&transport=websocket"


class EngineDialer:
    """Opens connections through a dialer of WebSockets at `websocket_path(path)`."""

    def __init__(self, reactor: Any, dialer: Dialer, path: str, timeout: float) -> None:
        self._reactor = reactor
        self._dialer = dialer
        self._path = path
        self._timeout = timeout
        self._factory = Factory.forProtocol(HttpConnection)
        self._factory.noisy = False

    def dial(self, number: int, transport: str) -> Deferred[Any]:
        """Open connection `number` by one of TRANSPORTS, as Dialer.dial does."""
        if transport == "websocket":
            return self._dialer.dial(number)
        url = urlsplit(self._dialer.target(number).url)
        path = f"{url.path}{self._path}?EIO=4&transport=polling"
        connection: PollingConnection
        if transport == "polling":
            connection = PollingConnection(
                self._reactor,
                lambda: self._dialer.dial_protocol(number, self._factory),
                path,
                url.netloc,
                self._timeout,
            )
        else:
            connection = UpgradingConnection(
                self._reactor,
                lambda: self._dialer.dial_protocol(number, self._factory),
                lambda sid: self._websocket(number, sid),
                path,
                url.netloc,
                self._timeout,
            )
        # The owner sets the callables first.
        self._reactor.callLater(0, connection.start)
        return succeed(connection)

    def _websocket(self, number: int, sid: str) -> Deferred[Connection]:
        return self._dialer.dial_again(number, 0, f"{websocket_path(self._path)}&sid={sid}")
