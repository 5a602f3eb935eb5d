"""The site of benchmarks.slow_views: an echo, a view that waits, and one that computes."""

import os
import time

from django.http import HttpRequest, HttpResponse
from django.urls import path

from cluster import WebSocket, websocket

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]
C10K = {"WSGI_THREADS": int(os.environ.get("SLOW_SITE_THREADS", "10"))}

SLOW_S = float(os.environ.get("SLOW_SITE_SECONDS", "2"))


@websocket
async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


def waiting(request: HttpRequest) -> HttpResponse:
    """A view that waits, as for a database or another server."""
    time.sleep(SLOW_S)
    return HttpResponse("done")


def computing(request: HttpRequest) -> HttpResponse:
    """A view that computes in Python, and so holds the interpreter lock."""
    end = time.monotonic() + SLOW_S
    numbers = range(1000)
    while time.monotonic() < end:
        sum(number * number for number in numbers)
    return HttpResponse("done")


urlpatterns = [
    path("echo/", echo),
    path("waiting/", waiting),
    path("computing/", computing),
]
