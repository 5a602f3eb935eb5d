"""A site to be hurt: settings, URLs, views and handlers in one module.

In the environment: ``DRILL_DATABASE`` is its default database as JSON, ``DRILL_SETTINGS`` the C10K
setting, ``DRILL_LOCK`` a file.
"""

import fcntl
import json
import os
from contextlib import nullcontext, suppress
from typing import Any

from django.db import Error, connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from cluster import WebSocket, ain_database, members, publish, topic_messages, websocket

SECRET_KEY = "drill"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django", "django.contrib.sessions"]
DATABASES = {"default": json.loads(os.environ.get("DRILL_DATABASE", "{}"))}
USE_TZ = True
C10K = json.loads(os.environ.get("DRILL_SETTINGS", "{}"))

GATE = 4711
"""A lock in PostgreSQL: who wants to know its backend waits while a test holds it."""


def backend(kind: str) -> str:
    """The process at the other end of this thread's connection; "transaction": asked within one."""
    block = transaction.atomic() if kind == "transaction" else nullcontext()
    with block, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock_shared(%s)", [GATE])
        cursor.execute("SELECT pg_advisory_unlock_shared(%s)", [GATE])
        cursor.execute("SELECT pg_backend_pid()")
        return str(cursor.fetchone()[0])


def backend_view(request: HttpRequest, kind: str) -> HttpResponse:
    return HttpResponse(backend(kind))


@websocket
async def backend_socket(ws: WebSocket) -> None:
    """Any message is answered with this node and, if it says so, what a thread's backend says."""
    from django.contrib.sessions.models import Session  # settings cannot import models

    async for message in ws:
        answer: dict[str, Any] = {"node": os.getpid(), "echo": message}
        if message in ("query", "transaction"):
            try:
                answer["backend"] = await ain_database(backend, str(message))
            except Error as error:
                answer["error"] = str(error)
        elif message == "async":
            try:
                answer["sessions"] = await Session.objects.acount()
            except Error as error:
                answer["error"] = str(error)
        await ws.send_json(answer)


@websocket
async def publisher(ws: WebSocket, topic: str) -> None:
    """Any message is published, and answered with the receipt."""
    async for message in ws:
        receipt = ws.publish(topic, message)
        counts = {"nodes": receipt.nodes, "connections": receipt.connections_here}
        await ws.send_json({"node": os.getpid(), **counts})


@websocket
async def subscriber(ws: WebSocket, topic: str) -> None:
    """The topic's messages as they are; somewhere among the first ones, where it is."""
    subscription = await ws.subscribe(topic, since=_since(ws))
    await ws.send_json(
        {
            "node": os.getpid(),
            "recovered": subscription.recovered,
            "position": subscription.position,
        }
    )
    await ws.wait_closed()


@websocket
async def reader(ws: WebSocket, topic: str) -> None:
    """Where the topic is, then its messages with their positions."""
    async with topic_messages(topic, since=_since(ws)) as messages:
        await ws.send_json(
            {"node": os.getpid(), "recovered": messages.recovered, "position": messages.position}
        )
        async for message in messages:
            await ws.send_json({"message": message, "position": messages.position})


@websocket
async def guest(ws: WebSocket, topic: str, name: str) -> None:
    """Is there, and tells who comes and goes; any message is answered with who is there."""
    ws.on_presence(topic, lambda member, joined: ws.send_now(f"{'+' if joined else '-'}{member}"))
    ws.join(topic, name)
    async for _ in ws:
        await ws.send_json({"node": os.getpid(), "members": sorted(members(topic))})


def slow(request: HttpRequest) -> HttpResponse:
    """Takes as long as the test holds the lock of a file."""
    with open(os.environ["DRILL_LOCK"]) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    return HttpResponse("done")


def _since(ws: WebSocket) -> str | None:
    return ws.query["since"][0] if "since" in ws.query else None


def say(request: HttpRequest, topic: str, end: str) -> JsonResponse:
    """Write a note and publish it, in a transaction that ends as asked for.

    What it says immediately before the end is heard by everybody who can hear anything of it.
    """
    pending: list[bool] = []
    try:
        with transaction.atomic():
            _note("outer")
            pending.append(publish(topic, "outer").pending)
            with suppress(ZeroDivisionError), transaction.atomic():
                _note("inner")
                pending.append(publish(topic, "inner").pending)
                _ = 1 // 0
            publish(topic, "uncommitted", immediate=True)
            if end == "rollback":
                _ = 1 // 0
    except ZeroDivisionError:
        publish(topic, "rolled back")
    return JsonResponse({"node": os.getpid(), "pending": pending})


def _note(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO note VALUES (%s)", [text])


urlpatterns = [
    path("slow/", slow),
    path("say/<topic>/<end>/", say),
    path("publish/<topic>/", publisher),
    path("subscribe/<topic>/", subscriber),
    path("read/<topic>/", reader),
    path("guests/<topic>/<name>/", guest),
    path("backend/ws/", backend_socket),
    path("backend/<kind>/", backend_view),
]
