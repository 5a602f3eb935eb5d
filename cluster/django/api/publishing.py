"""publish: from anywhere, to all subscribers of a topic.

In a node it goes straight into the queues of the subscribers. Any other process with the site's
settings (a shell, a task queue, a management command) hands it to a running node (outside.py).
"""

from cluster.core.wire_external import Receipt
from cluster.django.api import topics
from cluster.django.api.retention import Kept, kept_by_setting
from cluster.django.api.topics import Payload, Topic, as_frame, as_topic
from cluster.django.topics_setting import MAX_HISTORY, lifetime_fits


def publish(
    topic: Topic,
    message: Payload,
    *,
    retain: int | None = None,
    expire: float | None = None,
    immediate: bool = False,
    here: bool = False,
    using: str | None = None,
) -> Receipt | None:
    """Send a message to all subscribers of a topic, on every node; with ``here`` on this one only.

    From any thread and any process. Inside a transaction (of the database ``using``) it goes out
    when that is committed, and the result is None; what goes wrong then is logged by Django. With
    ``immediate`` it goes out now.

    ``retain``: keep the topic's newest so many messages, for ``expire`` seconds or for ever, for
    those who subscribe later; without it, C10K["TOPICS"] decides. All nodes see the messages of
    such a topic in the same order.

    Raises NotRunning if this is no node and none can be reached; ValueError for a ``retain`` or
    ``expire`` out of range.
    """
    key, frame = as_topic(topic), as_frame(message)
    kept = how_kept(key, retain, expire)

    def send() -> Receipt:
        return _send(key, frame, kept, here)

    if not immediate and _in_transaction(using):
        from django.db import transaction

        waiting = [send]

        def send_once() -> None:
            # Django's captureOnCommitCallbacks makes the call, and leaves it for the commit.
            if waiting:
                waiting.pop()()

        transaction.on_commit(send_once, using=using, robust=True)
        return None
    return send()


def how_kept(topic: bytes, retain: int | None, expire: float | None = None) -> Kept:
    """What the arguments of publish, or else the setting, say of a topic."""
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


def _send(topic: bytes, frame: bytes, kept: Kept, here: bool) -> Receipt:
    running = topics.node
    if running is None and topics.stand_in is not None:
        running = topics.stand_in()
    if running is None:
        from cluster.django.api.external_publisher import publish_externally

        return publish_externally(topic, frame, kept.depth, kept.lifetime / 1000)
    pubsub = running.pubsub
    if here:
        return Receipt(*running.in_reactor(pubsub.publish_here, topic, frame))
    if kept.depth:
        return Receipt(*running.in_reactor(pubsub.publish_retained, topic, frame, *kept))
    return Receipt(*running.in_reactor(pubsub.publish, topic, frame))


def _in_transaction(using: str | None) -> bool:
    # Not through transaction.get_connection: it also works where no database is set up.
    from django.db import DEFAULT_DB_ALIAS, connections

    in_block: bool = connections[using or DEFAULT_DB_ALIAS].in_atomic_block
    return in_block
