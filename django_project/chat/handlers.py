"""The WebSocket of a room.

::

    < {"buffer": [{"message": ["guest-1a2b", "hi"]}, …]}   the newest messages, oldest first
    < {"announcement": "guest-3c4d connected"}             to everyone else; or "… disconnected"
    > {"message": "hello"}
    < {"message": ["guest-3c4d", "hello"]}                 to everyone else

A client may add a string ``"id"`` to its message. The message is sent with it and ``"at"``, the
Unix time in milliseconds, and the sender receives it, too: then the room's history has it. Until
then the client keeps it, and sends it again after a reconnect. The id also identifies the messages
of the buffer that the client already has.

The WebSocket of ``ws/?members=1`` receives the names of those who are in the room, after the
buffer::

    < {"members": ["guest-1a2b", …], "count": 2}           the first MAX_MEMBERS of them
    < {"announcement": "guest-3c4d connected", "joined": "guest-3c4d"}    or "left"

The handler answers ``{"ping": any}`` with ``{"pong": any}``, because scripts in browsers cannot
send WebSocket pings to test whether the server still answers.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from cluster import WebSocket, members, websocket
from django_project.chat.names import name_of

MAX_CHARACTERS = 4000
MAX_ID_CHARACTERS = 64

MAX_MEMBERS = 100
"""Names that a page shows. The list of a room with thousands of people is of no use."""

POLICY_VIOLATION = 1008


class BadMessage(ValueError):
    """A client's message does not follow the protocol; the text for the client says how."""


def topic_of(room: str) -> str:
    """Return the topic of a room; the lobby's is "chat". The settings define its history."""
    return f"chat/{room}" if room else "chat"


@websocket
async def chat(ws: WebSocket, room: str = "") -> None:
    """Serve one person in a room until the connection closes."""
    name = name_of(ws.user, ws.session)
    topic = topic_of(room)

    shows_members = "members" in ws.query

    def announce(member: str, joined: bool) -> None:
        if member != name:
            happened = "connected" if joined else "disconnected"
            event = {"announcement": f"{member} {happened}"}
            if shows_members:
                event["joined" if joined else "left"] = member
            ws.send_now(json=event)

    await ws.subscribe(topic, replay=buffer)
    ws.on_presence(topic, announce)
    ws.join(topic, name)
    if shows_members:
        present = members(topic)
        await ws.send_json({"members": present[:MAX_MEMBERS], "count": len(present)})
    try:
        while True:
            received = await ws.recv_json()
            if isinstance(received, dict) and "ping" in received:
                await ws.send_json({"pong": received["ping"]})
                continue
            message = said(received)
            if message is not None:
                message["message"] = [name, message["message"]]
                ws.publish(topic, json=message, echo="id" in message)
    except BadMessage as error:
        await ws.close(POLICY_VIOLATION, str(error))


def buffer(kept: Sequence[str | bytes]) -> list[str]:
    """Return one frame with all of the room's newest messages."""
    found = map(chat_message, kept)
    return [json.dumps({"buffer": [message for message in found if message is not None]})]


def chat_message(message: str | bytes) -> dict[str, Any] | None:
    """Decode a retained message; returns None for a message that is not a chat message.

    Other code can publish to the topic, too. Its messages must not raise here; otherwise no client
    could enter the room until they expire.
    """
    try:
        found = json.loads(message)
    except ValueError:
        return None
    match found:
        case {"message": [str(), str()]}:
            return dict(found)
    return None


def said(received: Any) -> dict[str, Any] | None:
    """Decode a client's message, with its id if it has one; returns None for an empty message.

    Raises BadMessage if it does not follow the protocol.
    """
    if not isinstance(received, dict) or not isinstance(received.get("message"), str):
        raise BadMessage('expected {"message": "text"}')
    if len(received["message"]) > MAX_CHARACTERS:
        raise BadMessage(f"a message has at most {MAX_CHARACTERS:,} characters")
    if not received["message"].strip():
        return None
    message: dict[str, Any] = {"message": received["message"]}
    if "id" in received:
        own = received["id"]
        if not isinstance(own, str) or len(own) > MAX_ID_CHARACTERS:
            raise BadMessage(f"an id is a string of at most {MAX_ID_CHARACTERS} characters")
        message["id"] = own
        message["at"] = round(time.time() * 1000)
    return message
