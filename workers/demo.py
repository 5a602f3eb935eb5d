"""`make demo`: starts a cluster and plays the Game of Life on it.

`twistd c10k` and `swarm life` run as two programs, in separate process groups, so that Ctrl-C
signals only this program. It ends the swarm before the cluster; otherwise the swarm would report
lost connections.

Exit status: 0 if all steps were verified, or if Ctrl-C ended a game without a number of steps; 1 if
the cluster or the swarm failed; otherwise 128 + the number of the signal that ended the demo.
"""

import argparse
import asyncio
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import sysconfig
import webbrowser
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

ENDLESS_RATE = 4.0  # steps a second: a person can follow a glider
COUNTED_RATE = 10.0  # with a number of steps, a person waits for the end

START_SECONDS = 60.0  # a cold start takes about 2 s, more on a busy machine
SWARM_END_SECONDS = 5.0
DRAIN_SECONDS = 3  # short, because there are no uploads to wait for
CLUSTER_END_SECONDS = DRAIN_SECONDS + 7.0
DEATH_SECONDS = 2.0  # from the loss of the swarm's connections to the end of the cluster's process
LAST_LINES = 5  # of the cluster's output, to show why it has failed

TOKEN = "C10K_DEMO_TOKEN"
"""The environment variable by which the demo's page knows who may kill processes."""

READY = re.compile(r"c10k ready: (http\S+?/)[ ,].*?\((.*)\)")


class Failed(Exception):
    """The demo cannot continue; the text is for the user."""


@asynccontextmanager
async def program(
    name: str, command: Sequence[str], end_seconds: float, **streams: Any
) -> AsyncIterator[Process]:
    """Run a program; at the end of the block terminate it, and kill it if that takes too long."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, process_group=0, limit=1 << 20, **streams
    )
    try:
        yield process
    finally:
        ending = asyncio.create_task(end(name, process, end_seconds))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:  # Ctrl-C after the game has ended
            await ending
            raise


async def end(name: str, process: Process, seconds: float) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        print(f"demo: {name} does not end; killed", file=sys.stderr)
        process.kill()
        await process.wait()


async def play(options: argparse.Namespace) -> None:
    """Play one game on one cluster. Raises Failed unless the swarm has verified all steps."""
    check_port(options.port)
    print(f"Starting a cluster of {options.nodes} node{'s' * (options.nodes != 1)} ...", flush=True)
    command = cluster_command(options)
    token = secrets.token_urlsafe(12)
    async with program(
        "the cluster",
        command,
        CLUSTER_END_SECONDS,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, TOKEN: token},
    ) as cluster:
        assert cluster.stdout is not None
        last: deque[str] = deque(maxlen=LAST_LINES)
        try:
            async with asyncio.timeout(START_SECONDS):
                ready = await read(cluster.stdout, last, READY)
        except TimeoutError:
            why = f"the cluster was not ready after {START_SECONDS:.0f} s"
            raise Failed(why + quoted(last)) from None
        if ready is None:
            raise Failed("the cluster did not start" + quoted(last))
        announce(ready[1], ready[2], token)
        if options.browser:
            open_browser(f"{ready[1]}cluster/?token={token}")
        died = asyncio.create_task(read(cluster.stdout, last))
        # Without pipes, because the swarm's progress bar needs the terminal.
        swarm = swarm_command(options, ready[1])
        async with program("the swarm", swarm, SWARM_END_SECONDS) as playing:
            failed = await watch(died, playing)
        if died.done():
            status = await cluster.wait()
            raise Failed(f"the cluster died (exit status {status})" + quoted(last))
        if failed:
            raise Failed(f"the swarm failed (exit status {failed}); its output says why")


async def watch(died: "asyncio.Task[Any]", swarm: Process) -> int | None:
    """Wait until the cluster has died or the swarm has ended; returns the swarm's exit status."""
    played = asyncio.create_task(swarm.wait())
    await asyncio.wait({died, played}, return_when=asyncio.FIRST_COMPLETED)
    if swarm.returncode:
        # When the cluster dies, the swarm fails before the last process of the cluster has ended.
        await asyncio.wait({died}, timeout=DEATH_SECONDS)
    return swarm.returncode


async def read(
    stream: asyncio.StreamReader, last: deque[str], until: re.Pattern[str] | None = None
) -> re.Match[str] | None:
    """Read lines up to the first that matches, or to the end; `last` receives the last lines."""
    async for line in stream:
        text = line.decode(errors="replace").rstrip()
        last.append(text)
        if until is not None and (match := until.search(text)):
            return match
    return None


def quoted(lines: Iterable[str]) -> str:
    return "".join(f"\n  | {line}" for line in lines if line)


def twistd_command() -> list[str]:
    """Return the command that starts c10k, without options. Raises Failed."""
    twistd = shutil.which("twistd", path=sysconfig.get_path("scripts")) or shutil.which("twistd")
    if twistd is None:
        raise Failed("twistd is not installed: pip install django-c10k")
    # No pid file: it would be written to the working directory, and two demos would share it.
    return [sys.executable, twistd, "--nodaemon", "--pidfile=", "c10k"]


def cluster_command(options: argparse.Namespace) -> list[str]:
    return [
        *twistd_command(),
        *("--nodes", str(options.nodes), "--listen", f"tcp:{options.port}"),
        *("--drain-timeout", str(DRAIN_SECONDS)),
    ]


def swarm_command(options: argparse.Namespace, url: str) -> list[str]:
    rate, steps = options.rate, options.steps
    if rate is None:
        rate = ENDLESS_RATE if steps is None else COUNTED_RATE
    return [
        *(sys.executable, "-m", "workers", "life", "--verify"),
        *("--url", url.replace("http", "ws", 1), "--size", str(options.size)),
        *("--limit", str(rate), *(() if steps is None else ("--steps", str(steps)))),
    ]


def check_port(port: int) -> None:
    """Raise Failed if the port cannot be used, before anything is started."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", port))
        except OSError as error:
            raise Failed(
                f"port {port} cannot be used ({error.strerror}); take another: make demo PORT=8100"
            ) from None


def open_browser(url: str) -> None:
    """Open a page in the user's browser, if this is a desktop."""
    is_desktop = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if is_desktop and sys.stdout.isatty():
        with suppress(webbrowser.Error):
            webbrowser.open_new_tab(url)


def announce(url: str, cluster: str, token: str) -> None:
    lines = [
        f"The cluster at work:  {url}cluster/?token={token}",
        f"The Game of Life:     {url}",
        f"All demos:            {url}demos/",
        "",
    ]
    lines.append(f"{cluster}; Ctrl-C ends everything")
    width = max(map(len, lines)) + 4
    print(f"\n  ┌{'─' * width}┐")
    for line in lines:
        print(f"  │  {line:{width - 2}}│")
    print(f"  └{'─' * width}┘\n", flush=True)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="The Game of Life on a cluster.")
    add = parser.add_argument
    add("--nodes", type=int, default=4, metavar="N", help="node processes (4)")
    add("--port", type=int, default=8000, metavar="PORT", help="port to serve; 0: any (8000)")
    add("--size", type=int, default=32, metavar="N", help="rows and columns (32)")
    add("--steps", type=int, metavar="N", help="end after N steps; default: at Ctrl-C")
    add(
        "--rate",
        type=float,
        metavar="RATE",
        help=f"steps a second at most, 0: no limit ({ENDLESS_RATE:g}; with --steps "
        f"{COUNTED_RATE:g})",
    )
    add("--no-browser", dest="browser", action="store_false", help="do not open the page")
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error("a port is 0 to 65535")
    return options


async def run(options: argparse.Namespace) -> int:
    """Returns the exit status."""
    playing = asyncio.create_task(play(options))
    signals: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        if not signals:  # a second signal must not interrupt the shutdown
            print("\nEnding ...", flush=True)
            playing.cancel()
        signals.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    try:
        await playing
    except Failed as error:
        print(f"demo: {error}", file=sys.stderr, flush=True)
        return 1
    except asyncio.CancelledError:
        is_over = signals[0] == signal.SIGINT and options.steps is None
        return 0 if is_over else 128 + signals[0]
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    return asyncio.run(run(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main())
