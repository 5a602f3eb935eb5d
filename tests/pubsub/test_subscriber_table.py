"""The wanted topics, and the changes for the other nodes."""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from cluster.pubsub.callback_subscribers import CallbackSubscriber
from cluster.pubsub.history_cache import HistoryCache
from cluster.pubsub.subscriber_table import SubscriberTable
from tests.fakes import RecordingConnection


class SubscriberTableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scheduled = 0
        self.unwanted: list[bytes] = []
        self.table = SubscriberTable(self.schedule, self.unwanted.append)
        self.connection = RecordingConnection()

    def schedule(self) -> None:
        self.scheduled += 1

    def test_a_topic_is_wanted_from_its_first_to_its_last_subscriber(self) -> None:
        special = self.table.special_of(b"t")
        special.skipping[self.connection] = lambda: None
        other = RecordingConnection()
        self.table.add(other, b"t")
        self.assertEqual(self.table.take_changes(), ((b"t",), ()))
        self.table.remove(other, b"t")
        self.assertFalse(self.table.changed)
        self.assertTrue(self.table.remove_skipping(self.connection, b"t"))
        self.assertFalse(self.table.remove_skipping(self.connection, b"t"))
        self.assertEqual(self.table.take_changes(), ((), (b"t",)))
        self.assertEqual((self.unwanted, self.scheduled), ([b"t"], 2))
        self.assertNotIn(b"t", self.table)

    def test_a_function_subscribes_until_it_is_stopped(self) -> None:
        cache = HistoryCache(lambda: 0, Counter())
        subscriber = CallbackSubscriber(b"t", lambda frame, offset: None, cache, for_client=True)
        self.table.add_callback(subscriber)
        self.assertEqual(self.table.take_changes(), ((b"t",), ()))
        self.assertEqual(self.table.special[b"t"].connections, 1)
        for _ in range(2):
            subscriber.stop()
        self.assertEqual(self.table.take_changes(), ((), (b"t",)))
        self.assertNotIn(b"t", self.table)

    def test_the_last_change_of_a_topic_replaces_earlier_ones(self) -> None:
        for _ in range(3):
            self.table.add(self.connection, b"t")
            self.table.drop(self.connection)
        self.assertEqual(self.table.take_changes(), ((), (b"t",)))
        self.assertEqual(self.table.take_changes(), ((), ()))

    def test_all_topics_clears_the_changes(self) -> None:
        self.table.add(self.connection, b"t")
        self.table.special_of(b"u").pending = True
        self.assertEqual(self.table.all_topics(), (b"t", b"u"))
        self.assertFalse(self.table.changed)
        self.assertTrue(self.table.has_connection(self.connection, b"t"))
        self.assertFalse(self.table.has_connection(self.connection, b"u"))
