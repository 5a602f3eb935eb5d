"""Bus: what a node calls. BusReceiver: what a bus calls.

A bus must keep the order of the messages from one node to another. It must count the publications
that it drops in ``dropped``, by reason.
"""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from cluster.core import wire


class BusReceiver(Protocol):
    """The bus calls these methods from the event loop, and never during a call to the bus."""

    def bus_up(self, welcome: wire.Welcome) -> None:
        """The bus carries messages (again): send all subscriptions and arrivals now."""

    def bus_down(self) -> None:
        """The bus carries no messages: keep all batches until ``bus_up``. Those that the other
        nodes have not acknowledged may be lost."""

    def bus_message(self, message: wire.Message) -> None:
        """A message of the exchange has arrived."""

    def bus_batch(self, origin: str, data: bytes) -> None:
        """A batch of another node has arrived."""

    def bus_full(self, full: bool) -> None:
        """The queue of the bus passed its high-water mark (True) or its low-water mark (False)."""


class Bus(Protocol):
    """A node's way to the other nodes. ``name`` is the name of the node."""

    name: str
    dropped: Counter[str]

    def start(self, receiver: BusReceiver) -> None:
        """Connect. The bus calls ``receiver.bus_up`` when that has succeeded."""

    def stop(self) -> None:
        """Send Goodbye and disconnect."""

    def send(self, message: wire.Message) -> None:
        """Send a message to the exchange. Ignored while the bus is down: the receiver sends its
        whole state in ``bus_up``."""

    def send_batch(self, node: str, data: bytes) -> None:
        """Send a batch to another node. The bus must be up."""

    @property
    def is_up(self) -> bool:
        """Whether the bus carries messages."""

    @property
    def queued_bytes(self) -> int:
        """Bytes that this node has queued for the bus."""


class Timer(Protocol):
    """A call that a Clock will make."""

    def cancel(self) -> None:
        """Do not make the call. It must not have been made."""


class Clock(Protocol):
    """The part of Twisted's IReactorTime that topics use. mypy does not check zope interfaces."""

    def seconds(self) -> float:
        """Seconds by a clock that is never set, for measuring durations."""

    def callLater(self, delay: float, call: Callable[[], object], /) -> Timer:
        """Call a function in ``delay`` seconds."""
