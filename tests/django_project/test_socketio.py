"""The chat for Socket.IO clients: its namespace in memory, and its page with Django's client."""

from pathlib import Path
from typing import Any

from tests.django.site import load_database, load_site

load_site()

from django.contrib.auth.models import User  # noqa: E402 - models want settings first
from django.test import Client, override_settings  # noqa: E402
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster import publish  # noqa: E402
from cluster.socketio import ConnectionRefused  # noqa: E402
from cluster.testing import asynchronous, connect, connect_socketio  # noqa: E402
from django_project.socketio import views  # noqa: E402

SERVER = "/socket.io/"


async def said(client: Any) -> Any:
    """Return the argument of the next event, which is a message."""
    event, argument = await client.receive()
    assert event == "message", event
    return argument


class NamespaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()

    @asynchronous
    async def test_two_people_receive_messages_and_announcements_of_each_other(self) -> None:
        room = {"room": "pair"}
        async with connect_socketio(SERVER, auth=room) as ada:
            self.assertEqual({"buffer": []}, await said(ada))
            async with connect_socketio(SERVER, auth=room) as alan:
                self.assertEqual({"buffer": []}, await said(alan))
                connected = (await said(ada))["announcement"]
                self.assertRegex(connected, r"^guest-[0-9a-f]{4} connected$")
                name = connected.split()[0]
                self.assertEqual({}, await alan.call("message", {"message": "hello"}))
                for client in (ada, alan):
                    self.assertEqual({"message": [name, "hello"]}, await said(client))
            self.assertEqual({"announcement": f"{name} disconnected"}, await said(ada))

    @asynchronous
    async def test_the_websocket_of_the_same_room_receives_messages_and_sends_them(self) -> None:
        async with (
            connect("/chat/shared/ws/") as websocket,
            connect_socketio(SERVER, auth={"room": "shared"}) as client,
        ):
            await websocket.receive_json()
            await said(client)
            await client.emit("message", {"message": "one", "id": "1"})
            one = await said(client)
            self.assertEqual(one, await websocket.receive_json())
            await websocket.send_json({"message": "two", "id": "2"})
            two = await said(client)
            self.assertEqual(("1", "2"), (one["id"], two["id"]))
            async with connect_socketio(SERVER, auth={"room": "shared"}) as late:
                self.assertEqual({"buffer": [one, two]}, await said(late))

    @asynchronous
    async def test_the_buffer_has_the_last_fifteen_messages(self) -> None:
        async with connect_socketio(SERVER, auth={"room": "buffer"}) as client:
            await said(client)
            for number in range(20):
                await client.call("message", {"message": str(number)})
            async with connect_socketio(SERVER, auth={"room": "buffer"}) as late:
                kept = (await said(late))["buffer"]
        self.assertEqual([str(number) for number in range(5, 20)], [m["message"][1] for m in kept])

    @asynchronous
    async def test_the_lobby(self) -> None:
        async with connect("/chat/ws/") as websocket, connect_socketio(SERVER) as client:
            await websocket.receive_json()
            await said(client)
            publish("chat", "of other code, and not of the chat")
            await client.emit("message", {"message": "hello"})
            self.assertEqual("hello", (await said(client))["message"][1])
            self.assertEqual("of other code, and not of the chat", await websocket.receive())

    @asynchronous
    async def test_a_message_that_violates_the_protocol_is_answered_with_the_reason(self) -> None:
        async with connect_socketio(SERVER, auth={"room": "wrong"}) as client:
            await said(client)
            for sent, error in (
                ({"message": 7}, 'expected {"message": "text"}'),
                ({"message": "x" * 4001}, "a message has at most 4,000 characters"),
            ):
                self.assertEqual({"error": error}, await client.call("message", sent))
            self.assertEqual({}, await client.call("message", {"message": " "}))
            await client.nothing()

    @asynchronous
    async def test_a_name_that_no_room_has(self) -> None:
        for room in ("x" * 41, "a/b", 7):
            with self.assertRaises(ConnectionRefused):
                async with connect_socketio(SERVER, auth={"room": room}):
                    pass

    @asynchronous
    async def test_a_user_has_the_user_name(self) -> None:
        user, _ = await User.objects.aget_or_create(username="chatter")
        async with connect_socketio(SERVER, auth={"room": "user"}, user=user) as client:
            await said(client)
            await client.emit("message", {"message": "hello"})
            self.assertEqual({"message": ["chatter", "hello"]}, await said(client))


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.client = Client(SERVER_NAME="localhost")
        views.has_client.cache_clear()
        self.addCleanup(views.has_client.cache_clear)

    def page(self, *folders: Any) -> str:
        with override_settings(STATICFILES_DIRS=list(folders)):
            return self.client.get("/socketio/a-room/").content.decode()

    def test_without_the_client_the_page_says_how_to_install_it(self) -> None:
        page = self.page()
        self.assertIn("npm ci --prefix django_project/socketio", page)
        self.assertNotIn("socketio/page.js", page)

    def test_with_the_client(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "socket.io.min.js").touch()
        page = self.page(("socket.io-client", folder.absolute()))
        self.assertNotIn("npm ci", page)
        self.assertRegex(page, r'src="/static/socket\.io-client/socket\.io\.min\.js"')
        self.assertIn('data-room="a-room"', page)

    def test_the_form_redirects_to_another_room(self) -> None:
        response = self.client.get("/socketio/", {"room": " my  room "})
        self.assertEqual((302, "/socketio/my-room/"), (response.status_code, response["Location"]))
        response = self.client.get("/socketio/", {"room": "a/b"})
        self.assertIn(b"up to 40 letters", response.content)
