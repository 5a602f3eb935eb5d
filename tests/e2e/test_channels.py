"""A project written for Channels, on a cluster of four nodes."""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.e2e.asking import get, statistics
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    reactor,
    start_cluster,
    start_program,
)
from tests.e2e.wsclient import Client, connect
from tests.once import once

PREPARE = """
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
browser = Client()
browser.force_login(User.objects.create_user("anna"))
print(browser.cookies["sessionid"].value)
"""

OUTSIDE = """
import django
django.setup()
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
layer = get_channel_layer()
for text in ("wind", "fog"):
    async_to_sync(layer.group_send)("news", {"type": "news.item", "text": text})
print(dict(layer.drops.counts))
"""

MOST_CLIENTS = 100
"""Clients after which each of four nodes certainly has one."""


@once
class ChannelsTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self) -> str:
        """Start the cluster; returns the cookie of a user."""
        self.extra = {
            "DJANGO_SETTINGS_MODULE": "tests.e2e.channels_site",
            "C10K_TEST_DATABASE": str(Path(self.mktemp()).absolute()),
        }
        program = await self.program(PREPARE)
        self.cluster: Cluster = await start_cluster(self, "--nodes", "4", extra=self.extra)
        return f"sessionid={program.lines[-1]}"

    async def program(self, code: str, **extra: str) -> Program:
        """Run a program with the settings of the site to its end."""
        program = Program()
        command = [sys.executable, "-c", code]
        start_program(self, program, command, uuid.uuid4().hex, extra={**self.extra, **extra})
        await program.end()
        self.assertEqual(0, program.status, program.text)
        return program

    async def client(self, path: str, **headers: str) -> Client:
        url = self.cluster.base_url
        client = await connect(
            reactor,
            url.replace("http", "ws", 1) + path,
            origin=url.rstrip("/"),
            headers=headers,
        )
        self.addCleanup(client.abort)
        return client

    async def on_all_nodes(self, path: str) -> list[Client]:
        """Connect until each node has a client, whose consumer has joined its group."""
        clients: list[Client] = []
        counts: dict[str, float] = {}
        while len(counts) < 4 or not all(counts.values()):
            self.assertLess(len(clients), MOST_CLIENTS)
            more = [await self.client(path) for _ in range(8)]
            self.assertEqual(["joined"] * 8, [await self.next(client) for client in more])
            clients += more
            counts = await statistics(self.cluster, "c10k_connections")
        return clients

    async def next(self, client: Client) -> Any:
        return json.loads(await client.next_message())

    async def test_groups_users_and_the_end_of_a_session(self) -> None:
        cookie = await self.start()
        chat = await self.on_all_nodes("ws/chat/lobby/")
        elsewhere = await self.client("ws/chat/elsewhere/")
        self.assertEqual("joined", await self.next(elsewhere))
        for text in ("hello", "goodbye"):  # a second copy of the first would arrive in between
            chat[0].send(json.dumps({"message": text}))
            received = await gatherResults([client.next_message() for client in chat])
            self.assertEqual([{"message": text}] * len(chat), list(map(json.loads, received)))
        self.assertEqual([], elsewhere.unread())

        news = [await self.client("ws/news/") for _ in range(8)]
        self.assertEqual(["joined"] * 8, [await self.next(client) for client in news])
        for text in ("rain", "sun"):
            self.assertEqual((200, "sent\n"), await get(f"{self.cluster.base_url}tell/{text}/"))
            self.assertEqual([{"news": text}] * 8, [await self.next(client) for client in news])
        program = await self.program(OUTSIDE, XDG_RUNTIME_DIR=str(self.cluster.runtime))
        self.assertEqual("{}", program.lines[-1])
        for text in ("wind", "fog"):
            self.assertEqual([{"news": text}] * 8, [await self.next(client) for client in news])

        visits = await self.client("ws/visits/", Cookie=cookie)
        visits.send(json.dumps({"group": "first"}))
        self.assertEqual(
            {"user": "anna", "visits": 1, "groups": ["first"]}, await self.next(visits)
        )
        await self.log_out(cookie)
        ended = await visits.closed
        self.assertEqual(4401, ended.code)

    async def log_out(self, cookie: str) -> None:
        url = f"{self.cluster.base_url}logout/".encode()
        response: Any = await Agent(reactor).request(b"GET", url, Headers({"Cookie": [cookie]}))
        self.assertEqual(b"logged out\n", await readBody(response))
