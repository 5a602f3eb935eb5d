"""Static files with a hash of their content in the name, which browsers keep.

The names come from a manifest in the state folder. ``prepare`` writes it, together with the files
and their compressed variants, as ``manage.py collectstatic`` does; the WSGI application calls it.
Without a manifest, as under ``runserver`` with DEBUG and in tests, pages have the plain names.
"""

import fcntl
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from whitenoise.storage import CompressedManifestStaticFilesStorage

LOCK_FILE = "static.lock"
SOURCES_FILE = "static.sources"
"""Tells from which files those in the folder were made."""

_log = logging.getLogger(__name__)


class HashedStorage(CompressedManifestStaticFilesStorage):
    """Names with hashes, also in the import statements of JavaScript modules."""

    manifest_strict = False
    support_js_module_import_aggregation = True

    def stored_name(self, name: str) -> str:
        """The name with a hash, or the plain name of a file that is not in the manifest."""
        hashed: str = self.hashed_files.get(self.hash_key(self.clean_name(name)), name)
        return hashed


def prepare() -> None:
    """Write the files if they have changed since they were written last.

    Several nodes start together: one of them writes, and the others wait.
    """
    descriptor = os.open(settings.STATE / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        sources = settings.STATE / SOURCES_FILE
        found = _sources()
        if not sources.is_file() or sources.read_text() != found:
            _log.info("collecting static files")
            call_command("collectstatic", interactive=False, verbosity=0)
            sources.write_text(found)
    finally:
        os.close(descriptor)
    storage: Any = staticfiles_storage
    storage.hashed_files, storage.manifest_hash = storage.load_manifest()


def _sources() -> str:
    """A hash of the names, sizes and times of all source files, and of the folder's name."""
    known = hashlib.sha256(str(settings.STATIC_ROOT).encode())
    for finder in finders.get_finders():
        for name, storage in finder.list(None):
            state = Path(storage.path(name)).stat()
            known.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return known.hexdigest()
