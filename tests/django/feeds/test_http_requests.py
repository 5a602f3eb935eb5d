"""Which requests belong to feeds, which clients are accepted, and the other answers."""

import asyncio
import contextlib
import json
from typing import Any

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path, set_urlconf
from django.views.decorators.http import require_GET, require_POST

from cluster.core.exceptions import DatabaseQueueFull
from cluster.django.api import topics
from cluster.django.conf import DEFAULTS
from cluster.django.feeds import http_requests
from cluster.django.feeds.server_sent_events import RETRY_MS, EventStream
from cluster.django.handshake import admission
from cluster.django.revocation.revocable_clients import CLOSE_REVOKED
from cluster.testing.cookies import cookie_header, log_in
from tests.django.fakes import RecordingNode
from tests.django.feeds import feed_site
from tests.django.feeds.feed_site import FeedSiteTestCase, two
from tests.django.site import load_database


class RecognitionTests(FeedSiteTestCase):
    """Which requests never reach Django's views."""

    def ours(self, *headers: str, path: str = "/two/", method: str = "GET") -> bool:
        async def test() -> int:
            transport = await self.ask(path, *headers, method=method)
            views, self.views = len(self.views), []
            self.lose(transport)
            return views

        return not asyncio.run(test())

    def test_streams(self) -> None:
        for accept in (
            "text/event-stream",
            "Text/Event-Stream",
            "text/html, text/event-stream;q=0.5",
            "text/event-stream;q=0.01",
        ):
            self.assertTrue(self.ours(f"Accept: {accept}"), accept)
        for accept in (
            "*/*",
            "text/html",
            "text/event-stream;q=0",
            "text/event-stream; q=0.0, a/b",
        ):
            self.assertFalse(self.ours(f"Accept: {accept}"), accept)

    def test_polls(self) -> None:
        for prefer in ("wait=5", "respond-async, wait=5", "Wait = 5", 'wait="5"', "a; wait=5"):
            self.assertTrue(self.ours(f"Prefer: {prefer}"), prefer)
        for prefer in ("wait", "wait=", "wait=-1", "wait=x", "await=5", "return=minimal"):
            self.assertFalse(self.ours(f"Prefer: {prefer}"), prefer)

    def test_only_where_there_is_a_feed(self) -> None:
        for path_ in ("/plain/", "/nothing/", "/two", "/two/%ff", "/two/%00"):
            self.assertFalse(self.ours("Accept: text/event-stream", path=path_), path_)
        self.assertTrue(self.ours("Accept: text/event-stream", path="/%74wo/?x=1"))

    def test_only_some_methods(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            headers = ("Accept: text/event-stream", "Prefer: wait=5", "Content-Length: 0")
            self.assertFalse(self.ours(*headers, method=method), method)
        self.assertTrue(self.ours("Accept: text/event-stream", method="HEAD"))
        self.assertTrue(self.ours("Access-Control-Request-Method: GET", method="OPTIONS"))

    def test_a_page_at_the_same_url(self) -> None:
        self.assertFalse(self.ours("Accept: text/html", path="/page/"))
        self.assertTrue(self.ours("Accept: text/event-stream", path="/page/"))


class AdmissionTests(FeedSiteTestCase):
    settings = {"ALLOWED_ORIGINS": ["https://app.example"]}  # noqa: RUF012

    def refused(self, path: str, *headers: str, **how: str) -> feed_site.Answer:
        """The complete answer, which is the same for a stream and for a poll."""

        async def test() -> feed_site.Answer:
            answers = []
            for ask in (self.stream, self.poll):
                transport = await ask(path, *headers, **how)
                answers.append(self.answer(transport))
                self.lose(transport)
            one, two = answers
            self.assertEqual((one.status, one.text), (two.status, two.text))
            self.assertEqual(int(one.headers["content-length"]), len(one.body))
            self.assertEqual(one.headers["cache-control"], "no-store")
            return one

        return asyncio.run(test())

    def test_refusals_of_the_function(self) -> None:
        denied = self.refused("/judged/denied/")
        self.assertEqual((denied.status, denied.text), (403, "not you\n"))
        self.assertEqual(self.refused("/judged/missing/").status, 404)
        paid = self.refused("/judged/response/")
        self.assertEqual((paid.status, paid.text), (402, "pay first"))
        self.assertEqual(paid.headers["x-price"], "1")
        self.assertEqual(paid.all("set-cookie"), ["a=1; Path=/", "b=2; Path=/"])
        self.assertEqual(paid.all("vary"), ["Origin", "Cookie"])
        self.assertEqual(self.feeds.refused, {"403": 2, "404": 2, "402": 2})

    def test_a_bug_is_logged_and_not_sent(self) -> None:
        for verdict, error in {
            "bug": KeyError,
            "wrong": TypeError,
            "surrogate": UnicodeEncodeError,
        }.items():
            answer = self.refused(f"/judged/{verdict}/")
            self.assertEqual((answer.status, answer.text), (500, "internal error\n"))
            self.assertEqual(len(self.flushLoggedErrors(error)), 2)

    def test_an_error_of_the_url_resolver(self) -> None:
        """An exception that is not known, such as one of a path converter."""

        def find_view(path: str) -> Any:
            raise KeyError("secret")

        self.patch(http_requests, "find_view", find_view)
        answer = self.refused("/two/")
        self.assertEqual((answer.status, answer.text), (500, "internal error\n"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_a_topic_that_is_not_in_the_feed(self) -> None:
        self.assertEqual(self.refused("/two/?topic=one&topic=secret").status, 403)

    def test_hosts(self) -> None:
        self.assertEqual(self.refused("/two/", host="evil.example").status, 400)

    def test_origins(self) -> None:
        for origin in ("http://evil.example", "null", "https://localhost"):
            answer = self.refused("/two/", f"Origin: {origin}")
            self.assertEqual(answer.status, 403)
            self.assertNotIn("access-control-allow-origin", answer.headers)

    def test_pages_of_other_sites_without_an_origin(self) -> None:
        for site in ("cross-site", "same-site"):
            self.assertEqual(self.refused("/two/", f"Sec-Fetch-Site: {site}").status, 403)

        async def test() -> None:
            for headers in (
                ["Sec-Fetch-Site: same-origin"],
                ["Sec-Fetch-Site: none"],
                ["Sec-Fetch-Site: cross-site", "Origin: https://app.example"],
            ):
                self.assertEqual(self.answer(await self.stream("/two/", *headers)).status, 200)

        self.run_async(test)

    def test_origins_that_are_allowed(self) -> None:
        async def test() -> None:
            for origin in ("https://app.example", "http://localhost"):
                headers = self.answer(await self.stream("/two/", f"Origin: {origin}")).headers
                self.assertEqual(headers["access-control-allow-origin"], origin)
                self.assertEqual(headers["access-control-allow-credentials"], "true")
                self.assertEqual(headers["access-control-expose-headers"], "Retry-After")
                self.assertEqual(headers["vary"], "Origin")
            # They may also read why they were refused.
            refused = await self.stream("/judged/denied/", "Origin: https://app.example")
            answer = self.answer(refused)
            self.assertEqual(answer.headers["access-control-allow-origin"], "https://app.example")

        self.run_async(test)

    def test_preflight(self) -> None:
        async def preflight(origin: str) -> feed_site.Answer:
            headers = (f"Origin: {origin}", "Access-Control-Request-Method: GET")
            return self.answer(await self.ask("/two/", *headers, method="OPTIONS"))

        async def test() -> None:
            answer = await preflight("https://app.example")
            self.assertEqual(answer.status, 204)
            self.assertIn("Prefer", answer.headers["access-control-allow-headers"])
            self.assertEqual((await preflight("https://evil.example")).status, 403)

        self.run_async(test)

    def test_the_node_stops(self) -> None:
        self.up = False

        async def test() -> None:
            answer = self.answer(await self.poll())
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
            self.assertEqual(self.answer(await self.stream(method="HEAD")).status, 503)
            stream = await self.stream("/two/", "Origin: https://app.example")
            self.assert_deferred(stream, 1001, 1)
            self.assertTrue(stream.disconnecting, "the next request goes to another node")
            origin = self.answer(stream).headers["access-control-allow-origin"]
            self.assertEqual(origin, "https://app.example")
            self.assertEqual(self.feeds.refused, {"503": 3})

        self.run_async(test)

    def assert_deferred(self, transport: Any, code: int, after: int) -> None:
        """An EventSource, for which another status than 200 is final, will reconnect."""
        answer = self.answer(transport)
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.headers["content-type"].startswith("text/event-stream"))
        self.assertEqual(int(answer.headers["content-length"]), len(answer.body))
        retry, close = answer.events
        low, high = RETRY_MS
        self.assertTrue(after * 1000 + low <= int(retry["retry"]) <= after * 1000 + high)
        self.assertEqual(close["event"], "close")
        self.assertEqual((close["data"]["code"], close["data"]["after"]), (code, after))

    def test_the_node_stops_while_a_client_is_being_accepted(self) -> None:
        async def slow(*args: Any) -> Any:
            self.up = False
            return []

        self.patch(admission, "call_permission", slow)

        async def test() -> None:
            self.assertEqual(self.answer(await self.poll()).status, 503)
            self.up = True
            self.assert_deferred(await self.stream(), 1001, 1)

        self.run_async(test)

    def test_the_database_is_busy(self) -> None:
        async def busy(*args: Any) -> Any:
            raise DatabaseQueueFull

        self.patch(admission, "call_permission", busy)

        async def test() -> None:
            self.assertEqual(self.answer(await self.poll()).status, 503)
            self.assert_deferred(await self.stream(), 1013, 1)

        self.run_async(test)

    def test_head(self) -> None:
        async def test() -> None:
            for path_, status in {"/two/": 200, "/judged/denied/": 403}.items():
                transport = await self.stream(path_, method="HEAD")
                answer = self.answer(transport)
                self.assertEqual((answer.status, answer.body), (status, b""))
            self.assertEqual(self.feeds.clients["stream"], 0)

        self.run_async(test)

    def test_a_client_that_leaves_while_it_is_being_accepted(self) -> None:
        ended: list[str] = []
        started = asyncio.Event()

        async def slow(*args: Any) -> Any:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        self.patch(admission, "call_permission", slow)

        async def test() -> None:
            transport = self.connect()
            transport.protocol.dataReceived(
                b"GET /two/ HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
            )
            await started.wait()
            self.lose(transport)
            await self.settle()
            self.assertEqual(ended, ["cancelled"])

        self.run_async(test)

    def test_a_permission_function_that_ignores_its_cancellation_opens_nothing(self) -> None:
        started = asyncio.Event()

        async def stubborn(*args: Any) -> list[str]:
            started.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return ["a", "b"]

        self.patch(admission, "call_permission", stubborn)

        async def test() -> None:
            transport = self.connect()
            transport.protocol.dataReceived(
                b"GET /two/ HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
            )
            await started.wait()
            self.lose(transport)
            await self.settle()
            self.assert_nothing_left()

        self.run_async(test)


urlpatterns = [
    path("members/", login_required(two)),
    path("staff/", permission_required("auth.add_user", raise_exception=True)(two)),
    path("get/", require_GET(two)),
    path("post/", require_POST(two)),
    path("response/", lambda request: HttpResponse("not the feed")),
]


class UserTests(FeedSiteTestCase):
    """Sessions, decorators, and the end of a session."""

    settings = {"MAX_CONNECTIONS_PER_USER": 1}  # noqa: RUF012

    def setUp(self) -> None:
        super().setUp()
        load_database()
        self.patch(
            topics, "node", RecordingNode()
        )  # receives the revocation when the user is deleted
        set_urlconf(__name__)
        settings = override_settings(LOGIN_URL="/login/")
        settings.enable()
        self.addCleanup(settings.disable)
        from django.contrib.auth import get_user_model

        users = get_user_model()._default_manager
        self.user: Any = users.create(username="anna")
        self.addCleanup(self.user.delete)
        self.cookie = "Cookie: " + cookie_header(log_in(self.user, None))

    def test_decorators(self) -> None:
        async def test() -> None:
            for path_, headers, status in (
                ("/members/", [], 403),
                ("/staff/", [], 403),
                ("/staff/", [self.cookie], 403),
                ("/get/", [], 200),
                ("/post/", [], 405),
                ("/members/", [self.cookie], 200),
            ):
                transport = await self.stream(path_, *headers)
                self.assertEqual(self.answer(transport).status, status, path_)
                self.lose(transport)

        self.run_async(test)

    def test_seats_of_a_user(self) -> None:
        async def test() -> None:
            await self.stream("/members/", self.cookie)
            self.assertEqual(self.answer(await self.poll("/members/", self.cookie)).status, 429)
            defer = self.answer(await self.stream("/members/", self.cookie))
            self.assertEqual(defer.events[-1]["data"]["after"], 5)
            self.assertEqual(self.answer(await self.stream("/get/")).status, 200)

        self.run_async(test)

    def test_the_session_ends(self) -> None:
        from cluster.django.revocation.revocable_clients import revocable_clients, signing

        async def test() -> None:
            transport = await self.stream("/members/", self.cookie)
            revocation = signing.dumps({"user": str(self.user.pk)}, salt="c10k.revocation")
            revocable_clients.take(revocation)
            close = self.answer(transport).events[-1]
            self.assertEqual((close["event"], close["data"]["code"]), ("close", CLOSE_REVOKED))
            self.assertTrue(transport.disconnecting)
            poll = await self.poll("/members/", self.cookie)
            revocable_clients.take(revocation)
            self.assertEqual(self.answer(poll).status, 200)
            self.assertEqual(revocable_clients._users, {})

        self.run_async(test)

    def test_the_session_ends_while_its_client_is_being_accepted(self) -> None:
        from cluster.django.revocation.revocable_clients import revocable_clients, signing

        call = admission.call_permission

        async def meanwhile(*args: Any) -> Any:
            revocable_clients.take(
                signing.dumps({"user": str(self.user.pk)}, salt="c10k.revocation")
            )
            return await call(*args)

        self.patch(admission, "call_permission", meanwhile)

        async def test() -> None:
            self.addCleanup(self.pubsub.follow(b"one", lambda frame, offset: None).stop)
            self.publish_kept("one", "secret")
            stream = self.answer(await self.stream("/members/", self.cookie))
            self.assertEqual([each.get("event") for each in stream.events], [None, "close"])
            self.assertEqual(stream.events[-1]["data"]["code"], CLOSE_REVOKED)
            poll = self.answer(await self.poll("/members/?since=one%3Dabc:7", self.cookie))
            expected = {"topics": [], "messages": [], "since": "one=abc:7"}
            self.assertEqual(json.loads(poll.text), expected)
            self.assertEqual((revocable_clients._users, revocable_clients._sessions), ({}, {}))

        self.run_async(test)

    def test_a_history_does_not_end_the_stream_of_a_client_that_does_not_read_yet(self) -> None:
        """It may not have read an earlier, long response on the same connection."""

        async def test() -> None:
            self.addCleanup(self.pubsub.follow(b"one", lambda frame, offset: None).stop)
            size = DEFAULTS["SEND_QUEUE_HIGH_WATER"]
            self.publish_kept("one", "x" * size)
            begin = EventStream.begin

            def blocked(stream: EventStream) -> None:
                begin(stream)
                stream.pauseProducing()

            self.patch(EventStream, "begin", blocked)
            transport = await self.stream("/members/", self.cookie)
            self.publish("one", "new")
            self.assertEqual(self.feeds.ended, {})
            transport.producer.resumeProducing()
            messages = [each["message"] for each in self.answer(transport).messages]
            self.assertEqual(messages, ["x" * size, "new"])

        self.run_async(test)
