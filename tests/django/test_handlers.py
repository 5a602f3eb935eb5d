"""@websocket: a view for HTTP that carries a handler for upgrades."""

from typing import Any

from django.test import RequestFactory
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.handlers import Handler, websocket
from tests.django.site import load_site


class WebSocketDecoratorTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()

    def test_plain_requests_are_told_to_upgrade(self) -> None:
        @websocket
        async def echo(ws: Any, room: str) -> None:
            """Echoes."""

        for method in ("get", "post"):
            request = getattr(RequestFactory(), method)("/echo/")
            response = echo(request, room="here")
            self.assertEqual(response.status_code, 426)
            self.assertEqual(response["Upgrade"], "websocket")
            self.assertIn(b"ws://", response.content)
        self.assertTrue(echo.csrf_exempt)  # type: ignore[attr-defined]

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

    def test_subprotocol_is_our_first_choice_of_theirs(self) -> None:
        async def run(ws: Any) -> None:
            pass

        handler = Handler(run, ("best", "good"))
        self.assertEqual(handler.choose(["good", "best"]), "best")
        self.assertEqual(handler.choose(["good"]), "good")
        self.assertIsNone(handler.choose(["other", "BEST"]))
        self.assertIsNone(handler.choose([]))
        self.assertIsNone(Handler(run).choose(["best"]))
