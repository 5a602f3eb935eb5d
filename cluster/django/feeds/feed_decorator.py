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

``@feed(envelope=False)`` serves server-sent events only, whose data is the message itself
(bare_stream.py). Its function may return the names of their events, too.

As with @websocket, decorators above it protect all of these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.utils.cache import patch_vary_headers

from cluster.django.api.payloads import as_public_topic
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

DEFAULT_EVENT = "message"
"""The event that ``EventSource.onmessage``, Turbo and ``sse-swap="message"`` of htmx receive."""

RESERVED_EVENTS = frozenset({"close", "error", "lost", "open"})
"""Events of the stream itself, and those that an EventSource fires without a message."""

VARY = ("Accept", "Prefer")
"""The headers that decide whether a GET gets the page, a stream or the answer to a poll."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What makes a view a feed.

    Attributes:
        topics: The application's function.
        view: The view that carries it. At the URL may be another one, which decorates it.
        envelope: Whether messages are sent in the format c10k.v1.
    """

    topics: Callable[..., Any]
    view: View
    envelope: bool


@overload
def feed(topics: Callable[..., Any]) -> View: ...
@overload
def feed(
    *, page: View | None = None, envelope: bool = True
) -> Callable[[Callable[..., Any]], View]: ...
def feed(
    topics: Callable[..., Any] | None = None, *, page: View | None = None, envelope: bool = True
) -> Any:
    """Make a view of a function that returns the topics a client may read.

    Put it below decorators such as ``login_required``, which then protect all transports. The
    function is called once for each connection, and again when a client reconnects: a plain
    function in a database thread, a coroutine function on the reactor. It refuses a client when it
    raises PermissionDenied or Http404, or returns a response.

    Args:
        topics: ``topics(request, **captured)``, which returns a list of topics. Without an
            envelope it may also return a dict: the name of the event by topic.
        page: The view for requests that ask for neither a stream nor a poll; without one they get
            406.
        envelope: False sends each message itself as the data of a server-sent event, for htmx,
            Turbo and pages with an EventSource. Such a feed has neither WebSocket nor long polls,
            and its messages are text.

    Returns:
        A view for the URLconf, or a decorator that makes one.

    Raises:
        TypeError: An argument is not a function.
    """
    for function, name in ((topics, "topics"), (page, "page")):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, not {function!r}")

    def decorate(topics: Callable[..., Any]) -> View:
        view = _not_acceptable(topics, envelope) if page is None else page_view(page, VARY)

        async def accept(request: ReactorRequest, *args: Any, **captured: Any) -> None:
            if not envelope:
                raise Refusal(400, "this feed has no WebSocket: open it with an EventSource")
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

        view.feed = Feed(topics, view, envelope)  # type: ignore[attr-defined]
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
        ValueError: A topic is reserved for the cluster.
        UnicodeEncodeError: A topic cannot be sent, because it has half of a surrogate pair.
    """
    if isinstance(found, HttpResponseBase):
        raise refused_with(found)
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        hint = " (names of events need envelope=False)" if isinstance(found, dict) else ""
        raise TypeError(f"a feed's function must return a list of str, not {found!r}{hint}")
    for name in found:
        as_public_topic(name)
    return list(dict.fromkeys(found))


def topic_events(found: Any) -> dict[str, str]:
    """The name of the event by topic, from what the function of a feed without envelope returned.

    Raises:
        ValueError: A name of an event cannot be sent, or is reserved.
        Refusal, TypeError, UnicodeEncodeError: As ``topic_names``.
    """
    if not isinstance(found, dict):
        return dict.fromkeys(topic_names(found), DEFAULT_EVENT)
    topic_names(list(found))
    for event in found.values():
        if not isinstance(event, str):
            raise TypeError(f"the name of a feed's event must be a str, not {event!r}")
        if event in RESERVED_EVENTS:
            raise ValueError(f"the event {event!r} is reserved: choose another name")
        if not event.isprintable() or event != event.strip() or not event:
            raise ValueError(f"the name of a feed's event must be printable text, not {event!r}")
    return found


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


def _not_acceptable(topics: Callable[..., Any], envelope: bool) -> View:
    ways = f"open it as a WebSocket with the subprotocol {SUBPROTOCOL}, " if envelope else ""
    poll = ", or poll with Prefer: wait=20" if envelope else ""
    text = f"This URL is a feed: {ways}send Accept: text/event-stream{poll}.\n"

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if is_decision(request):
            return UpgradeRequired()
        response: HttpResponseBase | None = answer_upgrade_required(request)
        if response is not None:
            return response
        if request.method not in ("GET", "HEAD"):
            response = HttpResponseNotAllowed(["GET", "HEAD"])
        else:
            response = HttpResponse(text, status=406, content_type="text/plain; charset=utf-8")
        patch_vary_headers(response, VARY)
        return response

    return named_after(topics, view)
