"""The WSGI application, for a node or for any other WSGI server."""

import logging
import os

import django
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_project.settings")
django.setup()

from django_project import database, static_files  # noqa: E402 - they need the settings

_log = logging.getLogger(__name__)

try:
    static_files.prepare()
except Exception:
    _log.exception("static files have no hashes in their names: they cannot be collected")

application = get_wsgi_application()

try:
    database.prepare()
except Exception:
    # The Game of Life and most other pages need no database: serve them nevertheless.
    _log.exception("the database cannot be used: log-in and pages that need a session will fail")
