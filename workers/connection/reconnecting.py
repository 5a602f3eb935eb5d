"""Reconnects clients that have lost their connections, without a rush.

A client waits for a random time before each attempt, at most FIRST_DELAY at first; the limit
doubles with each attempt that fails ("full jitter"). So the clients of a killed process do not
reconnect at the same moment. Concurrent handshakes are limited as at the start (ramp_up.py).
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

from workers.connection.ramp_up import UNDER_WAY

FIRST_DELAY = 0.25  # seconds; other processes of the server accept connections at once
LAST_DELAY = 4.0  # seconds

LOOK_EVERY = 0.25  # seconds between two checks of a handshake

STUCK_AFTER = 0.5  # seconds
"""A handshake that takes longer than a later one, and this long, waits in the queue of a killed
process, while another one may reach a running process."""

FEW = 20
FEW_STUCK_AFTER = 1.0  # seconds, if at most FEW are under way, so that there may be no later one

C = TypeVar("C")


def delay(attempt: int) -> float:
    """Seconds to wait before an attempt, from 0."""
    return random.uniform(0.0, min(LAST_DELAY, FIRST_DELAY * 2.0**attempt))


class Handshakes:
    """Tells handshakes that are stuck from those of a busy server, which needs more time and not
    more attempts.

    Call `opened` with the time at which a handshake that is complete had begun.
    """

    def __init__(self) -> None:
        self._newest = 0.0

    def opened(self, began: float) -> None:
        self._newest = max(self._newest, began)

    def is_stuck(self, began: float, now: float, under_way: int) -> bool:
        """Whether a handshake must be given up."""
        if now - began < STUCK_AFTER:
            return False
        return self._newest > began or (under_way <= FEW and now - began >= FEW_STUCK_AFTER)


class Reconnecting(Generic[C]):
    """Call `lost` with each client that has lost its connection, or could not open it.

    later: calls a function after some seconds. connect: opens the client's connection; returns a
    Deferred that fires when the handshake is over, successful or not.
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], None],
        connect: Callable[[C], Deferred[Any]],
        under_way: int = UNDER_WAY,
    ) -> None:
        self._later = later
        self._connect = connect
        self._waiting: deque[C] = deque()
        self._under_way = 0
        self._most = under_way

    def lost(self, client: C, attempt: int) -> None:
        """Connect the client after a delay. attempt: how many attempts were refused."""
        self._later(delay(attempt), lambda: self._due(client))

    def _due(self, client: C) -> None:
        self._waiting.append(client)
        self._start()

    def _start(self) -> None:
        while self._waiting and self._under_way < self._most:
            self._under_way += 1
            self._connect(self._waiting.popleft()).addBoth(self._over)

    def _over(self, result: Any) -> None:
        self._under_way -= 1
        # In another turn: connections that end at once would recurse.
        if self._waiting:
            self._later(0.0, self._start)
