"""Tests of cluster.asgi.async_threads."""

import threading
from concurrent.futures import Future
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.asgi import async_threads
from cluster.asgi.async_threads import AsyncThreads, RequestThread


class Connection:
    """A database connection of Django."""

    def __init__(self) -> None:
        self.connection: object = None
        self.close_at: float | None = 10.0
        self.errors_occurred = False
        self.closed = 0

    def close_if_unusable_or_obsolete(self) -> None:
        self.closed += 1
        self.errors_occurred = False


class Connections:
    """Those of the threads, each with one."""

    def __init__(self) -> None:
        self._local = threading.local()

    def all(self, initialized_only: bool) -> list[Connection]:
        return list(getattr(self._local, "all", ()))

    def open(self) -> Connection:
        """Open the connection of this thread."""
        if not self.all(True):
            self._local.all = [Connection()]
        connection: Connection = self._local.all[0]
        connection.connection = object()
        return connection

    def close(self) -> None:
        for connection in self.all(True):
            connection.connection = None


class AsyncThreadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connections = Connections()
        self.patch(async_threads, "connections", self.connections)
        self.threads = AsyncThreads(2)
        self.addCleanup(self.threads.stop)
        self.held: list[threading.Event] = []
        self.addCleanup(lambda: [event.set() for event in self.held])

    def request(self) -> RequestThread:
        return RequestThread(self.threads)

    def hold(self, request: RequestThread) -> "tuple[threading.Event, Future[Any]]":
        """Keep a thread busy until the event is set."""
        event, begun = threading.Event(), threading.Event()

        def wait() -> threading.Thread:
            begun.set()
            event.wait()
            return threading.current_thread()

        self.held.append(event)
        future = request.submit(wait)
        begun.wait()
        return event, future

    def test_requests_share_an_idle_thread(self) -> None:
        names = {self.request().submit(threading.current_thread).result() for _ in range(20)}
        self.assertEqual((len(names), len(self.threads)), (1, 1))

    def test_another_thread_is_started_while_the_others_are_busy(self) -> None:
        events = [self.hold(self.request())[0] for _ in range(2)]
        self.assertEqual(len(self.threads), 2)
        third = self.request().submit(threading.current_thread)
        self.assertEqual((len(self.threads), self.threads.waiting), (2, 1))
        for event in events:
            event.set()
        third.result()
        self.assertEqual(self.threads.waiting, 0)

    def test_a_request_with_a_database_connection_keeps_its_thread(self) -> None:
        request, other = self.request(), self.request()
        opened = request.submit(self.connections.open).result()
        self.assertTrue(request.is_bound)
        event, held = self.hold(other)  # in the idle thread, the same
        mine = request.submit(threading.current_thread)
        self.assertFalse(mine.done())
        event.set()
        self.assertIs(mine.result(), held.result())
        self.assertIs(request.submit(self.connections.open).result(), opened)
        request.submit(self.connections.close).result()
        self.assertFalse(request.is_bound)

    def test_connections_of_several_requests_are_not_closed_by_age(self) -> None:
        first, second = self.request(), self.request()
        connection = first.submit(self.connections.open).result()
        self.assertEqual(first.submit(lambda: connection.close_at).result(), 10.0)
        self.assertIsNone(second.submit(lambda: connection.close_at).result())
        first.shutdown()
        self.assertEqual(second.submit(lambda: connection.close_at).result(), 10.0)
        self.assertFalse(first.is_bound)

    def test_connections_of_websockets_are_closed_by_age(self) -> None:
        threads = AsyncThreads(1, closes_by_age=True)
        self.addCleanup(threads.stop)
        first, second = RequestThread(threads), RequestThread(threads)
        connection = first.submit(self.connections.open).result()
        self.assertEqual(second.submit(lambda: connection.close_at).result(), 10.0)

    def test_broken_connections_are_closed_before_each_call(self) -> None:
        request = self.request()
        connection = request.submit(self.connections.open).result()
        connection.errors_occurred = True
        self.assertEqual(request.submit(lambda: connection.closed).result(), 1)

    def test_errors_reach_the_caller(self) -> None:
        request = self.request()
        error = request.submit(lambda: 1 / 0).exception()
        self.assertIsInstance(error, ZeroDivisionError)
        self.assertFalse(request.is_bound)
        self.assertEqual(self.request().submit(lambda: 1).result(), 1)
