"""A site whose pages and WebSockets say which process answers: settings, URLs and views."""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from cluster import WebSocket, websocket
from cluster.net.handover import token_of_this_process
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.server import EngineServer

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]
MIDDLEWARE: list[str] = []
USE_TZ = True
DATABASES: dict[str, dict[str, str]] = {}


def answer(request: HttpRequest) -> dict[str, Any]:
    """What the process knows of a request."""
    return {
        "token": token_of_this_process(),
        "client": request.META["REMOTE_ADDR"],
        "secure": request.is_secure(),
        "body": len(request.body),
    }


@csrf_exempt
async def page(request: HttpRequest) -> JsonResponse:
    return JsonResponse(answer(request))


@websocket(page=page)
async def who(ws: WebSocket) -> None:
    await ws.send_json(answer(ws.request))
    async for message in ws:
        await ws.send(message)


def connected(client: EngineClient) -> None:
    """A session of Engine.IO that echoes."""
    client.on_message = lambda data, is_binary: client.send(OutPacket(b"4" + data))


urlpatterns = [
    path("socket.io/", who),
    path("engine.io/", EngineServer(connected).view()),
]
