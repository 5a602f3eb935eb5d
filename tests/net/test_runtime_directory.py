"""Tests of cluster.net.runtime_directory."""

import errno
import fcntl
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net import runtime_directory
from cluster.net.runtime_directory import RuntimeDirectory, publish_sockets


class RuntimeDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Not trial's own folder, whose path is too long for a Unix socket.
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)

    def claim(self, port: int = 8000) -> RuntimeDirectory:
        owned = RuntimeDirectory.claim(port, {"XDG_RUNTIME_DIR": str(self.base)}, os.getuid())
        self.addCleanup(owned.release)
        return owned

    def assert_refused(self, because: str) -> None:
        error = self.assertRaises(ConfigurationError, self.claim)
        self.assertIn(because, str(error))

    @property
    def folder(self) -> Path:
        return self.base / f"c10k-{os.getuid()}" / "8000"

    def test_private_and_named_after_user_and_port(self) -> None:
        owned = self.claim()
        self.assertEqual(owned.path, str(self.folder))
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.folder.parent.stat().st_mode & 0o777, 0o700)
        self.assertEqual(owned.control, f"{self.folder}/control.sock")
        self.assertEqual(owned.broker, f"ipc://{self.folder}/broker.ipc")
        self.assertEqual(owned.publish_socket(3, 17), f"{self.folder}/publish-3-17.sock")

    def test_one_owner_at_a_time(self) -> None:
        owned = self.claim()
        self.assert_refused(f"another cluster of yours uses port 8000 (process {os.getpid()}")
        owned.release()
        self.claim()

    def test_one_folder_for_each_port(self) -> None:
        self.claim()
        self.claim(8001)

    def test_stale_files_are_removed(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True)
        self.folder.parent.chmod(0o700)
        for name in ("control.sock", "broker.ipc", "publish-0-9.sock", "publish-17-10.sock"):
            (self.folder / name).touch()
        (self.folder / "lock").write_text("4711\n")
        self.claim()
        self.assertEqual(os.listdir(self.folder), ["lock"])

    def test_release_removes_the_folder_and_is_idempotent(self) -> None:
        owned = self.claim()
        owned.release()
        owned.release()
        self.assertFalse(self.folder.exists())

    def test_release_leaves_other_files(self) -> None:
        owned = self.claim()
        (self.folder / "notes").touch()
        owned.release()
        self.assertEqual(os.listdir(self.folder), ["notes"])

    def test_a_folder_others_may_enter_is_refused(self) -> None:
        self.folder.parent.mkdir(mode=0o755)
        self.assert_refused("no other user may enter")

    def test_a_link_is_refused(self) -> None:
        (self.base / "elsewhere").mkdir(mode=0o700)
        self.folder.parent.symlink_to(self.base / "elsewhere")
        self.assert_refused("must be a folder that belongs to user")

    def test_a_folder_of_another_user_is_refused(self) -> None:
        self.claim().release()
        error = self.assertRaises(
            ConfigurationError,
            RuntimeDirectory.claim,
            8000,
            {"XDG_RUNTIME_DIR": str(self.base / f"c10k-{os.getuid()}" / "..")},
            os.getuid() + 1,
        )
        self.assertIn("must be a folder that belongs to", str(error))

    def test_a_folder_that_cannot_be_made(self) -> None:
        self.base /= "missing"
        self.assert_refused("cannot make the runtime folder")

    def test_too_long_a_path(self) -> None:
        self.base /= "x" * 100
        self.assert_refused("too long for a Unix socket")
        self.assert_refused("107 bytes")

    def test_a_full_disk(self) -> None:
        def full(*arguments: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        write = self.patch(os, "pwrite", full)
        self.assert_refused("lock: No space left on device")
        write.restore()
        self.claim()  # the lock is free

    def test_searching_does_not_keep_a_cluster_from_starting(self) -> None:
        self.claim().release()
        path = self.folder
        path.mkdir(mode=0o700)
        looking = os.open(path / "lock", os.O_RDONLY | os.O_CREAT, 0o600)
        self.addCleanup(os.close, looking)
        fcntl.flock(looking, fcntl.LOCK_SH)
        # A search takes microseconds; this one lasts until the cluster has tried to lock.
        self.patch(runtime_directory.time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
        self.assertEqual(self.claim().path, str(path))

    def test_publish_sockets(self) -> None:
        owned = self.claim()
        for slot in (0, 12):
            Path(owned.publish_socket(slot, 7)).touch()
        self.assertEqual(
            set(publish_sockets(owned.path)), {owned.publish_socket(slot, 7) for slot in (0, 12)}
        )
