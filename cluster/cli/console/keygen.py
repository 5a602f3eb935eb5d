"""``c10k keygen FOLDER``: makes the keys of a broker and its nodes (cluster.net.bus_keys)."""

import argparse
from typing import Any

from cluster.net.bus_keys import make_keys


def add_to(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "keygen",
        help="make the keys that a broker on tcp and its nodes need",
        description="Writes new keys to FOLDER, readable by this user only, for --bus-keys."
        " A broker reads broker.key_secret and node.key, a node reads node.key_secret and"
        " broker.key: copy no other files to another host. Existing files are not overwritten.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="is created if it does not exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the keys, and print the paths of the files."""
    print(*make_keys(arguments.folder), sep="\n")
    return 0
