"""Two machines that share a Redis, and a process on a host that runs none of their nodes.

The machines are two clusters of this host with folders of their own. One reaches Redis through a
forwarder, which the test interrupts.
"""

import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import redis
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from cluster.django.revocation.revocable_clients import MARGIN_MS
from cluster.uplink.scripts import site_prefix
from tests.e2e.asking import until
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    reactor,
    start_cluster,
    start_program,
)
from tests.e2e.wsclient import Client, connect
from tests.machines.redis_server import RedisTestCase
from tests.once import once

PREFIX = site_prefix("django_project.settings")


class Forwarder(ProxyFactory):
    """Forwards a port of this host to Redis; ``cut`` ends that until ``heal``."""

    noisy = False

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self._connections: list[Any] = []
        self._listening: Any = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.number = int(self._listening.getHost().port)

    def buildProtocol(self, addr: Any) -> ProxyServer:
        connection = super().buildProtocol(addr)
        self._connections.append(connection)
        return connection

    def cut(self) -> "Deferred[object]":
        stopped = maybeDeferred(self._listening.stopListening)
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abortConnection()
        self._connections.clear()
        return stopped

    def heal(self) -> None:
        self._listening = reactor.listenTCP(self.number, self, interface="127.0.0.1")


@once
class MachinesTests(RedisTestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self) -> None:
        self.redis = self.start_redis(tcp=True)
        self.client = redis.Redis(port=self.redis.port)
        self.addCleanup(self.client.close)
        self.forwarder = Forwarder(self.redis.port)
        self.addCleanup(self.forwarder.cut)
        self.state = {"C10K_STATE_DIR": str(Path(self.mktemp()).absolute())}
        self.here = await self.machine("A", self.redis.port)
        self.there = await self.machine("B", self.forwarder.number)
        await until(lambda: self.alive() == 2, lambda: self.here.text + self.there.text)

    async def machine(self, name: str, redis_port: int) -> Cluster:
        url = f"redis://127.0.0.1:{redis_port}"
        options = ("--nodes", "1", "--bus", url, "--machine", name)
        cluster: Cluster = await start_cluster(self, *options, extra=self.state)
        return cluster

    def alive(self) -> int:
        """The number of machines that Redis knows."""
        generation: Any = self.client.hget(f"{PREFIX}life", "generation")
        return int(self.client.hlen(f"{PREFIX}{(generation or b'').decode()}:alive"))  # type: ignore[arg-type]

    async def outside(self, module: str, *arguments: str) -> str:
        """Run a module on a host without nodes; returns its last line."""
        program = Program()
        extra = {
            **self.state,
            "DJANGO_SETTINGS_MODULE": "django_project.settings",
            "C10K_BUS": f"redis://127.0.0.1:{self.redis.port}",
        }
        command = [sys.executable, "-m", module, *arguments]
        start_program(self, program, command, uuid.uuid4().hex, extra=extra)
        await program.end()
        self.assertEqual(program.status, 0, program.text)
        return program.lines[-1]

    async def socket(self, cluster: Cluster, key: str, path: str = "echo/") -> Client:
        """Open a WebSocket that answers."""
        url = cluster.base_url.replace("http", "ws", 1) + path
        client = await connect(reactor, url, headers={"Cookie": f"sessionid={key}"})
        self.addCleanup(lambda: [client.abort(), client.closed][1])
        await self.assert_open(client)
        return client

    async def assert_open(self, *clients: Client) -> None:
        for client in clients:
            client.send("still there?")
            self.assertEqual(await client.next_message(), "still there?")

    async def log_in(self, *names: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(await self.outside("tests.e2e.sessions", "new", *names))
        return found

    async def test_a_logout_reaches_a_machine_that_was_cut_off(self) -> None:
        await self.start()
        keys = await self.log_in("anna", "ben")
        near, far = await gatherResults(
            [Deferred.fromCoroutine(self.socket(each, keys["anna"])) for each in self.both]
        )
        bystanders = [await self.socket(each, keys["ben"]) for each in self.both]
        opened_at = time.time()
        await self.forwarder.cut()
        await until(lambda: self.alive() == 1)
        # Clients whose sessions were loaded at about the time of the revocation get 1012.
        await until(lambda: time.time() > opened_at + MARGIN_MS / 1000 + 1)
        await self.outside("tests.e2e.sessions", "revoke(user=user('anna'))")
        revoked_at = time.time()
        self.assertEqual((await near.closed).code, 4401)
        await self.assert_open(far, *bystanders)
        # She logs in again, on the machine that does not know yet.
        again = await self.log_in("anna")
        await until(lambda: time.time() > revoked_at + MARGIN_MS / 1000 + 1)
        returned = await self.socket(self.there, again["anna"])
        self.forwarder.heal()
        self.assertEqual((await far.closed).code, 4401)
        await self.assert_open(returned, *bystanders)

    async def test_publishing_through_redis(self) -> None:
        await self.start()
        keys = await self.log_in("anna")
        clients = [await self.socket(each, keys["anna"]) for each in self.both]
        receipt = await self.outside("django", "publish", "nobody", "hello", "--json")
        self.assertEqual(json.loads(receipt), {"nodes": 0, "connections_here": 0})
        await self.outside("tests.e2e.sessions", f"session({keys['anna']!r}).delete()")
        ends = await gatherResults([client.closed for client in clients])
        self.assertEqual([end.code for end in ends], [4401, 4401])

    @property
    def both(self) -> tuple[Cluster, Cluster]:
        return self.here, self.there
