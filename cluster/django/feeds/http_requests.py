"""Requests of feeds over HTTP, answered by the reactor: no thread waits with their clients.

The node asks ``take`` about each request before it goes to Django's views. Those that ask for a
stream (``Accept: text/event-stream``), or to wait (``Prefer: wait=SECONDS``), of a URL that is a
feed, are let in like a handshake (Host, Origin, limits, session, decorators, the feed's function)
and then live in an EventStream or a LongPoll.

A page of another origin, if it is in C10K["ALLOWED_ORIGINS"], may read the answers (CORS), with the
user's cookies.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from django.http import HttpResponseBase
from django.urls import ResolverMatch
from twisted.logger import Logger
from twisted.web.http import datetimeToString

from cluster.django.feeds.decorator import Feed, allowed_topics, chosen_topics
from cluster.django.feeds.feed_subscriptions import FeedSubscriptions, clients
from cluster.django.feeds.http_refusals import (
    HEADERS,
    answer_deferred,
    answer_head,
    answer_preflight,
    answer_refused,
    is_for_now,
    let_read,
)
from cluster.django.feeds.long_polling import MAX_WAIT_S, LongPoll
from cluster.django.feeds.message_format import parse_place
from cluster.django.feeds.server_sent_events import CONTENT_TYPE, EventStream, Streams, tcp_of
from cluster.django.handshake.admission import (
    check_login,
    load_request,
    not_permitted,
    refusal,
    refused_with,
    run_permission,
)
from cluster.django.handshake.limits import Occupancy, Place
from cluster.django.handshake.origins import check_host_and_origin, check_site
from cluster.django.handshake.requests import ReactorRequest, from_web
from cluster.django.handshake.url_resolver import NoHandler, find_view
from cluster.django.revocation import registry
from cluster.django.websocket.decorator import UpgradeRequired
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.timers import CoarseTimers
from cluster.net.websocket.refusal import Refusal

CLOSE_GOING_AWAY = 1001

STREAM, POLL, PREFLIGHT = "stream", "poll", "preflight"

_STREAM = re.compile(rb"text/event-stream(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
_WAIT = re.compile(rb"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)


def kind_of(request: Any) -> str | None:
    """What a twisted.web request could want of a feed; None: nothing."""
    header = request.requestHeaders.getRawHeaders
    if request.method in (b"GET", b"HEAD"):
        accept = header(b"accept")
        if accept is not None and _STREAM.search(b",".join(accept)):
            return STREAM
        return POLL if wait_of(request) is not None else None
    if request.method == b"OPTIONS" and header(b"access-control-request-method") is not None:
        return PREFLIGHT
    return None


def wait_of(request: Any) -> int | None:
    """The seconds of ``Prefer: wait=…``, cut to MAX_WAIT_S; None if it is not said."""
    prefer = request.requestHeaders.getRawHeaders(b"prefer")
    found = None if prefer is None else _WAIT.search(b",".join(prefer))
    return None if found is None else min(int(found[1]), MAX_WAIT_S)


class FeedRequests:
    """``refused`` counts answers that are none of a feed by status, ``ended`` streams by reason,
    ``dropped`` messages that were not delivered; ``opened`` clients by kind.

    ``settings`` is the C10K setting; ``is_serving`` says whether new clients are taken. Streams are
    sent at the ``end_of_turn``.
    """

    log = Logger()

    def __init__(
        self,
        pubsub: Any,
        settings: dict[str, Any],
        is_serving: Callable[[], bool],
        occupancy: Occupancy,
        end_of_turn: EndOfTurn,
    ) -> None:
        self.opened: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._sent = 0
        self._pubsub = pubsub
        self._origins = settings["ALLOWED_ORIGINS"]
        self._is_serving = is_serving
        self._occupancy = occupancy
        self._clock = end_of_turn.reactor
        self._streams = Streams(
            CoarseTimers(self._clock),
            settings["SEND_QUEUE_HIGH_WATER"],
            settings["STREAM_HEARTBEAT"],
            end_of_turn.schedule_published,
        )
        end_of_turn.send_to_streams = self._streams.flush
        self._clients: dict[Any, str] = {}
        self._closing: list[Any] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def clients(self) -> dict[str, int]:
        """Open clients of feeds by kind, those over WebSocket included."""
        return {kind: clients[kind] for kind in ("websocket", STREAM, POLL)}

    @property
    def messages_sent(self) -> int:
        """Messages handed to the transports of streams and polls."""
        return self._sent + sum(client.sent for client in self._clients)

    def take(self, request: Any) -> bool:
        """Answer a twisted.web request if it is one for a feed; False: it is not."""
        kind = kind_of(request)
        if kind is None:
            return False
        try:
            match, _ = find_view(request.path.decode("ascii"))
        except (NoHandler, UnicodeDecodeError):
            return False
        except Exception as error:  # such as a path converter that asks the database
            self._prepare(request)
            self._refuse(request, kind, self._refusal(request, error))
            return True
        feed = getattr(match.func, "feed", None)
        if feed is None:
            return False
        self._prepare(request)
        serving = self._serve(request, kind, feed, match)
        task = asyncio.get_running_loop().create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        request.notifyFinish().addErrback(lambda _: task.cancel())
        return True

    @staticmethod
    def _prepare(request: Any) -> None:
        request.setHeader(b"Date", datetimeToString())
        for name, value in HEADERS:
            request.setHeader(name, value)

    def close_all(self) -> None:
        """The node stops: end all streams, answer all polls. Wait then while ``unsent``."""
        for client in list(self._clients):
            self._closing.append(tcp_of(client.request))
            client.close(CLOSE_GOING_AWAY, "the server is going away")

    @property
    def unsent(self) -> bool:
        """Whether clients that were closed have not yet been sent all that there was."""
        self._closing = [each for each in self._closing if not each.disconnected]
        return bool(self._closing)

    # One request.

    async def _serve(self, request: Any, kind: str, feed: Feed, match: ResolverMatch) -> None:
        place = None
        try:
            self._check(request)
            if kind == PREFLIGHT:
                answer_preflight(request)
                return
            place = self._occupancy.enter(request.getClientAddress().host)
            http = await load_request(from_web(request, match))
            if http.user_key is not None:
                place.be("user", http.user_key)
            chosen = await self._admit(http, feed, match)
            if not self._is_serving():
                raise _stopping()
            if request.method == b"HEAD":
                answer_head(request, CONTENT_TYPE if kind == STREAM else b"application/json")
                return
            self._open(request, kind, http, chosen, place)
            place = None
        except ConnectionDeny as error:
            self._refuse(request, kind, error)
        except Exception as error:
            self._refuse(request, kind, self._refusal(request, error))
        finally:
            if place is not None:
                place.leave()

    def _check(self, request: Any) -> None:
        host, origin = (_header(request, name) for name in (b"host", b"origin"))
        check_host_and_origin(host or "", origin, request.isSecure(), self._origins)
        check_site(origin, _header(request, b"sec-fetch-site"))
        if origin is not None:
            let_read(request, origin)
        if not self._is_serving():
            raise _stopping()

    async def _admit(self, http: ReactorRequest, feed: Feed, match: ResolverMatch) -> list[str]:
        check_login(http)
        if match.func is not feed.view:  # it is decorated
            through = await run_permission(match.func, http, match.kwargs, match.args)
            if not isinstance(through, UpgradeRequired):
                if isinstance(through, HttpResponseBase) and through.status_code >= 400:
                    raise refused_with(through)
                raise not_permitted()
        return chosen_topics(http, await allowed_topics(feed, http, match.args, match.kwargs))

    def _open(
        self, request: Any, kind: str, http: ReactorRequest, topics: list[str], place: Place
    ) -> None:
        """From here on the client is an EventStream or a LongPoll."""
        said = http.headers.get("Last-Event-ID") if kind == STREAM else None
        place_in_feed = said or http.GET.get("since", "")
        leave: list[Callable[[], None]] = [place.leave]

        def ended(reason: str) -> None:
            client.following.stop()
            for call in leave:
                call()
            clients[kind] -= 1
            del self._clients[client]
            self._sent += client.sent
            if kind == STREAM:
                self.ended[reason] += 1
            if client.dropped:
                why = "disconnected" if reason == "client" else reason
                self.dropped[why] += client.dropped

        client: Any
        if kind == STREAM:
            client = EventStream(request, self._streams, ended)
        else:
            wait = wait_of(request) or 0
            request.setHeader(b"Preference-Applied", b"wait=%d" % wait)
            client = LongPoll(request, self._clock, wait, place_in_feed, ended)
        client.following = FeedSubscriptions(
            self._pubsub, client, lambda call: self._clock.callLater(0, call)
        )
        self._clients[client] = kind
        clients[kind] += 1
        self.opened[kind] += 1
        request.notifyFinish().addErrback(lambda _: client.lost())
        client.begin()
        # Who was revoked while being let in is closed here, before anything is said to them.
        leave.append(registry.add(http, client.close))
        client.follow(topics, parse_place(place_in_feed))

    def _refusal(self, request: Any, error: Exception) -> Refusal:
        try:
            return refusal(error)
        except Exception:
            self.log.failure("a feed at {path!r} failed", path=request.path)
            return Refusal(500, "internal error")

    def _refuse(self, request: Any, kind: str, denied: ConnectionDeny) -> None:
        self.refused[str(denied.code)] += 1
        if kind == STREAM and request.method == b"GET" and is_for_now(denied):
            answer_deferred(request, denied, self._is_serving())
        else:
            answer_refused(request, denied)


def _stopping() -> Refusal:
    return Refusal(503, "this node is shutting down", (("Retry-After", "1"),))


def _header(request: Any, name: bytes) -> str | None:
    values = request.requestHeaders.getRawHeaders(name)
    return None if not values else values[0].decode("latin-1")
