"""The page, the stream, and the answer of a site without Channels."""

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from cluster import WebSocket, websocket

MISSING = "Channels is not installed on this server: pip install 'django-c10k[channels]'"

PAUSE_S = 0.05

TEXT = """\
This text arrives word by word, as from a language model. The view is a coroutine function that
returns a StreamingHttpResponse. It runs in the event loop of the node, so that a stream takes no
thread, and it ends when you leave the page."""


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The page; it shows whether the server has Channels."""
    missing = MISSING if find_spec("channels") is None else ""
    return render(request, "consumers/page.html", {"missing": missing})


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Send a text word by word."""
    response = StreamingHttpResponse(_words(), content_type="text/plain; charset=utf-8")
    response["Cache-Control"] = "no-store"
    return response


async def _words() -> AsyncIterator[str]:
    for word in TEXT.split():
        yield f"{word} "
        await asyncio.sleep(PAUSE_S)


def _refuse(request: HttpRequest, rest: str) -> HttpResponse:
    return HttpResponse(f"{MISSING}\n", status=501, content_type="text/plain; charset=utf-8")


@websocket(accept=_refuse, page=_refuse)
async def not_installed(ws: WebSocket, rest: str) -> None:
    """In place of the consumers; never runs."""
