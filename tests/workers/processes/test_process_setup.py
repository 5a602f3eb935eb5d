"""The reactor of a process of the swarm."""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """
from time import monotonic
from workers.processes.process_setup import the_reactor
before = monotonic()
assert before <= the_reactor().seconds() <= monotonic()
"""


class ReactorTests(SynchronousTestCase):
    def test_timers_use_the_monotonic_clock(self) -> None:
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
