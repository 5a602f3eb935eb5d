"""Requests of feeds over HTTP, answered by the reactor: no thread waits with their clients.

The node calls ``take`` with each request before its ordinary views. Requests for a stream
(``Accept: text/event-stream``) or with a wait (``Prefer: wait=SECONDS``), at the URL of a feed, are
accepted like a handshake (Host, Origin, limits, and admission.py), and then belong to an
EventStream or a LongPoll.

A page of another origin in C10K["ALLOWED_ORIGINS"] may read the answers (CORS), with the user's
cookies.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple

from autobahn.websocket.types import ConnectionDeny
from django.core.exceptions import SynchronousOnlyOperation
from django.urls import ResolverMatch
from twisted.logger import Logger
from twisted.web.http import datetimeToString

from cluster.core.interfaces import PubSub
from cluster.django.api.database_threads import ain_database
from cluster.django.client_expiry import ClientExpiry
from cluster.django.feeds.bare_stream import BareStream
from cluster.django.feeds.feed_decorator import Feed, chosen_topics, topic_events, topic_names
from cluster.django.feeds.feed_subscriptions import FeedSubscriptions, clients
from cluster.django.feeds.http_refusals import (
    HEADERS,
    allow_origin,
    answer_deferred,
    answer_head,
    answer_preflight,
    answer_refused,
    is_for_now,
)
from cluster.django.feeds.long_polling import LongPoll
from cluster.django.feeds.message_format import parse_feed_position
from cluster.django.feeds.request_kind import POLL, PREFLIGHT, STREAM, kind_of, wait_of
from cluster.django.feeds.server_sent_events import CONTENT_TYPE, EventStream, Streams
from cluster.django.feeds.web_request import WebRequest
from cluster.django.handshake.admission import Admission, Target
from cluster.django.handshake.limits import Occupancy, Seat
from cluster.django.handshake.origins import check_host_and_origin, check_site
from cluster.django.handshake.refusals import refusal_or_bug, stopping
from cluster.django.handshake.requests import ReactorRequest, from_web
from cluster.django.handshake.url_resolver import NoHandler, find_view
from cluster.django.revocation.revocable_clients import revocable_clients
from cluster.logs.python_logging import FEED
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.timers import CoarseTimers
from cluster.net.websocket.refusal import Refusal


class OpenClient(NamedTuple):
    """An open stream or poll, for operators; user and key are empty for guests."""

    client: EventStream | LongPoll
    kind: str
    path: str
    address: str
    user: str
    user_key: str


_log = Logger(FEED)

FAILED = "a feed at {path!r} failed"


class FeedRequests:
    """The requests of feeds that one node receives, and their clients.

    Args:
        pubsub: The topics of the node.
        settings: The C10K setting with its defaults.
        is_serving: Whether new clients are accepted at all.
        occupancy: The limits of users.
        expiry: Closes clients by time.
        end_of_turn: When streams send their output.

    ``opened`` counts clients by kind, ``refused`` refusals by status, ``ended`` streams by reason,
    and ``dropped`` messages that were not delivered, by reason.
    """

    def __init__(
        self,
        pubsub: PubSub,
        settings: dict[str, Any],
        is_serving: Callable[[], bool],
        occupancy: Occupancy,
        expiry: ClientExpiry,
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
        self._expiry = expiry
        self._clock = end_of_turn.reactor
        self._streams = Streams(
            CoarseTimers(self._clock),
            settings["SEND_QUEUE_HIGH_WATER"],
            settings["STREAM_HEARTBEAT"],
            end_of_turn.schedule_published,
            end_of_turn.budget,
        )
        end_of_turn.send_to_streams = self._streams.flush
        self._clients: dict[EventStream | LongPoll, tuple[str, str, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def clients(self) -> dict[str, int]:
        """Open clients of feeds by kind, those over WebSocket included."""
        return {kind: clients[kind] for kind in ("websocket", STREAM, POLL)}

    @property
    def messages_sent(self) -> int:
        """Messages handed to the transports of streams and polls."""
        return self._sent + sum(client.sent for client in self._clients)

    def describe_clients(self) -> Iterator[OpenClient]:
        """The open streams and polls, at the time of the call."""
        for client, (kind, user, user_key) in tuple(self._clients.items()):
            request = client.request
            path = request.path.decode("latin-1")
            yield OpenClient(client, kind, path, request.getClientAddress().host, user, user_key)

    def take(self, request: WebRequest) -> bool:
        """Answer a twisted.web request if it is one of a feed; return False if it is not.

        ``request.serve_view()`` is called if that is known only later.
        """
        kind = kind_of(request)
        if kind is None:
            return False
        try:
            match, _ = find_view(request.path.decode("ascii"))
        except (NoHandler, UnicodeDecodeError):
            return False
        except SynchronousOnlyOperation:  # a path converter that asks the database
            self._start(request, self._resolve_and_serve(request, kind))
            return True
        except Exception as error:
            self._prepare(request)
            self._refuse(request, kind, refusal_or_bug(_log, FAILED, request, error))
            return True
        if _feed_of(match) is None:
            return False
        self._start(request, self._serve(request, kind, match))
        return True

    def _start(self, request: WebRequest, serving: Coroutine[Any, Any, None]) -> None:
        """Serve in a task, which is cancelled if the client leaves."""
        task = asyncio.get_running_loop().create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        request.notifyFinish().addErrback(lambda _: task.cancel())

    @staticmethod
    def _prepare(request: WebRequest) -> None:
        request.setHeader(b"Date", datetimeToString())
        for name, value in HEADERS:
            request.setHeader(name, value)

    @property
    def open_clients(self) -> list[EventStream | LongPoll]:
        """The clients over HTTP. ``close`` ends their responses."""
        return list(self._clients)

    # One request.

    async def _resolve_and_serve(self, request: WebRequest, kind: str) -> None:
        """Resolve the URL in a database thread; the request may turn out to be for a view."""
        try:
            match, _ = await ain_database(find_view, request.path.decode("ascii"))
        except NoHandler:
            request.serve_view()
            return
        except Exception as error:
            self._prepare(request)
            self._refuse(request, kind, refusal_or_bug(_log, FAILED, request, error))
            return
        if _feed_of(match) is None:
            request.serve_view()
        else:
            await self._serve(request, kind, None)

    async def _serve(self, request: WebRequest, kind: str, match: ResolverMatch | None) -> None:
        self._prepare(request)
        seat = None
        try:
            self._check(request)
            if kind == PREFLIGHT:
                answer_preflight(request)
                return
            seat = self._occupancy.enter(None)  # the request is counted for its client already
            http = from_web(request, match)
            admission = Admission(http, _feed_target)
            await admission.decide()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                return  # the client has left, and a function of the application ignored that
            if http.user_key is not None:
                seat.assign_user(http.user_key)
            events: Mapping[str, str] | None = None
            if admission.found.envelope:
                chosen = chosen_topics(http, topic_names(admission.result))
            elif kind == POLL:
                raise Refusal(406, "this feed has no long polls: send Accept: text/event-stream")
            else:
                events = topic_events(admission.result)
                chosen = chosen_topics(http, list(events))
            if not self._is_serving():
                raise stopping()
            if request.method == b"HEAD":
                answer_head(request, CONTENT_TYPE if kind == STREAM else b"application/json")
                return
            self._open(request, kind, http, chosen, events, seat)
            seat = None
        except ConnectionDeny as error:
            self._refuse(request, kind, error)
        except Exception as error:
            self._refuse(request, kind, refusal_or_bug(_log, FAILED, request, error))
        finally:
            if seat is not None:
                seat.leave()

    def _check(self, request: WebRequest) -> None:
        host, origin = (_header(request, name) for name in (b"host", b"origin"))
        check_host_and_origin(host or "", origin, request.isSecure(), self._origins)
        check_site(origin, _header(request, b"sec-fetch-site"))
        if origin is not None:
            allow_origin(request, origin)
        if not self._is_serving():
            raise stopping()

    def _open(
        self,
        request: WebRequest,
        kind: str,
        http: ReactorRequest,
        topics: list[str],
        events: Mapping[str, str] | None,
        seat: Seat,
    ) -> None:
        """From here on the client is an EventStream or a LongPoll; with ``events`` a BareStream."""
        last_id = http.headers.get("Last-Event-ID") if kind == STREAM else None
        position = last_id or http.GET.get("since", "")
        at_end: list[Callable[[], None]] = [seat.leave]

        def ended(reason: str) -> None:
            client.subscriptions.stop()
            for call in at_end:
                call()
            clients[kind] -= 1
            del self._clients[client]
            self._sent += client.sent
            if kind == STREAM:
                self.ended[reason] += 1
            if client.dropped:
                why = "slow_consumer" if reason == "slow_consumer" else "disconnected"
                self.dropped[why] += client.dropped

        client: EventStream | LongPoll
        if events is not None:
            client = BareStream(request, self._streams, ended, events, bool(position), self.dropped)
        elif kind == STREAM:
            client = EventStream(request, self._streams, ended)
        else:
            wait = wait_of(request) or 0
            request.setHeader(b"Preference-Applied", b"wait=%d" % wait)
            client = LongPoll(request, self._clock, wait, position, ended)
        client.subscriptions = FeedSubscriptions(
            self._pubsub, client, lambda call: self._clock.callLater(0, call)
        )
        request.feed = kind, client
        self._clients[client] = (kind, http.user_name, http.user_key or "")
        clients[kind] += 1
        self.opened[kind] += 1
        request.notifyFinish().addErrback(lambda _: client.lost())
        client.begin()
        # This closes a client that was revoked while it was being accepted, before any message.
        at_end.append(revocable_clients.add(http, client.close))
        if client not in self._clients:
            return
        unwatch = self._expiry.watch(http, client.close)
        if unwatch is not None:
            at_end.append(unwatch)
        client.subscribe(topics, parse_feed_position(position))

    def _refuse(self, request: WebRequest, kind: str, denied: ConnectionDeny) -> None:
        self.refused[str(denied.code)] += 1
        if kind == STREAM and request.method == b"GET" and is_for_now(denied):
            answer_deferred(request, denied, self._is_serving())
        else:
            answer_refused(request, denied)


def _header(request: WebRequest, name: bytes) -> str | None:
    values = request.requestHeaders.getRawHeaders(name)
    return None if not values else values[0].decode("latin-1")


def _feed_of(match: ResolverMatch) -> Feed | None:
    feed: Feed | None = getattr(match.func, "feed", None)
    return feed


def _feed_target(match: ResolverMatch) -> Target[Feed] | None:
    feed = _feed_of(match)
    return None if feed is None else Target(feed, feed.view, feed.topics)
