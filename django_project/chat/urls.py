"""The lobby, and any number of rooms."""

from django.urls import path, register_converter
from django.urls.converters import SlugConverter

from django_project.chat import handlers, views


class RoomConverter(SlugConverter):
    """A room's name: a slug with a limited length, which fits the heading."""

    regex = "[-a-zA-Z0-9_]{1,40}"


register_converter(RoomConverter, "room")

app_name = "chat"

urlpatterns = [
    path("chat/", views.lobby, name="lobby"),
    path("chat/ws/", handlers.chat, name="lobby-socket"),
    path("chat/<room:room>/", views.page, name="room"),
    path("chat/<room:room>/ws/", handlers.chat, name="room-socket"),
]
