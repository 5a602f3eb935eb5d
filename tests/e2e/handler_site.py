"""The demo site's settings with other URLs, for tests of admission and of handlers' attributes."""

import asyncio
import time
from contextlib import suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path

from cluster import Accept, WebSocket, ain_database, websocket
from django_project.settings import *  # noqa: F403

ROOT_URLCONF = __name__
WSGI_APPLICATION = "django_project.wsgi.application"
LOGIN_URL = "/login/"
C10K = {"MAX_CONNECTIONS_PER_USER": 2, "MESSAGE_RATE": 0.001, "MESSAGE_BURST": 5}


def page(request: HttpRequest, room: str) -> HttpResponse:
    return HttpResponse(f"the page of {room}")


@login_required
@websocket
async def members(ws: WebSocket) -> None:
    """Answer with attributes of the connection, and with results of all kinds of queries."""
    users: Any = get_user_model().objects
    async for _ in ws:
        known = {
            "user": ws.user.get_username(),
            "by async ORM": (await users.aget(pk=ws.user.pk)).username,
            "in database": (await ain_database(users.get, pk=ws.user.pk)).username,
            "path": ws.request.path,
            "query": ws.request.GET.get("q"),
            "room": ws.request.resolver_match.kwargs.get("room"),
        }
        try:
            users.count()
        except Exception as error:
            known["on the reactor"] = type(error).__name__
        await ws.send_json(known)


@websocket
async def stubborn(ws: WebSocket) -> None:
    """A loop that catches all exceptions: it would continue after its client has gone."""
    await ws.send("hello")
    while True:
        with suppress(Exception):
            await ws.recv()


@websocket(page=page)
async def both(ws: WebSocket, room: str) -> None:
    await ws.send(f"the socket of {room}")


def decide(request: HttpRequest, what: str) -> Any:
    match what:
        case "denied":
            raise PermissionDenied("members only")
        case "missing":
            raise Http404
        case "elsewhere":
            return redirect("/somewhere/")
        case "full":
            return HttpResponse("full", status=409)
        case "broken":
            raise KeyError("secret")
    return Accept(subprotocol="b", headers={"X-What": what})


@websocket(accept=decide, subprotocols=["a", "b"])
async def judged(ws: WebSocket, what: str) -> None:
    await ws.send(f"{what} by {ws.subprotocol}")


async def wait_indefinitely(request: HttpRequest) -> None:
    await asyncio.Event().wait()


@websocket(accept=wait_indefinitely)
async def never(ws: WebSocket) -> None:
    """The accept function refuses all clients."""


@websocket
async def echo_json(ws: WebSocket) -> None:
    while True:
        await ws.send_json(await ws.recv_json())


@websocket
async def libraries(ws: WebSocket) -> None:
    """Use features of asyncio, and a library that is built on it."""

    async def parrot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def through_a_socket(text: str) -> str:
        async with await asyncio.start_server(parrot, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(f"{text}\n".encode())
            answer = (await reader.readline()).decode().strip()
            writer.close()
        return answer

    async def through_a_process(text: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await process.communicate(text.encode())
        return f"{answer.decode()} {process.returncode}"

    async for message in ws:
        text = str(message)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(through_a_socket(text)),
                group.create_task(through_a_process(text)),
                group.create_task(asyncio.to_thread(str.upper, text)),
            ]
        known = [task.result() for task in tasks]
        try:
            async with asyncio.timeout(0):
                await ws.recv()
        except TimeoutError:
            known.append("timeout")
        await ws.send_json(known)


@websocket
async def blocking(ws: WebSocket) -> None:
    """Block the event loop, which a handler must not do."""
    time.sleep(3)
    await ws.send("awake")


urlpatterns = [
    path("members/", members),
    path("stubborn/", stubborn),
    path("both/<str:room>/", both),
    path("judged/<str:what>/", judged),
    path("never/", never),
    path("json/", echo_json),
    path("libraries/", libraries),
    path("blocking/", blocking),
]
