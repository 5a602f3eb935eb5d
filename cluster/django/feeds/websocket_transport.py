"""A feed over WebSocket; message_format has the grammar.

From the start the client receives all topics of the feed, or those that its URL chose
(``?topic=``), after the position in its URL (``?since=``). Later it may unsubscribe from some, and
subscribe to others of the same feed.
"""

import asyncio
from typing import Any

from cluster.django.api import topics
from cluster.django.feeds.feed_subscriptions import FeedSubscriptions, clients, of_websockets
from cluster.django.feeds.message_format import (
    InvalidRequest,
    Ping,
    Subscribe,
    Unsubscribe,
    encode,
    encode_pong,
    encode_shared,
    parse_feed_position,
    parse_request,
)
from cluster.django.handlers.websocket import WebSocket
from cluster.net.websocket.frames import text_frame

CLOSE_NOT_TEXT = 1003


async def serve(ws: WebSocket, *args: Any, **captured: Any) -> None:
    """The handler of a feed's URL. The feed's function has been called already."""
    allowed, chosen = ws.request.feed_topics  # type: ignore[attr-defined]  # set by the decorator
    client = FeedSocket(ws, allowed)
    clients["websocket"] += 1
    of_websockets[ws] = client.subscriptions
    try:
        position = parse_feed_position(ws.request.GET.get("since", ""))
        client.subscriptions.begin(chosen, position)
        ws.on_message(client.received)
        await ws.wait_closed()
    finally:
        clients["websocket"] -= 1
        del of_websockets[ws]
        client.subscriptions.stop()


class _LaterMessage:
    """A message of a topic's history, which is encoded when it is sent (LaterFrame)."""

    __slots__ = ("_frame", "_position", "_topic")

    def __init__(self, topic: str, frame: bytes, position: str | None) -> None:
        self._topic = topic
        self._frame = frame
        self._position = position

    def __len__(self) -> int:
        return len(self._frame)

    def encode(self) -> bytes:
        return FeedSocket.framed(self._topic, self._frame, self._position)


class FeedSocket:
    """One client.

    Args:
        ws: Its WebSocket.
        allowed: The topics to which it may subscribe.
    """

    _framed = (b"", b"")
    """The last message to any client, and its frame: the other clients get the same object."""

    def __init__(self, ws: WebSocket, allowed: list[str]) -> None:
        self._ws = ws
        self._allowed = frozenset(allowed)
        call_later = asyncio.get_running_loop().call_soon
        self.subscriptions = FeedSubscriptions(topics.running_node().pubsub, self, call_later)

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Take a request of the client."""
        if is_binary:
            self._ws.close_now(CLOSE_NOT_TEXT, "requests are text")
            return
        try:
            request = parse_request(payload.decode())
        except InvalidRequest as error:
            self._ws.close_now(error.code, str(error))
            return
        match request:
            case Subscribe(topic, since) if topic in self._allowed:
                # The answer is the whole history of a topic, and one read may have thousands of
                # requests. So the limit of the send queue is checked between two of them.
                self._ws.pause_reading()
                self.subscriptions.add(topic, since)
            case Subscribe(topic):
                self._send(encode(error="this topic is not in the feed", topic=topic))
            case Unsubscribe(topic):
                self.subscriptions.remove(topic)
            case Ping(value):
                self._send(encode_pong(value))

    def send_answer(self, topic: str, recovered: bool, answer: bytes, at_once: bool) -> None:
        self._send(answer)

    def send_message(self, topic: str, frame: bytes, position: str | None) -> None:
        if self.subscriptions.is_history:
            self._ws.send_history((_LaterMessage(topic, frame, position),))
        else:
            self._ws.send_frame(self.framed(topic, frame, position))

    @staticmethod
    def framed(topic: str, frame: bytes, position: str | None) -> bytes:
        """Encode a message, and frame it."""
        message = encode_shared(topic, frame, position)
        known, framed = FeedSocket._framed
        if known is not message:
            framed = text_frame(message)
            FeedSocket._framed = message, framed
        return framed

    def _send(self, message: bytes) -> None:
        self._ws.send_frame(text_frame(message))
