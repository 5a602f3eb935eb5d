"""Tests of cluster.cli.options and site_options: the values of each command line, its errors."""

import contextlib
import io
import os
import resource
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli.broker_options import BrokerOptions
from cluster.cli.options import NodeOptions, Options
from cluster.cli.parsing import ClusterOptions
from cluster.net.addresses import parse_address
from cluster.net.bus_keys import make_keys
from cluster.net.listening_sockets import claim
from cluster.supervisor.config import MAX_NODES

FREE = ("--listen", "tcp:0:interface=127.0.0.1")


class FreeNodeOptions(NodeOptions):
    """NodeOptions as in a process without a reactor, because trial has installed one."""

    @staticmethod
    def installed_reactor() -> object:
        return None


class OptionsTestCase(SynchronousTestCase):
    kind: type[ClusterOptions] = Options

    def setUp(self) -> None:
        self.patch(sys, "path", list(sys.path))

    def parse(self, *arguments: str) -> ClusterOptions:
        options = self.kind()
        options.parseOptions(list(arguments))
        return options

    def assert_refused(self, because: str, *arguments: str) -> None:
        options = self.kind()
        error = self.assertRaises(UsageError, options.parseOptions, list(arguments))
        self.assertIn(because, str(error))
        self.assertNotIn("\n", str(error))

    def loopback_listener(self) -> int:
        sock = claim(parse_address("tcp:0:interface=127.0.0.1"))
        self.addCleanup(sock.close)
        return int(sock.getsockname()[1])


class ClusterTests(OptionsTestCase):
    def parse(self, *arguments: str) -> Options:
        options = super().parse(*arguments)
        assert isinstance(options, Options)
        return options

    def test_too_few_descriptors_for_any_connection_are_refused(self) -> None:
        self.patch(resource, "getrlimit", lambda what: (50, 100))
        self.assert_refused("the limit of 100 open files leaves none for connections", *FREE)
        for hard in (101, resource.RLIM_INFINITY):
            self.patch(resource, "getrlimit", lambda what, hard=hard: (50, hard))
            self.parse(*FREE)

    def test_an_argument_that_is_not_an_option_is_refused(self) -> None:
        self.assert_refused("takes options only, not 'nodes=4'", *FREE, "nodes=4")

    def test_options_have_their_defaults(self) -> None:
        self.patch(os, "environ", {"PATH": ""})
        options = self.parse(*FREE)
        self.assertEqual(options.nodes, len(os.sched_getaffinity(0)))
        self.assertEqual(options.settings, "django_project.settings")
        self.assertEqual(
            options.node_config("node3", "tcp://127.0.0.1:7000"),
            {
                "name": "node3",
                "settings": "django_project.settings",
                "bus": "tcp://127.0.0.1:7000",
                "bus_keys": "",
                "ping_interval": 20.0,
                "ping_timeout": 30.0,
                "max_message_size": 1 << 20,
                "drain_timeout": 10.0,
                "proxy_headers": [],
                "access_log": False,
                "asgi": "",
            },
        )

    def test_the_default_address_is_port_8000_on_all_interfaces(self) -> None:
        for module in ("options", "site_options"):
            self.patch(sys.modules[f"cluster.cli.{module}"], "probe", lambda address: None)
        options = self.parse()
        self.assertEqual([address.host_port for address in options.listens], ["0.0.0.0:8000"])
        self.assertEqual(options.admin.host_port, "127.0.0.1:9000")

    def test_all_options_may_be_given(self) -> None:
        options = self.parse(
            *FREE, "--listen", "tcp:0", "--nodes", "3", "--admin", "tcp:0:interface=127.0.0.2",
            "--ping-interval", "0.5", "--ping-timeout", "2", "--max-message-size", "100",
            "--drain-timeout", "0", "--proxy-headers", "10.0.0.0/8, unix:", "--access-log",
        )  # fmt: skip
        self.assertEqual(len(options.listens), 2)
        self.assertEqual(options.nodes, 3)
        self.assertEqual(options.admin.host, "127.0.0.2")
        config = options.node_config("", "")
        self.assertEqual(config["ping_interval"], 0.5)
        self.assertEqual(config["drain_timeout"], 0.0)
        self.assertEqual(config["proxy_headers"], ["10.0.0.0/8", "unix:"])
        self.assertTrue(config["access_log"])

    def test_unix_sockets(self) -> None:
        with TemporaryDirectory() as folder:
            unix = ("--listen", f"unix:{folder}/http.sock")
            options = self.parse(*unix, "--admin", "tcp:0", "--proxy-headers", "unix:")
            self.assertTrue(options.listens[0].is_unix)
            self.assert_refused("choose the admin port with --admin tcp:PORT", *unix)
            self.assert_refused("--listen names unix:", *unix, *unix, "--admin", "tcp:0")
            self.assert_refused("plain HTTP", *FREE, "--admin", f"unix:{folder}/a.sock")

    def test_invalid_proxies_are_refused(self) -> None:
        for value, wrong in (("yes", "yes"), ("127.0.0.1,10.0.0.1/8", "10.0.0.1/8")):
            self.assert_refused(
                f"--proxy-headers: {wrong!r} is not the address of a proxy",
                *FREE, "--proxy-headers", value,
            )  # fmt: skip

    def test_an_invalid_number_of_nodes_is_refused(self) -> None:
        for nodes in ("0", "-1", "9999", "two", "1.5", "", "1e1", "²"):
            self.assert_refused(
                f"--nodes must be a whole number from 1 to {MAX_NODES}, not {nodes!r}",
                *FREE, "--nodes", nodes,
            )  # fmt: skip

    def test_one_node_has_no_broker(self) -> None:
        self.assertEqual(self.parse(*FREE, "--nodes", "1").bus, "local")
        self.assertIsNone(self.parse(*FREE, "--nodes", "2").bus)

    def test_invalid_seconds_are_refused(self) -> None:
        for option in ("--ping-interval", "--ping-timeout", "--drain-timeout"):
            for text in ("-1", "nan", "inf", "soon", "", "1e9"):
                self.assert_refused(
                    f"{option} must be a number of seconds", *FREE, f"{option}={text}"
                )
        self.assert_refused("above 0", *FREE, "--ping-timeout", "0")

    def test_an_invalid_message_size_is_refused(self) -> None:
        for text in ("0", "-5", "1MiB", str(1 << 40)):
            self.assert_refused("--max-message-size must be", *FREE, f"--max-message-size={text}")

    def test_invalid_addresses_are_refused(self) -> None:
        self.assert_refused("cannot listen on 'garbage'", "--listen", "garbage")
        self.assert_refused("cannot listen on ''", "--listen", "")
        self.assert_refused("names 0.0.0.0:8123 twice", "--listen=tcp:8123", "--listen=tcp:8123")

    def test_a_busy_port_is_refused(self) -> None:
        port = self.loopback_listener()
        self.assert_refused(
            f"cannot listen on 127.0.0.1:{port}: another program",
            "--listen", f"tcp:{port}:interface=127.0.0.1", "--admin", "tcp:0",
        )  # fmt: skip

    def test_a_busy_admin_port_is_refused(self) -> None:
        port = self.loopback_listener()
        self.assert_refused(f"cannot listen on 127.0.0.1:{port}", *FREE, "--admin", f"tcp:{port}")

    def test_a_privileged_port_is_refused(self) -> None:
        class Unprivileged(socket.socket):
            def bind(self, address: object) -> None:
                raise PermissionError(13, "Permission denied")

        self.patch(socket, "socket", Unprivileged)
        self.assert_refused("cannot listen on 0.0.0.0:80: ports below", "--listen", "tcp:80")

    def test_admin_port(self) -> None:
        self.assert_refused(
            "the default admin port, 64536 + 1000, is above 65535", "--listen", "tcp:64536"
        )
        self.assert_refused("--admin tcp:PORT", "--listen", "tcp:65000")
        self.assert_refused("is one of the --listen ports", "--listen=tcp:8123", "--admin=tcp:8123")
        self.assert_refused("plain HTTP", *FREE, "--admin", "ssl:9000")
        self.assertEqual(self.parse(*FREE, "--admin", "tcp:0").admin.host, "127.0.0.1")

    def test_a_missing_certificate_is_refused(self) -> None:
        self.assert_refused("/none.pem: No such file", "--listen=ssl:0:privateKey=/none.pem")

    def test_a_missing_settings_module_is_refused(self) -> None:
        self.assert_refused("no settings module 'no.such'", *FREE, "--settings", "no.such")

    def test_no_broker_runs(self) -> None:
        self.assert_refused("no broker answers", *FREE, "--bus", "zmq+ipc:///no/such/socket")

    def test_a_cluster_may_use_an_external_broker(self) -> None:
        port = self.loopback_listener()
        bus = ("--bus", f"zmq+tcp://localhost:{port}")
        self.assert_refused("needs --bus-keys FOLDER", *FREE, *bus)
        with TemporaryDirectory() as folder:
            make_keys(folder)
            for nodes in ("1", "2"):
                options = self.parse(*FREE, "--nodes", nodes, *bus, "--bus-keys", folder)
                self.assertEqual(options.bus, f"tcp://127.0.0.1:{port}")
                self.assertEqual(options.node_config("", "")["bus_keys"], folder)
            Path(folder, "node.key_secret").unlink()
            self.assert_refused("node.key_secret", *FREE, *bus, "--bus-keys", folder)

    def test_an_unknown_option_is_refused(self) -> None:
        self.assert_refused("option --bogus not recognized (--help lists the options)", "--bogus")

    def test_under_twistd_an_error_is_one_line(self) -> None:
        options = self.kind()
        options.parent = Options()
        options.parent.subCommand = "c10k"
        for argument, message in (
            ("--bogus", "c10k: option --bogus not recognized (--help lists the options)"),
            ("--nodes=x", "c10k: --nodes must be a whole number from 1 to 256, not 'x'"),
        ):
            end = self.assertRaises(SystemExit, options.parseOptions, [*FREE, argument])
            self.assertEqual(
                end.code, message
            )  # Python prints it to standard error; the status is 1

    def test_the_name_of_an_asgi_application(self) -> None:
        options = self.parse(*FREE, "--asgi", "mysite.asgi:application")
        self.assertEqual("mysite.asgi:application", options.given_node_config()["asgi"])
        for value in ("mysite", "mysite/asgi.py:application", "mysite.asgi:"):
            self.assert_refused(
                f"--asgi must be MODULE:NAME, such as mysite.asgi:application, not {value!r}",
                *FREE, "--asgi", value,
            )  # fmt: skip

    def test_version(self) -> None:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            end = self.assertRaises(SystemExit, self.kind().parseOptions, ["--version"])
        self.assertEqual(end.code, 0)
        self.assertTrue(output.getvalue().startswith("c10k "), output.getvalue())
        self.assertIn("Django ", output.getvalue())

    def test_settings_are_the_defaults_of_options(self) -> None:
        with TemporaryDirectory() as folder:
            (Path(folder) / "site_for_options.py").write_text(
                "C10K = {'NODES': 3, 'PING_INTERVAL': 7, 'PING_TIMEOUT': 8.5, 'DRAIN_TIMEOUT': 0,"
                " 'MAX_MESSAGE_SIZE': 99, 'PROXY_HEADERS': ['::1']}\n"
                "SECRET_KEY = ROOT_URLCONF = 'x'\n"
            )
            sys.path.insert(0, folder)
            self.addCleanup(sys.modules.pop, "site_for_options", None)
            site = ("--settings", "site_for_options")
            options = self.parse(*FREE, *site)
            self.assertEqual(options.nodes, 3)
            config = options.node_config("", "")
            self.assertEqual((config["ping_interval"], config["ping_timeout"]), (7.0, 8.5))
            self.assertEqual((config["drain_timeout"], config["max_message_size"]), (0.0, 99))
            self.assertEqual(config["proxy_headers"], ["::1"])
            given = self.parse(*FREE, *site, "--nodes", "1", "--ping-interval", "5")
            self.assertEqual((given.nodes, given.ping_interval), (1, 5.0))
            sys.modules["site_for_options"].C10K = {"NODES": 1000}  # type: ignore[attr-defined]
            self.assert_refused("C10K['NODES'] must be a whole number from 1 to", *FREE, *site)
            sys.modules["site_for_options"].C10K = {"PING_TIMEOUT": 1e9}  # type: ignore[attr-defined]
            self.assert_refused("C10K['PING_TIMEOUT'] must be a number of", *FREE, *site)

    def test_help_names_units_and_defaults(self) -> None:
        text = " ".join(str(Options()).split())
        for words in (
            "seconds between pings",
            "[default: C10K['PING_INTERVAL'], or 20]",
            "bytes of the",
            "tcp:8000",
        ):
            self.assertIn(words, text)


class NodeTests(OptionsTestCase):
    kind = FreeNodeOptions

    def test_a_node_is_alone_by_default(self) -> None:
        options = self.parse(*FREE)
        assert isinstance(options, NodeOptions)
        self.assertEqual((options.bus, options.machine), ("local", ""))
        self.assertIn("has an --uplink [default: none", " ".join(str(options).split()))

    def test_names_with_other_characters_are_refused(self) -> None:
        self.assertEqual(self.parse(*FREE, "--name", "web-1.eu")["name"], "web-1.eu")
        for name in ("", "a b", "-x", "x" * 64, "ä"):
            self.assert_refused("--name must be", *FREE, f"--name={name}")

    def test_the_users_broker(self) -> None:
        with TemporaryDirectory() as base, socket.socket(socket.AF_UNIX) as broker:
            self.patch(os, "environ", {**os.environ, "XDG_RUNTIME_DIR": base})
            path = f"{base}/c10k-{os.getuid()}/broker/broker.ipc"
            self.assert_refused(f"no broker answers at ipc://{path}", *FREE, "--bus", "zmq+ipc")
            os.makedirs(os.path.dirname(path))
            broker.bind(path)
            broker.listen()
            options = self.parse(*FREE, "--bus", "zmq+ipc")
            self.assertEqual(options.bus, f"ipc://{path}")

    def test_keys_are_for_tcp(self) -> None:
        self.assert_refused("--bus-keys is for a broker at zmq+tcp://", *FREE, "--bus-keys", "keys")

    def test_another_reactor_than_asyncio_is_refused(self) -> None:
        class OtherReactor(NodeOptions):
            @staticmethod
            def installed_reactor() -> object:
                return object()

        self.kind = OtherReactor
        self.assert_refused("--reactor asyncio", *FREE)


class BrokerTests(OptionsTestCase):
    kind = BrokerOptions

    def test_endpoint(self) -> None:
        with TemporaryDirectory() as folder:
            options = self.parse("--bus", f"zmq+ipc://{folder}/broker.ipc")
        assert isinstance(options, BrokerOptions)
        self.assertEqual(options.bus, f"ipc://{folder}/broker.ipc")

    def test_a_path_that_cannot_be_a_socket_is_refused(self) -> None:
        """ZeroMQ would delete a file at such a path."""
        with TemporaryDirectory() as folder:
            file = Path(folder, "notes.txt")
            file.touch()
            for path, because in (
                (f"{folder}/none/broker.ipc", f"there is no folder {folder}/none"),
                (f"{file}/broker.ipc", f"there is no folder {file}"),
                (str(file), f"{file} exists and is no socket"),
                (folder, f"{folder} exists and is no socket"),
            ):
                self.assert_refused(because, "--bus", f"zmq+ipc://{path}")
            self.assertTrue(file.exists())
            access = os.access
            self.patch(os, "access", lambda path, mode: path != folder and access(path, mode))
            self.assert_refused(f"may not write to {folder}", "--bus", f"zmq+ipc://{folder}/b.ipc")

    def test_the_socket_file_of_a_dead_broker_is_accepted(self) -> None:
        with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{folder}/broker.ipc")
            self.parse("--bus", f"zmq+ipc://{folder}/broker.ipc")

    def test_the_default_is_a_socket_in_the_runtime_folder(self) -> None:
        self.assertIsNone(self.parse().bus)

    def test_tcp_needs_keys_and_a_free_port(self) -> None:
        port = self.loopback_listener()
        bus = ("--bus", f"zmq+tcp://127.0.0.1:{port}")
        self.assert_refused("needs --bus-keys FOLDER, because any user who reaches the port", *bus)
        with TemporaryDirectory() as folder:
            keys = ("--bus-keys", folder)
            self.assert_refused("broker.key_secret", *bus, *keys)
            make_keys(folder)
            self.assert_refused("another program", *bus, *keys)
            for host in ("nowhere.example", "eth0"):
                self.assert_refused(
                    "a broker listens on an IP address", "--bus", f"zmq+tcp://{host}:7000", *keys
                )

    def test_the_path_of_another_broker_is_refused(self) -> None:
        with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as other:
            other.bind(f"{folder}/broker.ipc")
            other.listen()
            self.assert_refused("another broker listens", "--bus", f"zmq+ipc://{folder}/broker.ipc")
