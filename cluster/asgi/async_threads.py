"""The threads in which async views call synchronous code (``sync_to_async``), and middleware.

asgiref starts a thread for each request, which a request that streams for minutes would keep. Here
all requests share a few threads, by these rules:

* The calls of one request run one after the other.
* A request is bound to a thread while that has a database connection, which only the thread that
  opened it may use: a cursor, such as that of ``aiterator()``, outlives the call that opened it.
* A request that is bound to none takes an idle thread, else a new one, else the least busy one.
* Before the first call of a request, connections that are older than CONN_MAX_AGE are closed.
* While several requests are bound to a thread, its connections are closed when they are broken,
  but not because of CONN_MAX_AGE: another one may be reading from them.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import connections

T = TypeVar("T")


class _Thread:
    """A thread, how many calls run or wait, how many requests are bound to it, and whether it has
    a database connection."""

    __slots__ = ("bound", "calls", "closes_by_age", "is_connected", "pool")

    def __init__(self, closes_by_age: bool) -> None:
        self.closes_by_age = closes_by_age
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="async-views")
        self.calls = 0
        self.bound = 0
        self.is_connected = False


class AsyncThreads:
    """The threads of a node.

    Args:
        limit: How many there may be.
        closes_by_age: Whether connections are closed because of CONN_MAX_AGE in any case. For
            WebSockets, which last for hours: a connection that is kept would be closed by the
            database, and the next call would fail.
    """

    def __init__(self, limit: int, closes_by_age: bool = False) -> None:
        self._limit = limit
        self._closes_by_age = closes_by_age
        self._threads: list[_Thread] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many threads have been started."""
        return len(self._threads)

    @property
    def waiting(self) -> int:
        """Calls that wait for a thread."""
        return sum(max(0, thread.calls - 1) for thread in self._threads)

    @contextmanager
    def for_request(self) -> Iterator["RequestThread"]:
        """The thread of a request, for ``sync_to_async`` within the context."""
        # Not "async with": at its end asgiref starts a thread that ends the one of the request.
        context, thread = ThreadSensitiveContext(), RequestThread(self)
        SyncToAsync.context_to_thread_executor[context] = thread
        token = SyncToAsync.thread_sensitive_context.set(context)
        try:
            yield thread
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            SyncToAsync.context_to_thread_executor.pop(context, None)
            thread.shutdown()

    def stop(self) -> None:
        """End the threads, without waiting for calls that still run."""
        for thread in self._threads:
            thread.pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, bound: _Thread | None) -> _Thread:
        """Count a call of a request.

        Args:
            bound: The thread that the request is bound to.

        Returns:
            The thread for the call.
        """
        with self._lock:
            thread = bound or self._choose()
            thread.calls += 1
            if bound is None:
                thread.bound += 1
            return thread

    def end(self, thread: _Thread) -> None:
        """A call has ended."""
        with self._lock:
            thread.calls -= 1

    def release(self, thread: _Thread) -> None:
        """A request is bound to a thread no more."""
        with self._lock:
            thread.bound -= 1

    def _choose(self) -> _Thread:
        idle = [thread for thread in self._threads if not thread.calls]
        if not idle and len(self._threads) < self._limit:
            idle.append(_Thread(self._closes_by_age))
            self._threads += idle
        return min(idle or self._threads, key=lambda thread: (thread.calls, thread.bound))


class RequestThread(Executor):
    """What asgiref takes for the thread of one request.

    Args:
        threads: The threads of the node.
    """

    def __init__(self, threads: AsyncThreads) -> None:
        self._threads = threads
        self._thread: _Thread | None = None
        self._running = 0
        self._has_called = False
        self._is_over = False
        self._lock = threading.Lock()

    @property
    def is_bound(self) -> bool:
        """Whether the request has a thread."""
        return self._thread is not None

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Run a function in the thread of the request."""
        with self._lock:
            thread = self._thread = self._threads.begin(self._thread)
            self._running += 1
            is_first, self._has_called = not self._has_called, True
        future = thread.pool.submit(_run, thread, is_first, fn, args, kwargs)
        future.add_done_callback(lambda _: self._ended(thread))
        return future

    def _ended(self, thread: _Thread) -> None:
        """Called in the thread, or where the call was cancelled before it began."""
        self._threads.end(thread)
        with self._lock:
            self._running -= 1
            if not self._running and (self._is_over or not thread.is_connected):
                self._release()

    def _release(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._threads.release(thread)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """The request has ended."""
        with self._lock:
            self._is_over = True
            if not self._running:
                self._release()


def _run(thread: _Thread, is_first: bool, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
    opened: Any = () if not thread.is_connected else connections.all(initialized_only=True)
    is_shared = thread.bound > 1 and not thread.closes_by_age
    ages = []
    for connection in opened:
        if connection.errors_occurred or (is_first and not is_shared):
            connection.close_if_unusable_or_obsolete()
        if is_shared:
            ages.append((connection, connection.close_at))
            connection.close_at = None
    try:
        return fn(*args, **kwargs)
    finally:
        for connection, close_at in ages:
            if connection.close_at is None:  # it was not opened again
                connection.close_at = close_at
        opened = connections.all(initialized_only=True)
        thread.is_connected = any(each.connection is not None for each in opened)
