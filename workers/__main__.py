"""Test a WebSocket server with many clients, driven by few processes."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

INTERRUPTED = 130  # 128 + SIGINT: the exit status by which shells report Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    # Imports take some tenths of a second, during which Ctrl-C would print a traceback.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    from workers.life import command as life_command
    from workers.load import broadcast_command, echo_command, idle_command, storm_command
    from workers.socketio import command as socketio_command

    parser = argparse.ArgumentParser(prog="swarm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, what in (
        ("life", life_command, "play the Game of Life with one client for each cell"),
        ("echo", echo_command, "hold ten thousand conversations at the same time"),
        ("idle", idle_command, "hold connections and measure what they cost"),
        (
            "broadcast",
            broadcast_command,
            "publish to many subscribers and measure the latency",
        ),
        ("socketio", socketio_command, "talk to a Socket.IO server, in rooms and by any transport"),
        (
            "storm",
            storm_command,
            "disconnect all clients at once and time their reconnecting",
        ),
    ):
        subcommand = commands.add_parser(name, help=what)
        command.add_arguments(subcommand)
        subcommand.set_defaults(run=command.run)
    options = vars(parser.parse_args(arguments))
    status: int = options.pop("run")(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
