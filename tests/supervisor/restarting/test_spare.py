"""Tests of cluster.supervisor.restarting.spare, with fake processes."""

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.restarting.spare import Spare


class MemoryProcesses:
    """Records what the spare process does."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.is_running = True

    def pid(self, name: str) -> int | None:
        return 10 if self.is_running else None

    def became_ready(self, name: str) -> None:
        self.events.append(f"{name} ready")

    def start_now(self, name: str) -> None:
        self.events.append(f"start {name}")

    def use_spare(self, name: str) -> None:
        self.events.append(f"use for {name}")

    def replace_in_place(self, name: str) -> "Deferred[None]":
        self.events.append(f"stop {name}")
        return succeed(None)


class SpareTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.processes = MemoryProcesses()
        self.spare = Spare(self.processes)

    def test_it_takes_the_slot_of_a_node_that_has_ended(self) -> None:
        slot = self.spare.standby()
        self.assertNoResult(slot)
        self.assertTrue(self.spare.take("node1", 1))
        self.assertEqual(self.successResultOf(slot), 1)
        self.assertEqual(self.processes.events, ["spare ready", "use for node1"])
        self.assertFalse(self.spare.take("node0", 0), "there is one process")

    def test_a_process_that_loads_the_site_is_not_used(self) -> None:
        self.assertFalse(self.spare.take("node0", 0))
        self.assertEqual(self.processes.events, [])

    def test_a_process_that_has_ended_is_not_used(self) -> None:
        self.spare.standby()
        self.spare.ended()
        self.assertFalse(self.spare.take("node0", 0))

    def test_a_restart_replaces_it(self) -> None:
        slot = self.spare.standby()
        self.spare.renew()
        self.assertFalse(self.spare.take("node0", 0))
        self.assertNoResult(slot)
        self.processes.is_running = False
        self.spare.renew()
        self.assertEqual(self.processes.events, ["spare ready", "stop spare", "start spare"])
