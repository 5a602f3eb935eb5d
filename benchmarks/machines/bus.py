"""Redis servers, and clusters that stand for machines: all on this host, with ports of their own.

The clusters share a state folder, as the machines of a site use the same database and secret key.
"""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.servers import ROOT, Candidate, Failed, Server, cluster

JOIN_WITHIN = 30.0  # seconds
SETTLE_S = 1.0  # from the start of the last machine to the measurement


def machine(name: str, nodes: int, bus: str, folder: Path) -> Candidate:
    """Return a cluster that is one machine of a site on `bus`."""
    return cluster(
        nodes,
        *("--bus", bus, "--machine", name),
        name=f"cluster {name}",
        environment={"C10K_STATE_DIR": str(folder / "state")},
    )


@contextmanager
def machines(count: int, nodes: int, bus: str, folder: Path) -> Iterator[list[Server]]:
    """Start machines with `nodes` nodes each, which have joined each other."""
    with ExitStack() as stack:
        found = [
            stack.enter_context(Server(machine(chr(65 + n), nodes, bus, folder), folder))
            for n in range(count)
        ]
        for server in found:
            wait_joined(server)
        time.sleep(SETTLE_S)
        yield found


def wait_joined(server: Server) -> None:
    """Wait until a machine is connected with the others; raises Failed."""
    deadline = time.monotonic() + JOIN_WITHIN
    answer = ""
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{server.admin_url}readyz", timeout=5) as response:
                answer = response.read().decode()
        except OSError as error:
            answer = str(error)
        if answer.startswith("ready"):
            return
        time.sleep(0.1)
    raise Failed(f"a machine did not join: {answer.strip()}\n{server.output()[-2000:]}")


def url_of(server: Server) -> str:
    """Return the URL of a Redis that `benchmarks.broadcast.redis` has started."""
    return f"redis://127.0.0.1:{server.port}"


@contextmanager
def delayed(server: Server, milliseconds: float) -> Iterator[str]:
    """Give the URL of a Redis that answers so much later."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = str(free.getsockname()[1])
    command: Sequence[str] = [
        *(sys.executable, "-m", "workers.drill.machines.delay"),
        *("127.0.0.1", listen, "127.0.0.1", str(server.port)),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as proxy:
        assert proxy.stdin is not None and proxy.stdout is not None
        try:
            if proxy.stdout.readline() != "ready\n":
                raise Failed("the proxy in front of Redis does not start")
            print(milliseconds / 2, file=proxy.stdin, flush=True)  # of each direction
            yield f"redis://127.0.0.1:{listen}"
        finally:
            proxy.stdin.close()
