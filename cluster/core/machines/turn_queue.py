"""TurnQueue: what waits for the engine, and the turns in which it is written.

The rules:

* one turn is written at a time. What comes meanwhile waits for the next one, so turns become larger
  as the load grows;
* events for the log keep their order; so do the batches for one machine. A turn has a batch only if
  all events that were queued before it are in this turn or an earlier one;
* a turn has at most LOG_BYTES of events, and about INBOX_BYTES of payloads. No machine waits for
  another one: those that were served last come first;
* an answer to an external request follows the events that were queued before it.
"""

from collections import deque
from collections.abc import Collection, Iterator

from cluster.core import wire
from cluster.core.machines.encodings.inbox_payloads import RoutedBatch, SnapshotPiece
from cluster.core.machines.encodings.log_payloads import GATEWAY, encode_event, encode_log_payload
from cluster.core.machines.engine import Turn
from cluster.core.machines.inbox_queue import InboxQueue

LOG_BYTES = 1 << 20
"""Bytes of events in a turn, if it has more than one. Every gateway reads them in one piece."""

INBOX_BYTES = 8 << 20
"""Bytes of payloads in a turn; a payload has up to inbox_queue.PAYLOAD_BYTES."""


class TurnQueue:
    """Call ``written`` for each turn of ``take``. ``log_size`` counts the bytes of the events."""

    def __init__(self) -> None:
        self.log_size = 0
        self.ready = False
        """Set it to say with the next turn that this member is ready."""
        self._events: deque[tuple[bytes, bytes]] = deque()
        self._added = 0
        self._taken = 0
        self._inboxes: dict[str, InboxQueue] = {}
        self._answers: deque[tuple[int, str, bytes]] = deque()
        self._turn: Turn | None = None
        self._number = 0

    def add_event(self, node: str, message: wire.Message) -> None:
        """Queue an event for the log."""
        event = encode_event(node, message)
        self._events.append(event)
        self._added += 1
        self.log_size += len(event[1])

    def drop_events(self) -> int:
        """Drop the events of nodes that are not being written; returns their number."""
        kept = [event for event in self._events if event[0] == GATEWAY.encode()]
        count = len(self._events) - len(kept)
        self._taken += count
        self._events = deque(kept)
        self.log_size = sum(len(message) for _, message in kept)
        return count

    def inbox(self, member: str) -> InboxQueue:
        """The queue of another member."""
        queue = self._inboxes.get(member)
        if queue is None:
            queue = self._inboxes[member] = InboxQueue()
        return queue

    def add_batch(self, member: str, batch: RoutedBatch) -> bool:
        """Queue a batch; returns False if it is dropped."""
        return self.inbox(member).add(batch, self._added)

    def add_snapshot(self, member: str, pieces: Iterator[SnapshotPiece]) -> None:
        """Queue a snapshot for a member that waits for it."""
        self.inbox(member).add_snapshot(pieces)

    def add_answer(self, request: str, data: bytes) -> None:
        """Queue the answer to an external request."""
        self._answers.append((self._added, request, data))

    def forget(self, member: str) -> int:
        """Drop the queue of a member that is gone; returns how many batches it had."""
        queue = self._inboxes.pop(member, None)
        return 0 if queue is None else queue.batch_count

    @property
    def batch_count(self) -> int:
        """The batches that wait for all machines."""
        return sum(queue.batch_count for queue in self._inboxes.values())

    @property
    def size(self) -> int:
        """The bytes that wait: events and batches."""
        return self.log_size + sum(queue.marks.level for queue in self._inboxes.values())

    def take(self, after: str) -> Turn | None:
        """The next turn; None if nothing can be written, or the last turn is still written.

        ``after`` is the ID of the last log entry that is applied.
        """
        if self._turn is not None:
            return None
        events = self._take_events()
        inboxes = self._take_payloads()
        answers = []
        while self._answers and self._answers[0][0] <= self._taken:
            answers.append(self._answers.popleft()[1:])
        if not (events or inboxes or answers or self.ready):
            return None
        log = encode_log_payload(self.ready, events) if events or self.ready else b""
        self.ready = False
        self._number += 1
        self._turn = Turn(self._number, log, tuple(inboxes), tuple(answers), after)
        return self._turn

    def _take_events(self) -> list[tuple[bytes, bytes]]:
        events: list[tuple[bytes, bytes]] = []
        size = 0
        while self._events and (not events or size + len(self._events[0][1]) <= LOG_BYTES):
            events.append(self._events.popleft())
            size += len(events[-1][1])
        self._taken += len(events)
        self.log_size -= size
        return events

    def _take_payloads(self) -> list[tuple[str, bytes]]:
        payloads: list[tuple[str, bytes]] = []
        size = 0
        for member, queue in list(self._inboxes.items()):
            if size >= INBOX_BYTES:
                break
            payload = queue.payload(self._taken)
            if payload:
                payloads.append((member, payload))
                size += len(payload)
                self._inboxes[member] = self._inboxes.pop(member)  # the last one next time
        return payloads

    def is_full(self, member: str) -> bool:
        """Whether publishers must wait for a member."""
        queue = self._inboxes.get(member)
        return queue is not None and queue.marks.full

    def written(self, refused: Collection[str]) -> dict[str, tuple[tuple[str, str], ...]]:
        """The turn was written, except to the inboxes that refused it.

        Returns the members whose full queues have room again, each with the (origin, destination)
        of the batches that it has lost meanwhile.
        """
        turn, self._turn = self._turn, None
        freed = {}
        for member, _ in turn.inboxes if turn is not None else ():
            queue = self._inboxes.get(member)
            if queue is None:  # the member is gone
                continue
            if member in refused:
                queue.refused()
            elif queue.written():
                freed[member] = tuple(queue.lost)
                queue.lost.clear()
        return freed

    def retry(self) -> None:
        """Write refused payloads with the next turn."""
        for queue in self._inboxes.values():
            queue.retry()
