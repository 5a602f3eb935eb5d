"""A python-socketio server on four nodes, with python-socketio's own client over WebSocket.

The clients need asyncio, so the scenario runs in a thread with an event loop of its own.
"""

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import socketio
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.e2e.processes import ROOT, TEST_TIMEOUT_S, Cluster, environment, start_cluster
from tests.once import once

SITE = "tests.e2e.socketio_site"
NODES = 4

EMIT_OUTSIDE = """
import django
django.setup()
from cluster.python_socketio import ClusterEmitter
ClusterEmitter().emit("said", ("outside", "hello"), room="blue")
"""


class Client:
    """One client; ``received`` has its events in order."""

    def __init__(self, name: str, base_url: str, http: aiohttp.ClientSession) -> None:
        self.name = name
        self.node = ""
        self.sid = ""
        self.received: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.sio = socketio.AsyncClient(reconnection=False, http_session=http)
        self._url = base_url
        self.sio.on("question", self._answer)
        for namespace in ("/", "/admin"):
            self.sio.on("*", self._receive, namespace=namespace)
        self.sio.on("disconnect", lambda reason: self.closed.set())

    def _answer(self, question: str) -> str:
        return f"{self.name}: {question}!"

    def _receive(self, event: str, *data: Any) -> None:
        self.received.put_nowait((event, *data))

    async def connect(self, **how: Any) -> "Client":
        await self.sio.connect(
            self._url,
            transports=["websocket"],
            auth={"name": self.name},
            namespaces=["/", "/admin"],
            **how,
        )
        _, welcome = await self.next("welcome")
        self.node, self.sid = welcome["node"], welcome["sid"]
        return self

    async def next(self, event: str) -> tuple[Any, ...]:
        """The next event, which must have this name."""
        received = await self.received.get()
        if received[0] != event:
            raise AssertionError(f"{self.name} received {received}, not {event!r}")
        return received


@once
class SocketIoTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_a_server_on_four_nodes(self) -> None:
        database = str(Path(self.mktemp()).absolute())
        self.environment = {"SOCKETIO_DATABASE": database, "DJANGO_SETTINGS_MODULE": SITE}
        self.mark = uuid.uuid4().hex
        await deferToThread(self.run_python, "-m", "django", "migrate", "--verbosity=0")
        self.cluster: Cluster = await start_cluster(
            self, "--settings", SITE, "--nodes", str(NODES), extra=self.environment
        )
        self.environment["XDG_RUNTIME_DIR"] = str(self.cluster.runtime)
        await deferToThread(asyncio.run, self.talk())

    def run_python(self, *arguments: str) -> None:
        """Run Python in another process with the site's settings. Blocks."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment(self.mark, **self.environment),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    async def talk(self) -> None:
        async with aiohttp.ClientSession() as http:
            await self.scenario(http)

    async def scenario(self, http: aiohttp.ClientSession) -> None:
        url = self.cluster.base_url
        clients: list[Client] = []
        while len({client.node for client in clients}) < NODES:  # the kernel chooses
            clients.append(await Client(f"c{len(clients)}", url, http).connect())

        # Acknowledgements, and a room of clients on all nodes.
        for client in clients:
            self.assertEqual(await client.sio.call("join", "blue"), "joined blue")
        await clients[0].sio.emit("say", ("blue", "hello"))
        for client in clients[1:]:
            self.assertEqual(await client.next("said"), ("said", "c0", "hello"))

        # A question to each other client, answered through the nodes.
        for client in clients[1:]:
            answer = await clients[0].sio.call("ask", (client.sid, "how"))
            self.assertEqual(answer, f"{client.name}: how!")

        # A namespace, and binary data.
        notice = {"file": b"\0\xff" * 1000}
        self.assertEqual(await clients[0].sio.call("notice", notice, namespace="/admin"), 2000)
        for client in clients:
            self.assertEqual(await client.next("notice"), ("notice", notice))

        # From views, on whatever node.
        for path, sender in (("emit/", "a view"), ("emit-by-server/", "a server")):
            async with http.get(f"{url}{path}?room=blue&text=hi") as response:
                self.assertEqual(response.status, 200)
            for client in clients:
                self.assertEqual(await client.next("said"), ("said", sender, "hi"))

        # A client without a name is refused.
        stranger = socketio.AsyncClient(reconnection=False, http_session=http)
        with self.assertRaises(socketio.exceptions.ConnectionError):
            await stranger.connect(url, transports=["websocket"])
        await stranger.disconnect()

        # A user's log-out disconnects the user's client, and no other.
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            async with browser.get(f"{url}in/?name=anna") as response:
                self.assertEqual(await response.text(), "in\n")
            user = await Client("anna", url, browser).connect()
            async with browser.get(f"{url}out/") as response:
                self.assertEqual(await response.text(), "out\n")
            await user.closed.wait()
        for client in clients:
            self.assertEqual(await client.next("left"), ("left", "anna"))

        # From another process.
        await asyncio.to_thread(self.run_python, "-c", EMIT_OUTSIDE)
        for client in clients:
            self.assertEqual(await client.next("said"), ("said", "outside", "hello"))
        self.assertTrue(all(client.received.empty() for client in clients))
        for client in clients:
            await client.sio.disconnect()
