"""Messages that a view publishes in a transaction: sent after the commit, or never."""

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.e2e import wsclient
from tests.e2e.asking import get
from tests.e2e.postgres import start_postgres
from tests.e2e.processes import TEST_TIMEOUT_S, Cluster, reactor, start_cluster

NODES = 2
TOPIC = "notes"
IS_ANYBODY_THERE = "is anybody there?"


class TransactionTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self, database: dict[str, Any]) -> None:
        extra = {"DRILL_DATABASE": json.dumps(database)}
        self.cluster: Cluster = await start_cluster(
            self, "--nodes", str(NODES), "--settings", "tests.e2e.drill_site", extra=extra
        )
        self.clients: list[wsclient.Client] = []
        nodes = set()
        while len(nodes) < NODES:
            self.clients.append(await self.connect("subscribe"))
            nodes.add(json.loads(await self.clients[-1].next_message())["node"])
        # A node receives the subscriptions of other nodes a little later.
        knowing = set()
        while len(knowing) < NODES:
            publisher = await self.connect("publish")
            receipt = {"nodes": 0}
            while receipt["nodes"] < NODES:
                publisher.send(IS_ANYBODY_THERE)
                receipt = json.loads(await publisher.next_message())
            knowing.add(receipt["node"])

    async def connect(self, what: str) -> wsclient.Client:
        url = f"ws://127.0.0.1:{self.cluster.port}/{what}/{TOPIC}/"
        client = await wsclient.connect(reactor, url)
        self.addCleanup(client.abort)
        return client

    async def next_messages(self) -> list[Any]:
        """Return the next message of each client."""

        async def of(client: wsclient.Client) -> Any:
            while (message := await client.next_message()) == IS_ANYBODY_THERE:
                pass
            return message

        hearing = [Deferred.fromCoroutine(of(client)) for client in self.clients]
        messages: Any = await gatherResults(hearing)
        return list(messages)

    async def say(self, end: str) -> dict[str, Any]:
        code, body = await get(f"{self.cluster.base_url}say/{TOPIC}/{end}/")
        self.assertEqual(code, 200, body)
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def assert_heard(self, *messages: str) -> None:
        """Assert that all clients, on all nodes, receive these messages and no others."""
        for message in messages:
            self.assertEqual(await self.next_messages(), [message] * len(self.clients))

    async def commit_and_rollback(self, notes: Callable[[], list[str]]) -> None:
        answer = await self.say("commit")
        self.assertEqual(answer["pending"], [True, True])
        await self.assert_heard("uncommitted", "outer")
        self.assertEqual(notes(), ["outer"])
        await self.say("rollback")
        await self.assert_heard("uncommitted", "rolled back")
        self.assertEqual(notes(), ["outer"])
        await self.say("commit")
        await self.assert_heard("uncommitted", "outer")

    async def test_messages_follow_the_commit_on_sqlite(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        path = folder / "notes.sqlite3"
        connection = sqlite3.connect(path, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("CREATE TABLE note (text)")
        await self.start({"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)})
        await self.commit_and_rollback(
            lambda: [text for (text,) in connection.execute("SELECT text FROM note")]
        )

    async def test_messages_follow_the_commit_on_postgres(self) -> None:
        database = await start_postgres(self)
        connection = database.connect()
        self.addCleanup(connection.close)
        connection.execute("CREATE TABLE note (text text)")
        await self.start(json.loads(database.django))
        await self.commit_and_rollback(
            lambda: [text for (text,) in connection.execute("SELECT text FROM note")]
        )
