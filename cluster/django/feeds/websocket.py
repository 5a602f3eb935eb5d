"""A feed over WebSocket: the envelope c10k.v1 (envelope.py has its grammar).

From the start the client hears all topics of the feed, or those its URL chose (``?topic=``), after
the place its URL names (``?since=``). Later it may leave some and take others, of the same feed.
"""

import asyncio
from typing import Any

from cluster.django.api import topics
from cluster.django.feeds.feed_subscriptions import FeedSubscriptions, clients
from cluster.django.feeds.message_format import (
    BadEnvelope,
    Ping,
    Subscribe,
    Unsubscribe,
    encode,
    encode_pong,
    parse_place,
    parse_request,
)
from cluster.net.websocket.frames import text_frame

CLOSE_NOT_TEXT = 1003


async def serve(ws: Any, *args: Any, **captured: Any) -> None:
    """The handler of a feed's URL, once the feed's function has said which topics."""
    allowed, chosen = ws.request.feed_topics
    client = FeedSocket(ws, allowed)
    clients["websocket"] += 1
    try:
        client.following.begin(chosen, parse_place(ws.request.GET.get("since", "")))
        ws.on_message(client.received)
        await ws.wait_closed()
    finally:
        clients["websocket"] -= 1
        client.following.stop()


class FeedSocket:
    """One client."""

    _framed = (b"", b"")
    """What was said last, to any client, and its frame: the others are sent the same object."""

    def __init__(self, ws: Any, allowed: list[str]) -> None:
        self._ws = ws
        self._allowed = frozenset(allowed)
        later = asyncio.get_running_loop().call_soon
        self.following = FeedSubscriptions(topics.running_node().pubsub, self, later)

    def received(self, payload: bytes, is_binary: bool) -> None:
        """A request of the client."""
        if is_binary:
            self._ws.close_now(CLOSE_NOT_TEXT, "requests are text")
            return
        try:
            request = parse_request(payload.decode())
        except BadEnvelope as error:
            self._ws.close_now(error.code, str(error))
            return
        match request:
            case Subscribe(topic, since) if topic in self._allowed:
                self._wait_a_turn()
                self.following.add(topic, since)
            case Subscribe(topic):
                self._say(encode(error="this topic is not in the feed", topic=topic))
            case Unsubscribe(topic):
                self.following.remove(topic)
            case Ping(value):
                self._say(encode_pong(value))

    def answered(self, topic: str, said: bytes, recovered: bool) -> None:
        self._say(said)

    def took(self, topic: str, said: bytes) -> None:
        known, frame = FeedSocket._framed
        if known is not said:
            frame = text_frame(said)
            FeedSocket._framed = said, frame
        self._ws.send_frame(frame)

    def _wait_a_turn(self) -> None:
        """Read no further request in this iteration of the reactor.

        The answer is all that a topic keeps, and some thousand requests fit into one read. So the
        queue's limit is looked at in between.
        """
        connection = self._ws._connection
        connection.pause("subscribe")
        asyncio.get_running_loop().call_soon(connection.resume, "subscribe")

    def _say(self, said: bytes) -> None:
        self._ws.send_frame(text_frame(said))
