"""publish, from anywhere."""

from django.db import transaction
from django.test import SimpleTestCase, override_settings
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import NotRunning
from cluster.core.wire_external import Receipt
from cluster.django import topics_setting
from cluster.django.api import external_publisher, publishing, retention, topics
from cluster.django.api.publishing import publish
from cluster.net.websocket.frames import binary_frame, text_frame
from tests.django.fakes import RecordingNode
from tests.django.site import load_site

load_site()


class PublishTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = RecordingNode()
        self.pubsub = self.node.pubsub
        self.patch(topics, "node", self.node)
        self.addCleanup(retention.forget)
        retention.forget()

    def settings(self, **keys: object) -> None:
        """The C10K setting for this test."""
        changed = override_settings(C10K=keys)
        changed.enable()
        self.addCleanup(changed.disable)
        retention.forget()


class PublishTests(PublishTestCase):
    def test_text_and_binary(self) -> None:
        self.assertEqual(publish("naïve", "é"), Receipt(2, 5))
        self.assertEqual(publish(b"\xff", b"\xfe"), Receipt(2, 5))
        self.assertEqual(
            self.pubsub.published,
            [
                ("naïve".encode(), text_frame("é".encode())),
                (b"\xff", binary_frame(b"\xfe")),
            ],
        )

    def test_everything_happens_in_the_reactor(self) -> None:
        publish("a", "b")
        publish("a", "b", here=True)
        publish("a", "b", retain=2)
        called = [function for function, *_ in self.node.handed_over]
        pubsub = self.pubsub
        self.assertEqual(called, [pubsub.publish, pubsub.publish_here, pubsub.publish_retained])

    def test_here(self) -> None:
        self.assertEqual(publish("a", "b", here=True), Receipt(2, 5))
        self.assertEqual(self.pubsub.published, [(b"a", text_frame(b"b"), "here")])

    def test_retained(self) -> None:
        self.assertEqual(publish("a", "b", retain=15), Receipt(2, 5))
        publish("a", "c", retain=15, expire=0.5)
        self.assertEqual(
            self.pubsub.published,
            [(b"a", text_frame(b"b"), 15), (b"a", text_frame(b"c"), 15, 500, None)],
        )

    def test_out_of_range(self) -> None:
        wrong = (
            {"retain": -1},
            {"retain": 10_001},
            {"retain": "1"},
            {"expire": 0},
            {"expire": "1"},
        )
        for how in wrong:
            with self.assertRaises(ValueError, msg=str(how)):
                publish("a", "b", **how)
        self.assertEqual(self.pubsub.published, [])


class ExternalPublisherTests(PublishTestCase):
    """In a process that is no node."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(topics, "node", None)

    def test_handed_to_a_running_node(self) -> None:
        sent = []

        def publish_externally(*publication: object) -> tuple[int, int]:
            sent.append(publication)
            return (4, 7)

        self.patch(external_publisher, "publish_externally", publish_externally)
        self.assertEqual(publish("a", "b", retain=3, expire=1.5), Receipt(4, 7))
        self.assertEqual(sent, [(b"a", text_frame(b"b"), 3, 1.5)])

    def test_without_one(self) -> None:
        def publish_externally(*publication: object) -> tuple[int, int]:
            raise NotRunning("no cluster runs")

        self.patch(external_publisher, "publish_externally", publish_externally)
        self.assertRaises(NotRunning, publish, "a", "b")


class SettingTests(PublishTestCase):
    """C10K["TOPICS"]."""

    def kept(self, topic: str) -> object:
        self.pubsub.published.clear()
        publish(topic, "x")
        return self.pubsub.published[0][2:]

    def test_the_first_pattern_that_fits_counts(self) -> None:
        self.settings(
            TOPICS={
                "chat/lobby": {"history": 2},
                "chat/*": {"history": 15, "expire": 3600},
                "price?": {"history": 1},
            }
        )
        found = [self.kept(topic) for topic in ("chat/lobby", "chat/a/b", "price1", "prices1", "x")]
        self.assertEqual(found, [(2,), (15, 3_600_000, None), (1,), (), ()])

    def test_arguments_win(self) -> None:
        self.settings(TOPICS={"a": {"history": 2, "expire": 9}})
        publish("a", "x", retain=0)
        publish("a", "x", retain=1)
        publish("a", "x", expire=1)
        kept = [publication[2:] for publication in self.pubsub.published]
        self.assertEqual(kept, [(), (1,), (2, 1000, None)])

    def test_what_is_wrong_with_it(self) -> None:
        wrong = {
            "must be a dict of patterns": ["a"],
            "no text": {1: {"history": 1}},
            "must be a dict of 'history'": {"a": {"histroy": 1}},
            "from 1 to 10000": {"a": {"history": 0}},
            "not None": {"a": {"expire": 3}},
            "seconds above 0": {"a": {"history": 1, "expire": -1}},
        }
        for words, setting in wrong.items():
            (problem,) = topics_setting.problems(setting)
            self.assertIn(words, problem)
        self.assertEqual(topics_setting.problems({"a*": {"history": 1, "expire": 0.5}}), [])


class TransactionTests(PublishTestCase):
    """Inside a transaction, with Django's own in-memory database."""

    def test_on_commit(self) -> None:
        with transaction.atomic():
            self.assertIsNone(publish("a", "later"))
            self.assertEqual(publish("a", "now", immediate=True), Receipt(2, 5))
            self.assertEqual(len(self.pubsub.published), 1)
        frames = [frame for _, frame in self.pubsub.published]
        self.assertEqual(frames, [text_frame(b"now"), text_frame(b"later")])

    def test_not_after_a_rollback(self) -> None:
        try:
            with transaction.atomic():
                publish("a", "never")
                raise KeyError
        except KeyError:
            pass
        self.assertEqual(self.pubsub.published, [])

    def test_bad_arguments_are_refused_at_once(self) -> None:
        with transaction.atomic():
            self.assertRaises(ValueError, publish, "a", "b", retain=-1)

    def test_a_failure_then_does_not_undo_the_request(self) -> None:
        def fail(*args: object) -> None:
            raise NotRunning("gone")

        self.patch(publishing, "_send", fail)
        with SimpleTestCase().assertLogs("django.db.backends.base", "ERROR"), transaction.atomic():
            publish("a", "b")
