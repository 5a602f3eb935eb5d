"""Tests of cluster.supervisor.restarting.code_changes, with files and a fake clock."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.restarting import code_changes
from cluster.supervisor.restarting.code_changes import CodeChanges
from tests.supervisor.test_child_processes import Recorder


class CodeChangesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        for name in ("site/urls.py", "site/data.json", ".git/x.py", "venv/pyvenv.cfg", "venv/y.py"):
            path = self.folder / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("before")
        self.site_packages = self.folder / "site_packages"
        self.site_packages.mkdir()
        self.clock = Clock()
        self.waiting = ["node0", "node1"]
        self.all_serve = False
        self.started: list[str] = []
        self.lines: list[str] = []
        self.changes = CodeChanges(
            str(self.folder / "project"),
            [str(self.site_packages), "/nowhere"],
            lambda: self.all_serve,
            lambda: self.waiting,
            self.started.append,
            self.clock,
        )
        self.changes.log = Recorder(self.lines)  # type: ignore[assignment]
        self.addCleanup(self.changes.stop)

    def write(self, name: str, text: str = "afterwards") -> None:
        path = self.folder / "project" / name
        path.write_text(text)
        os.utime(path, ns=(1, len(text)))

    def starts_after(self, change: Callable[[], object]) -> bool:
        self.changes.stop()
        self.changes.watch()
        self.clock.advance(1)
        change()
        self.started.clear()
        self.clock.pump([1, 1])
        return bool(self.started)

    def test_waiting_children_start_when_the_code_has_changed(self) -> None:
        self.assertTrue(self.starts_after(lambda: self.write("site/urls.py")))
        self.assertEqual(self.started, ["node0", "node1"])
        self.assertEqual(self.lines, ["the site's code has changed: starting node0, node1"])
        self.clock.pump([1] * 5)
        self.assertEqual(len(self.started), 2)

    def test_new_and_removed_files_are_changes(self) -> None:
        self.assertTrue(self.starts_after(lambda: self.write("site/new.py")))
        self.assertTrue(self.starts_after((self.folder / "project/site/new.py").unlink))
        self.assertTrue(self.starts_after((self.site_packages / "installed").mkdir))

    def test_other_files_are_no_code(self) -> None:
        for name in ("site/data.json", ".git/x.py", "venv/y.py"):
            self.assertFalse(self.starts_after(lambda: self.write(name)), name)  # noqa: B023

    def test_files_that_still_change_are_awaited(self) -> None:
        self.changes.watch()
        for number in range(5):
            self.write("site/urls.py", "x" * number)
            self.clock.advance(1)
        self.assertEqual(self.started, [])
        self.clock.advance(1)
        self.assertEqual(self.started, ["node0", "node1"])

    def test_a_change_while_a_child_starts_is_remembered(self) -> None:
        self.changes.watch()
        self.waiting = []
        self.write("site/urls.py")
        self.clock.pump([1] * 5)
        self.waiting = ["node0"]
        self.clock.advance(1)
        self.assertEqual(self.started, ["node0"])

    def test_nothing_is_looked_at_when_all_children_serve(self) -> None:
        self.changes.watch()
        self.all_serve = True
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.changes.watch()
        self.changes.watch()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_large_folders_are_looked_at_in_part(self) -> None:
        self.patch(code_changes, "MAX_FILES", 0)
        self.changes.watch()
        self.assertLessEqual(len(self.changes._before), 3)

    def test_folders_without_code_count_too(self) -> None:
        """A folder with a hundred thousand uploads must not block the supervisor."""
        for number in range(30):
            (self.folder / f"project/uploads{number}").mkdir()
        visited: list[str] = []
        scandir = os.scandir

        def recording(path: str) -> Any:
            visited.append(path)
            return scandir(path)

        self.patch(code_changes.os, "scandir", recording)
        self.patch(code_changes, "MAX_ENTRIES", 5)
        self.changes.watch()
        self.assertEqual(len(visited), 1)

    def test_a_huge_folder_is_not_listed_whole_and_hides_no_other(self) -> None:
        uploads = self.folder / "project/site/a"
        uploads.mkdir()
        for number in range(300):
            (uploads / f"{number}.jpg").touch()
        listed: list[str] = []
        scandir = os.scandir

        @contextmanager
        def recording(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
            with scandir(path) as entries:
                yield (listed.append(entry.path) or entry for entry in entries)

        self.patch(code_changes.os, "scandir", recording)
        self.patch(code_changes, "MAX_IN_FOLDER", 100)
        for name in ("site/b", "site/0"):
            (self.folder / "project" / name).mkdir()
            self.assertTrue(self.starts_after(lambda: self.write(f"{name}/new.py")))  # noqa: B023
        self.assertEqual(len({path for path in listed if path.startswith(f"{uploads}/")}), 100)
