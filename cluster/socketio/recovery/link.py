"""Link: what recovery needs of the server on its node."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from cluster.core.interfaces import PubSub
from cluster.socketio.bus.envelopes import Envelope
from cluster.socketio.sockets.local_sockets import LocalSockets


class Link(Protocol):
    """The server on this node."""

    name: str
    token: str
    loop: asyncio.AbstractEventLoop

    @property
    def local(self) -> Mapping[str, LocalSockets]: ...

    @property
    def pubsub(self) -> PubSub: ...

    def request(self, topic: bytes, envelope: Envelope) -> int:
        """Send an envelope of this process."""

    async def ask(self, topic: bytes, envelope: Envelope, timeout: float) -> tuple[list[Any], bool]:
        """Ask other nodes; returns their answers, and whether they are all."""

    def answer(self, question: Envelope, value: Any) -> None:
        """Answer a question, with one value."""

    def run(self, coroutine: Any) -> None:
        """Run a coroutine in a task."""

    def count(self, reason: str, why: str) -> None:
        """Count what is refused or dropped."""
