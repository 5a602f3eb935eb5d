"""The site of benchmarks.replay: a feed with a long history, and an echo."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from cluster import WebSocket, feed, publish, websocket

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]
C10K = {"TOPICS": {"long": {"history": 1000}}}


@feed
async def long(request: HttpRequest) -> list[str]:
    return ["long"]


@websocket
async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


@websocket
async def subscribed(ws: WebSocket) -> None:
    await ws.subscribe("long")
    await ws.wait_closed()


@websocket
async def replayed(ws: WebSocket) -> None:
    """A handler that chooses what to send."""
    await ws.subscribe("long", replay=lambda messages: messages[1:])
    await ws.wait_closed()


def fill(request: HttpRequest, count: int, size: int) -> HttpResponse:
    """Publish `count` messages of `size` bytes."""
    for number in range(count):
        publish("long", f"{number:08}" + "x" * (size - 8))
    return HttpResponse("filled")


urlpatterns = [
    path("feed/", long),
    path("echo/", echo),
    path("subscribed/", subscribed),
    path("replayed/", replayed),
    path("fill/<int:count>/<int:size>/", fill),
]
