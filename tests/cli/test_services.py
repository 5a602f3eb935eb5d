"""Tests of cluster.cli.services: a standalone process that cannot start, and log files.

Those that can are tested in tests.e2e.test_standalone_processes.
"""

from types import SimpleNamespace
from typing import Any

from twisted.application.service import Service
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli import process_setup, services
from cluster.cli.services import StandaloneBroker


class StandaloneBrokerTests(SynchronousTestCase):
    def test_a_broker_that_cannot_bind_ends_the_process(self) -> None:
        """The options are valid, but another program has taken the address meanwhile."""
        ended: list[Any] = []
        self.patch(process_setup, "exit_with_failure", lambda *given: ended.append(given))
        reactor = MemoryReactorClock()
        options: Any = SimpleNamespace(
            bus=f"ipc://{self.mktemp()}/no/such/folder", bus_keys="", uplink=None
        )
        broker = StandaloneBroker(options, reactor)
        broker.startService()
        self.assertEqual(ended, [])  # a reactor that is not running cannot be stopped
        reactor.run()
        ((stopped, name, reason),) = ended
        self.assertEqual((stopped, name), (reactor, "c10k-broker"))
        self.assertIn("ZMQError: No such file or directory", reason)
        broker.stopService()
        self.assertEqual(self.flushLoggedErrors(), [])


class ReopenTests(SynchronousTestCase):
    def test_the_children_open_their_files_again_even_if_the_own_one_cannot_be_opened(self) -> None:
        def reopen() -> None:
            raise PermissionError(13, "Permission denied")

        handlers: list[Any] = []
        reopened: list[str] = []
        self.patch(services, "handle_log_signals", lambda reactor, call: handlers.append(call))
        log: Any = SimpleNamespace(reopen=reopen)
        services._with_log(
            Service(), log, MemoryReactorClock(), reopen_more=lambda: reopened.append("children")
        )
        self.assertRaises(PermissionError, handlers[0])
        self.assertEqual(reopened, ["children"])
