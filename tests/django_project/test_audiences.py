"""The form of the audiences' page: which audiences a guest and a user may choose."""

from tests.django.site import load_database, load_site

load_site()

from django.test import Client  # noqa: E402 - Django's modules want its settings first
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster.testing import capture_publications  # noqa: E402
from tests.django.visitors import new_user  # noqa: E402

JSON = {"Accept": "application/json"}


class FormTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.client = Client(SERVER_NAME="localhost")

    def publish(self, to: str, name: str = "") -> int:
        """Publish; returns the status, and keeps what was published."""
        message = {"facility": "demo", "to": to, "name": name, "message": "hello"}
        with capture_publications() as published:
            response = self.client.post("/audiences/", message, headers=JSON)
        self.published = [each.topic for each in published]
        self.error = response.json().get("error")
        return int(response.status_code)

    def test_guests_do_not_publish_to_users_and_groups(self) -> None:
        for to in ("user", "group"):
            self.assertEqual(400, self.publish(to, "ada"))
            self.assertEqual("Log in to publish to users and groups.", self.error)
            self.assertEqual([], self.published)

    def test_guests_publish_to_everybody_and_to_their_session(self) -> None:
        self.client.get("/audiences/")
        for to in ("broadcast", "session"):
            self.assertEqual(200, self.publish(to))
            self.assertEqual(1, len(self.published))

    def test_users_publish_to_users_and_groups(self) -> None:
        self.client.force_login(new_user())
        for to in ("user", "group"):
            self.assertEqual(200, self.publish(to, "ada"))
            self.assertEqual(1, len(self.published))
            self.assertEqual(400, self.publish(to))
            self.assertEqual("Whose name?", self.error)
