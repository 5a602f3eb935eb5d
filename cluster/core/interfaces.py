"""Protocols through which the floors above the core see each other.

``cluster.net``, ``cluster.pubsub`` and ``cluster.django`` do not import classes of each other. A
node joins them; these protocols say what each needs of the others.

Subscriber         a connection as topics see it: something to queue frames on
ClientConnection   a connection as its handler sees it
Callback           a function that follows a topic, until it is stopped
Presence, Barriers, PubSub   the topics of a node as handlers see them
Node               the node of this process as applications' code reaches it

Everything here belongs to the thread of the node's event loop unless it says otherwise.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from cluster.core.retained import History as History
from cluster.core.retained import Position as Position

Take = Callable[[bytes, int], None]
"""Called with a frame and its offset, which is 0 for a topic that retains nothing."""

Answer = Callable[[bool, str, int], None]
"""Called with: all missed frames follow, the topic's epoch, its newest offset. The epoch of a topic
that retains nothing is empty."""


class Subscriber(Protocol):
    """A connection as topics see it. It is hashable by identity."""

    out: list[bytes]
    """Frames for the next flush. Code that appends the first one marks the connection as having
    output. Read the attribute each time: a connection that closes replaces the list."""

    def __hash__(self) -> int: ...

    @property
    def blocked(self) -> bool:
        """Whether the client does not take more for now."""

    def send_frame(self, frame: bytes) -> None:
        """Queue an encoded WebSocket frame."""


class ClientConnection(Subscriber, Protocol):
    """One client's WebSocket connection as its handler sees it."""

    receive: Callable[[bytes, bool], None]
    """Called with the payload and whether it is binary; the payload of text is valid UTF-8."""

    on_drained: Callable[[], None] | None
    """Called each time ``blocked`` ends."""

    peer: str
    state: int
    http_request_uri: str

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the client."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then a Close frame (RFC 6455, section 5.5.1)."""

    def pause(self, reason: str) -> None:
        """Do not read from the client until ``resume`` is called with the same reason."""

    def resume(self, reason: str) -> None:
        """Undo ``pause``; ignored if it was not called with this reason."""

    def fail(self, failure: Any) -> None:
        """Log a Failure of our own code and close the connection with 1011."""


class Callback(Protocol):
    """A function that follows a topic."""

    @property
    def epoch(self) -> str:
        """The epoch of the offsets that the function receives; empty if nothing is retained."""

    def stop(self) -> None:
        """Do not call it any more. Idempotent."""


class Presence(Protocol):
    """Which members are on which topic."""

    def join(self, topic: bytes, member: str) -> None:
        """Count one more connection of a member on a topic."""

    def leave(self, topic: bytes, member: str) -> None:
        """Count one less."""

    def members(self, topic: bytes) -> tuple[str, ...]:
        """The members on any node, in the order in which they came."""

    def watch(self, topic: bytes, watcher: Callable[[str, bool], None]) -> Callable[[], None]:
        """Call ``watcher(member, joined)`` for each change; returns a function that ends this."""


class Barriers(Protocol):
    """The parties of this node at the cluster's barriers."""

    def arrive(
        self,
        name: str,
        expected: int,
        released: Callable[[], None],
        refused: Callable[[str], None],
    ) -> int:
        """Become a party; returns the token for ``leave``. Exactly one of the callbacks is called,
        unless the party leaves first."""

    def leave(self, name: str, token: int) -> None:
        """Be a party no longer."""


class PubSub(Protocol):
    """The topics of a node. Publishing returns (nodes, connections of this node)."""

    @property
    def presence(self) -> Presence: ...

    @property
    def barriers(self) -> Barriers: ...

    @property
    def full(self) -> bool:
        """Whether publishers must pause, because the bus does not take more."""

    @property
    def dropped(self) -> Counter[str]:
        """Publications that were not delivered, by reason."""

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to all subscribers on all nodes."""

    def publish_here(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to the subscribers on this node."""

    def publish_except(self, connection: Subscriber, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to all subscribers but one connection of this node."""

    def publish_retained(
        self,
        topic: bytes,
        frame: bytes,
        depth: int,
        lifetime: int = 0,
        skip: Subscriber | None = None,
    ) -> tuple[int, int]:
        """Publish a frame that the topic retains among its newest ``depth`` ones, for ``lifetime``
        milliseconds (0: without limit)."""

    def subscribe(self, connection: Subscriber, topic: bytes) -> None:
        """Queue the topic's frames on the connection from now on, the retained ones first."""

    def subscribe_since(
        self,
        connection: Subscriber,
        topic: bytes,
        since: Position | None,
        begin: Callable[[History], tuple[bytes, ...]],
    ) -> None:
        """Subscribe as soon as the history is known: ``begin(history)`` returns what to send."""

    def subscribe_skipping(
        self, connection: Subscriber, topic: bytes, skipped: Callable[[], None]
    ) -> None:
        """Subscribe, but call ``skipped`` instead of queueing while the connection is blocked."""

    def unsubscribe(self, connection: Subscriber, topic: bytes) -> None:
        """Queue no more of the topic's frames."""

    def drop(self, connection: Subscriber, skipping_topics: tuple[bytes, ...] = ()) -> None:
        """Unsubscribe a connection that is gone from everything."""

    def follow(
        self,
        topic: bytes,
        take: Take,
        *,
        since: Position | None = None,
        replay: bool = True,
        answer: Answer | None = None,
        for_client: bool = False,
    ) -> Callback:
        """Call ``take`` for each frame; see cluster.pubsub.subscriptions."""

    def listen(self, topic: bytes, listener: Callable[[bytes], None]) -> None:
        """Call back with each frame for as long as the node lives."""


class Node(Protocol):
    """The node of this process."""

    @property
    def pubsub(self) -> PubSub: ...

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the thread of the event loop and return its result; from any other
        thread, wait for it."""

    def in_reactor_later(self, function: Callable[[], None]) -> None:
        """Run a function, which must not raise, in the thread of the event loop, without waiting
        for it; at once if this is that thread. Functions of one thread run in its order."""
