"""cluster.testing under Django's own test runner, in another process."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.e2e.postgres import start_postgres

ROOT = Path(__file__).resolve().parents[2]


def run_tests(test: TestCase, label: str, *options: str, **environ: str) -> tuple[int, str]:
    """Run ``manage.py test label options`` of tests/testing/project; returns status and output."""
    state = tempfile.mkdtemp(prefix="c10k-test-")
    test.addCleanup(shutil.rmtree, state)
    paths = [str(ROOT), str(ROOT / "twistd_plugins"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "django", "test", "--noinput", label, *options],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "DJANGO_SETTINGS_MODULE": "tests.testing.project.settings",
            "C10K_TEST_STATE": state,
            **environ,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    return done.returncode, done.stdout


class ReactorTests(TestCase):
    """The same tests of clients under a reactor of trial that runs an asyncio event loop."""

    def test_asyncio_reactor(self) -> None:
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        run = "from twisted.scripts.trial import run; run()"
        done = subprocess.run(
            [sys.executable, "-c", run, "--reactor=asyncio", "tests.testing.test_memory_client"],
            cwd=self.folder(),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertRegex(done.stdout, r"PASSED \(successes=[1-9]")

    def folder(self) -> str:
        """Return a folder for trial's temporary files."""
        folder = tempfile.mkdtemp(prefix="c10k-test-")
        self.addCleanup(shutil.rmtree, folder)
        return folder


CASES = "tests.testing.project.cases", 31
LIVE_CASES = "tests.testing.project.live_cases", 8
"""Labels, and the expected number of tests."""


def check(test: TestCase, cases: tuple[str, int], *options: str, **environ: str) -> None:
    """Assert that all of these tests pass."""
    label, count = cases
    status, output = run_tests(test, label, *options, **environ)
    test.assertEqual(0, status, output)
    found = re.search(r"^Ran (\d+) tests? in", output, re.MULTILINE)
    assert found is not None, output
    test.assertEqual(count, int(found[1]), output)


class PostgresTests(TestCase):
    """On a separate PostgreSQL server, with persistent connections."""

    timeout = 1800

    async def test_both_kinds(self) -> None:
        database = await start_postgres(self)
        await deferToThread(check, self, CASES, C10K_TEST_DATABASE=database.django)
        await deferToThread(check, self, LIVE_CASES, C10K_TEST_DATABASE=database.django)


class DjangoRunnerTests(TestCase):
    def test_in_memory(self) -> None:
        check(self, CASES)

    def test_a_project_without_tests_of_its_handlers(self) -> None:
        check(self, ("tests.testing.project.plain_cases", 1))

    def test_in_parallel(self) -> None:
        check(self, CASES, "--parallel", "2")
        check(self, LIVE_CASES, "--parallel", "2", C10K_TEST_FILE="1")

    def test_real_nodes(self) -> None:
        check(self, LIVE_CASES, C10K_TEST_FILE="1")

    def test_a_database_in_memory_cannot_be_shared(self) -> None:
        status, output = run_tests(self, "tests.testing.project.live_cases.SecondTests")
        self.assertEqual(1, status)
        self.assertIn("DATABASES['default'][\"TEST\"]", output)
