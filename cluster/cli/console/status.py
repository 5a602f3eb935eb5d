"""``c10k status``, ``nodes`` and ``top``: the state of a cluster and of its processes."""

import argparse
import shutil
import time
from collections.abc import Callable
from typing import Any

from cluster.cli.console.control_client import add_command, ask
from cluster.cli.console.output import duration, number, print_json, size, table, text

EXIT_NOT_READY = 3
"""As systemctl's for a unit that is not active."""

CLEAR = "\x1b[H\x1b[J"

_COLUMNS = (
    "process", "state", "pid", "up", "starts", "conns", "in/s", "out/s", "queue", "views", "CPU",
    "RSS", "last end",
)  # fmt: skip


def add_to(subparsers: Any) -> None:
    """Declare the subcommands."""
    for name, run, help_text in (
        ("status", run_status, "show whether the cluster is ready, and what it does"),
        ("nodes", run_nodes, "list the processes"),
    ):
        add_command(
            subparsers,
            name,
            run,
            help=help_text,
            description=f"{help_text[0].upper()}{help_text[1:]}. The exit status is"
            f" {EXIT_NOT_READY} if the cluster is not ready.",
        )
    parser = add_command(
        subparsers,
        "top",
        run_top,
        help="show the status every two seconds, until Ctrl-C",
        description="Shows the status repeatedly, until Ctrl-C.",
        json="",
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="between two pictures [default: 2]",
    )


def run_status(arguments: argparse.Namespace) -> int:
    """Print the status."""
    return _print(arguments, status_text)


def run_nodes(arguments: argparse.Namespace) -> int:
    """Print the table of the processes."""
    return _print(arguments, lambda status: processes_text(status["processes"]))


def _print(arguments: argparse.Namespace, render: Callable[[dict[str, Any]], str]) -> int:
    status = ask(arguments, "status")
    if arguments.json:
        print_json(status)
    else:
        print(render(status))
    return 0 if status["state"] in ("ready", "degraded") else EXIT_NOT_READY


def run_top(arguments: argparse.Namespace) -> int:
    """Show the status until Ctrl-C."""
    try:
        while True:
            status = ask(arguments, "status")
            lines = status_text(status).splitlines()
            print(CLEAR + "\n".join(lines[: shutil.get_terminal_size().lines - 1]), flush=True)
            time.sleep(max(0.1, arguments.interval))
    except KeyboardInterrupt:
        return 0


def status_text(status: dict[str, Any]) -> str:
    """The whole status as lines of text."""
    connections, messages, lost, views, handshakes = (
        status[name] for name in ("connections", "messages", "lost", "views", "handshakes")
    )
    reasons = "".join(f"\n  {reason}" for reason in status["reasons"])
    uplink = status.get("uplink")  # a supervisor of an earlier release has none
    lines = [
        f"{status['state']}  {status['settings']}  {', '.join(status['urls'])}"
        f"  up {duration(status['uptime'])}{reasons}",
        "",
        f"connections  {number(connections['open'])} of {number(connections['capacity'])}"
        f", {connections['stream']} streams, {connections['poll']} polls",
        f"messages     {number(messages['in'])}/s in, {number(messages['out'])}/s out",
        f"lost         {_counts(lost['by_reason'])} in {lost['seconds'] // 60} min,"
        f" {lost['gaps']} gaps",
        f"views        {views['busy']} busy, {views['waiting']} of {views['capacity']} waiting,"
        f" {views['refused']} refused",
        f"handshakes   {number(handshakes['rate'])}/s, refused {_counts(handshakes['refused'])}",
        *([] if uplink is None else [_machines_text(uplink)]),
        "",
        processes_text(status["processes"]),
    ]
    if status["topics"]:
        lines += ["", topics_text(status["topics"][:5])]
    if status["events"]:
        lines += ["", *(event_line(event) for event in status["events"][:8])]
    return "\n".join(lines)


def _machines_text(uplink: dict[str, Any]) -> str:
    others = ", ".join(uplink["machines"]) or "no other"
    state = f"{uplink['state']} for {duration(uplink['seconds'])}"
    return f"machines     this one is {uplink['machine']}, {state}; others: {others}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number(count)}" for name, count in counts.items()) or "none"


def processes_text(processes: list[dict[str, Any]]) -> str:
    """The table of the processes."""
    return table(_COLUMNS, [_row(each) for each in processes], left=2)


def _row(process: dict[str, Any]) -> list[str]:
    cpu = process["cpu"]
    if process["kind"] == "node":
        views = f"{number(process['views_busy'])}/{number(process['views_waiting'])}"
        traffic = [number(process[name]) for name in ("connections", "in", "out")]
    else:
        views = "-"
        traffic = ["-", f"{number(process['batches'])} batches", size(process["bytes"])]
    return [
        process["name"],
        process["state"],
        str(process["pid"] or "-"),
        duration(process["uptime"]),
        str(process["starts"]),
        *traffic,
        size(process["queue"]),
        views,
        "-" if cpu is None else f"{cpu:.0%}",
        size(process["rss"]),
        process["last_end"] or "-",
    ]


def topics_text(topics: list[dict[str, Any]]) -> str:
    """The table of topics."""
    rows = [
        [text(each["topic"]), number(each["subscribers"]), number(each["history"])]
        for each in topics
    ]
    return table(["topic", "subscribers", "history"], rows)


def event_line(event: dict[str, Any]) -> str:
    """One event as a line."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    process = f"{event['process']} " if event["process"] else ""
    times = f" ×{event['count']:,}" if event["count"] > 1 else ""
    return f"{when}  {event['level']:5}  {process}{text(event['text'])}{times}"
