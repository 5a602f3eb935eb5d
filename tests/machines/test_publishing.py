"""publish, revoke and manage.py publish on a host without nodes, through a real Redis to a node."""

import io
import os
from typing import Any

from django.core.management import CommandError, call_command
from django.test import override_settings
from twisted.internet.task import Clock

from cluster import Receipt, publish, publish_to, revoke
from cluster.core.exceptions import NotPublished, NotRunning
from cluster.django.api import backends, topics
from cluster.django.external.backend import ExternalBackend
from cluster.django.external.engine_publisher import EnginePublisher
from cluster.django.external.engine_requests import EngineRequests
from cluster.django.external.node_lookup import site_name
from cluster.django.external.node_publisher import NodePublisher
from cluster.net.websocket.frames import text_frame
from cluster.node.publishing.external_requests import ExternalRequests
from cluster.node.publishing.publications import ExternalPublications
from tests.django.site import load_site
from tests.machines.redis_server import RedisServer
from tests.machines.test_requests import SITE, RequestTestCase
from tests.node.publishing.test_publish_socket import RecordingPubSub


class PublishingTests(RequestTestCase):
    def setUp(self) -> None:
        super().setUp()
        load_site()
        self.server = self.start_redis()
        self.pubsub = RecordingPubSub()
        self.publisher = EnginePublisher(EngineRequests, site_name)
        self.addCleanup(lambda: self.publisher._engine and self.publisher._engine.close())
        no_nodes = NodePublisher(dict)
        before = backends.install(ExternalBackend(no_nodes, self.publisher))
        self.addCleanup(backends.install, before)
        self.patch(topics, "node", None)
        environ = os.environ.pop("C10K_BUS", None)
        self.addCleanup(lambda: environ is None or os.environ.update(C10K_BUS=environ))
        self.settings(self.server.url)

    def settings(self, bus: str) -> None:
        override = override_settings(
            C10K={"BUS": bus, "SITE": SITE, "PUBLISH_WITHOUT_CLUSTER": "error"}
        )
        override.enable()
        self.addCleanup(override.disable)

    def start_node(self, server: RedisServer, site: str = "") -> None:
        """A machine with one node."""
        answers: dict[str, bytes] = {}
        publications = ExternalPublications(self.pubsub)
        requests = ExternalRequests(publications, answers.__setitem__, Clock())
        requests.start(site or site_name())

        def answer(data: bytes) -> bytes:
            requests.receive("1", data)
            return answers.pop("1")

        self.machine(server).answer = answer

    def test_a_receipt(self) -> None:
        self.start_node(self.server)
        self.assertEqual(publish("live", "hello"), Receipt(2, 5))
        publish("chat", json={"a": 1}, retain=15, expire=1.5)
        publish_to("hi", facility="news", broadcast=True)
        first, second, third = self.pubsub.published
        self.assertEqual(first, (b"live", text_frame(b"hello")))
        self.assertEqual(second, (b"chat", text_frame(b'{"a":1}'), 15, 1500))
        self.assertEqual(third[1], text_frame(b"hi"))

    def test_the_command(self) -> None:
        self.start_node(self.server)
        out = io.StringIO()
        call_command("publish", "live", "hello", stdout=out)
        self.assertEqual(out.getvalue(), "Delivered to subscribers on 2 nodes\n")

    def test_a_revocation_goes_both_ways(self) -> None:
        self.start_node(self.server)
        revoke(session_key="key")
        now, retained = self.pubsub.published
        self.assertEqual(now, retained[:2])
        self.assertEqual(retained[2:], (10_000, 86_400_000))

    def test_no_machine(self) -> None:
        self.patch_timeout(0.2)
        error = self.assertRaises(NotRunning, publish, "live", "hello")
        where = f"Redis at {self.server.url}?db=0"
        self.assertEqual(str(error), f"no machine of this site is connected to {where}")
        with self.assertRaises(CommandError) as raised:
            call_command("publish", "live", "hello")
        self.assertEqual(str(raised.exception), str(error))

    def test_no_redis(self) -> None:
        self.patch_timeout(0.2)
        self.server.stop()
        error: Any = self.assertRaises(NotPublished, publish, "live", "hello")
        self.assertIn(f"Redis at {self.server.url}?db=0: ", str(error))
        self.assertFalse(error.uncertain)

    def test_no_answer(self) -> None:
        self.patch_timeout(0.2)
        self.machine(self.server).answer = lambda data: None
        error: Any = self.assertRaises(NotPublished, publish, "live", "hello")
        self.assertIn("no machine answered; the message may have been published", str(error))
        self.assertTrue(error.uncertain)

    def test_another_site_with_the_same_name(self) -> None:
        self.start_node(self.server, "theirs")
        error = self.assertRaises(NotPublished, publish, "live", "hello")
        self.assertIn("uses another SECRET_KEY than the cluster", str(error))
        self.assertEqual(self.pubsub.published, [])

    def patch_timeout(self, seconds: float) -> None:
        from cluster.django.external import engine_publisher

        self.patch(engine_publisher, "ANSWER_TIMEOUT_S", seconds)
