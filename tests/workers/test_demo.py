"""workers.demo: which of its two programs is said to have failed."""

import argparse
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import TestCase

from workers.demo import Demo, Failed, Happened, Line


class WatchTests(TestCase):
    def watch(self, cluster_ends_after: float) -> str:
        """What is said when the swarm has failed, and the cluster's process ends so much later."""
        cluster: Any = SimpleNamespace(
            ends_within=lambda seconds: seconds > cluster_ends_after,
            last_words=lambda: "",
            status=-9,
        )
        swarm: Any = SimpleNamespace(status=1)
        events: SimpleQueue[Happened] = SimpleQueue()
        events.put(Line(swarm, None))
        demo = Demo(argparse.Namespace(steps=None), events)
        return str(self.assertRaises(Failed, demo._watch, cluster, swarm))

    def test_a_dead_cluster_s_swarm_is_heard_first(self) -> None:
        """Its connections are lost before the cluster's process has ended."""
        self.assertEqual(self.watch(0.1), "the cluster died (exit status -9)")

    def test_the_swarm_s_own_failure(self) -> None:
        said = self.watch(float("inf"))
        self.assertEqual(said, "the swarm failed (exit status 1); it says why above")
