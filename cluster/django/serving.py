"""Serving: lets clients in, and runs a handler for each of them.

It decides on each opening handshake (Host, Origin, URL, subprotocol), starts the URL's handler as
an asyncio task when the connection is open, and sees to it that a handler and its connection end
together, whichever ends first.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from django.conf import settings as django_settings
from django.http.request import split_domain_port, validate_host
from twisted.logger import Logger

from cluster.core.exceptions import Disconnected
from cluster.django.connection import WebSocket
from cluster.django.origins import is_allowed
from cluster.django.resolving import NoHandler, find_handler

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_INTERNAL_ERROR = 1011

DEBUG_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
"""What Django itself allows with DEBUG and an empty ALLOWED_HOSTS."""


class Serving:
    """The callbacks of a LaneFactory: ``request``, ``opened`` and ``closed``.

    ``settings`` is the C10K setting with its defaults; ``is_serving`` says whether new connections
    are taken at all. ``disconnects`` counts ended connections by close code.
    """

    log = Logger()

    def __init__(
        self,
        pubsub: Any,
        settings: dict[str, Any],
        is_serving: Callable[[], bool],
        proxy_headers: bool = False,
    ) -> None:
        self.opened_total = 0
        self.disconnects: Counter[str] = Counter()
        self._pubsub = pubsub
        self._limits = (
            settings["RECEIVE_QUEUE_MESSAGES"],
            settings["RECEIVE_QUEUE_BYTES"],
            settings["SEND_QUEUE_LOW_WATER"],
        )
        self._origins = settings["ALLOWED_ORIGINS"]
        self._is_serving = is_serving
        self._proxy_headers = proxy_headers
        self._tasks: dict[Any, asyncio.Task[None]] = {}

    def request(self, lane: Any, request: ConnectionRequest) -> str | None:
        """Decide on a handshake; returns the subprotocol. Raises ConnectionDeny."""
        if not self._is_serving():
            raise ConnectionDeny(503, "this node is shutting down")
        self._check_host_and_origin(lane, request)
        try:
            handler, args, kwargs, path = find_handler(request.path)
        except NoHandler:
            raise ConnectionDeny(404, "no WebSocket is served at this path") from None
        subprotocol = handler.choose(request.protocols)
        websocket = WebSocket(
            lane,
            self._pubsub,
            self._limits,
            path=path,
            query=request.params,
            headers=request.headers,
            client=str(request.peer),
            subprotocol=subprotocol,
        )
        lane.owner = (websocket, handler.run, args, kwargs)
        return subprotocol

    def opened(self, lane: Any) -> None:
        """The handshake is done: start the handler."""
        websocket, run, args, kwargs = lane.owner
        self.opened_total += 1
        lane.owner = websocket
        if self._pubsub.full:
            lane.pause("bus")
        running = self._run(lane, websocket, run, args, kwargs)
        task = asyncio.get_running_loop().create_task(running)
        websocket.task = self._tasks[lane] = task
        # Not at the end of _run, which never begins if the client is gone before it could.
        task.add_done_callback(lambda _: self._tasks.pop(lane, None))

    def closed(self, lane: Any, code: int, was_clean: bool) -> None:
        """The client is gone: tell the handler, or cancel one that waits for something else."""
        self.disconnects[str(code)] += 1
        websocket = lane.owner
        lane.owner = None
        learns = websocket.connection_closed(code)
        task = self._tasks.get(lane)
        if task is not None and not learns:
            task.cancel()

    async def _run(self, lane: Any, websocket: WebSocket, run: Any, args: Any, kwargs: Any) -> None:
        """Run a handler to its end, then close; its errors close 1011 and are logged once."""
        try:
            await run(websocket, *args, **kwargs)
        except (Disconnected, asyncio.CancelledError):
            if websocket.close_code is None:
                lane.close(CLOSE_GOING_AWAY)
        except Exception:
            self.log.failure("a WebSocket handler of {path} failed", path=websocket.path)
            lane.close(CLOSE_INTERNAL_ERROR, "internal error")
        else:
            lane.close(CLOSE_NORMAL)

    def _check_host_and_origin(self, lane: Any, request: ConnectionRequest) -> None:
        host = request.headers.get("host", "")
        domain, _ = split_domain_port(host)
        allowed = django_settings.ALLOWED_HOSTS
        if django_settings.DEBUG and not allowed:
            allowed = DEBUG_HOSTS
        if not domain or not validate_host(domain, allowed):
            raise ConnectionDeny(400, "this Host is not in ALLOWED_HOSTS")
        secure = lane.transport_details.is_secure or (
            self._proxy_headers and request.headers.get("x-forwarded-proto", "").lower() == "https"
        )
        if not is_allowed(request.headers.get("origin"), host, secure, self._origins):
            raise ConnectionDeny(403, "this Origin may not connect")
