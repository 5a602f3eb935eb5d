"""The demo site, with the Socket.IO client for browsers from the folder SOCKETIO_CLIENT."""

import os

from django_project import settings
from django_project.settings import *  # noqa: F403 - these are the site's settings

STATICFILES_DIRS = [
    settings.PACKAGE / "static",
    ("socket.io-client", os.environ["SOCKETIO_CLIENT"]),
]
