"""The echo WebSockets of the demo site, in memory."""

from tests.django.site import load_site

load_site()

from django.test import override_settings  # noqa: E402 - models want settings first
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster.django import conf  # noqa: E402
from cluster.testing import Closed, Refused, asynchronous, connect  # noqa: E402

OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}


class ConversationTests(SynchronousTestCase):
    @asynchronous
    async def test_the_conversation_has_the_expected_messages(self) -> None:
        async with connect("/test/ws/") as client:
            self.assertEqual("Hello!", await client.receive())
            for number, text in enumerate(("Spam?", "", "é\n<b>"), 1):
                await client.send(text)
                self.assertEqual(f"{number}. {text}", await client.receive())
            self.assertEqual("Goodbye!", await client.receive())
            self.assertEqual(Closed(1000), await client.closed())

    @asynchronous
    async def test_messages_may_arrive_together(self) -> None:
        async with connect("/test/ws/") as client:
            for text in "abc":
                await client.send(text)
            heard = [await client.receive() for _ in range(5)]
            self.assertEqual(["Hello!", "1. a", "2. b", "3. c", "Goodbye!"], heard)
            self.assertEqual(Closed(1000), await client.closed())


class RawEchoTests(SynchronousTestCase):
    @asynchronous
    async def test_every_message_is_sent_back_unchanged(self) -> None:
        limit = conf.load()["MAX_MESSAGE_SIZE"]
        for path in ("/echo/", "/echo/async/"):
            async with connect(path) as client:
                for message in ("", "é", b"", b"\0\xff", "x" * 126, b"y" * 70_000, "z" * limit):
                    await client.send(message)
                    self.assertEqual(message, await client.receive())

    @asynchronous
    async def test_messages_up_to_the_maximum_size_are_echoed(self) -> None:
        limit = conf.load()["MAX_MESSAGE_SIZE"]
        async with connect("/echo/") as client:
            await client.send(b"x" * (limit + 1))
            self.assertEqual(1009, (await client.closed()).code)

    @asynchronous
    async def test_compression_is_accepted_from_clients_that_offer_it(self) -> None:
        for headers, accepted in (({}, False), (OFFER, True)):
            async with connect("/echo/", headers=headers) as client:
                answer = client.headers.get("sec-websocket-extensions", "")
                self.assertEqual(accepted, "permessage-deflate" in answer)
                await client.send("hello")
                self.assertEqual("hello", await client.receive())

    @asynchronous
    async def test_compression_is_off_without_the_setting(self) -> None:
        with override_settings(C10K={}):
            async with connect("/echo/", headers=OFFER) as client:
                self.assertNotIn("sec-websocket-extensions", client.headers)

    @asynchronous
    async def test_an_unknown_path_is_refused(self) -> None:
        with self.assertRaises(Refused) as caught:
            async with connect("/echo/nowhere/"):
                pass
        self.assertEqual(404, caught.exception.status)


class MeetingTests(SynchronousTestCase):
    @asynchronous
    async def test_a_message_after_the_barrier_reaches_all_parties(self) -> None:
        async with connect("/meeting/x/2/") as first, connect("/meeting/x/2/") as second:
            for client in (first, second):
                self.assertEqual("met", await client.receive())
            await first.send("hello")
            for client in (first, second):
                self.assertEqual("hello", await client.receive())
            async with connect("/meeting/x/2/") as late:
                self.assertEqual(1013, (await late.closed()).code)
