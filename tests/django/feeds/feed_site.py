"""The HTTP part of a node with feeds, on transports in memory, for tests of streams and polls."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, set_urlconf
from django.utils.cache import patch_vary_headers
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.client_expiry import ClientExpiry
from cluster.django.conf import DEFAULTS
from cluster.django.feeds import feed_subscriptions
from cluster.django.feeds.feed_decorator import feed
from cluster.django.feeds.http_requests import FeedRequests
from cluster.django.handshake.limits import Occupancy
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.websocket.frames import text_frame
from cluster.node.config import HttpLimits
from cluster.node.http import DjangoSite
from cluster.pubsub.local_bus import LocalBus
from cluster.pubsub.pubsub import PubSub
from tests.django.site import load_site

HISTORY = 3
"""Messages that ``FeedSiteTestCase.publish_kept`` retains."""


@feed
async def two(request: HttpRequest) -> list[str]:
    """Two topics."""
    return ["one", "two"]


@feed
def in_thread(request: HttpRequest, name: str) -> list[str]:
    """A plain function with a captured argument."""
    return [f"thread/{name}"]


@feed
async def judged(request: HttpRequest, verdict: str) -> Any:
    """Refuses in each possible way."""
    match verdict:
        case "denied":
            raise PermissionDenied("not you")
        case "missing":
            raise Http404
        case "response":
            response = HttpResponse("pay first", status=402, headers={"X-Price": "1"})
            response.set_cookie("a", "1")
            response.set_cookie("b", "2")
            patch_vary_headers(response, ["Cookie"])
            return response
        case "wrong":
            return "one"
        case "surrogate":
            return ["\ud800"]
        case "bug":
            raise KeyError("secret")
    return []


@feed(envelope=False)
async def bare(request: HttpRequest) -> list[str]:
    """Two topics without envelope."""
    return ["one", "two"]


@feed(envelope=False)
async def named(request: HttpRequest, event: str) -> dict[str, str]:
    """The same, whose events have names."""
    return {"one": event, "two": "message"}


async def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


with_page = feed(page=page)(two.feed.topics)

urlpatterns = [
    path("two/", two),
    path("page/", with_page),
    path("thread/<str:name>/", in_thread),
    path("judged/<str:verdict>/", judged),
    path("plain/", page),
    path("bare/", bare),
    path("named/<str:event>/", named),
]


class Answer:
    """The bytes that arrived on one connection."""

    def __init__(self, written: bytes) -> None:
        head, _, self.body = written.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1]) if head else 0
        parted = (line.partition(": ") for line in lines)
        self.lines = [(name.lower(), value) for name, _, value in parted]
        self.headers = dict(self.lines)

    def all(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for each, value in self.lines if each == name]

    @property
    def text(self) -> str:
        """The body without the chunked encoding."""
        if self.headers.get("transfer-encoding") != "chunked":
            return self.body.decode()
        rest, text = self.body, b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            text += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return text.decode()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The server-sent events: fields by name, data parsed; comments as {"": text}."""
        events = []
        for block in self.text.split("\n\n")[:-1]:
            fields = dict(line.split(":", 1) for line in block.split("\n"))
            event: dict[str, Any] = {name: value.strip() for name, value in fields.items()}
            if "data" in event:
                event["data"] = json.loads(event["data"])
            events.append(event)
        return events

    @property
    def messages(self) -> list[Any]:
        """The data of message events."""
        return [each["data"] for each in self.events if "data" in each and "event" not in each]


class FeedSiteTestCase(SynchronousTestCase):
    settings: dict[str, Any] = {}  # noqa: RUF012  (never changed)

    def setUp(self) -> None:
        load_site()
        set_urlconf(__name__)
        self.addCleanup(set_urlconf, None)
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        unix_time = self.clock.seconds
        bus = LocalBus("here", self.clock, unix_time)
        self.pubsub = PubSub(bus, [], self.schedule, self.clock, unix_time)
        self.pubsub.bus.start(self.pubsub)
        self.clock.advance(0)
        self.up = True
        self.views: list[Any] = []
        settings = {**DEFAULTS, **self.settings}
        self.occupancy = Occupancy(settings, SocketLimits())
        self.feeds = FeedRequests(
            self.pubsub,
            settings,
            lambda: self.up,
            self.occupancy,
            ClientExpiry(self.clock, settings),
            EndOfTurn(self.clock),
        )
        self.site = DjangoSite(
            self.clock, None, lambda peer: None, threads=1, queue=1, limits=HttpLimits()
        )
        self.site.on_request = self.feeds.take
        self.patch(self.site.views, "serve", self.view)
        self.addCleanup(self.assert_nothing_left)
        feed_subscriptions.clients.clear()

    def schedule(self) -> None:
        self.clock.callLater(0, self.pubsub.flush)

    def view(self, request: Any) -> None:
        """Stands for all of Django's views."""
        self.views.append(request.uri)
        request.answer(200, "OK", [("Content-Length", "7")], b"a view\n")

    def run_async(self, test: Callable[[], Awaitable[None]]) -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    def connect(self) -> Any:
        transport: Any = StringTransport()
        transport.protocol = self.site.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        self.addCleanup(self.lose, transport)
        return transport

    async def ask(
        self, path: str, *headers: str, method: str = "GET", host: str = "localhost"
    ) -> Any:
        """Send a request on a new connection, and wait until it is accepted or refused."""
        transport = self.connect()
        lines = (f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", "")
        transport.protocol.dataReceived("\r\n".join(lines).encode("latin-1"))
        await self.settle()
        return transport

    async def stream(self, path: str = "/two/", *headers: str, **how: str) -> Any:
        return await self.ask(path, "Accept: text/event-stream", *headers, **how)

    async def poll(self, path: str = "/two/", *headers: str, wait: int = 20, **how: str) -> Any:
        return await self.ask(path, f"Prefer: wait={wait}", *headers, **how)

    async def settle(self) -> None:
        while self.feeds._tasks:
            await asyncio.wait(self.feeds._tasks)
            await asyncio.sleep(0)
        self.turn()

    def turn(self) -> None:
        """Run some iterations of the reactor without advancing the clock."""
        for _ in range(6):
            self.clock.advance(0)

    def answer(self, transport: Any) -> Answer:
        return Answer(transport.value())

    def lose(self, transport: Any) -> None:
        protocol, transport.protocol = transport.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionLost()))

    def publish(self, topic: str, *messages: str) -> None:
        for message in messages:
            self.pubsub.publish(topic.encode(), text_frame(message.encode()))
        self.turn()

    def publish_kept(self, topic: str, *messages: str, lifetime_ms: int = 0) -> None:
        for message in messages:
            frame = text_frame(message.encode())
            self.pubsub.publish_retained(topic.encode(), frame, HISTORY, lifetime_ms)
        self.turn()

    @property
    def epoch(self) -> str:
        """The epoch of the retained topics."""
        exchange: Any = self.pubsub.bus
        epoch: str = exchange._exchange.epoch
        return epoch

    def assert_nothing_left(self) -> None:
        self.assertEqual(self.feeds.clients, {"websocket": 0, "stream": 0, "poll": 0})
        self.assertEqual(self.feeds._clients, {})
        self.assertEqual(self.pubsub.subscriptions.special, {})
        self.assertEqual(self.occupancy.taken, 0)
        self.turn()
        left = [str(call.func) for call in self.clock.getDelayedCalls()]
        self.assertEqual([each for each in left if "HTTPChannel" not in each], [])
