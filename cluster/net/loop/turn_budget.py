"""Bounds the time that input and handlers may take before the event loop serves others.

A turn of the loop reads many sockets and runs many handlers. Each of them works until it is done,
or until the turn's budget is spent; then it leaves the rest to ``later``, or waits with
``next_turn``. What was left over continues in later turns, in the order in which it came, a short
slice each. So the time until an event is handled does not depend on how much others have sent.

Work that has not used up a slice never waits in these queues: a client that sends a message now and
then is answered in the turn in which the message arrives, even if a thousand others have sent more
than the node can process.

``is_spent`` reads the clock. On the hot path, call it once for several messages.
"""

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

TURN_S = 0.005
"""Seconds for input, and again for handlers, in one turn of the loop. With the output that they
cause, a turn takes some 10 ms, which nobody notices."""

BACKLOG_S = 0.003
"""Seconds in each turn for what earlier turns have left over."""

SLICE_S = 0.001
"""Seconds for one of them, before the next one continues."""

WAKE = 32
"""Coroutines that continue in one turn. Each handles at least a few messages before it looks at the
clock again."""


class TurnBudget:
    """The budget of the turns of one event loop.

    Args:
        reactor: Its ``callLater`` starts the next turn.
        now: Returns the time in seconds.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, now: Callable[[], float] = perf_counter) -> None:
        self.now = now
        self._reactor: Any = reactor  # mypy: the methods of zope interfaces have no self
        self._until = 0.0
        self._is_open = False
        self._is_scheduled = False
        self._is_held = False
        self._work: deque[Callable[[], None]] = deque()
        self._sleeping: deque[Callable[[], None]] = deque()

    @property
    def is_held(self) -> bool:
        """Whether more output waits than may be added to: large input must wait, too."""
        return self._is_held

    def hold(self, is_held: bool) -> None:
        """Keep what ``later`` was given until this is called with False."""
        self._is_held = is_held
        if self._work:
            self._schedule()

    @property
    def waiting(self) -> int:
        """How many have left work to later turns."""
        return len(self._work)

    def is_spent(self) -> bool:
        """Whether the caller should leave the rest of its work to a later turn.

        The first call in a turn that nobody has begun begins it.
        """
        now = self.now()
        if now < self._until:
            return False
        if self._is_open:
            return True
        self._is_open = True
        self._until = now + TURN_S
        self._reactor.callLater(0, self.end)
        return False

    def begin(self, until: float) -> None:
        """Begin a budget that ends at ``until`` by ``now``; call ``end`` when the work is done."""
        self._is_open = True
        self._until = until

    def end(self) -> None:
        """End the budget."""
        self._is_open = False

    def later(self, work: Callable[[], None]) -> None:
        """Call a function in a later turn; with a budget of its own, which it must respect."""
        self._work.append(work)
        self._schedule()

    def next_turn(self, wake: Callable[[], None]) -> None:
        """Call a function in a later turn that makes a coroutine continue."""
        self._sleeping.append(wake)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._reactor.callLater(0, self._run)

    def _run(self) -> None:
        self._is_scheduled = False
        for _ in range(min(WAKE, len(self._sleeping))):
            self._call(self._sleeping.popleft())
        work = self._work
        now = self.now()
        end = now + BACKLOG_S
        # Not those that are added meanwhile: others come first.
        for _ in range(0 if self._is_held else len(work)):
            self.begin(min(end, now + SLICE_S))
            self._call(work.popleft())
            now = self.now()
            if now >= end or self._is_held:
                break
        self.end()
        if self._sleeping or (work and not self._is_held):
            self._schedule()

    def _call(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception:
            self._log.failure("work that was left to a later turn failed")
