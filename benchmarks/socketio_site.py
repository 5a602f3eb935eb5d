"""The site of benchmarks.socketio: that of competitors.socketio_site, in the cluster."""

import os
from typing import Any

from django.urls import path

from cluster.socketio import Namespace, Socket, SocketIO

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]

ROOM = "broadcast"
INTERVAL_S = float(os.environ.get("SOCKETIO_PING_INTERVAL", "25"))


class Main(Namespace):
    """A client's "publish" sends its text as "message" to a room; "echo" is acknowledged."""

    async def on_connect(self, socket: Socket, auth: Any) -> None:
        if auth and auth["role"] == "subscriber":
            socket.enter_room(ROOM)

    async def on_join(self, socket: Socket, room: str) -> None:
        socket.enter_room(room)

    async def on_publish(self, socket: Socket, text: str, room: str = ROOM) -> None:
        self.to(room).emit("message", text)

    async def on_echo(self, socket: Socket, text: str) -> str:
        return text


urlpatterns = [path("socket.io/", SocketIO(Main, ping_interval=INTERVAL_S))]
