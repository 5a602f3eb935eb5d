"""What Redis, brokers and nodes carry at 10, 50 and 200 machines: `python -m benchmarks.capacity`.

    python -m benchmarks.capacity                                docs/benchmarks/machines.json
    python -m benchmarks.machines --json > new.json && python -m benchmarks.capacity new.json

The results are computed, not measured: from the costs in the output of `benchmarks.machines`, for
three workloads. A machine has 4 nodes and 10,000 clients; a message has 200 bytes.

notifications   each client receives a message a minute from any machine, on a topic of its own, and
                stays for ten minutes
rooms           each client is one of 50 in a room, sends a message a minute, and stays for ten
                minutes; the members of a room are spread over all machines
one topic       ten messages a second from one machine to all clients of the site

A broker writes at once, unless it or Redis is still busy with its last write. So neither is more
than busy: writes become rarer and larger, and messages take longer. "writes every ms" is the
shortest time between two writes of one broker with which Redis and brokers need at most 70 % of a
core each.

A part saturates at 70 % of a core; Redis and brokers, if they need more than that with a write
every 100 ms; a node also if it needs 1,000 MB for the subscriptions of other nodes. "carries,
times" says how many times the messages of the workload the site carries before the first part
saturates.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import command
from benchmarks.measurements import table
from benchmarks.servers import ROOT, Failed

MEASURED = ROOT / "docs" / "benchmarks" / "machines.json"

MACHINES = (10, 50, 200)
NODES = 4  # of a machine
CLIENTS = 10_000  # of a machine
MESSAGE_KB = 0.2
MESSAGES = 1 / 60  # a second, of a client
STAY_S = 600.0
ROOM = 50
TO_ALL = 10.0  # messages a second

CORE = 0.7  # of a core, above which a part is saturated
SHORTEST_S, LONGEST_S = 0.001, 0.1  # between two writes of a broker
NODE_MB = 1_000.0


@dataclass(frozen=True)
class Costs:
    """Seconds of CPU time, and bytes of memory."""

    publish: float  # in a node, for each other node that wants it
    receive: float  # in a node
    deliver: float  # in a node, for each client
    write: float  # in a broker
    send_batch: float  # in a broker, of a batch in a larger write
    read: float  # in a broker, of an entry of its inbox
    receive_batch: float  # in a broker
    inbox_entry: float  # in Redis, written and read
    kilobyte: float  # in Redis, of what is in an entry
    log_entry: float  # in Redis, for each machine that reads it
    idle: float  # in Redis, a second and machine
    learn: float  # in a broker, of a subscription on any machine
    node_learns: float  # in a node
    memory: float  # bytes in a node for each subscription


def costs_of(found: Mapping[str, Any]) -> Costs:
    """Take the costs from the output of `benchmarks.machines --json`. Raises Failed."""
    try:
        parts = {name: part["medians"] for name, part in found["parts"].items()}
        alone, loaded = parts["link"]["1, alone"], parts["link"]["1"]
        (known,) = parts["subscribing"].values()
        engine, delivered = parts["engine"], parts["broadcast"]["1 machine × 4 nodes, 100/s"]
        small, large = (
            engine[f"50 machines, one writes {size} bytes, inboxes"]["µs CPU an entry read"]
            for size in ("100", "4,096")
        )
        many = engine["50 machines, all write 100 bytes, inboxes"]
        log = engine["50 machines, all write 100 bytes, log"]
    except KeyError as error:
        raise Failed(f"no {error} in it: this needs all parts of benchmarks.machines") from error
    µs = 1e-6
    return Costs(
        publish=loaded["publisher"] * µs,
        receive=loaded["receiver"] * µs,
        deliver=delivered["µs CPU a delivery"] * µs,
        write=max(0.0, alone["broker A"] - loaded["broker A"]) * µs,
        send_batch=loaded["broker A"] * µs,
        read=max(0.0, alone["broker B"] - loaded["broker B"]) * µs,
        receive_batch=loaded["broker B"] * µs,
        inbox_entry=many["µs CPU an entry read"] * µs,
        kilobyte=(large - small) / (4096 - 100) * 1024 * µs,
        log_entry=log["µs CPU an entry read"] * µs,
        idle=log["µs CPU a second, idle"] / 50 * µs,
        learn=known["broker B"] * µs,
        node_learns=known["receiver"] * µs,
        memory=known["bytes, receiver"],
    )


@dataclass(frozen=True)
class Workload:
    """What a machine does: publications a second, and where each one goes.

    publications: of the machine that has most. readers: how many others may want one, None for all
    clients. changes: of subscriptions of a machine, a second. deliveries: of a node, a second.
    subscriptions: of one machine, which all nodes know.
    """

    name: str
    publications: float
    readers: int | None
    changes: float
    deliveries: float
    subscriptions: float
    is_everywhere: bool = True  # all machines publish

    def times(self, factor: float) -> "Workload":
        """The same with so many times the messages; clients come and go as before."""
        return Workload(
            self.name,
            self.publications * factor,
            self.readers,
            self.changes,
            self.deliveries * factor,
            self.subscriptions,
            self.is_everywhere,
        )

    def wanting(self, places: int) -> float:
        """How many of so many places have a reader of a publication, on average."""
        if self.readers is None:
            return places
        return places * (1 - (1 - 1 / places) ** self.readers)


COMING_AND_GOING = 2 * CLIENTS / STAY_S

WORKLOADS = (
    Workload(
        *("notifications", CLIENTS * MESSAGES, 1, COMING_AND_GOING),
        *(CLIENTS * MESSAGES / NODES, CLIENTS),
    ),
    Workload(
        *("rooms of 50", CLIENTS * MESSAGES, ROOM - 1, COMING_AND_GOING),
        *(CLIENTS * MESSAGES * (ROOM - 1) / NODES, CLIENTS),
    ),
    Workload("one topic", TO_ALL, None, 0.0, TO_ALL * CLIENTS / NODES, NODES, False),
)


@dataclass(frozen=True)
class Use:
    """Parts of a core, MB, and MB a second."""

    redis: float
    broker: float
    node: float
    node_mb: float
    traffic: float


def use(costs: Costs, load: Workload, machines: int, every: float) -> Use:
    """Compute what all parts need if each broker writes once in `every` seconds."""
    others = machines - 1
    reached = load.wanting(machines * NODES)
    remote_nodes = reached * others / machines
    publishers = machines if load.is_everywhere else 1
    remote = load.wanting(machines) * others / machines  # machines
    batches = load.publications * remote_nodes  # of one publishing machine
    in_a_write = 1 - (1 - remote / others) ** max(1.0, load.publications * every)
    entries = min(load.publications, 1 / every) * others * in_a_write
    incoming = publishers / machines  # of what one machine publishes, on average
    writes = min(1 / every, load.publications + load.changes)
    logged = (1 - math.exp(-load.changes * every)) / every
    changes = load.changes * machines

    redis = (
        publishers * (entries * costs.inbox_entry + batches * MESSAGE_KB * costs.kilobyte)
        + machines * logged * machines * costs.log_entry
        + machines * costs.idle
    )
    broker = (
        writes * costs.write
        + batches * (costs.send_batch + costs.receive_batch * incoming)
        + entries * incoming * costs.read
        + changes * costs.learn
    )
    node = (
        load.publications / NODES * reached * (costs.publish + costs.receive * incoming)
        + load.deliveries * costs.deliver
        + changes * costs.node_learns
    )
    memory = machines * load.subscriptions * costs.memory / 1e6
    traffic = 2 * publishers * batches * MESSAGE_KB / 1000
    return Use(redis, broker, node, memory, traffic)


def shortest_interval(costs: Costs, load: Workload, machines: int) -> float:
    """The shortest time between writes with which neither Redis nor a broker is saturated;
    LONGEST_S if one is."""

    def fits(every: float) -> bool:
        found = use(costs, load, machines, every)
        return max(found.redis, found.broker) <= CORE

    shortest, longest = SHORTEST_S, LONGEST_S
    if fits(shortest):
        return shortest
    for _ in range(30):
        middle = math.sqrt(shortest * longest)
        if fits(middle):
            longest = middle
        else:
            shortest = middle
    return longest


def fullness(costs: Costs, load: Workload, machines: int) -> dict[str, float]:
    """Return the load of each part; at 1 it is saturated."""
    found = use(costs, load, machines, LONGEST_S)
    return {
        "Redis": found.redis / CORE,
        "broker": found.broker / CORE,
        "node": found.node / CORE,
        "node's memory": found.node_mb / NODE_MB,
    }


def first_saturated(costs: Costs, load: Workload, machines: int) -> tuple[str, float]:
    """Return the part that saturates first when there are more messages, and how many times as many
    that is; 0 if a part is saturated without any."""
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        if max(fullness(costs, load.times(middle), machines).values()) <= 1:
            low = middle
        else:
            high = middle
    parts = fullness(costs, load.times(high), machines)
    return max(parts, key=lambda name: parts[name]), low


def rows(costs: Costs) -> dict[str, dict[str, float | str]]:
    """Return the table."""
    found: dict[str, dict[str, float | str]] = {}
    for load in WORKLOADS:
        for machines in MACHINES:
            every = shortest_interval(costs, load, machines)
            each = use(costs, load, machines, every)
            part, times = first_saturated(costs, load, machines)
            found[f"{load.name}, {machines} machines"] = {
                "writes every ms": every * 1000,
                "Redis %": each.redis * 100,
                "Redis MB/s": each.traffic,
                "broker %": each.broker * 100,
                "node %": each.node * 100,
                "MB of a node": each.node_mb,
                "saturates first": part,
                "carries, times": times,
            }
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser: argparse.ArgumentParser = command.parser("capacity", __doc__)
    parser.add_argument("file", type=Path, nargs="?", default=MEASURED, help="measured costs")
    print(table(rows(costs_of(json.loads(parser.parse_args(arguments).file.read_text())))))
    return 0


if __name__ == "__main__":
    command.run(main)
