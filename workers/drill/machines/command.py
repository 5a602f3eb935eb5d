"""The options of a drill on several machines, its course, and its summary."""

import argparse
import asyncio
import json
import logging
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from workers.cli.argument_types import positive, rate
from workers.demo.programs import Failed
from workers.drill.chat import Room
from workers.drill.cluster import verdict
from workers.drill.feed import Feed
from workers.drill.game import Game
from workers.drill.machines.agreement import disagreements
from workers.drill.machines.faults import KINDS, PAUSE, Fault, possible, schedule
from workers.drill.machines.injector import Injector
from workers.drill.machines.machine import Machine, create_users
from workers.drill.machines.meetings import Meetings
from workers.drill.machines.network import (
    Network,
    Unavailable,
    open_loopback,
    open_network,
    why_unavailable,
)
from workers.drill.machines.redis import Engine, NoServer
from workers.drill.machines.sessions import PASSWORD, Sessions

REDIS, REPLICA, SENTINEL = "redis", "replica", "sentinel"
CALM_SECONDS = 8.0  # after the last fault, in which the game must advance
PATIENCE_SECONDS = 20.0  # for the last messages of feed and chat
REPORT_EVERY = 10.0  # seconds between two lines of progress
LOOK_SECONDS = 0.5  # between two looks for a violation
DOUBLE = "lost_in_double_faults"

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
        self._injector = Injector(network, machines, engine, self._say)
        double_faults = self._injector.disturbances.double_faults
        self._game = Game(
            ws_urls, options.size, options.seed, options.rate, options.stall, resume=True
        )
        self._feed = Feed(urls, options.clients, options.messages, double_faults)
        self._room = Room(ws_urls, options.clients, options.messages, double_faults)
        self._meetings = Meetings(ws_urls, 2 * len(machines) + 1)
        disturbances = self._injector.disturbances
        self._sessions = Sessions(
            {machine.name: machine.url for machine in machines},
            options.seed,
            lambda: disturbances.calm_since,
        )
        self._live = (self._feed, self._room, self._meetings, self._sessions)
        self._began = 0.0
        self._ended = 0.0
        self._violations: list[str] = []

    async def run(self) -> None:
        """Inject the faults, then check."""
        game, feed, room = self._game, self._feed, self._room
        try:
            await self._injector.wait_joined("the start")
            await asyncio.gather(feed.start(), room.start(), game.start())
            self._meetings.start()
            self._sessions.start()
            self._say("the game runs; the faults begin")
            self._began = monotonic()
            reporting = asyncio.create_task(self._report())
            course = asyncio.create_task(self._course())
            ended = asyncio.create_task(game.ended.wait())
            violated = asyncio.create_task(self._violated())
            try:
                await asyncio.wait([course, ended, violated], return_when=asyncio.FIRST_COMPLETED)
                if course.done():
                    course.result()  # an error must not look like the end of the drill
            finally:
                for task in (reporting, course, ended, violated):
                    task.cancel()
                await self._injector.end()
            self._ended = monotonic()
            self._say("the faults are over; checking")
            await self._sessions.stop()
            await self._meetings.stop()
            await game.stop()
            await asyncio.gather(feed.stop(PATIENCE_SECONDS), room.stop(PATIENCE_SECONDS))
            self._violations += await disagreements(self._ws_urls, feed.sent)
        finally:
            game.kill()
            for part in (feed, room, self._meetings, self._sessions):
                part.cancel()
        for checked in (self._injector, game, feed, room, self._meetings, self._sessions):
            self._violations += checked.violations

    async def _course(self) -> None:
        options = self._options
        for fault in schedule(options.seed, options.minutes * 60, options.kinds):
            # A fault whose predecessor took longer than planned is late. Between them all machines
            # are joined for a while, so that what waited is written.
            await asyncio.sleep(max(PAUSE[0], self._began + fault.at - monotonic()))
            await self._inject(fault)
        await asyncio.sleep(max(0.0, self._began + options.minutes * 60 - monotonic()))
        step = self._game.watcher.step
        await asyncio.sleep(CALM_SECONDS)
        if self._game.watcher.step == step:
            self._violations.append(
                f"the game did not advance in the last {CALM_SECONDS:.0f} s, without a fault"
            )

    async def _inject(self, fault: Fault) -> None:
        if monotonic() - self._began < self._options.minutes * 60:
            await self._injector.perform(fault)

    async def _violated(self) -> None:
        """Wait for a violation: the drill ends early, so that the logs end near its cause."""
        while not self._injector.violations and not any(part.is_violated for part in self._live):
            await asyncio.sleep(LOOK_SECONDS)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY)
            feed, room = self._feed.values, self._room.values
            self._say(
                f"step {self._game.watcher.step:,}; feed: {feed['received']:,} received; "
                f"chat: {room['received']:,} received; meetings: {self._meetings.values['held']}; "
                f"logouts: {self._sessions.values['logged_out']}"
            )

    def _say(self, text: str) -> None:
        at = monotonic() - self._began if self._began else 0.0
        print(f"{at:6.1f} s  {text}", file=sys.stderr, flush=True)

    def summary(self) -> dict[str, Any]:
        """Return the result, as for --json."""
        game, watcher = self._game.values, self._game.watcher
        keys = ("steps", "compared", "resumed", "losses", "asked", "longest_stall")
        return {
            "verified": not self._violations,
            "violations": self._violations,
            "seed": self._options.seed,
            "seconds": round(self._ended - self._began, 1),
            "machines": len(self._machines),
            "nodes": self._options.nodes,
            "network": "namespaces" if self._network.can_cut else "loopback",
            "sentinel": self._options.sentinel,
            "injected": self._injector.injected,
            "longest_join": round(self._injector.longest_join, 1),
            "life": {
                "size": self._options.size,
                **{key: game.get(key) for key in keys},
                "boards_compared": watcher.boards,
                "longest_without_board": round(watcher.longest, 2),
            },
            "feed": self._feed.values,
            "chat": self._room.values,
            "meetings": self._meetings.values,
            "sessions": self._sessions.values,
        }


def lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary as text."""
    life, meetings, sessions = summary["life"], summary["meetings"], summary["sessions"]
    counts = Counter(fault["kind"] for fault in summary["injected"])
    faults = ", ".join(f"{count} × {kind}" for kind, count in sorted(counts.items()))
    found = [
        f"{summary['machines']} machines × {summary['nodes']} nodes as {summary['network']}, seed "
        f"{summary['seed']}, {summary['seconds']:.0f} s",
        f"injected: {faults or 'nothing'}; all machines joined again after at most "
        f"{summary['longest_join']} s",
        f"life: {life['compared']} generations of {life['size']}×{life['size']} equal the oracle; "
        f"{life['resumed']} connections resumed; longest time without a step "
        f"{life['longest_stall']} s; {life['boards_compared']} boards of a watcher compared",
    ]
    for name in ("feed", "chat"):
        values = summary[name]
        found.append(
            f"{name}: {values['confirmed']:,} messages confirmed, {values['received']:,} received "
            f"by {values['clients']} clients, which reconnected {values['reconnected']} times; "
            f"{values['losses_announced']} losses announced"
            + (f", {values[DOUBLE]} lost in double faults" if values.get(DOUBLE) else "")
        )
    found += [
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
    add("--seed", type=int, metavar="N", help="repeat a drill; default: random")
    add("--minutes", type=rate, default=5.0, metavar="N", help="duration of the faults (5)")
    add("--machines", type=positive, default=2, metavar="N", help="machines (2)")
    add("--nodes", type=positive, default=2, metavar="N", help="node processes of each (2)")
    add("--size", type=positive, default=16, metavar="N", help="rows and columns of the game (16)")
    add("--rate", type=rate, default=4.0, metavar="RATE", help="steps a second at most (4)")
    add(
        "--stall",
        type=rate,
        default=45.0,
        metavar="SECONDS",
        help="longest time without a step (45)",
    )
    add("--clients", type=positive, default=8, metavar="N", help="of feed and chat, each (8)")
    add("--messages", type=rate, default=2.0, metavar="RATE", help="a second in each of them (2)")
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
    add("--log", type=argparse.FileType("w"), metavar="FILE", help="keep the logs of all machines")
    add("--json", action="store_true", help="print the summary as one JSON object")
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = random.randrange(1 << 16)
    if options.messages <= 0:
        parser.error("--messages must be above 0")
    options.kinds = None if options.faults is None else options.faults.split(",")
    for kind in options.kinds or ():
        if kind not in KINDS:
            parser.error(f"--faults: {kind!r} is none of {', '.join(KINDS)}")
    return options


@contextmanager
def networked(options: argparse.Namespace) -> Iterator[tuple[Network, Engine, Path]]:
    """Make the network and the engine, and a folder for all; remove them in the end."""
    engine_hosts = [REDIS, REPLICA, SENTINEL] if options.sentinel else [REDIS]
    names = [*_names(options), *engine_hosts]
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
        can = possible(network.can_cut, options.sentinel)
        options.kinds = [kind for kind in options.kinds or can if kind in can]
        yield network, engine, folder


def _names(options: argparse.Namespace) -> list[str]:
    return [f"m{number}" for number in range(1, options.machines + 1)]


async def carry_out(options: argparse.Namespace) -> dict[str, Any]:
    """Carry out a drill; returns its summary. Raises Failed, NoServer, Unavailable."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with networked(options) as (network, engine, folder):
        await create_users(folder, PASSWORD)
        machines = [
            Machine(network, name, options.nodes, folder, engine.url, options.log)
            for name in _names(options)
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
    logging.disable(logging.WARNING)  # Autobahn logs connections that were lost, which is the point
    print(
        f"Drill with seed {options.seed}: starting {options.machines} machines ...",
        file=sys.stderr,
        flush=True,
    )
    try:
        summary = asyncio.run(carry_out(options))
    except (Failed, NoServer, Unavailable) as error:
        print(f"drill-machines: {error}", file=sys.stderr, flush=True)
        return 1
    except asyncio.CancelledError:
        return 128 + signal.SIGINT
    print(json.dumps(summary) if options.json else "\n".join(lines(summary)), flush=True)
    return 0 if summary["verified"] else 1
