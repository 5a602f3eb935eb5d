"""The settings of a project written for Channels; channels_urls has its consumers.

"cluster.django" is in place of "daphne" in INSTALLED_APPS.
"""

import os

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "tests.e2e.channels_urls"
INSTALLED_APPS = [
    "cluster.django",
    "channels",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("C10K_TEST_DATABASE", ":memory:"),
        "OPTIONS": {"timeout": 20},  # s
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
CHANNEL_LAYERS = {"default": {"BACKEND": "cluster.channels.ClusterChannelLayer"}}
