"""The page of connected clients in Django's admin."""

from typing import Any

from tests.django.site import load_database, load_site

load_site()

from django.contrib.auth.models import Permission  # noqa: E402 - models want settings first
from django.test import Client, override_settings  # noqa: E402
from django.urls import include, path  # noqa: E402
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster import NotRunning  # noqa: E402
from tests.django.visitors import new_user  # noqa: E402

URL = "/admin/c10k/connection/"

CLIENT = {
    "node": "node1",
    "id": "7f00",
    "kind": "websocket",
    "path": "/chat/ws/<b>",
    "user": "ada",
    "address": "192.0.2.1",
    "topics": ["chat"],
    "queued_bytes": 12,
}

urlpatterns: list[Any] = []


def with_admin() -> Any:
    """The demo site with Django's admin."""
    from django.conf import settings

    templates = [
        {
            **settings.TEMPLATES[0],
            "OPTIONS": {
                "context_processors": [
                    *settings.TEMPLATES[0]["OPTIONS"]["context_processors"],
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ]
    more = ["django.contrib.messages.middleware.MessageMiddleware"]
    return override_settings(
        INSTALLED_APPS=[
            *settings.INSTALLED_APPS,
            "django.contrib.admin",
            "django.contrib.messages",
        ],
        MIDDLEWARE=[*settings.MIDDLEWARE, *more],
        TEMPLATES=templates,
        ROOT_URLCONF=__name__,
    )


class AdminTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        settings = with_admin()
        settings.enable()
        self.addCleanup(settings.disable)
        from django.contrib import admin

        from cluster.django import admin as ours

        if not urlpatterns:
            urlpatterns[:] = [
                path("admin/", admin.site.urls),
                path("", include("django_project.urls")),
            ]
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer: Any = {"total": 300, "clients": [CLIENT], "silent": ["node3"]}
        self.patch(ours, "operate", self.operate)
        self.client = Client(SERVER_NAME="localhost")

    def operate(self, command: str, **arguments: Any) -> Any:
        self.asked.append((command, arguments))
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"disconnected": 1} if command == "disconnect" else self.answer

    def log_in(self, *permissions: str) -> None:
        user = new_user(is_staff=True)
        for name in permissions:
            user.user_permissions.add(Permission.objects.get(codename=name))
        self.client.force_login(user)

    def test_the_clients(self) -> None:
        self.log_in("view_connection")
        response = self.client.get(URL, {"user": "ada", "path": " "})
        page = response.content.decode()
        self.assertEqual(200, response.status_code)
        self.assertEqual([("clients", {"limit": 200, "user": "ada"})], self.asked)
        for text in (
            "300 clients, of which 1 are shown",
            "node3",
            "/chat/ws/&lt;b&gt;",
            'value="ada"',
        ):
            self.assertIn(text, page)
        self.assertNotIn("Disconnect", page)

    def test_disconnecting(self) -> None:
        self.log_in("view_connection", "delete_connection")
        self.assertIn("Disconnect the chosen", self.client.get(URL).content.decode())
        response = self.client.post(URL, {"client": ["node1 7f00", "nonsense"]}, follow=True)
        self.assertIn(("disconnect", {"node": "node1", "id": "7f00"}), self.asked)
        self.assertIn("Disconnected 1 client.", response.content.decode())

    def test_permissions(self) -> None:
        self.log_in()
        self.assertEqual(403, self.client.get(URL).status_code)
        self.log_in("view_connection")
        self.assertEqual(403, self.client.post(URL, {"client": "node1 7f00"}).status_code)
        self.client.logout()
        self.assertEqual(302, self.client.get(URL).status_code)
        self.assertEqual([], [each for each in self.asked if each[0] == "disconnect"])

    def test_without_a_cluster(self) -> None:
        self.log_in("view_connection", "delete_connection")
        self.answer = NotRunning("this process is not a node")
        page = self.client.get(URL).content.decode()
        self.assertIn("This process is not a node", page)
        self.assertIn("Nobody is connected.", page)

    def test_nothing_is_added_or_changed(self) -> None:
        self.log_in("view_connection", "delete_connection")
        self.assertEqual(403, self.client.get(f"{URL}add/").status_code)
