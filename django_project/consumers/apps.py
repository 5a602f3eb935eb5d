from django.apps import AppConfig


class ConsumersConfig(AppConfig):
    """Registered in INSTALLED_APPS by the package's name."""

    name = "django_project.consumers"
    verbose_name = "Consumers of Channels, and a stream"
