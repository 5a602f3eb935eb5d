"""Removes namespaces, processes and folders when the program that made them has ended.

    python -m workers.drill.machines.cleaner

It reads what to remove from its standard input, one thing a line, and removes all of it at the end
of the input. The kernel closes that pipe also when the program is killed, so nothing is left after
a crash. It runs in a session of its own: Ctrl-C in a terminal does not reach it.

    process PID     kill it with SIGKILL
    link NAME       delete this network interface of the host
    netns NAME      kill all processes in this network namespace, then delete it
    folder PATH     remove it with everything in it
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

END_SECONDS = 10.0
"""For the processes of a namespace to end after SIGKILL. A process in the kernel ends later."""

NAMESPACES = Path("/run/netns")


class Cleaner:
    """The other end of the pipe: starts the process above. Call `close` to have all removed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workers.drill.machines.cleaner"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The process that removes everything."""
        return self._process.pid

    def add(self, kind: str, what: object) -> None:
        """Remove something in the end. kind: "process", "link", "netns" or "folder"."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {what}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Remove everything; returns when that is done."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def processes_in(namespace: str) -> list[int]:
    """Return the processes in a network namespace."""
    try:
        wanted = (NAMESPACES / namespace).stat()
    except OSError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError):  # it has ended
            own = os.stat(f"/proc/{entry}/ns/net")
            if (own.st_ino, own.st_dev) == (wanted.st_ino, wanted.st_dev):
                found.append(int(entry))
    return found


def kill_all_in(namespace: str) -> None:
    """Kill all processes in a namespace, also those that they start meanwhile."""
    deadline = monotonic() + END_SECONDS
    while (pids := processes_in(namespace)) and monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        sleep(0.02)


def remove(lines: Iterable[str]) -> None:
    """Read what to remove up to the end, then remove it."""
    processes: list[int] = []  # descriptors: the number may belong to another process by then
    links: list[str] = []
    namespaces: list[str] = []
    folders: list[str] = []
    for line in lines:
        kind, _, what = line.rstrip("\n").partition(" ")
        if kind == "process":
            with suppress(ProcessLookupError):
                processes.append(os.pidfd_open(int(what)))
        elif kind == "link":
            links.append(what)
        elif kind == "netns":
            namespaces.append(what)
        elif kind == "folder":
            folders.append(what)
    for descriptor in processes:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
    for name in namespaces:
        kill_all_in(name)
    for link in links:  # a namespace ends some time after `delete`, and its links only then
        subprocess.run(["ip", "link", "delete", link], stderr=subprocess.DEVNULL, check=False)
    for name in namespaces:
        subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    remove(sys.stdin)
