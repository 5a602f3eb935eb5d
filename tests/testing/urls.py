"""Handlers for the tests of cluster.testing."""

import asyncio
from typing import Any

from django.urls import path

from cluster import Disconnected, websocket

ended: list[str] = []
"""The events that handlers recorded when they ended."""


@websocket(subprotocols=["best", "good"])
async def echo(ws: Any, name: str = "") -> None:
    """Sends its name, then echoes."""
    if name:
        await ws.send(name)
    async for message in ws:
        await ws.send(message)
    ended.append("echo")


@websocket
async def leave(ws: Any) -> None:
    """Sends one message and closes."""
    await ws.send("bye")
    await ws.close(4321, "enough")


@websocket
async def broken(ws: Any) -> None:
    """Raises at the first message."""
    await ws.recv()
    raise LookupError("a bug")


@websocket
async def broken_callback(ws: Any) -> None:
    """Raises in a callback."""

    def heard(payload: bytes, is_binary: bool) -> None:
        raise LookupError("a bug")

    ws.on_message(heard)
    await ws.wait_closed()


@websocket
async def topic(ws: Any, name: str) -> None:
    """Subscribes to a topic, and publishes received messages to it."""
    ws.subscribe(name)
    try:
        while True:
            ws.publish(name, await ws.recv())
    except Disconnected:
        ended.append(name)


@websocket
async def latest(ws: Any) -> None:
    """Subscribes to a topic whose messages may be skipped."""
    ws.subscribe("numbers", refresh=lambda: ["the newest"])
    await ws.send("ready")
    await ws.wait_closed()


@websocket
async def elsewhere(ws: Any) -> None:
    """Waits for an event that is not from its client."""
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("elsewhere")


urlpatterns = [
    path("echo/", echo),
    path("echo/<str:name>/", echo),
    path("leave/", leave),
    path("broken/", broken),
    path("callback/", broken_callback),
    path("topic/<str:name>/", topic),
    path("latest/", latest),
    path("elsewhere/", elsewhere),
]
