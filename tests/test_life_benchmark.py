"""A small run of `python -m benchmarks.life` on the two competitors: one round, four steps."""

import contextlib
import io
import json

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import life


class BenchmarkTests(SynchronousTestCase):
    timeout = 120

    def test_the_other_servers(self) -> None:
        output = io.StringIO()
        arguments = ["-s", "4", "-n", "4", "--rounds", "1", "--nodes", "", "--json"]
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(life.main(arguments), 0)
        result = json.loads(output.getvalue())
        self.assertEqual(
            [row["server"] for row in result["servers"]],
            ["Autobahn", "Autobahn, prepared", "websockets"],
        )
        for row in result["servers"]:
            self.assertGreater(row["steps_per_second"], 0)
            self.assertIn("server", row["cpu_ms_a_step_by_process"])

    def test_the_table(self) -> None:
        games = {
            "cluster": [life.Game(10.0, {"p50": 1, "p99": 2}, {"node": 8.0, "broker": 2.0})] * 3,
            "other": [life.Game(5.0, {"p50": 3, "p99": 4}, {"server": 40.0})] * 3,
        }
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            life.print_table(life.report(games))
        self.assertIn("broker 2.0, node 8.0", output.getvalue())
        self.assertIn("0.25", output.getvalue())
        self.assertIn("4.00", output.getvalue())
