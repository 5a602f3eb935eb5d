"""The c10k command against a real cluster of two nodes."""

import json
import os
import signal

from twisted.trial.unittest import TestCase

from tests.e2e.asking import ready
from tests.e2e.console import c10k, c10k_json
from tests.e2e.processes import TEST_TIMEOUT_S, reactor, start_cluster
from tests.e2e.wsclient import connect
from tests.once import once


@once
class ConsoleTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_a_cluster_is_operated(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2")
        await ready(cluster.admin_url)
        clients = [
            await connect(reactor, cluster.base_url.replace("http", "ws") + "chat/ws/")
            for _ in range(6)
        ]
        other = await connect(reactor, cluster.base_url.replace("http", "ws") + "chat/other/ws/")
        for client in (*clients, other):
            await client.next_message()

        status = await c10k_json(self, cluster, "status")
        self.assertEqual(("ready", 7), (status["state"], status["connections"]["open"]))
        self.assertEqual(
            {"node0", "node1", "broker"}, {each["name"] for each in status["processes"]}
        )
        self.assertIn("7 of", await c10k(self, cluster, "status"))
        nodes = (await c10k(self, cluster, "nodes")).splitlines()
        self.assertEqual(["process", "node0", "node1", "broker"], [n.split()[0] for n in nodes])

        topics = (await c10k_json(self, cluster, "topics"))["topics"]
        self.assertEqual(
            [("chat", 6), ("chat/other", 1)], [(t["topic"], t["subscribers"]) for t in topics]
        )
        found = await c10k_json(self, cluster, "clients", "--path", "/chat/ws/")
        self.assertEqual((6, []), (found["total"], found["silent"]))
        self.assertEqual(["chat"], found["clients"][0]["topics"])
        self.assertIn(
            "/chat/other/ws/", await c10k(self, cluster, "clients", "--topic", "chat/other")
        )

        receipt = await c10k_json(
            self, cluster, "publish", "chat/other", '{"message": ["shell", "hi"]}'
        )
        self.assertEqual(1, receipt["nodes"])
        message = await other.next_message()
        while "announcement" in message:
            message = await other.next_message()
        self.assertEqual({"message": ["shell", "hi"]}, json.loads(message))

        out = await c10k(self, cluster, "kick", "--topic", "chat/other", "--reason", "maintenance")
        self.assertEqual("disconnected 1 client\n", out)
        end = await other.closed
        self.assertEqual((1008, "maintenance"), (end.code, end.reason))
        first = found["clients"][0]
        out = await c10k(
            self, cluster, "kick", "--id", first["id"], "--node", first["node"], "--reconnect"
        )
        self.assertEqual("disconnected 1 client\n", out)
        self.assertEqual(5, (await c10k_json(self, cluster, "clients"))["total"])

        back = cluster.line("node0 ready")
        os.kill(cluster.pids["node0"], signal.SIGKILL)
        await back
        events = await c10k(self, cluster, "events")
        self.assertIn("node0 ended (SIGKILL)", events)
        lines = (await c10k(self, cluster, "logs", "-n", "3")).splitlines()
        self.assertEqual(3, len(lines))
        self.assertTrue(any("node0 ready" in line for line in lines), lines)
        for client in clients:
            if not client.closed.called:
                client.abort()
                await client.closed

    async def test_wrong_commands(self) -> None:
        cluster = await start_cluster(self, "--nodes", "1")
        for arguments, text in (
            (["kick"], "needs a filter: --id, --user"),
            (["clients", "--node", "node7"], "there is no node 'node7'; this cluster has node0"),
            (["publish", "c10k/revocations", "x"], "is reserved"),
            (["status", "--port", "1"], "no cluster of this user is running on port 1"),
        ):
            err = await c10k(self, cluster, *arguments, status=1)
            self.assertIn(text, err)
            self.assertEqual(1, len(err.splitlines()))
