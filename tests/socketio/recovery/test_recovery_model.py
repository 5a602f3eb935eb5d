"""``recovered`` is true exactly when nothing is missing: any order of events, rooms and failures.

The log keeps few events, so that it often does not reach back.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.broker_state.exchange import Exchange
from cluster.socketio.bus.addresses import log_topic
from cluster.testing import asynchronous
from tests import profiles
from tests.socketio.nodes import Node, turns
from tests.socketio.recovery.sessions import Chat, RecoveryTestCase, Session

assert profiles

NODES = 2
DEPTH = 5

NODE = st.integers(0, NODES - 1)
ROOM = st.sampled_from(["a", "b"])
EMIT = st.tuples(st.just("emit"), NODE, st.sampled_from(["", "a", "b", "id"]), st.booleans())
STEP = st.one_of(
    EMIT,
    EMIT,
    EMIT,
    st.tuples(st.just("volatile"), NODE),
    st.tuples(st.sampled_from(["enter", "leave"]), ROOM),
    st.tuples(st.just("lose"), st.integers(0, 3)),
    st.tuples(st.just("back"), NODE),
    st.tuples(st.just("kill"), NODE),
    st.tuples(st.just("broker")),
)


class Model(RecoveryTestCase):
    """One client, and what it must have received."""

    async def begin(self) -> None:
        await self.start(NODES, recovery_events=DEPTH)
        self.events = 0
        self.brokers = 0
        self.volatile: set[int] = set()
        self.reached: dict[int, int] = {}  # event -> frames of the log when it was sent
        self.offset_of: dict[int, str] = {}
        self.log: list[int] = []  # the offsets of the log's frames, which another node retains
        observer = Node.__new__(Node)
        self.nodes.nodes["observer"] = observer
        observer.__init__("observer", self.nodes)  # type: ignore[misc]
        observer.pubsub.follow(
            log_topic("main", "/"), lambda frame, offset: self.log.append(offset), replay=False
        )
        await turns()
        self.session = Session(self.servers[0])
        await self.connect(0)

    async def connect(self, number: int) -> None:
        session = self.session
        self.seen = len(session.got)
        await session.connect(self.servers[number])
        await turns()
        if not session.recovered:
            self.rooms: set[str] = set()
            self.expected: list[int] = []
            self.received: list[int] = []
            self.start_at = len(self.log)
        self.look()
        self.number = number
        self.is_connected = True

    def look(self) -> None:
        """Take what the client has received."""
        session = self.session
        session.look()
        for (_, number), offset in zip(
            session.got[self.seen :], session.offsets[self.seen :], strict=True
        ):
            self.received.append(number)
            self.offset_of[number] = offset
        self.seen = len(session.got)

    async def step(self, name: str, *arguments: Any) -> None:
        await getattr(self, f"do_{name}")(*arguments)
        await turns()

    async def do_emit(self, node: int, room: str, skips: bool) -> None:
        self.events += 1
        skipped = "b" if skips else ""
        operator: Any = self.space(node)
        if room:
            operator = operator.to(self.session.id if room == "id" else room)
        if skipped:
            operator = operator.except_(skipped)
        operator.emit("n", self.events)
        await turns()
        self.reached[self.events] = len(self.log)
        if (room in ("", "id") or room in self.rooms) and skipped not in self.rooms:
            self.expected.append(self.events)

    async def do_volatile(self, node: int) -> None:
        self.events += 1
        self.space(node).volatile.emit("v", self.events)
        await turns()
        self.reached[self.events] = len(self.log)
        self.volatile.add(self.events)
        if self.is_connected:
            self.expected.append(self.events)

    async def do_enter(self, room: str) -> None:
        if self.is_connected:
            await self.session.socket.call("enter", room)
            self.rooms.add(room)

    async def do_leave(self, room: str) -> None:
        if self.is_connected:
            await self.session.socket.call("leave", room)
            await turns()
            self.rooms.discard(room)

    async def do_lose(self, unread: int) -> None:
        """The connection is lost, and with it the last events that were sent."""
        if self.is_connected:
            self.session.lose_connection()
            self.lost(unread)

    def lost(self, unread: int) -> None:
        self.look()
        self.is_connected = False
        kept = len(self.received) - min(unread, len(self.received))
        for number in self.received[kept:]:
            if number in self.volatile:
                self.expected.remove(number)
        del self.received[kept:]
        if self.received:
            self.session.offset = self.offset_of[self.received[-1]]
        elif unread:
            self.session.offset = None

    async def do_back(self, node: int) -> None:
        if self.is_connected:
            self.lost(0)
        reached = self.reached[self.received[-1]] if self.received else self.start_at
        missing = len(self.log) - max(reached, self.start_at) > DEPTH
        is_old = bool(self.session.offset) and not self.received  # of an earlier session
        expected, received = self.expected, self.received
        await self.connect(node)
        if self.session.recovered:
            self.assertFalse(missing)
            self.assertEqual(self.received, expected)
        else:
            self.assertTrue(missing or (is_old and self.brokers), (received, expected))

    async def do_kill(self, node: int) -> None:
        """A node is killed, and another takes its place."""
        name = next(
            name
            for name, each in self.nodes.nodes.items()
            if each is self.servers[node].made.node  # type: ignore[comparison-overlap]
        )
        if self.is_connected and self.number == node:
            self.lost(0)
        self.nodes.nodes.pop(name).bus.receiver = None
        for other, answer in self.nodes.exchange.leave(name, ended=True):
            self.nodes.soon(other, answer)
        await turns()
        self.servers[node] = await self.nodes.start(Chat, recovery=60, recovery_events=DEPTH)
        await turns()

    async def do_broker(self) -> None:
        """Another broker takes over; the nodes send it what they have."""
        self.brokers += 1
        self.nodes.exchange = Exchange(f"b{self.brokers}")
        for node in self.nodes.nodes.values():
            node.pubsub.bus_down()
        for node in tuple(self.nodes.nodes.values()):
            node.bus.start(node.pubsub)
        await turns()


class ExactlyWhenNothingIsMissingTests(Model):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(STEP, min_size=1, max_size=25))
    def test_any_order(self, steps: list[Any]) -> None:
        self.run_steps(steps)

    @asynchronous
    async def run_steps(self, steps: list[Any]) -> None:
        await self.begin()
        for step in steps:
            await self.step(*step)
        if self.is_connected:
            await self.step("lose", 0)
        await self.step("back", 0)
        self.nodes.stop()
