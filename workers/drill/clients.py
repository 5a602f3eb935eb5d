"""What every drill has: the game, the feed and the chat; their options, and what is reported."""

import argparse
import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from workers.cli.argument_types import positive, rate
from workers.drill.chat import Room
from workers.drill.feed import Feed
from workers.drill.game import Game

REPORT_EVERY = 10.0  # seconds between two lines of progress
DOUBLE = "lost_in_double_faults"


class Progress:
    """Prints lines on stderr, each with the seconds since `begin`."""

    def __init__(self) -> None:
        self._began: float | None = None

    def begin(self) -> None:
        """Count the seconds from now on."""
        self._began = monotonic()

    @property
    def seconds(self) -> float:
        """The seconds since `begin`; 0 before it."""
        return 0.0 if self._began is None else monotonic() - self._began

    def say(self, text: str) -> None:
        """Print a line."""
        print(f"{self.seconds:6.1f} s  {text}", file=sys.stderr, flush=True)

    async def repeat(self, text: Callable[[], str]) -> None:
        """Print what `text` returns every ten seconds, until the task is cancelled."""
        while True:
            await asyncio.sleep(REPORT_EVERY)
            self.say(text())


class Clients:
    """The game, the feed and the chat. Call `start`, then `stop`, and in any case `kill`.

    `violations` has the result after `stop`.
    """

    def __init__(self, game: Game, feed: Feed, room: Room) -> None:
        self.game = game
        self.feed = feed
        self.room = room

    async def start(self) -> None:
        """Wait until the game runs and all clients are subscribed."""
        await asyncio.gather(self.feed.start(), self.room.start(), self.game.start())

    async def stop(self, patience: float) -> None:
        """End the game, and wait until all messages have arrived. patience: seconds for them."""
        await self.game.stop()
        await asyncio.gather(self.feed.stop(patience), self.room.stop(patience))

    def kill(self) -> None:
        """End what still runs, without a check."""
        self.game.kill()
        self.feed.cancel()
        self.room.cancel()

    @property
    def violations(self) -> list[str]:
        """What is wrong, one line each."""
        return [*self.game.violations, *self.feed.violations, *self.room.violations]

    def progress(self) -> str:
        """Return how far they are, for a line of progress."""
        return (
            f"step {self.game.watcher.step:,}; feed: {self.feed.values['received']:,} received; "
            f"chat: {self.room.values['received']:,} received"
        )

    def summary(self, size: int) -> dict[str, Any]:
        """Return their part of the summary. size: rows and columns of the game."""
        game, watcher = self.game.values, self.game.watcher
        keys = ("steps", "compared", "resumed", "losses", "asked", "longest_stall")
        return {
            "life": {
                "size": size,
                **{key: game.get(key) for key in keys},
                "boards_compared": watcher.boards,
                "longest_without_board": round(watcher.longest, 2),
            },
            "feed": self.feed.values,
            "chat": self.room.values,
        }


def client_lines(summary: dict[str, Any]) -> list[str]:
    """Return what `Clients.summary` has put into a summary, as text."""
    life = summary["life"]
    found = [
        f"life: {life['compared']} generations of {life['size']}×{life['size']} equal the oracle; "
        f"{life['resumed']} connections resumed; longest time without a step "
        f"{life['longest_stall']} s; {life['boards_compared']} boards of a watcher compared, "
        f"longest time without one {life['longest_without_board']} s",
    ]
    for name in ("feed", "chat"):
        values = summary[name]
        found.append(
            f"{name}: {values['confirmed']:,} messages confirmed, {values['received']:,} received "
            f"by {values['clients']} clients, which reconnected {values['reconnected']} times; "
            f"{values['losses_announced']} losses announced"
            + (f", {values[DOUBLE]} lost in double faults" if values.get(DOUBLE) else "")
        )
    return found


def add_drill_arguments(
    parser: argparse.ArgumentParser, size: int, steps: float, stall: float, clients: int
) -> None:
    """Add the options of a drill. The other arguments are defaults. steps: a second; stall: s."""
    add = parser.add_argument
    add("--seed", type=int, metavar="N", help="repeat a drill; default: random")
    add("--minutes", type=rate, default=5.0, metavar="N", help="duration of the faults (5)")
    add(
        "--size",
        type=positive,
        default=size,
        metavar="N",
        help=f"rows and columns of the game ({size})",
    )
    add(
        "--rate",
        type=rate,
        default=steps,
        metavar="RATE",
        help=f"steps a second at most ({steps:g})",
    )
    add(
        "--stall",
        type=rate,
        default=stall,
        metavar="SECONDS",
        help=f"longest time without a step ({stall:g})",
    )
    add(
        "--clients",
        type=positive,
        default=clients,
        metavar="N",
        help=f"of feed and chat, each ({clients})",
    )
    add("--messages", type=rate, default=2.0, metavar="RATE", help="a second in each of them (2)")


def parse_drill_arguments(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """Return the options of the command line; chooses a seed if none is given."""
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = random.randrange(1 << 16)
    if options.messages <= 0:
        parser.error("--messages must be above 0")
    return options
