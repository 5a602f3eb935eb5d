"""The newest frames of each topic, for subscribers that join late or resume.

The rules:

* each retained topic has a depth: how many of its newest frames are retained;
* frames of a topic are numbered 1, 2, 3, …; the topic's ``offset`` is the number of the newest;
* offsets belong to an ``epoch``, which identifies the process that numbers the frames. A process
  that starts to number from 1 again uses another epoch;
* a process that continues the offsets of another one starts a new epoch, because the other process
  may have numbered frames that this one never received. For each earlier epoch the topic records
  the last offset that is also valid in the new one;
* for each publisher the topic remembers the number of its newest frame (``sources``), so that it
  recognizes a frame that is published again because no acknowledgement came;
* a frame may expire: it is dropped after its lifetime, once all frames before it are dropped;
* ``GAP`` takes the offset of frames that were refused before they were numbered. So a subscriber
  with an offset below it has not received all, and does not recover. A gap does not count for the
  depth. One before the oldest frame is dropped, because offsets below it are too old anyway;
* ``restore`` takes over the frames that another process knows; the higher offset wins;
* at most ``max_topics`` topics and ``max_bytes`` of frames are retained. Above that, the least
  recently published topics are evicted, and ``evicted`` counts them. The frame that was stored last
  is always retained;
* ``store`` never gives an offset twice: when a topic that was evicted is published to again, its
  offsets continue above ``floor``, the highest offset of all evicted topics.

Times are Unix times in milliseconds, which all processes share; 0 means never.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import Any

from cluster.core.broker_state.retained_topic import GAP, RetainedTopic, parse_epochs, parse_sources

MAX_TOPICS = 10_000
"""Topics that are retained. It bounds the memory that a publisher can use with ever new topics."""

MAX_BYTES = 256 << 20
"""Bytes of frames that are retained: 15 frames of 1,700 bytes in each of MAX_TOPICS topics."""


OWN_TOPICS = b"c10k/"
"""How the topics of the cluster itself begin. They are evicted only after all others: an
application with ever new topics must not evict the revocations that a node has missed."""


class RetainedFrames:
    """Topic -> its newest frames. Topics that are first numbered here have this ``epoch``."""

    __slots__ = (
        "_epochs", "_topics", "epoch", "evicted", "floor", "max_bytes", "max_topics", "size",
    )  # fmt: skip

    def __init__(
        self, max_topics: int = MAX_TOPICS, epoch: str = "", max_bytes: int = MAX_BYTES
    ) -> None:
        if max_topics < 1:
            raise ValueError(f"max_topics must be at least 1, not {max_topics}")
        self.max_topics = max_topics
        self.max_bytes = max_bytes
        self.size = 0  # bytes of all frames
        self.epoch = epoch
        self.evicted = 0
        self.floor = 0  # one number rather than one for each evicted topic
        self._epochs = 0
        self._topics: OrderedDict[bytes, RetainedTopic] = OrderedDict()

    def store(self, topic: bytes, depth: int, frame: bytes, expires: int = 0, now: int = 0) -> int:
        """Retain a frame as the topic's newest; returns its offset.

        Raises ValueError if ``depth`` is below 1.
        """
        entry = self._entry(topic, depth)
        if entry.restored:
            entry.restored = False
            entry.earlier[entry.epoch] = entry.offset
            self._epochs += 1
            entry.epoch = f"{self.epoch}x{self._epochs}"
        entry.offset += 1
        entry.frames.append(frame)
        entry.expires.append(expires)
        entry.size += len(frame)
        entry.gaps += frame == GAP
        self.size += len(frame)
        self._trim(entry, now)
        self._make_room(entry)
        return entry.offset

    def restore(
        self,
        topic: bytes,
        depth: int,
        offset: int,
        frames: Iterable[bytes],
        epochs: str = "",
        expires: Iterable[int] = (),
        now: int = 0,
        sources: str = "",
    ) -> bool:
        """Take over frames up to ``offset``; returns False if as much or more is known already.

        ``epochs`` and ``sources`` are texts of a RetainedTopic. ``expires`` has the time of each
        frame, or is empty if none expires. Raises ValueError if ``depth`` is below 1.
        """
        known = self._topics.get(topic)
        if offset <= (0 if known is None else known.offset):
            return False
        entry = self._entry(topic, depth)
        entry.offset = offset
        entry.epoch, entry.earlier = parse_epochs(epochs)
        entry.restored = True
        entry.record_publishers(parse_sources(sources))
        entry.frames = deque(frames)
        entry.expires = deque(expires) or deque([0] * len(entry.frames))
        self.size -= entry.size
        entry.size = sum(map(len, entry.frames))
        entry.gaps = entry.frames.count(GAP)
        self.size += entry.size
        self._trim(entry, now)
        self._make_room(entry)
        return True

    def get(self, topic: bytes, now: int = 0) -> RetainedTopic | None:
        """The retained topic, or None. Do not keep the object: the next frame changes it."""
        entry = self._topics.get(topic)
        if entry is not None and now:
            self._trim(entry, now)
        return entry

    def expire(self, now: int) -> None:
        """Drop the expired frames of all topics, but not the topics' offsets."""
        for entry in self._topics.values():
            self._trim(entry, now)

    def forget(self, topic: bytes) -> None:
        """Drop a topic, with its offset."""
        entry = self._topics.pop(topic, None)
        if entry is not None:
            self.size -= entry.size

    def topics(self) -> tuple[bytes, ...]:
        """All topics, the least recently published first."""
        return tuple(self._topics)

    def snapshot(self) -> Iterator[tuple[Any, ...]]:
        """All of it, as records of plain values for restore_snapshot. Frames are not copied."""
        yield (self.epoch, self.floor, self._epochs)
        for topic, entry in self._topics.items():
            yield (topic, *entry.snapshot())

    def restore_snapshot(self, records: Iterable[tuple[Any, ...]]) -> None:
        """Replace everything by what the records say."""
        (self.epoch, self.floor, self._epochs), *topics = records
        self._topics = OrderedDict(
            (topic, RetainedTopic.from_snapshot(tuple(values))) for topic, *values in topics
        )
        self.size = sum(entry.size for entry in self._topics.values())

    def _entry(self, topic: bytes, depth: int) -> RetainedTopic:
        if depth < 1:
            raise ValueError(f"a topic retains at least 1 frame, not {depth}")
        entry = self._topics.get(topic)
        if entry is None:
            while len(self._topics) >= self.max_topics:
                self._evict()
            entry = self._topics[topic] = RetainedTopic(depth, self.floor, epoch=self.epoch)
        else:
            self._topics.move_to_end(topic)
            entry.depth = depth
        return entry

    def _evict(self, spared: RetainedTopic | None = None) -> None:
        candidates = (topic for topic, entry in self._topics.items() if entry is not spared)
        first = next(candidates)
        if first.startswith(OWN_TOPICS):
            first = next((topic for topic in candidates if not topic.startswith(OWN_TOPICS)), first)
        oldest = self._topics.pop(first)
        self.size -= oldest.size
        self.floor = max(self.floor, oldest.offset)
        self.evicted += 1

    def _make_room(self, newest: RetainedTopic) -> None:
        while self.size > self.max_bytes and len(self._topics) > 1:
            self._evict(newest)
        while self.size > self.max_bytes and len(newest.frames) > 1:
            self.size -= len(newest.frames[0])
            newest.drop_oldest()
        self._trim(newest, 0)

    def _trim(self, entry: RetainedTopic, now: int) -> None:
        before = entry.size
        entry.trim(now)
        self.size -= before - entry.size
