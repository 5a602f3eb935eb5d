"""The consumers of Channels and the stream of the demo site."""

from typing import Any

from tests.django.site import load_database, load_site

load_site()

from django.test import Client, RequestFactory, override_settings  # noqa: E402 - models want settings
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster.testing import Refused, asynchronous, connect  # noqa: E402
from django_project.consumers import urls, views  # noqa: E402


class ConsumerTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()

    @asynchronous
    async def test_the_echo(self) -> None:
        async with connect("/consumers/ws/echo/") as client:
            for message in ("hello", b"\x00"):
                await client.send(message)
                self.assertEqual(message, await client.receive())

    @asynchronous
    async def test_the_group(self) -> None:
        async with (
            connect("/consumers/ws/group/") as one,
            connect("/consumers/ws/group/") as two,
        ):
            for client in (one, two):
                self.assertEqual({"joined": "a guest"}, await client.receive_json())
            await one.send_json({"message": "hello"})
            for client in (one, two):
                self.assertEqual({"message": ["a guest", "hello"]}, await client.receive_json())

    @asynchronous
    async def test_an_invalid_message(self) -> None:
        for wrong in ({}, [], {"message": 1}, {"message": ""}, {"message": "x" * 501}):
            async with connect("/consumers/ws/group/") as client:
                await client.send_json(wrong)
                self.assertEqual(1008, (await client.closed()).code, wrong)


urlpatterns = [urls.sockets(False)]


class WithoutChannelsTests(SynchronousTestCase):
    """This module as the URLconf of a site without Channels."""

    @asynchronous
    async def test_the_sockets_are_refused_with_the_reason(self) -> None:
        with override_settings(ROOT_URLCONF=__name__), self.assertRaises(Refused) as caught:
            async with connect("/consumers/ws/echo/"):
                self.fail("accepted")
        refused = caught.exception
        self.assertEqual((501, f"{views.MISSING}\n"), (refused.status, refused.body))

    def test_the_page_has_the_reason(self) -> None:
        self.patch(views, "find_spec", lambda name: None)
        page = Client(SERVER_NAME="localhost").get("/consumers/").content.decode()
        self.assertIn("pip install", page)
        self.assertNotIn('id="say"', page)


class StreamTests(SynchronousTestCase):
    @asynchronous
    async def test_all_words(self) -> None:
        self.patch(views, "PAUSE_S", 0)
        response: Any = await views.stream(RequestFactory().get("/consumers/stream/"))
        parts = [part async for part in response.streaming_content]
        self.assertGreater(len(parts), 20)
        self.assertEqual(views.TEXT.split(), b"".join(parts).decode().split())

    def test_the_page(self) -> None:
        page = Client(SERVER_NAME="localhost").get("/consumers/")
        self.assertIn('id="say"', page.content.decode())
