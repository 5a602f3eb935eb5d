"""One client of a shard: the base class of all kinds."""

from collections.abc import Sequence
from typing import Any

from workers.connection.failure_reasons import why_closed
from workers.connection.websocket import Connection


class Client:
    """One client. Its shard calls the methods below; `connection` is None while it has none."""

    __slots__ = ("connection", "dropped", "is_open", "number", "shard")

    def __init__(self, shard: Any, number: int) -> None:
        self.shard = shard  # the Shard it belongs to; each kind of clients declares its own type
        self.number = number  # unique among all clients of the run
        self.connection: Connection | None = None
        self.is_open = False
        self.dropped = False

    def opened(self) -> None:
        """The handshake is over: the client may send."""

    def received(self, messages: Sequence[bytes]) -> None:
        """At least one message has arrived; they are in order."""

    def closed(self, code: int, reason: str) -> None:
        """The connection was open and has ended, and the swarm did not close it.

        code: 1006 if there was no closing handshake.
        """
        self.shard.fail(why_closed(code, reason))

    def drop(self) -> None:
        """Abort the connection; the shard then calls `gone` instead of `closed`."""
        if self.connection is not None:
            self.dropped = True
            self.connection.received = lambda messages: None
            self.connection.abort()

    def gone(self) -> None:
        """The connection that `drop` has aborted is lost."""
