"""Protocols: what the floors above the core need of each other.

``cluster.net``, ``cluster.pubsub`` and ``cluster.django`` do not import each other's classes. The
node connects their objects, and these protocols are the types of what it passes.

Budget             the time that a turn of the event loop has
LaterFrame         a frame that is not encoded yet
Subscriber         a connection, for topics: frames are queued on it
ClientConnection   a connection, for its handler
Callback           a function that is subscribed to a topic
Presence, Barriers, PubSub   the topics of a node, for handlers
Node               the node of this process, for application code

Call all methods in the thread of the node's event loop, unless their docstring says otherwise.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cluster.core.broker_state.retained_topic import History as History
from cluster.core.broker_state.retained_topic import Position as Position
from cluster.core.broker_state.retained_topic import RetainedTopic

Take = Callable[[bytes, int], None]
"""Called with a frame and its offset, which is 0 for a topic that retains nothing."""

Answer = Callable[[bool, str, int], None]
"""Called with: all missed frames follow, the topic's epoch, its newest offset. The epoch of a topic
that retains nothing is empty. Called again, with False, if frames are lost later."""


class Budget(Protocol):
    """The time that handlers may take before the event loop serves others."""

    def is_spent(self) -> bool:
        """Whether the caller should continue in a later turn."""

    def next_turn(self, wake: Callable[[], None]) -> None:
        """Call a function, which makes a coroutine continue, in a later turn."""


class LaterFrame(Protocol):
    """A frame that is encoded when it is sent, and takes no memory before."""

    def __len__(self) -> int:
        """Roughly its length in bytes."""

    def encode(self) -> bytes:
        """The frame. It is called once."""


class Subscriber(Protocol):
    """A connection, for topics. It is hashable by identity."""

    out: list[bytes]
    """Frames for the next flush. Code that appends the first one marks the connection as having
    output. Read the attribute each time: a connection that closes replaces the list."""

    def __hash__(self) -> int: ...

    @property
    def blocked(self) -> bool:
        """Whether the send queue is full, so that the publisher must wait or skip messages."""

    def send_frame(self, frame: bytes) -> None:
        """Queue an encoded WebSocket frame."""

    def frames_lost(self, topic: bytes) -> None:
        """Frames of a topic are lost on the way to this node; those that follow are not."""

    def send_history(self, frames: Sequence[bytes | LaterFrame]) -> None:
        """Queue the frames of a topic's history. They are sent as the client reads, and do not
        count for the limit of its queue."""


class ClientConnection(Subscriber, Protocol):
    """One client's WebSocket connection, for its handler."""

    receive: Callable[[bytes, bool], None]
    """Called with the payload and whether it is binary; the payload of text is valid UTF-8."""

    count_frame: Callable[[], object] | None
    """Called for each control frame but Close, and each fragment of a message but its last. It may
    close the connection."""

    on_drained: Callable[[], None] | None
    """Called each time ``blocked`` ends."""

    on_frames_lost: Callable[[bytes], None] | None
    """Called by ``frames_lost``. If it is None, the connection is closed."""

    peer: str
    state: int
    http_request_uri: str

    @property
    def budget(self) -> Budget:
        """The budget of the node's event loop."""

    @property
    def queued_bytes(self) -> int:
        """Bytes that are queued for the client."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then a Close frame (RFC 6455, section 5.5.1)."""

    def pause(self, reason: str) -> None:
        """Do not read from the client until ``resume`` is called with the same reason."""

    def resume(self, reason: str) -> None:
        """Undo ``pause``; ignored if it was not called with this reason."""

    def fail(self, failure: Any) -> None:
        """Log a Failure of our own code and close the connection with 1011."""


class Callback(Protocol):
    """A function that is subscribed to a topic."""

    @property
    def epoch(self) -> str:
        """The epoch of the offsets that the function receives; empty if nothing is retained."""

    def stop(self) -> None:
        """Do not call the function any more. Idempotent."""


class Presence(Protocol):
    """Which members are on which topic."""

    def join(self, topic: bytes, member: str) -> None:
        """Count one more connection of a member on a topic."""

    def leave(self, topic: bytes, member: str) -> None:
        """Count one connection less of a member on a topic."""

    def members(self, topic: bytes) -> tuple[str, ...]:
        """The members on any node, in the order in which they joined."""

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
        """Cease to be a party."""


class PubSub(Protocol):
    """The topics of a node. Publishing returns (nodes, connections of this node)."""

    @property
    def presence(self) -> Presence: ...

    @property
    def barriers(self) -> Barriers: ...

    @property
    def full(self) -> bool:
        """Whether publishers must pause, because the queue of the bus is full."""

    @property
    def limit_reached(self) -> bool:
        """Whether publications are refused, because too many wait for the bus."""

    @property
    def dropped(self) -> Counter[str]:
        """Publications that were not delivered, by reason."""

    def retained(self, topic: bytes) -> RetainedTopic | None:
        """What this node has received of a retained topic that it subscribes to; None if nothing.
        Do not keep the object: the next frame changes it."""

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
        milliseconds (0: without limit). Raises NotPublished if too much waits for the exchange."""

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
        """Stop queueing the topic's frames on the connection."""

    def drop(self, connection: Subscriber, skipping_topics: tuple[bytes, ...] = ()) -> None:
        """Unsubscribe a closed connection from all topics."""

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

    def listen(
        self,
        topic: bytes,
        listener: Callable[[bytes], None],
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Call the function with each frame, until the node stops, and ``lost`` when retained
        frames are lost."""


class Node(Protocol):
    """The node of this process."""

    @property
    def node_name(self) -> str: ...

    @property
    def pubsub(self) -> PubSub: ...

    @property
    def ask_supervisor(self) -> Callable[[str, dict[str, Any]], Any] | None:
        """Asks an operator's question and returns a Deferred; None without a supervisor. Call it in
        the thread of the event loop."""

    def is_reactor_thread(self) -> bool:
        """Whether the caller is in the thread of the event loop."""

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the thread of the event loop and return its result; from any other
        thread, wait for it."""

    def in_reactor_later(self, function: Callable[[], None]) -> None:
        """Run a function, which must not raise, in the thread of the event loop, without waiting
        for it; at once if this is that thread. Functions of one thread run in its order."""
