"""The runtime folder and its sockets are made again after they were deleted."""

import os
import socket
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net.runtime_directory import RuntimeDirectory
from cluster.net.runtime_watch import CHECK_S, RuntimeWatch, SocketFileWatch, stop_listening

reactor: Any = _reactor


class RuntimeWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        base = TemporaryDirectory()
        self.addCleanup(base.cleanup)
        self.base = Path(base.name, "user")
        self.base.mkdir()
        self.owned = self.claim()
        self.clock = Clock()
        self.watch = RuntimeWatch(self.owned, self.clock)
        self.watch.start()

    def claim(self) -> RuntimeDirectory:
        owned = RuntimeDirectory.claim(8000, {"XDG_RUNTIME_DIR": str(self.base)}, os.getuid())
        self.addCleanup(owned.release)
        return owned

    def test_a_deleted_folder_is_made_again(self) -> None:
        self.assertEqual(self.watch.problem, "")
        rmtree(self.owned.path)
        self.assertEqual(self.watch.problem, f"the runtime folder {self.owned.path} is gone")
        self.clock.advance(CHECK_S)
        self.assertEqual(self.watch.problem, "")
        self.assertEqual(os.stat(self.owned.path).st_mode & 0o777, 0o700)
        # It is locked again.
        error = self.assertRaises(ConfigurationError, self.claim)
        self.assertIn("another cluster of yours", str(error))

    def test_a_deleted_lock_is_made_again(self) -> None:
        os.unlink(os.path.join(self.owned.path, "lock"))
        self.clock.advance(CHECK_S)
        self.assertEqual(self.watch.problem, "")

    def test_a_deleted_base_is_reported_until_it_is_there_again(self) -> None:
        """The session has ended, and only the system can make its folder again."""
        rmtree(self.base)
        for _ in range(3):
            self.clock.advance(CHECK_S)
        self.assertIn("is gone: cannot make the runtime folder", self.watch.problem)
        self.base.mkdir()
        self.clock.advance(CHECK_S)
        self.assertEqual(self.watch.problem, "")

    def test_another_cluster_that_has_taken_the_folder(self) -> None:
        rmtree(self.owned.path)
        other = self.claim()
        self.clock.advance(CHECK_S)
        self.assertIn("another cluster of yours owns it by now", self.watch.problem)
        other.release()
        self.clock.advance(CHECK_S)
        self.assertEqual(self.watch.problem, "")

    def test_nothing_happens_after_the_stop(self) -> None:
        self.watch.stop()
        rmtree(self.owned.path)
        self.clock.advance(CHECK_S)
        self.assertFalse(os.path.exists(self.owned.path))


class SocketFileWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "runtime", "control.sock")
        self.path.parent.mkdir()
        self.path.touch()
        self.clock = Clock()
        self.answers: list[Any] = []
        self.calls = 0
        watch = SocketFileWatch(str(self.path), self.listen_again, self.clock)
        watch.start()
        self.addCleanup(watch.stop)

    def listen_again(self) -> Any:
        self.calls += 1
        answer = self.answers.pop(0) if self.answers else succeed(None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def test_a_socket_that_is_there(self) -> None:
        self.clock.advance(CHECK_S)
        self.assertEqual(self.calls, 0)

    def test_a_socket_waits_for_its_folder(self) -> None:
        rmtree(self.path.parent)
        self.clock.advance(CHECK_S)
        self.assertEqual(self.calls, 0)
        self.path.parent.mkdir()
        self.clock.advance(CHECK_S)
        self.assertEqual(self.calls, 1)

    def test_one_attempt_at_a_time_and_another_after_a_failure(self) -> None:
        self.path.unlink()
        waiting: Deferred[None] = Deferred()
        self.answers = [waiting, OSError("full")]
        self.clock.pump([CHECK_S] * 3)
        self.assertEqual(self.calls, 1)
        waiting.callback(None)
        self.clock.pump([CHECK_S] * 2)
        self.assertEqual(self.calls, 3)


class ListeningTests(TestCase):
    async def test_a_port_whose_file_is_gone(self) -> None:
        with TemporaryDirectory() as folder:
            path = os.path.join(folder, "control.sock")
            port = reactor.listenUNIX(path, Factory.forProtocol(Protocol))
            os.unlink(path)
            await stop_listening(port)
            again = reactor.listenUNIX(path, Factory.forProtocol(Protocol))
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
            await stop_listening(again)
