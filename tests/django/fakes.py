"""Recording fakes of what a WebSocket handler uses: its connection, topics, the node."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.python.failure import Failure

from cluster.net.websocket.autobahn_protocol import CLOSING, OPEN
from cluster.net.websocket.frames import frame_payload
from cluster.pubsub.local_presence import LocalPresence


class RecordingBudget:
    """The budget of an event loop, spent if ``spent``; ``turn`` begins the next turn."""

    def __init__(self) -> None:
        self.spent = False
        self.waiting: list[Callable[[], None]] = []

    def is_spent(self) -> bool:
        return self.spent

    def next_turn(self, wake: Callable[[], None]) -> None:
        self.waiting.append(wake)

    def turn(self) -> None:
        waiting, self.waiting = self.waiting, []
        for wake in waiting:
            wake()


class RecordingConnection:
    """A WebSocket connection as its owner sees it, which records the owner's calls.

    ``block(octets)``: the client does not read; ``drain()``: it reads again.
    """

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.closes: list[tuple[int, str]] = []
        self.failures: list[BaseException] = []
        self.pauses: set[str] = set()
        self.blocked = False
        self.queued_bytes = 0
        self.out: list[bytes] = []  # of this turn
        self.budget = RecordingBudget()
        self.state = OPEN
        self.receive: Callable[[bytes, bool], None] = lambda payload, is_binary: None
        self.on_drained: Callable[[], None] | None = None
        self.count_frame: Callable[[], object] | None = None
        self.on_frames_lost: Callable[[bytes], None] | None = None

    def send_frame(self, frame: bytes) -> None:
        if self.state == OPEN:
            payload, is_binary = frame_payload(frame)
            self.sent.append(payload if is_binary else payload.decode())
            self.out.append(frame)

    def send_history(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.send_frame(frame)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self.state == OPEN:
            self.state = CLOSING
            self.closes.append((code, reason))

    def frames_lost(self, topic: bytes) -> None:
        if self.on_frames_lost is not None:
            self.on_frames_lost(topic)
        else:
            self.close(1012, "messages were lost")

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure.value)
        self.close(1011, "internal error")

    def pause(self, why: str) -> None:
        self.pauses.add(why)

    def resume(self, why: str) -> None:
        self.pauses.discard(why)

    def block(self, octets: int) -> None:
        self.blocked, self.queued_bytes = True, octets

    def drain(self, left: int = 0) -> None:
        self.blocked, self.queued_bytes = False, left
        if self.on_drained is not None:
            self.on_drained()

    def text(self, *messages: str) -> None:
        """The client sends; nothing is delivered once the connection closes."""
        for message in messages:
            if self.state == OPEN:
                self.receive(message.encode(), False)

    def binary(self, message: bytes) -> None:
        if self.state == OPEN:
            self.receive(message, True)


class RecordingBarriers:
    """A node's parties; the test releases and refuses them by token."""

    def __init__(self) -> None:
        self.parties: dict[int, tuple[str, int]] = {}
        self.waiting: dict[int, tuple[Callable[[], None], Callable[[str], None]]] = {}
        self._last = 0

    def arrive(
        self, name: str, expected: int, released: Callable[[], None], refused: Callable[[str], None]
    ) -> int:
        self._last += 1
        self.parties[self._last] = (name, expected)
        self.waiting[self._last] = (released, refused)
        return self._last

    def leave(self, name: str, token: int) -> None:
        if token in self.parties and self.parties[token][0] == name:
            del self.parties[token]
            self.waiting.pop(token, None)

    def release(self, *tokens: int) -> None:
        for token in tokens or tuple(self.waiting):
            self.waiting.pop(token)[0]()

    def refuse(self, token: int, why: str = "the barrier is full") -> None:
        del self.parties[token]
        self.waiting.pop(token)[1](why)


class RecordingPubSub:
    """Topics without delivery: records subscriptions and publications in order."""

    def __init__(self) -> None:
        self.full = False
        self.barriers = RecordingBarriers()
        self.presence = LocalPresence("node0", lambda: None)
        self.published: list[tuple[Any, ...]] = []
        self.listeners: list[tuple[bytes, Callable[[bytes], None]]] = []
        self.plain: set[tuple[Any, bytes]] = set()
        self.skipping: dict[tuple[Any, bytes], Callable[[], None]] = {}
        self.receipt = (2, 5)

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        self.published.append((topic, frame))
        return self.receipt

    def publish_here(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        self.published.append((topic, frame, "here"))
        return self.receipt

    def publish_except(self, connection: Any, topic: bytes, frame: bytes) -> tuple[int, int]:
        self.published.append((topic, frame, "not to", connection))
        return self.receipt

    def publish_retained(
        self, topic: bytes, frame: bytes, depth: int, lifetime: int = 0, skip: Any = None
    ) -> tuple[int, int]:
        self.published.append(
            (topic, frame, depth, *((lifetime, skip) if skip or lifetime else ()))
        )
        return self.receipt

    def listen(
        self,
        topic: bytes,
        listener: Callable[[bytes], None],
        lost: Callable[[], None] | None = None,
    ) -> None:
        self.listeners.append((topic, listener))

    def subscribe(self, connection: Any, topic: bytes) -> None:
        self.plain.add((connection, topic))

    def subscribe_skipping(
        self, connection: Any, topic: bytes, skipped: Callable[[], None]
    ) -> None:
        self.skipping[connection, topic] = skipped

    def unsubscribe(self, connection: Any, topic: bytes) -> None:
        self.plain.discard((connection, topic))
        self.skipping.pop((connection, topic), None)

    def drop(self, connection: Any, skipping_topics: tuple[bytes, ...] = ()) -> None:
        self.plain = {entry for entry in self.plain if entry[0] is not connection}
        for topic in skipping_topics:
            self.unsubscribe(connection, topic)


class RecordingNode:
    """A node for cluster.django: records what it is asked to do in the reactor's thread."""

    node_name = "node0"

    def __init__(self) -> None:
        self.pubsub = RecordingPubSub()
        self.handed_over: list[tuple[Any, ...]] = []

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        self.handed_over.append((function, *args))
        return function(*args)

    def in_reactor_later(self, function: Callable[[], None]) -> None:
        function()
