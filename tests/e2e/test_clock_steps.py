"""The system's clock is set back and forward while a cluster serves.

A module that Python imports first (sitecustomize) changes what ``time.time`` returns in all
processes of the cluster. The monotonic clock stays as it is, as on a machine whose clock is set.
"""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.e2e import wsclient
from tests.e2e.asking import statistics, total_until, until
from tests.e2e.processes import (
    PATIENCE_S,
    TEST_TIMEOUT_S,
    Cluster,
    environment,
    reactor,
    start_cluster,
)
from tests.once import once

STEP_S = 3600

HISTORY = {"TOPICS": {"kept": {"history": 10}}}


CHANGED_TIME = """
import os, time
unix_time = time.time
def changed_time():
    with open(os.path.join(os.path.dirname(__file__), "step")) as file:
        return unix_time() + float(file.read())
time.time = changed_time
"""


@once
class ClockStepTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        Path(folder, "sitecustomize.py").write_text(CHANGED_TIME)
        self.step_file = Path(folder, "step")
        self.step(0)
        self.cluster: Cluster = await start_cluster(
            self, "--nodes", "2", "--ping-interval", "1", "--ping-timeout", "60",
            "--settings", "tests.e2e.drill_site",
            extra={
                "DRILL_SETTINGS": json.dumps(HISTORY),
                "PYTHONPATH": os.pathsep.join([folder, environment("")["PYTHONPATH"]]),
            },
        )  # fmt: skip
        self.publisher = await self.connect("publish/plain/")
        self.keeper = await self.connect("publish/kept/")
        self.subscribers: list[wsclient.Client] = []
        nodes: set[int] = set()
        while len(nodes) < 2:
            for topic in ("plain", "kept"):
                client = await self.connect(f"subscribe/{topic}/")
                nodes.add(json.loads(await client.next_message())["node"])
                self.subscribers.append(client)

    async def connect(self, path: str) -> wsclient.Client:
        client = await wsclient.connect(reactor, f"ws://127.0.0.1:{self.cluster.port}/{path}")
        self.addCleanup(client.abort)
        return client

    def step(self, seconds: int) -> None:
        # Replace the file at once: a process must not read an empty one.
        new = self.step_file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.step_file)

    async def assert_delivery(self, text: str) -> None:
        for publisher in (self.publisher, self.keeper):
            publisher.send(text)
            await publisher.next_message()
        for client in self.subscribers:
            received = client.next_message().addTimeout(PATIENCE_S, reactor)
            self.assertEqual(await received, text)

    async def assert_pings(self) -> None:
        """Wait until the server has sent another ping, which its timers schedule."""
        pings = self.publisher.pings
        await until(lambda: self.publisher.pings > pings)

    async def check(self, *steps: int) -> None:
        await self.start()
        await self.assert_delivery("before")
        for number, seconds in enumerate(steps):
            self.step(seconds)
            for repeated in range(3):  # the pause after a flush begins with the first
                await self.assert_delivery(f"{number} {repeated}")
            await self.assert_pings()
        self.assertEqual(
            await statistics(self.cluster, "c10k_starts_total"),
            {"broker": 1, "node0": 1, "node1": 1},
        )
        self.assertIsNone(re.search("blocked|has not answered", self.cluster.text))
        self.publisher.abort()
        self.keeper.abort()
        await total_until(self.cluster, len(self.subscribers), "c10k_connections")

    async def test_a_clock_that_is_set_back(self) -> None:
        await self.check(-STEP_S, -2 * STEP_S)

    async def test_a_clock_that_is_set_forward(self) -> None:
        await self.check(STEP_S, 2 * STEP_S)
