"""Several machines that share a Redis: `python -m benchmarks.machines`.

    python -m benchmarks.machines                               all parts, three rounds: 25 minutes
    python -m benchmarks.machines --only link --rounds 1
    python -m benchmarks.machines --only alone --before ../other-checkout

All machines are clusters on this host, with a Redis on a free port. CPU time is that of all server
processes and of Redis. The parts are

link         a publication from a node of machine A to a node of machine B, by batch
subscribing  a subscription of a node of machine A, until a node of machine B knows it
engine       Redis alone, by number of machines and bytes for each
broadcast    1,000 subscribers on 2 machines × 2 nodes; Channels and python-socketio with Redis
barrier      the release of a barrier with one party on each machine
alone        one machine without a bus, and with a bus that has no other machine

--only TEXT selects by "PART: ROW".
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import command, environments, load, measurements, rounds
from benchmarks.broadcast import Plan
from benchmarks.machines import alone, barrier, broadcast, engine, link
from benchmarks.machines.link_processes import LOADS
from benchmarks.measurements import Measurements
from workers.cli.argument_types import positive, seconds

SUBSCRIPTIONS = 50_000
MEETINGS = 100
ALONE_RATE = 100.0  # messages a second

RATIO_OF = {"broadcast": ["µs CPU a delivery"]}


@dataclass(frozen=True, slots=True)
class Run:
    """One row of one part. name: "PART: ROW"."""

    name: str
    measure: Callable[[Path], Measurements]

    @property
    def part(self) -> str:
        """The name of the part."""
        return self.name.partition(": ")[0]

    @property
    def row(self) -> str:
        """The name of the row."""
        return self.name.partition(": ")[2]


def runs(options: argparse.Namespace) -> tuple[list[Run], command.Versions]:
    """Return the rows that --only selects, and the versions of the competitors among them."""

    def plan(rate: float) -> Plan:
        return Plan(options.subscribers, 1, rate, options.seconds)

    found = [Run(f"link: {name}", partial(link.publications, name, 2)) for name in LOADS]
    for name in LOADS:
        found.append(Run(f"link: {name}, one machine", partial(link.publications, name, 1)))
    name = f"subscribing: {SUBSCRIPTIONS:,} topics"
    found.append(Run(name, partial(link.subscriptions, SUBSCRIPTIONS)))
    for each in engine.LOADS:
        found.append(Run(f"engine: {each.name}", partial(engine.measure, each)))
    for rate in map(float, options.rates.split(",")):
        for site in (*broadcast.CLUSTERS, *broadcast.COMPETITORS):
            name = f"broadcast: {site.name}, {rate:g}/s"
            found.append(Run(name, partial(broadcast.measure, site, plan(rate), options.cache)))
    for case in barrier.CASES:
        found.append(Run(f"barrier: {case.name}", partial(barrier.measure, case, options.meetings)))
    for one in alone.candidates(options.before):
        found.append(Run(f"alone: {one.name}", partial(alone.measure, one, plan(ALONE_RATE))))

    selected = rounds.chosen(found, options.only)
    competitors = {
        site.competitor
        for site in broadcast.COMPETITORS
        if any(run.name.startswith(f"broadcast: {site.name},") for run in selected)
    }
    versions = {
        name: environments.versions(name, environments.python_for(name, options.cache))
        for name in sorted(competitors)
    }
    return selected, versions


def parser() -> argparse.ArgumentParser:
    found = command.arguments("machines", __doc__)
    environments.add_option(found)
    add = found.add_argument
    add("--subscribers", type=positive, default=1_000, metavar="N", help="in all (1000)")
    add("--rates", default="100,5", metavar="RATE,…", help="messages a second (100,5)")
    add("--seconds", type=seconds, default=3.0, metavar="S", help="of publishing (3)")
    add("--meetings", type=positive, default=MEETINGS, metavar="N", help=f"({MEETINGS})")
    add("--before", type=Path, metavar="DIR", help="a checkout of another revision, for alone")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    load.allow_descriptors(options.subscribers)
    before = command.machine()
    selected, versions = runs(options)
    with command.scratch_folder() as folder:
        results = rounds.measured(selected, options.rounds, lambda run: run.measure(folder))
    parts: dict[str, rounds.Results] = {}
    for run in selected:
        parts.setdefault(run.part, rounds.Results())[run.row] = results[run.name]
    reports = {
        part: command.report(options, before, rows, RATIO_OF.get(part, ()), {})
        for part, rows in parts.items()
    }
    if options.json:
        common = command.report(options, before, rounds.Results(), (), versions)
        found = {
            **{name: common[name] for name in ("options", "machine", "versions")},
            "failed_runs": results.failed,
            "parts": {
                part: {name: report[name] for name in ("medians", "ratios", "rounds")}
                for part, report in reports.items()
            },
        }
        measurements.print_report(found, as_json=True)
        return 0
    for part, report in reports.items():
        print(f"\n## {part}\n")
        measurements.print_report(report, as_json=False)
    for failed in results.failed:
        print(f"\nFailed, and repeated: {failed}")
    return 0
