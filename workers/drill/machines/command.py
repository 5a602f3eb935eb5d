"""The options of a drill on several machines, its course, and its summary."""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from workers.cli.argument_types import positive
from workers.drill.chat import Room
from workers.drill.clients import (
    Clients,
    Progress,
    add_drill_arguments,
    client_lines,
    parse_drill_arguments,
)
from workers.drill.cluster import add_common_arguments, carry_out, verdict
from workers.drill.feed import Feed
from workers.drill.game import Game
from workers.drill.machines.agreement import disagreements
from workers.drill.machines.clock import library
from workers.drill.machines.faults import KINDS, PAUSE, possible, schedule
from workers.drill.machines.injector import Injector
from workers.drill.machines.machine import Machine, create_users
from workers.drill.machines.meetings import Meetings
from workers.drill.machines.network import (
    Network,
    open_loopback,
    open_network,
    why_unavailable,
)
from workers.drill.machines.redis import Engine
from workers.drill.machines.sessions import PASSWORD, Sessions

REDIS, REPLICA, SENTINEL = "redis", "replica", "sentinel"
CALM_SECONDS = 8.0  # after the last fault, in which the game must advance
PATIENCE_SECONDS = 20.0  # for the last messages of feed and chat
LOOK_SECONDS = 0.5  # between two looks for a violation

DESCRIPTION = """\
Start several machines, each with a cluster of its own, on one Redis; kill, stop and disconnect them
at random; and check what clients receive: in the Game of Life every generation equals the oracle;
in a feed with history and in a chat every message arrives once, or its loss is announced; a message
after a barrier reaches all parties; every socket of a logged-out session is closed. The machines
are network namespaces, which needs root; otherwise they share the loopback interface, and no link
is cut.
"""
EPILOG = """\
Exit status: 0 nothing was violated, 1 something was, or the machines failed, 2 wrong usage,
130 Ctrl-C.
"""


class Drill:
    """One drill. Call `run`, then `summary`."""

    def __init__(
        self,
        options: argparse.Namespace,
        network: Network,
        machines: Sequence[Machine],
        engine: Engine,
    ) -> None:
        self._options = options
        self._network = network
        self._machines = machines
        urls = [machine.url for machine in machines]
        ws_urls = [url.replace("http", "ws", 1) for url in urls]
        self._ws_urls = dict(zip((machine.name for machine in machines), ws_urls, strict=True))
        self._progress = Progress()
        self._injector = Injector(network, machines, engine, self._progress.say)
        disturbances = self._injector.disturbances
        double_faults = disturbances.double_faults
        self._clients = Clients(
            Game(ws_urls, options.size, options.seed, options.rate, options.stall, resume=True),
            Feed(urls, options.clients, options.messages, double_faults),
            Room(ws_urls, options.clients, options.messages, double_faults),
        )
        self._meetings = Meetings(ws_urls, 2 * len(machines) + 1)
        self._sessions = Sessions(
            {machine.name: machine.url for machine in machines},
            options.seed,
            lambda: disturbances.calm_since,
        )
        self._live = (self._clients.feed, self._clients.room, self._meetings, self._sessions)
        self._seconds = 0.0
        self._violations: list[str] = []

    async def run(self) -> None:
        """Inject the faults, then check."""
        clients, progress = self._clients, self._progress
        try:
            await self._injector.wait_joined("the start")
            await clients.start()
            self._meetings.start()
            self._sessions.start()
            progress.say("the game runs; the faults begin")
            progress.begin()
            reporting = asyncio.create_task(progress.repeat(self._report))
            course = asyncio.create_task(self._course())
            ended = asyncio.create_task(clients.game.ended.wait())
            violated = asyncio.create_task(self._violated())
            try:
                await asyncio.wait([course, ended, violated], return_when=asyncio.FIRST_COMPLETED)
                if course.done():
                    course.result()  # an error must not look like the end of the drill
            finally:
                for task in (reporting, course, ended, violated):
                    task.cancel()
                await self._injector.end()
            self._seconds = progress.seconds
            progress.say("the faults are over; checking")
            await self._sessions.stop()
            await self._meetings.stop()
            await clients.stop(PATIENCE_SECONDS)
            self._violations += await disagreements(self._ws_urls, clients.feed.sent)
        finally:
            clients.kill()
            self._meetings.cancel()
            self._sessions.cancel()
        for checked in (self._injector, clients, self._meetings, self._sessions):
            self._violations += checked.violations

    async def _course(self) -> None:
        options, progress, watcher = self._options, self._progress, self._clients.game.watcher
        seconds = options.minutes * 60
        for fault in schedule(options.seed, seconds, options.kinds):
            # A fault whose predecessor took longer than planned is late. Between them all machines
            # are joined for a while, so that what waited is written.
            await asyncio.sleep(max(PAUSE[0], fault.at - progress.seconds))
            if progress.seconds < seconds:
                await self._injector.perform(fault)
        await asyncio.sleep(max(0.0, seconds - progress.seconds))
        step = watcher.step
        await asyncio.sleep(CALM_SECONDS)
        if watcher.step == step:
            self._violations.append(
                f"the game did not advance in the last {CALM_SECONDS:.0f} s, without a fault"
            )

    async def _violated(self) -> None:
        """Wait for a violation: the drill ends early, so that the logs end near its cause."""
        while not self._injector.violations and not any(part.is_violated for part in self._live):
            await asyncio.sleep(LOOK_SECONDS)

    def _report(self) -> str:
        return (
            f"{self._clients.progress()}; meetings: {self._meetings.values['held']}; "
            f"logouts: {self._sessions.values['logged_out']}"
        )

    def summary(self) -> dict[str, Any]:
        """Return the result, as for --json."""
        return {
            "verified": not self._violations,
            "violations": self._violations,
            "seed": self._options.seed,
            "seconds": round(self._seconds, 1),
            "machines": len(self._machines),
            "nodes": self._options.nodes,
            "network": "namespaces" if self._network.can_cut else "loopback",
            "sentinel": self._options.sentinel,
            "injected": self._injector.injected,
            "longest_join": round(self._injector.longest_join, 1),
            **self._clients.summary(self._options.size),
            "meetings": self._meetings.values,
            "sessions": self._sessions.values,
        }


def lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary as text."""
    meetings, sessions = summary["meetings"], summary["sessions"]
    counts = Counter(fault["kind"] for fault in summary["injected"])
    faults = ", ".join(f"{count} × {kind}" for kind, count in sorted(counts.items()))
    found = [
        f"{summary['machines']} machines × {summary['nodes']} nodes as {summary['network']}, seed "
        f"{summary['seed']}, {summary['seconds']:.0f} s",
        f"injected: {faults or 'nothing'}; all machines joined again after at most "
        f"{summary['longest_join']} s",
        *client_lines(summary),
        f"meetings: {meetings['held']} of {meetings['parties']} parties missed nobody, "
        f"{meetings['interrupted']} more lost a party",
        f"sessions: {sessions['logged_out']} logged out; their {sessions['sockets']} sockets were "
        f"closed after at most {sessions['longest']} s, and {sessions['longest_calm']} s after the "
        "end of a fault",
    ]
    return found + verdict(summary)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="drill-machines",
        description=DESCRIPTION,
        epilog="faults: "
        + "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
        + f". {EPILOG}",
    )
    add = parser.add_argument
    add_drill_arguments(parser, size=16, steps=4.0, stall=45.0, clients=8)
    add("--machines", type=positive, default=2, metavar="N", help="machines (2)")
    add(
        "--faults",
        metavar="KINDS",
        help="only these kinds, separated by commas; default: all that are possible",
    )
    add(
        "--no-sentinel",
        dest="sentinel",
        action="store_false",
        help="one Redis, which can be emptied and slowed down, instead of two with Sentinels",
    )
    add("--loopback", action="store_true", help="no namespaces, even as root")
    add_common_arguments(parser, nodes=2)
    options = parse_drill_arguments(parser, arguments)
    options.kinds = None if options.faults is None else options.faults.split(",")
    for kind in options.kinds or ():
        if kind not in KINDS:
            parser.error(f"--faults: {kind!r} is none of {', '.join(KINDS)}")
    return options


@contextmanager
def networked(options: argparse.Namespace) -> Iterator[tuple[Network, Engine, Path]]:
    """Make the network and the engine, and a folder for all; remove them in the end."""
    engine_hosts = [REDIS, REPLICA, SENTINEL] if options.sentinel else [REDIS]
    names = [*machine_names(options), *engine_hosts]
    reason = "--loopback was given" if options.loopback else why_unavailable()
    with ExitStack() as stack:
        network: Network
        if reason:
            print(f"On the loopback interface, without cut links: {reason}", file=sys.stderr)
            network = stack.enter_context(open_loopback(names))
        else:
            network = stack.enter_context(open_network(names))
        folder = Path(tempfile.mkdtemp(prefix="c10k-drill-"))
        network.cleaner.add("folder", folder)
        engine = Engine(network, folder, engine_hosts)
        engine.start(with_proxy=not options.sentinel)
        with_clocks = bool(library())
        if not with_clocks:
            print("Without jumps of clocks: libfaketime is not installed", file=sys.stderr)
        can = possible(network.can_cut, options.sentinel, with_clocks)
        options.kinds = [kind for kind in options.kinds or can if kind in can]
        yield network, engine, folder


def machine_names(options: argparse.Namespace) -> list[str]:
    return [f"m{number}" for number in range(1, options.machines + 1)]


async def _drill(options: argparse.Namespace) -> dict[str, Any]:
    with networked(options) as (network, engine, folder):
        await create_users(folder, PASSWORD)
        machines = [
            Machine(network, name, options.nodes, folder, engine.url, options.log)
            for name in machine_names(options)
        ]
        try:
            await asyncio.gather(*(machine.start() for machine in machines))
            drill = Drill(options, network, machines, engine)
            await drill.run()
            return drill.summary()
        finally:
            network.heal()
            await asyncio.gather(*(machine.stop() for machine in machines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a drill with these arguments; returns the exit status."""
    options = parse_arguments(arguments)
    print(
        f"Drill with seed {options.seed}: starting {options.machines} machines ...",
        file=sys.stderr,
        flush=True,
    )
    return carry_out("drill-machines", options, _drill(options), lines)
