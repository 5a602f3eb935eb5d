"""Tests of a Django project as users would write them, for Django's test runner."""

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings

from cluster import Receipt, members, publish
from cluster.testing import Refused, capture_publications, connect


class UserTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.anna = User.objects.create_user("anna", password="secret")

    async def test_a_client_without_a_user_is_anonymous(self) -> None:
        async with connect("/who/") as client:
            self.assertEqual(["nobody", None], await client.receive_json())

    async def test_user_and_session(self) -> None:
        async with connect("/who/", user=self.anna, session={"colour": "red"}) as client:
            self.assertEqual(["anna", "red"], await client.receive_json())

    async def test_session_alone(self) -> None:
        async with connect("/who/", session={"colour": "blue"}) as client:
            self.assertEqual(["nobody", "blue"], await client.receive_json())

    async def test_cookies_of_the_test_client(self) -> None:
        await self.async_client.alogin(username="anna", password="secret")
        async with connect("/who/", cookies=self.async_client.cookies) as client:
            self.assertEqual(["anna", None], await client.receive_json())

    async def test_session_values_that_a_handler_saves_are_kept(self) -> None:
        await self.async_client.alogin(username="anna", password="secret")
        cookies = self.async_client.cookies
        async with connect("/choose/", cookies=cookies) as client:
            for colour in ("red", "green"):
                await client.send(colour)
                self.assertEqual("saved", await client.receive())
        session = await self.async_client.asession()
        self.assertEqual("green", await session.aget("colour"))
        async with connect("/who/", cookies=cookies) as client:
            self.assertEqual(["anna", "green"], await client.receive_json())

    async def test_logout_closes(self) -> None:
        await self.async_client.aforce_login(self.anna)
        async with connect("/who/", cookies=self.async_client.cookies) as client:
            await client.receive_json()
            await self.async_client.alogout()
            self.assertEqual(4401, (await client.closed()).code)


class TransactionTests(TestCase):
    """Handlers use the test's database inside the test's transaction."""

    @classmethod
    def setUpTestData(cls) -> None:
        Group.objects.create(name="first")

    async def make_one(self) -> None:
        await Group.objects.acreate(name="second")
        async with connect("/groups/") as client:
            self.assertEqual(2, await client.receive_json())
            await client.send("third")
            self.assertEqual(3, await client.receive_json())
        self.assertEqual(3, await Group.objects.acount())

    async def test_one(self) -> None:
        await self.make_one()

    async def test_two_does_not_see_the_rows_of_one(self) -> None:
        await self.make_one()


class PublishTests(TestCase):
    async def test_a_view_may_publish(self) -> None:
        async with connect("/follow/news/") as client:
            self.assertEqual("following", await client.receive())
            await self.async_client.get("/say/news/")
            self.assertEqual("said", await client.receive())

    async def test_on_commit(self) -> None:
        async with connect("/follow/news/") as client:
            self.assertEqual("following", await client.receive())
            await self.async_client.get("/say/news/?atomic")
            self.assertEqual("said on commit", await client.receive())
            await client.nothing()

    async def test_rolled_back(self) -> None:
        async with connect("/follow/news/") as client:
            self.assertEqual("following", await client.receive())
            await self.async_client.get("/say/news/?atomic&fail")
            await client.nothing()

    async def test_from_the_test(self) -> None:
        async with connect("/follow/news/") as client:
            self.assertEqual("following", await client.receive())
            receipt = publish("news", "hello")
            self.assertEqual(Receipt(1, 1), receipt)
            self.assertEqual("hello", await client.receive())

    def test_a_view_may_publish_without_clients(self) -> None:
        """A test of a view that publishes needs no cluster."""
        self.assertEqual(b"outside", self.client.get("/say/news/").content)
        self.assertEqual(b"committed", self.client.get("/say/news/?atomic").content)

    def test_captured(self) -> None:
        with capture_publications() as published:
            self.client.get("/say/news/")
            self.client.get("/say/news/?atomic")
            self.client.get("/say/news/?atomic&fail")
        self.assertEqual([("news", "said"), ("news", "said on commit")], published)

    def test_topics_have_no_members_in_a_test_that_only_captures(self) -> None:
        with capture_publications():
            self.assertEqual((), members("anywhere"))

    def test_captured_in_a_test_that_makes_the_calls_itself(self) -> None:
        for _ in range(2):
            with (
                capture_publications() as published,
                self.captureOnCommitCallbacks(execute=True) as calls,
            ):
                self.client.get("/say/news/?atomic")
            self.assertEqual([("news", "said on commit")], published)
            self.assertEqual(1, len(calls))

    async def test_captured_in_a_coroutine(self) -> None:
        async with capture_publications() as published:
            await self.async_client.get("/say/news/?atomic")
            async with connect("/follow/news/") as client:
                self.assertEqual("following", await client.receive())
                publish("news", "hello")
                self.assertEqual("hello", await client.receive())
            await self.async_client.get("/say/news/?atomic")
        publish("news", "too late")
        self.assertEqual(
            ["said on commit", "hello", "said on commit"], [message for _, message in published]
        )

    async def test_messages_published_before_the_block_are_not_captured(self) -> None:
        async with connect("/follow/news/") as client:
            self.assertEqual("following", await client.receive())
            await self.async_client.get("/say/news/?atomic")
            await client.send("now")
            publish("news", "hello")
            self.assertEqual("said on commit", await client.receive())
            self.assertEqual("hello", await client.receive())

    def test_captured_twice(self) -> None:
        with capture_publications() as outer:
            publish("news", "one")
            with capture_publications() as inner:
                publish("news", b"two")
            publish("news", "three")
        self.assertEqual([("news", b"two")], inner)
        self.assertEqual(["one", b"two", "three"], [message for _, message in outer])


class CommittingTests(TransactionTestCase):
    async def test_on_commit(self) -> None:
        async with connect("/follow/news/") as client:
            self.assertEqual("following", await client.receive())
            await self.async_client.get("/say/news/?atomic")
            self.assertEqual("said on commit", await client.receive())

    def test_captured(self) -> None:
        with capture_publications() as published:
            self.client.get("/say/news/?atomic")
        self.assertEqual([("news", "said on commit")], published)


class NoDatabaseTests(SimpleTestCase):
    async def test_topics(self) -> None:
        async with connect("/follow/news/") as one, connect("/follow/news/") as two:
            await one.receive()
            await two.receive()
            publish("news", "hello")
            self.assertEqual(["hello", "hello"], [await one.receive(), await two.receive()])


class HistoryTests(SimpleTestCase):
    """Neither of two tests may receive messages that the other one published."""

    async def publish_and_follow(self) -> None:
        publish("kept/1", "hello")
        async with connect("/follow/kept/1/") as client:
            self.assertEqual({"following", "hello"}, {await client.receive() for _ in range(2)})
            await client.nothing()

    async def test_one(self) -> None:
        await self.publish_and_follow()

    async def test_another(self) -> None:
        await self.publish_and_follow()

    @override_settings(C10K={"TOPICS": {"more/*": {"history": 2}}})
    async def test_other_settings(self) -> None:
        publish("kept/1", "gone")
        for number in range(3):
            publish("more/1", str(number))
        async with connect("/follow/kept/1/") as client:
            self.assertEqual("following", await client.receive())
            await client.nothing()
        async with connect("/follow/more/1/") as client:
            self.assertEqual({"following", "1", "2"}, {await client.receive() for _ in range(3)})


class ClassHistoryTests(TestCase):
    """Messages that setUpTestData publishes are in each test of the class, as its rows are."""

    @classmethod
    def setUpTestData(cls) -> None:
        publish("kept/1", "of the class")

    async def follow(self) -> None:
        async with capture_publications() as published:
            for _ in range(2):
                async with connect("/follow/kept/1/") as client:
                    received = {await client.receive() for _ in range(2)}
                    self.assertEqual({"following", "of the class"}, received)
                    await client.nothing()
        self.assertEqual([], published)

    async def test_one(self) -> None:
        await self.follow()

    async def test_another(self) -> None:
        await self.follow()


class TwoDatabasesTests(TestCase):
    """Messages that setUpTestData publishes with two databases arrive once in each test."""

    databases = ("default", "second")

    @classmethod
    def setUpTestData(cls) -> None:
        with transaction.atomic():
            pass  # one more savepoint than in the other database, so that their names differ
        for database in cls.databases:
            publish("kept/1", database, using=database)

    async def test_once(self) -> None:
        for _ in range(2):
            async with connect("/follow/kept/1/") as client:
                received = {await client.receive() for _ in range(3)}
                self.assertEqual({"following", "default", "second"}, received)
                await client.nothing()


class LimitTests(SimpleTestCase):
    @override_settings(
        C10K={
            "MAX_MESSAGE_SIZE": 10,
            "MAX_CONNECTIONS_PER_CLIENT": 1,
            "PROXY_HEADERS": ["127.0.0.1"],
        }
    )
    async def test_limits(self) -> None:
        ours, other = ({"X-Forwarded-For": f"192.0.2.{number}"} for number in (1, 2))
        async with connect("/who/", headers=ours) as client:
            with self.assertRaises(Refused) as caught:
                async with connect("/who/", headers=ours):
                    self.fail("accepted")
            self.assertEqual(429, caught.exception.status)
            async with connect("/who/", headers=other):
                pass
            await client.send("x" * 11)
            self.assertEqual(1009, (await client.closed()).code)

    @override_settings(C10K={"PROXY_HEADERS": ["127.0.0.1"]})
    async def test_proxy(self) -> None:
        headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        async with connect("/who/", headers=headers, origin="https://testserver"):
            pass

    async def test_secure(self) -> None:
        async with connect("/who/", origin="https://testserver", secure=True):
            pass
        with self.assertRaises(Refused):
            async with connect("/who/", origin="https://testserver"):
                self.fail("accepted")
