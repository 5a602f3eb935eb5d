"""A PostgreSQL server for a test: made in a folder of its own, gone when the test ends.

``database = await start_postgres(test)`` skips the test where there is none, and says why.
PostgreSQL refuses to be run by root; then it runs as Debian's user ``postgres``, or ``nobody``.
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
    "fsync": "off",  # it lives for seconds
    "shared_buffers": "16MB",
    "max_connections": "60",
    "log_min_messages": "fatal",
}


class Postgres:
    """One server. ``name`` is a database in it; ``folder`` has its socket and its data."""

    name = "postgres"

    def __init__(self, test: TestCase, binaries: Path) -> None:
        self._test = test
        self._binaries = binaries
        self._owner = _unprivileged()
        # Not mktemp(): a socket's address has at most 107 bytes.
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
        """What Django calls a database, as JSON: for an environment variable."""
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
        # Run before start_program's own, which kills: the server's children end with its word.
        self._test.addCleanup(self.stop)
        await self._until(self._answers)

    def stop(self) -> "Deferred[None]":
        """Stop the server, cutting its connections off; fine if it does not run."""
        if self._server.transport is not None:
            self._server.kill(signal.SIGQUIT)
        return self._server.end()

    def connect(self) -> Any:
        """A connection of psycopg's for the test itself, without transactions."""
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
    """A server that runs until the test ends; raises SkipTest where there is none to run."""
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
    """Whom to run it as; None: as whom we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SkipTest("root cannot run PostgreSQL, and there is neither a postgres nor a nobody")
