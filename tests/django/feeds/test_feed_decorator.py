"""@feed as a view: the answers to ordinary requests."""

import asyncio
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from twisted.trial.unittest import SynchronousTestCase

from cluster import feed as public
from cluster.django.feeds.feed_decorator import feed, topic_events, topic_names
from cluster.django.handlers.handler_decorator import UpgradeRequired
from cluster.django.handshake.requests import ReactorRequest
from tests.django.site import load_site


@feed
def plain(request: HttpRequest) -> list[str]:
    """The feed's docstring."""
    return []


def sync_page(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"page of {name}")


async def async_page(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"page of {name}")


class ViewTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.requests = RequestFactory()

    def from_the_reactor(self) -> ReactorRequest:
        return ReactorRequest("/x/", "", [("host", "localhost")], secure=False, client="1.2.3.4")

    def test_the_public_name(self) -> None:
        self.assertIs(public, feed)

    def test_406(self) -> None:
        response = plain(self.requests.get("/x/"))
        self.assertEqual(response.status_code, 406)
        self.assertEqual(response["Vary"], "Accept, Prefer")
        self.assertIn(b"c10k.v1", response.content)

    def test_406_without_envelope(self) -> None:
        view = feed(envelope=False)(plain.feed.topics)  # type: ignore[attr-defined]
        response = view(self.requests.get("/x/"))
        self.assertEqual(response.status_code, 406)
        self.assertNotIn(b"c10k.v1", response.content)
        self.assertIn(b"text/event-stream", response.content)

    def test_names_of_events_need_a_feed_without_envelope(self) -> None:
        self.assertRaises(ValueError, topic_names, ["c10k/revocations"])
        error = self.assertRaises(TypeError, topic_names, {"live": "news"})
        self.assertIn("envelope=False", str(error))
        self.assertEqual(topic_events({"live": "news"}), {"live": "news"})
        self.assertEqual(topic_events(["live"]), {"live": "message"})
        self.assertRaises(TypeError, topic_events, {"live": None})

    def test_other_methods(self) -> None:
        response = plain(self.requests.post("/x/"))
        self.assertEqual((response.status_code, response["Allow"]), (405, "GET, HEAD"))

    def test_its_name(self) -> None:
        self.assertEqual(plain.__name__, "plain")
        self.assertEqual(plain.__doc__, "The feed's docstring.")
        self.assertEqual(plain.__module__, __name__)

    def test_a_page(self) -> None:
        for page in (sync_page, async_page):
            view = feed(page=page)(plain.feed.topics)  # type: ignore[attr-defined]
            self.assertEqual(view.__name__, page.__name__)
            for request in (self.requests.get("/x/"), self.requests.post("/x/")):
                response: Any = view(request, name="anna")
                if asyncio.iscoroutine(response):
                    response = asyncio.run(response)
                self.assertEqual(response.content, b"page of anna")
                self.assertEqual(response["Vary"], "Accept, Prefer")
            through: Any = view(self.from_the_reactor(), name="anna")
            if asyncio.iscoroutine(through):
                through = asyncio.run(through)
            self.assertIsInstance(through, UpgradeRequired)

    def test_requests_of_the_reactor_reach_the_view(self) -> None:
        self.assertIsInstance(plain(self.from_the_reactor()), UpgradeRequired)

    def test_arguments_that_are_not_functions(self) -> None:
        self.assertRaises(TypeError, feed, "live")
        self.assertRaises(TypeError, feed, page="page.html")
