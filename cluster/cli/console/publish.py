"""``c10k publish``: publishes a message without Django."""

import argparse
from typing import Any

from cluster.cli.console.control_client import add_command, ask
from cluster.cli.console.output import print_json
from cluster.supervisor.registration.roster import count_nodes


def add_to(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = add_command(
        subparsers,
        "publish",
        run,
        help="publish a message to a topic",
        description="Publishes a text message to all subscribers of a topic, and prints on how many"
        " nodes there are some.",
    )
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("message", metavar="MESSAGE")


def run(arguments: argparse.Namespace) -> int:
    """Publish, and print the receipt."""
    receipt = ask(arguments, "publish", topic=arguments.topic, message=arguments.message)
    if arguments.json:
        print_json(receipt)
    else:
        print(f"sent to subscribers on {count_nodes(receipt['nodes'])}")
    return 0
