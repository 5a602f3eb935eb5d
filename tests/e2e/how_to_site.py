"""A site of the applications in how-to guides, which are on the path: settings and URLs."""

from pathlib import Path

from django.urls import include, path

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django", "django.contrib.staticfiles", "matches", "board"]
MIDDLEWARE = [
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True},
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [Path(__file__).parent / "vendored"]
WHITENOISE_USE_FINDERS = True
USE_TZ = True
DATABASES: dict[str, dict[str, str]] = {}
C10K = {
    "TOPICS": {
        "score/*": {"history": 1},
        "comments/*": {"history": 3},
        "board": {"history": 3},
    },
}

urlpatterns = [
    path("", include("matches.urls")),
    path("", include("board.urls")),
]
