"""LoginRequiredMiddleware refuses guests, also for WebSockets and feeds."""

from typing import Any

from tests.django.site import load_database, load_site

load_site()

from django.conf import settings  # noqa: E402 - models want settings first
from django.contrib.auth.decorators import login_not_required  # noqa: E402
from django.contrib.auth.middleware import LoginRequiredMiddleware  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.test import override_settings  # noqa: E402
from django.urls import path, set_urlconf  # noqa: E402
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster import WebSocket, feed, websocket  # noqa: E402
from cluster.testing import Refused, asynchronous, connect  # noqa: E402
from cluster.testing.cookies import cookie_header, log_in  # noqa: E402
from tests.django.feeds.feed_site import FeedSiteTestCase  # noqa: E402


class Ours(LoginRequiredMiddleware):
    """A site's subclass."""


async def hello(ws: WebSocket) -> None:
    await ws.send("hello")


async def news(request: Any) -> list[str]:
    return ["news"]


urlpatterns = [
    path("socket/", websocket(hello)),
    path("feed/", feed(news)),
    path("open/socket/", login_not_required(websocket(hello))),
    path("open/feed/", login_not_required(feed(news))),
]

MIDDLEWARES = ("django.contrib.auth.middleware.LoginRequiredMiddleware", f"{__name__}.Ours")


def with_middleware(*more: str) -> Any:
    return override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, *more], ROOT_URLCONF=__name__)


def new_user(test: SynchronousTestCase) -> User:
    user = User.objects.create(username="anna")
    test.addCleanup(user.delete)
    return user


class SocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.user = new_user(self)

    async def assert_open(self, url: str, **who: Any) -> None:
        protocols = ["c10k.v1"] if "feed" in url else []
        async with connect(url, subprotocols=protocols, **who) as client:
            await client.receive()

    @asynchronous
    async def test_guests_are_refused(self) -> None:
        for middleware in MIDDLEWARES:
            with with_middleware(middleware):
                for url in ("/socket/", "/feed/"):
                    for who in ({}, {"session": {"name": "a guest"}}):
                        with self.assertRaises(Refused) as caught:
                            await self.assert_open(url, **who)
                        self.assertEqual(403, caught.exception.status)
                    await self.assert_open(url, user=self.user)
                    await self.assert_open(f"/open{url}")

    @asynchronous
    async def test_guests_are_accepted_without_it(self) -> None:
        with with_middleware():
            for url in ("/socket/", "/feed/", "/open/socket/", "/open/feed/"):
                await self.assert_open(url)


class StreamTests(FeedSiteTestCase):
    def setUp(self) -> None:
        super().setUp()
        load_database()
        set_urlconf(__name__)

    def test_guests_are_refused(self) -> None:
        user = new_user(self)
        cookie = "Cookie: " + cookie_header(log_in(user, None))

        async def test() -> None:
            for ask in (self.stream, self.poll):
                for url, headers, status in (
                    ("/feed/", (), 403),
                    ("/feed/", (cookie,), 200),
                    ("/open/feed/", (), 200),
                ):
                    transport = await ask(url, *headers)
                    self.lose(transport)
                    got = self.answer(transport).status
                    if ask == self.stream or status != 200:  # a poll waits
                        self.assertEqual(status, got, url)
                    else:
                        self.assertEqual(0, got, url)

        with with_middleware(MIDDLEWARES[0]):
            self.run_async(test)
