"""Handlers in the URLconf."""

import contextlib
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path, reverse, set_urlconf
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.handlers.handler_decorator import websocket
from cluster.django.handshake.url_resolver import NoHandler, find_handler
from tests import profiles  # noqa: F401  (loads it)
from tests.django.site import load_site


@websocket
async def chat(ws: Any, room: str = "") -> None:
    """A handler."""


@websocket(subprotocols=["x"])
async def cell(ws: Any, *place: str) -> None:
    """Another."""


def page(request: HttpRequest) -> HttpResponse:
    """An ordinary view."""
    return HttpResponse()


urlpatterns = [
    path("", page),
    path("chat/", include(([path("", chat), path("<str:room>/", chat, name="room")], "chat"))),
    re_path(r"^cell/([0-9]+)/([0-9]+)$", cell, name="cell"),
]


class FindHandlerTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        set_urlconf(__name__)
        self.addCleanup(set_urlconf, None)

    def assert_none(self, raw_path: str) -> None:
        self.assertRaises(NoHandler, find_handler, raw_path)

    def test_a_handler_with_its_arguments(self) -> None:
        handler, match, decoded = find_handler("/chat/")
        self.assertIs(handler, chat.websocket_handler)  # type: ignore[attr-defined]
        self.assertEqual((match.args, match.kwargs, decoded), ((), {}, "/chat/"))
        handler, match, decoded = find_handler("/chat/blue/")
        self.assertEqual((match.args, match.kwargs), ((), {"room": "blue"}))
        self.assertEqual(decoded, "/chat/blue/")
        handler, match, decoded = find_handler("/cell/3/14")
        self.assertEqual((match.args, match.kwargs), (("3", "14"), {}))
        self.assertEqual(handler.subprotocols, ("x",))

    def test_names(self) -> None:
        url = reverse("chat:room", kwargs={"room": "a b"})
        _, match, _ = find_handler(url)
        self.assertEqual((url, match.view_name), ("/chat/a%20b/", "chat:room"))
        self.assertEqual(match.kwargs, {"room": "a b"})
        self.assertEqual(reverse("cell", args=(3, 14)), "/cell/3/14")
        self.assertEqual(reverse(cell, args=(3, 14)), "/cell/3/14")

    def test_the_path_is_decoded_once(self) -> None:
        for raw, room in {
            "/chat/na%C3%AFve/": "naïve",
            "/chat/a%20b/": "a b",
            "/chat/%2541/": "%41",
            "/%63hat/a/": "a",
            "/chat/..%5c/": "..\\",
        }.items():
            self.assertEqual(find_handler(raw)[1].kwargs, {"room": room})

    def test_paths_without_a_view(self) -> None:
        for raw in (
            "/none",
            "/chat",
            "//chat/",
            "chat/",
            "",
            "/chat/a/b/",
            "/cell/x/1",
            "/chat/?a",
        ):
            self.assert_none(raw)

    def test_an_ordinary_view(self) -> None:
        self.assert_none("/")

    def test_invalid_paths(self) -> None:
        for raw in (
            "/chat/%ff/",
            "/chat/%c3/",
            "/chat/a%00b/",
            "/chat/a\0b/",
            "/chat/%2e%2e%2fetc/",
            "/" + "a" * 65536,
            "/cell/" + "9" * 5000 + "/x",
        ):
            self.assert_none(raw)

    @given(st.text())
    def test_any_path(self, raw_path: str) -> None:
        with contextlib.suppress(NoHandler):
            find_handler(raw_path)
