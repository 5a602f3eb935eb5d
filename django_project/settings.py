"""The settings. They work unchanged in any folder, also from an installed wheel.

Environment variables that change them:

C10K_STATE_DIR       folder for the secret key and the database; see state.py for its default
DJANGO_SECRET_KEY    the secret key; without it a random one is created and kept in the folder
C10K_ALLOWED_HOSTS   host names in addition to localhost, separated by commas
C10K_CONNECTIONS_PER_CLIENT
                     connections of one address to a node, for a swarm on another machine (500)
C10K_DEBUG           "1" turns Django's debug pages on
C10K_DEMO_TOKEN      what a page needs to kill processes (topology/access.py); make demo sets it
"""

import os
from pathlib import Path
from typing import Any

from django_project.state import private_database, secret_key, state_folder, static_folder

PACKAGE = Path(__file__).resolve().parent
STATE = state_folder(os.environ)
SECRET_KEY = secret_key(os.environ, STATE)
DEBUG = os.environ.get("C10K_DEBUG") == "1"
ALLOWED_HOSTS = ["localhost", ".localhost", "127.0.0.1", "[::1]"] + [
    host.strip() for host in os.environ.get("C10K_ALLOWED_HOSTS", "").split(",") if host.strip()
]

ROOT_URLCONF = "django_project.urls"
WSGI_APPLICATION = "django_project.wsgi.application"

INSTALLED_APPS = [
    "cluster.django",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_project.accounts",
    "django_project.gameoflife",
    "django_project.echo",
    "django_project.chat",
    "django_project.socketio",
    "django_project.live",
    "django_project.audiences",
    "django_project.consumers",
    "django_project.topology",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    # Before the middleware that static files do not need. Right after Django's own, so that nodes
    # answer static files in their event loops.
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django_project.security.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PACKAGE / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django_project.context.node",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": private_database(STATE),
        # Every node writes to this file: wait for other nodes instead of failing at once, and do
        # not block readers while a node writes.
        "OPTIONS": {
            "timeout": 20,  # s
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Sessions are in the database, so that a logout ends a session on all nodes.
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "demos"
LOGOUT_REDIRECT_URL = "demos"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

# Pages use names with a hash of the content, which static_files.py makes when the site starts:
# browsers keep these files. WhiteNoise also serves the plain names, from the apps' static folders.
# It reads all folders once, at the start.
STATIC_URL = "/static/"
STATICFILES_DIRS: list[Any] = [PACKAGE / "static"]
# The client of the page /socketio/, after npm ci --prefix django_project/socketio.
SOCKETIO_CLIENT = PACKAGE / "socketio" / "node_modules" / "socket.io-client" / "dist"
if SOCKETIO_CLIENT.is_dir():
    STATICFILES_DIRS.append(("socket.io-client", SOCKETIO_CLIENT))
STATIC_ROOT = static_folder(STATE)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django_project.static_files.HashedStorage"},
}
WHITENOISE_USE_FINDERS = True
# A plain name may have other content after an upgrade.
WHITENOISE_MAX_AGE = 60  # s

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# For the consumers of django_project.consumers, if Channels is installed.
CHANNEL_LAYERS = {"default": {"BACKEND": "cluster.channels.ClusterChannelLayer"}}

# The settings of c10k whose defaults do not suit this site.
PER_CLIENT = os.environ.get("C10K_CONNECTIONS_PER_CLIENT", "500")
C10K: dict[str, Any] = {
    # The check of the settings reports a text that is not a number.
    "MAX_CONNECTIONS_PER_CLIENT": int(PER_CLIENT) if PER_CLIENT.isdecimal() else PER_CLIENT,
    "TOPICS": {
        "chat": {"history": 15, "expire": 86_400},
        "chat/*": {"history": 15, "expire": 86_400},
        "live": {"history": 50, "expire": 3_600},
    },
    "AUDIENCE_PERMISSION": "django_project.audiences.permission.allowed",
    "AUDIENCE_HEARTBEAT": "--heartbeat--",
    "COMPRESSION": True,  # so that conformance suites test it
}
