"""A run as each share of it is told, and one client of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.causes import why_closed
from workers.dialer import Target
from workers.lane import Lane
from workers.ramp import UNDER_WAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run; each share gets the same. Kinds of clients add what they need."""

    clients: int  # of all shares together
    targets: tuple[Target, ...]
    path: str  # of the WebSocket, below the targets' URLs
    timeout: float = 30.0  # seconds for a connection, again for its handshake
    ramp: float = 0.0  # connections opened a second, all shares together; 0: no limit
    at_once: int = UNDER_WAY  # handshakes under way at once, in each share
    shares: int = 1


class Client:
    """One client. It is told of its connection; `lane` is None while it has none."""

    __slots__ = ("dropped", "is_open", "lane", "number", "share")

    def __init__(self, share: Any, number: int) -> None:
        self.share = share  # its Clients, of the kind that it knows
        self.number = number
        self.lane: Lane | None = None
        self.is_open = False
        self.dropped = False

    def opened(self) -> None:
        """May send."""

    def received(self, messages: Sequence[bytes]) -> None:
        """At least one message, in order."""

    def closed(self, code: int, reason: str) -> None:
        """It was open, and nobody in the swarm wanted it closed. code 1006: without a word."""
        self.share.fail(why_closed(code, reason))

    def drop(self) -> None:
        """End the connection without a handshake; `gone` follows instead of `closed`."""
        if self.lane is not None:
            self.dropped = True
            self.lane.received = lambda messages: None
            self.lane.abort()

    def gone(self) -> None:
        """The dropped connection is no more."""
