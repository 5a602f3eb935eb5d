"""``c10k COMMAND``: the command line.

A subcommand is a module of this package. It has ``add_to(subparsers)``, which declares its
arguments and sets ``run``, a function of the parsed arguments that returns the exit status.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from cluster.cli.console import clients, keygen, logs, publish, restart, scaling, status, topics
from cluster.core.exceptions import ClusterError

COMMANDS = (status, topics, clients, publish, logs, restart, scaling, keygen)

EXIT_ERROR = 1
"""The command failed; the last line on standard error says why. argparse exits with 2 if the
command line is wrong."""

EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141
"""As shells report the ends by SIGINT (Ctrl-C) and SIGPIPE (the reader of a pipe has ended)."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="c10k",
        description="Operates c10k clusters. To start one: twistd -n c10k --help",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    arguments = make_parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except ClusterError as error:
        print(f"c10k: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        with suppress(OSError):  # otherwise the interpreter writes the rest at its end, and fails
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_UNREAD
    return status
