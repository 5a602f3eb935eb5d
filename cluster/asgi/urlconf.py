"""asgi: mounts an ASGI application in a URLconf.

::

    urlpatterns = [path("ws/", asgi(application)), ...]

It is an include of one pattern, which matches every path below the prefix. The view there carries
two things: a handler (cluster.django.handlers.handler_decorator), whose accept function starts the
application for a handshake, and the Mount, by which a node finds the application for a request.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch, re_path
from django.views.decorators.csrf import csrf_exempt

from cluster.asgi.scope import Application, Scope, strip_prefix, websocket_scope
from cluster.asgi.websocket_cycle import WebSocketCycle
from cluster.django.handlers.handler_decorator import (
    Accept,
    Handler,
    UpgradeRequired,
    View,
    is_decision,
)
from cluster.django.handlers.websocket import WebSocket
from cluster.django.handshake.requests import ReactorRequest

REST = "asgi_path"
"""The captured argument with the path below the prefix."""

EXTENSIONS: Mapping[str, Any] = {"websocket.http.response": {}}

NOT_IMPLEMENTED = 501

_log = logging.getLogger("cluster.django")


class Mount:
    """An ASGI application at a place in a URLconf.

    Args:
        application: The application.
        strips_prefix: Whether the prefix moves from the path to root_path.

    ``state`` is what the application stored at its start-up; each scope has a copy.
    """

    def __init__(self, application: Application, strips_prefix: bool = False) -> None:
        self.application = application
        self.name = _name_of(application)
        self.strips_prefix = strips_prefix
        self.state: dict[str, Any] = {}

    def complete(self, scope: Scope, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Scope:
        """The scope of a request at this place.

        Args:
            scope: The scope with the whole path.
            args: What the URLconf captured.
            kwargs: The same, by name.

        Returns:
            The scope with what was captured, as Channels' routers do, and with the prefix where
            it belongs.
        """
        captured = dict(kwargs)
        rest = captured.pop(REST, "")
        if args or captured:
            scope["url_route"] = {"args": tuple(args), "kwargs": captured}
        if self.strips_prefix:
            return strip_prefix(scope, scope["path"].removesuffix(rest))
        return scope

    def view(self) -> View:
        """The view for every path below the prefix."""

        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if is_decision(request):
                return UpgradeRequired()
            _log.warning(
                "%s: this server does not run ASGI applications in a URLconf. Use manage.py"
                ' runserver with "cluster.django" in front of INSTALLED_APPS, or twistd c10k.',
                request.path,
            )
            return HttpResponse(
                "This server does not run ASGI applications.\n",
                status=NOT_IMPLEMENTED,
                content_type="text/plain; charset=utf-8",
            )

        carrier: Any = csrf_exempt(view)
        # The application decides: it has its own middleware, and Django's does not run for it.
        carrier.login_required = False
        carrier.asgi_mount = self
        carrier.websocket_handler = Handler(self._run(), accept=self._accept, view=carrier)
        module, _, name = self.name.rpartition(".")
        carrier.__module__, carrier.__name__, carrier.__qualname__ = module, name, name
        found: View = carrier
        return found

    async def _accept(self, request: ReactorRequest, *args: Any, **kwargs: Any) -> Accept:
        assert request.opening is not None
        opening = request.opening()
        scope = websocket_scope(
            opening.header,
            secure=request.is_secure(),
            client=opening.client,
            server=opening.server,
            subprotocols=opening.subprotocols,
            state=self.state,
            extensions=EXTENSIONS,
        )
        scope = self.complete(scope, args, kwargs)
        cycle = WebSocketCycle(
            self.application, scope, self.name, opening.close_reason, opening.threads
        )
        request.pending = cycle
        return await cycle.decide()

    def _run(self) -> Callable[..., Awaitable[None]]:
        async def run(websocket: WebSocket, *args: Any, **kwargs: Any) -> None:
            cycle, websocket.request.pending = websocket.request.pending, None
            assert isinstance(cycle, WebSocketCycle)
            await cycle.serve(websocket)

        run.__module__, _, run.__qualname__ = self.name.rpartition(".")
        return run


def asgi(application: Application, *, strip_prefix: bool = False) -> Any:
    """Mount an ASGI 3 application in a URLconf: ``path("ws/", asgi(application))``.

    It serves every path that begins with the prefix, over HTTP and WebSocket. Its scope has the
    whole path, as Channels' routers expect. What the URLconf captures is in ``scope["url_route"]``.

    Args:
        application: ``async def application(scope, receive, send)``.
        strip_prefix: Whether the prefix moves from ``path`` to ``root_path``.

    Returns:
        The second argument of ``path`` or ``re_path``.

    Raises:
        TypeError: ``application`` cannot be called.
    """
    if not callable(application):
        raise TypeError(f"asgi() mounts an ASGI application, not {application!r}")
    view = Mount(application, strip_prefix).view()
    return [re_path(rf"^(?P<{REST}>(?s:.*))\Z", view)], None, None


def mount_of(match: ResolverMatch) -> Mount | None:
    """The application that is mounted where a path was resolved."""
    mount: Mount | None = getattr(match.func, "asgi_mount", None)
    return mount


def _name_of(application: Application) -> str:
    """The dotted name of an application, for the log: of a function, else of its class."""
    named = application if hasattr(application, "__qualname__") else type(application)
    return f"{named.__module__}.{named.__qualname__}"
