"""Tests of cluster.net.running_clusters."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

import cluster.net.running_clusters
from cluster.net.running_clusters import running_clusters
from cluster.net.runtime_directory import RuntimeDirectory


class RunningClustersTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.environ = {"XDG_RUNTIME_DIR": temporary.name}
        self.patch(cluster.net.running_clusters, "BASE_FOLDERS", (f"{temporary.name}/missing",))
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
        self.patch(cluster.net.running_clusters, "BASE_FOLDERS", folders)
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
        self.patch(cluster.net.running_clusters, "BASE_FOLDERS", folders)
        self.assertEqual(running_clusters(elsewhere, self.uid), {8001: other.path})
        other.release()
        self.assertEqual(list(running_clusters(elsewhere, self.uid)), [8000])

    def test_the_folder_of_a_killed_cluster_is_not_a_running_cluster(self) -> None:
        owned = self.claim(8000)
        Path(owned.publish_socket(0, 1)).touch()
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
