"""When database connections or the database are killed, WebSockets stay open and threads recover.

Two nodes have persistent connections to a PostgreSQL server of the test. A lock that the test holds
keeps every thread inside a query until all threads are in one, so that each has a connection.
"""

import json
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.e2e import wsclient
from tests.e2e.asking import get, until
from tests.e2e.drill_site import GATE
from tests.e2e.postgres import Postgres, start_postgres
from tests.e2e.processes import TEST_TIMEOUT_S, Cluster, reactor, start_cluster
from tests.once import once

NODES = 2
VIEW_THREADS = NODES * 3
DATABASE_THREADS = NODES * 2
THREADS = VIEW_THREADS + DATABASE_THREADS

SOCKETS = 12
"""WebSockets, at least, and ENOUGH on each node: for each database thread an error and an
answer."""

ENOUGH = 2 * DATABASE_THREADS // NODES

VIEWS = 40
"""Requests: so many that each node has at least two for each thread, as the kernel distributes
them."""

SETTINGS = {"WSGI_THREADS": VIEW_THREADS // NODES, "DATABASE_THREADS": DATABASE_THREADS // NODES}

OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class Answers:
    """The answers of one round."""

    def __init__(self, views: list[tuple[int, str]], sockets: list[dict[str, Any]]) -> None:
        self.backends = {body for code, body in views if code == 200}
        self.backends |= {answer["backend"] for answer in sockets if "backend" in answer}
        self.view_errors = sum(code != 200 for code, _ in views)
        self.socket_errors = sum("error" in answer for answer in sockets)


@once
class PostgresTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self) -> None:
        self.database = await start_postgres(self)
        self.control = self.connection_of_the_test(self.database)
        self.query("CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY,"
                   " session_data text, expire_date timestamptz)")  # fmt: skip
        extra = {
            "DRILL_DATABASE": self.database.django,
            "DRILL_SETTINGS": json.dumps(SETTINGS),
        }
        self.cluster: Cluster = await start_cluster(
            self, "--nodes", str(NODES), "--settings", "tests.e2e.drill_site", extra=extra
        )
        self.sockets: list[wsclient.Client] = []
        on_node: Counter[int] = Counter()
        while len(self.sockets) < SOCKETS or min(on_node.values()) < ENOUGH or len(on_node) < NODES:
            self.sockets.append(await self.connect())
            self.sockets[-1].send("hello")
            on_node[json.loads(await self.sockets[-1].next_message())["node"]] += 1

    def connection_of_the_test(self, database: Postgres) -> Any:
        connection = database.connect()
        self.addCleanup(connection.close)
        return connection

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        cursor = self.control.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []

    def count(self, condition: str = "true") -> int:
        """Return the number of the cluster's connections with this condition."""
        number: int = self.query(f"SELECT count(*) {OTHERS} AND {condition}")[0][0]
        return number

    async def count_until(self, number: int) -> None:
        """Wait for a count: a backend exists for a moment after its client has disconnected."""
        await until(lambda: self.count() == number, lambda: f"{self.count()}, not {number}")

    async def connect(self, **headers: str) -> wsclient.Client:
        url = f"ws://127.0.0.1:{self.cluster.port}/backend/ws/"
        client = await wsclient.connect(reactor, url, headers=headers)
        self.addCleanup(client.abort)
        return client

    async def ask(self, message: str) -> list[dict[str, Any]]:
        """Send one message on each WebSocket, and wait for its answer."""
        for client in self.sockets:
            client.send(message)
        answers: Any = await gatherResults([client.next_message() for client in self.sockets])
        return [json.loads(answer) for answer in answers]

    async def fill(self, kind: str = "query", kill: bool = False) -> Answers:
        """Keep all threads of all kinds in a query at the same time, then release them."""
        self.query(f"SELECT pg_advisory_lock({GATE})")
        url = self.cluster.base_url + f"backend/{kind}/"
        sockets = Deferred.fromCoroutine(self.ask(kind))
        views = gatherResults([Deferred.fromCoroutine(get(url)) for _ in range(VIEWS)])
        await until(lambda: self.count("wait_event_type = 'Lock'") == THREADS)
        if kill:
            self.kill_connections()
        self.query(f"SELECT pg_advisory_unlock({GATE})")
        return Answers(await views, await sockets)

    def kill_connections(self) -> None:
        self.query(f"SELECT pg_terminate_backend(pid) {OTHERS}")

    async def assert_all_well(self, others: int = 0) -> None:
        """Assert that no WebSocket was lost, and that every thread has a working connection."""
        self.assertEqual([c for c in self.sockets if c.closed.called], [])
        found = await self.fill()
        self.assertEqual((found.view_errors, found.socket_errors), (0, 0))
        self.assertEqual(len(found.backends), THREADS)
        await self.count_until(THREADS + others)

    async def test_threads_recover_when_idle_connections_are_killed(self) -> None:
        await self.start()
        before = (await self.fill()).backends
        await self.count_until(THREADS)  # persistent connections
        self.assertEqual((await self.fill()).backends, before)
        self.kill_connections()
        await self.count_until(0)
        found = await self.fill()  # each thread has one error, then a connection
        self.assertEqual(found.view_errors, VIEW_THREADS)
        self.assertEqual(found.socket_errors, DATABASE_THREADS)
        await self.assert_all_well()

    async def test_threads_recover_when_connections_are_killed_within_a_transaction(self) -> None:
        await self.start()
        found = await self.fill("transaction", kill=True)
        self.assertEqual(found.view_errors, VIEW_THREADS)
        self.assertEqual(found.socket_errors, DATABASE_THREADS)
        await self.assert_all_well()

    async def test_asynchronous_queries_recover_when_their_connection_is_killed(self) -> None:
        """Those of handlers share one thread in each node, outside of any request."""
        await self.start()
        for _ in range(2):
            answers = await self.ask("async")
            self.assertEqual([a.get("error") for a in answers], [None] * len(self.sockets))
        await self.count_until(NODES)
        self.kill_connections()
        answers = await self.ask("async")
        self.assertTrue(1 <= sum("error" in a for a in answers) <= NODES, answers)
        answers = await self.ask("async")
        self.assertEqual([a.get("error") for a in answers], [None] * len(self.sockets))
        await self.assert_all_well(NODES)

    async def test_threads_recover_after_a_restart_of_the_database(self) -> None:
        await self.start()
        await self.fill()
        self.control.close()
        await self.database.stop()
        for _ in range(2):
            code, _ = await get(self.cluster.base_url + "backend/query/")
            self.assertEqual(code, 500)
            self.assertTrue(all("error" in answer for answer in await self.ask("query")))
        self.assertEqual(
            [a["echo"] for a in await self.ask("hello")], ["hello"] * len(self.sockets)
        )
        # A client without a session needs no database.
        self.sockets.append(await self.connect())
        with self.assertRaises(wsclient.Closed) as refused:
            await self.connect(Cookie="sessionid=" + "x" * 32)
        self.assertIn("503", refused.exception.reason)
        await self.database.start()
        self.control = self.connection_of_the_test(self.database)
        await self.fill()  # at most one error for each thread
        self.sockets.append(await self.connect(Cookie="sessionid=" + "x" * 32))
        await self.assert_all_well()
