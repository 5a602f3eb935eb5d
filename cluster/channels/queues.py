"""The channels and groups of one process: queues, capacity, expiry, membership.

A queue has encoded messages, so that the members of a group share one object. Each receiver decodes
its own copy.

* A channel is full when it has as many unread messages as its capacity. Those that have expired do
  not count, and are dropped.
* ``receive`` of a name that ends with "!" reads all channels that begin with it and have no reader
  of their own; they share its capacity.
* A membership ends ``group_expiry`` seconds after the last ``add``. It also ends when a message of
  the channel expires and nobody has received from it for ABANDONED times the expiry: its consumer
  has ended without leaving its groups.

The times are seconds of ``clock``. Any thread may call these methods.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from cluster.channels.drops import EXPIRED, FULL, Drops
from cluster.channels.waiting import Waiter, wake

ABANDONED = 10


class Queue:
    """One channel: its unread messages, the coroutines that wait, the groups that it is in."""

    __slots__ = ("capacity", "entries", "groups", "name", "read_at", "waiters")

    def __init__(self, name: str, capacity: int, now: float) -> None:
        self.name = name
        self.capacity = capacity
        self.entries: deque[tuple[float, bytes]] = deque()
        """When a message expires, and the message."""
        self.waiters: deque[Waiter] = deque()
        self.groups: set[str] = set()
        self.read_at = now

    @property
    def unused(self) -> bool:
        """Whether the queue need not be kept."""
        return not (self.entries or self.waiters or self.groups)


class Queues:
    """The channels and groups of this process.

    Args:
        expiry: Seconds for which a message may wait.
        group_expiry: Seconds for which a membership is valid.
        capacity_of: Returns the capacity of a channel.
        clock: Returns monotonic seconds.
        drops: Counts dropped messages.
    """

    def __init__(
        self,
        expiry: float,
        group_expiry: float,
        capacity_of: Callable[[str], int],
        clock: Callable[[], float],
        drops: Drops,
    ) -> None:
        self.on_empty_group: Callable[[str], None] = lambda group: None
        """Called when a group has lost its last member, with the lock held."""
        self._expiry = expiry
        self._group_expiry = group_expiry
        self._capacity_of = capacity_of
        self._clock = clock
        self._drops = drops
        self._queues: dict[str, Queue] = {}
        self._groups: dict[str, dict[Queue, float]] = {}
        self._read_together: set[str] = set()
        """Names that end with "!" from which somebody has received."""
        self._lock = threading.RLock()
        self._sweep_at = clock() + expiry

    # Messages.

    def put(self, channel: str, body: bytes) -> bool:
        """Add a message to a channel; returns False if the channel is full."""
        woken: list[Waiter] = []
        with self._lock:
            now = self._clock()
            self._sweep_if_due(now)
            done = self._put(self._queue_for(channel, now), body, now, woken)
        if woken:
            wake(woken)
        return done

    def put_to_group(self, group: str, body: bytes) -> None:
        """Add a message to each member of a group that is not full. The drops are counted."""
        woken: list[Waiter] = []
        with self._lock:
            now = self._clock()
            self._sweep_if_due(now)
            members = self._groups.get(group)
            if members is None:
                return
            entry = (now + self._expiry, body)
            ended, full = [], []
            for queue, until in members.items():
                if until <= now:
                    ended.append(queue)
                    continue
                entries = queue.entries  # as _put, written out: this runs for each delivery
                if len(entries) >= queue.capacity and not self._has_room(queue, now):
                    full.append(queue)
                    continue
                entries.append(entry)
                if queue.waiters:
                    woken.append(queue.waiters.popleft())
            for queue in ended:
                self._leave(queue, group)
        for queue in full:
            self._drops.add(FULL, queue.name)
        if woken:
            wake(woken)

    def take(self, channel: str, loop: asyncio.AbstractEventLoop) -> bytes | Waiter:
        """The next message of a channel; without one, a waiter of this loop, which is woken for
        one.

        A waiter that is cancelled must call ``give_up``.
        """
        with self._lock:
            now = self._clock()
            if channel[-1] == "!":
                self._read_together.add(channel)
            queue = self._queues.get(channel) or self._queue_for(channel, now)
            queue.read_at = now
            entries = queue.entries
            if entries and entries[0][0] <= now:
                self._drop_expired(queue, now)
            if entries:
                body = entries.popleft()[1]
                if not (entries or queue.groups):
                    self._forget_if_unused(queue)
                return body
            waiter = (loop, loop.create_future())
            queue.waiters.append(waiter)
            return waiter

    def __contains__(self, channel: str) -> bool:
        """Whether a channel has messages, receivers or groups here."""
        return channel in self._queues

    def give_up(self, channel: str, waiter: Waiter) -> None:
        """A waiter was cancelled: if it was woken, another one is woken in its place."""
        woken: list[Waiter] = []
        with self._lock:
            queue = self._queues.get(channel)
            if queue is None:
                return
            try:
                queue.waiters.remove(waiter)
            except ValueError:
                if queue.entries and queue.waiters:
                    woken.append(queue.waiters.popleft())
            self._forget_if_unused(queue)
        wake(woken)

    def take_all(self, channel: str) -> list[bytes]:
        """All unread messages of a channel, for another process that receives from it."""
        with self._lock:
            queue = self._queues.get(channel)
            if queue is None:
                return []
            self._drop_expired(queue, self._clock())
            bodies = [body for _, body in queue.entries]
            queue.entries.clear()
            self._forget_if_unused(queue)
            return bodies

    def is_read(self, channel: str) -> bool:
        """Whether somebody has received from a channel, or waited for it, within the expiry."""
        with self._lock:
            queue = self._queues.get(channel)
            if queue is None:
                return False
            return bool(queue.waiters) or queue.read_at + self._expiry > self._clock()

    # Groups.

    def add(self, group: str, channel: str) -> bool:
        """Add a channel to a group; returns whether the group had no member before."""
        with self._lock:
            now = self._clock()
            self._sweep_if_due(now)
            queue = self._queue_for(channel, now)
            queue.groups.add(group)
            members = self._groups.get(group)
            if members is None:
                self._groups[group] = {queue: now + self._group_expiry}
                return True
            members[queue] = now + self._group_expiry
            return False

    def discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group, if it is in it."""
        with self._lock:
            queue = self._queues.get(channel)
            if queue is not None and group in queue.groups:
                self._leave(queue, group)
                self._forget_if_unused(queue)

    def groups(self) -> list[str]:
        """The groups that have members."""
        with self._lock:
            return list(self._groups)

    def has_members(self, group: str) -> bool:
        """Whether a group has members."""
        return group in self._groups

    def flush(self) -> None:
        """Forget all messages and all groups. Coroutines that wait continue to wait."""
        with self._lock:
            for queue in list(self._queues.values()):
                queue.entries.clear()
                for group in list(queue.groups):
                    self._leave(queue, group)
                self._forget_if_unused(queue)

    # With the lock held.

    def _queue_for(self, channel: str, now: float) -> Queue:
        queue = self._queues.get(channel)
        if queue is None and self._read_together:
            together = channel[: channel.find("!") + 1]
            if together in self._read_together:
                channel = together
                queue = self._queues.get(channel)
        if queue is None:
            queue = self._queues[channel] = Queue(channel, self._capacity_of(channel), now)
        return queue

    def _put(self, queue: Queue, body: bytes, now: float, woken: list[Waiter]) -> bool:
        if len(queue.entries) >= queue.capacity and not self._has_room(queue, now):
            return False
        queue.entries.append((now + self._expiry, body))
        if queue.waiters:
            woken.append(queue.waiters.popleft())
        return True

    def _has_room(self, queue: Queue, now: float) -> bool:
        self._drop_expired(queue, now)
        return len(queue.entries) < queue.capacity

    def _drop_expired(self, queue: Queue, now: float) -> int:
        entries = queue.entries
        count = 0
        while entries and entries[0][0] <= now:
            entries.popleft()
            count += 1
        if count:
            self._drops.add(EXPIRED, queue.name, count)
        return count

    def _leave(self, queue: Queue, group: str) -> None:
        queue.groups.discard(group)
        members = self._groups.get(group)
        if members is not None and members.pop(queue, None) is not None and not members:
            del self._groups[group]
            self.on_empty_group(group)

    def _forget_if_unused(self, queue: Queue) -> None:
        if queue.unused and self._queues.get(queue.name) is queue:
            del self._queues[queue.name]

    def _sweep_if_due(self, now: float) -> None:
        """Drop what has expired in all channels, also those that nobody uses any more."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + self._expiry
        for queue in list(self._queues.values()):
            expired = self._drop_expired(queue, now)
            is_abandoned = not queue.waiters and queue.read_at + ABANDONED * self._expiry <= now
            for group in list(queue.groups):
                if (expired and is_abandoned) or self._groups[group][queue] <= now:
                    self._leave(queue, group)
            self._forget_if_unused(queue)
