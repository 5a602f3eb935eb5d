"""Where the servers are, and how to open a connection to them, from whatever address has ports."""

import errno
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.python.failure import Failure

from workers.connection.read_hub import FlushList, ReadHub
from workers.connection.source_address import ports_per_address, source_address
from workers.connection.target import Target
from workers.connection.websocket import Connection, ConnectionFactory

OTHER_ADDRESSES = 8  # source addresses tried when one has no port left


class Dialer:
    """Opens TCP connections to `targets` in turns, each for a WebSocket at `path` there.

    timeout: seconds for the connection, and again for the handshake, which the connection reports.
    """

    def __init__(
        self,
        reactor: Any,
        targets: Sequence[Target],
        path: str,
        timeout: float,
        flush_list: FlushList,
        hub: ReadHub,
    ) -> None:
        self.moved = 0  # connections that had to come from another address than planned
        self._reactor = reactor
        self._targets = targets
        self._timeout = timeout
        self._factories = [
            ConnectionFactory(target.url + path, flush_list, hub, reactor, timeout)
            for target in targets
        ]
        self._ports = ports_per_address()

    def target(self, number: int) -> Target:
        """Where connection `number` goes."""
        return self._targets[number % len(self._targets)]

    def dial(self, number: int) -> Deferred[Connection]:
        """Open connection `number`: numbers from 0 on spread over source addresses and targets.

        Fires with the connection when TCP is connected: set its callables at once, the handshake is
        yet to come. Fails with what Twisted says (`say_why` has words for it).
        """
        return self._dial(number, 0)

    def _dial(self, number: int, further: int) -> Deferred[Any]:
        which = number % len(self._targets)
        target = self._targets[which]
        # Each target has its own ports, so that it is the count towards this one that matters.
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
            if _no_port_left(failure.value) and further < OTHER_ADDRESSES and target.on_loopback:
                self.moved += 1
                return self._dial(number, further + 1)
            return failure

        dialled: Deferred[Any] = endpoint.connect(self._factories[which])
        return dialled.addErrback(not_connected)


def _no_port_left(error: BaseException | None) -> bool:
    return isinstance(error, ConnectError) and error.osError in (
        errno.EADDRNOTAVAIL,
        errno.EADDRINUSE,
    )
