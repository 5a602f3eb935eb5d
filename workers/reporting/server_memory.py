"""The memory of the server's processes and of the kernel, from /proc (Linux only).

The kernel's values are those of the whole machine: if the swarm runs on the server's machine, they
include both ends of each connection.
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workers.connection.listening_sockets import PROC, listening

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Memory:
    """Sizes in bytes."""

    resident: int  # RSS of the given processes; 0 if one of them cannot be read
    slab: int  # the kernel's unreclaimable slab, which includes sockets and descriptors
    tcp: int  # the kernel's TCP buffers


def measure(pids: Iterable[int], proc: Path = PROC) -> Memory:
    sizes = [resident(pid, proc) for pid in pids]
    return Memory(
        sum(sizes) if all(sizes) else 0,
        _meminfo(proc, "SUnreclaim:"),
        _tcp_pages(proc) * _PAGE,
    )


def resident(pid: int, proc: Path = PROC) -> int:
    """The RSS of a process in bytes; 0 if there is no such process."""
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
    """The processes of this machine that have a socket listening on one of the ports.

    Without root privileges these are only the processes of this user.
    """
    wanted = set(ports)
    links = {f"socket:[{inode}]" for port, inode in listening(proc) if port in wanted}
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            descriptors = list((entry / "fd").iterdir())
        except OSError:
            continue  # the process belongs to another user, or has ended
        if any(_link(fd) in links for fd in descriptors):
            found.append(int(entry.name))
    return sorted(found)


def _link(fd: Path) -> str:
    """The target of a descriptor; empty if it was closed meanwhile."""
    try:
        return os.readlink(fd)
    except OSError:
        return ""


def is_here(address: str) -> bool:
    """Whether this IP address belongs to this machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
