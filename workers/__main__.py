"""The `swarm` program: many WebSocket clients for one server, in few processes."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

INTERRUPTED = 130  # what shells say of a program ended by Ctrl-C: 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    # Importing takes some tenths of a second, in which Ctrl-C would print a traceback.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    from workers import life_command

    parser = argparse.ArgumentParser(prog="swarm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    life = commands.add_parser("life", help="play the Game of Life, one client for each cell")
    life_command.add_arguments(life)
    life.set_defaults(run=life_command.run)
    options = vars(parser.parse_args(arguments))
    status: int = options.pop("run")(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
