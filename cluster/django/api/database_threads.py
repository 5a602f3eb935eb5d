"""ain_database: synchronous code, such as the ORM's, for coroutines that must not block.

A node has one bounded pool of threads for it, apart from the pool of the views. It serves
handshakes that need a session's user, accept functions, and the calls of handlers. Before and after
each call Django's stale connections are closed, so a database that was restarted costs at most one
error in each thread.

Django's own async ORM (``aget``, ``async for``) runs in one thread of asgiref, in which nothing
closes stale connections: MendingExecutor closes the broken ones.

In a process that is not a node (tests, management commands) the code runs where asgiref runs
Django's own: in the thread that has the transaction of a TestCase.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from inspect import iscoroutine
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import close_old_connections, connections
from twisted.python.threadpool import ThreadPool

from cluster.core.exceptions import DatabaseQueueFull
from cluster.django.request_context import RequestContext

P = ParamSpec("P")
T = TypeVar("T")


class DatabasePool:
    """The threads of ain_database.

    Attributes:
        calls: How many calls a thread has begun.
        waited: How many seconds these calls waited for a thread, in total.
        refused: How many calls found the queue full.
        active: How many calls run or wait.
    """

    def __init__(self, threads: int, queue: int, now: Callable[[], float] = time.monotonic) -> None:
        self.calls = 0
        self.waited = 0.0
        self.refused = 0
        self.active = 0
        self._pool = ThreadPool(0, threads, name="database")
        self._async_orm = MendingExecutor(max_workers=1, thread_name_prefix="async-orm")
        self._before = SyncToAsync.single_thread_executor
        self._threads = threads
        self._limit = threads + queue
        self._now = now
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start, and become the pool of this process."""
        global _pool
        self._pool.start()
        self._before = SyncToAsync.single_thread_executor
        SyncToAsync.single_thread_executor = self._async_orm
        _pool = self

    def stop(self) -> None:
        """End the threads, unless calls are still running: those are left alone."""
        global _pool
        if _pool is self:
            _pool = None
            SyncToAsync.single_thread_executor = self._before
        self._async_orm.shutdown(wait=False)
        if not self.active:
            self._pool.stop()

    @property
    def threads(self) -> int:
        """How many threads have been started."""
        return len(self._pool.threads)

    @property
    def queue_depth(self) -> int:
        """How many calls wait for a thread."""
        return max(0, self.active - self._threads)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. Raises what it raises, or DatabaseQueueFull at once.

        A call that is cancelled before a thread has begun it is not begun.
        """
        with self._lock:
            if self.active >= self._limit:
                self.refused += 1
                raise DatabaseQueueFull(f"{self._limit} calls run or wait already")
            self.active += 1
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context, active = contextvars.copy_context(), RequestContext.capture()
        asked = self._now()

        def answer(result: T | None, error: BaseException | None) -> None:
            if future.done():  # cancelled
                return
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]
            else:
                future.set_exception(error)

        def in_thread() -> None:
            result: T | None = None
            error: BaseException | None = None
            try:
                with self._lock:
                    self.calls += 1
                    self.waited += self._now() - asked
                if not future.cancelled():
                    call = partial(function, *args, **kwargs)
                    result = context.run(_run_clean, call, active)
            except StopIteration as stop:  # a future does not accept it
                error = RuntimeError(f"ain_database: the function raised {stop!r}")
            except Exception as raised:
                error = raised
            except BaseException as end:  # in the reactor's thread it would end the node
                error = RuntimeError(f"ain_database: the function raised {end!r}")
            finally:
                with self._lock:
                    self.active -= 1
            with suppress(RuntimeError):  # the loop is closed, so nothing waits
                loop.call_soon_threadsafe(answer, result, error)

        self._pool.callInThread(in_thread)
        return await future


class MendingExecutor(ThreadPoolExecutor):
    """asgiref's thread for the async ORM: closes connections that broke before each call.

    Old connections stay open: an iteration over a queryset is several calls.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return super().submit(_mended, partial(fn, *args, **kwargs))


def _mended(call: Callable[[], T]) -> T:
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
    return call()


_pool: DatabasePool | None = None


async def ain_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run synchronous code, which may use the ORM, in the node's database threads.

    Querysets are lazy, so have the function evaluate them:
    ``polls = await ain_database(list, Poll.objects.filter(open=True))``. A transaction must begin
    and end in one function. A call that has begun continues when its caller is cancelled.

    Args:
        function: The function, which must not be a coroutine function.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The result of the function.

    Raises:
        DatabaseQueueFull: ``DATABASE_QUEUE`` calls wait already.
        TypeError: ``function`` is a coroutine function.
    """
    if _pool is None:
        result = await sync_to_async(function, thread_sensitive=True)(*args, **kwargs)
    else:
        result = await _pool.run(function, *args, **kwargs)
    if iscoroutine(result):
        result.close()
        raise TypeError(f"ain_database runs synchronous code; await {function!r} itself")
    return result


def _run_clean(call: Callable[[], T], active: RequestContext) -> T:
    active.activate()
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()
