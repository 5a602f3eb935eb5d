"""Real clusters whose site has an error: the operator's messages, and recovery."""

import os
import shutil
import signal
import tempfile
import uuid
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.e2e.asking import metrics, ready
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    environment,
    start_cluster,
    start_program,
    twistd,
)
from tests.once import once

SETTINGS = "SECRET_KEY = 'x'\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'broken_urls'\n"
URLS = "from django.http import HttpResponse\nfrom django.urls import path\n"
URLS += "urlpatterns = [path('', lambda request: HttpResponse('served'))]\n"


@once
class FailedStartTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "broken_site.py").write_text(SETTINGS)
        self.urls = self.folder / "broken_urls.py"
        path = os.pathsep.join([str(self.folder), environment("")["PYTHONPATH"]])
        # No cached bytecode, because the tests change a module twice within a second.
        self.extra = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    async def ended(self, *arguments: str) -> Program:
        program = Program()
        command = twistd("-n", f"--pidfile={self.folder}/pid", *arguments)
        command += ["--listen", "tcp:0:interface=127.0.0.1", "--settings", "broken_site"]
        start_program(self, program, command, uuid.uuid4().hex, extra=self.extra)
        await program.end()
        return program

    async def test_an_error_of_the_site_ends_the_first_start(self) -> None:
        self.urls.write_text("\nimport no_such_module\n")
        program = await self.ended("c10k", "--nodes", "2")
        reason = (
            "cannot start: ModuleNotFoundError: No module named 'no_such_module'"
            f" ({self.urls}, line 2); see manage.py check"
        )
        self.assertEqual(program.status, 1)
        self.assertEqual(program.errors, [f"c10k: {reason}"])
        logged = [line for line in program.lines if line.endswith(reason)]
        self.assertEqual(len(logged), 2, program.text)  # once in the log, once on standard error
        self.assertNotIn("restarting", program.text)
        self.assertNotIn("Traceback", program.text)
        self.assertFalse((self.folder / "pid").exists())

    async def test_a_missing_app_ends_the_first_start(self) -> None:
        (self.folder / "broken_site.py").write_text(f"{SETTINGS}INSTALLED_APPS = ['no.such.app']")
        for command in ("c10k", "c10k-node"):
            program = await self.ended(command)
            self.assertEqual(program.status, 1)
            (line,) = program.errors
            said = f"{command}: cannot start: ModuleNotFoundError: No module named 'no'"
            self.assertTrue(line.startswith(said), line)

    async def test_settings_that_fail_are_refused_before_the_start(self) -> None:
        (self.folder / "broken_site.py").write_text("SECRET_KEY = 'x'\n1 / 0\n")
        program = await self.ended("c10k")
        self.assertEqual(program.status, 1)
        self.assertEqual(
            program.lines,
            [
                "c10k: the settings module broken_site cannot be imported:"
                f" ZeroDivisionError: division by zero ({self.folder}/broken_site.py, line 2)"
            ],
        )

    async def test_the_start_is_repeated_until_a_service_is_up(self) -> None:
        up = self.folder / "up"
        self.urls.write_text(
            "from django.db import OperationalError\nfrom pathlib import Path\n"
            f"if not Path({str(up)!r}).exists():\n"
            "    raise OperationalError('the database is starting up')\n"
            f"{URLS}"
        )
        started: list[Cluster] = []
        announced = start_cluster(
            self, "--settings", "broken_site", "--nodes", "1",
            extra=self.extra, on_spawn=started.append,
        )  # fmt: skip
        await started[0].line(r"node0 ended \(exit status 1\); restarting it in")
        up.touch()
        cluster = await announced
        self.assertIn("cannot start: OperationalError: the database is starting up", cluster.text)
        await ready(cluster.admin_url)

    async def test_an_error_of_the_site_at_a_later_start_keeps_the_other_nodes(self) -> None:
        self.urls.write_text(URLS)
        cluster = await start_cluster(
            self, "--settings", "broken_site", "--nodes", "2", extra=self.extra
        )
        self.urls.write_text("import no_such_module\n")
        reported = cluster.line(r"\[node0#critical\] cannot start: ModuleNotFoundError")
        restarted_later = cluster.line(r"node0 ended \(exit status 1\); restarting it in 4 s")
        os.kill(cluster.pids["node0"], signal.SIGKILL)
        await reported
        self.assertIn('c10k_ready{node="node1"} 1.0', await metrics(cluster.admin_url))
        await restarted_later
        again = cluster.line("node0 ready")
        noticed = cluster.line("the site's code has changed: starting node0")
        self.urls.write_text(URLS)  # at once: the supervisor notices it within these 4 s
        await noticed
        await again
        await ready(cluster.admin_url)
