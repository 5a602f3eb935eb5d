"""``c10k clients`` and ``c10k kick``: the connected clients, and disconnecting some of them."""

import argparse
from typing import Any

from cluster.cli.console.control_client import add_command, ask
from cluster.cli.console.output import print_json, size, table, text, warn_of_silence
from cluster.core.exceptions import OperationFailed

FILTERS = {
    "id": "the client with this ID, as the command clients shows it",
    "user": "the clients of this user: a name or a primary key",
    "topic": "the clients that subscribe to this topic",
    "address": "the clients with this address",
    "path": "the clients of URLs that begin with this path",
    "node": "the clients of this node, such as node0",
}

CLOSE_RESTART = 1012


def add_to(subparsers: Any) -> None:
    """Declare the subcommands."""
    parser = add_command(
        subparsers,
        "clients",
        run_clients,
        help="list connected clients",
        description="Lists the clients that fit all given filters: WebSockets, streams and polls.",
    )
    _add_filters(parser)
    parser.add_argument(
        "--limit", type=int, default=100, metavar="N", help="how many clients [default: 100]"
    )
    parser = add_command(
        subparsers,
        "kick",
        run_kick,
        help="disconnect clients",
        description="Disconnects the clients that fit all given filters, at least one. They are"
        " closed with 1008, after which c10k.js does not reconnect; with --reconnect with 1012.",
    )
    _add_filters(parser)
    parser.add_argument(
        "--reconnect", action="store_true", help="let the clients connect again at once"
    )
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="sent to the clients; at most 123 bytes"
    )


def _add_filters(parser: argparse.ArgumentParser) -> None:
    for name, help_text in FILTERS.items():
        parser.add_argument(f"--{name}", default="", metavar=name.upper(), help=help_text)


def _given(arguments: argparse.Namespace) -> dict[str, str]:
    return {name: value for name in FILTERS if (value := getattr(arguments, name))}


def run_clients(arguments: argparse.Namespace) -> int:
    """Print the clients."""
    answer = ask(arguments, "clients", limit=arguments.limit, **_given(arguments))
    if arguments.json:
        print_json(answer)
        return 0
    rows = [
        [
            each["node"],
            each["id"],
            each["kind"],
            text(each["path"]),
            text(each["user"]) or "-",
            each["address"],
            size(each["queued_bytes"]),
            _topics(each),
        ]
        for each in answer["clients"]
    ]
    headings = ["node", "id", "kind", "path", "user", "address", "queued", "topics"]
    print(table(headings, rows, left=len(headings)))
    if answer["total"] > len(rows):
        print(f"… and {answer['total'] - len(rows):,} more (--limit)")
    warn_of_silence(answer)
    return 0


def _topics(client: dict[str, Any]) -> str:
    shown = client["topics"][:3]
    more = client["topics_total"] - len(shown)
    return ", ".join(map(text, shown)) + (f" and {more} more" if more > 0 else "")


def run_kick(arguments: argparse.Namespace) -> int:
    """Disconnect clients, and print how many."""
    wanted = _given(arguments)
    if not wanted:
        names = ", ".join(f"--{name}" for name in FILTERS)
        raise OperationFailed(f"kick needs a filter: {names}")
    if len(arguments.reason.encode()) > 123:
        raise OperationFailed("--reason has at most 123 bytes")
    code = {"code": CLOSE_RESTART} if arguments.reconnect else {}
    answer = ask(arguments, "disconnect", reason=arguments.reason, **code, **wanted)
    if arguments.json:
        print_json(answer)
    else:
        count = answer["disconnected"]
        print(f"disconnected {count:,} client{'' if count == 1 else 's'}")
        warn_of_silence(answer)
    return 0
