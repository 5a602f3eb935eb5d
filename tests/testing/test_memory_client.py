"""connect: a test's client and handlers, under trial."""

import asyncio
import unittest

from django.test import override_settings
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cluster import Disconnected, Receipt, publish
from cluster.django.api import topics
from cluster.testing import Closed, Refused, asynchronous, connect
from tests.django.site import load_site
from tests.testing import urls


class ClientTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        settings = override_settings(ROOT_URLCONF="tests.testing.urls")
        settings.enable()
        self.addCleanup(settings.disable)
        urls.ended.clear()


class MessageTests(ClientTestCase):
    @asynchronous
    async def test_text_and_binary(self) -> None:
        async with connect("/echo/") as client:
            for message in ("hello", "", "ü" * 200, b"\x00\xff", b"x" * 70_000):
                await client.send(message)
                self.assertEqual(message, await client.receive())

    @asynchronous
    async def test_json(self) -> None:
        async with connect("/echo/") as client:
            await client.send_json({"a": [1, None]})
            self.assertEqual({"a": [1, None]}, await client.receive_json())

    @asynchronous
    async def test_captured_arguments_and_query(self) -> None:
        async with connect("/echo/anna/?x=1") as client:
            self.assertEqual("anna", await client.receive())

    @asynchronous
    async def test_many_messages_keep_their_order(self) -> None:
        """More messages than a handler's queue holds."""
        async with connect("/echo/") as client:
            for number in range(500):
                await client.send(str(number))
            heard = [await client.receive() for _ in range(500)]
        self.assertEqual([str(number) for number in range(500)], heard)

    @asynchronous
    async def test_nothing(self) -> None:
        async with connect("/echo/") as client:
            await client.nothing(within=0.01)
            await client.send("something")
            with self.assertRaisesRegex(AssertionError, "something"):
                await client.nothing()

    @asynchronous
    async def test_timeouts(self) -> None:
        async with connect("/echo/") as client:
            with self.assertRaisesRegex(TimeoutError, r"no message within 0\.01 s"):
                await client.receive(timeout=0.01)
            with self.assertRaisesRegex(TimeoutError, r"no close within 0\.01 s"):
                await client.closed(timeout=0.01)


class HandshakeTests(ClientTestCase):
    @asynchronous
    async def test_subprotocol(self) -> None:
        async with connect("/echo/", subprotocols=["other", "good"]) as client:
            self.assertEqual("good", client.subprotocol)
        async with connect("/echo/", subprotocols=["other"]) as client:
            self.assertIsNone(client.subprotocol)

    @asynchronous
    async def test_refused(self) -> None:
        with self.assertRaises(Refused) as caught:
            async with connect("/nowhere/"):
                self.fail("accepted")
        self.assertEqual(404, caught.exception.status)
        self.assertIn("no WebSocket", caught.exception.body)
        self.assertEqual("close", caught.exception.headers["connection"])

    @asynchronous
    async def test_origin(self) -> None:
        async with connect("/echo/", origin="http://localhost"):
            pass
        with self.assertRaisesRegex(Refused, "403"):
            async with connect("/echo/", origin="https://elsewhere.example"):
                self.fail("accepted")

    @asynchronous
    async def test_host(self) -> None:
        with self.assertRaisesRegex(Refused, "400"):
            async with connect("/echo/", headers={"Host": "elsewhere.example"}):
                self.fail("accepted")
        with override_settings(ALLOWED_HOSTS=["testserver"]):
            async with connect("/echo/"):
                pass


class EndTests(ClientTestCase):
    @asynchronous
    async def test_closed_by_the_handler(self) -> None:
        async with connect("/leave/") as client:
            self.assertEqual(Closed(4321, "enough"), await client.closed())
            self.assertEqual("bye", await client.receive())
            with self.assertRaises(Disconnected) as caught:
                await client.receive()
            self.assertEqual(4321, caught.exception.code)
            with self.assertRaises(Disconnected):
                await client.send("too late")

    @asynchronous
    async def test_handlers_have_ended_after_the_block(self) -> None:
        async with connect("/echo/"):
            self.assertEqual([], urls.ended)
        self.assertEqual(["echo"], urls.ended)
        async with connect("/elsewhere/"):
            pass
        self.assertEqual(["echo", "elsewhere"], urls.ended)

    @asynchronous
    async def test_lost_connection(self) -> None:
        async with connect("/topic/a/") as client:
            await client.abort()
            self.assertEqual(["a"], urls.ended)
            self.assertEqual(1006, (await client.closed()).code)

    @asynchronous
    async def test_a_failing_test_is_not_hidden(self) -> None:
        with self.assertRaisesRegex(ZeroDivisionError, "mine"):
            async with connect("/broken/") as client:
                await client.send("go")
                raise ZeroDivisionError("mine")
        self.flushLoggedErrors(LookupError)


class ErrorTests(ClientTestCase):
    """The test receives the handler's error."""

    def tearDown(self) -> None:
        self.assertEqual(1, len(self.flushLoggedErrors(LookupError)))

    @asynchronous
    async def test_the_error_is_the_cause_of_disconnected(self) -> None:
        async with connect("/broken/") as client:
            await client.send("go")
            with self.assertRaises(Disconnected) as caught:
                await client.receive()
        self.assertEqual(1011, caught.exception.code)
        self.assertIsInstance(caught.exception.__cause__, LookupError)

    @asynchronous
    async def test_expected(self) -> None:
        async with connect("/broken/") as client:
            await client.send("go")
            self.assertEqual(1011, (await client.closed()).code)

    @asynchronous
    async def test_an_unreported_error_is_raised_at_the_end_of_the_block(self) -> None:
        with self.assertRaisesRegex(LookupError, "a bug"):
            async with connect("/broken/") as client:
                await client.send("go")

    @asynchronous
    async def test_in_a_callback(self) -> None:
        with self.assertRaisesRegex(LookupError, "a bug"):
            async with connect("/callback/") as client:
                await client.send("go")


class TopicTests(ClientTestCase):
    @asynchronous
    async def test_between_clients(self) -> None:
        async with connect("/topic/t/") as one, connect("/topic/t/") as two:
            await one.send("hello")
            self.assertEqual("hello", await two.receive())
            self.assertEqual("hello", await one.receive())

    @asynchronous
    async def test_publish_from_the_test(self) -> None:
        async with connect("/topic/t/") as client:
            self.assertEqual(Receipt(1, 1), publish("t", "from outside"))
            self.assertEqual("from outside", await client.receive())

    @asynchronous
    async def test_publish_from_another_thread(self) -> None:
        async with connect("/topic/t/") as client:
            await asyncio.to_thread(publish, "t", "from a thread")
            self.assertEqual("from a thread", await client.receive())

    @asynchronous
    async def test_a_client_that_does_not_read(self) -> None:
        async with connect("/latest/") as client:
            self.assertEqual("ready", await client.receive())
            client.stop_reading()
            for number in range(3):
                publish("numbers", str(number))
            client.start_reading()
            self.assertEqual("the newest", await client.receive())
            publish("numbers", "4")
            self.assertEqual("4", await client.receive())


class IsolationTests(ClientTestCase):
    """Two tests that would fail if one affected the other."""

    @asynchronous
    async def subscribe_and_keep(self) -> None:
        async with connect("/topic/t/") as client:
            self.assertEqual(Receipt(1, 1), publish("t", "kept", retain=0))
            self.assertEqual("kept", await client.receive())
            self.assertIsNotNone(topics.node)

    def test_nothing_is_left(self) -> None:
        self.subscribe_and_keep()
        self.assertIsNone(topics.node)
        self.subscribe_and_keep()

    def test_an_abandoned_client(self) -> None:
        """The end of the event loop closes a client that the test did not close."""

        async def abandon() -> None:
            await connect("/elsewhere/").__aenter__()

        asyncio.run(abandon())
        self.assertEqual(["elsewhere"], urls.ended)
        self.assertIsNone(topics.node)
        self.subscribe_and_keep()


class TrialTests(TestCase):
    """Under trial's TestCase a reactor runs; on the asyncio reactor a test is a task of its
    loop."""

    setUp = ClientTestCase.setUp

    @asynchronous
    async def test_echo(self) -> None:
        async with connect("/echo/") as client:
            await client.send("hello")
            self.assertEqual("hello", await client.receive())


class IsolatedTests(unittest.IsolatedAsyncioTestCase):
    """unittest.IsolatedAsyncioTestCase."""

    def setUp(self) -> None:
        load_site()
        settings = override_settings(ROOT_URLCONF="tests.testing.urls")
        settings.enable()
        self.addCleanup(settings.disable)

    async def test_echo(self) -> None:
        async with connect("/echo/") as client:
            await client.send("hello")
            self.assertEqual("hello", await client.receive())

    def tearDown(self) -> None:
        self.assertIsNotNone(topics.node)

    @classmethod
    def tearDownClass(cls) -> None:
        assert topics.node is None
