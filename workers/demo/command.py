"""The demo from start to end.

Exit status: 0 if all steps were verified, or if Ctrl-C ended a game without a number of steps; 1 if
a cluster or the swarm failed; otherwise 128 + the number of the signal that ended the demo.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import webbrowser
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from workers.demo.machines import MAX_MACHINES, Machine, machine, names_and_ports, redis
from workers.demo.programs import Failed, program, quoted

ENDLESS_RATE = 4.0  # steps a second: a person can follow a glider
COUNTED_RATE = 10.0  # with a number of steps, a person waits for the end

SWARM_END_SECONDS = 5.0
DEATH_SECONDS = 2.0  # from the loss of the swarm's connections to the end of the cluster's process

TOKEN = "C10K_DEMO_TOKEN"
"""The environment variable by which the demo's page knows who may kill processes."""


async def play(options: argparse.Namespace) -> None:
    """Play one game on all clusters. Raises Failed unless the swarm has verified all steps."""
    wanted = names_and_ports(options.machines, options.port)
    nodes = f"{options.nodes} node{'s' * (options.nodes != 1)}"
    several = f"{options.machines} clusters of {nodes} and a Redis between them"
    print(
        f"Starting {several if options.machines > 1 else f'a cluster of {nodes}'} ...", flush=True
    )
    token = secrets.token_urlsafe(12)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(redis()) if options.machines > 1 else ""
        machines = [
            await stack.enter_async_context(machine(name, options.nodes, port, bus, {TOKEN: token}))
            for name, port in wanted
        ]
        announce(machines, token)
        if options.browser:
            open_browser(f"{machines[0].url}cluster/?token={token}")
        # Without pipes, because the swarm's progress bar needs the terminal.
        swarm = swarm_command(options, [each.url for each in machines])
        async with program("the swarm", swarm, SWARM_END_SECONDS) as playing:
            failed = await watch([each.died for each in machines], playing)
        for each in machines:
            if each.died.done():
                status = await each.process.wait()
                raise Failed(f"{each.label} died (exit status {status})" + quoted(each.last))
        if failed:
            raise Failed(f"the swarm failed (exit status {failed}); its output says why")


async def watch(died: "Sequence[asyncio.Task[Any]]", swarm: Process) -> int | None:
    """Wait until a cluster has died or the swarm has ended; returns the swarm's exit status."""
    played = asyncio.create_task(swarm.wait())
    await asyncio.wait({*died, played}, return_when=asyncio.FIRST_COMPLETED)
    if swarm.returncode:
        # When a cluster dies, the swarm fails before the last process of the cluster has ended.
        await asyncio.wait(died, timeout=DEATH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    return swarm.returncode


def swarm_command(options: argparse.Namespace, urls: Sequence[str]) -> list[str]:
    rate, steps = options.rate, options.steps
    if rate is None:
        rate = ENDLESS_RATE if steps is None else COUNTED_RATE
    return [
        *(sys.executable, "-m", "workers", "life", "--verify", "--size", str(options.size)),
        *(word for url in urls for word in ("--url", url.replace("http", "ws", 1))),
        *("--limit", str(rate), *(() if steps is None else ("--steps", str(steps)))),
    ]


def open_browser(url: str) -> None:
    """Open a page in the user's browser, if this is a desktop."""
    is_desktop = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if is_desktop and sys.stdout.isatty():
        with suppress(webbrowser.Error):
            webbrowser.open_new_tab(url)


def announce(machines: Sequence[Machine], token: str) -> None:
    first, *others = machines
    lines = [
        f"The cluster at work:  {first.url}cluster/?token={token}",
        f"The Game of Life:     {first.url}",
        f"All demos:            {first.url}demos/",
    ]
    for each in others:
        lines += [
            "",
            f"Machine {each.name}, at work:   {each.url}cluster/?token={token}",
            f"The same game:        {each.url}",
        ]
    nodes = f"{first.nodes} on each of {len(machines)} machines" if others else first.nodes
    lines += ["", f"{nodes}; Ctrl-C ends everything"]
    width = max(map(len, lines)) + 4
    print(f"\n  ┌{'─' * width}┐")
    for line in lines:
        print(f"  │  {line:{width - 2}}│")
    print(f"  └{'─' * width}┘\n", flush=True)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="The Game of Life on a cluster.")
    add = parser.add_argument
    add("--nodes", type=int, default=4, metavar="N", help="node processes of each cluster (4)")
    add(
        "--machines",
        type=int,
        default=1,
        metavar="N",
        help="clusters, each in the role of a machine, with a Redis between them (1: without)",
    )
    add(
        "--port",
        type=int,
        default=8000,
        metavar="PORT",
        help="port to serve; further machines serve the ports after it; 0: any (8000)",
    )
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
    if not 1 <= options.machines <= MAX_MACHINES:
        parser.error(f"--machines is 1 to {MAX_MACHINES}")
    if not 0 <= options.port <= 65536 - options.machines:
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
