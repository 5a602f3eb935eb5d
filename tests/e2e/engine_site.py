"""A site with two servers of Engine.IO that echo text; one of them has short intervals."""

from django.urls import path

from cluster.socketio.engine.client import EngineClient
from cluster.socketio.engine.options import EngineOptions
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.server import EngineServer

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]
MIDDLEWARE: list[str] = []
USE_TZ = True
DATABASES: dict[str, dict[str, str]] = {}


def connected(client: EngineClient) -> None:
    client.on_message = lambda data, is_binary: client.send(OutPacket(b"4" + data))


SHORT = EngineOptions(ping_interval=0.3, ping_timeout=0.2)

urlpatterns = [
    path("engine.io/", EngineServer(connected).view()),
    path("short/", EngineServer(connected, SHORT).view()),
]
