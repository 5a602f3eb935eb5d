"""The WSGI application, for a node or for any other WSGI server."""

import logging
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_project.settings")

application = get_wsgi_application()

from django_project import database  # noqa: E402 - needs the settings

try:
    database.prepare()
except Exception:
    # The Game of Life and most other pages need no database: serve them nevertheless.
    logging.getLogger(__name__).exception(
        "the database cannot be used: log-in and pages that need a session will fail"
    )
