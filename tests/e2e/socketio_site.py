"""A site with a python-socketio server for the tests: settings, URLs, views and handlers.

As in a project that was written for python-socketio, but for the client manager and the URLconf.
"""

import os
from typing import Any

import socketio
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.urls import path

from cluster import node_name
from cluster.asgi import asgi
from cluster.python_socketio import ClusterEmitter, ClusterManager

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = [
    "cluster.django",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SOCKETIO_DATABASE", ":memory:"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

sio = socketio.AsyncServer(
    async_mode="asgi", client_manager=ClusterManager(), transports=["websocket"]
)


@sio.event
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    """Refuse clients without a name."""
    if not auth or "name" not in auth:
        raise ConnectionRefusedError("no name")
    await sio.save_session(sid, {"name": auth["name"]})
    await sio.emit("welcome", {"node": node_name(), "sid": sid}, to=sid)


@sio.event
async def disconnect(sid: str, reason: str) -> None:
    """Tell the others."""
    session = await sio.get_session(sid)
    await sio.emit("left", session["name"])


@sio.event
async def join(sid: str, room: str) -> str:
    """Enter a room; the client receives an acknowledgement."""
    await sio.enter_room(sid, room)
    return f"joined {room}"


@sio.event
async def say(sid: str, room: str, text: str) -> None:
    """Send to the others in a room."""
    session = await sio.get_session(sid)
    await sio.emit("said", (session["name"], text), room=room, skip_sid=sid)


@sio.event
async def ask(sid: str, other: str, question: str) -> Any:
    """Ask another client, which may be on another node, and return its answer."""
    return await sio.call("question", question, to=other)


class Admin(socketio.AsyncNamespace):
    """A namespace of its own."""

    async def on_notice(self, sid: str, data: Any) -> int:
        """Send to all clients of the namespace; the client receives the size."""
        await self.emit("notice", data)
        return len(data["file"])


sio.register_namespace(Admin("/admin"))


def emit(request: HttpRequest) -> HttpResponse:
    """Emit from a plain view."""
    ClusterEmitter().emit("said", ("a view", request.GET["text"]), room=request.GET["room"])
    return HttpResponse(f"{node_name()}\n")


def emit_by_server(request: HttpRequest) -> HttpResponse:
    """Emit by the server's coroutine, from the thread of a plain view."""
    async_to_sync(sio.emit)("said", ("a server", request.GET["text"]), room=request.GET["room"])
    return HttpResponse(f"{node_name()}\n")


def log_in(request: HttpRequest) -> HttpResponse:
    """Create a user, and log in."""
    from django.contrib.auth import login
    from django.contrib.auth.models import User

    user, _ = User.objects.get_or_create(username=request.GET["name"])
    login(request, user)
    return HttpResponse("in\n")


def log_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    from django.contrib.auth import logout

    logout(request)
    return HttpResponse("out\n")


urlpatterns = [
    path("socket.io/", asgi(socketio.ASGIApp(sio))),
    path("emit/", emit),
    path("emit-by-server/", emit_by_server),
    path("in/", log_in),
    path("out/", log_out),
]
