"""Opens TCP connections to the servers, from local addresses that have free ports."""

import errno
from collections.abc import Sequence
from copy import copy
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.python.failure import Failure

from workers.connection.epoll_reader import EpollReader
from workers.connection.source_address import ports_per_address, source_address
from workers.connection.target import Target
from workers.connection.websocket import Connection, ConnectionFactory

FURTHER_ADDRESSES = 8  # source addresses tried when one has no free port


class Dialer:
    """Opens connections to `targets` in turn, each for a WebSocket at `path` of its target.

    timeout: seconds for TCP, and again for the WebSocket handshake.
    """

    def __init__(
        self,
        reactor: Any,
        targets: Sequence[Target],
        path: str,
        timeout: float,
        epoll_reader: EpollReader,
    ) -> None:
        self.moved = 0  # connections from another address, because the planned one had no free port
        self._reactor = reactor
        self._targets = targets
        self._timeout = timeout
        self._factories = [
            ConnectionFactory(target.url + path, epoll_reader, reactor, timeout)
            for target in targets
        ]
        self._ports = ports_per_address()

    def target(self, number: int) -> Target:
        """The server of connection `number`."""
        return self._targets[number % len(self._targets)]

    def dial(self, number: int) -> Deferred[Connection]:
        """Open connection `number`; the number determines the target and the source address.

        Fires with the connection when TCP is connected and the handshake has not begun: set the
        connection's callables at once. Fails with Twisted's exception (see `why_not_connected`).
        """
        which = number % len(self._targets)
        return self._dial(number, which, self._factories[which], 0)

    def dial_again(self, number: int, attempt: int, path: str) -> Deferred[Connection]:
        """Open connection `number` once more, with a path of its own.

        Another attempt goes to another server, if there are several.
        """
        which = (number + attempt) % len(self._targets)
        # A copy costs less than a new factory, which parses the URL: thousands may be needed at
        # once.
        factory = copy(self._factories[which])
        factory.resource = urlsplit(self._targets[which].url).path + path
        return self._dial(number, which, factory, 0)

    def dial_protocol(self, number: int, factory: Any) -> Deferred[Any]:
        """Open a TCP connection to the server of connection `number`, from its source address.

        Fires with the protocol that the factory has built. Fails as `dial` does.
        """
        return self._dial(number, number % len(self._targets), factory, 0)

    def _dial(self, number: int, which: int, factory: Any, further: int) -> Deferred[Any]:
        target = self._targets[which]
        # Ports are per target, so count the connections to this one only.
        nth = number // len(self._targets) + further * self._ports
        source = source_address(nth, target.address, self._ports)
        make = TCP4ClientEndpoint if ip_address(target.address).version == 4 else TCP6ClientEndpoint
        endpoint: Any = make(
            self._reactor,
            target.address,
            target.port,
            timeout=self._timeout,
            bindAddress=None if source is None else (source, 0),
        )

        def not_connected(failure: Failure) -> Any:
            if _no_port_left(failure.value) and further < FURTHER_ADDRESSES and target.on_loopback:
                self.moved += 1
                return self._dial(number, which, factory, further + 1)
            return failure

        dialled: Deferred[Any] = endpoint.connect(factory)
        return dialled.addErrback(not_connected)


def _no_port_left(error: BaseException | None) -> bool:
    return isinstance(error, ConnectError) and error.osError in (
        errno.EADDRNOTAVAIL,
        errno.EADDRINUSE,
    )
