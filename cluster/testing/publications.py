"""Records what is published during a test, and sends it when the application has committed.

Django's TestCase wraps each test into a transaction that it never commits, so publications that
wait for a commit would wait indefinitely. When only the test's own transaction is left, the
application has left its own, and would have committed. Then ``commit`` makes this package's calls
that wait.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.db import connections

from cluster.django.api import topics
from cluster.django.api.topics import Payload, as_message
from cluster.pubsub.pubsub import PubSub

INTERNAL = b"c10k/"
"""The prefix of topics for messages between nodes."""


class Publication(NamedTuple):
    """A message that was published.

    Attributes:
        topic: The topic's name.
        message: The message: str for text, bytes for binary.
    """

    topic: str
    message: Payload


_captures: list[list[Publication]] = []


class capture_publications:
    """Record what views, handlers and the test itself publish in a block.

    Use ``with`` in a function and ``async with`` in a coroutine; the block gets a list of
    Publication. Publications that wait for a commit are in the list at the end of the block at the
    latest. Clients receive all messages as usual.
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
            topics.node = nobody
        return self._published

    def _end(self) -> None:
        # remove() could take another list that is equal.
        _captures[:] = [each for each in _captures if each is not self._published]
        if topics.node is nobody and not _captures:
            topics.node = None


def record(topic: bytes, frame: bytes) -> None:
    """Record a publication, unless it is a message between nodes."""
    if not topic.startswith(INTERNAL):
        for published in _captures:
            published.append(Publication(topic.decode(), as_message(frame)))


class RecordingPubSub(PubSub):
    """Topics whose publications are recorded."""

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        record(topic, frame)
        return super().publish(topic, frame)

    def publish_here(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        record(topic, frame)
        return super().publish_here(topic, frame)

    def publish_except(self, skip: Any, topic: bytes, frame: bytes) -> tuple[int, int]:
        record(topic, frame)
        return super().publish_except(skip, topic, frame)

    def publish_retained(self, topic: bytes, frame: bytes, *how: Any, **more: Any) -> Any:
        record(topic, frame)
        return super().publish_retained(topic, frame, *how, **more)


class Nobody:
    """A node without clients, for a test that captures publications and connects no client."""

    def __init__(self) -> None:
        self.pubsub: Any = self
        self.presence = self

    def members(self, topic: bytes) -> tuple[str, ...]:
        return ()

    def listen(self, topic: bytes, listener: object) -> None:
        """No message will arrive."""

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def publish(self, topic: bytes, frame: bytes, *how: Any) -> tuple[int, int]:
        record(topic, frame)
        return 0, 0

    publish_here = publish_retained = publish


nobody = Nobody()


def commit() -> None:
    """Make this package's calls that wait for a commit; in the thread of the test's transaction."""
    for connection in connections.all(initialized_only=True):
        blocks = getattr(connection, "atomic_blocks", ())
        if not blocks or not blocks[-1]._from_testcase:
            continue
        waiting: list[Any] = connection.run_on_commit
        for index, (savepoints, call, *rest) in enumerate(waiting):
            function = getattr(call, "func", call)  # a partial's
            if function.__module__.startswith("cluster."):
                # Replaced, not removed: captureOnCommitCallbacks counts the calls.
                waiting[index] = (savepoints, _done, *rest)
                call()


def _done() -> None:
    """Replaces a call that was made."""
