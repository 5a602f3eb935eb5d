"""External publishers, while nodes of the cluster drain or are killed."""

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from cluster.core.exceptions import NotRunning
from cluster.core.wire.external_publisher import Accepted, Publish
from cluster.django.external.node_lookup import site_name
from cluster.django.external.node_publisher import NodePublisher
from cluster.net.running_clusters import running_clusters
from cluster.net.websocket.frames import text_frame
from tests.e2e.asking import statistics, until
from tests.e2e.processes import (
    ROOT,
    TEST_TIMEOUT_S,
    Cluster,
    process_end,
    reactor,
    start_cluster,
)
from tests.e2e.wsclient import Client, Closed, connect

SETTINGS = """
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "publisher_urls"
INSTALLED_APPS = ["cluster.django"]
USE_TZ = True
"""

URLS = """
from django.urls import path
from cluster import websocket

@websocket
async def live(ws):
    await ws.subscribe("live")
    await ws.send("subscribed")
    async for _ in ws:
        pass

urlpatterns = [path("live/ws/", live)]
"""

PROBE = "ready?"
"""A message that is published repeatedly until both nodes receive it."""


class ExternalPublisherTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self) -> Cluster:
        folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "publisher_settings.py").write_text(SETTINGS)
        (folder / "publisher_urls.py").write_text(URLS)
        path = os.pathsep.join(map(str, (ROOT, ROOT / "twistd_plugins", folder)))
        options = ("--nodes", "2", "--settings", "publisher_settings")
        self.cluster: Cluster = await start_cluster(self, *options, extra={"PYTHONPATH": path})
        environ = {"XDG_RUNTIME_DIR": str(self.cluster.runtime)}
        self.publisher = NodePublisher(
            lambda: running_clusters(environ, os.getuid()), site=lambda: site_name("for tests")
        )
        self.addCleanup(self.publisher._disconnect)
        return self.cluster

    def publish(self, text: str) -> Accepted:
        return self.publisher.publish(Publish(b"live", text_frame(text.encode())))

    async def connect(self) -> Client:
        client = await connect(reactor, f"ws{self.cluster.base_url[4:]}live/ws/")
        self.addCleanup(self.leave, client)
        # Messages that were sent by the other node earlier may arrive first.
        while (said := await client.next_message()) == PROBE:
            pass
        self.assertEqual(said, "subscribed")
        return client

    @staticmethod
    def leave(client: Client) -> "Deferred[Closed]":
        client.abort()
        return client.closed

    async def replaced(self, name: str, number: int) -> None:
        """End a node's process; returns when it has ended and its replacement is ready."""
        pid = self.cluster.pids[name]
        ready = self.cluster.line(f"{name} ready")
        os.kill(pid, number)
        await process_end(pid)
        await ready

    async def test_subscribers_of_all_nodes_receive_all_messages_in_order(self) -> None:
        await self.start()
        clients = [await self.connect()]
        # Until both nodes have clients, and each node knows the subscription of the other.
        while (await deferToThread(self.publish, PROBE)).nodes < 2:
            clients.append(await self.connect())
        texts = [f"message {number}" for number in range(50)]
        receipts = await deferToThread(lambda: [self.publish(text) for text in texts])
        self.assertEqual({receipt.nodes for receipt in receipts}, {2})
        for client in clients:
            messages = [await client.next_message()]
            while len(messages) < len(texts):
                message = await client.next_message()
                messages = [message] if messages[-1] == PROBE else [*messages, message]
            self.assertEqual(messages, texts)
        counted = await statistics(self.cluster, "c10k_published_externally_total")
        self.assertEqual(len(counted), 2)
        self.assertGreaterEqual(sum(counted.values()), 51)

    async def test_publishing_continues_when_nodes_are_killed(self) -> None:
        await self.start()
        await deferToThread(self.publish, "before")
        for name in ("node0", "node1"):
            await self.replaced(name, signal.SIGKILL)
            client = await self.connect()
            # The other node may answer, which receives the subscription a moment later.
            while not (await deferToThread(self.publish, f"after {name}")).nodes:
                pass
            self.assertEqual(await client.next_message(), f"after {name}")
            client.abort()
            await client.closed
        self.cluster.kill()
        await self.cluster.end()
        with self.assertRaises(NotRunning):
            await deferToThread(self.publish, "to nobody")

    async def test_draining_nodes_lose_no_publication(self) -> None:
        await self.start()
        enough = threading.Event()
        self.addCleanup(enough.set)
        receipts: list[Accepted] = []

        def publish_all_the_time() -> None:
            while not enough.is_set():
                receipts.append(self.publish(f"{len(receipts)}"))

        publishing = deferToThread(publish_all_the_time)
        for name in ("node0", "node1", "node0"):
            before = len(receipts)
            await self.replaced(name, signal.SIGTERM)
            await until(lambda before=before: len(receipts) > before or publishing.called)
        enough.set()
        await publishing  # raises the error of a publication, if any
