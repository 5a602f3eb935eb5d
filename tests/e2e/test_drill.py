"""A short drill: processes are killed while Life, a feed and a chat are checked.

`make drill` runs the long one. Two drills leave out a rule of resuming, and must fail.
"""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.e2e.processes import TEST_TIMEOUT_S, Program, marked_processes, start_program
from tests.once import once


@once
class DrillTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def drill(self, *options: str) -> tuple[Program, dict[str, Any]]:
        """Carry out a drill; returns the program and its summary."""
        mark = uuid.uuid4().hex
        state = str(Path(self.mktemp()).absolute())
        # The long drill allows 5 s without a step; on a busy machine processes start too slowly.
        command = [sys.executable, "-m", "workers.drill", "--json", "--seed", "3", "--stall", "20"]
        drill = start_program(
            self, Program(), [*command, *options], mark, extra={"C10K_STATE_DIR": state}
        )
        await drill.end()
        self.assertEqual(marked_processes(mark), [])
        (summary,) = [line for line in drill.lines if line.startswith("{")] or [drill.text]
        return drill, json.loads(summary)

    async def test_nothing_is_violated_while_processes_are_killed(self) -> None:
        drill, summary = await self.drill("--minutes", "0.6", "--size", "16")
        self.assertEqual(summary["violations"], [], drill.text)
        self.assertEqual(drill.status, 0)
        killed = [fault["killed"].rstrip("0123") for fault in summary["injected"]]
        self.assertGreaterEqual(killed.count("node"), 2, drill.text)
        self.assertGreaterEqual(killed.count("broker"), 1, drill.text)
        life = summary["life"]
        self.assertGreater(life["resumed"], 0)
        self.assertGreater(life["compared"], life["steps"])
        self.assertGreater(life["boards_compared"], 0)
        for name in ("feed", "chat"):
            self.assertGreater(summary[name]["received"], 0)
            self.assertGreater(summary[name]["reconnected"], 0)

    async def test_a_drill_without_resuming_fails(self) -> None:
        drill, summary = await self.drill(
            *("--without", "resuming", "--size", "8"),
            *("--minutes", "0.2", "--node-every", "4", "--broker-every", "0"),
        )
        self.assertEqual(drill.status, 1)
        self.assertFalse(summary["verified"])
        self.assertRegex(summary["violations"][0], r"the connection of cell \d,\d was lost")

    async def test_a_drill_without_positions_fails(self) -> None:
        drill, summary = await self.drill(
            *("--without", "positions", "--size", "4"),
            *("--minutes", "0.2", "--node-every", "4", "--broker-every", "0"),
        )
        self.assertEqual(drill.status, 1)
        self.assertRegex(summary["violations"][0], r"^feed client \d+ received twice: 1 at ")
