"""The node of this process, and what application code asks of its topics.

``abarrier`` is for handlers, ``listen`` for code that runs when the application is loaded, and
``members`` and ``node_name`` for any thread of a node. ``publish`` is in publishing.py.
"""

import asyncio
import threading
from collections.abc import Callable

from cluster.core.exceptions import BarrierRefused, NotRunning
from cluster.core.interfaces import Node
from cluster.django.api.payloads import Payload, Topic, as_message, as_topic

Listener = Callable[[Payload], None]

node: Node | None = None
"""The node of this process; set by the node itself."""

_attached: tuple[Node | None, int] = (None, 0)
"""The node that was attached last, and the thread of its event loop."""

_listeners: list[tuple[bytes, Callable[[bytes], None], Callable[[], None] | None]] = []


def running_node() -> Node:
    """The node of this process. Raises NotRunning if there is none."""
    if node is None:
        raise NotRunning("this process is not a node: start one with twistd c10k")
    return node


def node_of_this_loop() -> Node:
    """The node whose event loop is running. Raises NotRunning in another event loop, such as that
    of an asynchronous view: a future of one loop must not be resolved in another thread."""
    running = running_node()
    attached, thread = _attached
    if attached is running and thread != threading.get_ident():
        raise NotRunning(
            "this is not the node's event loop, in which handlers run: an asynchronous view has a"
            " loop and a thread of its own"
        )
    return running


def listen(topic: Topic, listener: Listener) -> None:
    """Call a function in every node for each message of a topic.

    Call this when the application is loaded: in AppConfig.ready, or at the top level of a module.
    There is no way to stop. The function runs in the event loop and must not block.

    Args:
        topic: The name of the topic.
        listener: Called with each message: str for text, bytes for binary.
    """
    listen_from_start(topic, listener)


def listen_from_start(
    topic: Topic, listener: Listener, lost: Callable[[], None] | None = None
) -> None:
    """The same for a topic with history of which no message may be missed.

    Args:
        topic: The name of the topic.
        listener: Called with each message, also with those that the topic has retained.
        lost: Called when messages that the topic has retained cannot be delivered to this node.
    """

    def take(frame: bytes) -> None:
        listener(as_message(frame))

    _listeners.append((as_topic(topic), take, lost))
    if node is not None:
        node.pubsub.listen(as_topic(topic), take, lost)


def attach(running: Node) -> None:
    """Make a node the one of this process. The node calls this once, in the thread of its event
    loop, when Django is loaded."""
    global node, _attached
    node, _attached = running, (running, threading.get_ident())
    for topic, take, lost in _listeners:
        running.pubsub.listen(topic, take, lost)


def node_name() -> str:
    """The name of this process's node, for people.

    Returns:
        ``node0``, ``node1`` and so on; ``node0@MACHINE`` if the site has several machines. The
        replacement of a node that has died has its name.

    Raises:
        NotRunning: This process is not a node.
    """
    return running_node().node_name


def members(topic: Topic) -> tuple[str, ...]:
    """The members who are present on a topic (``ws.join``), on any node.

    Call it in any thread of a node.

    Args:
        topic: The name of the topic.

    Returns:
        Their names, in the order in which they joined.

    Raises:
        NotRunning: This process is not a node.
    """
    running = running_node()
    found: tuple[str, ...] = running.in_reactor(running.pubsub.presence.members, as_topic(topic))
    return found


async def abarrier(name: str, parties: int) -> None:
    """Arrive at a barrier and wait until enough parties have, on all nodes together.

    When it returns, every subscription made before any of the arrivals is in force on every node,
    and the party leaves the barrier. Use ``ws.barrier`` for a party that stays as long as its
    client. Call it in a node's event loop, where handlers run.

    Args:
        name: The name of the barrier, the same for all its parties.
        parties: How many parties it waits for; EVERY_NODE for one on each node.

    Raises:
        BarrierRefused: The barrier is full, or was released already.
        NotRunning: This is not a node's event loop.
    """
    barriers = node_of_this_loop().pubsub.barriers
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    token = barriers.arrive(
        name, parties, lambda: set_result(future), lambda why: refuse(future, name, why)
    )
    try:
        await future
    finally:
        barriers.leave(name, token)


def set_result(future: "asyncio.Future[None]") -> None:
    """Resolve a future, unless the task that waited for it was cancelled."""
    if not future.done():
        future.set_result(None)


def refuse(future: "asyncio.Future[None]", name: str, why: str) -> None:
    """Fail a future with BarrierRefused, unless the task that waited for it was cancelled."""
    if not future.done():
        future.set_exception(BarrierRefused(f"{name}: {why}"))
