"""How many connections a node accepts, and how many messages from each.

All limits are off (None) unless C10K sets them, and then cost nothing. A client beyond a limit of
connections is refused: 503 for the node's, 429 for its address's or its user's. A client that sends
too many messages is closed with 1008.
"""

import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from cluster.core.interfaces import ClientConnection
from cluster.net.websocket.refusal import Refusal

CLOSE_TOO_FAST = 1008

RETRY_LATER = (("Retry-After", "5"),)

_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv4-mapped IPv6 address begins (RFC 4291, section 2.5.5.2)."""

Receive = Callable[[bytes, bool], None]


class Occupancy:
    """Counts the seats that are taken: WebSockets, clients of feeds, and handshakes under way.

    Args:
        settings: The C10K setting with its defaults.

    ``refused`` counts refusals by reason: "connections", "client" or "user".
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.refused: Counter[str] = Counter()
        self.taken = 0
        self._seats: Counter[tuple[str, str]] = Counter()
        self._all: int | None = settings["MAX_CONNECTIONS"]
        self._per: dict[str, int | None] = {
            "client": settings["MAX_CONNECTIONS_PER_CLIENT"],
            "user": settings["MAX_CONNECTIONS_PER_USER"],
        }

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self._all is not None or any(limit is not None for limit in self._per.values())

    def enter(self, client: str) -> "Seat":
        """Take a seat for a client of this address; the caller must ``leave`` it in any case.

        Raises:
            Refusal: There is none left, for the node or for the address.
        """
        if self._all is not None and self.taken >= self._all:
            self.refused["connections"] += 1
            raise Refusal(503, "the node has its maximum of connections", RETRY_LATER)
        seat = Seat(self)
        self.taken += 1
        try:
            seat.assign("client", network_of(client))
        except Refusal:
            seat.leave()
            raise
        return seat


class Seat:
    """The seat of one connection; made by ``Occupancy.enter``."""

    __slots__ = ("_keys", "_occupancy")

    def __init__(self, occupancy: Occupancy) -> None:
        self._occupancy = occupancy
        self._keys: list[tuple[str, str]] | None = []

    def assign(self, kind: str, key: str) -> None:
        """Count the seat for a "client" (its network) or a "user" (its primary key).

        Raises:
            Refusal: They have as many as they may.
        """
        occupancy = self._occupancy
        limit = occupancy._per[kind]
        if limit is None or self._keys is None:
            return
        if occupancy._seats[kind, key] >= limit:
            occupancy.refused[kind] += 1
            raise Refusal(429, f"too many connections of this {kind}", RETRY_LATER)
        occupancy._seats[kind, key] += 1
        self._keys.append((kind, key))

    def leave(self) -> None:
        """Give the seat back. Idempotent."""
        if self._keys is None:
            return
        seats = self._occupancy._seats
        for key in self._keys:
            seats[key] -= 1
            if not seats[key]:
                del seats[key]
        self._keys = None
        self._occupancy.taken -= 1


def network_of(client: str) -> str:
    """The network that an address counts for.

    That is the address itself, but the /64 network of an IPv6 address: a customer may use every
    address of at least that much (RFC 6177). An IPv4-mapped IPv6 address counts as IPv4.
    """
    if ":" not in client:
        return client
    try:
        address = socket.inet_pton(socket.AF_INET6, client.partition("%")[0])
    except OSError:
        return client
    if address.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, address[len(_MAPPED) :])
    return f"{socket.inet_ntop(socket.AF_INET6, address[:8] + bytes(8))}/64"


class MessageRate:
    """A token bucket for each connection.

    Args:
        rate: Messages per second.
        burst: Messages that a client may send at once.
        now: Returns the time in seconds.
    """

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self.closed_total = 0
        self._rate = rate
        self._burst = burst
        self._now = now

    def gate(self, connection: ClientConnection) -> Callable[[Receive], Receive]:
        """Return a decorator for the functions that receive the messages of one connection."""
        tokens, at = float(self._burst), self._now()
        rate, burst, now = self._rate, self._burst, self._now

        def around(receive: Receive) -> Receive:
            def received(payload: bytes, is_binary: bool) -> None:
                nonlocal tokens, at
                time_now = now()
                tokens = min(burst, tokens + (time_now - at) * rate) - 1.0
                at = time_now
                if tokens < 0:
                    self.closed_total += 1
                    connection.close(CLOSE_TOO_FAST, "too many messages")
                else:
                    receive(payload, is_binary)

            return received

        return around


def message_rate(settings: Mapping[str, Any]) -> MessageRate | None:
    """The limit of the C10K setting; None if there is none."""
    rate = settings["MESSAGE_RATE"]
    return None if rate is None else MessageRate(rate, settings["MESSAGE_BURST"])
