from django.apps import AppConfig


class LiveConfig(AppConfig):
    """Registered in INSTALLED_APPS by the package's name."""

    name = "django_project.live"
    verbose_name = "Live feed"
