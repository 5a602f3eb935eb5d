"""Tests of cluster.node.inspection: what an operator learns of a node's clients and topics."""

from types import SimpleNamespace
from typing import Any

from tests.django.site import load_database, load_site

load_site()

from django.contrib.auth.models import User  # noqa: E402 - models want settings first
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster.node import inspection  # noqa: E402
from cluster.node.inspection import CLOSE_BY_OPERATOR, REASON, Filter, Inspection  # noqa: E402
from cluster.testing import Closed, asynchronous, connect  # noqa: E402
from cluster.testing.memory_node import MemoryNode  # noqa: E402
from tests.django.feeds.feed_site import FeedSiteTestCase  # noqa: E402


def of_websockets() -> Inspection:
    """The inspection of the node in memory."""
    http: Any = SimpleNamespace(feeds=SimpleNamespace(describe_clients=lambda: iter(())))
    node: Any = MemoryNode.current()
    return Inspection(node, http)


class WebSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        User.objects.get_or_create(username="inspected")

    @asynchronous
    async def test_topics(self) -> None:
        async with connect("/chat/ws/") as one, connect("/chat/ws/"), connect("/chat/a/ws/"):
            await one.receive_json()
            await one.send_json({"message": "hello", "id": "1"})
            await one.receive_json()
            found = of_websockets().topics()
            self.assertEqual(2, found["total"])
            expected = [
                {"topic": "chat", "subscribers": 2, "history": 1, "topics": 1},
                {"topic": "chat/a", "subscribers": 1, "history": 0, "topics": 1},
            ]
            self.assertEqual(expected, found["topics"])
            self.assertEqual(expected[:1], of_websockets().topics(limit=1)["topics"])

    def test_many_topics_with_the_same_beginning_are_one_row(self) -> None:
        counts = {b"chat": 3, b"a/1": 1, **{b"user/%d" % number: 2 for number in range(50)}}
        grouped, sizes = inspection._group(counts)
        self.assertEqual({b"chat": 3, b"a/1": 1, b"user/*": 100}, dict(grouped))
        self.assertEqual({b"user/*": 50}, dict(sizes))

    @asynchronous
    async def test_clients_and_filters(self) -> None:
        user = await User.objects.aget(username="inspected")
        feed = connect("/live/events/", subprotocols=["c10k.v1"])
        async with connect("/chat/ws/", user=user) as own, connect("/chat/a/ws/"), feed as fed:
            await own.receive_json()
            await fed.receive_json()
            found = await of_websockets().clients(Filter())
            self.assertEqual(3, found["total"])
            chat, room, live = sorted(found["clients"], key=lambda each: len(each["path"]))
            self.assertEqual(("/chat/ws/", "inspected", ["chat"]), self.main(chat))
            self.assertEqual(("/chat/a/ws/", "", ["chat/a"]), self.main(room))
            self.assertEqual(("/live/events/", "", ["live"]), self.main(live))
            for wanted, paths in (
                (Filter(user="inspected"), ["/chat/ws/"]),
                (Filter(user=str(user.pk)), ["/chat/ws/"]),
                (Filter(user="somebody"), []),
                (Filter(topic="live"), ["/live/events/"]),
                (Filter(topic="chat", path="/chat/a/"), []),
                (Filter(path="/chat/"), ["/chat/a/ws/", "/chat/ws/"]),
                (Filter(id=room["id"]), ["/chat/a/ws/"]),
                (Filter(address="192.0.2.1"), []),
            ):
                found = await of_websockets().clients(wanted)
                self.assertEqual(paths, sorted(each["path"] for each in found["clients"]), wanted)
                self.assertEqual(len(paths), found["total"])
            limited = await of_websockets().clients(Filter(), limit=1)
            self.assertEqual((3, 1), (limited["total"], len(limited["clients"])))

    @staticmethod
    def main(row: dict[str, Any]) -> tuple[str, str, list[str]]:
        return row["path"], row["user"], row["topics"]

    @asynchronous
    async def test_a_search_in_pieces(self) -> None:
        self.patch(inspection, "SEARCHED", 1)
        async with connect("/chat/ws/"), connect("/chat/ws/"):
            self.assertEqual(2, (await of_websockets().clients(Filter()))["total"])

    @asynchronous
    async def test_disconnect(self) -> None:
        async with connect("/chat/a/ws/") as one, connect("/chat/b/ws/") as other:
            await one.receive_json()
            await other.receive_json()
            found = await of_websockets().disconnect(Filter(topic="chat/a"))
            self.assertEqual({"disconnected": 1}, found)
            self.assertEqual(Closed(CLOSE_BY_OPERATOR, REASON), await one.closed())
            await other.nothing()
            with self.assertRaises(ValueError):
                await of_websockets().disconnect(Filter())


class FeedTests(FeedSiteTestCase):
    def test_streams_and_polls(self) -> None:
        async def test() -> None:
            stream, poll = await self.stream("/two/"), await self.poll("/two/")
            websockets: Any = SimpleNamespace(
                pubsub=self.pubsub, connection_factory=SimpleNamespace(connections=())
            )
            http: Any = SimpleNamespace(feeds=self.feeds)
            found = await Inspection(websockets, http).clients(Filter(path="/two/"))
            kinds = [(each["kind"], each["topics_total"]) for each in found["clients"]]
            self.assertEqual([("stream", 2), ("poll", 2)], kinds)
            done = await Inspection(websockets, http).disconnect(Filter(topic="one"))
            self.assertEqual({"disconnected": 2}, done)
            await self.settle()
            self.assertEqual({"stream": 0, "poll": 0, "websocket": 0}, self.feeds.clients)
            self.assertIn(b"1008", stream.value())
            self.assertIn(b" 200 ", poll.value().split(b"\r\n")[0])

        self.run_async(test)
