"""A Django Channels site: echo at /echo/, and one group at /broadcast/NAME/.

The consumers are those of the Channels tutorial. The channel layer is Redis at $CHANNELS_REDIS,
with the class of channels_redis that $CHANNELS_LAYER names (`core`, its documented default, or
`pubsub`). Without that address there is no layer, and the site serves echo only. Where Django has
settings already, as in the cluster, their channel layer counts.
"""

import os
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path

LAYERS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
REDIS = os.environ.get("CHANNELS_REDIS")
LAYER = {
    "BACKEND": LAYERS[os.environ.get("CHANNELS_LAYER", "core")],
    "CONFIG": {"hosts": [REDIS]},
}

if not settings.configured:  # the cluster has settings of its own
    settings.configure(
        DEBUG=False,
        SECRET_KEY="for measuring only",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["channels"],
        CHANNEL_LAYERS={"default": LAYER} if REDIS else {},
    )
    django.setup()

urlpatterns: list[Any] = []


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


class Broadcast(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.group = f"broadcast_{self.scope['url_route']['kwargs']['name']}"
        self.listens = b"role=publisher" not in self.scope["query_string"]
        if self.listens:
            await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        if self.listens:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send(
            self.group, {"type": "broadcast.message", "text": text_data}
        )

    async def broadcast_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter(
            [
                path("echo/", Echo.as_asgi()),
                path("broadcast/<slug:name>/", Broadcast.as_asgi()),
            ]
        ),
    }
)
