"""The retained frames of the topics that this node wants, as the exchange has told them.

A copy is kept while the topic is wanted, for those who subscribe later on this node, and for a
broker that may have lost it. What has expired is never given.
"""

import sys
from collections.abc import Callable, Iterator

from cluster.core import wire
from cluster.core.retained import (
    RetainedFrames,
    RetainedTopic,
    format_sources,
    parse_epochs,
    parse_sources,
)
from cluster.pubsub.pending_subscribers import History, Position, history_since


class RetainedCache:
    """``now`` gives Unix time in milliseconds. ``missed``: frames that subscribers here never got,
    because the link was down for longer than they were kept."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.missed = 0
        # As many as are wanted here: one that made room for another would be heard twice by those
        # who are subscribed already, when somebody asks for it again.
        self._retained = RetainedFrames(sys.maxsize, max_bytes=sys.maxsize)
        self._now = now
        self.forget = self._retained.forget

    def get(self, topic: bytes) -> RetainedTopic | None:
        """What is known of a topic. None if nothing is; it may keep something all the same."""
        return self._retained.get(topic, self._now())

    def history(self, topic: bytes, since: Position | None) -> History:
        """What to tell a newcomer to the topic."""
        return history_since(self.get(topic), since)

    def take(self, message: wire.Retained) -> list[tuple[bytes, int]] | None:
        """New frames, or all that is kept: returns those not known yet, with their numbers.

        Those in between that are in neither are counted in ``missed``. None: new frames that do not
        follow what is known here. The exchange sent them before it had our interest, of which it
        knew from a link that was lost, or that has ended and begun again meanwhile; all that is
        kept comes next.
        """
        topic = message.topic
        kept = self._retained.get(topic)
        known = self._known(kept, message)
        new = message.offset - known
        if new > len(message.frames) and not message.full:
            return None
        if new <= 0:
            return []
        frames = message.frames[-new:]
        times = (message.expires or (0,) * len(message.frames))[-new:]
        if kept is not None:
            self.missed += new - len(frames)
        if kept is not None and new == len(frames) and known == kept.offset:
            before, times_before = tuple(kept.frames), tuple(kept.expires)
        else:
            before, times_before = (), ()
        published = {} if kept is None else kept.published
        sources = parse_sources(message.sources)
        self._retained.forget(topic)
        self._retained.restore(
            topic,
            message.depth,
            message.offset,
            (*before, *frames),
            message.epochs,
            (*times_before, *times),
            self._now(),
            format_sources(published | sources),
        )
        if len(message.frames) == 1 and any(
            number <= published.get(publisher, 0) for publisher, number in sources.items()
        ):
            return []  # sent again by its publisher, who could not know that it was here before
        first = message.offset - len(frames) + 1
        return [(frame, first + index) for index, frame in enumerate(frames)]

    @staticmethod
    def _known(kept: RetainedTopic | None, message: wire.Retained) -> int:
        """The number of the last frame in the message's numbering that is known here."""
        if kept is None:
            return 0
        epoch, earlier = parse_epochs(message.epochs)
        if kept.epoch == epoch:
            return kept.offset
        if kept.epoch in earlier:  # beyond that it was numbered by a process that is gone
            return min(kept.offset, earlier[kept.epoch])
        return 0

    def restores(self) -> Iterator[wire.Restore]:
        """All that is known, for a broker that may have lost it."""
        for topic in self._retained.topics():
            entry = self.get(topic)
            if entry is not None:
                times = tuple(entry.expires) if any(entry.expires) else ()
                frames = tuple(entry.frames)
                yield wire.Restore(
                    topic, entry.depth, entry.offset, frames, entry.epochs, times, entry.sources
                )
