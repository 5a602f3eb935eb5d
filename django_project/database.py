"""Creates the tables of the site's database before the first request.

So ``migrate`` is not necessary, neither with a wheel nor in a checkout. Several nodes start
together and all of them call ``prepare``: the first one creates the tables, while the other nodes
wait.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor

LOCK_FILE = "migrate.lock"

_log = logging.getLogger(__name__)


def prepare() -> None:
    """Apply the missing migrations; returns when the tables exist.

    The migrations run in another thread, because a node calls this in the thread of its event loop,
    where Django does not allow the use of a database. Errors of the database are raised here.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _migrate()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()  # the connections of this thread

    thread = Thread(target=run, name="migrate")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _migrate() -> None:
    with _locked(settings.STATE):
        if is_current():
            return
        _log.info("creating the database's tables")
        call_command("migrate", interactive=False, verbosity=0)


def is_current() -> bool:
    """Whether all migrations are applied."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel releases when the process ends or is killed."""
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
