"""``c10k drain`` and ``c10k scale``: which nodes a cluster has, and how many."""

import argparse
from typing import Any

from cluster.cli.console.control_client import add_command, ask
from cluster.cli.console.output import print_json
from cluster.supervisor.registration.roster import count_nodes


def add_to(subparsers: Any) -> None:
    """Declare the subcommands."""
    parser = add_command(
        subparsers,
        "drain",
        run_drain,
        help="have a node finish its work and end, or start it again",
        description="Drains a node: it accepts nothing new, its clients are closed with 1012 over"
        " --restart-spread seconds, and views finish. Waits until its process has ended. No"
        " connection is refused. The node stays stopped until drain --undo or a restart. The last"
        " node that serves cannot be drained.",
    )
    parser.add_argument("node", metavar="NODE", help="such as node2, or 2")
    parser.add_argument(
        "--undo",
        action="store_true",
        help="start a node that was drained, and wait until it serves",
    )
    parser = add_command(
        subparsers,
        "scale",
        run_scale,
        help="change the number of nodes",
        description="Adds nodes, one after the other, and waits until they serve; or drains the"
        " last ones, and waits until they have ended. A restart keeps the number; the next start of"
        " the cluster uses --nodes. A cluster that was started with one node has no broker, and"
        " cannot have more.",
    )
    parser.add_argument("nodes", metavar="N", type=int, help="how many nodes")


def run_drain(arguments: argparse.Namespace) -> int:
    """Drain a node or start it again, and print what was done."""
    node = f"node{arguments.node}" if arguments.node.isdecimal() else arguments.node
    answer = ask(arguments, "undo_drain" if arguments.undo else "drain", node=node)
    if arguments.json:
        print_json(answer)
    else:
        print(f"{answer['node']} is {answer['state']}, after {answer['seconds']:.1f} s")
    return 0


def run_scale(arguments: argparse.Namespace) -> int:
    """Change the number of nodes, and print it."""
    answer = ask(arguments, "scale", nodes=arguments.nodes)
    if arguments.json:
        print_json(answer)
        return 0
    count, before = count_nodes(answer["nodes"]), answer["before"]
    if answer["nodes"] == before:
        print(f"the cluster has {count} already")
    else:
        print(f"scaled from {before} to {count} in {answer['seconds']:.1f} s")
    return 0
