"""Tests of cluster.net.runtime_directory."""

import fcntl
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net import runtime_directory
from cluster.net.runtime_directory import RuntimeDirectory, publish_sockets, running_clusters


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
        self.assertEqual(owned.publish_socket(3), f"{self.folder}/publish-3.sock")

    def test_one_owner_at_a_time(self) -> None:
        owned = self.claim()
        self.assert_refused(f"another cluster of yours uses port 8000 (process {os.getpid()}")
        owned.release()
        self.claim()

    def test_one_folder_for_each_port(self) -> None:
        self.claim(8000)
        self.claim(8001)

    def test_stale_files_are_removed(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True)
        self.folder.parent.chmod(0o700)
        for name in ("control.sock", "broker.ipc", "publish-0.sock", "publish-17.sock"):
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


class RunningClustersTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.environ = {"XDG_RUNTIME_DIR": temporary.name}
        self.patch(runtime_directory, "BASE_FOLDERS", (f"{temporary.name}/missing",))
        self.uid = os.getuid()

    def claim(self, port: int) -> RuntimeDirectory:
        owned = RuntimeDirectory.claim(port, self.environ, self.uid)
        self.addCleanup(owned.release)
        return owned

    def test_found_by_port_while_they_run(self) -> None:
        first, second = self.claim(8001), self.claim(8000)
        running = running_clusters(self.environ, self.uid)
        self.assertEqual(list(running.items()), [(8000, second.path), (8001, first.path)])
        second.release()
        self.assertEqual(running_clusters(self.environ, self.uid), {8001: first.path})

    def test_found_where_a_service_has_its_folder(self) -> None:
        """The service has no XDG_RUNTIME_DIR; the process that looks for it has one."""
        owned = self.claim(8000)
        folders = (f"{self.base}/missing/{{uid}}", str(self.base))
        self.patch(runtime_directory, "BASE_FOLDERS", folders)
        session = {"XDG_RUNTIME_DIR": f"{self.base}/missing/{self.uid}"}
        for environ in ({}, session):
            self.assertEqual(running_clusters(environ, self.uid), {8000: owned.path})
        chosen = {"XDG_RUNTIME_DIR": f"{self.base}/elsewhere"}
        self.assertEqual(running_clusters(chosen, self.uid), {})

    def test_the_first_folder_with_a_running_cluster_counts(self) -> None:
        self.claim(8000)
        elsewhere = {"XDG_RUNTIME_DIR": str(self.base / "elsewhere")}
        os.mkdir(elsewhere["XDG_RUNTIME_DIR"])
        other = RuntimeDirectory.claim(8001, elsewhere, self.uid)
        self.addCleanup(other.release)
        folders = (elsewhere["XDG_RUNTIME_DIR"], str(self.base))
        self.patch(runtime_directory, "BASE_FOLDERS", folders)
        self.assertEqual(running_clusters(elsewhere, self.uid), {8001: other.path})
        other.release()
        self.assertEqual(list(running_clusters(elsewhere, self.uid)), [8000])

    def test_the_folder_of_a_killed_cluster_is_not_a_running_cluster(self) -> None:
        owned = self.claim(8000)
        Path(owned.publish_socket(0)).touch()
        lock = Path(owned.path, "lock").read_text()
        owned.release()
        Path(owned.path).mkdir(mode=0o700)
        Path(owned.path, "lock").write_text(lock)
        self.assertNotIn(8000, running_clusters(self.environ, self.uid))

    def test_a_folder_that_others_may_enter_is_ignored(self) -> None:
        owned = self.claim(8000)
        for folder in (Path(owned.path), Path(owned.path).parent):
            folder.chmod(0o755)
            self.assertNotIn(8000, running_clusters(self.environ, self.uid))
            folder.chmod(0o700)
        self.assertIn(8000, running_clusters(self.environ, self.uid))
        self.assertNotIn(owned.path, running_clusters(self.environ, self.uid + 1).values())

    def test_other_files_are_ignored(self) -> None:
        self.claim(8000)
        parent = self.base / f"c10k-{self.uid}"
        (parent / "notes").mkdir(mode=0o700)
        (parent / "9000").touch(0o600)
        self.assertEqual(list(running_clusters(self.environ, self.uid)), [8000])

    def test_searching_does_not_keep_a_cluster_from_starting(self) -> None:
        self.claim(8000).release()
        path = self.base / f"c10k-{self.uid}" / "8000"
        path.mkdir(mode=0o700)
        looking = os.open(path / "lock", os.O_RDONLY | os.O_CREAT, 0o600)
        self.addCleanup(os.close, looking)
        fcntl.flock(looking, fcntl.LOCK_SH)
        # A search takes microseconds; this one lasts until the cluster has tried to lock.
        self.patch(runtime_directory.time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
        self.assertEqual(self.claim(8000).path, str(path))

    def test_publish_sockets(self) -> None:
        owned = self.claim(8000)
        for slot in (0, 12):
            Path(owned.publish_socket(slot)).touch()
        self.assertEqual(
            set(publish_sockets(owned.path)), {owned.publish_socket(0), owned.publish_socket(12)}
        )
