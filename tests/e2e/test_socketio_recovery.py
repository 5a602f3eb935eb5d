"""Clients of a killed node continue on others, with socket.io-client in Node."""

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.e2e import npm
from tests.e2e.processes import TEST_TIMEOUT_S, start_cluster
from tests.e2e.test_socketio_clients import CLIENTS, NODES, run_suite
from tests.once import once

SITE = "tests.e2e.socketio_recovery_site"


@once
class SocketIoRecoveryTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_every_event_once_and_in_order(self) -> None:
        modules = await deferToThread(npm.installed, CLIENTS)
        cluster = await start_cluster(self, "--settings", SITE, "--nodes", str(NODES))
        command = [npm.node(), str(CLIENTS / "recovery.mjs"), cluster.base_url]
        await run_suite(self, modules, *command, checks=2)
