"""How many connections a node takes, and how many messages from each. All limits are off (None)
unless C10K sets them, and then cost nothing.

A client beyond a limit of connections is refused 503 (the node) or 429 (its address, its user), and
one that sends too fast is closed with 1008.
"""

import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from cluster.net.websocket.refusal import Refusal

CLOSE_TOO_FAST = 1008

RETRY_LATER = (("Retry-After", "5"),)

_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv4 address begins that came to a socket for both."""

Receive = Callable[[bytes, bool], None]


class Occupancy:
    """Who has a place in this node: WebSockets, clients of feeds, and handshakes under way.

    ``refused`` counts by reason: "connections", "client" or "user".
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.refused: Counter[str] = Counter()
        self.taken = 0
        self._places: Counter[tuple[str, str]] = Counter()
        self._all: int | None = settings["MAX_CONNECTIONS"]
        self._per = {
            "client": settings["MAX_CONNECTIONS_PER_CLIENT"],
            "user": settings["MAX_CONNECTIONS_PER_USER"],
        }

    @property
    def is_limited(self) -> bool:
        """Whether it needs to be asked at all."""
        return self._all is not None or any(limit is not None for limit in self._per.values())

    def enter(self, client: str) -> "Place":
        """A place for a client of this address; raises a Refusal if there is none.

        The caller must ``leave`` it, whatever comes next.
        """
        if self._all is not None and self.taken >= self._all:
            self.refused["connections"] += 1
            raise Refusal(503, "the node has as many connections as it takes", RETRY_LATER)
        place = Place(self)
        self.taken += 1
        try:
            place.be("client", network_of(client))
        except Refusal:
            place.leave()
            raise
        return place


class Place:
    """One connection's; made by ``Occupancy.enter``."""

    __slots__ = ("_keys", "_occupancy")

    def __init__(self, occupancy: Occupancy) -> None:
        self._occupancy = occupancy
        self._keys: list[tuple[str, str]] | None = []

    def be(self, kind: str, who: str) -> None:
        """Say who has it; ``kind`` is "client" or "user". Raises a Refusal if they have enough."""
        occupancy = self._occupancy
        limit = occupancy._per[kind]
        if limit is None or self._keys is None:
            return
        if occupancy._places[kind, who] >= limit:
            occupancy.refused[kind] += 1
            raise Refusal(429, f"too many connections of this {kind}", RETRY_LATER)
        occupancy._places[kind, who] += 1
        self._keys.append((kind, who))

    def leave(self) -> None:
        """Give it back; a second time is harmless."""
        if self._keys is None:
            return
        places = self._occupancy._places
        for key in self._keys:
            places[key] -= 1
            if not places[key]:
                del places[key]
        self._keys = None
        self._occupancy.taken -= 1


def network_of(client: str) -> str:
    """Whom an address stands for: itself, but for IPv6 its /64, which is the least that one
    customer has to choose addresses from (RFC 6177). IPv4 in IPv6's clothes is IPv4."""
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
    """A token bucket for each connection: ``burst`` messages at once, ``rate`` a second after."""

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self.closed_total = 0
        self._rate = rate
        self._burst = burst
        self._now = now

    def gate(self, connection: Any) -> Callable[[Receive], Receive]:
        """For one connection: what to put around whatever receives its messages."""
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
    """What the settings say; None if there is no limit."""
    rate = settings["MESSAGE_RATE"]
    return None if rate is None else MessageRate(rate, settings["MESSAGE_BURST"])
