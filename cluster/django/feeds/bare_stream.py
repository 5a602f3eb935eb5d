"""A feed without envelope as server-sent events: the data of an event is the message itself.

::

    retry: 2741
    : heartbeat 15

    id: orders%2F7=ab12:6                        the position; "-" if no topic has history

    id: orders%2F7=ab12:7
    data: <p>packed</p>                          a message of a topic without a name for its events

    id: orders%2F7=ab12:8
    event: order
    data: <p>                                    each line of a message
    data: shipped</p>

    id: orders%2F7=cd34:2
    event: lost
    data: {"topic":"orders/7","recovered":false,"id":"cd34:2"}

Heartbeats and ``close`` are as in server_sent_events. ``lost`` is sent when messages of a topic are
lost: not all could be sent after the position of a client that reconnects, or the node missed some.
So a client that does not reconnect never receives it without a reason, and a page may load its
content again whenever it comes. An id is always sent, because an EventSource that has none
reconnects without ``Last-Event-ID``, as if it came for the first time.

A binary message cannot be sent in lines of text. Its clients receive ``lost`` in its place, the
first one of each topic is logged, and all are counted.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from twisted.logger import Logger

from cluster.django.feeds.message_format import MessageMemo, encode
from cluster.django.feeds.server_sent_events import DATA, EventStream, LaterEvent, Streams
from cluster.django.feeds.web_request import WebRequest
from cluster.logs.python_logging import FEED
from cluster.net.websocket.frames import BINARY, frame_payload

NO_POSITIONS = b"id: -\n"
"""The position of a client none of whose topics has history."""

LOGGED_TOPICS = 1000
"""Topics of which a binary message is logged; beyond these it is only counted."""

_log = Logger(FEED)
_logged: set[str] = set()


def encode_lines(frame: bytes) -> bytes:
    """The lines of a text frame after the first ``data: ``. Line ends become LF."""
    payload, _ = frame_payload(frame)
    lines = payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return lines.replace(b"\n", b"\n" + DATA)


_encode_shared = MessageMemo(lambda topic, frame, position: encode_lines(frame)).encode


class _LaterLines(LaterEvent):
    """A message of a topic's history, which is encoded when it is sent."""

    __slots__ = ()

    def encode(self) -> bytes:
        return b"".join((self._begin, DATA, _encode_shared("", self._frame, None), b"\n\n"))


class BareStream(EventStream):
    """The stream of one client, without envelope.

    Args:
        request: The twisted.web request, to which nothing has been written.
        streams: What all streams share.
        ended: As of an EventStream.
        events: The names of events by topic.
        resumes: Whether the client has been here before: it sent a position.
        dropped: Counts binary messages.
    """

    __slots__ = ("_begins", "_dropped", "_known")

    def __init__(
        self,
        request: WebRequest,
        streams: Streams,
        ended: Callable[[str], None],
        events: Mapping[str, str],
        resumes: bool,
        dropped: Counter[str],
    ) -> None:
        super().__init__(request, streams, ended)
        self._dropped = dropped
        # An unnamed event is a "message"; htmx 4 handles named ones differently, even this name.
        self._begins = {
            topic: b"" if event == "message" else b"event: %b\n" % event.encode()
            for topic, event in events.items()
        }
        self._known = set(events) if resumes else set()  # topics of which it has a position

    def send_answer(self, topic: str, recovered: bool, answer: bytes, at_once: bool) -> None:
        if topic in self._known and not recovered:
            self._put(self._id(), b"event: lost\ndata: ", answer, b"\n\n")
        else:
            self._known.add(topic)
            self._put(self._id(), b"\n")

    def send_message(self, topic: str, frame: bytes, position: str | None) -> None:
        if self._ended is None:
            return
        if frame[0] == BINARY:
            self._refuse(topic, position)
            return
        begin = self._id() + self._begins[topic]
        self._messages += 1
        if self.subscriptions.is_history:
            self._history += len(frame)
            self._later += 1
            self._put(_LaterLines(begin, topic, frame, position))
        else:
            self._put(begin, DATA, _encode_shared("", frame, None), b"\n\n")

    def _refuse(self, topic: str, position: str | None) -> None:
        """A binary message, which cannot be sent."""
        self._dropped["binary_message"] += 1
        if topic not in _logged and len(_logged) < LOGGED_TOPICS:
            _logged.add(topic)
            _log.error(
                "a binary message of the topic {topic!r} is not sent to the streams of a feed"
                " without envelope: publish text there",
                topic=topic,
            )
        lost = encode(topic=topic, recovered=False, id=position)
        self._put(self._id(), b"event: lost\ndata: ", lost, b"\n\n")

    def _id(self) -> bytes:
        return super()._id() or NO_POSITIONS
