"""The options and the summary of a drill on several machines."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.workers.drill.summaries import CLIENTS
from workers.drill.machines.command import lines, parse_arguments


class CommandTests(SynchronousTestCase):
    def test_a_drill_has_two_machines_of_two_nodes(self) -> None:
        options = parse_arguments([])
        self.assertEqual((options.minutes, options.machines, options.nodes), (5, 2, 2))
        self.assertEqual((options.sentinel, options.kinds), (True, None))
        self.assertEqual(parse_arguments(["--faults", "cut,slow"]).kinds, ["cut", "slow"])

    def test_wrong_usage(self) -> None:
        for wrong in (["--faults", "air"], ["--messages", "0"], ["--machines", "0"]):
            error = self.assertRaises(SystemExit, parse_arguments, wrong)
            self.assertEqual(error.code, 2)

    def test_the_summary_as_text(self) -> None:
        summary: dict[str, Any] = {
            "verified": False,
            "violations": ["stalled"],
            "seed": 7,
            "seconds": 305.0,
            "machines": 2,
            "nodes": 2,
            "network": "namespaces",
            "injected": [{"kind": "cut"}, {"kind": "failover"}, {"kind": "cut"}],
            "longest_join": 3.2,
            **CLIENTS,
            "meetings": {"parties": 5, "held": 40, "interrupted": 3, "received": 1000},
            "sessions": {
                "logged_out": 20,
                "not_logged_out": 1,
                "sockets": 80,
                "longest": 9.5,
                "longest_calm": 0.2,
            },
        }
        text = "\n".join(lines(summary))
        self.assertIn("2 machines × 2 nodes as namespaces, seed 7", text)
        self.assertIn("injected: 2 × cut, 1 × failover;", text)
        self.assertIn("2 lost in double faults", text)
        self.assertIn("40 of 5 parties missed nobody", text)
        self.assertIn("closed after at most 9.5 s", text)
        self.assertTrue(text.endswith("VIOLATED: stalled"))
        summary.update(verified=True, violations=[])
        self.assertEqual(lines(summary)[-1], "verified: nothing was violated")
