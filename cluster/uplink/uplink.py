"""Uplink: the service that makes a machine's gateway a member of the engine, again and again.

    connecting ──> joined ──> interrupted ──> joined     the lease still runs: the same member
         ^            │            │
         │            v            v
         └──────── cut off: removed, or no beat for the lease: the next hello is a new member's

Local publish/subscribe does not need the uplink. Each change is logged with its reason.
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
from cluster.logs.rate_limit import LimitedLog
from cluster.uplink.member import Backoff, LeaseOver, Member, UplinkGateway

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
        self._name = self._generation = ""
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._state = "connecting"
        self._reason = ""
        self._since = time.time()
        self._troubles: dict[str, str] = {}
        self._info = LimitedLog(self.log.info, "changes of the uplink")
        self._warn = LimitedLog(self.log.warn, "problems of the uplink")
        self._reconnects = self._generations = self._turns = self._bytes = 0

    def startService(self) -> None:
        super().startService()
        self._stopping = False
        # Reactors call this when they start, shortly before asyncio's loop runs.
        self._reactor.callWhenRunning(self._reactor.callLater, 0, self._begin)

    def stopService(self) -> "Deferred[None]":
        """Say goodbye if this machine has no nodes any more, and disconnect.

        Returns:
            Fires when that is done, or has taken STOP_S.
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

        ``state`` is "connecting" (never joined yet), "joining", "joined", "interrupted" (still a
        member, but the engine cannot be reached or takes no writes) or "cut off"; ``reason`` says
        why, or is empty; ``since`` is Unix time in seconds. ``round_trip_ms`` is how long the last
        turn took to be written.
        """
        member = self._member
        return {
            "state": self._state,
            "reason": self._reason,
            "since": self._since,
            "machine": self._machine,
            "member": self._name,
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
        if member is not None and self._state in ("joining", "joined"):
            member.end()
            await asyncio.wait([task], timeout=STOP_S)
        task.cancel()
        await asyncio.wait([task], timeout=STOP_S)
        self._task = None
        await self._engine.close()
        self._info.stop()
        self._warn.stop()

    async def _run(self) -> None:
        """Join, and join again, until the service stops."""
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while not self._stopping:
            self._member = member = await self._join()
            begun = loop.time()
            try:
                await self._keep(member)
                return
            except LeaseOver as error:
                self._cut_off(str(error))
            except EngineError as error:
                # Nodes need not notice if the next hello succeeds at once.
                self._now_in("joining", str(error))
            except Exception as bug:
                self.log.failure("the uplink failed and joins again")
                self._cut_off(f"an error of c10k: {bug!r}")
            self._turns += member.turns
            self._bytes += member.bytes
            self._member = None
            self._troubles.clear()
            if loop.time() - begun >= BRIEF_S:
                backoff.reset()
            else:
                self._not_joined(self._reason)
                await asyncio.sleep(backoff.next())

    def _cut_off(self, reason: str) -> None:
        self._now_in("cut off", reason)
        self._deliver(Deliveries([*self._gateway.cut_off()], []))

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
        self._name = name
        if joined.generation != self._generation:
            self._generations += 1
            self._generation = joined.generation
        outgoing = self._gateway.joined(joined, int(time.time() * 1000))
        self._deliver(Deliveries([*outgoing], []))
        self._show()
        return Member(self._engine, self._gateway, joined, self._delivered, self._trouble, now)

    def _not_joined(self, reason: str) -> None:
        if self._state == "joining":
            self._cut_off(reason)
        else:
            self._now_in(self._state, reason)

    async def _keep(self, member: Member) -> None:
        """Stay a member; connect again while the lease runs. Returns when the service stops."""
        while True:
            try:
                await member.run()
            except EngineUnavailable as error:
                self._trouble("connection", str(error))
            else:
                await self._leave(member)
                return
            try:
                async with asyncio.timeout_at(member.lease_until):
                    await self._connect_again()
            except TimeoutError:
                raise LeaseOver(self._reason) from None
            self._reconnects += 1
            self._trouble("connection", "")

    async def _connect_again(self) -> None:
        backoff = Backoff()
        while True:
            await self._engine.close()
            try:
                await self._engine.connect()
                return
            except (EngineUnavailable, EngineUnusable) as error:
                self._trouble("connection", str(error))
                await asyncio.sleep(backoff.next())

    async def _leave(self, member: Member) -> None:
        """The nodes have left, so say goodbye. If there are some, the next gateway takes over."""
        if not self._gateway.nodes:
            try:
                await member.goodbye()
            except EngineError as error:
                self._warn("goodbye", "no goodbye to the other machines: {error}", error=error)

    def _delivered(self, deliveries: Deliveries) -> None:
        self._deliver(deliveries)
        if self._state == "joining":
            self._show()

    def _trouble(self, what: str, reason: str) -> None:
        """Note why something is refused now, or that it is not any more if the reason is empty."""
        if reason:
            self._troubles[what] = reason
        elif self._troubles.pop(what, None) is None:
            return
        self._show()

    def _show(self) -> None:
        """Set the state of a member."""
        if self._troubles:
            self._now_in("interrupted", next(iter(self._troubles.values())))
        else:
            self._now_in("joined" if self._gateway.state == "joined" else "joining", "")

    def _now_in(self, state: str, reason: str) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        if state != self._state:
            self._since = time.time()
        self._state, self._reason = state, reason
        if state in ("joining", "joined") and not reason:
            text = "{state} the other machines as {member}: {machines}"
            others = ", ".join(self._gateway.machines) or "there is no other"
            self._info(state, text, state=state, member=self._name, machines=others)
        else:
            self._warn(state, "uplink {state}: {reason}", state=state, reason=reason)
