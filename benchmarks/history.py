"""CPU time of a publication with history in the broker, with and without its file.

    python -m benchmarks.history [--runs 3] [--json]

One process hands publications of 150 bytes to a broker of four nodes, without sockets: the nodes'
messages are decoded, numbered and encoded, and the file is written as in a cluster. The topic has
subscribers on none, one or all four of the nodes. The command prints µs CPU a publication, as the
least of the runs, because other load of the machine only adds to it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from benchmarks import command
from cluster.broker.broker import Broker
from cluster.core import wire
from workers.cli.argument_types import positive

PUBLICATIONS = 40_000
SUBSCRIBERS = (0, 1, 4)
DEPTH = 15


class Link:
    """A ROUTER socket that takes everything."""

    def send(self, parts: list[bytes]) -> bool:
        return True


def measure(subscribers: int, with_file: bool) -> float:
    """Make one run; returns µs CPU a publication."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker("ipc:///unused", clock, history=str(Path(folder, "history")))
        broker._link = Link()  # type: ignore[assignment]
        if with_file:
            broker.load_history()
        for number in range(4):
            name = b"node%d" % number
            broker._received([name, wire.encode(wire.Hello())])
            if number < subscribers:
                broker._received([name, wire.encode(wire.NodeSubscriptions("", (b"topic",)))])
        messages = [
            wire.encode(wire.Retain(b"topic", DEPTH, bytes(150), 0, number + 1))
            for number in range(PUBLICATIONS)
        ]
        before = time.process_time()
        for number, message in enumerate(messages):
            broker._received([b"node0", message])
            if number % 50 == 0:
                clock.advance(0.01)
        clock.advance(1)
        return (time.process_time() - before) / PUBLICATIONS * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command.parser("history", __doc__)
    parser.add_argument(
        "--runs", type=positive, default=3, metavar="N", help="runs of each, interleaved (3)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options: argparse.Namespace = parser.parse_args(arguments)
    runs = [
        {(count, file): measure(count, file) for count in SUBSCRIBERS for file in (False, True)}
        for _ in range(options.runs)
    ]
    result: list[dict[str, Any]] = [
        {
            "subscribed_nodes": count,
            **{
                name: round(min(run[count, file] for run in runs), 2)
                for name, file in (("without_file", False), ("with_file", True))
            },
        }
        for count in SUBSCRIBERS
    ]
    if options.json:
        print(json.dumps({"unit": "µs CPU a publication", "publications": result}))
        return
    print(f"µs CPU a publication in the broker, least of {options.runs}")
    print(f"{'subscribed nodes':18}{'without file':>14}{'with file':>12}")
    for row in result:
        without, with_file = row["without_file"], row["with_file"]
        print(f"{row['subscribed_nodes']:<18}{without:14.2f}{with_file:12.2f}")


if __name__ == "__main__":
    main()
