"""Batches between two nodes: numbered, kept until they are acknowledged, delivered once.

The rules:

* a sender numbers its batches to one node 1, 2, 3, …, and keeps each until the node has
  acknowledged it or a later one. Acknowledgements are cumulative;
* links are FIFO, but a link or a broker that fails loses batches. The sender then sends again all
  that it keeps, in order;
* a receiver delivers the batch that follows the last one. One that it has already is dropped, and
  acknowledged again, because the acknowledgement may be lost. One that comes too early is dropped,
  too: those before it were lost on the way, and the sender sends all of them again;
* a sender may drop publications, because too much waits, or the node has been away for too long.
  Its next batch names their topics, so that no loss is silent;
* a batch names the ``first`` one that its sender can still send. A receiver that misses earlier
  ones does not wait for them;
* the name of a node is unique for each process, so a node that starts again is another node. It
  starts with number 1.

Sizes are bytes. The caller sends, drops the batches of nodes that are gone, and knows the time.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum

from cluster.core.wire.batches import encode_acknowledgement, encode_batch, publications

ALL_TOPICS = b""
"""In place of the topics of lost publications, when they are too many or not known."""

MAX_LOST_TOPICS = 1000
"""Topics of lost publications that a batch names. If there are more, it names ALL_TOPICS."""


class SentBatches:
    """The batches to one node. ``size`` counts the bytes of those that it has not acknowledged."""

    __slots__ = ("_kept", "_lost", "number", "size")

    def __init__(self) -> None:
        self.number = 0
        self.size = 0
        self._kept: deque[bytes] = deque()
        self._lost: dict[bytes, None] = {}

    @property
    def kept(self) -> Sequence[bytes]:
        """The batches that are not acknowledged, in order: send all of them after a failure."""
        return self._kept

    @property
    def acknowledged_number(self) -> int:
        """The number up to which the node has acknowledged batches, or they were given up."""
        return self.number - len(self._kept)

    @property
    def has_lost(self) -> bool:
        """Whether the next batch must announce a loss; send one soon, even if it is empty."""
        return bool(self._lost)

    def encode(self, items: Sequence[bytes], acknowledged: int) -> bytes:
        """The next batch, which is kept. ``acknowledged`` is ReceivedBatches.acknowledge()."""
        self.number = number = self.number + 1
        first = number - len(self._kept)
        if self._lost:
            batch = encode_batch(number, items, first, acknowledged, tuple(self._lost))
            self._lost = {}
        else:
            batch = encode_batch(number, items, first, acknowledged)
        self._kept.append(batch)
        self.size += len(batch)
        return batch

    def acknowledged(self, number: int) -> int:
        """The node has the batches up to this number; returns the bytes that this frees.

        Raises ValueError if no batch has had this number.
        """
        kept = self._kept
        count = number - self.number + len(kept)
        if count <= 0:  # an older acknowledgement that was sent again
            return 0
        if count > len(kept):
            raise ValueError(f"batch {number} is acknowledged, the last one was {self.number}")
        freed = 0
        for _ in range(count):
            freed += len(kept.popleft())
        self.size -= freed
        return freed

    def lose(self, topics: Iterable[bytes]) -> None:
        """Publications of these topics were dropped: the next batch announces it."""
        if ALL_TOPICS in self._lost:
            return
        self._lost.update(dict.fromkeys(topics))
        if len(self._lost) > MAX_LOST_TOPICS:
            self._lost = {ALL_TOPICS: None}

    def give_up(self) -> int:
        """Drop all batches that are not acknowledged; returns the number of their publications.

        If the node returns, the next batch announces the loss of any topic, because what was
        published in the meantime had no batch.
        """
        dropped = sum(map(publications, self._kept))
        self._kept.clear()
        self.size = 0
        self._lost = {ALL_TOPICS: None}
        return dropped


class Verdict(Enum):
    """What a receiver does with a batch."""

    DELIVER = "deliver"
    REPEATED = "repeated"
    EARLY = "early"


class ReceivedBatches:
    """The batches of one node.

    ``due``: an acknowledgement must be sent soon, with a batch in the other direction or bare.
    ``size`` counts the bytes of the batches since the last acknowledgement.
    """

    __slots__ = ("_missing", "due", "last", "size")

    def __init__(self) -> None:
        self.last = 0
        self.size = 0
        self.due = False
        self._missing = False

    def receive(self, number: int, first: int, size: int) -> Verdict:
        """Take a batch with a number from 1 on; decode_batch has checked that first <= number."""
        self.due = True
        self.size += size
        if first > self.last + 1:
            self.last = first - 1
        if number == self.last + 1:
            self.last = number
            self._missing = False
            return Verdict.DELIVER
        if number <= self.last:
            return Verdict.REPEATED
        self._missing = True
        return Verdict.EARLY

    def acknowledge(self) -> int:
        """The number to acknowledge with a batch that is sent now."""
        # A batch cannot ask for those that are missing; only a bare acknowledgement can.
        self.due = self._missing
        self.size = 0
        return self.last

    def encode_acknowledgement(self) -> bytes:
        """A bare acknowledgement, which is sent now. It asks for the batches that are missing."""
        self.due = False
        self.size = 0
        return encode_acknowledgement(self.last, self._missing)
