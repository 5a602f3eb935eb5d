"""Machines as network namespaces: links that are cut and healed, and nothing that is left."""

import os
import select
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.machines.cleaner import NAMESPACES, processes_in
from workers.drill.machines.network import (
    RESET,
    Namespaces,
    Network,
    Unavailable,
    loss,
    open_loopback,
    open_network,
    why_unavailable,
)
from workers.drill.machines.redis import Engine, installed

SKIPPED = why_unavailable() or ("" if installed() else "redis-server is not installed")

ANSWER_SECONDS = "0.5"
END_SECONDS = 30.0

# A shell lets its background commands ignore SIGINT, and what they start inherits that.
PROGRAM = """
import signal, sys
from workers.drill.machines.network import open_network
signal.signal(signal.SIGINT, signal.default_int_handler)
with open_network(["a", "b"]) as network:
    print(network["a"].namespace, network.cleaner.pid, flush=True)
    sys.stdin.read()
"""


def ask(network: Network, host: str, engine: Engine) -> str:
    """PING from a machine; returns the answer, or what went wrong."""
    address, port = engine.servers[0].address
    program = (
        "import socket, sys\n"
        "try:\n"
        f"    to = socket.create_connection(({address!r}, {port}), timeout={ANSWER_SECONDS})\n"
        "    to.sendall(b'PING\\r\\n'); print(to.recv(100).decode().strip())\n"
        "except OSError as error: print(type(error).__name__)"
    )
    done = subprocess.run(
        network[host].command([sys.executable, "-c", program]),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


class NamespacesTests(SynchronousTestCase):
    skip = SKIPPED or None

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.network: Namespaces = stack.enter_context(open_network(["a", "b", "redis"]))
        self.engine = Engine(self.network, Path(self.mktemp()).absolute(), ["redis"])
        self.engine.start()

    def answers(self) -> list[str]:
        return [ask(self.network, host, self.engine) for host in ("a", "b")]

    def test_machines_reach_redis_until_their_link_is_cut(self) -> None:
        self.assertEqual(self.answers(), ["+PONG", "+PONG"])
        for cuts in (
            [("a", "redis")],
            [("redis", "a")],
            [("a", "redis"), ("redis", "a")],
        ):
            for cut in cuts:
                self.network.cut(*cut)
            self.assertEqual(self.answers(), ["TimeoutError", "+PONG"], cuts)
            # This host has a link of its own.
            self.assertEqual(self.engine.servers[0].ask("PING"), "PONG")
            self.network.heal()
            self.assertEqual(self.answers(), ["+PONG", "+PONG"], cuts)

    def test_a_link_resets_connections_or_loses_packets(self) -> None:
        self.network.cut("a", "redis", RESET)
        self.assertEqual(self.answers(), ["ConnectionRefusedError", "+PONG"])
        self.network.heal()
        self.network.cut("a", "redis", loss(100))
        self.assertEqual(self.answers(), ["TimeoutError", "+PONG"])

    def test_a_machine_is_disconnected_and_connected_again(self) -> None:
        self.network.link("a", False)
        self.assertNotIn("PONG", self.answers()[0])
        self.network.link("a", True)
        self.assertEqual(self.answers(), ["+PONG", "+PONG"])

    def test_machines_have_ports_of_their_own(self) -> None:
        self.assertEqual({self.network[name].port(8000) for name in ("a", "b")}, {8000})
        self.assertNotEqual(self.network["a"].address, self.network["b"].address)


class RemovalTests(SynchronousTestCase):
    skip = why_unavailable() or None

    def test_nothing_is_left_at_the_end_of_the_block(self) -> None:
        with open_network(["a"]) as network:
            namespace = network["a"].namespace
            process = subprocess.Popen(network["a"].command(["sleep", "600"]))
            while process.pid not in processes_in(namespace):
                self.assertIsNone(process.poll())  # nsenter has not entered it yet
        self.assertEqual(process.wait(), -signal.SIGKILL)
        self.assertFalse((NAMESPACES / namespace).exists())
        self.assertNotIn(f"c10k-{network.number}", os.listdir("/sys/class/net"))

    def test_nothing_is_left_after_the_program_is_killed(self) -> None:
        for number in (signal.SIGKILL, signal.SIGINT):
            with subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as program:
                assert program.stdout is not None
                namespace, cleaner = program.stdout.readline().split()
                self.assertTrue((NAMESPACES / namespace).exists())
                ended = os.pidfd_open(int(cleaner))
                self.addCleanup(os.close, ended)
                program.send_signal(number)
                readable, _, _ = select.select([ended], [], [], END_SECONDS)
                self.assertEqual(readable, [ended])
            self.assertFalse((NAMESPACES / namespace).exists())


class LoopbackTests(SynchronousTestCase):
    def test_machines_have_different_ports_and_links_that_cannot_be_cut(self) -> None:
        with open_loopback(["a", "b"]) as network:
            self.assertFalse(network.can_cut)
            self.assertNotEqual(network["a"].port(8000), network["b"].port(8000))
            self.assertEqual(network["a"].command(["true"]), ["true"])
            for call in (lambda: network.cut("a", "b"), lambda: network.link("a", False)):
                self.assertRaises(Unavailable, call)
            network.heal()
            self.assertRaises(KeyError, network.__getitem__, "c")
            process = subprocess.Popen(["sleep", "600"])
            network.cleaner.add("process", process.pid)
        self.assertEqual(process.wait(), -signal.SIGKILL)
