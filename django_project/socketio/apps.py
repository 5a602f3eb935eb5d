from django.apps import AppConfig


class SocketIOConfig(AppConfig):
    """Registered in INSTALLED_APPS by the package's name."""

    name = "django_project.socketio"
    verbose_name = "Chat for Socket.IO clients"
