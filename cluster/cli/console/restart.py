"""``c10k restart``: replaces the processes of a cluster one after the other, with new code."""

import argparse
from typing import Any

from cluster.cli.console.control_client import add_command, ask


def add_to(subparsers: Any) -> None:
    """Declare the subcommand."""
    add_command(
        subparsers,
        "restart",
        run,
        help="replace the processes one after the other, with new code and new settings",
        description="Replaces the nodes one after the other, without refusing a connection, and the"
        " broker if its code has changed. Waits until all are replaced. If a new process cannot"
        " start, the old ones continue to serve, and the exit status is 1. A restart that is"
        " requested during another one follows it.",
        json="",
    )


def run(arguments: argparse.Namespace) -> int:
    """Restart, and print what was done."""
    print(ask(arguments, "restart")["summary"])
    return 0
