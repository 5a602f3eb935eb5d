"""Log files that are moved or truncated while a cluster runs, and signals that must not end it."""

import os
import shutil
import signal
import tempfile
import uuid
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

from tests.e2e.asking import LOOK_AGAIN_S, get, ready, until
from tests.e2e.processes import (
    PATIENCE_S,
    ROOT,
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    kill_if_there,
    process_end,
    reactor,
    start_cluster,
    start_program,
    twistd,
)
from tests.once import once

SITE = ("--settings", "tests.e2e.log_site")


@once
class LogFileTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, self.folder)

    async def line_in(self, path: Path, text: str) -> None:
        await until(lambda: path.exists() and text in path.read_text(), lambda: str(path))

    async def test_a_daemon_writes_to_the_new_file_after_usr1(self) -> None:
        log, site_log, pidfile = (self.folder / name for name in ("log", "site.log", "pid"))
        start = Cluster()
        command = twistd(f"--pidfile={pidfile}", f"--logfile={log}", "c10k", "--nodes", "1", *SITE)
        command += ["--listen", "tcp:0:interface=127.0.0.1", "--access-log"]
        extra = {"LOG_SITE": f"file:{site_log}"}
        start_program(self, start, command, start.mark, extra=extra)

        def clean_up() -> None:
            for pid in start.processes():
                kill_if_there(pid, signal.SIGKILL)

        self.addCleanup(clean_up)
        await start.end()
        self.assertEqual(start.status, 0, start.text)
        await self.line_in(log, "c10k ready: ")
        url = log.read_text().partition("c10k ready: ")[2].partition(" ")[0].rstrip(",")
        await get(f"{url}view/?first")
        await self.line_in(log, "GET /view/?first 500")
        await self.line_in(site_log, '"first"')
        moved, moved_site = log.rename(f"{log}.1"), site_log.rename(f"{site_log}.1")
        os.kill(int(pidfile.read_text()), signal.SIGUSR1)
        for process in ("c10k", "node0"):
            await self.line_in(log, f"[{process}#info] log files reopened")
        await get(f"{url}view/?second")
        await self.line_in(log, "GET /view/?second 500")
        await self.line_in(site_log, '"second"')
        self.assertNotIn("second", moved.read_text() + moved_site.read_text())
        # logrotate's copytruncate: the file continues at its new end.
        os.truncate(log, 0)
        await get(f"{url}?third")
        await self.line_in(log, "GET /?third 200")
        self.assertNotIn(b"\0", log.read_bytes())
        ended = process_end(int(pidfile.read_text()))
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
        await ended.addTimeout(PATIENCE_S, reactor)
        self.assertIn("Server Shut Down.", log.read_text())

    async def test_usr1_and_usr2_end_no_process(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2", *SITE)
        pids = dict(cluster.pids)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            for name in ("node0", "node1", "broker"):
                os.kill(pids[name], number)
            cluster.kill(number)
        for process in ("c10k", "node0", "node1", "broker"):
            await until(
                lambda process=process: f"[{process}#info] SIGUSR2 ignored" in cluster.text,
                lambda: cluster.text,
            )
        await ready(cluster.admin_url)
        self.assertIn("[c10k#info] log files reopened", cluster.text)
        self.assertEqual(cluster.pids, pids)
        self.assertNotIn("ended", cluster.text)

    async def test_usr1_during_the_start_ends_no_process(self) -> None:
        started: list[Cluster] = []
        is_ready = start_cluster(self, "--nodes", "2", *SITE, on_spawn=started.append)
        await started[0].line("up to .* connections")
        while not is_ready.called:
            started[0].kill(signal.SIGUSR1)
            await deferLater(reactor, LOOK_AGAIN_S, lambda: None)
        cluster = await is_ready
        self.assertNotIn("ended", cluster.text)

    async def test_the_sample_for_logrotate(self) -> None:
        logrotate = shutil.which("logrotate", path=os.environ["PATH"] + ":/usr/sbin")
        if logrotate is None:
            raise SkipTest("needs logrotate")
        sample, pidfile = (ROOT / "deploy" / "logrotate.conf").read_text(), self.folder / "pid"
        for path, ours in (
            ("/var/log/c10k/", f"{self.folder}/"),
            ("/run/c10k/twistd.pid", str(pidfile)),
        ):
            self.assertIn(path, sample)
            sample = sample.replace(path, ours)
        conf, log = self.folder / "logrotate.conf", self.folder / "c10k.log"
        conf.write_text(sample)
        conf.chmod(0o644)  # logrotate refuses a file that others may write
        cluster = Cluster()
        command = twistd("-n", f"--pidfile={pidfile}", f"--logfile={log}", "c10k", "--nodes", "1")
        command += ["--listen", "tcp:0:interface=127.0.0.1", *SITE]
        start_program(self, cluster, command, cluster.mark)
        await self.line_in(log, "c10k ready: ")
        rotate = [logrotate, "--force", "--state", str(self.folder / "state"), str(conf)]
        rotated = Program()
        start_program(self, rotated, rotate, uuid.uuid4().hex)
        await rotated.end()
        self.assertEqual((rotated.status, rotated.text), (0, ""))
        await self.line_in(log, "[node0#info] log files reopened")
        self.assertIn("c10k ready: ", (self.folder / "c10k.log.1").read_text())
