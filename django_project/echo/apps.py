from django.apps import AppConfig


class EchoConfig(AppConfig):
    """Registered in INSTALLED_APPS by the package's name."""

    name = "django_project.echo"
    verbose_name = "Echo"
