"""Admission of clients: sessions, accept functions and decorated views, with a node's parts."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from django import db
from django.contrib.auth.decorators import login_required, permission_required
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import SimpleTemplateResponse
from django.urls import include, path
from django.views.decorators.http import require_POST

from cluster.core.exceptions import Disconnected
from cluster.django.api.database_threads import DatabasePool
from cluster.django.handlers.handler_decorator import Accept, websocket
from cluster.django.handshake import sessions
from cluster.django.revocation import revocable_clients
from cluster.django.revocation.revocable_clients import RevocableClients, digest
from cluster.net.websocket.autobahn_protocol import OPEN
from tests.django.handshake.test_dispatcher import DispatcherTestCase, close
from tests.django.site import load_database, load_site
from tests.django.visitors import cookie, guest, log_in, new_user
from tests.fakes import RecordingTransport
from tests.net.websocket import wire

answer: Callable[..., Any]
"""What the accept functions do in the current test."""


def blocking(request: Any, **captured: Any) -> Any:
    return answer(request, **captured)


async def on_the_reactor(request: Any, **captured: Any) -> Any:
    result = answer(request, **captured)
    return await result if asyncio.iscoroutine(result) else result


async def who(ws: Any, **captured: Any) -> None:
    """Sends the user and the session's name."""
    await ws.send(f"{ws.user.pk} {ws.session.get('name')}")
    async for _ in ws:
        pass


def page(request: Any, **captured: Any) -> HttpResponse:
    return HttpResponse("a page")


anybody = websocket(who)
members = login_required(anybody)
staff = permission_required("auth.delete_user", raise_exception=True)(anybody)
posting = require_POST(websocket(page=page)(who))
load_site()  # its URLs need its models
urlpatterns = [
    path("ws", anybody),
    path("sync/<str:room>/", websocket(accept=blocking, subprotocols=["a", "b"])(who)),
    path("async/<str:room>/", websocket(accept=on_the_reactor, subprotocols=["a", "b"])(who)),
    path("members/", members),
    path("staff/", staff),
    path("posting/", posting),
    path("both/", login_required(websocket(accept=blocking)(who))),
    path("", include("django_project.urls")),  # for the log-in page and for templates
]

TIMEOUT_S = 60.0
"""Seconds after which a test gives up waiting for a thread."""


class AdmissionTestCase(DispatcherTestCase):
    urls = __name__

    def setUp(self) -> None:
        load_database()
        super().setUp()
        self.clients = RevocableClients()
        self.patch(sessions, "revocable_clients", self.clients)
        from cluster.django.handshake import dispatcher

        self.patch(dispatcher, "revocable_clients", self.clients)
        self.threads, self.queue = 2, 10

    def decide(self, function: Callable[..., Any]) -> None:
        global answer
        answer = function

    def run_async(self, test: Callable[[], Awaitable[None]]) -> None:
        """Run a test with a node's database threads."""

        async def run() -> None:
            await test()
            await self.settle()
            # A pool with a running call does not end its threads, and they keep the process alive.
            await self.until(lambda: not self.pool.active)

        self.pool = DatabasePool(self.threads, self.queue)
        self.pool.start()
        try:
            asyncio.run(run())
        finally:
            self.pool.stop()
        self.assert_nothing_left()
        self.assertEqual(self.dispatcher.deciding, set())
        self.assertEqual((self.dispatcher._seats, self.dispatcher._at_end), ({}, {}))
        self.assertEqual((self.clients._sessions, self.clients._users), ({}, {}))

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition that depends on threads."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                await asyncio.sleep(0.001)
                self.clock.advance(0)

    async def ask(self, path_: str, *headers: bytes) -> tuple[Any, RecordingTransport]:
        """Send a handshake and wait for the answer."""
        connection, transport = self.connect(
            wire.request(*headers).replace(b"/ws", path_.encode(), 1)
        )
        await self.until(lambda: transport.written)
        return connection, transport

    def answer_to(self, path_: str, *headers: bytes) -> bytes:
        """The answer to a handshake, after which the client leaves."""
        answers = []

        async def test() -> None:
            connection, transport = await self.ask(path_, *headers)
            await self.settle()
            answers.append(transport.written)
            self.lose(connection)

        self.run_async(test)
        return answers[0]

    def status(self, path_: str, *headers: bytes) -> int:
        return int(self.answer_to(path_, *headers).split(b" ")[1])


class SessionTests(AdmissionTestCase):
    def test_a_client_without_a_session_is_accepted_at_once(self) -> None:
        async def test() -> None:
            connection, transport = self.connect(wire.request(b"Cookie: theme=dark"))
            self.clock.advance(0)
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 101 "))
            self.lose(connection)

        self.run_async(test)
        self.assertEqual(self.pool.calls, 0)

    def test_a_user(self) -> None:
        user = new_user()
        answer = self.answer_to("/ws", cookie(log_in(user)[1]))
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "))
        self.assertTrue(answer.endswith(f"{user.pk} None".encode()), answer)

    def test_a_guest(self) -> None:
        answer = self.answer_to("/ws", cookie(guest(name="guest-1")[1]))
        self.assertTrue(answer.endswith(b"None guest-1"), answer)

    def test_no_such_session(self) -> None:
        self.assertTrue(self.answer_to("/ws", cookie("x" * 32)).endswith(b"None None"))

    def test_an_unavailable_database_refuses_with_503(self) -> None:
        def fail(request: Any) -> None:
            raise db.OperationalError("server closed the connection unexpectedly")

        self.patch(sessions, "load", fail)
        answer = self.answer_to("/ws", cookie("x" * 32))
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertIn(b"\r\nRetry-After: 1\r\n", answer)
        self.assertNotIn(b"closed", answer)

    def test_a_full_database_queue_refuses_with_503(self) -> None:
        self.threads, self.queue = 1, 0
        release, begun = threading.Event(), threading.Event()

        def slow(request: Any) -> None:
            begun.set()
            release.wait(TIMEOUT_S)

        self.patch(sessions, "load", slow)

        async def test() -> None:
            first, _ = self.connect(wire.request(cookie("a")))
            await self.until(begun.is_set)
            second, transport = await self.ask("/ws", cookie("a"))
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 503 "), transport.written)
            release.set()
            await self.until(lambda: not self.pool.active)
            self.lose(first)
            self.lose(second)

        self.run_async(test)

    def test_a_client_that_leaves_while_its_session_is_loaded(self) -> None:
        release, begun = threading.Event(), threading.Event()

        def slow(request: Any) -> None:
            begun.set()
            release.wait(TIMEOUT_S)

        self.patch(sessions, "load", slow)

        async def test() -> None:
            connection, transport = self.connect(wire.request(cookie("a")))
            await self.until(begun.is_set)
            self.assertEqual(self.dispatcher.deciding, {connection})
            self.lose(connection)
            await self.until(lambda: not self.dispatcher.deciding)
            release.set()
            await self.until(lambda: not self.pool.active)
            self.assertEqual(transport.written, b"")

        self.run_async(test)
        self.assertEqual(self.dispatcher.opened_total, 0)

    def test_the_node_stops_while_a_session_is_loaded(self) -> None:
        async def test() -> None:
            connection, transport = self.connect(wire.request(cookie("a")))
            self.up = False
            await self.until(lambda: transport.written)
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 503 "), transport.written)
            self.lose(connection)

        self.run_async(test)

    def test_a_stopping_node_refuses_handshakes_that_wait(self) -> None:
        async def never() -> None:
            await asyncio.Event().wait()

        self.decide(lambda request, room: never())

        async def test() -> None:
            connection, transport = self.connect(wire.request().replace(b"/ws", b"/async/a/"))
            await self.settle()
            self.dispatcher.refuse_undecided()
            await self.settle()
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 503 "), transport.written)
            self.lose(connection)

        self.run_async(test)


class RevocationTests(AdmissionTestCase):
    def revoke(self, **revocation_: str) -> None:
        from django.core import signing

        self.clients.take(signing.dumps(revocation_, salt=revocable_clients._SALT))

    def test_an_open_connection_is_closed(self) -> None:
        user = new_user()
        header = cookie(log_in(user)[1])

        async def test() -> None:
            connection, transport = await self.ask("/ws", header)
            await self.settle()
            self.revoke(user=str(user.pk))
            await self.settle()
            self.assertTrue(transport.written.endswith(close(4401, b"the session has ended")))
            self.lose(connection)

        self.run_async(test)
        self.assertEqual(self.dispatcher.disconnects, {"1006": 1})

    def test_a_session_that_is_revoked_during_the_handshake(self) -> None:
        user = new_user()
        header = cookie(log_in(user)[1])
        self.decide(lambda request, room: self.revoke(user=str(user.pk)))

        async def test() -> None:
            connection, transport = await self.ask("/sync/a/", header)
            await self.settle()
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 101 "))
            self.assertTrue(transport.written.endswith(close(4401, b"the session has ended")))
            self.assertEqual(self.dispatcher._tasks, {}, "the handler must not have begun")
            self.lose(connection)

        self.run_async(test)

    def test_a_user_whom_the_application_found(self) -> None:
        """Such as by a token, without a session: closed by revocations of this user alone."""
        user = new_user()

        def find(request: Any) -> None:
            request.user = user

        async def test(url: str) -> None:
            connection, transport = await self.ask(url)
            await self.settle()
            self.assertTrue(transport.written.endswith(f"{user.pk} None".encode()), url)
            self.revoke(user=str(user.pk), hash=digest(user.get_session_auth_hash()))
            self.assertEqual(OPEN, connection.state)
            self.revoke(user=str(user.pk), hash=digest("another password"))
            self.assertNotEqual(OPEN, connection.state)
            self.lose(connection)

        self.decide(lambda request, room: find(request))
        for url in ("/sync/a/", "/async/a/"):
            self.run_async(partial(test, url))


class AcceptTests(AdmissionTestCase):
    """Results of accept functions, plain functions and coroutine functions."""

    def each(self, decide: Callable[..., Any], *headers: bytes) -> list[bytes]:
        self.decide(decide)
        return [self.answer_to(f"/{kind}/blue/", *headers) for kind in ("sync", "async")]

    def assert_each(self, start: bytes, decide: Callable[..., Any], *headers: bytes) -> bytes:
        sync, other = self.each(decide, *headers)
        self.assertTrue(sync.startswith(start), sync)
        self.assertEqual(sync.partition(b"\r\n")[0], other.partition(b"\r\n")[0])
        return sync

    def raising(self, error: Exception) -> Callable[..., Any]:
        def decide(request: Any, room: str) -> None:
            raise error

        return decide

    def test_it_receives_the_request_and_captured_arguments(self) -> None:
        user = new_user()
        seen = []

        def decide(request: Any, room: str) -> None:
            thread = threading.get_ident()
            seen.append((room, request.user, request.GET["a"], request.method, thread))

        self.decide(decide)
        header = cookie(log_in(user)[1])
        for kind in ("sync", "async"):
            self.assertEqual(self.status(f"/{kind}/blue/?a=1", header), 101)
        (*sync, thread), (*other, reactors) = seen
        self.assertEqual(sync, ["blue", user, "1", "GET"])
        self.assertEqual(sync, other)
        self.assertNotEqual(thread, reactors)
        self.assertEqual(reactors, threading.get_ident())

    def test_none_accepts(self) -> None:
        offer = b"Sec-WebSocket-Protocol: b"
        answer = self.assert_each(b"HTTP/1.1 101 ", lambda request, room: None, offer)
        self.assertIn(b"\r\nSec-WebSocket-Protocol: b\r\n", answer)

    def test_accept_chooses_subprotocol_and_headers(self) -> None:
        chosen = Accept(subprotocol="x", headers={"X-Room": "blue", "Set-Cookie": ["a=1", "b=2"]})
        offer = b"Sec-WebSocket-Protocol: a, x"
        answer = self.assert_each(b"HTTP/1.1 101 ", lambda request, room: chosen, offer)
        for line in (b"Sec-WebSocket-Protocol: x", b"X-Room: blue", b"Set-Cookie: b=2"):
            self.assertIn(b"\r\n" + line + b"\r\n", answer)

    def test_a_subprotocol_that_was_not_offered_is_a_bug(self) -> None:
        offer = b"Sec-WebSocket-Protocol: a, b"
        self.assert_each(b"HTTP/1.1 500 ", lambda request, room: Accept(subprotocol="x"), offer)
        self.assertEqual(
            ["accept chose the subprotocol 'x'; the client offers ['a', 'b']"] * 2,
            [failure.getErrorMessage() for failure in self.flushLoggedErrors(ValueError)],
        )

    def test_errors_that_refuse(self) -> None:
        for error, status, body in (
            (PermissionDenied("members only"), 403, b"members only\n"),
            (PermissionDenied(), 403, b"permission denied\n"),
            (Http404("secret"), 404, b"not found\n"),
            (SuspiciousOperation("secret"), 400, b"bad request\n"),
        ):
            answer = self.assert_each(b"HTTP/1.1 %d " % status, self.raising(error))
            self.assertEqual(answer.partition(b"\r\n\r\n")[2], body)

    def test_an_accept_function_that_ignores_its_cancellation_opens_nothing(self) -> None:
        started = asyncio.Event()

        async def stubborn(request: Any, room: str) -> None:
            started.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        async def test() -> None:
            connection, _ = self.connect(wire.request().replace(b"/ws", b"/async/a/", 1))
            await started.wait()
            self.lose(connection)
            await self.settle()
            self.assertEqual({}, self.dispatcher._calls)

        self.decide(stubborn)
        self.run_async(test)

    def test_a_bug_is_logged_and_not_sent(self) -> None:
        answer = self.assert_each(b"HTTP/1.1 500 ", self.raising(KeyError("secret")))
        self.assertNotIn(b"secret", answer)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_a_response_refuses(self) -> None:
        def decide(request: Any, room: str) -> HttpResponse:
            response = HttpResponse("full", status=409, headers={"X-Room": room})
            response.set_cookie("seen", "1")
            return response

        answer = self.assert_each(b"HTTP/1.1 409 Conflict\r\n", decide)
        for line in (b"X-Room: blue", b"Set-Cookie: seen=1; Path=/", b"Content-Length: 4"):
            self.assertIn(b"\r\n" + line + b"\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nfull"))

    def test_a_redirect(self) -> None:
        answer = self.assert_each(b"HTTP/1.1 302 ", lambda request, room: redirect("/login/"))
        self.assertIn(b"\r\nLocation: /login/\r\n", answer)

    def test_a_template_is_rendered(self) -> None:
        def decide(request: Any, room: str) -> HttpResponse:
            return SimpleTemplateResponse("404.html", status=404)

        answer = self.assert_each(b"HTTP/1.1 404 ", decide)
        self.assertIn(b"<!doctype html>", answer)

    def test_a_stream_is_read_in_a_thread(self) -> None:
        threads: list[int] = []

        def parts() -> Iterator[bytes]:
            threads.append(threading.get_ident())
            yield b"so"
            yield b"rry"

        async def async_parts() -> AsyncIterator[bytes]:
            for part in parts():
                yield part

        def decide(request: Any, room: str) -> HttpResponseBase:
            return StreamingHttpResponse(parts(), status=410)

        async def decide_async(request: Any, room: str) -> HttpResponseBase:
            return StreamingHttpResponse(async_parts(), status=410)

        answer = self.assert_each(b"HTTP/1.1 410 ", decide)
        self.assertTrue(answer.endswith(b"\r\n\r\nsorry"), answer)
        self.assertNotIn(threading.get_ident(), threads)
        self.decide(decide_async)
        answer = self.answer_to("/async/blue/")
        self.assertTrue(answer.endswith(b"\r\n\r\nsorry"), answer)

    def test_anything_else_is_a_bug(self) -> None:
        self.assert_each(b"HTTP/1.1 500 ", lambda request, room: True)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)


class DecoratedTests(AdmissionTestCase):
    """Decorators above @websocket."""

    def test_login_required(self) -> None:
        self.assertEqual(self.status("/members/"), 403)
        self.assertEqual(self.status("/members/", cookie(guest()[1])), 403)
        self.assertEqual(self.status("/members/", cookie(log_in(new_user())[1])), 101)

    def test_permission_required(self) -> None:
        self.assertEqual(self.status("/staff/", cookie(log_in(new_user())[1])), 403)
        admin = new_user(is_superuser=True)
        self.assertEqual(self.status("/staff/", cookie(log_in(admin)[1])), 101)

    def test_the_response_of_a_decorator(self) -> None:
        self.assertEqual(self.status("/posting/"), 405)

    def test_decorators_run_before_the_accept_function(self) -> None:
        asked = []
        self.decide(lambda request: asked.append(request.user.pk))
        self.assertEqual(self.status("/both/"), 403)
        self.assertEqual(asked, [])
        user = new_user()
        self.assertEqual(self.status("/both/", cookie(log_in(user)[1])), 101)
        self.assertEqual(asked, [user.pk])


class LimitTests(AdmissionTestCase):
    def test_handshakes_under_way_count(self) -> None:
        self.prepare("127.0.0.1", per_client=1)
        address = b"X-Forwarded-For: 192.0.2.1"
        waiting = asyncio.Event()

        async def later() -> None:
            await waiting.wait()

        self.decide(lambda request, room: later())

        async def test() -> None:
            first, _ = self.connect(wire.request(address).replace(b"/ws", b"/async/a/"))
            second, transport = await self.ask("/ws", address)
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 429 "), transport.written)
            self.lose(first)
            self.lose(second)

        self.run_async(test)
        self.assertEqual(self.dispatcher.occupancy.taken, 0)

    def test_connections_of_a_user(self) -> None:
        self.prepare(MAX_CONNECTIONS_PER_USER=1)
        header = cookie(log_in(new_user())[1])

        async def test() -> None:
            first, _ = await self.ask("/ws", header)
            second, transport = await self.ask("/ws", header)
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 429 "), transport.written)
            anonymous, transport = await self.ask("/ws")
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 101 "), transport.written)
            for connection in (first, second, anonymous):
                self.lose(connection)

        self.run_async(test)
        self.assertEqual(self.dispatcher.occupancy.refused, {"user": 1})

    def test_the_address_behind_a_proxy(self) -> None:
        self.prepare("127.0.0.1", per_client=1)

        async def test() -> None:
            connections = [
                (await self.ask("/ws", b"X-Forwarded-For: 192.0.2.%d" % number))
                for number in (1, 2, 2)
            ]
            statuses = [int(transport.written.split(b" ")[1]) for _, transport in connections]
            self.assertEqual(statuses, [101, 101, 429])
            self.assertEqual(connections[0][0].owner.client, "192.0.2.1")
            for connection, _ in connections:
                self.lose(connection)

        self.run_async(test)

    def test_messages_through_recv_and_callbacks(self) -> None:
        self.prepare(MESSAGE_RATE=0.001, MESSAGE_BURST=2)

        async def test() -> None:
            for callback in (False, True):
                connection, transport = await self.ask("/ws")
                ws = connection.owner
                got: list[bytes] = []
                if callback:
                    ws.on_message(lambda payload, is_binary, got=got: got.append(payload))
                connection.dataReceived(wire.text("1") + wire.text("2") + wire.text("3"))
                self.clock.advance(0)
                self.assertTrue(transport.written.endswith(close(1008, b"too many messages")))
                if callback:
                    self.assertEqual(got, [b"1", b"2"])
                else:
                    self.assertEqual([await ws.recv(), await ws.recv()], ["1", "2"])
                self.lose(connection)
                with self.assertRaises(Disconnected):
                    await ws.recv()

        self.run_async(test)
        assert self.dispatcher.rate is not None
        self.assertEqual(self.dispatcher.rate.closed_total, 2)
