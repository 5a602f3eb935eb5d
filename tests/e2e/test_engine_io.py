"""Sessions of Engine.IO in a real cluster: intervals below a second, upgrades, a restart."""

import json
import signal
from http.client import HTTPConnection
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.e2e.asking import statistics, total_until
from tests.e2e.processes import PATIENCE_S, TEST_TIMEOUT_S, reactor, start_cluster
from tests.e2e.wsclient import connect
from tests.once import once


@once
class EngineTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_sessions(self) -> None:
        self.cluster = await start_cluster(
            self, "--nodes", "2", "--settings", "tests.e2e.engine_site"
        )
        await deferToThread(self.short_intervals_over_polling)
        await self.short_intervals_over_websocket()
        await self.upgrade()
        await self.restart()
        self.assertNotIn("Traceback", self.cluster.text)

    def ask(self, url: str, body: bytes | None = None) -> tuple[int, str]:
        """A request on a connection of its own."""
        http = HTTPConnection("127.0.0.1", self.cluster.port, timeout=PATIENCE_S)
        http.request("GET" if body is None else "POST", url, body)
        response = http.getresponse()
        content = response.read().decode()
        http.close()
        return response.status, content

    def open(self, path: str) -> str:
        """Begin a session over polling; returns the URL of its requests."""
        url = f"{path}?EIO=4&transport=polling"
        status, opened = self.ask(url)
        self.assertEqual(status, 200)
        return f"{url}&sid={json.loads(opened[1:])['sid']}"

    def short_intervals_over_polling(self) -> None:
        url = self.open("/short/")
        self.assertEqual(self.ask(url), (200, "2"))
        # Without a pong the session ends, and the GET that waits is answered.
        self.assertIn(self.ask(url), [(200, "1"), (400, self.unknown)])
        self.assertEqual(self.ask(url), (400, self.unknown))

    unknown = '{"code":1,"message":"Session ID unknown"}'

    async def short_intervals_over_websocket(self) -> None:
        client = await self.connect("/short/?EIO=4&transport=websocket")
        opened = await client.next_message()
        self.assertEqual(json.loads(opened[1:])["pingInterval"], 300)
        self.assertEqual(await client.next_message(), "2")
        self.assertEqual((await client.closed).code, 1000)

    async def connect(self, path: str) -> Any:
        return await connect(reactor, f"ws://127.0.0.1:{self.cluster.port}{path}")

    async def upgrade(self) -> None:
        url = await deferToThread(self.open, "/engine.io/")
        self.assertEqual(await deferToThread(self.ask, url, b"4one"), (200, "ok"))
        client = await self.connect(url.replace("polling", "websocket"))
        client.send("2probe")
        self.assertEqual(await client.next_message(), "3probe")
        self.assertEqual(await deferToThread(self.ask, url), (200, "6"))
        client.send("5")
        client.send("4two")
        self.assertEqual([await client.next_message() for _ in range(2)], ["4one", "4two"])
        self.assertEqual((await deferToThread(self.ask, url))[0], 400)
        found = await statistics(self.cluster, "c10k_socketio_upgrades_total")
        self.assertEqual(sum(found.values()), 1)
        client.close()
        await client.closed
        await total_until(self.cluster, 0, "c10k_socketio_clients")

    async def restart(self) -> None:
        """A node that ends closes its sessions over polling, so that clients begin new ones."""
        url = await deferToThread(self.open, "/engine.io/")
        waiting = deferToThread(self.ask, url)
        self.cluster.kill(signal.SIGHUP)
        self.assertEqual(await waiting, (200, "1"))
        self.assertEqual(await deferToThread(self.ask, url), (400, self.unknown))
        await deferToThread(self.open, "/engine.io/")
