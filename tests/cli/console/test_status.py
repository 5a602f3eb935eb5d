"""c10k status and c10k nodes: their exit statuses, and the line about other machines."""

import contextlib
import io
import json

from twisted.trial.unittest import SynchronousTestCase

from cluster.cli.console import status
from cluster.cli.console.main import main
from cluster.cli.console.status import EXIT_NOT_READY, _machines_text


class StatusTests(SynchronousTestCase):
    def test_the_exit_status_says_whether_the_cluster_serves(self) -> None:
        for state, expected in (
            ("ready", 0),
            ("degraded", 0),
            ("not ready", EXIT_NOT_READY),
            ("restarting", EXIT_NOT_READY),
        ):
            answer = {"state": state}
            self.patch(status, "ask", lambda arguments, what, answer=answer: answer)
            for command in ("status", "nodes"):
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    self.assertEqual(main((command, "--json")), expected, (command, state))
                self.assertEqual(json.loads(out.getvalue()), answer)

    def test_the_machines_are_one_line(self) -> None:
        for machines, others in ((["b", "c"], "b, c"), ([], "no other")):
            uplink = {"machine": "a", "state": "joined", "seconds": 12.0, "machines": machines}
            self.assertEqual(
                _machines_text(uplink),
                f"machines     this one is a, joined for 12 s; others: {others}",
            )
