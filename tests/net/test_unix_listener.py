"""The socket file of a unix: address, and its lock."""

import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import open_slots, probe, release_all
from cluster.net.unix_listener import UnixListener


class UnixListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "http.sock"
        self.address = parse_address(f"unix:{self.path}")

    def claim(self, suffix: str = "") -> UnixListener:
        listener = UnixListener.claim(parse_address(f"{self.address.text}{suffix}"), 10)
        self.addCleanup(listener.release)
        return listener

    def assert_refused(self, because: str) -> None:
        error = self.assertRaises(ConfigurationError, self.claim)
        self.assertEqual(str(error), f"cannot listen on unix:{self.path}: {because}")

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(str(self.path))
        return client

    def test_all_duplicates_accept_from_one_queue(self) -> None:
        listener = self.claim()
        for duplicate in (listener.duplicate(), listener.duplicate()):
            self.addCleanup(duplicate.close)
            self.connect()
            duplicate.accept()[0].close()

    def test_the_mode_of_the_file(self) -> None:
        for suffix, mode in (("", 0o660), (":mode=600", 0o600), (":mode=666", 0o666)):
            listener = self.claim(suffix)
            self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), mode)
            listener.release()

    def test_a_second_cluster_is_refused(self) -> None:
        listener = self.claim()
        self.assert_refused("another cluster uses this path")
        self.assertRaises(ConfigurationError, probe, self.address)
        self.connect()
        listener.release()
        listener.release()
        self.assertFalse(self.path.exists())
        self.claim()

    def test_the_file_of_a_killed_cluster_is_replaced(self) -> None:
        listener = self.claim()
        listener._listening.close()
        os.close(listener._lock)
        listener._lock = -1
        self.assertTrue(self.path.exists())
        self.claim()
        self.connect()

    def test_another_program_keeps_its_socket(self) -> None:
        other = socket.socket(socket.AF_UNIX)
        self.addCleanup(other.close)
        other.bind(str(self.path))
        other.listen(3)
        self.assert_refused("another program listens there")
        self.connect()
        while True:  # also when its queue is full
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            if client.connect_ex(str(self.path)):
                break
        self.assert_refused("another program listens there")
        self.assertTrue(self.path.exists())

    def test_other_files_are_kept(self) -> None:
        self.path.write_text("mine")
        self.assert_refused("there is a file with this name that is no socket")
        self.assertEqual(self.path.read_text(), "mine")

    def test_a_folder_that_does_not_exist(self) -> None:
        self.folder = self.folder / "none"
        error = self.assertRaises(
            ConfigurationError, probe, parse_address(f"unix:{self.folder}/http.sock")
        )
        self.assertIn("No such file or directory", str(error))

    def test_probing_leaves_the_path_free(self) -> None:
        probe(self.address)
        self.assertFalse(self.path.exists())
        self.claim()

    def test_slots(self) -> None:
        unix: dict[str, UnixListener] = {}
        loopback = parse_address("tcp:0:interface=127.0.0.1")
        real, slots = open_slots([loopback, self.address], 2, unix)
        self.assertEqual(real[1], self.address)
        self.assertEqual(
            [[sock.family for sock in slot] for slot in slots],
            [[socket.AF_INET, socket.AF_UNIX]] * 2,
        )
        for slot in slots:
            for sock in slot:
                sock.close()
        self.connect()  # waits for a node
        release_all(unix)
        self.assertEqual(unix, {})
        self.assertFalse(self.path.exists())

    def test_a_busy_port_releases_the_path(self) -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        busy = parse_address(f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
        unix: dict[str, UnixListener] = {}
        self.assertRaises(ConfigurationError, open_slots, [self.address, busy], 2, unix)
        self.claim()
