"""When which process is killed. The schedule depends only on the seed, so it can be repeated."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

SPREAD = 0.1
"""Part of the interval by which a fault is early or late, so that faults of both kinds meet in many
ways."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A process is killed.

    at: seconds since the drill began. name: "broker", or "node" for any node. choice: from 0 to
    below 1, which of the running nodes.
    """

    at: float
    name: str
    choice: float


def schedule(seed: int, seconds: float, node_every: float, broker_every: float) -> Iterator[Fault]:
    """Return the faults of a drill in the order of their times.

    seconds: duration of the drill. node_every, broker_every: seconds between two faults; 0: none.
    """
    dice = random.Random(seed)
    faults = []
    for name, every in (("node", node_every), ("broker", broker_every)):
        number = 1
        while every and number * every <= seconds:
            at = (number + dice.uniform(-SPREAD, SPREAD)) * every
            faults.append(Fault(min(at, seconds), name, dice.random()))
            number += 1
    return iter(sorted(faults))
