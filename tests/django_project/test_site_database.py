"""Only the first process creates the site's tables."""

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.once import once

CHECKOUT = Path(__file__).parents[2]

PATIENCE_S = 120
"""Timeout of a process, in seconds, long enough for a busy machine."""

SERVE = "import django_project.wsgi"

IN_A_LOOP = """
import asyncio
async def start():
    import django_project.wsgi
asyncio.run(start())
"""

ASK = """
import django; django.setup()
from django_project import database
print(database.is_current())
"""


@once
class DatabaseTests(TestCase):
    def setUp(self) -> None:
        self.state = Path(self.mktemp()).absolute()
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *filter(None, sys.path)]),
            "DJANGO_SETTINGS_MODULE": "django_project.settings",
            "C10K_STATE_DIR": str(self.state),
        }

    def start(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *command],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self, *command: str) -> tuple[str, str]:
        process = self.start(*command)
        out, errors = process.communicate(timeout=PATIENCE_S)
        self.assertEqual(process.returncode, 0, errors)
        return out.strip(), errors

    def tables(self) -> set[str]:
        connection = sqlite3.connect(self.state / "db.sqlite3")
        self.addCleanup(connection.close)
        return {name for (name,) in connection.execute("select name from sqlite_master")}

    def test_four_processes_may_start_together(self) -> None:
        self.assertEqual(self.result("-c", ASK)[0], "False")
        processes = [self.start("-c", SERVE) for _ in range(4)]
        said = [process.communicate(timeout=PATIENCE_S) for process in processes]
        self.assertEqual([("", "")] * 4, said)
        self.assertEqual([0] * 4, [process.returncode for process in processes])
        self.assertLessEqual({"auth_user", "auth_group", "django_session"}, self.tables())
        self.assertEqual(self.result("-c", ASK)[0], "True")

    def test_the_tables_are_created_from_the_thread_of_an_event_loop(self) -> None:
        """A node loads the application in this thread, where Django does not allow queries."""
        self.result("-c", IN_A_LOOP)
        self.assertIn("auth_user", self.tables())

    def test_a_database_that_cannot_be_used_is_logged_and_pages_are_served(self) -> None:
        self.state.mkdir(mode=0o700)
        (self.state / "db.sqlite3").write_text(
            "no database at all, but long enough to be read\n" * 40
        )
        _, errors = self.result("-c", SERVE)
        self.assertIn("the database cannot be used", errors)
        self.assertIn("DatabaseError", errors)

    def test_createdemousers_creates_users_that_can_log_in(self) -> None:
        shown, _ = self.result("-m", "django_project", "createdemousers")
        passwords = re.findall(r"^(\w+) +password (\S+)  \(", shown, re.MULTILINE)
        self.assertEqual(["ada", "alan", "grace"], [name for name, _ in passwords])
        self.assertEqual(3, len({password for _, password in passwords}))
        check = (
            "import django; django.setup()\n"
            "from django.contrib.auth import authenticate\n"
            f"user = authenticate(username='ada', password={passwords[0][1]!r})\n"
            "print(user, sorted(group.name for group in user.groups.all()))"
        )
        self.assertEqual(self.result("-c", check)[0], "ada ['engineers', 'mathematicians']")
