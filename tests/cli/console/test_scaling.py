"""c10k drain and c10k scale: their questions and what they print."""

import contextlib
import io
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.cli.console import scaling
from cluster.cli.console.main import main


class ScalingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer: dict[str, Any] = {}
        self.patch(scaling, "ask", self.ask)

    def ask(self, arguments: object, what: str, **more: Any) -> Any:
        self.asked.append((what, more))
        return self.answer

    def run_command(self, *arguments: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(0, main(arguments))
        return out.getvalue()

    def test_drain(self) -> None:
        self.answer = {"node": "node2", "state": "drained", "seconds": 11.24}
        for name in ("2", "node2"):
            out = self.run_command("drain", name)
            self.assertEqual("node2 is drained, after 11.2 s\n", out)
            self.assertEqual(("drain", {"node": "node2"}), self.asked.pop())
        self.run_command("drain", "--undo", "2")
        self.assertEqual(("undo_drain", {"node": "node2"}), self.asked.pop())
        self.assertEqual(self.answer, json.loads(self.run_command("drain", "2", "--json")))

    def test_scale(self) -> None:
        for nodes, before, text in (
            (6, 4, "scaled from 4 to 6 nodes in 5.0 s\n"),
            (1, 4, "scaled from 4 to 1 node in 5.0 s\n"),
            (4, 4, "the cluster has 4 nodes already\n"),
        ):
            self.answer = {"nodes": nodes, "before": before, "seconds": 5.0}
            self.assertEqual(text, self.run_command("scale", str(nodes)))
            self.assertEqual(("scale", {"nodes": nodes}), self.asked.pop())
        self.assertEqual(self.answer, json.loads(self.run_command("scale", "4", "--json")))

    def test_wrong_command_lines(self) -> None:
        for arguments in (("drain",), ("scale", "two"), ("scale",)):
            with contextlib.redirect_stderr(io.StringIO()) as err:
                self.assertEqual(2, self.assertRaises(SystemExit, main, arguments).code)
            self.assertIn("c10k", err.getvalue())
