"""WebSockets on every node close when their session ends on any node or in another process."""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.e2e.asking import statistics
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    reactor,
    start_cluster,
    start_program,
)
from tests.e2e.wsclient import Client, Closed, connect

WITHIN_S = 1.0
"""Seconds, as documented, from the end of a session to the close of its WebSockets on any node. A
check at the next ping, or periodic checks of a database, would take longer."""

SLOW_ECHOES = 20
"""Allowance for a busy machine, in echoes that a WebSocket makes meanwhile: a log-out needs a view,
a query, three processes and two hops of the bus; an echo needs one process."""

SOCKETS = 12
"""WebSockets of each user, at least."""


class Body:
    """A form, for Twisted's client."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Any:
        consumer.write(self._data)
        return succeed(None)

    def stopProducing(self) -> None:
        pass


class Pace:
    """A stopwatch that also measures how slow the machine is, by the echoes of a WebSocket."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._began = reactor.seconds()
        self._slowest = 0.0
        self._is_over = False
        self._echoes = Deferred.fromCoroutine(self._listen())

    async def _listen(self) -> None:
        while not self._is_over:
            asked = reactor.seconds()
            self._client.send("how slow?")
            await self._client.next_message()
            self._slowest = max(self._slowest, reactor.seconds() - asked)
            await deferLater(reactor, 0.005, lambda: None)

    async def assert_within(self, test: TestCase, seconds: float) -> None:
        """Assert that not more than this time has passed, plus the allowance for a busy machine."""
        took = reactor.seconds() - self._began
        self._is_over = True
        await self._echoes
        test.assertLess(took, seconds + SLOW_ECHOES * self._slowest)


class SessionTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self, *users: str) -> None:
        self.state = {"C10K_STATE_DIR": str(Path(self.mktemp()).absolute())}
        self.cluster: Cluster = await start_cluster(self, "--nodes", "2", extra=self.state)
        self.keys: dict[str, str] = await self.outside("new", *users)

    async def outside(self, *arguments: str) -> Any:
        """Run statements in another process with the site's settings; waits for its end."""
        program = Program()
        runtime = {"XDG_RUNTIME_DIR": str(self.cluster.runtime)}
        start_program(
            self,
            program,
            [sys.executable, "-m", "tests.e2e.sessions", *arguments],
            uuid.uuid4().hex,
            extra={**self.state, **runtime},
        )
        await program.end()
        self.assertEqual(program.status, 0, program.text)
        return json.loads(program.lines[-1])

    async def socket(self, cookie: str, path: str = "echo/") -> Client:
        """Open a WebSocket that answers."""
        url = self.cluster.base_url.replace("http", "ws", 1) + path
        client = await connect(reactor, url, headers={"Cookie": cookie} if cookie else None)
        self.addCleanup(self.leave, client)
        client.send("hello")
        self.assertEqual(await client.next_message(), "hello")
        return client

    def leave(self, client: Client) -> Any:
        client.abort()
        return client.closed

    async def sockets(self, user: str) -> list[Client]:
        """Open WebSockets of one session until each node has some; the kernel chooses the node."""
        cookie = f"sessionid={self.keys[user]}"
        before = await statistics(self.cluster, "c10k_connections")
        found = [await self.socket(cookie) for _ in range(SOCKETS)]
        while min((await self.gained(before)).values()) == 0:
            found.append(await self.socket(cookie))
        return found

    async def gained(self, before: dict[str, float]) -> dict[str, float]:
        """Return the number of new connections of each node."""
        now = await statistics(self.cluster, "c10k_connections")
        return {node: number - before[node] for node, number in now.items()}

    async def assert_closed(self, clients: list[Client], pace: Pace) -> None:
        ends: list[Closed] = await gatherResults([client.closed for client in clients])
        self.assertEqual({end.code for end in ends}, {4401})
        self.assertEqual({end.reason for end in ends}, {"the session has ended"})
        await pace.assert_within(self, WITHIN_S)

    async def assert_open(self, clients: list[Client]) -> None:
        for client in clients:
            client.send("still there?")
            self.assertEqual(await client.next_message(), "still there?")

    async def log_out(self, key: str) -> None:
        """Log out with a form, like a browser."""
        token = "t" * 32
        agent = Agent(reactor)
        response: Any = await agent.request(
            b"POST",
            f"{self.cluster.base_url}logout/".encode(),
            Headers(
                {
                    "Cookie": [f"sessionid={key}; csrftoken={token}"],
                    "Content-Type": ["application/x-www-form-urlencoded"],
                }
            ),
            Body(f"csrfmiddlewaretoken={token}".encode()),
        )
        await readBody(response)
        self.assertEqual(response.code, 302)

    async def test_logout_on_one_node_closes_the_sockets_on_both(self) -> None:
        await self.start("anna", "ben")
        annas, bens = await self.sockets("anna"), await self.sockets("ben")
        guests = [await self.socket("") for _ in range(4)]
        pace = Pace(await self.socket(""))
        await self.log_out(self.keys["anna"])
        await self.assert_closed(annas, pace)
        await self.assert_open(bens + guests)
        revoked = await statistics(self.cluster, "c10k_revoked_total")
        self.assertEqual((sum(revoked.values()), len(revoked)), (len(annas), 2))
        self.assertGreater(min(revoked.values()), 0, "there were sockets on each node")
        # The session cannot be used any more.
        again = await self.socket(f"sessionid={self.keys['anna']}")
        await self.log_out(self.keys["anna"])
        await self.assert_open([again])

    async def test_another_process_may_end_sessions(self) -> None:
        await self.start("deactivated", "password", "deleted", "session", "revoked", "bystander")
        clients = {name: await self.sockets(name) for name in self.keys}
        bystanders = clients.pop("bystander")
        ways = [
            "u = user('deactivated'); u.is_active = False; u.save()",
            "u = user('password'); u.set_password('new'); u.save()",
            "user('deleted').delete()",
            f"session({self.keys['session']!r}).delete()",
            "revoke(user=user('revoked'))",
        ]
        witness = await self.socket("")
        await self.outside("\n".join(ways))
        pace = Pace(witness)
        everybody = [client for each in clients.values() for client in each]
        await self.assert_closed(everybody, pace)
        await self.assert_open(bystanders)
