"""django_project.state, and the settings in processes with an empty working directory."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from twisted.trial.unittest import TestCase

from django_project.state import KEY_FILE, private_database, secret_key, state_folder

CHECKOUT = Path(__file__).parents[2]

PATIENCE_S = 120
"""Timeout of a process, in seconds, long enough for a busy machine."""

SHOW = "from django.conf import settings; print(settings.SECRET_KEY)"


class StateFolderTests(TestCase):
    def test_the_variable_comes_first(self) -> None:
        folder = state_folder({"C10K_STATE_DIR": "/srv/c10k", "XDG_STATE_HOME": "/var/state"})
        self.assertEqual(folder, Path("/srv/c10k"))

    def test_a_relative_folder_is_made_absolute(self) -> None:
        self.assertEqual(state_folder({"C10K_STATE_DIR": "state"}), Path.cwd() / "state")

    def test_the_xdg_variable_comes_second(self) -> None:
        self.assertEqual(state_folder({"XDG_STATE_HOME": "/var/state"}), Path("/var/state/c10k"))

    def test_the_default_is_in_the_home_folder(self) -> None:
        self.patch(os, "environ", {"HOME": "/home/someone"})
        home = Path("/home/someone/.local/state/c10k")
        self.assertEqual(state_folder({}), home)
        self.assertEqual(state_folder({"XDG_STATE_HOME": "relative"}), home)


class SecretKeyTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()) / "deep" / "state"

    def test_the_key_is_created_once_and_is_private(self) -> None:
        key = secret_key({}, self.folder)
        self.assertGreaterEqual(len(key), 50)
        self.assertEqual(secret_key({}, self.folder), key)
        self.assertEqual(stat.S_IMODE((self.folder / KEY_FILE).stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)
        self.assertEqual(os.listdir(self.folder), [KEY_FILE])

    def test_each_folder_has_its_own_key(self) -> None:
        self.assertNotEqual(secret_key({}, self.folder), secret_key({}, self.folder / "2"))

    def test_the_key_may_come_from_the_environment(self) -> None:
        self.assertEqual(secret_key({"DJANGO_SECRET_KEY": "given"}, self.folder), "given")
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_key_from_the_environment_needs_no_writable_folder(self) -> None:
        folder = Path("/proc/c10k")
        self.assertEqual(secret_key({"DJANGO_SECRET_KEY": "given"}, folder), "given")

    def test_the_error_of_an_unusable_folder_names_the_variables(self) -> None:
        error = self.assertRaises(ImproperlyConfigured, secret_key, {}, Path("/proc/c10k"))
        self.assertIn("/proc/c10k", str(error))
        self.assertIn("C10K_STATE_DIR", str(error))

    def assert_refused(self, because: str, environ: Mapping[str, str] | None = None) -> None:
        error = self.assertRaises(ImproperlyConfigured, secret_key, environ or {}, self.folder)
        self.assertIn(because, str(error))

    def test_a_folder_that_others_may_enter_is_refused(self) -> None:
        self.folder.mkdir(parents=True)
        for mode in (0o755, 0o770, 0o707):
            self.folder.chmod(mode)
            self.assert_refused(f"chmod 700 {self.folder}")
            self.assert_refused(f"chmod 700 {self.folder}", {"DJANGO_SECRET_KEY": "given"})
        self.assertEqual(os.listdir(self.folder), [])
        self.folder.chmod(0o700)
        secret_key({}, self.folder)

    def test_a_key_that_others_may_read_is_refused(self) -> None:
        secret_key({}, self.folder)
        (self.folder / KEY_FILE).chmod(0o640)
        self.assert_refused(f"chmod 600 {self.folder / KEY_FILE}")

    def test_a_folder_or_key_of_another_user_is_refused(self) -> None:
        secret_key({}, self.folder)
        self.patch(os, "geteuid", lambda: 4711)
        self.assert_refused(f"{self.folder} must belong to user 4711")

    def test_the_database_and_its_journals_are_private(self) -> None:
        secret_key({}, self.folder)
        self.addCleanup(os.umask, os.umask(0))
        path = private_database(self.folder)
        connection = sqlite3.connect(path)
        self.addCleanup(connection.close)
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table t (n)")
        files = sorted(self.folder.iterdir())
        self.assertEqual(len(files), 4, files)  # the key, the database and two journals
        self.assertEqual({stat.S_IMODE(file.stat().st_mode) for file in files}, {0o600})
        path.chmod(0o644)
        private_database(self.folder)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_an_empty_key_is_never_used(self) -> None:
        self.folder.mkdir(parents=True, mode=0o700)
        (self.folder / KEY_FILE).touch(0o600)
        error = self.assertRaises(ImproperlyConfigured, secret_key, {}, self.folder)
        self.assertIn("delete it", str(error))


class SettingsProcessTests(TestCase):
    """The settings must work in a process that has only the installed packages."""

    def setUp(self) -> None:
        self.cwd = Path(self.mktemp())
        self.cwd.mkdir()
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *filter(None, sys.path)]),
            "DJANGO_SETTINGS_MODULE": "django_project.settings",
        }

    def start(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.cwd,
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self, *arguments: str, **environ: str) -> str:
        process = self.start(*arguments, **environ)
        out, errors = process.communicate(timeout=PATIENCE_S)
        self.assertEqual(process.returncode, 0, errors)
        return out.strip()

    def test_processes_that_start_together_agree_on_the_key(self) -> None:
        processes = [self.start("-c", SHOW) for _ in range(4)]
        keys = {process.communicate(timeout=PATIENCE_S)[0] for process in processes}
        self.assertEqual(len(keys), 1)
        kept = self.home / ".local" / "state" / "c10k" / KEY_FILE
        self.assertEqual(keys, {kept.read_text()})

    def test_management_commands_work_in_any_folder(self) -> None:
        self.result("-m", "django_project", "check", "--fail-level", "WARNING")
        self.assertEqual(os.listdir(self.cwd), [])

    def test_manage_py_of_the_checkout_works(self) -> None:
        self.result(str(CHECKOUT / "manage.py"), "check")

    def test_the_database_works(self) -> None:
        self.result("-m", "django_project", "migrate")

    def test_debug_and_hosts_may_come_from_the_environment(self) -> None:
        show = "from django.conf import settings; print(settings.DEBUG, settings.ALLOWED_HOSTS[4:])"
        self.assertEqual(self.result("-c", show), "False []")
        given = self.result("-c", show, C10K_DEBUG="1", C10K_ALLOWED_HOSTS="a.example, .b.example,")
        self.assertEqual(given, "True ['a.example', '.b.example']")
