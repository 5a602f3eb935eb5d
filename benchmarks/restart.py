"""A rolling restart under load, which must lose nothing: `python -m benchmarks.restart`.

    python -m benchmarks.restart                     4 nodes, 1,000 held WebSockets, three restarts
    python -m benchmarks.restart --nginx             the same behind nginx
    python -m benchmarks.restart --wrk               and wrk requests the view as fast as it can
    python -m benchmarks.restart --holders 100 --restarts 1 --spread 2

While `c10k restart` replaces the nodes of the demo site one after the other,

- some clients connect, have a message echoed, and close, repeatedly;
- WebSockets stay open, and connect again when they are closed with 1012;
- HTTP connections request a view repeatedly, without a pause, and with --wrk also 16 of wrk;
- a room of the chat, which has history, receives ten messages a second from a member. Its members
  connect again like the other clients, and must have received all of them in the end.

A refused or reset connection, another status than 200, another close code than 1012 and a missing
message are failures. The command prints them, and exits with 1 if there is one.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import command, load
from benchmarks.restart_load import Load, Observed
from benchmarks.servers import ROOT, Failed, Server, cluster
from workers.cli.argument_types import positive

SETTLE_S = 1.0
"""Seconds of load before and after each restart."""

START_WITHIN_S = 10.0

NGINX = """
worker_processes 1;
worker_rlimit_nofile 20000;
error_log {folder}/nginx-error.log;
pid {folder}/nginx.pid;
daemon off;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream c10k {{ server 127.0.0.1:{upstream}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://c10k;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto http;
            proxy_read_timeout 60s;
        }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[int]:
    """Run nginx in front of a port; yields nginx's own port."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise Failed("nginx is not installed (apt-get install nginx)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(configuration)])
    try:
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Failed("nginx did not start") from None
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def restart(folder: Path) -> str:
    """Run `c10k restart`; returns its summary."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from cluster.cli.console.main import main;"
         "sys.exit(main(['restart']))"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Failed(f"the restart failed: {done.stderr.strip()}")
    return done.stdout.strip()


async def one_round(port: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Restart once under load; returns what was observed."""
    clients = Load(
        port,
        options.connectors,
        options.holders,
        options.requesters,
        options.subscribers,
        with_wrk=options.wrk,
    )
    await clients.start()
    await asyncio.sleep(SETTLE_S)
    summary = await asyncio.to_thread(restart, folder)
    await asyncio.sleep(SETTLE_S)
    return {"restart": summary, **report(await clients.stop())}


def report(observed: Observed) -> dict[str, Any]:
    """Return what a round has observed, for --json."""
    said = set(observed.said)
    missing = sum(len(said - seen) for seen in observed.seen)
    times = sorted(observed.closed_at)
    seconds = [int(each - times[0]) for each in times] if times else []
    failures = list(observed.failures)
    if missing:
        failures.append(f"chat: {missing} messages were not received by somebody")
    return {
        "counts": dict(sorted(observed.counts.items())),
        "chat messages": len(said),
        "chat messages missed": missing,
        "most held WebSockets closed in one second": max(map(seconds.count, seconds), default=0),
        "failures": len(failures),
        "first failures": failures[:10],
    }


def parser() -> argparse.ArgumentParser:
    found = command.parser("restart", __doc__)
    add = found.add_argument
    add("--nodes", type=positive, default=4, metavar="N", help="of the cluster (4)")
    add("--restarts", type=positive, default=3, metavar="N", help="one after the other (3)")
    add("--spread", type=float, default=10.0, metavar="S", help="of --restart-spread, in s (10)")
    add("--connectors", type=int, default=40, metavar="N", help="looping connections (40)")
    add("--holders", type=int, default=1000, metavar="N", help="held WebSockets (1000)")
    add("--requesters", type=int, default=8, metavar="N", help="looping HTTP connections (8)")
    add("--subscribers", type=int, default=20, metavar="N", help="members of the chat (20)")
    add("--nginx", action="store_true", help="behind nginx")
    add("--wrk", action="store_true", help="and wrk on the view, with 16 connections")
    add("--json", action="store_true", help="print one JSON object")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    load.allow_descriptors(options.holders + options.connectors + 200)
    candidate = cluster(
        options.nodes, "--admin", "tcp:0", "--restart-spread", str(options.spread),
        "--proxy-headers", "127.0.0.1" if options.nginx else "192.0.2.1",
    )  # fmt: skip
    rounds = []
    with command.scratch_folder() as folder, Server(candidate, folder) as server:
        for _ in range(options.restarts):
            if options.nginx:
                with nginx(folder, server.port) as port:
                    rounds.append(asyncio.run(one_round(port, folder, options)))
            else:
                rounds.append(asyncio.run(one_round(server.port, folder, options)))
            if not options.json:
                show(rounds[-1])
        trouble = "Traceback" in server.output()
        if trouble:
            print(server.output()[-4000:], file=sys.stderr)
    if options.json:
        chosen = {key: value for key, value in vars(options).items() if key != "json"}
        print(json.dumps({"options": chosen, "machine": command.machine(), "rounds": rounds}))
    return 1 if trouble or any(each["failures"] for each in rounds) else 0


def show(observed: dict[str, Any]) -> None:
    """Print what one round has observed."""
    print(observed["restart"])
    for name, count in observed["counts"].items():
        print(f"  {count:>8,}  {name}")
    for name in ("chat messages", "chat messages missed", "failures"):
        print(f"  {observed[name]:>8,}  {name}")
    for failure in observed["first failures"]:
        print(f"            {failure}")


if __name__ == "__main__":
    command.run(main)
