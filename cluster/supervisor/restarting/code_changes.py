"""Notices that the site's code has changed, while a child waits for its next start.

A site whose code cannot be loaded is started again after ever longer delays. When its author has
corrected the file, or installed a missing library, the next attempt should come at once. So while a
child waits, the files of the site are looked at every second. When they have changed, and then not
for a second, because a deploy may be writing them, the waiting children start.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

INTERVAL_S = 1.0

SUFFIXES = (".py", ".env", ".toml", ".ini", ".cfg", ".yml", ".yaml")
"""Files that have code or settings. Others, such as JSON and templates, may change at any time."""

SKIPPED = ("__pycache__", "node_modules", "site-packages", "static", "media")
"""Folders without code of the site, besides those whose name begins with a dot."""

MAX_FILES = 5000
"""Files with code that are looked at, at most: the supervisor does nothing else meanwhile."""

MAX_ENTRIES = 10_000
"""Files and folders that are found, at most, such as the uploads of a site."""

MAX_IN_FOLDER = 1000
"""Files and folders in one folder, of which the first are found. No folder has so much code, and
one with uploads must not hide the others."""

FOLDER_ENTRIES = 10
"""Entries for which a folder counts, because to open it takes longer than to read an entry."""

Snapshot = dict[str, tuple[int, int]]
"""The time of change in nanoseconds, and the size, of each file."""


class CodeChanges:
    """Call ``watch`` when a child has ended, and ``stop`` at the end.

    Args:
        folder: The folder of the site; empty to watch only ``search_path``.
        search_path: Folders of modules: only their own time of change is looked at, which changes
            when a library is installed.
        is_over: Returns whether all children serve. Until then the files are looked at, also while
            a child starts, because it may have read them before they changed.
        waiting: Returns the names of the children that wait for their next start.
        start_now: Starts such a child.
        clock: The clock of the reactor.
    """

    log = Logger()

    def __init__(
        self,
        folder: str,
        search_path: Sequence[str],
        is_over: Callable[[], bool],
        waiting: Callable[[], list[str]],
        start_now: Callable[[str], None],
        clock: Any,
    ) -> None:
        self._folder = folder
        self._search_path = search_path
        self._is_over = is_over
        self._waiting = waiting
        self._start_now = start_now
        self._before: Snapshot = {}
        self._changed = False
        self._polls = LoopingCall(self._poll)
        self._polls.clock = clock

    def watch(self) -> None:
        """Look at the files until all children serve."""
        if not self._polls.running:
            self._before = self._look()
            self._changed = False
            self._polls.start(INTERVAL_S, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Look no more. Does nothing if it does not watch."""
        if self._polls.running:
            self._polls.stop()

    def _poll(self) -> None:
        if self._is_over():
            self._polls.stop()
            return
        now, waiting = self._look(), self._waiting()
        if now != self._before:
            self._before, self._changed = now, True
        elif self._changed and waiting:
            self._changed = False
            self.log.info("the site's code has changed: starting {names}", names=", ".join(waiting))
            for name in waiting:
                self._start_now(name)

    def _look(self) -> Snapshot:
        found: Snapshot = {}
        for path in self._search_path:
            _add(found, path)
        folders = deque([self._folder] if self._folder else ())
        left = MAX_ENTRIES
        while folders and left > 0 and len(found) <= MAX_FILES:
            left -= _look_into(folders.popleft(), folders, found)
        return found

    def _broken(self, failure: Failure) -> None:
        self.log.failure("cannot notice changes of the site's code", failure)


def _has_code(folder: str, name: str) -> bool:
    is_environment = os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
    return not (name.startswith(".") or name in SKIPPED or is_environment)


def _look_into(folder: str, folders: "deque[str]", found: Snapshot) -> int:
    """Add a folder's files to ``found``, its folders to ``folders``; returns the entries seen."""
    entries = FOLDER_ENTRIES
    try:
        with os.scandir(folder) as listing:
            for entry in islice(listing, MAX_IN_FOLDER):
                entries += 1
                if entry.is_dir(follow_symlinks=False):
                    if _has_code(folder, entry.name):
                        folders.append(entry.path)
                elif entry.name.endswith(SUFFIXES):
                    _add(found, entry.path)
    except OSError:  # gone, or not readable
        pass
    return entries


def _add(found: Snapshot, path: str) -> None:
    try:
        status = os.stat(path)
    except OSError:
        return
    found[path] = status.st_mtime_ns, status.st_size
