"""Settings of the nodes of a LiveClusterTestCase: the project's, with the test databases."""

import json
import os
from importlib import import_module

_project = import_module(os.environ["C10K_LIVE_SETTINGS"])
globals().update({name: getattr(_project, name) for name in dir(_project) if name.isupper()})

DATABASES = {
    alias: {**database, "NAME": json.loads(os.environ["C10K_LIVE_DATABASES"])[alias]}
    for alias, database in getattr(_project, "DATABASES", {}).items()
}
# As Django's own test runner sets them.
DEBUG = False
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
ALLOWED_HOSTS = [*getattr(_project, "ALLOWED_HOSTS", ()), "localhost", "127.0.0.1"]
if "django.contrib.staticfiles" in getattr(_project, "INSTALLED_APPS", ()):
    # Static files come from the applications, as in StaticLiveServerTestCase.
    WSGI_APPLICATION = "cluster.testing.live.wsgi.application"
