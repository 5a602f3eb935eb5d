"""The chat's namespace: ``io({ auth: { room: "django" } })``; the lobby without a room.

Clients send and receive the event ``message``. Its argument is what the WebSocket of the same room
sends as JSON text (django_project.chat.handlers)::

    < message {"buffer": [{"message": ["guest-1a2b", "hi"]}, …]}   the newest messages
    < message {"announcement": "guest-3c4d connected"}     to everyone else; or "… disconnected"
    > message {"message": "hello"}                         acknowledged: {}, or {"error": "…"}
    < message {"message": ["guest-3c4d", "hello"]}         to everyone, the sender too

A message is published to the topic of the room, so it reaches the clients of both kinds.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from cluster import publish, topic_messages
from cluster.socketio import ConnectionRefused, Namespace, Socket
from django_project.chat.handlers import BadMessage, chat_message, said, topic_of
from django_project.chat.names import name_of

EVENT = "message"

ROOM = re.compile(r"[-a-zA-Z0-9_]{0,40}")


class Chat(Namespace):
    """The rooms of the chat. A room's name is that of its topic."""

    def topic_of(self, room: str) -> str:
        """The topic of a room, to which the WebSocket handler publishes, too."""
        return room

    def event_of(self, room: str, message: str | bytes) -> Sequence[Any] | None:
        """The event that a message of the topic becomes."""
        found = chat_message(message)
        return None if found is None else (EVENT, found)

    async def on_connect(self, socket: Socket, auth: Any) -> None:
        """Enter the room that the client asks for."""
        name = auth.get("room", "") if isinstance(auth, dict) else ""
        if not isinstance(name, str) or not ROOM.fullmatch(name):
            raise ConnectionRefused("a room's name has up to 40 letters, digits, - and _")
        room = socket.data["room"] = topic_of(name)
        person = socket.data["name"] = name_of(socket.user, socket.session)
        await socket.enter_room(room)
        # A message that arrives now may be in the buffer, too: its id identifies it.
        socket.emit(EVENT, {"buffer": await newest(room)})
        socket.to(room).emit(EVENT, {"announcement": f"{person} connected"})

    async def on_message(self, socket: Socket, received: Any) -> dict[str, str]:
        """Publish what a client says; the acknowledgement says what is wrong with it."""
        try:
            message = said(received)
        except BadMessage as error:
            return {"error": str(error)}
        if message is not None:
            message["message"] = [socket.data["name"], message["message"]]
            publish(socket.data["room"], json=message)
        return {}

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        """Tell the others in the room."""
        announcement = {"announcement": f"{socket.data['name']} disconnected"}
        socket.to(socket.data["room"]).emit(EVENT, announcement)


async def newest(topic: str) -> list[dict[str, Any]]:
    """Return the messages that a room has retained, oldest first."""
    kept: list[dict[str, Any]] = []
    async with topic_messages(topic) as messages:
        try:
            async with asyncio.timeout(0):  # those that are retained are there at once
                async for message in messages:
                    found = chat_message(message)
                    if found is not None:
                        kept.append(found)
        except TimeoutError:
            pass
    return kept
