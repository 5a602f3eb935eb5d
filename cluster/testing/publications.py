"""Records publications during a test, and sends them when the application would have committed.

Django's TestCase wraps each test in a transaction that is never committed, so messages that wait
for a commit would never be sent. ``commit`` checks whether only the test's own transaction is open:
the application would have committed then. If so, it makes the calls that c10k has registered with
``transaction.on_commit``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from asgiref.sync import sync_to_async
from django.db import connections

from cluster.core.interfaces import Node, Subscriber
from cluster.django.api import topics
from cluster.django.api.payloads import RESERVED, Payload, as_message
from cluster.pubsub.pubsub import PubSub


class Publication(NamedTuple):
    """One message that was published.

    Attributes:
        topic: The name of the topic.
        message: The message: str for text, bytes for binary.
    """

    topic: str
    message: Payload


_captures: list[list[Publication]] = []


class capture_publications:
    """A list of the messages that views, handlers or the test itself publish in a block.

    Use ``with`` in a function, ``async with`` in a coroutine; the target of ``as`` is the list.
    Messages that wait for a commit are added at the end of the block at the latest. Clients receive
    the messages as they do without this.
    """

    def __init__(self) -> None:
        self._published: list[Publication] = []

    def __enter__(self) -> list[Publication]:
        commit()
        return self._begin()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if error is None:
                commit()
        finally:
            self._end()

    async def __aenter__(self) -> list[Publication]:
        await sync_to_async(commit)()
        return self._begin()

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if error is None:
                await sync_to_async(commit)()
        finally:
            self._end()

    def _begin(self) -> list[Publication]:
        _captures.append(self._published)
        if topics.node is None:
            topics.node = without_clients
        return self._published

    def _end(self) -> None:
        # Not remove(), which could remove another, equal list.
        _captures[:] = [each for each in _captures if each is not self._published]
        if topics.node is without_clients and not _captures:
            topics.node = None


def record(topic: bytes, frame: bytes) -> None:
    """Record a publication, unless its topic is reserved for the cluster."""
    if not topic.startswith(RESERVED):
        for published in _captures:
            published.append(Publication(topic.decode(), as_message(frame)))


class RecordingPubSub(PubSub):
    """PubSub that records publications."""

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        record(topic, frame)
        return super().publish(topic, frame)

    def publish_here(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        record(topic, frame)
        return super().publish_here(topic, frame)

    def publish_except(self, connection: Subscriber, topic: bytes, frame: bytes) -> tuple[int, int]:
        record(topic, frame)
        return super().publish_except(connection, topic, frame)

    def publish_retained(
        self,
        topic: bytes,
        frame: bytes,
        depth: int,
        lifetime: int = 0,
        skip: Subscriber | None = None,
    ) -> tuple[int, int]:
        record(topic, frame)
        return super().publish_retained(topic, frame, depth, lifetime, skip)


class NodeWithoutClients:
    """A node without clients: publications can be captured in a test that has no node."""

    node_name = "node0"
    ask_supervisor = None

    def __init__(self) -> None:
        self.pubsub: Any = self
        self.presence = self

    def members(self, topic: bytes) -> tuple[str, ...]:
        return ()

    def listen(self, topic: bytes, listener: object, lost: object = None) -> None:
        """Do nothing: there will be no messages."""

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def in_reactor_later(self, function: Callable[[], None]) -> None:
        function()

    def publish(self, topic: bytes, frame: bytes, *how: Any) -> tuple[int, int]:
        record(topic, frame)
        return 0, 0

    publish_here = publish_retained = publish


without_clients = cast(Node, NodeWithoutClients())

_made_of_class: dict[str, tuple[str | None, list[object]]] = {}
"""By database: the savepoint of the running test, and those calls of its class that have been
made."""


def commit() -> None:
    """Make c10k's calls that wait for a commit, in the thread of the test's transaction.

    A call that the test itself registered is made once. A call of ``setUpTestData`` belongs to the
    class, as its rows do, and is made once in each test of the class.
    """
    for connection in connections.all(initialized_only=True):
        blocks = getattr(connection, "atomic_blocks", ())
        if not blocks or not blocks[-1]._from_testcase:
            continue
        # None while setUpTestData runs: the class's own atomic block has no savepoint.
        savepoint = connection.savepoint_ids[-1] if connection.savepoint_ids else None
        waiting: list[Any] = connection.run_on_commit
        for index, (savepoints, call, *rest) in enumerate(waiting):
            function = getattr(call, "func", call)  # the function of a partial
            if not function.__module__.startswith("cluster."):
                continue
            if savepoint not in savepoints:
                attached = topics.node not in (None, without_clients)
                if attached and _is_first(connection.alias, savepoint, call):
                    _repeat(call)
            else:
                # Replace the calls rather than remove them: captureOnCommitCallbacks counts them.
                waiting[index] = (savepoints, _done, *rest)
                call()


def _is_first(database: str, savepoint: str | None, call: object) -> bool:
    """Whether the running test (identified by its savepoint) has not made this class's call."""
    known, made = _made_of_class.get(database, (None, []))
    if known != savepoint:
        made = []
    _made_of_class[database] = savepoint, made
    if any(call is each for each in made):
        return False
    made.append(call)
    return True


def _repeat(call: Callable[[], None]) -> None:
    """Make a call of the class, without capturing: it was published before any capturing block."""
    captures, _captures[:] = list(_captures), []
    try:
        getattr(call, "repeat", call)()
    finally:
        _captures[:] = captures


def _done() -> None:
    """Replaces a call that has been made."""
