"""@websocket: a coroutine that serves a WebSocket, as a Django view.

::

    @websocket
    async def echo(ws):
        async for message in ws:
            await ws.send(message)

    urlpatterns = [path("echo/", echo)]

A WebSocket handshake to the view's URL runs the coroutine. A plain HTTP request is answered by the
``page``, or with 426 if there is none.

Django's decorators work above it: they run before the node answers the handshake, with the request
and in a database thread. A decorator that does not call the view refuses the handshake. The node
must run them, because functools.wraps copies the handler to the decorated view: a decorator that is
skipped would be a check that is skipped.
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
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from cluster.django.handshake.requests import ReactorRequest

Coroutine: TypeAlias = Callable[..., Awaitable[None]]
View: TypeAlias = Callable[..., Any]

_log = logging.getLogger("cluster.django")


@dataclass(frozen=True, slots=True)
class Accept:
    """The answer to a handshake that an accept function may return.

    Attributes:
        subprotocol: A subprotocol that the client offers, in place of the handler's first choice.
        headers: More headers of the answer, such as Set-Cookie; a value may be a list of values.

    Raises:
        ValueError: A header has characters that are not printable.
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
    """What a handshake to a view's URL runs.

    Attributes:
        run: The coroutine function.
        subprotocols: The subprotocols that it understands, the preferred first.
        accept: The function that accepts or refuses clients; None to accept all.
        view: The view that has this handler. The URL may have another one, which decorates it.
        check: Called with the parameters of the URL, before the application decides on a client;
            raises a Refusal if they are wrong. It must not block.
    """

    run: Coroutine
    subprotocols: tuple[str, ...] = ()
    accept: Callable[..., Any] | None = None
    view: View | None = field(default=None, compare=False)
    check: Callable[[Mapping[str, Sequence[str]]], None] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The dotted name of the coroutine, for the log."""
        function = self.run
        while isinstance(function, partial):
            function = function.func
        return intern(f"{function.__module__}.{function.__qualname__}")

    def choose(self, offered: Sequence[str]) -> str | None:
        """The first of our subprotocols that the client offers; None if there is none."""
        return next((name for name in self.subprotocols if name in offered), None)


class UpgradeRequired(HttpResponse):
    """The answer to a plain request (RFC 9110, section 15.5.22). As the answer to a handshake it
    means that all decorators have called the view.

    The server adds the headers Upgrade and Connection (node.http): WSGI views must not set them.
    """

    def __init__(
        self, text: str = "This URL speaks WebSocket; open it with ws:// or wss://."
    ) -> None:
        super().__init__(f"{text}\n", status=426, content_type="text/plain; charset=utf-8")


def answer_upgrade_required(request: HttpRequest) -> UpgradeRequired | None:
    """The answer to a handshake that reaches a view as a plain request, because another server
    received it; None for other requests. Logs what to do."""
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
    """Make a WebSocket view of ``async def handler(ws, **captured)``.

    Write ``@websocket`` or ``@websocket(...)`` above the coroutine function, and put the view into
    the URLconf. Django's decorators go above it.

    Args:
        handler: The coroutine function. It receives the WebSocket, and what the URL captures.
        subprotocols: The names of the subprotocols that the handler understands, the preferred
            first. A client that offers none of them is served without one.
        accept: ``accept(request, **captured)``, called for each handshake. It returns None or an
            Accept to accept the client, returns a response to refuse it with, or raises
            PermissionDenied (403) or Http404. A plain function runs in a database thread, a
            coroutine function in the event loop.
        page: The view, sync or async, for plain HTTP requests to the same URL; 426 without one. Its
            own decorators protect the page alone; those above ``@websocket`` protect both.

    Returns:
        The view, or a decorator that makes it.

    Raises:
        TypeError: ``handler`` is not a coroutine function, ``accept`` or ``page`` is not callable,
            or ``subprotocols`` is a str.
    """
    for function, name in ((accept, "accept"), (page, "page")):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, not {function!r}")
    if isinstance(subprotocols, str):  # its letters would be the names
        raise TypeError(f"subprotocols must be a list, not {subprotocols!r}")

    def decorate(run: Coroutine) -> View:
        if not iscoroutinefunction(run):
            error: Any = TypeError(
                f"@websocket decorates coroutine functions (async def), not {run!r}"
            )
            # runserver watches this file for the correction; without it, it would watch ours.
            error.filename = getattr(getattr(run, "__code__", None), "co_filename", None)
            raise error
        view = _view(run) if page is None else page_view(page)
        found = Handler(run, tuple(subprotocols), accept, view)
        view.websocket_handler = found  # type: ignore[attr-defined]
        return view

    return decorate if handler is None else decorate(handler)


def is_decision(request: HttpRequest) -> bool:
    """Whether a view is called to decide on a client (handshake/admission.py), not to serve a page.

    Then all decorators above the view have accepted the client.
    """
    return isinstance(request, ReactorRequest)


def named_after(function: Callable[..., Any], view: View) -> View:
    """Give a view the name, the docstring and the module of an application's function."""
    view.__name__ = getattr(function, "__name__", "view")
    view.__doc__ = function.__doc__
    view.__module__ = function.__module__
    return view


def page_view(page: View, vary: Sequence[str] = ()) -> View:
    """A view that serves plain requests by the application's page, and that decides on clients.

    It keeps the name of the page, and its exemption from CSRF checks if it has one.

    Args:
        page: The view, sync or async.
        vary: Names of request headers for the Vary header of each response.
    """

    def before(request: HttpRequest) -> HttpResponseBase | None:
        return UpgradeRequired() if is_decision(request) else answer_upgrade_required(request)

    def after(response: HttpResponseBase) -> HttpResponseBase:
        if vary:
            patch_vary_headers(response, vary)
        return response

    if is_async_view(page):

        async def async_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return after(before(request) or await page(request, *args, **kwargs))

        return update_wrapper(async_view, page)

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return after(before(request) or page(request, *args, **kwargs))

    return update_wrapper(view, page)


def _view(run: Coroutine) -> View:
    @csrf_exempt
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if is_decision(request):
            return UpgradeRequired()
        return answer_upgrade_required(request) or UpgradeRequired()

    view.__wrapped__ = run  # type: ignore[attr-defined]
    return named_after(run, view)
