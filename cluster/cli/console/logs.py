"""``c10k logs`` and ``c10k events``: what happened, and what happens now."""

import argparse
import time
from typing import Any

from cluster.cli.console.control_client import add_command, ask
from cluster.cli.console.output import print_json
from cluster.cli.console.status import event_line

POLL_S = 0.5


def add_to(subparsers: Any) -> None:
    """Declare the subcommands."""
    for name, run, what, json in (
        ("logs", run_logs, "lines of the cluster's log", ""),
        ("events", run_events, "events: starts, ends, restarts", "print JSON, one event a line"),
    ):
        parser = add_command(
            subparsers,
            name,
            run,
            help=f"print the newest {what}",
            description=f"Prints the newest {what}, the oldest of them first.",
            json=json,
        )
        parser.add_argument(
            "-f", "--follow", action="store_true", help="continue with new ones until Ctrl-C"
        )
        parser.add_argument(
            "-n",
            "--lines",
            type=int,
            default=20,
            metavar="N",
            help="how many of the newest [default: 20]",
        )


def run_logs(arguments: argparse.Namespace) -> int:
    """Print the log."""
    answer = ask(arguments, "logs", limit=arguments.lines)
    try:
        while True:
            if answer["missed"]:
                print(f"… {answer['missed']:,} lines missed")
            for line in answer["lines"]:
                print(line, flush=True)
            if not arguments.follow:
                return 0
            time.sleep(POLL_S)
            answer = ask(arguments, "logs", after=answer["next"])
    except KeyboardInterrupt:
        return 0


def run_events(arguments: argparse.Namespace) -> int:
    """Print the events."""
    newest, count = 0, arguments.lines
    try:
        while True:
            events = [
                each for each in ask(arguments, "status")["events"] if each["number"] > newest
            ]
            for event in reversed(events[:count]):
                if arguments.json:
                    print_json(event)
                else:
                    print(event_line(event), flush=True)
            if events:
                newest = events[0]["number"]
            if not arguments.follow:
                return 0
            count = len(events) + 1000  # all new ones from now on
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return 0
