"""Batches to and from the other nodes: sends, keeps, acknowledges and repeats them.

core.acknowledged_batches has the rules; remote_nodes.py decides when a node is present. An
acknowledgement travels with the next batch in the other direction. If there is none for a while, it
is sent on its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from twisted.logger import Logger

from cluster.core.acknowledged_batches import ReceivedBatches, SentBatches, Verdict
from cluster.core.exceptions import WireError
from cluster.core.water_marks import WaterMarks
from cluster.core.wire.batches import decode_batch
from cluster.logs.rate_limit import LimitedLog
from cluster.pubsub.bus import Bus, Clock, Timer

HIGH_WATER = 16 << 20
LOW_WATER = 4 << 20
"""Bytes of publications that are not acknowledged. Above the first mark publishers must pause; at
or below the second they may resume. A batch is acknowledged within ACKNOWLEDGE_S, so only a
failure or a node that does not read fills this much."""

LIMIT = 2 * HIGH_WATER
"""Bytes above which publications are dropped (``bus_queue_full``). The node has stopped reading
from clients by then, but handlers may still publish."""

AWAY_LIMIT = 8 << 20
"""Bytes of batches that are kept for a node that is away or stalled. Above that, publications to it
are dropped (``node_stalled``)."""

STALLED_S = 3.0
"""Seconds after which a node that has acknowledged nothing, while publishers pause, is stalled: its
event loop is blocked. As long as it takes to detect that a process is stopped (net.zmq_socket)."""

BATCH_BYTES = 8 << 20
"""Bytes of publications in a batch, if there is more than one. The rest is sent in the next turn.
ZeroMQ disconnects a node that sends more than net.zmq_socket.MAX_MESSAGE_BYTES in one message."""

MAX_PUBLICATION = 128 << 20
"""Bytes of the longest publication that is sent to other nodes; a longer one is dropped
(``too_large``). Together with BATCH_BYTES it is far below what ZeroMQ accepts."""

ACKNOWLEDGE_S = 0.25
"""Seconds after which a batch is acknowledged on its own. Longer would keep more batches in memory,
shorter would send more acknowledgements; a link that is busy in both directions needs none."""

ACKNOWLEDGE_BYTES = 1 << 18
"""Bytes of one node's batches that are acknowledged at once. 64 nodes that all receive the same
reach HIGH_WATER together at most once, and not for longer than ACKNOWLEDGE_S."""


class RemoteNode:
    """Another node. ``items`` are the publications for its next batch: topic, frame, topic, …

    ``present`` is False while the bus is down, until the node has joined a new broker, and while it
    is ``away`` (remote_nodes.py). ``counted``: its batches count for ``unacknowledged``, so that
    publishers wait for it. It is False while the node is away or stalled.
    """

    __slots__ = (
        "away", "away_timer", "counted", "items", "name", "present", "received", "sent",
        "subscriptions_are_old",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[bytes] = []
        self.sent = SentBatches()
        self.received = ReceivedBatches()
        self.present = False
        self.away = False
        self.counted = True
        self.away_timer: Timer | None = None
        self.subscriptions_are_old = False


class Batches:
    """Call ``flush`` at the end of each turn in which a node was added to ``dirty``.

    ``schedule`` asks for that flush. ``find`` returns a node by its name, even one that is not
    known yet, ``nodes`` all that are not gone. ``on_full`` is called when ``unacknowledged``
    becomes full or has room again, ``on_lost`` with the topics of lost publications, which may be
    ALL_TOPICS. ``dropped`` counts publications that are not sent and batches that are not
    delivered, by reason.
    """

    log = Logger()

    def __init__(
        self,
        bus: Bus,
        schedule: Callable[[], None],
        clock: Clock,
        dropped: Counter[str],
        find: Callable[[str], RemoteNode],
        nodes: Callable[[], Iterable[RemoteNode]],
    ) -> None:
        self.on_full: Callable[[], None] = lambda: None
        self.on_lost: Callable[[Sequence[bytes]], None] = lambda topics: None
        self.dirty: list[RemoteNode] = []
        """Nodes with something to send in the next flush. Publishing appends a node when its
        ``items`` were empty."""
        self.unacknowledged = WaterMarks(HIGH_WATER, LOW_WATER)
        self.gaps = 0
        """Notices of other nodes that they dropped publications to this one."""
        self._bus = bus
        self._schedule = schedule
        self._clock = clock
        self._dropped = dropped
        self._find = find
        self._nodes = nodes
        self._log_invalid = LimitedLog(self.log.warn, "invalid batches")
        self._stall_timer: Timer | None = None
        self._due: dict[RemoteNode, None] = {}  # nodes whose batches have arrived
        self._timer: Timer | None = None
        self._have_rest = False  # some nodes have publications that the last batch did not take

    # To other nodes.

    def flush(self, are_large: bool = False) -> None:
        """Send each dirty node its batch, or keep it until the node is present.

        ``are_large``: the publications since the last flush may be too many bytes for one batch.
        """
        dirty, self.dirty = self.dirty, []
        are_large |= self._have_rest
        self._have_rest = False
        for node in dirty:
            items, node.items = node.items, []
            if are_large and sum(map(len, items)) > BATCH_BYTES:
                items = self._first_batch(node, items)
            sent = node.sent
            if not items and not sent.has_lost:
                self._acknowledge(node)
                continue
            if self.limit_reached if node.counted else sent.size > AWAY_LIMIT:
                reason = "bus_queue_full" if node.counted else "node_stalled"
                self._dropped[reason] += len(items) // 2
                sent.lose(items[::2])
                # The other node may be in the same state, and wait for this.
                self._acknowledge(node)
                continue
            present = node.present
            batch = sent.encode(items, node.received.acknowledge() if present else 0)
            if node.counted:
                self.count(len(batch))
            if present:
                self._bus.send_batch(node.name, batch)

    def _first_batch(self, node: RemoteNode, items: list[bytes]) -> list[bytes]:
        """The first BATCH_BYTES, or the first publication; the rest is left for the next flush."""
        first: list[bytes] = []
        size = 0
        for at in range(0, len(items), 2):
            topic, frame = items[at : at + 2]
            if len(frame) > MAX_PUBLICATION:
                self._dropped["too_large"] += 1
                self.log.error(
                    "a publication of {size:,} bytes is not sent to other nodes; the limit is"
                    " {limit:,}",
                    size=len(frame),
                    limit=MAX_PUBLICATION,
                )
                node.sent.lose([topic])
                continue
            size += len(topic) + len(frame)
            if first and size > BATCH_BYTES:
                node.items = items[at:]
                self.dirty.append(node)
                self._have_rest = True
                self._schedule()
                break
            first += (topic, frame)
        return first

    @property
    def limit_reached(self) -> bool:
        """Whether publications must be dropped."""
        return self.unacknowledged.level > LIMIT

    def count(self, change: int) -> None:
        """Add to the bytes that are not acknowledged; negative numbers subtract."""
        marks = self.unacknowledged
        if marks.add(change) if change > 0 else marks.remove(-change):
            self.on_full()
            if marks.full and self._stall_timer is None:
                self._watch_progress()

    def set_counted(self, node: RemoteNode, counted: bool) -> None:
        """Let publishers wait for a node, or not."""
        if node.counted is not counted:
            node.counted = counted
            self.count(node.sent.size if counted else -node.sent.size)

    def _watch_progress(self) -> None:
        before = {
            node: node.sent.acknowledged_number
            for node in self._nodes()
            if node.present and node.counted and node.sent.kept
        }
        self._stall_timer = self._clock.callLater(STALLED_S, lambda: self._find_stalled(before))

    def _find_stalled(self, before: dict[RemoteNode, int]) -> None:
        """One node that does not read must not stop the publishers of all others."""
        self._stall_timer = None
        for node, number in before.items():
            sent = node.sent
            if node.present and sent.kept and sent.acknowledged_number == number:
                self.log.error(
                    "{node} has acknowledged nothing for {seconds:.0f} s; not waiting for it",
                    node=node.name,
                    seconds=STALLED_S,
                )
                self.set_counted(node, False)
        if self.unacknowledged.full:
            self._watch_progress()

    def send_again(self, node: RemoteNode) -> None:
        """Send a node that is present all that it has not acknowledged."""
        for batch in node.sent.kept:
            self._bus.send_batch(node.name, batch)
        if node.sent.has_lost:
            self._mark(node)

    def stop(self) -> None:
        """Send no more acknowledgements; cancels the timers."""
        for timer in (self._timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._stall_timer = None

    # From other nodes.

    def unpack(self, origin: str, data: bytes) -> list[bytes]:
        """The publications (topic, frame, topic, frame, …) of a batch.

        Empty if the batch is malformed, repeated or too early; the first two are counted.
        """
        node = self._find(origin)
        try:
            number, first, acknowledged, lost, items = decode_batch(data)
            freed = node.sent.acknowledged(acknowledged) if acknowledged else 0
        except (WireError, ValueError) as error:
            self._dropped["malformed"] += 1
            text = "dropped a batch of {origin}: {error}"
            self._log_invalid("", text, origin=origin, error=error)
            return []
        if freed:
            if node.counted:
                self.count(-freed)
            elif not node.away:  # it reads again
                self.set_counted(node, True)
            if node.sent.has_lost:
                self._mark(node)
        if not number:
            if first and node.present:
                self.send_again(node)
            return []
        received = node.received
        verdict = received.receive(number, first, len(data))
        self._due[node] = None
        if received.size >= ACKNOWLEDGE_BYTES:
            self._mark(node)
        elif self._timer is None:
            self._timer = self._clock.callLater(ACKNOWLEDGE_S, self._acknowledge_all)
        if verdict is Verdict.DELIVER:
            if lost:
                self._report(origin, lost)
            return items
        if verdict is Verdict.REPEATED:
            self._dropped["duplicate_batch"] += 1
        return []

    def _report(self, origin: str, lost: Sequence[bytes]) -> None:
        self.gaps += 1
        self.log.error("{origin} had to drop publications to this node", origin=origin)
        self.on_lost(lost)

    def _acknowledge(self, node: RemoteNode) -> None:
        # A node that is not present sends its batches again when it is, and makes it due again.
        if node.received.due and node.present:
            self._bus.send_batch(node.name, node.received.encode_acknowledgement())

    def _acknowledge_all(self) -> None:
        self._timer = None
        due, self._due = self._due, {}
        for node in due:
            self._acknowledge(node)

    def _mark(self, node: RemoteNode) -> None:
        self.dirty.append(node)
        self._schedule()
