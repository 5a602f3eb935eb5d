"""A short drill on two machines: faults while Life, a feed, a chat and logouts are checked.

`make drill-machines` runs the long one. As root the machines are network namespaces. One drill runs
with a rule of the link broken, and must fail.
"""

import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Program,
    environment,
    marked_processes,
    start_program,
)
from tests.once import once
from workers.drill.machines.redis import installed

DRILL_S = 400.0
"""For a whole drill: it starts many processes, plays, and checks."""

BROKEN = str(Path(__file__).parents[1] / "machines" / "broken")
"""A folder whose `sitecustomize` breaks a rule in each process of Python that starts."""


@once
class DrillTests(TestCase):
    timeout = TEST_TIMEOUT_S
    skip = None if installed() else "redis-server is not installed"

    async def drill(self, *options: str, broken: str = "") -> tuple[Program, dict[str, Any]]:
        """Carry out a drill; returns the program and its summary."""
        mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "workers.drill.machines", "--json", "--seed", "68"]
        command += ["--size", "8", "--stall", "60"]
        extra = {}
        if broken:
            path = os.pathsep.join([BROKEN, environment(mark)["PYTHONPATH"]])
            extra = {"C10K_BROKEN_RULE": broken, "PYTHONPATH": path}
        drill = start_program(self, Program(), [*command, *options], mark, extra=extra)
        await drill.end(DRILL_S)
        self.assertEqual(marked_processes(mark), [])
        (summary,) = [line for line in drill.lines if line.startswith("{")] or [drill.text]
        return drill, json.loads(summary)

    async def test_nothing_is_violated_by_faults(self) -> None:
        drill, summary = await self.drill("--minutes", "0.5")
        self.assertEqual(summary["violations"], [], drill.text)
        self.assertEqual(drill.status, 0)
        self.assertGreaterEqual(len(summary["injected"]), 3, drill.text)
        life = summary["life"]
        self.assertGreater(life["compared"], life["steps"])
        self.assertGreater(life["boards_compared"], 0)
        for name in ("feed", "chat"):
            self.assertGreater(summary[name]["received"], 0)
        self.assertGreater(summary["meetings"]["held"], 0)
        self.assertGreater(summary["sessions"]["logged_out"], 0)

    async def test_a_drill_without_the_numbers_of_publications_fails(self) -> None:
        drill, summary = await self.drill(
            *("--minutes", "0.4", "--faults", "redis-kill", "--no-sentinel"), broken="numbers"
        )
        self.assertEqual(drill.status, 1, drill.text)
        self.assertRegex("\n".join(summary["violations"]), r"^feed client \d+ received twice: \d")
