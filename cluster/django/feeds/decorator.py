"""@feed: topics that any client may listen to, as a Django view.

::

    @feed
    def live(request):
        return ["live"]

    urlpatterns = [path("live/events/", live)]

The function says which topics a client may hear; it refuses one by PermissionDenied or Http404. The
URL serves WebSocket with the subprotocol c10k.v1 (feed_socket.py), server-sent events
(event_stream.py) and long polling (long_poll.py); feed_requests.py answers the latter two, outside
the threads of ordinary views. Anything else gets the ``page``, or 406.

As with @websocket, decorators above it protect all of that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, TypeAlias, overload

from asgiref.sync import iscoroutinefunction as is_async_view
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.utils.cache import patch_vary_headers

from cluster.django.feeds.message_format import SUBPROTOCOL
from cluster.django.feeds.websocket import serve
from cluster.django.handshake.admission import refused_with, run_permission
from cluster.django.handshake.requests import ReactorRequest
from cluster.django.websocket.decorator import Handler, UpgradeRequired, answer_upgrade_required
from cluster.net.websocket.refusal import Refusal

View: TypeAlias = Callable[..., Any]

VARY = ("Accept", "Prefer")
"""What decides whether a GET gets the page, a stream or a poll's answer."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What makes a view a feed: the function that names the topics, and the view that carries it
    (at the URL may be another one, decorated)."""

    topics: Callable[..., Any]
    view: View


@overload
def feed(topics: Callable[..., Any]) -> View: ...
@overload
def feed(*, page: View | None = None) -> Callable[[Callable[..., Any]], View]: ...
def feed(topics: Callable[..., Any] | None = None, *, page: View | None = None) -> Any:
    """Make a view of ``topics(request, **captured)``, which returns a list of topics.

    A plain function runs in a database thread, a coroutine on the reactor; it runs once for each
    connection, so every reconnection is judged anew. It may also return a response, which refuses.
    ``page`` is the view for requests that ask for neither a stream nor a poll.
    """
    for function, name in ((topics, "topics"), (page, "page")):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, not {function!r}")

    def decorate(topics: Callable[..., Any]) -> View:
        view = _not_acceptable(topics) if page is None else _page(page)

        async def accept(request: ReactorRequest, *args: Any, **captured: Any) -> None:
            offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
            if SUBPROTOCOL not in (name.strip() for name in offered):
                raise Refusal(400, f"this feed speaks the subprotocol {SUBPROTOCOL}")
            allowed = await allowed_topics(view.feed, request, args, captured)  # type: ignore[attr-defined]
            # For ``serve``, which gets this request with the connection.
            request.feed_topics = (  # type: ignore[attr-defined]
                allowed,
                chosen_topics(request, allowed),
            )

        view.feed = Feed(topics, view)  # type: ignore[attr-defined]
        view.websocket_handler = Handler(  # type: ignore[attr-defined]
            serve, (SUBPROTOCOL,), accept, view
        )
        return view

    return decorate if topics is None else decorate(topics)


async def allowed_topics(
    feed: Feed, request: ReactorRequest, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[str]:
    """The topics that this client may hear; raises what the feed's function raises."""
    found = await run_permission(feed.topics, request, kwargs, args)
    if isinstance(found, HttpResponseBase):
        raise refused_with(found)
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"a feed returns a list of topics, which are str, not {found!r}")
    for name in found:
        name.encode()  # UnicodeError now, before the client is let in
    return list(dict.fromkeys(found))


def chosen_topics(request: HttpRequest, allowed: Sequence[str]) -> list[str]:
    """Those of ``?topic=…`` (none, if that is empty), else all; raises a Refusal for another."""
    if "topic" not in request.GET:
        return list(allowed)
    chosen = [name for name in dict.fromkeys(request.GET.getlist("topic")) if name]
    for name in chosen:
        if name not in allowed:
            raise Refusal(403, "this topic is not in the feed")
    return chosen


def _not_acceptable(topics: Callable[..., Any]) -> View:
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if isinstance(request, ReactorRequest):  # its decorators let it through
            return UpgradeRequired()
        in_vain = answer_upgrade_required(request)
        if in_vain is not None:
            return in_vain
        response: HttpResponseBase
        if request.method not in ("GET", "HEAD"):
            response = HttpResponseNotAllowed(["GET", "HEAD"])
        else:
            response = HttpResponse(
                "This URL is a feed: open it as a WebSocket with the subprotocol "
                f"{SUBPROTOCOL}, or ask for text/event-stream, or poll with Prefer: wait=20.\n",
                status=406,
                content_type="text/plain; charset=utf-8",
            )
        patch_vary_headers(response, VARY)
        return response

    view.__name__ = getattr(topics, "__name__", "view")
    view.__doc__ = topics.__doc__
    view.__module__ = topics.__module__
    return view


def _page(page: View) -> View:
    """The page's view, which keeps its name and its exemption from CSRF checks, if it has one."""
    if is_async_view(page):

        async def async_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if isinstance(request, ReactorRequest):
                return UpgradeRequired()
            in_vain = answer_upgrade_required(request)
            response: HttpResponseBase = in_vain or await page(request, *args, **kwargs)
            patch_vary_headers(response, VARY)
            return response

        return update_wrapper(async_view, page)

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if isinstance(request, ReactorRequest):
            return UpgradeRequired()
        response: HttpResponseBase = answer_upgrade_required(request) or page(
            request, *args, **kwargs
        )
        patch_vary_headers(response, VARY)
        return response

    return update_wrapper(view, page)
