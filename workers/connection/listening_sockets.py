"""The listening sockets of this machine, from /proc (Linux only), and their queues."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from workers.connection.target import Target

PROC = Path("/proc")
_LISTENING = "0A"  # the state of a listening socket in /proc/net/tcp


def listening(proc: Path = PROC) -> Iterator[tuple[int, str]]:
    """Return the (port, inode) of each listening TCP socket of this machine."""
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
    """Return how many connections can wait until servers on this machine accept them.

    None if that is unknown: a server is not on this machine's loopback, or there is no /proc.
    """
    if not all(target.on_loopback for target in targets):
        return None
    try:
        longest = int((proc / "sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return None
    ports = {target.port for target in targets}
    return longest * max(1, sum(port in ports for port, _ in listening(proc)))
