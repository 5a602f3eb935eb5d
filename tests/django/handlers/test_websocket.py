"""WebSocket: what a handler can do, and what happens to it when the client goes."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import date
from decimal import Decimal
from typing import Any

from django.urls import set_urlconf
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import BarrierRefused, Disconnected
from cluster.django.api.receipt import Receipt
from cluster.django.handlers.websocket import LOOK_EVERY, SENT_IN_A_TURN, WebSocket
from cluster.net.websocket.autobahn_protocol import OPEN
from cluster.net.websocket.frames import text_frame
from tests.django.fakes import RecordingConnection, RecordingPubSub
from tests.django.site import load_site

MESSAGES, OCTETS, LOW_WATER = 4, 100, 50


async def settle() -> None:
    """Let every task run until all of them wait."""
    for _ in range(5):
        await asyncio.sleep(0)


class ConnectionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.connection = RecordingConnection()
        self.pubsub = RecordingPubSub()
        self.ws = WebSocket(
            self.connection,
            self.pubsub,
            (MESSAGES, OCTETS, LOW_WATER),
            path="/worker/",
            query={"resume": ["1,2"]},
            headers={"host": "localhost"},
            client="tcp4:127.0.0.1:4000",
            subprotocol=None,
        )

    async def ending(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start a coroutine, which then waits."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.ws.task = task
        await settle()
        self.assertFalse(task.done())
        return task

    async def assert_disconnected(self, task: "asyncio.Task[Any]", code: int = 1006) -> None:
        await settle()
        self.assertTrue(task.done())
        error = task.exception()
        assert isinstance(error, Disconnected), error
        self.assertEqual(error.code, code)

    async def assert_cancelled(self, task: "asyncio.Task[Any]") -> None:
        task.cancel()
        await settle()
        self.assertTrue(task.cancelled())


class GiveWayTests(ConnectionTestCase):
    """Loops of a handler that would not wait otherwise."""

    async def assert_gives_way(self, loop: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """The loop waits for the next turn when the budget is spent, until the client leaves."""
        budget = self.connection.budget
        budget.spent = True

        async def run() -> None:
            while True:
                await loop()

        task = await self.ending(run())
        for _ in range(3):
            self.assertEqual(len(budget.waiting), 1)
            budget.turn()
            await settle()
        self.assertTrue(self.ws.connection_closed(1006))
        await self.assert_disconnected(task)

    def test_sending(self) -> None:
        async def send() -> None:
            if len(self.connection.out) == SENT_IN_A_TURN:
                self.connection.out.clear()
            await self.ws.send("x")

        asyncio.run(self.assert_gives_way(send))

    def test_sending_while_all_is_sent_at_once(self) -> None:
        async def send() -> None:
            await self.ws.send("x")

        self.connection.send_frame = lambda frame: None
        asyncio.run(self.assert_gives_way(send))

    def test_sending_to_a_connection_that_closes(self) -> None:
        async def run() -> None:
            self.connection.close(1000)
            task = await self.ending(self.ws.send("x"))
            self.connection.budget.turn()
            await task

        asyncio.run(run())

    def test_subscribing(self) -> None:
        async def subscribe() -> None:
            await self.ws.subscribe("t", refresh=lambda: ())

        asyncio.run(self.assert_gives_way(subscribe))

    def test_closing(self) -> None:
        async def run() -> list[str]:
            events: list[str] = []
            asyncio.get_running_loop().call_soon(events.append, "others")
            self.connection.budget.spent = True
            await self.ws.close(1000)
            return events

        self.assertEqual(asyncio.run(run()), ["others"])

    def receive_all(self, closed: bool) -> None:
        """Receive the messages of a full queue in a spent turn."""
        budget = self.connection.budget
        received = []

        async def receive() -> None:
            async for message in self.ws:
                received.append(message)

        async def run() -> None:
            self.connection.text(*(str(number) for number in range(2 * LOOK_EVERY + 1)))
            budget.spent = True
            if closed:
                self.ws.connection_closed(1006)
            task = asyncio.get_running_loop().create_task(receive())
            self.ws.task = task
            await settle()
            if not closed:
                self.assertEqual((len(received), len(budget.waiting)), (0, 1))
                budget.turn()
                await settle()
                self.assertEqual((len(received), len(budget.waiting)), (LOOK_EVERY, 1))
                self.assertTrue(self.ws.connection_closed(1006))
            await task

        asyncio.run(run())
        self.assertEqual(len(received), 2 * LOOK_EVERY + 1)

    def test_receiving(self) -> None:
        self.receive_all(closed=False)

    def test_receiving_what_a_client_has_left(self) -> None:
        self.receive_all(closed=True)


class RequestTests(ConnectionTestCase):
    """The request, user and session of a client whose session was not loaded."""

    def setUp(self) -> None:
        super().setUp()
        set_urlconf("tests.django.handshake.test_dispatcher")
        self.addCleanup(set_urlconf, None)
        self.ws.path = "/ws"
        self.connection.http_request_uri = "/ws?a=1"  # type: ignore[attr-defined]

    def test_made_when_it_is_asked_for(self) -> None:
        request = self.ws.request
        self.assertEqual((request.path, request.GET["a"]), ("/ws", "1"))
        self.assertEqual(request.get_host(), "localhost")
        self.assertIs(self.ws.request, request)

    def test_without_a_session(self) -> None:
        self.assertTrue(self.ws.user.is_anonymous)
        self.assertTrue(self.ws.session.is_empty())
        self.assertIs(self.ws.session, self.ws.request.session)


class JsonTests(ConnectionTestCase):
    def received(self, *messages: str | bytes) -> list[Any]:
        async def run() -> list[Any]:
            for message in messages:
                if isinstance(message, bytes):
                    self.connection.binary(message)
                else:
                    self.connection.text(message)
            return [await self.ws.recv_json() for _ in messages]

        return asyncio.run(run())

    def test_values(self) -> None:
        self.assertEqual(
            self.received('{"a": [1, 2.5, null, "\\u00e9\\ud83d\\ude00"]}', '"x"', " 7 "),
            [{"a": [1, 2.5, None, "é😀"]}, "x", 7],
        )

    def assert_refused(self, message: str | bytes, code: int) -> None:
        error = self.assertRaises(Disconnected, self.received, message)
        self.assertEqual(error.code, code)
        self.assertEqual([close[0] for close in self.connection.closes], [code], message)
        self.connection.closes.clear()
        self.connection.state = OPEN

    def test_what_is_no_json_closes_1007(self) -> None:
        for message in (
            "", "{", "{'a': 1}", "NaN", "[Infinity]", "-Infinity", "1e999", '{"a": -1e999}',
            '"\\ud800"', '{"\\udc00": 1}', "9" * 5000, "[" * 100_000, "1 2", "\ufeff1",
        ):  # fmt: skip
            self.assert_refused(message, 1007)

    def test_binary_closes_1003(self) -> None:
        self.assert_refused(b"{}", 1003)

    def test_sending(self) -> None:
        value = {"at": date(2026, 1, 2), "sum": Decimal("1.50"), "text": "é"}
        asyncio.run(self.ws.send_json(value))
        self.assertEqual(
            self.connection.sent, ['{"at":"2026-01-02","sum":"1.50","text":"\\u00e9"}']
        )

    def test_values_that_json_does_not_have(self) -> None:
        for value, error in (({1, 2}, TypeError), (float("nan"), ValueError)):
            self.assertRaises(error, asyncio.run, self.ws.send_json(value))
        self.assertEqual(self.connection.sent, [])


class ReceiveTests(ConnectionTestCase):
    def test_text_is_str_and_binary_is_bytes(self) -> None:
        async def run() -> list[str | bytes]:
            self.connection.text("naïve")
            self.connection.binary(b"\xff")
            return [await self.ws.recv(), await self.ws.recv()]

        self.assertEqual(asyncio.run(run()), ["naïve", b"\xff"])

    def test_waits_for_the_next(self) -> None:
        async def run() -> None:
            task = await self.ending(self.ws.recv())
            self.connection.text("a", "b")
            self.assertEqual(await task, "a")
            self.assertEqual(await self.ws.recv(), "b")

        asyncio.run(run())

    def test_what_came_before_the_end_can_still_be_had(self) -> None:
        async def run() -> None:
            self.connection.text("a")
            self.ws.connection_closed(1001)
            self.assertEqual(await self.ws.recv(), "a")
            with self.assertRaises(Disconnected) as raised:
                await self.ws.recv()
            self.assertEqual(raised.exception.code, 1001)

        asyncio.run(run())

    def test_the_end_wakes_a_task_that_waits(self) -> None:
        async def run() -> None:
            task = await self.ending(self.ws.recv())
            self.assertTrue(self.ws.connection_closed(1006))
            await self.assert_disconnected(task)

        asyncio.run(run())

    def test_a_message_and_the_end_at_once(self) -> None:
        async def run() -> None:
            task = await self.ending(self.ws.recv())
            self.connection.text("last words")
            self.ws.connection_closed(1000)
            self.assertEqual(await task, "last words")

        asyncio.run(run())

    def test_iteration_ends_with_the_connection(self) -> None:
        async def run() -> list[str | bytes]:
            task = asyncio.create_task(collect())
            self.connection.text("a", "b")
            await settle()
            self.connection.text("c")
            self.ws.connection_closed(1000)
            return await task

        async def collect() -> list[str | bytes]:
            return [message async for message in self.ws]

        self.assertEqual(asyncio.run(run()), ["a", "b", "c"])

    def test_two_tasks_at_a_time_are_an_error(self) -> None:
        async def run() -> None:
            first = await self.ending(self.ws.recv())
            with self.assertRaises(RuntimeError):
                await self.ws.recv()
            self.connection.text("a")
            self.assertEqual(await first, "a")

        asyncio.run(run())

    def test_after_a_cancelled_one_nothing_is_lost(self) -> None:
        async def run() -> None:
            await self.assert_cancelled(await self.ending(self.ws.recv()))
            self.connection.text("a")
            self.assertEqual(await self.ws.recv(), "a")
            self.assertFalse(self.ws.connection_closed(1000))

        asyncio.run(run())

    def test_cancelled_as_the_message_comes(self) -> None:
        async def run() -> None:
            task = await self.ending(self.ws.recv())
            self.connection.text("a")
            await self.assert_cancelled(task)
            self.assertEqual(await self.ws.recv(), "a")

        asyncio.run(run())

    def test_too_many_messages_stop_the_client_until_all_are_taken(self) -> None:
        async def run() -> None:
            self.connection.text(*"abc")
            self.assertEqual(self.connection.pauses, set())
            self.connection.text("d")
            self.assertEqual(self.connection.pauses, {"recv"})
            for _ in "abc":
                await self.ws.recv()
                self.assertEqual(self.connection.pauses, {"recv"})
            await self.ws.recv()
            self.assertEqual(self.connection.pauses, set())

        asyncio.run(run())

    def test_too_many_bytes_stop_the_client(self) -> None:
        async def run() -> None:
            self.connection.binary(bytes(OCTETS - 1))
            self.assertEqual(self.connection.pauses, set())
            self.connection.binary(b"x")
            self.assertEqual(self.connection.pauses, {"recv"})
            await self.ws.recv()
            await self.ws.recv()
            self.assertEqual(self.connection.pauses, set())
            self.connection.binary(bytes(OCTETS - 1))
            self.assertEqual(self.connection.pauses, set())

        asyncio.run(run())


class CallbackTests(ConnectionTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.got: list[tuple[bytes, bool]] = []

    def take(self, payload: bytes, is_binary: bool) -> None:
        self.got.append((payload, is_binary))

    def test_what_waits_comes_first(self) -> None:
        self.connection.text(*"abcd")
        self.connection.binary(b"e")
        self.assertEqual(self.connection.pauses, {"recv"})
        self.ws.on_message(self.take)
        self.connection.text("f")
        self.assertEqual([payload for payload, _ in self.got], [b"a", b"b", b"c", b"d", b"e", b"f"])
        self.assertEqual([is_binary for _, is_binary in self.got], [False] * 4 + [True, False])
        self.assertEqual(self.connection.pauses, set())

    def test_a_callback_that_closes_receives_nothing_more(self) -> None:
        def refuse(payload: bytes, is_binary: bool) -> None:
            self.take(payload, is_binary)
            self.ws.close_now(1008, "no")

        self.connection.text(*"abc")
        self.ws.on_message(refuse)
        self.assertEqual(self.got, [(b"a", False)])
        self.assertEqual(self.connection.closes, [(1008, "no")])

    def test_nothing_is_given_to_it_after_the_end(self) -> None:
        self.connection.text("a")
        self.connection.close(1000)
        self.ws.connection_closed(1006)
        self.ws.on_message(self.take)
        self.assertEqual(self.got, [])

    def test_a_callback_may_replace_itself(self) -> None:
        def first(payload: bytes, is_binary: bool) -> None:
            self.ws.on_message(self.take)

        self.connection.text(*"abc")
        self.ws.on_message(first)
        self.connection.text("d")
        self.assertEqual([payload for payload, _ in self.got], [b"b", b"c", b"d"])

    def test_a_pause_lasts_for_one_turn(self) -> None:
        async def run() -> None:
            self.ws.pause_reading()
            self.assertEqual(self.connection.pauses, {"turn"})
            await settle()
            self.assertEqual(self.connection.pauses, set())

        asyncio.run(run())

    def test_its_error_is_the_handler_s(self) -> None:
        def fail(payload: bytes, is_binary: bool) -> None:
            raise KeyError(payload)

        self.connection.text("a")
        self.assertRaises(KeyError, self.ws.on_message, fail)


class WaitClosedTests(ConnectionTestCase):
    def test_waits(self) -> None:
        async def run() -> None:
            tasks = [await self.ending(self.ws.wait_closed()) for _ in range(2)]
            self.assertTrue(self.ws.connection_closed(1000))
            await asyncio.gather(*tasks)
            await self.ws.wait_closed()
            self.assertEqual(self.ws.close_code, 1000)

        asyncio.run(run())

    def test_cancelling_one_leaves_the_others(self) -> None:
        async def run() -> None:
            first = await self.ending(self.ws.wait_closed())
            second = await self.ending(self.ws.wait_closed())
            await self.assert_cancelled(first)
            self.ws.connection_closed(1000)
            await second

        asyncio.run(run())

    def test_a_handler_does_not_learn_of_it_through_a_task_of_its_own(self) -> None:
        async def run() -> None:
            self.ws.task = asyncio.current_task()
            reader = asyncio.create_task(self.ws.recv())
            await settle()
            self.assertFalse(self.ws.connection_closed(1000))
            await self.assert_disconnected(reader, 1000)

        asyncio.run(run())

    def test_a_handler_that_waits_for_something_else_does_not_learn_of_it(self) -> None:
        self.assertFalse(self.ws.connection_closed(1000))


class SendTests(ConnectionTestCase):
    def test_text_and_binary(self) -> None:
        async def run() -> None:
            await self.ws.send("naïve")
            await self.ws.send(b"\xff")

        asyncio.run(run())
        self.ws.send_now("now")
        self.assertEqual(self.connection.sent, ["naïve", b"\xff", "now"])

    def test_waits_while_the_client_does_not_read(self) -> None:
        async def run() -> None:
            self.connection.block(LOW_WATER + 1)
            tasks = [await self.ending(self.ws.send(text)) for text in "ab"]
            self.assertEqual(self.connection.sent, ["a", "b"])
            self.connection.drain()
            await asyncio.gather(*tasks)

        asyncio.run(run())

    def test_does_not_wait_below_the_mark(self) -> None:
        async def run() -> None:
            self.connection.block(LOW_WATER)
            await self.ws.send("a")

        asyncio.run(run())

    def test_blocked_again_before_it_resumes(self) -> None:
        async def run() -> None:
            self.connection.block(LOW_WATER + 1)
            task = await self.ending(self.ws.send("a"))
            self.connection.drain()
            self.connection.block(LOW_WATER + 1)
            await settle()
            self.assertFalse(task.done())
            self.connection.drain()
            await task

        asyncio.run(run())

    def test_cancelling_one_leaves_the_others(self) -> None:
        async def run() -> None:
            self.connection.block(LOW_WATER + 1)
            first = await self.ending(self.ws.send("a"))
            second = await self.ending(self.ws.send("b"))
            await self.assert_cancelled(first)
            self.connection.drain()
            await second

        asyncio.run(run())

    def test_the_end_wakes_a_task_that_waits(self) -> None:
        async def run() -> None:
            self.connection.block(LOW_WATER + 1)
            task = await self.ending(self.ws.send("a"))
            self.assertTrue(self.ws.connection_closed(1013))
            await self.assert_disconnected(task, 1013)

        asyncio.run(run())

    def test_after_the_end(self) -> None:
        async def run() -> None:
            self.ws.connection_closed(1006)
            self.ws.send_now("a")
            with self.assertRaises(Disconnected):
                await self.ws.send("b")
            self.assertEqual(self.connection.sent, [])

        asyncio.run(run())

    def test_close(self) -> None:
        asyncio.run(self.ws.close(1013, "full"))
        self.ws.close_now(1000)
        self.assertEqual(self.connection.closes, [(1013, "full")])


class TopicTests(ConnectionTestCase):
    def test_subscribe_and_unsubscribe(self) -> None:
        self.ws.subscribe("naïve")
        self.ws.subscribe(b"\xff")
        self.assertEqual(
            self.pubsub.plain, {(self.connection, "naïve".encode()), (self.connection, b"\xff")}
        )
        self.ws.unsubscribe("naïve")
        self.ws.unsubscribe("never")
        self.assertEqual(self.pubsub.plain, {(self.connection, b"\xff")})

    def test_the_end_takes_back_everything(self) -> None:
        self.ws.subscribe("a")
        self.ws.subscribe("b", refresh=list)
        self.ws.connection_closed(1000)
        self.assertEqual(self.pubsub.plain, set())
        self.assertEqual(self.pubsub.skipping, {})

    def test_subscribing_after_the_end_leaves_nothing_behind(self) -> None:
        self.ws.connection_closed(1000)
        self.ws.subscribe("a")
        self.ws.subscribe("b", refresh=list)
        self.assertEqual(self.pubsub.plain, set())
        self.assertEqual(self.pubsub.skipping, {})

    def test_the_last_subscription_to_a_topic_counts(self) -> None:
        self.ws.subscribe("a")
        self.ws.subscribe("a", refresh=list)
        self.assertEqual(self.pubsub.plain, set())
        self.assertEqual(list(self.pubsub.skipping), [(self.connection, b"a")])
        self.ws.subscribe("a")
        self.assertEqual(self.pubsub.plain, {(self.connection, b"a")})
        self.assertEqual(self.pubsub.skipping, {})

    def test_publish(self) -> None:
        self.assertEqual(self.ws.publish("a", "text"), Receipt(2, 5))
        self.assertEqual(self.ws.publish_frame(b"b", b"\x81\x01x"), (2, 5))
        self.assertEqual(self.pubsub.published, [(b"a", text_frame(b"text")), (b"b", b"\x81\x01x")])
        self.assertEqual(self.connection.pauses, set())

    def test_publish_frame_to_a_topic_as_text(self) -> None:
        self.ws.subscribe("naïve")
        self.ws.publish_frame("naïve", text_frame(b"x"))
        ((topic, _),) = self.pubsub.published
        self.assertIn((self.connection, topic), self.pubsub.plain)

    def test_publish_a_value(self) -> None:
        self.ws.publish("a", json={"at": date(2026, 1, 2)})
        self.assertEqual(self.pubsub.published, [(b"a", text_frame(b'{"at":"2026-01-02"}'))])
        self.assertRaises(TypeError, self.ws.publish, "a")
        self.assertRaises(TypeError, self.ws.publish, "a", "text", json=1)

    def test_topics_of_the_cluster_are_reserved(self) -> None:
        topics: tuple[str | bytes, ...] = ("c10k/revocations", b"c10k/revocations")
        for topic in topics:
            self.assertRaises(ValueError, self.ws.publish, topic, "x")
            self.assertRaises(ValueError, self.ws.publish_frame, topic, text_frame(b"x"))
            self.assertRaises(ValueError, self.ws.subscribe, topic)
        self.assertEqual(self.pubsub.published, [])

    def test_publishing_to_a_full_bus_stops_the_client(self) -> None:
        self.pubsub.full = True
        self.ws.publish("a", "text")
        self.assertEqual(self.connection.pauses, {"bus"})


class RefreshTests(ConnectionTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.newest: list[str | bytes] = ["newest"]
        self.ws.subscribe("a", refresh=lambda: self.newest)
        self.connection.block(1)

    def skips(self, topic: bytes = b"a") -> None:
        self.pubsub.skipping[self.connection, topic]()

    def test_once_for_all_that_was_skipped(self) -> None:
        self.skips()
        self.skips()
        self.newest = ["state", b"board"]
        self.assertEqual(self.connection.sent, [])
        self.connection.drain()
        self.assertEqual(self.connection.sent, ["state", b"board"])
        self.connection.drain()
        self.assertEqual(self.connection.sent, ["state", b"board"])

    def test_only_the_topics_that_were_skipped(self) -> None:
        self.ws.subscribe("b", refresh=lambda: ["b"])
        self.skips(b"b")
        self.connection.drain()
        self.assertEqual(self.connection.sent, ["b"])

    def test_not_if_nothing_was_skipped(self) -> None:
        self.connection.drain()
        self.assertEqual(self.connection.sent, [])

    def test_again_after_the_next_time(self) -> None:
        for _ in range(2):
            self.skips()
            self.connection.drain()
            self.connection.block(1)
        self.assertEqual(self.connection.sent, ["newest", "newest"])

    def test_not_after_unsubscribing(self) -> None:
        self.skips()
        self.ws.unsubscribe("a")
        self.connection.drain()
        self.assertEqual(self.connection.sent, [])

    def test_together_with_a_send_that_waits(self) -> None:
        async def run() -> None:
            self.connection.block(LOW_WATER + 1)
            task = await self.ending(self.ws.send("mine"))
            self.skips()
            self.connection.drain()
            await task
            self.assertEqual(self.connection.sent, ["mine", "newest"])

        asyncio.run(run())

    def test_its_error_closes_only_this_connection(self) -> None:
        def fail() -> list[str | bytes]:
            raise KeyError("newest")

        self.ws.subscribe("a", refresh=fail)
        self.skips()
        self.connection.drain()
        self.assertEqual([type(error) for error in self.connection.failures], [KeyError])
        self.assertEqual(self.connection.closes, [(1011, "internal error")])


class BarrierTests(ConnectionTestCase):
    def test_released(self) -> None:
        async def run() -> None:
            task = await self.ending(self.ws.barrier("full house", 3))
            self.assertEqual(self.pubsub.barriers.parties, {1: ("full house", 3)})
            self.pubsub.barriers.release()
            await task
            self.assertEqual(self.pubsub.barriers.parties, {1: ("full house", 3)})
            self.ws.connection_closed(1000)
            self.assertEqual(self.pubsub.barriers.parties, {})

        asyncio.run(run())

    def test_the_announcement_is_ahead_of_all_that_others_publish(self) -> None:
        async def run() -> None:
            task = await self.ending(self.ws.barrier("b", 2, announce="run"))
            self.pubsub.barriers.release()
            self.connection.send_frame(text_frame(b"from another party, in the same iteration"))
            self.assertEqual(self.connection.sent[0], "run")
            await task
            self.assertEqual(len(self.connection.sent), 2)

        asyncio.run(run())

    def test_refused(self) -> None:
        async def run() -> None:
            task = await self.ending(self.ws.barrier("b", 2, announce="run"))
            self.pubsub.barriers.refuse(1)
            with self.assertRaises(BarrierRefused) as raised:
                await task
            self.assertIn("b: the barrier is full", str(raised.exception))
            assert self.ws._parties is not None
            self.assertEqual(self.ws._parties.count, 0)
            self.assertEqual(self.connection.sent, [])

        asyncio.run(run())

    def test_the_end_takes_the_arrival_back(self) -> None:
        async def run() -> None:
            task = await self.ending(self.ws.barrier("b", 2))
            self.assertTrue(self.ws.connection_closed(1006))
            self.assertEqual(self.pubsub.barriers.parties, {})
            await self.assert_disconnected(task)

        asyncio.run(run())

    def test_a_cancelled_task_is_no_longer_a_party(self) -> None:
        async def run() -> None:
            first = await self.ending(self.ws.barrier("a", 2))
            self.pubsub.barriers.release()
            await first
            await self.assert_cancelled(await self.ending(self.ws.barrier("b", 2)))
            self.assertEqual(self.pubsub.barriers.parties, {1: ("a", 2)})
            self.assertFalse(self.ws.connection_closed(1000))
            self.assertEqual(self.pubsub.barriers.parties, {})

        asyncio.run(run())

    def test_several_at_once(self) -> None:
        async def run() -> None:
            tasks = [await self.ending(self.ws.barrier(name, 2)) for name in "ab"]
            self.pubsub.barriers.release(2)
            await tasks[1]
            self.assertFalse(tasks[0].done())
            self.ws.connection_closed(1006)
            await self.assert_disconnected(tasks[0])

        asyncio.run(run())

    def test_released_and_gone_at_once(self) -> None:
        async def run() -> None:
            task = await self.ending(self.ws.barrier("b", 2))
            self.pubsub.barriers.release()
            self.ws.connection_closed(1006)
            await task
            self.assertEqual(self.pubsub.barriers.parties, {})

        asyncio.run(run())

    def test_after_the_end(self) -> None:
        async def run() -> None:
            self.ws.connection_closed(1006)
            with self.assertRaises(Disconnected):
                await self.ws.barrier("b", 2)
            self.assertEqual(self.pubsub.barriers.parties, {})

        asyncio.run(run())
