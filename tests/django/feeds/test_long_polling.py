"""A feed by long polling: the time and the content of its answers."""

import json
from typing import Any
from urllib.parse import quote

from cluster.django.feeds import long_polling
from cluster.django.feeds.long_polling import GRACE_S, MAX_WAIT_S
from cluster.net.websocket.frames import text_frame
from tests.django.feeds.feed_site import FeedSiteTestCase


class PollTests(FeedSiteTestCase):
    def json(self, transport: Any) -> Any:
        answer = self.answer(transport)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(int(answer.headers["content-length"]), len(answer.body))
        return json.loads(answer.body)

    def messages(self, transport: Any) -> list[str]:
        return [each["message"] for each in self.json(transport)["messages"]]

    def assert_waits(self, transport: Any) -> None:
        self.assertEqual(transport.value(), b"")

    def test_the_first_message_is_the_answer(self) -> None:
        async def test() -> None:
            transport = await self.poll()
            self.assert_waits(transport)
            self.assertEqual(self.feeds.clients["poll"], 1)
            self.pubsub.publish(b"one", b"\x81\x01x")
            self.pubsub.publish(b"two", b"\x81\x01y")
            self.turn()
            self.assertEqual(
                self.json(transport),
                {
                    "topics": [
                        {"topic": "one", "recovered": False},
                        {"topic": "two", "recovered": False},
                    ],
                    "messages": [
                        {"topic": "one", "message": "x"},
                        {"topic": "two", "message": "y"},
                    ],
                    "since": "",
                },
            )
            headers = self.answer(transport).headers
            self.assertEqual(headers["preference-applied"], "wait=20")
            self.assertEqual(headers["cache-control"], "no-store")
            self.assertEqual(self.feeds.messages_sent, 2)
            self.assertFalse(transport.disconnecting)

        self.run_async(test)

    def test_messages_that_are_lost_while_it_waits_are_a_reason_to_answer(self) -> None:
        async def test() -> None:
            transport = await self.poll()
            self.turn()
            self.assert_waits(transport)
            self.pubsub.subscriptions.frames_lost([b"two"])
            self.turn()
            self.turn()
            answer = self.json(transport)
            self.assertEqual(answer["topics"][-1], {"topic": "two", "recovered": False})
            self.assertEqual((len(answer["topics"]), answer["messages"]), (3, []))

        self.run_async(test)

    def test_no_message_in_time(self) -> None:
        async def test() -> None:
            transport = await self.poll(wait=7)
            self.clock.advance(6.9)
            self.assert_waits(transport)
            self.clock.advance(0.1)
            self.assertEqual(self.messages(transport), [])

        self.run_async(test)

    def test_the_wait_is_limited(self) -> None:
        async def test() -> None:
            transport = await self.poll(wait=3600)
            self.clock.advance(MAX_WAIT_S)
            self.assertEqual(self.messages(transport), [])
            applied = self.answer(transport).headers["preference-applied"]
            self.assertEqual(applied, f"wait={MAX_WAIT_S}")

        self.run_async(test)

    def test_a_wait_of_zero(self) -> None:
        async def test() -> None:
            self.assertEqual(self.messages(await self.poll(wait=0)), [])

        self.run_async(test)

    def test_a_wait_of_zero_without_a_broker(self) -> None:
        async def test() -> None:
            self.pubsub.bus._deliver = lambda: None  # type: ignore[attr-defined]
            transport = await self.poll("/two/?since=one%3Da:7", wait=0)
            self.assert_waits(transport)
            self.clock.advance(GRACE_S)
            # Its position has not changed.
            self.assertEqual(
                self.json(transport), {"topics": [], "messages": [], "since": "one=a:7"}
            )

        self.run_async(test)

    def test_messages_do_not_pile_up_without_a_broker(self) -> None:
        async def test() -> None:
            stream = await self.stream("/two/?topic=two")  # so that "two" is known here
            self.publish_kept("two", "a")
            self.pubsub.bus._deliver = lambda: None  # type: ignore[attr-defined]
            for limit, enough in (("MAX_MESSAGES", 3), ("MAX_BYTES", 80)):
                before = getattr(long_polling, limit)
                self.patch(long_polling, limit, enough)
                transport = await self.poll(f"/two/?since=one%3Da:7%26two%3D{self.epoch}:1")
                for number in range(4):
                    self.pubsub.subscriptions.deliver(b"two", text_frame(b"%d" % number))
                    self.turn()
                self.assertEqual(self.messages(transport), ["0", "1", "2"], limit)
                # The position in the topic without an answer has not changed.
                self.assertEqual(self.json(transport)["since"], f"one=a:7&two={self.epoch}:1")
                self.patch(long_polling, limit, before)
            self.lose(stream)

        self.run_async(test)

    def test_a_topic_with_history(self) -> None:
        async def test() -> None:
            stream = await self.stream()
            self.publish_kept("one", "1", "2")
            first = self.json(await self.poll())
            self.assertEqual([each["message"] for each in first["messages"]], ["1", "2"])
            self.assertEqual(first["since"], f"one={self.epoch}:2")
            since = f"/two/?since=one%3D{self.epoch}:"
            waiting = await self.poll(f"{since}2")
            self.assert_waits(waiting)
            self.publish_kept("one", "3")
            self.assertEqual(self.messages(waiting), ["3"])
            # A message between two polls is not lost.
            missed = await self.poll(f"{since}1")
            self.assertEqual(self.messages(missed), ["2", "3"])
            self.assertEqual(self.json(missed)["since"], f"one={self.epoch}:3")
            self.assertTrue(self.json(missed)["topics"][0]["recovered"])
            self.lose(stream)

        self.run_async(test)

    def test_a_long_history_is_sent_in_several_responses(self) -> None:
        async def test() -> None:
            stream = await self.stream()
            self.publish_kept("one", "1", "2", "3")
            for limit, enough in (("MAX_MESSAGES", 2), ("MAX_BYTES", 80)):
                before = getattr(long_polling, limit)
                self.patch(long_polling, limit, enough)
                first = await self.poll()
                self.assertEqual(self.messages(first), ["1", "2"], limit)
                since = self.json(first)["since"]
                self.assertEqual(since, f"one={self.epoch}:2")
                rest = await self.poll(f"/two/?since={quote(since)}")
                self.assertEqual(self.messages(rest), ["3"], limit)
                self.assertTrue(self.json(rest)["topics"][0]["recovered"])
                self.assertEqual(self.json(rest)["since"], f"one={self.epoch}:3")
                self.patch(long_polling, limit, before)
            self.lose(stream)

        self.run_async(test)

    def test_a_client_without_a_position_gets_an_answer_at_once(self) -> None:
        async def test() -> None:
            stream = await self.stream()
            self.publish_kept("one", "1", lifetime_ms=50)
            self.clock.advance(1)
            for path in ("/two/", "/two/?since=one%3Dbefore:1"):
                answer = self.json(await self.poll(path))
                self.assertEqual(answer["messages"], [])
                self.assertEqual(answer["since"], f"one={self.epoch}:1")
            self.assert_waits(await self.poll(f"/two/?since=one%3D{self.epoch}:1"))
            self.lose(stream)

        self.run_async(test)

    def test_the_answer_waits_for_the_history_of_all_topics(self) -> None:
        async def test() -> None:
            stream = await self.stream("/two/?topic=one")  # so that "one" is known here
            self.publish_kept("one", "1")
            self.publish_kept("two", "a")
            answer = self.json(await self.poll())
            self.assertEqual([each["message"] for each in answer["messages"]], ["1", "a"])
            self.assertEqual(answer["since"], f"one={self.epoch}:1&two={self.epoch}:1")
            self.lose(stream)

        self.run_async(test)

    def test_a_client_that_leaves(self) -> None:
        async def test() -> None:
            transport = await self.poll()
            self.lose(transport)
            self.publish("one", "x")
            self.assertEqual(self.feeds.clients["poll"], 0)

        self.run_async(test)

    def test_the_node_stops(self) -> None:
        async def test() -> None:
            transport = await self.poll()
            (client,) = self.feeds.open_clients
            client.close(1001, "the server is going away")
            self.assertEqual(self.messages(transport), [])
            self.assertTrue(transport.disconnecting)

        self.run_async(test)

    def test_polls_one_after_the_other_on_one_connection(self) -> None:
        async def test() -> None:
            transport = await self.poll()
            self.publish("one", "x")
            self.assertEqual(self.messages(transport), ["x"])
            transport.clear()
            transport.protocol.dataReceived(
                b"GET /two/ HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=5\r\n\r\n"
            )
            await self.settle()
            self.publish("two", "y")
            self.assertEqual(self.messages(transport), ["y"])

        self.run_async(test)
