"""Consumers as a project for Channels has them, its routing and its URLconf.

Nothing here is written for c10k but ``asgi(application)`` in the URLconf.
"""

from typing import Any

from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.exceptions import DenyConnection
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.auth import get_user_model, logout
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path

from cluster.asgi import asgi

disconnected: list[tuple[str, int]] = []
"""The consumers of this process whose client has left, with the close code."""


class SyncEcho(WebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """Echoes text and bytes, in a thread."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "crash":
            raise LookupError("a bug")
        if text_data == "close":
            self.close(code=4321, reason="as requested")
        else:
            self.send(text_data=text_data, bytes_data=bytes_data)

    def disconnect(self, code: int) -> None:
        self.send(text_data="nobody reads this")
        disconnected.append(("SyncEcho", code))


class AsyncEcho(AsyncWebsocketConsumer):  # type: ignore[misc]
    """The same, in the event loop, for clients with a subprotocol."""

    async def connect(self) -> None:
        if "echo.v1" not in self.scope["subprotocols"]:
            await self.close()
            return
        await self.accept(subprotocol="echo.v1", headers=[(b"x-consumer", b"AsyncEcho")])
        await self.send(text_data=self.scope["query_string"].decode())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code: int) -> None:
        disconnected.append(("AsyncEcho", code))


class Visits(JsonWebsocketConsumer):  # type: ignore[misc]
    """Uses the user, the session and the ORM, synchronously."""

    def connect(self) -> None:
        self.user, self.session = self.scope["user"], self.scope["session"]
        if self.user.is_anonymous:
            raise DenyConnection
        self.session["visits"] = self.session.get("visits", 0) + 1
        self.session.save()
        self.accept()

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        Group.objects.create(name=content["group"])
        self.send_json(
            {
                "user": get_user_model().objects.get(pk=self.user.pk).get_username(),
                "visits": self.session["visits"],
                "groups": list(Group.objects.values_list("name", flat=True)),
            }
        )


class Room(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """The chat of Channels' tutorial."""

    async def connect(self) -> None:
        self.group = f"chat_{self.scope['url_route']['kwargs']['room_name']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self.send_json("joined")

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send(
            self.group, {"type": "chat.message", "message": content["message"]}
        )

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send_json({"message": event["message"]})


class News(JsonWebsocketConsumer):  # type: ignore[misc]
    """A synchronous consumer with a list of groups."""

    groups = ("news",)

    def connect(self) -> None:
        self.accept()
        self.send_json("joined")

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        async_to_sync(self.channel_layer.group_send)("news", {"type": "news.item", "text": content})

    def news_item(self, event: dict[str, Any]) -> None:
        self.send_json({"news": event["text"]})


application = ProtocolTypeRouter(
    {
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(
                    [
                        path("ws/echo/", SyncEcho.as_asgi()),
                        path("ws/async-echo/", AsyncEcho.as_asgi()),
                        path("ws/visits/", Visits.as_asgi()),
                        re_path(r"^ws/chat/(?P<room_name>\w+)/$", Room.as_asgi()),
                        path("ws/news/", News.as_asgi()),
                    ]
                )
            )
        )
    }
)


def tell(request: HttpRequest, text: str) -> HttpResponse:
    """A view that sends to a group."""
    layer = get_channel_layer()
    async_to_sync(layer.group_send)("news", {"type": "news.item", "text": text})
    return HttpResponse("sent\n")


def log_out(request: HttpRequest) -> HttpResponse:
    """Ends the session."""
    logout(request)
    return HttpResponse("logged out\n")


urlpatterns = [
    path("ws/", asgi(application)),
    path("tell/<str:text>/", tell),
    path("logout/", log_out),
]
