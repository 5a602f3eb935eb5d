"""Clients that flood a node: what a bystander on the same node notices, and how much memory it
costs. `python -m benchmarks.floods` measures the same with more kinds of floods."""

import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import load
from benchmarks.floods import FLOODS, flood
from benchmarks.servers import Server, cluster
from tests.once import once

LONGEST_WAIT_MS = 250.0
GROWTH_MB = 64.0

SECONDS = 2.0
"""Length of a flood: the node has read all of its bytes by then."""

ATTEMPTS = 3
"""Runs of which one must be fast enough. On a busy machine the bystander itself may not run in
time; without a budget of turns each run takes seconds."""


@once
class FloodTests(SynchronousTestCase):
    def assert_others_are_served(self, name: str) -> None:
        load.allow_descriptors(FLOODS[name].connections)
        waits = []
        for _ in range(ATTEMPTS):
            with (
                tempfile.TemporaryDirectory() as folder,
                Server(cluster(1, name=name), Path(folder)) as server,
            ):
                measured = flood(server, FLOODS[name], SECONDS)
            self.assertLessEqual(measured["growth, MB"], GROWTH_MB)
            waits.append(measured["longest wait, ms"])
            if waits[-1] < LONGEST_WAIT_MS:
                return
        self.fail(f"the bystander waited for {waits} ms")

    def test_invalid_frames_and_pings(self) -> None:
        self.assert_others_are_served("an invalid frame, then pings")

    def test_one_byte_messages(self) -> None:
        self.assert_others_are_served("one-byte messages")

    def test_one_byte_messages_to_coroutines(self) -> None:
        self.assert_others_are_served("one-byte messages, async def")

    def test_compressed_messages_that_are_echoed(self) -> None:
        self.assert_others_are_served("deflate bombs")

    def test_pipelined_requests(self) -> None:
        self.assert_others_are_served("pipelined requests")
