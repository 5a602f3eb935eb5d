"""`swarm socketio`: clients of a Socket.IO server, in rooms, over WebSocket and long polling."""

import argparse
import secrets
from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.cli.argument_types import path, positive, seconds
from workers.cli.options import add_common_arguments
from workers.cli.run import Run
from workers.processes.swarm import Stopped
from workers.reporting.summary import (
    Outcome,
    Reports,
    cpu_seconds_of,
    failure_lines,
    merged_counts,
    merged_latencies,
    milliseconds,
    plural,
    times_line,
)
from workers.socketio.clients import SocketIoPlan, SocketIoShard
from workers.socketio.engine_dialer import TRANSPORTS, websocket_path

PATH = "/test/socket.io/"
LEAD = 0.2  # seconds from the command to the first message, so that every process has received it

DESCRIPTION = """\
Connect many clients to a Socket.IO server, each of which joins a room, sends events that the server
acknowledges with what they contain, and checks every acknowledgement. One client of each room
publishes to it; every client must receive each message of its room once and in order.
"""

EPILOG = """\
The server has three events: "join" with a room, acknowledged; "echo" with a text, acknowledged with
the text; "publish" with a text and a room, which sends "message" with the text to the room.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--clients", type=positive, default=1000, metavar="N", help="clients (1000)")
    add(
        "--transport",
        action="append",
        choices=TRANSPORTS,
        help="how clients connect; upgrade: by polling, and then WebSocket; repeat it for clients "
        "that take turns (websocket)",
    )
    add("--rooms", type=positive, default=1, metavar="N", help="rooms (1)")
    add(
        "--rate",
        type=seconds,
        default=10.0,
        metavar="RATE",
        help="messages a second, of all publishers together (10)",
    )
    add(
        "--seconds",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to publish, and to echo (10)",
    )
    add(
        "--pause",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="pause before each of a client's echoes (1)",
    )
    add(
        "--drain",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for messages after the last one was sent (10)",
    )
    add(
        "--reconnect",
        action="store_true",
        help="clients that lose their connection connect again, with what they need for the "
        "recovery of their session; what they miss is an error only if the server has recovered it",
    )
    add("--path", type=path, default=PATH, help=f"path of the server ({PATH})")
    add_common_arguments(parser)


def run(options: Mapping[str, Any]) -> int:
    """Returns the exit status."""
    return Run(
        options,
        options["clients"],
        _socketio,
        paths=[websocket_path(options["path"])],
        rate_of=("delivered", "deliveries/s"),
    ).status()


async def _socketio(run: Run) -> Outcome:
    options = run.options
    plan = SocketIoPlan(
        **run.common(websocket_path(options["path"])),
        engine_path=options["path"],
        transports=tuple(options["transport"] or ["websocket"]),
        rooms=min(options["rooms"], run.clients),
        room=f"swarm-{secrets.token_hex(6)}",
        rate=options["rate"],
        messages=max(1, round(options["rate"] * options["seconds"])),
        echoes=max(1, round(options["seconds"] / options["pause"])),
        pause=options["pause"],
        reconnect=options["reconnect"],
    )
    swarm = run.swarm(SocketIoShard, plan, run.stop_without_clients)
    published = 0.0

    async def steps() -> None:
        nonlocal published
        reports = await swarm.all("connected")
        missing = plan.clients - sum(report["opened"] for report in reports)
        if missing:
            raise Stopped(f"{missing:,} of {plan.clients:,} clients could not connect")
        if not await swarm.all("joined", options["timeout"]):
            raise Stopped(f"not every client has joined its room within {options['timeout']:g} s")
        swarm.do("announce")
        if not await swarm.all("announced", options["timeout"]):
            raise Stopped(
                f"not every client has received an announcement within {options['timeout']:g} s"
            )
        run.status_line.say("every client is in its room; publishing begins")
        began = monotonic() + LEAD
        swarm.do("publish", at=began)
        await swarm.all("published")
        published = monotonic() - began
        await swarm.all("done", options["drain"])

    reports = await swarm.through(steps())
    return _outcome(plan, reports, published)


def _outcome(plan: SocketIoPlan, reports: Reports, published: float) -> Outcome:
    """Return the outcome. published: the seconds that the publishers took."""
    tally = merged_counts(reports, "tally")
    uncertain = {(room, number) for report in reports for room, number in report["uncertain"]}
    missing = [
        (tuple(message), count) for report in reports for message, count in report["missing"]
    ]
    wrong = {
        "lost": sum(count for message, count in missing if message not in uncertain),
        "duplicates": sum(report["duplicates"] for report in reports),
        "out_of_order": sum(report["out_of_order"] for report in reports),
    }
    wrong_line = (
        f"{wrong['lost']:,} lost, {plural(wrong['duplicates'], 'duplicate')}, "
        f"{wrong['out_of_order']:,} out of order"
    )
    echoes = plan.clients * plan.echoes
    problems = failure_lines(reports)
    if tally["published"] < plan.messages and not plan.reconnect:
        problems.append(f"only {tally['published']:,} of {plan.messages:,} messages were sent")
    if any(wrong.values()):
        problems.append(f"deliveries: {wrong_line}")
    if tally["echoes"] < echoes:
        problems.append(f"only {tally['echoes']:,} of {echoes:,} echoes were acknowledged")
    values = {
        "clients": plan.clients,
        "transports": list(plan.transports),
        "rooms": plan.rooms,
        "upgraded": tally["upgraded"],
        "echoes": tally["echoes"],
        "published": tally["published"],
        "delivered": tally["delivered"],
        **wrong,
        "uncertain": len(uncertain),
        "recovered": tally["recovered"],
        "unrecovered": tally["unrecovered"],
        "losses": merged_counts(reports, "losses"),
        "failed": tally["failed"],
        "failures": merged_counts(reports, "failures"),
        "connect_ms": milliseconds(merged_latencies(reports, "connect"), 50, 99, 100),
        "echo_ms": milliseconds(merged_latencies(reports, "echo"), 50, 99, 100),
        "latency_ms": milliseconds(merged_latencies(reports, "delivery"), 50, 99, 99.9, 100),
        "seconds": round(published, 3),
        "cpu_seconds": cpu_seconds_of(reports),
    }
    lines = [
        f"{plural(plan.clients, 'client')} by {', '.join(plan.transports)}: "
        f"{plural(tally['echoes'], 'acknowledged echo', 'acknowledged echoes')}",
        f"{plural(tally['published'], 'message')} to {plural(plan.rooms, 'room')}: "
        f"{plural(tally['delivered'], 'delivery', 'deliveries')}, {wrong_line}",
        *(
            [
                f"reconnects: {tally['recovered']:,} recovered, {tally['unrecovered']:,} not; "
                f"{plural(len(uncertain), 'message')} that may not have been sent"
            ]
            if plan.reconnect
            else []
        ),
        times_line("connect time", values["connect_ms"]),
        times_line("echo time", values["echo_ms"]),
        times_line("delivery latency", values["latency_ms"]),
    ]
    return Outcome(values, lines, problems)
