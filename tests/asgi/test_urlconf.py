"""asgi(): WebSocket clients of ASGI applications that a URLconf mounts, on a node in memory."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.test import Client as DjangoClient
from django.test import override_settings
from django.urls import include, path, re_path
from twisted.trial.unittest import SynchronousTestCase

from cluster import Disconnected, websocket
from cluster.asgi import asgi, websocket_cycle
from cluster.asgi.async_threads import AsyncThreads
from cluster.asgi.site_application import load_application
from cluster.asgi.websocket_cycle import WebSocketCycle
from cluster.core.exceptions import ConfigurationError
from cluster.django.revocation.revocable_clients import revocable_clients
from cluster.testing import Closed, Refused, asynchronous, connect
from cluster.testing.memory_node import MemoryNode
from tests.django.site import load_database, load_site

TIMEOUT_S = 30.0

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

behave: Callable[[Any, Receive, Send], Awaitable[None]]
"""What the application does in the current test."""

scopes: list[dict[str, Any]] = []
"""The scopes that the application has received."""


class Recorded(list[Any]):
    """What the application has recorded, and whether it has recorded more."""

    def __init__(self) -> None:
        super().__init__()
        self.grown = asyncio.Event()

    def append(self, event: Any) -> None:
        super().append(event)
        self.grown.set()


events = Recorded()


async def application(scope: Any, receive: Receive, send: Send) -> None:
    scopes.append(scope)
    await behave(scope, receive, send)


@websocket
async def handler(ws: Any) -> None:
    await ws.send("a handler")


def middleware(get_response: Any) -> Any:
    return lambda request: get_response(request)


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


urlpatterns = [
    path("app/handler/", handler),
    path("app/", asgi(application)),
    path("rooms/<int:room>/", asgi(application)),
    path("inner/", include([path("app/", asgi(application, strip_prefix=True))])),
    re_path(r"^page/$", page),
]


async def echo(scope: Any, receive: Receive, send: Send) -> None:
    events.append(await receive())
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    events.append(message)


def acts(*messages: dict[str, Any]) -> Callable[[Any, Receive, Send], Awaitable[None]]:
    """An application that sends these, then waits for the end."""

    async def act(scope: Any, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        while (message := await receive())["type"] != "websocket.disconnect":
            pass
        events.append(message)

    return act


class MountTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        settings = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
        settings.enable()
        self.addCleanup(settings.disable)
        scopes.clear()
        events.clear()
        events.grown = asyncio.Event()  # one belongs to one event loop
        self.behave(echo)

    def behave(self, how: Callable[[Any, Receive, Send], Awaitable[None]]) -> None:
        global behave
        behave = how

    async def recorded(self, count: int) -> None:
        """Wait until the application has recorded so many events."""
        while len(events) < count:
            events.grown.clear()
            await asyncio.wait_for(events.grown.wait(), TIMEOUT_S)

    async def refused(self, path: str = "/app/", **options: Any) -> Refused:
        with self.assertRaises(Refused) as caught:
            async with connect(path, **options):
                self.fail("accepted")
        return caught.exception


class ScopeTests(MountTestCase):
    @asynchronous
    async def test_the_whole_path(self) -> None:
        async with connect("/app/a/b%20c/?x=1", subprotocols=["one", "two"], secure=True):
            pass
        (scope,) = scopes
        self.assertEqual(
            ("websocket", "/app/a/b c/", b"/app/a/b%20c/", b"x=1", "", "wss", ["one", "two"]),
            tuple(
                scope[key]
                for key in (
                    "type", "path", "raw_path", "query_string", "root_path", "scheme",
                    "subprotocols",
                )
            ),
        )  # fmt: skip
        self.assertEqual({"websocket.http.response": {}}, scope["extensions"])
        self.assertNotIn("url_route", scope)

    @asynchronous
    async def test_everything_below_the_prefix_and_the_prefix_itself(self) -> None:
        for place in ("/app/", "/app/x", "/app/x/y/", "/app/handler/x"):
            async with connect(place):
                pass
        self.assertEqual(4, len(scopes))

    @asynchronous
    async def test_handlers_above_come_first(self) -> None:
        async with connect("/app/handler/") as client:
            self.assertEqual("a handler", await client.receive())
        self.assertEqual([], scopes)

    @asynchronous
    async def test_what_the_urlconf_captures(self) -> None:
        async with connect("/rooms/7/x/"):
            pass
        self.assertEqual({"args": (), "kwargs": {"room": 7}}, scopes[0]["url_route"])

    @asynchronous
    async def test_strip_prefix(self) -> None:
        async with connect("/inner/app/x/y/"), connect("/inner/app/"):
            pass
        self.assertEqual(
            [("/inner/app", "/x/y/"), ("/inner/app", "/")],
            [(scope["root_path"], scope["path"]) for scope in scopes],
        )

    @asynchronous
    async def test_headers_and_client(self) -> None:
        async with connect(
            "/app/", headers={"X-Name": "wert"}, cookies={"a": "b"}, address="10.9.8.7"
        ):
            pass
        self.assertIn((b"x-name", b"wert"), scopes[0]["headers"])
        self.assertIn((b"cookie", b"a=b"), scopes[0]["headers"])
        self.assertEqual("10.9.8.7", scopes[0]["client"][0])

    def test_something_that_is_no_application(self) -> None:
        with self.assertRaisesRegex(TypeError, "mounts an ASGI application, not 'mysite.asgi'"):
            asgi("mysite.asgi")  # type: ignore[arg-type]

    def test_another_server_answers_501(self) -> None:
        with self.assertLogs("cluster.django", "WARNING"):
            response = DjangoClient().get("/app/x/")
        self.assertEqual(501, response.status_code)


class HandshakeTests(MountTestCase):
    @asynchronous
    async def test_accept_with_a_subprotocol_and_headers(self) -> None:
        headers = [(b"Set-Cookie", b"a=b"), (b"x-more", b"caf\xe9")]
        self.behave(acts({"type": "websocket.accept", "subprotocol": "two", "headers": headers}))
        async with connect("/app/", subprotocols=["one", "two"]) as client:
            self.assertEqual("two", client.subprotocol)
            self.assertEqual("a=b", client.headers["set-cookie"])

    @asynchronous
    async def test_a_subprotocol_that_is_not_offered(self) -> None:
        self.behave(acts({"type": "websocket.accept", "subprotocol": "two"}))
        self.assertEqual(500, (await self.refused()).status)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    @asynchronous
    async def test_close_refuses_with_403(self) -> None:
        self.behave(acts({"type": "websocket.close"}))
        self.assertEqual(403, (await self.refused()).status)
        await self.recorded(1)
        self.assertEqual([{"type": "websocket.disconnect", "code": 1006, "reason": ""}], events)

    @asynchronous
    async def test_a_response_of_its_own(self) -> None:
        self.behave(
            acts(
                {
                    "type": "websocket.http.response.start",
                    "status": 402,
                    "headers": [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"9")],
                },
                {"type": "websocket.http.response.body", "body": b"not ", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"free"},
            )
        )
        refused = await self.refused()
        self.assertEqual((402, "not free"), (refused.status, refused.body))
        self.assertEqual("8", refused.headers["content-length"])

    @asynchronous
    async def test_an_error_in_the_handshake(self) -> None:
        async def fail(scope: Any, receive: Receive, send: Send) -> None:
            raise LookupError("a bug")

        self.behave(fail)
        refused = await self.refused()
        self.assertEqual((500, "internal error"), (refused.status, refused.body.strip()))
        self.assertEqual(1, len(self.flushLoggedErrors(LookupError)))

    @asynchronous
    async def test_an_end_without_an_answer(self) -> None:
        async def end(scope: Any, receive: Receive, send: Send) -> None:
            await receive()

        self.behave(end)
        self.assertEqual(500, (await self.refused()).status)
        (error,) = self.flushLoggedErrors(RuntimeError)
        self.assertIn("tests.asgi.test_urlconf.application ended without", str(error.value))

    @asynchronous
    async def test_the_origin_is_checked(self) -> None:
        self.assertEqual(403, (await self.refused(origin="https://elsewhere.example")).status)
        self.assertEqual([], scopes)

    @asynchronous
    async def test_a_client_that_leaves_during_the_handshake(self) -> None:
        started, over = asyncio.Event(), asyncio.Event()

        async def slow(scope: Any, receive: Receive, send: Send) -> None:
            started.set()
            events.append([await receive(), await receive()])
            over.set()

        self.behave(slow)
        client = asyncio.ensure_future(connect("/app/").__aenter__())
        await started.wait()
        (connection,) = MemoryNode.current().dispatcher.deciding
        connection.transport.abortConnection()
        await over.wait()
        with self.assertRaises(Exception):  # noqa: B017 - the client got no answer
            await client
        self.assertEqual(
            ["websocket.connect", "websocket.disconnect"], [each["type"] for each in events[0]]
        )


class MessageTests(MountTestCase):
    @asynchronous
    async def test_text_and_bytes(self) -> None:
        async with connect("/app/") as client:
            for message in ("hello", "", b"\x00\xff", "ü" * 70_000):
                await client.send(message)
                self.assertEqual(message, await client.receive())
        self.assertEqual({"type": "websocket.connect"}, events[0])

    @asynchronous
    async def test_messages_right_after_accept(self) -> None:
        self.behave(
            acts(
                {"type": "websocket.accept"},
                {"type": "websocket.send", "text": "1", "bytes": None},
                {"type": "websocket.send", "text": None, "bytes": b"2"},
            )
        )
        async with connect("/app/") as client:
            self.assertEqual(["1", b"2"], [await client.receive(), await client.receive()])

    @asynchronous
    async def test_sends_wait_for_a_client_that_does_not_read(self) -> None:
        sent = 0

        async def flood(scope: Any, receive: Receive, send: Send) -> None:
            nonlocal sent
            await send({"type": "websocket.accept"})
            events.extend([await receive(), await receive()])
            while sent < 1000:
                await send({"type": "websocket.send", "bytes": b"x" * 10_000})
                sent += 1

        self.behave(flood)
        async with connect("/app/") as client:
            client.stop_reading()
            await client.send("begin")
            before = -1
            while not client._connection.blocked or sent != before:
                before = sent
                for _ in range(10):
                    await asyncio.sleep(0)
            self.assertLess(sent, 1000)
            client.start_reading()
            for _ in range(1000):
                await client.receive()

    @asynchronous
    async def test_the_receive_queue_is_bounded(self) -> None:
        proceed = asyncio.Event()

        async def slow(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            await proceed.wait()
            events.extend([await receive() for _ in range(1 + 500)])

        self.behave(slow)
        async with connect("/app/") as client:
            for number in range(500):
                await client.send(str(number))
            self.assertTrue(client._connection.paused)
            proceed.set()
            await client.closed()
        self.assertEqual([str(n) for n in range(500)], [each["text"] for each in events[1:]])

    @asynchronous
    async def test_a_message_of_a_wrong_type(self) -> None:
        self.behave(acts({"type": "websocket.accept"}, {"type": "http.response.start"}))
        async with connect("/app/") as client:
            self.assertEqual(1011, (await client.closed()).code)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))


class ThreadTests(MountTestCase):
    @asynchronous
    async def test_synchronous_code_of_two_clients_runs_at_the_same_time(self) -> None:
        meeting = threading.Barrier(2)

        def meet_in_thread() -> int:
            meeting.wait(TIMEOUT_S)
            return threading.get_ident()

        async def meet(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            events.append(await sync_to_async(meet_in_thread)())

        self.behave(meet)
        threads = MemoryNode.current().dispatcher.threads = AsyncThreads(2)
        self.addCleanup(threads.stop)
        async with connect("/app/") as one, connect("/app/") as two:
            for client in (one, two):
                self.assertEqual(1000, (await client.closed()).code)
        self.assertEqual(2, len(set(events)))

    @asynchronous
    async def test_a_client_that_does_not_read_keeps_no_thread(self) -> None:
        """It is disconnected when its queue is full."""

        def send_much(send: Send) -> None:
            for _ in range(1000):
                async_to_sync(send)({"type": "websocket.send", "bytes": b"x" * 10_000})

        async def flood(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            await receive()
            await receive()
            await sync_to_async(send_much)(send)
            events.append("returned")

        self.behave(flood)
        threads = MemoryNode.current().dispatcher.threads = AsyncThreads(1)
        self.addCleanup(threads.stop)
        async with connect("/app/") as client:
            client.stop_reading()
            await client.send("begin")
            await self.recorded(1)
            client.start_reading()
            self.assertEqual(1013, (await client.closed()).code)


class EndTests(MountTestCase):
    @asynchronous
    async def test_the_client_closes(self) -> None:
        async with connect("/app/") as client:
            await client.close(4321, "enough")
        self.assertEqual(
            {"type": "websocket.disconnect", "code": 4321, "reason": "enough"}, events[-1]
        )

    @asynchronous
    async def test_the_connection_is_lost(self) -> None:
        async with connect("/app/") as client:
            await client.abort()
        self.assertEqual(1006, events[-1]["code"])

    @asynchronous
    async def test_the_application_closes(self) -> None:
        self.behave(
            acts(
                {"type": "websocket.accept"},
                {"type": "websocket.close", "code": 4000, "reason": "bye"},
                {"type": "websocket.send", "text": "too late"},
            )
        )
        async with connect("/app/") as client:
            self.assertEqual(Closed(4000, "bye"), await client.closed())
        self.assertEqual(4000, events[0]["code"])

    @asynchronous
    async def test_close_without_a_code_is_1000(self) -> None:
        self.behave(acts({"type": "websocket.accept"}, {"type": "websocket.close"}))
        async with connect("/app/") as client:
            self.assertEqual(1000, (await client.closed()).code)

    @asynchronous
    async def test_an_application_that_ends_closes_with_1000(self) -> None:
        async def greet(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "hello"})

        self.behave(greet)
        async with connect("/app/") as client:
            self.assertEqual("hello", await client.receive())
            self.assertEqual(1000, (await client.closed()).code)

    @asynchronous
    async def test_a_crash_closes_with_1011_and_is_logged(self) -> None:
        async def crash(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            await receive()
            await receive()
            raise LookupError("a bug")

        self.behave(crash)
        async with connect("/app/") as client:
            await client.send("go")
            self.assertEqual(1011, (await client.closed()).code)
            with self.assertRaises(Disconnected) as caught:
                await client.receive()
            self.assertIsInstance(caught.exception.__cause__, LookupError)
        self.assertEqual(1, len(self.flushLoggedErrors(LookupError)))

    @asynchronous
    async def test_a_crash_in_the_clean_up_is_logged(self) -> None:
        async def crash(scope: Any, receive: Receive, send: Send) -> None:
            await echo(scope, receive, send)
            raise LookupError("a bug")

        self.behave(crash)
        with self.assertRaises(LookupError):
            async with connect("/app/"):
                pass
        self.assertEqual(1, len(self.flushLoggedErrors(LookupError)))

    @asynchronous
    async def test_sends_after_the_end_do_nothing(self) -> None:
        async def clean_up(scope: Any, receive: Receive, send: Send) -> None:
            await echo(scope, receive, send)
            for _ in range(10):
                await send({"type": "websocket.send", "text": "x"})
            events.append("cleaned up")

        self.behave(clean_up)
        async with connect("/app/"):
            pass
        self.assertEqual("cleaned up", events[-1])

    @asynchronous
    async def test_an_application_that_does_not_end_is_cancelled(self) -> None:
        self.patch(websocket_cycle, "GRACE_S", 0.01)

        async def stay(scope: Any, receive: Receive, send: Send) -> None:
            await echo(scope, receive, send)
            try:
                await receive()
            except asyncio.CancelledError:
                events.append("cancelled")
                raise

        self.behave(stay)
        async with connect("/app/"):
            pass
        self.assertEqual("cancelled", events[-1])

    @asynchronous
    async def test_a_node_that_ends_cancels_it(self) -> None:
        async def stay(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                events.append("cancelled")
                raise

        self.behave(stay)
        async with connect("/app/") as client:
            MemoryNode.current().dispatcher.cancel_running()
            self.assertEqual(1001, (await client.closed()).code)
        self.assertEqual(["cancelled"], events)

    @asynchronous
    async def test_a_loop_that_only_sends_ends_soon(self) -> None:
        async def stream(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            while True:
                await send({"type": "websocket.send", "text": "x"})

        self.behave(stream)
        async with connect("/app/") as client:
            await client.receive()
            await client.abort()
        self.assertEqual([], self.flushLoggedErrors())

    @asynchronous
    async def test_a_loop_that_ignores_the_end_lets_others_run(self) -> None:
        self.patch(websocket_cycle, "GRACE_S", 0.05)

        async def stream(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            while True:
                try:
                    await send({"type": "websocket.send", "text": "x"})
                except OSError:
                    events.append("failed")

        self.behave(stream)
        async with connect("/app/") as client:
            await client.receive()
            await client.abort()
        self.assertLess(len(events), 10)

    @asynchronous
    async def test_no_reference_cycle_is_left_of_a_client(self) -> None:
        """Thousands would wait for the garbage collection."""
        gc.collect()
        self.addCleanup(gc.enable)
        gc.disable()
        for _ in range(3):
            async with connect("/app/") as client:
                await client.send("hello")
                await client.receive()
        await asyncio.sleep(0)
        left = [each for each in gc.get_objects() if isinstance(each, WebSocketCycle)]
        self.assertEqual([], left)

    @asynchronous
    async def test_an_application_cannot_end_the_node(self) -> None:
        async def leave(scope: Any, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            raise SystemExit(1)

        self.behave(leave)
        async with connect("/app/") as client:
            self.assertEqual(1011, (await client.closed()).code)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))


class SiteApplicationTests(MountTestCase):
    """C10K["ASGI"], as --asgi."""

    def setUp(self) -> None:
        super().setUp()
        settings = override_settings(C10K={"ASGI": f"{__name__}:application"})
        settings.enable()
        self.addCleanup(settings.disable)

    @asynchronous
    async def test_it_serves_what_has_no_handler(self) -> None:
        for place in ("/nowhere/", "/page/", "/"):
            async with connect(place) as client:
                await client.send("hello")
                self.assertEqual("hello", await client.receive())
        self.assertEqual(["/nowhere/", "/page/", "/"], [scope["path"] for scope in scopes])

    @asynchronous
    async def test_handlers_come_first(self) -> None:
        async with connect("/app/handler/") as client:
            self.assertEqual("a handler", await client.receive())
        self.assertEqual([], scopes)

    @asynchronous
    async def test_within_middleware(self) -> None:
        with override_settings(MIDDLEWARE=[f"{__name__}.middleware"]):
            async with connect("/nowhere/"), connect("/page/"):
                pass
            async with connect("/app/handler/") as client:
                self.assertEqual("a handler", await client.receive())
        self.assertEqual(["/nowhere/", "/page/"], [scope["path"] for scope in scopes])

    @asynchronous
    async def test_a_path_that_is_not_utf_8(self) -> None:
        self.assertEqual(404, (await self.refused("/%ff/")).status)

    def test_what_cannot_be_loaded(self) -> None:
        for name, error in (
            ("tests.nowhere:application", "there is no module 'tests.nowhere'"),
            (f"{__name__}:nothing", "has no application 'nothing'"),
        ):
            with self.assertRaisesRegex(ConfigurationError, f"--asgi {name}: .*{error}"):
                load_application(name, "--asgi")
        with self.assertRaisesRegex(ConfigurationError, "must be MODULE:APPLICATION, not 'x'"):
            load_application("x", "--asgi")


class UserTests(MountTestCase):
    def setUp(self) -> None:
        load_database()
        super().setUp()

    @asynchronous
    async def test_a_user_with_too_many_connections(self) -> None:
        """The application has accepted the client, and learns that it is gone."""
        from django.contrib.auth.models import User

        user = await User.objects.acreate(username="asgi")
        self.addCleanup(user.delete)
        with override_settings(C10K={"MAX_CONNECTIONS_PER_USER": 1}):
            async with connect("/app/", user=user):
                self.assertEqual(429, (await self.refused(user=user)).status)
                await self.recorded(3)
                self.assertEqual(1006, events[-1]["code"])

    @asynchronous
    async def test_a_session_that_ends_closes_the_connection(self) -> None:
        async with connect("/app/", session={"a": 1}) as client:
            await client.send("hello")
            self.assertEqual("hello", await client.receive())
            (session,) = revocable_clients._sessions
            for revoked in tuple(revocable_clients._sessions[session]):
                revoked.end()
            self.assertEqual(1012, (await client.closed()).code)
        self.assertEqual(
            ("websocket.disconnect", 1012, "the session has ended"), tuple(events[-1].values())
        )
