"""publish, from anywhere."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal

from django.db import transaction
from django.db.models.signals import post_save
from django.test import SimpleTestCase, override_settings
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import NotRunning
from cluster.django import conf, conf_topics
from cluster.django.api import backends, history_settings, publishing, topics
from cluster.django.api.history_settings import Kept
from cluster.django.api.publication import Counts, Done, Publication
from cluster.django.api.publishing import publish, publish_all
from cluster.django.api.receipt import Receipt
from cluster.django.external import backend as external_backend
from cluster.net.websocket.frames import binary_frame, text_frame
from tests.django.fakes import RecordingNode
from tests.django.site import load_database, load_site

load_site()

from django.contrib.auth.models import Group  # noqa: E402


class PublishTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = RecordingNode()
        self.pubsub = self.node.pubsub
        self.patch(topics, "node", self.node)
        self.addCleanup(history_settings.forget)
        history_settings.forget()

    def settings(self, **keys: object) -> None:
        """The C10K setting for this test."""
        changed = override_settings(C10K=keys)
        changed.enable()
        self.addCleanup(changed.disable)
        history_settings.forget()


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
        self.assertEqual(len(self.node.handed_over), 3)
        hows = [publication[2:] for publication in self.pubsub.published]
        self.assertEqual(hows, [(), ("here",), (2,)])

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


class JsonTests(PublishTestCase):
    """A value in place of a message."""

    def frames(self) -> list[bytes]:
        return [publication[1] for publication in self.pubsub.published]

    def test_by_django_s_encoder(self) -> None:
        publish("a", json={"at": date(2026, 1, 2), "sum": Decimal("1.50")})
        publish("a", json=None)
        expected = [text_frame(b'{"at":"2026-01-02","sum":"1.50"}'), text_frame(b"null")]
        self.assertEqual(self.frames(), expected)

    def test_either_a_message_or_a_value(self) -> None:
        error = self.assertRaises(TypeError, publish, "a")
        self.assertEqual(str(error), "give a message, or a value as json=")
        error = self.assertRaises(TypeError, publish, "a", "text", json=1)
        self.assertEqual(str(error), "give either a message or json=, not both")

    def test_values_that_json_does_not_have(self) -> None:
        self.assertRaises(TypeError, publish, "a", json={1, 2})
        self.assertRaises(ValueError, publish, "a", json=float("nan"))
        self.assertEqual(self.frames(), [])


class ReservedTests(PublishTestCase):
    def test_topics_of_the_cluster(self) -> None:
        for topic in ("c10k/", "c10k/revocations", b"c10k/x"):
            error = self.assertRaises(ValueError, publish, topic, "x")
            self.assertIn("is reserved", str(error))
        self.assertEqual(self.pubsub.published, [])
        for topic in ("c10k", "c10k0", "c10K/x", "a/c10k/", ""):
            publish(topic, "x")
        self.assertEqual(len(self.pubsub.published), 5)


class NoCluster:
    """A backend that finds no cluster; ``error`` is what it raises."""

    def __init__(self) -> None:
        self.error: Exception | None = NotRunning("no cluster of this project is running")
        self.published: list[Publication] = []

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def publish(self, publication: Publication) -> Counts:
        self.check()
        self.published.append(publication)
        return 4, 7

    def publish_later(self, publication: Publication, done: Done) -> None:
        done(self.publish(publication))


class BackendTestCase(PublishTestCase):
    """In a process that is not a node."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(topics, "node", None)
        self.patch(publishing, "_has_warned", False)
        self.backend = NoCluster()
        before = backends.install(self.backend)
        self.addCleanup(backends.install, before)


class BackendTests(BackendTestCase):
    def test_handed_to_the_installed_one(self) -> None:
        self.backend.error = None
        self.assertEqual(publish("a", "b", retain=3, expire=1.5), Receipt(4, 7))
        expected = Publication(b"a", text_frame(b"b"), Kept(3, 1500))
        self.assertEqual(self.backend.published, [expected])

    def test_a_node_of_this_process_comes_first(self) -> None:
        self.patch(topics, "node", self.node)
        publish("a", "b")
        self.assertEqual(len(self.pubsub.published), 1)

    def test_without_any_it_is_the_external_publisher(self) -> None:
        with backends.installed(None):
            self.assertIs(backends.current(), external_backend.backend)
        self.assertIs(backends.current(), self.backend)


class WithoutClusterTests(BackendTestCase):
    """C10K["PUBLISH_WITHOUT_CLUSTER"]."""

    def test_one_warning(self) -> None:
        with SimpleTestCase().assertLogs("cluster.django", "WARNING") as logged:
            for _ in range(3):
                self.assertEqual(publish("a", "b"), Receipt(0, 0))
            with transaction.atomic():
                receipt = publish("a", "b")
            self.assertEqual(receipt, Receipt(0, 0))
        self.assertEqual(len(logged.output), 1)
        self.assertIn("no cluster of this project is running", logged.output[0])

    def test_a_second_warning_if_one_was_running(self) -> None:
        with SimpleTestCase().assertLogs("cluster.django", "WARNING") as logged:
            publish("a", "b")
            error, self.backend.error = self.backend.error, None
            publish("a", "b")
            self.backend.error = error
            publish("a", "b")
        self.assertEqual(len(logged.output), 2)

    def test_a_publisher_that_learns_it_later(self) -> None:
        def publish_later(publication: Publication, done: Done) -> None:
            done(NotRunning("no machine of this site is connected"))

        self.patch(self.backend, "publish_later", publish_later)
        with SimpleTestCase().assertLogs("cluster.django", "WARNING") as logged:
            with transaction.atomic():
                publish("a", "b")
            self.settings(PUBLISH_WITHOUT_CLUSTER="ignore")
            with transaction.atomic():
                publish("a", "b")
        self.assertEqual(len(logged.output), 1)
        self.assertIn("drops its messages: no machine of this site", logged.output[0])
        self.settings(PUBLISH_WITHOUT_CLUSTER="error")
        self.backend.error = None
        with SimpleTestCase().assertLogs("cluster.django", "ERROR"), transaction.atomic():
            publish("a", "b")

    def test_ignored(self) -> None:
        self.settings(PUBLISH_WITHOUT_CLUSTER="ignore")
        with SimpleTestCase().assertNoLogs("cluster.django"):
            self.assertEqual(publish("a", "b"), Receipt(0, 0))

    def test_an_error(self) -> None:
        self.settings(PUBLISH_WITHOUT_CLUSTER="error")
        self.assertRaises(NotRunning, publish, "a", "b")

    def test_an_error_undoes_the_transaction(self) -> None:
        """A signal receiver that publishes raises while the row can still be rolled back."""
        load_database()
        self.settings(PUBLISH_WITHOUT_CLUSTER="error")
        name = "saved-in-no-transaction"

        def publishes(**_: object) -> None:
            publish("a", "b")

        post_save.connect(publishes, sender=Group)
        self.addCleanup(post_save.disconnect, publishes, sender=Group)
        with self.assertRaises(NotRunning), transaction.atomic():
            Group.objects.create(name=name)
        self.assertFalse(Group.objects.filter(name=name).exists())

    def test_an_error_at_the_commit_is_logged_for_each_message(self) -> None:
        self.settings(PUBLISH_WITHOUT_CLUSTER="error")
        for error in (self.backend.error, ValueError("too long")):
            self.backend.error = None
            messages = [Publication(b"a", b""), Publication(b"b", b"")]
            logs = SimpleTestCase().assertLogs("cluster.django", "ERROR")
            with logs as logged, transaction.atomic():
                receipt = publish_all(messages, immediate=False, using=None)
                self.backend.error = error
            self.assertEqual(Receipt(0, 0), receipt)
            self.assertEqual(2, len(logged.output))
            self.assertIn("publishing after a commit failed", logged.output[0])

    def test_a_row_is_saved_whole(self) -> None:
        load_database()
        name = "saved-without-a-cluster"

        def publishes(**_: object) -> None:
            publish("a", "b")

        post_save.connect(publishes, sender=Group)
        self.addCleanup(post_save.disconnect, publishes, sender=Group)
        self.addCleanup(lambda: Group.objects.filter(name__startswith=name).delete())
        with SimpleTestCase().assertLogs("cluster.django", "WARNING"):
            Group.objects.create(name=name)
            with transaction.atomic():
                Group.objects.create(name=f"{name}-2")
        self.assertEqual(Group.objects.filter(name__startswith=name).count(), 2)

    def test_only_these_values(self) -> None:
        (problem,) = conf.check({"PUBLISH_WITHOUT_CLUSTER": "raise"})
        self.assertIn("must be 'warn', 'error' or 'ignore', not 'raise'", problem)


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
            "not a non-empty string": {1: {"history": 1}},
            "must be a dict with 'history'": {"a": {"histroy": 1}},
            "from 1 to 10000": {"a": {"history": 0}},
            "not None": {"a": {"expire": 3}},
            "seconds above 0": {"a": {"history": 1, "expire": -1}},
        }
        for words, setting in wrong.items():
            (problem,) = conf_topics.problems(setting)
            self.assertIn(words, problem)
        self.assertEqual(conf_topics.problems({"a*": {"history": 1, "expire": 0.5}}), [])


class TransactionTests(PublishTestCase):
    """Inside a transaction, with Django's own in-memory database."""

    def test_on_commit(self) -> None:
        with transaction.atomic():
            receipt = publish("a", "later")
            self.assertEqual(receipt, Receipt(0, 0, pending=True))
            self.assertIn("pending=True", repr(receipt))
            self.assertEqual(publish("a", "now", immediate=True), Receipt(2, 5))
            self.assertEqual(len(self.pubsub.published), 1)
        self.assertEqual(receipt, Receipt(2, 5))
        frames = [frame for _, frame in self.pubsub.published]
        self.assertEqual(frames, [text_frame(b"now"), text_frame(b"later")])

    def test_nothing_waits_after_the_commit(self) -> None:
        """A view's thread does not wait; the event loop fills in the receipt later."""
        later: list[Callable[[], None]] = []
        self.node.in_reactor_later = later.append  # type: ignore[method-assign]
        with transaction.atomic():
            receipt = publish("a", "later")
        self.assertTrue(receipt.pending)
        self.assertEqual((self.pubsub.published, self.node.handed_over), ([], []))
        later.pop()()
        self.assertEqual(receipt, Receipt(2, 5))

    def test_not_after_a_rollback(self) -> None:
        try:
            with transaction.atomic():
                receipt = publish("a", "never")
                raise KeyError
        except KeyError:
            pass
        self.assertEqual(self.pubsub.published, [])
        self.assertTrue(receipt.pending)

    def test_bad_arguments_are_refused_at_once(self) -> None:
        with transaction.atomic():
            self.assertRaises(ValueError, publish, "a", "b", retain=-1)

    def test_a_failure_then_does_not_undo_the_request(self) -> None:
        def fail(*args: object) -> None:
            raise OSError("gone")

        self.patch(self.pubsub, "publish", fail)
        with SimpleTestCase().assertLogs("cluster.django", "ERROR") as logged, transaction.atomic():
            publish("a", "b")
        self.assertIn("publishing after a commit failed: gone", logged.output[0])
