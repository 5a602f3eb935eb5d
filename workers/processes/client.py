"""A run as each shard of it is told, and one client of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.connection.failure_reasons import why_closed
from workers.connection.ramp import UNDER_WAY
from workers.connection.target import Target
from workers.connection.websocket import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run; each shard gets the same. Kinds of clients add what they need."""

    clients: int  # of all shards together
    targets: tuple[Target, ...]
    path: str  # of the WebSocket, below the targets' URLs
    timeout: float = 30.0  # seconds for a connection, again for its handshake
    ramp: float = 0.0  # connections opened a second, all shards together; 0: no limit
    at_once: int = UNDER_WAY  # handshakes under way at once, in each shard
    shards: int = 1


class Client:
    """One client. It is told of its connection; `connection` is None while it has none."""

    __slots__ = ("connection", "dropped", "is_open", "number", "shard")

    def __init__(self, shard: Any, number: int) -> None:
        self.shard = shard  # its Shard, of the kind that it knows
        self.number = number
        self.connection: Connection | None = None
        self.is_open = False
        self.dropped = False

    def opened(self) -> None:
        """May send."""

    def received(self, messages: Sequence[bytes]) -> None:
        """At least one message, in order."""

    def closed(self, code: int, reason: str) -> None:
        """It was open, and nobody in the swarm wanted it closed. code 1006: without a word."""
        self.shard.fail(why_closed(code, reason))

    def drop(self) -> None:
        """End the connection without a handshake; `gone` follows instead of `closed`."""
        if self.connection is not None:
            self.dropped = True
            self.connection.received = lambda messages: None
            self.connection.abort()

    def gone(self) -> None:
        """The dropped connection is no more."""
