"""Member: what one member of the engine does from its hello until it is removed.

``run`` has three tasks. W writes what the gateway has, one turn at a time; what gathers meanwhile
goes into the next turn, so turns grow with the load. R reads the log and the inbox, passes them to
the gateway, and beats with its reads. The third watches the lease.

When the connection is lost, ``run`` ends. Connect again and call ``run`` again: it continues where
it was, and sends the turn whose answer was lost once more.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from cluster.core.broker_state.exchange import Outgoing
from cluster.core.machines.engine import (
    LEASE_MS,
    START,
    Beat,
    Deliveries,
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

SLICE, SLICE_BYTES = 16, 1 << 16
"""Entries, or bytes in them, that are applied at a time; then the time is checked."""

TURN_S = 0.005
"""Seconds of work with entries before the event loop serves others."""

FIRST_DELAY_S, LAST_DELAY_S = 0.05, 1.0
"""Seconds before an attempt that follows a failure: twice as long each time."""

FIRST_REFUSED_S, LAST_REFUSED_S = 0.02, 0.25
"""Seconds before a full inbox is tried again, with up to 1 MiB each time."""


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
    def joined(self, joined: Joined, now: int) -> Outgoing: ...
    def cut_off(self) -> Outgoing: ...
    def read(self, log: Sequence[LogEntry], inbox: Sequence[InboxEntry]) -> Deliveries: ...
    def take_turn(self) -> Turn | None: ...
    def turn_written(self, refused: frozenset[str]) -> Outgoing: ...
    def retry(self) -> None: ...
    def clock(self, engine: int, now: int) -> None: ...


class LeaseOver(Gone):
    """There was no beat for the length of the lease, by the clock of this machine."""


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
        deliver: Called with what the gateway has for the nodes.
        trouble: Called with "write" or "beat", and with the reason why the engine refuses it; the
            reason is empty when it does no longer.
        now: The loop's time when hello was sent.
    """

    def __init__(
        self,
        engine: Engine,
        gateway: UplinkGateway,
        joined: Joined,
        deliver: Callable[[Deliveries], None],
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
        self._retry_delay = Backoff(FIRST_REFUSED_S, LAST_REFUSED_S)
        self._retry_timer: asyncio.TimerHandle | None = None
        self._is_retried = False
        self._ending = False
        self._beat_due = now
        self.lease_until = now + LEASE_S
        self.turns = 0
        self.bytes = 0
        self.round_trip_s = 0.0

    def wake(self) -> None:
        """Write what the gateway has, in the next turn of the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Write, read and beat, until that ends with EngineError."""
        self._retry()
        tasks = [
            asyncio.ensure_future(each) for each in (self._write(), self._read(), self._watch())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            if self._retry_timer is not None:
                self._retry_timer.cancel()
                self._retry_timer = None
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
            self._deliver(Deliveries([*self._gateway.turn_written(refused)], []))
            self._woken.set()
            if refused and self._retry_timer is None:
                self._retry_timer = loop.call_later(self._retry_delay.next(), self._retry)
            elif not refused and self._is_retried:
                self._retry_delay.reset()
            self._is_retried = False

    def _retry(self) -> None:
        """Have the next turn try again what inboxes have refused."""
        self._retry_timer = None
        self._is_retried = True
        self._gateway.retry()
        self._woken.set()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        unread = 0
        while True:
            beat = None
            if loop.time() >= self._beat_due or unread >= BEAT_BYTES:
                unread = 0
                beat = self._new_beat(loop.time())
                wait_ms = round(BEAT_S * 1000)
            else:
                wait_ms = max(1, round((self._beat_due - loop.time()) * 1000))
            try:
                log, inbox = await self._engine.read(
                    *self._identity, self._log_id, self._inbox_id, wait_ms, beat
                )
            except EngineRefused as error:
                self._trouble("beat", str(error))
                await asyncio.sleep(BEAT_S / 4)
                continue
            self._check_lease(loop.time())
            await self._apply(log, inbox)
            unread += sum(len(each.data) for each in log)
            unread += sum(len(each.data) for each in inbox)

    def _new_beat(self, now: float) -> Beat:
        """A beat that is sent now. The next one is due when it was answered, or at once."""
        sent = time.time()
        self._beat_due = now

        def answered(engine_ms: int) -> None:
            self._beat_due = now + BEAT_S
            self.lease_until = now + LEASE_S
            self._gateway.clock(engine_ms, round((sent + time.time()) * 500))
            self._trouble("beat", "")

        def refused(error: EngineRefused) -> None:
            self._beat_due = now + BEAT_S / 4
            self._trouble("beat", str(error))

        return Beat(self._gateway.applied, self._gateway.read_inbox, answered, refused)

    async def _apply(self, log: Sequence[LogEntry], inbox: Sequence[InboxEntry]) -> None:
        """Pass the entries to the gateway, the log first, without holding up the event loop."""
        loop = asyncio.get_running_loop()
        until = loop.time() + TURN_S
        for entries, is_log in ((log, True), (inbox, False)):
            for slice in _slices(entries):
                if loop.time() >= until:
                    await asyncio.sleep(0)
                    until = loop.time() + TURN_S
                # Before the gateway has them: they are passed once, whatever happens then.
                if is_log:
                    self._log_id = slice[-1].id
                    result = self._gateway.read(slice, ())
                else:
                    self._inbox_id = slice[-1].id
                    result = self._gateway.read((), slice)
                self._deliver(result)
                self._woken.set()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._check_lease(loop.time())
            await asyncio.sleep(self.lease_until - loop.time())

    def _check_lease(self, now: float) -> None:
        if now >= self.lease_until:
            raise LeaseOver(f"no beat for {LEASE_S:g} s")


def _slices(entries: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Divide entries into what is applied without a look at the time."""
    begin = size = 0
    for end, entry in enumerate(entries, 1):
        size += len(entry.data)
        if end - begin >= SLICE or size >= SLICE_BYTES:
            yield entries[begin:end]
            begin, size = end, 0
    if begin < len(entries):
        yield entries[begin:]
