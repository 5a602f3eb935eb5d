"""A feed without envelope: what an EventSource reads, losses, and what is refused."""

from typing import Any

from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.feeds import bare_stream, server_sent_events
from cluster.django.feeds.bare_stream import BareStream, encode_lines
from cluster.net.websocket.frames import binary_frame, text_frame
from cluster.testing import Refused, asynchronous, connect
from tests import profiles  # noqa: F401  (loads it)
from tests.django.feeds.feed_site import FeedSiteTestCase
from tests.django.site import load_site

V1 = {"subprotocols": ["c10k.v1"]}


def parse(text: str) -> tuple[list[tuple[str, str]], str]:
    """Read a stream as an EventSource does (HTML standard, 9.2.6): events, and the last id."""
    events, last_id = [], ""
    event, lines, new_id = "message", [], ""
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "" if not line:
                last_id = new_id
                if lines:
                    events.append((event, "\n".join(lines)))
                event, lines = "message", []
            case "event":
                event = value
            case "data":
                lines.append(value)
            case "id":
                new_id = value
    return events, last_id


class EncodingTests(SynchronousTestCase):
    @given(st.text("ab\r\n: é"))
    def test_an_event_source_reads_the_message(self, message: str) -> None:
        text = f"data: {encode_lines(text_frame(message.encode())).decode()}\n\n"
        read = message.replace("\r\n", "\n").replace("\r", "\n")
        self.assertEqual(parse(text), ([("message", read)], ""))


class BareStreamTests(FeedSiteTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(bare_stream, "_logged", set())

    def read(self, transport: Any) -> tuple[list[tuple[str, str]], str]:
        return parse(self.answer(transport).text)

    def test_messages_and_no_other_event(self) -> None:
        async def test() -> None:
            transport = await self.stream("/bare/")
            self.assertEqual(self.read(transport), ([], "-"))
            self.publish("one", "<p>\nhello</p>", "", "data: x")
            self.publish("two", "→")
            messages = ["<p>\nhello</p>", "", "data: x", "→"]
            self.assertEqual(self.read(transport), ([("message", m) for m in messages], "-"))
            self.assertNotIn("event:", self.answer(transport).text)
            self.assertEqual(self.feeds.messages_sent, 4)

        self.run_async(test)

    def test_names_of_events(self) -> None:
        async def test() -> None:
            transport = await self.stream("/named/order/")
            self.publish("one", "1")
            self.publish("two", "2")
            events, _ = self.read(transport)
            self.assertEqual(events, [("order", "1"), ("message", "2")])

        self.run_async(test)

    def test_history_and_resuming(self) -> None:
        async def test() -> None:
            transport = await self.stream("/named/order/")
            self.publish_kept("one", "1", "2", "3")
            events, last = self.read(transport)
            self.assertEqual(events, [("order", "1"), ("order", "2"), ("order", "3")])
            self.assertEqual(last, f"one={self.epoch}:3")
            fresh = await self.stream("/named/order/")
            self.assertEqual(self.read(fresh), (events, last))
            again = await self.stream("/named/order/?topic=one", f"Last-Event-ID: {last[:-1]}2")
            self.assertEqual(self.read(again), ([("order", "3")], last))
            self.assertEqual(self.feeds.messages_sent, 7)

        self.run_async(test)

    def test_a_client_that_missed_too_much_receives_lost_first(self) -> None:
        async def test() -> None:
            await self.stream("/bare/")
            self.publish_kept("one", *map(str, range(1, 9)))
            for place in (f"one={self.epoch}:2", "one=before:7"):
                again = await self.stream("/bare/?topic=one", f"Last-Event-ID: {place}")
                events, last = self.read(again)
                lost = f'{{"topic":"one","recovered":false,"id":"{self.epoch}:5"}}'
                expected = [("lost", lost), *(("message", str(n)) for n in (6, 7, 8))]
                self.assertEqual((events, last), (expected, f"one={self.epoch}:8"))

        self.run_async(test)

    def test_without_history_a_client_that_returns_receives_lost(self) -> None:
        async def test() -> None:
            transport = await self.stream("/bare/?topic=one", "Last-Event-ID: -")
            events, last = self.read(transport)
            lost = [("lost", '{"topic":"one","recovered":false}')]
            self.assertEqual((events, last), (lost, "-"))

        self.run_async(test)

    def test_binary_messages_are_lost_counted_and_logged_once(self) -> None:
        async def test() -> None:
            streams = [await self.stream("/bare/") for _ in range(2)]
            for _ in range(2):
                self.pubsub.publish(b"one", binary_frame(b"\0"))
            self.turn()
            self.publish("one", "text")
            lost = ("lost", '{"topic":"one","recovered":false}')
            for transport in streams:
                self.assertEqual(self.read(transport)[0], [lost, lost, ("message", "text")])
            self.assertEqual(self.feeds.dropped, {"binary_message": 4})
            self.assertEqual(self.feeds.messages_sent, 2)

        self.run_async(test)
        self.assertEqual(bare_stream._logged, {"one"})

    def test_the_end_of_a_stream(self) -> None:
        async def test() -> None:
            transport = await self.stream("/bare/")
            (client,) = self.feeds.open_clients
            client.close(1001, "the server is going away")
            ((event, data),), _ = self.read(transport)
            self.assertEqual((event, data[:12]), ("close", '{"code":1001'))

        self.run_async(test)

    def test_a_history_is_encoded_as_the_client_reads(self) -> None:
        async def test() -> None:
            self.patch(server_sent_events, "PIECE", 20)
            await self.stream("/bare/")
            self.publish_kept("one", "x" * 350, "y" * 350, "z" * 350)
            encoded: list[bytes] = []
            encode = bare_stream._encode_shared

            def recorded(topic: str, frame: bytes, position: str | None) -> bytes:
                encoded.append(frame)
                return encode(topic, frame, position)

            self.patch(bare_stream, "_encode_shared", recorded)
            begin = BareStream.begin

            def blocked(stream: BareStream) -> None:
                begin(stream)
                stream.pauseProducing()

            self.patch(BareStream, "begin", blocked)
            transport = await self.stream("/bare/?topic=one")
            self.assertEqual(encoded, [])
            transport.producer.resumeProducing()
            self.turn()
            self.assertEqual([data[0] for _, data in self.read(transport)[0]], ["x", "y", "z"])
            self.assertEqual(len(encoded), 3)

        self.run_async(test)


class RefusalTests(FeedSiteTestCase):
    def refused(self, *question: str, wait: bool = False) -> tuple[int, str]:
        found = []

        async def test() -> None:
            ask = self.poll if wait else self.stream
            answer = self.answer(await ask(*question))
            found.append((answer.status, answer.text))

        self.run_async(test)
        return found[0]

    def test_a_poll(self) -> None:
        reason = "this feed has no long polls: send Accept: text/event-stream\n"
        self.assertEqual(self.refused("/bare/", wait=True), (406, reason))

    def test_a_topic_that_is_not_in_the_feed(self) -> None:
        self.assertEqual(self.refused("/bare/?topic=secret")[0], 403)

    def test_names_of_events_that_cannot_be_sent(self) -> None:
        for event in ("close", "error", "lost", "open", "%20x", "a%0Ab"):
            self.assertEqual(self.refused(f"/named/{event}/")[0], 500, event)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class WebSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        settings = override_settings(ROOT_URLCONF="tests.django.feeds.feed_site")
        settings.enable()
        self.addCleanup(settings.disable)

    @asynchronous
    async def test_it_is_refused(self) -> None:
        with self.assertRaises(Refused) as caught:
            async with connect("/bare/", **V1):
                self.fail("accepted")
        self.assertEqual(caught.exception.status, 400)
