"""Sockets on every node end with their session, whoever ends it and wherever."""

import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.defer import gatherResults, succeed
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.e2e.processes import Cluster, Program, get, reactor, start_cluster, start_program
from tests.e2e.wsclient import Client, Closed, connect

WITHIN_S = 1.0
"""Promised: from the end of a session to the end of its sockets, anywhere."""

SOCKETS = 12
"""Of each user: the kernel spreads them over both nodes, all but once in 2,000 runs."""


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


class SessionTests(TestCase):
    timeout = 120

    async def start(self, *users: str) -> None:
        self.state = {"C10K_STATE_DIR": str(Path(self.mktemp()).absolute())}
        self.cluster: Cluster = await start_cluster(self, "--nodes", "2", extra=self.state)
        self.keys: dict[str, str] = await self.outside("new", *users)

    async def outside(self, *arguments: str) -> Any:
        """What another process with the site's settings does; waits for its end."""
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
        """A socket that answers."""
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
        """Some on each node, of one session."""
        cookie = f"sessionid={self.keys[user]}"
        return [await self.socket(cookie) for _ in range(SOCKETS)]

    async def figure(self, name: str) -> list[float]:
        """Of each node."""
        _, body = await get(f"{self.cluster.admin_url}metrics")
        return [float(value) for value in re.findall(rf"^{name}\{{.*?\}} (\S+)$", body, re.M)]

    async def assert_closed(self, clients: list[Client], since: float, code: int = 4401) -> None:
        ends: list[Closed] = await gatherResults([client.closed for client in clients])
        took = reactor.seconds() - since
        self.assertEqual({end.code for end in ends}, {code})
        self.assertEqual({end.reason for end in ends}, {"the session has ended"})
        self.assertLess(took, WITHIN_S)

    async def assert_open(self, clients: list[Client]) -> None:
        for client in clients:
            client.send("still there?")
            self.assertEqual(await client.next_message(), "still there?")

    async def log_out(self, key: str) -> None:
        """As a browser does, from the page."""
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
        self.assertGreater(min(await self.figure("c10k_connections")), 0, "sockets on each node")
        since = reactor.seconds()
        await self.log_out(self.keys["anna"])
        await self.assert_closed(annas, since)
        await self.assert_open(bens + guests)
        revoked = await self.figure("c10k_revoked_total")
        self.assertEqual((sum(revoked), len(revoked)), (SOCKETS, 2))
        self.assertGreater(min(revoked), 0)
        # Who is out stays out.
        again = await self.socket(f"sessionid={self.keys['anna']}")
        await self.log_out(self.keys["anna"])
        await self.assert_open([again])

    async def test_by_a_process_outside(self) -> None:
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
        await self.outside("\n".join(ways))
        since = reactor.seconds()
        for each in clients.values():
            await self.assert_closed(each, since)
        await self.assert_open(bystanders)
