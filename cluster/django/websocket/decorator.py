"""@websocket: a coroutine that serves a WebSocket, as a Django view.

::

    @websocket
    async def echo(ws):
        async for message in ws:
            await ws.send(message)

    urlpatterns = [path("echo/", echo)]

An upgrade to the view's URL runs the coroutine. A plain HTTP request gets the ``page``, or 426 if
there is none.

Django's decorators work above it: whatever is around the view runs before the handshake is
answered, with the request and in a database thread, and a view that is not reached refuses it. That
is not only convenient. functools.wraps copies the handler on to the decorated view, so a decorator
that was not run would be a check that nobody makes.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, update_wrapper
from inspect import iscoroutinefunction
from sys import intern
from typing import Any, TypeAlias, overload

from asgiref.sync import iscoroutinefunction as is_async_view
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

Coroutine: TypeAlias = Callable[..., Awaitable[None]]
View: TypeAlias = Callable[..., Any]

_log = logging.getLogger("cluster.django")


@dataclass(frozen=True, slots=True)
class Accept:
    """What an accept function may return: how a client is let in.

    ``subprotocol``: one that the client offers, instead of the handler's first choice ·
    ``headers``: more headers of the answer, such as Set-Cookie; a value may be a list of values.
    Raises ValueError for a header that would break the answer.
    """

    subprotocol: str | None = None
    headers: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in self.headers.items():
            for text in (name, *([values] if isinstance(values, str) else values)):
                if not text.isprintable():
                    raise ValueError(f"a header must be printable text, not {text!r}")


@dataclass(frozen=True, slots=True)
class Handler:
    """What an upgrade to a view's URL runs.

    ``subprotocols``: those it speaks, best first · ``accept``: who is let in · ``view``: the view
    that carries it; at the URL may be another one, decorated.
    """

    run: Coroutine
    subprotocols: tuple[str, ...] = ()
    accept: Callable[..., Any] | None = None
    view: View | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The dotted name of the coroutine, as the log has it."""
        function = self.run
        while isinstance(function, partial):
            function = function.func
        return intern(f"{function.__module__}.{function.__qualname__}")

    def choose(self, offered: Sequence[str]) -> str | None:
        """The first of our subprotocols that the client offers; None if there is none."""
        return next((name for name in self.subprotocols if name in offered), None)


class UpgradeRequired(HttpResponse):
    """The answer to a plain request; for a handshake, that all decorators let it through.

    Its headers Upgrade and Connection are the server's (web.py): WSGI leaves none of them to views.
    """

    def __init__(
        self, text: str = "This URL speaks WebSocket; open it with ws:// or wss://."
    ) -> None:
        super().__init__(f"{text}\n", status=426, content_type="text/plain; charset=utf-8")


def answer_upgrade_required(request: HttpRequest) -> UpgradeRequired | None:
    """What to say to a handshake that comes to a view as a plain request: another server than ours
    has taken it. Logs what to do; None for requests that are no handshakes."""
    if request.META.get("HTTP_UPGRADE", "").lower() != "websocket":
        return None
    _log.warning(
        '%s: this server does not speak WebSocket. Use manage.py runserver with "cluster.django" in'
        " front of INSTALLED_APPS, or twistd c10k.",
        request.path,
    )
    return UpgradeRequired("This server does not speak WebSocket.")


@overload
def websocket(handler: Coroutine) -> View: ...
@overload
def websocket(
    *,
    subprotocols: Sequence[str] = (),
    accept: Callable[..., Any] | None = None,
    page: View | None = None,
) -> Callable[[Coroutine], View]: ...
def websocket(
    handler: Coroutine | None = None,
    *,
    subprotocols: Sequence[str] = (),
    accept: Callable[..., Any] | None = None,
    page: View | None = None,
) -> Any:
    """Make a view of ``async def handler(ws, **captured)``; raises TypeError for anything else.

    ``subprotocols``: names this handler speaks, the preferred first. A client that offers none of
    them is served without one.

    ``accept(request, **captured)`` decides on each handshake: it returns None or an Accept to let
    the client in, returns a response to refuse it with, or raises PermissionDenied (403) or
    Http404. A plain function runs in a database thread, a coroutine on the reactor.

    ``page``: the view, sync or async, for plain HTTP requests to the same URL. Its own decorators
    protect the page alone; those above @websocket protect both.
    """
    for function, name in ((accept, "accept"), (page, "page")):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, not {function!r}")
    if isinstance(subprotocols, str):  # whose letters would be the names
        raise TypeError(f"subprotocols must be a list, not {subprotocols!r}")

    def decorate(run: Coroutine) -> View:
        if not iscoroutinefunction(run):
            error: Any = TypeError(f"@websocket takes what async def makes, not {run!r}")
            # Which runserver watches for the correction; else it would be this one.
            error.filename = getattr(getattr(run, "__code__", None), "co_filename", None)
            raise error
        view = _view(run) if page is None else _view_with(page)
        found = Handler(run, tuple(subprotocols), accept, view)
        view.websocket_handler = found  # type: ignore[attr-defined]
        return view

    return decorate if handler is None else decorate(handler)


def is_handshake(request: HttpRequest) -> bool:
    """Whether a view is asked on behalf of a handshake."""
    return getattr(request, "is_handshake", False)


def _view(run: Coroutine) -> View:
    @csrf_exempt
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not is_handshake(request):
            return answer_upgrade_required(request) or UpgradeRequired()
        return UpgradeRequired()

    view.__name__ = getattr(run, "__name__", "view")
    view.__doc__ = run.__doc__
    view.__module__ = run.__module__
    return view


def _view_with(page: View) -> View:
    """The page's view, which keeps its name and its exemption from CSRF checks, if it has one."""
    if is_async_view(page):

        async def async_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if is_handshake(request):
                return UpgradeRequired()
            in_vain = answer_upgrade_required(request)
            response: HttpResponseBase = in_vain or await page(request, *args, **kwargs)
            return response

        return update_wrapper(async_view, page)

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if is_handshake(request):
            return UpgradeRequired()
        response: HttpResponseBase = answer_upgrade_required(request) or page(
            request, *args, **kwargs
        )
        return response

    return update_wrapper(view, page)
