"""The site of benchmarks.socketio_fuzz: every feature that a client can reach by its packets."""

from typing import Any

from django.urls import path

from cluster.socketio import ConnectionRefused, Namespace, Socket, SocketIO

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]

PING_INTERVAL_S, PING_TIMEOUT_S = 2.0, 2.0
"""Short, so that abandoned sessions end within seconds."""


class Main(Namespace):
    """Echoes, rooms, and handlers of each kind."""

    async def on_echo(self, socket: Socket, *values: Any) -> tuple[Any, ...]:
        return values

    def on_thread(self, socket: Socket, value: Any) -> Any:
        return value

    async def on_back(self, socket: Socket, value: Any) -> None:
        socket.emit("back", value)

    async def on_enter(self, socket: Socket, room: int) -> None:
        socket.enter_room(f"room{room!r:.20}")

    async def on_leave(self, socket: Socket, room: int) -> None:
        socket.leave_room(f"room{room!r:.20}")

    async def on_publish(self, socket: Socket, value: Any) -> None:
        self.to("room1").emit("published", value)

    async def on_bye(self, socket: Socket, close: Any = False) -> None:
        socket.disconnect(bool(close))


class Admin(Namespace):
    """Refuses clients without the token."""

    async def on_connect(self, socket: Socket, auth: Any) -> None:
        if not isinstance(auth, dict) or auth.get("token") != "secret":
            raise ConnectionRefused("no token", {"token": False})

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        pass

    async def on_any(self, socket: Socket, event: Any, *values: Any) -> None:
        socket.emit("any", event, *values)


NAMESPACES = {"/": Main, "/admin": Admin}
INTERVALS = {"ping_interval": PING_INTERVAL_S, "ping_timeout": PING_TIMEOUT_S}

urlpatterns = [
    path("socket.io/", SocketIO(NAMESPACES, **INTERVALS)),
    path(
        "recovery/",
        SocketIO(NAMESPACES, name="recovery", recovery=5, recovery_events=100, **INTERVALS),
    ),
]
