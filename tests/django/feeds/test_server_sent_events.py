"""A feed as server-sent events: messages, resuming, and the end of a stream."""

import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.testing import StringTransport

from cluster.core.water_marks import HIGH_WATER
from cluster.django.conf import DEFAULTS
from cluster.django.feeds import server_sent_events
from cluster.django.feeds.server_sent_events import RETRY_MS, EventStream
from cluster.net.loop.timers import BUCKET
from cluster.net.unbuffered_output import write_directly
from tests.django.feeds.feed_site import FeedSiteTestCase

HEARTBEAT_S = DEFAULTS["STREAM_HEARTBEAT"]


class StreamTests(FeedSiteTestCase):
    async def opened(self, path: str = "/two/", *headers: str) -> Any:
        """A stream whose first events have been read."""
        transport = await self.stream(path, *headers)
        self.beginning = self.answer(transport)
        self.assertEqual(self.beginning.status, 200, transport.value())
        return transport

    def news(self, transport: Any) -> Any:
        """Events since the beginning, or since the last call."""
        seen: int = getattr(transport, "seen", len(self.beginning.events))
        events = self.answer(transport).events
        transport.seen = len(events)
        return events[seen:]

    def test_the_header_and_the_first_lines(self) -> None:
        async def test() -> None:
            await self.opened()
            headers = self.beginning.headers
            self.assertEqual(headers["content-type"], "text/event-stream; charset=utf-8")
            self.assertEqual(headers["cache-control"], "no-store")
            self.assertEqual(headers["x-accel-buffering"], "no")
            retry, *answers = self.beginning.events
            low, high = RETRY_MS
            self.assertTrue(low <= int(retry["retry"]) <= high)
            self.assertEqual(retry[""], "heartbeat 15")
            self.assertEqual(
                answers,
                [
                    {"event": "recovered", "data": {"topic": "one", "recovered": False}},
                    {"event": "recovered", "data": {"topic": "two", "recovered": False}},
                ],
            )
            self.assertEqual(self.feeds.clients["stream"], 1)

        self.run_async(test)

    def test_messages(self) -> None:
        async def test() -> None:
            transport = await self.opened()
            self.publish("one", "hello\nworld", "→")
            self.publish("other", "no")
            self.publish("two", "x")
            self.assertEqual(
                self.news(transport),
                [
                    {"data": {"topic": "one", "message": "hello\nworld"}},
                    {"data": {"topic": "one", "message": "→"}},
                    {"data": {"topic": "two", "message": "x"}},
                ],
            )
            self.assertEqual(self.feeds.messages_sent, 3)

        self.run_async(test)

    def test_messages_of_one_turn_are_one_write(self) -> None:
        async def test() -> None:
            transport = await self.opened()
            transport.clear()
            for number in range(3):
                self.pubsub.publish(b"one", b"\x81\x01%d" % number)
            self.assertEqual(transport.value(), b"")
            self.turn()
            self.assertEqual(transport.value().count(b"\r\n"), 2)  # of one chunk

        self.run_async(test)

    def test_history_comes_first_and_ids_are_positions(self) -> None:
        async def test() -> None:
            other = await self.opened()
            self.publish_kept("one", "1", "2", "3", "4")
            await self.opened()
            e = self.epoch
            self.assertEqual(
                self.beginning.events[1:],
                [
                    {
                        "id": f"one={e}:1",
                        "event": "recovered",
                        "data": {"topic": "one", "recovered": False, "id": f"{e}:1"},
                    },
                    *(
                        {
                            "id": f"one={e}:{n}",
                            "data": {"topic": "one", "message": str(n), "id": f"{e}:{n}"},
                        }
                        for n in (2, 3, 4)
                    ),
                    {
                        "id": f"one={e}:4",
                        "event": "recovered",
                        "data": {"topic": "two", "recovered": False},
                    },
                ],
            )
            self.assertEqual(self.answer(other).events[-1]["id"], f"one={e}:4")

        self.run_async(test)

    def test_resuming(self) -> None:
        async def test() -> None:
            await self.opened()  # the topic is retained while it has a subscriber
            self.publish_kept("one", "1", "2", "3")
            self.publish_kept("two", "a", "b")
            e = self.epoch
            place = f"one={e}:1&two={e}:2"
            for headers, path in (
                ([f"Last-Event-ID: {place}"], "/two/?since=one%3Dnonsense"),
                ([], f"/two/?since={place.replace('=', '%3D').replace('&', '%26')}"),
            ):
                await self.opened(path, *headers)
                self.assertEqual([m["message"] for m in self.beginning.messages], ["2", "3"])
                answers = [each for each in self.beginning.events if "event" in each]
                self.assertEqual([each["data"]["recovered"] for each in answers], [True, True])
                # Until the missed messages arrive, the position does not change.
                self.assertEqual(answers[0]["id"], place)
                self.assertEqual(self.beginning.events[-1]["id"], f"one={e}:3&two={e}:2")

        self.run_async(test)

    def test_resuming_after_too_long_or_from_an_invalid_position(self) -> None:
        async def test() -> None:
            await self.opened()
            self.publish_kept("one", *map(str, range(1, 9)))
            for place in (f"one={self.epoch}:2", "one=before:7", "one=x", "one=a:b%0Aid: 7"):
                await self.opened("/two/", f"Last-Event-ID: {place}")
                self.assertEqual([m["message"] for m in self.beginning.messages], ["6", "7", "8"])
                answer = self.beginning.events[1]["data"]
                self.assertEqual((answer["topic"], answer["recovered"]), ("one", False))

        self.run_async(test)

    def test_some_of_the_topics(self) -> None:
        async def test() -> None:
            transport = await self.opened("/two/?topic=two")
            self.publish("one", "x")
            self.publish("two", "y")
            self.assertEqual([each["data"]["message"] for each in self.news(transport)], ["y"])

        self.run_async(test)

    def test_comments_while_it_is_silent(self) -> None:
        async def test() -> None:
            transport = await self.opened()
            for _ in range(3):
                self.clock.advance(HEARTBEAT_S + BUCKET)
                self.turn()
                self.assertEqual(self.news(transport), [{"": ""}])

        self.run_async(test)

    def test_a_client_that_leaves(self) -> None:
        async def test() -> None:
            logged: list[Any] = []
            self.site.on_response = logged.append
            transport = await self.opened()
            self.lose(transport)
            self.assertEqual([(each.uri, each.code) for each in logged], [(b"/two/", 200)])
            self.assertGreater(logged[0].sentLength, 0)
            self.assertEqual(self.feeds.clients["stream"], 0)
            self.publish("one", "x")
            self.assertEqual(self.feeds.ended, {"client": 1})

        self.run_async(test)

    def test_the_node_stops(self) -> None:
        async def test() -> None:
            transport = await self.opened()
            self.pubsub.publish(b"one", b"\x81\x01x")
            (client,) = self.feeds.open_clients
            client.close(1001, "the server is going away")
            last, close = self.news(transport)
            self.assertEqual(last["data"]["message"], "x")
            self.assertEqual(close["event"], "close")
            self.assertEqual(close["data"]["code"], 1001)
            self.assertTrue(transport.value().endswith(b"\r\n0\r\n\r\n"))
            self.assertTrue(transport.disconnecting)
            self.assertIn(int(close["retry"]), range(*RETRY_MS))
            client.close(1001, "again")
            self.assertEqual(self.feeds.open_clients, [])
            self.assertEqual(self.feeds.ended, {"closed": 1})

        self.run_async(test)

    def test_a_bug_in_one_stream_does_not_affect_others(self) -> None:
        async def test() -> None:
            broken, other = await self.opened(), await self.opened()

            def write(transport: Any, output: bytes) -> None:
                if transport is broken:
                    raise KeyError("a bug")
                write_directly(transport, output)

            self.patch(server_sent_events, "write_directly", write)
            self.publish("one", "x")
            self.assertEqual([each["data"]["message"] for each in self.news(other)], ["x"])
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

        self.run_async(test)


class OftenTests(FeedSiteTestCase):
    settings = {"STREAM_HEARTBEAT": 4.5}  # noqa: RUF012

    def test_comments_at_the_announced_interval(self) -> None:
        async def test() -> None:
            transport = await self.stream()
            self.assertEqual(self.answer(transport).events[0][""], "heartbeat 4.5")
            self.clock.advance(4.5 + BUCKET)
            self.turn()
            self.assertEqual(self.answer(transport).events[-1], {"": ""})

        self.run_async(test)

    def test_a_client_that_pauses_is_not_aborted_early(self) -> None:
        async def test() -> None:
            transport = await self.stream()
            transport.producer.pauseProducing()
            for _ in range(4):
                self.clock.advance(4.5 + BUCKET)
            self.assertEqual(self.feeds.ended, {})
            self.clock.advance(4.5 + BUCKET)
            self.assertEqual(self.feeds.ended, {"slow_consumer": 1})

        self.run_async(test)


class SlowTests(FeedSiteTestCase):
    settings = {"SEND_QUEUE_HIGH_WATER": 1000}  # noqa: RUF012

    def test_a_client_that_does_not_read(self) -> None:
        async def test() -> None:
            transport = await self.stream()
            transport.producer.pauseProducing()
            before = len(transport.value())
            self.publish("one", "x" * 250, "y" * 250, "z" * 250)
            self.assertEqual(len(transport.value()), before)
            transport.producer.resumeProducing()
            messages = [each["message"][0] for each in self.answer(transport).messages]
            self.assertEqual(messages, ["x", "y", "z"])
            self.assertFalse(transport.disconnecting)

            transport.producer.pauseProducing()
            self.publish("one", *["x" * 300] * 3)
            self.assertTrue(transport.disconnected or transport.disconnecting)
            self.assertEqual(self.feeds.ended, {"slow_consumer": 1})
            self.assertEqual(self.feeds.dropped, {"slow_consumer": 3})
            self.publish("one", "later")
            self.lose(transport)
            self.assertEqual(self.feeds.ended, {"slow_consumer": 1})

        self.run_async(test)

    def test_a_long_queue_is_sent_piece_by_piece(self) -> None:
        async def test() -> None:
            self.patch(server_sent_events, "PIECE", 300)
            transport = await self.stream()
            transport.producer.pauseProducing()
            before = len(transport.value())
            self.publish("one", "x" * 250, "y" * 250, "z" * 250)
            write = transport.write

            def blocked(data: bytes) -> None:
                write(data)
                transport.producer.pauseProducing()

            transport.write = blocked
            sizes = []
            for _ in range(4):
                transport.producer.resumeProducing()
                sizes.append(len(transport.value()) - before)
            self.assertEqual(sizes, sorted(sizes))
            self.assertTrue(300 <= sizes[0] < 600 < sizes[2] == sizes[3], sizes)
            messages = [each["message"][0] for each in self.answer(transport).messages]
            self.assertEqual(messages, ["x", "y", "z"])

        self.run_async(test)

    def recording_encoder(self) -> list[str | None]:
        """The positions of the messages that are encoded, from now on."""
        positions: list[str | None] = []
        encode = server_sent_events.encode_shared

        def recorded(topic: str, frame: bytes, position: str | None) -> bytes:
            positions.append(position)
            return encode(topic, frame, position)

        self.patch(server_sent_events, "encode_shared", recorded)
        return positions

    async def paused_after_a_piece(self, encoded: list[str | None]) -> Any:
        """A stream of a history of three messages, whose client has read one piece."""
        self.patch(server_sent_events, "PIECE", 20)
        self.addCleanup(self.pubsub.follow(b"one", lambda frame, offset: None).stop)
        self.publish_kept("one", "x" * 350, "y" * 350, "z" * 350)
        begin = EventStream.begin

        def blocked(stream: EventStream) -> None:
            begin(stream)
            stream.pauseProducing()

        self.patch(EventStream, "begin", blocked)
        transport = await self.stream("/two/?topic=one")
        self.assertEqual(encoded, [])
        write = transport.write

        def write_and_pause(data: bytes) -> None:
            write(data)
            transport.producer.pauseProducing()

        transport.write = write_and_pause
        while not encoded:
            transport.producer.resumeProducing()
        transport.write = write
        self.assertEqual(encoded, [f"{self.epoch}:1"])
        return transport

    def test_a_history_is_encoded_as_the_client_reads(self) -> None:
        async def test() -> None:
            encoded = self.recording_encoder()
            transport = await self.paused_after_a_piece(encoded)
            self.publish("one", "w")
            transport.producer.resumeProducing()
            messages = [each["message"][0] for each in self.answer(transport).messages]
            self.assertEqual(messages, ["x", "y", "z", "w"])
            (client,) = self.feeds.open_clients
            self.assertEqual((client.queued_bytes, client.sent), (0, 4))

        self.run_async(test)

    def test_a_history_that_is_not_sent_is_not_sent_with_the_close(self) -> None:
        async def test() -> None:
            encoded = self.recording_encoder()
            transport = await self.paused_after_a_piece(encoded)
            (client,) = self.feeds.open_clients
            client.close(1012, "restart")
            events = self.answer(transport).events
            ids = [each["id"] for each in events if "id" in each]
            self.assertEqual(ids[-1], f"one={self.epoch}:1")
            self.assertEqual(events[-1]["event"], "close")
            self.assertEqual(len(encoded), 1)
            self.assertEqual(self.feeds.dropped, {"disconnected": 2})

        self.run_async(test)

    def test_a_long_history_gives_way_to_others(self) -> None:
        async def test() -> None:
            encoded = self.recording_encoder()
            transport = await self.paused_after_a_piece(encoded)
            budget = self.feeds._streams.budget
            self.patch(budget, "is_spent", lambda: True)
            transport.producer.resumeProducing()
            self.assertEqual(len(encoded), 2)
            self.publish("one", "w" * 900, "v" * 900)  # more than the limit of a slow client
            self.turn()
            messages = [each["message"][0] for each in self.answer(transport).messages]
            self.assertEqual(messages, ["x", "y", "z", "w", "v"])

        self.run_async(test)

    def test_a_client_that_does_not_read_for_long(self) -> None:
        async def test() -> None:
            transport = await self.stream()
            transport.producer.pauseProducing()
            self.clock.advance(HEARTBEAT_S + BUCKET)
            self.assertEqual(self.feeds.ended, {})
            transport.producer.resumeProducing()
            transport.producer.pauseProducing()
            self.clock.advance(HEARTBEAT_S + BUCKET)
            self.assertEqual(self.feeds.ended, {})
            self.clock.advance(HEARTBEAT_S + BUCKET)
            self.assertEqual(self.feeds.ended, {"slow_consumer": 1})

        self.run_async(test)

    def test_a_client_that_leaves_with_unsent_messages(self) -> None:
        async def test() -> None:
            transport = await self.stream()
            transport.producer.pauseProducing()
            self.publish("one", "x", "y")
            self.lose(transport)
            self.assertEqual(self.feeds.dropped, {"disconnected": 2})

        self.run_async(test)

    def test_the_limit_is_the_high_water_mark(self) -> None:
        self.assertEqual(self.feeds._streams.high_water, 1000)
        self.assertGreater(HIGH_WATER, 1000)


class UnheardTests(FeedSiteTestCase):
    def test_the_kernel_gives_up(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as connection:
            plain: Any = StringTransport()
            plain.socket = connection
            tls: Any = StringTransport()
            tls.transport = plain
            for transport in (plain, tls):
                request = SimpleNamespace(channel=SimpleNamespace(transport=transport))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
                server_sent_events._give_up_unheard(request)
                timeout = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                self.assertEqual(timeout, 30_000)
        channel = SimpleNamespace(transport=StringTransport())
        server_sent_events._give_up_unheard(SimpleNamespace(channel=channel))
