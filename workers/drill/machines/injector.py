"""Performs the faults of a drill on machines and their engine."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from workers.drill.machines.faults import SLOW_MS, Disturbances, Fault
from workers.drill.machines.machine import READY, Machine
from workers.drill.machines.network import Network
from workers.drill.machines.redis import Engine, Server

MARGIN_SECONDS = 1.0
"""Before a fault, messages may not have been sent yet; after it, not all have arrived."""

JOIN_SECONDS = 30.0
"""For all machines to be connected again after a fault, when their processes serve."""

STEADY_SECONDS = 1.5
"""For all machines to stay joined after a fault. A gateway beats every second, and may learn only
then that its Redis is another one."""

FAILOVER_SECONDS = 20.0  # for Sentinel to promote the replica, or to change its mind


class Injector:
    """Call `perform` with each fault. say: receives one line for each.

    injected: what was done. longest_join: seconds until all machines were joined again, at most.
    """

    def __init__(
        self,
        network: Network,
        machines: Sequence[Machine],
        engine: Engine,
        say: Callable[[str], None],
    ) -> None:
        self.injected: list[dict[str, Any]] = []
        self.disturbances = Disturbances()
        self.violations: list[str] = []
        self.longest_join = 0.0
        self._network = network
        self._machines = {machine.name: machine for machine in machines}
        self._engine = engine
        self._say = say
        self._perform = {
            "node-kill": self._kill_node,
            "gateway-kill": self._kill_gateway,
            "gateway-stop": self._stop_gateway,
            "machine-kill": self._kill_machine,
            "redis-kill": self._kill_redis,
            "redis-empty": self._kill_redis,
            "redis-stop": self._stop_redis,
            "slow": self._slow,
            "failover": self._fail_over,
            "split": self._split,
            "clock": self._set_clock,
            "cut-out": self._cut,
            "cut-in": self._cut,
            "cut": self._cut,
        }

    async def perform(self, fault: Fault) -> None:
        """Begin a fault, end it, and wait until the machines are joined again."""
        began = monotonic()
        if fault.kind != "node-kill":
            self.disturbances.began(began, MARGIN_SECONDS)
        what = await self._perform[fault.kind](fault)
        lasted = monotonic() - began
        self.injected.append(
            {
                "at": round(fault.at, 2),
                "kind": fault.kind,
                "what": what,
                "seconds": round(lasted, 2),
            }
        )
        await self.wait_joined(fault.kind)

    async def wait_joined(self, after: str) -> None:
        """Wait until all machines are joined; it is a violation if that takes too long."""
        began = now = monotonic()
        is_steady = False
        while not is_steady and not self.violations:
            for machine in self._machines.values():
                if not await machine.wait_joined(JOIN_SECONDS):
                    self.violations.append(
                        f"after {after}, machine {machine.name} was not joined within"
                        f" {JOIN_SECONDS:.0f} s: {(await machine.readiness()).strip()!r}"
                    )
            now = monotonic()
            await asyncio.sleep(STEADY_SECONDS)
            states = [await machine.readiness() for machine in self._machines.values()]
            is_steady = all(state.startswith(READY) for state in states)
        self.longest_join = max(self.longest_join, now - began)
        self.disturbances.ended(now, MARGIN_SECONDS)

    async def end(self) -> None:
        """Undo everything that may be left of a fault that was interrupted."""
        with suppress(Exception):
            self._network.heal()
        for server in (*self._engine.servers, *self._engine.sentinels):
            server.signal(signal.SIGCONT)

    def _machine(self, fault: Fault) -> Machine:
        return self._machines[fault.of(sorted(self._machines))]

    async def _kill_node(self, fault: Fault) -> str:
        nodes = [
            f"{name} {node}"
            for name, machine in sorted(self._machines.items())
            for node in machine.cluster.running_nodes()
        ]
        if not nodes:
            return "no node runs"
        name, node = fault.of(nodes).split()
        self.disturbances.killed(monotonic())
        self._machines[name].cluster.kill(node)
        return self._did(f"killed {node} of {name}")

    async def _kill_gateway(self, fault: Fault) -> str:
        machine = self._machine(fault)
        machine.cluster.kill("broker")
        return self._did(f"killed the gateway of {machine.name}")

    async def _stop_gateway(self, fault: Fault) -> str:
        machine = self._machine(fault)
        pid = machine.cluster.pids.get("broker")
        if pid is None:
            return "the gateway does not run"
        did = self._did(f"stopped the gateway of {machine.name} for {fault.seconds:.1f} s")
        _signal(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            _signal(pid, signal.SIGCONT)
        return did

    async def _kill_machine(self, fault: Fault) -> str:
        machine = self._machine(fault)
        did = self._did(f"killed machine {machine.name} for {fault.seconds:.1f} s")
        self.disturbances.killed(monotonic())
        await machine.kill()
        await asyncio.sleep(fault.seconds)
        await machine.start()
        return did

    async def _kill_redis(self, fault: Fault) -> str:
        server, empty = self._engine.primary, fault.kind == "redis-empty"
        emptied = ", and emptied it" if empty else ""
        did = self._did(f"killed {server.host.name} for {fault.seconds:.1f} s{emptied}")
        server.signal(signal.SIGKILL)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(server.start, empty)
        await self._follow_primary(server)
        return did

    async def _stop_redis(self, fault: Fault) -> str:
        server = self._engine.primary
        did = self._did(f"stopped {server.host.name} for {fault.seconds:.1f} s")
        server.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            server.signal(signal.SIGCONT)
        await self._follow_primary(server)
        return did

    async def _slow(self, fault: Fault) -> str:
        assert self._engine.proxy is not None
        least, most = SLOW_MS
        delay = least + fault.detail * (most - least)
        did = self._did(f"delayed everything by {delay:.0f} ms for {fault.seconds:.1f} s")
        self._engine.proxy.delay(delay)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            self._engine.proxy.delay(0)
        return did

    async def _fail_over(self, fault: Fault) -> str:
        old, new = self._engine.primary, self._engine.replica
        did = self._did(f"killed the primary, {old.host.name}")
        old.signal(signal.SIGKILL)
        await self._until_promoted(new)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(old.start)
        await self._follow_primary(old)
        return did

    async def _split(self, fault: Fault) -> str:
        old, new = self._engine.primary, self._engine.replica
        name = old.host.name
        did = self._did(f"cut {name} from its replica and the Sentinels for {fault.seconds:.1f} s")
        for other in self._engine.hosts:
            if other != name:
                self._network.cut(name, other)
                self._network.cut(other, name)
        try:
            await asyncio.sleep(fault.seconds)
            await self._until_promoted(new)
        finally:
            self._network.heal()
        await self._follow_primary(old)
        return did

    async def _cut(self, fault: Fault) -> str:
        machine = self._machine(fault).name
        did = self._did(f"{fault.kind} of {machine} for {fault.seconds:.1f} s")
        for host in self._engine.hosts:
            if fault.kind != "cut-in":
                self._network.cut(machine, host)
            if fault.kind != "cut-out":
                self._network.cut(host, machine)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            self._network.heal()
        return did

    async def _set_clock(self, fault: Fault) -> str:
        # It stays so: later faults, as a failover to a server with another clock, happen then.
        server = self._engine.primary
        # Alternate, so that it does not move ever further away.
        jump = fault.jump if fault.jump * server.clock.offset <= 0 else -fault.jump
        did = self._did(f"set the clock of {server.host.name} by {jump:+.1f} s")
        server.clock.set(server.clock.offset + jump)
        return did

    async def _until_promoted(self, server: Server) -> None:
        deadline = monotonic() + FAILOVER_SECONDS
        while not server.is_primary:
            if monotonic() > deadline:
                self.violations.append(f"Sentinel has not promoted {server.host.name}")
                return
            await asyncio.sleep(0.05)

    async def _until_settled(self) -> None:
        """Wait for a failover that Sentinel may have begun, or until it sees no reason for one."""
        deadline = monotonic() + FAILOVER_SECONDS
        while not await asyncio.to_thread(self._engine.is_settled):
            if monotonic() > deadline:
                self.violations.append("the Sentinels do not agree about the primary")
                return
            await asyncio.sleep(0.1)

    async def _follow_primary(self, server: Server) -> None:
        """Make a server that was away the replica of another one that was promoted meanwhile.

        Sentinel does it, too, but only after ten seconds.
        """
        if not self._engine.sentinels:
            return
        await self._until_settled()
        other = next(one for one in self._engine.servers if one is not server)
        if not other.is_primary:
            return
        address, port = other.address
        with suppress(OSError):
            await asyncio.to_thread(server.ask, "REPLICAOF", address, str(port))

    def _did(self, text: str) -> str:
        self._say(text)
        return text


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
