"""Uplink: the service that makes a machine's gateway a member of the engine, again and again.

    connecting ──> joined ──> interrupted ──> joined     the lease still runs: the same member
         ^            │            │
         │            v            v
         └──────── cut off: removed, or no beat for the lease: the next hello is a new member's

Local publish/subscribe does not need the uplink. The states are in state.py.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.machines.engine import (
    AnotherSite,
    Deliveries,
    Engine,
    EngineError,
    EngineUnavailable,
    EngineUnusable,
    NameTaken,
)
from cluster.uplink.member import Backoff, LeaseOver, Member, UplinkGateway
from cluster.uplink.state import UplinkState

OPERATOR_S = 5.0
"""Seconds before the next attempt when only an operator can help, or another machine's lease must
end first."""

BRIEF_S = 1.0
"""Seconds below which a membership is brief. After one, the next attempt has to wait, because the
reason may be there again at once, and each attempt is logged to all machines."""

STOP_S = 2.0
"""Seconds that a service which stops has to write what is queued, and for its goodbye."""


class Uplink(Service):
    """Connects a gateway with the engine, from ``startService`` to ``stopService``.

    Args:
        engine: The engine; the uplink connects it and closes it.
        gateway: The gateway of this machine.
        owner: A token that the next gateway of this machine has, too, when the supervisor replaces
            this one. Another owner cannot take the machine's name while this one lives.
        fingerprint: What tells this site from another one under the same keys.
        deliver: Called with what the gateway has for the nodes. Send it in order.
        reactor: The reactor; it must be one on asyncio's event loop.
        machine: The name of this machine.
    """

    log = Logger()

    def __init__(
        self,
        engine: Engine,
        gateway: UplinkGateway,
        owner: str,
        fingerprint: str,
        deliver: Callable[[Deliveries], None],
        reactor: Any,
        machine: str,
    ) -> None:
        self._engine = engine
        self._gateway = gateway
        self._owner = owner
        self._fingerprint = fingerprint
        self._deliver = deliver
        self._reactor = reactor
        self._machine = machine
        self._member: Member | None = None
        self._generation = ""
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._state = UplinkState(gateway)
        self._reconnects = self._generations = self._turns = self._bytes = 0

    def startService(self) -> None:
        super().startService()
        self._stopping = False
        # Reactors call this when they start, shortly before asyncio's loop runs.
        self._reactor.callWhenRunning(self._reactor.callLater, 0, self._begin)

    def stopService(self) -> "Deferred[None]":
        """Say goodbye if this machine has no nodes any more, and disconnect.

        Returns a Deferred that fires when that is done, or has taken STOP_S.
        """
        super().stopService()
        self._stopping = True
        task = self._task
        if task is None:
            return succeed(None)
        return Deferred.fromFuture(asyncio.ensure_future(self._stop(task)))

    def wake(self) -> None:
        """The gateway has something to write. Cheap: call it after each message."""
        if self._member is not None:
            self._member.wake()

    def stats(self) -> dict[str, Any]:
        """Return the statistics.

        ``state`` is one of those in state.py, ``reason`` says why or is empty, ``since`` is Unix
        time in seconds. ``round_trip_ms`` is how long the last turn took to be written.
        """
        member = self._member
        return {
            "state": self._state.name,
            "reason": self._state.reason,
            "since": self._state.since,
            "machine": self._machine,
            "member": self._state.member,
            "generation": self._generation,
            "machines": tuple(self._gateway.machines),
            "turns": self._turns + (member.turns if member else 0),
            "bytes": self._bytes + (member.bytes if member else 0),
            "round_trip_ms": round(1000 * member.round_trip_s, 3) if member else 0.0,
            "queued_bytes": self._gateway.queued_bytes,
            "dropped": dict(self._gateway.dropped),
            "reconnects": self._reconnects,
            "generation_changes": max(0, self._generations - 1),
        }

    def _begin(self) -> None:
        if self._stopping or self._task is not None:
            return
        self._task = asyncio.ensure_future(self._run())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.failure("the uplink ended", Failure(error))

    async def _stop(self, task: "asyncio.Task[None]") -> None:
        member = self._member
        if member is not None and self._state.name in ("joining", "joined"):
            member.end()
            await asyncio.wait([task], timeout=STOP_S)
        task.cancel()
        await asyncio.wait([task], timeout=STOP_S)
        self._task = None
        await self._engine.close()
        self._state.stop()

    async def _run(self) -> None:
        """Join, and join again, until the service stops."""
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while not self._stopping:
            begun = loop.time()
            try:
                self._member = await self._join()
                begun = loop.time()
                await self._keep(self._member)
                return
            except LeaseOver as error:
                self._cut_off(str(error))
            except EngineError as error:
                # Nodes need not notice if the next hello succeeds at once.
                self._state.change("joining", str(error))
            except Exception as bug:
                self.log.failure("the uplink failed and joins again")
                self._cut_off(f"an error of c10k: {bug!r}")
            if self._member is not None:
                self._turns += self._member.turns
                self._bytes += self._member.bytes
                self._member = None
            if loop.time() - begun >= BRIEF_S:
                backoff.reset()
            else:
                self._not_joined(self._state.reason)
                await asyncio.sleep(backoff.next())

    def _cut_off(self, reason: str, state: str = "cut off") -> None:
        was_cut_off = self._state.name == "cut off"
        self._state.change(state, reason)
        if was_cut_off:
            return
        try:
            self._deliver(Deliveries([*self._gateway.cut_off()], []))
        except Exception:
            self.log.failure("the nodes do not know that they are cut off")

    async def _join(self) -> Member:
        """Become a member, however long it takes."""
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        connected = False
        while True:
            # Each attempt is a new member: an earlier one may have been logged without an answer.
            name = f"{self._machine}~{secrets.token_hex(4)}"
            try:
                if not connected:
                    await self._engine.connect()
                    connected = True
                now = loop.time()
                hello = self._engine.hello(name, self._machine, self._owner, self._fingerprint)
                joined = await hello
            except (EngineUnusable, NameTaken, AnotherSite) as error:
                self._not_joined(str(error))
                connected = not isinstance(error, EngineUnusable)
                await asyncio.sleep(OPERATOR_S)
            except EngineError as error:
                self._not_joined(str(error))
                connected = False
                await asyncio.sleep(backoff.next())
            else:
                break
        if joined.generation != self._generation:
            self._generations += 1
            self._generation = joined.generation
        outgoing = self._gateway.joined(joined, int(time.time() * 1000))
        self._deliver(Deliveries([*outgoing], []))
        self._state.joined(name)
        return Member(
            self._engine, self._gateway, joined, self._delivered, self._state.trouble, now
        )

    def _not_joined(self, reason: str) -> None:
        if self._state.name == "joining":
            self._cut_off(reason)
        elif self._state.name == "connecting":  # new nodes wait for this or for the first hello
            self._cut_off(reason, "connecting")
        else:
            self._state.change(self._state.name, reason)

    async def _keep(self, member: Member) -> None:
        """Stay a member; connect again while the lease runs. Returns when the service stops."""
        while True:
            try:
                await member.run()
            except EngineUnavailable as error:
                self._state.trouble("connection", str(error))
            else:
                await self._leave(member)
                return
            try:
                async with asyncio.timeout_at(member.lease_until):
                    await self._connect_again()
            except TimeoutError:
                raise LeaseOver(self._state.reason) from None
            self._reconnects += 1
            self._state.trouble("connection", "")

    async def _connect_again(self) -> None:
        backoff = Backoff()
        while True:
            await self._engine.close()
            try:
                await self._engine.connect()
                return
            except (EngineUnavailable, EngineUnusable) as error:
                self._state.trouble("connection", str(error))
                await asyncio.sleep(backoff.next())

    async def _leave(self, member: Member) -> None:
        """The nodes have left, so say goodbye. If there are some, the next gateway takes over."""
        if not self._gateway.nodes:
            try:
                await member.goodbye()
            except EngineError as error:
                self.log.warn("no goodbye to the other machines: {error}", error=error)

    def _delivered(self, deliveries: Deliveries) -> None:
        self._deliver(deliveries)
        if self._state.name == "joining":
            self._state.look()
