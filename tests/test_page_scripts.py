"""The page's scripts, tested by Node's test runner: tests/js/*.test.mjs."""

import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, TestCase

SCRIPTS = Path(__file__).parent / "js"
OLDEST = 18  # the first version with `node --test`


class PageScriptTests(TestCase):
    def test_all(self) -> None:
        node = shutil.which("node")
        if node is None:
            raise SkipTest(
                "Node is not on PATH: the page's scripts are tested by the browser alone"
            )
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        if int(version.stdout.lstrip("v").split(".")[0]) < OLDEST:
            raise SkipTest(f"Node {version.stdout.strip()} has no test runner")
        files = sorted(map(str, SCRIPTS.glob("*.test.mjs")))
        self.assertTrue(files)
        done = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
