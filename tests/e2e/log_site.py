"""A site whose views, handlers and feeds fail, for tests of the logs.

``LOG_SITE`` in the environment chooses LOGGING: nothing, "console" for a console handler of the
root logger, or "file:PATH" for a file with one line of JSON for each record.
"""

import json
import logging
import os
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path

from cluster import WebSocket, ain_database, feed, websocket

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]
DATABASES: dict[str, dict[str, str]] = {}
DEBUG = os.environ.get("LOG_SITE_DEBUG") == "1"

KIND, _, FILE = os.environ.get("LOG_SITE", "").partition(":")


class JsonFormatter(logging.Formatter):
    """What Sentry and AdminEmailHandler use of a record."""

    def format(self, record: logging.LogRecord) -> str:
        request = getattr(record, "request", None)
        kind = record.exc_info[0] if record.exc_info else None
        return json.dumps(
            {
                "logger": record.name,
                "level": record.levelname,
                "message": record.getMessage(),
                "exception": kind and kind.__name__,
                "path": request and request.path,
                "query": request and request.GET.dict(),
                "status": getattr(record, "status_code", None),
            }
        )


_HANDLERS: dict[str, dict[str, Any]] = {
    "console": {"class": "logging.StreamHandler"},
    "file": {"class": "logging.FileHandler", "filename": FILE, "formatter": "json"},
}

if KIND:
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.JsonFormatter"}},
        "handlers": {"chosen": _HANDLERS[KIND]},
        "root": {"handlers": ["chosen"], "level": "WARNING"},
    }


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page\n")


def broken_view(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError("of the view")


@websocket
async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


@websocket
async def noise(ws: WebSocket) -> None:
    for number in range(400):
        print("x" * 8000 + "\n", end="")
        print("x" * 80_000)
        if number % 10 == 0:
            await ain_database(bool)


@websocket
async def broken_handler(ws: WebSocket) -> None:
    raise ZeroDivisionError("of the handler")


@websocket
async def broken_callback(ws: WebSocket) -> None:
    def received(payload: bytes, is_binary: bool) -> None:
        raise ZeroDivisionError("of the callback")

    ws.on_message(received)
    await ws.send("listening")
    await ws.wait_closed()


def broken_accept(request: HttpRequest) -> None:
    raise ZeroDivisionError("of the accept function")


@websocket(accept=broken_accept)
async def guarded(ws: WebSocket) -> None:
    raise AssertionError("never reached")


@feed
def broken_feed(request: HttpRequest) -> list[str]:
    raise ZeroDivisionError("of the feed")


@feed
def news(request: HttpRequest) -> list[str]:
    return ["news"]


urlpatterns = [
    path("", page),
    path("view/", broken_view),
    path("echo/", echo),
    path("noise/", noise),
    path("handler/", broken_handler),
    path("callback/", broken_callback),
    path("accept/", guarded),
    path("feed/", broken_feed),
    path("news/", news),
]
