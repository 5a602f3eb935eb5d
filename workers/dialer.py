"""Where the servers are, and how to open a connection to them, from whatever address has ports."""

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as TimedOut
from twisted.python.failure import Failure

from workers.lane import Lane, LaneFactory
from workers.ramp import ports_per_address, source_address
from workers.read_hub import FlushList, ReadHub

OTHER_ADDRESSES = 8  # source addresses tried when one has no port left


class BadURL(ValueError):
    """Not a base URL of a server; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server: its base URL without a slash at the end, and where that is (an IP, a port)."""

    url: str
    address: str
    port: int

    @property
    def on_loopback(self) -> bool:
        return ip_address(self.address).is_loopback


async def resolve(reactor: Any, url: str) -> Target:
    """`ws://HOST[:PORT][/PREFIX]` -> a Target. Raises BadURL, also for a name unknown to DNS."""
    bad = BadURL(f"not a base URL like ws://127.0.0.1:8000: {url!r}")
    try:
        parts = urlsplit(url if "://" in url else f"ws://{url}")
    except ValueError:
        raise bad from None
    try:
        port = parts.port or 80
    except ValueError:
        raise BadURL(f"not a port in {url!r}") from None
    if parts.scheme in ("wss", "https"):
        raise BadURL(
            f"the swarm speaks no TLS: give it a port of the server that has none, not {url!r}"
        )
    if parts.scheme != "ws" or not parts.hostname or parts.query or parts.fragment:
        raise bad
    if not re.fullmatch("[!-~]+", url):  # it becomes part of a request
        raise bad
    try:
        address = str(ip_address(parts.hostname))
    except ValueError:
        try:
            address = await reactor.resolve(parts.hostname)
        except Exception:
            raise BadURL(f"unknown host {parts.hostname!r} in {url!r}") from None
    base = f"ws://{parts.netloc}{parts.path.rstrip('/')}"
    return Target(base, address, port)


class Dialer:
    """Opens TCP connections to `targets` in turns, each for a WebSocket at `path` there.

    timeout: seconds for the connection, and again for the handshake, which the lane reports.
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
            LaneFactory(target.url + path, flush_list, hub, reactor, timeout) for target in targets
        ]
        self._ports = ports_per_address()

    def target(self, number: int) -> Target:
        """Where connection `number` goes."""
        return self._targets[number % len(self._targets)]

    def dial(self, number: int) -> Deferred[Lane]:
        """Open connection `number`: numbers from 0 on share out source addresses and targets.

        Fires with the lane when TCP is connected: set its callables at once, the handshake is yet
        to come. Fails with what Twisted says (`say_why` has words for it).
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


def say_why(error: BaseException | None) -> str:
    """Why a connection could not be made, in a few words."""
    if isinstance(error, Refused):
        return "connection refused"
    if isinstance(error, TimedOut):
        return "no answer in time"
    if isinstance(error, ConnectError) and error.osError == errno.EMFILE:
        return "too many open files in this process; use more --processes"
    return str(error)
