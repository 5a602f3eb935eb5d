"""@websocket: a view for HTTP that carries a handler for upgrades."""

import asyncio
from typing import Any

from django.http import HttpResponse
from django.test import RequestFactory
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.feeds.feed_decorator import feed
from cluster.django.handlers.handler_decorator import Accept, Handler, UpgradeRequired, websocket
from cluster.django.handshake.requests import of_handshake
from tests.django.site import load_site


class WebSocketDecoratorTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()

    def test_plain_requests_must_upgrade(self) -> None:
        @websocket
        async def echo(ws: Any, room: str) -> None:
            """Echoes."""

        for method in ("get", "post"):
            request = getattr(RequestFactory(), method)("/echo/")
            response = echo(request, room="here")
            self.assertEqual(response.status_code, 426)
            self.assertIn(b"ws://", response.content)
        self.assertTrue(echo.csrf_exempt)  # type: ignore[attr-defined]

    def test_handshakes_that_another_server_takes_for_requests(self) -> None:
        async def echo(ws: Any) -> None:
            pass

        def topics(request: Any) -> list[str]:
            return []

        for view in (
            websocket(echo),
            websocket(page=self.page)(echo),
            websocket(page=self.async_page)(echo),
            feed(topics),
            feed(page=self.page)(topics),
            feed(page=self.async_page)(topics),
        ):
            with self.assertLogs("cluster.django", "WARNING") as logged:
                response = view(RequestFactory().get("/echo/", headers={"Upgrade": "WebSocket"}))
                if asyncio.iscoroutine(response):
                    response = asyncio.run(response)
            self.assertEqual(response.status_code, 426)
            (line,) = logged.output
            self.assertIn("/echo/: this server does not speak WebSocket. Use manage.py runs", line)
            # WSGI servers break on headers of the connection.
            self.assertEqual({"Upgrade", "Connection"} & set(response.headers), set())

    def test_the_handler_goes_with_the_view(self) -> None:
        async def echo(ws: Any) -> None:
            """Echoes."""

        for view, subprotocols in (
            (websocket(echo), ()),
            (websocket()(echo), ()),
            (websocket(subprotocols=["b", "a"])(echo), ("b", "a")),
        ):
            handler = view.websocket_handler  # type: ignore[attr-defined]
            self.assertEqual(handler, Handler(echo, subprotocols))
            self.assertEqual((view.__name__, view.__doc__), ("echo", "Echoes."))
            self.assertEqual(view.__module__, __name__)

    def test_a_page_and_a_handler_on_one_url(self) -> None:
        for page in (self.page, self.async_page):

            @websocket(page=page)
            async def chat(ws: Any, room: str) -> None:
                """A handler."""

            request = RequestFactory().get("/chat/here/")
            response: Any = chat(request, room="here")
            if asyncio.iscoroutine(response):
                response = asyncio.run(response)
            self.assertEqual((response.status_code, response.content), (200, b"here by page"))
            decision = of_handshake("/chat/here/", "/chat/here/", {}, secure=False, client="")
            response = chat(decision, room="here")
            if asyncio.iscoroutine(response):
                response = asyncio.run(response)
            self.assertIsInstance(response, UpgradeRequired)

    @staticmethod
    def page(request: Any, room: str) -> HttpResponse:
        return HttpResponse(f"{room} by page")

    @staticmethod
    async def async_page(request: Any, room: str) -> HttpResponse:
        return HttpResponse(f"{room} by page")

    def test_a_page_with_a_form_is_not_exempt_from_csrf_checks(self) -> None:
        async def chat(ws: Any) -> None:
            pass

        self.assertFalse(hasattr(websocket(page=self.page)(chat), "csrf_exempt"))
        exempt = websocket(page=csrf_exempt(self.page))(chat)
        self.assertTrue(exempt.csrf_exempt)  # type: ignore[attr-defined]

    def test_a_class_based_page(self) -> None:
        class Page(View):
            def get(self, request: Any) -> HttpResponse:
                return HttpResponse("by class")

        @websocket(page=Page.as_view())
        async def chat(ws: Any) -> None:
            """A handler."""

        self.assertEqual(chat(RequestFactory().get("/")).content, b"by class")
        self.assertEqual(chat(RequestFactory().post("/")).status_code, 405)

    def test_page_and_accept_are_functions(self) -> None:
        for wrong in ("page.html", True):
            self.assertRaises(TypeError, websocket, page=wrong)
            self.assertRaises(TypeError, websocket, accept=wrong)

    def test_one_subprotocol_is_a_list_too(self) -> None:
        self.assertRaises(TypeError, websocket, subprotocols="chat.v1")

    def test_nothing_but_coroutines(self) -> None:
        def blocking(ws: Any) -> None:
            pass

        async def generator(ws: Any) -> Any:
            yield

        for wrong in (blocking, generator, 5, None):
            if wrong is None:
                continue  # the decorator with empty parentheses
            error = self.assertRaises(TypeError, websocket, wrong)
            self.assertIn(repr(wrong), str(error))
            self.assertEqual(error.filename, None if wrong == 5 else __file__)

    def test_subprotocol_is_our_first_choice_of_theirs(self) -> None:
        async def run(ws: Any) -> None:
            pass

        handler = Handler(run, ("best", "good"))
        self.assertEqual(handler.choose(["good", "best"]), "best")
        self.assertEqual(handler.choose(["good"]), "good")
        self.assertIsNone(handler.choose(["other", "BEST"]))
        self.assertIsNone(handler.choose([]))
        self.assertIsNone(Handler(run).choose(["best"]))


class AcceptTests(SynchronousTestCase):
    def test_headers_that_would_break_the_answer(self) -> None:
        for headers in (
            {"X": "a\r\nSet-Cookie: b"},
            {"X\r\nSet-Cookie": "b"},
            {"X": ["a", "b\n"]},
            {"X": "a\0"},
        ):
            self.assertRaises(ValueError, Accept, headers=headers)
        self.assertEqual(Accept(headers={"X": ["a", "b"]}).headers, {"X": ["a", "b"]})
