"""The broker or a node is stopped or killed while clients publish to a topic without history.

Clients that stay connected must receive each message once, and those of one publisher in order.
"""

import json
import os
import signal
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.e2e import wsclient
from tests.e2e.asking import until
from tests.e2e.processes import TEST_TIMEOUT_S, Cluster, reactor, start_cluster
from tests.once import once

NODES = 3
SUBSCRIBERS = 12
TOPIC = "live"


class Subscriber:
    """A client that stays connected. ``received`` has the numbers of each publisher's messages."""

    def __init__(self, client: wsclient.Client, node: int) -> None:
        self.node = node
        self.received: dict[str, list[int]] = {}
        self.client = client
        self.ended = Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        try:
            while True:
                publisher, number = str(await self.client.next_message()).split()
                self.received.setdefault(publisher, []).append(int(number))
        except wsclient.Closed:
            pass


class Publisher:
    """A client that publishes numbered messages, each after the previous one was answered."""

    def __init__(self, client: wsclient.Client, name: str) -> None:
        self.client = client
        self.name = name
        self.node = 0
        self.published = 0

    async def publish(self, count: int) -> None:
        for _ in range(count):
            self.published += 1
            self.client.send(f"{self.name} {self.published}")
            receipt: Any = json.loads(await self.client.next_message())
            self.node = receipt["node"]


@once
class LinkFaultTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self, settings: Any = None) -> None:
        extra = {"DRILL_SETTINGS": json.dumps(settings or {})}
        self.cluster: Cluster = await start_cluster(
            self, "--nodes", str(NODES), "--settings", "tests.e2e.drill_site", extra=extra
        )
        self.url = f"ws://127.0.0.1:{self.cluster.port}/"
        self.subscribers: list[Subscriber] = []
        while len(self.subscribers) < SUBSCRIBERS or len(self.nodes(self.subscribers)) < NODES:
            client = await self.connect(f"subscribe/{TOPIC}/")
            first: Any = json.loads(await client.next_message())
            self.subscribers.append(Subscriber(client, first["node"]))
        self.publishers: list[Publisher] = []
        while len(self.nodes(self.publishers)) < NODES:
            publisher = Publisher(
                await self.connect(f"publish/{TOPIC}/"), f"p{len(self.publishers)}"
            )
            await publisher.publish(1)
            self.publishers.append(publisher)

    async def connect(self, path: str) -> wsclient.Client:
        client = await wsclient.connect(reactor, self.url + path)
        self.addCleanup(client.abort)
        return client

    @staticmethod
    def nodes(clients: Any) -> set[int]:
        return {client.node for client in clients}

    async def publish(self, count: int, without: int = 0) -> None:
        """Publish on all nodes, except the process ``without``, at the same time."""
        await gatherResults(
            [
                Deferred.fromCoroutine(publisher.publish(count))
                for publisher in self.publishers
                if publisher.node != without
            ]
        )

    async def assert_all_received(self) -> None:
        expected = {p.name: list(range(1, p.published + 1)) for p in self.publishers}

        def state() -> str:
            return "\n".join(
                f"node {s.node}: "
                + ", ".join(f"{name} {len(n)} … {n[-3:]}" for name, n in s.received.items())
                for s in self.subscribers
            )

        await until(
            lambda: all(
                s.received.get(name, [0])[-1] >= numbers[-1]
                for s in self.subscribers
                for name, numbers in expected.items()
            ),
            state,
        )
        for subscriber in self.subscribers:
            self.assertEqual(subscriber.received, expected, state())

    async def test_a_broker_that_stops_and_continues(self) -> None:
        await self.start()
        broker = self.cluster.pids["broker"]
        await self.publish(20)
        lost = [
            self.cluster.line(rf"node{n}\S*.*lost the connection to the broker")
            for n in range(NODES)
        ]
        os.kill(broker, signal.SIGSTOP)
        await self.publish(50)
        await gatherResults(lost)
        await self.publish(50)
        os.kill(broker, signal.SIGCONT)
        await self.publish(50)
        await self.assert_all_received()
        self.assertEqual(self.cluster.pids["broker"], broker)

    async def test_a_broker_that_stops_and_is_replaced(self) -> None:
        await self.start()
        await self.publish(20)
        again = self.cluster.line("broker ready")
        os.kill(self.cluster.pids["broker"], signal.SIGSTOP)
        await self.publish(50)
        await again
        await self.publish(50)
        await self.assert_all_received()

    async def test_a_broker_that_is_killed(self) -> None:
        await self.start()
        await self.publish(20)
        again = self.cluster.line("broker ready")
        traffic = Deferred.fromCoroutine(self.publish(300))
        os.kill(self.cluster.pids["broker"], signal.SIGKILL)
        await again
        await traffic
        await self.publish(50)
        await self.assert_all_received()

    async def test_a_node_that_stops_for_longer_than_the_history_lasts(self) -> None:
        """Its clients learn that messages are lost, or must connect again."""
        await self.start({"TOPICS": {TOPIC: {"history": 5}}})
        stopped = self.cluster.pids["node0"]
        readers: dict[int, wsclient.Client] = {}
        while stopped not in readers or len(readers) < 2:
            client = await self.connect(f"read/{TOPIC}/")
            first: Any = json.loads(await client.next_message())
            readers[first["node"]] = client
        left = self.cluster.line(r"node0\.\S+ left")
        os.kill(stopped, signal.SIGSTOP)
        await left
        await self.publish(20, without=stopped)
        os.kill(stopped, signal.SIGCONT)
        for node, client in readers.items():
            entries: list[Any] = []
            while not entries or "position" not in entries[-1] or len(entries) < 9:
                entries.append(json.loads(await client.next_message()))
            lost = [entry for entry in entries if "lost" in entry]
            self.assertEqual(len(lost), node == stopped, entries)
            numbers = [int(e["position"].rpartition(":")[2]) for e in entries if "position" in e]
            self.assertEqual(sorted(set(numbers)), numbers)
        for subscriber in self.subscribers:
            if subscriber.node == stopped:
                self.assertEqual((await subscriber.client.closed).code, 1012)

    async def test_a_node_that_stops_and_continues(self) -> None:
        await self.start()
        await self.publish(20)
        stopped = self.cluster.pids["node0"]
        left = self.cluster.line(r"node0\.\S+ left")
        os.kill(stopped, signal.SIGSTOP)
        await self.publish(50, without=stopped)
        await left
        await self.publish(50, without=stopped)
        os.kill(stopped, signal.SIGCONT)
        await self.publish(50)
        await self.assert_all_received()
        self.assertEqual(self.cluster.pids["node0"], stopped)
