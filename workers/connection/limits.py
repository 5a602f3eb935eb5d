"""The limits of this machine, and whether they are enough, before the first connection.

`check` returns findings in the user's words, each with the option or the sysctl to change. After a
fatal finding not all connections can be made; the others cost time.
"""

import resource
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.connection.ramp import UNDER_WAY
from workers.connection.source_address import port_range
from workers.connection.target import Target

CLIENTS_A_PROCESS = 4096  # see docs/topics/swarm.md
SPARED_DESCRIPTORS = 64  # for files that are not connections: log, epoll, pipes

PROC = Path("/proc")
_LISTENING = "0A"  # the state of a listening socket in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Finding:
    text: str
    fatal: bool


def descriptors() -> int:
    """Raise this process's limit on open files as far as allowed; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def processes_for(clients: int, cores: int) -> int:
    """How many processes are worth their cost: they take half of the cores at most.

    The server needs the other cores; docs/topics/swarm.md has measurements.
    """
    return max(1, min(cores // 2, -(-clients // CLIENTS_A_PROCESS)))


def processes_needed(connections: int, allowed: int) -> int:
    """How many processes are necessary if each may open `allowed` files."""
    return -(-connections // max(1, allowed - SPARED_DESCRIPTORS))


def listening(proc: Path = PROC) -> Iterator[tuple[int, str]]:
    """(port, inode) of each listening TCP socket of this machine."""
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (proc / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == _LISTENING:
                yield int(words[1].rpartition(":")[2], 16), words[9]


def accept_queue(targets: Sequence[Target], proc: Path = PROC) -> int | None:
    """How many connections can wait until servers on this machine accept them, at most.

    None if it is unknown: a server is not on this machine's loopback, or there is no /proc.
    """
    if not all(target.on_loopback for target in targets):
        return None
    try:
        longest = int((proc / "sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return None
    ports = {target.port for target in targets}
    return longest * max(1, sum(port in ports for port, _ in listening(proc)))


def check(
    connections: int,
    processes: int,
    targets: Sequence[Target],
    at_once: int = UNDER_WAY,
    *,
    allowed: int,
    ports: tuple[int, int] | None = None,
    queue: int | None = None,
) -> list[Finding]:
    """The limits that are too low for so many connections.

    at_once: handshakes under way at the same time, in each process.
    allowed: open files, in each process.
    ports: the first and the last port for outgoing connections; default: the system's.
    queue: how many connections can wait until the server accepts them; None: unknown.
    """
    findings = []
    each = -(-connections // processes) + SPARED_DESCRIPTORS
    if each > allowed:
        findings.append(
            Finding(
                f"{connections:,} connections in {processes} process"
                f"{'es' if processes > 1 else ''} need {each:,} open files each, {allowed:,} are "
                f"allowed: use --processes {processes_needed(connections, allowed)}, or raise the "
                "limit (ulimit -Hn)",
                fatal=True,
            )
        )
    first, last = ports or port_range()
    count = last - first + 1
    for (address, port), times in Counter(
        (target.address, target.port) for target in targets if not _has_addresses(target)
    ).items():
        towards = -(-connections * times // len(targets))
        if towards > count:
            findings.append(
                Finding(
                    f"{towards:,} connections to {address} port {port} need as many ports of this "
                    f"machine, which has {count:,} from {first} on: give further addresses of the "
                    "server with --url, or widen the range: sysctl -w "
                    "net.ipv4.ip_local_port_range='1024 65535'",
                    fatal=True,
                )
            )
    waiting = min(at_once * processes, connections)
    if queue is not None and queue < waiting:
        findings.append(
            Finding(
                f"up to {waiting:,} connections are opened at once, of which {queue:,} can wait at "
                "the listening sockets; the others wait a second or more: sysctl -w "
                "net.core.somaxconn=16384 and restart the server, or give it more --nodes",
                fatal=False,
            )
        )
    return findings


def _has_addresses(target: Target) -> bool:
    """Whether there are enough addresses to connect from, as on IPv4's loopback."""
    return target.on_loopback and "." in target.address
