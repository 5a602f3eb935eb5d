"""@feed: topics that clients may read, as a Django view.

::

    @feed
    def live(request):
        return ["live"]

    urlpatterns = [path("live/events/", live)]

The function returns the topics that a client may read; it refuses a client by PermissionDenied or
Http404. The URL serves WebSocket with the subprotocol c10k.v1 (websocket_transport.py), server-sent
events (server_sent_events.py) and long polling (long_polling.py); the latter two are answered by
http_requests.py, without a thread of the ordinary views. Other requests get the ``page``, or 406.

As with @websocket, decorators above it protect all of these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.utils.cache import patch_vary_headers

from cluster.django.feeds.message_format import SUBPROTOCOL
from cluster.django.feeds.websocket_transport import serve
from cluster.django.handlers.handler_decorator import (
    Handler,
    UpgradeRequired,
    answer_upgrade_required,
    is_decision,
    named_after,
    page_view,
)
from cluster.django.handshake.permissions import call_permission
from cluster.django.handshake.refusals import refused_with
from cluster.django.handshake.requests import ReactorRequest
from cluster.net.websocket.refusal import Refusal

View: TypeAlias = Callable[..., Any]

VARY = ("Accept", "Prefer")
"""The headers that decide whether a GET gets the page, a stream or the answer to a poll."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What makes a view a feed.

    Attributes:
        topics: The application's function.
        view: The view that carries it. At the URL may be another one, which decorates it.
    """

    topics: Callable[..., Any]
    view: View


@overload
def feed(topics: Callable[..., Any]) -> View: ...
@overload
def feed(*, page: View | None = None) -> Callable[[Callable[..., Any]], View]: ...
def feed(topics: Callable[..., Any] | None = None, *, page: View | None = None) -> Any:
    """Make a view of a function that returns the topics a client may read.

    Put it below decorators such as ``login_required``, which then protect all transports. The
    function is called once for each connection, and again when a client reconnects: a plain
    function in a database thread, a coroutine function on the reactor. It refuses a client when it
    raises PermissionDenied or Http404, or returns a response.

    Args:
        topics: ``topics(request, **captured)``, which returns a list of topics.
        page: The view for requests that ask for neither a stream nor a poll; without one they get
            406.

    Returns:
        A view for the URLconf, or a decorator that makes one.

    Raises:
        TypeError: An argument is not a function.
    """
    for function, name in ((topics, "topics"), (page, "page")):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, not {function!r}")

    def decorate(topics: Callable[..., Any]) -> View:
        view = _not_acceptable(topics) if page is None else page_view(page, VARY)

        async def accept(request: ReactorRequest, *args: Any, **captured: Any) -> None:
            offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
            if SUBPROTOCOL not in (name.strip() for name in offered):
                raise Refusal(400, f"this feed needs the subprotocol {SUBPROTOCOL}")
            found = await call_permission(topics, request, args, captured)
            allowed = topic_names(found)
            # For ``serve``, which finds this request at its WebSocket.
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


def topic_names(found: Any) -> list[str]:
    """The topics that a feed's function returned, each once.

    Raises:
        Refusal: It returned a response.
        TypeError: It returned something else.
        UnicodeEncodeError: A topic cannot be sent, because it has half of a surrogate pair.
    """
    if isinstance(found, HttpResponseBase):
        raise refused_with(found)
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"a feed's function must return a list of str, not {found!r}")
    for name in found:
        name.encode()
    return list(dict.fromkeys(found))


def chosen_topics(request: HttpRequest, allowed: Sequence[str]) -> list[str]:
    """The topics of ``?topic=…`` (none, if that is empty); all, if the URL does not choose.

    Raises:
        Refusal: One of them is not allowed.
    """
    if "topic" not in request.GET:
        return list(allowed)
    chosen = [name for name in dict.fromkeys(request.GET.getlist("topic")) if name]
    for name in chosen:
        if name not in allowed:
            raise Refusal(403, "this topic is not in the feed")
    return chosen


def _not_acceptable(topics: Callable[..., Any]) -> View:
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if is_decision(request):
            return UpgradeRequired()
        response: HttpResponseBase | None = answer_upgrade_required(request)
        if response is not None:
            return response
        if request.method not in ("GET", "HEAD"):
            response = HttpResponseNotAllowed(["GET", "HEAD"])
        else:
            response = HttpResponse(
                "This URL is a feed: open it as a WebSocket with the subprotocol "
                f"{SUBPROTOCOL}, send Accept: text/event-stream, or poll with Prefer: wait=20.\n",
                status=406,
                content_type="text/plain; charset=utf-8",
            )
        patch_vary_headers(response, VARY)
        return response

    return named_after(topics, view)
