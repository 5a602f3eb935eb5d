"""Which fault of a drill on several machines happens when. Depends only on the seed. Pure.

One fault follows another. The next one may begin while the effects of the last one continue.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PAUSE = (2.0, 6.0)
"""Seconds from the end of a fault to the beginning of the next, from and to."""

SHORT, LONG = (0.5, 3.0), (7.0, 10.0)
"""Seconds of a fault: less than the lease of a machine, of 5 s, or more."""

RESTART = (0.5, 4.0)
"""Seconds for which a machine or a server that was killed stays down."""

KINDS = {
    "node-kill": "a node is killed",
    "gateway-kill": "the gateway (broker) of a machine is killed",
    "gateway-stop": "the gateway of a machine is stopped, and continues (SIGSTOP, SIGCONT)",
    "machine-kill": "all processes of a machine are killed, and started again",
    "redis-kill": "Redis is killed, and starts again with its data",
    "redis-empty": "Redis is killed, and starts again without its data",
    "redis-stop": "Redis is stopped, and continues",
    "slow": "all that machines and Redis exchange is delayed",
    "failover": "the primary is killed, and Sentinel promotes its replica",
    "split": "the primary is cut from its replica and all Sentinels, not from the machines",
    "clock": "the wall clock of Redis is set forwards or backwards, by seconds or minutes",
    "cut-out": "nothing from a machine reaches Redis",
    "cut-in": "nothing from Redis reaches a machine",
    "cut": "nothing passes between a machine and Redis, in both directions",
}
WITH_CUTS = {"split", "cut-out", "cut-in", "cut"}
WITH_SENTINEL = {"failover", "split"}
WITHOUT_SENTINEL = {"slow", "redis-empty"}
LASTING = {"gateway-stop", "redis-stop", "slow", "cut-out", "cut-in", "cut"}
"""Kinds that may be shorter or longer than a lease."""

WITH_CLOCKS = {"clock"}

SLOW_MS = (20.0, 400.0)
"""The delay in each direction, from and to."""

JUMP_SECONDS = (2.0, 300.0)
"""How far a clock is set, from and to: less than the lease of a machine, or much more."""


@dataclass(frozen=True, slots=True)
class Fault:
    """at: seconds since the drill began. seconds: how long it lasts. choice, detail: from 0 to
    below 1, for which machine or node, and how strong."""

    at: float
    kind: str
    seconds: float
    choice: float
    detail: float

    def of(self, candidates: Sequence[str]) -> str:
        """Choose one of these."""
        return candidates[int(self.choice * len(candidates))]

    @property
    def jump(self) -> float:
        """The seconds by which a clock is set, negative for backwards. Short ones are as probable
        as long ones."""
        least, most = JUMP_SECONDS
        strength = abs(2 * self.detail - 1)
        return float(least * (most / least) ** strength) * (1 if self.detail >= 0.5 else -1)


def possible(can_cut: bool, with_sentinel: bool, with_clocks: bool) -> list[str]:
    """Return the kinds of faults that a network and an engine can have.

    with_clocks: whether the clock of a process can be set.
    """
    excluded = set() if can_cut else set(WITH_CUTS)
    excluded |= set() if with_clocks else WITH_CLOCKS
    excluded |= WITHOUT_SENTINEL if with_sentinel else WITH_SENTINEL
    return [kind for kind in KINDS if kind not in excluded]


def schedule(seed: int, seconds: float, kinds: Sequence[str]) -> Iterator[Fault]:
    """Return the faults of a drill in their order. All kinds happen before one happens again."""
    dice = random.Random(seed)
    at = dice.uniform(*PAUSE)
    deck: list[str] = []
    while True:
        if not deck:
            deck = list(kinds)
            dice.shuffle(deck)
        kind = deck.pop()
        lasts = dice.uniform(*_duration(kind, dice.random()))
        if at + lasts > seconds:
            return
        yield Fault(at, kind, lasts, dice.random(), dice.random())
        at += lasts + dice.uniform(*PAUSE)


def _duration(kind: str, chance: float) -> tuple[float, float]:
    if kind in LASTING:
        return SHORT if chance < 0.5 else LONG
    if kind in ("node-kill", "gateway-kill", "clock"):
        return 0.0, 0.0  # their supervisor starts them again at once; a clock stays as it was set
    return LONG if kind == "split" else RESTART


class Disturbances:
    """The times in which publications may be lost, because two things have failed at once.

    A publication that was confirmed is kept by its node until the machines have agreed on it.
    While a fault delays that, the loss of the node takes it.
    """

    def __init__(self) -> None:
        self._times: list[tuple[float, float]] = []
        self._since: float | None = None
        self._calm_since = 0.0
        self._kills: list[float] = []

    def began(self, at: float, margin: float) -> None:
        """A fault delays what machines exchange, from this time and so many seconds before."""
        if self._since is None:
            self._since = at - margin

    def ended(self, at: float, margin: float) -> None:
        """All machines exchange messages again."""
        if self._since is not None:
            self._times.append((self._since, at + margin))
            self._since = None
            self._calm_since = at

    @property
    def calm_since(self) -> float | None:
        """The time since which there was no fault; None during one."""
        return self._calm_since if self._since is None else None

    def killed(self, at: float) -> None:
        """A node was killed."""
        self._kills.append(at)

    def double_faults(self) -> list[tuple[float, float]]:
        """The times in which a node was killed, and a fault delayed its messages: (from, until)."""
        times = [*self._times, *([] if self._since is None else [(self._since, float("inf"))])]
        return [
            (since, until)
            for since, until in times
            if any(since <= at <= until for at in self._kills)
        ]
