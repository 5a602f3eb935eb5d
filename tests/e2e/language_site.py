"""The demo site's settings with LocaleMiddleware; its URLs are in language_urls."""

from django_project.settings import *  # noqa: F403
from django_project.settings import MIDDLEWARE as OF_THE_DEMO

ROOT_URLCONF = "tests.e2e.language_urls"
WSGI_APPLICATION = "django_project.wsgi.application"
USE_I18N = True
LANGUAGES = [("en", "English"), ("de", "German")]
MIDDLEWARE = [*OF_THE_DEMO, "django.middleware.locale.LocaleMiddleware"]
