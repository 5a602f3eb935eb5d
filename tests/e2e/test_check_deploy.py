"""manage.py check --deploy reads the connection limit of a real PostgreSQL."""

import shutil
import sys
import tempfile
import uuid
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.e2e.postgres import OPTIONS, start_postgres
from tests.e2e.processes import TEST_TIMEOUT_S, Program, start_program
from tests.once import once

ALLOWED = int(OPTIONS["max_connections"]) - 3
"""Connections, without those that PostgreSQL reserves for its superuser."""

SETTINGS = """
import json, os
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["a.example"]
INSTALLED_APPS = ["cluster.django"]
DATABASES = {{"default": json.loads(os.environ["CHECK_DATABASE"])}}
USE_TZ = True
C10K = {{"NODES": {nodes}, "WSGI_THREADS": {threads}, "DATABASE_THREADS": 1}}
"""


@once
class CheckDeployTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def check(self, nodes: int, threads: int) -> Program:
        """Run the command for a site with this number of threads for views in each node."""
        (self.folder / "check_settings.py").write_text(
            SETTINGS.format(nodes=nodes, threads=threads)
        )
        program = Program()
        command = [
            sys.executable, "-m", "django", "check", "--deploy", "--fail-level", "WARNING",
            "--settings", "check_settings", "--pythonpath", str(self.folder),
        ]  # fmt: skip
        # Python identifies bytecode by the source's size and time in seconds, so it could use that
        # of the previous run.
        extra = {"CHECK_DATABASE": self.database.django, "PYTHONDONTWRITEBYTECODE": "1"}
        start_program(self, program, command, uuid.uuid4().hex, extra=extra)
        await program.end()
        return program

    async def test_a_warning_compares_the_threads_of_all_nodes_with_the_limit(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.database = await start_postgres(self)
        # Besides the threads for views a node has two: one of ain_database, one of the async ORM.
        enough = await self.check(3, ALLOWED // 3 - 2)
        self.assertIn("c10k.W010", enough.text)
        self.assertNotIn("c10k.W004", enough.text)
        too_few = await self.check(3, ALLOWED // 3 - 1)
        self.assertIn("c10k.W004", too_few.text)
        self.assertIn(f"which allows {ALLOWED}", too_few.text)
        self.assertEqual(too_few.status, 1)
        await self.database.stop()
        gone = await self.check(1, 1)
        self.assertIn("did not report how many connections it allows", gone.text)
        self.assertNotIn("Traceback", gone.text)
