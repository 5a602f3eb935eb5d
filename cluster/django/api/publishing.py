"""publish: send a message to all subscribers of a topic, from anywhere.

A node puts it into the queues of the subscribers. Any other process with the site's settings (a
shell, a task queue, a management command) hands it to a running node. backends.py says which.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from cluster.core.exceptions import NotRunning
from cluster.core.interfaces import Node
from cluster.django import conf
from cluster.django.api import backends
from cluster.django.api.backends import NodeBackend
from cluster.django.api.history_settings import Kept, kept_by_setting
from cluster.django.api.payloads import NOT_GIVEN, Payload, Topic, as_public_topic, frame_of
from cluster.django.api.publication import Counts, Publication
from cluster.django.api.receipt import Receipt, count
from cluster.django.conf_topics import MAX_HISTORY, lifetime_fits

FULL_PAUSE_S, FULL_PAUSES = 0.01, 100
"""While the queue of the bus is full, ``wait_while_full`` waits at most a second, in pauses."""

_log = logging.getLogger("cluster.django")


def publish(
    topic: Topic,
    message: Payload | None = None,
    *,
    json: Any = NOT_GIVEN,
    retain: int | None = None,
    expire: float | None = None,
    immediate: bool = False,
    here: bool = False,
    using: str | None = None,
) -> Receipt:
    """Send a message to all subscribers of a topic, on every node.

    Call it from any thread of any process that has the site's settings; it waits for the node that
    takes the message, which is a matter of microseconds in a node and of milliseconds elsewhere.
    Inside a database transaction the message is sent after the commit, and not at all after a
    rollback; nothing waits then, and what goes wrong is logged.

    If no cluster is running, ``C10K["PUBLISH_WITHOUT_CLUSTER"]`` decides: ``"warn"`` logs one
    warning and drops the message, ``"ignore"`` drops it silently, ``"error"`` raises NotRunning
    here, inside a transaction, too, which is rolled back by it.

    Args:
        topic: The name of the topic. Names that begin with ``c10k/`` are reserved.
        message: Text or bytes, for a text or a binary message.
        json: In place of a message, a value that is sent as JSON text by Django's encoder: dates,
            decimals, UUIDs and lazy texts included.
        retain: How many messages of the topic are retained for later subscribers. Without it,
            ``C10K["TOPICS"]`` decides. All nodes receive the messages of such a topic in one order.
        expire: For how many seconds the message is retained. Without it, until newer ones replace
            it.
        immediate: Send now, even inside a transaction.
        here: Send to the subscribers of this node only.
        using: The alias of the database whose transaction counts; the default one without it.

    Returns:
        The receipt: how many nodes have subscribers. It is pending until the transaction commits.

    Raises:
        TypeError: Both message and json are given, or neither, or one that cannot be encoded.
        ValueError: The topic is reserved, ``retain`` or ``expire`` is out of range, or ``json`` has
            a NaN.
        NotRunning: No cluster is running, and the setting is ``"error"``.
        NotPublished: The node refused the message, or did not answer.
        ConfigurationError: Several clusters of this project are running, or one of another version.
    """
    key, frame = as_public_topic(topic), frame_of(message, json)
    publication = Publication(key, frame, how_kept(key, retain, expire), here)
    return publish_all([publication], immediate=immediate, using=using)


def publish_all(
    publications: Sequence[Publication], *, immediate: bool, using: str | None
) -> Receipt:
    """Send encoded messages, now or after the commit; one receipt for all of them."""
    global _has_warned
    backend = backends.current()
    if immediate or not _in_transaction(using):
        receipt = Receipt()
        try:
            for publication in publications:
                count(receipt, *backend.publish(publication))
                _has_warned = False
        except NotRunning as error:
            _without_cluster(error)
        return receipt
    in_node = isinstance(backend, NodeBackend)
    if not in_node and _must_publish():
        backend.check()
    return publish_on_commit(publications, using)


def publish_on_commit(publications: Sequence[Publication], using: str | None) -> Receipt:
    """Send encoded messages after the commit of the running transaction. Nothing waits for the
    counts. Errors are logged, because the caller continues before the messages are sent."""
    from django.db import transaction

    on_commit = OnCommit(publications)
    transaction.on_commit(on_commit, using=using, robust=True)
    return on_commit.receipt


class OnCommit:
    """What a transaction calls when it commits: sends messages, once."""

    def __init__(self, publications: Sequence[Publication]) -> None:
        self.receipt = Receipt(pending=True)
        self._publications = publications
        self._unanswered = len(publications)
        self._is_sent = False

    def __call__(self) -> None:
        # Django's captureOnCommitCallbacks makes the call, and leaves it for the commit.
        if not self._is_sent:
            self._is_sent = True
            self.send()

    def send(self) -> None:
        """Send without waiting for the counts. Errors are logged, and not raised: Django would log
        them by the ``__qualname__`` of a function, which this object does not have."""
        for publication in self._publications:
            try:
                self._send_one(publication)
            except Exception as error:
                self._answered(error)

    def _send_one(self, publication: Publication) -> None:
        try:
            backends.current().publish_later(publication, self._answered)
        except NotRunning as error:
            _without_cluster(error)
            self._answered((0, 0))

    def repeat(self) -> None:
        """Send once more, and wait until it is done: for each test of a class."""
        for publication in self._publications:
            backends.current().publish(publication)

    def _answered(self, answer: Counts | Exception) -> None:
        self._unanswered -= 1
        if isinstance(answer, NotRunning) and not _must_publish():
            _without_cluster(answer)
        elif isinstance(answer, Exception):
            _log.error("publishing after a commit failed: %s", answer)
        else:
            count(self.receipt, *answer)
        self.receipt.pending = self._unanswered > 0


def publish_or_raise(publication: Publication) -> Receipt:
    """Send an encoded message now; raises NotRunning, whatever the setting says."""
    return Receipt(*backends.current().publish(publication))


def how_kept(topic: bytes, retain: int | None, expire: float | None = None) -> Kept:
    """How long a topic retains a message: by the arguments of publish, or else by the setting."""
    if expire is not None and not lifetime_fits(expire):
        raise ValueError(f"expire is a number of seconds above 0, not {expire!r}")
    if retain is None:
        kept = kept_by_setting(topic)
        if expire is None:
            return kept
        return Kept(kept.depth, int(expire * 1000))
    if not isinstance(retain, int) or not 0 <= retain <= MAX_HISTORY:
        raise ValueError(f"retain is a number of messages from 0 to {MAX_HISTORY}, not {retain!r}")
    return Kept(retain, int((expire or 0) * 1000))


_has_warned = False


def _must_publish() -> bool:
    """Whether a message must not be dropped because no cluster is running."""
    return bool(conf.load()["PUBLISH_WITHOUT_CLUSTER"] == "error")


def _without_cluster(error: NotRunning) -> None:
    """No cluster is running: do as the setting says."""
    global _has_warned
    choice = conf.load()["PUBLISH_WITHOUT_CLUSTER"]
    if choice == "error":
        raise error
    if choice == "warn" and not _has_warned:
        _has_warned = True  # a command that saves ten thousand rows publishes as often
        _log.warning(
            "publish() drops its messages: %s. This is logged once, and again after a cluster has"
            " run. C10K['PUBLISH_WITHOUT_CLUSTER'] can be 'warn', 'ignore' or 'error'.",
            error,
        )


def _in_transaction(using: str | None) -> bool:
    # Not through transaction.get_connection: it also works where no database is set up.
    from django.db import DEFAULT_DB_ALIAS, connections

    in_block: bool = connections[using or DEFAULT_DB_ALIAS].in_atomic_block
    return in_block


async def wait_while_full(node: Node) -> None:
    """Wait while the queue of the bus is full, for a second at most.

    Await it before a message that the application does not pace itself. After that second the bus
    drops messages when it reaches its limit, and counts them.
    """
    for _ in range(FULL_PAUSES):
        if not node.pubsub.full:
            return
        await asyncio.sleep(FULL_PAUSE_S)
