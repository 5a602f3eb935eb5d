"""A feed by long polling: one answer to one request, when there is something to say.

::

    > GET /live/events/?since=live%3Dab12:6
    > Prefer: wait=20                                    RFC 7240
    < Preference-Applied: wait=20
    < {"topics": [{"topic": "live", "recovered": true, "id": "ab12:6"}],
    <  "messages": [{"topic": "live", "message": "hello", "id": "ab12:7"}],
    <  "since": "live=ab12:7"}

It is answered at once if messages were missed, or if the client did not know its place in a topic
that has history, so that it does from then on; else by the first message, or, without any, when the
time is over. Topics without history lose what comes between two polls.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.django.feeds.feed_subscriptions import FeedSubscriptions, Later
from cluster.django.feeds.message_format import encode_value

CONTENT_TYPE = b"application/json"

MAX_WAIT_S = 55
"""Below the 60 s after which proxies commonly give up on an answer."""

GRACE_S = 1.0
"""What a client that does not want to wait waits nevertheless for the exchange, which answers in
milliseconds unless it is just being restarted."""

MAX_MESSAGES = 1000
MAX_BYTES = 1 << 20
"""More do not wait for a topic that does not answer, because the exchange is away."""


class LongPoll:
    """One request; ``ended(reason)`` is called once: "closed" if answered, "client" if it left.

    ``place`` is what the client said of where it is.
    """

    def __init__(
        self, request: Any, clock: Any, wait_s: int, place: str, ended: Callable[[str], None]
    ) -> None:
        self.following: FeedSubscriptions
        self.sent = 0
        self.dropped = 0
        self.request = request
        self._place: str | None = place  # until it follows
        self._at_once = wait_s == 0
        self._answers: list[bytes] = []
        self._messages: list[bytes] = []
        self._octets = 0  # in _messages
        self._is_full = False
        self._ended: Callable[[str], None] | None = ended
        self._later: Later = lambda call: clock.callLater(0, call)
        self._scheduled = False
        self._timeout = clock.callLater(max(wait_s, GRACE_S), self.answer)

    def begin(self) -> None:
        """Nothing is said before there is an answer."""

    def follow(self, topics: Sequence[str], since: Mapping[str, str]) -> None:
        """Answer when there is reason to, unless that has been done."""
        self._place = None
        self.following.begin(topics, since)
        self._look()

    # What the feed says.

    def answered(self, topic: str, said: bytes, recovered: bool) -> None:
        self._answers.append(said)
        if topic in self.following.positions and not recovered:
            self._at_once = True  # the client must learn where it is
        self._look()

    def took(self, topic: str, said: bytes) -> None:
        self._messages.append(said)
        self._octets += len(said)
        if self.following.waiting and not self._is_full:
            self._is_full = len(self._messages) >= MAX_MESSAGES or self._octets >= MAX_BYTES
            if self._is_full:
                self._later(self.answer)
        self._look()

    def close(self, code: int, reason: str) -> None:
        """Answer with what there is; the next poll will be told why there is no more."""
        self.request.channel.persistent = False
        self.answer()

    def lost(self) -> None:
        """The connection is gone."""
        self._end("client")

    # Inside.

    def _look(self) -> None:
        """Answer at the end of this iteration, with all that came in it, if there is reason to."""
        if self._scheduled or self._ended is None or self.following.waiting:
            return
        if self._messages or self._at_once:
            self._scheduled = True
            self._later(self._answer_if_known)

    def _answer_if_known(self) -> None:
        self._scheduled = False
        if not self.following.waiting:  # for a topic that was added after we looked
            self.answer()

    def answer(self) -> None:
        """Answer now; a second time is ignored."""
        if self._ended is None:
            return
        body = b'{"topics":[%b],"messages":[%b],"since":%b}' % (
            b",".join(self._answers),
            b",".join(self._messages),
            encode_value(self.following.place if self._place is None else self._place),
        )
        request = self.request
        request.setHeader(b"Content-Type", CONTENT_TYPE)
        request.setHeader(b"Content-Length", b"%d" % len(body))
        self.sent = len(self._messages)
        self._end("closed")
        request.write(body)
        request.finish()

    def _end(self, reason: str) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            if self._timeout.active():
                self._timeout.cancel()
            ended(reason)
