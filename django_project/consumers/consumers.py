"""Two consumers of Channels. Nothing in this module is written for c10k."""

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

GROUP = "demo"

MAX_CHARACTERS = 500


class Echo(WebsocketConsumer):
    """Sends each message back, from a thread."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=text_data, bytes_data=bytes_data)


class Group(AsyncJsonWebsocketConsumer):
    """Sends what one client sends to all clients of the group, on all nodes."""

    async def connect(self) -> None:
        user = self.scope["user"]
        self.name = user.get_username() if user.is_authenticated else "a guest"
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()
        await self.send_json({"joined": self.name})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        text = content.get("message") if isinstance(content, dict) else None
        if not isinstance(text, str) or not 0 < len(text) <= MAX_CHARACTERS:
            await self.close(
                code=1008, reason=f'send {{"message": 1 to {MAX_CHARACTERS} characters}}'
            )
            return
        event = {"type": "group.message", "message": [self.name, text]}
        await self.channel_layer.group_send(GROUP, event)

    async def group_message(self, event: dict[str, Any]) -> None:
        await self.send_json({"message": event["message"]})


application = AuthMiddlewareStack(
    URLRouter(
        [
            path("consumers/ws/echo/", Echo.as_asgi()),
            path("consumers/ws/group/", Group.as_asgi()),
        ]
    )
)
