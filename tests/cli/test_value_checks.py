"""Tests of cluster.cli.value_checks: parsed values, and errors."""

import os
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from cluster.cli.value_checks import (
    bus_answers,
    check_certificate,
    check_settings,
    parse_bus,
    probe_bus,
    site_folder,
)
from cluster.core.exceptions import ConfigurationError
from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import claim


class SiteFolderTests(SynchronousTestCase):
    def folder(self, name: str, file: str | None) -> str:
        self.patch(sys, "modules", {**sys.modules, name: SimpleNamespace(__file__=file)})
        return site_folder(name)

    def test_the_folder_that_has_the_settings_package(self) -> None:
        self.assertEqual(self.folder("shop.conf.live", "/srv/a/shop/conf/live.py"), "/srv/a")
        self.assertEqual(self.folder("settings", "/srv/a/settings.py"), "/srv/a")

    def test_an_installed_package(self) -> None:
        file = "/venv/lib/site-packages/shop/settings.py"
        self.assertEqual(self.folder("shop.settings", file), "/venv/lib/site-packages/shop")

    def test_settings_without_a_file(self) -> None:
        self.assertEqual(self.folder("made_up", None), "")


class BusTests(SynchronousTestCase):
    def test_valid_endpoints_are_parsed(self) -> None:
        self.assertIsNone(parse_bus("zmq+ipc"))
        self.assertEqual(parse_bus("zmq+ipc:///run/b.ipc"), "ipc:///run/b.ipc")
        self.assertEqual(parse_bus("zmq+tcp://127.0.0.1:7000"), "tcp://127.0.0.1:7000")
        self.assertEqual(parse_bus("zmq+tcp://[::1]:7000"), "tcp://[::1]:7000")
        self.assertEqual(parse_bus("zmq+tcp://bus.example:7000"), "tcp://bus.example:7000")

    def assert_refused(self, because: str, text: str) -> None:
        self.assertIn(because, str(self.assertRaises(ConfigurationError, parse_bus, text)))

    def test_invalid_endpoints_are_refused(self) -> None:
        for text in ("", "redis://", "zmq+tcp://", "zmq+tcp://127.0.0.1", "zmq+tcp://x:0"):
            self.assert_refused("--bus must be", text)
        self.assert_refused("must begin with /", "zmq+ipc://here")
        self.assert_refused("107 bytes", "zmq+ipc:///" + "x" * 107)

    def test_the_socket_of_another_user_is_refused(self) -> None:
        with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as broker:
            broker.bind(f"{folder}/broker.ipc")
            broker.listen()
            self.patch(os, "geteuid", lambda: 4711)
            os.chown(f"{folder}/broker.ipc", 4712 if os.getuid() == 0 else -1, -1)
            error = self.assertRaises(ConfigurationError, probe_bus, f"ipc://{folder}/broker.ipc")
            self.assertIn("belongs to another user", str(error))

    def test_an_endpoint_without_a_broker_is_refused(self) -> None:
        with claim(parse_address("tcp:0:interface=127.0.0.1")) as sock:
            freed = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
            probe_bus(freed)
        for endpoint in (freed, "ipc:///no/such/socket"):
            error = self.assertRaises(ConfigurationError, probe_bus, endpoint)
            self.assertEqual(
                str(error),
                f"no broker answers at {endpoint}:"
                f" start one with twistd c10k-broker --bus zmq+{endpoint}",
            )

    def test_a_broker_on_a_path(self) -> None:
        with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as broker:
            broker.bind(f"{folder}/broker.ipc")
            self.assertFalse(bus_answers(f"ipc://{folder}/broker.ipc"))
            broker.listen()
            self.assertTrue(bus_answers(f"ipc://{folder}/broker.ipc"))


SITE = "SECRET_KEY = 'x'\nROOT_URLCONF = 'urls'\n"


class SettingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(sys, "path", list(sys.path))

    def settings_module(self, name: str, text: str) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        Path(folder.name, f"{name}.py").write_text(text)
        self.addCleanup(os.chdir, os.getcwd())
        self.addCleanup(sys.modules.pop, name, None)
        os.chdir(folder.name)

    def assert_refused(self, because: str, name: str) -> None:
        self.assertIn(because, str(self.assertRaises(ConfigurationError, check_settings, name)))

    def test_a_missing_settings_module_is_refused(self) -> None:
        for name in ("no.such", ".settings", "a b", "a..b", "django_project/settings.py"):
            self.assert_refused(f"no settings module {name!r}", name)

    def test_the_default_is_the_demo_site(self) -> None:
        self.patch(os, "environ", {})
        self.assertEqual(check_settings(None), "django_project.settings")

    def test_a_module_in_the_current_folder_is_found(self) -> None:
        self.settings_module("settings_of_test_1", f"{SITE}C10K = {{'WSGI_THREADS': 3}}")
        self.assertEqual(check_settings("settings_of_test_1"), "settings_of_test_1")

    def test_the_module_may_come_from_the_environment(self) -> None:
        self.settings_module("settings_of_test_2", SITE)
        self.patch(os, "environ", {"DJANGO_SETTINGS_MODULE": "settings_of_test_2"})
        self.assertEqual(check_settings(None), "settings_of_test_2")

    def test_an_unknown_key_is_refused(self) -> None:
        self.settings_module("settings_of_test_3", "C10K = {'WSGI_TREADS': 3}")
        self.assert_refused(
            "settings_of_test_3: C10K has an unknown key 'WSGI_TREADS'", "settings_of_test_3"
        )

    def test_a_module_without_settings_is_refused(self) -> None:
        self.assert_refused("json has no SECRET_KEY, which every site needs", "json")
        self.settings_module("settings_of_test_6", "SECRET_KEY = 'x'\nROOT_URLCONF = ''")
        self.assert_refused("settings_of_test_6 has no ROOT_URLCONF", "settings_of_test_6")

    def test_the_error_of_settings_that_raise_names_the_line(self) -> None:
        self.settings_module("settings_of_test_4", "x = 1\n1 / 0")
        path = Path.cwd() / "settings_of_test_4.py"
        self.assert_refused(
            f"cannot be imported: ZeroDivisionError: division by zero ({path}, line 2)",
            "settings_of_test_4",
        )

    def test_the_error_of_settings_with_a_missing_import_names_the_module(self) -> None:
        self.settings_module("settings_of_test_5", "import no_such_library")
        path = Path.cwd() / "settings_of_test_5.py"
        self.assert_refused(
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"
            f" ({path}, line 1)",
            "settings_of_test_5",
        )


class CertificateTests(SynchronousTestCase):
    def assert_refused(self, because: str, listen: str) -> None:
        error = self.assertRaises(ConfigurationError, check_certificate, parse_address(listen))
        self.assertIn(because, str(error))

    def test_tcp_addresses_need_no_certificate(self) -> None:
        check_certificate(parse_address("tcp:0"))

    def test_a_missing_certificate_is_refused(self) -> None:
        self.assert_refused("/none.pem: No such file", "ssl:0:privateKey=/none.pem")

    def test_a_file_that_is_not_a_certificate_is_refused(self) -> None:
        empty = self.mktemp()
        Path(empty).touch()
        self.assert_refused("cannot be used", f"ssl:0:privateKey={empty}")
