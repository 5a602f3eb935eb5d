"""The audiences' WebSocket, with the URLs of django-websocket-redis.

::

    from cluster import audience_socket

    urlpatterns = [path("ws/<path:facility>", audience_socket)]

The URL of a client says what it wants: ``/ws/FACILITY?subscribe-user&publish-broadcast&echo``, with
any of subscribe-broadcast, subscribe-user, subscribe-group, subscribe-session, the same with
publish-, and echo. Its messages, text or binary, go to the audiences to which it publishes:
everybody, its own user, that user's groups, its own session. The rules:

* C10K["AUDIENCE_PERMISSION"] names the function that decides: ``allowed(request, channels)``
  receives the requested channels as a set and returns those that it allows. The others are left out
  silently. PermissionDenied, or allowing none of the requested ones, is a 403. Without such a
  function everybody may subscribe and nobody may publish. ``request.facility`` is the facility
  without the slashes that a URL may have around it. A function that decided by the path instead
  could be avoided by another spelling of the URL;
* a client without a user belongs to no user's and no group's audience, one without a session to no
  session's; requesting them is not an error. The groups are those at the time of connecting;
* the last message of each audience, if it is retained, comes first;
* a message equal to the previous one, which this client received or sent itself, is not sent to it,
  because messages are taken for a state that the client has already. With ``echo`` every message is
  sent;
* C10K["AUDIENCE_HEARTBEAT"] is a text that every client receives each HEARTBEAT_S seconds. When a
  client sends it, it is not a message.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils.module_loading import import_string

from cluster.core.interfaces import Callback
from cluster.django import conf
from cluster.django.api.audiences import broadcast_topic, group_topic, session_topic, user_topic
from cluster.django.api.database_threads import ain_database
from cluster.django.api.payloads import as_frame, as_topic
from cluster.django.api.topics import running_node
from cluster.django.handlers.handler_decorator import websocket
from cluster.django.handlers.websocket import WebSocket
from cluster.django.handshake.permissions import call_permission

HEARTBEAT_S = 4.0
"""As in django-websocket-redis, whose clients wait 5 s for a heartbeat and give up after three."""

KINDS = ("broadcast", "user", "group", "session")
SUBSCRIBE = frozenset(f"subscribe-{kind}" for kind in KINDS)
PUBLISH = frozenset(f"publish-{kind}" for kind in KINDS)


class Requested(NamedTuple):
    """What a URL requests."""

    channels: frozenset[str]
    echo: bool


class Allowed(NamedTuple):
    """What is allowed to a client: topics, each once."""

    subscribed: tuple[str, ...]
    published: tuple[str, ...]
    echo: bool


def requested_by(parameters: Iterable[str]) -> Requested:
    """The request of a query's parameters; unknown ones are ignored."""
    given = {name.strip().lower() for name in parameters}
    return Requested(frozenset(given & (SUBSCRIBE | PUBLISH)), "echo" in given)


def without_function(request: Any, channels: Collection[str]) -> frozenset[str]:
    """The permission function of sites without C10K["AUDIENCE_PERMISSION"]."""
    return SUBSCRIBE.intersection(channels)


def allowed_channels(asked: Collection[str], answer: Any) -> frozenset[str]:
    """The requested channels that a permission function allowed. Raises PermissionDenied for none.

    A function that forgets to return a value allows nothing.
    """
    allowed = frozenset(asked) & frozenset(answer or ())
    if asked and not allowed:
        raise PermissionDenied("none of these audiences is allowed to you")
    return allowed


def topics_of(channels: Collection[str], verb: str, own: Mapping[str, Iterable[str]]) -> list[str]:
    """The topics of the channels of one verb; ``own``: kind of audience -> the client's topics."""
    return [topic for kind in KINDS if f"{verb}-{kind}" in channels for topic in own[kind]]


async def admit(request: Any, facility: str) -> None:
    """Accept or refuse a handshake; sets ``request.allowed`` for the handler."""
    facility = facility.strip("/")
    if not facility:
        raise Http404
    request.facility = facility
    if "facility" in request.resolver_match.kwargs:  # the permission function may look there
        request.resolver_match.kwargs["facility"] = facility
    requested = requested_by(request.GET)
    path = conf.load()["AUDIENCE_PERMISSION"]
    decide = import_string(path) if path else without_function
    answer = await call_permission(decide, request, (set(requested.channels),), {})
    channels = allowed_channels(requested.channels, answer)
    own: dict[str, list[str]] = {kind: [] for kind in KINDS}
    own["broadcast"] = [broadcast_topic(facility)]
    if request.user.is_authenticated:
        own["user"] = [user_topic(facility, request.user)]
        if channels & {"subscribe-group", "publish-group"}:
            names = await ain_database(_group_names, request.user)
            own["group"] = [group_topic(facility, name) for name in names]
    if request.session.session_key:
        own["session"] = [session_topic(facility, request.session)]
    request.allowed = Allowed(
        tuple(topics_of(channels, "subscribe", own)),
        tuple(topics_of(channels, "publish", own)),
        requested.echo,
    )


def _group_names(user: Any) -> list[str]:
    return list(user.groups.values_list("name", flat=True))


@websocket(accept=admit)
async def audience_socket(ws: WebSocket, facility: str) -> None:
    """Serve one client of a facility's audiences: a view for the URLconf.

    Its URL must capture ``facility``, as in ``path("ws/<path:facility>", audience_socket)``. The
    module's docstring has the rules.

    Args:
        ws: The client's connection.
        facility: The name of the facility, from the URL.
    """
    request: Any = ws.request
    heartbeat = conf.load()["AUDIENCE_HEARTBEAT"]
    client = AudienceClient(ws, request.allowed, heartbeat)
    if heartbeat is not None:
        heartbeats.add(ws, heartbeat)
    try:
        client.begin()
        ws.on_message(client.message)
        await ws.wait_closed()
    finally:
        heartbeats.remove(ws)
        client.end()


class AudienceClient:
    """The messages of one client. Its state is the last one that it received or sent."""

    def __init__(self, ws: WebSocket, allowed: Allowed, heartbeat: str | None) -> None:
        self._ws = ws
        self._allowed = allowed
        self._heartbeat = None if heartbeat is None else heartbeat.encode()
        self._state = b""
        self._callbacks: list[Callback] = []

    def begin(self) -> None:
        """Subscribe; retained messages come at once."""
        for topic in self._allowed.subscribed:
            if self._allowed.echo:
                self._ws.subscribe(topic)
            else:
                follow = running_node().pubsub.follow
                self._callbacks.append(follow(as_topic(topic), self._deliver, for_client=True))

    def end(self) -> None:
        """The client is gone: stop its subscriptions."""
        for callback in self._callbacks:
            callback.stop()

    def message(self, payload: bytes, is_binary: bool) -> None:
        """Publish a message of the client."""
        if payload == self._heartbeat and not is_binary:
            return
        message = payload if is_binary else payload.decode()
        self._state = as_frame(message)
        for topic in self._allowed.published:
            self._ws.publish(topic, message)

    def _deliver(self, frame: bytes, offset: int) -> None:
        if frame != self._state:
            self._state = frame
            self._ws.send_frame(frame)


class Heartbeats:
    """Sends each client its text every HEARTBEAT_S seconds; one timer for all of them."""

    def __init__(self) -> None:
        self._frames: dict[WebSocket, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, ws: WebSocket, text: str) -> None:
        """Begin to send to a client."""
        self._frames[ws] = as_frame(text)
        if self._timer is None:
            self._wait()

    def remove(self, ws: WebSocket) -> None:
        """Stop; a client that was not added is ignored."""
        self._frames.pop(ws, None)
        if not self._frames and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HEARTBEAT_S, self._beat)

    def _beat(self) -> None:
        for ws, frame in list(self._frames.items()):
            ws.send_frame(frame)
        self._wait()


heartbeats = Heartbeats()
