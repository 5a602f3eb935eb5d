"""Nodes whose event loop is blocked, and nodes that are stopped."""

import json
import os
import signal

from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.e2e import wsclient
from tests.e2e.asking import statistics
from tests.e2e.processes import TEST_TIMEOUT_S, Cluster, reactor, start_cluster
from tests.once import once

STOP_S = 5.0
"""Seconds for which a node is stopped without being replaced."""


@once
class WatchdogTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self, **settings: float) -> None:
        self.cluster: Cluster = await start_cluster(
            self, "--nodes", "1", "--settings", "tests.e2e.drill_site",
            extra={"DRILL_SETTINGS": json.dumps(settings)},
        )  # fmt: skip

    async def connect(self, path: str) -> wsclient.Client:
        url = f"ws://127.0.0.1:{self.cluster.port}/{path}"
        client = await wsclient.connect(reactor, url)
        self.addCleanup(client.abort)
        return client

    async def test_a_blocked_loop_is_in_the_log_before_it_returns(self) -> None:
        await self.start()
        lines = [
            self.cluster.line(text) for text in (r"event loop is blocked\.", r"in blocker$")
        ] + [self.cluster.line(r"event loop was blocked for \d")]
        client = await self.connect("block/sleep/")
        client.send("3")
        await gatherResults(lines[:2])
        self.assertFalse(lines[2].called)
        self.assertEqual(await client.next_message(), "awake")
        await lines[2]
        self.assertEqual(await statistics(self.cluster, "c10k_starts_total"), {"node0": 1})

    async def test_a_loop_that_returns_when_it_is_asked_closes_its_clients(self) -> None:
        await self.start(BLOCKED_LOOP_TIMEOUT=2)
        client, bystander = await self.connect("block/sleep/"), await self.connect("block/sleep/")
        asked, again = self.cluster.line("it is asked to close"), self.cluster.line("node0 ready")
        client.send("5")
        await asked
        for each in (client, bystander):
            self.assertEqual((await each.closed).code, 1001)
        await again
        self.assertNotIn("killing", self.cluster.text)
        self.assertIn("node0 ended (exit status 0)", self.cluster.text)

    async def test_a_loop_that_does_not_return_is_replaced(self) -> None:
        for how in ("sleep", "search"):
            await self.start(BLOCKED_LOOP_TIMEOUT=2)
            client = await self.connect(f"block/{how}/")
            lines = [
                self.cluster.line(text)
                for text in (
                    "has been blocked for 2 s: it is asked to close its clients, and killed in 5 s",
                    "has been blocked for 7 s; killing and replacing it",
                    "node0 ended .SIGKILL.; restarting it now",
                    "node0 ready",
                )
            ]
            client.send("1000")
            await lines[1]
            stack = self.cluster.line(r"drill_site.py., line \d+ in blocker")  # before it is killed
            await gatherResults([stack, *lines])

    async def test_a_node_that_is_blocked_when_the_cluster_stops_is_killed(self) -> None:
        await self.start(DRAIN_TIMEOUT=0)
        client = await self.connect("block/sleep/")
        blocked = self.cluster.line("event loop is blocked")
        client.send("1000")
        await blocked
        stack = self.cluster.line(r"line \d+ in blocker")
        self.cluster.kill()
        await stack
        await self.cluster.end()
        self.assertIn("node0 did not stop within 4 s and was killed", self.cluster.text)

    async def test_a_node_that_is_stopped_for_a_moment_is_kept(self) -> None:
        await self.start()
        client = await self.connect("block/sleep/")
        pid = self.cluster.pids["node0"]
        resumed = self.cluster.line("event loop was blocked for .*: the process was stopped")
        os.kill(pid, signal.SIGSTOP)
        await deferLater(reactor, STOP_S, lambda: None)  # the fault itself takes this time
        os.kill(pid, signal.SIGCONT)
        await resumed
        client.send("0")
        self.assertEqual(await client.next_message(), "awake")
        self.assertEqual(await statistics(self.cluster, "c10k_starts_total"), {"node0": 1})

    async def test_a_node_that_stays_stopped_is_replaced(self) -> None:
        await self.start()
        again = self.cluster.line("node0 ready")
        killed = self.cluster.line("has been stopped for 10 s; killing and replacing it")
        os.kill(self.cluster.pids["node0"], signal.SIGSTOP)
        await killed
        await again
