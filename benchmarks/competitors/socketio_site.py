"""A python-socketio site: a client's "publish" sends its text as "message" to a room, and its
"echo" is acknowledged with the text; "join" enters a room. `swarm socketio` works with it.

Its processes are connected by the Redis at $SOCKETIO_REDIS, as in the section "Using a Message
Queue" of python-socketio's documentation. Without it the site serves one process.
"""

import os
from typing import Any

import socketio

REDIS = os.environ.get("SOCKETIO_REDIS")
INTERVAL_S = float(os.environ.get("SOCKETIO_PING_INTERVAL", "25"))
ROOM = "broadcast"

manager = socketio.AsyncRedisManager(REDIS) if REDIS else None
server = socketio.AsyncServer(async_mode="asgi", client_manager=manager, ping_interval=INTERVAL_S)


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
    if auth and auth["role"] == "subscriber":
        await server.enter_room(sid, ROOM)


@server.event
async def join(sid: str, room: str) -> None:
    await server.enter_room(sid, room)


@server.event
async def publish(sid: str, text: str, room: str = ROOM) -> None:
    await server.emit("message", text, room=room)


@server.event
async def echo(sid: str, text: str) -> str:
    return text


application = socketio.ASGIApp(server)
