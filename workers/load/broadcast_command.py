"""`swarm broadcast`: what one says, a thousand hear; how soon, how often, and in which order."""

import argparse
import re
import secrets
from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.cli.argument_types import positive, seconds
from workers.cli.run import Run, add_common_arguments, play
from workers.load.broadcast_clients import BroadcastPlan
from workers.processes.swarm import Report, Stopped, added, counted
from workers.reporting.summary import Outcome, cpu_of, failures_of, milliseconds, times_line

PATH = "/broadcast/{}/?role={}"
LEAD = 0.2  # seconds from "go" to the first message: for "go" to reach every process

DESCRIPTION = """\
Subscribe many clients to one topic, publish to it at a steady rate, and check that every subscriber
gets every message once and in its publisher's order. Delivery latency is from a message's sending
to its hearing, by a clock that all processes of this machine share.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--subscribers", type=positive, default=1000, metavar="N", help="clients that hear (1000)")
    add("--publishers", type=positive, default=1, metavar="N", help="clients that speak (1)")
    add(
        "--rate",
        type=seconds,
        default=100.0,
        metavar="RATE",
        help="messages a second, of all publishers together (100)",
    )
    add(
        "--seconds",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long they speak (10)",
    )
    add(
        "--drain",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for messages after the last was sent (10)",
    )
    add("--topic", type=_topic, metavar="NAME", help="what they speak of; default: a new topic")
    add_common_arguments(parser)


def run(options: Mapping[str, Any]) -> int:
    """The exit status."""
    options = {**options, "topic": options["topic"] or f"swarm-{secrets.token_hex(6)}"}
    return play(
        options,
        options["publishers"] + options["subscribers"],
        [PATH.format(options["topic"], "subscriber")],
        _broadcast,
        rate_of=("delivered", "deliveries/s"),
    )


async def _broadcast(run: Run) -> Outcome:
    options = run.options
    plan = BroadcastPlan(
        **run.common(PATH.format(options["topic"], "subscriber")),
        publisher_path=PATH.format(options["topic"], "publisher"),
        publishers=options["publishers"],
        rate=options["rate"],
        messages=max(1, round(options["rate"] * options["seconds"])),
    )
    load = run.load("broadcast", plan, run.stop_without_clients)
    spoke = 0.0

    async def steps() -> None:
        nonlocal spoke
        reports = await load.all("connected")
        missing = plan.clients - sum(report["opened"] for report in reports)
        if missing:
            raise Stopped(f"{missing:,} of {plan.clients:,} clients could not connect")
        load.do("call")
        if not await load.all("called", options["timeout"]):
            raise Stopped(
                f"not every subscriber heard every publisher's call within {options['timeout']:g} s"
            )
        run.status_line.say(f"all {plan.subscribers:,} subscribers hear every publisher")
        began = monotonic() + LEAD
        load.do("go", at=began)
        await load.all("published")
        spoke = monotonic() - began
        await load.all("done", options["drain"])

    reports = await run.through(load, steps())
    return _outcome(plan, reports, spoke)


def _outcome(plan: BroadcastPlan, reports: list[Report], spoke: float) -> Outcome:
    tally = counted(reports, "tally")
    wrong = {
        "lost": max(0, tally["published"] * plan.subscribers - tally["delivered"]),
        "duplicates": sum(report["duplicates"] for report in reports),
        "out_of_order": sum(report["out_of_order"] for report in reports),
    }
    latency = milliseconds(added(reports, "delivery"), 50, 99, 99.9, 100)
    late = round(max((report["late"] for report in reports), default=0.0) * 1000, 3)
    speed = round(tally["published"] / spoke, 1) if spoke else None
    problems = failures_of(reports)
    if tally["published"] < plan.messages:
        problems.append(f"only {tally['published']:,} of {plan.messages:,} messages were sent")
    if any(wrong.values()):
        problems.append(
            f"{wrong['lost']:,} deliveries lost, {wrong['duplicates']:,} twice, "
            f"{wrong['out_of_order']:,} out of order"
        )
    lines = [
        f"{tally['published']:,} messages to {plan.subscribers:,} subscribers: "
        f"{tally['delivered']:,} deliveries",
        f"{wrong['lost']:,} lost, {wrong['duplicates']:,} twice, "
        f"{wrong['out_of_order']:,} out of order",
        times_line("delivery", latency),
    ]
    if speed is not None:
        lines.append(f"{speed:,.0f} messages/s sent, at most {late:,.1f} ms after their time")
    figures = {
        "subscribers": plan.subscribers,
        "publishers": plan.publishers,
        "rate": plan.rate,
        "published": tally["published"],
        "published_per_second": speed,
        "delivered": tally["delivered"],
        **wrong,
        "failed": tally["failed"],
        "failures": counted(reports, "failures"),
        "latency_ms": latency,
        "sent_late_ms": late,
        "seconds": round(spoke, 3),
        "cpu_seconds": cpu_of(reports),
    }
    return Outcome(figures, lines, problems)


def _topic(text: str) -> str:
    if not re.fullmatch(r"[\w-]{1,100}", text, re.ASCII):
        raise argparse.ArgumentTypeError("must be letters, digits, - and _ only")
    return text
