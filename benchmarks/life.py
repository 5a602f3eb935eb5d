"""One Game of Life on this cluster and on other servers: `python -m benchmarks.life`.

    python -m benchmarks.life                     32x32, 100 steps, three rounds: some minutes
    python -m benchmarks.life -s 100 -n 10 --rounds 5 --json > life.json

Each round starts the cluster with 1, 2 and 4 nodes, plain Autobahn and the `websockets` library,
one after the other, and plays the same game on each, so that other load on the machine affects all
of them. Every game is compared with the correct one.

CPU time is the user and system time of all the server's processes (/proc/PID/stat) from the first
cell's start until the last one has finished, without handshakes, closing and the swarm. The swarm
and the server share the machine, so both determine the steps per second; the CPU time per step is
that of the server only.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import command, environments, rounds
from benchmarks.servers import ROOT, Candidate, Failed, Server, cluster, competitor
from workers.cli.argument_types import positive


@dataclass(slots=True)
class Game:
    """The measurements of one game. CPU time in milliseconds per step, by kind of process."""

    steps_per_second: float
    latency_ms: dict[str, float]
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def cpu_ms(self) -> float:
        return sum(self.cpu.values())


def play(
    server: Server, size: int, steps: int, processes: int | None = None, rate: float = 0
) -> Game:
    """Play one verified game on a running server, at `rate` steps per second (0: no limit)."""
    swarm_command = [sys.executable, "-m", "workers", "life", "--url", server.url, "--seed", "1"]
    swarm_command += ["-s", str(size), "-n", str(steps), "-l", str(rate)]
    swarm_command += ["--verify", "--json", "--events"]
    if processes:
        swarm_command += ["--processes", str(processes)]
    before: dict[int, tuple[str, float]] = {}
    after: dict[int, tuple[str, float]] = {}
    summary: dict[str, Any] = {}
    with subprocess.Popen(swarm_command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as swarm:
        assert swarm.stdout is not None
        for line in swarm.stdout:
            said = json.loads(line)
            if said.get("event") == "running":
                before = server.cpu_seconds()
            elif said.get("event") == "stepped":
                after = server.cpu_seconds()
            elif "event" not in said:
                summary = said
    if swarm.returncode or not summary.get("verified"):
        raise Failed(f"the swarm failed: {summary.get('errors')}")
    game = Game(summary["steps_per_second"], summary["latency_ms"])
    for pid, (kind, seconds) in after.items():
        spent = seconds - before.get(pid, (kind, 0.0))[1]
        game.cpu[kind] = game.cpu.get(kind, 0.0) + spent * 1000 / steps
    return game


def median(games: Iterable[Game], kind: str | None = None) -> float:
    return statistics.median(g.cpu_ms if kind is None else g.cpu.get(kind, 0.0) for g in games)


def report(results: dict[str, list[Game]]) -> list[dict[str, Any]]:
    """Return the medians of each candidate, as in the JSON output."""
    rows = []
    for name, games in results.items():
        kinds = sorted({kind for game in games for kind in game.cpu})
        rows.append(
            {
                "server": name,
                "steps_per_second": round(statistics.median(g.steps_per_second for g in games), 2),
                "latency_ms": {
                    part: round(statistics.median(g.latency_ms[part] for g in games), 2)
                    for part in ("p50", "p99")
                },
                "cpu_ms_a_step": round(median(games), 2),
                "cpu_ms_a_step_by_process": {kind: round(median(games, kind), 2) for kind in kinds},
                "rounds_cpu_ms_a_step": [round(game.cpu_ms, 2) for game in games],
                "rounds_steps_per_second": [round(game.steps_per_second, 2) for game in games],
            }
        )
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    width = max(len(row["server"]) for row in rows)
    print(f"{'':{width}}  steps/s  p50 ms  p99 ms  CPU ms/step  of which")
    for row in rows:
        parts = row["cpu_ms_a_step_by_process"]
        which = ", ".join(f"{kind} {ms:.1f}" for kind, ms in parts.items() if len(parts) > 1)
        print(
            f"{row['server']:{width}}  {row['steps_per_second']:7.1f}  "
            f"{row['latency_ms']['p50']:6.1f}  {row['latency_ms']['p99']:6.1f}  "
            f"{row['cpu_ms_a_step']:11.1f}  {which}"
        )
    print("\nCPU a step, the row divided by the column:")
    print(f"{'':{width}}  " + "  ".join(row["server"] for row in rows))
    for row in rows:
        ratios = []
        for other in rows:
            ratio = row["cpu_ms_a_step"] / (other["cpu_ms_a_step"] or float("nan"))
            ratios.append(f"{ratio:{len(other['server'])}.2f}")
        print(f"{row['server']:{width}}  " + "  ".join(ratios))


def candidates(options: argparse.Namespace) -> list[Candidate]:
    found = [cluster(nodes) for nodes in options.nodes]
    if not options.no_competitors:
        autobahn = environments.python_for("autobahn", options.cache)
        websockets = environments.python_for("websockets", options.cache)
        found += [
            competitor("Autobahn", autobahn, "autobahn_life"),
            competitor("Autobahn, prepared", autobahn, "autobahn_life", "--prepared"),
            competitor("websockets", websockets, "websockets_life"),
        ]
    return found


def parser() -> argparse.ArgumentParser:
    found = command.parser("life", __doc__)
    command.add_output_options(found)
    environments.add_option(found)
    add_game_options(found)
    add = found.add_argument
    add(
        "--nodes",
        type=_numbers,
        default=[1, 2, 4],
        metavar="N,…",
        help="of the clusters, with commas (1,2,4)",
    )
    add("--no-competitors", action="store_true", help="the clusters only")
    add("--processes", type=positive, metavar="N", help="of the swarm; default: its own choice")
    return found


def add_game_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-s", "--size", type=positive, default=32, metavar="N", help="rows and columns (32)")
    add("-n", "--steps", type=positive, default=100, metavar="N", help="steps of a game (100)")


def _numbers(text: str) -> list[int]:
    return [positive(number) for number in text.split(",") if number]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    everybody = candidates(options)
    results: dict[str, list[Game]] = {candidate.name: [] for candidate in everybody}
    with command.scratch_folder() as folder:
        for number, candidate in rounds.turns(everybody, options.rounds):
            with Server(candidate, folder) as server:
                game = play(server, options.size, options.steps, options.processes)
            results[candidate.name].append(game)
            said = f"{game.steps_per_second:.1f} steps/s, {game.cpu_ms:.1f} ms CPU a step"
            rounds.note(number, candidate.name, said)
    rows = report(results)
    if options.json:
        names = ("size", "steps", "rounds")
        print(json.dumps({**{name: vars(options)[name] for name in names}, "servers": rows}))
    else:
        print_table(rows)
    return 0


if __name__ == "__main__":
    command.run(main)
