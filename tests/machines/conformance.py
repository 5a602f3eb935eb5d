"""What every bus promises to the nodes: the same tests for all of them (test_conformance.py).

Frames are of plain bytes here; topics are unique in a test, because a bus may live longer than one.
A test waits for a frame that was published last, not for time to pass: what must not arrive would
have arrived before it.
"""

from typing import Any

from cluster.pubsub import batches, remote_nodes
from tests.machines.bus_sites import SiteNode, SiteTestCase
from tests.pubsub.links import reactor

DEPTH = 100  # frames that a topic retains in these tests
EVERY_NODE = 0
ROUNDS = 10  # meetings at barriers, each of them a race


class Conformance(SiteTestCase):
    """The tests of all buses. Subclasses add the bus."""

    async def receives(self, frames: list[bytes], *expected: bytes) -> None:
        """Wait for the last of the expected frames, and check that there are no others."""
        await self.until(lambda: expected[-1] in frames)
        self.assertEqual(frames, list(expected))

    def nodes_of(self, count: int) -> int:
        """How many nodes so many nodes are."""
        return count if self.is_shared else 1

    async def settled(self, publisher: SiteNode, topic: bytes, *frames: list[bytes]) -> None:
        """Wait until all subscribers are known, then forget what showed it."""
        fence = b"fence of " + topic
        await self.until(self.polled(lambda: self._fenced(publisher, topic, fence, frames)))
        last = b"last " + fence
        publisher.pubsub.publish(topic, last)
        await self.until(lambda: all(last in each for each in frames))
        for each in frames:
            each.clear()

    def _fenced(
        self, publisher: SiteNode, topic: bytes, fence: bytes, frames: tuple[list[bytes], ...]
    ) -> bool:
        publisher.pubsub.publish(topic, fence)
        return all(fence in each for each in frames)

    # Plain topics

    async def test_frames_arrive_once_and_in_the_order_of_their_publisher(self) -> None:
        a, b, c = await self.start_nodes(3)
        topic = self.topic("order")
        received = [node.connect(topic).out for node in (a, b, c)]
        for node in (a, b, c):
            await self.settled(node, topic, *received)
        for number in range(300):
            for name, node in ((b"a", a), (b"b", b)):
                node.pubsub.publish(topic, b"%s %d" % (name, number))
            if number % 30 == 29:
                await self.turn()
        for frames in received:
            await self.until(lambda frames=frames: len(frames) >= 600)
            for name in (b"a", b"b"):
                self.assertEqual(
                    [frame for frame in frames if frame.startswith(name)],
                    [b"%s %d" % (name, number) for number in range(300)],
                )

    async def test_a_topic_reaches_its_subscribers_only(self) -> None:
        a, b = await self.start_nodes(2)
        one, other = self.topic("one"), self.topic("other")
        subscriber, neighbour = b.connect(one, other), b.connect(other)
        await self.settled(a, one, subscriber.out)
        await self.settled(a, other, subscriber.out, neighbour.out)
        a.pubsub.publish(one, b"1")
        b.pubsub.unsubscribe(subscriber, other)
        a.pubsub.publish(other, b"2")
        a.pubsub.publish(one, b"3")
        await self.receives(neighbour.out, b"2")
        await self.receives(subscriber.out, b"1", b"3")

    async def test_a_publisher_need_not_receive_its_own_frame(self) -> None:
        a, b = await self.start_nodes(2)
        topic = self.topic("echo")
        own, neighbour, far = a.connect(topic), a.connect(topic), b.connect(topic)
        await self.settled(a, topic, own.out, neighbour.out, far.out)
        a.pubsub.publish_except(own, topic, b"1")
        a.pubsub.publish(topic, b"2")
        await self.receives(own.out, b"2")
        for other in (neighbour, far):
            await self.receives(other.out, b"1", b"2")

    async def test_receipts_count_nodes_and_connections(self) -> None:
        a, b = await self.start_nodes(2)
        topic = self.topic("receipt")
        self.assertEqual(a.pubsub.publish(topic, b"nobody"), (0, 0))
        far = b.connect(topic)
        await self.settled(a, topic, far.out)
        here = 0 if self.is_shared else 1
        self.assertEqual(a.pubsub.publish(topic, b"1"), (1, here))
        near = a.connect(topic)
        self.assertEqual(a.pubsub.publish(topic, b"2"), (self.nodes_of(2), here + 1))
        for node, connection in ((b, far), (a, near)):
            node.pubsub.drop(connection)
        await self.until(self.polled(lambda: a.pubsub.publish(topic, b"3") == (0, 0)))

    # Topics with history

    async def test_all_subscribers_receive_retained_frames_in_the_same_order(self) -> None:
        a, b, c = await self.start_nodes(3)
        topic = self.topic("retained")
        readers = [node.follow(topic) for node in (a, b, c)]
        await self.until(lambda: all(each.answers for each in readers))
        for number in range(40):
            for name, node in ((b"a", a), (b"b", b), (b"c", c)):
                node.pubsub.publish_retained(topic, b"%s %d" % (name, number), DEPTH)
            if number % 10 == 9:
                await self.turn()
        await self.until(lambda: all(len(each.frames) >= 120 for each in readers))
        first = readers[0]
        self.assertEqual(len(set(first.frames)), 120)
        for each in readers:
            self.assertEqual(each.frames, first.frames)
            self.assertEqual(each.offsets, list(range(first.offsets[0], first.offsets[0] + 120)))
            self.assertEqual(each.subscriber.epoch, first.subscriber.epoch)
        for name in (b"a", b"b", b"c"):
            own = [frame for frame in first.frames if frame.startswith(name)]
            self.assertEqual(own, [b"%s %d" % (name, number) for number in range(40)])

    async def test_a_publisher_need_not_receive_its_own_retained_frame(self) -> None:
        a, b = await self.start_nodes(2)
        topic = self.topic("retained-echo")
        own, far = a.connect(topic), b.connect(topic)
        a.pubsub.publish_retained(topic, b"1", DEPTH, skip=own)
        a.pubsub.publish_retained(topic, b"2", DEPTH)
        await self.receives(own.out, b"2")
        await self.receives(far.out, b"1", b"2")

    async def test_a_subscriber_resumes_at_another_node(self) -> None:
        a, b = await self.start_nodes(2)
        topic = self.topic("roaming")
        reader = a.follow(topic)
        for number in range(1, 6):
            a.pubsub.publish_retained(topic, b"%d" % number, DEPTH)
        await self.until(lambda: len(reader.frames) == 5)
        epoch, offset = reader.position
        reader.subscriber.stop()
        resumed = b.follow(topic, since=(epoch, offset - 2))
        await self.until(lambda: len(resumed.frames) == 2)
        self.assertEqual(resumed.frames, [b"4", b"5"])
        self.assertEqual(resumed.answers, [(True, epoch, offset)])
        b.pubsub.publish_retained(topic, b"6", DEPTH)
        await self.receives(resumed.frames, b"4", b"5", b"6")
        back = a.follow(topic, since=resumed.position)
        await self.until(lambda: bool(back.answers))
        self.assertEqual((back.frames, back.answers[0][0]), ([], True))

    async def test_a_position_that_is_not_known_is_not_recovered(self) -> None:
        a, b = await self.start_nodes(2)
        topic = self.topic("unknown-position")
        for number in range(3):
            a.pubsub.publish_retained(topic, b"%d" % number, 2)
        old = b.connect(topic)
        await self.until(lambda: b"2" in old.out)
        epoch = b.follow(topic).subscriber.epoch
        for since in ((epoch, 0), ("another", 1)):
            resumed = b.follow(topic, since=since)
            await self.until(lambda each=resumed: len(each.frames) >= 2)
            self.assertEqual(resumed.frames, [b"1", b"2"])
            self.assertFalse(resumed.answers[0][0])

    async def test_retained_frames_expire(self) -> None:
        a, b = await self.start_nodes(2)
        topic = self.topic("expiry")
        a.pubsub.publish_retained(topic, b"short", DEPTH, lifetime=1)
        a.pubsub.publish_retained(topic, b"long", DEPTH, lifetime=600_000)

        def has_only_the_long_one() -> bool:
            connection = b.connect(topic)
            frames = list(connection.out)
            b.pubsub.drop(connection)
            return frames == [b"long"]

        keeping = b.connect(topic)
        await self.until(lambda: b"long" in keeping.out)
        await self.until(self.polled(has_only_the_long_one))

    # Barriers

    async def test_everything_published_after_a_barrier_reaches_all_parties(self) -> None:
        nodes = await self.start_nodes(3)
        for number in range(ROUNDS):
            topic = self.topic(f"meeting-{number}")
            parties = []
            for index, node in enumerate(nodes):
                frames = node.connect(topic).out
                arrival = node.arrive(topic.decode(), len(nodes))
                arrival.when_released = self._publishing(node, topic, b"%d" % index)
                parties.append((frames, arrival))
            await self.until(lambda parties=parties: all(len(frames) >= 3 for frames, _ in parties))
            for frames, arrival in parties:
                self.assertTrue(arrival.released)
                self.assertEqual(sorted(frames), [b"0", b"1", b"2"])

    @staticmethod
    def _publishing(node: SiteNode, topic: bytes, frame: bytes) -> Any:
        return lambda: node.pubsub.publish(topic, frame)

    async def test_a_barrier_waits_for_its_parties_and_refuses_more(self) -> None:
        a, b = await self.start_nodes(2)
        name = self.topic("barrier").decode()
        early, leaving = a.arrive(name, 2), b.arrive(self.topic("left").decode(), 2)
        leaving.leave()
        fence = b.arrive(self.topic("fence").decode(), 1)
        await self.until(lambda: fence.released)
        self.assertFalse(early.released or leaving.released)
        late = b.arrive(name, 2)
        await self.until(lambda: early.released and late.released)
        refused = a.arrive(name, 2)
        await self.until(lambda: bool(refused.refused))

    async def test_a_barrier_of_every_node_waits_for_all(self) -> None:
        a, b, c = await self.start_nodes(3)
        name = self.topic("every-node").decode()
        arrivals = [node.arrive(name, EVERY_NODE) for node in (a, b)]
        if self.is_shared:
            fence = c.arrive(self.topic("every-node-fence").decode(), 1)
            await self.until(lambda: fence.released)
            self.assertFalse(any(each.released for each in arrivals))
            arrivals.append(c.arrive(name, EVERY_NODE))
        await self.until(lambda: all(each.released for each in arrivals))

    # Presence

    async def test_members_join_and_leave(self) -> None:
        a, b = await self.start_nodes(2)
        topic = self.topic("presence")
        changes: list[tuple[str, bool]] = []
        b.pubsub.presence.watch(topic, lambda *change: self._changed(changes, change))
        a.pubsub.presence.join(topic, "ada")
        b.pubsub.presence.join(topic, "bob")
        await self.until(
            lambda: all(
                set(each.pubsub.presence.members(topic)) == {"ada", "bob"} for each in (a, b)
            )
        )
        b.pubsub.presence.join(topic, "ada")
        a.pubsub.presence.leave(topic, "ada")
        a.pubsub.presence.join(topic, "eve")
        await self.until(lambda: ("eve", True) in changes)
        self.assertEqual(set(b.pubsub.presence.members(topic)), {"ada", "bob", "eve"})
        b.pubsub.presence.leave(topic, "ada")
        a.pubsub.presence.leave(topic, "eve")
        await self.until(lambda: a.pubsub.presence.members(topic) == ("bob",))
        await self.until(lambda: ("eve", False) in changes)
        self.assertEqual(sorted(changes), sorted(set(changes)))

    def _changed(self, changes: list[Any], change: tuple[str, bool]) -> None:
        changes.append(change)
        self.changed()

    # Waiting

    def topic(self, name: str) -> bytes:
        """Return a topic that no other test uses."""
        return f"{self.id().rpartition('.')[2]}/{name}".encode()

    async def turn(self) -> None:
        """Let the event loop run once."""
        turned: list[bool] = []
        reactor.callLater(0, lambda: (turned.append(True), self.changed()))
        await self.until(lambda: bool(turned))


class NodesConformance(Conformance):
    """Those of a bus with several nodes, and something between them that may fail."""

    async def test_a_barrier_of_every_node_does_not_wait_for_one_that_left(self) -> None:
        a, b, c = await self.start_nodes(3)
        name = self.topic("left-node").decode()
        arrivals = [node.arrive(name, EVERY_NODE) for node in (a, b)]
        c.stop()
        await self.until(lambda: all(each.released for each in arrivals))

    async def test_the_members_of_a_node_leave_with_it(self) -> None:
        a, b = await self.start_nodes(2)
        topic = self.topic("presence-of-a-node")
        a.pubsub.presence.join(topic, "ada")
        await self.until(lambda: b.pubsub.presence.members(topic) == ("ada",))
        a.stop()
        await self.until(lambda: b.pubsub.presence.members(topic) == ())

    async def test_publishers_pause_while_the_engine_stands_still(self) -> None:
        self.patch(batches, "HIGH_WATER", 100_000)
        self.patch(batches, "LOW_WATER", 10_000)
        self.patch(batches, "STALLED_S", 600.0)
        a, b = await self.start_nodes(2)
        topic = self.topic("back-pressure")
        frames = b.connect(topic).out
        await self.settled(a, topic, frames)
        await self.until(lambda: not a.pubsub.full)  # what `settled` has sent is acknowledged
        self.stop_engine()
        sent = 0
        while not a.pubsub.full:
            sent += 1
            a.pubsub.publish(topic, b"%d " % sent + bytes(1000))
            await self.turn()
        self.assertLess(a.pubsub.queued_bytes, 200_000)
        self.assertLess(len(frames), sent)
        self.continue_engine()
        await self.until(lambda: len(frames) == sent and not a.pubsub.full)
        self.assertEqual([int(frame.split()[0]) for frame in frames], list(range(1, sent + 1)))
        self.assertEqual(a.pubsub.dropped, {})

    async def test_everything_arrives_once_although_the_engine_starts_again(self) -> None:
        self.patch(remote_nodes, "REJOIN_TIMEOUT_S", 60.0)
        a, b = await self.start_nodes(2)
        plain, retained = self.topic("restart"), self.topic("restart-retained")
        frames, readers = b.connect(plain).out, [each.follow(retained) for each in (a, b)]
        await self.settled(a, plain, frames)
        a.pubsub.presence.join(plain, "ada")
        await self.until(lambda: b.pubsub.presence.members(plain) == ("ada",))
        for number in range(10):
            a.pubsub.publish(plain, b"%d" % number)
            a.pubsub.publish_retained(retained, b"%d" % number, DEPTH)
        await self.until(lambda: all(len(each.frames) == 10 for each in readers))
        position = readers[1].position
        barrier = self.topic("restart-barrier").decode()
        waiting = a.arrive(barrier, 2)
        restarted = self.restart_engine()
        for number in range(10, 20):
            a.pubsub.publish(plain, b"%d" % number)
            a.pubsub.publish_retained(retained, b"%d" % number, DEPTH)
        await restarted
        for number in range(20, 30):
            a.pubsub.publish(plain, b"%d" % number)
            a.pubsub.publish_retained(retained, b"%d" % number, DEPTH)
        expected = [b"%d" % number for number in range(30)]
        await self.receives(frames, *expected)
        for each in readers:
            await self.receives(each.frames, *expected)
        # Positions, presence and barriers outlive the engine, too.
        resumed = a.follow(retained, since=position)
        await self.until(lambda: len(resumed.frames) >= 20)
        self.assertEqual(resumed.frames, expected[10:])
        self.assertTrue(resumed.answers[0][0])
        self.assertEqual(b.pubsub.presence.members(plain), ("ada",))
        late = b.arrive(barrier, 2)
        await self.until(lambda: waiting.released and late.released)
