"""The retained frames of the topics that this node subscribes to, as the exchange has sent them.

A topic is cached while the node subscribes to it: for later subscribers on this node, and for a new
broker, which does not know it. Expired frames are never returned.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from cluster.core import wire
from cluster.core.broker_state.retained_topic import (
    GAP,
    NO_HISTORY,
    History,
    Position,
    RetainedTopic,
    format_sources,
    parse_epochs,
    parse_sources,
)
from cluster.core.broker_state.topic_history import RetainedFrames


class HistoryCache:
    """``now`` returns Unix time in milliseconds.

    ``dropped["history_gap"]`` counts frames that subscribers of this node never received, because
    the link was down for longer than the topic retained them. Each time ``on_gap`` is called with
    the topic, before its new frames are delivered.
    """

    def __init__(self, now: Callable[[], int], dropped: Counter[str]) -> None:
        self.on_gap: Callable[[bytes], None] = lambda topic: None
        self.uncertain: set[bytes] = set()
        """Topics that had subscribers when the link was lost, and of which nothing has come since.
        Only of these can frames be missing: while a link lasts, it loses nothing."""
        # No limits: the node's subscriptions bound the cache. If a topic with subscribers were
        # evicted, they would receive its frames again with the answer to the next query.
        self._retained = RetainedFrames(sys.maxsize, max_bytes=sys.maxsize)
        self._now = now
        self._dropped = dropped

    def get(self, topic: bytes) -> RetainedTopic | None:
        """The topic, or None if it is not cached; the exchange may retain it nevertheless."""
        return self._retained.get(topic, self._now())

    def history(self, topic: bytes, since: Position | None) -> History:
        """The history that a new subscriber of the topic receives."""
        kept = self.get(topic)
        return NO_HISTORY if kept is None else kept.history(since)

    def forget(self, topic: bytes) -> None:
        """Drop a topic that this node does not subscribe to any longer."""
        self._retained.forget(topic)
        self.uncertain.discard(topic)

    def receive(self, message: wire.Retained) -> list[tuple[bytes, int]] | None:
        """Store frames of the exchange: either new ones, or all that the topic retains.

        Returns the frames to deliver, with their offsets; GAP if subscribers miss frames there.
        None: the message must be ignored, because its frames do not follow those that are known
        here.
        """
        topic = message.topic
        kept = self._retained.get(topic)
        known = self._known_offset(kept, message)
        new = message.offset - known
        if new > len(message.frames) and not message.full:
            # Frames between the known and the new ones are missing. The exchange sent the new ones
            # for an earlier subscription of this node, before it received the present one: the link
            # was lost, or the node unsubscribed and subscribed again. The answer to the present
            # subscription arrives next and has all frames; delivering these first would change the
            # order.
            return None
        uncertain = topic in self.uncertain
        self.uncertain.discard(topic)
        if new <= 0:
            return []
        frames = message.frames[-new:]
        times = (message.expires or (0,) * len(message.frames))[-new:]
        if kept is not None and new == len(frames) and known == kept.offset:
            before, times_before = tuple(kept.frames), tuple(kept.expires)
        else:
            # Keep older frames only if the new ones follow them without a gap in the same
            # numbering, because offsets are counted back from the newest frame.
            before, times_before = (), ()
        published = {} if kept is None else kept.published
        sources = parse_sources(message.sources)
        # Forget the topic first: ``restore`` ignores lower offsets, which another epoch may have.
        self._retained.forget(topic)
        self._retained.restore(
            topic,
            message.depth,
            message.offset,
            (*before, *frames),
            message.epochs,
            (*times_before, *times),
            self._now(),
            format_sources(_newest(published, sources)),
        )
        if uncertain and (new > len(frames) or self._is_unrelated(kept, message)):
            self._dropped["history_gap"] += max(1, new - len(frames))
            self.on_gap(topic)
        # After the death of a broker a publisher sends again the frames that may not have been
        # delivered. If this node received the frame from the dead broker, it takes over the new
        # offset, but does not deliver the frame again. This is checked for single frames only: in a
        # message of several frames the sources do not show which publisher sent which frame.
        if len(message.frames) == 1 and any(
            number <= published.get(publisher, 0) for publisher, number in sources.items()
        ):
            return []
        first = message.offset - len(frames) + 1
        numbered = [(frame, first + index) for index, frame in enumerate(frames)]
        # Several frames after a fault: those that this node alone had received may be among them,
        # because their publishers have sent them again. The subscribers have them.
        if kept is not None and kept.offset > known and not self._is_unrelated(kept, message):
            numbered = _without(numbered, list(kept.frames)[known - kept.offset :])
        if kept is None and not uncertain and len(frames) > 1 and GAP in frames:
            # The answer to a new subscription: its subscribers came after the gaps.
            return [(frame, offset) for frame, offset in numbered if frame != GAP]
        return numbered

    @staticmethod
    def _is_unrelated(kept: RetainedTopic | None, message: wire.Retained) -> bool:
        """Whether the offsets of the message do not continue those of the known frames."""
        if kept is None:
            return False
        epoch, earlier = parse_epochs(message.epochs)
        return kept.epoch != epoch and kept.epoch not in earlier

    @staticmethod
    def _known_offset(kept: RetainedTopic | None, message: wire.Retained) -> int:
        """The offset of the last known frame, in the numbering of the message."""
        if kept is None:
            return 0
        epoch, earlier = parse_epochs(message.epochs)
        if kept.epoch == epoch:
            return kept.offset
        if kept.epoch in earlier:
            # The previous broker numbered the frames after that offset. The present one has given
            # their offsets to other frames.
            return min(kept.offset, earlier[kept.epoch])
        return 0

    def restores(self) -> Iterator[wire.Restore]:
        """All cached topics, for a broker that may not know them."""
        for topic in self._retained.topics():
            entry = self.get(topic)
            if entry is not None:
                times = tuple(entry.expires) if any(entry.expires) else ()
                frames = tuple(entry.frames)
                yield wire.Restore(
                    topic, entry.depth, entry.offset, frames, entry.epochs, times, entry.sources
                )


def _newest(published: Mapping[str, int], sources: Mapping[str, int]) -> dict[str, int]:
    """The last number of each publisher: another broker may know less than this node."""
    newest = dict(published)
    for publisher, number in sources.items():
        newest[publisher] = max(newest.pop(publisher, 0), number)
    return newest


def _without(
    numbered: list[tuple[bytes, int]], delivered: Iterable[bytes]
) -> list[tuple[bytes, int]]:
    """Leave out frames that were delivered, each as often as it was. Gaps stay."""
    counts = Counter(frame for frame in delivered if frame != GAP)
    left = []
    for frame, offset in numbered:
        if counts[frame]:
            counts[frame] -= 1
        else:
            left.append((frame, offset))
    return left
