"""@websocket: a coroutine that serves a WebSocket, as a Django view.

::

    @websocket
    async def echo(ws):
        async for message in ws:
            await ws.send(message)

    urlpatterns = [path("echo/", echo)]

The view itself answers plain HTTP requests with 426; an upgrade to its URL runs the coroutine.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, overload

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

Coroutine: TypeAlias = Callable[..., Awaitable[None]]
View: TypeAlias = Callable[..., HttpResponse]


@dataclass(frozen=True, slots=True)
class Handler:
    """What an upgrade to a view's URL runs, and the subprotocols it speaks, best first."""

    run: Coroutine
    subprotocols: tuple[str, ...] = ()

    def choose(self, offered: Sequence[str]) -> str | None:
        """The first of our subprotocols that the client offers; None if there is none."""
        return next((name for name in self.subprotocols if name in offered), None)


@overload
def websocket(handler: Coroutine) -> View: ...
@overload
def websocket(*, subprotocols: Sequence[str] = ()) -> Callable[[Coroutine], View]: ...
def websocket(handler: Coroutine | None = None, *, subprotocols: Sequence[str] = ()) -> Any:
    """Make a view of ``async def handler(ws, **captured)``; raises TypeError for anything else.

    ``subprotocols``: names this handler speaks, the preferred first. A client that offers none of
    them is served without one.
    """

    def decorate(run: Coroutine) -> View:
        if not iscoroutinefunction(run):
            raise TypeError(f"@websocket takes an async function, not {run!r}")

        @csrf_exempt
        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            return HttpResponse(
                "This URL speaks WebSocket; open it with ws:// or wss://.\n",
                status=426,
                headers={"Upgrade": "websocket", "Connection": "Upgrade"},
                content_type="text/plain; charset=utf-8",
            )

        view.__name__ = getattr(run, "__name__", "view")
        view.__doc__ = run.__doc__
        view.__module__ = run.__module__
        view.websocket_handler = Handler(run, tuple(subprotocols))  # type: ignore[attr-defined]
        return view

    return decorate if handler is None else decorate(handler)
