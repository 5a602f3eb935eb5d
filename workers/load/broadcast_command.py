"""`swarm broadcast`: checks and measures the delivery of messages to many subscribers."""

import argparse
import re
import secrets
from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.cli.argument_types import positive, seconds
from workers.cli.options import add_common_arguments
from workers.cli.run import Run
from workers.load.broadcast_clients import BroadcastPlan, BroadcastShard
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

PATH = "/broadcast/{}/?role={}"
LEAD = 0.2  # seconds from the command to the first message, so that every process has received it

DESCRIPTION = """\
Subscribe many clients to one topic, publish to it at a steady rate, and check that every subscriber
receives every message once and in its publisher's order. Delivery latency is the time from sending
a message to receiving it, by the clock that all processes of this machine share.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--subscribers", type=positive, default=1000, metavar="N", help="subscribers (1000)")
    add("--publishers", type=positive, default=1, metavar="N", help="publishers (1)")
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
        help="how long to publish (10)",
    )
    add(
        "--drain",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for messages after the last one was sent (10)",
    )
    add("--topic", type=_topic, metavar="NAME", help="the topic's name; default: a new topic")
    add_common_arguments(parser)


def run(options: Mapping[str, Any]) -> int:
    """Returns the exit status."""
    options = {**options, "topic": options["topic"] or f"swarm-{secrets.token_hex(6)}"}
    return Run(
        options,
        options["publishers"] + options["subscribers"],
        _broadcast,
        paths=[PATH.format(options["topic"], "subscriber")],
        rate_of=("delivered", "deliveries/s"),
    ).status()


async def _broadcast(run: Run) -> Outcome:
    options = run.options
    plan = BroadcastPlan(
        **run.common(PATH.format(options["topic"], "subscriber")),
        publisher_path=PATH.format(options["topic"], "publisher"),
        publishers=options["publishers"],
        rate=options["rate"],
        messages=max(1, round(options["rate"] * options["seconds"])),
    )
    swarm = run.swarm(BroadcastShard, plan, run.stop_without_clients)
    published = 0.0

    async def steps() -> None:
        nonlocal published
        reports = await swarm.all("connected")
        missing = plan.clients - sum(report["opened"] for report in reports)
        if missing:
            raise Stopped(f"{missing:,} of {plan.clients:,} clients could not connect")
        swarm.do("announce")
        if not await swarm.all("announced", options["timeout"]):
            raise Stopped(
                "not every subscriber has received an announcement from every publisher within "
                f"{options['timeout']:g} s"
            )
        run.status_line.say("every subscriber is subscribed; publishing begins")
        began = monotonic() + LEAD
        swarm.do("publish", at=began)
        await swarm.all("published")
        published = monotonic() - began
        await swarm.all("done", options["drain"])

    reports = await swarm.through(steps())
    return _outcome(plan, reports, published)


def _outcome(plan: BroadcastPlan, reports: Reports, published: float) -> Outcome:
    """Return the outcome. published: the seconds that the publishers took."""
    tally = merged_counts(reports, "tally")
    wrong = {
        "lost": max(0, tally["published"] * plan.subscribers - tally["delivered"]),
        "duplicates": sum(report["duplicates"] for report in reports),
        "out_of_order": sum(report["out_of_order"] for report in reports),
    }
    wrong_line = (
        f"{wrong['lost']:,} lost, {plural(wrong['duplicates'], 'duplicate')}, "
        f"{wrong['out_of_order']:,} out of order"
    )
    latency = milliseconds(merged_latencies(reports, "delivery"), 50, 99, 99.9, 100)
    late = round(max((report["late"] for report in reports), default=0.0) * 1000, 3)
    speed = round(tally["published"] / published, 1) if published else None
    problems = failure_lines(reports)
    if tally["published"] < plan.messages:
        problems.append(f"only {tally['published']:,} of {plan.messages:,} messages were sent")
    if any(wrong.values()):
        problems.append(f"deliveries: {wrong_line}")
    lines = [
        f"{plural(tally['published'], 'message')} to {plural(plan.subscribers, 'subscriber')}: "
        f"{plural(tally['delivered'], 'delivery', 'deliveries')}",
        wrong_line,
        times_line("delivery latency", latency),
    ]
    if speed is not None:
        lines.append(f"{speed:,.0f} messages/s sent, at most {late:,.1f} ms behind schedule")
    values = {
        "subscribers": plan.subscribers,
        "publishers": plan.publishers,
        "rate": plan.rate,
        "published": tally["published"],
        "published_per_second": speed,
        "delivered": tally["delivered"],
        **wrong,
        "failed": tally["failed"],
        "failures": merged_counts(reports, "failures"),
        "latency_ms": latency,
        "sent_late_ms": late,
        "seconds": round(published, 3),
        "cpu_seconds": cpu_seconds_of(reports),
    }
    return Outcome(values, lines, problems)


def _topic(text: str) -> str:
    if not re.fullmatch(r"[\w-]{1,100}", text, re.ASCII):
        raise argparse.ArgumentTypeError("must be letters, digits, - and _ only")
    return text
