"""The live feed: its page, the view that publishes, and its plain WebSocket."""

from tests.django.site import load_database, load_site

load_site()

from django.test import Client  # noqa: E402 - Django's modules want its settings first
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster import publish  # noqa: E402
from cluster.testing import asynchronous, capture_publications, connect  # noqa: E402

JSON = {"Accept": "application/json"}


class LiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.client = Client(SERVER_NAME="localhost")

    def test_the_form_publishes(self) -> None:
        with capture_publications() as published:
            response = self.client.post("/live/", {"message": " hello "})
        self.assertEqual((302, "/live/"), (response.status_code, response["Location"]))
        self.assertEqual([("live", "hello")], [(each.topic, each.message) for each in published])

    def test_a_script_receives_the_receipt(self) -> None:
        with capture_publications():
            response = self.client.post("/live/", {"message": "hello"}, headers=JSON)
        self.assertEqual({"nodes", "connections_here"}, set(response.json()))

    def test_invalid_messages_are_not_published(self) -> None:
        with capture_publications() as published:
            for text in ("", "  ", "x" * 501):
                self.assertEqual(400, self.client.post("/live/", {"message": text}).status_code)
                response = self.client.post("/live/", {"message": text}, headers=JSON)
                self.assertEqual(400, response.status_code)
                self.assertTrue(response.json()["error"])
        self.assertEqual([], list(published))

    def test_a_post_without_the_csrf_token_is_refused(self) -> None:
        client = Client(SERVER_NAME="localhost", enforce_csrf_checks=True)
        self.assertEqual(403, client.post("/live/", {"message": "hello"}).status_code)

    @asynchronous
    async def test_the_websocket_sends_messages_unchanged(self) -> None:
        async with connect("/live/ws/") as client:
            await client.nothing()  # the client is subscribed now
            publish("live", "hello")
            publish("live", b"\x00")
            self.assertEqual("hello", await client.receive())
            self.assertEqual(b"\x00", await client.receive())
        async with connect("/live/ws/") as late:
            await late.nothing()  # the WebSocket sends no history, only feeds do
