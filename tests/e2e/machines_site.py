"""The demo site's settings with other URLs, for clusters that share a Redis."""

from django_project.settings import *  # noqa: F403

ROOT_URLCONF = "tests.e2e.machines_urls"
WSGI_APPLICATION = "django_project.wsgi.application"
C10K = {"TOPICS": {"room/*": {"history": 100}}, "SITE": "machines-test"}
