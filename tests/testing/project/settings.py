"""A small project whose tests use cluster.testing; run by tests/testing/test_django.py."""

import json
import os
from pathlib import Path
from typing import Any

_STATE = Path(os.environ["C10K_TEST_STATE"])

SECRET_KEY = "not a secret"
ALLOWED_HOSTS: list[str] = []
ROOT_URLCONF = "tests.testing.project.urls"
INSTALLED_APPS = [
    "cluster.django",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES: dict[str, Any] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": _STATE / "db.sqlite3",
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    },
    "second": {"ENGINE": "django.db.backends.sqlite3", "NAME": _STATE / "second.sqlite3"},
}
if os.environ.get("C10K_TEST_DATABASE"):
    DATABASES["default"] = json.loads(os.environ["C10K_TEST_DATABASE"])
elif os.environ.get("C10K_TEST_FILE"):
    DATABASES["default"]["TEST"] = {"NAME": str(_STATE / "test.sqlite3")}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_URL = "/static/"
USE_TZ = True
C10K = {"TOPICS": {"kept/*": {"history": 5}}}
