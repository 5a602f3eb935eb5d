"""Handlers and views that use sessions, users, the ORM and publish."""

from typing import Any

from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from cluster import ain_database, publish, websocket


@websocket
async def who(ws: Any) -> None:
    """Sends the user's name, then echoes."""
    name = ws.user.username if ws.user.is_authenticated else "nobody"
    await ws.send_json([name, ws.session.get("colour")])
    async for message in ws:
        await ws.send(message)


@websocket
async def choose(ws: Any) -> None:
    """Stores each received colour in the session."""
    async for colour in ws:
        ws.session["colour"] = colour
        await ws.session.asave()
        await ws.send("saved")


@websocket
async def groups(ws: Any) -> None:
    """Counts groups with the sync and the async ORM, and creates one for each message."""
    await ws.send_json(await Group.objects.acount())
    async for name in ws:
        await ain_database(Group.objects.create, name=name)
        await ws.send_json(await ain_database(Group.objects.count))


@websocket
async def follow(ws: Any, topic: str) -> None:
    """Sends a topic's messages."""
    ws.subscribe(topic)
    await ws.send("following")
    await ws.wait_closed()


def say(request: HttpRequest, topic: str) -> HttpResponse:
    """Publishes; on request inside a transaction, and on request that transaction fails."""
    if "atomic" not in request.GET:
        publish(topic, "said")
        return HttpResponse("outside")
    try:
        with transaction.atomic():
            publish(topic, "said on commit")
            if "fail" in request.GET:
                raise LookupError
    except LookupError:
        return HttpResponse("rolled back")
    return HttpResponse("committed")


urlpatterns = [
    path("who/", who),
    path("choose/", choose),
    path("groups/", groups),
    path("follow/<path:topic>/", follow),
    path("say/<path:topic>/", say),
]
