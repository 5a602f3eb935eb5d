"""Nodes and the broker are killed while clients follow a topic with history and others publish.

Clients reconnect with their position. None may miss a message or receive one twice. None may
receive ``recovered: false``, because no client was away for longer than the history lasts. The
members of a topic on a dead node leave.
"""

import json
import os
import signal
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.e2e import wsclient
from tests.e2e.asking import LOOK_SOON_S, ready, until
from tests.e2e.processes import TEST_TIMEOUT_S, Cluster, reactor, start_cluster
from tests.once import once

NODES = 3
CLIENTS = 24
MESSAGES = 300
TOPIC = "drill"
SETTINGS = {"TOPICS": {TOPIC: {"history": MESSAGES}}}


class CallbackSubscriber:
    """Receives a topic, and reconnects with its position when its connection is lost.

    Messages are the numbers from 1, published by one publisher.
    """

    def __init__(self, url: str, kind: str) -> None:
        self.heard: list[int] = []
        self.recovered: list[bool] = []
        self.node = 0
        self.answered: Deferred[None] = Deferred()
        self.client: wsclient.Client | None = None
        self.position = ""
        self._url = f"{url}{kind}/{TOPIC}/"
        self._stopped = False
        self.ended = Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        while not self._stopped:
            query = f"?since={self.position}" if self.position else ""
            try:
                self.client = await wsclient.connect(reactor, self._url + query)
                while True:
                    self._take(await self.client.next_message())
            except wsclient.Closed:
                continue

    def _take(self, message: Any) -> None:
        said = json.loads(message)
        if isinstance(said, int):
            # There is one publisher, so its number must equal the topic's offset.
            epoch = self.position.rpartition(":")[0]
            said = {"message": message, "position": f"{epoch}:{said}" if epoch else ""}
        if "message" in said:
            self.heard.append(int(said["message"]))
            self.position = said["position"]
        else:
            self.node = said["node"]
            self.recovered.append(said["recovered"])
            self.position = said["position"] if not self.position else self.position
            if not self.answered.called:
                self.answered.callback(None)

    def stop(self) -> "Deferred[None]":
        self._stopped = True
        if self.client is not None:
            self.client.abort()
        return self.ended


@once
class TopicFaultTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self) -> None:
        extra = {"DRILL_SETTINGS": json.dumps(SETTINGS)}
        self.cluster: Cluster = await start_cluster(
            self, "--nodes", str(NODES), "--settings", "tests.e2e.drill_site", extra=extra
        )
        self.url = f"ws://127.0.0.1:{self.cluster.port}/"
        self.publisher = await wsclient.connect(reactor, f"{self.url}publish/{TOPIC}/")
        self.addCleanup(self.publisher.abort)
        self.published = 0
        await self.publish(1)
        self.callback_subscribers: list[CallbackSubscriber] = []
        nodes: set[int] = set()
        while len(self.callback_subscribers) < CLIENTS or len(nodes) < NODES:
            subscriber = CallbackSubscriber(
                self.url, ("read", "subscribe")[len(self.callback_subscribers) % 2]
            )
            self.addCleanup(subscriber.stop)
            await subscriber.answered
            self.callback_subscribers.append(subscriber)
            nodes.add(subscriber.node)

    async def publish(self, count: int) -> None:
        """Publish messages, each after the previous one is answered."""
        for _ in range(count):
            self.published += 1
            self.publisher.send(str(self.published))
            receipt = json.loads(await self.publisher.next_message())
            self.publishing_node: int = receipt["node"]

    async def assert_all_heard(self) -> None:
        def state() -> str:
            return "\n".join(
                f"node {f.node}, {f.recovered}: {f.heard[:5]} … {f.heard[-5:]}"
                for f in self.callback_subscribers
            )

        everything = list(range(1, self.published + 1))
        await until(
            lambda: all(f.heard[-1:] == everything[-1:] for f in self.callback_subscribers), state
        )
        for subscriber in self.callback_subscribers:
            self.assertEqual(subscriber.heard, everything, state())
            self.assertEqual(set(subscriber.recovered[1:]) - {True}, set(), state())

    async def test_no_message_is_lost_when_nodes_are_killed(self) -> None:
        await self.start()
        others = [
            name
            for name, pid in self.cluster.pids.items()
            if name.startswith("node") and pid != self.publishing_node
        ]
        for name in others:
            await self.publish(MESSAGES // 6)
            again = self.cluster.line(f"{name} ready")
            os.kill(self.cluster.pids[name], signal.SIGKILL)
            await self.publish(MESSAGES // 6)
            await again
        await self.assert_all_heard()
        self.assertGreater(sum(len(f.recovered) > 1 for f in self.callback_subscribers), 0)

    async def test_no_message_is_lost_when_the_broker_is_killed(self) -> None:
        await self.start()
        await self.publish(MESSAGES // 3)
        again = self.cluster.line("broker ready")
        os.kill(self.cluster.pids["broker"], signal.SIGKILL)
        await self.publish(MESSAGES // 3)
        for subscriber in self.callback_subscribers[::3]:  # some reconnect while there is no broker
            assert subscriber.client is not None
            subscriber.client.abort()
        await again
        await self.publish(MESSAGES // 3)
        await self.assert_all_heard()

    async def test_messages_that_a_dead_broker_had_not_read_are_sent_again(self) -> None:
        await self.start()
        await self.publish(10)
        os.kill(self.cluster.pids["broker"], signal.SIGSTOP)
        await self.publish(50)
        os.kill(self.cluster.pids["broker"], signal.SIGKILL)
        await self.publish(50)
        await self.assert_all_heard()

    async def test_the_history_of_a_topic_without_subscribers_survives(self) -> None:
        """The broker and all nodes are killed at once: no process is left that knows the topic."""
        extra = {"DRILL_SETTINGS": json.dumps(SETTINGS)}
        self.cluster = await start_cluster(
            self, "--nodes", str(NODES), "--settings", "tests.e2e.drill_site", extra=extra
        )
        self.url = f"ws://127.0.0.1:{self.cluster.port}/"
        await self.connect_publisher()
        self.published = 0
        await self.publish(40)
        (history,) = self.cluster.runtime.glob("*/*/history")
        # A text frame: the last message.
        await until(lambda: b"\x81\x0240" in history.read_bytes(), lambda: "not written")
        again = [self.cluster.line(f"{name} ready") for name in self.cluster.pids]
        for pid in self.cluster.pids.values():
            os.kill(pid, signal.SIGKILL)
        await gatherResults(again)
        await self.connect_publisher()
        subscriber = CallbackSubscriber(self.url, "subscribe")
        self.addCleanup(subscriber.stop)
        self.callback_subscribers = [subscriber]
        await subscriber.answered
        await self.publish(3)
        await self.assert_all_heard()

    async def connect_publisher(self) -> None:
        self.publisher = await wsclient.connect(reactor, f"{self.url}publish/{TOPIC}/")
        self.addCleanup(self.publisher.abort)


@once
class PresenceFaultTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self) -> None:
        self.cluster: Cluster = await start_cluster(
            self, "--nodes", str(NODES), "--settings", "tests.e2e.drill_site"
        )
        self.guests: dict[str, wsclient.Client] = {}
        self.node_of: dict[str, int] = {}
        while len(set(self.node_of.values())) < NODES or len(self.guests) < CLIENTS:
            await self.join(f"guest{len(self.guests)}")

    async def join(self, name: str) -> None:
        url = f"ws://127.0.0.1:{self.cluster.port}/guests/{TOPIC}/{name}/"
        client = await wsclient.connect(reactor, url)
        self.addCleanup(client.abort)
        self.guests[name] = client
        self.node_of[name] = (await self.ask(client))["node"]

    async def ask(self, client: wsclient.Client) -> dict[str, Any]:
        """Return the members that one client receives; earlier announcements are skipped."""
        client.send("who?")
        while True:
            message: Any = await client.next_message()
            if message[0] == "{":
                answer: dict[str, Any] = json.loads(message)
                return answer

    async def assert_all_know(self) -> None:
        everybody = sorted(self.guests)
        for client in self.guests.values():
            while (await self.ask(client))["members"] != everybody:
                await deferLater(reactor, LOOK_SOON_S, lambda: None)

    async def kill_node(self) -> list[str]:
        """Kill a node; returns the members that were on it."""
        name = next(name for name in self.cluster.pids if name.startswith("node"))
        pid = self.cluster.pids[name]
        gone = [guest for guest, node in self.node_of.items() if node == pid]
        ends = [self.guests.pop(guest).closed for guest in gone]
        os.kill(pid, signal.SIGKILL)
        await gatherResults(ends)
        return gone

    async def test_members_on_a_dead_node_leave(self) -> None:
        await self.start()
        await self.assert_all_know()
        gone = await self.kill_node()
        heard = {name: set[Any]() for name in self.guests}
        for name, client in self.guests.items():
            while len(heard[name]) < len(gone):
                heard[name].add(await client.next_message())
        for name in self.guests:
            self.assertEqual(heard[name], {f"-{guest}" for guest in gone})
        await self.assert_all_know()
        for name in gone:
            await self.join(name)
        await self.assert_all_know()

    async def test_a_new_broker_receives_the_members(self) -> None:
        await self.start()
        await self.assert_all_know()
        again = self.cluster.line("broker ready")
        os.kill(self.cluster.pids["broker"], signal.SIGKILL)
        await again
        await ready(self.cluster.admin_url)
        await self.join("late")
        await self.assert_all_know()
        for name, client in self.guests.items():
            self.assertEqual([m for m in client.unread() if str(m)[0] == "-"], [], name)

    async def test_members_leave_if_their_node_dies_with_the_broker(self) -> None:
        await self.start()
        await self.assert_all_know()
        again = self.cluster.line("broker ready")
        os.kill(self.cluster.pids["broker"], signal.SIGKILL)
        await self.kill_node()
        await again
        await self.assert_all_know()
