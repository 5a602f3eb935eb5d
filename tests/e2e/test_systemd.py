"""deploy/c10k.service: systemd verifies it, and the cluster accepts its command."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cluster.cli.options import Options
from tests.e2e.processes import PATIENCE_S, ROOT
from tests.once import once

EXPOSURE = 18
"""The highest exposure that `systemd-analyze security` may report: 10 times the level, which is 1.6
with systemd 252."""

UNIT = (ROOT / "deploy" / "c10k.service").read_text()


@once
class ServiceTests(SynchronousTestCase):
    def analyze(self, user: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run systemd-analyze on the file, without names that do not exist on this machine."""
        program = shutil.which("systemd-analyze")
        if program is None:
            raise SkipTest("systemd is not installed")
        folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, folder)
        text, count = re.subn(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT)
        self.assertEqual(count, 1)
        text = text.replace("User=site", f"User={user}").replace("=/srv/site", f"={folder}")
        unit = folder / "c10k.service"
        unit.write_text(text)
        command = [program, *arguments, str(unit)]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)

    def test_systemd_verifies_the_unit(self) -> None:
        verified = self.analyze("root", "verify", "--man=no")
        about_it = [line for line in verified.stderr.splitlines() if "c10k.service" in line]
        self.assertEqual(about_it, [])

    def test_the_unit_is_hardened(self) -> None:
        found = self.analyze("site", "security", "--offline=yes", f"--threshold={EXPOSURE}")
        if "unrecognized option" in found.stderr:
            raise SkipTest("this systemd cannot assess a file")
        self.assertEqual(found.returncode, 0, found.stdout + found.stderr)

    def test_the_cluster_accepts_the_command(self) -> None:
        (command,) = re.findall(r"(?m)^ExecStart=(.*)$", UNIT)
        program, *words = shlex.split(command)
        self.assertTrue(program.endswith("/twistd"))
        start = words.index("c10k")
        self.assertEqual(words[:start], ["-n", "--pidfile="])
        options = Options()
        # A settings module and a port of this machine.
        ours = [{"mysite.settings": "django_project.settings"}.get(word, word) for word in words]
        ours = [re.sub(r"^tcp:8000:", "tcp:0:", word) for word in ours]
        options.parseOptions(ours[start + 1 :])
        self.assertEqual(options.proxy_headers, ["127.0.0.1"])
        self.assertEqual(options.listens[0].host, "127.0.0.1")

    def test_the_timeout_is_long_enough_for_a_stop(self) -> None:
        (seconds,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", UNIT)
        self.assertGreater(int(seconds), 10 + 4)

    def test_a_reload_is_a_rolling_restart(self) -> None:
        self.assertEqual(re.findall(r"(?m)^ExecReload=(.*)$", UNIT), ["/bin/kill -HUP $MAINPID"])
