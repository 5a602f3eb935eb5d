"""``c10k topics``: the topics with the most subscribers."""

import argparse
from typing import Any

from cluster.cli.console.control_client import add_command, ask
from cluster.cli.console.output import print_json, warn_of_silence
from cluster.cli.console.status import topics_text


def add_to(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = add_command(
        subparsers,
        "topics",
        run,
        help="list the topics with the most subscribers",
        description="Lists the topics with the most subscribed clients in the cluster, and how many"
        " messages of each are retained.",
    )
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="how many topics [default: 20]"
    )
    parser.add_argument(
        "--grouped",
        action="store_true",
        help="show many topics with the same beginning up to a slash as one row",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the topics."""
    answer = ask(arguments, "topics", limit=arguments.limit, grouped=arguments.grouped)
    if arguments.json:
        print_json(answer)
    else:
        print(topics_text(answer["topics"]))
        warn_of_silence(answer)
    return 0
