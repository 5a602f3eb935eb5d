"""Tests of cluster.cli.services: a standalone process that cannot start.

Those that can are tested in tests.e2e.test_standalone_processes.
"""

from types import SimpleNamespace
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli import process_setup
from cluster.cli.services import StandaloneBroker


class StandaloneBrokerTests(SynchronousTestCase):
    def test_a_broker_that_cannot_bind_ends_the_process(self) -> None:
        """The options are valid, but another program has taken the address meanwhile."""
        ended: list[Any] = []
        self.patch(process_setup, "exit_with_failure", lambda *given: ended.append(given))
        reactor = MemoryReactorClock()
        options: Any = SimpleNamespace(bus=f"ipc://{self.mktemp()}/no/such/folder", bus_keys="")
        broker = StandaloneBroker(options, reactor)
        broker.startService()
        self.assertEqual(ended, [])  # a reactor that is not running cannot be stopped
        reactor.run()
        ((stopped, name, reason),) = ended
        self.assertEqual((stopped, name), (reactor, "c10k-broker"))
        self.assertIn("ZMQError: No such file or directory", reason)
        broker.stopService()
        self.assertEqual(self.flushLoggedErrors(), [])
