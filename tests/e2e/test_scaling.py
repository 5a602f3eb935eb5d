"""Draining nodes and changing their number under load, which must lose no connection."""

import os
import shutil
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.e2e.asking import get, metrics, ready, statistics_until
from tests.e2e.console import c10k, c10k_json
from tests.e2e.processes import TEST_TIMEOUT_S, Cluster, environment, reactor, start_cluster
from tests.e2e.test_restart import SITE
from tests.e2e.wsclient import Closed, connect
from tests.once import once

LOOPS = 6
"""Clients of each kind that connect repeatedly."""


class Load:
    """Clients that connect repeatedly until ``stop``; ``failures`` has what they have lost."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stopped = False
        self.answers = self.echoes = 0
        self.failures: list[str] = []
        self._loops = [
            Deferred.fromCoroutine(loop())
            for loop in (self._request, self._echo)
            for _ in range(LOOPS)
        ]

    async def stop(self) -> None:
        self._stopped = True
        loops, self._loops = self._loops, []
        await gatherResults(loops)

    async def _request(self) -> None:
        while not self._stopped:
            try:
                code, text = await get(self._cluster.base_url)
                if code != 200:
                    self.failures.append(f"{code} {text}")
            except Exception as error:
                self.failures.append(repr(error))
            self.answers += 1

    async def _echo(self) -> None:
        while not self._stopped:
            try:
                client = await connect(reactor, f"ws://127.0.0.1:{self._cluster.port}/echo/")
                client.send("hello")
                while await client.next_message() != "hello":
                    pass
                await client.close()
            except Closed as closed:
                if closed.code != 1012:
                    self.failures.append(repr(closed))
            except Exception as error:
                self.failures.append(repr(error))
            self.echoes += 1


@once
class ScalingTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self, nodes: int) -> Cluster:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        text = SITE.replace("{version}", "one").replace("{settings}", "{'RESTART_SPREAD': 0.5}")
        (folder / "restart_site.py").write_text(text)
        path = os.pathsep.join([str(folder), environment("")["PYTHONPATH"]])
        return await start_cluster(
            self, "--nodes", str(nodes), "--settings", "restart_site", extra={"PYTHONPATH": path}
        )

    async def states(self, cluster: Cluster) -> dict[str, str]:
        status = await c10k_json(self, cluster, "status")
        return {each["name"]: each["state"] for each in status["processes"]}

    async def nodes_of_broker(self, cluster: Cluster, number: int) -> None:
        """Wait until the broker has this number of nodes: EVERY_NODE means these."""
        await statistics_until(
            cluster, lambda found: found.get("broker") == number, "c10k_broker_nodes"
        )

    async def test_no_connection_is_lost(self) -> None:
        cluster = await self.start(3)
        load = Load(cluster)
        self.addCleanup(lambda: Deferred.fromCoroutine(load.stop()))
        held = [await connect(reactor, f"ws://127.0.0.1:{cluster.port}/echo/") for _ in range(24)]

        answer = await c10k_json(self, cluster, "drain", "2")
        self.assertEqual(("node2", "drained"), (answer["node"], answer["state"]))
        ended = [client.closed.result for client in held if client.closed.called]
        self.assertTrue(ended)
        self.assertEqual({1012}, {end.code for end in ended})
        self.assertLess(len(ended), len(held))
        states = await self.states(cluster)
        self.assertEqual({"node0": "ready", "node1": "ready", "node2": "drained",
                          "broker": "ready"}, states)  # fmt: skip
        await ready(cluster.admin_url)
        await self.nodes_of_broker(cluster, 2)
        page = await metrics(cluster.admin_url)
        self.assertNotIn('c10k_up{node="node2"}', page)
        self.assertIn('c10k_drained_nodes{node="supervisor"} 1.0', page)
        self.assertIn("node2 drained", await c10k(self, cluster, "events"))
        self.assertIn("drained already", await c10k(self, cluster, "drain", "2", status=1))

        out = await c10k(self, cluster, "drain", "node2", "--undo")
        self.assertIn("node2 is ready", out)
        await statistics_until(
            cluster, lambda found: found.get("node2", 0) > 0, "c10k_connections_opened_total"
        )

        answer = await c10k_json(self, cluster, "scale", "4")
        self.assertEqual((4, 3), (answer["nodes"], answer["before"]))
        self.assertEqual("ready", (await self.states(cluster))["node3"])
        await self.nodes_of_broker(cluster, 4)
        await statistics_until(
            cluster, lambda found: found.get("node3", 0) > 0, "c10k_connections_opened_total"
        )
        out = await c10k(self, cluster, "scale", "2")
        self.assertIn("scaled from 4 to 2 nodes", out)
        await self.nodes_of_broker(cluster, 2)
        self.assertEqual({"node0", "node1", "broker"}, set(await self.states(cluster)))
        self.assertNotIn("node3", await metrics(cluster.admin_url))

        await c10k(self, cluster, "drain", "1")
        text = await c10k(self, cluster, "drain", "0", status=1)
        self.assertEqual("c10k: node0 cannot be drained: no other node serves\n", text)
        self.assertIn("restarted 2 nodes", await c10k(self, cluster, "restart"))
        await ready(cluster.admin_url)
        self.assertEqual("ready", (await self.states(cluster))["node1"])
        await load.stop()
        self.assertEqual([], load.failures)
        self.assertGreater(min(load.answers, load.echoes), 50)
        self.assertEqual(4, len(cluster.processes()))
        self.assertNotIn("Traceback", cluster.text)

    async def test_wrong_commands(self) -> None:
        cluster = await self.start(1)
        for arguments, text in (
            (["scale", "2"], "started with one node, and has no broker"),
            (["scale", "0"], "a cluster has 1 to 256 nodes, not 0"),
            (["drain", "7"], "there is no node 'node7'; this cluster has node0"),
            (["drain", "0"], "node0 cannot be drained: no other node serves"),
            (["drain", "node0", "--undo"], "node0 is not drained"),
        ):
            err = await c10k(self, cluster, *arguments, status=1)
            self.assertIn(text, err)
            self.assertEqual(1, len(err.splitlines()))
