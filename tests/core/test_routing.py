"""RoutingTable: topic -> subscribers."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.routing import RoutingTable

TOPICS = st.sampled_from([b"", b"a", b"a/b", b"a/b/c", b"\xff"])
SUBSCRIBERS = st.integers(0, 4)


class RoutingTests(SynchronousTestCase):
    """RoutingTable."""

    def setUp(self) -> None:
        self.table: RoutingTable[str] = RoutingTable()

    def test_an_empty_table(self) -> None:
        self.assertIsNone(self.table.get(b"t"))
        self.assertNotIn(b"t", self.table)
        self.assertEqual(len(self.table), 0)
        self.assertEqual(self.table.topics("x"), ())
        self.assertEqual(tuple(self.table), ())

    def test_only_the_first_subscriber_is_first(self) -> None:
        self.assertTrue(self.table.add(b"t", "x"))
        self.assertFalse(self.table.add(b"t", "y"))
        self.assertFalse(self.table.add(b"t", "x"))
        self.assertEqual(list(self.table.get(b"t") or ()), ["x", "y"])
        self.assertIn(b"t", self.table)

    def test_only_the_last_subscriber_is_last(self) -> None:
        self.table.add(b"t", "x")
        self.table.add(b"t", "y")
        self.assertFalse(self.table.remove(b"t", "x"))
        self.assertTrue(self.table.remove(b"t", "y"))
        self.assertIsNone(self.table.get(b"t"))

    def test_removing_an_unknown_subscription_changes_nothing(self) -> None:
        self.table.add(b"t", "x")
        self.assertFalse(self.table.remove(b"t", "y"))
        self.assertFalse(self.table.remove(b"u", "x"))
        self.assertEqual(self.table.topics("x"), (b"t",))

    def test_dropping_returns_the_topics_without_subscribers(self) -> None:
        for topic, subscriber in [(b"t", "x"), (b"u", "x"), (b"u", "y"), (b"v", "x")]:
            self.table.add(topic, subscriber)
        self.assertEqual(self.table.drop("x"), [b"t", b"v"])
        self.assertEqual(tuple(self.table), (b"u",))
        self.assertEqual(self.table.drop("x"), [])

    def test_get_stays_valid_over_clear(self) -> None:
        get = self.table.get
        self.table.add(b"t", "x")
        self.table.clear()
        self.assertIsNone(get(b"t"))
        self.assertEqual(self.table.topics("x"), ())
        self.table.add(b"t", "y")
        self.assertEqual(list(get(b"t") or ()), ["y"])

    def test_the_table_equals_a_list_of_pairs(self) -> None:
        run_state_machine_as_test(RoutingMachine)


class RoutingMachine(RuleBasedStateMachine):
    """Compares the table with the (topic, subscriber) pairs in the order of subscription."""

    def __init__(self) -> None:
        super().__init__()
        self.table: RoutingTable[int] = RoutingTable()
        self.pairs: list[tuple[bytes, int]] = []

    def subscribers(self, topic: bytes) -> list[int]:
        return [s for t, s in self.pairs if t == topic]

    @rule(topic=TOPICS, subscriber=SUBSCRIBERS)
    def add(self, topic: bytes, subscriber: int) -> None:
        first = not self.subscribers(topic)
        assert self.table.add(topic, subscriber) == first
        if (topic, subscriber) not in self.pairs:
            self.pairs.append((topic, subscriber))

    @rule(topic=TOPICS, subscriber=SUBSCRIBERS)
    def remove(self, topic: bytes, subscriber: int) -> None:
        last = self.subscribers(topic) == [subscriber]
        assert self.table.remove(topic, subscriber) == last
        self.pairs = [pair for pair in self.pairs if pair != (topic, subscriber)]

    @rule(subscriber=SUBSCRIBERS)
    def drop(self, subscriber: int) -> None:
        mine = [topic for topic, s in self.pairs if s == subscriber]
        alone = [topic for topic in mine if self.subscribers(topic) == [subscriber]]
        assert self.table.drop(subscriber) == alone
        self.pairs = [pair for pair in self.pairs if pair[1] != subscriber]

    @rule()
    def clear(self) -> None:
        self.table.clear()
        self.pairs.clear()

    @invariant()
    def agrees(self) -> None:
        topics = {topic for topic, _ in self.pairs}
        assert set(self.table) == topics
        assert len(self.table) == len(topics)
        for topic in topics:
            assert topic in self.table
            assert list(self.table.get(topic) or ()) == self.subscribers(topic)
        for subscriber in range(5):
            mine = tuple(topic for topic, s in self.pairs if s == subscriber)
            assert self.table.topics(subscriber) == mine
