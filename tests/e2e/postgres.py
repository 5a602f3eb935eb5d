"""A PostgreSQL server for a test, in a temporary folder; it is removed when the test ends.

``database = await start_postgres(test)`` skips the test, with the reason, if there is none.
PostgreSQL refuses to run as root; then it runs as Debian's user ``postgres``, or ``nobody``.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest, TestCase

from tests.e2e.asking import until
from tests.e2e.processes import Program, start_program

psycopg: Any
try:
    import psycopg
except ImportError:
    psycopg = None

OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",  # the data is needed for seconds only
    "shared_buffers": "16MB",
    "max_connections": "60",
    "log_min_messages": "fatal",
}


class Postgres:
    """One server. ``name`` is one of its databases; ``folder`` has its socket and its data."""

    name = "postgres"

    def __init__(self, test: TestCase, binaries: Path) -> None:
        self._test = test
        self._binaries = binaries
        self._owner = _unprivileged()
        # Not mktemp(), because a socket's address has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-pg-"))
        test.addCleanup(shutil.rmtree, self.folder)
        if self._owner is not None:
            os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
        self._run(
            "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C",
            "--no-sync", f"--pgdata={self.folder / 'data'}",
        )  # fmt: skip
        self._server = Program()

    @property
    def django(self) -> str:
        """Return Django's settings of the database as JSON, for an environment variable."""
        return json.dumps(
            {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": self.name,
                "USER": "postgres",
                "HOST": str(self.folder),
                "CONN_MAX_AGE": None,
            }
        )

    async def start(self) -> None:
        """Start the server; it must not be running."""
        self._server = Program()
        options = [f"-c{name}={value}" for name, value in OPTIONS.items()]
        options.append(f"-cunix_socket_directories={self.folder}")
        command = self._as_owner("postgres", "-D", str(self.folder / "data"), *options)
        start_program(self._test, self._server, command, uuid.uuid4().hex)
        # Added later, so that it runs before start_program's clean-up, which kills: the server must
        # stop its children itself.
        self._test.addCleanup(self.stop)
        await self._until(self._answers)

    def stop(self) -> "Deferred[None]":
        """Stop the server and drop its connections. No effect if it does not run."""
        if self._server.transport is not None:
            self._server.kill(signal.SIGQUIT)
        return self._server.end()

    def connect(self) -> Any:
        """Open a psycopg connection for the test itself, in autocommit mode."""
        return psycopg.connect(
            dbname=self.name, user="postgres", host=str(self.folder), autocommit=True
        )

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            if self._server.status is not None:
                raise AssertionError(self._server.text) from None
            return False
        return True

    async def _until(self, condition: Callable[[], bool]) -> None:
        await until(condition, lambda: self._server.text)

    def _as_owner(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._binaries / program), *arguments]
        if self._owner is None:
            return command
        ids = f"--reuid={self._owner.pw_uid}", f"--regid={self._owner.pw_gid}"
        return ["setpriv", *ids, "--clear-groups", *command]

    def _run(self, program: str, *arguments: str) -> None:
        command = self._as_owner(program, *arguments)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"{program} failed:\n{done.stdout}{done.stderr}")


async def start_postgres(test: TestCase) -> Postgres:
    """Start a server that runs until the test ends; raises SkipTest if PostgreSQL is missing."""
    if psycopg is None:
        raise SkipTest("psycopg is not installed")
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if (on_path := shutil.which("initdb")) is not None:
        found.append(Path(on_path).parent)
    if not found:
        raise SkipTest("no PostgreSQL server: on Debian, apt-get install postgresql")
    server = Postgres(test, found[-1])
    await server.start()
    return server


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user that runs the server; None: the current user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SkipTest("root cannot run PostgreSQL, and there is neither a postgres nor a nobody")
