"""Nodes of one site on any bus, for the tests that all buses must pass (conformance.py).

A SiteNode is the PubSub of one node. A SiteTestCase starts nodes as its bus needs them. Where the
bus has machines, two nodes are on the same one only if there are more nodes than machines.
"""

from collections.abc import Callable
from typing import Any

from cluster.pubsub.local_bus import LocalBus
from tests.pubsub.links import BusNode, LinksTestCase, reactor

POLL_S = 0.005


class SiteNode(BusNode):
    """A node of a site."""

    def follow(self, topic: bytes, since: tuple[str, int] | None = None) -> "TopicReader":
        """Subscribe a function, which resumes at a position if one is given."""
        return TopicReader(self, topic, since)

    def arrive(self, name: str, expected: int) -> "Arrival":
        """Arrive at a barrier; ``expected`` 0: one party of each node."""
        return Arrival(self, name, expected)


class TopicReader:
    """A function that follows a topic: what it was called with."""

    def __init__(self, node: SiteNode, topic: bytes, since: tuple[str, int] | None) -> None:
        self.frames: list[bytes] = []
        self.offsets: list[int] = []
        self.answers: list[tuple[bool, str, int]] = []
        self._node = node
        self.subscriber = node.pubsub.follow(topic, self._take, since=since, answer=self._answer)

    @property
    def position(self) -> tuple[str, int]:
        """The position after the last frame."""
        return self.subscriber.epoch, self.offsets[-1]

    def _take(self, frame: bytes, offset: int) -> None:
        self.frames.append(frame)
        self.offsets.append(offset)
        self._node._changed()

    def _answer(self, recovered: bool, epoch: str, offset: int) -> None:
        self.answers.append((recovered, epoch, offset))
        self._node._changed()


class Arrival:
    """A party of a barrier: whether it was released, or why it was refused."""

    def __init__(self, node: SiteNode, name: str, expected: int) -> None:
        self.released = False
        self.refused = ""
        self.when_released: Callable[[], None] = lambda: None
        self._node = node
        self.name = name
        self.token = node.pubsub.barriers.arrive(name, expected, self._released, self._refused)

    def leave(self) -> None:
        self._node.pubsub.barriers.leave(self.name, self.token)

    def _released(self) -> None:
        self.released = True
        self.when_released()
        self._node._changed()

    def _refused(self, reason: str) -> None:
        self.refused = reason
        self._node._changed()


class SiteTestCase(LinksTestCase):
    """The base class of the buses."""

    is_shared = True
    """Whether `start_nodes` starts several nodes, or one that it returns several times."""

    _looking: Any = None
    _polling: Any = None

    def changed(self) -> None:
        """Test the conditions in the next turn: a condition may publish, which is a change."""
        if self._looking is None:
            self._looking = reactor.callLater(0, self._look)
            self.addCleanup(self._stop_looking)

    def polled(self, is_so: Callable[[], object]) -> Callable[[], bool]:
        """Test a condition that has no event every few milliseconds; it may publish something."""

        def poll() -> bool:
            if is_so():
                return True
            if self._polling is None or not self._polling.active():
                self._polling = reactor.callLater(POLL_S, self.changed)
            return False

        return poll

    def _look(self) -> None:
        self._looking = None
        super().changed()

    def _stop_looking(self) -> None:
        for call in (self._looking, self._polling):
            if call is not None and call.active():
                call.cancel()
        self._looking = None

    async def start_site(self) -> None:
        """Start what nodes connect to."""
        raise NotImplementedError

    def make_bus(self, name: str, number: int) -> Any:
        """Return the bus of the node with this name and number."""
        raise NotImplementedError

    async def restart_engine(self) -> None:
        """End what is between the nodes without notice, and start it again without its data."""
        raise NotImplementedError

    def stop_engine(self) -> None:
        """Let everything between the nodes stand still, until ``continue_engine``."""
        raise NotImplementedError

    def continue_engine(self) -> None:
        raise NotImplementedError

    async def start_nodes(self, count: int) -> list[SiteNode]:
        """Start nodes, and wait until they know each other."""
        await self.start_site()
        nodes = []
        for number in range(count):
            node = SiteNode(self.make_bus(self.node_name(number), number), self.changed)
            self.addCleanup(node.stop)
            nodes.append(node)
        await self.until(lambda: all(self.knows(node, count) for node in nodes))
        return nodes

    def node_name(self, number: int) -> str:
        return f"node{number}"

    def knows(self, node: SiteNode, count: int) -> bool:
        nodes = node.pubsub.remote_nodes
        return bool(node.bus.is_up and len(nodes.names) == count - 1 and nodes.all_synchronized)


class LocalSite(SiteTestCase):
    """A cluster of one node."""

    is_shared = False

    async def start_site(self) -> None:
        """There is nothing to start."""

    async def start_nodes(self, count: int) -> list[SiteNode]:
        node = SiteNode(LocalBus("node0", reactor), self.changed)
        self.addCleanup(node.stop)
        return [node] * count


class ZmqSite(SiteTestCase):
    """Nodes on the broker of one machine, over real sockets."""

    async def start_site(self) -> None:
        self.broker = self.start_broker()

    def make_bus(self, name: str, number: int) -> Any:
        from cluster.pubsub.zmq_bus import ZmqBus

        return ZmqBus(name, self.address, reactor)

    async def restart_engine(self) -> None:
        self.stop_broker(self.broker)
        self.broker = self.start_broker()

    def stop_engine(self) -> None:
        reactor.removeReader(self.broker._link)

    def continue_engine(self) -> None:
        self.broker._link.start()
