"""The socket of a room.

::

    < {"buffer": [{"message": ["guest-1a2b", "hi"]}, …]}   the newest messages, oldest first
    < {"announcement": "guest-3c4d connected"}             to everyone else; or "… disconnected"
    > {"message": "hello"}
    < {"message": ["guest-3c4d", "hello"]}                 to everyone else

A client may give its message an ``"id"`` of its own, a string; it goes along with the message. One
that comes back after a pause knows by it which messages of the buffer it has seen already.
``{"ping": any}`` is answered with ``{"pong": any}``: browsers have no other way to find out whether
the server is still there.
"""

import json
from collections.abc import Sequence
from typing import Any

from cluster import WebSocket, websocket
from django_project.chat.names import name_of

MAX_CHARACTERS = 4000
MAX_ID_CHARACTERS = 64

POLICY_VIOLATION = 1008


class BadMessage(ValueError):
    """What a client sent is not what the protocol says; the text tells the client what is."""


def topic_of(room: str) -> str:
    """The lobby's topic is "chat"; settings say how much of each is kept."""
    return f"chat/{room}" if room else "chat"


@websocket
async def chat(ws: WebSocket, room: str = "") -> None:
    """One person in a room, from connecting to leaving."""
    name = name_of(ws.user, ws.session)
    topic = topic_of(room)

    def announce(member: str, joined: bool) -> None:
        if member != name:
            happened = "connected" if joined else "disconnected"
            ws.send_now(json.dumps({"announcement": f"{member} {happened}"}))

    await ws.subscribe(topic, replay=buffer)
    ws.on_presence(topic, announce)
    ws.join(topic, name)
    try:
        while True:
            received = await ws.recv_json()
            if isinstance(received, dict) and "ping" in received:
                await ws.send_json({"pong": received["ping"]})
                continue
            message = said(received)
            if message is not None:
                message["message"] = [name, message["message"]]
                ws.publish(topic, json.dumps(message), echo=False)
    except BadMessage as error:
        await ws.close(POLICY_VIOLATION, str(error))


def buffer(kept: Sequence[str | bytes]) -> list[str]:
    """What a client gets in place of the room's newest messages: one frame with all of them."""
    return [json.dumps({"buffer": [found for found in map(_kept, kept) if found is not None]})]


def _kept(message: str | bytes) -> dict[str, Any] | None:
    """A message of the room; None for what was published there by something else than its socket,
    which must not keep everybody out for as long as it is kept."""
    try:
        found = json.loads(message)
    except ValueError:
        return None
    match found:
        case {"message": [str(), str()]}:
            return dict(found)
    return None


def said(received: Any) -> dict[str, Any] | None:
    """The message of a frame and its id, if it has one; None if it is empty.

    Raises BadMessage.
    """
    if not isinstance(received, dict) or not isinstance(received.get("message"), str):
        raise BadMessage('expected {"message": "text"}')
    if len(received["message"]) > MAX_CHARACTERS:
        raise BadMessage(f"a message has at most {MAX_CHARACTERS:,} characters")
    if not received["message"].strip():
        return None
    message = {"message": received["message"]}
    if "id" in received:
        own = received["id"]
        if not isinstance(own, str) or len(own) > MAX_ID_CHARACTERS:
            raise BadMessage(f"an id is a string of at most {MAX_ID_CHARACTERS} characters")
        message["id"] = own
    return message
