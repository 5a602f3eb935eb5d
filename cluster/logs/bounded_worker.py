"""A thread that does what may block, in the order of a bounded queue.

An item is added without waiting: when the queue is full, it is dropped and counted. Before
``start`` and after ``stop`` there is no thread, and items are passed on at once. The same applies
in a process that a thread of this one has forked, because threads do not survive a fork.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar
from weakref import WeakMethod

T = TypeVar("T")

PACE_S = 0.005
"""Seconds that the thread waits after the first item, so that it takes those of some milliseconds
together. Each wake-up of a thread costs the event loop a switch of Python's global lock."""

RESERVE = 0.25
"""The part of the queue that only urgent items may use."""


def _nothing() -> None:
    pass


class BoundedWorker(Generic[T]):
    """Passes items from any thread to ``perform``, in a thread of its own.

    Args:
        name: The name of the thread.
        perform: Called with the items that have been added since the last call, in their order. Its
            exceptions are ignored; it reports its own failures.
        limit: The total size of the items that may wait.
        size: The size of an item.
    """

    def __init__(
        self,
        name: str,
        perform: Callable[[list[T]], object],
        limit: int,
        size: Callable[[T], int] = lambda item: 1,
    ) -> None:
        self.dropped = 0
        """Items that were dropped because the queue was full."""
        self._name = name
        self._perform = perform
        self._limit = limit
        self._room_for_others = limit * (1 - RESERVE)
        self._size = size
        self._items: deque[T] = deque()
        self._waiting = 0  # the size of the items in the queue
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._ending = False
        reset = WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (reset() or _nothing)())

    @property
    def is_running(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread. Call it after a fork: a thread does not survive that. Idempotent."""
        if self._thread is None:
            self._ending = False
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def add(self, item: T, urgent: bool = False) -> bool:
        """Queue an item; returns False if it was dropped.

        Args:
            item: The item.
            urgent: Whether it may use the reserve.
        """
        if self._thread is None:
            self._perform([item])
            return True
        size = self._size(item)
        with self._lock:
            limit = self._limit if urgent else self._room_for_others
            if self._waiting + size > limit:
                self.dropped += 1
                return False
            self._items.append(item)
            self._waiting += size
            self._idle.clear()
        if not self._wake.is_set():
            self._wake.set()
        return True

    def flush(self, timeout: float) -> bool:
        """Wait until all items are done, at most ``timeout`` seconds; returns whether they are."""
        return self._thread is None or self._idle.wait(timeout)

    def stop(self, timeout: float) -> None:
        """Wait as ``flush`` does, and end the thread. One that is blocked is left behind."""
        thread = self._thread
        if thread is None:
            return
        deadline = time.monotonic() + timeout
        self._idle.wait(timeout)
        self._ending = True
        self._wake.set()
        thread.join(max(0.0, deadline - time.monotonic()))
        self._thread = None
        if not thread.is_alive():
            self._perform_queued()  # what another thread has added after the end of this one

    def _after_fork(self) -> None:
        """Forget the queue and its locks, which other threads may have held: they are those of the
        parent. An Event has a lock, too."""
        self._items.clear()
        self._waiting = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread = None

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if not self._ending:
                time.sleep(PACE_S)
            self._wake.clear()
            self._perform_queued()
            if self._ending and not self._items:
                return

    def _perform_queued(self) -> None:
        with self._lock:
            items = list(self._items)
            self._items.clear()
        if items:
            with suppress(Exception):
                self._perform(items)
        with self._lock:
            self._waiting -= sum(map(self._size, items))
            if not self._items:
                self._idle.set()
