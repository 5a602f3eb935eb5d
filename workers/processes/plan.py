"""A run as every shard of it receives it."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from workers.connection.ramp_up import UNDER_WAY
from workers.connection.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run; each shard receives the same plan. Kinds of clients add fields, of JSON's types."""

    clients: int  # of all shards together
    targets: tuple[Target, ...]
    path: str  # of the WebSocket, below the targets' URLs
    timeout: float = 30.0  # seconds for a connection, and again for its handshake
    ramp: float = 0.0  # connections opened a second, all shards together; 0: no limit
    at_once: int = UNDER_WAY  # handshakes under way at once, in each shard
    shards: int = 1

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        targets = tuple(Target(**target) for target in values["targets"])
        return cls(**{**values, "targets": targets})
