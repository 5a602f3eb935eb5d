"""A feed by long polling: a response to each request, as soon as there is a message.

::

    > GET /live/events/?since=live%3Dab12:6
    > Prefer: wait=20                                    RFC 7240
    < Preference-Applied: wait=20
    < {"topics": [{"topic": "live", "recovered": true, "id": "ab12:6"}],
    <  "messages": [{"topic": "live", "message": "hello", "id": "ab12:7"}],
    <  "since": "live=ab12:7"}

The response comes at once if the client missed messages, or if it did not know its position in a
topic with history, so that it knows it from then on. Otherwise it comes with the first message, or
when the time is over. Messages of topics without history are lost between two polls.

A long history is sent in several responses: each ends when it has MAX_MESSAGES or MAX_BYTES, and
says where the next one continues.
"""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.interfaces import IReactorTime

from cluster.django.feeds.feed_subscriptions import CallLater, FeedSubscriptions
from cluster.django.feeds.message_format import encode_shared, encode_value
from cluster.django.feeds.web_request import WebRequest

CONTENT_TYPE = b"application/json"

MAX_WAIT_S = 55
"""Less than the 60 s after which proxies commonly give up on a response."""

GRACE_S = 1.0
"""Seconds for the history of the topics, also for a client that does not want to wait. The broker
answers within milliseconds, unless it is being restarted."""

MAX_MESSAGES = 1000
MAX_BYTES = 1 << 20
"""With so many messages a response is complete, even if the history of a topic is late because no
broker is there. The client polls again at once."""


class LongPoll:
    """One request.

    Args:
        request: The twisted.web request.
        clock: The reactor.
        wait_s: Seconds after which there is a response in any case.
        position: The client's position in the feed, as it sent it.
        ended: Called once: with "closed" after the response, with "client" if the client left.

    The creator sets ``subscriptions``.
    """

    def __init__(
        self,
        request: WebRequest,
        clock: IReactorTime,
        wait_s: int,
        position: str,
        ended: Callable[[str], None],
    ) -> None:
        self.subscriptions: FeedSubscriptions
        self.sent = 0
        self.dropped = 0
        self.request = request
        self._position: str | None = position  # until it has subscribed, and when it is full
        self._answers: list[bytes] = []
        self._messages: list[bytes] = []
        self._octets = 0  # in _messages
        self._is_full = False
        self._at_once = wait_s == 0
        self._ended: Callable[[str], None] | None = ended
        self._call_later: CallLater = lambda call: clock.callLater(0, call)
        self._scheduled = False
        self._timeout = clock.callLater(max(wait_s, GRACE_S), self.answer)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the response."""
        return self._octets

    def begin(self) -> None:
        """Nothing is sent before there is a response."""

    def subscribe(self, topics: Sequence[str], since: Mapping[str, str]) -> None:
        """Subscribe to topics; respond as soon as there is a reason, unless it has responded."""
        self._position = None
        self.subscriptions.begin(topics, since)
        self._check()

    # Called by the subscriptions.

    def send_answer(self, topic: str, recovered: bool, answer: bytes, at_once: bool) -> None:
        if self._is_full:
            return  # the next poll asks again
        self._answers.append(answer)
        self._at_once |= at_once
        self._check()

    def send_message(self, topic: str, frame: bytes, position: str | None) -> None:
        if self._is_full or self._ended is None:
            return
        message = encode_shared(topic, frame, position)
        self._messages.append(message)
        self._octets += len(message)
        if len(self._messages) >= MAX_MESSAGES or self._octets >= MAX_BYTES:
            self._is_full = True
            self._position = self.subscriptions.feed_position
            self._call_later(self.answer)
        else:
            self._check()

    def close(self, code: int, reason: str) -> None:
        """Respond with what there is; the response to the next poll has the reason."""
        self.request.channel.persistent = False
        self.answer()

    def lost(self) -> None:
        """The connection is gone."""
        self._end("client")

    # Inside.

    def _check(self) -> None:
        """If there is a reason, respond in the next iteration of the reactor.

        So the response has all messages of this iteration.
        """
        if self._scheduled or self._ended is None or self.subscriptions.waiting:
            return
        if self._messages or self._at_once:
            self._scheduled = True
            self._call_later(self._answer_if_known)

    def _answer_if_known(self) -> None:
        self._scheduled = False
        if not self.subscriptions.waiting:  # for a topic that was added after _check
            self.answer()

    def answer(self) -> None:
        """Respond now. Idempotent."""
        if self._ended is None:
            return
        body = b'{"topics":[%b],"messages":[%b],"since":%b}' % (
            b",".join(self._answers),
            b",".join(self._messages),
            encode_value(self._new_position),
        )
        request = self.request
        request.setHeader(b"Content-Type", CONTENT_TYPE)
        request.setHeader(b"Content-Length", b"%d" % len(body))
        self.sent = len(self._messages)
        self._end("closed")
        request.write(body)
        request.finish()

    @property
    def _new_position(self) -> str:
        """Where the next poll starts."""
        return self.subscriptions.feed_position if self._position is None else self._position

    def _end(self, reason: str) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            if self._timeout.active():
                self._timeout.cancel()
            ended(reason)
