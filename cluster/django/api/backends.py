"""Publish backends: where a process hands over what it publishes.

* a node: its own topics, in the thread of its event loop (NodeBackend);
* any other process: a node of the running cluster (cluster.django.external);
* tests: the node in memory that a test's clients talk to (cluster.testing installs its backend when
  it is imported, as Django's test runner installs a mail backend).

In a process with a node, the node is the backend. In others it is the one that was installed last.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from cluster.core.interfaces import Node
from cluster.django.api import topics
from cluster.django.api.publication import Counts, Done, Publication


class Backend(Protocol):
    """Sends messages. All methods may be called from any thread."""

    def check(self) -> None:
        """Raise NotRunning if there is no cluster to publish through."""

    def publish(self, publication: Publication) -> Counts:
        """Send now, and wait for the counts. Raises NotRunning or NotPublished."""

    def publish_later(self, publication: Publication, done: Done) -> None:
        """Send without waiting for the counts. Raises NotRunning, but does not call ``done`` then.

        Messages of one thread are sent in the order of its calls of both methods.
        """


class NodeBackend:
    """The backend of a process that has a node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def check(self) -> None:
        """A node is running: this one."""

    def publish(self, publication: Publication) -> Counts:
        counts: Counts = self._node.in_reactor(self._publish, publication)
        return counts

    def publish_later(self, publication: Publication, done: Done) -> None:
        def publish() -> None:
            try:
                counts = self._publish(publication)
            except Exception as error:
                done(error)
            else:
                done(counts)

        self._node.in_reactor_later(publish)

    def _publish(self, publication: Publication) -> Counts:
        topic, frame, kept, here = publication
        pubsub = self._node.pubsub
        if here:
            return pubsub.publish_here(topic, frame)
        if kept.depth:
            return pubsub.publish_retained(topic, frame, *kept)
        return pubsub.publish(topic, frame)


_installed: Backend | None = None


def current() -> Backend:
    """The backend of this process."""
    if topics.node is not None:
        return NodeBackend(topics.node)
    if _installed is not None:
        return _installed
    from cluster.django.external import backend  # not needed in a node

    return backend.backend


def install(backend: Backend | None) -> Backend | None:
    """Publish through this backend where there is no node; returns the one before.

    None stands for the external publisher.
    """
    global _installed
    before, _installed = _installed, backend
    return before


@contextmanager
def installed(backend: Backend | None) -> Iterator[Any]:
    """Install a backend for a block."""
    before = install(backend)
    try:
        yield backend
    finally:
        install(before)
