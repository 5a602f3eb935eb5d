"""--access-log and --log-format json of a real cluster."""

import json
from typing import Any

from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.e2e.asking import get, until
from tests.e2e.processes import TEST_TIMEOUT_S, Cluster, reactor, start_cluster
from tests.e2e.wsclient import Closed, connect
from tests.once import once

AGENT: Any = Agent(reactor)

SITE = ("--settings", "tests.e2e.log_site")


@once
class AccessLogTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def converse(self, cluster: Cluster) -> None:
        """Use HTTP and a WebSocket, and be refused."""
        self.assertEqual((await get(f"{cluster.base_url}?q=%1b")), (200, "a page\n"))
        client = await connect(reactor, f"ws{cluster.base_url[4:]}echo/?room=1")
        for text in ("one", "three"):
            client.send(text)
            self.assertEqual(await client.next_message(), text)
        await client.close(1000)
        headers = Headers({"Prefer": ["wait=0"]})
        response = await AGENT.request(b"GET", f"{cluster.base_url}news/".encode(), headers)
        await readBody(response)
        with self.assertRaises(Closed):
            await connect(reactor, f"ws{cluster.base_url[4:]}nothing/")

    async def test_text(self) -> None:
        cluster = await start_cluster(self, "--nodes", "1", "--access-log", *SITE)
        lines = [
            cluster.line(r"\[node0#info\] 127\.0\.0\.1 GET /\?q=%1b 200 7 0\.\d{3}$"),
            cluster.line(
                r"\[node0#info\] 127\.0\.0\.1 WEBSOCKET /echo/\?room=1 1000 12 \d+\.\d{3}"
                r" in 2/\d+ out 2/12$"
            ),
            cluster.line(r"\[node0#info\] 127\.0\.0\.1 GET /news/ 200 \d+ \d+\.\d{3} poll 0$"),
            cluster.line(r"WEBSOCKET /nothing/ 404 0 0\.\d{3} in 0/0 out 0/0$"),
        ]
        await self.converse(cluster)
        for line in lines:
            await line

    async def test_json(self) -> None:
        options = ("--nodes", "1", "--access-log", "--log-format", "json", *SITE)
        started: list[Cluster] = []
        is_ready = start_cluster(self, *options, on_spawn=started.append)
        is_ready.addErrback(lambda _: None)  # it searches for a line of text
        cluster = started[0]
        await cluster.line("c10k ready")
        objects: list[dict[str, Any]] = [json.loads(line) for line in cluster.lines]
        ready = objects[-1]
        self.assertEqual((ready["process"], ready["level"]), ("c10k", "info"))
        cluster.base_url = ready["urls"]
        await self.converse(cluster)
        self.assertEqual((await get(f"{cluster.base_url}view/"))[0], 500)
        await until(lambda: " WEBSOCKET /" in cluster.text and "GET /view/" in cluster.text)
        objects = [json.loads(line) for line in cluster.lines]
        access = [each for each in objects if each["logger"] == "cluster.access"]
        (websocket,) = [each for each in access if each["uri"] == "/echo/?room=1"]
        self.assertEqual(websocket["process"], "node0")
        self.assertEqual(websocket["kind"], "websocket")
        self.assertEqual((websocket["status"], websocket["messages_in"]), (1000, 2))
        self.assertGreater(websocket["seconds"], 0)
        (error,) = [each for each in objects if each["logger"] == "django.request"]
        self.assertIn("ZeroDivisionError: of the view", error["exception"])
        self.assertEqual((error["path"], error["status_code"]), ("/view/", 500))
