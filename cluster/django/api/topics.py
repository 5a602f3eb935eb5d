"""The node of this process, and what application code asks of its topics.

``listen`` and ``barrier`` belong to handlers and to start-up code; publish is in publishing.py.
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

_listeners: list[tuple[bytes, Callable[[bytes], None]]] = []


def running_node() -> Node:
    """The node of this process; raises NotRunning if there is none."""
    if node is None:
        raise NotRunning("this process is no node: start one with twistd c10k")
    return node


def node_of_this_loop() -> Node:
    """The node, for what resolves futures of the running loop; raises NotRunning where that is
    another loop than the node's, as in an asynchronous view."""
    running = running_node()
    attached, thread = _attached
    if attached is running and thread != threading.get_ident():
        raise NotRunning(
            "this is not the node's event loop, in which handlers run: an asynchronous view has a"
            " loop and a thread of its own"
        )
    return running


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


def attach(running: Node) -> None:
    """Make a node the one of this process (called by the node in the thread of its loop, once, when
    Django is loaded)."""
    global node, _attached
    node, _attached = running, (running, threading.get_ident())
    for topic, take in _listeners:
        running.pubsub.listen(topic, take)


def members(topic: Topic) -> tuple[str, ...]:
    """Who is on a topic (``ws.join``), on any node, whoever came first in front."""
    running = running_node()
    found: tuple[str, ...] = running.in_reactor(running.pubsub.presence.members, as_topic(topic))
    return found


async def barrier(name: str, parties: int) -> None:
    """Wait until ``parties`` have arrived at the barrier, cluster-wide.

    With EVERY_NODE: until each live node has arrived. When it returns, every subscription made
    before any of the arrivals is in force on every node. The party leaves the barrier with that;
    use ``ws.barrier`` for one that lasts as long as a connection. Raises BarrierRefused if the
    barrier is full or was released already, NotRunning outside of a node's event loop.
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
    """Resolve unless whoever waited has given up."""
    if not future.done():
        future.set_result(None)


def refuse(future: "asyncio.Future[None]", name: str, why: str) -> None:
    """Fail unless whoever waited has given up."""
    if not future.done():
        future.set_exception(BarrierRefused(f"{name}: {why}"))
