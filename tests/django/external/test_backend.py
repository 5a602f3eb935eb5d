"""Which way a process that is not a node publishes, and the errors of the engine."""

import builtins
import os
import sys
from typing import Any

from django.test import override_settings
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ClusterError, ConfigurationError, NotPublished, NotRunning
from cluster.core.machines.engine import (
    EngineError,
    EngineFull,
    EngineUnusable,
    NoAnswer,
    NoMachine,
)
from cluster.core.wire.external_publisher import Accepted, Publish
from cluster.django.api.history_settings import Kept
from cluster.django.api.publication import Counts, Done, Publication
from cluster.django.external.backend import ExternalBackend
from cluster.django.external.engine_requests import EngineRequests, is_bus_named
from cluster.uplink.requests import RequestConnection
from tests.django.site import load_site

PUBLICATION = Publication(b"live", b"\x81\x02hi", Kept(3, 500))
URL = "redis://user:secret@127.0.0.1:1/5"


class RecordingPublisher:
    def __init__(self) -> None:
        self.published: list[Publish] = []
        self.error: Exception | None = None

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def publish(self, publication: Publish) -> Accepted:
        self.check()
        self.published.append(publication)
        return Accepted(2, 5)

    def publish_later(self, publication: Publish, done: Done) -> None:
        done(self.publish(publication))


class BusTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        before = os.environ.pop("C10K_BUS", None)
        self.addCleanup(lambda: before is None or os.environ.update(C10K_BUS=before))
        self.name(None)

    def name(self, bus: str | None, **more: Any) -> None:
        override = override_settings(C10K={"BUS": bus, **more})
        override.enable()
        self.addCleanup(override.disable)


class BackendTests(BusTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.nodes: Any = RecordingPublisher()
        self.engine: Any = RecordingPublisher()
        self.backend = ExternalBackend(self.nodes, self.engine)

    def publish(self) -> list[Counts | Exception]:
        answers: list[Counts | Exception] = [self.backend.publish(PUBLICATION)]
        self.backend.publish_later(PUBLICATION, answers.append)
        self.backend.check()
        return answers

    def test_a_node_on_this_host_comes_first(self) -> None:
        self.name(URL)
        self.assertEqual(self.publish(), [(2, 5)] * 2)
        expected = [Publish(b"live", b"\x81\x02hi", 3, 500)] * 2
        self.assertEqual((self.nodes.published, self.engine.published), (expected, []))

    def test_the_engine_if_no_node_is_here(self) -> None:
        self.name(URL)
        self.nodes.error = NotRunning("no cluster")
        self.assertEqual(self.publish(), [(2, 5)] * 2)
        self.assertEqual(len(self.engine.published), 2)
        self.engine.error = NotRunning("no machine")
        for call in (self.backend.check, lambda: self.backend.publish(PUBLICATION)):
            self.assertIs(self.assertRaises(NotRunning, call), self.engine.error)

    def test_without_an_engine(self) -> None:
        self.nodes.error = NotRunning("no cluster")
        for bus in (None, "zmq+ipc"):
            self.name(bus)
            for call in (
                self.backend.check,
                lambda: self.backend.publish(PUBLICATION),
                lambda: self.backend.publish_later(PUBLICATION, lambda answer: None),
            ):
                self.assertIs(self.assertRaises(NotRunning, call), self.nodes.error)
        self.assertEqual(self.engine.published, [])

    def test_other_errors_of_nodes(self) -> None:
        self.name(URL)
        self.nodes.error = NotPublished("refused")
        self.assertRaises(NotPublished, self.publish)
        self.assertEqual(self.engine.published, [])

    def test_the_environment_names_the_engine(self) -> None:
        self.assertFalse(is_bus_named())
        os.environ["C10K_BUS"] = URL
        self.addCleanup(os.environ.pop, "C10K_BUS")
        self.assertTrue(is_bus_named())


class EngineRequestsTests(BusTestCase):
    def fails(self, error: EngineError) -> ClusterError:
        """The error of publishing that an error of the engine becomes."""

        def fail(*arguments: object) -> None:
            raise error

        self.patch(RequestConnection, "ask", fail)
        self.patch(RequestConnection, "check", fail)
        requests = EngineRequests()
        found = self.assertRaises(ClusterError, requests.ask, "1", b"", "", 0.0)
        checked = self.assertRaises(ClusterError, requests.check, 0.0)
        self.assertEqual((type(found), str(found)), (type(checked), str(checked)))
        self.assertNotIn("secret", str(found))
        requests.close()
        return found

    def test_errors(self) -> None:
        self.name(URL, SITE="shop")
        where = "Redis at redis://127.0.0.1:1/5"
        error = self.fails(NoMachine())
        self.assertIsInstance(error, NotRunning)
        self.assertEqual(str(error), f"no machine of this site is connected to {where}")
        for reason, shown in (("", ""), ("reset", " (reset)")):
            uncertain: Any = self.fails(NoAnswer(reason))
            text = f"{where}: no machine answered{shown}; the message may have been published"
            self.assertEqual((str(uncertain), uncertain.uncertain), (text, True))
        error = self.fails(EngineUnusable("Redis 6.2 is too old"))
        self.assertIsInstance(error, ConfigurationError)
        self.assertEqual(str(error), f"{where}: Redis 6.2 is too old")
        certain: Any = self.fails(EngineFull("no machine has room for the request"))
        self.assertEqual(str(certain), f"{where}: no machine has room for the request")
        self.assertFalse(certain.uncertain)

    def test_an_answer(self) -> None:
        self.name(URL, SITE="shop")

        def ask(connection: Any, *arguments: object) -> tuple[bytes, str]:
            self.assertIn("{shop/", connection._prefix)
            return b"done", "A"

        self.patch(RequestConnection, "ask", ask)
        self.assertEqual(EngineRequests().ask("1", b"", "", 0.0), (b"done", "A"))

    def test_a_url_that_is_wrong(self) -> None:
        self.name("redis://user:secret@127.0.0.1:port/5")
        error = self.assertRaises(ConfigurationError, EngineRequests)
        self.assertIn("C10K['BUS']", str(error))
        self.assertNotIn("secret", str(error))

    def test_the_name_of_the_site(self) -> None:
        self.name(URL)
        before = os.environ.pop("DJANGO_SETTINGS_MODULE", None)
        self.addCleanup(lambda: before and os.environ.update(DJANGO_SETTINGS_MODULE=before))
        error = self.assertRaises(ConfigurationError, EngineRequests)
        self.assertIn("C10K['SITE'] must name the site", str(error))
        self.patch(os, "environ", {"DJANGO_SETTINGS_MODULE": "shop.settings"})
        self.assertIn("{shop.settings/", EngineRequests()._connection._prefix)

    def test_redis_py_is_missing(self) -> None:
        self.name(URL)
        load = builtins.__import__

        def import_(name: str, *arguments: Any) -> Any:
            if name.split(".")[0] == "redis":
                raise ModuleNotFoundError(name)
            return load(name, *arguments)

        for name in [*sys.modules]:
            if name.split(".")[0] == "redis" or name == "cluster.uplink.requests":
                self.patch_module(name)
        import cluster.uplink

        if hasattr(cluster.uplink, "requests"):
            self.patch(cluster.uplink, "requests", None)
            del cluster.uplink.requests
        self.patch(builtins, "__import__", import_)
        error = self.assertRaises(ConfigurationError, EngineRequests)
        self.assertEqual(str(error), "C10K['BUS'] needs redis-py: pip install 'django-c10k[redis]'")

    def patch_module(self, name: str) -> None:
        module = sys.modules.pop(name)
        self.addCleanup(sys.modules.__setitem__, name, module)
