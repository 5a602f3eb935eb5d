"""Tests of cluster.asgi.http_cycle: ASGI applications at a URL, over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.urls import include, path

from cluster.asgi import asgi, websocket_cycle
from cluster.asgi.http_cycle import ClientLeft
from cluster.node import http_channel
from tests.asgi.http_site import GET, HttpSiteTestCase

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

behave: Callable[[Any, Receive, Send], Awaitable[None]]
"""What the application does in the current test."""

events: list[Any] = []
"""What it has recorded."""

START = {"type": "http.response.start", "status": 200, "headers": [(b"X-App", b"yes")]}


async def application(scope: Any, receive: Receive, send: Send) -> None:
    await behave(scope, receive, send)


urlpatterns = [
    path("app/", asgi(application)),
    path("rooms/<int:room>/", include([path("in/", asgi(application, strip_prefix=True))])),
]


def part(body: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def sends(*parts: dict[str, Any]) -> Callable[[Any, Receive, Send], Awaitable[None]]:
    """An application that sends these."""

    async def act(scope: Any, receive: Receive, send: Send) -> None:
        for each in parts:
            await send(each)

    return act


def with_length(length: int) -> dict[str, Any]:
    return {**START, "headers": [(b"Content-Length", b"%d" % length)]}


class HttpCycleTests(HttpSiteTestCase):
    urls = __name__

    def setUp(self) -> None:
        super().setUp()
        events.clear()

    def behave(self, act: Callable[[Any, Receive, Send], Awaitable[None]]) -> None:
        global behave
        behave = act

    def answer_to(self, act: Any, path: str = "/app/", headers: str = "") -> tuple[bytes, bytes]:
        """The header and the body of the answer of an application."""
        self.behave(act)
        answers = []

        async def test() -> None:
            answers.append(await self.answer(self.get(path, headers)))

        self.run_test(test)
        return answers[0]

    def test_scope_and_body(self) -> None:
        async def echo(scope: Any, receive: Receive, send: Send) -> None:
            events.append((scope["path"], scope["root_path"], scope.get("url_route")))
            await send(START)
            more = True
            while more:
                event = await receive()
                more = event["more_body"]
                await send(part(event["body"], more))

        async def test() -> None:
            body = b"x" * 150_000
            post = GET.format("/app/a/?x=1", "Content-Length: 150000\r\n").replace("GET", "POST")
            head, echoed = await self.answer(self.send(post.encode(), body))
            self.assertIn(b"X-App: yes\r\n", head)
            self.assertIn(b"\r\nDate: ", head)
            self.assertEqual(echoed.count(b"x"), 150_000)
            await self.answer(self.get("/rooms/3/in/b/"))
            captured = {"args": (), "kwargs": {"room": 3}}
            self.assertEqual(events, [("/app/a/", "", None), ("/b/", "/rooms/3/in", captured)])
            self.assertEqual(self.requests.served, {"application": 2})

        self.behave(echo)
        self.run_test(test)

    def test_a_body_in_one_part_has_its_length(self) -> None:
        head, body = self.answer_to(sends(START, part(b"hello")))
        self.assertIn(b"Content-Length: 5", head)
        self.assertNotIn(b"Transfer-Encoding", head)
        self.assertEqual(body, b"hello")

    def test_the_node_sets_what_frames_the_response(self) -> None:
        headers = [(b"Transfer-Encoding", b"chunked"), (b"Connection", b"close"), (b"Date", b"x")]
        head, body = self.answer_to(sends({**START, "headers": headers}, part(b"hello")))
        self.assertNotIn(b"Transfer-Encoding", head)
        self.assertEqual(head.count(b"Connection: close"), 1)
        self.assertEqual(head.count(b"Date: "), 1)
        self.assertEqual(body, b"hello")

    def test_headers_cannot_be_split(self) -> None:
        headers = [(b"X-Bad", b"a\r\nSet-Cookie: b=c")]
        head, _ = self.answer_to(sends({**START, "headers": headers}, part()))
        self.assertNotIn(b"\r\nSet-Cookie", head)

    def test_wrong_applications_are_logged_and_answered_500(self) -> None:
        async def nothing(scope: Any, receive: Receive, send: Send) -> None:
            pass

        async def fails(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            raise KeyError("secret")

        wrong = {
            nothing: RuntimeError,
            fails: KeyError,
            sends(part(b"x")): RuntimeError,
            sends(START, START): RuntimeError,
            sends({"type": "http.nonsense"}): RuntimeError,
            sends(with_length(3), part(b"four")): RuntimeError,
            sends(with_length(5), part(b"four")): RuntimeError,
        }
        for act, error in wrong.items():
            head, body = self.answer_to(act)
            self.assertTrue(head.startswith(b"HTTP/1.1 500 "), head)
            self.assertNotIn(b"X-App", head)
            self.assertNotIn(b"secret", body)
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_an_incomplete_response_is_cut(self) -> None:
        for act in (
            sends(START, part(b"begun", True)),
            sends(with_length(9), part(b"begun", True), part(b"!")),
            sends(with_length(9), part(b"begun", True), part(b"12345")),
        ):
            self.behave(act)

            async def test() -> None:
                transport = self.get("/app/")
                await self.until(lambda: transport.disconnecting)
                self.assertIn(b"begun", transport.value())
                self.assertFalse(transport.value().endswith(b"0\r\n\r\n"))

            self.run_test(test)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_disconnect_after_the_response(self) -> None:
        async def act(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            await send(START)
            await send(part(b"all"))
            events.append(await receive())

        head, _ = self.answer_to(act)
        self.assertTrue(head.startswith(b"HTTP/1.1 200 "), head)
        self.assertEqual(events, [{"type": "http.disconnect"}])

    def test_an_application_ends_by_itself_when_its_client_leaves(self) -> None:
        async def act(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            events.append(await receive())
            try:
                await send(START)
            except OSError as error:
                events.append(type(error))
                raise

        self.behave(act)

        async def test() -> None:
            transport = self.get("/app/")
            await self.until(lambda: self.requests.active == 1)
            await asyncio.sleep(0)
            self.leave(transport)
            await self.until(lambda: not self.requests.active)
            self.assertEqual(events, [{"type": "http.disconnect"}, ClientLeft])

        self.run_test(test)

    def test_one_that_does_not_end_is_cancelled(self) -> None:
        async def act(scope: Any, receive: Receive, send: Send) -> None:
            events.append("begun")
            await asyncio.Event().wait()

        self.behave(act)
        self.patch(websocket_cycle, "GRACE_S", 0.01)
        from cluster.asgi import async_views

        self.patch(async_views, "GRACE_S", 0.01)

        async def test() -> None:
            transport = self.get("/app/")
            await self.until(lambda: bool(events))
            self.leave(transport)
            await self.until(lambda: not self.requests.active)

        self.run_test(test)

    def test_a_client_that_does_not_read_is_disconnected(self) -> None:
        left = [30, 20, 10, 10]
        self.assertEqual(self.checks_of_a_reader(lambda check, _: left[check]), 4)

    def test_a_client_that_reads_between_two_checks_is_not_disconnected(self) -> None:
        """Even if as many bytes wait for it at each check."""

        def unsent(check: int, channel: Any) -> int:
            if check < 3:
                channel.resumeProducing()
                channel.pauseProducing()
            return 10

        self.assertEqual(self.checks_of_a_reader(unsent), 5)

    def checks_of_a_reader(self, unsent: Callable[[int, Any], int]) -> int:
        """How often a client that has paused is looked at until it is disconnected.

        Args:
            unsent: Called with the number of the check and with the channel; returns the bytes
                that wait for the client.
        """
        checks = 0

        def unsent_bytes(transport: Any) -> int:
            nonlocal checks
            if transport.aborted:
                return 0
            checks += 1
            return unsent(checks - 1, transport.protocol)

        self.patch(http_channel, "STALLED_S", 0.01)
        self.patch(http_channel, "unsent_bytes", unsent_bytes)

        async def act(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            while True:
                await send(part(b"x" * 1000, True))

        self.behave(act)

        async def test() -> None:
            transport = self.get("/app/")
            await transport.wait_for(b"x" * 1000)
            transport.protocol.pauseProducing()
            await self.until(lambda: transport.aborted)
            self.assertEqual(self.site.limited["slow_reader"], 1)
            self.leave(transport)
            await self.until(lambda: not self.requests.active)

        self.run_test(test)
        return checks

    def test_a_loop_of_sends_does_not_block_others(self) -> None:
        async def act(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            while True:
                await send(part(b"x", True))

        self.behave(act)

        async def test() -> None:
            busy = self.get("/app/")
            await busy.wait_for(b"x")
            self.assertEqual((await self.answer(self.get("/other/")))[1], b"thread")

        self.run_test(test)
