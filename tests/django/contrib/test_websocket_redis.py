"""The audiences' socket as a client sees it, in memory, and their page: an ordinary view."""

from collections.abc import Callable
from typing import Any

from tests.django.site import load_database, load_site

load_site()

from asgiref.sync import sync_to_async  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402 - models want settings first
from django.core.exceptions import PermissionDenied  # noqa: E402
from django.http import HttpRequest  # noqa: E402
from django.test import Client, override_settings  # noqa: E402
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster import publish_to  # noqa: E402
from cluster.django.api.audiences import session_topic  # noqa: E402
from cluster.django.contrib import websocket_redis  # noqa: E402
from cluster.testing import Refused, asynchronous, capture_publications, connect  # noqa: E402

JSON = {"Accept": "application/json"}


async def async_rule(request: HttpRequest, channels: set[str]) -> set[str]:
    """A permission function on the reactor."""
    return channels & {"publish-broadcast", "subscribe-broadcast"}


def rule_of_the_database(request: HttpRequest, channels: set[str]) -> set[str]:
    """A permission function that uses the ORM."""
    if not User.objects.filter(pk=request.user.pk).exists():
        raise PermissionDenied("not in the database")
    return channels


def only_staff_subscribes_to_secrets(request: Any, channels: set[str]) -> set[str]:
    """A permission function that looks at the facility, in either way."""
    captured = request.resolver_match.kwargs["facility"]
    if "secrets" in (request.facility, captured) and not request.user.is_staff:
        raise PermissionDenied
    return channels if request.facility == captured else set()


def by(rule: Callable[..., object]) -> Any:
    """With this function as C10K["AUDIENCE_PERMISSION"]."""
    return override_settings(C10K={"AUDIENCE_PERMISSION": f"{__name__}.{rule.__name__}"})


class AudiencesPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.client = Client(SERVER_NAME="localhost")

    def post(self, **fields: str) -> list[tuple[str, str | bytes]]:
        fields = {"facility": "demo", "message": "hello", **fields}
        with capture_publications() as published:
            response = self.client.post("/audiences/", fields, headers=JSON)
        self.assertEqual(200, response.status_code, response.content)
        return [(each.topic, each.message) for each in published]

    def log_in(self) -> None:
        self.client.force_login(User.objects.get_or_create(username="audience-sender")[0])

    def test_to_each_kind(self) -> None:
        self.log_in()
        self.client.get("/audiences/")
        key = self.client.session.session_key
        assert key is not None
        for to, name, topic in (
            ("broadcast", "", "audience/demo/broadcast"),
            ("user", "ada", "audience/demo/user/ada"),
            ("group", "engineers", "audience/demo/group/engineers"),
            ("session", "", session_topic("demo", key)),
        ):
            self.assertEqual([(topic, "hello")], self.post(to=to, name=name))

    def test_a_user_without_a_name(self) -> None:
        self.log_in()
        fields = {"facility": "demo", "message": "hello", "to": "user"}
        response = self.client.post("/audiences/", fields, headers=JSON)
        self.assertEqual({"error": "Whose name?"}, response.json())
        self.assertIn(b"Whose name?", self.client.post("/audiences/", fields).content)

    def test_the_page_names_the_user(self) -> None:
        page = self.client.get("/audiences/").content.decode()
        self.assertIn("You are", page)
        self.assertIn("a guest", page)
        self.assertIn('name="publish-broadcast" aria-label="Publish to everybody" disabled', page)
        user, _ = User.objects.get_or_create(username="audience-user")
        user.groups.add(Group.objects.get_or_create(name="audience-group")[0])
        self.client.force_login(user)
        page = self.client.get("/audiences/").content.decode()
        self.assertIn("<strong>audience-user</strong>", page)
        self.assertIn("<strong>audience-group</strong>", page)


class AudienceSocketTests(SynchronousTestCase):
    """/ws/FACILITY as a client sees it."""

    def setUp(self) -> None:
        load_database()
        self.ada, _ = User.objects.get_or_create(username="ada")
        self.ada.groups.add(Group.objects.get_or_create(name="engineers")[0])

    @asynchronous
    async def test_each_client_receives_its_audiences(self) -> None:
        everything = "subscribe-broadcast&subscribe-user&subscribe-group&subscribe-session"
        async with (
            connect(f"/ws/demo?{everything}", user=self.ada) as ada,
            connect(f"/ws/demo?{everything}") as guest,
            connect("/ws/other?subscribe-broadcast") as other,
        ):
            for client in (ada, guest, other):
                await client.nothing()
            publish_to("to ada", facility="demo", users=["ada"])
            publish_to("to engineers", facility="demo", groups=["engineers"])
            publish_to("to all", facility="demo", broadcast=True)
            self.assertEqual("to ada", await ada.receive())
            self.assertEqual("to engineers", await ada.receive())
            self.assertEqual("to all", await ada.receive())
            self.assertEqual("to all", await guest.receive())
            await other.nothing()

    @asynchronous
    async def test_a_session_s_own(self) -> None:
        visitor = Client(SERVER_NAME="localhost")
        await sync_to_async(visitor.get)("/audiences/")
        key = visitor.cookies["sessionid"].value
        async with (
            connect("/ws/demo?subscribe-session", cookies=visitor.cookies) as own,
            connect("/ws/demo?subscribe-session") as other,
        ):
            await own.nothing()
            publish_to("to you", facility="demo", sessions=[key])
            self.assertEqual("to you", await own.receive())
            await own.nothing()
            await other.nothing()

    @asynchronous
    async def test_a_facility_is_judged_by_its_name_however_it_is_spelt(self) -> None:
        with by(only_staff_subscribes_to_secrets):
            for facility in ("secrets", "secrets/", "/secrets", "//secrets//", "s%65crets%2F"):
                with self.assertRaises(Refused) as refused:
                    async with connect(f"/ws/{facility}?subscribe-broadcast"):
                        pass
                self.assertEqual(403, refused.exception.status, facility)
            async with connect("/ws/news/?subscribe-broadcast") as client:
                await client.nothing()
                publish_to("hello", facility="news", broadcast=True)
                self.assertEqual("hello", await client.receive())

    @asynchronous
    async def test_the_last_message_comes_first(self) -> None:
        async with connect("/ws/demo?subscribe-broadcast") as first:
            await first.nothing()
            for text in ("one", "two"):
                publish_to(text, facility="demo", broadcast=True, expire=60)
                self.assertEqual(text, await first.receive())
            for query in ("subscribe-broadcast", "subscribe-broadcast&echo"):
                async with connect(f"/ws/demo?{query}") as late:
                    self.assertEqual("two", await late.receive())
                    await late.nothing()

    @asynchronous
    async def test_publishing_and_echo(self) -> None:
        query = "subscribe-broadcast&publish-broadcast"
        async with (
            connect(f"/ws/demo?{query}", user=self.ada) as plain,
            connect(f"/ws/demo?{query}&echo", user=self.ada) as echo,
        ):
            for text in ("hello", "hello", "--heartbeat--", "bye"):
                await echo.send(text)
            self.assertEqual(["hello", "bye"], [await plain.receive() for _ in range(2)])
            self.assertEqual(["hello", "hello", "bye"], [await echo.receive() for _ in range(3)])
            await plain.send("mine")
            self.assertEqual("mine", await echo.receive())
            await plain.nothing()

    @asynchronous
    async def test_heartbeats(self) -> None:
        self.patch(websocket_redis, "HEARTBEAT_S", 0.01)
        async with connect("/ws/demo?subscribe-broadcast") as client:
            for _ in range(2):
                self.assertEqual("--heartbeat--", await client.receive())

    @asynchronous
    async def test_a_guest_may_not_publish(self) -> None:
        with self.assertRaises(Refused) as caught:
            async with connect("/ws/demo?publish-broadcast"):
                pass
        self.assertEqual(403, caught.exception.status)
        async with connect("/ws/demo?subscribe-broadcast&publish-broadcast&echo") as client:
            await client.send("not for anybody")
            await client.nothing()

    @asynchronous
    async def test_without_a_permission_function_publishing_is_not_allowed(self) -> None:
        with override_settings(C10K={}):
            with self.assertRaises(Refused) as caught:
                async with connect("/ws/demo?publish-user", user=self.ada):
                    pass
            self.assertEqual(403, caught.exception.status)
            async with connect("/ws/demo?subscribe-user", user=self.ada) as client:
                await client.nothing()
                publish_to("to ada", facility="demo", users=[self.ada])
                self.assertEqual("to ada", await client.receive())

    @asynchronous
    async def test_permission_functions_of_all_kinds(self) -> None:
        query = "subscribe-broadcast&publish-broadcast&echo"
        with by(async_rule):
            async with connect(f"/ws/demo?{query}") as guest:
                await guest.send("hello")
                self.assertEqual("hello", await guest.receive())
            with self.assertRaises(Refused) as caught:
                async with connect("/ws/demo?subscribe-user", user=self.ada):
                    pass
            self.assertEqual(403, caught.exception.status)
        with by(rule_of_the_database):
            async with connect(f"/ws/demo?{query}", user=self.ada) as ada:
                await ada.send("hello")
                self.assertEqual("hello", await ada.receive())
            with self.assertRaises(Refused) as caught:
                async with connect(f"/ws/demo?{query}"):
                    pass
            self.assertEqual(403, caught.exception.status)
            self.assertIn("not in the database", str(caught.exception))

    @asynchronous
    async def test_a_facility_without_a_name(self) -> None:
        with self.assertRaises(Refused) as caught:
            async with connect("/ws//"):
                pass
        self.assertEqual(404, caught.exception.status)

    def test_a_plain_request_learns_what_the_url_is_for(self) -> None:
        self.assertEqual(426, Client(SERVER_NAME="localhost").get("/ws/demo").status_code)
