"""publish, listen and barrier, from anywhere in a node.

They work on the node of this process. ``publish`` may be called from any thread; the others belong
to handlers and to start-up code.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from cluster.core.exceptions import BarrierRefused, NotRunning
from cluster.net.frames import binary_frame, frame_payload, text_frame

Topic = str | bytes
Payload = str | bytes
Listener = Callable[[Payload], None]


class INode(Protocol):
    """What this module needs of the node."""

    pubsub: Any

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run in the reactor thread; at once, with the result, if this is it."""


node: INode | None = None
"""The node of this process; set by the node itself."""

_listeners: list[tuple[bytes, Callable[[bytes], None]]] = []


def as_topic(topic: Topic) -> bytes:
    """Topics travel as UTF-8."""
    return topic.encode() if isinstance(topic, str) else topic


def as_frame(message: Payload) -> bytes:
    """A str becomes a text frame, bytes a binary one."""
    return text_frame(message.encode()) if isinstance(message, str) else binary_frame(message)


def as_message(frame: bytes) -> Payload:
    """A frame's payload: str for text, bytes for binary."""
    payload, is_binary = frame_payload(frame)
    return payload if is_binary else payload.decode()


def running_node() -> INode:
    """The node of this process; raises NotRunning if there is none."""
    if node is None:
        raise NotRunning("this process is no node: start one with twistd c10k")
    return node


def publish(
    topic: Topic, message: Payload, *, retain: int = 0, here: bool = False
) -> tuple[int, int] | None:
    """Send a message to all subscribers of a topic, on every node; with ``here`` on this one only.

    Returns how many nodes and how many connections of this node it was queued to; None when called
    from another thread, or with ``retain``: then the newest ``retain`` messages are also kept for
    those who subscribe later, and all nodes see them in the same order.
    """
    running = running_node()
    pubsub = running.pubsub
    key, frame = as_topic(topic), as_frame(message)
    if retain:
        running.in_reactor(pubsub.publish_retained, key, frame, retain)
        return None
    send = pubsub.publish_here if here else pubsub.publish
    receipt: tuple[int, int] | None = running.in_reactor(send, key, frame)
    return receipt


def listen(topic: Topic, listener: Listener) -> None:
    """Call ``listener(message)`` in every node for each message of the topic.

    To be called when the application is loaded (AppConfig.ready, or a module's top level). The
    listener runs in the reactor: it must not block.
    """

    def take(frame: bytes) -> None:
        listener(as_message(frame))

    _listeners.append((as_topic(topic), take))
    if node is not None:
        node.pubsub.listen(as_topic(topic), take)


def attach(running: INode) -> None:
    """Make a node the one of this process (called by the node, once, when Django is loaded)."""
    global node
    node = running
    for topic, take in _listeners:
        running.pubsub.listen(topic, take)


async def barrier(name: str, parties: int) -> None:
    """Wait until ``parties`` have arrived at the barrier, cluster-wide.

    With EVERY_NODE: until each live node has arrived. When it returns, every subscription made
    before any of the arrivals is in force on every node. The party leaves the barrier with that;
    use ``ws.barrier`` for one that lasts as long as a connection. Raises BarrierRefused if the
    barrier is full or was released already.
    """
    barriers = running_node().pubsub.barriers
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    token = barriers.arrive(
        name, parties, lambda: set_result(future), lambda why: refuse(future, name, why)
    )
    try:
        await future
    finally:
        barriers.leave(name, token)


def set_result(future: "asyncio.Future[None]") -> None:
    """Resolve unless whoever waited has given up."""
    if not future.done():
        future.set_result(None)


def refuse(future: "asyncio.Future[None]", name: str, why: str) -> None:
    """Fail unless whoever waited has given up."""
    if not future.done():
        future.set_exception(BarrierRefused(f"{name}: {why}"))
