"""Tests of the options of a cluster that is one of several machines, without an engine."""

import importlib
import os
import socket
import sys
from tempfile import TemporaryDirectory
from typing import Any

from twisted.python.usage import UsageError

from cluster.cli import broker_options, options, value_checks
from cluster.cli.broker_options import BrokerOptions
from cluster.core.exceptions import ConfigurationError
from cluster.supervisor.config import UplinkConfig
from tests.cli.test_options import FREE, FreeNodeOptions, OptionsTestCase

URL = "redis://127.0.0.1:1/0"
SECRET = "redis://:swordfish@127.0.0.1:1/0"


class FreeBrokerOptions(BrokerOptions):
    """BrokerOptions as in a process without a reactor, because trial has installed one."""

    @staticmethod
    def installed_reactor() -> object:
        return None


class UplinkTestCase(OptionsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.probed: list[UplinkConfig] = []
        for module in (options, broker_options):
            self.patch(module, "probe_uplink", self.probed.append)
        self.patch(socket, "gethostname", lambda: "web-1.example.com")
        self.environ(None)

    def environ(self, bus: str | None) -> None:
        given = {} if bus is None else {"C10K_BUS": bus}
        self.patch(os, "environ", {"PATH": "", **given})

    def settings(self, **values: Any) -> None:
        """Change the C10K setting of the site."""
        module = sys.modules["django_project.settings"]
        self.patch(module, "C10K", {**getattr(module, "C10K"), **values})  # noqa: B009


class ClusterTests(UplinkTestCase):
    def parse(self, *arguments: str) -> Any:
        return super().parse(*FREE, *arguments)

    def test_each_machine_has_its_own_broker_even_for_one_node(self) -> None:
        for nodes in ("1", "2"):
            parsed = self.parse("--nodes", nodes, "--bus", URL)
            self.assertIsNone(parsed.bus)
            uplink = parsed.uplink
            self.assertEqual(
                (uplink.url, uplink.machine, uplink.site),
                (URL, "web-1.example.com", "django_project.settings"),
            )
            self.assertEqual(self.probed.pop(), uplink)

    def test_without_a_url_there_is_no_uplink(self) -> None:
        self.assertIsNone(self.parse("--nodes", "2").uplink)
        self.assertEqual(self.probed, [])

    def test_the_url_of_the_environment_and_of_the_settings(self) -> None:
        self.settings(BUS=SECRET, MACHINE="b", SITE="shop")
        uplink = self.parse().uplink
        self.assertEqual((uplink.url, uplink.machine, uplink.site), (SECRET, "b", "shop"))
        self.environ(f"{SECRET}?username=x")
        self.assertEqual(self.parse().uplink.url, f"{SECRET}?username=x")
        uplink = self.parse("--bus", URL, "--machine", "c").uplink
        self.assertEqual((uplink.url, uplink.machine), (URL, "c"))
        self.assertEqual(self.parse("--bus", "zmq+ipc", "--nodes", "1").bus, "local")

    def test_the_next_cluster_at_an_address_has_the_same_owner(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        ports = (f"tcp:{port}", f"tcp:{port}", f"tcp:{port}:interface=127.0.0.2", "tcp:0", "tcp:0")
        owners = [self.parse("--bus", URL, "--admin", each).uplink.owner for each in ports]
        self.assertEqual(owners[0], owners[1])
        self.assertEqual(len(set(owners)), 4)

    def test_a_site_has_the_same_fingerprint_everywhere(self) -> None:
        one, other = self.parse("--bus", URL).uplink, self.parse("--bus", URL).uplink
        self.assertEqual(one.fingerprint, other.fingerprint)
        self.patch(sys.modules["django_project.settings"], "SECRET_KEY", "another")
        self.assertNotEqual(one.fingerprint, self.parse("--bus", URL).uplink.fingerprint)

    def test_the_password_is_not_shown(self) -> None:
        self.settings(BUS=SECRET)
        self.assertNotIn("swordfish", repr(self.parse().uplink))

    def test_a_password_in_the_command_line_is_refused(self) -> None:
        for url in (SECRET, "redis://127.0.0.1?password=swordfish"):
            self.assert_refused("--bus must not have a password", *FREE, "--bus", url)

    def test_invalid_urls_are_refused_without_being_shown(self) -> None:
        for url, because in (
            ("redis://", "--bus: each server needs a name"),
            ("redis://a:b/c", "--bus: the database must be a number"),
            ("nats://a", "nats:// is not supported"),
        ):
            self.assert_refused(because, *FREE, "--bus", url)
        misspelt = ("reddis://:swordfish@a", "reddis://a?password=swordfish")
        for url in ("redis://:swordfish@a/b/c", *misspelt):
            self.environ(url)
            options = self.kind()
            error = self.assertRaises(UsageError, options.parseOptions, list(FREE))
            self.assertIn("C10K_BUS", str(error))
            self.assertNotIn("swordfish", str(error))

    def test_invalid_names_are_refused(self) -> None:
        for name in ("", "a b", "-a", "a@b", "a" * 64, "ä"):
            self.assert_refused(
                "--machine must be 1 to 63 letters", *FREE, "--bus", URL, "--machine", name
            )
        self.patch(socket, "gethostname", lambda: "my_host!")
        self.assert_refused(
            "the host name, which is the default of --machine,", *FREE, "--bus", URL
        )

    def test_a_name_without_other_machines_is_refused(self) -> None:
        self.assert_refused("--machine is for a cluster that shares", *FREE, "--machine", "a")

    def test_redis_py_is_needed(self) -> None:
        def without_redis(name: str) -> Any:
            if name == "redis":
                raise ImportError(name)
            return import_module(name)

        import_module = importlib.import_module
        self.parse("--bus", URL)
        fake: Any = type("importlib", (), {"import_module": staticmethod(without_redis)})
        self.patch(value_checks, "importlib", fake)
        self.assert_refused("pip install 'django-c10k[redis]'", *FREE, "--bus", URL)

    def test_an_engine_that_cannot_be_used_is_refused(self) -> None:
        def refuse(config: UplinkConfig) -> None:
            raise ConfigurationError("Redis 6.2 is too old")

        self.patch(options, "probe_uplink", refuse)
        self.assert_refused("Redis 6.2 is too old", *FREE, "--bus", URL)


class NodeTests(UplinkTestCase):
    kind = FreeNodeOptions

    def test_the_machine_is_part_of_the_configuration(self) -> None:
        parsed: Any = self.parse(*FREE, "--machine", "a")
        self.assertEqual(parsed.node_config("x", "local")["machine"], "a")
        parsed = self.parse(*FREE)
        self.assertEqual(parsed.node_config("x", "local")["machine"], "")

    def test_a_node_needs_the_address_of_a_broker(self) -> None:
        self.settings(BUS=URL)
        self.assert_refused("give this node --bus", *FREE)
        parsed: Any = self.parse(*FREE, "--bus", "local")
        self.assertEqual(parsed.machine, "web-1.example.com")


class BrokerTests(UplinkTestCase):
    kind = FreeBrokerOptions

    def test_a_broker_without_an_uplink_needs_no_settings(self) -> None:
        self.patch(broker_options, "uplink_config", self.fail)
        parsed: Any = self.parse()
        self.assertIsNone(parsed.uplink)

    def test_its_url_and_its_names(self) -> None:
        parsed: Any = self.parse("--uplink", URL, "--machine", "a", "--site", "shop")
        uplink = parsed.uplink
        self.assertEqual((uplink.url, uplink.machine, uplink.site), (URL, "a", "shop"))
        self.assertEqual(self.probed, [uplink])

    def test_the_next_broker_at_an_address_has_the_same_owner(self) -> None:
        with TemporaryDirectory() as one, TemporaryDirectory() as other:
            owners = []
            for bus in ("zmq+ipc", f"zmq+ipc://{one}/b.ipc", f"zmq+ipc://{other}/b.ipc"):
                first: Any = self.parse("--uplink", URL, "--bus", bus)
                second: Any = self.parse("--uplink", URL, "--bus", bus)
                self.assertEqual(first.uplink.owner, second.uplink.owner)
                owners.append(first.uplink.owner)
        self.assertEqual(len(set(owners)), 3)

    def test_the_url_of_the_environment_and_of_the_settings(self) -> None:
        self.environ(SECRET)
        parsed: Any = self.parse()
        self.assertEqual(parsed.uplink.url, SECRET)
        self.environ(None)
        self.settings(BUS=URL)
        parsed = self.parse()
        self.assertIsNone(parsed.uplink)
        parsed = self.parse("--settings", "django_project.settings")
        self.assertEqual(parsed.uplink.url, URL)

    def test_what_is_refused(self) -> None:
        for arguments, because in (
            (("--uplink", SECRET), "--uplink must not have a password"),
            (("--uplink", "zmq+ipc"), "--uplink must be redis://HOST:PORT, not 'zmq+ipc'"),
            (("--machine", "a"), "--machine is for a broker with --uplink"),
            (("--site", "a"), "--site is for a broker with --uplink"),
            (("--uplink", URL, "--site", "a{b}"), "--site must be 1 to 100 letters"),
        ):
            self.assert_refused(because, *arguments)
        misspelt = ["--uplink", "reddis://:swordfish@a"]
        error = self.assertRaises(UsageError, self.kind().parseOptions, misspelt)
        self.assertEqual(str(error), "--uplink must be redis://HOST:PORT")

    def test_another_reactor_than_asyncio_is_refused(self) -> None:
        class OtherReactor(BrokerOptions):
            @staticmethod
            def installed_reactor() -> object:
                return object()

        self.kind = OtherReactor
        self.assert_refused("--reactor asyncio", "--uplink", URL)
