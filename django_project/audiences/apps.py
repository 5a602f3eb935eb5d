from django.apps import AppConfig


class AudiencesConfig(AppConfig):
    """Registered in INSTALLED_APPS by the package's name."""

    name = "django_project.audiences"
    verbose_name = "Audiences"
