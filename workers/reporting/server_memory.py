"""Memory of the server's processes, and of the kernel, before and after.

Linux only, from /proc. The kernel's figures are the whole machine's: where the swarm runs on the
server's machine they hold both ends of each connection.
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workers.connection.limits import PROC, listening

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes."""

    resident: int  # of the processes asked for; 0 if there are none, or one is gone
    slab: int  # the kernel's small objects that stay, sockets and descriptors among them
    tcp: int  # the kernel's buffers with data


def measure(pids: Iterable[int], proc: Path = PROC) -> Memory:
    sizes = [resident(pid, proc) for pid in pids]
    return Memory(
        sum(sizes) if all(sizes) else 0,
        _meminfo(proc, "SUnreclaim:"),
        _tcp_pages(proc) * _PAGE,
    )


def resident(pid: int, proc: Path = PROC) -> int:
    """A process's RSS in bytes; 0 if there is none."""
    try:
        return int((proc / str(pid) / "statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _meminfo(proc: Path, name: str) -> int:
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _tcp_pages(proc: Path) -> int:
    try:
        for line in (proc / "net/sockstat").read_text().splitlines():
            words = line.split()
            if words[0] == "TCP:":
                return int(words[words.index("mem") + 1])
    except (OSError, ValueError, IndexError):
        pass
    return 0


def listening_processes(ports: Iterable[int], proc: Path = PROC) -> list[int]:
    """Processes of this machine that hold a socket listening on one of `ports`, as far as we may
    see them: our own user's, or everybody's if we are root."""
    wanted = set(ports)
    links = {f"socket:[{inode}]" for port, inode in listening(proc) if port in wanted}
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            descriptors = list((entry / "fd").iterdir())
        except OSError:
            continue  # not ours, or gone
        if any(_link(fd) in links for fd in descriptors):
            found.append(int(entry.name))
    return sorted(found)


def _link(fd: Path) -> str:
    """What a descriptor is; nothing if it was closed meanwhile, as the one that listed ours."""
    try:
        return os.readlink(fd)
    except OSError:
        return ""


def is_here(address: str) -> bool:
    """Is this IP address one of this machine's?"""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
