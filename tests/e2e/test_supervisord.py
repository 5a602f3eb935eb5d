"""deploy/supervisord.conf under the real supervisord."""

import os
import re
import shlex
import shutil
import signal
import tempfile
import uuid
from pathlib import Path

from twisted.trial.unittest import SkipTest, TestCase

from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import claim
from tests.e2e import asking
from tests.e2e.processes import (
    PATIENCE_S,
    ROOT,
    TEST_TIMEOUT_S,
    Program,
    command_line,
    marked_processes,
    process_end,
    reactor,
    start_program,
    twistd,
)
from tests.once import once


@once
class SupervisordTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def setUp(self) -> None:
        program = shutil.which("supervisord")
        if program is None:
            raise SkipTest("supervisord is not installed (apt-get install supervisor)")
        self.program = program
        # Not trial's folder, whose path is too long for supervisord's socket.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.mark = uuid.uuid4().hex

    def configuration(self) -> Path:
        """Return the file with this checkout's twistd, a free port and two nodes."""
        text = (ROOT / "deploy" / "supervisord.conf").read_text()
        ours = shlex.join(twistd("-n", "--pidfile=", "c10k", "--nodes", "2", "--end-with-parent"))
        ours += " --listen tcp:0:interface=127.0.0.1"
        text, count = re.subn(r"(?m)^command=.*$", lambda _: f"command={ours}", text)
        self.assertEqual(count, 1)
        path = self.folder / "supervisord.conf"
        path.write_text(text)
        return path

    def start(self) -> Program:
        supervisord = Program()
        command = [self.program, "-n", "-c", str(self.configuration())]
        start_program(self, supervisord, command, self.mark, cwd=str(self.folder))
        return supervisord

    async def ready(self, number: int) -> tuple[int, str, int]:
        """Return the supervisor's process ID, the admin URL and the port of the n-th start."""
        log = self.folder / "c10k.log"
        pattern = r"c10k ready: http://127.0.0.1:(\d+)/ .*admin (\S+)"

        def text() -> str:
            return log.read_text() if log.exists() else ""

        await asking.until(lambda: len(re.findall(pattern, text())) >= number, text)
        port, admin = re.findall(pattern, text())[-1]
        (supervisor,) = [pid for pid in marked_processes(self.mark) if "c10k " in command_line(pid)]
        return supervisor, admin, int(port)

    def assert_port_free(self, port: int) -> None:
        claim(parse_address(f"tcp:{port}:interface=127.0.0.1")).close()

    async def test_the_cluster_starts_is_restarted_and_stops(self) -> None:
        supervisord = self.start()
        first, admin, port = await self.ready(1)
        await asking.ready(admin)
        before = set(marked_processes(self.mark)) - {supervisord.pid}
        self.assertEqual(len(before), 4)

        ends = [process_end(pid) for pid in before]
        os.kill(first, signal.SIGKILL)
        for end in ends:
            await end.addTimeout(PATIENCE_S, reactor)
        self.assert_port_free(port)

        second, admin, port = await self.ready(2)
        self.assertNotEqual(first, second)
        await asking.ready(admin)
        self.assertEqual(len(set(marked_processes(self.mark)) - {supervisord.pid}), 4)

        supervisord.kill(signal.SIGTERM)
        await supervisord.end()
        self.assertEqual(marked_processes(self.mark), [])
        self.assert_port_free(port)
        self.assertIn("broker stopped", (self.folder / "c10k.log").read_text())
        self.assertNotIn("SIGKILL", supervisord.text.partition("waiting for c10k")[2])

    async def test_a_reload_replaces_the_nodes(self) -> None:
        self.start()
        supervisor, admin, _ = await self.ready(1)
        log = self.folder / "c10k.log"
        os.kill(supervisor, signal.SIGHUP)  # as supervisorctl signal HUP c10k does
        await asking.until(lambda: "restarted 2 nodes" in log.read_text(), log.read_text)
        await asking.ready(admin)
        self.assertEqual(log.read_text().count("node0 ready"), 2)

    async def test_the_cluster_ends_with_a_supervisord_that_is_killed(self) -> None:
        supervisord = self.start()
        _, admin, port = await self.ready(1)
        await asking.ready(admin)
        ends = [process_end(pid) for pid in marked_processes(self.mark)]
        supervisord.kill(signal.SIGKILL)
        for end in ends:
            await end.addTimeout(PATIENCE_S, reactor)
        self.assert_port_free(port)
