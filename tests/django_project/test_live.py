"""The live feed's page, an ordinary view that publishes, and its plain socket."""

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

    def test_a_script_gets_the_receipt(self) -> None:
        with capture_publications():
            response = self.client.post("/live/", {"message": "hello"}, headers=JSON)
        self.assertEqual({"nodes", "connections_here"}, set(response.json()))

    def test_what_is_not_published(self) -> None:
        with capture_publications() as published:
            for text in ("", "  ", "x" * 501):
                self.assertEqual(400, self.client.post("/live/", {"message": text}).status_code)
                response = self.client.post("/live/", {"message": text}, headers=JSON)
                self.assertEqual(400, response.status_code)
                self.assertTrue(response.json()["error"])
        self.assertEqual([], list(published))

    def test_only_with_the_site_s_own_form(self) -> None:
        client = Client(SERVER_NAME="localhost", enforce_csrf_checks=True)
        self.assertEqual(403, client.post("/live/", {"message": "hello"}).status_code)

    @asynchronous
    async def test_the_socket_has_messages_as_they_were_published(self) -> None:
        async with connect("/live/ws/") as client:
            await client.nothing()  # the subscription is in force
            publish("live", "hello")
            publish("live", b"\x00")
            self.assertEqual("hello", await client.receive())
            self.assertEqual(b"\x00", await client.receive())
        async with connect("/live/ws/") as late:
            await late.nothing()  # from now on: what is kept is for feeds
