"""Tests of cluster.cli.child_main: the command line and the log of a child process."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli import child_main
from cluster.cli.child_main import parse_arguments


class CommandLineTests(SynchronousTestCase):
    def test_a_fingerprint_that_takes_too_long_is_given_up(self) -> None:
        """A rolling restart waits for it."""
        code = (
            "import signal; from cluster.cli import child_main; child_main.FINGERPRINT_S = 1;"
            " child_main.code_fingerprint = lambda has_uplink: signal.pause();"
            " child_main.main(['broker', '--fingerprint'])"
        )
        ended = subprocess.run([sys.executable, "-c", code], timeout=50)
        self.assertEqual(ended.returncode, -signal.SIGALRM)

    def test_the_fingerprint_of_a_broker_with_an_uplink_has_its_scripts(self) -> None:
        found = set()
        with TemporaryDirectory() as folder:
            for uplink, script in (("", "a"), ("True", "a"), ("True", "a"), ("True", "b")):
                Path(folder, "x.lua").write_text(script)
                # In a process of its own, because the fingerprint is that of what is loaded.
                code = (
                    "from pathlib import Path; from cluster.cli import child_main;"
                    f" Path.rglob = lambda self, pattern: [Path({folder!r}, 'x.lua')];"
                    f" print(child_main.code_fingerprint({uplink}))"
                )
                command = [sys.executable, "-c", code]
                found.add(subprocess.check_output(command, text=True, timeout=50))
        self.assertEqual(len(found), 3)

    def test_a_site_on_one_machine_imports_nothing_for_others(self) -> None:
        """Neither at the start of a node nor of a broker, nor to read their command lines."""
        for code in (
            "import cluster.cli.services",
            "import cluster.cli.child_main as m; m.code_fingerprint()",
            "import cluster.cli.child_main as m; m.load_site('django_project.settings')",
        ):
            code += "; import sys; print(*sys.modules)"
            command = [sys.executable, "-c", code]
            loaded = subprocess.check_output(command, text=True, timeout=50).split()
            self.assertIn("cluster", loaded)
            unneeded = [name for name in loaded if name.startswith(("redis", "cluster.uplink"))]
            self.assertEqual(unneeded, [], code)

    def test_the_command_line_is_parsed(self) -> None:
        arguments = parse_arguments(["node", "--control", "/run/c", "--slot", "3"])
        self.assertEqual((arguments.kind, arguments.control, arguments.slot), ("node", "/run/c", 3))
        self.assertEqual(parse_arguments(["broker", "--control", "/run/c"]).slot, -1)


class LogTests(SynchronousTestCase):
    def test_lines_go_to_the_pipe_with_time_process_and_level(self) -> None:
        observers: list[Any] = []
        begin = lambda given, **_: observers.extend(given)  # noqa: E731 (one use)
        self.patch(child_main.globalLogBeginner, "beginLoggingTo", begin)
        self.patch(child_main, "sys", SimpleNamespace())
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        log = child_main.log_to_supervisor("node3", "text", writer)
        self.addCleanup(os.close, writer)
        self.assertFalse(os.get_inheritable(writer))
        (observer,) = observers
        Logger("cluster.node", observer=observer).info("ready")
        Logger("cluster.node", observer=observer).debug("not logged")
        Logger("twisted.internet.base", observer=observer).info("Main loop terminated.")
        print("printed", file=child_main.sys.stdout)
        log.stop()
        lines = os.read(reader, 1000).decode().splitlines()
        self.assertEqual(
            [line.partition(" ")[2] for line in lines],
            ["[node3#info] ready", "[node3#info] printed"],
        )
