"""The chat: its WebSocket in memory, and its page with Django's test client."""

import re
import time
from typing import Any

from tests.django.site import load_database, load_site

load_site()

from django.contrib.auth.models import User  # noqa: E402 - models want settings first
from django.test import Client  # noqa: E402
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster import testing  # noqa: E402
from cluster.testing import Closed, asynchronous, connect  # noqa: E402
from django_project.chat import handlers  # noqa: E402
from django_project.chat.handlers import BadMessage, buffer, said, topic_of  # noqa: E402


def message(text: str, **more: str) -> dict[str, str]:
    return {"message": text, **more}


class MessageTests(SynchronousTestCase):
    def test_valid_messages_are_decoded(self) -> None:
        self.assertEqual(message("hi"), said(message("hi")))
        self.patch(handlers.time, "time", lambda: 1_700_000_000.5)
        expected = {"message": " hi\n", "id": "7", "at": 1_700_000_000_500}
        self.assertEqual(expected, said(message(" hi\n", id="7", more="x")))
        self.assertEqual(message("x" * 4000), said(message("x" * 4000)))

    def test_empty_messages_are_ignored(self) -> None:
        for text in ("", " ", "\n\t"):
            self.assertIsNone(said(message(text)))

    def test_messages_that_violate_the_protocol_are_refused(self) -> None:
        received: list[Any] = [
            None,
            "hi",
            [],
            {},
            {"message": 7},
            {"message": ["ada", "hi"]},
            message("x" * 4001),
            message("hi", id="x" * 65),
            {"message": "hi", "id": 7},
        ]
        for each in received:
            self.assertRaises(BadMessage, said, each)

    def test_an_empty_buffer_is_sent_too(self) -> None:
        self.assertEqual(['{"buffer": []}'], buffer([]))
        kept = '{"message": ["a", "b"]}'
        self.assertEqual([f'{{"buffer": [{kept}]}}'], buffer([kept]))

    def test_the_buffer_leaves_out_messages_that_are_not_of_the_chat(self) -> None:
        """As after ``manage.py publish chat "hello"``; otherwise no client could enter any more."""
        kept = '{"message": ["a", "b"]}'
        for strange in (
            "hello",
            b"\xff",
            "7",
            "[]",
            "{}",
            '{"message": "b"}',
            '{"message": [1, 2]}',
        ):
            self.assertEqual([f'{{"buffer": [{kept}]}}'], buffer([strange, kept]))

    def test_each_room_has_its_own_topic(self) -> None:
        self.assertEqual(3, len({topic_of(""), topic_of("a"), topic_of("lobby")}))


class SocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()

    @asynchronous
    async def test_two_people_receive_messages_and_announcements_of_each_other(self) -> None:
        async with connect("/chat/ws/") as ada, connect("/chat/ws/") as alan:
            self.assertEqual({"buffer": []}, await ada.receive_json())
            self.assertEqual({"buffer": []}, await alan.receive_json())
            connected = (await ada.receive_json())["announcement"]
            self.assertRegex(connected, r"^guest-[0-9a-f]{4} connected$")
            name = connected.split()[0]
            await alan.send_json(message("hello"))
            self.assertEqual({"message": [name, "hello"]}, await ada.receive_json())
            await alan.nothing()  # neither its own message nor its own announcement
            await alan.close()
            self.assertEqual({"announcement": f"{name} disconnected"}, await ada.receive_json())

    @asynchronous
    async def test_the_buffer_has_the_last_fifteen_messages(self) -> None:
        async with connect("/chat/history/ws/") as ada:
            for number in range(20):
                await ada.send_json(message(str(number), id=f"id-{number}"))
            await ada.send_json({"ping": 1})
            await ada.receive_json()
            sent_back = [await ada.receive_json() for _ in range(20)]
            self.assertEqual("id-19", sent_back[-1]["id"])
            self.assertEqual({"pong": 1}, await ada.receive_json())
            async with connect("/chat/history/ws/") as alan:
                kept = (await alan.receive_json())["buffer"]
        self.assertEqual([str(number) for number in range(5, 20)], [m["message"][1] for m in kept])
        self.assertEqual("id-19", kept[-1]["id"])

    @asynchronous
    async def test_the_sender_of_a_message_with_an_id_receives_it_too(self) -> None:
        async with connect("/chat/ws/") as ada:
            await ada.receive_json()
            await ada.send_json(message("hello"))
            await ada.nothing()
            await ada.send_json(message("hello", id="1"))
            received = await ada.receive_json()
            self.assertEqual("1", received["id"])
            self.assertLess(abs(received["at"] / 1000 - time.time()), 60)

    @asynchronous
    async def test_a_client_may_ask_who_is_in_the_room(self) -> None:
        async with connect("/chat/here/ws/"), connect("/chat/here/ws/?members=1") as alan:
            await alan.receive_json()
            first = await alan.receive_json()
            self.assertEqual((2, 2), (first["count"], len(first["members"])))
            async with connect("/chat/here/ws/"):
                joined = await alan.receive_json()
                self.assertEqual(f"{joined['joined']} connected", joined["announcement"])
            left = await alan.receive_json()
            self.assertEqual(joined["joined"], left["left"])

    @asynchronous
    async def test_a_room_receives_nothing_from_another(self) -> None:
        async with connect("/chat/one/ws/") as one, connect("/chat/two/ws/") as two:
            for client in (one, two):
                self.assertEqual({"buffer": []}, await client.receive_json())
            await one.send_json(message("hello"))
            await two.nothing()

    @asynchronous
    async def test_html_is_sent_as_text(self) -> None:
        async with connect("/chat/ws/") as ada, connect("/chat/ws/") as alan:
            await ada.receive_json()
            await alan.receive_json()
            await ada.send_json(message("<script>alert(1)</script>"))
            self.assertEqual("<script>alert(1)</script>", (await alan.receive_json())["message"][1])

    @asynchronous
    async def test_a_client_that_violates_the_protocol_is_closed_with_the_reason(self) -> None:
        for sent, code, reason in (
            ('{"message": 7}', 1008, 'expected {"message": "text"}'),
            ('{"message": "%s"}' % ("x" * 4001), 1008, "a message has at most 4,000 characters"),
            ("hello", 1007, "not valid JSON"),
        ):
            async with connect("/chat/ws/") as client:
                await client.receive_json()
                await client.send(sent)
                self.assertEqual(Closed(code, reason), await client.closed())

    @asynchronous
    async def test_a_room_name_that_is_too_long_is_refused(self) -> None:
        with self.assertRaises(testing.Refused) as caught:
            async with connect(f"/chat/{'x' * 41}/ws/"):
                pass
        self.assertEqual(404, caught.exception.status)


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.client = Client(SERVER_NAME="localhost")

    def name(self, path: str = "/chat/") -> str:
        found = re.search(r'data-name="([^"]+)"', self.client.get(path).content.decode())
        assert found is not None
        return found[1]

    def test_a_guest_keeps_the_same_name(self) -> None:
        name = self.name()
        self.assertRegex(name, r"^guest-[0-9a-f]{4}$")
        self.assertEqual(name, self.name("/chat/room/"))
        self.client.cookies.clear()
        self.assertNotEqual(name, self.name())

    def test_a_user_has_the_user_name(self) -> None:
        user, _ = User.objects.get_or_create(username="chat<user>")
        self.client.force_login(user)
        page = self.client.get("/chat/").content.decode()
        self.assertIn('data-name="chat&lt;user&gt;"', page)

    @asynchronous
    async def test_the_websocket_of_a_page_uses_the_same_name(self) -> None:
        user, _ = await User.objects.aget_or_create(username="chatter")
        async with connect("/chat/ws/") as other, connect("/chat/ws/", user=user) as own:
            await other.receive_json()
            await own.receive_json()
            self.assertEqual("chatter connected", (await other.receive_json())["announcement"])

    def test_the_form_redirects_to_another_room(self) -> None:
        for asked, address in (("django", "/chat/django/"), (" my  room ", "/chat/my-room/")):
            response = self.client.get("/chat/", {"room": asked})
            self.assertEqual((302, address), (response.status_code, response["Location"]))
        response = self.client.get("/chat/", {"room": "a/b"})
        self.assertEqual(200, response.status_code)
        self.assertIn(b"up to 40 letters", response.content)
        self.assertEqual(404, self.client.get(f"/chat/{'x' * 41}/").status_code)
