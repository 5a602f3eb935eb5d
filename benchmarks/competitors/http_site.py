"""A Django site without WebSockets, which each server of `python -m benchmarks.http` runs.

The middleware is that of `django-admin startproject`, with WhiteNoise where its documentation puts
it. HTTP_SITE_STATIC is the folder of the static files.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
STATIC_URL = "/static/"
STATIC_ROOT = os.environ.get("HTTP_SITE_STATIC", "")
DATA_UPLOAD_MAX_MEMORY_SIZE = None
C10K = {"WSGI_QUEUE": 5000}

PAGE_ROWS = 500
STREAM_S = 2.0
"""Seconds between the first and the last piece of the stream."""


def small(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


@cache
def template() -> Any:
    row = f"<tr><td>{{{{ row }}}}</td><td>{'x' * 78}</td></tr>\n"
    rows = f"{{% for row in rows %}}{row}{{% endfor %}}"
    return engines["django"].from_string(f"<!doctype html><table>{rows}</table>")


def page(request: HttpRequest) -> HttpResponse:
    """A page of 50 KB, from a template."""
    return HttpResponse(template().render({"rows": range(PAGE_ROWS)}, request))


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    """Read a body."""
    size = 0
    while piece := request.read(65536):
        size += len(piece)
    return HttpResponse(str(size))


async def small_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


async def sleeping(request: HttpRequest) -> HttpResponse:
    """A view that waits, as for another server."""
    await asyncio.sleep(2)
    return HttpResponse("ok")


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Two pieces, as of a language model that thinks in between."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first\n"
        await asyncio.sleep(STREAM_S)
        yield b"last\n"

    return StreamingHttpResponse(pieces(), content_type="text/plain")


urlpatterns = [
    path("small/", small),
    path("page/", page),
    path("upload/", upload),
    path("async/", small_async),
    path("sleeping/", sleeping),
    path("stream/", stream),
]
