"""The options and the summary of a drill."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.workers.drill.summaries import CLIENTS
from workers.drill.cluster import Cluster
from workers.drill.command import lines, parse_arguments


class CommandTests(SynchronousTestCase):
    def test_a_drill_lasts_five_minutes(self) -> None:
        options = parse_arguments([])
        self.assertEqual((options.minutes, options.size, options.nodes), (5, 32, 4))
        self.assertEqual((options.node_every, options.broker_every, options.stall), (10, 15, 5))
        self.assertGreaterEqual(options.seed, 0)

    def test_wrong_usage(self) -> None:
        for wrong in (["--without", "air"], ["--messages", "0"], ["--size", "x"]):
            error = self.assertRaises(SystemExit, parse_arguments, wrong)
            self.assertEqual(error.code, 2)

    def test_the_summary_as_text(self) -> None:
        summary: dict[str, Any] = {
            "verified": False,
            "violations": ["stalled"],
            "seed": 7,
            "seconds": 305.0,
            "injected": [{"killed": "node2"}, {"killed": "broker"}, {"killed": "node0"}],
            "outages": {"node": {"longest": 1.5}, "broker": {"longest": 0.6}},
            **CLIENTS,
        }
        text = "\n".join(lines(summary))
        self.assertIn("2 nodes and 1 brokers killed in 305 s, seed 7", text)
        self.assertIn("2 lost in double faults", text)
        self.assertTrue(text.endswith("VIOLATED: stalled"))
        summary.update(verified=True, violations=[])
        self.assertEqual(lines(summary)[-1], "verified: nothing was violated")


class ClusterTests(SynchronousTestCase):
    def test_a_process_that_has_ended_itself_is_not_killed(self) -> None:
        cluster = Cluster(None)
        cluster.pids["node0"] = 1 << 22  # above every process's number
        self.assertIsNone(cluster.kill("node0"))
        self.assertEqual((cluster.pids, cluster.double_faults()), ({}, []))
