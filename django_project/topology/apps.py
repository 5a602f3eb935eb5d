from django.apps import AppConfig


class TopologyConfig(AppConfig):
    """Registered in INSTALLED_APPS by the package's name."""

    name = "django_project.topology"
    verbose_name = "Map of the cluster"
