"""Tests of cluster.node.responses.open_files."""

import os
from pathlib import Path

from twisted.trial.unittest import TestCase

from cluster.node.responses.open_files import OpenFile, OpenFiles


def fits(descriptor: int) -> bool:
    return True


class OpenFilesTests(TestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.paths = [str(folder / name) for name in "abc"]
        for path in self.paths:
            Path(path).write_text(path)
        self.files = OpenFiles(2)
        self.addCleanup(self.files.close)

    def open(self, index: int) -> OpenFile:
        return self.files.open(self.paths[index], fits)

    def test_a_file_is_opened_once(self) -> None:
        first, second = self.open(0), self.open(0)
        self.assertIs(first, second)
        content = self.paths[0].encode()
        self.assertEqual(os.pread(first.fileno(), 1000, 0), content)
        first.close()
        second.close()
        self.assertFalse(first.closed)
        self.files.close()
        self.assertTrue(first.closed)

    def test_the_file_that_was_asked_for_last_stays_open(self) -> None:
        files = [self.open(index) for index in (0, 1, 0, 2)]
        for file in files:
            file.close()
        self.assertEqual([file.closed for file in files], [False, True, False, False])

    def test_a_file_in_use_is_closed_by_its_last_user(self) -> None:
        first = self.open(0)
        again = self.open(0)
        for index in (1, 2):
            self.open(index).close()
        first.close()
        self.assertFalse(first.closed)
        self.assertEqual(os.pread(again.fileno(), 1, 0), self.paths[0][:1].encode())
        again.close()
        self.assertTrue(again.closed)
        self.assertIsNot(self.open(0), first)

    def test_without_room_a_file_does_not_stay_open(self) -> None:
        file = self.files.open(self.paths[0], lambda descriptor: False)
        file.close()
        self.assertTrue(file.closed)

    def test_a_missing_file(self) -> None:
        with self.assertRaises(FileNotFoundError):
            self.files.open(self.paths[0] + "x", fits)
        self.files.close()
