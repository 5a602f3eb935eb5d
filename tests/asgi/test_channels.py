"""Consumers of a project for Channels, unchanged, on a node in memory."""

from functools import partial
from typing import Any

from django.test import override_settings
from twisted.trial.unittest import SynchronousTestCase

from cluster.testing import Closed, Refused, asynchronous, connect
from tests.django.site import load_database

IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

browser = partial(connect, origin="http://localhost")


class ConsumerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        settings = override_settings(
            ROOT_URLCONF="tests.e2e.channels_urls", MIDDLEWARE=[], CHANNEL_LAYERS=IN_MEMORY
        )
        settings.enable()
        self.addCleanup(settings.disable)
        from tests.e2e import channels_urls

        self.disconnected = channels_urls.disconnected
        self.disconnected.clear()


class EchoTests(ConsumerTestCase):
    @asynchronous
    async def test_a_synchronous_consumer(self) -> None:
        async with browser("/ws/echo/") as client:
            for message in ("hello", b"\x00\xff"):
                await client.send(message)
                self.assertEqual(message, await client.receive())
            await client.send("close")
            self.assertEqual(Closed(4321, "as requested"), await client.closed())
        self.assertEqual([("SyncEcho", 4321)], self.disconnected)

    @asynchronous
    async def test_its_disconnect_may_send(self) -> None:
        async with browser("/ws/echo/") as client:
            await client.close(1001)
        self.assertEqual([("SyncEcho", 1001)], self.disconnected)

    @asynchronous
    async def test_a_crash_closes_with_1011(self) -> None:
        async with browser("/ws/echo/") as client:
            await client.send("crash")
            self.assertEqual(1011, (await client.closed()).code)
        self.assertEqual(1, len(self.flushLoggedErrors(LookupError)))

    @asynchronous
    async def test_an_asynchronous_consumer(self) -> None:
        async with browser("/ws/async-echo/?a=1", subprotocols=["other", "echo.v1"]) as client:
            self.assertEqual(
                ("echo.v1", "AsyncEcho"), (client.subprotocol, client.headers["x-consumer"])
            )
            self.assertEqual("a=1", await client.receive())
            await client.send(b"bytes")
            self.assertEqual(b"bytes", await client.receive())
        self.assertEqual([("AsyncEcho", 1000)], self.disconnected)

    @asynchronous
    async def test_a_consumer_that_closes_before_it_accepts(self) -> None:
        with self.assertRaises(Refused) as caught:
            async with browser("/ws/async-echo/"):
                self.fail("accepted")
        self.assertEqual(403, caught.exception.status)

    @asynchronous
    async def test_the_origin_that_channels_checks(self) -> None:
        """Its validator refuses clients without an Origin, which this server accepts."""
        with self.assertRaises(Refused) as caught:
            async with connect("/ws/echo/"):
                self.fail("accepted")
        self.assertEqual(403, caught.exception.status)

    @asynchronous
    async def test_a_path_without_a_consumer(self) -> None:
        """Channels' router raises ValueError, which would be a traceback in the log."""
        with self.assertRaises(Refused) as caught:
            async with browser("/ws/nothing/"):
                self.fail("accepted")
        self.assertEqual(404, caught.exception.status)


class UserTests(ConsumerTestCase):
    def setUp(self) -> None:
        super().setUp()
        from django.contrib.auth.models import Group, User

        self.user = User.objects.create_user("channels", password="secret")
        self.addCleanup(User.objects.all().delete)
        self.addCleanup(Group.objects.all().delete)

    @asynchronous
    async def test_user_session_and_orm(self) -> None:
        async with browser("/ws/visits/", user=self.user, session={"visits": 6}) as client:
            await client.send_json({"group": "first"})
            self.assertEqual(
                {"user": "channels", "visits": 7, "groups": ["first"]}, await client.receive_json()
            )

    @asynchronous
    async def test_a_guest_is_denied(self) -> None:
        with self.assertRaises(Refused) as caught:
            async with browser("/ws/visits/"):
                self.fail("accepted")
        self.assertEqual(403, caught.exception.status)


class GroupTests(ConsumerTestCase):
    async def join(self, *clients: Any) -> None:
        for client in clients:
            self.assertEqual("joined", await client.receive_json())

    @asynchronous
    async def test_a_group_of_a_room(self) -> None:
        async with (
            browser("/ws/chat/one/") as anna,
            browser("/ws/chat/one/") as ben,
            browser("/ws/chat/two/") as other,
        ):
            await self.join(anna, ben, other)
            await anna.send_json({"message": "hello"})
            for client in (anna, ben):
                self.assertEqual({"message": "hello"}, await client.receive_json())
            await other.nothing()

    @asynchronous
    async def test_groups_of_a_synchronous_consumer(self) -> None:
        async with browser("/ws/news/") as one, browser("/ws/news/") as two:
            await self.join(one, two)
            await two.send_json("rain")
            for client in (one, two):
                self.assertEqual({"news": "rain"}, await client.receive_json())
