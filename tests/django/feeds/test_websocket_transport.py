"""A feed over WebSocket, in the message format c10k.v1."""

import asyncio
import json
from typing import Any

from django.test import override_settings
from twisted.trial.unittest import SynchronousTestCase

from cluster import publish
from cluster.django.feeds import feed_subscriptions, websocket_transport
from cluster.testing import Refused, asynchronous, connect
from tests.django.site import load_site

V1 = {"subprotocols": ["c10k.v1"]}


class FeedSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        settings = override_settings(
            ROOT_URLCONF="tests.django.feeds.feed_site", C10K={"TOPICS": {"two": {"history": 3}}}
        )
        settings.enable()
        self.addCleanup(settings.disable)
        self.addCleanup(lambda: self.assertEqual(feed_subscriptions.clients["websocket"], 0))

    async def receive(self, client: Any, count: int) -> list[Any]:
        return [await client.receive_json() for _ in range(count)]

    @asynchronous
    async def test_all_topics_from_the_start(self) -> None:
        async with connect("/two/", **V1) as client:
            self.assertEqual(client.subprotocol, "c10k.v1")
            answers = await self.receive(client, 2)
            self.assertEqual(
                answers, [{"topic": topic, "recovered": False} for topic in ("one", "two")]
            )
            self.assertEqual(feed_subscriptions.clients["websocket"], 1)
            publish("one", "hello")
            publish("one", b"\x00")
            publish("other", "no")
            self.assertEqual(
                await self.receive(client, 2),
                [
                    {"topic": "one", "message": "hello"},
                    {"topic": "one", "message": {"base64": "AA=="}},
                ],
            )
            await client.nothing()

    @asynchronous
    async def test_history_and_resuming(self) -> None:
        async with connect("/two/", **V1) as client:
            await self.receive(client, 2)
            for number in range(1, 5):
                publish("two", str(number))
            messages = await self.receive(client, 4)
            epoch, _, offset = messages[0]["id"].partition(":")
            self.assertEqual(offset, "1")
            since = f"/two/?topic=two&since=two%3D{epoch}:2"
            async with connect(since, **V1) as second:
                self.assertEqual(
                    await self.receive(second, 3),
                    [
                        {"topic": "two", "recovered": True, "id": f"{epoch}:2"},
                        {"topic": "two", "message": "3", "id": f"{epoch}:3"},
                        {"topic": "two", "message": "4", "id": f"{epoch}:4"},
                    ],
                )
                # The same in a message.
                for since, recovered in ((f"{epoch}:3", True), ("before:3", False), ("?", False)):
                    await second.send_json({"subscribe": "two", "since": since})
                    answer = await second.receive_json()
                    self.assertEqual(answer["recovered"], recovered, since)
                    missed = await self.receive(second, 1 if recovered else 3)
                    self.assertEqual(missed[-1]["message"], "4")
                publish("two", "5")
                self.assertEqual((await second.receive_json())["id"], f"{epoch}:5")
                await second.nothing()  # not twice

    @asynchronous
    async def test_unsubscribing_and_subscribing(self) -> None:
        async with connect("/two/?topic=", **V1) as client:
            await client.send_json({"subscribe": "one"})
            self.assertEqual(await client.receive_json(), {"topic": "one", "recovered": False})
            publish("one", "1")
            publish("two", "2")
            self.assertEqual((await client.receive_json())["message"], "1")
            await client.send_json({"unsubscribe": "one"})
            await client.send_json({"unsubscribe": "never"})
            await client.send_json({"ping": 7})
            self.assertEqual(await client.receive_json(), {"pong": 7})
            publish("one", "3")
            await client.nothing()

    @asynchronous
    async def test_one_history_is_sent_before_the_next_is_requested(self) -> None:
        """A history may be a hundred thousand times as long as the request for it."""
        message = "x" * 100_000
        async with connect("/two/?topic=two", **V1) as other, connect("/two/?topic=", **V1) as one:
            await self.receive(other, 1)
            publish("two", message)
            await self.receive(other, 1)
            queued: list[int] = []
            connection, send = one._connection, one._connection.send_frame

            def send_frame(frame: bytes) -> None:
                send(frame)
                queued.append(connection.queued_bytes)

            self.patch(connection, "send_frame", send_frame)
            request = one._conversation.message_frame(json.dumps({"subscribe": "two"}))
            one._transport.send_to_server(request * 50)
            self.assertEqual(len(await self.receive(one, 100)), 100)
            self.assertLess(max(queued), 5 * len(message))

    @asynchronous
    async def test_a_history_is_encoded_as_the_client_reads(self) -> None:
        encoded: list[str | None] = []
        encode = websocket_transport.encode_shared

        def recorded(topic: str, frame: bytes, position: str | None) -> bytes:
            encoded.append(position)
            return encode(topic, frame, position)

        async with connect("/two/?topic=two", **V1) as other, connect("/two/?topic=", **V1) as one:
            await self.receive(other, 1)
            publish("two", "1" * 70_000)
            publish("two", "2" * 70_000)
            await self.receive(other, 2)
            self.patch(websocket_transport, "encode_shared", recorded)
            one._connection.pauseProducing()
            await one.send_json({"subscribe": "two"})
            for _ in range(10):
                await asyncio.sleep(0)
            self.assertEqual(encoded, [])
            one._connection.resumeProducing()
            _answer, *messages = await self.receive(one, 3)
            self.assertEqual([each["message"][0] for each in messages], ["1", "2"])
            self.assertEqual(len(encoded), 2)

    @asynchronous
    async def test_only_what_the_feed_allows(self) -> None:
        async with connect("/two/?topic=one", **V1) as client:
            await client.receive_json()
            await client.send_json({"subscribe": "secret", "since": "a:1"})
            self.assertEqual(
                await client.receive_json(),
                {"error": "this topic is not in the feed", "topic": "secret"},
            )
            publish("secret", "x")
            await client.nothing()
            await client.send_json({"subscribe": "two"})
            self.assertEqual((await client.receive_json())["topic"], "two")
        with self.assertRaises(Refused) as caught:
            async with connect("/two/?topic=secret", **V1):
                pass
        self.assertEqual(caught.exception.status, 403)

    @asynchronous
    async def test_invalid_requests(self) -> None:
        for message, code in {
            "{": 1007,
            "{}": 1008,
            json.dumps({"ping": "x" * 20_000}): 1008,
            b"{}": 1003,
        }.items():
            async with connect("/two/", **V1) as client:
                await client.send(message)
                self.assertEqual((await client.closed()).code, code)

    @asynchronous
    async def test_without_the_subprotocol(self) -> None:
        for subprotocols in ([], ["c10k.v2"]):
            with self.assertRaises(Refused) as caught:
                async with connect("/two/", subprotocols=subprotocols):
                    pass
            self.assertEqual(caught.exception.status, 400)

    @asynchronous
    async def test_the_function_refuses(self) -> None:
        for verdict, status in {"denied": 403, "missing": 404, "response": 402}.items():
            with self.assertRaises(Refused) as caught:
                async with connect(f"/judged/{verdict}/", **V1):
                    pass
            self.assertEqual(caught.exception.status, status)
        async with connect("/judged/fine/", **V1) as client:
            await client.nothing()
        async with connect("/thread/x/", **V1) as client:
            self.assertEqual((await client.receive_json())["topic"], "thread/x")

    @asynchronous
    async def test_a_message_is_framed_once(self) -> None:
        async with connect("/two/", **V1) as one, connect("/two/", **V1) as two:
            for client in (one, two):
                await self.receive(client, 2)
            frames = [[], []]  # type: ignore[var-annotated]
            for client, sent in zip((one, two), frames, strict=True):
                self.patch(client._connection, "send_frame", sent.append)
            publish("one", "x" * 200)
            await one.nothing()
            self.assertIs(frames[0][0], frames[1][0])
