"""The index of the demos."""

from typing import NamedTuple

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


class Demo(NamedTuple):
    """A card on the index: ``page`` is its URL's name, ``sockets`` are the URLs of its
    WebSockets."""

    page: str
    title: str
    text: str
    sockets: tuple[str, ...]


DEMOS = (
    Demo(
        "topology:page",
        "The cluster at work",
        "The game with the colours of the nodes, a live map of the processes, and buttons that "
        "kill them: the game continues at the same step, without one wrong cell.",
        ("/cluster/owners/",),
    ),
    Demo(
        "gameoflife:page",
        "Game of Life",
        "Each cell is a WebSocket client. The servers do not know the rules: they relay each "
        "cell's state to its neighbours.",
        ("/worker/", "/watcher/"),
    ),
    Demo(
        "chat:lobby",
        "Chat",
        "Rooms on every node, which keep their newest fifteen messages. After a reconnect you "
        "receive the messages that you missed.",
        ("/chat/ROOM/ws/",),
    ),
    Demo(
        "socketio:lobby",
        "Chat by Socket.IO",
        "The same rooms for Socket.IO clients, by WebSocket or long polling, on any node. What "
        "one kind of client says, the other receives.",
        ("/socket.io/",),
    ),
    Demo(
        "live:page",
        "Live feed",
        "An ordinary Django view publishes what a form sends, and every open page shows it at "
        "once, by WebSocket or by server-sent events.",
        ("/live/ws/", "/live/events/"),
    ),
    Demo(
        "audiences:page",
        "Audiences",
        "Messages to everybody, to a user, a group or one browser session, with the URLs of "
        "django-websocket-redis.",
        ("/ws/FACILITY?subscribe-user",),
    ),
    Demo(
        "consumers:page",
        "Consumers and streams",
        "Consumers of Channels, an echo and a group across all nodes, and an async view that "
        "streams a text word by word. They run as they are, beside the handlers.",
        ("/consumers/ws/group/", "/consumers/ws/echo/"),
    ),
    Demo(
        "echo:page",
        "Echo",
        "A short conversation whose transcript can be verified. The C10k test holds ten thousand "
        "of them at the same time.",
        ("/test/ws/", "/echo/"),
    ),
    Demo(
        "echo:wsgi",
        "Forms",
        "Plain Django by WSGI: a form by GET and one by POST, answered by the process that "
        "serves the WebSockets.",
        (),
    ),
)


CODE = """\
from cluster import websocket

@websocket
async def room(ws, name):
    ws.subscribe(f"room/{name}")
    async for text in ws:
        ws.publish(f"room/{name}", f"{ws.user}: {text}")

urlpatterns = [path("room/<slug:name>/", room)]
"""
"""A chat on any number of nodes."""


class Cost(NamedTuple):
    """CPU time of one echoed message, from the table in docs/benchmarks.md."""

    server: str
    row: str
    microseconds: str


COSTS = (
    Cost("c10k", "cluster, async def", "12.6"),
    Cost("websockets on uvloop", "websockets, uvloop", "24.7"),
    Cost("Channels on uvicorn", "uvicorn + Channels", "136"),
    Cost("Channels on Daphne", "Daphne + Channels", "240"),
)


@require_safe
def demos(request: HttpRequest) -> HttpResponse:
    """The list of the demos."""
    return render(request, "demos.html", {"demos": DEMOS, "code": CODE, "costs": COSTS})
