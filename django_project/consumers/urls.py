from importlib.util import find_spec
from typing import Any

from django.urls import path

from cluster.asgi import asgi
from django_project.consumers import views

app_name = "consumers"


def sockets(has_channels: bool) -> Any:
    """The pattern for the consumers; without Channels, one whose clients receive the reason."""
    if not has_channels:
        return path("consumers/ws/<path:rest>", views.not_installed)
    from django_project.consumers.consumers import application

    return path("consumers/ws/", asgi(application))


urlpatterns = [
    path("consumers/", views.page, name="page"),
    path("consumers/stream/", views.stream, name="stream"),
    sockets(find_spec("channels") is not None),
]
