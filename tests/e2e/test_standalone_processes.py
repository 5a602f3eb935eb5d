"""c10k-broker and c10k-node without a supervisor, as other service managers run them."""

import os
import shutil
import signal
import socket
import tempfile
import uuid
from pathlib import Path

from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from cluster.cli.console.main import main
from cluster.core.wire.external_publisher import Accepted, Publish
from cluster.django.external.node_lookup import site_name
from cluster.django.external.node_publisher import NodePublisher
from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import claim
from cluster.net.running_clusters import running_clusters
from cluster.net.websocket.frames import text_frame
from tests.e2e.asking import get, get_until, ready
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Program,
    marked_processes,
    start_cluster,
    start_program,
    twistd,
)

LISTEN = ("--listen", "tcp:0:interface=127.0.0.1")


class StandaloneProcessesTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def setUp(self) -> None:
        self.marks: list[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, *arguments: str, **extra: str) -> Program:
        program = Program()
        self.marks.append(uuid.uuid4().hex)
        command = twistd("-n", "--pidfile=", *arguments)
        extra["DJANGO_SECRET_KEY"] = "tests"
        start_program(self, program, command, self.marks[-1], extra=extra)
        return program

    async def test_nodes_and_a_cluster_share_one_broker(self) -> None:
        bus = ("--bus", f"zmq+ipc://{self.folder}/broker.ipc")
        broker = self.start("c10k-broker", *bus)
        await broker.line("c10k-broker ready: zmq[+]ipc://")
        self.assertEqual((self.folder / "broker.ipc").stat().st_mode & 0o777, 0o600)
        nodes = [self.start("c10k-node", *bus, *LISTEN, "--name", name) for name in ("a", "b")]
        announced = await gatherResults(
            [node.line(r"c10k-node ready: (http\S+) \(\w, up to") for node in nodes]
        )
        for match in announced:
            status, _ = await get(match[1])
            self.assertLess(status, 500)
        # Each node has a runtime folder with a publish socket.
        folders = [running_clusters({"XDG_RUNTIME_DIR": str(node.runtime)}, os.getuid())
                   for node in nodes]  # fmt: skip
        publisher = NodePublisher(lambda: folders[0], site=lambda: site_name("tests"))
        self.addCleanup(publisher._disconnect)
        receipt = await deferToThread(publisher.publish, Publish(b"live", text_frame(b"hello")))
        self.assertEqual(receipt, Accepted(0, 0))
        cluster = await start_cluster(self, "--nodes", "1", *bus)
        await ready(cluster.admin_url)
        # The cluster is not ready without the bus, and is ready again with it.
        broker.kill()
        await broker.end()
        await get_until(cluster.admin_url + "readyz", 503)
        again = self.start("c10k-broker", *bus)
        await ready(cluster.admin_url)
        for program in (*nodes, again):
            program.kill()
            await program.end()
            self.assertEqual(program.signal, signal.SIGTERM, program.text)
            self.assertNotIn("Traceback", program.text)
        for ((_, folder),) in (found.items() for found in folders):
            self.assertFalse(os.path.exists(folder))
        self.assertEqual([pid for mark in self.marks for pid in marked_processes(mark)], [])

    async def test_the_default_broker_is_private(self) -> None:
        runtime = {"XDG_RUNTIME_DIR": str(self.folder)}
        path = self.folder / f"c10k-{os.getuid()}" / "broker" / "broker.ipc"
        broker = self.start("c10k-broker", **runtime)
        announced = await broker.line("c10k-broker ready: zmq[+]ipc://(.*)")
        self.assertEqual(announced[1], str(path))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700)
        second = self.start("c10k-broker", **runtime)
        await second.end()
        self.assertEqual(second.status, 1)
        self.assertIn("another broker of yours is running (process ", second.lines[-1])
        node = self.start("c10k-node", "--bus", "zmq+ipc", *LISTEN, **runtime)
        await node.line("c10k-node ready: ")
        for program in (node, broker):
            program.kill()
            await program.end()
        # The history stays for the next start.
        self.assertEqual(["history"], [left.name for left in path.parent.iterdir()])

    async def test_a_broker_on_tcp_with_keys(self) -> None:
        keys = self.folder / "keys"
        main(["keygen", str(keys)])
        main(["keygen", str(self.folder / "others")])
        with socket.create_server(("127.0.0.1", 0)) as free:
            bus = ("--bus", f"zmq+tcp://127.0.0.1:{free.getsockname()[1]}")
        broker = self.start("c10k-broker", *bus, "--bus-keys", str(keys))
        await broker.line("c10k-broker ready: zmq[+]tcp://")
        cluster = await start_cluster(self, "--nodes", "2", *bus, "--bus-keys", str(keys))
        others = ("--bus-keys", str(self.folder / "others"))
        stranger = self.start("c10k-node", *bus, *others, *LISTEN)
        await gatherResults(
            [
                stranger.line("--bus-keys names other keys than the broker's"),
                broker.line("refused a connection at tcp://.*: another key or none"),
            ]
        )
        await ready(cluster.admin_url)
        self.assertNotIn("Traceback", broker.text + stranger.text)

    async def test_two_nodes_do_not_share_a_port(self) -> None:
        taken = claim(parse_address("tcp:0:interface=127.0.0.1"))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        program = self.start("c10k-node", "--listen", f"tcp:{port}:interface=127.0.0.1")
        await program.end()
        self.assertEqual(program.status, 1)
        self.assertIn(f"cannot listen on 127.0.0.1:{port}", program.lines[-1])
        socket.create_connection(("127.0.0.1", port), 5).close()
