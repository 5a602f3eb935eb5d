"""The WSGI application of a LiveClusterTestCase's nodes: the project's, with its static files."""

import os
from importlib import import_module

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

_settings = import_module(os.environ["C10K_LIVE_SETTINGS"])
_path = getattr(_settings, "WSGI_APPLICATION", None)
application = StaticFilesHandler(import_string(_path) if _path else get_wsgi_application())
