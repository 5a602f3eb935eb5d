"""The latency of WebSockets while their node serves HTTP: `python -m benchmarks.http_echo`.

    python -m benchmarks.http_echo                   three rounds of 5 s for each kind: 2 min
    python -m benchmarks.http_echo --work static --rounds 1

One node serves the site of benchmarks.http and an echo. Some WebSockets send messages in turn, 500
per second together, first without other load, then while wrk loads the node with one kind of
request after the other. A message is sent when it is due, and its latency is measured from then.
The load takes all of a core, and wrk another one.

wrk must be installed (Debian: apt-get install wrk).
"""

import argparse
import select
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import command, load, measurements, rounds
from benchmarks.http import LOADS, script_for, static_files, tables, wrk
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, cluster
from benchmarks.slow_views import PATH, SOCKETS, Echoes
from workers.cli.argument_types import positive

QUIET_S = 3.0


def measure(candidate: Candidate, folder: Path, options: argparse.Namespace) -> Measurements:
    """Make one run: the echoes alone, then beside each kind of request."""
    found: Measurements = {}
    with (
        Server(candidate, folder) as server,
        select.epoll() as poll,
        ThreadPoolExecutor(1) as loads,
    ):
        sockets = load.connect(server.port, PATH, SOCKETS)
        try:
            echoes = Echoes(sockets, poll)
            end = time.perf_counter() + QUIET_S
            quiet = echoes.until(lambda: time.perf_counter() > end)
            found["alone: p99 ms"] = measurements.percentile(quiet, 99) * 1000
            for kind, path in LOADS.items():
                if options.work in kind:
                    url = f"http://127.0.0.1:{server.port}{path}"
                    running = loads.submit(wrk, url, options.seconds, script_for(kind, folder))
                    meanwhile = echoes.until(running.done)
                    answers, _ = running.result()
                    found |= {
                        f"{kind}: p99 ms": measurements.percentile(meanwhile, 99) * 1000,
                        f"{kind}: max ms": meanwhile[-1] * 1000,
                        f"{kind}: requests/s": answers / options.seconds,
                    }
        finally:
            load.close(sockets)
    return found


def parser() -> argparse.ArgumentParser:
    found = command.arguments("http_echo", __doc__)
    add = found.add_argument
    add("--seconds", type=positive, default=5, metavar="S", help="for each kind of request (5)")
    add("--work", default="", metavar="TEXT", help="kinds of requests with this text in the name")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if shutil.which("wrk") is None:
        raise Failed("wrk is not installed; on Debian: apt-get install wrk")
    with command.scratch_folder() as folder:
        environment = {"HTTP_SITE_STATIC": str(static_files(folder / "static"))}
        site = ("--settings", "benchmarks.http_echo_site")
        before = command.machine()
        results = rounds.measured(
            [cluster(1, *site, environment=environment)],
            options.rounds,
            lambda candidate: measure(candidate, folder, options),
        )
    report = command.report(options, before, results, (), {})
    if options.json:
        measurements.print_report(report, as_json=True)
    else:
        print(*tables(report["medians"]), sep="\n\n")
    return 0


if __name__ == "__main__":
    command.run(main)
