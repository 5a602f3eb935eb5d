"""The tests in docs/how-to/test.md, and the site that they test; run by Django.

Methods that the page shows without their class are put into a class here.
"""

import json
import textwrap
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from cluster import Disconnected, WebSocket, feed, publish, websocket
from tests.testing.test_examples import examples

IN_MEMORY, LOGOUT, CAPTURED, FEED, TRIAL, SLOW, _LIVE = examples("docs/how-to/test.md")


def members_only(request: HttpRequest) -> None:
    if not request.user.is_authenticated:
        raise PermissionDenied


@websocket(accept=members_only)
async def chat(ws: WebSocket) -> None:
    ws.subscribe("chat")
    while True:
        message = await ws.recv()
        if len(message) > 1000:
            await ws.close(1008, "too long")
            raise Disconnected
        said = {"message": [ws.user.username, json.loads(message)["message"]]}
        ws.publish("chat", json.dumps(said), echo=False)


@websocket
async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


def vote(request: HttpRequest, pk: int) -> HttpResponse:
    publish(f"poll/{pk}", json.dumps({request.POST["choice"]: 1}))
    return HttpResponse()


@feed
def live(request: HttpRequest, pk: int) -> list[str]:
    return [f"poll/{pk}"]


urlpatterns = [
    path("chat/ws/", chat),
    path("echo/", echo),
    path("prices/", echo),
    path("polls/<int:pk>/vote/", vote),
    path("polls/<int:pk>/live/", live),
]


def tests(source: str) -> dict[str, Any]:
    """Return the test cases that a page shows, for this site."""
    names: dict[str, Any] = {"__name__": __name__, **globals()}
    exec(source, names)
    return {
        name: override_settings(ROOT_URLCONF=__name__)(found)
        for name, found in names.items()
        if isinstance(found, type) and name.endswith("Tests") and name not in globals()
    }


def inside(head: str, methods: str) -> str:
    return f"{head}:\n{textwrap.indent(methods, '    ')}"


globals().update(
    tests(f"{IN_MEMORY}\n{inside('class LogoutTests(ChatTests)', LOGOUT)}\n{CAPTURED}")
)
globals().update(
    tests(
        "from django.test import TestCase\nfrom cluster.testing import connect\n"
        + inside("class FeedTests(TestCase)", FEED)
        + inside("class SlowTests(TestCase)", SLOW)
    )
)
