"""Many timeouts with few delayed calls of the reactor.

Each open connection has one or two pending timeouts (the next ping, its answer), and nearly all of
them are cancelled. All timeouts that are due in the same half second are in one bucket, and the
reactor has one delayed call for each bucket. A timeout fires up to ``BUCKET`` seconds late, and
never early.

Autobahn uses txaio's batched timer, which searches a list to cancel a timeout: when 10,000 clients
leave at once, that is 10,000 searches through thousands of entries. Here cancelling is O(1).
"""

from collections.abc import Callable
from math import floor
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

BUCKET = 0.5
"""Width of a bucket in seconds: short in comparison with the timeouts, which are seconds."""

CHUNK = 500
"""Timeouts that run in one turn of the loop, so that 10,000 pings at once do not block it."""


class Timeout:
    """One pending call. ``cancel`` may be called repeatedly, and after the call was made."""

    __slots__ = ("_bucket", "_call")

    def __init__(self, call: Callable[[], object], bucket: "_Bucket") -> None:
        self._call = call
        self._bucket = bucket

    def cancel(self) -> None:
        bucket = self._bucket
        # The value of an entry is None, so ``pop`` returns None only if this timeout was pending.
        if bucket.pop(self, self) is None and not bucket:
            bucket.drop()


class _Bucket(dict[Timeout, None]):
    """Timeouts that are due together, in the order of ``call_later``."""

    __slots__ = ("drop",)

    def __init__(self, drop: Callable[[], None]) -> None:
        self.drop = drop
        """Called when the last timeout of the bucket was cancelled."""


class CoarseTimers:
    """Timeouts on a clock, in buckets of ``BUCKET`` seconds; Autobahn's name is "batched timer".

    An exception of one call is logged, and does not affect the other calls.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock: Any = clock
        self._buckets: dict[int, _Bucket] = {}

    def call_later(self, delay: float, call: Callable[..., object], *args: Any) -> Timeout:
        """Call ``call(*args)`` in ``delay`` seconds, or up to ``BUCKET`` seconds later."""
        now = self._clock.seconds()
        due = floor((now + delay) / BUCKET) + 1
        bucket = self._buckets.get(due)
        if bucket is None:
            delayed = self._clock.callLater(max(0.0, due * BUCKET - now), self._run, due)

            def drop() -> None:
                if self._buckets.pop(due, None) is not None:
                    delayed.cancel()

            bucket = self._buckets[due] = _Bucket(drop)
        timeout = Timeout((lambda: call(*args)) if args else call, bucket)
        bucket[timeout] = None
        return timeout

    @property
    def pending(self) -> int:
        """The number of timeouts that have neither run nor been cancelled."""
        return sum(map(len, self._buckets.values()))

    def _run(self, due: int) -> None:
        self._run_some(self._buckets.pop(due))

    def _run_some(self, bucket: _Bucket) -> None:
        for _ in range(CHUNK):
            if not bucket:
                return
            timeout = next(iter(bucket))
            del bucket[timeout]
            try:
                timeout._call()
            except Exception:
                self._log.failure("a timeout's call failed")
        if bucket:
            self._clock.callLater(0, self._run_some, bucket)
