"""Member: what one member of the engine does from its hello until it is removed.

``run`` has three tasks. W writes what the gateway has, one turn at a time; what gathers meanwhile
goes into the next turn, so turns grow with the load. R reads the log and the inbox, passes them to
the gateway, and beats. The third watches the lease.

When the connection is lost, ``run`` ends. Connect again and call ``run`` again: it continues where
it was, and sends the turn whose answer was lost once more.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cluster.core.machines.engine import (
    LEASE_MS,
    START,
    Engine,
    EngineFull,
    EngineRefused,
    Gone,
    InboxEntry,
    Joined,
    LogEntry,
    Turn,
)

BEAT_S = 1.0
"""Seconds between two beats, a fifth of the lease."""

BEAT_BYTES = 1 << 20
"""Bytes read after which the next beat is due at once. A beat trims what was read; an inbox takes
nothing more above 8 MiB (scripts.INBOX_BYTES)."""

LEASE_S = LEASE_MS / 1000

SLICE = 16
"""Entries that are applied at a time; then the time is checked."""

TURN_S = 0.005
"""Seconds of work with entries before the event loop serves others."""

FIRST_DELAY_S, LAST_DELAY_S = 0.05, 1.0
"""Seconds before an attempt that follows a failure: twice as long each time."""

FIRST_REFUSED_S, LAST_REFUSED_S = 0.02, 0.25
"""Seconds before what full inboxes have refused is written again."""


class UplinkGateway(Protocol):
    """What the uplink needs of core.machines.gateway.Gateway."""

    @property
    def nodes(self) -> Sequence[str]: ...
    @property
    def machines(self) -> Sequence[str]: ...
    @property
    def state(self) -> str: ...
    @property
    def applied(self) -> str: ...
    @property
    def read_inbox(self) -> str: ...
    @property
    def queued_bytes(self) -> int: ...
    @property
    def dropped(self) -> Any: ...
    def joined(self, joined: Joined, now: int) -> Any: ...
    def cut_off(self) -> Any: ...
    def read(self, log: Sequence[LogEntry], inbox: Sequence[InboxEntry]) -> Any: ...
    def take_turn(self) -> Turn | None: ...
    def turn_written(self, refused: frozenset[str]) -> Any: ...
    def retry(self) -> None: ...
    def clock(self, engine: int, now: int) -> None: ...


class Backoff:
    """Delays that double, each shortened at random, so that machines do not try together."""

    def __init__(self, first: float = FIRST_DELAY_S, last: float = LAST_DELAY_S) -> None:
        self._first = first
        self._last = last
        self._next = first

    def next(self) -> float:
        """Return the seconds to wait now."""
        delay = self._next
        self._next = min(self._last, 2 * delay)
        return delay * random.uniform(0.5, 1)

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._next = self._first


class Member:
    """One member, from its hello on.

    Args:
        engine: The engine, connected.
        gateway: The gateway, which has been given ``joined``.
        joined: The answer to hello.
        deliver: Called with what the gateway returns.
        trouble: Called with "write" or "beat", and with the reason why the engine refuses it; the
            reason is empty when it does no longer.
        now: The loop's time when hello was sent.
    """

    def __init__(
        self,
        engine: Engine,
        gateway: UplinkGateway,
        joined: Joined,
        deliver: Callable[[Any], None],
        trouble: Callable[[str, str], None],
        now: float,
    ) -> None:
        self._engine = engine
        self._gateway = gateway
        self._identity = joined.generation, joined.member
        self._deliver = deliver
        self._trouble = trouble
        self._log_id = joined.log_id
        self._inbox_id = START
        self._turn: Turn | None = None
        self._woken = asyncio.Event()
        self._woken.set()
        self._refused_delay = Backoff(FIRST_REFUSED_S, LAST_REFUSED_S)
        self._ending = False
        self.lease_until = now + LEASE_S
        self.turns = 0
        self.bytes = 0
        self.round_trip_s = 0.0

    def wake(self) -> None:
        """Write what the gateway has, in the next turn of the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Write, read and beat. Raises EngineError when that ends: Gone if the lease is over."""
        tasks = [
            asyncio.ensure_future(each) for each in (self._write(), self._read(), self._watch())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def end(self) -> None:
        """Let ``run`` end without an error when all that the gateway has is written."""
        self._ending = True
        self.wake()

    async def goodbye(self) -> None:
        """Cease to be a member. Raises EngineError."""
        await self._engine.goodbye(*self._identity)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        delay = Backoff()
        while True:
            if self._turn is None:
                await self._woken.wait()
                self._woken.clear()
                self._turn = self._gateway.take_turn()
                if self._turn is None:
                    if self._ending:
                        return
                    continue
            turn = self._turn
            sent = loop.time()
            try:
                refused = await self._engine.write(*self._identity, turn)
            except (EngineFull, EngineRefused) as error:
                self._trouble("write", str(error))
                await asyncio.sleep(delay.next())
                continue
            self._turn = None
            self.round_trip_s = loop.time() - sent
            self.turns += 1
            self.bytes += len(turn.log) + sum(len(each[1]) for each in turn.inboxes)
            delay.reset()
            self._trouble("write", "")
            self._deliver(self._gateway.turn_written(refused))
            self._woken.set()
            if refused:
                loop.call_later(self._refused_delay.next(), self._retry)
            else:
                self._refused_delay.reset()

    def _retry(self) -> None:
        self._gateway.retry()
        self.wake()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        gateway = self._gateway
        beat_due = loop.time()
        unread = 0
        while True:
            now = loop.time()
            if now >= beat_due or unread >= BEAT_BYTES:
                unread = 0
                beat_due = now + BEAT_S
                try:
                    ids = gateway.applied, gateway.read_inbox
                    engine_ms = await self._engine.beat(*self._identity, *ids)
                except EngineRefused as error:
                    self._trouble("beat", str(error))
                    beat_due = now + BEAT_S / 4
                else:
                    gateway.clock(engine_ms, int(time.time() * 1000))
                    self.lease_until = now + LEASE_S
                    self._trouble("beat", "")
            wait_ms = max(1, round((beat_due - loop.time()) * 1000))
            try:
                log, inbox = await self._engine.read(
                    *self._identity, self._log_id, self._inbox_id, wait_ms
                )
            except EngineRefused as error:
                self._trouble("beat", str(error))
                await asyncio.sleep(BEAT_S / 4)
                continue
            self._check_lease(loop.time())
            await self._apply(log, inbox)
            unread += sum(len(each.data) for each in log)
            unread += sum(len(each.data) for each in inbox)

    async def _apply(self, log: Sequence[LogEntry], inbox: Sequence[InboxEntry]) -> None:
        """Pass the entries to the gateway, the log first, without holding up the event loop."""
        loop = asyncio.get_running_loop()
        until = loop.time() + TURN_S
        for begin in range(0, len(log) + len(inbox), SLICE):
            if loop.time() >= until:
                await asyncio.sleep(0)
                until = loop.time() + TURN_S
            log_slice = log[begin : begin + SLICE]
            room = SLICE - len(log_slice)
            first = max(0, begin - len(log))
            inbox_slice = inbox[first : first + room]
            # Entries are passed once, also if this task is cancelled between two slices.
            if log_slice:
                self._log_id = log_slice[-1].id
            if inbox_slice:
                self._inbox_id = inbox_slice[-1].id
            self._deliver(self._gateway.read(log_slice, inbox_slice))
            self._woken.set()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._check_lease(loop.time())
            await asyncio.sleep(self.lease_until - loop.time())

    def _check_lease(self, now: float) -> None:
        if now >= self.lease_until:
            raise Gone(f"no beat for {LEASE_S:g} s")
