"""Ordinary HTTP: `python -m benchmarks.http`.

    python -m benchmarks.http                        three rounds of 5 s each: 20 min
    python -m benchmarks.http --only cluster --work static --rounds 1 --seconds 2

Every server runs the same Django site (benchmarks.competitors.http_site) in two processes:

* this project with two nodes,
* gunicorn with threads (gthread, 2 processes with 10 threads each),
* uvicorn with 2 processes, with Django's ASGI application,
* Daphne, which has one process only.

wrk loads the server with one kind of request after the other, over 16 connections: a static file of
2 KB and one of 1 MB, a small view, a page of 50 KB from a template, a small `async def` view, and,
over 4 connections, an upload of 10 MB. For each kind the command prints the CPU time of all
processes of the server for a request, the requests a second, and the 99th percentile of the
latency. Under gunicorn an `async def` view runs in its threads.

Then two kinds of requests are made all at once: of an `async def` view that sleeps for 2 s, and of
a stream, which sends its first piece at once and the last one 2 s later. The command prints the
time until the first bytes of a body, and until the last answer is complete.

wrk must be installed (Debian: apt-get install wrk).
"""

import argparse
import os
import re
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import command, environments, load, measurements, rounds
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, cluster
from workers.cli.argument_types import positive

SITE = "benchmarks.competitors.http_site"
APPLICATIONS = "benchmarks.competitors.http_applications"
PROCESSES = 2
THREADS = 10
CONNECTIONS = 16
UPLOADS = 4
"""Connections for uploads: a node holds a limited number of bytes of bodies."""

WARM_UP_S = 1
TIMEOUT_S = 60.0

UPLOAD_BYTES = 10_000_000
FILES = {"small.css": 2_000, "large.bin": 1 << 20}
"""Static files and their bytes."""

LOADS = {
    "static 2 KB": "/static/small.css",
    "static 1 MB": "/static/large.bin",
    "view": "/small/",
    "page 50 KB": "/page/",
    "async view": "/async/",
    "upload 10 MB": "/upload/",
}
"""Kind of request -> its path."""

AT_ONCE = {"sleeping views": "/sleeping/", "streams": "/stream/"}
"""Kind of simultaneous requests -> their path."""

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}

_POST = f"""wrk.method = "POST"
wrk.body = string.rep("x", {UPLOAD_BYTES})
wrk.headers["Content-Type"] = "application/octet-stream"
"""


def wrk(url: str, seconds: int, script: Path | None = None) -> tuple[int, float]:
    """Load a server; returns the number of answers, and the 99th percentile in seconds."""
    connections = UPLOADS if script else CONNECTIONS
    arguments = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "--timeout", "30"]
    if script is not None:
        arguments += ["-s", str(script)]
    run = subprocess.run([*arguments, url], capture_output=True, text=True, check=False)
    answers = re.search(r"(\d+) requests in", run.stdout)
    latency = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", run.stdout)
    wrong = re.search(r"Non-2xx or 3xx responses: [1-9]\d*|Socket errors: .*[1-9].*", run.stdout)
    if answers is None or latency is None or int(answers[1]) == 0 or wrong:
        raise Failed(f"wrk {url}: {wrong[0] if wrong else run.stdout + run.stderr}")
    return int(answers[1]), float(latency[1]) * _UNITS[latency[2]]


def script_for(kind: str, folder: Path) -> Path | None:
    """Write the script that wrk needs for a kind of request; None if it needs none."""
    if not kind.startswith("upload"):
        return None
    script = folder / "upload.lua"
    script.write_text(_POST)
    return script


def measure_load(server: Server, kind: str, seconds: int, folder: Path) -> Measurements:
    """Load a running server with one kind of request."""
    script = script_for(kind, folder)
    url = f"http://127.0.0.1:{server.port}{LOADS[kind]}"
    wrk(url, WARM_UP_S, script)
    before, start = server.cpu(), time.perf_counter()
    answers, latency = wrk(url, seconds, script)
    used, took = server.cpu() - before, time.perf_counter() - start
    return {
        f"{kind}: CPU µs": used / answers * 1e6,
        f"{kind}: requests/s": answers / took,
        f"{kind}: p99 ms": latency * 1000,
    }


def measure_at_once(server: Server, kind: str, count: int) -> Measurements:
    """Make all requests at once; returns the time to the first bytes of bodies, and to the end."""
    request = f"GET {AT_ONCE[kind]} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    answers: dict[int, bytes] = {}
    first: list[float] = []
    sockets = {}
    start = time.perf_counter()
    began: dict[int, float] = {}
    with select.epoll() as poll:
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S)
            began[sock.fileno()] = time.perf_counter()
            sock.send(request.encode())
            sockets[sock.fileno()] = sock
            answers[sock.fileno()] = b""
            poll.register(sock.fileno(), select.EPOLLIN)
        while sockets:
            events = poll.poll(TIMEOUT_S, load.EVENTS)
            if not events:
                raise Failed(f"{kind}: no answer for {TIMEOUT_S:.0f} s")
            for fd, _ in events:
                piece = sockets[fd].recv(load.RECEIVE)
                had_body = bool(answers[fd].partition(b"\r\n\r\n")[2])
                answers[fd] += piece
                if not had_body and answers[fd].partition(b"\r\n\r\n")[2]:
                    first.append(time.perf_counter() - began[fd])
                if not piece:
                    poll.unregister(fd)
                    sockets.pop(fd).close()
    took = time.perf_counter() - start
    wrong = [answer for answer in answers.values() if b" 200 OK\r\n" not in answer[:20]]
    if wrong:
        raise Failed(f"{kind}: {len(wrong)} of {count} were not answered 200: {wrong[0][:80]!r}")
    return {
        f"{count} {kind}: first piece p50 ms": measurements.percentile(sorted(first), 50) * 1000,
        f"{count} {kind}: s": took,
    }


def measure(candidate: Candidate, folder: Path, options: argparse.Namespace) -> Measurements:
    """Make one run: all kinds of requests that were chosen."""
    found: Measurements = {}
    with Server(candidate, folder) as server:
        for kind in LOADS:
            if options.work in kind:
                found |= measure_load(server, kind, options.seconds, folder)
        for kind in AT_ONCE:
            if options.work in kind:
                found |= measure_at_once(server, kind, options.at_once)
    if not found:
        raise Failed(f"--work {options.work}: not in {', '.join([*LOADS, *AT_ONCE])}")
    return found


def candidates(python: str, static: Path) -> list[Candidate]:
    """All servers, with the static files of a folder."""
    environment = {"HTTP_SITE_STATIC": str(static)}
    uvicorn = [python, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "0", "--no-access-log"]
    uvicorn += ["--backlog", "4096", "--workers", str(PROCESSES), f"{APPLICATIONS}:asgi"]
    gunicorn = [python, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class", "gthread"]
    gunicorn += ["--workers", str(PROCESSES), "--threads", str(THREADS), f"{APPLICATIONS}:wsgi"]
    daphne = [python, "-m", "daphne", "--bind", "127.0.0.1", "--port", "0", "--access-log"]
    daphne += [os.devnull, f"{APPLICATIONS}:asgi"]
    booted = r"(?s)\A(?=(?:.*?Booting worker){2})"
    started = r"(?s)\A(?=(?:.*?startup complete){2})"
    return [
        cluster(PROCESSES, "--settings", SITE, environment=environment),
        Candidate(
            "gunicorn gthread",
            gunicorn,
            rf"{booted}.*Listening at: http://[^:]+:(\d+)",
            environment=environment,
        ),
        Candidate(
            "uvicorn",
            uvicorn,
            rf"{started}.*running on http://[^:]+:(\d+)",
            environment=environment,
        ),
        Candidate(
            "Daphne", daphne, r"Listening on TCP address [^:]+:(\d+)", environment=environment
        ),
    ]


def parser() -> argparse.ArgumentParser:
    found = command.arguments("http", __doc__)
    add = found.add_argument
    add("--seconds", type=positive, default=5, metavar="S", help="for each kind of request (5)")
    add("--work", default="", metavar="TEXT", help="kinds of requests with this text in the name")
    add("--at-once", type=positive, default=500, metavar="N", help="sleeping views, streams (500)")
    environments.add_option(found)
    return found


def static_files(folder: Path) -> Path:
    """Write the static files, which compression would not make smaller."""
    folder.mkdir()
    for name, size in FILES.items():
        (folder / name).write_bytes(os.urandom(size))
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if shutil.which("wrk") is None:
        raise Failed("wrk is not installed; on Debian: apt-get install wrk")
    with command.scratch_folder() as folder:
        static = static_files(folder / "static")
        load.allow_descriptors(options.at_once)
        before = command.machine()
        python = environments.python_for("http", options.cache)
        versions = {"http": environments.versions("http", python)}
        results = rounds.measured(
            rounds.chosen(candidates(python, static), options.only),
            options.rounds,
            lambda candidate: measure(candidate, folder, options),
        )
    report = command.report(options, before, results, (), versions)
    if options.json:
        measurements.print_report(report, as_json=True)
    else:
        print(*tables(report["medians"]), sep="\n\n")
    return 0


def tables(medians: Mapping[str, Measurements]) -> list[str]:
    """Return a table for each unit: a row for each kind of request, a column for each server."""
    units: dict[str, dict[str, dict[str, float]]] = {}
    for server, found in medians.items():
        for name, value in found.items():
            kind, _, unit = name.partition(": ")
            units.setdefault(unit, {}).setdefault(kind, {})[server] = value
    return [measurements.table(rows, unit) for unit, rows in units.items()]


if __name__ == "__main__":
    command.run(main)
