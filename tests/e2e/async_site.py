"""A site with async views for the tests: settings, URLs and views in one module."""

import asyncio
import os
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
USE_TZ = True
DATABASES: dict[str, dict[str, str]] = {}
C10K = {"WSGI_THREADS": 2, "WSGI_QUEUE": 1}


async def ticks() -> AsyncIterator[bytes]:
    while True:
        yield b"data: tick\n\n"
        await asyncio.sleep(0.01)


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """An endless response."""
    return StreamingHttpResponse(ticks(), content_type="text/event-stream")


def wrong(request: HttpRequest) -> StreamingHttpResponse:
    """The same from a synchronous view."""
    return StreamingHttpResponse(ticks())


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


async def waits(request: HttpRequest) -> HttpResponse:
    """Wait until the test writes to the named pipe ASYNC_SITE_PIPE."""
    loop, written = asyncio.get_running_loop(), asyncio.Event()
    pipe = os.open(os.environ["ASYNC_SITE_PIPE"], os.O_RDONLY | os.O_NONBLOCK)
    loop.add_reader(pipe, written.set)
    try:
        await written.wait()
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)
    return HttpResponse("finished")


urlpatterns = [
    path("stream/", stream),
    path("wrong/", wrong),
    path("page/", page),
    path("waits/", waits),
]
