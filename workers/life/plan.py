"""A whole game as each shard of it is told, and what a shard tells.

Cell `number` (row * size + col) belongs to shard `number % shards`. A shard tells a Listener, which
is in the same process or, through a pipe, in another (processes.py).
"""

from dataclasses import dataclass, field
from typing import Protocol

from workers.connection.target import Target
from workers.life.rules import Grid
from workers.reporting.latency import Latencies


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole game; each shard gets the same plan."""

    start: Grid
    targets: tuple[Target, ...]
    wrap: bool = True
    last: int | None = None  # step after which the game ends; None: never
    rate: float = 0.0  # steps a second; 0: no limit
    ramp: float = 0.0  # connections a second, all shards together; 0: no limit
    timeout: float = 30.0  # seconds for one connection and its handshake
    verify: bool = False  # report every generation
    shards: int = 1


@dataclass(slots=True)
class Totals:
    """What a shard has done, at its end."""

    sent: int = 0  # messages
    received: int = 0
    reconnects: int = 0
    latencies: Latencies = field(default_factory=Latencies)


class Listener(Protocol):
    """What a shard tells. After `failed` or `finished` it waits for `close`; `ended` comes last."""

    def progress(self, shard: int, connected: int, subscribed: int, step: int) -> None: ...

    def subscribed(self, shard: int) -> None:
        """All its cells have said whom they follow."""

    def running(self, shard: int) -> None:
        """Its first cell was told to run."""

    def generation(self, shard: int, step: int, bits: int) -> None:
        """All its cells have reached `step`; `bits` are the living ones. Only with `verify`."""

    def finished(self, shard: int) -> None:
        """All its cells know their neighbours' states of the last step."""

    def failed(self, shard: int, why: str) -> None: ...

    def ended(self, shard: int, totals: Totals) -> None:
        """All its connections are closed."""
