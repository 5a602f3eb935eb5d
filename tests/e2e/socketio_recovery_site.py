"""A site with a Socket.IO server whose clients continue after a disconnection."""

import os
import signal
from typing import Any

from django.urls import path

from cluster import node_name
from cluster.socketio import Namespace, Socket, SocketIO

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]
MIDDLEWARE: list[str] = []
DATABASES: dict[str, dict[str, str]] = {}
USE_TZ = True


class Main(Namespace):
    """What socketio_clients/recovery.mjs needs."""

    async def on_connect(self, socket: Socket) -> None:
        socket.emit("welcome", {"node": node_name(), "recovered": socket.recovered})

    async def on_join(self, socket: Socket, room: str) -> None:
        socket.data["room"] = room
        await socket.enter_room(room)

    async def on_say(self, socket: Socket, room: str, number: int) -> None:
        self.to(room).emit("said", number)

    async def on_state(self, socket: Socket) -> dict[str, Any]:
        return {
            "node": node_name(),
            "recovered": socket.recovered,
            "rooms": sorted(socket.rooms - {socket.id}),
            "data": socket.data,
        }

    async def on_crash(self, socket: Socket) -> None:
        """End this node as an error of the machine would."""
        os.kill(os.getpid(), signal.SIGKILL)


urlpatterns = [path("socket.io/", SocketIO(Main, recovery=120))]
