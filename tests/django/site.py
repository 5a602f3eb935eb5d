"""The demo site in the test process, with a state folder that is removed at its end."""

import os
import tempfile

import django
from django.conf import settings

_state: "tempfile.TemporaryDirectory[str] | None" = None


def load_site() -> None:
    """Load django_project's settings and applications, unless a test did so before."""
    global _state
    if settings.configured:
        return
    _state = tempfile.TemporaryDirectory(prefix="c10k-test-")
    before = {name: os.environ.get(name) for name in ("C10K_STATE_DIR", "DJANGO_SETTINGS_MODULE")}
    os.environ.update(C10K_STATE_DIR=_state.name, DJANGO_SETTINGS_MODULE="django_project.settings")
    try:
        django.setup()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_migrated = False


def load_database() -> None:
    """Load the demo site and create its tables, in a file that is removed at the process's end."""
    global _migrated
    load_site()
    if not _migrated:
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        _migrated = True
