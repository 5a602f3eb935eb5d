"""Tests of cluster.asgi.async_views: async views of Django, answered in the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.core.signals import request_finished
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path, register_converter
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from twisted.trial.unittest import SynchronousTestCase

from cluster.asgi import async_views
from cluster.asgi.async_streams import refusing_async_streams
from tests.asgi.http_site import GET, HttpSiteTestCase
from tests.django.site import load_site

events: list[Any] = []
"""What the views have recorded."""

gate = asyncio.Event()


async def hello(request: HttpRequest) -> HttpResponse:
    events.append(threading.current_thread())
    return HttpResponse(f"hello {request.META['REMOTE_ADDR']} {request.GET.get('q')}")


async def upload(request: HttpRequest) -> HttpResponse:
    events.append(request.headers.get("Content-Length"))
    return HttpResponse(f"{len(request.body)} {sorted(request.POST)}")


async def waiting(request: HttpRequest) -> HttpResponse:
    events.append("begun")
    try:
        await gate.wait()
    except asyncio.CancelledError:
        events.append("cancelled")
        raise
    return HttpResponse("waited")


async def failing(request: HttpRequest) -> HttpResponse:
    raise KeyError("secret")


async def exiting(request: HttpRequest) -> HttpResponse:
    raise SystemExit(3)


async def numbers(limit: int) -> AsyncIterator[bytes]:
    try:
        number = 0
        while limit < 0 or number < limit:
            yield b"%06d\n" % number
            number += 1
    finally:
        events.append(("closed", number))


async def stream(request: HttpRequest, limit: int = -1) -> StreamingHttpResponse:
    return StreamingHttpResponse(numbers(limit))


async def breaks(request: HttpRequest) -> StreamingHttpResponse:
    async def content() -> AsyncIterator[bytes]:
        yield b"begun"
        raise KeyError("in the stream")

    return StreamingHttpResponse(content())


async def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    def content() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            events.append(threading.current_thread())

    return StreamingHttpResponse(content())


async def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))


async def in_thread(request: HttpRequest) -> HttpResponse:
    names = [await sync_to_async(threading.current_thread)() for _ in range(3)]
    events.extend(names)
    return HttpResponse("ok")


class Page(View):
    @method_decorator(never_cache)
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("a class")


def plain(request: HttpRequest) -> HttpResponse:
    raise AssertionError("the site of the test has another WSGI application")


class FromDatabase:
    """A path converter that may not run in the event loop."""

    regex = "[a-z]+"

    def to_python(self, value: str) -> str:
        from django.utils.asyncio import async_unsafe

        async_unsafe(lambda: None)()
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(FromDatabase, "from_database")


async def found(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"found {name}")


def handler500(request: HttpRequest) -> HttpResponse:
    return HttpResponse("failed", status=500)


urlpatterns = [
    path("hello/", csrf_exempt(never_cache(hello))),
    path("upload/", csrf_exempt(upload)),
    path("waiting/", waiting),
    path("failing/", failing),
    path("exiting/", exiting),
    path("stream/", stream),
    path("stream/<int:limit>/", stream),
    path("breaks/", breaks),
    path("in-thread/", in_thread),
    path("sync-stream/", sync_stream),
    path("file/", file),
    path("page/", Page.as_view()),
    path("plain/", plain),
    path("found/<from_database:name>/", found),
]


class AsyncViewTestCase(HttpSiteTestCase):
    urls = __name__

    def setUp(self) -> None:
        super().setUp()
        events.clear()


class DecisionTests(AsyncViewTestCase):
    def test_a_coroutine_function_runs_in_the_event_loop(self) -> None:
        async def test() -> None:
            for _ in range(2):  # decided, and remembered
                head, body = await self.answer(self.get("/hello/?q=1"))
                self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n"), head)
                self.assertIn(b"Cache-Control: max-age=0", head)
                self.assertEqual(body, b"hello 192.168.1.1 1")
            self.assertEqual(events, [threading.current_thread()] * 2)
            self.assertEqual(self.requests.served, {"async": 2})
            self.assertEqual(self.in_threads, [])

        self.run_test(test)

    def test_a_class_with_coroutine_handlers(self) -> None:
        async def test() -> None:
            self.assertEqual((await self.answer(self.get("/page/")))[1], b"a class")

        self.run_test(test)

    def test_sync_views_and_unknown_urls_go_to_the_threads(self) -> None:
        async def test() -> None:
            for where in ("/plain/", "/nothing/", "/%ff", "/plain/"):
                self.assertEqual((await self.answer(self.get(where)))[1], b"thread")
            self.assertEqual(len(self.in_threads), 4)
            self.assertEqual(self.requests.served, {})

        self.run_test(test)

    def test_a_path_converter_that_asks_the_database_needs_a_thread(self) -> None:
        async def test() -> None:
            for _ in range(2):
                self.assertEqual((await self.answer(self.get("/found/it/")))[1], b"thread")

        self.run_test(test)

    def test_few_paths_are_remembered(self) -> None:
        self.patch(async_views, "REMEMBERED", 3)

        async def test() -> None:
            for number in range(8):
                await self.answer(self.get(f"/stream/{number}/"))
                await self.answer(self.get("/hello/?" + "x" * 300))
                self.assertLessEqual(len(self.requests._kinds), 3)
            await self.answer(self.get("/" + "x" * 300))
            self.assertNotIn(b"/" + b"x" * 300, self.requests._kinds)

        self.run_test(test)


class ResponseTests(AsyncViewTestCase):
    def test_bodies(self) -> None:
        body = b"a=1&b=" + b"x" * 150_000  # larger than what is kept in memory
        head = (
            b"POST /upload/ HTTP/1.1\r\nHost: testserver\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
        )
        chunked = b"".join(
            b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:5], body[5:], b"")
        )
        expected = b"%d ['a', 'b']" % len(body)

        async def test() -> None:
            with_length = head + b"Content-Length: %d\r\n\r\n" % len(body)
            answer = await self.answer(self.send(with_length, body))
            self.assertEqual(answer[1], expected)
            answer = await self.answer(
                self.send(head + b"Transfer-Encoding: chunked\r\n\r\n", chunked)
            )
            self.assertEqual(answer[1], expected)
            self.assertEqual(self.site.bodies.bytes, 0)
            self.assertEqual(self.site.bodies.files, 0)
            expecting = head + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            transport = self.send(expecting)
            self.assertEqual(transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")
            transport.protocol.dataReceived(b"c=d")
            self.assertIn(b"3 ['c']", await transport.wait_for(b"3 ['c']"))
            large = head + b"Content-Length: 1000000\r\n\r\n"
            self.assertTrue(self.send(large).value().startswith(b"HTTP/1.1 413 "))

        self.run_test(test)

    def test_head_keep_alive_and_pipelining(self) -> None:
        async def test() -> None:
            head = GET.format("/hello/", "").replace("GET", "HEAD").encode()
            get = GET.format("/hello/", "").encode()
            plain = GET.format("/plain/", "").encode()
            transport = self.send(head + get + plain + get)
            await self.until(lambda: transport.value().count(b"hello") == 2)
            answers = transport.value().split(b"HTTP/1.1 200 OK\r\n")[1:]
            self.assertEqual(len(answers), 4)
            bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
            hello = b"hello 192.168.1.1 None"
            self.assertEqual(bodies, [b"", hello, b"thread", hello])
            self.assertIn(b"Content-Length: %d" % len(hello), answers[1])
            self.assertFalse(transport.disconnecting)
            transport.protocol.dataReceived(GET.format("/hello/", "Connection: close\r\n").encode())
            await self.until(lambda: transport.disconnecting)

        self.run_test(test)

    def test_errors_of_views_are_logged_and_answered_500(self) -> None:
        async def test() -> None:
            head, body = await self.answer(self.get("/failing/"))
            self.assertTrue(head.startswith(b"HTTP/1.1 500 "), head)
            self.assertNotIn(b"secret", body)

        with self.assertLogs("django.request", "ERROR") as logs:  # type: ignore[attr-defined]
            self.run_test(test)
        record = logs.records[0]
        self.assertEqual((record.status_code, record.exc_info[0]), (500, KeyError))
        self.assertEqual(record.request.path, "/failing/")

    def test_a_view_cannot_end_the_node(self) -> None:
        async def test() -> None:
            head, _ = await self.answer(self.get("/exiting/"))
            self.assertTrue(head.startswith(b"HTTP/1.1 500 "), head)
            self.assertEqual((await self.answer(self.get("/page/")))[1], b"a class")

        self.run_test(test)
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_requests_beyond_the_limit_are_answered_503(self) -> None:
        self.settings = {"ASYNC_REQUESTS": 2}

        async def test() -> None:
            global gate
            gate = asyncio.Event()
            running = [self.get("/waiting/") for _ in range(2)]
            head, _ = await self.answer(self.get("/hello/"))
            self.assertTrue(head.startswith(b"HTTP/1.1 503 "), head)
            self.assertIn(b"Retry-After: 1", head)
            self.assertEqual((self.requests.refused, self.requests.active), (1, 2))
            self.assertEqual((await self.answer(self.get("/plain/")))[1], b"thread")
            gate.set()
            for transport in running:
                self.assertEqual((await self.answer(transport))[1], b"waited")
            await self.until(lambda: not self.requests.active)
            self.assertEqual((await self.answer(self.get("/page/")))[1], b"a class")

        self.run_test(test)

    def test_many_at_once_need_no_threads(self) -> None:
        async def test() -> None:
            global gate
            gate = asyncio.Event()
            running = [self.get("/waiting/") for _ in range(200)]
            await self.until(lambda: events.count("begun") == 200)
            self.assertLessEqual(len(self.requests.threads), 10)
            gate.set()
            for transport in running:
                self.assertEqual((await self.answer(transport))[1], b"waited")

        self.run_test(test)

    def test_a_view_is_cancelled_when_its_client_leaves(self) -> None:
        finished: list[object] = []

        def count(**more: object) -> None:
            finished.append(more)

        async def test() -> None:
            global gate
            gate = asyncio.Event()
            transport = self.get("/waiting/")
            await self.until(lambda: "begun" in events)
            self.leave(transport)
            await self.until(lambda: not self.requests.active)
            self.assertEqual(events, ["begun", "cancelled"])
            self.assertEqual(self.requests.left, 1)
            self.assertEqual(len(finished), 1)

        request_finished.connect(count)
        self.addCleanup(request_finished.disconnect, count)
        self.run_test(test)

    def test_a_view_is_cancelled_when_the_node_stops(self) -> None:
        async def test() -> None:
            global gate
            gate = asyncio.Event()
            transport = self.get("/waiting/")
            await self.until(lambda: "begun" in events)
            self.requests.cancel()
            head, _ = await self.answer(transport)
            self.assertTrue(head.startswith(b"HTTP/1.1 503 "), head)
            self.assertEqual(events, ["begun", "cancelled"])

        self.run_test(test)


class StreamTests(AsyncViewTestCase):
    def test_a_stream_arrives_as_it_comes_and_ends(self) -> None:
        async def test() -> None:
            head, body = await self.answer(self.get("/stream/2/"))
            self.assertIn(b"Transfer-Encoding: chunked", head)
            self.assertEqual(body, b"7\r\n000000\n\r\n7\r\n000001\n\r\n0\r\n\r\n")
            self.assertEqual(events, [("closed", 2)])

        self.run_test(test)

    def test_an_endless_stream_waits_for_its_client_and_ends_with_it(self) -> None:
        async def visit() -> None:
            transport = self.get("/stream/")
            await transport.wait_for(b"000003")
            transport.protocol.pauseProducing()  # the buffer of the transport is full
            before = len(transport.value())
            for _ in range(3):
                self.assertEqual((await self.answer(self.get("/plain/")))[1], b"thread")
            self.assertLess(len(transport.value()) - before, 20)
            transport.protocol.resumeProducing()
            await self.until(lambda: len(transport.value()) > before + 50)
            self.leave(transport)
            await self.until(lambda: not self.requests.active)

        async def test() -> None:
            for _ in range(100):
                await visit()
            self.assertEqual(self.requests.left, 100)
            await self.until(lambda: len(events) == 100)  # each generator was closed

        self.run_test(test)

    def test_a_synchronous_stream_is_made_as_the_client_reads(self) -> None:
        async def test() -> None:
            transport = self.get("/sync-stream/")
            await transport.wait_for(b"x" * 1000)
            transport.protocol.pauseProducing()
            self.assertEqual((await self.answer(self.get("/plain/")))[1], b"thread")
            size = len(transport.value())
            transport.protocol.resumeProducing()
            await self.until(lambda: len(transport.value()) > size + 10_000)
            self.leave(transport)
            await self.until(lambda: not self.requests.active)
            self.assertEqual(len(events), 1)
            self.assertIsNot(events[0], threading.current_thread())

        self.run_test(test)

    def test_a_file(self) -> None:
        async def test() -> None:
            content = Path(__file__).read_bytes()
            head, body = await self.answer(self.get("/file/"))
            self.assertIn(b"Content-Length: %d" % len(content), head)
            self.assertEqual(body, content)
            self.assertEqual(len(self.requests.threads), 1)

        self.run_test(test)

    def test_head_of_an_endless_stream(self) -> None:
        async def test() -> None:
            head = GET.format("/stream/", "").replace("GET", "HEAD").encode()
            transport = self.send(head + GET.format("/page/", "").encode())
            await transport.wait_for(b"a class")
            self.assertEqual(transport.value().count(b"HTTP/1.1 200 OK"), 2)
            self.assertNotIn(b"000000", transport.value())
            await self.until(lambda: not self.requests.active)
            self.assertEqual(self.requests.left, 0)

        self.run_test(test)

    def test_an_error_in_a_stream_cuts_the_connection(self) -> None:
        async def test() -> None:
            transport = self.get("/breaks/")
            await self.until(lambda: transport.disconnecting)
            self.assertIn(b"begun", transport.value())
            self.assertFalse(transport.value().endswith(b"0\r\n\r\n"))

        self.run_test(test)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_synchronous_code_of_a_request(self) -> None:
        async def test() -> None:
            await self.answer(self.get("/in-thread/"))
            self.assertNotIn(threading.current_thread(), events)

        self.run_test(test)


class SyncMiddlewareTests(AsyncViewTestCase):
    """Middleware that is only synchronous has a thread for each request, as in Django."""

    middleware = ("tests.asgi.test_async_views.only_sync",)

    def test_it_runs_around_the_view(self) -> None:
        async def test() -> None:
            head, body = await self.answer(self.get("/hello/"))
            self.assertIn(b"X-Middleware: yes", head)
            self.assertEqual(body, b"hello 192.168.1.1 None")
            self.assertEqual(events, [threading.current_thread()])

        self.run_test(test)


def only_sync(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = get_response(request)
        response["X-Middleware"] = "yes"
        return response

    return middleware


class SyncViewTests(SynchronousTestCase):
    """An asynchronous stream of a synchronous view."""

    def call(self, response: HttpResponseBase) -> tuple[list[Any], bytes]:
        started: list[Any] = []

        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            return response

        parts = refusing_async_streams(application)(
            {"PATH_INFO": "/a/"}, lambda *args: started.append(args)
        )
        return started, b"".join(parts)

    def test_it_is_refused_and_logged(self) -> None:
        load_site()
        response = StreamingHttpResponse(numbers(-1))
        with self.assertLogs("django.request", "ERROR") as logs:  # type: ignore[attr-defined]
            started, body = self.call(response)
        self.assertIn('"async def"', logs.output[0])
        self.assertEqual(started[1][0], "500 Internal Server Error")
        self.assertEqual(body, b"Internal Server Error\n")
        self.assertTrue(response.closed)

    def test_other_responses_are_passed_on(self) -> None:
        load_site()
        self.assertEqual(self.call(HttpResponse("text"))[1], b"text")
        self.assertEqual(self.call(StreamingHttpResponse([b"a", b"b"]))[1], b"ab")
