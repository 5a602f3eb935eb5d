"""What a node needs of a bus, and what the bus tells it.

Whatever implements IBus must keep the order of all that is sent from one node to another, and must
not lose anything silently: what it drops it counts in ``dropped``, by reason.
"""

from collections import Counter
from typing import Protocol

from cluster.core import wire


class BusReceiver(Protocol):
    """What the bus calls. All calls come from the reactor, never from within a call to the bus."""

    def bus_up(self, welcome: wire.Welcome) -> None:
        """The bus (again) carries messages; say all interest and arrivals anew, at once."""

    def bus_down(self, unsent: list[tuple[str, bytes]]) -> None:
        """The bus is out of reach; hold all packs until bus_up.

        ``unsent`` are those (peer, pack) it had not taken yet, in order: hold them, too.
        """

    def bus_message(self, message: wire.Message) -> None:
        """A message of the exchange."""

    def bus_batch(self, origin: str, data: bytes) -> None:
        """A pack of another node."""

    def bus_full(self, full: bool) -> None:
        """The bus's queue passed its high-water mark (True) or is below its low-water mark."""


class Bus(Protocol):
    """One node's way to the others."""

    name: str
    dropped: Counter[str]

    def start(self, receiver: BusReceiver) -> None:
        """Connect; ``receiver.bus_up`` follows when that has worked."""

    def stop(self) -> None:
        """Say goodbye and disconnect."""

    def send(self, message: wire.Message) -> None:
        """Send to the exchange; ignored while the bus is down (bus_up asks for all of it anew)."""

    def send_batch(self, peer: str, data: bytes) -> None:
        """Send publications to a peer, while the bus is up."""

    @property
    def is_up(self) -> bool:
        """True while messages are carried."""

    @property
    def queued_bytes(self) -> int:
        """Bytes waiting in this node for the bus to take them."""
