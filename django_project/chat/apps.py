from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Registered in INSTALLED_APPS by the package's name."""

    name = "django_project.chat"
    verbose_name = "Chat"
