"""Runs the views of a node's Django site in a bounded pool of threads.

Requests beyond the pool and its queue are answered 503 at once. The rules:

* ``active`` counts the views that run or wait for a thread, even if their clients have left;
* when a client leaves, its view continues if it has started, and does not start otherwise;
* at most STARTED_PER_TURN views start in one turn of the reactor.
"""

from collections import deque
from threading import Lock
from typing import Any
from wsgiref.types import WSGIApplication

from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from cluster.node.responses.wsgi import WsgiCall
from cluster.node.thread_pool import ThreadPool

STARTED_PER_TURN = 4
"""Views that start in one turn of the reactor. Each start takes time in the reactor and in its
thread: hundreds at once would delay WebSocket messages (``python -m benchmarks.slow_views``)."""


TOO_MANY = [("Retry-After", "1"), ("Content-Type", "text/plain; charset=utf-8")]


class ViewThreads:
    """Runs the WSGI application, or answers 503 if too many requests are waiting.

    Args:
        reactor: The reactor of the node.
        pool: The threads for the views.
        application: The WSGI application.
        queue: The number of requests that may wait for a thread.
    """

    def __init__(
        self, reactor: Any, pool: ThreadPool, application: WSGIApplication, queue: int
    ) -> None:
        self._application = application
        self._reactor = reactor
        self._pool = pool
        self._limit = pool.max + queue
        self._threads = pool.max
        self.active = 0
        self.refused = 0
        self.served = 0
        self._lock = Lock()
        self._due: deque[Any] = deque()
        self._started = 0  # in this turn of the reactor
        self._next_turn: IDelayedCall | None = None

    @property
    def queue_depth(self) -> int:
        """The number of requests that wait for a thread."""
        return max(0, self.active - self._threads)

    @property
    def busy(self) -> int:
        """The number of views that run."""
        return min(self.active, self._threads)

    @property
    def queue_capacity(self) -> int:
        """The number of requests that may wait for a thread."""
        return self._limit - self._threads

    def serve(self, request: Any) -> None:
        """Run a view for a BoundedRequest, or answer 503."""
        if self.active >= self._limit:
            self.refused += 1
            body = b"Too many requests are waiting; try again.\n"
            headers = [*TOO_MANY, ("Content-Length", str(len(body)))]
            request.answer(503, "Service Unavailable", headers, body)
            return
        with self._lock:
            self.active += 1
        self.served += 1
        self._due.append(request)
        if self._next_turn is None:
            self._turn()
        elif self._started < STARTED_PER_TURN:
            self._start_one()

    def _turn(self) -> None:
        """Start up to STARTED_PER_TURN views now, and further ones in the next turns."""
        self._next_turn = None
        self._started = 0
        while self._due and self._started < STARTED_PER_TURN:
            self._start_one()
        if self._started:
            self._next_turn = self._reactor.callLater(0, self._turn)

    def _start_one(self) -> None:
        request = self._due.popleft()
        self._started += 1
        if request.is_gone:
            self._finished()
            return
        try:
            call = WsgiCall(self._reactor, self._application, request)
        except Exception:
            self._finished()
            request.processingFailed(Failure())
            return
        self._pool.callInThread(self._run, call)

    def _run(self, call: WsgiCall) -> None:
        try:
            call.run()
        finally:
            self._finished()

    def _finished(self) -> None:
        with self._lock:
            self.active -= 1
