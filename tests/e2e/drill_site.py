"""A site for tests of faults: settings, URLs, views and handlers in one module.

Environment variables: ``DRILL_DATABASE`` is the default database as JSON, ``DRILL_SETTINGS`` the
C10K setting, ``DRILL_LOCK`` the path of a lock file.
"""

import fcntl
import json
import os
import re
import time
from contextlib import nullcontext, suppress
from typing import Any

from django.db import Error, connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from cluster import (
    MessagesLost,
    WebSocket,
    ain_database,
    members,
    publish,
    topic_messages,
    websocket,
)

SECRET_KEY = "drill"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django", "django.contrib.sessions"]
DATABASES = {"default": json.loads(os.environ.get("DRILL_DATABASE", "{}"))}
USE_TZ = True
C10K = json.loads(os.environ.get("DRILL_SETTINGS", "{}"))

GATE = 4711
"""A lock in PostgreSQL: ``backend`` waits while a test holds it."""


def backend(kind: str) -> str:
    """Return the PostgreSQL process of this thread's connection; "transaction": query inside
    one."""
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
    """Answer each message with this node's name and, on request, the backend of a thread."""
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
    """Publish each message, and answer with the receipt."""
    async for message in ws:
        receipt = ws.publish(topic, message)
        counts = {"nodes": receipt.nodes, "connections": receipt.connections_here}
        await ws.send_json({"node": os.getpid(), **counts})


@websocket
async def subscriber(ws: WebSocket, topic: str) -> None:
    """Send the topic's messages unchanged and, among the first ones, the name of this node."""
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
    """Send the position of the topic, then its messages with their positions."""
    async with topic_messages(topic, since=_since(ws)) as messages:
        await ws.send_json(
            {"node": os.getpid(), "recovered": messages.recovered, "position": messages.position}
        )
        while True:
            try:
                async for message in messages:
                    await ws.send_json({"message": message, "position": messages.position})
            except MessagesLost:
                await ws.send_json({"lost": True})


@websocket
async def guest(ws: WebSocket, topic: str, name: str) -> None:
    """Join a topic, and send its changes of presence; answer each message with the members."""
    ws.on_presence(topic, lambda member, joined: ws.send_now(f"{'+' if joined else '-'}{member}"))
    ws.join(topic, name)
    async for _ in ws:
        await ws.send_json({"node": os.getpid(), "members": sorted(members(topic))})


@websocket
async def blocker(ws: WebSocket, how: str) -> None:
    """Block the event loop for as long as each message says, in seconds, as a handler must not.

    "sleep" lets other threads run; "search" holds the interpreter's lock, for a minute or more.
    """
    async for message in ws:
        if how == "sleep":
            time.sleep(float(message))
        else:
            re.match("(a+)+b", "a" * 64)
        await ws.send("awake")


def slow(request: HttpRequest) -> HttpResponse:
    """A view that takes as long as the test holds the lock of a file."""
    with open(os.environ["DRILL_LOCK"]) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    return HttpResponse("done")


def _since(ws: WebSocket) -> str | None:
    return ws.query["since"][0] if "since" in ws.query else None


def say(request: HttpRequest, topic: str, end: str) -> JsonResponse:
    """Write a note and publish it, in a transaction that ends as requested.

    All clients receive the message with ``immediate=True`` in any case, which shows that they can
    receive messages of this view.
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
    path("block/<how>/", blocker),
    path("backend/ws/", backend_socket),
    path("backend/<kind>/", backend_view),
]
