"""A site with a Socket.IO server, whose clients are those of tests/e2e/socketio_clients.

reference.mjs in that folder is the same site on the reference server.
"""

import os
import signal
from pathlib import Path
from typing import Any

from django.http import FileResponse, HttpRequest, HttpResponse
from django.urls import path

from cluster import node_name
from cluster.socketio import (
    AcknowledgementTimeout,
    ConnectionRefused,
    Namespace,
    Socket,
    SocketIO,
)

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]
MIDDLEWARE: list[str] = []
DATABASES: dict[str, dict[str, str]] = {}
USE_TZ = True

CLIENTS = Path(__file__).parent / "socketio_clients"


class Main(Namespace):
    """What the checks need of the main namespace."""

    async def on_connect(self, socket: Socket, auth: Any) -> None:
        if auth and auth.get("refuse"):
            raise ConnectionRefused("refused", {"code": 42, "why": ["you asked"]})
        query = socket.request.GET.get("colour")
        welcome = {"node": node_name(), "sid": socket.id, "auth": auth or {}, "query": query}
        socket.emit("welcome", welcome)

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        name = (socket.auth or {}).get("name")
        self.to(f"watch {name}").emit("left", name, reason)

    async def on_echo(self, socket: Socket, *values: Any) -> Any:
        return values

    async def on_emit_back(self, socket: Socket, event: str, *values: Any) -> None:
        socket.emit(event, *values)

    async def on_transport(self, socket: Socket) -> str:
        return socket.transport

    async def on_rooms(self, socket: Socket) -> list[str]:
        return list(socket.rooms)

    async def on_ask(self, socket: Socket, *values: Any) -> list[Any]:
        """Return the list of what the client answers."""
        answer = await socket.call("question", *values)
        if isinstance(answer, tuple):
            return list(answer)
        return [] if answer is None else [answer]

    async def on_ask_unanswered(self, socket: Socket) -> str:
        try:
            await socket.timeout(0.1).call("unanswered")
        except AcknowledgementTimeout:
            return "timed out"
        return "answered"

    async def on_burst(self, socket: Socket, count: int) -> None:
        for number in range(count):
            socket.emit("numbered", number)

    async def on_volatile_burst(self, socket: Socket, count: int) -> None:
        for number in range(count):
            socket.volatile.emit("numbered", number)

    async def on_join(self, socket: Socket, room: str) -> list[str]:
        await socket.enter_room(room)
        return list(socket.rooms)

    async def on_leave(self, socket: Socket, room: str) -> list[str]:
        socket.leave_room(room)
        return list(socket.rooms)

    async def on_count(self, socket: Socket, room: str) -> int:
        return len(await self.to(room).fetch_sockets())

    async def on_say(self, socket: Socket, room: str, text: Any) -> None:
        socket.to(room).emit("said", text)

    async def on_say_to_all(self, socket: Socket, room: str, text: Any) -> None:
        self.to(room).emit("said", text)

    async def on_say_except(self, socket: Socket, room: str, other: str, text: Any) -> None:
        socket.to(room).except_(other).emit("said", text)

    async def on_tell(self, socket: Socket, id: str, text: Any) -> None:
        self.to(id).emit("said", text)

    async def on_broadcast(self, socket: Socket, text: Any) -> None:
        socket.broadcast.emit("to_all", text)

    async def on_kick(self, socket: Socket, close: bool) -> None:
        socket.disconnect(close)

    async def on_crash(self, socket: Socket) -> None:
        """End this node as an error of the machine would."""
        os.kill(os.getpid(), signal.SIGKILL)


class Admin(Namespace):
    """A namespace that not everybody may connect to."""

    async def on_connect(self, socket: Socket, auth: Any) -> None:
        if auth["token"] != "secret":
            raise ConnectionRefused("not authorized", {"token": auth["token"]})

    async def on_who(self, socket: Socket) -> str:
        return str(socket.auth["name"])


def page(request: HttpRequest) -> HttpResponse:
    """Run the checks in a browser."""
    return HttpResponse(
        """<!doctype html><title>Checks</title><link rel="icon" href="data:,">
<script src="/files/socket.io.min.js"></script>
<script type="module">
  import { run } from "/files/checks.mjs";
  window.lines = [];
  window.start = async (options) => {
    await run(io, location.origin, options, (line) => window.lines.push(line));
    window.done = true;
  };
</script>"""
    )


def file(request: HttpRequest, name: str) -> FileResponse:
    """A script for the page."""
    found = CLIENTS / name
    if name == "socket.io.min.js":
        found = Path(os.environ["SOCKETIO_CLIENTS"], "node_modules/socket.io-client/dist", name)
    return FileResponse(found.open("rb"), content_type="text/javascript")


urlpatterns = [
    path("socket.io/", SocketIO({"/": Main, "/admin": Admin}, ping_interval=0.3, ping_timeout=20)),
    path("page/", page),
    path("files/<name>", file),
]
