"""Checks, before the first connection, whether the limits of this machine are sufficient.

`check` returns findings for the user, each with the option or the sysctl to change. A fatal finding
means that some connections cannot be made; other findings mean that the run takes longer.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from workers.connection.ramp_up import UNDER_WAY
from workers.connection.source_address import port_range
from workers.connection.target import Target
from workers.processes.process_count import SPARED_DESCRIPTORS, necessary_processes
from workers.reporting.summary import plural


@dataclass(frozen=True, slots=True)
class Finding:
    text: str
    fatal: bool


def check(
    connections: int,
    processes: int,
    targets: Sequence[Target],
    at_once: int = UNDER_WAY,
    *,
    open_files: int,
    ports: tuple[int, int] | None = None,
    queue: int | None = None,
) -> list[Finding]:
    """Return the limits that are too low for this number of connections.

    at_once: handshakes under way at the same time, in each process.
    open_files: the limit on open files, in each process.
    ports: the first and the last port for outgoing connections; default: the system's.
    queue: how many connections can wait until the server accepts them; None: unknown.
    """
    findings = []
    each = -(-connections // processes) + SPARED_DESCRIPTORS
    if each > open_files:
        findings.append(
            Finding(
                f"{connections:,} connections in {plural(processes, 'process', 'processes')} need "
                f"{each:,} open files each, {open_files:,} are allowed: use --processes "
                f"{necessary_processes(connections, open_files)}, or raise the limit (ulimit -Hn)",
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
    """Whether the source addresses are unlimited, as on IPv4's loopback."""
    return target.on_loopback and "." in target.address
